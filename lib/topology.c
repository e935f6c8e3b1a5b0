/* SPDX-License-Identifier: MIT */
/*
 * topology: the nodes as hwloc discovers them. See topology.h.
 *
 * Discovery looks at NUMA nodes and nothing else: no plugins (they would load X11 and OpenCL into every process), no
 * x86 component (it moves the thread from CPU to CPU). Only the environment can say so, hence the exchange of environ.
 *
 * Which nodes may be used is the kernel's answer, not hwloc's: cgroup files can be hidden in a container. Disallowed
 * nodes are discovered too, since a thread may run on one, and is then served by the nearest that is allowed.
 */
#include <hwloc.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "topology.h"

#define LONG_BITS (sizeof(long) * CHAR_BIT)

/* What hwloc finds in the environment while it discovers. It may keep pointers into it. */
static char *quiet_environment[] = {
	(char[]){ "HWLOC_PLUGINS_PATH=/nonexistent" },
	(char[]){ "HWLOC_COMPONENTS=linux,stop" },
	(char[]){ "HWLOC_HIDE_ERRORS=2" },
	NULL,
};

/* A node that hwloc found, whether usable or not. */
struct found {
	hwloc_obj_t node;
	int row;   /* its place in the distance matrix, -1 without one */
	int index; /* its place among the usable nodes, -1 if it is none */
};

/* Used by discovery only. */
static struct found found[TOPOLOGY_NKEYS];
static unsigned nfound;
static struct hwloc_distances_s *distances;

/* The result; usable[i] is the found node behind nodes[i]. */
static hwloc_topology_t machine;
static const struct found *usable[TOPOLOGY_MAX_NODES];
static struct topology_node nodes[TOPOLOGY_MAX_NODES];
static uint8_t nearest[TOPOLOGY_MAX_NODES][TOPOLOGY_MAX_NODES];
static uint8_t index_of[TOPOLOGY_NKEYS];
static struct topology topology = { .version = TOPOLOGY_VERSION, .index_of = index_of, .nodes = nodes };

static int bind_preferred(void *addr, size_t len, unsigned node)
{
	/* Never STRICT: when a node is full the kernel would kill the process beside empty nodes. */
	return hwloc_set_area_membind(machine, addr, len, usable[node]->node->nodeset, HWLOC_MEMBIND_BIND,
				      HWLOC_MEMBIND_BYNODESET);
}

static int interleave(void *addr, size_t len, const struct node_set *over)
{
	hwloc_bitmap_t nodeset = hwloc_bitmap_alloc();
	int result = -1;

	if (!nodeset)
		return -1;
	for (unsigned node = 0; node < topology.nnodes; node++) {
		if (over->bits[node / 64] >> node % 64 & 1)
			hwloc_bitmap_set(nodeset, usable[node]->node->os_index);
	}
	if (!hwloc_bitmap_iszero(nodeset))
		result = hwloc_set_area_membind(machine, addr, len, nodeset, HWLOC_MEMBIND_INTERLEAVE,
						HWLOC_MEMBIND_BYNODESET);
	hwloc_bitmap_free(nodeset);
	return result;
}

/* --- discovery ---------------------------------------------------------------------------------------------------- */

/* A machine described for tests, by the same variables as in hwloc itself: its own would be hidden by the component
   list. No description is no error: the machine below us is taken. */
static int describe(const char *synthetic, const char *xmlfile)
{
	if (synthetic)
		return hwloc_topology_set_synthetic(machine, synthetic);
	if (xmlfile)
		return hwloc_topology_set_xml(machine, xmlfile);
	return 0;
}

/* Groups must stay where they give structure: without any object to hang below, every node has all CPUs. */
static int load(const char *synthetic, const char *xmlfile)
{
	if (hwloc_topology_init(&machine) < 0)
		return -1;
	if (describe(synthetic, xmlfile) == 0 &&
	    hwloc_topology_set_all_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_NONE) == 0 &&
	    hwloc_topology_set_type_filter(machine, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE) == 0 &&
	    hwloc_topology_set_flags(machine, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) == 0 &&
	    hwloc_topology_load(machine) == 0)
		return 0;
	hwloc_topology_destroy(machine);
	return -1;
}

