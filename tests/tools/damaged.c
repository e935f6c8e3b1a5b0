/* SPDX-License-Identifier: MIT */
/*
 * What quarry stat reads may be anything: a child damages its own copy of layout, records and headers, and is looked
 * at. Whatever it holds, the reader neither crashes nor hangs; what it must notice, it tells.
 *
 * QUARRY_TEST_SECONDS sets how long random damage goes on (2).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../tools/snapshot.h"
#include "arena_list.h"
#include "heap.h"
#include "quarry/quarry.h"

#define NBLOCKS 20000
#define NPLACES 64
#define HANG_SECONDS 20

/* Memory that a reader looks at. */
static struct place {
	char *start;
	size_t nbytes;
} places[NPLACES];
static size_t nplaces;

static unsigned long state = 1;

static unsigned long draw(unsigned long below)
{
	state = state * 6364136223846793005ul + 1442695040888963407ul;
	return (state >> 33) % below;
}

_Noreturn static void fail(const char *what)
{
	printf("FAIL: %s\n", what);
	exit(1);
}

static void add_place(void *start, size_t nbytes)
{
	if (nplaces < NPLACES)
		places[nplaces++] = (struct place){ start, nbytes };
}

/* The layout is read-only and the class table, too: a child of ours may change that. */
static void unlock(const void *start, size_t nbytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)start & ~(page - 1), end = ((uintptr_t)start + nbytes + page - 1) & ~(page - 1);

	if (mprotect((void *)first, end - first, PROT_READ | PROT_WRITE) != 0)
		fail("mprotect");
}

static void fill_heap(void)
{
	static void *blocks[NBLOCKS];

	for (int i = 0; i < NBLOCKS; i++)
		blocks[i] = quarry_malloc(i % 100 == 0 ? 50000 : draw(3000));
	for (int i = 0; i < NBLOCKS; i += 2)
		quarry_free(blocks[i]);
	if (!quarry_malloc(32 << 20))
		fail("no memory");
}

static void find_places(void)
{
	add_place((void *)(uintptr_t)&quarry_layout, sizeof quarry_layout);
	add_place((void *)(uintptr_t)size_classes, sizeof(struct size_class) * NB_SIZE_CLASSES);
	add_place(&address_map, sizeof address_map);
	add_place(&arena_list_counters, sizeof arena_list_counters);
	add_place((void *)(uintptr_t)quarry_layout.heap_directory, sizeof(void *));
	add_place((void *)(uintptr_t)quarry_layout.heap_count, sizeof(uint32_t));
	add_place((void *)(uintptr_t)quarry_layout.arenas_head, 2 * sizeof(void *));
	add_place((void *)(uintptr_t)quarry_layout.topology, sizeof(void *));
	add_place(*(void **)(uintptr_t)quarry_layout.heap_directory, 4 * sizeof(void *));
	for (struct heap *heap = heap_first(); heap; heap = heap_next(heap))
		add_place(heap, sizeof *heap);
	for (struct arena_object *arena = arena_list_first(); arena; arena = arena_list_next(arena)) {
		add_place(arena, sizeof *arena);
		add_place(arena->address, ARENA_HEAD_NBYTES);
		add_place((void *)(uintptr_t)&address_map.words[((uintptr_t)arena->address >> QUARRY_POOL_BITS) -
								address_map.first_unit],
			  ARENA_UNITS * sizeof(uint32_t));
	}
}

/* --- children ----------------------------------------------------------------------------------------------------- */

typedef void (*damage_fn)(void);

