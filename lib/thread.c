/* SPDX-License-Identifier: MIT */
/*
 * Thread: see thread.h.
 */
#include "thread.h"

#include <errno.h>
#include <pthread.h>

#include "arena_list.h"
#include "cache.h"
#include "claim.h"
#include "node.h"
#include "os.h"
#include "rcu.h"
#include "remote.h"

#define relaxed memory_order_relaxed

/* Slow paths in a row that must find the thread on another node before it gets a heap there: a thread that bounces
 * between nodes stays where it is. Each move within FOLLOW_QUIET_MS of the one before doubles them. */
#define FOLLOW_SLOW_PATHS 16
#define FOLLOW_SLOW_PATHS_MOST 1024
#define FOLLOW_QUIET_MS 1000

thread_local_ie struct slot slot = {.current = &heap_empty, .last = CACHE_LISTS};
static thread_local_ie volatile uint16_t pinned; /* 1 + node; 0: follows */
static thread_local_ie uint16_t elsewhere;       /* slow paths in a row on another node than the heap's */
static thread_local_ie uint16_t patience;        /* so many are asked for within FOLLOW_QUIET_MS of the last move */
static thread_local_ie uint32_t moved_at;        /* ms, when that was */

enum { KEY_NONE, KEY_MAKING, KEY_READY, KEY_REFUSED };
static _Atomic int key_state TOUCHED_EARLY;
static pthread_key_t exit_key TOUCHED_EARLY;
static _Atomic unsigned nthreads;
INSPECTED(thread_total, nthreads);

static void at_thread_exit(void *unused);

void thread_init(void)
{
	int expected = KEY_NONE;
	if (!atomic_compare_exchange_strong(&key_state, &expected, KEY_MAKING))
		return;
	int made = pthread_key_create(&exit_key, at_thread_exit);
	atomic_store_explicit(&key_state, made == 0 ? KEY_READY : KEY_REFUSED, memory_order_release);
}

unsigned thread_count(void)
{
	return atomic_load_explicit(&nthreads, relaxed);
}

/* --- attach and park -------------------------------------------------------------------------------------------- */

static void attach_to(struct heap *heap)
{
	claim_is_locked_mode(); /* the first one registers for membarrier, which may take the kernel a while */
	heap_lock(heap);
	heap->kind = HEAP_ATTACHED;
	heap->slot = &slot;
	heap->tid = os_thread_id();
	heap->locked = heap->diverted = claim_is_locked_mode();
	heap->idle_ticks = 0;
	if (QUARRY_HARDENED)
		quarantine_share(heap->quarantine, thread_count() + 1);
	slot.heap = heap;
	slot.state = SLOT_READY;
	if (!heap->locked)
		atomic_store_explicit(&slot.current, heap, memory_order_release);
	heap_unlock(heap);
	atomic_fetch_add_explicit(&nthreads, 1, relaxed);
}

static void park(struct heap *heap, enum slot_state next)
{
	heap_lock(heap);
	claim_settle(heap);
	atomic_store_explicit(&slot.current, &heap_empty, memory_order_release);
	cache_leave(heap, heap_parked_count() < WARM_PARKED ? WARM_NBYTES : 0);
	remote_drain(heap, UINT32_MAX);
	heap->kind = HEAP_PARKED;
	heap->slot = NULL;
	heap->diverted = heap->locked = 0;
	heap_give_rings(heap);
	slot.heap = NULL;
	slot.state = next;
	remote_unlock(heap);
	heap_park(heap);
	atomic_fetch_sub_explicit(&nthreads, 1, relaxed);
}

struct heap *thread_attach(void)
{
	thread_init();
	int state = atomic_load_explicit(&key_state, memory_order_acquire);
	if (state != KEY_READY) {
		if (state == KEY_REFUSED)
			slot.state = SLOT_DEAD;
		return NULL;
	}
	/* Setting the key may allocate: the state sends that to the shared heap. */
	slot.state = SLOT_ATTACHING;
	if (pthread_setspecific(exit_key, &slot) != 0) {
		slot.state = SLOT_DEAD;
		return NULL;
	}
	unsigned node = thread_node();
	struct heap *heap = heap_shared(node) == NULL ? NULL : heap_obtain(node);
	if (heap == NULL) {
		slot.state = SLOT_NONE;
		return NULL;
	}
	attach_to(heap);
	return heap;
}

