/* SPDX-License-Identifier: MIT */
/*
 * check_sample: chances and draws against their formulas, estimates against what a program knows of its call sites, and
 * what becomes of records and stacks. Seeds are fixed, so that what holds once holds always where one thread draws.
 */
#include "unit.h"

#include "emulated.h"
#include "heaps.h"

#include <math.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "address_map.h"
#include "large.h"
#include "quarry/cache.h"
#include "quarry/heap.h"
#include "quarry/profile.h"
#include "sample.h"
#include "span.h"
#include "unwind.h"

#define MEAN ((size_t)4096)

/* So many standard deviations away from the truth is never seen. */
#define SIGMAS 5

/* --- chance ------------------------------------------------------------------------------------------------------- */

START_TEST(probabilities_are_those_of_the_formula)
{
	for (double x = 1e-9; x < 100; x *= 1.01) {
		uint64_t units = (uint64_t)(x * (double)((uint64_t)1 << SAMPLE_UNIT_BITS));
		double expected = -expm1(-(double)units / (double)((uint64_t)1 << SAMPLE_UNIT_BITS));
		expect(fabs(sample_probability(units) - expected) <= 1e-12 * expected);
	}
}
END_TEST

#define DRAWS 200000

START_TEST(draws_are_exponential)
{
	double sum = 0;
	unsigned beyond[4] = {0};
	sample_seed(1);
	for (int i = 0; i < DRAWS; i++) {
		double x = (double)sample_draw() / (double)((uint64_t)1 << SAMPLE_UNIT_BITS);
		expect(x >= 0 && x < 40);
		sum += x;
		for (unsigned k = 0; k < COUNT(beyond); k++)
			beyond[k] += x > 0.5 * (1 << k);
	}
	ck_assert_double_le(fabs(sum / DRAWS - 1), SIGMAS / sqrt(DRAWS));
	for (unsigned k = 0; k < COUNT(beyond); k++) {
		double p = exp(-0.5 * (1 << k));
		ck_assert_double_le(fabs(beyond[k] / (double)DRAWS - p), SIGMAS * sqrt(p * (1 - p) / DRAWS));
	}
}
END_TEST

/* The share of blocks of nbytes that is chosen, by each way of counting. */
static double share(uint64_t rate, size_t nbytes, unsigned n)
{
	unsigned chosen = 0;
	for (unsigned i = 0; i < n; i++)
		chosen += (i % 2 == 0 ? sample_count(rate, nbytes) : sample_count_big(rate, nbytes)) &&
			  sample_is_due(rate, nbytes);
	return chosen / (double)n;
}

START_TEST(blocks_are_chosen_by_their_bytes)
{
	const size_t sizes[] = {1, 16, 100, 1000, 4096, 10000, 65536};
	const uint64_t rate = ((uint64_t)1 << SAMPLE_UNIT_BITS) / MEAN;
	const unsigned n = 200000;
	sample_seed(2);
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		/* Another rate in between: what is left of a draw serves it as well. */
		share(rate * 7, 333, 100);
		double p = 1 - exp(-(double)sizes[i] / MEAN);
		ck_assert_double_le(fabs(share(rate, sizes[i], n) - p), SIGMAS * sqrt(p * (1 - p) / n) + 1e-9);
	}
	ck_assert(sample_count_big(rate, SIZE_MAX / 2) && sample_is_due(rate, SIZE_MAX / 2));
}
END_TEST

/* --- sites -------------------------------------------------------------------------------------------------------- */

typedef void *site(size_t nbytes);

#define SITE_NBYTES 128

/* Each a place of its own, which no compiler merges or calls last. */
#define SITE(name, call)                                                                                               \
	__attribute__((noinline, aligned(SITE_NBYTES))) static void *name(size_t nbytes)                             \
	{                                                                                                              \
		void *volatile block = call;                                                                           \
		__asm__ volatile("" : : "i"(__LINE__));                                                                \
		return block;                                                                                          \
	}
