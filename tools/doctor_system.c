/* SPDX-License-Identifier: MIT */
/*
 * Doctor: the checks of the system. Each reads what the kernel says and judges it by what Quarry does with it.
 */
#include "doctor.h"

#include <errno.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tunables.h"

#define GIB ((uint64_t)1 << 30)

/* --- kernel ------------------------------------------------------------------------------------------------------- */

static void check_kernel(void)
{
	char release[128];
	unsigned major = 0, minor = 0;

	if (!doctor_read("/proc/sys/kernel/osrelease", release, sizeof release))
		return;
	sscanf(release, "%u.%u", &major, &minor);
	if (major < 4 || (major == 4 && minor < 14))
		doctor_say(BAD, "kernel", "Linux 4.14 or newer: without its membarrier every call takes a lock",
			   "Linux %s", release);
	else
		doctor_say(GOOD, "kernel", NULL, "Linux %s", release);
}

static void check_membarrier(void)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	if (commands >= 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0)
		doctor_say(GOOD, "membarrier", NULL, "private expedited: malloc and free take no lock");
	else
		doctor_say(BAD, "membarrier", "allow membarrier in the seccomp filter of the container or service",
			   "%s, so every call takes the lock of its thread's heap",
			   commands < 0 ? strerror(errno) : "no private expedited command");
}

/* What glibc 2.35 and newer tell of their registration; weak, for there are older ones. */
extern const unsigned __rseq_size __attribute__((weak));

static void check_rseq(void)
{
	bool registered = &__rseq_size && __rseq_size > 0;

	doctor_say(GOOD, "rseq", NULL, "%s; Quarry does without it",
		   registered ? "registered by libc" : "not registered by libc");
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void check_page_size(void)
{
	char text[TOOL_NBYTES_SIZE];
	long nbytes = sysconf(_SC_PAGESIZE);

	tool_nbytes(text, (uint64_t)nbytes);
	if ((size_t)nbytes <= POOL_SIZE)
		doctor_say(GOOD, "page size", NULL, "%s", text);
	else
		doctor_say(NOTE, "page size", "configure --with-pool-bits=16 makes a pool as large as a page",
			   "%s, above a pool: less goes back to the system", text);
}

/* The word in brackets of "always [madvise] never". */
static bool chosen(const char *path, char *word, size_t size)
{
	char text[128], *start, *end;

	if (!doctor_read(path, text, sizeof text) || !(start = strchr(text, '[')) || !(end = strchr(start, ']')))
		return false;
	snprintf(word, size, "%.*s", (int)(end - start - 1), start + 1);
	return true;
}

static void check_huge_pages(void)
{
	const char *conf = getenv("QUARRY_CONF");
	bool inherit = doctor_is_here() && conf && strstr(conf, "huge_pages:inherit");
	char word[32];

	if (!chosen("/sys/kernel/mm/transparent_hugepage/enabled", word, sizeof word))
		doctor_say(GOOD, "huge pages", NULL, "the kernel has no transparent ones");
	else if (inherit && strcmp(word, "always") != 0)
		doctor_say(NOTE, "huge pages", "echo always >/sys/kernel/mm/transparent_hugepage/enabled",
			   "%s, so huge_pages:inherit changes nothing", word);
	else if (inherit)
		doctor_say(NOTE, "huge pages", "watch the resident size: the first touch of an arena costs 2 MiB",
			   "always, and huge_pages:inherit takes them");
	else
		doctor_say(GOOD, "huge pages", NULL, "%s; Quarry refuses them unless huge_pages:inherit is set", word);
}

static uint64_t meminfo(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? strtoull(line + strlen(name), NULL, 10) << 10 : 0;
}

static void check_overcommit(void)
{
	char mode[16], info[4096], room[TOOL_NBYTES_SIZE];

	if (!doctor_read("/proc/sys/vm/overcommit_memory", mode, sizeof mode))
		return;
	if (mode[0] != '2') {
		doctor_say(GOOD, "overcommit", NULL, "%s: what is mapped and not touched is charged to nobody",
			   mode[0] == '0' ? "heuristic" : "always");
		return;
	}
	if (!doctor_read("/proc/meminfo", info, sizeof info))
		return;
	uint64_t limit = meminfo(info, "CommitLimit:"), used = meminfo(info, "Committed_AS:");
	uint64_t left = limit > used ? limit - used : 0;
	doctor_say(left < GIB ? BAD : NOTE, "overcommit",
		   "vm.overcommit_memory=0, or a higher vm.overcommit_ratio: an arena counts in full when it is mapped",
		   "never (2), with %s left below the limit", tool_nbytes(room, left));
}

static void check_mapping_limit(void)
{
	char text[32];
	unsigned long limit;

	if (!doctor_read("/proc/sys/vm/max_map_count", text, sizeof text))
		return;
	limit = strtoul(text, NULL, 10);
	if (limit >= 65530)
		doctor_say(GOOD, "mapping limit", NULL, "%lu", limit);
	else
		doctor_say(BAD, "mapping limit", "sysctl vm.max_map_count=65530 or more",
			   "%lu mappings; each block above 4 MiB may be one, and malloc fails beyond", limit);
}

static void check_address_space(void)
{
	char limit_text[TOOL_NBYTES_SIZE];
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) < 0)
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		doctor_say(GOOD, "address space", NULL, "not limited");
	else
		doctor_say(NOTE, "address space", "ulimit -v unlimited; limit memory by a control group instead",
			   "limited to %s: smaller arenas, and the virtual size counts, not what is touched",
			   tool_nbytes(limit_text, limit.rlim_cur));
}

