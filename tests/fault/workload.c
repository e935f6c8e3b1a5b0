/* SPDX-License-Identifier: MIT */
/*
 * Workload: see workload.h.
 *
 * One thread works at a time, except in one short phase, so that the calls come in the same order each time. Blocks
 * stand in one table; each is patterned, and verified whenever it is freed or changes size.
 */
#include "workload.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

#include "../abi/blackbox.h"
#include "inject.h"

#include "address_map.h"
#include "fork.h"
#include "guard_pace.h"
#include "node.h"
#include "options.h"
#include "os.h"
#include "purge.h"
#include "quarry/limit.h"
#include "quarry/profile.h"
#include "quarry/quarry.h"
#include "stats.h"
#include "thread.h"
#include "topology.h"

#define SLOTS 3000
#define PURGE_MS 25

static struct {
	char *block;
	size_t nbytes;
} slots[SLOTS];
static bool short_of_memory;
static uint64_t rng;

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* A word at each end and some between: of a large block few pages are touched. */
static size_t stride(size_t nbytes)
{
	return nbytes < 4096 ? 32 : nbytes / 64 & ~(size_t)7;
}

static uint64_t word_at(size_t slot, size_t offset)
{
	return (slot + 1) * UINT64_C(0x9e3779b97f4a7c15) + offset;
}

static void fill(size_t slot)
{
	char *block = slots[slot].block;
	size_t nbytes = slots[slot].nbytes;
	memset(block, (int)slot, nbytes < 8 ? nbytes : 8);
	for (size_t offset = 0; offset + 8 <= nbytes; offset += stride(nbytes))
		*(uint64_t *)(block + offset) = word_at(slot, offset);
	block[nbytes - 1] = (char)slot;
}

/* What was filled in for a size, up to `kept` bytes of it. */
static void verify(size_t slot, size_t kept)
{
	const char *block = slots[slot].block;
	size_t nbytes = slots[slot].nbytes;
	for (size_t offset = 0; offset + 8 <= kept && offset + 8 < nbytes; offset += stride(nbytes))
		CHECKF(*(const uint64_t *)(block + offset) == word_at(slot, offset), "  block %p of %zu bytes at %zu",
		       (const void *)block, nbytes, offset);
	CHECK(kept < nbytes || block[nbytes - 1] == (char)slot);
}

static bool is_there(const void *block)
{
	if (block == NULL)
		CHECKF(short_of_memory && errno == ENOMEM, "  NULL, errno %d, though memory is not short", errno);
	return block != NULL;
}

static void put(size_t slot, void *block, size_t nbytes)
{
	slots[slot].block = block;
	slots[slot].nbytes = nbytes;
	if (is_there(block)) {
		CHECK(quarry_usable_size(block) >= nbytes);
		fill(slot);
	}
}

static void release(size_t slot)
{
	if (slots[slot].block == NULL)
		return;
	verify(slot, slots[slot].nbytes);
	errno = 77;
	quarry_free(slots[slot].block);
	CHECKF(errno == 77, "  free has changed errno to %d", errno);
	slots[slot].block = NULL;
}

static void make(size_t slot, size_t nbytes)
{
	release(slot);
	errno = 0;
	switch (rng_below(&rng, 8)) {
	case 0: {
		char *block = quarry_calloc(1, nbytes);
		CHECK(block == NULL || (is_zero(block, nbytes < 65536 ? nbytes : 65536) && block[nbytes - 1] == 0));
		put(slot, block, nbytes);
		break;
	}
	case 1: {
		size_t alignment = (size_t)1 << rng_below(&rng, 17);
		char *block = quarry_aligned_alloc(alignment, nbytes);
		CHECK((uintptr_t)block % alignment == 0);
		put(slot, block, nbytes);
		break;
	}
	default:
		put(slot, quarry_malloc(nbytes), nbytes);
	}
}

static void resize(size_t slot, size_t nbytes)
{
	if (slots[slot].block == NULL)
		return;
	verify(slot, slots[slot].nbytes);
	errno = 0;
	char *block = quarry_realloc(slots[slot].block, nbytes);
	if (!is_there(block)) {
		verify(slot, slots[slot].nbytes);
		return;
	}
	slots[slot].block = block;
	verify(slot, nbytes < slots[slot].nbytes ? nbytes : slots[slot].nbytes);
	slots[slot].nbytes = nbytes;
	fill(slot);
}

static void make_some(size_t from, size_t to, unsigned bits)
{
	for (size_t slot = from; slot < to; slot++)
		make(slot, rng_size(&rng, bits));
}

