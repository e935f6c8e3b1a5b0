/* SPDX-License-Identifier: MIT */
/*
 * Depot: the slabs of one typed cache on one node.
 *
 * Owns them, each in one ring: `partial` (some object is in it; wholly empty ones stand at the end), `full` (all
 * objects are out) or `hand` (its objects are being constructed or destructed, with no lock held). One empty slab is
 * kept, or a lone pair of alloc and free would make and unmake a slab each time; the purger takes it when it was not
 * needed for a while. Slabs whose objects have a destructor go only where the program's callbacks may run.
 *
 * Invariants: out = nslabs * capacity - sum of nfree, over `partial` and `full`. nempty counts the slabs of `partial`
 * with all objects in.
 * Locking: `lock`, rank DEPOT, for all but the constants; no callback under it. In a fork child slabs in hand were in
 * hand of threads that are gone: they are given back without a destructor.
 */
#ifndef QUARRY_DEPOT_H
#define QUARRY_DEPOT_H

#include "lock.h"
#include "slab.h"

/* What all depots of a cache share; constant while the cache lives. */
struct depot_type {
	struct slab_shape shape;
	int (*ctor)(void *object);
	void (*dtor)(void *object);
};

struct depot {
	struct span_owner owner; /* constant, and the first member: a span's owner leads here */
	unsigned node;
	const struct depot_type *type;

	_Alignas(FALSE_SHARING_RANGE) struct lock lock;
	_Atomic uint32_t nempty; /* also read without the lock, as a hint */
	struct pool_link partial, full, hand;
	uint64_t nslabs, out;    /* number of slabs, of objects that are out of them */
	uint64_t made, released; /* slabs, ever */
	uint64_t refills, flushes;
	bool was_needed;         /* objects came or went since the purger's last look */
	uint32_t nwaiting;       /* threads that drop the depot and wait until `hand` is empty, */
	_Atomic uint32_t put_down; /* on this: it changes when a slab leaves `hand` */
};

/** An empty depot. */
void depot_init(struct depot *depot, const struct depot_type *type, unsigned node);

/** Take up to n objects; 0: it has none, and depot_grow helps. */
unsigned depot_take(struct depot *depot, void **objects, unsigned n);

enum depot_growth { DEPOT_GROWN, DEPOT_NO_ROOM, DEPOT_REFUSED };

/**
 * Make another slab and construct its objects. DEPOT_NO_ROOM: another arena helps; DEPOT_REFUSED: a constructor did so,
 * and errno is as it left it. No lock held.
 */
enum depot_growth depot_grow(struct depot *depot);

/**
 * Put objects back, of whatever depots of the type; reports what is none, and leaves it. Slabs that are empty then
 * stay: depot_release follows. Returns how many were put. Depots' locks are taken inside.
 */
unsigned depot_put(const struct depot_type *type, void *const *objects, unsigned n);

/** What depot_release may do, and what is to stay. */
enum depot_release {
	DEPOT_SPARE_ONE, /* keep one empty slab */
	DEPOT_IDLE,      /* keep one if the depot was needed since the last call; calls no destructor, and so keeps all */
	DEPOT_QUIETLY,   /* keep none, but all if they need a destructor */
	DEPOT_ALL        /* keep none */
};

/** Give empty slabs back. Returns bytes. No lock held, for all but DEPOT_IDLE and DEPOT_QUIETLY. */
size_t depot_release(struct depot *depot, enum depot_release how);

/** An object that is out; NULL: none is. Under the lock. */
void *depot_first_out(const struct depot *depot);

/**
 * Give all slabs back, whatever is out; destructs all objects, and waits for other threads that do so, which release
 * slabs without knowing that the cache ends. No lock held.
 */
void depot_drop(struct depot *depot);

/** In a fork child, the lock held or made anew. */
void depot_after_fork_child(struct depot *depot);

static inline void depot_lock(struct depot *depot)
{
	lock_take(&depot->lock, LOCK_DEPOT);
}

static inline void depot_unlock(struct depot *depot)
{
	lock_drop(&depot->lock, LOCK_DEPOT);
}

/** The depot that an object came from, if it is one of the type; NULL: it is not. No lock. */
struct depot *depot_of(const struct depot_type *type, const void *object);

#endif