/* No destructor runs a second time for what a later one allocates, so the thread never attaches again. */
static void at_thread_exit(void *unused)
{
	(void)unused;
	if (slot.state == SLOT_READY)
		park(slot.heap, SLOT_DEAD);
	else
		slot.state = SLOT_DEAD;
}

/* --- nodes ------------------------------------------------------------------------------------------------------ */

unsigned thread_node(void)
{
	unsigned place = pinned;
	return place != 0 ? place - 1 : node_current();
}

int thread_pinned(void)
{
	return (int)pinned - 1;
}

/* The thread has a heap, and gets another. */
static bool move_to(unsigned node)
{
	int saved_errno = errno;
	slot.state = SLOT_ATTACHING;
	struct heap *heap = heap_shared(node) == NULL ? NULL : heap_obtain(node);
	slot.state = SLOT_READY;
	elsewhere = 0;
	if (heap == NULL) {
		errno = saved_errno;
		return false;
	}
	park(slot.heap, SLOT_ATTACHING);
	attach_to(heap);
	return true;
}

void thread_place(void)
{
	if (slot.state == SLOT_READY && slot.heap->node != thread_node())
		move_to(thread_node());
}

bool thread_pin(int node)
{
	uint16_t before = pinned;
	pinned = (uint16_t)(node + 1);
	if (slot.state != SLOT_READY || thread_node() == slot.heap->node || move_to(thread_node()))
		return true;
	pinned = before;
	errno = ENOMEM;
	return false;
}

/* A thread that bounces pays for each move with its cache. */
static bool has_stayed(bool visited)
{
	uint32_t now = (uint32_t)os_milliseconds();
	bool quiet = moved_at == 0 || now - moved_at >= FOLLOW_QUIET_MS;
	if (elsewhere < (quiet ? FOLLOW_SLOW_PATHS : patience) && !(quiet && visited))
		return false;
	unsigned twice = quiet ? 2 * FOLLOW_SLOW_PATHS : 2 * (unsigned)patience;
	patience = (uint16_t)(twice < FOLLOW_SLOW_PATHS_MOST ? twice : FOLLOW_SLOW_PATHS_MOST);
	moved_at = (now - 1) | 1; /* not 0, and not ahead */
	return true;
}

void thread_follow_node(void)
{
	bool visited = slot.visited;
	slot.visited = 0;
	if (likely(node_count() == 1) || slot.state != SLOT_READY)
		return;
	unsigned node = thread_node();
	if (node == slot.heap->node) {
		elsewhere = 0;
		return;
	}
	elsewhere++;
	if ((visited || elsewhere >= FOLLOW_SLOW_PATHS) && has_stayed(visited) && move_to(node))
		node_count_event(&node_counters[node].migrations, 1);
}

/* --- readers ---------------------------------------------------------------------------------------------------- */

/* Registering allocates, maybe here, under liburcu's locks: meanwhile nobody may wait for readers (purge.c). Where
 * no page can be mapped it would abort. */
static bool is_registered(void)
{
	if (thread_heap() == NULL)
		return false;
	if (likely(slot.registered))
		return true;
	if (!rcu_open())
		return false;
	arena_list_admit_rcu();
	size_t probe_nbytes = 16 * os_page_size();
	void *probe = os_map(NULL, probe_nbytes);
	if (probe == NULL)
		return false;
	os_unmap(probe, probe_nbytes);
	slot.registering = 1;
	rcu_calls()->register_thread();
	slot.registering = 0;
	slot.registered = 1;
	return true;
}

bool thread_reader_enter(void)
{
	bool by_rcu = is_registered();
	if (by_rcu)
		rcu_enter();
	else
		arena_list_reader_lock();
	return by_rcu;
}

void thread_reader_leave(bool by_rcu)
{
	if (by_rcu)
		rcu_leave();
	else
		arena_list_reader_unlock();
}

bool thread_may_be_reading(void)
{
	const struct rcu_calls *rcu = rcu_calls();
	/* At its end a thread is registered no more, and asking would register it again. */
	bool can_tell = slot.state == SLOT_READY && slot.registered;
	return slot.registering || (rcu != NULL && (!can_tell || rcu->read_ongoing()));
}

void thread_after_fork_child(void)
{
	atomic_store_explicit(&nthreads, slot.state == SLOT_READY, relaxed);
	if (slot.heap != NULL)
		slot.heap->tid = os_thread_id();
	if (atomic_load_explicit(&key_state, relaxed) == KEY_MAKING)
		atomic_store_explicit(&key_state, KEY_NONE, relaxed);
}
