/* SPDX-License-Identifier: MIT */
/*
 * The purger against everyone (lib/purge.c with lib/arena_list.c): two threads take units and return them, with the
 * hint that ends a slow path, while a purger is made, takes old dirty runs and hands them back clean, retires arenas,
 * ends itself, and is made anew; its thread is one of two, since the next may begin while the last is on its way out.
 * The system may refuse a thread: then the two purge by themselves. One execution in four is of a purger that is
 * attended, which the two wake.
 *
 * By locks alone: runs and dirty units (the node's), what is in hand during madvise (the visit lock). Lock-free, and
 * what this is about: the state of the thread, by which a hint relies on a purger that is about to end; the permission;
 * the word that wakes; whom to consult; the counts of dirty units, which are read without the lock.
 *
 * Checked: two purgers are never at work, and one hands on to the next what it alone uses; where the last hint relied
 * on one, nothing dirty is left, and the state says that there is none; a unit in hand is not raced for, and reads as
 * zero where it is said to be clean; whoever is consulted finds all that was written before; each request that a waker
 * made is attended.
 */
#define THREADS 4
#include "arenas.h"

#define WORKERS 2

struct purger_model : arenas, rl::test_suite<purger_model, THREADS> {
	rl::mutex post;
	rl::condition_variable changes;
	unsigned nmade, nworkers; /* both under post */
	bool refusing, attended;
	int consultable;
	plain<int> held_back; /* what whoever is consulted looks after */
	shared<bool> asked[WORKERS];

	void before()
	{
		nmade = 0;
		nworkers = WORKERS;
		attended = rl::rand(4) == 0;
		refusing = rl::rand(8) == 0;
		purge_fails = rl::rand(4) == 0;
	}

	/* --- the purger's thread ---------------------------------------------------------------------------------- */

	bool make_thread()
	{
		if (refusing)
			return false;
		post.lock($);
		nmade++;
		changes.notify_all($);
		post.unlock($);
		dawdle(8);
		return true;
	}

	void be_purger()
	{
		post.lock($);
		for (;;) {
			while (nmade == 0 && nworkers > 0)
				changes.wait(post, $);
			if (nmade == 0)
				break;
			nmade--;
			post.unlock($);
			purger(NULL);
			post.lock($);
		}
		post.unlock($);
	}

	/* --- those who allocate ----------------------------------------------------------------------------------- */

	static void consulted_now(bool)
	{
		RL_ASSERT(((struct purger_model *)here)->held_back == 1);
	}

	/* The constructor's order; who has typed caches says so later. */
	void begin()
	{
		purge_attend(NULL, 0);
		purge_allow();
		dawdle(8);
		held_back = 1;
		purge_consult(consulted_now);
	}

	void work(unsigned index)
	{
		for (int i = 0; i < 2; i++) {
			struct arena_run run = obtain_unit();
			return_unit(run);
			if (index == 0 && i == 0)
				begin();
			purge_hint();
		}
		post.lock($);
		nworkers--;
		changes.notify_all($);
		post.unlock($);
	}

	/* --- attendance ------------------------------------------------------------------------------------------- */

	/* Time stands still: who is not woken sleeps for good. */
	void os_wait(shared<uint32_t> *word, uint32_t value, int ms)
	{
		if (attended && nworkers > 0)
			::os_wait(word, value, ms);
		else
			arenas::os_wait(word, value, ms);
	}

	/* Asked and answered as in lib/stats_output.c. */
	static void attend_now()
	{
		struct purger_model *model = (struct purger_model *)here;
		for (unsigned i = 0; i < WORKERS; i++)
			if (atomic_exchange(&model->asked[i], false))
				model->nworkers--;
	}

	void ask(unsigned index)
	{
		atomic_store(&asked[index], true);
		purge_wake();
	}

	void be_attended()
	{
		attendant = attend_now;
		while (nworkers > 0)
			wait_for_tick();
	}

	/* --- all -------------------------------------------------------------------------------------------------- */

	void thread(unsigned index)
	{
		thread_begins(index);
		if (attended && index < WORKERS)
			ask(index);
		else if (attended && index == WORKERS)
			be_attended();
		else if (index < WORKERS)
			work(index);
		else if (!attended)
			be_purger();
	}

	void after()
	{
		RL_ASSERT(state == NONE || (refusing && state == REFUSED));
		check_arenas();
		RL_ASSERT(refusing || dirty_nbytes() == 0);
	}
};

int main(int, char **argv)
{
	return run_model<purger_model>(strtoul(argv[1], NULL, 10));
}
