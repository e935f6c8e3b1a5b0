/* SPDX-License-Identifier: MIT */
/*
 * Limit: see limit.h.
 */
#include "limit.h"

#include <string.h>

#include "meta.h"
#include "node.h"
#include "os.h"
#include "report.h"

#define relaxed memory_order_relaxed

/* Names of cgroups are short; a longer path is not followed. */
#define PATH_NBYTES 256
#define CGROUPS "/sys/fs/cgroup"

/* A line for each hierarchy, where version 1 is there as well. */
#define MEMBERSHIP_NBYTES 2048
/* memory.stat as far as inactive_file. */
#define STAT_NBYTES 1536

/* So many looks apart the files are read where no limit was found. */
#define RARELY 8

_Static_assert(LIMIT_LARGE >= NODE_PLACES, "large blocks have a place of their own");

static struct charge {
	_Atomic size_t nbytes;
} __attribute__((aligned(FALSE_SHARING_RANGE))) charges[LIMIT_GUARD + 1];

_Atomic size_t limit_own TOUCHED_EARLY;
_Atomic uint64_t limit_refusals;
struct limit_container limit_container;
static _Atomic int pressure;

/* Of the one thread that looks. */
static _Atomic bool looking;
static bool known;                     /* path is that of this process */
static char path[PATH_NBYTES];         /* of the cgroup below CGROUPS; "": the root */
static unsigned nlooks;
static const char *root = "";          /* before any look */

/* --- charges ------------------------------------------------------------------------------------------------------ */

void limit_charge(unsigned place, size_t added, size_t removed)
{
	_Atomic size_t *sum = &charges[place].nbytes;
	atomic_store_explicit(sum, atomic_load_explicit(sum, relaxed) + added - removed, relaxed);
}

size_t limit_charged(void)
{
	size_t nbytes = meta_mapped() + atomic_load_explicit(&charges[LIMIT_LARGE].nbytes, relaxed) +
			atomic_load_explicit(&charges[LIMIT_GUARD].nbytes, relaxed);
	for (unsigned node = 0; node < node_count(); node++)
		nbytes += atomic_load_explicit(&charges[node].nbytes, relaxed);
	return nbytes;
}

bool limit_allows_within(size_t nbytes, size_t own)
{
	size_t charged = limit_charged();
	if (charged <= own && nbytes <= own - charged)
		return true;
	atomic_fetch_add_explicit(&limit_refusals, 1, relaxed);
	return false;
}

/* --- the container ------------------------------------------------------------------------------------------------ */

/* The line "0::PATH": version 2. Another root of the hierarchy than ours shows as a path that is not there; then what
 * is mounted is looked at as far as it goes. */
static void find_cgroup(void)
{
	char name[PATH_NBYTES], data[MEMBERSHIP_NBYTES];
	struct text text;
	text_begin(&text, name, sizeof(name));
	text_append(&text, "%s/proc/self/cgroup", root);
	path[0] = 0;
	known = true;
	if (!os_read_file(name, data, sizeof(data)))
		return;
	char *line = data;
	while (line != NULL && strncmp(line, "0::", 3) != 0) {
		line = strchr(line, '\n');
		line = line == NULL ? NULL : line + 1;
	}
	size_t nbytes = line == NULL ? 0 : strcspn(line + 3, "\n");
	if (nbytes > 1 && nbytes < sizeof(path)) {
		memcpy(path, line + 3, nbytes);
		path[nbytes] = 0;
	}
}

static bool read_cgroup_file(size_t depth, const char *name, char *data, size_t size)
{
	char file[2 * PATH_NBYTES];
	struct text text;
	text_begin(&text, file, sizeof(file));
	text_append(&text, "%s" CGROUPS "%.*s/%s", root, (int)depth, path, name);
	return os_read_file(file, data, size);
}

static uint64_t parse_number(const char *text)
{
	uint64_t number = 0;
	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	return number;
}

