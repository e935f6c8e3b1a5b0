/* SPDX-License-Identifier: MIT */
/**
 * Quarry: a memory allocator for multithreaded servers on Linux.
 *
 * Every function may be called by any thread at any time, before any constructor has run and after the last
 * destructor, in a fork child, and while other threads are inside Quarry; none may be called from a signal handler.
 * Sizes are bytes. Where nothing else is said, memory is aligned to 16 bytes, a size of 0 yields a unique pointer,
 * a request of PTRDIFF_MAX or more fails, and failure is NULL with errno ENOMEM. Freeing keeps errno.
 *
 * Blocks are cut from pools and pools from arenas, as in CPython's obmalloc; an arena lies on one NUMA node.
 */
#ifndef QUARRY_H
#define QUARRY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUARRY_VERSION_MAJOR 0
#define QUARRY_VERSION_MINOR 1
#define QUARRY_VERSION_PATCH 0

#if defined(__GNUC__)
#ifndef QUARRY_API
#define QUARRY_API __attribute__((visibility("default")))
#endif
#define QUARRY_MALLOC __attribute__((malloc, warn_unused_result))
#define QUARRY_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define QUARRY_ALIGN(n) __attribute__((alloc_align(n)))
#else
#ifndef QUARRY_API
#define QUARRY_API
#endif
#define QUARRY_MALLOC
#define QUARRY_SIZE(...)
#define QUARRY_ALIGN(n)
#endif

/* --- the C library's calls, with the C library's contracts --------------------------------------------------- */

/**
 * Allocate nbytes.
 *
 * Returns    memory of at least nbytes, contents unspecified; NULL with ENOMEM
 * Cost       no lock and no atomic read-modify-write while the thread's cache holds a block of the size class
 */
