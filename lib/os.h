/* SPDX-License-Identifier: MIT */
/*
 * The operating system: the only room that maps, unmaps, advises, waits on a futex or asks for a barrier.
 *
 * Invariants: no function here allocates, takes a lock or changes errno, except that a failed mapping sets ENOMEM.
 * A refused mapping is NULL; refused advice is counted and otherwise ignored, since it never decides correctness.
 */
#ifndef QUARRY_OS_H
#define QUARRY_OS_H

#include <stdint.h>

#include "compiler.h"

struct os_counters {
	_Atomic uint64_t map_failures;
	_Atomic uint64_t purge_calls;
	_Atomic uint64_t purged_nbytes;
};
extern struct os_counters os_counters;

/** Bytes of a page, from the kernel; a power of two. */
size_t os_page_size(void);

static inline size_t round_up(size_t nbytes, size_t unit)
{
	return (nbytes + unit - 1) & ~(unit - 1);
}

/** Map nbytes of zeroed memory (whole pages), at hint if that is free, else anywhere. NULL with ENOMEM. */
void *os_map(void *hint, size_t nbytes);

/** Map nbytes at exactly address; NULL where anything is mapped there already. */
void *os_map_exactly(void *address, size_t nbytes);

/** Map nbytes at a multiple of alignment (a power of two, whole pages). NULL with ENOMEM. */
void *os_map_aligned(size_t nbytes, size_t alignment);

/**
 * Map nbytes of huge pages of page_nbytes each, both powers of two or multiples of one, at a multiple of alignment,
 * which is one of page_nbytes. NULL where so many are not left, or none of this size are known; errno stays.
 */
void *os_map_huge(size_t nbytes, size_t alignment, size_t page_nbytes);

/** Reserve nbytes of address space that reads as zero and is charged to nobody. NULL with ENOMEM. */
void *os_reserve(size_t nbytes);

/** Make a part of a reservation writable; false if the system refuses. */
bool os_commit(void *address, size_t nbytes);

/** Let nobody read or write a range of whole pages, or let everybody again (os_commit). False if the system refuses. */
bool os_forbid(void *address, size_t nbytes);

/** Random bytes of the kernel's; where it has none to give, what it gave the process at its start. */
void os_random(void *bytes, size_t nbytes);

/** Unmap; false if the kernel refuses (mapping limit), and then the memory is still there. */
bool os_unmap(void *address, size_t nbytes);

/** Give the pages back and keep the addresses: they read as zero afterwards. False if refused. */
bool os_purge(void *address, size_t nbytes);

/** Keep the kernel from backing the range with huge pages on its own account. */
void os_refuse_huge_pages(void *address, size_t nbytes);

/** Ask the kernel for huge pages wherever a whole one fits into the range. */
void os_want_huge_pages(void *address, size_t nbytes);

/** The nodes that n pages lie on, by the kernel's numbers; negative where a page is not resident. False with errno. */
bool os_page_nodes(size_t n, void *const pages[], int status[]);

/** Up to size - 1 bytes of a file, and a 0 behind them; false where it cannot be read. */
bool os_read_file(const char *path, char *data, size_t size);

/**
 * Grow or shrink a mapping where it is; false if it cannot. split becomes whether that is because the kernel has the
 * range as several mappings (their pages differ in some way), which it does not move either.
 */
bool os_resize(void *address, size_t old_nbytes, size_t new_nbytes, bool *split);

/**
 * Move a mapping onto target, which is mapped and is replaced. False if the system refuses: the old mapping is as it
 * was, but an older kernel may have unmapped the target where errno is ENOMEM, EFAULT or EAGAIN.
 */
bool os_move(void *address, size_t old_nbytes, void *target, size_t new_nbytes);

/** A barrier on every running thread of this process (membarrier, private expedited). False where there is none. */
bool os_barrier(void);

/** May os_barrier be expected to work? Registers the process at first; false once the kernel has refused it. */
bool os_barrier_ready(void);

/** Sleep while *word is value, at most timeout_ms (negative: no limit). */
void os_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms);

/** Wake up to count sleepers. */
void os_wake(_Atomic uint32_t *word, int count);

/** Can the four bytes at address, a multiple of four, be read? The kernel looks, and nothing is written. */
bool os_is_readable(const void *address);

/** The kernel's number of this thread. */
uint32_t os_thread_id(void);

/** Milliseconds of a clock that never goes back; coarse and cheap. */
uint64_t os_milliseconds(void);

#endif
