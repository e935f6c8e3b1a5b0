/* SPDX-License-Identifier: MIT */
/**
 * Typed caches: objects of one type, of exact size and alignment.
 *
 * A cache cuts slabs, runs of units of an arena on the thread's node, into objects: one of 24 bytes costs 24 bytes and
 * about 0.3 bytes of records. Each thread has a magazine of free objects per cache, from which it allocates and to
 * which it frees without a lock and without an atomic read-modify-write. Slabs that become empty go back to their
 * arenas, for whoever needs them next, and their pages to the system as all free memory does. The magazines of threads
 * that sleep are emptied without their help.
 *
 *     static struct quarry_cache *points;
 *     points = quarry_cache_create("points", sizeof(struct point), 0, NULL, NULL, 0);
 *     struct point *point = quarry_cache_alloc(points);
 *     quarry_cache_free(points, point);
 *     quarry_cache_destroy(points);
 *
 * Threads     Any thread may call any function at any time and free any object; a cache must not be used while or after
 *             it is destroyed. What a thread's magazines hold is back in the slabs when the thread has ended.
 * Fork        The child keeps every cache, every object, and what lay in the magazines of threads that it does not
 *             have. An object that such a thread was just being given, or had just freed, counts as out and is lost,
 *             one a thread at most; a slab whose objects it was constructing or destructing is given back without that.
 * Callbacks   Constructors and destructors are called with no lock held, and may use caches and malloc. They must not
 *             fork and go on in the child. They run in threads that call functions of this header or quarry_trim, or
 *             that end, never in one of Quarry's own: empty slabs of a cache with a destructor wait for such a call.
 * Others      An object is no block: malloc's and quarry_malloc's calls refuse it with a message. For quarry_walk,
 *             quarry_block_of and quarry_stats a whole slab is one live block.
 */
#ifndef QUARRY_CACHE_H_
#define QUARRY_CACHE_H_

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A cache; at most 512 exist at a time. */
struct quarry_cache;

/** Bytes of a cache's name, with the final 0; a longer one is cut off. */
#define QUARRY_CACHE_NAME_SIZE 32

/** For quarry_cache_create: quarry_cache_destroy drops objects that are still out, in place of refusing. */
#define QUARRY_CACHE_DROP 1u

/**
 * Make a cache.
 *
 * name       for statistics and messages; copied
 * size       bytes of an object, at least 1, at most 512 KiB (an eighth of the largest span) once rounded up to align
 * align      a power of two up to 4096; 0: the largest one that divides size, 16 at most
 * ctor       NULL, or called for each object of a new slab; anything but 0 makes the allocation fail with NULL, and
 *            errno as it left it. An object is freed in the state that its constructor left it in, and is handed out
 *            again so
 * dtor       NULL, or called for each object before its slab goes
 * flags      QUARRY_CACHE_DROP or 0
 * Returns    the cache; NULL with EINVAL, or ENOMEM where there is no memory or there are too many caches
 */
QUARRY_API struct quarry_cache *quarry_cache_create(const char *name, size_t size, size_t align, int (*ctor)(void *),
    void (*dtor)(void *), unsigned flags);

/**
 * Allocate an object. Contents are unspecified without a constructor, else as it was constructed or freed.
 *
 * Returns    NULL with ENOMEM, also at the limit; with the constructor's errno where that refused
 * Cost       no lock and no atomic read-modify-write while the thread's magazine holds an object
 */
QUARRY_API void *quarry_cache_alloc(struct quarry_cache *cache) __attribute__((malloc, warn_unused_result));

/** Free an object of the cache, by any thread; NULL is allowed. errno is kept. */
QUARRY_API void quarry_cache_free(struct quarry_cache *cache, void *object);

/**
 * Set how many objects may be out, the program's and those in magazines; 0: any number. Before an allocation fails for
 * it, the magazines of all threads are emptied; one that is in use at that very moment is passed over.
 */
QUARRY_API void quarry_cache_limit(struct quarry_cache *cache, size_t objects);

/** Empty all magazines of the cache and give its empty slabs back. 1 if memory went to the arenas, else 0. */
QUARRY_API int quarry_cache_trim(struct quarry_cache *cache);

/**
 * Destroy a cache that no thread uses any more: all objects are destructed and all slabs given back. Waits for
 * destructors of the cache that run in other threads.
 *
 * Returns    0; -1 with EBUSY where objects are still out, whose number and first address are then reported on standard
 *            error, and the cache lives on. With QUARRY_CACHE_DROP they are destructed and gone
 * Misuse     a second call for the same cache is reported, like a double free, until another cache takes its place
 */
QUARRY_API int quarry_cache_destroy(struct quarry_cache *cache);

#define QUARRY_CACHE_STATS_VERSION 1

/** Number of objects unless a name says otherwise. slabs * slab_objects = live + cached + free. */
struct quarry_cache_stats {
	uint32_t version;                  /* QUARRY_CACHE_STATS_VERSION of the library that filled it */
	uint32_t align;                    /* bytes */
	char name[QUARRY_CACHE_NAME_SIZE];
	uint64_t size;                     /* bytes that were asked for */
	uint64_t stride;                   /* bytes from object to object */
	uint64_t slab_size;                /* bytes of a slab */
	uint64_t slab_objects;             /* in one slab */
	uint64_t live;                     /* out with the program */
	uint64_t cached;                   /* in threads' magazines */
	uint64_t free;                     /* in slabs */
	uint64_t limit;                    /* 0: none */
	uint64_t slabs;                    /* number of slabs */
	uint64_t slabs_made;               /* number ever made */
	uint64_t slabs_released;           /* number ever given back */
	uint64_t refills;                  /* number of times that objects left slabs for magazines */
	uint64_t flushes;                  /* number of times that objects came back from magazines to slabs */
	uint64_t refusals;                 /* number of allocations that failed at the limit */
};

/**
 * Fill in the statistics of a cache.
 *
 * stats, size  the caller's struct and its sizeof: a newer library fills only what the caller has room for
 * Returns      0; -1 with EINVAL if size is below that of the first two members
 */
QUARRY_API int quarry_cache_stats_get(struct quarry_cache *cache, struct quarry_cache_stats *stats, size_t size);

/** The cache after this one, in no order, or the first for NULL; NULL: no more. None may be destroyed meanwhile. */
QUARRY_API struct quarry_cache *quarry_cache_next(struct quarry_cache *cache);

#ifdef __cplusplus
}
#endif

#endif
