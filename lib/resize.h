/* SPDX-License-Identifier: MIT */
/*
 * Resize: how large a live block is, and changing that: in place, by moving pages, or by moving to another block that
 * the caller's way of allocating gives. A region's block stays in its region. Owns nothing.
 */
#ifndef QUARRY_RESIZE_H
#define QUARRY_RESIZE_H

#include <string.h>

#include "entry.h"
#include "large.h"
#include "region_entry.h"

/** Reports a misuse, with errno ENOMEM, where no block starts at ptr, and returns false. */
bool resize_is_block(const void *ptr);

/** The block's usable size if it could take nbytes where it is, else 0, and nothing has changed. */
size_t resize_in_place(void *ptr, uint32_t word, size_t nbytes);

/** obmalloc's rule: a block that shrinks moves only if that saves more than a quarter of it. */
static inline bool resize_is_worth_moving(size_t usable, size_t nbytes)
{
	return nbytes > usable || nbytes < usable - usable / 4;
}

/** Hardened, where a block's usable size is what was requested: does it lose little by staying? */
static inline bool resize_is_near(uint32_t word, size_t nbytes)
{
	size_t room = word_is_pool(word) ? sizeclass_nbytes(word_szidx(word)) : 0;
	return nbytes + HARDEN_SEAL_NBYTES >= room - room / 4;
}

/** For a span or a large block: the block, of nbytes now, its pages perhaps moved; NULL: it must be copied. */
void *resize_big(void *ptr, uint32_t word, size_t nbytes);

/** realloc for a block and nbytes > 0. NULL with ENOMEM: the block is as it was. */
static force_inline void *resize_block(void *ptr, size_t nbytes, void *(*allocate)(size_t), void (*release)(void *))
{
	uint32_t word = address_map_word(ptr);
	size_t usable = entry_usable(ptr, word);
	if (unlikely(usable == 0) && !resize_is_block(ptr))
		return NULL;
	struct quarry_heap *region = region_of(ptr, word);
	if (QUARRY_HARDENED && region == NULL ? resize_is_near(word, nbytes) && resize_in_place(ptr, word, nbytes) != 0
					      : !resize_is_worth_moving(usable, nbytes)) {
		entry_recount(ptr, word, nbytes);
		return ptr;
	}
	if (unlikely(region != NULL))
		return region_move(region, ptr, usable, nbytes);
	void *fresh = word_is_pool(word) || QUARRY_HARDENED ? NULL : resize_big(ptr, word, nbytes);
	if (fresh != NULL)
		return fresh;
	fresh = allocate(nbytes);
	if (fresh == NULL && nbytes <= usable)
		entry_recount(ptr, word, nbytes);
	if (fresh == NULL)
		return nbytes <= usable ? ptr : NULL;
	memcpy(fresh, ptr, nbytes < usable ? nbytes : usable);
	release(ptr);
	return fresh;
}

#endif
