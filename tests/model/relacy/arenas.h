/* SPDX-License-Identifier: MIT */
/*
 * Arenas: what retire.cc and purger.cc share. lib/arena_list.c, lib/purge.c and lib/rcu.c, with the readers of
 * lib/thread.c, are members of a struct here, so that their lists and locks are new in each execution.
 *
 * What works under the node's lock alone is short (lib/arena.c: arenas of UNITS units, no bitmaps), as is what is not
 * asked for (other nodes, providers, large and guarded blocks). Memory is a number per unit, which must not be raced
 * for; the system maps and unmaps at once, and now and then refuses to unmap. liburcu is what it promises where
 * readers write by plain stores and a grace period is between two membarriers.
 */
#ifndef QUARRY_MODEL_ARENAS_H
#define QUARRY_MODEL_ARENAS_H

#include <cerrno>

#include "shim.h"

#include "lock.h"
#include "lock.c"

#define QUARRY_POOL_BITS 12
#define POOL_SIZE ((size_t)1 << QUARRY_POOL_BITS)
#define ARENAS 2
#define UNITS 2
#define ARENA_HEAD_UNITS 1
#define ARENA_SIZE (4 * POOL_SIZE) /* the next power of two */
#define ARENA_PLACE (ARENA_SIZE / POOL_SIZE)
#define CACHE_LINE 64
#define FALSE_SHARING_RANGE 8
#define NODE_PLACES 1
#define NODE_SPREAD 1
#define WORD_SPAN 0xfd
#undef errno /* the thread's: nobody looks */
#define INSPECTED(name, object)
#define PROBE3(name, a, b, c) ((void)0)
#define CDS_LIST_HEAD(name) struct cds_list_head name
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define rcu_dereference(pointer) slowly(atomic_load_explicit(&(pointer), rl::mo_consume))

/* As static variables begin. */
template <typename T> struct zeroed : plain<T> {
	zeroed() { *this = T(); }
	zeroed &operator=(T value)
	{
		plain<T>::operator=(value);
		return *this;
	}
};

/* --- liburcu's lists ---------------------------------------------------------------------------------------------- */

struct cds_list_head {
	shared<struct cds_list_head *> next;
	zeroed<struct cds_list_head *> prev;
};

static void link_pair(struct cds_list_head *before, struct cds_list_head *after, rl::memory_order order)
{
	after->prev = before;
	atomic_store_explicit(&before->next, after, order);
}

static void cds_list_add_rcu(struct cds_list_head *link, struct cds_list_head *list)
{
	link_pair(link, atomic_load_explicit(&list->next, memory_order_relaxed), memory_order_relaxed);
	link_pair(list, link, memory_order_release);
}

static void cds_list_del_rcu(struct cds_list_head *link)
{
	link_pair(link->prev, atomic_load_explicit(&link->next, memory_order_relaxed), memory_order_relaxed);
}

/* --- what stands for the rooms below and beside ------------------------------------------------------------------- */

struct quarry_provider;
struct heap;

struct arena_object {
	plain<char *> address;
	plain<const struct quarry_provider *> provider;
	plain<struct arena_object *> nextarena, prevarena;
	struct cds_list_head rcu_link;
	plain<uint32_t> node, ntotalpools;
	shared<uint32_t> nfreepools, ndirty;
	plain<int> bucket;
	plain<bool> stays_dirty;
	plain<uint8_t> empty_since;
	struct {
		plain<bool> free, dirty;
		plain<uint8_t> stamp;
	} unit[UNITS];
};

struct arena_run {
	char *address;
	size_t nunits;
	bool clean;
};

enum limit_pressure { LIMIT_CALM, LIMIT_NEAR, LIMIT_AT };
enum { CLAIM_IDLE, CLAIM_POKE, CLAIM_ALL };
enum { OPTION_PURGE_THREAD, OPTION_PURGE_INLINE, OPTION_PURGE_OFF };
static const struct {
	int decay_ms, purge;
} options = {10, OPTION_PURGE_THREAD};
enum { SLOT_NONE, SLOT_READY };
static const bool guard_pace_is_windowed = false;

