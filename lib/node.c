/* SPDX-License-Identifier: MIT */
/*
 * node: see node.h.
 *
 * A machine with one node never maps the topology module, hwloc or libudev: whether there is more than one costs one
 * system call. A static program has one node: a module would bring a second libc into it. dlopen and its like are weak,
 * so that such a program need not link them.
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compiler.h"
#include "node.h"
#include "options.h"
#include "os.h"
#include "report.h"
#include "topology.h"

/* Where the module is installed. */
#ifndef QUARRY_TOPOLOGY_PATH
#define QUARRY_TOPOLOGY_PATH "/usr/local/lib/quarry"
#endif
#define MODULE_PATH QUARRY_TOPOLOGY_PATH "/libquarry_topology.so"

#define LONG_BITS (sizeof(long) * CHAR_BIT)

/* Nodes of node_set_for_tests. */
#define TEST_MAX_NODES 16

_Static_assert(NODE_MAX == TOPOLOGY_MAX_NODES, "every node that topology tells apart has an index");

extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dlclose) dlclose __attribute__((weak));
extern __typeof__(dlerror) dlerror __attribute__((weak));

/* The kernel's node mask. */
struct node_mask {
	unsigned long bits[TOPOLOGY_NKEYS / LONG_BITS];
};

/* What node_current answers instead of the CPU's node; CPU_DECIDES: nothing. */
#define CPU_DECIDES NODE_PLACES

/* Of a node's memory, this part is left alone, and no more: the kernel does not hand out all that is free. */
#define RESERVED_PART 32
#define RESERVED_MOST_NBYTES ((uint64_t)256 << 20)

struct node_counters node_counters[NODE_PLACES];

/* NULL: one node. */
static _Atomic(const struct topology *) published TOUCHED_EARLY;
static _Atomic unsigned constant_node = CPU_DECIDES; /* stored before published is */
static _Atomic int sole = -1; /* the kernel's number of the only node there is */
static _Atomic uint64_t bind_failures;
INSPECTED(node_topology, published);
INSPECTED(node_bind_failure_total, bind_failures);
static _Atomic(const char *) note;

/* This thread is inside the module's bind. */
static thread_local_ie volatile bool binding;

