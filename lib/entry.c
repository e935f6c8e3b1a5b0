/* SPDX-License-Identifier: MIT */
/*
 * Entry: the slow entries, which sort requests into small, span and large. Only here is a thread attached, an arena
 * mapped and the purger started: with no lock held, on the way in or out.
 */
#include "entry.h"

#include <errno.h>
#include <string.h>

#include "arena_list.h"
#include "claim.h"
#include "guard.h"
#include "guard_pace.h"
#include "guard_report.h"
#include "large.h"
#include "limit.h"
#include "node.h"
#include "options.h"
#include "purge.h"
#include "region.h"
#include "remote.h"
#include "report.h"
#include "sample.h"
#include "span.h"
#include "thread.h"

static unsigned current_node(void)
{
	struct heap *heap = thread_heap();
	return heap != NULL ? heap->node : thread_node();
}

/* The end of a slow path. No lock held. */
static void leave_slow_path(void)
{
	purge_hint();
	if (unlikely(slot.visited))
		thread_follow_node();
	if (unlikely(sample_is_asked()))
		sample_obey();
}

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* --- small -------------------------------------------------------------------------------------------------------- */

static struct block *pop(struct heap *heap, unsigned szidx)
{
	struct block *block = heap->cache.head[szidx];
	if (block == NULL)
		return NULL;
	if (unlikely(!heap_is_free_block(block, address_map_word(block))) || !block_claim(block)) {
		cache_drop_list(heap, szidx, block);
		return NULL;
	}
	heap->cache.head[szidx] = block_next(block);
	heap->cache.room[szidx]++;
	return block;
}

static struct block *take_from_heap(struct heap *heap, unsigned szidx)
{
	heap_lock(heap);
	claim_settle(heap);
	struct block *block = pop(heap, szidx);
	if (QUARRY_HARDENED)
		quarantine_share(heap->quarantine, thread_count());
	if (block == NULL && cache_refill(heap, szidx))
		block = pop(heap, szidx);
	remote_unlock(heap);
	return block;
}

static struct block *take_from_shared(unsigned node, unsigned szidx)
{
	struct heap *shared = heap_shared(node);
	if (shared == NULL)
		return NULL;
	heap_lock(shared);
	struct block *block = heap_take_block(shared, szidx);
	if (block == NULL && (remote_drain(shared, DRAIN_BLOCKS) > 0 || heap_add_pool(shared, szidx)))
		block = heap_take_block(shared, szidx);
	if (block == NULL && heap_add_pool(shared, szidx))
		block = heap_take_block(shared, szidx);
	remote_unlock(shared);
	return block;
}

bool entry_more_memory(unsigned node, uint64_t births, enum effort *effort)
{
	if (*effort == GROW) {
		/* Where another thread mapped an arena meanwhile, that one will do. */
		if (arena_list_births() != births || arena_list_grow(node))
			return true;
		*effort = RECLAIM;
	}
	if (*effort == GIVE_UP)
		return false;
	if (*effort == RECLAIM) {
		purge_all(0, true);
		*effort = GROW_AGAIN;
		if (atomic_load_explicit(&limit_own, memory_order_relaxed) != 0)
			return true;
	}
	*effort = GIVE_UP;
	arena_list_grow(node);
	return true;
}

static __attribute__((noinline)) void *allocate_small(unsigned szidx)
{
	enum effort effort = GROW;
	for (;;) {
		uint64_t births = arena_list_births();
		thread_follow_node();
		struct heap *heap = thread_heap();
		struct block *block = heap != NULL ? take_from_heap(heap, szidx) : take_from_shared(thread_node(), szidx);
		if (block != NULL) {
			leave_slow_path();
			return block;
		}
		if (!entry_more_memory(heap != NULL ? heap->node : thread_node(), births, &effort))
			return out_of_memory();
	}
}

