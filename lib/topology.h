/* SPDX-License-Identifier: MIT */
/*
 * topology: the machine's NUMA nodes, and how memory is bound to one.
 *
 * Owns       the door between Quarry and hwloc. lib/topology.c, a shared module of its own and the only file that
 *            includes hwloc, fills these structures in; `node` opens it where the kernel allows more than one node.
 * Invariants nodes[i].nearest is a permutation of 0..nnodes-1 that begins with i; index_of and best hold only
 *            indexes below nnodes. Nothing here changes after quarry_topology_open has returned.
 */
#ifndef QUARRY_TOPOLOGY_H
#define QUARRY_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A module and a library that were not built together tell by this number, to be raised with each change below. */
#define TOPOLOGY_VERSION 2

/* Most nodes told apart; a node beyond them is known by its nearest one among them. */
#define TOPOLOGY_MAX_NODES 255

/* Node numbers of the kernel (or CPU numbers) that index_of covers: the largest MAX_NUMNODES that Linux has. */
#define TOPOLOGY_NKEYS 1024

/* What memory may be best at, by hwloc's memory attributes. */
enum topology_kind {
	TOPOLOGY_BANDWIDTH,
	TOPOLOGY_LATENCY,
	TOPOLOGY_CAPACITY,
	TOPOLOGY_KINDS,
};

/* A set of nodes, by index: bit n % 64 of word n / 64. */
struct node_set {
	uint64_t bits[(TOPOLOGY_MAX_NODES + 63) / 64];
};

struct topology_node {
	unsigned os_index;      /* the kernel's number of the node; numbers may have gaps */
	uint64_t nbytes;        /* its memory */
	const uint8_t *nearest; /* all nodes as seen from here, itself first, then by distance */
	uint8_t best[TOPOLOGY_KINDS]; /* of each kind, as seen from here; itself where the machine does not tell */
};

struct topology {
	uint32_t version; /* TOPOLOGY_VERSION of the module */
	unsigned nnodes;  /* nodes whose memory this process may use: 1 to TOPOLOGY_MAX_NODES, in the kernel's order */
	bool by_cpu;      /* index_of goes by the CPU's number, as this machine is only described; else by the node's */
	const uint8_t *index_of; /* for each of TOPOLOGY_NKEYS: the node itself or, where its memory may not be used,
				    the nearest; 0 where nothing is known */
	const struct topology_node *nodes;
	/* Prefer a node for memory not touched yet; -1 with errno. Calls malloc and free, holds no lock. */
	int (*bind)(void *addr, size_t len, unsigned node);
	/* Spread the pages of such memory over nodes, by turns; as bind. */
	int (*interleave)(void *addr, size_t len, const struct node_set *over);
};

/**
 * Discover.
 *
 * allowed    bit n set: this process may use memory of the kernel's node n. NULL: take whatever machine is described
 *            by HWLOC_SYNTHETIC or HWLOC_XMLFILE, where binding does nothing
 * nbits      bits at allowed
 * Returns    the nodes, valid until the process ends; NULL where discovery failed
 * Threads    only while no other thread may look at the environment, which is exchanged meanwhile
 */
const struct topology *quarry_topology_open(const unsigned long *allowed, size_t nbits);

typedef const struct topology *(*topology_open_fn)(const unsigned long *allowed, size_t nbits);

#endif
