/* SPDX-License-Identifier: MIT */
/*
 * Entry, its slow frees: whose block it is, and what of it is sent where. A small block goes onto the thread's list,
 * into its outbox, or, hardened, into the quarantine first. Misuses end here. Owns nothing; each function says what it
 * holds.
 */
#include "entry.h"

#include "claim.h"
#include "guard.h"
#include "guard_report.h"
#include "large.h"
#include "purge.h"
#include "region.h"
#include "remote.h"
#include "sample.h"
#include "span.h"
#include "thread.h"

/* --- misuse ------------------------------------------------------------------------------------------------------- */

void entry_report_misuse(const char *what, const void *ptr, uint32_t word)
{
	if (guard_is(word))
		guard_report_misuse(what, ptr);
	else
		heap_report_misuse(what, ptr, word);
}

static force_inline bool is_misplaced(const void *ptr, uint32_t word)
{
	return QUARRY_CHECKS && entry_is_interior(ptr, word);
}

static cold_path void free_twice(void *ptr, uint32_t word)
{
	entry_report_misuse("double free", ptr, word);
}

/* Where the program does not hold a block, or has written beyond it: then it keeps the block. */
static cold_path bool refuse(struct block *block, uint32_t word, bool held)
{
	if (held)
		pool_hold(block);
	entry_report_misuse(held                              ? "overflow, found by free,"
	                    : entry_is_interior(block, word) ? "free of an interior pointer"
	                                                      : "double free",
	                    block, word);
	return false;
}

/* And on its way back: false if it stays where it is, as a misuse was reported. */
static force_inline bool take_back(struct block *block, uint32_t word)
{
	if (!QUARRY_BLOCK_BITS)
		return true;
	if (unlikely(!pool_let_go(block)))
		return refuse(block, word, false);
	if (QUARRY_HARDENED && unlikely(harden_check(block, sizeclass_nbytes(word_szidx(word))) == SIZE_MAX))
		return refuse(block, word, true);
	if (QUARRY_COUNTING)
		counting_small(block, 0);
	return true;
}

/* --- small blocks ------------------------------------------------------------------------------------------------- */

void entry_overflow(uint32_t word)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	cache_overflow(heap, word_szidx(word));
	remote_unlock(heap);
	entry_leave();
}

/*
 * Are foreign blocks of the class freed between allocations? Two of the last eight say so, since a flush or visit may
 * look like an allocation. Then they are exchanged, and keeping one saves its way home and back. A row of them is a
 * message that was read: kept, they would mix with the thread's own in cache lines, for good. While a class is young it
 * keeps them (comes_of_age).
 */
static force_inline bool is_exchange(struct cache_class *class, int32_t room)
{
	unsigned last = class->exchanged = (uint8_t)(class->exchanged << 1 | (room > class->seen_room));
	return (last & (last - 1)) != 0 || class->refills < YOUNG_REFILLS;
}

/* May a block of another heap be worth keeping? Only a class that this thread allocates. */
static force_inline bool is_allocated(const struct heap *heap, uint32_t word)
{
	return heap->classes[word_szidx(word)].allocates;
}

/*
 * Is a block of another heap, which is being freed and whose class is_allocated, worth keeping? While this thread has
 * little of it, and if it is of this node. Asked once for a free, as it takes a note. Without an announcement: a
 * visitor changes these counts only while the thread is diverted.
 */
static force_inline bool is_wanted(struct heap *heap, uint32_t word)
{
	unsigned szidx = word_szidx(word);
	struct cache_class *class = &heap->classes[szidx];
	int32_t room = heap->cache.room[szidx];
	bool wanted = is_exchange(class, room) && room > (int32_t)(heap->cache.bound[szidx] / 2) &&
	              heap_node_by_id(word_owner(word)) == heap->node;
	class->seen_room = (int16_t)(room - wanted);
	return wanted;
}

/*
 * A young class lives on the shared heap's blocks, which are foreign: every free of one comes this way. A thread that
 * frees many of them is no passer-by, and gets pools of its own. True: that is now.
 */
static bool comes_of_age(struct heap *heap, unsigned szidx)
{
	struct cache_class *class = &heap->classes[szidx];
	if (likely(class->refills >= YOUNG_REFILLS) || ++class->kept < YOUNG_FREES)
		return false;
	class->refills = YOUNG_REFILLS;
	return true;
}

/* What follows is frequent where blocks go from thread to thread: leaves of one frame at most, else tail calls. */

static cold_path void send_list_home(unsigned szidx)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	cache_flush_list(heap, szidx);
	remote_unlock(heap);
}

