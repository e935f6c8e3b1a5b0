/* SPDX-License-Identifier: MIT */
/*
 * Looking inside while other threads allocate and free: heap walk, ownership, block-of, statistics, trim.
 *
 * Three kinds of blocks: pinned ones live throughout, and each walk must report each of them exactly once; dead ones,
 * all of one size that nothing else uses, were freed before the first walk, and none may report one; the rest come and
 * go meanwhile. Pinned and dead blocks come from threads that still run, that sit idle and that are gone.
 */
#include "stress.h"

#define MAKERS 4
#define PINNED 4000 /* per maker */
#define DEAD 3000   /* per maker */
#define DEAD_SIZE 1000
#define TABLE (1u << 16)

/* Pinned blocks by address; `seen` is the number of the last walk that reported the block. */
static struct pinned {
	void *block;
	size_t usable;
	size_t requested;
	unsigned seen;
} table[TABLE];

static struct pinned *pinned[MAKERS * PINNED];
static void *dead[MAKERS * DEAD];
static size_t dead_usable;
static int stop;
static pthread_barrier_t made, may_churn;
static unsigned walks;

static struct pinned *find(const void *block)
{
	size_t at = (size_t)((uintptr_t)block * UINT64_C(0x9e3779b97f4a7c15) >> 48) % TABLE;

	while (table[at].block != NULL && table[at].block != block)
		at = (at + 1) % TABLE;
	return &table[at];
}

/* Any size but those that share a size class with the dead blocks. */
static size_t any_size(uint64_t *rng)
{
	size_t nbytes;

	do
		nbytes = rng_size(rng, rng_below(rng, 500) == 0 ? 21 : 13);
	while (quarry_good_size(nbytes) == dead_usable);
	return nbytes;
}

static void churn(uint64_t *rng)
{
	enum { SLOTS = 300 };
	struct piece pieces[SLOTS] = { { .block = NULL } };

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct piece *piece = &pieces[rng_below(rng, SLOTS)];
		piece_free(rng, piece);
		/* Not piece_make: an aligned block may come from any class. */
		piece->nbytes = any_size(rng);
		piece->block = quarry_malloc(piece->nbytes);
		CHECK(piece->block != NULL);
		piece->alignment = 16;
		pattern_fill(piece->block, piece->nbytes, piece->tag);
	}
	for (int i = 0; i < SLOTS; i++)
		piece_free(rng, &pieces[i]);
}

static struct pinned *enter(void *block, size_t nbytes)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	struct pinned *entry = find(block);
	CHECKF(entry->block == NULL, "  %p was handed out twice", block);
	*entry = (struct pinned){ block, quarry_usable_size(block), nbytes, 0 };
	pthread_mutex_unlock(&lock);
	return entry;
}

/* The dead are freed by main, half of them, and by their makers. Maker 0 exits, 1 sits idle, 2 and 3 churn. */
static void *make(void *arg)
{
	size_t number = (uintptr_t)arg;
	uint64_t rng = test_seed(number + 1);

	for (size_t i = 0; i < DEAD || i < PINNED; i++) {
		if (i < DEAD)
			dead[number * DEAD + i] = quarry_malloc(DEAD_SIZE);
		if (i < PINNED) {
			size_t nbytes = any_size(&rng);
			void *block = quarry_malloc(nbytes);
			CHECK(block != NULL);
			pattern_fill(block, nbytes, 9);
			pinned[number * PINNED + i] = enter(block, nbytes);
		}
	}
	for (size_t i = 0; i < DEAD; i += 2)
		quarry_free(dead[number * DEAD + i]);
	pthread_barrier_wait(&made);
	if (number == 0)
		return NULL;
	pthread_barrier_wait(&may_churn);
	if (number >= 2)
		churn(&rng);
	else
		while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
			sleep_ms(1);
	return NULL;
}

/* Hardened, a block's usable size stands in the block, which a walk does not read. */
#ifdef QUARRY_HARDENED
#define IS_EXACT 0
#else
#define IS_EXACT 1
#endif

static int report(const struct quarry_block *block, void *arg)
{
	size_t *count = arg;

	CHECK(block->address != NULL && block->nbytes > 0 && block->arena != NULL && block->node >= -1);
	CHECKF(block->nbytes != dead_usable, "  walk %u reports a block of %zu bytes at %p: it was freed before", walks,
	       block->nbytes, block->address);
	struct pinned *entry = find(block->address);
	if (entry->block != NULL) {
		CHECKF(entry->seen != walks, "  walk %u reports %p twice", walks, block->address);
		CHECKF(IS_EXACT ? entry->usable == block->nbytes : entry->usable <= block->nbytes, "  walk %u: %p has %zu bytes, not %zu", walks, block->address,
		       entry->usable, block->nbytes);
		entry->seen = walks;
	}
	/* The callback may use the allocator. */
	if (++*count % 100 == 0)
		quarry_free(quarry_malloc(64));
	return 0;
}

