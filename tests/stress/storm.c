/* SPDX-License-Identifier: MIT */
/*
 * Everything at once: 64 threads do random operations by every entry point on patterned blocks of 1 B to 8 MB, their
 * own and each other's, while threads end and are replaced, fork, move between nodes (four, pretended), and the purger,
 * trim, walks and statistics go on. A quarter of the threads under a sanitizer.
 *
 * A piece is with one thread at a time: in a thread's own pieces, or in the table, whose slots have a lock each. Every
 * piece is verified when it is freed, resized, moved or looked at, so that none can be corrupt and go unseen; at the
 * end as many were freed as made, and the library counts no byte live that was not before. At rest, and after each
 * tenth of the time, the accounting identity holds and resident memory does not grow.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "node.h"
#include "options.h"

#include <sched.h>

#include "stress.h"

#define THREADS (64 / SLOWER)
#define NODES 4
#define SLOTS 4096
#define OWN 24
#define LIFETIME 30000 /* steps of a thread */
#define MOST_LIVE (128 * MIB)
#define PARTS 10 /* of the time: the threads rest after each */
#define FORK_MS 150
#define CHILD_SECONDS 300 /* of which a loaded machine gives it few */

/* C++'s operators, by their mangled names; a sanitizer has its own. */
#if SLOWER == 1
void *cxx_new(size_t nbytes) __asm__("_Znwm");
void *cxx_new_array(size_t nbytes) __asm__("_Znam");
void *cxx_new_aligned(size_t nbytes, size_t alignment) __asm__("_ZnwmSt11align_val_t");
void cxx_delete(void *ptr) __asm__("_ZdlPv");
void cxx_delete_array_sized(void *ptr, size_t nbytes) __asm__("_ZdaPvm");
void cxx_delete_sized_aligned(void *ptr, size_t nbytes, size_t alignment) __asm__("_ZdlPvmSt11align_val_t");
#else
#define cxx_new quarry_malloc
#define cxx_new_array quarry_malloc
#define cxx_new_aligned(nbytes, alignment) quarry_aligned_alloc(alignment, nbytes)
#define cxx_delete quarry_free
#define cxx_delete_array_sized quarry_free_sized
#define cxx_delete_sized_aligned(ptr, nbytes, alignment) quarry_free_aligned_sized(ptr, alignment, nbytes)
#endif

static struct slot slots[SLOTS];

static struct {
	size_t live; /* bytes */
	size_t made, freed, steps, started, forks, moves, walks, trims;
} counts;
static int stop, want_fork;
static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;

static void add(size_t *count, size_t n)
{
	__atomic_fetch_add(count, n, __ATOMIC_RELAXED);
}