/* "max" and a file that is not there are no limit. */
static uint64_t read_limit(size_t depth, const char *name)
{
	char data[32];
	if (!read_cgroup_file(depth, name, data, sizeof(data)) || data[0] < '0' || data[0] > '9')
		return UINT64_MAX;
	return parse_number(data);
}

/* The kernel drops files' pages that are not in use before it refuses anything. */
static uint64_t read_used(size_t depth, uint64_t limit)
{
	char data[STAT_NBYTES];
	if (!read_cgroup_file(depth, "memory.current", data, sizeof(data)))
		return 0;
	uint64_t used = parse_number(data);
	if (used < limit - limit / 8 || !read_cgroup_file(depth, "memory.stat", data, sizeof(data)))
		return used;
	const char *line = strstr(data, "\ninactive_file ");
	uint64_t files = line == NULL ? 0 : parse_number(line + strlen("\ninactive_file "));
	return files < used ? used - files : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* In 1/1024 of the limit, without overflow. */
static uint64_t part_of(uint64_t used, uint64_t limit)
{
	uint64_t unit = limit / 1024 + 1;
	return used / unit;
}

static void publish(uint64_t max, uint64_t high, uint64_t used)
{
	atomic_store_explicit(&limit_container.max, max, relaxed);
	atomic_store_explicit(&limit_container.high, high, relaxed);
	atomic_store_explicit(&limit_container.used, used, relaxed);
}

/* From the process's own cgroup up to the root. */
static void look_at_container(void)
{
	uint64_t nearest = 0;
	bool found = false;
	for (size_t depth = strlen(path);; depth--) {
		if (depth == 0 || path[depth] == 0 || path[depth] == '/') {
			uint64_t max = read_limit(depth, "memory.max"), high = read_limit(depth, "memory.high");
			uint64_t limit = least(max, high), used = limit == UINT64_MAX ? 0 : read_used(depth, limit);
			if (limit != UINT64_MAX && (!found || part_of(used, limit) > nearest)) {
				found = true;
				nearest = part_of(used, limit);
				publish(max, high, used);
			}
		}
		if (depth == 0)
			break;
	}
	if (!found)
		publish(0, 0, 0);
}

/* --- pressure ----------------------------------------------------------------------------------------------------- */

static enum limit_pressure pressure_of(uint64_t used, uint64_t limit)
{
	if (limit == 0 || used < limit - limit / 8)
		return LIMIT_CALM;
	return used < limit - limit / 16 ? LIMIT_NEAR : LIMIT_AT;
}

static enum limit_pressure container_pressure(void)
{
	uint64_t max = atomic_load_explicit(&limit_container.max, relaxed);
	uint64_t high = atomic_load_explicit(&limit_container.high, relaxed);
	return pressure_of(atomic_load_explicit(&limit_container.used, relaxed), least(max, high));
}

enum limit_pressure limit_look(bool again)
{
	if (atomic_exchange(&looking, true))
		return limit_pressure();
	if (again || !known)
		find_cgroup();
	bool limited = atomic_load_explicit(&limit_container.max, relaxed) != 0;
	if (again || limited || nlooks % RARELY == 0)
		look_at_container();
	nlooks++;
	enum limit_pressure own = pressure_of(limit_charged(), atomic_load_explicit(&limit_own, relaxed));
	enum limit_pressure outer = container_pressure();
	atomic_store_explicit(&pressure, (int)(own > outer ? own : outer), relaxed);
	atomic_store(&looking, false);
	return limit_pressure();
}

enum limit_pressure limit_pressure(void)
{
	return (enum limit_pressure)atomic_load_explicit(&pressure, relaxed);
}

void limit_after_fork_child(void)
{
	known = false;
	nlooks = 0;
	atomic_store(&looking, false);
}

void limit_set_root_for_tests(const char *directory)
{
	root = directory;
	limit_after_fork_child();
}