static void walk(void)
{
	size_t count = 0;

	walks++;
	errno = 0;
	int result = quarry_walk(report, &count);
	if (result == -1 && errno == ENOTSUP)
		SKIP("this kernel has no membarrier to walk with");
	CHECK(result == 0);
	for (size_t i = 0; i < COUNT(pinned); i++)
		CHECKF(pinned[i]->seen == walks, "  walk %u has not reported %p (%zu bytes), which lives", walks,
		       pinned[i]->block, pinned[i]->usable);
	CHECK(count >= COUNT(pinned));
}

static int end_at_tenth(const struct quarry_block *block, void *arg)
{
	(void)block;
	return ++*(int *)arg == 10 ? 1234 : 0;
}

static int count_blocks(const struct quarry_block *block, void *arg)
{
	(void)block;
	++*(size_t *)arg;
	return 0;
}

/* Another thread looks at pinned blocks from all sides. */
static void *look(void *unused)
{
	uint64_t rng = test_seed(50), pinned_bytes = 0;
	static int own;

	for (size_t i = 0; i < COUNT(pinned); i++)
		pinned_bytes += pinned[i]->requested;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct pinned *entry = pinned[rng_below(&rng, COUNT(pinned))];
		char *inside = (char *)entry->block + rng_below(&rng, entry->usable);
		struct quarry_stats stats;
		size_t usable = 0;

		CHECK(quarry_owns(inside) == 1 && quarry_owns(&own) == 0 && quarry_owns(&usable) == 0);
		CHECKF(quarry_block_of(inside, &usable) == entry->block && usable == entry->usable,
		       "  block of %p is %p, not %p", inside, quarry_block_of(inside, NULL), entry->block);
		CHECK((quarry_owns((void *)(uintptr_t)rng_next(&rng)) & ~1) == 0);
		CHECK(quarry_stats_get(&stats, sizeof stats) == 0);
		CHECKF(stats.live >= pinned_bytes, "  statistics say %llu bytes live, at least %llu are",
		       (unsigned long long)stats.live, (unsigned long long)pinned_bytes);
		CHECK(stats.mapped >= stats.live && stats.arenas <= stats.arenas_mapped);
		if (rng_below(&rng, 2000) == 0)
			quarry_trim(0);
		pattern_check(entry->block, entry->requested, 9);
	}
	return unused;
}

int main(void)
{
	pthread_t threads[MAKERS], looking;
	size_t before = 0, after = 0;
	int calls = 0;

	test_start(60);
	test_seed(0);
	dead_usable = quarry_good_size(DEAD_SIZE);
	if (quarry_walk(count_blocks, &before) == -1 && errno == ENOTSUP)
		SKIP("this kernel has no membarrier to walk with");
	CHECK(pthread_barrier_init(&made, NULL, MAKERS + 1) == 0);
	CHECK(pthread_barrier_init(&may_churn, NULL, MAKERS) == 0);
	for (uintptr_t i = 0; i < MAKERS; i++)
		CHECK(pthread_create(&threads[i], NULL, make, (void *)i) == 0);
	pthread_barrier_wait(&made);
	CHECK(pthread_join(threads[0], NULL) == 0);
	for (size_t i = 1; i < COUNT(dead); i += 2)
		quarry_free(dead[i]);
	walk();
	CHECK(quarry_walk(end_at_tenth, &calls) == 1234 && calls == 10);

	pthread_barrier_wait(&may_churn);
	CHECK(pthread_create(&looking, NULL, look, NULL) == 0);
	for (double end = now() + test_seconds(3); now() < end;)
		walk();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	CHECK(pthread_join(looking, NULL) == 0);
	for (int i = 1; i < MAKERS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (size_t i = 0; i < COUNT(pinned); i++) {
		pattern_check(pinned[i]->block, pinned[i]->requested, 9);
		quarry_free(pinned[i]->block);
	}
	CHECK(quarry_walk(count_blocks, &after) == 0);
	CHECKF(after == before, "  %zu blocks before, %zu after all were freed", before, after);
	say("%u walks", walks);
	return 0;
}