static size_t read_count(size_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

/* --- one piece ---------------------------------------------------------------------------------------------------- */

/* The large ones seldom, and only while all together are not too many. */
static size_t any_size(uint64_t *rng)
{
	unsigned bits = rng_below(rng, 1500) == 0 ? 23 : rng_below(rng, 20) == 0 ? 17 : 12;

	return rng_size(rng, read_count(&counts.live) > MOST_LIVE ? 8 : bits);
}

/* By the calls that piece_make does not know. */
static struct piece make_odd(uint64_t *rng, size_t nbytes, uint64_t tag)
{
	struct piece piece = { .nbytes = nbytes, .tag = tag, .alignment = 16 };
	unsigned long mask = 1 + rng_below(rng, (1 << NODES) - 1);
	int node = (int)rng_below(rng, NODES);

	switch (rng_below(rng, 10)) {
	case 0:
		piece.alignment = (size_t)16 << rng_below(rng, 9);
		piece.block = quarry_memalign(piece.alignment, nbytes);
		break;
	case 1:
		piece.alignment = (size_t)sysconf(_SC_PAGESIZE);
		/* A hardened library holds a sized free to what pvalloc made of the request. */
		piece.block = QUARRY_HARDENED || rng_below(rng, 2) == 0 ? quarry_valloc(nbytes) : quarry_pvalloc(nbytes);
		break;
	case 2:
	case 3:
		piece.block = quarry_malloc_on_node(nbytes, node);
		break;
	case 4:
		piece.block = quarry_malloc_interleaved(nbytes, &mask, NODES);
		break;
	case 5:
		piece.block = quarry_malloc_kind(nbytes, (enum quarry_kind)rng_below(rng, 3));
		break;
	case 6:
		piece.alignment = (size_t)32 << rng_below(rng, 8);
		piece.block = cxx_new_aligned(nbytes, piece.alignment);
		break;
	case 7:
		piece.block = cxx_new_array(nbytes);
		break;
	case 8:
		piece.block = quarry_reallocarray(NULL, 1, nbytes);
		break;
	default:
		piece.block = cxx_new(nbytes);
	}
	CHECKF(piece.block != NULL, "  no memory for %zu bytes", nbytes);
	CHECK((uintptr_t)piece.block % piece.alignment == 0 && quarry_usable_size(piece.block) >= nbytes);
	pattern_fill(piece.block, nbytes, tag);
	return piece;
}

static struct piece make(uint64_t *rng, uint64_t tag)
{
	size_t nbytes = any_size(rng);

	add(&counts.made, 1);
	add(&counts.live, nbytes);
	return rng_below(rng, 4) == 0 ? make_odd(rng, nbytes, tag) : piece_make(rng, nbytes, tag);
}

static void drop(uint64_t *rng, struct piece *piece)
{
	if (piece->block == NULL)
		return;
	add(&counts.freed, 1);
	add(&counts.live, -piece->nbytes);
	if (rng_below(rng, 6) != 0) {
		piece_free(rng, piece);
		return;
	}
	piece_verify(piece);
	size_t made = quarry_usable_size(piece->block); /* delete wants what new gave, whatever it was resized to in place */
	if (piece->alignment > 16)
		cxx_delete_sized_aligned(piece->block, made, piece->alignment);
	else if (rng_below(rng, 2) == 0)
		cxx_delete(piece->block);
	else
		cxx_delete_array_sized(piece->block, made);
	piece->block = NULL;
}

static void resize(uint64_t *rng, struct piece *piece)
{
	size_t before = piece->nbytes;

	piece_resize(rng, piece, any_size(rng));
	add(&counts.live, piece->nbytes - before);
}

static void look(uint64_t *rng, const struct piece *piece)
{
	size_t usable = quarry_usable_size(piece->block), found = 0;
	char *inside = (char *)piece->block + rng_below(rng, usable);

	CHECK(quarry_owns(inside) == 1 && quarry_block_of(inside, &found) == piece->block && found == usable);
	CHECK(quarry_node_of(inside) >= -1 && quarry_node_of(inside) < NODES);
	piece_verify(piece);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static void *live_in_child(void *arg)
{
	uint64_t rng = *(uint64_t *)arg + 1;

	for (int i = 0; i < 200; i++) {
		struct piece piece = make(&rng, 7);
		drop(&rng, &piece);
	}
	return NULL;
}

/* The thread's own pieces, and those of the table whose slots nobody had in hand; then news of its own. */
static void be_child(uint64_t *rng, struct piece own[OWN])
{
	pthread_t thread;

	alarm(SLOWER * CHILD_SECONDS);
	/* ThreadSanitizer starts no thread in the child of a threaded process. */
	if (SLOWER > 1)
		options.purge = OPTION_PURGE_OFF;
	for (size_t i = 0; i < OWN; i++)
		drop(rng, &own[i]);
	for (size_t i = rng_below(rng, 16); i < SLOTS; i += 16)
		if (pthread_mutex_trylock(&slots[i].lock) == 0)
			drop(rng, &slots[i].piece);
	live_in_child(rng);
	quarry_trim(0);
	if (SLOWER == 1)
		CHECK(pthread_create(&thread, NULL, live_in_child, rng) == 0 && pthread_join(thread, NULL) == 0);
	_exit(0);
}

static void fork_once(uint64_t *rng, struct piece own[OWN])
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		be_child(rng, own);
	CHECK(waitpid(child, &status, 0) == child);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "  fork child %zu ended with status %#x",
	       read_count(&counts.forks), (unsigned)status);
	add(&counts.forks, 1);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* To another CPU, hence node; or its memory alone. */
static void move(uint64_t *rng)
{
	cpu_set_t set;
	long ncpus = sysconf(_SC_NPROCESSORS_ONLN);

	CPU_ZERO(&set);
	CPU_SET(rng_below(rng, (size_t)ncpus), &set);
	if (rng_below(rng, 2) == 0)
		sched_setaffinity(0, sizeof set, &set);
	else
		CHECK(quarry_thread_node_set((int)rng_below(rng, NODES + 1) - 1) == 0);
	add(&counts.moves, 1);
}

static void step(uint64_t *rng, struct piece own[OWN], uint64_t tag)
{
	struct piece *piece = &own[rng_below(rng, OWN)];

	switch (rng_below(rng, 16)) {
	case 0:
	case 1:
		if (piece->block != NULL)
			resize(rng, piece);
		break;
	case 2:
		if (piece->block != NULL)
			look(rng, piece);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7: /* what lies in the table is somebody else's most of the time */
		*piece = swap(&slots[rng_below(rng, SLOTS)], *piece);
		break;
	case 8:
	case 9:
	case 10:
		drop(rng, piece);
		break;
	default:
		drop(rng, piece);
		*piece = make(rng, tag);
	}
	if (rng_below(rng, 3000) == 0)
		move(rng);
	if (rng_below(rng, 20000) == 0) {
		quarry_trim(rng_below(rng, 8 * MIB));
		add(&counts.trims, 1);
	}
	int wanted = 1;
	if (__atomic_load_n(&want_fork, __ATOMIC_RELAXED) &&
	    __atomic_compare_exchange_n(&want_fork, &wanted, 0, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		pthread_mutex_lock(&fork_lock);
		fork_once(rng, own);
		pthread_mutex_unlock(&fork_lock);
	}
}

static void *live_a_while(void *arg)
{
	uint64_t number = (uint64_t)(uintptr_t)arg, rng = test_seed(number + 1);
	size_t life = LIFETIME / 10 + rng_below(&rng, LIFETIME), i = 0;
	struct piece own[OWN] = { { .block = NULL } };

	for (; i < life && !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
		step(&rng, own, number % 1000);
	for (size_t k = 0; k < OWN; k++) { /* half of what it holds outlives it */
		if (rng_below(&rng, 2) == 0)
			own[k] = swap(&slots[rng_below(&rng, SLOTS)], own[k]);
		drop(&rng, &own[k]);
	}
	add(&counts.steps, i);
	return NULL;
}

/* --- the rest, and rests between ---------------------------------------------------------------------------------- */

static int count_block(const struct quarry_block *block, void *arg)
{
	CHECK(block->address != NULL && block->nbytes > 0 && block->node >= -1 && block->node < NODES);
	++*(size_t *)arg;
	return 0;
}

static void *watch(void *unused)
{
	static unsigned turn;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct quarry_stats stats;
		size_t blocks = 0;
		sleep_ms(FORK_MS);
		__atomic_store_n(&want_fork, 1, __ATOMIC_RELAXED);
		CHECK(quarry_stats_get(&stats, sizeof stats) == 0 && stats.nodes == NODES);
		if (++turn % 8 == 0 && quarry_walk(count_block, &blocks) == 0)
			add(&counts.walks, 1);
	}
	return unused;
}

/* While nobody else is inside. */
static void check_at_rest(uint64_t live_before, const char *when)
{
	struct quarry_stats stats;

	quarry_trim(0);
	CHECK(quarry_stats_get(&stats, sizeof stats) == 0);
	uint64_t sum = stats.live + stats.cached + stats.free_dirty + stats.free_clean + stats.metadata;
	CHECKF(stats.mapped == sum, "  %s: mapped %llu bytes, the parts are %llu", when,
	       (unsigned long long)stats.mapped, (unsigned long long)sum);
	CHECKF(stats.live >= live_before + counts.live, "  %s: %llu bytes are live, of which the program knows %llu", when,
	       (unsigned long long)stats.live, (unsigned long long)(live_before + counts.live));
}

static void blow(double seconds)
{
	pthread_t threads[THREADS], watching;
	double end = now() + seconds;

	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	CHECK(pthread_create(&watching, NULL, watch, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, live_a_while, (void *)(uintptr_t)counts.started++) == 0);
	for (size_t i = 0; now() < end; i = (i + 1) % THREADS)
		if (pthread_tryjoin_np(threads[i], NULL) == 0)
			CHECK(pthread_create(&threads[i], NULL, live_a_while, (void *)(uintptr_t)counts.started++) == 0);
		else
			sleep_ms(1);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(pthread_join(watching, NULL) == 0);
}

/* Resident beyond what is live, after the first part and the last: the same threads and blocks, give or take. */
static size_t overhead(void)
{
	size_t now_resident = resident();
	return now_resident > counts.live ? now_resident - counts.live : 0;
}

int main(void)
{
	double seconds = test_seconds(3), began;
	size_t start, first = 0, last = 0, end;
	uint64_t rng, live_before, migrations = 0;

	test_start(120);
	rng = test_seed(0);
	options.decay_ms = 100;
	node_set_for_tests(NODES);
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
	live_before = stats_live();
	start = resident();
	began = now();
	for (int part = 0; part < PARTS; part++) {
		blow(seconds / PARTS);
		check_at_rest(live_before, "between");
		last = overhead();
		first = part == 0 ? last : first;
	}
	for (int i = 0; i < SLOTS; i++)
		drop(&rng, &slots[i].piece);
	check_at_rest(live_before, "at the end");
	end = resident();
	for (int node = 0; node < NODES; node++)
		migrations += node_counters[node].migrations;
	say("%d threads at a time, %zu in all; %zu operations in %.1f minutes; %zu forks, %zu moves (%llu followed), "
	    "%zu walks, %zu trims", THREADS, counts.started, counts.steps, (now() - began) / 60, counts.forks, counts.moves,
	    (unsigned long long)migrations, counts.walks, counts.trims);
	say("%zu blocks made, %zu lost, 0 corrupt; resident MiB: %.1f at the start, beyond live ones %.1f after the first "
	    "part and %.1f after the last, %.1f at the end", counts.made, counts.made - counts.freed,
	    (double)start / MIB, (double)first / MIB, (double)last / MIB, (double)end / MIB);
	CHECK(counts.made == counts.freed && counts.live == 0);
	CHECKF(stats_live() == live_before, "  live before %llu bytes, after %llu", (unsigned long long)live_before,
	       (unsigned long long)stats_live());
	if (SLOWER == 1) /* a sanitizer's own memory grows */
		CHECK(last <= first + 32 * MIB && end <= start + 32 * MIB);
	return 0;
}
