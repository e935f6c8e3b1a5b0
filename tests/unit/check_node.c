/* SPDX-License-Identifier: MIT */
/*
 * check_node: node numbers, the road from the kernel's answer to the module, and the module's discovery.
 *
 * Machines with several nodes are described to hwloc (HWLOC_SYNTHETIC, HWLOC_XMLFILE) or to node itself; the kernel's
 * answer and a set-uid program are played by syscall and getauxval, which are ours here. Check runs each test in a
 * process of its own. Where the module has not been built, what needs it is skipped.
 */
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compiler.h"
#include "emulated.h"
#include "node.h"
#include "options.h"
#include "topology.h"

/* Exit status of a test that was skipped. */
#define SKIPPED 77

static char module_path[PATH_MAX];

/* --- playing the kernel ------------------------------------------------------------------------------------------- */

static unsigned long secure;
static unsigned long loader = 1; /* where the loader lies; 0: a static program */
static bool kernel_is_played;
static unsigned long played_mask; /* 0: the call is refused */

unsigned long getauxval(unsigned long type)
{
	return type == AT_SECURE ? secure : type == AT_BASE ? loader : 0;
}

long syscall(long number, ...)
{
	long (*real)(long, ...);
	long args[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_get_mempolicy && kernel_is_played) {
		if (!played_mask) {
			errno = EPERM;
			return -1;
		}
		memset((void *)args[1], 0, (size_t)args[2] / CHAR_BIT);
		*(unsigned long *)args[1] = played_mask;
		return 0;
	}
	*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static void play_kernel(unsigned long mask)
{
	kernel_is_played = true;
	played_mask = mask;
}

/* TSan runs a thread of its own, which would keep discovery away. */
static void forget_sanitizer_thread(void)
{
	if (QUARRY_TSAN)
		__libc_single_threaded = 1;
}

static bool is_mapped(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[PATH_MAX + 128];
	bool mapped = false;

	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof line, maps))
		mapped = mapped || strstr(line, name);
	fclose(maps);
	return mapped;
}

static void assert_one_node(void)
{
	ck_assert_uint_eq(node_count(), 1);
	ck_assert_uint_eq(node_current(), 0);
	ck_assert_int_eq(node_os_index(0), -1);
	ck_assert_uint_eq(node_by_distance(0, 0), 0);
	ck_assert_int_eq(node_bind(NULL, 4096, 0), 0);
	ck_assert_uint_eq(node_bind_failures(), 0);
}

/* Run on one CPU; false where this machine does not let us. */
static bool run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) == 0;
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

START_TEST(one_node_before_init)
{
	assert_one_node();
	ck_assert_ptr_null(node_note());
}
END_TEST

START_TEST(ring_of_nodes_for_tests)
{
	node_set_for_tests(4);
	ck_assert_uint_eq(node_count(), 4);
	for (unsigned node = 0; node < 4; node++) {
		ck_assert_int_eq(node_os_index(node), (int)node);
		ck_assert_int_eq(node_bind(NULL, 4096, node), 0);
		for (unsigned k = 0; k < 4; k++)
			ck_assert_uint_eq(node_by_distance(node, k), (node + k) % 4);
	}
	for (int cpu = 0; cpu < 64; cpu++) {
		if (run_on_cpu(cpu))
			ck_assert_uint_eq(node_current(), (unsigned)cpu % 4);
	}
	node_set_for_tests(1);
	assert_one_node();
}
END_TEST

/* The kernel's nodes 3 and 6, and threads that run on node 0 or 1 (whose memory may not be used). */
static int refuse_second(void *addr, size_t len, unsigned node)
{
	(void)addr;
	(void)len;
	errno = EPERM;
	return node == 1 ? -1 : 0;
}

static uint8_t sparse_index[TOPOLOGY_NKEYS] = { 1, 0, 0, 0, 0, 0, 1 };
static const uint8_t sparse_nearest[2][2] = { { 0, 1 }, { 1, 0 } };
static const struct topology_node sparse_nodes[2] = {
	{ .os_index = 3, .nearest = sparse_nearest[0] },
	{ .os_index = 6, .nearest = sparse_nearest[1] },
};
static const struct topology sparse = {
	.version = TOPOLOGY_VERSION,
	.nnodes = 2,
	.index_of = sparse_index,
	.nodes = sparse_nodes,
	.bind = refuse_second,
};