/* --- control group ------------------------------------------------------------------------------------------------ */

/* A number in a file of the group; false for "max" and where there is no such file. */
static bool group_number(const char *group, const char *name, uint64_t *number)
{
	char path[PATH_MAX], text[64], *end;

	snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, name);
	if (!doctor_read(path, text, sizeof text))
		return false;
	*number = strtoull(text, &end, 10);
	return end != text;
}

/* The least of the limits from the group up to the root; *within becomes the group that has it. */
static bool group_limit(const char *group, const char *name, uint64_t *limit, char *within, size_t size)
{
	char at[PATH_MAX], *slash;
	uint64_t number;
	bool found = false;

	snprintf(at, sizeof at, "%s", group);
	do {
		if (group_number(at, name, &number) && (!found || number < *limit)) {
			*limit = number;
			snprintf(within, size, "%s", at);
			found = true;
		}
		slash = strrchr(at, '/');
		if (slash)
			*slash = 0;
	} while (slash);
	return found;
}

/* "0::/path" is the line of version 2. */
static bool find_group(char *group, size_t size)
{
	char text[4096], *line;

	if (!doctor_read("/proc/self/cgroup", text, sizeof text))
		return false;
	line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!line)
		return false;
	line += *line == '\n' ? 4 : 3;
	line[strcspn(line, "\n")] = 0;
	snprintf(group, size, "%s", strcmp(line, "/") == 0 ? "" : line);
	return true;
}

static void check_group(void)
{
	char group[PATH_MAX], within[PATH_MAX], text[3][TOOL_NBYTES_SIZE];
	uint64_t max, high, used = 0;

	if (!find_group(group, sizeof group)) {
		doctor_say(NOTE, "control group", "Quarry itself reads none; purge:thread keeps the resident size low",
			   "no version 2 group to look at");
		return;
	}
	if (!group_limit(group, "memory.max", &max, within, sizeof within)) {
		doctor_say(GOOD, "control group", NULL, "no memory limit");
		return;
	}
	group_number(within, "memory.current", &used);
	tool_nbytes(text[0], max);
	tool_nbytes(text[1], used);
	if (used > max - max / 10)
		doctor_say(BAD, "control group", "raise memory.max, or give back sooner: decay_ms:250, cache_kib:256",
			   "%s of %s in use: the kernel is about to kill", text[1], text[0]);
	else if (group_limit(group, "memory.high", &high, within, sizeof within) && high < max)
		doctor_say(NOTE, "control group", "allocation is slowed down above memory.high; a low decay_ms helps",
			   "%s of %s in use, memory.high %s", text[1], text[0], tool_nbytes(text[2], high));
	else
		doctor_say(GOOD, "control group", NULL, "%s of %s in use", text[1], text[0]);
}

