/* SPDX-License-Identifier: MIT */
/*
 * Depot: see depot.h.
 */
#include "depot.h"

#include <errno.h>
#include <limits.h>

#include "address_map.h"
#include "os.h"
#include "report.h"
#include "sample.h"

void depot_init(struct depot *depot, const struct depot_type *type, unsigned node)
{
	depot->owner.kind = SPAN_OF_CACHE;
	depot->type = type;
	depot->node = node;
	depot->nslabs = depot->out = depot->made = depot->released = depot->refills = depot->flushes = 0;
	pool_ring_init(&depot->partial);
	pool_ring_init(&depot->full);
	pool_ring_init(&depot->hand);
}

struct depot *depot_of(const struct depot_type *type, const void *object)
{
	const char *start = (const char *)((uintptr_t)object & ~(type->shape.nbytes - 1));
	if (address_map_word(start) != WORD_SPAN)
		return NULL;
	struct depot *depot = slab_of(&type->shape, object)->depot;
	return depot != NULL && depot->owner.kind == SPAN_OF_CACHE && depot->type == type ? depot : NULL;
}

/* --- rings, under the lock ---------------------------------------------------------------------------------------- */

static void unlink_slab(struct slab *slab)
{
	slab->link.nextpool->prevpool = slab->link.prevpool;
	slab->link.prevpool->nextpool = slab->link.nextpool;
}

static void link_front(struct pool_link *ring, struct slab *slab)
{
	slab->link.nextpool = ring->nextpool;
	slab->link.prevpool = ring;
	ring->nextpool->prevpool = &slab->link;
	ring->nextpool = &slab->link;
}

static void link_end(struct pool_link *ring, struct slab *slab)
{
	link_front(ring->prevpool, slab);
}