START_TEST(kernel_numbers_have_gaps)
{
	unsigned cpu, node;

	node_publish(&sparse);
	run_on_cpu(1);
	ck_assert_uint_eq(node_count(), 2);
	ck_assert_int_eq(node_os_index(0), 3);
	ck_assert_int_eq(node_os_index(1), 6);
	ck_assert_int_eq(getcpu(&cpu, &node), 0);
	ck_assert_uint_eq(node_current(), sparse_index[node]);
}
END_TEST

START_TEST(refused_binding_is_counted_and_harmless)
{
	node_publish(&sparse);
	errno = ERANGE;
	ck_assert_int_eq(node_bind(NULL, 4096, 0), 0);
	ck_assert_uint_eq(node_bind_failures(), 0);
	ck_assert_int_eq(node_bind(NULL, 4096, 1), -1);
	ck_assert_int_eq(node_bind(NULL, 4096, 1), -1);
	ck_assert_uint_eq(node_bind_failures(), 2);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* A module whose malloc maps memory that is bound in turn, without end if node let it. */
static char nested_pages[2][4096] __attribute__((aligned(65536)));
static unsigned ndeep;

static int bind_and_allocate(void *addr, size_t len, unsigned node)
{
	(void)addr;
	ck_assert_uint_lt(ndeep++, 3);
	return node_bind(nested_pages[0], len, node);
}

static struct topology_node nested_nodes[2];
static struct topology nested = {
	.version = TOPOLOGY_VERSION,
	.nnodes = 2,
	.index_of = sparse_index,
	.nodes = nested_nodes,
	.bind = bind_and_allocate,
};

START_TEST(binding_inside_binding_ends)
{
	unsigned cpu, node;

	if (is_emulated())
		return;
	ck_assert_int_eq(getcpu(&cpu, &node), 0);
	nested_nodes[0] = (struct topology_node){ .os_index = node, .nearest = sparse_nearest[0] };
	nested_nodes[1] = (struct topology_node){ .os_index = TOPOLOGY_NKEYS - 2, .nearest = sparse_nearest[1] };
	node_publish(&nested);
	for (unsigned i = 1; i <= 3; i++) {
		ck_assert_int_eq(node_bind(nested_pages[1], 4096, 0), 0);
		ck_assert_uint_eq(ndeep, i);
	}
	ck_assert_uint_eq(node_bind_failures(), 0);
	ndeep = 0;
	/* No such node: the nested binding was really asked for, and was refused. */
	ck_assert_int_eq(node_bind(nested_pages[1], 4096, 1), -1);
	ck_assert_uint_eq(node_bind_failures(), 2);
	ndeep = 0;
	nested.by_cpu = true;
	ck_assert_int_eq(node_bind(nested_pages[1], 4096, 1), 0);
	ck_assert_uint_eq(node_bind_failures(), 2);
}
END_TEST

static void *ask_until_published(void *arg)
{
	atomic_int *wrong = arg;
	unsigned count;

	do {
		unsigned current = node_current();

		count = node_count();
		if (current >= count)
			atomic_fetch_add(wrong, 1);
		if (count == 2 && (node_os_index(1) != 6 || node_by_distance(1, 1) != 0))
			atomic_fetch_add(wrong, 1);
	} while (count == 1);
	return NULL;
}

START_TEST(threads_see_a_whole_table)
{
	pthread_t threads[4];
	atomic_int wrong = 0;

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_until_published, &wrong), 0);
	node_publish(&sparse);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&wrong), 0);
}
END_TEST

/* --- by the kernel's numbers -------------------------------------------------------------------------------------- */