/* A child with the damage done; it waits to be killed. */
static pid_t start_damaged(damage_fn damage)
{
	int ready[2];
	char byte = 0;
	pid_t child;

	if (pipe(ready) != 0 || (child = fork()) < 0)
		fail("fork");
	if (child == 0) {
		damage();
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		fail("the child did not get ready");
	close(ready[0]);
	close(ready[1]);
	return child;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* Look at a damaged child: what is said, "" if nothing is wrong. Its first damage counts. */
static const char *look(damage_fn damage)
{
	static char said[600];
	struct snapshot snapshot = { .map_of = (uintptr_t)(arena_list_first() ? arena_list_first()->address : NULL) };
	struct image images[IMAGES_MAX];
	struct target target;
	pid_t child = start_damaged(damage);

	said[0] = 0;
	alarm(HANG_SECONDS);
	if (!target_open_process(&target, child) || image_find(&target, images) == 0 ||
	    !snapshot_take(&snapshot, &target, &images[0].layout))
		snprintf(said, sizeof said, "%s", target.error);
	else if (snapshot.ndamage > 0)
		snprintf(said, sizeof said, "%s", snapshot.damage[0]);
	alarm(0);
	snapshot_free(&snapshot);
	target_close(&target);
	end(child);
	return said;
}

/* --- chosen damage ------------------------------------------------------------------------------------------------ */

static void none(void)
{
}

static struct layout *layout(void)
{
	unlock(&quarry_layout, sizeof quarry_layout);
	return (struct layout *)(uintptr_t)&quarry_layout;
}

static void other_version(void)
{
	layout()->version++;
}

static void no_magic(void)
{
	memset(layout()->magic, 0, sizeof quarry_layout.magic);
}

static void wild_field(void)
{
	layout()->heap_id.offset = 0x7fffffff;
}

static void long_array(void)
{
	layout()->arena_free.nbytes *= 2;
}

static void wild_number(void)
{
	layout()->pool_header_nbytes = 0;
}

static void wild_heap(void)
{
	heap_first()->id += 5;
}

static void lost_heap(void)
{
	(*(void ***)(uintptr_t)quarry_layout.heap_directory)[1] = (void *)8;
}

static void many_heaps(void)
{
	*(uint32_t *)(uintptr_t)quarry_layout.heap_count = UINT32_MAX;
}

static void circle(void)
{
	struct cds_list_head *link = &arena_list_first()->rcu_link;

	link->next = link;
}

static void lost_arena(void)
{
	arena_list_first()->rcu_link.next = (void *)0xdead0000;
}

static void wild_arena(void)
{
	arena_list_first()->nfreepools = UINT32_MAX;
}

static void wild_pool(void)
{
	char *base = arena_list_first()->address;

	memset(base + ARENA_HEAD_UNITS * POOL_HEADER_NBYTES, 0xff, ARENA_HEAD_NBYTES - ARENA_HEAD_UNITS * POOL_HEADER_NBYTES);
}

static void long_list(void)
{
	for (struct heap *heap = heap_first(); heap; heap = heap_next(heap)) {
		heap->kind = HEAP_ATTACHED;
		heap->taken = 0;
		heap->cache.head[3] = (struct block *)heap;
		heap->cache.bound[3] = UINT32_MAX;
	}
}

static void check_chosen(void)
{
	static const struct {
		damage_fn damage;
		const char *says;
	} cases[] = {
		{ none, "" },
		{ other_version, "of another version" },
		{ no_magic, "damaged: no layout" },
		{ wild_field, "heap_id of its layout makes no sense" },
		{ long_array, "arena_free of its layout makes no sense" },
		{ wild_number, "pool_header_nbytes of its layout makes no sense" },
		{ wild_heap, "says id 6" },
		{ lost_heap, "heap 1 is said to be at 0x8" },
		{ many_heaps, "4294967295 heaps" },
		{ circle, "runs in a circle" },
		{ lost_arena, "the list of arenas leads to 0x" },
		{ wild_arena, "says address" },
		{ wild_pool, "has a header that does not fit" },
		{ long_list, "a cache list of heap" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *said = look(cases[i].damage);

		if (*cases[i].says ? !strstr(said, cases[i].says) : *said != 0) {
			printf("FAIL: case %zu: wanted \"%s\", got \"%s\"\n", i, cases[i].says, said);
			exit(1);
		}
	}
}

/* --- random damage ------------------------------------------------------------------------------------------------ */

/* Bytes, or words that look like addresses or small numbers, in up to 16 places. */
static void random_damage(void)
{
	for (unsigned long n = draw(16) + 1; n > 0; n--) {
		struct place place = places[draw(nplaces)];
		size_t at = draw(place.nbytes) & ~(size_t)7;
		uint64_t value = draw(2) ? draw(64) : draw(2) ? (uintptr_t)places[draw(nplaces)].start : ~draw(1 << 20);
		size_t length = place.nbytes - at < sizeof value ? place.nbytes - at : sizeof value;

		unlock(place.start + at, length);
		memcpy(place.start + at, &value, length);
	}
}

static void check_random(double seconds)
{
	struct timespec start, now;
	unsigned looked = 0, told = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		state += looked * 2654435761ul;
		told += *look(random_damage) != 0;
		looked++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec) < seconds);
	printf("looked at %u damaged processes, %u told\n", looked, told);
	if (told == 0)
		fail("no random damage was noticed");
}

int main(void)
{
	const char *seconds = getenv("QUARRY_TEST_SECONDS");

	fill_heap();
	find_places();
	check_chosen();
	check_random(seconds ? atof(seconds) : 2);
	puts("ok");
	return 0;
}
