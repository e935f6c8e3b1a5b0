/* SPDX-License-Identifier: MIT */
/*
 * Meta: memory for Quarry's own records (arena objects, heaps, records of large blocks).
 *
 * Owns chunks mapped apart from all blocks, so that an overflow does not reach them; hardened, between guard pages.
 * Invariants: a record is zeroed
 * when it is made, never moves and is never unmapped; rooms recycle their own records. Locking: META, inside.
 */
#ifndef QUARRY_META_H
#define QUARRY_META_H

#include "compiler.h"

/**
 * A zeroed record of nbytes at a multiple of alignment (a power of two up to a page), on the given node.
 * NULL with ENOMEM. No lock of rank META or a system call under any other lock: call it with no lock held.
 */
void *meta_alloc(size_t nbytes, size_t alignment, unsigned node);

/** Bytes mapped for records so far. */
size_t meta_mapped(void);

void meta_lock_for_fork(void);
void meta_unlock_after_fork(bool in_child);

#endif
