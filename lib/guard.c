/* SPDX-License-Identifier: MIT */
/*
 * Guard: see guard.h.
 */
#include "guard.h"

#include <string.h>

#include "guard_pace.h"
#include "guard_report.h"
#include "limit.h"
#include "meta.h"
#include "options.h"
#include "os.h"
#include "sample.h"
#include "unwind.h"

#define relaxed memory_order_relaxed

/* Fills what of an open page is not the block. */
#define PAINT 0xb5
/* One block in so many begins with its slot. */
#define LEFT_PART 4

enum { NONE, MAKING, READY, REFUSED };

struct guard_pool guard_pool;
struct lock guard_lock; /* of everything below but the pool's state */
static _Atomic int pool_state;
static uint32_t first_free, last_free; /* the ring: numbers, from 1 */
static _Atomic size_t live_nbytes, open_nbytes; /* written under the lock */
static _Atomic uint64_t ntaken, nfull;

/* --- places ------------------------------------------------------------------------------------------------------- */

static size_t slot_nbytes(void)
{
	size_t page = os_page_size();
	return page > GUARD_SLOT_NBYTES ? page : GUARD_SLOT_NBYTES;
}

static uint32_t number_of(const struct guard_slot *slot)
{
	return (uint32_t)(slot - guard_pool.slots) + 1;
}

char *guard_start_of(const struct guard_slot *slot)
{
	return guard_pool.start + (2 * (size_t)(slot - guard_pool.slots) + 1) * guard_pool.slot_nbytes;
}

struct guard_slot *guard_slot_near(const void *ptr)
{
	size_t number = (size_t)((const char *)ptr - guard_pool.start) / (2 * guard_pool.slot_nbytes);
	return &guard_pool.slots[number < guard_pool.nslots ? number : guard_pool.nslots - 1];
}

/* What of the slot is open for the block: whole pages. */
static char *open_start(const struct guard_slot *slot)
{
	return (char *)((uintptr_t)slot->address & ~(os_page_size() - 1));
}

static char *open_end(const struct guard_slot *slot)
{
	return (char *)round_up((uintptr_t)slot->address + slot->nbytes, os_page_size());
}

/* --- the pool ----------------------------------------------------------------------------------------------------- */

static void add(_Atomic size_t *sum, size_t added, size_t removed)
{
	atomic_store_explicit(sum, atomic_load_explicit(sum, relaxed) + added - removed, relaxed);
}

/* Under the lock. */
static void put_last(struct guard_slot *slot)
{
	uint32_t number = number_of(slot);
	slot->next = 0;
	if (last_free == 0)
		first_free = number;
	else
		guard_pool.slots[last_free - 1].next = number;
	last_free = number;
	atomic_store_explicit(&slot->state, GUARD_FREE, relaxed);
}

static bool make_pool(void)
{
	uint32_t nslots = options.guard_slots;
	size_t part = slot_nbytes(), unit = 2 * part > POOL_SIZE ? 2 * part : POOL_SIZE;
	size_t nbytes = round_up((2 * (size_t)nslots + 1) * part, unit);
	struct guard_slot *slots = meta_alloc(nslots * sizeof(*slots), CACHE_LINE, 0);
	char *start = slots == NULL || !limit_allows(part) ? NULL : address_map_place(nbytes, unit);
	if (start == NULL)
		return false;
	if (!os_forbid(start, nbytes)) {
		os_unmap(start, nbytes);
		return false;
	}
	os_refuse_huge_pages(start, nbytes);
	guard_pool.nbytes = nbytes;
	guard_pool.slot_nbytes = part;
	guard_pool.nslots = nslots;
	guard_pool.slots = slots;
	atomic_store_explicit(&guard_pool.start, start, memory_order_release);
	address_map_set(start, nbytes >> QUARRY_POOL_BITS, WORD_GUARD);
	lock_take(&guard_lock, LOCK_META);
	for (uint32_t i = 0; i < nslots; i++)
		put_last(&slots[i]);
	lock_drop(&guard_lock, LOCK_META);
	guard_catch_faults();
	return true;
}

/* Made by the first thread that wants it; who comes meanwhile does without. */
static bool is_ready(void)
{
	int state = atomic_load_explicit(&pool_state, memory_order_acquire);
	if (state == NONE && atomic_compare_exchange_strong(&pool_state, &state, MAKING)) {
		state = make_pool() ? READY : REFUSED;
		atomic_store_explicit(&pool_state, state, memory_order_release);
	}
	return state == READY;
}

void guard_at_start(void)
{
	if (options.guard_sample != 0)
		guard_pace_begin(options.guard_sample);
}

/* --- slots -------------------------------------------------------------------------------------------------------- */