SITE(site_small, quarry_malloc(nbytes))
SITE(site_zeroed, quarry_calloc(1, nbytes))
SITE(site_aligned, quarry_aligned_alloc(256, nbytes))
SITE(site_other, quarry_malloc(nbytes))

/* Sums of the stacks that go through a site. */
static struct sample_sums sums_of(site *where)
{
	struct sample_sums all = {0};
	for (uint32_t number = 1; number <= sample_stack_count(); number++) {
		const struct sample_stack *stack = sample_stack_at(number);
		struct sample_sums sums = sample_sums_of(stack);
		bool through = false;
		for (uint32_t i = 0; i < stack->nframes; i++)
			through |= stack->frames[i] - (uintptr_t)where < SITE_NBYTES && stack->frames[i] > (uintptr_t)where;
		if (!through)
			continue;
		all.blocks += sums.blocks;
		all.nbytes += sums.nbytes;
		all.live_blocks += sums.live_blocks;
		all.live_nbytes += sums.live_nbytes;
		all.taken += sums.taken;
	}
	return all;
}

/* What a program knows of a site, and the variance of the estimate: each block counts for nbytes / p with chance p. */
struct truth {
	site *where;
	double nbytes, variance;
	double blocks, block_variance;
};

static void add_truth(struct truth *truth, size_t nbytes, int sign)
{
	double p = 1 - exp(-(double)nbytes / MEAN), odds = (1 - p) / p;
	truth->nbytes += sign * (double)nbytes;
	truth->variance += sign * (double)nbytes * (double)nbytes * odds;
	truth->blocks += sign;
	truth->block_variance += sign * odds;
}

static void expect_near(double estimate, double truth, double variance)
{
	ck_assert_msg(fabs(estimate - truth) <= SIGMAS * sqrt(variance) + 1, "%.0f is not %.0f +- %.0f", estimate, truth,
		      sqrt(variance));
}

static double blocks(uint64_t sum)
{
	return (double)sum / (1 << SAMPLE_BLOCK_BITS);
}

static void start(size_t mean)
{
	sample_seed(3);
	ck_assert_int_eq(quarry_profile_start(mean), 0);
}

#define HELD 20000

START_TEST(estimates_are_near_the_truth_at_each_site)
{
	static void *held[HELD];
	static size_t size[HELD];
	static struct truth *owner[HELD];
	struct truth live[] = {{.where = site_small}, {.where = site_zeroed}, {.where = site_aligned}, {.where = site_other}};
	struct truth all[COUNT(live)];
	const size_t most[] = {200, 5000, 3000, 100000};
	uint64_t seed = 5;
	memcpy(all, live, sizeof live);
	start(MEAN);
	for (int step = 0; step < 5 * HELD; step++) {
		size_t i = random_below(&seed, HELD), which = random_below(&seed, COUNT(live));
		if (which == 3 && random_below(&seed, 50) > 0)
			continue;
		if (held[i] != NULL) {
			add_truth(owner[i], size[i], -1);
			quarry_free(held[i]);
		}
		size[i] = 1 + random_below(&seed, most[which]);
		/* counted as the class with the alignment */
		if (which == 2 && !QUARRY_HARDENED && sizeclass_of_aligned(size[i], 256) >= 0)
			size[i] = sizeclass_nbytes((unsigned)sizeclass_of_aligned(size[i], 256));
		owner[i] = &live[which];
		held[i] = live[which].where(size[i]);
		add_truth(owner[i], size[i], 1);
		add_truth(&all[which], size[i], 1);
	}
	for (unsigned i = 0; i < COUNT(live); i++) {
		struct sample_sums sums = sums_of(live[i].where);
		ck_assert_uint_gt(sums.taken, 100);
		expect_near((double)sums.live_nbytes, live[i].nbytes, live[i].variance);
		expect_near(blocks(sums.live_blocks), live[i].blocks, live[i].block_variance);
		expect_near((double)sums.nbytes, all[i].nbytes, all[i].variance);
		expect_near(blocks(sums.blocks), all[i].blocks, all[i].block_variance);
	}
	for (int i = 0; i < HELD; i++)
		quarry_free(held[i]);
	for (unsigned i = 0; i < COUNT(live); i++)
		ck_assert_uint_eq(sums_of(live[i].where).live_nbytes, 0);
	ck_assert_uint_eq(sample_control.dropped, 0);
}
END_TEST

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* With a mean of one byte all but every block is chosen. */
START_TEST(chosen_blocks_keep_their_contracts)
{
	start(1);
	for (size_t nbytes = 100; nbytes < 20000; nbytes += 777) {
		char *block = site_small(nbytes), *zero = site_zeroed(nbytes), *aligned = site_aligned(nbytes);
		ck_assert_uint_eq(quarry_usable_size(block), quarry_good_size(nbytes));
		ck_assert_uint_eq((uintptr_t)aligned % 256, 0);
		ck_assert(reads_as_zero(zero, nbytes));
		ck_assert_uint_eq(address_map_word(block), WORD_SPAN);
		memset(block, 1, quarry_usable_size(block));
		block = quarry_realloc(block, 2 * nbytes);
		for (size_t i = 0; i < nbytes; i++)
			expect(block[i] == 1);
		quarry_free(block);
		quarry_free(zero);
		quarry_free(aligned);
	}
	ck_assert_uint_eq(sums_of(site_small).live_nbytes, 0);
	ck_assert_ptr_nonnull(site_small(0));
	ck_assert_uint_le(sums_of(site_small).live_nbytes, 2);
}
END_TEST