START_TEST(nodes_are_found_by_the_kernels_number)
{
	play_kernel(1ul << 5 | 1ul << 7);
	ck_assert_int_eq(node_of_os_index(5), 0); /* all is one node yet */
	ck_assert_int_eq(node_of_os_index(7), 0);
	ck_assert_int_eq(node_of_os_index(6), -1);
	ck_assert_int_eq(node_of_os_index(-1), -1);
	ck_assert_int_eq(node_of_os_index(INT_MAX), -1);
	play_kernel(0);
	ck_assert_int_eq(node_of_os_index(0), 0);
	ck_assert_int_eq(node_of_os_index(1), -1);
	node_publish(&sparse);
	ck_assert_int_eq(node_of_os_index(3), 0);
	ck_assert_int_eq(node_of_os_index(6), 1);
	ck_assert_int_eq(node_of_os_index(0), -1);
	ck_assert_int_eq(node_home(1), 6);
}
END_TEST

START_TEST(the_only_allowed_node_is_known)
{
	play_kernel(1ul << 9);
	ck_assert_int_eq(node_home(0), -1);
	node_init();
	assert_one_node();
	ck_assert_int_eq(node_home(0), 9);
	ck_assert_int_eq(node_of_os_index(9), 0);
	ck_assert_int_eq(node_of_os_index(0), -1);
}
END_TEST

START_TEST(it_is_known_by_numa_off_as_well)
{
	play_kernel(1ul << 9);
	options.numa = OPTION_NUMA_OFF;
	node_init();
	assert_one_node();
	ck_assert_int_eq(node_home(0), 9);
	ck_assert_ptr_null(node_note());
}
END_TEST

/* --- from the kernel's answer to the module ----------------------------------------------------------------------- */

START_TEST(one_allowed_node_opens_nothing)
{
	play_kernel(1);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	errno = ERANGE;
	node_init();
	ck_assert_int_eq(errno, ERANGE);
	assert_one_node();
	ck_assert_ptr_null(node_note());
	ck_assert(!is_mapped("libquarry_topology"));
}
END_TEST

START_TEST(numa_off_opens_nothing)
{
	play_kernel(3);
	options.numa = OPTION_NUMA_OFF;
	setenv("QUARRY_TOPOLOGY", "/nonexistent/module.so", 1);
	node_init();
	assert_one_node();
	ck_assert_ptr_null(node_note());
}
END_TEST

START_TEST(refused_question_is_noted)
{
	play_kernel(0);
	errno = ERANGE;
	node_init();
	ck_assert_int_eq(errno, ERANGE);
	assert_one_node();
	ck_assert_str_eq(node_note(), "the kernel does not tell the nodes");
}
END_TEST

START_TEST(missing_module_is_noted)
{
	play_kernel(3);
	setenv("QUARRY_TOPOLOGY", "/nonexistent/module.so", 1);
	node_init();
	assert_one_node();
	ck_assert_str_eq(node_note(), "the topology module cannot be loaded");
	ck_assert_ptr_null(dlerror());
}
END_TEST

/* A policy that cannot be followed is reported; that of the default need not be. */
START_TEST(a_policy_that_is_dropped_is_reported)
{
	static const unsigned policies[] = { OPTION_NUMA_INTERLEAVE, OPTION_NUMA_NODE + 1, OPTION_NUMA_LOCAL };
	static const char *const names[] = { "numa:interleave", "numa:node:1", "" };
	char line[512] = "";
	int ends[2], kept = dup(STDERR_FILENO);

	play_kernel(3);
	setenv("QUARRY_TOPOLOGY", "/nonexistent/module.so", 1);
	options.numa = policies[_i];
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	node_init();
	dup2(kept, STDERR_FILENO);
	close(ends[1]);
	ck_assert_int_ge(read(ends[0], line, sizeof line - 1), 0);
	assert_one_node();
	ck_assert_int_eq(!strstr(line, "QUARRY_CONF:"), policies[_i] == OPTION_NUMA_LOCAL);
	ck_assert_ptr_nonnull(strstr(line, names[_i]));
	if (*line) {
		ck_assert_ptr_nonnull(strstr(line, "the topology module cannot be loaded"));
		ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	}
}
END_TEST

