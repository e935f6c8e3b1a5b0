/* SPDX-License-Identifier: MIT */
/*
 * Producers that never free beside consumers that never allocate stay within 1.5 x live + 8 MiB: in a steady stream,
 * in waves between which the producers sleep, and when the producers sleep for good and another thread allocates.
 *
 * Blocks pass through a table in the order of tickets: ticket t is slot t % SLOTS, filled by the t-th production and
 * emptied by the t-th consumption. Live bytes are what the table can hold at most, so they need no counting.
 */
#include "blackbox.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#define SLOTS (1u << 17)
#define BLOCK_MOST 500
#define WAVES 8
#define MOST_THREADS 4

struct block {
	size_t nbytes;
	char bytes[];
};

static struct block **slots;
static size_t produced, consumed; /* tickets given out */
static size_t produce_until, consume_until;
static int wave_size;		  /* bytes of each block; 0: mixed */
static size_t live_peak;	  /* bytes of a full table, filled anew */
static sem_t go[2], finished;

static size_t size_of_ticket(size_t ticket)
{
	uint64_t rng = ticket * 2 + 1;
	rng_next(&rng);
	return wave_size != 0 ? (size_t)wave_size : sizeof(struct block) + rng_below(&rng, BLOCK_MOST);
}

static size_t take_ticket(size_t *counter, const size_t *until)
{
	size_t ticket = __atomic_load_n(counter, __ATOMIC_RELAXED);

	while (ticket < *until)
		if (__atomic_compare_exchange_n(counter, &ticket, ticket + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return ticket;
	return SIZE_MAX;
}

static void produce(void)
{
	for (size_t ticket; (ticket = take_ticket(&produced, &produce_until)) != SIZE_MAX;) {
		struct block **slot = &slots[ticket % SLOTS];
		while (__atomic_load_n(slot, __ATOMIC_ACQUIRE) != NULL)
			sched_yield();
		size_t nbytes = size_of_ticket(ticket);
		struct block *block = malloc(nbytes);
		CHECK(block != NULL);
		block->nbytes = nbytes;
		pattern_fill(block->bytes, nbytes - sizeof *block, 4);
		__atomic_store_n(slot, block, __ATOMIC_RELEASE);
	}
}

static void consume(void)
{
	for (size_t ticket; (ticket = take_ticket(&consumed, &consume_until)) != SIZE_MAX;) {
		struct block **slot = &slots[ticket % SLOTS], *block;
		/* Not read and then cleared: a consumer one round ahead may wait for the same slot. */
		while ((block = __atomic_exchange_n(slot, NULL, __ATOMIC_ACQ_REL)) == NULL)
			sched_yield();
		pattern_check(block->bytes, block->nbytes - sizeof *block, 4);
		free(block);
	}
}

/* 0 a producer, 1 a consumer: works when told to, sleeps in between, never exits. */
static void *work(void *role)
{
	for (;;) {
		while (sem_wait(&go[role != NULL]) != 0)
			continue;
		if (role == NULL)
			produce();
		else
			consume();
		sem_post(&finished);
	}
	return NULL;
}

/* Wake all threads of a role. */
static void start(int role, int threads, size_t until)
{
	*(role == 0 ? &produce_until : &consume_until) = until;
	for (int i = 0; i < threads; i++)
		sem_post(&go[role]);
}

/* Wait until so many threads have finished; the largest resident size seen meanwhile, the end included. */
static size_t await(int threads)
{
	size_t peak = 0;

	for (int left = threads; left > 0;) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 20 * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		left -= sem_timedwait(&finished, &until) == 0;
		size_t size = resident();
		peak = size > peak ? size : peak;
	}
	return peak;
}

static void expect_bounded(const char *what, size_t peak, size_t base)
{
	size_t most = live_peak + live_peak / 2 + 8 * MIB;

	say("%s: peak %zu KiB with %zu KiB live, at most %zu", what, (peak - base) / KIB, live_peak / KIB, most / KIB);
	CHECK(peak - base <= most);
}

static void set_live(size_t first_ticket)
{
	live_peak = 0;
	for (size_t i = 0; i < SLOTS; i++)
		live_peak += size_of_ticket(first_ticket + i);
}

/* In a process of its own, for each number of threads. */
static void run(int producers, int consumers)
{
	pthread_t thread;
	size_t base = 0, peak;

	CHECK(sem_init(&go[0], 0, 0) == 0 && sem_init(&go[1], 0, 0) == 0 && sem_init(&finished, 0, 0) == 0);
	slots = (struct block **)map_table(SLOTS * sizeof *slots);
	for (int i = 0; i < producers + consumers; i++)
		CHECK(pthread_create(&thread, NULL, work, i < producers ? NULL : &slots) == 0);
	base = resident();

	/* Steady: the table is full, then each block that goes makes room for the next. */
	set_live(0);
	start(0, producers, SLOTS);
	await(producers);
	start(0, producers, 8 * (size_t)SLOTS);
	start(1, consumers, 7 * (size_t)SLOTS);
	expect_bounded("steady", await(producers + consumers), base);

	/* The producers sleep while all is freed; then they fill the table again, in blocks of another size. */
	peak = 0;
	for (int wave = 0; wave < WAVES; wave++) {
		start(1, consumers, produced);
		size_t size = await(consumers);
		peak = size > peak ? size : peak;
		wave_size = 128 + 128 * (wave % 3);
		start(0, producers, produced + SLOTS);
		size = await(producers);
		peak = size > peak ? size : peak;
	}
	wave_size = 384;
	set_live(produced);
	expect_bounded("waves", peak, base);

	/* The producers never wake again; what was theirs serves this thread. */
	start(1, consumers, produced);
	await(consumers);
	wave_size = 320;
	set_live(produced);
	produce_until = produced + SLOTS;
	produce();
	expect_bounded("producers asleep", resident(), base);
	consume_until = produced;
	consume();
}

int main(int argc, char **argv)
{
	test_start(120);
	if (argc == 3)
		return run(atoi(argv[1]), atoi(argv[2])), 0;
	static const char *const shapes[][2] = { { "1", "1" }, { "3", "1" }, { "1", "3" } };
	for (size_t i = 0; i < COUNT(shapes); i++) {
		say("%s producers, %s consumers", shapes[i][0], shapes[i][1]);
		CHECK(run_self(shapes[i][0], shapes[i][1]) == 0);
	}
	return 0;
}
