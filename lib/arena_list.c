/* SPDX-License-Identifier: MIT */
/*
 * Arena list: see arena_list.h.
 */
#include "arena_list.h"

#include <pthread.h>

#include "address_map.h"
#include "limit.h"
#include "lock.h"
#include "meta.h"
#include "node.h"
#include "os.h"
#include "probe.h"

#define relaxed memory_order_relaxed
#define BUCKETS 32 /* usable arenas by free units; bucket 0 is the fullest, the last one holds empty arenas too */

struct node_arenas {
	struct lock lock;                             /* of all below, and of the node's arena_objects */
	uint32_t occupied;                            /* bit per bucket that is not empty */
	struct arena_object *usable_arenas[BUCKETS];
	_Atomic bool exhausted;                       /* the last mapping was refused: others may help out */
	_Atomic uint64_t full_until;                  /* the same until then (ms): the node had no room for an arena */
	_Atomic size_t ndirty;                        /* sum over the node's arenas; written under lock */
} __attribute__((aligned(FALSE_SHARING_RANGE)));

static struct node_arenas node_arenas[NODE_PLACES];
struct arena_list_counters arena_list_counters;

static struct lock list_lock; /* of unused_arena_objects and of changes to all_arenas */
static struct lock reader_lock; /* rank LIST as well, never held with list_lock */
static struct arena_object *unused_arena_objects;
static unsigned npins;                   /* under list_lock */
static bool has_rcu_readers;             /* under list_lock; stays once set */
/* Retired, chained by nextarena, under list_lock: readers may still look; to be unmapped. */
static struct arena_object *in_grace, *past_grace;
static CDS_LIST_HEAD(all_arenas);
INSPECTED(arena_list_head, all_arenas);
static char *_Atomic lowest_base; /* where the next arena is asked for: just below */
static _Atomic uint8_t tick_now;
static _Atomic unsigned turn; /* of the node whose turn is next, under NODE_SPREAD */

/* So long a node without room is taken for full, then it is looked at again. */
#define FULL_MS 1000

uint8_t arena_list_tick(void)
{
	return atomic_load_explicit(&tick_now, relaxed);
}

void arena_list_set_tick(uint8_t tick)
{
	atomic_store_explicit(&tick_now, tick, relaxed);
}

static int bucket_of(const struct arena_object *arena)
{
	uint32_t nfree = atomic_load_explicit(&arena->nfreepools, relaxed);
	if (arena_is_empty(arena))
		return BUCKETS - 1;
	return nfree == 0 ? -1 : (int)((nfree - 1) * (uint64_t)BUCKETS / arena->ntotalpools);
}

static void unlist(struct node_arenas *on, struct arena_object *arena)
{
	if (arena->nextarena != NULL)
		arena->nextarena->prevarena = arena->prevarena;
	if (arena->prevarena != NULL)
		arena->prevarena->nextarena = arena->nextarena;
	else
		on->usable_arenas[arena->bucket] = arena->nextarena;
	if (on->usable_arenas[arena->bucket] == NULL)
		on->occupied &= ~((uint32_t)1 << arena->bucket);
	arena->bucket = -1;
}

/* Put the arena where its number of free units belongs; under its node's lock, after each change of that number. */
static void relist(struct node_arenas *on, struct arena_object *arena)
{
	int bucket = bucket_of(arena);
	if (bucket == arena->bucket)
		return;
	if (arena->bucket >= 0)
		unlist(on, arena);
	if (bucket < 0)
		return;
	arena->bucket = bucket;
	arena->prevarena = NULL;
	arena->nextarena = on->usable_arenas[bucket];
	if (arena->nextarena != NULL)
		arena->nextarena->prevarena = arena;
	on->usable_arenas[bucket] = arena;
	on->occupied |= (uint32_t)1 << bucket;
}

struct amounts {
	uint32_t nfree, ndirty;
};

static struct amounts amounts_of(const struct arena_object *arena)
{
	return (struct amounts){atomic_load_explicit(&arena->nfreepools, relaxed),
	                        atomic_load_explicit(&arena->ndirty, relaxed)};
}

