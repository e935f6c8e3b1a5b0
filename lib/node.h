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

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"

/* Most nodes there can be. */
#define NODE_MAX 255

/* In the place of a node: all of them, by turns. Tables by node have a place for it. */
#define NODE_SPREAD NODE_MAX
#define NODE_PLACES (NODE_MAX + 1)

struct topology;
struct node_set;

/**
 * Ask the kernel how many nodes' memory this process may use and, unless that is one or numa:off holds, open the
 * topology module, libquarry_topology.so in the directory QUARRY_TOPOLOGY_PATH; QUARRY_TOPOLOGY in the environment
 * names another file. With that variable set HWLOC_SYNTHETIC or HWLOC_XMLFILE may describe a machine for tests, where
 * the CPU's number tells the node and binding does nothing.
 *
 * Any failure means one node, and is reported if another policy than numa:local was asked for. Called once, by the
 * library constructor, after options_read. Returns whether there are several.
 */
bool node_init(void);

/** Number of nodes, 1 to NODE_MAX. */
unsigned node_count(void);

/**
 * Where memory for this thread comes from by the policy that options.numa names: by numa:local the node of the CPU that
 * it runs on, else a constant. A few ns, nothing at all with one node.
 */
unsigned node_current(void);

/**
 * Prefer a node for memory that has not been touched yet: its pages come from there while it has any.
 *
 * addr       at a page boundary
 * Returns    0; -1 when the kernel refused, which is counted and harmless. With one node 0, and nothing is done
 * Calls      malloc and free once, small, hence perhaps itself: hold no lock. errno is kept
 */
int node_bind(void *addr, size_t nbytes, unsigned node);

/** As node_bind, for a set of nodes that the pages come from by turns. */
int node_bind_over(void *addr, size_t nbytes, const struct node_set *over);

/** As node_bind, for memory that may have been touched: what lies elsewhere is moved. Allocates nothing. */
int node_bind_moving(void *addr, size_t nbytes, unsigned node);

/**
 * The nearest node that has room for nbytes; node itself if none has, or it cannot be known.
 *
 * Room is what the kernel counts as free on the node and what files that nobody has used for long hold there, which it
 * gives up first (MemFree and Inactive(file)); less a reserve, a 32nd of the node but at most 256 MiB.
 */
unsigned node_with_room(unsigned node, uint64_t nbytes);

/** The kernel's number of a node; -1 with one node, and for NODE_SPREAD. */
int node_os_index(unsigned node);

/** The same, but with one node, by numa:off too, its number if the kernel told that there is no other. */
int node_home(unsigned node);

/**
 * The node with the kernel's number; -1: the process may not use its memory. Where all is taken for one node (numa:off,
 * node_note) every node that the kernel allows is that one.
 */
int node_of_os_index(int os_index);

/** The node to take for memory of a kind (enum topology_kind), as seen from node; node itself where none is better. */
unsigned node_of_kind(unsigned node, unsigned kind);

/** The k-th nearest of all nodes as seen from node; it is its own nearest (k = 0). k is below node_count(). */
unsigned node_by_distance(unsigned node, unsigned k);

/* What happened between nodes; relaxed. With one node nothing is counted. */
struct node_counters {
	_Atomic uint64_t remote_sent;     /* blocks that threads of this node sent home to others */
	_Atomic uint64_t remote_received; /* blocks that came home to this one from threads of others */
	_Atomic uint64_t migrations;      /* threads that were followed here from another node; a pin is no migration */
	_Atomic uint64_t spills;          /* arenas, runs of units and large blocks wanted here, got elsewhere */
	_Atomic uint64_t arenas_retired;
} __attribute__((aligned(CACHE_LINE)));
extern struct node_counters node_counters[NODE_PLACES];

static inline void node_count_event(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/** How often node_bind was refused. */
uint64_t node_bind_failures(void);

/** Why a machine that has several nodes, or does not tell, is taken as one; NULL where there is no such reason. */
const char *node_note(void);

/** Use these nodes from now on, in place of none, by the policy of options.numa; node_init does so, and tests. */
void node_publish(const struct topology *topology);

/** For tests: pretend count nodes (1 to 16) in a ring; CPU c belongs to node c % count, and binding does nothing. */
void node_set_for_tests(unsigned count);

#endif