static const struct topology *machine(void)
{
	return atomic_load_explicit(&published, memory_order_acquire);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

unsigned node_count(void)
{
	const struct topology *topology = machine();

	return topology ? topology->nnodes : 1;
}

unsigned node_current(void)
{
	const struct topology *topology = machine();
	unsigned constant = atomic_load_explicit(&constant_node, memory_order_relaxed);
	unsigned cpu, node, key;
	int saved = errno;

	if (!topology)
		return 0;
	if (constant != CPU_DECIDES)
		return constant;
	if (getcpu(&cpu, &node) < 0) {
		errno = saved;
		return 0;
	}
	key = topology->by_cpu ? cpu : node;
	return key < TOPOLOGY_NKEYS ? topology->index_of[key] : 0;
}

/* --- binding ------------------------------------------------------------------------------------------------------ */

static struct node_set all_of(const struct topology *topology)
{
	struct node_set all = { { 0 } };

	for (unsigned node = 0; node < topology->nnodes; node++)
		all.bits[node / 64] |= (uint64_t)1 << node % 64;
	return all;
}

static void add_to_mask(struct node_mask *mask, const struct topology *topology, unsigned node)
{
	unsigned os_index = topology->nodes[node].os_index;

	mask->bits[os_index / LONG_BITS] |= 1ul << os_index % LONG_BITS;
}

/* What hwloc does, without the malloc. */
static int bind_by_call(const struct topology *topology, void *addr, size_t nbytes, unsigned node, unsigned long flags)
{
	struct node_mask mask = { { 0 } };
	int mode = MPOL_INTERLEAVE;

	if (topology->by_cpu)
		return 0;
	for (unsigned other = 0; node == NODE_SPREAD && other < topology->nnodes; other++)
		add_to_mask(&mask, topology, other);
	if (node != NODE_SPREAD) {
		add_to_mask(&mask, topology, node);
		mode = MPOL_PREFERRED;
	}
	return (int)syscall(SYS_mbind, addr, nbytes, mode, mask.bits, (unsigned long)TOPOLOGY_NKEYS + 1, flags);
}

static int counted(int result)
{
	if (result < 0)
		atomic_fetch_add_explicit(&bind_failures, 1, memory_order_relaxed);
	return result;
}

static int bind_by_module(const struct topology *topology, void *addr, size_t nbytes, unsigned node)
{
	struct node_set all;

	if (node != NODE_SPREAD)
		return topology->bind(addr, nbytes, node);
	all = all_of(topology);
	return topology->interleave(addr, nbytes, &all);
}

/*
 * hwloc allocates a few bytes for each binding. Where malloc is ours and has nothing left for them it maps an arena,
 * and the binding of that one arrives here while the first is under way: it must not allocate again.
 */
int node_bind(void *addr, size_t nbytes, unsigned node)
{
	const struct topology *topology = machine();
	int saved = errno;
	int result;

	if (!topology)
		return 0;
	if (binding) {
		result = bind_by_call(topology, addr, nbytes, node, 0);
	} else {
		binding = true;
		result = bind_by_module(topology, addr, nbytes, node);
		binding = false;
	}
	errno = saved;
	return counted(result);
}

int node_bind_over(void *addr, size_t nbytes, const struct node_set *over)
{
	const struct topology *topology = machine();
	int saved = errno;
	int result;

	if (!topology)
		return 0;
	if (binding)
		return node_bind(addr, nbytes, NODE_SPREAD);
	binding = true;
	result = topology->interleave(addr, nbytes, over);
	binding = false;
	errno = saved;
	return counted(result);
}

int node_bind_moving(void *addr, size_t nbytes, unsigned node)
{
	const struct topology *topology = machine();
	int saved = errno;
	int result;

	if (!topology)
		return 0;
	result = bind_by_call(topology, addr, nbytes, node, MPOL_MF_MOVE);
	errno = saved;
	return counted(result);
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

/* Number of nodes whose memory this process may use; 0 where the kernel does not tell. */
static unsigned ask_kernel(struct node_mask *allowed)
{
	unsigned count = 0;
	int saved = errno;
	long result;

	*allowed = (struct node_mask){ { 0 } };
	result = syscall(SYS_get_mempolicy, NULL, allowed->bits, (unsigned long)TOPOLOGY_NKEYS, NULL,
			 MPOL_F_MEMS_ALLOWED);
	errno = saved;
	if (result < 0)
		return 0;
	for (size_t i = 0; i < sizeof allowed->bits / sizeof allowed->bits[0]; i++)
		count += (unsigned)__builtin_popcountl(allowed->bits[i]);
	return count;
}

static bool is_in_mask(const struct node_mask *mask, unsigned os_index)
{
	return os_index < TOPOLOGY_NKEYS && (mask->bits[os_index / LONG_BITS] >> os_index % LONG_BITS & 1);
}

static int find_os_index(const struct topology *topology, int os_index)
{
	for (unsigned node = 0; node < topology->nnodes; node++) {
		if ((int)topology->nodes[node].os_index == os_index)
			return (int)node;
	}
	return -1;
}

int node_of_os_index(int os_index)
{
	const struct topology *topology = machine();
	int only = atomic_load_explicit(&sole, memory_order_relaxed);
	struct node_mask allowed;

	if (os_index < 0)
		return -1;
	if (topology)
		return find_os_index(topology, os_index);
	if (only >= 0)
		return os_index == only ? 0 : -1;
	if (ask_kernel(&allowed) == 0)
		return os_index == 0 ? 0 : -1;
	return is_in_mask(&allowed, (unsigned)os_index) ? 0 : -1;
}

int node_os_index(unsigned node)
{
	const struct topology *topology = machine();

	return topology && node < topology->nnodes ? (int)topology->nodes[node].os_index : -1;
}

int node_home(unsigned node)
{
	return machine() ? node_os_index(node) : atomic_load_explicit(&sole, memory_order_relaxed);
}

unsigned node_of_kind(unsigned node, unsigned kind)
{
	const struct topology *topology = machine();

	return topology && node < topology->nnodes ? topology->nodes[node].best[kind] : node;
}

unsigned node_by_distance(unsigned node, unsigned k)
{
	const struct topology *topology = machine();

	return topology ? topology->nodes[node].nearest[k] : 0;
}

/* Bytes that a line of meminfo tells; false: there is no such line. */
static bool read_meminfo(const char *data, const char *name, uint64_t *nbytes)
{
	const char *found = strstr(data, name);
	uint64_t kib = 0;

	if (!found)
		return false;
	for (found += strlen(name); *found == ' '; found++)
		;
	for (; *found >= '0' && *found <= '9'; found++)
		kib = kib * 10 + (uint64_t)(*found - '0');
	*nbytes = kib << 10;
	return true;
}

/* UINT64_MAX where the kernel does not tell. */
static uint64_t room_nbytes(const struct topology_node *node)
{
	char data[1024];
	char path[64];
	struct text text;
	uint64_t unused = 0, files = 0, reserve = node->nbytes / RESERVED_PART;

	text_begin(&text, path, sizeof path);
	text_append(&text, "/sys/devices/system/node/node%u/meminfo", node->os_index);
	if (!os_read_file(path, data, sizeof data) || !read_meminfo(data, "MemFree:", &unused))
		return UINT64_MAX;
	read_meminfo(data, "Inactive(file):", &files);
	reserve = reserve < RESERVED_MOST_NBYTES ? reserve : RESERVED_MOST_NBYTES;
	return unused + files > reserve ? unused + files - reserve : 0;
}

unsigned node_with_room(unsigned node, uint64_t nbytes)
{
	const struct topology *topology = machine();

	if (!topology || topology->by_cpu || node >= topology->nnodes)
		return node;
	for (unsigned k = 0; k < topology->nnodes; k++) {
		unsigned other = topology->nodes[node].nearest[k];

		if (room_nbytes(&topology->nodes[other]) >= nbytes)
			return other;
	}
	return node;
}

uint64_t node_bind_failures(void)
{
	return atomic_load_explicit(&bind_failures, memory_order_relaxed);
}

const char *node_note(void)
{
	return atomic_load_explicit(&note, memory_order_relaxed);
}

/* --- finding out -------------------------------------------------------------------------------------------------- */

/* One node, and why. What was asked for and is not done is reported; by default nothing was. */
static void give_up(const char *reason)
{
	atomic_store_explicit(&note, reason, memory_order_relaxed);
	if (options.numa == OPTION_NUMA_INTERLEAVE)
		report_line("QUARRY_CONF: numa:interleave has no effect: %s", reason);
	else if (options.numa >= OPTION_NUMA_NODE)
		report_line("QUARRY_CONF: numa:node:%u has no effect: %s", options.numa - OPTION_NUMA_NODE, reason);
}

/* A module that fails leaves no message behind, which the program's next dlerror would take for its own. */
static const struct topology *open_module(const char *path, const struct node_mask *allowed)
{
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct topology *topology = NULL;
	topology_open_fn open;

	if (!module) {
		give_up("the topology module cannot be loaded");
		dlerror();
		return NULL;
	}
	/* POSIX's way to make a function of what dlsym returns. */
	*(void **)&open = dlsym(module, "quarry_topology_open");
	if (open)
		topology = open(allowed ? allowed->bits : NULL, allowed ? TOPOLOGY_NKEYS : 0);
	if (topology && topology->version == TOPOLOGY_VERSION)
		return topology;
	give_up(topology ? "the topology module is of another version" : "the topology module found no nodes");
	dlclose(module);
	dlerror();
	return NULL;
}

/* Discovery exchanges the environment, which a thread might be reading; a program that loads us by dlopen has some. */
static bool may_discover(void)
{
	/* Where the loader lies; a static program has none, though it may have linked dlopen. */
	if (!getauxval(AT_BASE) || !dlopen || !dlsym || !dlclose || !dlerror) {
		give_up("a static program loads no modules");
		return false;
	}
	if (!__libc_single_threaded) {
		give_up("threads were running when the library was loaded");
		return false;
	}
	return true;
}

/* --- policy ------------------------------------------------------------------------------------------------------- */

/* "0..3, 6": as many as a line takes. */
static void append_nodes(struct text *text, const struct node_mask *allowed)
{
	const char *between = "";

	for (unsigned first = 0, end; first < TOPOLOGY_NKEYS; first = end) {
		end = first + 1;
		if (!is_in_mask(allowed, first))
			continue;
		while (is_in_mask(allowed, end))
			end++;
		text_append(text, end == first + 1 ? "%s%u" : "%s%u..%u", between, first, end - 1);
		between = ", ";
	}
}

static void report_bad_node(const struct node_mask *allowed)
{
	char data[REPORT_LINE_NBYTES / 2];
	struct text nodes;

	text_begin(&nodes, data, sizeof data);
	append_nodes(&nodes, allowed);
	report_line("QUARRY_CONF: numa:node:%u is not valid, this process may use the memory of %s",
		    options.numa - OPTION_NUMA_NODE, data);
}

static unsigned constant_of(const struct topology *topology)
{
	struct node_mask allowed = { { 0 } };
	int node;

	if (options.numa == OPTION_NUMA_INTERLEAVE)
		return NODE_SPREAD;
	if (options.numa < OPTION_NUMA_NODE)
		return CPU_DECIDES;
	node = find_os_index(topology, (int)(options.numa - OPTION_NUMA_NODE));
	if (node >= 0)
		return (unsigned)node;
	for (unsigned other = 0; other < topology->nnodes; other++)
		add_to_mask(&allowed, topology, other);
	report_bad_node(&allowed);
	return CPU_DECIDES;
}

/* One node only: which. */
static void note_sole(const struct node_mask *allowed)
{
	for (unsigned i = 0; i < TOPOLOGY_NKEYS / LONG_BITS; i++) {
		if (allowed->bits[i])
			atomic_store_explicit(&sole, (int)(i * LONG_BITS) + __builtin_ctzl(allowed->bits[i]),
					      memory_order_relaxed);
	}
	if (options.numa >= OPTION_NUMA_NODE && !is_in_mask(allowed, options.numa - OPTION_NUMA_NODE))
		report_bad_node(allowed);
}

void node_publish(const struct topology *topology)
{
	bool several = topology->nnodes > 1;
	struct node_mask only = { { 0 } };

	if (several) {
		atomic_store_explicit(&constant_node, constant_of(topology), memory_order_relaxed);
	} else {
		add_to_mask(&only, topology, 0);
		note_sole(&only);
	}
	atomic_store_explicit(&published, several ? topology : NULL, memory_order_release);
}

bool node_init(void)
{
	const char *path = options_environment("QUARRY_TOPOLOGY");
	bool described = path && (options_environment("HWLOC_SYNTHETIC") || options_environment("HWLOC_XMLFILE"));
	const struct topology *topology;
	struct node_mask allowed;
	int saved = errno;

	if (!described) {
		unsigned count = ask_kernel(&allowed);

		if (count == 0 && options.numa != OPTION_NUMA_OFF)
			give_up("the kernel does not tell the nodes");
		if (count == 1)
			note_sole(&allowed);
		if (count <= 1)
			return false;
	}
	if (options.numa == OPTION_NUMA_OFF || !may_discover())
		return false;
	topology = open_module(path ? path : MODULE_PATH, described ? NULL : &allowed);
	errno = saved;
	if (!topology)
		return false;
	node_publish(topology);
	return node_count() > 1;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static int bind_nothing(void *addr, size_t len, unsigned node)
{
	(void)addr;
	(void)len;
	(void)node;
	return 0;
}

static int interleave_nothing(void *addr, size_t len, const struct node_set *over)
{
	(void)over;
	return bind_nothing(addr, len, 0);
}

void node_set_for_tests(unsigned count)
{
	static uint8_t index_of[TOPOLOGY_NKEYS];
	static uint8_t nearest[TEST_MAX_NODES][TEST_MAX_NODES];
	static struct topology_node nodes[TEST_MAX_NODES];
	static struct topology ring = {
		.version = TOPOLOGY_VERSION, .by_cpu = true, .index_of = index_of, .nodes = nodes, .bind = bind_nothing,
		.interleave = interleave_nothing,
	};

	atomic_store_explicit(&published, NULL, memory_order_release);
	for (unsigned cpu = 0; cpu < TOPOLOGY_NKEYS; cpu++)
		index_of[cpu] = (uint8_t)(cpu % count);
	for (unsigned node = 0; node < count; node++) {
		nodes[node] = (struct topology_node){ .os_index = node, .nearest = nearest[node] };
		for (unsigned kind = 0; kind < TOPOLOGY_KINDS; kind++)
			nodes[node].best[kind] = (uint8_t)node;
		for (unsigned k = 0; k < count; k++)
			nearest[node][k] = (uint8_t)((node + k) % count);
	}
	ring.nnodes = count;
	node_publish(&ring);
}