START_TEST(foreign_module_is_noted)
{
	play_kernel(3);
	setenv("QUARRY_TOPOLOGY", "libm.so.6", 1);
	node_init();
	assert_one_node();
	ck_assert_str_eq(node_note(), "the topology module found no nodes");
	ck_assert_ptr_null(dlerror());
}
END_TEST

START_TEST(static_program_has_one_node)
{
	loader = 0;
	play_kernel(3);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	node_init();
	assert_one_node();
	ck_assert_str_eq(node_note(), "a static program loads no modules");
}
END_TEST

static void *wait_at(void *arg)
{
	pthread_barrier_wait(arg);
	return NULL;
}

START_TEST(running_threads_prevent_discovery)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	if (QUARRY_TSAN) /* its runtime starts threads past libc's account of them */
		return;
	play_kernel(3);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	pthread_barrier_init(&barrier, NULL, 2);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_at, &barrier), 0);
	node_init();
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	assert_one_node();
	ck_assert_str_eq(node_note(), "threads were running when the library was loaded");
}
END_TEST

/* --- with the module ---------------------------------------------------------------------------------------------- */

START_TEST(described_machine_is_used)
{
	char **kept;

	setenv("QUARRY_TOPOLOGY", module_path, 1);
	setenv("HWLOC_SYNTHETIC", "numa:4(indexes=5,2,0,7) pu:2", 1);
	kept = environ;
	node_init();
	ck_assert_ptr_null(node_note());
	ck_assert_uint_eq(node_count(), 4);
	ck_assert_int_eq(node_os_index(0), 0);
	ck_assert_int_eq(node_os_index(1), 2);
	ck_assert_int_eq(node_os_index(2), 5);
	ck_assert_int_eq(node_os_index(3), 7);
	ck_assert_uint_eq(node_by_distance(2, 0), 2);
	/* CPUs 0 and 1 are those of the kernel's node 5, CPUs 2 and 3 those of its node 2. */
	if (run_on_cpu(0))
		ck_assert_uint_eq(node_current(), 2);
	if (run_on_cpu(1))
		ck_assert_uint_eq(node_current(), 2);
	if (run_on_cpu(2))
		ck_assert_uint_eq(node_current(), 1);
	ck_assert_int_eq(node_bind(NULL, 4096, 3), 0);
	ck_assert_ptr_eq(environ, kept);
	ck_assert_str_eq(getenv("QUARRY_TOPOLOGY"), module_path);
	ck_assert(is_mapped("libquarry_topology"));
}
END_TEST

START_TEST(set_uid_program_ignores_the_environment)
{
	secure = 1;
	play_kernel(1);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	setenv("HWLOC_SYNTHETIC", "numa:4 pu:1", 1);
	node_init();
	assert_one_node();
	ck_assert(!is_mapped("libquarry_topology"));
}
END_TEST

/* Without QUARRY_TOPOLOGY a program's own HWLOC_SYNTHETIC, meant for its own hwloc, is not for us. */
START_TEST(description_for_others_is_not_taken)
{
	play_kernel(1);
	unsetenv("QUARRY_TOPOLOGY");
	setenv("HWLOC_SYNTHETIC", "numa:4 pu:1", 1);
	node_init();
	assert_one_node();
	ck_assert_ptr_null(node_note());
}
END_TEST

START_TEST(description_that_is_none_means_one_node)
{
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	setenv("HWLOC_SYNTHETIC", "no such machine", 1);
	node_init();
	assert_one_node();
	ck_assert_str_eq(node_note(), "the topology module found no nodes");
}
END_TEST

/* The kernel allows a node that hwloc does not find: what both know is used, here one node. */
START_TEST(nodes_unknown_to_discovery_are_left_out)
{
	unsigned cpu, node;

	ck_assert_int_eq(getcpu(&cpu, &node), 0);
	play_kernel(1ul << node | 1ul << 63);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	node_init();
	ck_assert(is_mapped("libquarry_topology"));
	ck_assert_ptr_null(node_note());
	assert_one_node();
}
END_TEST