struct arenas {
	system_parts parts;
	struct slot {
		int state = SLOT_READY;
		bool registering = false, registered = false;
	} slots[THREADS];
	struct {
		uintptr_t first_unit = ARENA_PLACE; /* the first arena has no address 0 */
		shared<size_t> nunits;
		shared<uint32_t> words[ARENAS * ARENA_PLACE];
	} address_map;
	struct place {
		bool mapped = false;
		zeroed<int> mapping; /* written by who maps or unmaps, read by whoever looks at the memory */
		plain<struct arena_object *> head;
		plain<int> unit[UNITS];
	} places[ARENAS];
	rl::mutex mappings; /* the kernel's */
	struct arena_object objects[ARENAS];
	shared<unsigned> nobjects;
	zeroed<size_t> charged; /* under the node's lock */
	struct lock visiting;
	struct {
		shared<uint64_t> spills, arenas_retired;
	} node_counters[NODE_PLACES];
	shared<unsigned> sections[THREADS]; /* liburcu's: odd while a thread reads */
	uint64_t clock = 1;
	bool purge_fails = false;
	int errno = 0;
	static struct arenas *here;

	arenas()
	{
		here = this;
		atomic_store(&address_map.nunits, ARENAS * ARENA_PLACE);
		all_arenas.prev = &all_arenas;
		atomic_store(&all_arenas.next, &all_arenas);
	}

	struct slot *own_slot() { return &slots[rl::ctx().current_thread()]; }
	struct heap *thread_heap() { return (struct heap *)own_slot(); }
	unsigned thread_count() { return THREADS; }
	void *os_map(void *, size_t nbytes) { return own_slot(); }
	bool os_unmap(void *, size_t nbytes) { return true; }
	size_t os_page_size() { return POOL_SIZE; }
	uint64_t os_milliseconds() { return clock; }
	/* Where there is a limit of time, it passes. */
	virtual void os_wait(shared<uint32_t> *word, uint32_t value, int ms)
	{
		clock += (uint64_t)ms;
		rl::yield(1, $);
	}
	unsigned node_count() { return NODE_PLACES; }
	unsigned node_by_distance(unsigned node, unsigned) { return node; }
	unsigned node_with_room(unsigned node, size_t) { return node; }
	void node_count_event(shared<uint64_t> *counter, uint64_t n) {}
	const struct quarry_provider *provider_of(unsigned) { return NULL; }
	bool limit_allows(size_t) { return true; }
	enum limit_pressure limit_look(bool) { return LIMIT_CALM; }
	void limit_after_fork_child() {}
	void limit_charge(unsigned, size_t added, size_t removed) { charged = charged + added - removed; }
	void claim_lock() { lock_take(&visiting, LOCK_VISIT); }
	void claim_unlock() { lock_drop(&visiting, LOCK_VISIT); }
	void claim_visit(int) {}
	void span_release_held() {}
	void large_release_held() {}
	size_t large_purge(uint8_t, size_t) { return 0; }
	size_t large_kept_nbytes()
	{
		dawdle(32);
		return 0;
	}
	void guard_purge() {}
	int guard_pace_turn() { return 0; }
	void guard_pace_pass() {}
	void sample_obey() {}
	/* The purger alone asks: what it has of its own goes from one such thread to the next. */
	zeroed<unsigned> of_the_purger;
	bool sample_is_asked()
	{
		of_the_purger = of_the_purger + 1;
		return false;
	}
	/* Now and then a thread is slow: an arena goes meanwhile, a purger ends. */
	void dawdle(unsigned one_in)
	{
		for (int i = rl::rand(one_in) == 0 ? 300 : 0; i > 0; i--)
			rl::yield(1, $);
	}

	template <typename T> T slowly(T found)
	{
		dawdle(8);
		return found;
	}

	virtual bool make_thread() { return false; }

	struct arena_object *meta_alloc(size_t, size_t, unsigned)
	{
		unsigned n = atomic_fetch_add(&nobjects, 1);
		return n < ARENAS ? &objects[n] : NULL;
	}

#include "address_map.h"
#include "address_map.c"

	/* --- lib/arena.c ------------------------------------------------------------------------------------------ */

	char *arena_base(const void *ptr) { return (char *)((uintptr_t)ptr & ~(uintptr_t)(ARENA_SIZE - 1)); }
	size_t place_of(const char *ptr) { return (uintptr_t)ptr / ARENA_SIZE - 1; }
	size_t unit_of(const char *ptr) { return (uintptr_t)ptr % ARENA_SIZE / POOL_SIZE - ARENA_HEAD_UNITS; }

