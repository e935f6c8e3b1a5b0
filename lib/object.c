/* SPDX-License-Identifier: MIT */
/*
 * Object: the calls of quarry/cache.h. Owns nothing.
 *
 *     quarry_cache_alloc                       quarry_cache_free
 *       magazine open: the top, done             magazine open and not full: onto the top, done
 *       magazine_take    refills from the depot  magazine_put      flushes half to the depots
 *       depot_grow       another slab            object_cache_release  all but one empty slab
 */
#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "entry.h"
#include "magazine.h"
#include "purge.h"
#include "report.h"
#include "thread.h"

#define relaxed memory_order_relaxed
#define MAGAZINE_NBYTES ((size_t)16 << 10) /* of objects in a magazine, but no fewer than */
#define MAGAZINE_LEAST 4
#define MAGAZINE_MOST 250 /* with its head, a block of 2 KiB */
#define ALIGN_MOST ((size_t)4096)

/* --- create and destroy ------------------------------------------------------------------------------------------- */

static size_t natural_align(size_t size)
{
	size_t align = size & -size;
	return align < ALIGNMENT ? align : ALIGNMENT;
}

static uint32_t magazine_capacity(size_t stride)
{
	size_t n = MAGAZINE_NBYTES / stride;
	return (uint32_t)(n < MAGAZINE_LEAST ? MAGAZINE_LEAST : n > MAGAZINE_MOST ? MAGAZINE_MOST : n);
}

static bool is_valid(size_t size, size_t align, unsigned flags)
{
	return size > 0 && size <= SLAB_MAX_STRIDE && align > 0 && align <= ALIGN_MOST && (align & (align - 1)) == 0 &&
	       ((size + align - 1) & ~(align - 1)) <= SLAB_MAX_STRIDE && (flags & ~QUARRY_CACHE_DROP) == 0;
}

struct quarry_cache *quarry_cache_create(const char *name, size_t size, size_t align, int (*ctor)(void *),
                                         void (*dtor)(void *), unsigned flags)
{
	align = align == 0 && size > 0 ? natural_align(size) : align;
	if (!is_valid(size, align, flags)) {
		errno = EINVAL;
		return NULL;
	}
	magazine_init();
	struct quarry_cache *cache = object_cache_obtain();
	if (cache == NULL)
		return NULL;
	cache->several_nodes = node_count() > 1;
	cache->size = size;
	cache->align = align;
	cache->flags = flags;
	cache->type.shape = slab_shape_of((size + align - 1) & ~(align - 1));
	cache->type.ctor = ctor;
	cache->type.dtor = dtor;
	cache->magazine_capacity = magazine_capacity(cache->type.shape.stride);
	atomic_store_explicit(&cache->limit, 0, relaxed);
	atomic_store_explicit(&cache->refusals, 0, relaxed);
	memset(cache->name, 0, sizeof(cache->name));
	strncpy(cache->name, name != NULL ? name : "", sizeof(cache->name) - 1);
	object_cache_publish(cache);
	return cache;
}

static bool is_live(const struct quarry_cache *cache)
{
	return likely(atomic_load_explicit(&cache->state, relaxed) == CACHE_LIVE);
}

static void report_leak(const struct quarry_cache *cache)
{
	struct depot *depot;
	uint64_t out = 0;
	void *first = NULL;
	for_each_depot(depot, cache) {
		depot_lock(depot);
		out += depot->out;
		first = first != NULL ? first : depot_first_out(depot);
		depot_unlock(depot);
	}
	report_line("cache '%s' is not destroyed: %lu objects of %lu bytes are out, the first at %p", cache->name,
	            (unsigned long)out, (unsigned long)cache->size, first);
}

int quarry_cache_destroy(struct quarry_cache *cache)
{
	if (!object_cache_begin_end(cache)) {
		report_fault("double destroy", cache, NULL);
		errno = EINVAL;
		return -1;
	}
	magazine_withdraw(cache);
	if (atomic_load_explicit(&cache->out, relaxed) > 0 && (cache->flags & QUARRY_CACHE_DROP) == 0) {
		report_leak(cache);
		object_cache_revive(cache);
		errno = EBUSY;
		return -1;
	}
	struct depot *depot;
	for_each_depot(depot, cache)
		depot_drop(depot);
	if (sample_has_owned())
		sample_forget_owner(cache);
	atomic_store_explicit(&cache->out, 0, relaxed);
	object_cache_retire(cache);
	purge_hint();
	return 0;
}

/* --- allocate and free -------------------------------------------------------------------------------------------- */

static void *fail(struct quarry_cache *cache, bool at_limit)
{
	if (at_limit)
		atomic_fetch_add_explicit(&cache->refusals, 1, relaxed);
	errno = ENOMEM;
	return NULL;
}

/* While the profile is on each allocation comes here. */
static void *counted(struct quarry_cache *cache, void *object)
{
	uint64_t rate = sample_profile_rate(); /* guards have no objects */
	if (unlikely(rate != 0) && sample_count_big(rate, cache->size) && sample_is_due(rate, cache->size)) {
		struct sample_owner owner = {cache, SAMPLE_OF_CACHE, cache->name};
		sample_take_owned(rate, object, cache->size, cache->type.shape.stride, &owner);
	}
	return object;
}