static void release_some(size_t from, size_t to, size_t step)
{
	for (size_t slot = from; slot < to; slot += step)
		release(slot);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

struct census {
	size_t found, foreign;
};

/* Each live block is in the table: the walk reports it once, and nothing else. */
static int count_block(const struct quarry_block *block, void *arg)
{
	struct census *census = arg;
	size_t slot = 0;
	while (slot < SLOTS && slots[slot].block != block->address)
		slot++;
	census->found += slot < SLOTS;
	census->foreign += slot == SLOTS;
	return 0;
}

static void walk(void)
{
	struct census census = { 0, 0 };
	size_t live = 0;
	for (size_t slot = 0; slot < SLOTS; slot++)
		live += slots[slot].block != NULL;
	errno = 0;
	int result = quarry_walk(count_block, &census);
	if (result != 0) {
		CHECKF(errno == ENOTSUP ? calls_failed(CALL_MEMBARRIER) > 0 : errno == ENOMEM && calls_failed(CALL_MMAP) > 0,
		       "  walk: errno %d", errno);
		return;
	}
	CHECKF(census.found == live && census.foreign == 0, "  of %zu blocks the walk found %zu, and %zu others", live,
	       census.found, census.foreign);
}

/* The parts make the whole, and it is what the system was asked for. */
static bool adds_up(struct quarry_stats *stats, bool complain)
{
	CHECK(quarry_stats_get(stats, sizeof *stats) == 0);
	size_t parts = stats->live + stats->cached + stats->free_dirty + stats->free_clean + stats->metadata;
	size_t expected = stats->mapped + address_map_reserved(), mapped = mapped_now();
	CHECKF(!complain || stats->mapped == parts, "  %zu bytes are mapped, the parts are %zu", (size_t)stats->mapped,
	       parts);
	CHECKF(!complain || (mapped >= expected && mapped - expected <= left_mapped()),
	       "  %zu bytes are mapped, %zu accounted for; calls that failed left %zu", mapped, expected, left_mapped());
	return stats->mapped == parts && mapped >= expected && mapped - expected <= left_mapped();
}

/* While one thread runs. The purger may have something in hand for a moment: then that is missing. */
static struct quarry_stats take_stock(void)
{
	struct quarry_stats stats;
	for (int tries = 0; tries < 100 && !adds_up(&stats, false); tries++)
		sleep_ms(10);
	adds_up(&stats, true);
	return stats;
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

/* What the library's constructor does, with two nodes, the second without CPUs. */
static void begin(void)
{
	static const uint8_t index_of[TOPOLOGY_NKEYS], orders[2][2] = { { 0, 1 }, { 1, 0 } };
	static const struct topology_node nodes[2] = { { .os_index = 0, .nearest = orders[0] },
						       { .os_index = 1, .nearest = orders[1] } };
	static const struct topology machine = {
		.version = TOPOLOGY_VERSION, .nnodes = 2, .index_of = index_of, .nodes = nodes, .bind = bind_memory,
	};

	options_parse("decay_ms:0,stats:exit");
	stats_at_start();
	os_barrier_ready();
	thread_init();
	fork_init();
	node_init();
	node_publish(&machine);
	purge_allow();
}

static void one_thread(void)
{
	make_some(0, 1500, 14);
	make_some(1500, 1560, 21);
	for (size_t slot = 1560; slot < 1566; slot++)
		make(slot, (4 + slot % 5) * MIB + slot);
	release_some(0, 1500, 3);
	release_some(1500, 1566, 2);
	make_some(0, 500, 12);
	for (size_t slot = 1600; slot < 1604; slot++)
		put(slot, quarry_aligned_alloc(MIB << slot % 4 * 2, 100 * KIB), 100 * KIB);
	/* Arenas beyond what the first stretch of the address map covers; and blocks far apart. */
	for (size_t slot = 1610; slot < 1690; slot++)
		make(slot, 4 * MIB - 100);
	release_some(1610, 1690, 1);
	put(1604, quarry_aligned_alloc(1024 * MIB, 300 * MIB), 300 * MIB);
	put(1605, quarry_aligned_alloc(1024 * MIB, 300 * MIB), 300 * MIB);
}

/* More guarded blocks than there are slots, which come again; some stay. */
static void guarded(void)
{
	guard_pace_begin(1);
	for (int round = 0; round < 2; round++) {
		make_some(2500, 2600, 13);
		release_some(2500 + (size_t)round, 2600, 2);
	}
	resize(2501, 3000);
	quarry_trim(0);
	make_some(2600, 2610, 12);
	guard_pace_begin(0);
}

/* A large block grows in place, by moving, next to what was just freed, and shrinks. */
static void grow(void)
{
	make(1700, 5 * MIB);
	make(1701, 5 * MIB);
	for (size_t nbytes = 6 * MIB; nbytes < 40 * MIB; nbytes += 11 * MIB) {
		resize(1700, nbytes);
		resize(1701, nbytes + 100);
	}
	release(1700);
	resize(1701, 45 * MIB);
	resize(1701, 20 * MIB);
	resize(1701, 300 * KIB);
	for (size_t nbytes = 10; nbytes < 9 * MIB; nbytes *= 3) {
		if (slots[1702].block == NULL)
			make(1702, nbytes);
		resize(1702, nbytes);
	}
}

/* Frees what the thread before it made, and makes blocks for the next one to free. */
static void *successor(void *arg)
{
	size_t part = (size_t)(uintptr_t)arg;
	release_some(0, 1500, 4 - part);
	make_some(1800 + 200 * part, 1800 + 200 * (part + 1), 13);
	make(1704 + part, 6 * MIB);
	return NULL;
}

static void in_turn(void)
{
	pthread_t thread;
	for (uintptr_t part = 0; part < 3; part++) {
		start_thread(&thread, successor, part);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	release_some(1800, 2400, 2);
	make_some(0, 1500, 11);
}

/* The only phase with threads side by side: they wait for locks. The blocks are their own. */
static void *contend(void *arg)
{
	uint64_t own = (uint64_t)(uintptr_t)arg + 1;
	void *held[64] = { NULL };
	for (int round = 0; round < 3000; round++) {
		size_t i = rng_below(&own, COUNT(held)), nbytes = rng_size(&own, 15);
		quarry_free(held[i]);
		held[i] = quarry_malloc(nbytes);
		if (is_there(held[i]))
			memset(held[i], 1, nbytes < 64 ? nbytes : 64);
		if (round % 512 == 0)
			quarry_trim(0);
	}
	for (size_t i = 0; i < COUNT(held); i++)
		quarry_free(held[i]);
	return NULL;
}

static void side_by_side(void)
{
	pthread_t threads[3];
	for (uintptr_t i = 0; i < COUNT(threads); i++)
		start_thread(&threads[i], contend, i);
	for (size_t i = 0; i < COUNT(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static pthread_barrier_t meeting;

/* Stays in the process, with blocks in its cache, while the others go on. */
static void *bystander(void *unused)
{
	(void)unused;
	make_some(2400, 2500, 12);
	release_some(2400, 2500, 2);
	pthread_barrier_wait(&meeting);
	pthread_barrier_wait(&meeting);
	release_some(2401, 2500, 2);
	return NULL;
}

static void run_child(void)
{
	pthread_t thread;
	alarm(20);
	make_some(2600, 2700, 15);
	release_some(0, SLOTS, 2);
	start_thread(&thread, successor, 1);
	CHECK(pthread_join(thread, NULL) == 0);
	quarry_trim(0);
	release_some(0, SLOTS, 1);
	_exit(0);
}

static void divide(void)
{
	pthread_t thread;
	int status;
	CHECK(pthread_barrier_init(&meeting, NULL, 2) == 0);
	start_thread(&thread, bystander, 0);
	pthread_barrier_wait(&meeting);
	quarry_trim(0);
	walk();
	make_some(2500, 2600, 12);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0)
		run_child();
	CHECK(waitpid(child, &status, 0) == child);
	CHECKF(status == 0, "  the child has ended with status 0x%x", status);
	pthread_barrier_wait(&meeting);
	CHECK(pthread_join(thread, NULL) == 0);
	pthread_barrier_destroy(&meeting);
}

/* 0, or -1 because the call failed that it needs. */
static void expect_unless(int result, enum call call)
{
	CHECKF(result == 0 || calls_failed(call) > 0, "  %d, errno %d, though no %s has failed", result, errno,
	       call_name(call));
}

/* What Quarry tells of itself, and reads for it: whole, or said not to be. */
static void report(void)
{
	struct quarry_limits limits;
	struct quarry_node_residency residency;
	unsigned char bytes[32] = { 0 };
	int file = memfd_create("report", MFD_CLOEXEC);

	CHECK(file >= 0);
	expect_unless(quarry_stats_print(file), CALL_WRITE);
	expect_unless(quarry_stats_json(file), CALL_WRITE);
	expect_unless(quarry_stats_prometheus(file), CALL_WRITE);
	expect_unless(quarry_node_residency(0, &residency, sizeof residency), CALL_MOVE_PAGES);
	CHECK(quarry_limits_read(&limits, sizeof limits) == 0);
	CHECK(quarry_profile_start(4096) == 0);
	make_some(2700, 2900, 14);
	release_some(2700, 2900, 3);
	expect_unless(quarry_profile_write(file), CALL_WRITE);
	CHECK(quarry_profile_stop() == 0);
	os_random(bytes, sizeof bytes);
	CHECK(!is_zero(bytes, sizeof bytes));
	close(file);
}

void workload_run(bool may_run_short)
{
	short_of_memory = may_run_short;
	rng = test_seed(1);
	begin();
	one_thread();
	guarded();
	grow();
	quarry_trim(0);
	walk();
	in_turn();
	release_some(0, 3000, 2);
	sleep_ms(PURGE_MS);
	side_by_side();
	divide();
	report();
}

void workload_recover(void)
{
	struct quarry_stats stats;

	short_of_memory = false;
	make_some(0, 300, 20);
	make(1700, 9 * MIB);
	resize(1700, 70 * MIB);
	in_turn();
	options.purge = OPTION_PURGE_OFF; /* and rarely, where there is a purger */
	options.decay_ms = 600000;
	walk();
	take_stock();
	release_some(0, SLOTS, 1);
	quarry_trim(0);
	walk();
	stats = take_stock();
	CHECKF(stats.live == 0, "  all is freed, yet %zu bytes are live", (size_t)stats.live);
	CHECKF(stats.free_dirty <= 4 * MIB, "  %zu bytes were not given back", (size_t)stats.free_dirty);
}