/* --- processors and nodes ----------------------------------------------------------------------------------------- */

static void check_processors(void)
{
	char group[PATH_MAX], path[PATH_MAX + 32], text[64];
	unsigned long quota = 0, period = 0;
	cpu_set_t set;
	int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;

	if (find_group(group, sizeof group)) {
		snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
		if (doctor_read(path, text, sizeof text))
			sscanf(text, "%lu %lu", &quota, &period);
	}
	if (period > 0 && quota > 0 && quota < period * (unsigned long)allowed)
		doctor_say(NOTE, "processors",
			   "a thread that is stopped by the quota keeps its cache; start fewer threads",
			   "%d, but a quota of %lu.%lu", allowed, quota / period, quota * 10 / period % 10);
	else
		doctor_say(GOOD, "processors", NULL, "%d", allowed);
}

/* Numbers in a list as "0-3,7". */
static unsigned count_list(const char *list)
{
	unsigned count = 0;

	while (*list >= '0' && *list <= '9') {
		char *end;
		unsigned long first = strtoul(list, &end, 10), last = first;

		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		count += (unsigned)(last - first + 1);
		list = end + (*end == ',');
	}
	return count;
}

static void check_nodes(void)
{
	static char status[8192];
	const char *module = QUARRY_TOPOLOGY_FILE;
	char *list;
	unsigned nodes;

	if (!doctor_read("/proc/self/status", status, sizeof status) || !(list = strstr(status, "Mems_allowed_list:")))
		return;
	list += strlen("Mems_allowed_list:");
	list += strspn(list, " \t");
	list[strcspn(list, "\n")] = 0;
	nodes = count_list(list);
	if (nodes <= 1)
		doctor_say(GOOD, "nodes", NULL, "one; hwloc is not loaded");
	else if (doctor_is_here() && access(module, R_OK) < 0)
		doctor_say(BAD, "nodes", "install it, or name it by QUARRY_TOPOLOGY; until then one node is used",
			   "%u (%s), but no topology module at %s", nodes, list, module);
	else
		doctor_say(GOOD, "nodes", NULL, "%u (%s): arenas lie on the node of their thread", nodes, list);
}

/* --- inspection --------------------------------------------------------------------------------------------------- */

static void check_inspection(void)
{
	char scope[16] = "0";
	bool root = doctor_is_here() && geteuid() == 0;

	doctor_read("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof scope);
	if (scope[0] == '3')
		doctor_say(BAD, "inspection", "kernel.yama.ptrace_scope stays 3 until the next boot",
			   "nobody may look into a process, so quarry stat and top do not work");
	else if (scope[0] != '0' && !root)
		doctor_say(NOTE, "inspection", "use them as root, or with CAP_SYS_PTRACE",
			   "kernel.yama.ptrace_scope is %s: quarry stat and top may not look into a process", scope);
	else
		doctor_say(GOOD, "inspection", NULL, "quarry stat and top may look into %s processes",
			   root ? "all" : "this user's");
}

void doctor_check_system(void)
{
	check_kernel();
	check_page_size();
	check_huge_pages();
	check_overcommit();
	check_mapping_limit();
	check_group();
	check_nodes();
	check_inspection();
	if (!doctor_is_here())
		return;
	check_address_space();
	check_processors();
	check_membarrier();
	check_rseq();
}
