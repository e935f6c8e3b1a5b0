/* SPDX-License-Identifier: MIT */
/*
 * Magazine: see magazine.h.
 */
#include "magazine.h"

#include <pthread.h>
#include <string.h>

#include "entry.h"
#include "fork.h"
#include "meta.h"
#include "os.h"
#include "purge.h"
#include "report.h"

#define relaxed memory_order_relaxed
#define FIRST_BATCH 4
/* A magazine that looks the same so often in a row is not in use. */
#define IDLE_LOOKS 3

thread_local_ie struct magazine_thread *magazine_thread = &magazine_nobody;
struct magazine_thread magazine_nobody;
static thread_local_ie bool is_dead; /* after its exit hook, or without one: no magazines */

static struct magazine_thread *all_threads, *spare_threads; /* under caches_lock */
static pthread_key_t exit_key;
static bool has_key;                                        /* constant once magazine_init is through */
static _Atomic bool ever_open; /* some place was open once: whoever takes from it needs a barrier from then on */

static void lock_thread(struct magazine_thread *thread)
{
	lock_take(&thread->lock, LOCK_MAGAZINE);
}

static void unlock_thread(struct magazine_thread *thread)
{
	lock_drop(&thread->lock, LOCK_MAGAZINE);
}

static bool may_open(void)
{
	return !QUARRY_TSAN && os_barrier_ready() && sample_profile_rate() == 0;
}

static uint32_t count(const struct magazine *magazine)
{
	return magazine == NULL ? 0 : atomic_load_explicit(&magazine->n, relaxed);
}

/* Release: a fork, which copies memory as another thread writes it, sees no n without its rounds. */
static void set_count(struct magazine *magazine, uint32_t n)
{
	atomic_store_explicit(&magazine->n, n, memory_order_release);
}

/* --- under the thread's lock -------------------------------------------------------------------------------------- */

static void close_place(struct magazine_thread *thread, uint32_t index)
{
	atomic_store_explicit(&thread->open[index], NULL, relaxed);
}

static void open_place(struct magazine_thread *thread, uint32_t index)
{
	if (!may_open())
		return;
	if (!atomic_load_explicit(&ever_open, relaxed))
		atomic_store_explicit(&ever_open, true, relaxed);
	atomic_store_explicit(&thread->open[index], thread->places[index].own, memory_order_release);
}

static void empty(struct quarry_cache *cache, struct magazine *magazine)
{
	uint32_t n = count(magazine);
	if (n == 0)
		return;
	object_cache_put(cache, &magazine->round[1], n);
	set_count(magazine, 0);
	magazine->batch = FIRST_BATCH;
}

static void empty_place(struct quarry_cache *cache, struct magazine_place *place)
{
	empty(cache, place->own);
	empty(cache, place->away);
	place->diverted = false;
	place->idle_looks = 0;
}

/* The older half goes home; what was freed last is warm. */
static void flush_half(struct quarry_cache *cache, struct magazine *magazine)
{
	uint32_t n = count(magazine), old = (n + 1) / 2;
	object_cache_put(cache, &magazine->round[1], old);
	memmove(&magazine->round[1], &magazine->round[1 + old], (n - old) * sizeof(void *));
	set_count(magazine, n - old);
}