START_TEST(no_node_known_to_discovery_is_noted)
{
	play_kernel(1ul << 62 | 1ul << 63);
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	node_init();
	assert_one_node();
	ck_assert_str_eq(node_note(), "the topology module found no nodes");
}
END_TEST

static const struct topology *open_topology(const unsigned long *allowed, size_t nbits)
{
	void *module = dlopen(module_path, RTLD_NOW);
	topology_open_fn open;

	ck_assert_ptr_nonnull(module);
	*(void **)&open = dlsym(module, "quarry_topology_open");
	ck_assert_ptr_nonnull(open);
	return open(allowed, nbits);
}

static const struct topology *open_described(const char *variable, const char *value)
{
	const struct topology *topology;

	setenv(variable, value, 1);
	topology = open_topology(NULL, 0);
	ck_assert_ptr_nonnull(topology);
	ck_assert(topology->by_cpu);
	return topology;
}

/* Discovery of the real machine does not see what the environment says to hwloc. */
START_TEST(discovery_hides_the_environment)
{
	unsigned long allowed = ~0ul;
	const struct topology *topology;

	setenv("HWLOC_SYNTHETIC", "numa:4 pu:1", 1);
	topology = open_topology(&allowed, LONG_BIT);
	ck_assert_ptr_nonnull(topology);
	ck_assert(!topology->by_cpu);
}
END_TEST

START_TEST(discovery_caps_the_number_of_nodes)
{
	const struct topology *topology = open_described("HWLOC_SYNTHETIC", "numa:300 pu:1");

	ck_assert_uint_eq(topology->nnodes, TOPOLOGY_MAX_NODES);
	for (unsigned key = 0; key < TOPOLOGY_NKEYS; key++)
		ck_assert_uint_lt(topology->index_of[key], TOPOLOGY_MAX_NODES);
	ck_assert_uint_eq(topology->index_of[254], 254);
	for (unsigned node = 0; node < topology->nnodes; node++) {
		bool seen[TOPOLOGY_MAX_NODES] = { false };

		ck_assert_uint_eq(topology->nodes[node].nearest[0], node);
		for (unsigned k = 0; k < topology->nnodes; k++)
			seen[topology->nodes[node].nearest[k]] = true;
		ck_assert_ptr_null(memchr(seen, false, sizeof seen));
	}
}
END_TEST

static void assert_sound(const struct topology *topology)
{
	for (unsigned key = 0; key < TOPOLOGY_NKEYS; key++)
		ck_assert_uint_lt(topology->index_of[key], topology->nnodes);
	for (unsigned node = 0; node < topology->nnodes; node++) {
		bool seen[TOPOLOGY_MAX_NODES] = { false };

		ck_assert(node == 0 || topology->nodes[node - 1].os_index < topology->nodes[node].os_index);
		ck_assert_uint_eq(topology->nodes[node].nearest[0], node);
		for (unsigned k = 0; k < topology->nnodes; k++)
			seen[topology->nodes[node].nearest[k]] = true;
		ck_assert_ptr_null(memchr(seen, false, topology->nnodes));
		for (unsigned kind = 0; kind < TOPOLOGY_KINDS; kind++)
			ck_assert_uint_lt(topology->nodes[node].best[kind], topology->nnodes);
	}
}

static const unsigned machine_sizes[] = { 2, 3, 4, 8, 16, 63, 64, 65, 100, 128 };

#define NSIZES (sizeof machine_sizes / sizeof machine_sizes[0])

/* Nodes of two CPUs each; in the process of a test, which may open the module once. */
START_TEST(machines_of_many_sizes)
{
	char text[64];
	unsigned nnodes = machine_sizes[_i];
	const struct topology *topology;

	snprintf(text, sizeof text, "numa:%u pu:2", nnodes);
	topology = open_described("HWLOC_SYNTHETIC", text);
	ck_assert_uint_eq(topology->nnodes, nnodes);
	assert_sound(topology);
	for (unsigned cpu = 0; cpu < 2 * nnodes; cpu++)
		ck_assert_uint_eq(topology->index_of[cpu], cpu / 2);
	for (unsigned node = 0; node < nnodes; node++) {
		for (unsigned kind = 0; kind < TOPOLOGY_KINDS; kind++)
			ck_assert_uint_eq(topology->nodes[node].best[kind], node); /* all alike */
	}
}
END_TEST