static struct guard_slot *take_slot(void)
{
	struct guard_slot *slot = NULL;
	lock_take(&guard_lock, LOCK_META);
	if (first_free != 0) {
		slot = &guard_pool.slots[first_free - 1];
		first_free = slot->next;
		last_free = first_free == 0 ? 0 : last_free;
		atomic_store_explicit(&slot->state, GUARD_IN_HAND, relaxed);
	}
	lock_drop(&guard_lock, LOCK_META);
	return slot;
}

bool guard_lose(struct guard_slot *slot)
{
	uint32_t number = number_of(slot), before = 0, at = first_free;
	if (atomic_load_explicit(&slot->state, relaxed) != GUARD_FREE)
		return false;
	for (; at != number; at = guard_pool.slots[at - 1].next)
		before = at;
	if (before == 0)
		first_free = slot->next;
	else
		guard_pool.slots[before - 1].next = slot->next;
	if (last_free == number)
		last_free = before;
	atomic_store_explicit(&slot->state, GUARD_LOST, relaxed);
	return true;
}

/* In hand: has so many bytes of pages from now on. */
static void set_open(struct guard_slot *slot, size_t nbytes)
{
	lock_take(&guard_lock, LOCK_META);
	add(&open_nbytes, nbytes, slot->open_nbytes);
	limit_charge(LIMIT_GUARD, nbytes, slot->open_nbytes);
	slot->open_nbytes = nbytes;
	lock_drop(&guard_lock, LOCK_META);
}

/* In hand: without pages, where the system allows it. */
static void clean(struct guard_slot *slot)
{
	if (slot->open_nbytes > 0 && os_purge(guard_start_of(slot), guard_pool.slot_nbytes))
		set_open(slot, 0);
}

static void place(struct guard_slot *slot, size_t nbytes)
{
	char *start = guard_start_of(slot), *last = start + guard_pool.slot_nbytes - nbytes;
	bool left = sample_random() % LEFT_PART == 0;
	slot->address = left ? start : (char *)((uintptr_t)last & ~(ALIGNMENT - 1));
	slot->nbytes = nbytes;
}

static bool open_slot(struct guard_slot *slot, size_t nbytes)
{
	if (slot->ajar && !os_forbid(guard_start_of(slot), guard_pool.slot_nbytes))
		return false;
	slot->ajar = false;
	clean(slot);
	if (!limit_allows(guard_pool.slot_nbytes))
		return false;
	place(slot, nbytes);
	size_t length = (size_t)(open_end(slot) - open_start(slot));
	if (!os_commit(open_start(slot), length))
		return false;
	set_open(slot, slot->open_nbytes == 0 ? length : guard_pool.slot_nbytes);
	return true;
}

static void paint(const struct guard_slot *slot)
{
	char *end = slot->address + slot->nbytes;
	memset(open_start(slot), PAINT, (size_t)(slot->address - open_start(slot)));
	memset(end, PAINT, (size_t)(open_end(slot) - end));
}

static bool is_painted(const char *start, const char *end)
{
	return start == end ||
	       (*(const unsigned char *)start == PAINT && memcmp(start, start + 1, (size_t)(end - start - 1)) == 0);
}

/* What was written beside the block; NULL: nothing. */
static const char *find_damage(const struct guard_slot *slot)
{
	if (!is_painted(slot->address + slot->nbytes, open_end(slot)))
		return "overflow, found by free,";
	return is_painted(open_start(slot), slot->address) ? NULL : "underflow, found by free,";
}

void guard_note(struct guard_trace *trace)
{
	trace->thread = os_thread_id();
	trace->nframes = unwind_stack(trace->frames, GUARD_FRAMES);
}