/* Around every change of an arena: keeps the node's sum, its charge and the buckets in step. */
static void changed(struct node_arenas *on, struct arena_object *arena, struct amounts before)
{
	struct amounts now = amounts_of(arena);
	size_t sum = atomic_load_explicit(&on->ndirty, relaxed) + now.ndirty - before.ndirty;
	atomic_store_explicit(&on->ndirty, sum, relaxed);
	limit_charge(arena->node, (size_t)(before.nfree + now.ndirty) << QUARRY_POOL_BITS,
	             (size_t)(now.nfree + before.ndirty) << QUARRY_POOL_BITS);
	relist(on, arena);
}

static void dirty_leaves(struct node_arenas *on, const struct arena_object *arena)
{
	uint32_t ndirty = amounts_of(arena).ndirty;
	atomic_store_explicit(&on->ndirty, atomic_load_explicit(&on->ndirty, relaxed) - ndirty, relaxed);
	limit_charge(arena->node, 0, (size_t)ndirty << QUARRY_POOL_BITS);
}

/* The node's usable arenas, fullest first: arena = first_usable; ...; arena = next_usable(arena). */
static struct arena_object *first_usable(const struct node_arenas *on, uint32_t buckets)
{
	return buckets == 0 ? NULL : on->usable_arenas[__builtin_ctz(buckets)];
}

static struct arena_object *next_usable(const struct node_arenas *on, const struct arena_object *arena)
{
	if (arena->nextarena != NULL)
		return arena->nextarena;
	return first_usable(on, arena->bucket == BUCKETS - 1 ? 0 : on->occupied & ~(uint32_t)0 << (arena->bucket + 1));
}

static struct arena_run take_from_node(struct node_arenas *on, size_t nunits, size_t alignment)
{
	struct arena_run run = {NULL, 0, false};
	struct arena_object *arena;
	bool dirty_unit = nunits == 1 && alignment == 1 && atomic_load_explicit(&on->ndirty, relaxed) > 0;
	bool dirty_only = dirty_unit || !limit_allows(nunits << QUARRY_POOL_BITS);
	for (arena = first_usable(on, on->occupied); arena != NULL; arena = next_usable(on, arena)) {
		struct amounts before = amounts_of(arena);
		if (dirty_only && before.ndirty < nunits)
			continue;
		run = dirty_only ? arena_take_dirty(arena, nunits, alignment) : arena_take(arena, nunits, alignment);
		if (run.address != NULL) {
			changed(on, arena, before);
			break;
		}
	}
	return run;
}

static struct arena_run take_on(unsigned node, size_t nunits, size_t alignment)
{
	struct node_arenas *on = &node_arenas[node];
	lock_take(&on->lock, LOCK_NODE);
	struct arena_run run = take_from_node(on, nunits, alignment);
	lock_drop(&on->lock, LOCK_NODE);
	return run;
}

static bool is_full(unsigned node)
{
	uint64_t until = atomic_load_explicit(&node_arenas[node].full_until, relaxed);
	return until != 0 && os_milliseconds() < until;
}

/* The node whose turn it is; it stays so until units of it were taken. */
static unsigned in_turn(unsigned node)
{
	return likely(node != NODE_SPREAD) ? node : atomic_load_explicit(&turn, relaxed) % node_count();
}

struct arena_run arena_list_take(unsigned place, size_t nunits, size_t alignment)
{
	unsigned node = in_turn(place);
	struct arena_run run = take_on(node, nunits, alignment);
	bool others = run.address == NULL &&
	              (atomic_load_explicit(&node_arenas[node].exhausted, relaxed) || is_full(node));
	for (unsigned k = 1; others && k < node_count() && run.address == NULL; k++) {
		run = take_on(node_by_distance(node, k), nunits, alignment);
		if (run.address != NULL)
			node_count_event(&node_counters[node].spills, 1);
	}
	if (unlikely(place == NODE_SPREAD) && run.address != NULL)
		atomic_fetch_add_explicit(&turn, 1, relaxed);
	return run;
}

bool arena_list_take_at(char *address, size_t nunits, bool *clean)
{
	struct arena_object *arena = arena_at(arena_base(address - 1)); /* the span before it pins its arena */
	struct node_arenas *on = &node_arenas[arena->node];
	lock_take(&on->lock, LOCK_NODE);
	struct amounts before = amounts_of(arena);
	bool taken = limit_allows(nunits << QUARRY_POOL_BITS) && arena_take_at(arena, address, nunits);
	if (taken) {
		*clean = arena->ndirty == before.ndirty;
		changed(on, arena, before);
	}
	lock_drop(&on->lock, LOCK_NODE);
	return taken;
}

