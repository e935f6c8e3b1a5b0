/* SPDX-License-Identifier: MIT */
/*
 * Large record: see large_record.h.
 */
#include "large_record.h"

#include "arena_list.h"
#include "large.h"
#include "meta.h"

#define relaxed memory_order_relaxed
#define CHUNK_RECORDS 256
#define CHUNKS (((uint32_t)1 << 23) / CHUNK_RECORDS)

struct lock large_lock; /* of everything below */
static struct record *_Atomic chunks[CHUNKS];
static uint32_t nrecords;
static struct record *spare, *kept;
static _Atomic size_t kept_nbytes; /* written under the lock */
INSPECTED(large_kept_total, kept_nbytes);

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Under the lock; NULL: make_spares is called for. */
static struct record *take_spare(void)
{
	struct record *record = spare;
	if (record != NULL) {
		spare = record->next;
		record->state = IN_HAND;
	}
	return record;
}

void record_put_spare(struct record *record)
{
	record->provider = NULL;
	record->state = SPARE;
	record->next = spare;
	spare = record;
}

static bool make_spares(unsigned node)
{
	struct record *chunk = meta_alloc(CHUNK_RECORDS * sizeof(*chunk), CACHE_LINE, node);
	if (chunk == NULL)
		return false;
	lock_take(&large_lock, LOCK_META);
	uint32_t first = nrecords;
	bool room = first / CHUNK_RECORDS < CHUNKS;
	if (room) {
		atomic_store_explicit(&chunks[first / CHUNK_RECORDS], chunk, memory_order_release);
		nrecords += CHUNK_RECORDS;
	}
	for (uint32_t i = CHUNK_RECORDS; room && i-- > 0;) {
		chunk[i].number = first + i;
		record_put_spare(&chunk[i]);
	}
	lock_drop(&large_lock, LOCK_META);
	return room;
}

struct record *record_obtain(unsigned node)
{
	for (;;) {
		lock_take(&large_lock, LOCK_META);
		struct record *record = take_spare();
		lock_drop(&large_lock, LOCK_META);
		if (record != NULL || !make_spares(node))
			return record;
	}
}

struct record *record_at(const void *ptr)
{
	uint32_t word = address_map_word(ptr);
	if ((word & WORD_NOT_A_POOL) == 0 || word_szidx(word) != WORD_LARGE || (uintptr_t)ptr % POOL_SIZE != 0)
		return NULL;
	uint32_t number = (word & ~WORD_NOT_A_POOL) >> WORD_PAYLOAD_SHIFT;
	return &atomic_load_explicit(&chunks[number / CHUNK_RECORDS], memory_order_acquire)[number % CHUNK_RECORDS];
}

void record_set_word(const struct record *record)
{
	address_map_set(record->address, 1, WORD_NOT_A_POOL | record->number << WORD_PAYLOAD_SHIFT | WORD_LARGE);
}

/* --- kept blocks ---------------------------------------------------------------------------------------------- */

bool record_stands_alone(const struct record *record)
{
	return record->node == LARGE_OVER || record->provider != NULL;
}

static bool adjoin(const struct record *low, const struct record *high)
{
	return low->address + low->nbytes == high->address && low->node == high->node && !record_stands_alone(low) &&
	       !record_stands_alone(high);
}

/* Insert by address and merge with neighbours, so that what was split for one block can serve a larger one. */
void record_keep(struct record *record, uint8_t stamp)
{
	struct record **link = &kept, *before = NULL;
	for (; *link != NULL && (*link)->address < record->address; link = &(*link)->next)
		before = *link;
	record->state = KEPT;
	record->stamp = stamp;
	record->next = *link;
	*link = record;
	record_count(&kept_nbytes, record->nbytes, 0);
	struct record *after = record->next;
	if (after != NULL && adjoin(record, after)) {
		record->nbytes += after->nbytes;
		record->next = after->next;
		record_put_spare(after);
	}
	if (before != NULL && adjoin(before, record)) {
		before->nbytes += record->nbytes;
		before->stamp = record->stamp;
		before->next = record->next;
		record_put_spare(record);
	}
}