/* All the way, with more nodes than a word has bits. */
START_TEST(more_nodes_than_bits_of_a_word)
{
	setenv("QUARRY_TOPOLOGY", module_path, 1);
	setenv("HWLOC_SYNTHETIC", "numa:100 pu:1", 1);
	node_init();
	ck_assert_uint_eq(node_count(), 100);
	for (unsigned cpu = 0; cpu < 100; cpu++) {
		if (run_on_cpu((int)cpu))
			ck_assert_uint_eq(node_current(), cpu);
	}
	for (unsigned node = 0; node < 100; node++) {
		ck_assert_int_eq(node_of_os_index(node_os_index(node)), (int)node);
		ck_assert_int_eq(node_bind(NULL, 4096, node), 0);
		ck_assert_uint_eq(node_with_room(node, UINT64_MAX), node);
	}
	ck_assert_int_eq(node_of_os_index(100), -1);
	ck_assert_int_eq(node_bind(NULL, 4096, NODE_SPREAD), 0);
	ck_assert_int_eq(node_os_index(NODE_SPREAD), -1);
}
END_TEST

/* Each package has a node of its own and, larger, one without CPUs of its own; packages differ in their CPUs. */
START_TEST(nodes_beside_nodes)
{
	const struct topology *topology =
		open_described("HWLOC_SYNTHETIC", "pack:3 [numa(memory=1GB)] [numa(memory=8GB)] core:2 pu:1");

	ck_assert_uint_eq(topology->nnodes, 6);
	assert_sound(topology);
	for (unsigned cpu = 0; cpu < 6; cpu++) {
		unsigned node = topology->index_of[cpu];
		unsigned large = topology->nodes[node].best[TOPOLOGY_CAPACITY];

		ck_assert_uint_eq(topology->nodes[node].nbytes, 1000000000);
		ck_assert_uint_eq(node, topology->index_of[cpu ^ 1]);
		ck_assert_uint_eq(topology->nodes[large].nbytes, 8000000000);
		ck_assert_uint_eq(topology->nodes[node].best[TOPOLOGY_LATENCY], node);
	}
}
END_TEST

START_TEST(discovery_binds_nothing_of_a_described_machine)
{
	const struct topology *topology = open_described("HWLOC_SYNTHETIC", "pack:2 [numa(memory=1GB)] pu:1");
	void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(memory, MAP_FAILED);
	ck_assert_uint_eq(topology->nnodes, 2);
	ck_assert_int_eq(topology->bind(memory, 1 << 20, 1), 0);
	munmap(memory, 1 << 20);
}
END_TEST

/*
 * Kernel's nodes 0, 1 and 3 with CPUs 0, 1 and 2, but 3 may not be used; 4 has memory only, used from node 0; 6 has
 * CPU 3 but no memory. So nodes 0, 1 and 4 remain.
 */
