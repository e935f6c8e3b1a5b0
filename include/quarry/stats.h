/* SPDX-License-Identifier: MIT */
/**
 * Statistics in detail: by size class, by arena and by thread. Those of the whole and of nodes are in quarry/quarry.h,
 * of typed caches in quarry/cache.h, of heaps in quarry/heap.h.
 *
 * Each of the calls hands its callback one struct after the other, whose version says which members there are: a newer
 * library adds some at the end. Threads go on meanwhile, so figures may be a moment apart. The callback is called with
 * no lock held and may allocate and free; anything but 0 ends the round.
 */
#ifndef QUARRY_STATS_H_
#define QUARRY_STATS_H_

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUARRY_CLASS_STATS_VERSION 1

/** A size class. Its blocks lie in pools, those of heaps (quarry/heap.h) among them. Numbers of blocks or pools. */
struct quarry_class_stats {
	uint32_t version;    /* QUARRY_CLASS_STATS_VERSION of the library that filled it */
	uint32_t size_class; /* its number, from 0, by rising size */
	uint64_t size;       /* bytes of a block */
	uint64_t pools;
	uint64_t capacity;   /* blocks that these have room for */
	uint64_t out;        /* blocks that are in no pool: with the program, in caches or on the way home */
	uint64_t cached;     /* of these, in the lists of threads' caches */
};

#define QUARRY_ARENA_STATS_VERSION 1

/** An arena; bytes unless said otherwise. mapped = head + used + free_dirty + free_clean. */
struct quarry_arena_stats {
	uint32_t version;    /* QUARRY_ARENA_STATS_VERSION of the library that filled it */
	int32_t os_node;     /* the kernel's number of its node; -1 where it is not known */
	const void *address;
	uint64_t mapped;
	uint64_t head;       /* Quarry's records */
	uint64_t used;       /* units that are pools or spans */
	uint64_t out;        /* of these, blocks that are in no pool, and spans */
	uint64_t free_dirty; /* free units that may be resident */
	uint64_t free_clean; /* free units given back or never touched */
	uint64_t pools;      /* number */
	uint64_t spans;      /* number; slabs of typed caches are spans */
};

#define QUARRY_THREAD_STATS_VERSION 1

/**
 * What serves a thread: its cache, pools and inbox, kept when it ends for the next thread of the node. Numbers of
 * events count from when it was made.
 */
struct quarry_thread_stats {
	uint32_t version;      /* QUARRY_THREAD_STATS_VERSION of the library that filled it */
	int32_t os_node;       /* the kernel's number; -1 where it is not known, or of no node */
	uint32_t number;       /* from 1, as quarry stat says it */
	int32_t tid;           /* the kernel's number of the thread; 0: of none, it waits for one or is shared */
	uint32_t shared;       /* 1: serves the threads of the node that are young or have none of their own */
	uint32_t reserved;     /* 0 */
	uint64_t cached;       /* bytes of blocks in its lists and in its outbox */
	uint64_t waiting;      /* bytes of blocks that came home and wait to be sorted */
	uint64_t refills;      /* number of cache refills */
	uint64_t flushes;      /* number of cache flushes */
	uint64_t visits;       /* number of times that its idle cache was emptied */
	uint64_t remote_frees; /* number of blocks that came home from other threads */
};

typedef int (*quarry_class_stats_fn)(const struct quarry_class_stats *stats, void *arg);
typedef int (*quarry_arena_stats_fn)(const struct quarry_arena_stats *stats, void *arg);
typedef int (*quarry_thread_stats_fn)(const struct quarry_thread_stats *stats, void *arg);

/**
 * Report every size class, those without pools too.
 *
 * Returns    0, or what the callback returned to end the round; so do the following
 * Cost       a look at each unit of each arena: about 5 microseconds an arena of 32 MiB
 */
QUARRY_API int quarry_class_stats_each(quarry_class_stats_fn callback, void *arg);

/** Report every arena. Cost as before; none is unmapped meanwhile. */
QUARRY_API int quarry_arena_stats_each(quarry_arena_stats_fn callback, void *arg);

/** Report what serves each thread, and what waits for threads. */
QUARRY_API int quarry_thread_stats_each(quarry_thread_stats_fn callback, void *arg);

/**
 * Write quarry_stats_print's summary and tables by size class, arena, thread, typed cache and tag to a file descriptor,
 * with write(2) and without allocating. 0, or -1 with errno.
 */
QUARRY_API int quarry_stats_tables(int fd);

#ifdef __cplusplus
}
#endif

#endif