/* Onto the thread's list or, for sure if it is to go home, into its outbox; under the lock of its heap. */
static force_inline void put_locked(struct heap *heap, struct block *block, uint32_t word, bool home)
{
	unsigned szidx = word_szidx(word);
	if (QUARRY_CHECKS &&
	    unlikely(heap->cache.head[szidx] == block || heap->outbox[cache_bucket(word_owner(word))].head == block)) {
		free_twice(block, word);
	} else if (!home && (word_owner(word) == heap->id || (is_allocated(heap, word) && is_wanted(heap, word)))) {
		if (cache_push(&heap->cache, szidx, block))
			cache_overflow(heap, szidx);
		else if (unlikely(word_owner(word) != heap->id && comes_of_age(heap, szidx)))
			cache_flush_list(heap, szidx);
	} else {
		cache_post(heap->outbox, block, word);
	}
}

/* Hardened, under the lock: what must leave the quarantine, goes on. */
static void relieve_quarantine(struct heap *heap)
{
	for (struct block *block; (block = quarantine_take(heap->quarantine, heap->quarantine->most)) != NULL;)
		put_locked(heap, block, address_map_word(block), false);
}

/* The thread is diverted, its outbox wants to be sent, or more than one block had to leave the quarantine. */
static __attribute__((noinline)) void free_locked(struct block *block, uint32_t word, bool home)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	if (QUARRY_HARDENED)
		relieve_quarantine(heap);
	put_locked(heap, block, word, home);
	remote_unlock(heap);
	entry_leave();
}

/* Onto the thread's own list. Its own blocks come this way only in builds with block bits. */
static force_inline void keep(struct block *block, uint32_t word)
{
	unsigned szidx = word_szidx(word);
	struct heap *heap = cache_announce(szidx);
	if (unlikely(heap == &heap_empty))
		free_locked(block, word, false);
	else if (cache_push(&heap->cache, szidx, block))
		entry_overflow(word);
	else if (unlikely((!QUARRY_BLOCK_BITS || word_owner(word) != heap->id) && comes_of_age(heap, szidx)))
		send_list_home(szidx);
}

/* Into the outbox. Two callers, each by a tail call. */
static __attribute__((noinline)) void post(struct block *block, uint32_t word)
{
	unsigned bucket = cache_bucket(word_owner(word));
	int32_t nbytes = (int32_t)sizeclass_nbytes(word_szidx(word));
	struct heap *heap = cache_announce((uint32_t)(NB_SIZE_CLASSES + bucket));
	struct outbox *box = &heap->outbox[bucket];
	struct block *head = box->head;
	if (QUARRY_CHECKS && unlikely(head == block)) {
		free_twice(block, word);
		return;
	}
	if (unlikely(heap == &heap_empty) || (head != NULL && (box->owner != word_owner(word) || box->room < nbytes))) {
		free_locked(block, word, true);
		return;
	}
	if (head == NULL) {
		box->owner = word_owner(word);
		box->room = (int32_t)OUTBOX_NBYTES;
		box->tail = block;
	}
	box->room -= nbytes;
	block_set_next(block, head);
	compiler_barrier();
	box->head = block;
}

/* A block by itself: there is no quarantine without a heap. */
static void send_home(struct block *block, uint32_t word)
{
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	if (QUARRY_HARDENED)
		harden_wipe(block, nbytes);
	remote_push(word_owner(word), block, block, nbytes);
}

/* The thread is diverted, or has no heap yet. */
static cold_path void quarantine_locked(struct block *block, uint32_t word)
{
	struct heap *heap = thread_heap();
	if (heap == NULL) {
		send_home(block, word);
		return;
	}
	harden_wipe(block, sizeclass_nbytes(word_szidx(word)));
	heap_lock(heap);
	claim_settle(heap);
	block = quarantine_put(heap->quarantine, block, &word);
	if (block != NULL)
		put_locked(heap, block, word, false);
	relieve_quarantine(heap);
	remote_unlock(heap);
	entry_leave();
}

/* --- all blocks --------------------------------------------------------------------------------------------------- */

static cold_path void free_of_region(void *ptr, uint32_t word)
{
	region_put(ptr, word);
	entry_leave();
}

static bool is_in_slab(const void *ptr, uint32_t word)
{
	const void *start = word == WORD_SPAN || word == WORD_SPAN_REST ? span_start(ptr) : NULL;
	return start != NULL && span_is_of_cache(start);
}

