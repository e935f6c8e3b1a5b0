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
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compiler.h"
#include "node.h"
#include "options.h"
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

/* NULL: one node. */
static _Atomic(const struct topology *) published;
static _Atomic uint64_t bind_failures;
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
	unsigned cpu, node, key;

	if (!topology)
		return 0;
	int saved = errno;
	if (getcpu(&cpu, &node) < 0) {
		errno = saved;
		return 0;
	}
	key = topology->by_cpu ? cpu : node;
	return key < TOPOLOGY_NKEYS ? topology->index_of[key] : 0;
}

/* What hwloc does, without the malloc. */
static int bind_nested(const struct topology *topology, void *addr, size_t nbytes, unsigned node)
{
	unsigned os_index = topology->nodes[node].os_index;
	struct node_mask mask = { { 0 } };

	if (topology->by_cpu)
		return 0;
	mask.bits[os_index / LONG_BITS] = 1ul << os_index % LONG_BITS;
	return (int)syscall(SYS_mbind, addr, nbytes, MPOL_PREFERRED, mask.bits, (unsigned long)TOPOLOGY_NKEYS + 1, 0);
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
		result = bind_nested(topology, addr, nbytes, node);
	} else {
		binding = true;
		result = topology->bind(addr, nbytes, node);
		binding = false;
	}
	if (result < 0)
		atomic_fetch_add_explicit(&bind_failures, 1, memory_order_relaxed);
	errno = saved;
	return result;
}

int node_os_index(unsigned node)
{
	const struct topology *topology = machine();

	return topology ? (int)topology->nodes[node].os_index : -1;
}

unsigned node_by_distance(unsigned node, unsigned k)
{
	const struct topology *topology = machine();

	return topology ? topology->nodes[node].nearest[k] : 0;
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

/* One node, and why. */
static void give_up(const char *reason)
{
	atomic_store_explicit(&note, reason, memory_order_relaxed);
}

/* Number of nodes whose memory this process may use; 0 where the kernel does not tell. */
static unsigned ask_kernel(struct node_mask *allowed)
{
	unsigned count = 0;

	*allowed = (struct node_mask){ { 0 } };
	if (syscall(SYS_get_mempolicy, NULL, allowed->bits, (unsigned long)TOPOLOGY_NKEYS, NULL,
		    MPOL_F_MEMS_ALLOWED) < 0)
		return 0;
	for (size_t i = 0; i < sizeof allowed->bits / sizeof allowed->bits[0]; i++)
		count += (unsigned)__builtin_popcountl(allowed->bits[i]);
	return count;
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

void node_publish(const struct topology *topology)
{
	atomic_store_explicit(&published, topology->nnodes > 1 ? topology : NULL, memory_order_release);
}

void node_init(void)
{
	const char *path = options_environment("QUARRY_TOPOLOGY");
	bool described = path && (options_environment("HWLOC_SYNTHETIC") || options_environment("HWLOC_XMLFILE"));
	const struct topology *topology;
	struct node_mask allowed;
	int saved = errno;

	if (options.numa == OPTION_NUMA_OFF)
		return;
	if (!described) {
		unsigned count = ask_kernel(&allowed);

		errno = saved;
		if (count == 0)
			give_up("the kernel does not tell the nodes");
		if (count <= 1)
			return;
	}
	if (!may_discover())
		return;
	topology = open_module(path ? path : MODULE_PATH, described ? NULL : &allowed);
	errno = saved;
	if (topology)
		node_publish(topology);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static int bind_nothing(void *addr, size_t len, unsigned node)
{
	(void)addr;
	(void)len;
	(void)node;
	return 0;
}

void node_set_for_tests(unsigned count)
{
	static uint8_t index_of[TOPOLOGY_NKEYS];
	static uint8_t nearest[TEST_MAX_NODES][TEST_MAX_NODES];
	static struct topology_node nodes[TEST_MAX_NODES];
	static struct topology ring = {
		.version = TOPOLOGY_VERSION, .by_cpu = true, .index_of = index_of, .nodes = nodes, .bind = bind_nothing,
	};

	atomic_store_explicit(&published, NULL, memory_order_release);
	for (unsigned cpu = 0; cpu < TOPOLOGY_NKEYS; cpu++)
		index_of[cpu] = (uint8_t)(cpu % count);
	for (unsigned node = 0; node < count; node++) {
		nodes[node] = (struct topology_node){ .os_index = node, .nearest = nearest[node] };
		for (unsigned k = 0; k < count; k++)
			nearest[node][k] = (uint8_t)((node + k) % count);
	}
	ring.nnodes = count;
	node_publish(&ring);
}
