/* SPDX-License-Identifier: MIT */
/*
 * Bench harness: what every load needs besides its own work. The loads call plain malloc and free; which allocator
 * answers is decided by LD_PRELOAD. Only what is measured passes through malloc: tables of the load itself come from
 * bench_table(), and nothing in the harness allocates between bench_init() and bench_report().
 *
 * A load is one short program: bench_init(), its arguments by bench_arg() and friends, bench_args_done(), then either
 * bench_threads() or its own bench_start()/bench_stop() pairs, then bench_report(). Arguments are key=value words;
 * `scale` multiplies every count of operations, `pin=0` leaves the threads to the scheduler, `cpus=0,8,1` binds thread
 * i to the i-th CPU of the list, and begins again at its end.
 */
#ifndef QUARRY_BENCH_HARNESS_H
#define QUARRY_BENCH_HARNESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Arguments. A key that no call asked for ends the program with status 2. */
void bench_init(int argc, char **argv, const char *workload);
long bench_arg(const char *key, long preset);
long bench_ops(const char *key, long preset);	/* as bench_arg, the preset multiplied by `scale` */
const char *bench_word(const char *key, const char *preset);
void bench_args_done(void);

/* Memory of the load itself: mapped, touched, zero, never given back by the harness; its sum is reported. */
void *bench_table(size_t nbytes);
void bench_table_drop(void *table, size_t nbytes);
long bench_table_kib(void);

/* The clock runs between bench_start and bench_stop; several such intervals add up. */
void bench_start(void);
void bench_stop(void);
double bench_now(void);
long bench_rss_kib(void);	/* resident now, exact (smaps_rollup), tables included */
long bench_peak_kib(void);	/* the most that was resident so far */
void bench_sleep(double seconds);

/*
 * The phases of one job on several threads; any but work may be NULL. Only work is timed. All threads finish one
 * phase before the next begins. measure runs once, in the main thread, while the workers still hold what they hold.
 * One thread alone is the main thread itself: a program that has no second thread stays without one.
 */
struct bench_job {
	void (*setup)(int id);
	void (*work)(int id);
	void (*measure)(void);
	void (*finish)(int id);
};
void bench_threads(int nthreads, const struct bench_job *job);

/* Creates nthreads threads that each run work(id) and end; returns when all have ended. Not timed by itself. */
void bench_spawn(int nthreads, void (*work)(int id));
void bench_pin(int id, int nthreads);	/* the calling thread, if there are CPUs enough for nthreads */
void bench_pin_to(int cpu);		/* the calling thread, or the program ends */
int bench_cpu_list(const char *key, int *cpus, int most);	/* an argument as `cpus`: how many there are */

/*
 * The result: one line of JSON. `check` must not depend on the allocator: the runner compares it between them.
 * bench_check_add is safe from any thread.
 */
void bench_metric(const char *name, double value);
void bench_metric_list(const char *name, const double *values, int count);	/* both are kept, not copied */
void bench_check_add(uint64_t amount);
void bench_report(double ops);
_Noreturn void bench_die(const char *what);

/* xorshift64*: one step gives 64 bits, of which the upper half is used first. */
struct bench_rng {
	uint64_t state;
};

static inline void bench_seed(struct bench_rng *rng, uint64_t seed)
{
	rng->state = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
}

static inline uint64_t bench_random(struct bench_rng *rng)
{
	uint64_t x = rng->state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	rng->state = x;
	return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* A number below n from 32 random bits, without a division. */
static inline uint32_t bench_below(uint32_t bits, uint32_t n)
{
	return (uint32_t)(((uint64_t)bits * n) >> 32);
}

/* A size of 16 to 4095 bytes, skewed to small, 462 bytes on average; the mix of a server's small blocks. */
static inline size_t bench_mixed_size(struct bench_rng *rng)
{
	uint64_t x = bench_random(rng);
	unsigned octave = x >> 61, other = x >> 58 & 7;

	if ((x >> 55 & 7) < 5 && other < octave)
		octave = other;
	return (size_t)(16u << octave) + bench_below((uint32_t)x, 16u << octave);
}

/*
 * A block that knows itself: its first word holds its size and address, its last byte repeats the size, and each of
 * its pages is touched. bench_drop checks both before the free and ends the program if the block was overwritten.
 * The least size is 16.
 */
static inline void bench_stamp(void *block, size_t nbytes)
{
	unsigned char *p = block;

	if (!p)
		bench_die("out of memory");
	*(uint64_t *)block = (uint64_t)(uint32_t)((uintptr_t)block >> 4) << 32 | (uint32_t)nbytes;
	for (size_t at = 4096; at < nbytes; at += 4096)
		p[at] = 1;
	p[nbytes - 1] = (unsigned char)nbytes;
}

static inline size_t bench_stamped(const void *block)
{
	uint64_t word = *(const uint64_t *)block;
	size_t nbytes = (uint32_t)word;

	if (word >> 32 != (uint32_t)((uintptr_t)block >> 4) ||
	    ((const unsigned char *)block)[nbytes - 1] != (unsigned char)nbytes)
		bench_die("a live block was overwritten");
	return nbytes;
}

static inline void *bench_make(size_t nbytes)
{
	void *block = malloc(nbytes);

	bench_stamp(block, nbytes);
	return block;
}

static inline size_t bench_drop(void *block)
{
	size_t nbytes = bench_stamped(block);

	free(block);
	return nbytes;
}

/*
 * A bounded queue of batches of blocks, for loads whose threads hand blocks on. A side that waits is woken when the
 * queue is half full or half empty, so that waking is rare beside the work on the blocks.
 */
enum { BENCH_BATCH = 256 };

struct bench_queue {
	pthread_mutex_t lock;
	pthread_cond_t filled, drained;
	void *(*ring)[BENCH_BATCH];
	size_t capacity, head, count;
	int producers;		/* that have not closed the queue yet */
};

void bench_queue_init(struct bench_queue *queue, size_t capacity, int producers);
void bench_queue_open(struct bench_queue *queue, int producers);	/* again, after all have closed it */
void bench_queue_put(struct bench_queue *queue, void **batch);
bool bench_queue_get(struct bench_queue *queue, void **batch);	/* false: closed and empty */
void bench_queue_close(struct bench_queue *queue);

#endif