static uint32_t refill(struct quarry_cache *cache, struct magazine *magazine)
{
	uint32_t half = (magazine->capacity + 1) / 2;
	uint32_t n = object_cache_take(cache, magazine->depot, &magazine->round[1], magazine->batch);
	/* Lowest address on top. */
	for (uint32_t low = 1, high = n; low < high; low++, high--) {
		void *object = magazine->round[low];
		magazine->round[low] = magazine->round[high];
		magazine->round[high] = object;
	}
	magazine->batch = 2 * magazine->batch < half ? 2 * magazine->batch : half;
	return n;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static struct magazine_thread *attach(void)
{
	lock_take(&caches_lock, LOCK_CACHES);
	struct magazine_thread *thread = spare_threads;
	if (thread != NULL)
		spare_threads = thread->next;
	lock_drop(&caches_lock, LOCK_CACHES);
	if (thread == NULL)
		thread = meta_alloc(sizeof(*thread), FALSE_SHARING_RANGE, 0);
	if (thread == NULL)
		return NULL;
	/* Before the record is in the list: this may allocate, and the hook may run as soon as it is set. */
	bool hooked = has_key && pthread_setspecific(exit_key, thread) == 0;
	lock_take(&caches_lock, LOCK_CACHES);
	struct magazine_thread **list = hooked ? &all_threads : &spare_threads;
	thread->next = *list;
	thread->link = list;
	if (hooked && *list != NULL)
		(*list)->link = &thread->next;
	*list = thread;
	lock_drop(&caches_lock, LOCK_CACHES);
	is_dead = !hooked;
	if (hooked)
		magazine_thread = thread;
	return hooked ? thread : NULL;
}

/* This thread's record; NULL: it has none. */
static struct magazine_thread *own_thread(void)
{
	if (likely(magazine_thread != &magazine_nobody))
		return magazine_thread;
	return is_dead ? NULL : attach();
}

/* Under caches_lock: empty all its magazines; they are added to the chain. */
static void strip(struct magazine_thread *thread, struct magazine **chain)
{
	struct quarry_cache *cache;
	lock_thread(thread);
	for (uint32_t index = 0; (cache = object_cache_record(index)) != NULL; index++) {
		struct magazine_place *place = &thread->places[index];
		close_place(thread, index);
		empty_place(cache, place);
		struct magazine *both[] = {place->own, place->away};
		for (int i = 0; i < 2; i++)
			if (both[i] != NULL) {
				both[i]->next = *chain;
				*chain = both[i];
			}
		place->own = place->away = NULL;
	}
	unlock_thread(thread);
}

/* Under caches_lock. */
static void retire(struct magazine_thread *thread)
{
	*thread->link = thread->next;
	if (thread->next != NULL)
		thread->next->link = thread->link;
	thread->next = spare_threads;
	spare_threads = thread;
}

static void free_chain(struct magazine *chain)
{
	while (chain != NULL) {
		struct magazine *next = chain->next;
		entry_free(chain);
		chain = next;
	}
}

static void release_all(enum depot_release how)
{
	for (struct quarry_cache *cache = object_cache_pin_from(0), *next; cache != NULL; cache = next) {
		object_cache_release(cache, how);
		next = object_cache_pin_from(cache->index + 1);
		object_cache_unpin(cache);
	}
}

static void at_thread_exit(void *arg)
{
	struct magazine_thread *thread = arg;
	struct magazine *chain = NULL;
	magazine_thread = &magazine_nobody;
	is_dead = true;
	lock_take(&caches_lock, LOCK_CACHES);
	strip(thread, &chain);
	retire(thread);
	lock_drop(&caches_lock, LOCK_CACHES);
	free_chain(chain);
	release_all(DEPOT_SPARE_ONE);
}

/* --- slow paths --------------------------------------------------------------------------------------------------- */

static struct magazine *make(const struct quarry_cache *cache, struct depot *depot)
{
	struct magazine *magazine = entry_malloc(sizeof(*magazine) + (cache->magazine_capacity + 1) * sizeof(void *));
	if (magazine == NULL)
		return NULL;
	*magazine = (struct magazine){.capacity = cache->magazine_capacity, .batch = FIRST_BATCH, .depot = depot};
	magazine->round[0] = NULL;
	return magazine;
}

/* This thread's record, locked, with a magazine in the cache's place; NULL: it can have none. */
static struct magazine_thread *enter_slow(struct quarry_cache *cache, struct depot *depot)
{
	struct magazine_thread *thread = own_thread();
	if (thread == NULL)
		return NULL;
	struct magazine_place *place = &thread->places[cache->index];
	struct magazine *fresh = NULL;
	lock_thread(thread);
	if (place->own == NULL) {
		unlock_thread(thread);
		fresh = make(cache, depot);
		if (fresh == NULL)
			return NULL;
		lock_thread(thread);
		place->own = fresh;
	}
	if (place->diverted || place->own->depot != depot) /* wanted, or the thread is on another node than before */
		empty_place(cache, place);
	place->own->depot = depot;
	return thread;
}

void *magazine_take(struct quarry_cache *cache, struct depot *depot)
{
	struct magazine_thread *thread = enter_slow(cache, depot);
	void *object = NULL;
	if (thread == NULL) {
		object_cache_take(cache, depot, &object, 1);
		return object;
	}
	struct magazine *magazine = thread->places[cache->index].own;
	uint32_t n = count(magazine);
	if (n == 0)
		n = refill(cache, magazine);
	if (n > 0) {
		object = magazine->round[n];
		set_count(magazine, n - 1);
		open_place(thread, cache->index);
	}
	unlock_thread(thread);
	return object;
}

/* Where the object goes: the magazine, or, for one of another node, the other. NULL: home by itself. */
static struct magazine *choose(struct quarry_cache *cache, struct magazine_place *place, const void *object)
{
	if (!cache->several_nodes || depot_of(&cache->type, object) == place->own->depot)
		return place->own;
	return place->away;
}

void magazine_put(struct quarry_cache *cache, struct depot *depot, void *object)
{
	struct magazine *away = NULL;
	struct magazine_thread *thread = own_thread();
	if (cache->several_nodes && thread != NULL && thread->places[cache->index].away == NULL)
		away = make(cache, NULL);
	thread = enter_slow(cache, depot);
	if (thread == NULL) {
		object_cache_put(cache, &object, 1);
		free_chain(away);
		object_cache_release(cache, DEPOT_SPARE_ONE);
		return;
	}
	struct magazine_place *place = &thread->places[cache->index];
	if (place->away == NULL)
		place->away = away;
	struct magazine *magazine = choose(cache, place, object);
	bool twice = false, full = magazine == NULL || count(magazine) == magazine->capacity;
	if (magazine == NULL) {
		object_cache_put(cache, &object, 1);
	} else {
		twice = magazine->round[count(magazine)] == object;
		if (full && !twice)
			flush_half(cache, magazine);
		if (!twice) {
			magazine->round[count(magazine) + 1] = object;
			set_count(magazine, count(magazine) + 1);
		}
	}
	open_place(thread, cache->index);
	unlock_thread(thread);
	if (twice)
		report_fault("double free", object, NULL);
	if (full)
		object_cache_release(cache, DEPOT_SPARE_ONE);
}

/* --- visits: under caches_lock ------------------------------------------------------------------------------------ */

/* Under the thread's lock. What its thread does to the magazine meanwhile makes the look just another one. */
static bool is_idle(struct magazine_place *place)
{
	uint32_t n = count(place->own);
	const void *top = n == 0 ? NULL : *(void *volatile *)&place->own->round[n];
	bool same = place->seen_top == top && place->seen_n == n;
	place->seen_top = top;
	place->seen_n = n;
	place->idle_looks = !same ? 0 : place->idle_looks < IDLE_LOOKS ? place->idle_looks + 1 : IDLE_LOOKS;
	return place->idle_looks == IDLE_LOOKS;
}

static bool is_wanted(struct magazine_place *place, enum magazine_scope scope)
{
	if (place->own == NULL || (scope == MAGAZINES_IDLE && !is_idle(place)))
		return false;
	return count(place->own) + count(place->away) > 0;
}

/* First pass. Returns whether any place was closed to its thread. */
static bool divert(struct magazine_thread *thread, uint32_t index, enum magazine_scope scope)
{
	struct magazine_place *place = &thread->places[index];
	lock_thread(thread);
	bool wanted = is_wanted(place, scope);
	if (wanted) {
		place->diverted = true;
		close_place(thread, index);
	}
	unlock_thread(thread);
	return wanted;
}

/* Second pass, behind the barrier. The thread itself may have come by since, and emptied it. */
static void collect(struct magazine_thread *thread, struct quarry_cache *cache)
{
	struct magazine_place *place = &thread->places[cache->index];
	lock_thread(thread);
	if (place->diverted && atomic_load_explicit(&thread->busy, memory_order_acquire) == 0)
		empty_place(cache, place);
	unlock_thread(thread);
}

/* Calls pass for the cache, or for all of them, of each thread. */
#define for_each_place(thread, cache, only)                                                                            \
	for ((thread) = all_threads; (thread) != NULL; (thread) = (thread)->next)                                      \
		for ((cache) = (only) != NULL ? (only) : object_cache_from(0); (cache) != NULL;                        \
		     (cache) = (only) != NULL ? NULL : object_cache_from((cache)->index + 1))

void magazine_visit(struct quarry_cache *only, enum magazine_scope scope)
{
	struct magazine_thread *thread;
	struct quarry_cache *cache;
	bool any = false;
	lock_take(&caches_lock, LOCK_CACHES);
	for_each_place (thread, cache, only)
		any |= divert(thread, cache->index, scope);
	/* Who opened a place did so under its lock, which divert took. If the kernel has withdrawn membarrier, threads
	 * empty their magazines themselves. */
	if (any && (!atomic_load_explicit(&ever_open, relaxed) || os_barrier()))
		for_each_place (thread, cache, only)
			collect(thread, cache);
	lock_drop(&caches_lock, LOCK_CACHES);
}

void magazine_withdraw(struct quarry_cache *cache)
{
	struct magazine *chain = NULL;
	lock_take(&caches_lock, LOCK_CACHES);
	for (struct magazine_thread *thread = all_threads; thread != NULL; thread = thread->next) {
		struct magazine_place *place = &thread->places[cache->index];
		lock_thread(thread);
		close_place(thread, cache->index);
		empty_place(cache, place);
		struct magazine *both[] = {place->own, place->away};
		for (int i = 0; i < 2; i++)
			if (both[i] != NULL) {
				both[i]->next = chain;
				chain = both[i];
			}
		memset(place, 0, sizeof(*place));
		unlock_thread(thread);
	}
	lock_drop(&caches_lock, LOCK_CACHES);
	free_chain(chain);
}

uint64_t magazine_count(const struct quarry_cache *cache)
{
	uint64_t n = 0;
	lock_take(&caches_lock, LOCK_CACHES);
	for (struct magazine_thread *thread = all_threads; thread != NULL; thread = thread->next) {
		lock_thread(thread);
		n += count(thread->places[cache->index].own) + count(thread->places[cache->index].away);
		unlock_thread(thread);
	}
	lock_drop(&caches_lock, LOCK_CACHES);
	return n;
}

void magazine_trim(void)
{
	magazine_visit(NULL, MAGAZINES_ALL);
	release_all(DEPOT_ALL);
}

/* What the purger, and whoever runs out of memory, ask for: no destructor may run there. */
static void reclaim(bool all)
{
	magazine_visit(NULL, all ? MAGAZINES_ALL : MAGAZINES_IDLE);
	release_all(all ? DEPOT_QUIETLY : DEPOT_IDLE);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

/* All records, of destroyed caches too: a lock is a lock. */
#define for_each_lock(thread, depot, on_thread, on_depot)                                                              \
	do {                                                                                                           \
		for (struct magazine_thread *thread = all_threads; thread != NULL; thread = thread->next)              \
			on_thread;                                                                                     \
		struct quarry_cache *cache_;                                                                           \
		struct depot *depot;                                                                                   \
		for (uint32_t index_ = 0; (cache_ = object_cache_record(index_)) != NULL; index_++)                    \
			for_each_depot(depot, cache_)                                                                  \
				on_depot;                                                                              \
	} while (0)

static void prepare(void)
{
	lock_take(&caches_lock, LOCK_CACHES);
	for_each_lock(thread, depot, lock_thread(thread), depot_lock(depot));
}

static void parent(void)
{
	for_each_lock(thread, depot, unlock_thread(thread), depot_unlock(depot));
	lock_drop(&caches_lock, LOCK_CACHES);
}

/* The list is nobody else's. */
static void child(void)
{
	struct magazine *chain = NULL;
	for_each_lock(thread, depot, lock_reset(&thread->lock), lock_reset(&depot->lock));
	for_each_lock(thread, depot, (void)thread, depot_after_fork_child(depot));
	lock_reset(&caches_lock);
	struct quarry_cache *cache;
	for (uint32_t index = 0; (cache = object_cache_record(index)) != NULL; index++)
		atomic_store_explicit(&cache->pins, 0, relaxed);
	struct magazine_thread *next;
	for (struct magazine_thread *thread = all_threads; thread != NULL; thread = next) {
		next = thread->next;
		if (thread == magazine_thread)
			continue;
		strip(thread, &chain);
		atomic_store_explicit(&thread->busy, 0, relaxed);
		retire(thread);
	}
	free_chain(chain);
}

/* The profile is on: places that are open are closed, and stay so. */
static void close_all(void)
{
	magazine_visit(NULL, MAGAZINES_ALL);
}

static void init(void)
{
	static const struct fork_hooks hooks = {prepare, parent, child};
	has_key = pthread_key_create(&exit_key, at_thread_exit) == 0;
	fork_attend(&hooks);
	purge_consult(reclaim);
	sample_attend(close_all);
}

void magazine_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, init);
}
