/* SPDX-License-Identifier: MIT */
/*
 * Counting: what the program asked for in the blocks that it holds, exactly, in builds that count (QUARRY_COUNTING, by
 * --enable-counting). In others nothing here is called.
 *
 * Owns, for each stretch of address space (ARENA_MIN_SIZE) in which a block begins, a table with a number for each
 * place where a block may start, a quarter of what it is about, and their sum. Tables are never unmapped. Objects of
 * typed caches are not in it: their caches count them. Invariant: the number of a block that is free is 0. No lock:
 * numbers are exchanged, each by the block's holder.
 */
#ifndef QUARRY_COUNTING_H
#define QUARRY_COUNTING_H

#include "compiler.h"

/**
 * The block at ptr, of a pool, or a span or large block, is now one of nbytes that were asked for; 0: it is free.
 * Returns what it was before. No lock held, but for 0.
 */
uint64_t counting_small(const void *ptr, size_t nbytes);
uint64_t counting_big(const void *ptr, size_t nbytes);

/** Bytes asked for in all blocks. */
uint64_t counting_total(void);

#endif