	/* Anyone may look at memory that is mapped. */
	struct place *look(const char *ptr)
	{
		struct place *place = &places[place_of(ptr)];
		RL_ASSERT(place->mapped);
		(void)(int)place->mapping;
		return place;
	}

	struct arena_object *arena_at(const char *base) { return look(base)->head; }

	bool arena_is_empty(const struct arena_object *arena)
	{
		return atomic_load_explicit(&arena->nfreepools, memory_order_relaxed) == arena->ntotalpools;
	}

	size_t arena_nbytes(const struct arena_object *arena)
	{
		return (arena->ntotalpools + ARENA_HEAD_UNITS) * POOL_SIZE;
	}

	void check_words(const char *base)
	{
		for (unsigned i = 0; i < ARENA_PLACE; i++)
			RL_ASSERT(address_map_word(base + i * POOL_SIZE) == 0);
	}

	bool arena_map(struct arena_object *arena, unsigned node, char *)
	{
		mappings.lock($);
		unsigned i = 0;
		while (i < ARENAS && places[i].mapped)
			i++;
		if (i < ARENAS) {
			places[i].mapped = true;
			places[i].mapping = places[i].mapping + 1;
		}
		mappings.unlock($);
		if (i == ARENAS)
			return false;
		arena->address = (char *)((i + 1) * ARENA_SIZE);
		arena->provider = NULL;
		arena->stays_dirty = false;
		arena->node = node;
		arena->ntotalpools = UNITS;
		arena->bucket = -1;
		arena->empty_since = 0;
		atomic_store_explicit(&arena->nfreepools, UNITS, memory_order_relaxed);
		atomic_store_explicit(&arena->ndirty, 0, memory_order_relaxed);
		for (unsigned unit = 0; unit < UNITS; unit++) {
			arena->unit[unit].free = true;
			arena->unit[unit].dirty = false;
			places[i].unit[unit] = 0;
		}
		places[i].head = arena;
		check_words(arena->address);
		return true;
	}

	bool arena_unmap(struct arena_object *arena)
	{
		struct place *place = look(arena->address);
		check_words(arena->address);
		for (unsigned unit = 0; unit < UNITS; unit++)
			RL_ASSERT(arena->unit[unit].free);
		if (rl::rand(8) == 0)
			return false;
		mappings.lock($);
		place->mapping = place->mapping + 1;
		place->mapped = false;
		mappings.unlock($);
		return true;
	}

	void count(struct arena_object *arena, int free, int dirty)
	{
		atomic_store_explicit(&arena->nfreepools, arena->nfreepools + free, memory_order_relaxed);
		atomic_store_explicit(&arena->ndirty, arena->ndirty + dirty, memory_order_relaxed);
	}

	struct arena_run take_unit(struct arena_object *arena, unsigned unit)
	{
		bool dirty = arena->unit[unit].dirty;
		arena->unit[unit].free = arena->unit[unit].dirty = false;
		count(arena, -1, -(int)dirty);
		return {arena->address + (ARENA_HEAD_UNITS + unit) * POOL_SIZE, 1, !dirty};
	}

	/* Dirty ones, then clean ones. */
	struct arena_run take(struct arena_object *arena, unsigned kinds)
	{
		for (unsigned kind = 0; kind < kinds; kind++)
			for (unsigned unit = 0; unit < UNITS; unit++)
				if (arena->unit[unit].free && arena->unit[unit].dirty == (kind == 0))
					return take_unit(arena, unit);
		return {NULL, 0, false};
	}

	struct arena_run arena_take(struct arena_object *arena, size_t, size_t) { return take(arena, 2); }
	struct arena_run arena_take_dirty(struct arena_object *arena, size_t, size_t) { return take(arena, 1); }

	struct arena_run arena_take_old(struct arena_object *arena, uint8_t tick, uint8_t age, size_t nunits)
	{
		struct arena_run run = {NULL, 0, false};
		for (unsigned unit = 0; unit < UNITS && run.nunits < nunits; unit++)
			if (arena->unit[unit].free && arena->unit[unit].dirty &&
			    (uint8_t)(tick - arena->unit[unit].stamp) >= age) {
				struct arena_run one = take_unit(arena, unit);
				run = {run.nunits == 0 ? one.address : run.address, run.nunits + 1, false};
			} else if (run.nunits > 0) {
				break;
			}
		return run;
	}