/* From the heap, if there is one and it is of the node, else from the one that the node's threads share. */
static void *allocate_small_on(struct heap *heap, unsigned node, unsigned szidx)
{
	enum effort effort = GROW;
	bool own = heap != NULL && heap->node == node;
	for (;;) {
		uint64_t births = arena_list_births();
		struct block *block = own ? take_from_heap(heap, szidx) : take_from_shared(node, szidx);
		if (block != NULL) {
			leave_slow_path();
			return block;
		}
		if (!entry_more_memory(node, births, &effort))
			return out_of_memory();
	}
}

/* --- span and large --------------------------------------------------------------------------------------------- */

static void *allocate_large(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	void *ptr = large_alloc(node, nbytes, alignment, zeroed);
	if (ptr == NULL && large_good_size(nbytes) != 0) {
		purge_all(0, true);
		ptr = large_alloc(node, nbytes, alignment, zeroed);
	}
	leave_slow_path();
	return ptr;
}

static void *allocate_big_on(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	nbytes += nbytes == 0;
	if (nbytes > LARGE_REQUEST_THRESHOLD || alignment > LARGE_REQUEST_THRESHOLD)
		return allocate_large(node, nbytes, alignment, zeroed);
	enum effort effort = GROW;
	for (;;) {
		uint64_t births = arena_list_births();
		void *ptr = span_alloc(node, nbytes, alignment, zeroed);
		if (ptr != NULL)
			return ptr;
		if (!entry_more_memory(node, births, &effort))
			return allocate_large(node, nbytes, alignment, zeroed);
	}
}

/* --- the profile -------------------------------------------------------------------------------------------------- */

/* The number of its record goes with a span or large block. */
static void set_sample(void *ptr, uint32_t number)
{
	uint32_t word = address_map_word(ptr);
	if (word == WORD_SPAN)
		span_set_sample(ptr, number);
	else if (guard_is(word))
		guard_set_sample(ptr, number);
	else
		large_set_sample(ptr, number);
}

/* 0 also where no block starts. */
static uint32_t sample_of(const void *ptr, uint32_t word)
{
	return word == WORD_SPAN ? span_sample(ptr) : large_sample(ptr);
}

/* Of a block that no pool has; 0: none starts there. */
static size_t guarded_or_large(const void *ptr, uint32_t word)
{
	return guard_is(word) ? guard_usable(ptr) : large_usable(ptr);
}

static void choose(uint64_t rate, void *ptr, size_t nbytes)
{
	uint32_t word = address_map_word(ptr);
	size_t usable = word == WORD_SPAN ? span_usable(ptr) : guarded_or_large(ptr, word);
	uint32_t number = sample_take(rate, nbytes, usable);
	if (number == 0)
		sample_drop();
	else
		set_sample(ptr, number);
}

/* A span or large block that the program is about to get. */
static void *counted_big(void *ptr, size_t nbytes)
{
	uint64_t rate = sample_rate(), profile_rate;
	nbytes += nbytes == 0;
	if (QUARRY_COUNTING && ptr != NULL)
		counting_big(ptr, nbytes);
	if (unlikely(rate != 0) && ptr != NULL && sample_count_big(rate, nbytes) && sample_is_due(rate, nbytes) &&
	    (sample_whose(nbytes, &profile_rate) & SAMPLE_FOR_PROFILE) != 0)
		choose(profile_rate, ptr, nbytes);
	return ptr;
}

/* A block for a small request that was chosen: guarded, if that is what it was chosen for, else a span. The pages of a
 * guarded one lie where they are first written to, so that one for another node comes as ever. */
