/* SPDX-License-Identifier: MIT */
/*
 * Retirement (lib/arena_list.c, retire() in lib/purge.c, lib/rcu.[ch]; readers in lib/thread.c and lib/walk.c): one
 * thread takes and returns units, for which arenas are born; another purges and retires, and then does what a third one
 * does twice: one of looking for an address in a read section by RCU, or by the reader lock where liburcu is not to be
 * had; a walk, by a pin; a visitor's look at a block that may have gone meanwhile; purging and retiring.
 *
 * By locks alone: usable arenas, unused objects, pins, the list's writers. Lock-free, and what this is about: the
 * list's readers, the words, liburcu's opening, the hints of how much is free and dirty.
 *
 * Checked: whoever found an arena reads its object and its memory as they were written, and nobody writes to them
 * meanwhile; a unit that is taken has no word, and one that is said to be clean reads as zero; no arena goes with a
 * unit out or a word set; in the end all that is mapped is listed, and counted right.
 */
#define THREADS 3
#include "arenas.h"

struct quarry_block {};
typedef int (*quarry_walk_fn)(const struct quarry_block *block, void *arg);

struct retire_model : arenas, rl::test_suite<retire_model, THREADS> {
	struct lock heap;
	shared<char *> held; /* a unit of the worker's, under its heap's lock */

	void before()
	{
		if (rl::rand(2) == 0)
			atomic_store(&tried, true);
	}

	/* --- lib/walk.c ------------------------------------------------------------------------------------------- */

	bool claim_hold() { return true; }
	void claim_release() {}
	struct walk;
	bool note_doubtful(struct walk *) { return true; }
	int walk_large(struct walk *) { return 0; }
	int walk_guarded(struct walk *) { return 0; }
	bool word_is_pool(uint32_t) { return false; }
	int walk_pool(struct walk *, const struct arena_object *, char *) { return 0; }

	int walk_span(struct walk *, const struct arena_object *arena, char *start)
	{
		dawdle(2);
		RL_ASSERT(look(start)->head == arena);
		return 0;
	}

#include "walk.c"

	/* --- threads ---------------------------------------------------------------------------------------------- */

	void hold(char *address)
	{
		lock_take(&heap, LOCK_HEAP);
		atomic_store_explicit(&held, address, memory_order_relaxed);
		lock_drop(&heap, LOCK_HEAP);
	}

	void work()
	{
		for (int i = 0; i < 2; i++) {
			struct arena_run run = obtain_unit(), other = {};
			hold(run.address);
			if (rl::rand(2) == 0)
				other = obtain_unit();
			hold(NULL);
			return_unit(run);
			return_unit(other);
		}
	}

	/* As lib/claim.c notes a block under the lock of its heap, and reads its link later. */
	void visit()
	{
		for (int i = 0; i < 100 && atomic_load_explicit(&held, memory_order_relaxed) == NULL; i++)
			rl::yield(1, $);
		claim_lock();
		lock_take(&heap, LOCK_HEAP);
		char *noted = atomic_load_explicit(&held, memory_order_relaxed);
		lock_drop(&heap, LOCK_HEAP);
		dawdle(2);
		if (noted != NULL)
			look(noted);
		claim_unlock();
	}

	/* A turn of the purger, or its end. */
	void give_back()
	{
		dawdle(2);
		if (rl::rand(2) == 0)
			purge_nodes(0, SIZE_MAX);
		retire(0, 0, true);
	}

	void observe()
	{
		switch (rl::rand(4)) {
		case 0:
			is_in_an_arena((void *)(ARENA_SIZE * (1 + rl::rand(ARENAS))));
			break;
		case 1:
			quarry_walk(NULL, NULL);
			break;
		case 2:
			visit();
			break;
		default:
			give_back();
		}
	}

	void thread(unsigned index)
	{
		thread_begins(index);
		if (index == 0) {
			work();
			return;
		}
		if (index == 1)
			give_back();
		else
			observe();
		observe();
	}

	void after() { check_arenas(); }
};

int main(int, char **argv)
{
	return run_model<retire_model>(strtoul(argv[1], NULL, 10));
}