	void arena_put(struct arena_object *arena, const char *address, size_t nunits, bool clean, uint8_t tick)
	{
		for (unsigned unit = unit_of(address); unit < unit_of(address) + nunits; unit++) {
			RL_ASSERT(!arena->unit[unit].free);
			arena->unit[unit].free = true;
			arena->unit[unit].dirty = !clean;
			arena->unit[unit].stamp = tick;
		}
		count(arena, (int)nunits, clean ? 0 : (int)nunits);
		if (arena_is_empty(arena))
			arena->empty_since = tick;
	}

	/* madvise; the system refuses where purge_fails says so, once. */
	bool provider_purge(const struct quarry_provider *, char *address, size_t nbytes)
	{
		struct place *place = look(address);
		bool fails = purge_fails;
		purge_fails = false;
		for (unsigned i = 0; i < nbytes / POOL_SIZE && !fails; i++)
			place->unit[unit_of(address) + i] = 0;
		return !fails;
	}

	/* --- liburcu ---------------------------------------------------------------------------------------------- */

	static void step_section()
	{
		shared<unsigned> *section = &here->sections[rl::ctx().current_thread()];
		atomic_store_explicit(section, atomic_load_explicit(section, memory_order_relaxed) + 1, memory_order_relaxed);
	}
	static void call_nothing() {}
	static int call_ongoing() { return 0; }

	static void call_synchronize()
	{
		os_barrier();
		for (unsigned i = 0; i < THREADS; i++) {
			unsigned then = atomic_load_explicit(&here->sections[i], memory_order_relaxed);
			while (then % 2 != 0 && atomic_load_explicit(&here->sections[i], memory_order_relaxed) == then)
				rl::yield(1, $);
		}
		os_barrier();
	}

#include "rcu.h"

	const struct rcu_calls *open_library()
	{
		opened.register_thread = call_nothing;
		opened.read_lock = step_section;
		opened.read_unlock = step_section;
		opened.read_ongoing = call_ongoing;
		opened.synchronize_rcu = call_synchronize;
		return &opened;
	}

#include "rcu.c"

	/* --- the sources ------------------------------------------------------------------------------------------ */

#include "arena_list.h"
#include "arena_list.c"
#include "thread.c"
#include "purge.c"

	/* --- what allocates --------------------------------------------------------------------------------------- */

	/* A unit, mostly written to at once; address NULL: all are out. */
	struct arena_run obtain_unit()
	{
		struct arena_run run = arena_list_take(0, 1, 1);
		for (int i = 0; i < 2 && run.address == NULL && arena_list_grow(0); i++)
			run = arena_list_take(0, 1, 1);
		if (run.address == NULL)
			return run;
		struct place *place = look(run.address);
		RL_ASSERT(address_map_word(run.address) == 0);
		RL_ASSERT(!run.clean || place->unit[unit_of(run.address)] == 0);
		if (rl::rand(4) > 0) {
			place->unit[unit_of(run.address)] = 1;
			run.clean = false;
		}
		address_map_set(run.address, 1, WORD_SPAN);
		return run;
	}

	void return_unit(struct arena_run run)
	{
		if (run.address == NULL)
			return;
		RL_ASSERT(address_map_word(run.address) == WORD_SPAN);
		arena_list_put(run.address, 1, run.clean);
	}

	/* What is mapped is listed, and all of it is free. */
	void check_arenas()
	{
		unsigned nlisted = 0, nmapped = 0, ndirty = 0;
		for (struct arena_object *arena = arena_list_first(); arena != NULL; arena = arena_list_next(arena)) {
			RL_ASSERT(++nlisted <= ARENAS && look(arena->address)->head == arena);
			RL_ASSERT(arena->nfreepools == UNITS && arena->bucket >= 0);
			ndirty += arena->ndirty;
		}
		for (unsigned i = 0; i < ARENAS; i++)
			nmapped += places[i].mapped;
		RL_ASSERT(nlisted == nmapped && in_grace == (struct arena_object *)NULL);
		RL_ASSERT(past_grace == (struct arena_object *)NULL);
		RL_ASSERT(charged == ndirty * POOL_SIZE && arena_list_dirty_nbytes() == charged);
	}
};

struct arenas *arenas::here;

#endif