static void *allocate_chosen(unsigned node, size_t nbytes)
{
	size_t usable = QUARRY_HARDENED ? nbytes : sizeclass_nbytes(sizeclass_of(nbytes));
	uint64_t rate;
	unsigned whose = sample_whose(nbytes, &rate);
	void *ptr = NULL;
	bool zeroed;
	if ((whose & SAMPLE_FOR_GUARD) != 0 && node == thread_node() && guard_pace_allows())
		ptr = guard_alloc(node, usable);
	bool profiled = (whose & SAMPLE_FOR_PROFILE) != 0;
	if (ptr == NULL && profiled)
		ptr = allocate_big_on(node, usable, ALIGNMENT, &zeroed);
	if (ptr == NULL) {
		if (profiled)
			sample_drop();
		return NULL;
	}
	if (!QUARRY_HARDENED && address_map_word(ptr) == WORD_SPAN) /* what quarry_good_size promises */
		span_set_usable(ptr, usable);
	if (QUARRY_COUNTING)
		counting_big(ptr, nbytes);
	if (profiled)
		choose(rate, ptr, nbytes);
	return ptr;
}

/* The credit is used up. Where the request is chosen, its block; NULL: it is not, or none can be had. */
static cold_path void *malloc_due(unsigned node, size_t nbytes)
{
	uint64_t rate = sample_rate();
	int saved_errno = errno;
	if (rate == 0 || !sample_is_due(rate, nbytes))
		return NULL;
	void *ptr = allocate_chosen(node, nbytes);
	errno = saved_errno;
	return ptr;
}

/* A small request that takes a slow path anyway. NULL: it is not chosen. */
static void *counted_small(unsigned node, size_t nbytes)
{
	uint64_t rate = sample_rate();
	nbytes += nbytes == 0;
	return unlikely(rate != 0) && sample_count(rate, nbytes) ? malloc_due(node, nbytes) : NULL;
}

void entry_resized(void *ptr, size_t nbytes)
{
	uint32_t number = sample_of(ptr, address_map_word(ptr));
	if (number != 0) {
		set_sample(ptr, 0);
		sample_forget(number);
	}
	counted_big(ptr, nbytes);
}

/* --- slow entries ------------------------------------------------------------------------------------------------- */

/* A request that pools do not serve: above the threshold, or of an alignment that no class has. */
void *entry_malloc_big(size_t nbytes, size_t alignment, bool *zeroed)
{
	thread_follow_node();
	return counted_big(allocate_big_on(current_node(), nbytes, alignment, zeroed), nbytes);
}

void *entry_malloc_over(const struct node_set *over, size_t nbytes)
{
	void *ptr = large_alloc_over(over, nbytes);
	if (ptr == NULL && large_good_size(nbytes) != 0) {
		purge_all(0, true);
		ptr = large_alloc_over(over, nbytes);
	}
	leave_slow_path();
	return counted_big(ptr, nbytes);
}

static cold_path void report_written(struct block *block, unsigned szidx)
{
	size_t nbytes = sizeclass_nbytes(szidx);
	heap_report_misuse("write after free", block, address_map_word(block));
	memset(block, 0, nbytes);
}

