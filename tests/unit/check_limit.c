/* SPDX-License-Identifier: MIT */
/*
 * check_limit: Quarry's own limit refuses what would exceed it, and nothing else; the container's is found and heeded.
 */
#include "heaps.h"

#include <sys/stat.h>

#include "arena_list.h"
#include "fence.h"
#include "limit.h"
#include "machine.h"
#include "options.h"
#include "purge.h"
#include "quarry/limit.h"

#define MIB ((size_t)1 << 20)
#define MEDIUM (LARGE_REQUEST_THRESHOLD / 4)
#define LARGE (LARGE_REQUEST_THRESHOLD + 1)
/* Spans that keep their pages when they are free. */
#define DIRT (QUARRY_HARDENED ? FENCE_WIPE_NBYTES : MEDIUM)

/* Pools that are not full, caches, and units at the end of a span. */
#define ROOM (2 * MIB)

static void *taken[1 << 20];

/* Allocate until it is refused; the number of blocks. */
static size_t take_all(size_t nbytes)
{
	size_t n = 0;
	errno = 0;
	while (n < COUNT(taken) && (taken[n] = quarry_malloc(nbytes)) != NULL)
		n++;
	ck_assert_uint_lt(n, COUNT(taken));
	ck_assert_int_eq(errno, ENOMEM);
	return n;
}

static void free_all(size_t n)
{
	while (n > 0)
		quarry_free(taken[--n]);
}

/* --- Quarry's own ------------------------------------------------------------------------------------------------- */

static const size_t sizes[] = {250, 3000, MEDIUM, LARGE};

/* For blocks of each kind: up to the limit and not beyond, and again once they are free. */
START_TEST(own_limit_is_reached_and_held)
{
	size_t nbytes = sizes[_i], limit = 64 * MIB;
	quarry_limit_set(limit);
	size_t n = take_all(nbytes);
	ck_assert_uint_le(limit_charged(), limit);
	ck_assert_uint_le(arena_list_births(), 2 * limit / ARENA_SIZE + 2); /* none for what the limit refuses */
	/* obmalloc's sizes: a unit for 3000 bytes */
	ck_assert_uint_ge(n * quarry_good_size(nbytes), QUARRY_HARDENED ? limit / 8 * 3 : limit / 8 * 5);
	ck_assert_uint_gt(limit_refusals, 0);
	uint64_t births = arena_list_births();
	for (int i = 0; i < 10; i++)
		ck_assert_ptr_null(quarry_malloc(nbytes));
	ck_assert_uint_eq(arena_list_births(), births);
	free_all(n);
	ck_assert_uint_ge(take_all(nbytes), n - n / 16);
}
END_TEST

/* Free memory of one kind does not keep another kind from getting it. */
START_TEST(free_memory_goes_back_before_a_request_fails)
{
	quarry_limit_set(64 * MIB);
	for (size_t i = 0; i < 3 * COUNT(sizes); i++) {
		size_t nbytes = sizes[i * 5 % COUNT(sizes)], n = take_all(nbytes);
		ck_assert_uint_ge(n * quarry_good_size(nbytes), QUARRY_HARDENED ? 24 * MIB : 40 * MIB);
		free_all(n);
	}
}
END_TEST

START_TEST(blocks_that_cannot_grow_stay)
{
	quarry_limit_set(64 * MIB);
	for (size_t i = 2; i < COUNT(sizes); i++) {
		char *block = quarry_malloc(sizes[i]);
		memset(block, 7, sizes[i]);
		ck_assert_ptr_null(quarry_realloc(block, 65 * MIB));
		ck_assert_int_eq(errno, ENOMEM);
		ck_assert_uint_eq((unsigned char)block[sizes[i] - 1], 7);
		quarry_free(block);
	}
	if (QUARRY_HARDENED) /* grows none in place */
		return;
	/* In place, where it only fits once what is free has gone back. */
	char *grown = quarry_malloc(20 * MIB), *other = quarry_malloc(36 * MIB);
	quarry_free(other);
	grown = quarry_realloc(grown, 50 * MIB);
	ck_assert_ptr_nonnull(grown);
	ck_assert_uint_le(limit_charged(), 64 * MIB);
}
END_TEST