/* In hand no longer. */
static void leave(struct guard_slot *slot, enum guard_state state)
{
	lock_take(&guard_lock, LOCK_META);
	if (state == GUARD_LIVE)
		add(&live_nbytes, slot->nbytes, 0);
	if (state == GUARD_FREE)
		put_last(slot);
	else
		atomic_store_explicit(&slot->state, (uint32_t)state, relaxed);
	lock_drop(&guard_lock, LOCK_META);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

void *guard_alloc(unsigned node, size_t nbytes)
{
	if (nbytes > slot_nbytes() || !is_ready())
		return NULL;
	struct guard_slot *slot = take_slot();
	if (slot == NULL) {
		atomic_fetch_add_explicit(&nfull, 1, relaxed);
		return NULL;
	}
	slot->allocated.thread = slot->freed.thread = 0;
	slot->sample = 0;
	slot->node = (uint16_t)node;
	if (!open_slot(slot, nbytes)) {
		leave(slot, GUARD_FREE);
		return NULL;
	}
	paint(slot);
	guard_note(&slot->allocated);
	atomic_fetch_add_explicit(&ntaken, 1, relaxed);
	leave(slot, GUARD_LIVE);
	return slot->address;
}

/* The slot whose live block starts at ptr, in hand now; NULL: none does. */
static struct guard_slot *take_back(const void *ptr)
{
	struct guard_slot *slot = guard_slot_near(ptr);
	lock_take(&guard_lock, LOCK_META);
	bool live = atomic_load_explicit(&slot->state, relaxed) == GUARD_LIVE && slot->address == ptr;
	if (live) {
		atomic_store_explicit(&slot->state, GUARD_IN_HAND, relaxed);
		add(&live_nbytes, 0, slot->nbytes);
	}
	lock_drop(&guard_lock, LOCK_META);
	return live ? slot : NULL;
}

void guard_free(void *ptr)
{
	struct guard_slot *slot = take_back(ptr);
	if (slot == NULL) {
		bool twice = guard_slot_near(ptr)->address == ptr;
		guard_report_misuse(twice ? "double free" : "free of an interior pointer", ptr);
		return;
	}
	const char *damage = find_damage(slot);
	if (damage != NULL) {
		leave(slot, GUARD_LIVE);
		guard_report_misuse(damage, ptr);
		return;
	}
	uint32_t sample = slot->sample;
	guard_note(&slot->freed);
	slot->ajar = !os_forbid(guard_start_of(slot), guard_pool.slot_nbytes);
	leave(slot, GUARD_FREE);
	if (sample != 0)
		sample_forget(sample);
}

/* A block's holder asks, or somebody who is mistaken. */
static struct guard_slot *live_at(const void *ptr)
{
	struct guard_slot *slot = guard_slot_near(ptr);
	bool live = atomic_load_explicit(&slot->state, relaxed) == GUARD_LIVE && slot->address == ptr;
	return live ? slot : NULL;
}

size_t guard_usable(const void *ptr)
{
	const struct guard_slot *slot = live_at(ptr);
	return slot == NULL ? 0 : slot->nbytes;
}

uint32_t guard_sample(const void *ptr)
{
	const struct guard_slot *slot = live_at(ptr);
	return slot == NULL ? 0 : slot->sample;
}

void guard_set_sample(void *ptr, uint32_t number)
{
	live_at(ptr)->sample = number;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* Under the lock. */
static bool describe(const struct guard_slot *slot, struct guard_block *block)
{
	if (atomic_load_explicit(&slot->state, relaxed) != GUARD_LIVE)
		return false;
	*block = (struct guard_block){slot->address, slot->nbytes, slot->node};
	return true;
}

bool guard_find(const void *ptr, struct guard_block *block)
{
	lock_take(&guard_lock, LOCK_META);
	bool found = describe(guard_slot_near(ptr), block);
	lock_drop(&guard_lock, LOCK_META);
	return found && (uintptr_t)ptr - (uintptr_t)block->address < block->nbytes;
}

bool guard_next(uint32_t *number, struct guard_block *block)
{
	bool found = false;
	if (atomic_load_explicit(&guard_pool.start, memory_order_acquire) == NULL)
		return false;
	lock_take(&guard_lock, LOCK_META);
	for (; *number < guard_pool.nslots && !found; (*number)++)
		found = describe(&guard_pool.slots[*number], block);
	lock_drop(&guard_lock, LOCK_META);
	return found;
}

struct guard_sums guard_sums(void)
{
	struct guard_sums sums = {0};
	if (atomic_load_explicit(&guard_pool.start, memory_order_acquire) == NULL)
		return sums;
	lock_take(&guard_lock, LOCK_META);
	sums.mapped = guard_pool.nbytes;
	sums.live = live_nbytes;
	sums.open = open_nbytes;
	lock_drop(&guard_lock, LOCK_META);
	sums.taken = atomic_load_explicit(&ntaken, relaxed);
	sums.full = atomic_load_explicit(&nfull, relaxed);
	return sums;
}

/* Each slot that is free now, in its turn, so that they are used again in the same order. */
void guard_purge(void)
{
	struct guard_slot *slot;
	if (atomic_load_explicit(&guard_pool.start, memory_order_acquire) == NULL)
		return;
	lock_take(&guard_lock, LOCK_META);
	uint32_t last = last_free;
	lock_drop(&guard_lock, LOCK_META);
	for (uint32_t i = 0; last != 0 && i < guard_pool.nslots && (slot = take_slot()) != NULL; i++) {
		clean(slot);
		leave(slot, GUARD_FREE);
		if (number_of(slot) == last)
			break;
	}
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

void guard_lock_for_fork(void)
{
	lock_take(&guard_lock, LOCK_META);
}

void guard_unlock_after_fork(bool in_child)
{
	lock_after_fork(&guard_lock, LOCK_META, in_child);
}

void guard_after_fork_child(void)
{
	if (pool_state == MAKING)
		pool_state = NONE; /* what was mapped of it is lost */
	for (uint32_t i = 0; pool_state == READY && i < guard_pool.nslots; i++) {
		struct guard_slot *slot = &guard_pool.slots[i];
		if (slot->state != GUARD_IN_HAND)
			continue;
		slot->ajar = !os_forbid(guard_start_of(slot), guard_pool.slot_nbytes);
		leave(slot, GUARD_FREE);
	}
}
