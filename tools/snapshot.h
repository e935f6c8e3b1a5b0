/* SPDX-License-Identifier: MIT */
/*
 * Snapshot: what one copy of Quarry in a target held when it was read.
 *
 * The target goes on meanwhile, so sums may be a moment apart. Whatever does not hold together is read again; what then
 * still does not is damage: it is told in words, left out of the sums, and reading goes on with the rest.
 */
#ifndef QUARRY_SNAPSHOT_H
#define QUARRY_SNAPSHOT_H

#include "image.h"

#define SNAPSHOT_MAX_CLASSES 255
#define SNAPSHOT_MAX_NODES 256
#define SNAPSHOT_MAX_DAMAGE 8

struct snapshot_class {
	uint64_t nbytes;   /* of a block */
	uint32_t units;    /* of a pool */
	uint32_t capacity; /* blocks of a pool */
	uint64_t pools;
	uint64_t out;      /* blocks that are in no pool: with the program, in caches, on their way */
	uint64_t cached;   /* of these, in caches */
};

enum snapshot_kind { SNAPSHOT_ATTACHED, SNAPSHOT_PARKED, SNAPSHOT_SHARED };

struct snapshot_heap {
	uint32_t id;
	enum snapshot_kind kind;
	uint32_t node;    /* not below nnodes: memory of all nodes by turns */
	uint32_t tid;     /* of the attached thread */
	uint64_t cached;  /* bytes in its lists and outbox */
	uint64_t inbox;   /* bytes that wait for it */
	uint64_t refills, flushes, visits, remote_frees;
	int64_t out;      /* bytes that left its pools less those that came back; others may have put them back */
	uint64_t pools;   /* that it owns */
};

struct snapshot_arena {
	uint64_t address;
	uint32_t node;
	uint32_t units;       /* that can be used */
	uint32_t free, dirty; /* units; dirty ones are free and perhaps resident */
	uint32_t pools, spans;
	uint64_t pool_out;    /* bytes of blocks that are in no pool */
	uint64_t span_nbytes;
};

struct snapshot_node {
	int os_index; /* -1: the machine has one node, or is taken so */
	uint64_t arenas, heaps, used, dirty, clean; /* the last three are bytes */
};

enum unit_kind { UNIT_HEAD, UNIT_CLEAN, UNIT_DIRTY, UNIT_POOL, UNIT_SPAN, UNIT_UNKNOWN };

struct snapshot_unit {
	uint8_t kind;  /* enum unit_kind */
	uint8_t szidx; /* of a pool */
	uint8_t first; /* of its pool or span */
	uint8_t full;  /* of a pool: percent of its blocks that are out */
};

struct snapshot {
	const struct target *target;
	const struct layout *layout;

	uint64_t mapped, live, cached, free, clean, records;
	uint64_t large_live, large_kept, span_live;
	uint64_t pools_free;                    /* of free, in pools and behind the last blocks of pools and spans */
	uint64_t requested, requested_kind;     /* of live, without objects of typed caches; enum quarry_requested */
	uint64_t purged, purge_calls, map_failures, bind_failures;
	uint64_t arenas_mapped, arenas_retired; /* ever */
	uint64_t heaps_attached, refills, flushes, visits, remote_frees;
	uint64_t resident, minor_faults, major_faults; /* of the process, from the kernel; 0 for a core */
	uint64_t duration_us;                          /* that reading took */

	struct snapshot_class classes[SNAPSHOT_MAX_CLASSES];
	size_t nclasses;
	struct snapshot_node nodes[SNAPSHOT_MAX_NODES];
	size_t nnodes;
	struct snapshot_heap *heaps;
	size_t nheaps;
	struct snapshot_arena *arenas; /* by address */
	size_t narenas;

	uint64_t map_of;             /* base of the arena whose units are wanted; 0: none */
	struct snapshot_unit *units; /* of that arena, head included */
	size_t nunits;               /* 0: it is not there (any more) */

	char damage[SNAPSHOT_MAX_DAMAGE][160];
	size_t ndamage; /* all there was, also beyond what is told */
};

/**
 * Read everything. The snapshot is zeroed before its first use, map_of set if wanted, and may be taken again.
 *
 * Returns    false: the target has ended or its first records cannot be read, and target->error says so
 */
bool snapshot_take(struct snapshot *snapshot, struct target *target, const struct layout *layout);

void snapshot_free(struct snapshot *snapshot);

/* --- for its parts ------------------------------------------------------------------------------------------------ */

/** Note damage, as printf. */
void snapshot_damage(struct snapshot *snapshot, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** A number in a record that was read. */
uint64_t snapshot_field(const void *record, struct layout_field field);

/** A number in the target at object + field; 0 where it cannot be read. */
uint64_t snapshot_number(const struct snapshot *snapshot, const volatile void *object, struct layout_field field);

/**
 * Arenas and what lies in them; after the heaps. False: the list changed while it was read. last: then take what there
 * is, as damaged.
 */
bool snapshot_arenas(struct snapshot *snapshot, bool last);

#endif
