/* SPDX-License-Identifier: MIT */
/**
 * Page providers: Quarry's memory from somewhere else than the kernel's anonymous mappings.
 *
 * Layer 0 of obmalloc's picture, where CPython has PyObject_SetArenaAllocator. A provider gives memory in large pieces,
 * for arenas and for each block of more than an eighth of an arena, and gets it back when Quarry has no use for it:
 * a buffer that the program reserved, huge pages, shared memory, a device's memory, another allocator's.
 *
 * Quarry's own records are not asked of a provider. Memory that was had before a provider was set stays as it is, and
 * goes back to where it came from.
 */
#ifndef QUARRY_PROVIDER_H
#define QUARRY_PROVIDER_H

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/** In the place of a node's number: every node. */
#define QUARRY_EVERY_NODE (-1)

/** What map gives reads as zero: calloc need not clear it, and virgin memory is counted as not resident. */
#define QUARRY_PROVIDER_ZEROED 1u
/** Where map returns NULL the kernel is asked; without this the request then fails with ENOMEM. */
#define QUARRY_PROVIDER_OR_SYSTEM 2u

/**
 * A provider. Its functions are called from inside malloc and free, by any thread, by several at once; they may neither
 * allocate nor free through Quarry, nor wait for a thread that may. A fork may wait until unmap and purge are through,
 * so no handler of pthread_atfork may take a lock that these two take.
 */
struct quarry_provider {
	void *context; /**< the first argument of each */
	/**
	 * Give nbytes (a multiple of 16 KiB and of the page size) at a multiple of alignment (a power of two), readable
	 * and writable, on the node if that is known (the kernel's number, else -1). NULL: there is no such piece. A
	 * smaller one may be asked for then.
	 */
	void *(*map)(void *context, size_t nbytes, size_t alignment, int os_node);
	/** Take a piece back, whole as map gave it. 0; else Quarry has it still, and tries again later. */
	int (*unmap)(void *context, void *address, size_t nbytes);
	/**
	 * What whole pages hold is not wanted any longer. 0: from now on they read as zero; else they are as they were,
	 * and it is not called for the same piece again. NULL: arenas keep their pages until they are empty.
	 */
	int (*purge)(void *context, void *address, size_t nbytes);
	unsigned flags; /**< QUARRY_PROVIDER_* */
};

/**
 * Have a node's memory from a provider from now on.
 *
 * os_node    the kernel's number of a node, or QUARRY_EVERY_NODE
 * provider   is copied; NULL: the kernel again
 * Returns    0; -1 with EINVAL for a node that the process has no memory of, for map or unmap that are NULL and for
 *            unknown flags; -1 with ENOMEM. At most 16 different providers are set in the life of a process: ENOSPC
 * Threads    any thread, any time; threads that are growing an arena at this moment may still use the one before
 *
 * Quarry can keep account of memory where the kernel puts mappings, 2 TiB to either side, not of a program's static
 * data. A piece that lies elsewhere, or is not aligned, is given back, which is reported once, and counts as NULL.
 */
QUARRY_API int quarry_provider_set(int os_node, const struct quarry_provider *provider);

/** Bytes of an arena, and its alignment: what map is asked for first. Then halves of it, down to a 32nd. */
QUARRY_API size_t quarry_arena_size(void);

/**
 * Make a provider of a buffer: arenas and large blocks come from it, first fit, and the program runs out of memory when
 * it is used up (or goes on with the kernel's, if QUARRY_PROVIDER_OR_SYSTEM is put into its flags).
 *
 * buffer     is Quarry's from now on, for good. Its first bytes hold the provider's own records. From mmap, not static
 * nbytes     of it; at least one 32nd of an arena must lie behind a multiple of quarry_arena_size() in it
 * Returns    0; -1 with EINVAL if the buffer has no place for an arena, with ERANGE if it lies where Quarry cannot keep
 *            account of it
 */
QUARRY_API int quarry_provider_buffer(struct quarry_provider *provider, void *buffer, size_t nbytes);

/**
 * Make a provider of huge pages that the administrator reserved (hugetlbfs; vm.nr_hugepages).
 *
 * page_nbytes  of one: 2 MiB or 1 GiB on most machines, up to the size of an arena; 0: the kernel's default size
 * Returns      0; -1 with EINVAL if page_nbytes is no power of two or above the size of an arena
 *
 * Where no huge page is left the kernel's other pages serve: QUARRY_PROVIDER_OR_SYSTEM is among its flags.
 */
QUARRY_API int quarry_provider_hugetlb(struct quarry_provider *provider, size_t page_nbytes);

#ifdef __cplusplus
}
#endif

#endif
