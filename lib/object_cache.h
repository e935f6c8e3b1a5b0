/* SPDX-License-Identifier: MIT */
/*
 * Object cache: the records of typed caches, and their objects as far as depots have them. What threads hold is
 * magazine.h's.
 *
 * Invariants: a record is never unmapped and keeps its index; a destroyed one waits, longest first, to serve a new
 * cache. out = objects that left depots, never more than the limit, but that one set below it holds from then on.
 * Locking: caches_lock (rank CACHES) for the list of records and their states, and for the list of threads
 * (magazine.h). type, index, name and the like are constant while the cache lives; depots are made once, under
 * caches_lock, and read anywhere (release, acquire); the counters are atomic, relaxed: they order nothing.
 */
#ifndef QUARRY_OBJECT_CACHE_H
#define QUARRY_OBJECT_CACHE_H

#include "depot.h"
#include "node.h"
#include "quarry/cache.h"

/* So many caches at a time: each thread that uses one has a table of them. */
#define OBJECT_CACHES_MOST 512

enum object_cache_state { CACHE_UNUSED, CACHE_LIVE, CACHE_DESTROYED };

struct quarry_cache {
	uint32_t index;             /* constant, in tables by cache */
	bool several_nodes;         /* objects may be of another node than the thread */
	uint32_t magazine_capacity;
	uint32_t flags;
	struct depot_type type;
	size_t size, align;         /* bytes, as asked for */
	char name[QUARRY_CACHE_NAME_SIZE];
	_Atomic int state;          /* written under caches_lock */
	_Atomic uint32_t pins;      /* taken under caches_lock while live; destroying waits for them */
	struct quarry_cache *next_destroyed;
	_Alignas(FALSE_SHARING_RANGE) _Atomic uint64_t out;
	_Atomic uint64_t limit, refusals; /* limit 0: none */
	_Atomic uint32_t depots_end; /* no depot has a higher node */
	struct depot *_Atomic depots[NODE_PLACES];
};

extern struct lock caches_lock;

/** A record for a new cache, its fields from `type` on for the caller to fill in; ENOMEM. No lock held. */
struct quarry_cache *object_cache_obtain(void);

/** Make it live. */
void object_cache_publish(struct quarry_cache *cache);

/**
 * Take it out of use, for the caller alone: waits for those who have it pinned. False: it is not live. Then either make
 * it live again as it is, or let it be used again for another.
 */
bool object_cache_begin_end(struct quarry_cache *cache);
void object_cache_revive(struct quarry_cache *cache);
void object_cache_retire(struct quarry_cache *cache);

/**
 * Keep a cache from being destroyed, for those who do not use it but look after it: purger, threads that end,
 * statistics. False, or NULL: it is not live, or there is none. No lock held.
 */
bool object_cache_pin(struct quarry_cache *cache);
struct quarry_cache *object_cache_pin_from(uint32_t index);
void object_cache_unpin(struct quarry_cache *cache);

/** The record with an index; NULL: there are no more. */
struct quarry_cache *object_cache_record(uint32_t index);

/** The live cache with the least index from `index` on; NULL: none. */
struct quarry_cache *object_cache_from(uint32_t index);

/** The cache's depot on the node, made on first use; NULL with ENOMEM. No lock held. */
struct depot *object_cache_depot(struct quarry_cache *cache, unsigned node);

/** Take up to n objects from a depot, as far as the limit allows. 0: see object_cache_is_at_limit. */
unsigned object_cache_take(struct quarry_cache *cache, struct depot *depot, void **objects, unsigned n);
bool object_cache_is_at_limit(const struct quarry_cache *cache);

/** Put objects back into their slabs; object_cache_release follows. */
void object_cache_put(struct quarry_cache *cache, void *const *objects, unsigned n);

/** depot_release for all its depots. Returns bytes. */
size_t object_cache_release(struct quarry_cache *cache, enum depot_release how);

/** Calls it for each depot there is. */
#define for_each_depot(depot, cache)                                                                                   \
	for (unsigned node_ = 0; node_ < atomic_load_explicit(&(cache)->depots_end, memory_order_acquire); node_++)    \
		if (((depot) = atomic_load_explicit(&(cache)->depots[node_], memory_order_acquire)) != NULL)

#endif