/* The front is the slab that was used last; only where no other is left it is an empty one. */
static struct slab *front(struct depot *depot)
{
	return pool_ring_is_empty(&depot->partial) ? NULL : slab_of_link(depot->partial.nextpool);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

unsigned depot_take(struct depot *depot, void **objects, unsigned n)
{
	const struct slab_shape *shape = &depot->type->shape;
	unsigned taken = 0;
	struct slab *slab;
	depot_lock(depot);
	while (taken < n && (slab = front(depot)) != NULL) {
		if (slab_is_empty(shape, slab))
			depot->nempty--;
		taken += slab_take(shape, slab, objects + taken, n - taken);
		if (slab->nfree == 0) {
			unlink_slab(slab);
			link_front(&depot->full, slab);
		}
	}
	depot->out += taken;
	depot->refills += taken > 0;
	depot->was_needed |= taken > 0;
	depot_unlock(depot);
	return taken;
}

static bool put(struct depot *depot, void *object)
{
	const struct slab_shape *shape = &depot->type->shape;
	struct slab *slab = slab_of(shape, object);
	bool was_full = slab->nfree == 0;
	if (!slab_put(shape, slab, object)) {
		report_fault("double free, or free of what is no object of the cache,", object,
		             &(struct report_place){.szidx = -1, .arena = arena_base(object), .node = -1});
		return false;
	}
	depot->out--;
	if (!was_full && !slab_is_empty(shape, slab))
		return true;
	unlink_slab(slab);
	if (slab_is_empty(shape, slab)) {
		link_end(&depot->partial, slab);
		depot->nempty++;
	} else {
		link_front(&depot->partial, slab);
	}
	return true;
}

unsigned depot_put(const struct depot_type *type, void *const *objects, unsigned n)
{
	struct depot *depot = NULL, *home = NULL;
	uintptr_t start = 0; /* of the slab that the last object was in: the next one often is, too */
	unsigned nput = 0;
	for (unsigned i = 0; i < n; i++) {
		if (((uintptr_t)objects[i] ^ start) >= type->shape.nbytes) {
			start = (uintptr_t)objects[i] & ~(type->shape.nbytes - 1);
			home = depot_of(type, objects[i]);
		}
		if (home == NULL) {
			report_fault("free of what is no object of the cache,", objects[i], NULL);
			continue;
		}
		if (home != depot) {
			if (depot != NULL)
				depot_unlock(depot);
			depot = home;
			depot_lock(depot);
			depot->flushes++;
			depot->was_needed = true;
		}
		if (sample_has_owned()) /* which a thread freed into its magazine after the profile was over */
			sample_forget_owned(objects[i]);
		nput += put(depot, objects[i]);
	}
	if (depot != NULL)
		depot_unlock(depot);
	return nput;
}

/* --- slabs -------------------------------------------------------------------------------------------------------- */

static void destruct(const struct depot_type *type, const struct slab *slab, uint32_t n)
{
	char *start = slab_start(slab);
	for (uint32_t i = 0; type->dtor != NULL && i < n; i++)
		type->dtor(start + i * type->shape.stride);
}

/* Constructs all objects, or none. */
static bool construct(const struct depot_type *type, const struct slab *slab)
{
	char *start = slab_start(slab);
	for (uint32_t i = 0; type->ctor != NULL && i < type->shape.capacity; i++)
		if (type->ctor(start + i * type->shape.stride) != 0) {
			int refusal = errno;
			destruct(type, slab, i);
			errno = refusal;
			return false;
		}
	return true;
}

enum depot_growth depot_grow(struct depot *depot)
{
	const struct depot_type *type = depot->type;
	depot_lock(depot);
	struct slab *slab = slab_make(&type->shape, depot->node, depot);
	if (slab != NULL)
		link_front(&depot->hand, slab);
	depot_unlock(depot);
	if (slab == NULL)
		return DEPOT_NO_ROOM;
	bool constructed = construct(type, slab);
	depot_lock(depot);
	unlink_slab(slab);
	if (constructed) {
		link_end(&depot->partial, slab);
		depot->nempty++;
		depot->nslabs++;
		depot->made++;
	} else {
		slab_free(slab);
	}
	depot_unlock(depot);
	return constructed ? DEPOT_GROWN : DEPOT_REFUSED;
}

/* Under the lock, which is dropped meanwhile for a destructor. */
static void release(struct depot *depot, struct slab *slab)
{
	unlink_slab(slab);
	depot->nslabs--;
	depot->released++;
	if (depot->type->dtor != NULL) {
		link_front(&depot->hand, slab);
		depot_unlock(depot);
		destruct(depot->type, slab, depot->type->shape.capacity);
		depot_lock(depot);
		unlink_slab(slab);
		if (depot->nwaiting > 0) {
			atomic_fetch_add_explicit(&depot->put_down, 1, memory_order_relaxed);
			os_wake(&depot->put_down, INT_MAX);
		}
	}
	slab_free(slab);
}

size_t depot_release(struct depot *depot, enum depot_release how)
{
	bool quiet = how == DEPOT_IDLE || how == DEPOT_QUIETLY;
	size_t nbytes = 0;
	if (how == DEPOT_SPARE_ONE && atomic_load_explicit(&depot->nempty, memory_order_relaxed) <= 1)
		return 0;
	depot_lock(depot);
	uint32_t keep = how == DEPOT_SPARE_ONE || (how == DEPOT_IDLE && depot->was_needed);
	if (how == DEPOT_IDLE)
		depot->was_needed = false;
	if (quiet && depot->type->dtor != NULL)
		keep = UINT32_MAX;
	while (depot->nempty > keep) {
		depot->nempty--;
		nbytes += depot->type->shape.nbytes;
		release(depot, slab_of_link(depot->partial.prevpool));
	}
	depot_unlock(depot);
	return nbytes;
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

void *depot_first_out(const struct depot *depot)
{
	const struct pool_link *rings[] = {&depot->full, &depot->partial};
	for (int i = 0; i < 2; i++)
		for (struct pool_link *link = rings[i]->nextpool; link != rings[i]; link = link->nextpool) {
			void *object = slab_first_out(&depot->type->shape, slab_of_link(link));
			if (object != NULL)
				return object;
		}
	return NULL;
}

static void drop_ring(struct depot *depot, struct pool_link *ring)
{
	while (!pool_ring_is_empty(ring))
		release(depot, slab_of_link(ring->nextpool));
}

/* Under the lock, which is dropped meanwhile. */
static void wait_for_hands(struct depot *depot)
{
	depot->nwaiting++;
	while (!pool_ring_is_empty(&depot->hand)) {
		uint32_t seen = atomic_load_explicit(&depot->put_down, memory_order_relaxed);
		depot_unlock(depot);
		os_wait(&depot->put_down, seen, -1);
		depot_lock(depot);
	}
	depot->nwaiting--;
}

void depot_drop(struct depot *depot)
{
	depot_lock(depot);
	depot->nempty = 0; /* for whoever releases empty slabs meanwhile */
	drop_ring(depot, &depot->full);
	drop_ring(depot, &depot->partial);
	wait_for_hands(depot);
	depot->out = 0;
	depot_unlock(depot);
}

void depot_after_fork_child(struct depot *depot)
{
	while (!pool_ring_is_empty(&depot->hand)) {
		struct slab *slab = slab_of_link(depot->hand.nextpool);
		unlink_slab(slab);
		slab_free(slab);
	}
}