static size_t live_nbytes(void)
{
	size_t nbytes = 0;
	for (uint32_t number = 1; number <= sample_stack_count(); number++)
		nbytes += sample_sums_of(sample_stack_at(number)).live_nbytes;
	return nbytes;
}

/* Sizes that are chosen for certain, so that estimates are exact. */
START_TEST(blocks_that_change_their_size_are_counted_anew)
{
	const size_t span = 1 << 20, large = 64 << 20;
	start(MEAN);
	char *block = site_other(span);
	ck_assert_uint_eq(live_nbytes(), span);
	block = quarry_realloc(block, 2 * span); /* in place, where it is a span */
	ck_assert_uint_eq(live_nbytes(), 2 * span);
	if (QUARRY_HARDENED)
		block = quarry_realloc(block, span);
	else
		ck_assert_uint_ge(quarry_resize_in_place(block, span), span);
	ck_assert_uint_eq(live_nbytes(), span);
	block = quarry_realloc(block, large);
	ck_assert_uint_eq(live_nbytes(), large);
	ck_assert_uint_ne(large_sample(block), 0);
	block = quarry_realloc(block, 4 * large);
	ck_assert_uint_eq(live_nbytes(), 4 * large);
	block = quarry_realloc(block, span);
	ck_assert_uint_eq(live_nbytes(), span);
	quarry_profile_stop();
	block = quarry_realloc(block, 2 * span); /* known no more, whatever way it went */
	ck_assert_uint_eq(live_nbytes(), 0);
	quarry_free(block);
}
END_TEST