void arena_list_put(char *address, size_t nunits, bool clean)
{
	struct arena_object *arena = arena_at(arena_base(address));
	struct node_arenas *on = &node_arenas[arena->node];
	address_map_set(address, nunits, 0);
	lock_take(&on->lock, LOCK_NODE);
	struct amounts before = amounts_of(arena);
	arena_put(arena, address, nunits, clean, arena_list_tick());
	changed(on, arena, before);
	lock_drop(&on->lock, LOCK_NODE);
}

/* --- birth and retirement ------------------------------------------------------------------------------------- */

static struct arena_object *take_unused_object(unsigned node)
{
	lock_take(&list_lock, LOCK_LIST);
	struct arena_object *arena = unused_arena_objects;
	if (arena != NULL)
		unused_arena_objects = arena->nextarena;
	lock_drop(&list_lock, LOCK_LIST);
	if (arena == NULL)
		arena = meta_alloc(sizeof(*arena), CACHE_LINE, node);
	return arena;
}

static void put_unused_object(struct arena_object *arena)
{
	arena->address = NULL;
	lock_take(&list_lock, LOCK_LIST);
	arena->nextarena = unused_arena_objects;
	unused_arena_objects = arena;
	lock_drop(&list_lock, LOCK_LIST);
}

/* An empty arena comes into use: readers find it, then requests. */
static void enlist(struct arena_object *arena)
{
	lock_take(&list_lock, LOCK_LIST);
	rcu_list_add(&arena->rcu_link, &all_arenas);
	lock_drop(&list_lock, LOCK_LIST);

	struct node_arenas *on = &node_arenas[arena->node];
	lock_take(&on->lock, LOCK_NODE);
	changed(on, arena, (struct amounts){amounts_of(arena).nfree, 0});
	lock_drop(&on->lock, LOCK_NODE);
}

static bool grow_on(unsigned node)
{
	struct arena_object *arena = take_unused_object(node);
	if (arena == NULL)
		return false;
	char *below = atomic_load_explicit(&lowest_base, relaxed);
	bool mapped = arena_map(arena, node, below == NULL ? NULL : below - ARENA_SIZE);
	if (!mapped) {
		put_unused_object(arena);
		return false;
	}
	if (arena->provider == NULL)
		atomic_store_explicit(&lowest_base, arena->address, relaxed);
	atomic_fetch_add_explicit(&arena_list_counters.mapped, 1, relaxed);
	atomic_fetch_add_explicit(&arena_list_counters.mapped_nbytes, arena_nbytes(arena), relaxed);
	PROBE3(arena_birth, arena->address, arena_nbytes(arena), node);
	enlist(arena);
	return true;
}

/*
 * The kernel would not refuse a mapping for a full node, but take its pages from anywhere, one by one, and the arena
 * would lie on two nodes. Where the node has no room, the nearest one that has serves it: first with units that are
 * free there, then with an arena.
 */
bool arena_list_grow(unsigned place)
{
	if (!limit_allows(POOL_SIZE))
		return false;
	unsigned node = in_turn(place), roomy = provider_of(node) != NULL ? node : node_with_room(node, ARENA_SIZE);
	struct node_arenas *on = &node_arenas[node];
	bool known = is_full(node);
	atomic_store_explicit(&on->full_until, roomy == node ? 0 : os_milliseconds() + FULL_MS, relaxed);
	if (roomy != node && !known)
		return true;
	bool grown = grow_on(roomy);
	bool was_exhausted = atomic_exchange_explicit(&on->exhausted, !grown, relaxed);
	return grown || (!was_exhausted && node_count() > 1); /* others are to be asked first */
}

/* An arena whose provider takes it back whole need not be purged before. */
static bool may_retire(const struct arena_object *arena, uint8_t age)
{
	bool old = (uint8_t)(arena_list_tick() - arena->empty_since) >= age;
	return old && arena_is_empty(arena) && (arena->ndirty == 0 || arena->provider != NULL);
}