static const char xml_begin[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	"<topology version=\"2.0\">\n"
	"<object type=\"Machine\" os_index=\"0\" cpuset=\"0xf\" complete_cpuset=\"0xf\" allowed_cpuset=\"0xf\""
	" nodeset=\"0x5b\" complete_nodeset=\"0x5b\" allowed_nodeset=\"0x53\" gp_index=\"1\">\n";

static const char xml_end[] =
	"</object>\n"
	"<distances2 type=\"NUMANode\" nbobjs=\"5\" kind=\"5\" indexing=\"os\">\n"
	"<indexes length=\"10\">0 1 3 4 6 </indexes>\n"
	"<u64values length=\"75\">10 21 31 17 30 21 10 16 25 12 31 16 10 40 22 17 25 40 10 50 30 12 22 50 10 "
	"</u64values>\n"
	"</distances2>\n"
	/* Node 4 is slower to answer than node 0 and moves more; nobody told for node 1 as seen from its own CPU. */
	"<memattr name=\"Bandwidth\" flags=\"5\">\n"
	"<memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"10\" value=\"100\" initiator_cpuset=\"0x1\"/>\n"
	"<memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"14\" value=\"400\" initiator_cpuset=\"0x1\"/>\n"
	"</memattr>\n"
	"<memattr name=\"Latency\" flags=\"6\">\n"
	"<memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"10\" value=\"90\" initiator_cpuset=\"0x1\"/>\n"
	"<memattr_value target_obj_type=\"NUMANode\" target_obj_gp_index=\"14\" value=\"130\" initiator_cpuset=\"0x1\"/>\n"
	"</memattr>\n"
	"</topology>\n";

static void write_sets(FILE *file, unsigned cpus, unsigned nodes)
{
	fprintf(file, " cpuset=\"0x%x\" complete_cpuset=\"0x%x\" nodeset=\"0x%x\" complete_nodeset=\"0x%x\"", cpus,
		cpus, nodes, nodes);
}

static void write_memory(FILE *file, unsigned cpu, unsigned node, unsigned long nbytes)
{
	fprintf(file, "<object type=\"NUMANode\" os_index=\"%u\" gp_index=\"%u\" local_memory=\"%lu\"", node, 10 + node,
		nbytes);
	write_sets(file, 1u << cpu, 1u << node);
	fprintf(file, "/>\n");
}

static void write_group(FILE *file, unsigned cpu, unsigned node, unsigned long nbytes, unsigned memory_only_node)
{
	unsigned nodes = 1u << node | (memory_only_node ? 1u << memory_only_node : 0);

	fprintf(file, "<object type=\"Group\" gp_index=\"%u\" kind=\"1001\" subkind=\"0\"", 20 + cpu);
	write_sets(file, 1u << cpu, nodes);
	fprintf(file, ">\n");
	write_memory(file, cpu, node, nbytes);
	if (memory_only_node)
		write_memory(file, cpu, memory_only_node, nbytes);
	fprintf(file, "<object type=\"PU\" os_index=\"%u\" gp_index=\"%u\"", cpu, 30 + cpu);
	write_sets(file, 1u << cpu, nodes);
	fprintf(file, "/>\n</object>\n");
}

START_TEST(discovery_knows_the_traps)
{
	static const uint8_t nearest[3][3] = { { 0, 2, 1 }, { 1, 0, 2 }, { 2, 0, 1 } };
	static const unsigned os_indexes[3] = { 0, 1, 4 };
	char path[] = "/tmp/quarry-check-node-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	const struct topology *topology;

	ck_assert_ptr_nonnull(file);
	fputs(xml_begin, file);
	write_group(file, 0, 0, 64 << 20, 4);
	write_group(file, 1, 1, 64 << 20, 0);
	write_group(file, 2, 3, 64 << 20, 0);
	write_group(file, 3, 6, 0, 0);
	fputs(xml_end, file);
	ck_assert_int_eq(fclose(file), 0);
	topology = open_described("HWLOC_XMLFILE", path);
	unlink(path);

	ck_assert_uint_eq(topology->nnodes, 3);
	for (unsigned node = 0; node < 3; node++) {
		ck_assert_uint_eq(topology->nodes[node].os_index, os_indexes[node]);
		ck_assert_uint_eq(topology->nodes[node].nbytes, 64 << 20);
		ck_assert_mem_eq(topology->nodes[node].nearest, nearest[node], 3);
	}
	ck_assert_uint_eq(topology->nodes[0].best[TOPOLOGY_BANDWIDTH], 2);
	ck_assert_uint_eq(topology->nodes[0].best[TOPOLOGY_LATENCY], 0);
	ck_assert_uint_eq(topology->nodes[1].best[TOPOLOGY_BANDWIDTH], 1);
	ck_assert_uint_eq(topology->nodes[1].best[TOPOLOGY_LATENCY], 1);
	for (unsigned node = 0; node < 3; node++)
		ck_assert_uint_eq(topology->nodes[node].best[TOPOLOGY_CAPACITY], node);
	/* CPU 0 is of node 0 though node 4 has it too; CPUs 2 and 3 are served by the nearest node. */
	ck_assert_uint_eq(topology->index_of[0], 0);
	ck_assert_uint_eq(topology->index_of[1], 1);
	ck_assert_uint_eq(topology->index_of[2], 1);
	ck_assert_uint_eq(topology->index_of[3], 1);
}
END_TEST

/* --- running ------------------------------------------------------------------------------------------------------ */

/* QUARRY_TOPOLOGY names the module; else it is looked for in the build directory. */
static bool find_module(void)
{
	const char *named = getenv("QUARRY_TOPOLOGY");
	const char *build = getenv("QUARRY_BUILD_DIR");

	if (named)
		snprintf(module_path, sizeof module_path, "%s", named);
	else
		snprintf(module_path, sizeof module_path, "%s/lib/.libs/libquarry_topology.so", build ? build : ".");
	unsetenv("QUARRY_TOPOLOGY");
	return access(module_path, R_OK) == 0;
}

static TCase *without_module(void)
{
	TCase *tcase = tcase_create("node");

	tcase_add_checked_fixture(tcase, forget_sanitizer_thread, NULL);
	tcase_add_test(tcase, one_node_before_init);
	tcase_add_test(tcase, ring_of_nodes_for_tests);
	tcase_add_test(tcase, kernel_numbers_have_gaps);
	tcase_add_test(tcase, refused_binding_is_counted_and_harmless);
	tcase_add_test(tcase, binding_inside_binding_ends);
	tcase_add_test(tcase, threads_see_a_whole_table);
	tcase_add_test(tcase, nodes_are_found_by_the_kernels_number);
	tcase_add_test(tcase, the_only_allowed_node_is_known);
	tcase_add_test(tcase, it_is_known_by_numa_off_as_well);
	tcase_add_test(tcase, one_allowed_node_opens_nothing);
	tcase_add_test(tcase, numa_off_opens_nothing);
	tcase_add_test(tcase, refused_question_is_noted);
	tcase_add_test(tcase, missing_module_is_noted);
	tcase_add_loop_test(tcase, a_policy_that_is_dropped_is_reported, 0, 3);
	tcase_add_test(tcase, foreign_module_is_noted);
	tcase_add_test(tcase, static_program_has_one_node);
	tcase_add_test(tcase, running_threads_prevent_discovery);
	return tcase;
}

static TCase *with_module(void)
{
	TCase *tcase = tcase_create("topology");

	tcase_add_checked_fixture(tcase, forget_sanitizer_thread, NULL);
	tcase_add_test(tcase, described_machine_is_used);
	tcase_add_test(tcase, set_uid_program_ignores_the_environment);
	tcase_add_test(tcase, description_for_others_is_not_taken);
	tcase_add_test(tcase, description_that_is_none_means_one_node);
	tcase_add_test(tcase, nodes_unknown_to_discovery_are_left_out);
	tcase_add_test(tcase, no_node_known_to_discovery_is_noted);
	tcase_add_test(tcase, discovery_hides_the_environment);
	tcase_add_test(tcase, discovery_caps_the_number_of_nodes);
	tcase_add_loop_test(tcase, machines_of_many_sizes, 0, NSIZES);
	tcase_add_test(tcase, more_nodes_than_bits_of_a_word);
	tcase_add_test(tcase, nodes_beside_nodes);
	tcase_add_test(tcase, discovery_binds_nothing_of_a_described_machine);
	tcase_add_test(tcase, discovery_knows_the_traps);
	return tcase;
}

int main(void)
{
	Suite *suite = suite_create("node");
	const char *require = getenv("QUARRY_TEST_REQUIRE");
	bool module = find_module();
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, without_module());
	if (module)
		suite_add_tcase(suite, with_module());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed)
		return EXIT_FAILURE;
	if (module)
		return EXIT_SUCCESS;
	printf("no topology module at %s: discovery was not tested\n", module_path);
	return require && strcmp(require, "1") == 0 ? EXIT_FAILURE : SKIPPED;
}
