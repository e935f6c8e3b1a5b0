/* SPDX-License-Identifier: MIT */
/*
 * Object cache: see object_cache.h.
 */
#include "object_cache.h"

#include <errno.h>

#include "meta.h"
#include "os.h"

#define relaxed memory_order_relaxed

struct lock caches_lock;
static struct quarry_cache *_Atomic records[OBJECT_CACHES_MOST]; /* written under caches_lock */
static uint32_t nrecords;                                        /* under caches_lock, as the following */
static struct quarry_cache *first_destroyed, *last_destroyed;

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Under the lock. */
static struct quarry_cache *take_destroyed(void)
{
	struct quarry_cache *cache = first_destroyed;
	if (cache != NULL)
		first_destroyed = cache->next_destroyed;
	return cache;
}

/* Under the lock. */
static void put_destroyed(struct quarry_cache *cache)
{
	cache->next_destroyed = NULL;
	if (first_destroyed == NULL)
		first_destroyed = cache;
	else
		last_destroyed->next_destroyed = cache;
	last_destroyed = cache;
}

static struct quarry_cache *make_record(void)
{
	struct quarry_cache *cache = meta_alloc(sizeof(*cache), FALSE_SHARING_RANGE, 0);
	if (cache == NULL)
		return NULL;
	lock_take(&caches_lock, LOCK_CACHES);
	bool room = nrecords < OBJECT_CACHES_MOST;
	if (room) {
		cache->index = nrecords++;
		atomic_store_explicit(&records[cache->index], cache, memory_order_release);
	}
	lock_drop(&caches_lock, LOCK_CACHES);
	if (!room)
		errno = ENOMEM;
	return room ? cache : NULL;
}

struct quarry_cache *object_cache_obtain(void)
{
	lock_take(&caches_lock, LOCK_CACHES);
	struct quarry_cache *cache = take_destroyed();
	bool full = cache == NULL && nrecords == OBJECT_CACHES_MOST;
	lock_drop(&caches_lock, LOCK_CACHES);
	if (full)
		errno = ENOMEM;
	if (cache == NULL && !full)
		cache = make_record();
	return cache;
}

static void set_state(struct quarry_cache *cache, enum object_cache_state state)
{
	lock_take(&caches_lock, LOCK_CACHES);
	atomic_store_explicit(&cache->state, state, memory_order_release);
	lock_drop(&caches_lock, LOCK_CACHES);
}

void object_cache_publish(struct quarry_cache *cache)
{
	struct depot *depot;
	for_each_depot(depot, cache)
		depot_init(depot, &cache->type, depot->node);
	set_state(cache, CACHE_LIVE);
}

bool object_cache_begin_end(struct quarry_cache *cache)
{
	lock_take(&caches_lock, LOCK_CACHES);
	bool live = cache->state == CACHE_LIVE;
	if (live)
		atomic_store_explicit(&cache->state, CACHE_DESTROYED, memory_order_release);
	lock_drop(&caches_lock, LOCK_CACHES);
	uint32_t pins;
	while (live && (pins = atomic_load_explicit(&cache->pins, memory_order_acquire)) != 0)
		os_wait(&cache->pins, pins, 1); /* nobody wakes: a moment is enough */
	return live;
}

void object_cache_revive(struct quarry_cache *cache)
{
	set_state(cache, CACHE_LIVE);
}

bool object_cache_pin(struct quarry_cache *cache)
{
	lock_take(&caches_lock, LOCK_CACHES);
	bool live = cache->state == CACHE_LIVE;
	if (live)
		atomic_fetch_add_explicit(&cache->pins, 1, relaxed);
	lock_drop(&caches_lock, LOCK_CACHES);
	return live;
}

struct quarry_cache *object_cache_pin_from(uint32_t index)
{
	struct quarry_cache *cache = object_cache_from(index);
	while (cache != NULL && !object_cache_pin(cache))
		cache = object_cache_from(cache->index + 1);
	return cache;
}

void object_cache_unpin(struct quarry_cache *cache)
{
	atomic_fetch_sub_explicit(&cache->pins, 1, memory_order_release);
}

void object_cache_retire(struct quarry_cache *cache)
{
	lock_take(&caches_lock, LOCK_CACHES);
	put_destroyed(cache);
	lock_drop(&caches_lock, LOCK_CACHES);
}

struct quarry_cache *object_cache_record(uint32_t index)
{
	return index == OBJECT_CACHES_MOST ? NULL : atomic_load_explicit(&records[index], memory_order_acquire);
}

struct quarry_cache *object_cache_from(uint32_t index)
{
	struct quarry_cache *cache = object_cache_record(index);
	while (cache != NULL && atomic_load_explicit(&cache->state, memory_order_acquire) != CACHE_LIVE)
		cache = object_cache_record(cache->index + 1);
	return cache;
}

struct depot *object_cache_depot(struct quarry_cache *cache, unsigned node)
{
	struct depot *depot = atomic_load_explicit(&cache->depots[node], memory_order_acquire);
	if (likely(depot != NULL))
		return depot;
	struct depot *fresh = meta_alloc(sizeof(*fresh), FALSE_SHARING_RANGE, node);
	if (fresh == NULL)
		return NULL;
	depot_init(fresh, &cache->type, node);
	/* Under the lock, since a fork holds all depots' locks. Where another thread was first, the record stays
	 * unused. */
	lock_take(&caches_lock, LOCK_CACHES);
	depot = atomic_load_explicit(&cache->depots[node], relaxed);
	if (depot == NULL) {
		depot = fresh;
		atomic_store_explicit(&cache->depots[node], depot, memory_order_release);
		if (cache->depots_end <= node)
			atomic_store_explicit(&cache->depots_end, node + 1, memory_order_release);
	}
	lock_drop(&caches_lock, LOCK_CACHES);
	return depot;
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

/* Count up to n objects as out; returns how many the limit allows. */
static unsigned reserve(struct quarry_cache *cache, unsigned n)
{
	uint64_t limit = atomic_load_explicit(&cache->limit, relaxed), out = atomic_load_explicit(&cache->out, relaxed);
	uint64_t more;
	do
		more = limit == 0 || out + n <= limit ? n : out < limit ? limit - out : 0;
	while (more > 0 && !atomic_compare_exchange_weak_explicit(&cache->out, &out, out + more, relaxed, relaxed));
	return (unsigned)more;
}

bool object_cache_is_at_limit(const struct quarry_cache *cache)
{
	uint64_t limit = atomic_load_explicit(&cache->limit, relaxed);
	return limit != 0 && atomic_load_explicit(&cache->out, relaxed) >= limit;
}

unsigned object_cache_take(struct quarry_cache *cache, struct depot *depot, void **objects, unsigned n)
{
	unsigned allowed = reserve(cache, n), taken = allowed == 0 ? 0 : depot_take(depot, objects, allowed);
	if (taken < allowed)
		atomic_fetch_sub_explicit(&cache->out, allowed - taken, relaxed);
	return taken;
}

void object_cache_put(struct quarry_cache *cache, void *const *objects, unsigned n)
{
	atomic_fetch_sub_explicit(&cache->out, depot_put(&cache->type, objects, n), relaxed);
}

size_t object_cache_release(struct quarry_cache *cache, enum depot_release how)
{
	size_t nbytes = 0;
	struct depot *depot;
	for_each_depot(depot, cache)
		nbytes += depot_release(depot, how);
	return nbytes;
}
