/* SPDX-License-Identifier: MIT */
/*
 * Large: see large.h.
 */
#include "large.h"

#include <errno.h>
#include <sys/single_threaded.h>

#include "arena_list.h"
#include "harden.h"
#include "large_record.h"
#include "node.h"
#include "options.h"
#include "os.h"
#include "probe.h"
#include "report.h"

#define relaxed memory_order_relaxed

/* Kept blocks come to at most what is live, and may always come to this much. */
#define KEPT_LEAST_NBYTES ((size_t)64 << 20)

/* A node need not have room for more than this of a block, of which little may be touched. */
#define ROOM_MOST_NBYTES ((size_t)1 << 30)

/* Hardened: bytes that nobody can read or write, on both sides of a block; more before one of a higher alignment. */
#define FENCE_NBYTES ((size_t)(QUARRY_HARDENED ? 65536 : 0))

static _Atomic size_t live_nbytes; /* written under the lock */
INSPECTED(large_live_total, live_nbytes);

size_t large_good_size(size_t nbytes)
{
	size_t step = os_page_size() > POOL_SIZE || QUARRY_HARDENED ? os_page_size() : POOL_SIZE;
	return nbytes > PTRDIFF_MAX - step ? 0 : round_up(nbytes, step);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static void *make_live(struct record *record)
{
	lock_take(&large_lock, LOCK_META);
	record->state = LIVE;
	record->sample = 0;
	record->owner = NULL;
	record->split = false;
	record_count(&live_nbytes, record->nbytes, 0);
	lock_drop(&large_lock, LOCK_META);
	record_set_word(record);
	return record->address;
}

/* Hardened, with fences, unless the memory is a provider's, which gives units. Where the system refuses to close them
 * there are none. */
static bool map_between(struct record *record, unsigned node, size_t nbytes, size_t alignment)
{
	record->lead = 0;
	record->nbytes = round_up(nbytes, POOL_SIZE);
	record->address = node < NODE_PLACES ? provider_map(node, record->nbytes, alignment, &record->provider) : NULL;
	if (record->provider != NULL)
		return record->address != NULL;
	record->nbytes = nbytes;
	size_t lead = QUARRY_HARDENED ? round_up(FENCE_NBYTES, alignment) : 0;
	char *base = address_map_place(lead + nbytes + FENCE_NBYTES, alignment);
	if (base == NULL)
		return false;
	record->lead = lead;
	record->address = base + lead;
	if (QUARRY_HARDENED) {
		os_forbid(base, lead);
		os_forbid(record->address + nbytes, FENCE_NBYTES);
	}
	return true;
}

/* A mapping that is not bound yet. NULL with ENOMEM. */
static struct record *map_block(unsigned node, size_t nbytes, size_t alignment)
{
	if (!limit_allows(nbytes)) {
		errno = ENOMEM;
		return NULL;
	}
	struct record *record = record_obtain(node < NODE_PLACES ? node : node_current());
	if (record == NULL)
		return NULL;
	if (!map_between(record, node, nbytes, alignment)) {
		lock_take(&large_lock, LOCK_META);
		record_put_spare(record);
		lock_drop(&large_lock, LOCK_META);
		return NULL;
	}
	record->node = (uint16_t)node;
	if (record->provider == NULL && options.huge_pages == OPTION_HUGE_PAGES_NEVER)
		os_refuse_huge_pages(record->address, nbytes);
	else if (record->provider == NULL && options.huge_pages == OPTION_HUGE_PAGES_ALWAYS)
		os_want_huge_pages(record->address, nbytes);
	PROBE3(large_map, record->address, nbytes, node);
	return record;
}

/* Hardened, nothing is kept that could be used again. */
static struct record *reuse(unsigned node, size_t nbytes, size_t alignment)
{
	if (QUARRY_HARDENED)
		return NULL;
	lock_take(&large_lock, LOCK_META);
	struct record *record = record_take_kept(node, nbytes, alignment);
	lock_drop(&large_lock, LOCK_META);
	return record;
}

static void set_requested(struct record *record, size_t requested)
{
	record->requested = requested;
	if (QUARRY_HARDENED)
		harden_paint(record->address + requested, record->nbytes - requested);
}

void *large_alloc(unsigned node, size_t nbytes, size_t alignment, bool *zeroed)
{
	size_t requested = nbytes;
	nbytes = large_good_size(nbytes);
	alignment = alignment < POOL_SIZE ? POOL_SIZE : alignment;
	if (nbytes == 0) {
		errno = ENOMEM;
		return NULL;
	}
	struct record *record = reuse(node, nbytes, alignment);
	unsigned roomy = node;
	if (record == NULL && provider_of(node) == NULL)
		roomy = node_with_room(node, nbytes < ROOM_MOST_NBYTES ? nbytes : ROOM_MOST_NBYTES);
	if (roomy != node)
		record = reuse(roomy, nbytes, alignment);
	*zeroed = record == NULL;
	if (record == NULL) {
		record = map_block(roomy, nbytes, alignment);
		if (record == NULL)
			return NULL;
		if (record->provider == NULL)
			node_bind(record->address, nbytes, roomy);
		else
			*zeroed = (record->provider->flags & QUARRY_PROVIDER_ZEROED) != 0;
	}
	if (roomy != node)
		node_count_event(&node_counters[node].spills, 1);
	set_requested(record, requested);
	return make_live(record);
}

void *large_alloc_over(const struct node_set *over, size_t nbytes)
{
	size_t requested = nbytes;
	nbytes = large_good_size(nbytes);
	if (nbytes == 0) {
		errno = ENOMEM;
		return NULL;
	}
	struct record *record = map_block(LARGE_OVER, nbytes, POOL_SIZE);
	if (record == NULL)
		return NULL;
	node_bind_over(record->address, nbytes, over);
	set_requested(record, requested);
	return make_live(record);
}

/* A record in hand. Where the system refuses, the block is kept and tried again with time. */
static bool unmap_block(struct record *record)
{
	bool unmapped = QUARRY_HARDENED && record->provider == NULL
				? os_unmap(record->address - record->lead, record->lead + record->nbytes + FENCE_NBYTES)
				: provider_unmap(record->provider, record->address, record->nbytes);
	lock_take(&large_lock, LOCK_META);
	if (unmapped)
		record_put_spare(record);
	else
		record_keep(record, arena_list_tick());
	lock_drop(&large_lock, LOCK_META);
	return unmapped;
}

struct span_owner *large_owner(const void *ptr)
{
	const struct record *record = record_at(ptr);
	return record == NULL ? NULL : record->owner;
}

void large_set_owner(void *ptr, struct span_owner *owner)
{
	record_at(ptr)->owner = owner;
}

struct pool_link *large_link(void *ptr)
{
	return &record_at(ptr)->link;
}

void *large_of_link(struct pool_link *link)
{
	return container_of(link, struct record, link)->address;
}

uint32_t large_sample(const void *ptr)
{
	const struct record *record = record_at(ptr);
	return record == NULL ? 0 : record->sample;
}

void large_set_sample(void *ptr, uint32_t number)
{
	record_at(ptr)->sample = number;
}

/* --- hardened: freed blocks wait, closed and without pages ------------------------------------------------------- */

#define HELD_BLOCKS 16
#define HELD_MOST_NBYTES ((size_t)8 << 20)
static struct record *_Atomic held[HELD_BLOCKS];

static void hold(struct record *record)
{
	if (record->provider == NULL && record->nbytes <= HELD_MOST_NBYTES && os_purge(record->address, record->nbytes) &&
	    os_forbid(record->address, record->nbytes))
		record = atomic_exchange(&held[harden_below(HELD_BLOCKS)], record);
	if (record != NULL)
		unmap_block(record);
}

void large_release_held(void)
{
	for (unsigned i = 0; QUARRY_HARDENED && i < HELD_BLOCKS; i++) {
		struct record *record = atomic_exchange(&held[i], NULL);
		if (record != NULL)
			unmap_block(record);
	}
}

static bool free_hardened(struct record *record)
{
	lock_take(&large_lock, LOCK_META);
	bool was_live = record->state == LIVE;
	if (was_live)
		record->state = IN_HAND;
	lock_drop(&large_lock, LOCK_META);
	if (!was_live)
		return false;
	if (!harden_is_painted(record->address + record->requested, record->nbytes - record->requested)) {
		report_fault("overflow, found by free,", record->address, NULL);
		record->state = LIVE;
		return true;
	}
	address_map_set(record->address, 1, 0);
	lock_take(&large_lock, LOCK_META);
	record_count(&live_nbytes, 0, record->nbytes);
	lock_drop(&large_lock, LOCK_META);
	hold(record);
	return true;
}

/* ------------------------------------------------------------------------------------------------------------------ */

bool large_free(void *ptr)
{
	struct record *record = record_at(ptr);
	if (record == NULL)
		return false;
	if (QUARRY_HARDENED)
		return free_hardened(record);
	address_map_set(ptr, 1, 0);
	lock_take(&large_lock, LOCK_META);
	bool was_live = record->state == LIVE, alone = record_stands_alone(record);
	if (was_live) {
		record_count(&live_nbytes, 0, record->nbytes);
		if (alone)
			record->state = IN_HAND;
		else
			record_keep(record, arena_list_tick());
	}
	lock_drop(&large_lock, LOCK_META);
	if (was_live && alone)
		unmap_block(record);
	size_t live = large_live_nbytes(), most = live > KEPT_LEAST_NBYTES ? live : KEPT_LEAST_NBYTES;
	if (large_kept_nbytes() > most)
		large_purge(0, large_kept_nbytes() - most);
	return was_live;
}

size_t large_usable(const void *ptr)
{
	const struct record *record = record_at(ptr);
	return record == NULL ? 0 : QUARRY_HARDENED ? record->requested : record->nbytes;
}

static void set_extent(struct record *record, char *address, size_t nbytes)
{
	lock_take(&large_lock, LOCK_META);
	record_count(&live_nbytes, nbytes, record->nbytes);
	record->address = address;
	record->nbytes = nbytes;
	lock_drop(&large_lock, LOCK_META);
}

bool large_resize(void *ptr, size_t nbytes)
{
	size_t requested = nbytes;
	struct record *record = record_at(ptr);
	nbytes = large_good_size(nbytes);
	if (QUARRY_HARDENED && record != NULL && nbytes == record->nbytes)
		set_requested(record, requested);
	if (record == NULL || nbytes == 0 || record->provider != NULL || QUARRY_HARDENED)
		return record != NULL && nbytes == record->nbytes;
	lock_take(&large_lock, LOCK_META);
	bool done = nbytes == record->nbytes ||
		    (nbytes > record->nbytes ? record_absorb(record, nbytes) : record_cut(record, nbytes));
	if (done) {
		record_count(&live_nbytes, nbytes, record->nbytes);
		record->nbytes = nbytes;
	}
	lock_drop(&large_lock, LOCK_META);
	if (!done && nbytes > record->nbytes && !limit_allows(nbytes - record->nbytes))
		return false;
	/* What the kernel adds may be split off and start a block one day: its words must be writable. */
	if (done || !address_map_cover(ptr, nbytes) || !os_resize(ptr, record->nbytes, nbytes, &record->split))
		return done;
	set_extent(record, ptr, nbytes);
	return true;
}

/* The target of a move that failed. Where the kernel lacked memory, an older one has unmapped it, and another thread
 * may have mapped there since: then rather lose addresses than another's pages. */
static void give_up(char *target, size_t nbytes)
{
	bool ours = errno != ENOMEM && errno != EFAULT && errno != EAGAIN;
	if (ours || __libc_single_threaded || os_map_exactly(target, nbytes) != NULL)
		os_unmap(target, nbytes);
}

void *large_move(void *ptr, size_t nbytes)
{
	struct record *record = record_at(ptr);
	nbytes = large_good_size(nbytes);
	if (record == NULL || nbytes == 0 || record->split || record->provider != NULL || QUARRY_HARDENED)
		return NULL;
	if (nbytes > record->nbytes && !limit_allows(nbytes - record->nbytes))
		return NULL;
	char *target = address_map_place(nbytes, POOL_SIZE);
	if (target == NULL)
		return NULL;
	int saved_errno = errno;
	/* The old addresses are anybody's once they are unmapped: the word goes first. */
	address_map_set(ptr, 1, 0);
	if (!os_move(ptr, record->nbytes, target, nbytes)) {
		give_up(target, nbytes);
		errno = saved_errno;
		record_set_word(record);
		return NULL;
	}
	set_extent(record, target, nbytes);
	record_set_word(record);
	return target;
}

/* --- giving back ------------------------------------------------------------------------------------------------ */

size_t large_purge(uint8_t age, size_t nbytes)
{
	size_t purged = 0;
	const char *from = NULL; /* what is refused is not tried again before the next call, and in nobody's way */
	while (purged < nbytes) {
		struct record *record = record_take_old(age, from);
		if (record == NULL)
			break;
		size_t length = record->nbytes;
		from = record->address + length;
		if (unmap_block(record))
			purged += length;
	}
	return purged;
}

size_t large_live_nbytes(void)
{
	return atomic_load_explicit(&live_nbytes, relaxed);
}