/* Spans, large blocks, NULL, and what is no block. */
static __attribute__((noinline)) void free_big(void *ptr, uint32_t word)
{
	if (ptr == NULL)
		return;
	bool is_span = word == WORD_SPAN && (uintptr_t)ptr % POOL_SIZE == 0 && likely(span_owner(ptr) == NULL);
	uint32_t sample = is_span ? span_sample(ptr) : large_sample(ptr);
	if (QUARRY_COUNTING && region_of(ptr, word) == NULL && entry_usable(ptr, word) != 0)
		counting_big(ptr, 0);
	if (is_span)
		span_free(ptr);
	else if (guard_is(word))
		guard_free(ptr);
	else if (region_of(ptr, word) != NULL)
		region_put(ptr, word);
	else if (is_in_slab(ptr, word))
		entry_report_misuse("free by another call than quarry_cache_free", ptr, word);
	else if (!large_free(ptr))
		entry_report_misuse(word == 0 ? "free of a foreign pointer" : "free of an interior pointer", ptr, word);
	if (unlikely(sample != 0))
		sample_forget(sample);
	purge_hint();
}

void entry_free_checked(void *ptr, size_t nbytes, bool strict)
{
	uint32_t word = address_map_word(ptr);
	size_t usable = entry_usable(ptr, word);
	bool fits = nbytes <= usable && (!strict || nbytes >= usable - usable / 4 || usable <= LINEAR_CLASS_LIMIT);
	if (strict && fits && word_is_pool(word) && usable <= LINEAR_CLASS_LIMIT)
		fits = sizeclass_of(nbytes) == word_szidx(word);
	if (QUARRY_HARDENED && usable != 0 && region_of(ptr, word) == NULL)
		fits = nbytes == usable || (nbytes == 0 && usable == 1);
	if (usable != 0 && !fits)
		entry_report_misuse("free with a wrong size", ptr, word);
	else
		entry_free(ptr);
}

/* True: a small block that the program gives back, and the rest is the caller's. False: another one, which is free by
 * now, or a misuse. */
static bool free_all_but_small(void *ptr, uint32_t word)
{
	if (!word_is_pool(word))
		free_big(ptr, word);
	else if (is_misplaced(ptr, word))
		entry_report_misuse("free of an interior pointer", ptr, word);
	else if (word_is_region(word))
		free_of_region(ptr, word);
	else
		return take_back(ptr, word);
	return false;
}

/* Also a small one whose thread has no cache at the moment. */
static __attribute__((noinline)) void free_other(void *ptr, uint32_t word)
{
	if (!free_all_but_small(ptr, word))
		return;
	if (QUARRY_HARDENED)
		quarantine_locked(ptr, word);
	else if (thread_heap() != NULL)
		free_locked(ptr, word, false);
	else
		send_home(ptr, word);
}

/* A block of another heap, whose class this thread allocates. */
static __attribute__((noinline)) void keep_or_post(struct block *block, uint32_t word, struct heap *heap)
{
	if (QUARRY_CHECKS && !QUARRY_BLOCK_BITS && unlikely(heap->cache.head[word_szidx(word)] == block))
		free_twice(block, word);
	else if (is_wanted(heap, word))
		keep(block, word);
	else
		post(block, word);
}

/* To where it belongs. */
static force_inline void pass_on(struct block *block, uint32_t word, struct heap *heap)
{
	if (QUARRY_BLOCK_BITS && likely(word_owner(word) == heap->id))
		keep(block, word);
	else if (is_allocated(heap, word))
		keep_or_post(block, word, heap);
	else
		post(block, word);
}

/* It waits, and another one leaves for it. */
static force_inline void free_hardened(struct block *block, uint32_t word, struct heap *heap)
{
	harden_wipe(block, sizeclass_nbytes(word_szidx(word)));
	block = quarantine_put(heap->quarantine, block, &word);
	if (block == NULL)
		return;
	if (unlikely(quarantine_is_over(heap->quarantine)))
		free_locked(block, word, false);
	else
		pass_on(block, word, heap);
}

void entry_free_slow(void *ptr, uint32_t word, struct heap *heap)
{
	if (unlikely(heap == &heap_empty) || unlikely(word - WORD_OWNER >= WORD_REGION - WORD_OWNER) ||
	    (!QUARRY_HARDENED && unlikely(is_misplaced(ptr, word))))
		free_other(ptr, word);
	else if (unlikely(!take_back(ptr, word)))
		return;
	else if (QUARRY_HARDENED)
		free_hardened(ptr, word, heap);
	else
		pass_on(ptr, word, heap);
}

void entry_free_raw(void *ptr)
{
	uint32_t word = address_map_word(ptr);
	if (free_all_but_small(ptr, word))
		send_home(ptr, word);
}

/* NULL, foreign, or not aligned as any block is. */
void entry_free_stray(void *ptr)
{
	free_other(ptr, address_map_word(ptr));
}
