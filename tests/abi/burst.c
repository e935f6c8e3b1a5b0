/* SPDX-License-Identifier: MIT */
/*
 * After a burst that is freed entirely, resident memory falls back to within 10 % of live + 8 MiB: at once by
 * malloc_trim(0), else within 10 s without any malloc call; whoever freed it, idle since or gone, in whatever order.
 *
 * Each case runs in a process of its own; while one waits for its memory to go back, the next has its burst.
 * The burst is 256 MiB, or 1 GiB with QUARRY_TEST_FULL=1.
 */
#include "blackbox.h"

#include <malloc.h>
#include <pthread.h>

#define WORKERS 4
#define LIVE (16 * MIB)
#define WAIT_SECONDS 10.0
#define AT_ONCE_BYTES (2048 * MIB) /* of bursts that have not gone back yet */

/* Who frees what the workers allocated: MAIN all of it, OWN each its own, NEXT each another's; then idle or gone. */
static const struct scenario {
	const char *name;
	enum { ALONE, MAIN, OWN, NEXT } freed_by;
	int exit;
} scenarios[] = {
	{ "allocated and freed by one thread", ALONE, 0 },
	{ "freed by one, workers idle", MAIN, 0 },
	{ "freed by its workers, idle", OWN, 0 },
	{ "freed by its workers, gone", OWN, 1 },
	{ "freed by other workers, idle", NEXT, 0 },
	{ "freed by other workers, gone", NEXT, 1 },
};

static const struct mixture {
	const char *name;
	unsigned bits;	/* sizes below 2^bits; 0: all of the mean */
	size_t mean;
} mixtures[] = {
	{ "100-byte blocks", 0, 100 },
	{ "blocks below 2 KiB", 11, 280 },
	{ "blocks below 4 MiB", 22, 286000 },
};

static const struct scenario *scenario;
static const struct mixture *mixture;
static int in_random_order;
static void **blocks;
static size_t part; /* blocks per worker */
static pthread_barrier_t barrier;

static void *any_block(uint64_t *rng)
{
	size_t nbytes = mixture->bits == 0 ? mixture->mean : rng_size(rng, mixture->bits);
	char *block = malloc(nbytes);

	CHECK(block != NULL);
	memset(block, 1, nbytes);
	return block;
}

static void allocate(size_t worker)
{
	uint64_t rng = test_seed(worker + 1);

	for (size_t i = worker * part; i < (worker + 1) * part; i++)
		blocks[i] = any_block(&rng);
	if (!in_random_order)
		return;
	for (size_t i = part; i > 1; i--) {
		size_t j = rng_below(&rng, i);
		void **last = &blocks[worker * part + i - 1], **other = &blocks[worker * part + j];
		void *block = *last;
		*last = *other;
		*other = block;
	}
}

static void release(size_t worker)
{
	for (size_t i = worker * part; i < (worker + 1) * part; i++)
		free(blocks[i]);
}

/* After the freeing the worker waits in the third barrier, or is gone before the main thread looks. */
static void *work(void *arg)
{
	size_t worker = (uintptr_t)arg;

	allocate(worker);
	pthread_barrier_wait(&barrier);
	if (scenario->freed_by == OWN)
		release(worker);
	else if (scenario->freed_by == NEXT)
		release((worker + 1) % WORKERS);
	if (scenario->exit)
		return NULL;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void one_burst(pthread_t *threads)
{
	if (scenario->freed_by == ALONE) {
		for (size_t i = 0; i < WORKERS; i++)
			allocate(i);
		for (size_t i = 0; i < WORKERS; i++)
			release(i);
		return;
	}
	for (uintptr_t i = 0; i < WORKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	pthread_barrier_wait(&barrier);
	if (scenario->freed_by == MAIN)
		for (size_t i = 0; i < WORKERS; i++)
			release(i);
	if (!scenario->exit)
		pthread_barrier_wait(&barrier);
	else
		for (int i = 0; i < WORKERS; i++)
			CHECK(pthread_join(threads[i], NULL) == 0);
}

static void end_workers(pthread_t *threads)
{
	if (scenario->freed_by == ALONE || scenario->exit)
		return;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < WORKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* In the process of one case. Its end of the pipe closes when its burst is over and only the wait is left. */
static int run_case(int number, int report)
{
	size_t burst = env_flag("QUARRY_TEST_FULL") ? 1024 * MIB : 256 * MIB;
	size_t live_count = LIVE / 100, base, most;
	pthread_t threads[WORKERS];

	scenario = &scenarios[number / 2];
	in_random_order = number % 2;
	mixture = &mixtures[number % COUNT(mixtures)];
	part = burst / mixture->mean / WORKERS;
	blocks = (void **)map_table(part * WORKERS * sizeof *blocks);
	void **live = (void **)map_table(live_count * sizeof *live);
	CHECK(pthread_barrier_init(&barrier, NULL, WORKERS + 1) == 0);

	base = resident();
	most = base + LIVE + LIVE / 10 + 8 * MIB;
	for (size_t i = 0; i < live_count; i++) {
		live[i] = malloc(100);
		pattern_fill(live[i], 100, 1);
	}
	one_burst(threads);
	malloc_trim(0);
	size_t trimmed = resident();
	end_workers(threads);

	one_burst(threads);
	double start = now();
	close(report);
	size_t rest = resident();
	while (rest > most && now() < start + WAIT_SECONDS) {
		sleep_ms(100);
		rest = resident();
	}
	double took = now() - start;
	end_workers(threads);
	for (size_t i = 0; i < live_count; i++) {
		pattern_check(live[i], 100, 1);
		free(live[i]);
	}
	int failed = trimmed > most || rest > most;
	say("%s%s, %s, %s order: %zu MiB of at most %zu upon malloc_trim, %zu MiB after %.1f s",
	    failed ? "FAILED: " : "", scenario->name,
	    mixture->name, in_random_order ? "random" : "allocation", (trimmed - base) / MIB,
	    (most - base) / MIB, (rest - base) / MIB, took);
	return failed;
}

int main(int argc, char **argv)
{
	const int cases = 2 * COUNT(scenarios);
	const int at_once = env_flag("QUARRY_TEST_FULL") ? AT_ONCE_BYTES / (1024 * MIB) : AT_ONCE_BYTES / (256 * MIB);
	int running = 0, failed = 0, status;

	test_start(280);
	if (argc == 3)
		return run_case(atoi(argv[1]), atoi(argv[2]));
	test_seed(0);
	for (int i = 0; i < cases; i++) {
		char number[16], report[16], unused;
		int ends[2];

		if (running == at_once) {
			CHECK(wait(&status) > 0);
			failed += status != 0;
			running--;
		}
		CHECK(pipe(ends) == 0);
		snprintf(number, sizeof number, "%d", i);
		snprintf(report, sizeof report, "%d", ends[1]);
		CHECK(fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0);
		start_self(number, report);
		running++;
		close(ends[1]);
		while (read(ends[0], &unused, 1) > 0)
			continue;
		close(ends[0]);
	}
	for (; running > 0; running--) {
		CHECK(wait(&status) > 0);
		failed += status != 0;
	}
	return failed != 0;
}
