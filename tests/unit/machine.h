/* SPDX-License-Identifier: MIT */
/*
 * A machine of several nodes whose threads run where the test says, and whose bindings are noted, not made.
 */
#ifndef QUARRY_UNIT_MACHINE_H
#define QUARRY_UNIT_MACHINE_H

#include "node.h"
#include "topology.h"

#define MACHINE_MOST_NODES 128

/* The kernel's number of a node of the machine: there are gaps. */
#define OS(node) (3 * (int)(node) + 1)

static struct {
	struct topology topology;
	struct topology_node nodes[MACHINE_MOST_NODES];
	uint8_t nearest[MACHINE_MOST_NODES][MACHINE_MOST_NODES];
	uint8_t index_of[TOPOLOGY_NKEYS];
	unsigned nbound[NODE_PLACES]; /* bindings to a node */
	unsigned nspread;             /* to a set */
	struct node_set last_set;
} machine_state;

static inline int machine_bind(void *addr, size_t len, unsigned node)
{
	(void)addr;
	(void)len;
	machine_state.nbound[node]++;
	return 0;
}

static inline int machine_interleave(void *addr, size_t len, const struct node_set *over)
{
	(void)addr;
	(void)len;
	machine_state.nspread++;
	machine_state.last_set = *over;
	return 0;
}

/* From now on all threads run on this node. */
static inline void run_on(unsigned node)
{
	memset(machine_state.index_of, (int)node, sizeof(machine_state.index_of));
}

/* A ring of nodes; see node_publish for the policy. */
static inline struct topology *make_machine(unsigned nnodes)
{
	for (unsigned node = 0; node < nnodes; node++) {
		machine_state.nodes[node] =
			(struct topology_node){.os_index = (unsigned)OS(node), .nearest = machine_state.nearest[node]};
		memset(machine_state.nodes[node].best, (int)node, TOPOLOGY_KINDS);
		for (unsigned k = 0; k < nnodes; k++)
			machine_state.nearest[node][k] = (uint8_t)((node + k) % nnodes);
	}
	machine_state.topology = (struct topology){
		.version = TOPOLOGY_VERSION, .nnodes = nnodes, .by_cpu = true, .index_of = machine_state.index_of,
		.nodes = machine_state.nodes, .bind = machine_bind, .interleave = machine_interleave,
	};
	node_publish(&machine_state.topology);
	return &machine_state.topology;
}

#endif