static void unlink_kept(struct record *record)
{
	struct record **link = &kept;
	while (*link != record)
		link = &(*link)->next;
	*link = record->next;
	record->state = IN_HAND;
	record_count(&kept_nbytes, 0, record->nbytes);
}

/* What it has too much stays kept, if there is a record for it. */
struct record *record_take_kept(unsigned node, size_t nbytes, size_t alignment)
{
	struct record *best = NULL;
	for (struct record *record = kept; record != NULL; record = record->next)
		if (record->nbytes >= nbytes && record->node == node && record->provider == NULL &&
		    (uintptr_t)record->address % alignment == 0 && (best == NULL || record->nbytes < best->nbytes))
			best = record;
	if (best == NULL)
		return NULL;
	unlink_kept(best);
	struct record *rest = best->nbytes > nbytes ? take_spare() : NULL;
	if (rest != NULL) {
		rest->address = best->address + nbytes;
		rest->nbytes = best->nbytes - nbytes;
		rest->node = best->node;
		best->nbytes = nbytes;
		record_keep(rest, best->stamp);
	}
	return best;
}

bool record_absorb(struct record *record, size_t nbytes)
{
	size_t more = nbytes - record->nbytes;
	struct record *next = kept;
	while (next != NULL && next->address != record->address + record->nbytes)
		next = next->next;
	if (next == NULL || next->nbytes < more || !adjoin(record, next))
		return false;
	unlink_kept(next);
	next->address += more;
	next->nbytes -= more;
	if (next->nbytes == 0)
		record_put_spare(next);
	else
		record_keep(next, next->stamp);
	return true;
}

bool record_cut(struct record *record, size_t nbytes)
{
	struct record *rest = record_stands_alone(record) ? NULL : take_spare();
	if (rest == NULL)
		return false;
	rest->address = record->address + nbytes;
	rest->nbytes = record->nbytes - nbytes;
	rest->node = record->node;
	record_keep(rest, arena_list_tick());
	return true;
}

struct record *record_take_old(uint8_t age, const char *from)
{
	lock_take(&large_lock, LOCK_META);
	struct record *record = kept;
	while (record != NULL && (record->address < from || (uint8_t)(arena_list_tick() - record->stamp) < age))
		record = record->next;
	if (record != NULL)
		unlink_kept(record);
	lock_drop(&large_lock, LOCK_META);
	return record;
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

static bool describe(const struct record *record, struct large_block *block)
{
	if (record->state != LIVE) /* then its fields are of whoever has it in hand */
		return false;
	size_t usable = QUARRY_HARDENED ? record->requested : record->nbytes;
	*block = (struct large_block){record->address, record->nbytes, record->node, usable};
	return true;
}

bool large_at(const void *ptr, struct large_block *block)
{
	const struct record *record = record_at(ptr);
	return record != NULL && describe(record, block);
}

bool large_next(uint32_t *number, struct large_block *block)
{
	bool found = false;
	lock_take(&large_lock, LOCK_META);
	for (; *number < nrecords && !found; (*number)++)
		found = describe(&chunks[*number / CHUNK_RECORDS][*number % CHUNK_RECORDS], block);
	lock_drop(&large_lock, LOCK_META);
	return found;
}

bool large_find(const void *ptr, struct large_block *block)
{
	const char *address = ptr;
	for (uint32_t number = 0; large_next(&number, block);)
		if (address >= block->address && address < block->address + block->nbytes)
			return true;
	return false;
}

size_t large_kept_nbytes(void)
{
	return atomic_load_explicit(&kept_nbytes, relaxed);
}

void large_lock_for_fork(void)
{
	lock_take(&large_lock, LOCK_META);
}

void large_unlock_after_fork(bool in_child)
{
	lock_after_fork(&large_lock, LOCK_META, in_child);
}