START_TEST(without_limit_nothing_is_refused)
{
	quarry_limit_set(16 * MIB);
	free_all(take_all(LARGE));
	quarry_limit_set(0);
	ck_assert_ptr_nonnull(quarry_malloc(100 * MIB));
}
END_TEST

/* The sum is that of what is there: it comes back to where it was. */
START_TEST(charge_follows_use)
{
	purge_all(0, true);
	size_t before = limit_charged(), sum = 0;
	static struct lot lots[] = {{.nbytes = 100, .n = 10000}, {.nbytes = MEDIUM, .n = 20}, {.nbytes = LARGE, .n = 5}};
	for (size_t i = 0; i < COUNT(lots); i++) {
		size_t least = lots[i].nbytes * lots[i].n, at = limit_charged();
		sum += least;
		lot_allocate(&lots[i]);
		ck_assert_uint_ge(limit_charged() - at + ROOM, least);
		ck_assert_uint_le(limit_charged() - at, least + least / 4 + ROOM);
	}
	for (size_t i = 0; i < COUNT(lots); i++)
		lot_free(&lots[i]);
	if (!QUARRY_HARDENED) /* where large ones are gone */
		ck_assert_uint_gt(limit_charged(), before + sum / 2);
	purge_all(0, true);
	ck_assert_uint_le(limit_charged(), before + ROOM);
}
END_TEST

/* --- the container ------------------------------------------------------------------------------------------------ */

static char root[] = "/tmp/quarry-limit-XXXXXX";