static cold_path void *alloc_slow(struct quarry_cache *cache)
{
	enum effort effort = GROW;
	bool visited = false;
	if (!is_live(cache)) {
		report_fault("allocation from what is no cache,", cache, NULL);
		return fail(cache, false);
	}
	for (;;) {
		uint64_t births = arena_list_births();
		unsigned node = thread_node();
		struct depot *depot = object_cache_depot(cache, node);
		if (depot == NULL)
			return fail(cache, false);
		void *object = magazine_take(cache, depot);
		if (object != NULL) {
			purge_hint();
			return counted(cache, object);
		}
		if (object_cache_is_at_limit(cache)) {
			if (visited)
				return fail(cache, true);
			visited = true;
			magazine_visit(cache, MAGAZINES_ALL);
			continue;
		}
		enum depot_growth growth = depot_grow(depot);
		if (growth == DEPOT_REFUSED)
			return NULL;
		if (growth == DEPOT_NO_ROOM && !entry_more_memory(node, cache->type.shape.nbytes, births, &effort))
			return fail(cache, false);
	}
}

void *quarry_cache_alloc(struct quarry_cache *cache)
{
	struct magazine_thread *thread = magazine_thread;
	struct magazine *magazine = magazine_enter(thread, cache->index);
	uint32_t n = magazine == NULL ? 0 : atomic_load_explicit(&magazine->n, relaxed);
	if (unlikely(n == 0)) {
		magazine_leave(thread);
		return alloc_slow(cache);
	}
	void *object = magazine->round[n];
	atomic_store_explicit(&magazine->n, n - 1, relaxed);
	magazine_leave(thread);
	return object;
}

static cold_path void free_slow(struct quarry_cache *cache, void *object)
{
	if (object == NULL)
		return;
	int saved_errno = errno;
	if (sample_has_owned())
		sample_forget_owned(object);
	struct depot *depot = is_live(cache) ? object_cache_depot(cache, thread_node()) : NULL;
	if (depot != NULL)
		magazine_put(cache, depot, object);
	else if (is_live(cache))
		object_cache_put(cache, &object, 1);
	else
		report_fault("free to what is no cache", object, NULL);
	purge_hint();
	errno = saved_errno;
}

/* An object of another node may come home by the slow path only. */
static force_inline bool is_elsewhere(const struct quarry_cache *cache, const struct magazine *magazine,
                                      const void *object)
{
	return unlikely(cache->several_nodes) && depot_of(&cache->type, object) != magazine->depot;
}

void quarry_cache_free(struct quarry_cache *cache, void *object)
{
	struct magazine_thread *thread = magazine_thread;
	struct magazine *magazine = magazine_enter(thread, cache->index);
	uint32_t n = magazine == NULL ? 0 : atomic_load_explicit(&magazine->n, relaxed);
	if (unlikely(magazine == NULL) || unlikely(n == magazine->capacity) || unlikely(magazine->round[n] == object) ||
	    unlikely(object == NULL) || is_elsewhere(cache, magazine, object)) {
		magazine_leave(thread);
		free_slow(cache, object);
		return;
	}
	magazine->round[n + 1] = object;
	atomic_store_explicit(&magazine->n, n + 1, memory_order_release);
	magazine_leave(thread);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void quarry_cache_limit(struct quarry_cache *cache, size_t objects)
{
	atomic_store_explicit(&cache->limit, objects, relaxed);
}

int quarry_cache_trim(struct quarry_cache *cache)
{
	magazine_visit(cache, MAGAZINES_ALL);
	size_t nbytes = object_cache_release(cache, DEPOT_ALL);
	purge_hint();
	return nbytes > 0;
}

static void fill(struct quarry_cache *cache, struct quarry_cache_stats *stats)
{
	const struct slab_shape *shape = &cache->type.shape;
	struct depot *depot;
	memset(stats, 0, sizeof(*stats));
	stats->version = QUARRY_CACHE_STATS_VERSION;
	stats->align = (uint32_t)cache->align;
	memcpy(stats->name, cache->name, sizeof(stats->name));
	stats->size = cache->size;
	stats->stride = shape->stride;
	stats->slab_size = shape->nbytes;
	stats->slab_objects = shape->capacity;
	stats->cached = magazine_count(cache);
	uint64_t out = 0;
	for_each_depot(depot, cache) {
		depot_lock(depot);
		out += depot->out;
		stats->slabs += depot->nslabs;
		stats->slabs_made += depot->made;
		stats->slabs_released += depot->released;
		stats->refills += depot->refills;
		stats->flushes += depot->flushes;
		depot_unlock(depot);
	}
	stats->live = out > stats->cached ? out - stats->cached : 0;
	stats->free = stats->slabs * shape->capacity - out;
	stats->limit = atomic_load_explicit(&cache->limit, relaxed);
	stats->refusals = atomic_load_explicit(&cache->refusals, relaxed);
}

int quarry_cache_stats_get(struct quarry_cache *cache, struct quarry_cache_stats *stats, size_t size)
{
	struct quarry_cache_stats all;
	if (stats == NULL || size < offsetof(struct quarry_cache_stats, name)) {
		errno = EINVAL;
		return -1;
	}
	fill(cache, &all);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

struct quarry_cache *quarry_cache_next(struct quarry_cache *cache)
{
	return object_cache_from(cache == NULL ? 0 : cache->index + 1);
}