/* What debug and hardened builds do with a block on its way to the program. */
static force_inline struct block *hand_out(struct block *block, unsigned szidx, size_t requested)
{
	if (!QUARRY_BLOCK_BITS || block == NULL)
		return block;
	pool_hold(block);
	if (QUARRY_COUNTING)
		counting_small(block, requested + (requested == 0));
	if (QUARRY_HARDENED) {
		size_t nbytes = sizeclass_nbytes(szidx);
		if (unlikely(!harden_is_wiped(block, nbytes, sizeof(*block))))
			report_written(block, szidx);
		memset(block, 0, sizeof(*block));
		harden_seal(block, nbytes, requested + (requested == 0));
	}
	return block;
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

size_t entry_usable(const void *ptr, uint32_t word)
{
	size_t nbytes = sizeclass_nbytes(word_szidx(word));
	if (!QUARRY_HARDENED || word_is_region(word))
		return entry_is_interior(ptr, word) ? 0 : nbytes;
	size_t requested = pool_is_held(ptr) ? harden_requested(ptr, nbytes) : 0;
	return requested == SIZE_MAX ? 0 : requested;
}

bool entry_reseal(void *ptr, uint32_t word, size_t nbytes)
{
	size_t room = sizeclass_nbytes(word_szidx(word)) - HARDEN_SEAL_NBYTES;
	if (nbytes > room)
		return false;
	harden_seal(ptr, room + HARDEN_SEAL_NBYTES, nbytes);
	return true;
}

static cold_path void *malloc_due_or_not(size_t nbytes, unsigned szidx)
{
	thread_follow_node();
	void *ptr = malloc_due(current_node(), nbytes);
	return ptr != NULL ? ptr : hand_out(allocate_small(szidx), szidx, nbytes);
}

void *entry_malloc_slow(size_t nbytes)
{
	return allocate_small(sizeclass_of(nbytes));
}

void *entry_malloc_class(unsigned szidx, size_t nbytes)
{
	struct block *block = cache_take(szidx);
	if (unlikely(block == NULL))
		block = allocate_small(szidx);
	return hand_out(block, szidx, nbytes);
}

void *entry_malloc_hardened(size_t nbytes)
{
	if (unlikely(!sample_passes(nbytes)) || unlikely(nbytes > TABLE_LIMIT - HARDEN_SEAL_NBYTES))
		return entry_malloc_medium(nbytes);
	unsigned szidx = sizeclass_of_tabled(nbytes + HARDEN_SEAL_NBYTES);
	struct block *block = cache_take(szidx);
	if (unlikely(block == NULL))
		block = allocate_small(szidx);
	return hand_out(block, szidx, nbytes);
}

/* A request whose class is not in the table, or 0. */
static __attribute__((noinline)) void *malloc_untabled(size_t nbytes)
{
	if (likely(nbytes <= sizeclass_limit - HARDEN_SEAL_NBYTES)) {
		unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
		uint64_t rate = sample_rate();
		nbytes += nbytes == 0;
		if (unlikely(rate != 0) && sample_count(rate, nbytes))
			return malloc_due_or_not(nbytes, szidx);
		return entry_malloc_class(szidx, nbytes);
	}
	bool zeroed;
	return entry_malloc_big(nbytes, ALIGNMENT, &zeroed);
}

/* While the profile is on every small request comes this way: without a frame, the rest by tail calls. */
void *entry_malloc_medium(size_t nbytes)
{
	uint64_t rate = sample_rate();
	if (likely(rate == 0) || nbytes - 1 >= TABLE_LIMIT || QUARRY_BLOCK_BITS)
		return malloc_untabled(nbytes);
	unsigned szidx = sizeclass_of_tabled(nbytes);
	if (sample_count(rate, nbytes))
		return malloc_due_or_not(nbytes, szidx);
	struct block *block = cache_take(szidx);
	return likely(block != NULL) ? block : allocate_small(szidx);
}

void *entry_malloc_on(unsigned node, size_t nbytes)
{
	bool zeroed;
	thread_follow_node();
	if (nbytes > sizeclass_limit - HARDEN_SEAL_NBYTES)
		return counted_big(allocate_big_on(node, nbytes, ALIGNMENT, &zeroed), nbytes);
	void *chosen = counted_small(node, nbytes);
	if (unlikely(chosen != NULL))
		return chosen;
	struct heap *heap = thread_heap(); /* the first free should find one, or each block would go home by itself */
	unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
	return hand_out(allocate_small_on(heap, node, szidx), szidx, nbytes);
}

void *entry_malloc_raw(size_t nbytes, bool *zeroed)
{
	unsigned node = thread_node();
	if (nbytes > sizeclass_limit - HARDEN_SEAL_NBYTES)
		return counted_big(allocate_big_on(node, nbytes, ALIGNMENT, zeroed), nbytes);
	*zeroed = false;
	void *chosen = counted_small(node, nbytes);
	if (unlikely(chosen != NULL))
		return chosen;
	unsigned szidx = sizeclass_of(nbytes + HARDEN_SEAL_NBYTES);
	return hand_out(allocate_small_on(NULL, node, szidx), szidx, nbytes);
}

void entry_overflow(uint32_t word)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	cache_overflow(heap, word_szidx(word));
	remote_unlock(heap);
	leave_slow_path();
}