START_TEST(sessions)
{
	ck_assert_int_eq(quarry_profile_stop(), -1);
	ck_assert_int_eq(errno, EALREADY);
	ck_assert_int_eq(quarry_profile_start(SAMPLE_MEAN_MOST + 1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_uint_eq(sample_tabled_limit, TABLE_LIMIT);
	quarry_free(site_small(SMALL));
	start(1);
	ck_assert_uint_eq(sample_tabled_limit, 0);
	ck_assert_int_eq(quarry_profile_start(1), -1);
	ck_assert_int_eq(errno, EALREADY);
	void *old = site_small(1000), *later = site_small(1000);
	ck_assert_uint_eq(sums_of(site_small).live_nbytes, 2000);
	ck_assert_int_eq(quarry_profile_stop(), 0);
	ck_assert_uint_eq(sample_tabled_limit, TABLE_LIMIT);
	void *uncounted = site_small(1000);
	quarry_free(old); /* what is live stays known */
	ck_assert_uint_eq(sums_of(site_small).live_nbytes, 1000);
	ck_assert_uint_eq(sums_of(site_small).nbytes, 2000);
	start(1);
	ck_assert_uint_eq(sums_of(site_small).nbytes, 0);
	void *fresh = site_small(1000);
	quarry_free(later); /* of an older session: nobody's */
	quarry_free(uncounted);
	ck_assert_uint_eq(sums_of(site_small).live_nbytes, 1000);
	quarry_free(fresh);
	ck_assert_uint_eq(sums_of(site_small).live_nbytes, 0);
}
END_TEST

START_TEST(what_is_asked_from_outside_is_done_on_a_slow_path)
{
	quarry_free(site_small(SMALL));
	atomic_store(&sample_control.wanted, 1);
	quarry_free(quarry_malloc_on_node(SMALL, 0));
	void *block = site_small(LARGE_REQUEST_THRESHOLD + 1); /* any slow path */
	ck_assert_uint_ne(sample_rate(), 0);
	ck_assert_uint_eq(sample_control.mean, 1);
	ck_assert_uint_eq(sample_control.wanted, SAMPLE_ASKED_NOTHING);
	quarry_free(block);
	atomic_store(&sample_control.wanted, SAMPLE_ASKED_STOP);
	quarry_free(site_small(LARGE_REQUEST_THRESHOLD + 1));
	ck_assert_uint_eq(sample_rate(), 0);
}
END_TEST

/* --- bounds ------------------------------------------------------------------------------------------------------- */

START_TEST(the_same_frames_are_one_stack)
{
	uintptr_t one[] = {1, 2, 3}, other[] = {1, 2, 4};
	uint32_t number = sample_find_stack(one, 3, NULL);
	ck_assert_uint_ne(number, 0);
	ck_assert_uint_eq(sample_find_stack(one, 3, NULL), number);
	ck_assert_uint_ne(sample_find_stack(one, 2, NULL), number);
	ck_assert_uint_ne(sample_find_stack(other, 3, NULL), number);
	ck_assert_uint_eq(sample_stack_count(), 3);
}
END_TEST

START_TEST(more_stacks_than_places_share_one)
{
	for (uintptr_t i = 1; i < 2 * SAMPLE_STACKS; i++)
		expect(sample_find_stack(&i, 1, NULL) != 0);
	ck_assert_uint_eq(sample_stack_count(), SAMPLE_STACKS);
	uintptr_t first = 1, last = 2 * SAMPLE_STACKS - 1;
	ck_assert_uint_eq(sample_find_stack(&first, 1, NULL), 1);
	ck_assert_uint_eq(sample_find_stack(&last, 1, NULL), SAMPLE_STACKS);
	ck_assert_uint_eq(sample_stack_at(SAMPLE_STACKS)->nframes, 0);
}
END_TEST

START_TEST(without_a_record_a_block_is_not_in_the_profile)
{
	static uint32_t numbers[SAMPLE_RECORDS];
	ck_assert(sample_start(1));
	for (unsigned i = 0; i < SAMPLE_RECORDS; i++)
		expect((numbers[i] = sample_take(sample_rate(), 1000, 1024)) != 0);
	ck_assert_uint_eq(sample_take(sample_rate(), 1000, 1024), 0);
	void *block = site_small(1000);
	ck_assert_ptr_nonnull(block);
	ck_assert_uint_eq(sums_of(site_small).taken, 0);
	ck_assert_uint_eq(sample_control.dropped, 1);
	quarry_free(block);
	sample_forget(numbers[7]);
	ck_assert_uint_eq(sample_take(sample_rate(), 1000, 1024), numbers[7]);
}
END_TEST

/* --- stacks ------------------------------------------------------------------------------------------------------- */

__attribute__((noinline)) static unsigned recurse(unsigned depth, uintptr_t *frames)
{
	unsigned n = depth == 0 ? unwind_stack(frames, SAMPLE_FRAMES) : recurse(depth - 1, frames);
	__asm__ volatile("");
	return n;
}

START_TEST(walks_end_at_their_bound)
{
	uintptr_t frames[SAMPLE_FRAMES], deep[SAMPLE_FRAMES];
	unsigned n = recurse(10, frames);
	ck_assert_uint_gt(n, 11);
	ck_assert_uint_lt(n, SAMPLE_FRAMES);
	for (unsigned i = 2; i <= 10; i++)
		ck_assert_uint_eq(frames[i], frames[1]);
	ck_assert_uint_eq(recurse(1000, deep), SAMPLE_FRAMES);
	ck_assert_uint_eq(deep[SAMPLE_FRAMES - 1], frames[1]);
}
END_TEST

/* A place behind a call in a function whose frame is larger than what is left of the stack where it is put. */
__attribute__((noinline)) static uintptr_t return_address(volatile char *frame)
{
	frame[0] = 0;
	return (uintptr_t)__builtin_return_address(0);
}

__attribute__((noinline)) static uintptr_t within_a_large_frame(void)
{
	volatile char frame[1 << 16];
	uintptr_t address = return_address(frame);
	__asm__ volatile("" : : "r"(frame));
	return address;
}

static ucontext_t outside, inside;
static uintptr_t *stack_end;

/* Who switches stacks by himself may leave anything where the outermost return address should be. */
static void walk_beyond_the_end(void)
{
	uintptr_t frames[SAMPLE_FRAMES], *word = __builtin_frame_address(0);
	unsigned n = recurse(3, frames);
	ck_assert_uint_gt(n, 4);
	while (word < stack_end && *word != frames[n - 1])
		word++;
	ck_assert(word < stack_end);
	uintptr_t outermost = *word;
	*(volatile uintptr_t *)word = within_a_large_frame();
	unsigned without = recurse(3, frames);
	*(volatile uintptr_t *)word = outermost;
	ck_assert_uint_eq(without, n);
	ck_assert_uint_eq(frames[n - 1], within_a_large_frame());
}

START_TEST(a_walk_ends_where_the_stack_does)
{
	const size_t nbytes = 1 << 18;
	if (is_emulated())
		return; /* memcheck wants no word to be asked for that may not be read */
	char *stack = mmap(NULL, 2 * nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(stack != MAP_FAILED && mprotect(stack, nbytes, PROT_READ | PROT_WRITE) == 0);
	ck_assert_int_eq(getcontext(&inside), 0);
	inside.uc_stack = (stack_t){.ss_sp = stack, .ss_size = nbytes};
	inside.uc_link = &outside;
	stack_end = (uintptr_t *)(stack + nbytes);
	makecontext(&inside, walk_beyond_the_end, 0);
	ck_assert_int_eq(swapcontext(&outside, &inside), 0);
	munmap(stack, 2 * nbytes);
}
END_TEST

/* --- threads and forks -------------------------------------------------------------------------------------------- */

#define THREADS 4
#define PER_THREAD 500

static void *hold(void *unused)
{
	(void)unused;
	for (int i = 0; i < PER_THREAD; i++)
		expect(site_other(50 * MEAN) != NULL);
	return NULL;
}

START_TEST(what_threads_leave_behind_stays_live)
{
	pthread_t threads[THREADS];
	start(MEAN);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hold, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(sums_of(site_other).live_nbytes, THREADS * PER_THREAD * 50 * MEAN);
	ck_assert_double_le(fabs(blocks(sums_of(site_other).live_blocks) - THREADS * PER_THREAD), 0.1);
}
END_TEST

/* One block after the other, as every new thread has it: none is favoured by being a thread's first. */
static void *take_one(void *unused)
{
	(void)unused;
	return site_small(MEAN / 2);
}

START_TEST(a_threads_first_block_is_chosen_as_any_other)
{
	const unsigned n = 2000;
	const double p = 1 - exp(-0.5);
	start(MEAN);
	for (unsigned i = 0; i < n; i++) {
		pthread_t thread;
		expect(pthread_create(&thread, NULL, take_one, NULL) == 0 && pthread_join(thread, NULL) == 0);
	}
	ck_assert_double_le(fabs((double)sums_of(site_small).taken - n * p), SIGMAS * sqrt(n * p * (1 - p)));
}
END_TEST

START_TEST(a_forked_child_goes_on_by_itself)
{
	const size_t nbytes = 50 * MEAN;
	start(MEAN);
	void *block = site_other(nbytes);
	pid_t child = fork();
	if (child == 0) {
		bool good = sums_of(site_other).live_nbytes == nbytes;
		void *another = site_other(nbytes);
		good = good && sums_of(site_other).live_nbytes == 2 * nbytes;
		quarry_free(block);
		quarry_free(another);
		_exit(good && sums_of(site_other).live_nbytes == 0 ? 0 : 1);
	}
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(sums_of(site_other).live_nbytes, nbytes);
	quarry_free(block);
}
END_TEST

/* --- text --------------------------------------------------------------------------------------------------------- */

START_TEST(it_is_written_with_what_is_mapped)
{
	FILE *file = tmpfile();
	char line[4096];
	bool has_stack = false, has_maps = false;
	unsigned long live, nbytes, all, all_nbytes;
	ck_assert_ptr_nonnull(file);
	start(MEAN);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(site_other(50 * MEAN));
	quarry_free(site_other(50 * MEAN));
	ck_assert_int_eq(quarry_profile_write(fileno(file)), 0);
	rewind(file);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
	ck_assert_int_eq(sscanf(line, "heap profile: %lu: %lu [%lu: %lu] @ heapprofile", &live, &nbytes, &all, &all_nbytes), 4);
	ck_assert(live == 3 && nbytes == 150 * MEAN && all == 4 && all_nbytes == 200 * MEAN);
	while (fgets(line, sizeof line, file)) {
		has_stack |= sscanf(line, "%lu: %lu [%lu: %lu] @ 0x", &live, &nbytes, &all, &all_nbytes) == 4;
		has_maps |= strstr(line, " r-xp ") != NULL;
	}
	ck_assert(has_stack && has_maps);
	fclose(file);
	ck_assert_int_eq(quarry_profile_write(-1), -1);
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

/* --- what malloc did not give ------------------------------------------------------------------------------------- */

static struct quarry_cache *orders;
static struct quarry_heap *tenant;
SITE(site_object, ((void)nbytes, quarry_cache_alloc(orders)))
SITE(site_tenant, quarry_heap_malloc(tenant, nbytes))

/* The stacks through a site all have this kind and label. */
static void expect_label(site *where, enum sample_kind kind, const char *label)
{
	for (uint32_t number = 1; number <= sample_stack_count(); number++) {
		const struct sample_stack *stack = sample_stack_at(number);
		for (uint32_t i = 0; i < stack->nframes; i++)
			if (stack->frames[i] - (uintptr_t)where < SITE_NBYTES && stack->frames[i] > (uintptr_t)where)
				ck_assert(stack->kind == kind && strcmp(stack->label, label) == 0);
	}
}

#define OWNED 20000
#define OBJECT_NBYTES ((size_t)72)

START_TEST(typed_caches_and_heaps_are_in_it)
{
	static void *held[2][OWNED];
	struct truth object = {.where = site_object}, block = {.where = site_tenant};
	orders = quarry_cache_create("orders", OBJECT_NBYTES, 0, NULL, NULL, 0);
	tenant = quarry_heap_create("tenant", 0);
	quarry_cache_free(orders, quarry_cache_alloc(orders)); /* its magazine is open */
	start(MEAN);
	for (unsigned i = 0; i < OWNED; i++) {
		size_t nbytes = i % 100 == 0 ? 20000 : 1 + i % 500;
		held[0][i] = site_object(OBJECT_NBYTES);
		held[1][i] = site_tenant(nbytes);
		add_truth(&object, OBJECT_NBYTES, 1);
		add_truth(&block, nbytes, 1);
	}
	struct sample_sums of_objects = sums_of(site_object), of_blocks = sums_of(site_tenant);
	ck_assert(of_objects.taken > 100 && of_blocks.taken > 100);
	expect_near((double)of_objects.live_nbytes, object.nbytes, object.variance);
	expect_near((double)of_blocks.live_nbytes, block.nbytes, block.variance);
	expect_label(site_object, SAMPLE_OF_CACHE, "orders");
	expect_label(site_tenant, SAMPLE_OF_HEAP, "tenant");
	for (unsigned i = 0; i < OWNED; i += 2)
		quarry_cache_free(orders, held[0][i]);
	for (unsigned i = 0; i < OWNED; i++)
		if (i % 3 == 0)
			quarry_heap_free(tenant, held[1][i]);
	ck_assert_uint_lt(sums_of(site_tenant).live_nbytes, of_blocks.live_nbytes);
	ck_assert_int_eq(quarry_profile_stop(), 0);
	for (unsigned i = 1; i < OWNED; i += 2) /* into the magazine, which is open again */
		quarry_cache_free(orders, held[0][i]);
	quarry_cache_trim(orders);
	ck_assert_uint_eq(sums_of(site_object).live_nbytes, 0);
	quarry_heap_destroy(tenant);
	ck_assert_uint_eq(sums_of(site_tenant).live_nbytes, 0);
	ck_assert(!sample_has_owned());
	ck_assert_int_eq(quarry_cache_destroy(orders), 0);
}
END_TEST

START_TEST(a_cache_that_drops_objects_forgets_them)
{
	orders = quarry_cache_create("dropped", OBJECT_NBYTES, 0, NULL, NULL, QUARRY_CACHE_DROP);
	start(MEAN);
	for (unsigned i = 0; i < 2000; i++)
		ck_assert_ptr_nonnull(site_object(OBJECT_NBYTES));
	ck_assert(sample_has_owned());
	ck_assert_int_eq(quarry_cache_destroy(orders), 0);
	ck_assert(!sample_has_owned());
	ck_assert_uint_eq(sums_of(site_object).live_nbytes, 0);
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("sample");
	TCase *tcase = new_case(suite, "sample");
	if (!unwind_is_known())
		return 77;
	tcase_add_test(tcase, probabilities_are_those_of_the_formula);
	tcase_add_test(tcase, draws_are_exponential);
	tcase_add_test(tcase, blocks_are_chosen_by_their_bytes);
	tcase_add_test(tcase, estimates_are_near_the_truth_at_each_site);
	tcase_add_test(tcase, chosen_blocks_keep_their_contracts);
	tcase_add_test(tcase, blocks_that_change_their_size_are_counted_anew);
	tcase_add_test(tcase, sessions);
	tcase_add_test(tcase, what_is_asked_from_outside_is_done_on_a_slow_path);
	tcase_add_test(tcase, the_same_frames_are_one_stack);
	tcase_add_test(tcase, more_stacks_than_places_share_one);
	tcase_add_test(tcase, without_a_record_a_block_is_not_in_the_profile);
	tcase_add_test(tcase, walks_end_at_their_bound);
	tcase_add_test(tcase, a_walk_ends_where_the_stack_does);
	tcase_add_test(tcase, what_threads_leave_behind_stays_live);
	tcase_add_test(tcase, a_threads_first_block_is_chosen_as_any_other);
	tcase_add_test(tcase, a_forked_child_goes_on_by_itself);
	tcase_add_test(tcase, it_is_written_with_what_is_mapped);
	tcase_add_test(tcase, typed_caches_and_heaps_are_in_it);
	tcase_add_test(tcase, a_cache_that_drops_objects_forgets_them);
	return run_suite(suite);
}