/* Under the node's lock: unlist its arenas that may retire, but `keep`; they come chained by nextarena. */
static struct arena_object *take_empty(struct node_arenas *on, uint8_t age, unsigned keep)
{
	struct arena_object *retired = NULL, *next;
	for (struct arena_object *arena = on->usable_arenas[BUCKETS - 1]; arena != NULL; arena = next) {
		next = arena->nextarena;
		if (!may_retire(arena, age))
			continue;
		if (keep > 0) {
			keep--;
			continue;
		}
		unlist(on, arena);
		dirty_leaves(on, arena);
		arena->nextarena = retired;
		retired = arena;
	}
	return retired;
}

/* synchronize_rcu is a cancellation point, and being cancelled in it leaves its mutex locked. */
static void wait_for_readers(bool by_rcu)
{
	int state;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	if (by_rcu)
		rcu_wait_for_readers();
	pthread_setcancelstate(state, NULL);
	arena_list_reader_lock();
	arena_list_reader_unlock();
}

/* A reader that comes after an arena was unlisted, both under list_lock, does not find it. */
void arena_list_admit_rcu(void)
{
	lock_take(&list_lock, LOCK_LIST);
	has_rcu_readers = true;
	lock_drop(&list_lock, LOCK_LIST);
}

/* liburcu aborts the process if membarrier is withdrawn: ask first. */
static bool barrier_still_works(void)
{
	return os_barrier_ready() && os_barrier();
}

/* What waited has waited; in a fork child, which has no readers, at once. */
static void end_grace(void)
{
	lock_take(&list_lock, LOCK_LIST);
	while (in_grace != NULL) {
		struct arena_object *arena = in_grace;
		in_grace = arena->nextarena;
		arena->nextarena = past_grace;
		past_grace = arena;
	}
	lock_drop(&list_lock, LOCK_LIST);
}

void arena_list_after_fork_child(void)
{
	has_rcu_readers = has_rcu_readers && rcu_calls() != NULL;
	end_grace();
	arena_list_unmap();
}

bool arena_list_retire(unsigned node, uint8_t age, unsigned keep, bool past_rcu)
{
	bool barrier_works = barrier_still_works();
	/* The node's lock is outside the list's: what is pinned stays listed, and nothing is pinned in between. */
	lock_take(&node_arenas[node].lock, LOCK_NODE);
	lock_take(&list_lock, LOCK_LIST);
	bool by_rcu = has_rcu_readers;
	bool free_to_go = npins == 0 && in_grace == NULL; /* one grace period at a time */
	if (by_rcu && (!past_rcu || !barrier_works))
		free_to_go = false;
	struct arena_object *retired = free_to_go ? take_empty(&node_arenas[node], age, keep) : NULL;
	for (struct arena_object *arena = retired; arena != NULL; arena = arena->nextarena)
		rcu_list_del(&arena->rcu_link);
	if (free_to_go)
		in_grace = retired;
	lock_drop(&list_lock, LOCK_LIST);
	lock_drop(&node_arenas[node].lock, LOCK_NODE);
	if (retired == NULL)
		return false;
	wait_for_readers(by_rcu);
	end_grace();
	return true;
}

static struct arena_object *take_past_grace(void)
{
	lock_take(&list_lock, LOCK_LIST);
	struct arena_object *arena = past_grace;
	if (arena != NULL)
		past_grace = arena->nextarena;
	lock_drop(&list_lock, LOCK_LIST);
	return arena;
}

/* What cannot be unmapped (mapping limit) is used again; its pages are gone already. */
void arena_list_unmap(void)
{
	for (struct arena_object *arena; (arena = take_past_grace()) != NULL;) {
		char *address = arena->address;
		size_t nbytes = arena_nbytes(arena);
		if (!arena_unmap(arena)) {
			arena->empty_since = arena_list_tick();
			enlist(arena);
			continue;
		}
		atomic_fetch_sub_explicit(&arena_list_counters.mapped_nbytes, nbytes, relaxed);
		atomic_fetch_add_explicit(&arena_list_counters.retired, 1, relaxed);
		node_count_event(&node_counters[arena->node].arenas_retired, 1);
		PROBE3(arena_retirement, address, nbytes, arena->node);
		put_unused_object(arena);
	}
}

uint64_t arena_list_births(void)
{
	return atomic_load_explicit(&arena_list_counters.mapped, relaxed);
}