void entry_report_misuse(const char *what, const void *ptr, uint32_t word)
{
	if (guard_is(word))
		guard_report_misuse(what, ptr);
	else
		heap_report_misuse(what, ptr, word);
}

static cold_path void free_twice(void *ptr, uint32_t word)
{
	entry_report_misuse("double free", ptr, word);
}

/* Is a block of another heap worth keeping? While this thread allocates the class and has little of it, and if it is of
 * this node. Without an announcement: a visitor changes these counts only while the thread is diverted. */
static force_inline bool is_wanted(const struct heap *heap, uint32_t word)
{
	unsigned szidx = word_szidx(word);
	return heap->classes[szidx].allocates && heap->cache.room[szidx] > (int32_t)(heap->cache.bound[szidx] / 2) &&
	       heap_node_by_id(word_owner(word)) == heap->node;
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

/* What follows is frequent where blocks go from thread to thread: leaves of one frame at most, the rest by tail calls. */

static cold_path void send_list_home(unsigned szidx)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	cache_flush_list(heap, szidx);
	remote_unlock(heap);
}

/* Onto the thread's list or into its outbox, under the lock of its heap. */
static force_inline void put_locked(struct heap *heap, struct block *block, uint32_t word)
{
	unsigned szidx = word_szidx(word);
	if (QUARRY_CHECKS &&
	    unlikely(heap->cache.head[szidx] == block || heap->outbox[cache_bucket(word_owner(word))].head == block)) {
		free_twice(block, word);
	} else if (word_owner(word) == heap->id || is_wanted(heap, word)) {
		if (cache_push(&heap->cache, szidx, block))
			cache_overflow(heap, szidx);
		else if (unlikely(word_owner(word) != heap->id && comes_of_age(heap, szidx)))
			cache_flush_list(heap, szidx);
	} else {
		cache_post(heap->outbox, block, word);
	}
}

/* The thread is diverted, or its outbox wants to be sent. */
static __attribute__((noinline)) void free_locked(struct block *block, uint32_t word)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	put_locked(heap, block, word);
	remote_unlock(heap);
	leave_slow_path();
}

/* Onto the thread's own list. */
static force_inline void keep(struct block *block, uint32_t word)
{
	unsigned szidx = word_szidx(word);
	struct heap *heap = cache_announce(szidx);
	if (unlikely(heap == &heap_empty))
		free_locked(block, word);
	else if (QUARRY_CHECKS && unlikely(heap->cache.head[szidx] == block))
		free_twice(block, word);
	else if (cache_push(&heap->cache, szidx, block))
		entry_overflow(word);
	else if (unlikely(comes_of_age(heap, szidx)))
		send_list_home(szidx);
}

/* Hardened: onto the list, for a block of the thread's own heap. */
static force_inline void keep_own(struct block *block, uint32_t word)
{
	struct heap *heap = cache_announce(word_szidx(word));
	if (unlikely(heap == &heap_empty))
		free_locked(block, word);
	else if (cache_push(&heap->cache, word_szidx(word), block))
		entry_overflow(word);
}

/* Into the outbox. */
static force_inline void post(struct block *block, uint32_t word)
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
		free_locked(block, word);
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
		memset(block, 0, nbytes);
	remote_push(word_owner(word), block, block, nbytes);
}

/* --- by way of the quarantine ------------------------------------------------------------------------------------- */

/* Under the lock: what must leave, goes on. */
static void relieve_quarantine(struct heap *heap)
{
	for (struct block *block; (block = quarantine_take(heap->quarantine, heap->quarantine->most)) != NULL;)
		put_locked(heap, block, address_map_word(block));
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
		put_locked(heap, block, word);
	relieve_quarantine(heap);
	remote_unlock(heap);
	leave_slow_path();
}