QUARRY_API void *quarry_malloc(size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(1);

/** Free a block of any of the allocating calls; NULL is allowed. errno is kept. A block is freed by any thread. */
QUARRY_API void quarry_free(void *ptr);

/** Allocate count * size bytes, all zero. NULL with ENOMEM also when the product overflows. */
QUARRY_API void *quarry_calloc(size_t count, size_t size) QUARRY_MALLOC QUARRY_SIZE(1, 2);

/**
 * Change the size of a block, in place where that is possible, by mremap for large blocks, else by moving it.
 *
 * ptr        a block, or NULL (then as quarry_malloc)
 * nbytes     new size; 0 with a block frees it and returns NULL, as glibc does
 * Returns    the block, its first min(old, new) bytes unchanged; NULL with ENOMEM, then ptr is still valid
 */
QUARRY_API void *quarry_realloc(void *ptr, size_t nbytes) __attribute__((warn_unused_result)) QUARRY_SIZE(2);

/** As quarry_realloc(ptr, count * size); NULL with ENOMEM when the product overflows, and ptr is still valid. */
QUARRY_API void *quarry_reallocarray(void *ptr, size_t count, size_t size) __attribute__((warn_unused_result))
    QUARRY_SIZE(2, 3);

/**
 * Allocate nbytes at a multiple of alignment.
 *
 * alignment  bytes; rounded up to a power of two as glibc 2.36 does; above 2^62: NULL with ENOMEM
 * Cost       as quarry_malloc while alignment <= 16
 */
QUARRY_API void *quarry_aligned_alloc(size_t alignment, size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(2) QUARRY_ALIGN(1);

/** The same call under its older name. */
QUARRY_API void *quarry_memalign(size_t alignment, size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(2) QUARRY_ALIGN(1);

/**
 * Allocate nbytes at a multiple of alignment, the POSIX way.
 *
 * alignment  a power of two and a multiple of sizeof(void *), else EINVAL is returned
 * Returns    0, EINVAL or ENOMEM; errno is kept, and *memptr too unless 0 is returned
 */
QUARRY_API int quarry_posix_memalign(void **memptr, size_t alignment, size_t nbytes);

/** Allocate nbytes at a multiple of the page size. */
QUARRY_API void *quarry_valloc(size_t nbytes) QUARRY_MALLOC QUARRY_SIZE(1);

/** Allocate nbytes, rounded up to whole pages, at a multiple of the page size. */
QUARRY_API void *quarry_pvalloc(size_t nbytes) QUARRY_MALLOC;

/** Free a block whose requested size is known (C23). A wrong size never harms the heap. */
QUARRY_API void quarry_free_sized(void *ptr, size_t nbytes);

/** Free a block of quarry_aligned_alloc whose alignment and requested size are known (C23). */
QUARRY_API void quarry_free_aligned_sized(void *ptr, size_t alignment, size_t nbytes);

/** Bytes that may be used in a block; at least what was asked for. 0 for NULL. */
QUARRY_API size_t quarry_usable_size(const void *ptr);

/* --- sizes ------------------------------------------------------------------------------------------------------ */

/** Usable bytes that quarry_malloc(nbytes) would give, without allocating; 0 where it could never succeed. */
QUARRY_API size_t quarry_good_size(size_t nbytes);

/** As quarry_malloc; *usable, unless usable is NULL, becomes the block's usable size (untouched on failure). */
QUARRY_API void *quarry_malloc_usable(size_t nbytes, size_t *usable) QUARRY_MALLOC QUARRY_SIZE(1);

/**
 * Change the usable size of a block without moving it. C++'s sized delete takes the size that new was asked for: where
 * that is to be called, do not make a block smaller that new gave.
 *
 * Returns    the usable size if the block now holds nbytes; 0 if it cannot, and then nothing has changed
 */
QUARRY_API size_t quarry_resize_in_place(void *ptr, size_t nbytes);

/* --- nodes ------------------------------------------------------------------------------------------------------ */

/*
 * NUMA nodes go by the kernel's numbers, which may have gaps; quarry_node_stats_get lists them. Without these calls
 * memory is placed as QUARRY_CONF's key numa says: by default each thread's on the node that it runs on. The node of a
 * block is the same for every call and for quarry_walk: -1 where it is spread over nodes, and where it is not known
 * since all is taken for one node though the process may use several.
 *
 * Placement is a preference: where a node is full, its blocks come from the nearest node with room, and the statistics
 * count that. A node is full when what the kernel counts as free and as files' unused memory (MemFree and
 * Inactive(file) of the node's meminfo), less a 32nd of the node but at most 256 MiB, does not hold another arena or
 * the large block, of which 1 GiB counts at most. The choice is made when a block is allocated; quarry_realloc places
 * what it must move as quarry_malloc does. A block goes home to its node when it is freed.
 *
 * With one node all calls work, and that node is the only one to ask for; so they do by numa:off, and where the machine
 * is taken for one node (the summary of quarry_stats_print says why), for every node that the process may use, though
 * nothing is placed then.
 */

/** In place of a node: that of the CPU which the thread runs on. */
#define QUARRY_NODE_FOLLOW (-1)

/**
 * Allocate nbytes on a node, whichever this thread runs on.
 *
 * os_node    the kernel's number of a node whose memory this process may use, else NULL with EINVAL
 * Cost       of a node that is not this thread's: one short lock of the node's; free as for any other thread's block.
 *            Of the thread's own: as quarry_malloc. Each call that the cache does not serve is a slow path
 */
QUARRY_API void *quarry_malloc_on_node(size_t nbytes, int os_node) QUARRY_MALLOC QUARRY_SIZE(1);

/**
 * Allocate nbytes on a set of nodes. A block above 64 KiB has a mapping of its own, whose pages lie on them by turns
 * and which is unmapped when it is freed; a smaller block lies on one of them, the next one each time.
 *
 * nodemask   bit n % (bits of a long) of word n / (bits of a long): the kernel's node n; NULL: all nodes
 * maxnode    number of bits at nodemask
 * Returns    NULL with EINVAL if the set is empty or has a node whose memory this process may not use; ENOMEM as ever
 */
QUARRY_API void *quarry_malloc_interleaved(size_t nbytes, const unsigned long *nodemask, unsigned long maxnode)
    QUARRY_MALLOC QUARRY_SIZE(1);

/** What memory may be best at, as firmware and kernel tell (hwloc's memory attributes). */
enum quarry_kind {
	QUARRY_KIND_BANDWIDTH, /* e.g. HBM */
	QUARRY_KIND_LATENCY,
	QUARRY_KIND_CAPACITY   /* the largest node */
};

/**
 * Allocate nbytes on the node that is best at something for threads on this thread's node; the nearest of several that
 * are equal (within an eighth, latency apart). Where the machine has no such figures: on this thread's own.
 *
 * Returns    NULL with EINVAL for an unknown kind; ENOMEM as ever
 */
QUARRY_API void *quarry_malloc_kind(size_t nbytes, enum quarry_kind kind) QUARRY_MALLOC QUARRY_SIZE(1);

/**
 * The home node of the live block that contains an address: where its pages come from, while there is room.
 *
 * Returns    the kernel's number; -1 where there is no block, it is spread over nodes, or the node is not known
 * Cost       a few loads; one short lock per large block for an address inside one, and for one that is in no block
 */
QUARRY_API int quarry_node_of(const void *ptr);

/**
 * Pin this thread's memory to a node from its next allocation on, whichever CPU it runs on; QUARRY_NODE_FOLLOW: let it
 * follow the CPU again (or what the key numa says). Threads that it starts begin with QUARRY_NODE_FOLLOW.
 *
 * A thread that follows is served from another node after 16 slow paths (refills of its cache and the like) in a row
 * there, or, where it lives in its cache, at its first operation after a visit of the purger, which comes every other
 * decay_ms (by default two seconds) while the purger runs. A thread that moves twice within a second needs twice as
 * many slow paths for the next move, up to 1024.
 *
 * Returns    0; -1 with EINVAL for a node whose memory this process may not use, or ENOMEM, and nothing has changed
 * Cost       the thread's cache goes home
 */
QUARRY_API int quarry_thread_node_set(int os_node);

/**
 * The node that this thread's memory is pinned to, or QUARRY_NODE_FOLLOW; the latter also for a pin to a node whose
 * number is not known, as all is taken for one node though the process may use several.
 */
QUARRY_API int quarry_thread_node_get(void);

/* --- looking inside --------------------------------------------------------------------------------------------- */

/**
 * 1 if the address lies in memory that Quarry manages (a live block or not), else 0. Never faults and keeps no
 * allocation waiting; an address in no arena is looked up among the large blocks, one short lock each.
 */
QUARRY_API int quarry_owns(const void *ptr);

/**
 * Start of the block that contains an address.
 *
 * ptr        any address inside a block that stays live during the call
 * usable     unless NULL, becomes the block's usable size
 * Returns    the block's start; NULL where no block can be
 */
QUARRY_API void *quarry_block_of(const void *ptr, size_t *usable);

/** One live block, as the heap walk reports it. */
struct quarry_block {
	void *address;      /* start */
	size_t nbytes;      /* usable size */
	const void *arena;  /* base of its arena; the block's own address for a block with a mapping of its own */
	int node;           /* what quarry_node_of says: the kernel's number, or -1 */
};

/** Called for each block, with no lock held: it may allocate and free. Anything but 0 ends the walk. */
typedef int (*quarry_walk_fn)(const struct quarry_block *block, void *arg);

/**
 * Report the live blocks while other threads go on.
 *
 * A block that is live from start to end is reported exactly once, one freed before never, one that comes or goes
 * meanwhile perhaps.
 *
 * Returns    0, or what the callback returned to end the walk; -1 with errno ENOTSUP where the kernel withdrew
 *            membarrier while threads were running, so that their caches cannot be looked into
 * Cost       empties every thread's cache once
 */
QUARRY_API int quarry_walk(quarry_walk_fn callback, void *arg);

/**
 * Give all free memory back to the system now, the caches of all threads included.
 *
 * keep       bytes of free memory that may stay (glibc's pad)
 * Returns    1 if memory went back, else 0
 */
QUARRY_API int quarry_trim(size_t keep);

/* --- statistics ------------------------------------------------------------------------------------------------- */

#define QUARRY_STATS_VERSION 2

/** How quarry_stats.requested is known. */
enum quarry_requested {
	QUARRY_REQUESTED_UNKNOWN,   /* it is 0 */
	QUARRY_REQUESTED_ESTIMATED, /* by what the sampled heap profile has chosen, while it is on */
	QUARRY_REQUESTED_EXACT      /* in a build that counts (--enable-counting) */
};

/**
 * All bytes unless a name says otherwise. From what the program asked for to what is mapped, each gap by its name:
 *
 *     requested
 *     + rounding                           up to the sizes of blocks and objects: what the next line lacks
 *     + slabs_idle                         free objects of typed caches                        = live
 *     + cached                             in thread caches and on the way home
 *     + pools_free                         in and behind pools and spans             = units in use, large_live
 *     + free_dirty - pools_free - large_kept   free units of arenas, perhaps resident
 *     + free_clean                         others: given back, never touched        = arenas, large_live
 *     + large_kept + metadata                                                       = mapped
 *
 * so that mapped = live + cached + free_dirty + free_clean + metadata. Resident is what is mapped but clean, less what
 * was never touched of blocks, pools and records.
 */
struct quarry_stats {
	uint32_t version;        /* QUARRY_STATS_VERSION of the library that filled it */
	uint32_t nodes;          /* NUMA nodes in use */
	uint64_t mapped;         /* address space mapped for arenas and large blocks */
	uint64_t live;           /* block bytes out with the program (rounded to their size classes) */
	uint64_t cached;         /* block bytes in thread caches and on their way home */
	uint64_t free_dirty;     /* free in pools, in kept pools and in arenas; resident */
	uint64_t free_clean;     /* free and given back to the system, or never touched */
	uint64_t metadata;       /* Quarry's own records */
	uint64_t large_live;     /* part of live that lies in mappings of its own */
	uint64_t large_kept;     /* part of free_dirty: freed large blocks kept for reuse */
	uint64_t arenas;         /* number of arenas mapped */
	uint64_t arenas_mapped;  /* arenas ever mapped */
	uint64_t arenas_retired; /* arenas ever unmapped */
	uint64_t heaps;          /* number of heap records (attached, parked and shared) */
	uint64_t heaps_attached; /* of these, serving a thread */
	uint64_t refills;        /* number of cache refills */
	uint64_t flushes;        /* number of cache flushes */
	uint64_t remote_frees;   /* blocks that went home from another thread */
	uint64_t visits;         /* idle caches emptied */
	uint64_t purged;         /* bytes ever given back by madvise */
	uint64_t purge_calls;    /* number of madvise calls that did so */
	uint64_t bind_failures;  /* number of arenas that could not be bound to their node */
	uint64_t map_failures;   /* number of mappings that the system refused */
	/* since version 2 */
	uint64_t requested;      /* part of live: what the program asked for in its blocks and objects; 1 for a size of 0 */
	uint64_t requested_kind; /* enum quarry_requested */
	uint64_t slabs_idle;     /* part of live: in slabs of typed caches, but in no object that the program holds */
	uint64_t pools_free;     /* part of free_dirty: in pools, and behind the last blocks of pools and spans */
};

/**
 * Fill in statistics.
 *
 * stats, size  the caller's struct and its sizeof: a newer library fills only what the caller has room for
 * Returns      0; -1 with EINVAL if size is below that of the first two members
 * Threads      a snapshot; each counter is exact, sums may be a moment apart
 */
QUARRY_API int quarry_stats_get(struct quarry_stats *stats, size_t size);

#define QUARRY_NODE_STATS_VERSION 1

/**
 * One node; bytes unless a name says otherwise. Pools, spans and arenas count where they lie, blocks of pools where
 * their heap is: that differs after spills only. By numa:interleave heaps are of no node, and their blocks are not
 * counted here, nor is what their pools have free: live, cached and free_dirty are without them.
 */
struct quarry_node_stats {
	uint32_t version;         /* QUARRY_NODE_STATS_VERSION of the library that filled it */
	int32_t os_node;          /* the kernel's number; -1 where it is not known */
	uint64_t arenas;          /* number of arenas */
	uint64_t mapped;          /* address space of its arenas and live large blocks */
	uint64_t used;            /* units of its arenas that are pools or spans */
	uint64_t live;            /* block bytes out with the program */
	uint64_t large_live;      /* part of live that lies in mappings of its own */
	uint64_t cached;          /* block bytes in the caches of the node's threads and on the way home to it */
	uint64_t free_dirty;      /* free in pools and arenas; resident */
	uint64_t free_clean;      /* free and given back to the system, or never touched */
	uint64_t arenas_retired;  /* arenas ever unmapped */
	uint64_t remote_sent;     /* number of blocks that threads of this node sent home to others */
	uint64_t remote_received; /* number of blocks that came home from threads of other nodes */
	uint64_t migrations;      /* number of times that a thread was followed here from another node; not pins */
	uint64_t spills;          /* number of arenas, runs of units and large blocks wanted here, got elsewhere: no
	                             room. Pages that the kernel then puts elsewhere: quarry_node_residency */
};

/**
 * Fill in the statistics of a node. A snapshot, as quarry_stats_get.
 *
 * index        0 to quarry_stats.nodes - 1, by rising kernel's number; else -1 with EINVAL
 * stats, size  the caller's struct and its sizeof; -1 with EINVAL if size is below that of the first two members
 */
QUARRY_API int quarry_node_stats_get(unsigned index, struct quarry_node_stats *stats, size_t size);

/** Pages of the arenas and large blocks of a node, as the kernel tells at the moment; in pages but for page_size. */
struct quarry_node_residency {
	uint32_t version;   /* QUARRY_NODE_STATS_VERSION of the library that filled it */
	int32_t os_node;    /* the kernel's number of the node; -1 where it is not known, and all count as elsewhere */
	uint64_t page_size; /* bytes */
	uint64_t here;      /* resident on that node */
	uint64_t elsewhere; /* resident on another */
	uint64_t absent;    /* not resident: never touched, given back or swapped out */
};

/**
 * Ask the kernel where a node's pages are (move_pages without moving). Blocks spread over nodes are left out.
 *
 * index, residency, size  as in quarry_node_stats_get
 * Returns                 0; -1 with EINVAL, or the kernel's errno where it does not tell
 * Cost                    about 0.3 microseconds a page: milliseconds for an arena. Allocation goes on meanwhile
 */
QUARRY_API int quarry_node_residency(unsigned index, struct quarry_node_residency *residency, size_t size);

/** Write a one-screen summary to a file descriptor, with write(2) and without allocating. 0, or -1 with errno. */
QUARRY_API int quarry_stats_print(int fd);

/**
 * Write the statistics as one line of JSON, in the same way: the members of struct quarry_stats by their names,
 * "time_ms" of the clock, "pid", "resident" (bytes, as the kernel counts for the process), and arrays of objects:
 * "nodes" of the members of struct quarry_node_stats, "by_class", "by_arena" and "by_thread" of those of
 * quarry/stats.h, "by_cache" and "by_tag" of typed caches and of heaps, summed up by name. 0, or -1 with errno.
 */
QUARRY_API int quarry_stats_json(int fd);

/**
 * Write the statistics in Prometheus's text format, in the same way: quarry_NAME, with _bytes for amounts of memory and
 * _total for what only grows; with a label quarry_node_NAME{node}, quarry_class_NAME{size}, quarry_thread_NAME{heap,
 * tid, node}, quarry_cache_NAME{name} and quarry_heap_NAME{tag}. 0, or -1 with errno.
 */
QUARRY_API int quarry_stats_prometheus(int fd);

/** "MAJOR.MINOR.PATCH" of the library that is running. */
QUARRY_API const char *quarry_version(void);

#ifdef __cplusplus
}
#endif

#endif