static int load_quietly(bool described)
{
	const char *synthetic = described ? getenv("HWLOC_SYNTHETIC") : NULL;
	const char *xmlfile = described ? getenv("HWLOC_XMLFILE") : NULL;
	char **kept = environ;
	int result;

	environ = quiet_environment;
	result = load(synthetic, xmlfile);
	environ = kept;
	return result;
}

static bool is_usable(hwloc_obj_t node, const unsigned long *allowed, size_t nbits)
{
	if (node->attr->numanode.local_memory == 0)
		return false;
	if (!allowed)
		return hwloc_bitmap_isset(hwloc_topology_get_allowed_nodeset(machine), node->os_index);
	return node->os_index < nbits && (allowed[node->os_index / LONG_BITS] >> node->os_index % LONG_BITS & 1);
}

/* Fill in found and usable, both in the kernel's order. */
static void find_nodes(const unsigned long *allowed, size_t nbits)
{
	unsigned os_index;
	unsigned nmatrices = 1;

	hwloc_bitmap_foreach_begin(os_index, hwloc_topology_get_topology_nodeset(machine)) {
		hwloc_obj_t node = hwloc_get_numanode_obj_by_os_index(machine, os_index);

		if (node && os_index < TOPOLOGY_NKEYS)
			found[nfound++] = (struct found){ node, -1, -1 };
	} hwloc_bitmap_foreach_end();

	if (hwloc_distances_get_by_type(machine, HWLOC_OBJ_NUMANODE, &nmatrices, &distances,
					HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0 || nmatrices == 0)
		distances = NULL;

	for (unsigned i = 0; i < nfound; i++) {
		if (distances)
			found[i].row = hwloc_distances_obj_index(distances, found[i].node);
		if (topology.nnodes < TOPOLOGY_MAX_NODES && is_usable(found[i].node, allowed, nbits)) {
			found[i].index = (int)topology.nnodes;
			usable[topology.nnodes++] = &found[i];
		}
	}
}

/* --- order -------------------------------------------------------------------------------------------------------- */

/* Distance from one node to another that is not the same; equal for all where the machine does not tell. */
static uint64_t distance(const struct found *from, const struct found *to)
{
	if (from->row < 0 || to->row < 0)
		return 0;
	return distances->values[(unsigned)from->row * distances->nbobjs + (unsigned)to->row];
}

/* Nodes at one distance follow in a circle, so that the nodes of a group do not all turn to its first. */
static bool is_nearer(const struct found *from, unsigned start, unsigned a, unsigned b)
{
	uint64_t to_a = distance(from, usable[a]);
	uint64_t to_b = distance(from, usable[b]);
	unsigned n = topology.nnodes;

	return to_a != to_b ? to_a < to_b : (a + n - start) % n < (b + n - start) % n;
}

static void sort_by_distance(unsigned node)
{
	uint8_t *order = nearest[node];
	unsigned n = 0;

	order[n++] = (uint8_t)node;
	for (unsigned other = 0; other < topology.nnodes; other++) {
		unsigned place = n;

		if (other == node)
			continue;
		for (; place > 1 && is_nearer(usable[node], node, other, order[place - 1]); place--)
			order[place] = order[place - 1];
		order[place] = (uint8_t)other;
		n++;
	}
}

/* --- kinds -------------------------------------------------------------------------------------------------------- */

#if HWLOC_API_VERSION >= 0x00020300

static const hwloc_memattr_id_t attribute_of[TOPOLOGY_KINDS] = {
	[TOPOLOGY_BANDWIDTH] = HWLOC_MEMATTR_ID_BANDWIDTH,
	[TOPOLOGY_LATENCY] = HWLOC_MEMATTR_ID_LATENCY,
	[TOPOLOGY_CAPACITY] = HWLOC_MEMATTR_ID_CAPACITY,
};

/* Of memory on the node `to` for threads on `from`; false where the machine does not tell. */
static bool attribute(enum topology_kind kind, unsigned from, unsigned to, uint64_t *value)
{
	hwloc_obj_t near = usable[from]->node;
	struct hwloc_location initiator = { .type = HWLOC_LOCATION_TYPE_CPUSET, .location.cpuset = near->cpuset };
	hwloc_uint64_t got;

	if (kind != TOPOLOGY_CAPACITY && hwloc_bitmap_iszero(near->cpuset))
		return false;
	if (hwloc_memattr_get_value(machine, attribute_of[kind], usable[to]->node, &initiator, 0, &got) < 0)
		return false;
	*value = got;
	return true;
}

#else

static bool attribute(enum topology_kind kind, unsigned from, unsigned to, uint64_t *value)
{
	(void)from;
	*value = usable[to]->node->attr->numanode.local_memory;
	return kind == TOPOLOGY_CAPACITY;
}

#endif

/* Not for a trifle: the first node of a machine often has a little less memory than its like. */
static bool is_better(enum topology_kind kind, uint64_t value, uint64_t than)
{
	return kind == TOPOLOGY_LATENCY ? value < than : value - than / 8 > than && value > than;
}

/* The best node of a kind: the nearest one among equals, and the thread's own where the machine tells nothing. */
static uint8_t best_node(enum topology_kind kind, unsigned from)
{
	uint8_t best = (uint8_t)from;
	uint64_t best_value = 0, value;
	bool known = false;

	for (unsigned k = 0; k < topology.nnodes; k++) {
		uint8_t to = nearest[from][k];

		if (!attribute(kind, from, to, &value) || (known && !is_better(kind, value, best_value)))
			continue;
		known = true;
		best = to;
		best_value = value;
	}
	return best;
}

/* --- index -------------------------------------------------------------------------------------------------------- */

/* The usable node that serves threads on this one. */
static uint8_t serving_node(const struct found *from)
{
	unsigned best = 0;

	if (from->index >= 0)
		return (uint8_t)from->index;
	for (unsigned node = 1; node < topology.nnodes; node++) {
		if (is_nearer(from, 0, node, best))
			best = node;
	}
	return (uint8_t)best;
}

/* A node without CPUs shares the set of the node that uses it: the lower number, taken first, is the one with CPUs. */
static void index_cpus_of(const struct found *from, bool taken[TOPOLOGY_NKEYS])
{
	unsigned cpu;

	if (hwloc_bitmap_weight(from->node->cpuset) < 0)
		return;
	hwloc_bitmap_foreach_begin(cpu, from->node->cpuset) {
		if (cpu < TOPOLOGY_NKEYS && !taken[cpu]) {
			taken[cpu] = true;
			index_of[cpu] = serving_node(from);
		}
	} hwloc_bitmap_foreach_end();
}

static void index_nodes(void)
{
	static bool taken[TOPOLOGY_NKEYS];

	for (unsigned i = 0; i < nfound; i++) {
		if (topology.by_cpu)
			index_cpus_of(&found[i], taken);
		else
			index_of[found[i].node->os_index] = serving_node(&found[i]);
	}
}

__attribute__((visibility("default")))
const struct topology *quarry_topology_open(const unsigned long *allowed, size_t nbits)
{
	if (topology.nnodes)
		return &topology;
	if (hwloc_get_api_version() >> 16 != HWLOC_API_VERSION >> 16 || load_quietly(!allowed) < 0)
		return NULL;
	topology.by_cpu = !hwloc_topology_is_thissystem(machine);
	topology.bind = bind_preferred;
	topology.interleave = interleave;
	find_nodes(allowed, nbits);
	for (unsigned node = 0; node < topology.nnodes; node++) {
		nodes[node].os_index = usable[node]->node->os_index;
		nodes[node].nbytes = usable[node]->node->attr->numanode.local_memory;
		nodes[node].nearest = nearest[node];
		sort_by_distance(node);
		for (unsigned kind = 0; kind < TOPOLOGY_KINDS; kind++)
			nodes[node].best[kind] = best_node(kind, node);
	}
	index_nodes();
	if (distances)
		hwloc_distances_release(machine, distances);
	if (topology.nnodes)
		return &topology;
	hwloc_topology_destroy(machine);
	return NULL;
}
