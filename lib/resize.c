/* SPDX-License-Identifier: MIT */
/*
 * Resize: see resize.h.
 */
#include "resize.h"

#include <errno.h>

#include "counting.h"
#include "guard.h"
#include "limit.h"
#include "purge.h"
#include "span.h"

bool resize_is_block(const void *ptr)
{
	uint32_t word = address_map_word(ptr);
	if (likely(entry_usable(ptr, word) != 0))
		return true;
	const char *what = word == 0 ? "realloc of a foreign pointer" : "realloc of an interior pointer";
	if (guard_is(word) || (QUARRY_HARDENED && word_is_pool(word) && !entry_is_interior(ptr, word)))
		what = "realloc of what is no live block";
	entry_report_misuse(what, ptr, word);
	errno = ENOMEM;
	return false;
}

/* Within the room of its class or its last page; the block remembers its size. */
static size_t resize_hardened(void *ptr, uint32_t word, size_t nbytes)
{
	bool done = word_is_pool(word)  ? entry_reseal(ptr, word, nbytes)
		    : word == WORD_SPAN ? nbytes <= LARGE_REQUEST_THRESHOLD && span_resize(ptr, nbytes)
					: large_resize(ptr, nbytes);
	return done ? nbytes : 0;
}

static size_t change(void *ptr, uint32_t word, size_t nbytes)
{
	size_t usable = entry_usable(ptr, word);
	if (guard_is(word))
		return nbytes == usable || (!QUARRY_HARDENED && nbytes < usable) ? usable : 0;
	struct quarry_heap *region = region_of(ptr, word);
	if (QUARRY_HARDENED && usable != 0 && region == NULL)
		return resize_hardened(ptr, word, nbytes + (nbytes == 0));
	if (word_is_pool(word) || region != NULL || (nbytes <= usable && nbytes > usable - usable / 4))
		return nbytes <= usable ? usable : 0;
	bool done = false;
	if (word == WORD_SPAN && nbytes > sizeclass_limit && nbytes <= LARGE_REQUEST_THRESHOLD)
		done = span_resize(ptr, nbytes);
	else if (word != WORD_SPAN && nbytes > LARGE_REQUEST_THRESHOLD)
		done = large_resize(ptr, nbytes);
	if (done)
		entry_resized(ptr, nbytes);
	return done ? entry_usable(ptr, word) : nbytes <= usable ? usable : 0;
}

size_t resize_in_place(void *ptr, uint32_t word, size_t nbytes)
{
	size_t usable = change(ptr, word, nbytes);
	if (usable != 0)
		entry_recount(ptr, word, nbytes);
	return usable;
}

/* In builds that count, the old address is nobody's once the pages are gone, and so is not looked at afterwards. */
static void *move(void *ptr, size_t nbytes)
{
	uint64_t requested = QUARRY_COUNTING ? counting_big(ptr, 0) : 0;
	void *moved = large_move(ptr, nbytes);
	if (QUARRY_COUNTING && moved == NULL)
		counting_big(ptr, requested);
	return moved;
}

void *resize_big(void *ptr, uint32_t word, size_t nbytes)
{
	if (guard_is(word))
		return NULL;
	bool stays_big = nbytes > (word == WORD_SPAN ? sizeclass_limit : LARGE_REQUEST_THRESHOLD);
	if (stays_big && resize_in_place(ptr, word, nbytes) != 0)
		return ptr;
	if (word == WORD_SPAN || !stays_big)
		return NULL;
	void *moved = move(ptr, nbytes);
	if (moved == NULL && atomic_load_explicit(&limit_own, memory_order_relaxed) != 0) {
		purge_all(0, true);
		moved = move(ptr, nbytes);
	}
	if (moved != NULL)
		entry_resized(moved, nbytes);
	return moved;
}
