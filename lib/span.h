/* SPDX-License-Identifier: MIT */
/*
 * Span: a run of whole units of one arena as one block, for requests above SMALL_REQUEST_THRESHOLD.
 *
 * Invariants: the word of its first unit is WORD_SPAN, those of later ones WORD_SPAN_REST; its header (in the place of
 * its first unit's pool header) holds its usable bytes: the request, rounded up by less than a page and less than an
 * eighth; hardened, to a page, behind which a closed one lies, and span_usable is the request itself. The pages behind
 * them are never touched. Locking: the node's lock, inside arena_list. A live span is its
 * holder's alone.
 */
#ifndef QUARRY_SPAN_H
#define QUARRY_SPAN_H

#include "compiler.h"

/* Whose a span or large block is that is not the program's own: it may be freed in the owner's way only. */
struct span_owner {
	enum span_owner_kind { SPAN_OF_CACHE, SPAN_OF_REGION } kind;
};

/** Usable bytes of a span of nbytes. */
size_t span_good_size(size_t nbytes);

/**
 * Take a span of nbytes (at most LARGE_REQUEST_THRESHOLD) at a multiple of alignment (at most that, too).
 *
 * zeroed     becomes whether the memory reads as zero
 * Returns    NULL if no arena of any node has room; the caller may map another one and try again
 */
void *span_alloc(unsigned node, size_t nbytes, size_t alignment, bool *zeroed);

/** Say whose a span is that starts at ptr; NULL, as at first: the program's own. */
void span_set_owner(void *ptr, struct span_owner *owner);
struct span_owner *span_owner(const void *ptr);

static inline bool span_is_of_cache(const void *ptr)
{
	return span_owner(ptr) != NULL && span_owner(ptr)->kind == SPAN_OF_CACHE;
}

/** Free the span that starts at ptr. Hardened: it waits, closed, and an overflow of it is reported. */
void span_free(void *ptr);

/** Usable bytes of the span that starts at ptr. */
size_t span_usable(const void *ptr);

/** Bytes of it that statistics count: those, and hardened the rest of its last page. */
size_t span_nbytes(const void *ptr);

/** Say that fewer bytes of the span may be used than its size has, but more than a unit less. Not hardened. */
void span_set_usable(void *ptr, size_t nbytes);

/** The number of the span's record in the profile (sample.h); 0: it has none. */
uint32_t span_sample(const void *ptr);
void span_set_sample(void *ptr, uint32_t number);

/** Change its size where it is; false if the units behind it are taken. */
bool span_resize(void *ptr, size_t nbytes);

/** Hardened: let those that wait go back to their arenas. */
void span_release_held(void);

/** Start of the span that contains an address whose word is WORD_SPAN or WORD_SPAN_REST. */
void *span_start(const void *ptr);

/** Bytes of all live spans, and of those on a node. */
size_t span_live_nbytes(void);
size_t span_node_live_nbytes(unsigned node);

#endif