/* --- purge ---------------------------------------------------------------------------------------------------- */

static struct arena_run take_old(struct node_arenas *on, uint8_t age, size_t nunits)
{
	struct arena_run run = {NULL, 0, false};
	lock_take(&on->lock, LOCK_NODE);
	struct arena_object *arena = first_usable(on, on->occupied);
	for (; arena != NULL && run.address == NULL; arena = next_usable(on, arena)) {
		struct amounts before = amounts_of(arena);
		if (before.ndirty == 0 || arena->stays_dirty)
			continue;
		run = arena_take_old(arena, arena_list_tick(), age, nunits);
		if (run.address != NULL) {
			changed(on, arena, before);
			break;
		}
	}
	lock_drop(&on->lock, LOCK_NODE);
	return run;
}

/* A provider that refuses is not asked for the arena's pages again, or it would keep others from being purged. */
static bool purge_run(struct arena_run run)
{
	struct arena_object *arena = arena_at(arena_base(run.address));
	bool clean = provider_purge(arena->provider, run.address, run.nunits << QUARRY_POOL_BITS);
	if (!clean && arena->provider != NULL)
		arena->stays_dirty = true;
	return clean;
}

size_t arena_list_purge(unsigned node, uint8_t age, size_t nbytes)
{
	size_t most = nbytes < PURGE_STEP_NBYTES ? nbytes : PURGE_STEP_NBYTES;
	struct arena_run run;
	bool clean, is_providers;
	do {
		run = take_old(&node_arenas[node], age, (most + POOL_SIZE - 1) >> QUARRY_POOL_BITS);
		if (run.address == NULL)
			return 0;
		is_providers = arena_at(arena_base(run.address))->provider != NULL;
		clean = purge_run(run);
		arena_list_put(run.address, run.nunits, clean);
	} while (!clean && is_providers);
	return clean ? run.nunits << QUARRY_POOL_BITS : 0;
}

size_t arena_list_node_dirty_nbytes(unsigned node)
{
	return atomic_load_explicit(&node_arenas[node].ndirty, relaxed) << QUARRY_POOL_BITS;
}

size_t arena_list_dirty_nbytes(void)
{
	size_t nbytes = 0;
	for (unsigned node = 0; node < node_count(); node++)
		nbytes += arena_list_node_dirty_nbytes(node);
	return nbytes;
}

/* --- readers, fork -------------------------------------------------------------------------------------------- */

static struct arena_object *object_of(struct cds_list_head *link)
{
	return link == &all_arenas ? NULL : container_of(link, struct arena_object, rcu_link);
}

struct arena_object *arena_list_first(void)
{
	return object_of(rcu_list_next(&all_arenas));
}

struct arena_object *arena_list_next(struct arena_object *arena)
{
	return object_of(rcu_list_next(&arena->rcu_link));
}

void arena_list_pin(void)
{
	lock_take(&list_lock, LOCK_LIST);
	npins++;
	lock_drop(&list_lock, LOCK_LIST);
}

void arena_list_unpin(void)
{
	lock_take(&list_lock, LOCK_LIST);
	if (npins > 0) /* a fork child may have let go already */
		npins--;
	lock_drop(&list_lock, LOCK_LIST);
}

void arena_list_reader_lock(void)
{
	lock_take(&reader_lock, LOCK_LIST);
}

void arena_list_reader_unlock(void)
{
	lock_drop(&reader_lock, LOCK_LIST);
}

/* node_init may raise the count between the two. */
static unsigned nodes_locked;

void arena_list_lock_for_fork(void)
{
	nodes_locked = node_count();
	for (unsigned node = 0; node < nodes_locked; node++)
		lock_take(&node_arenas[node].lock, LOCK_NODE);
	lock_take(&reader_lock, LOCK_LIST);
	lock_take(&list_lock, LOCK_LIST);
}

void arena_list_unlock_after_fork(bool in_child)
{
	if (in_child)
		npins = 0;
	lock_after_fork(&list_lock, LOCK_LIST, in_child);
	lock_after_fork(&reader_lock, LOCK_LIST, in_child);
	for (unsigned node = nodes_locked; node-- > 0;)
		lock_after_fork(&node_arenas[node].lock, LOCK_NODE, in_child);
}
