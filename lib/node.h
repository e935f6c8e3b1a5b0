/* SPDX-License-Identifier: MIT */
/*
 * node: where we are, and where memory goes.
 *
 * Owns       the table of NUMA nodes. Nodes are numbered by Quarry, 0 to node_count() - 1, not as the kernel does.
 * Invariants the count changes once at most, from 1 to what node_init finds; index 0 is then a real node, and memory
 *            got before is nobody's: it was not bound.
 * Locking    none: the table is published whole (release, acquire) and never changes or goes after that. Any thread may
 *            call anything here at any time, before node_init too: the machine has one node until then.
 */
#ifndef QUARRY_NODE_H
#define QUARRY_NODE_H

#include <stddef.h>
#include <stdint.h>

/* Most nodes there can be. */
#define NODE_MAX 255

struct topology;

/**
 * Ask the kernel how many nodes' memory this process may use and, if that is more than one and numa:local holds, open
 * the topology module, libquarry_topology.so in the directory QUARRY_TOPOLOGY_PATH; QUARRY_TOPOLOGY in the environment
 * names another file. With that variable set HWLOC_SYNTHETIC or HWLOC_XMLFILE may describe a machine for tests, where
 * the CPU's number tells the node and binding does nothing.
 *
 * Any failure means one node. Called once, by the library constructor, after options_read.
 */
void node_init(void);

/** Number of nodes, 1 to NODE_MAX. */
unsigned node_count(void);

/** The node of the CPU that this thread runs on; a few ns, nothing at all with one node. */
unsigned node_current(void);

/**
 * Prefer a node for memory that has not been touched yet: its pages come from there while it has any.
 *
 * addr       at a page boundary
 * Returns    0; -1 when the kernel refused, which is counted and harmless. With one node 0, and nothing is done
 * Calls      malloc and free once, small, hence perhaps itself: hold no lock. errno is kept
 */
int node_bind(void *addr, size_t nbytes, unsigned node);

/** The kernel's number of a node; -1 with one node. */
int node_os_index(unsigned node);

/** The k-th nearest of all nodes as seen from node; it is its own nearest (k = 0). k is below node_count(). */
unsigned node_by_distance(unsigned node, unsigned k);

/** How often node_bind was refused. */
uint64_t node_bind_failures(void);

/** Why a machine that has several nodes, or does not tell, is taken as one; NULL where there is no such reason. */
const char *node_note(void);

/** Use these nodes from now on, in place of none; node_init does so, and tests. */
void node_publish(const struct topology *topology);

/** For tests: pretend count nodes (1 to 16) in a ring; CPU c belongs to node c % count, and binding does nothing. */
void node_set_for_tests(unsigned count);

#endif