/* More than one had to leave: they go first, and then that one. */
static cold_path void free_with_others(struct block *block, uint32_t word)
{
	struct heap *heap = slot.heap;
	heap_lock(heap);
	claim_settle(heap);
	relieve_quarantine(heap);
	put_locked(heap, block, word);
	remote_unlock(heap);
	leave_slow_path();
}

static force_inline bool is_misplaced(const void *ptr, uint32_t word)
{
	return QUARRY_CHECKS && entry_is_interior(ptr, word);
}

static cold_path void free_of_region(void *ptr, uint32_t word)
{
	region_put(ptr, word);
	leave_slow_path();
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
	if (QUARRY_COUNTING && (is_span || (region_of(ptr, word) == NULL && guarded_or_large(ptr, word) != 0)))
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

static size_t usable_of(const void *ptr, uint32_t word)
{
	if (word_is_pool(word))
		return entry_usable(ptr, word);
	if (word == WORD_SPAN)
		return (uintptr_t)ptr % POOL_SIZE == 0 ? span_usable(ptr) : 0;
	return guarded_or_large(ptr, word);
}

void entry_free_checked(void *ptr, size_t nbytes, bool strict)
{
	uint32_t word = address_map_word(ptr);
	size_t usable = usable_of(ptr, word);
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

/* What is no block of a pool that a thread's heap has; or the caller's thread has no cache at the moment; or a misuse. */
static __attribute__((noinline)) void free_other(void *ptr, uint32_t word)
{
	if (!word_is_pool(word))
		free_big(ptr, word);
	else if (is_misplaced(ptr, word))
		entry_report_misuse("free of an interior pointer", ptr, word);
	else if (word_is_region(word))
		free_of_region(ptr, word);
	else if (!take_back(ptr, word))
		return;
	else if (QUARRY_HARDENED)
		quarantine_locked(ptr, word);
	else if (thread_heap() != NULL)
		free_locked(ptr, word);
	else
		send_home(ptr, word);
}

/* It waits, and what leaves for it goes where it belongs: mostly onto the thread's own list. */
static force_inline void free_hardened(struct block *block, uint32_t word, struct heap *heap)
{
	if (unlikely(!take_back(block, word)))
		return;
	harden_wipe(block, sizeclass_nbytes(word_szidx(word)));
	block = quarantine_put(heap->quarantine, block, &word);
	if (block == NULL)
		return;
	if (unlikely(quarantine_is_over(heap->quarantine)))
		free_with_others(block, word);
	else if (likely(word_owner(word) == heap->id))
		keep_own(block, word);
	else if (is_wanted(heap, word))
		keep(block, word);
	else
		post(block, word);
}

void entry_free_slow(void *ptr, uint32_t word, struct heap *heap)
{
	if (unlikely(heap == &heap_empty) || unlikely(word - WORD_OWNER >= WORD_REGION - WORD_OWNER) ||
	    (!QUARRY_HARDENED && unlikely(is_misplaced(ptr, word))))
		free_other(ptr, word);
	else if (QUARRY_HARDENED)
		free_hardened(ptr, word, heap);
	else if (!take_back(ptr, word))
		return;
	else if (is_wanted(heap, word) || (QUARRY_BLOCK_BITS && word_owner(word) == heap->id))
		keep(ptr, word);
	else
		post(ptr, word);
}

void entry_free_raw(void *ptr)
{
	uint32_t word = address_map_word(ptr);
	if (!word_is_pool(word))
		free_big(ptr, word);
	else if (is_misplaced(ptr, word))
		entry_report_misuse("free of an interior pointer", ptr, word);
	else if (word_is_region(word))
		free_of_region(ptr, word);
	else if (take_back(ptr, word))
		send_home(ptr, word);
}

/* NULL, foreign, or not aligned as any block is. */
void entry_free_stray(void *ptr)
{
	free_other(ptr, address_map_word(ptr));
}