static void make_file(const char *path, const char *text)
{
	char whole[256];
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	for (char *slash = strchr(whole + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(whole, 0700);
		*slash = '/';
	}
	FILE *file = fopen(whole, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static void begin(const char *membership)
{
	ck_assert_ptr_nonnull(mkdtemp(root));
	make_file("/proc/self/cgroup", membership);
	make_file("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
	limit_set_root_for_tests(root);
}

static void end(void)
{
	char command[64];
	snprintf(command, sizeof(command), "rm -r %s", root);
	ck_assert_int_eq(system(command), 0);
}

#define GROUP "/sys/fs/cgroup/a.slice/b.scope"

START_TEST(container_limits_are_found)
{
	begin("12:cpuset:/old\n0::/a.slice/b.scope\n");
	ck_assert_int_eq(limit_look(false), LIMIT_CALM);
	ck_assert_uint_eq(limit_container.max, 0);

	make_file(GROUP "/memory.max", "1000000\n");
	make_file(GROUP "/memory.high", "max\n");
	make_file(GROUP "/memory.current", "870000\n");
	struct quarry_limits limits;
	ck_assert_int_eq(quarry_limits_read(&limits, sizeof(limits)), 0);
	ck_assert_uint_eq(limits.container_max, 1000000);
	ck_assert_uint_eq(limits.container_high, UINT64_MAX);
	ck_assert_uint_eq(limits.container_used, 870000);
	ck_assert_uint_eq(limits.pressure, QUARRY_PRESSURE_NONE);

	make_file(GROUP "/memory.current", "880000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_NEAR);
	make_file(GROUP "/memory.current", "990000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_AT);
	make_file(GROUP "/memory.stat", "anon 600000\nfile 300000\nactive_file 1\ninactive_file 300000\nunevictable 0\n");
	ck_assert_int_eq(limit_look(false), LIMIT_CALM);
	ck_assert_uint_eq(limit_container.used, 690000);
	make_file(GROUP "/memory.high", "700000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_AT);
	end();
}
END_TEST

/* A parent's limit counts where it is nearer, also one that came later. */
START_TEST(limits_above_count)
{
	begin("0::/a.slice/b.scope\n");
	make_file(GROUP "/memory.max", "1000000\n");
	make_file(GROUP "/memory.current", "100000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_CALM);
	ck_assert_uint_eq(limit_container.max, 1000000);
	make_file("/sys/fs/cgroup/a.slice/memory.max", "2000000\n");
	make_file("/sys/fs/cgroup/a.slice/memory.current", "1990000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_AT);
	ck_assert_uint_eq(limit_container.max, 2000000);
	end();
}
END_TEST

/* A container that shows the host's path but has its own cgroup mounted as the root; and one of its own namespace. */
START_TEST(mounted_root_is_looked_at)
{
	begin(_i == 0 ? "0::/system.slice/docker-1234.scope\n" : "0::/\n");
	make_file("/sys/fs/cgroup/memory.max", "1000000\n");
	make_file("/sys/fs/cgroup/memory.current", "900000\n");
	ck_assert_int_eq(limit_look(false), LIMIT_NEAR);
	end();
}
END_TEST

START_TEST(nonsense_is_no_limit)
{
	char membership[600] = "0::";
	memset(membership + 3, 'x', 500);
	begin(_i == 0 ? membership : _i == 1 ? "" : "1:name=systemd:/\n");
	ck_assert_int_eq(limit_look(true), LIMIT_CALM);
	make_file("/sys/fs/cgroup/memory.max", "unknown\n");
	make_file("/sys/fs/cgroup/memory.high", "");
	ck_assert_int_eq(limit_look(true), LIMIT_CALM);
	ck_assert_uint_eq(limit_container.max, 0);
	end();
}
END_TEST

START_TEST(limits_struct_has_room_for_versions)
{
	struct quarry_limits limits = {.own = 1, .charged = 77};
	ck_assert_int_eq(quarry_limits_read(&limits, offsetof(struct quarry_limits, own)), 0);
	ck_assert_uint_eq(limits.version, QUARRY_LIMITS_VERSION);
	ck_assert_uint_eq(limits.own, 1);
	ck_assert_int_eq(quarry_limits_read(&limits, 4), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(quarry_limits_read(NULL, sizeof(limits)), -1);
}
END_TEST

/* --- the purger --------------------------------------------------------------------------------------------------- */

/* Memory that would be kept for ten minutes goes back at once when the container is full. */
START_TEST(purger_heeds_the_container)
{
	options.decay_ms = 600000;
	begin("0::/\n");
	make_file("/sys/fs/cgroup/memory.max", "1000000\n");
	make_file("/sys/fs/cgroup/memory.current", "100000\n");
	static struct lot lot = {.nbytes = DIRT, .n = 16 * MIB / DIRT};
	lot_allocate(&lot);
	purge_allow();
	lot_free(&lot);
	sleep_ms(1500);
	ck_assert_uint_gt(arena_list_dirty_nbytes(), 8 * MIB);
	make_file("/sys/fs/cgroup/memory.current", "990000\n");
	for (int i = 0; i < 3000 && arena_list_dirty_nbytes() > MIB; i++)
		sleep_ms(10);
	ck_assert_uint_le(arena_list_dirty_nbytes(), MIB);
	end();
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("limit");
	TCase *own = new_case(suite, "own");
	tcase_add_loop_test(own, own_limit_is_reached_and_held, 0, COUNT(sizes));
	tcase_add_test(own, free_memory_goes_back_before_a_request_fails);
	tcase_add_test(own, blocks_that_cannot_grow_stay);
	tcase_add_test(own, without_limit_nothing_is_refused);
	tcase_add_test(own, charge_follows_use);
	TCase *container = new_case(suite, "container");
	tcase_add_test(container, container_limits_are_found);
	tcase_add_test(container, limits_above_count);
	tcase_add_loop_test(container, mounted_root_is_looked_at, 0, 2);
	tcase_add_loop_test(container, nonsense_is_no_limit, 0, 3);
	tcase_add_test(container, limits_struct_has_room_for_versions);
	tcase_add_test(container, purger_heeds_the_container);
	return run_suite(suite);
}
