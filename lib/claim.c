/* SPDX-License-Identifier: MIT */
/*
 * Claim: see claim.h.
 */
#include "claim.h"

#include "cache.h"
#include "os.h"
#include "remote.h"

#define relaxed memory_order_relaxed
#define BATCH 64 /* heaps that share the three barriers of a visit */
#define IDLE_TICKS 2
#define MOST_TRIES 1000

static struct lock visit_lock;

static _Atomic unsigned holders; /* claim_hold without claim_release */

static bool has_barrier(void)
{
	return !QUARRY_TSAN && os_barrier_ready();
}

bool claim_is_locked_mode(void)
{
	return !has_barrier() || atomic_load_explicit(&holders, relaxed) > 0;
}

/* The visitor's view of a list that its thread may be using: one load, neither torn nor repeated. */
static struct block *load_block(struct block *const *place)
{
	return *(struct block *const volatile *)place;
}

static struct block **head_of(struct heap *heap, uint32_t list)
{
	if (list < NB_SIZE_CLASSES)
		return &heap->cache.head[list];
	return &heap->outbox[list - NB_SIZE_CLASSES].head;
}

/* Release and acquire: who finds a heap visited finds in the inboxes of others what it sent them. */
static void set_visited(struct heap *heap, bool visited)
{
	atomic_store_explicit(&heap->visited, visited, memory_order_release);
}

static bool is_visited(struct heap *heap)
{
	return atomic_load_explicit(&heap->visited, memory_order_acquire);
}

/* --- settle ------------------------------------------------------------------------------------------------------- */

unsigned claim_doubtful(struct heap *heap, struct block *blocks[2])
{
	if (!heap->taken || heap->seen_list >= CACHE_LISTS)
		return 0;
	struct block *head = load_block(head_of(heap, heap->seen_list)), *seen = heap->seen_head;
	unsigned n = 0;
	if (seen != NULL && head == heap->seen_next)
		return 0; /* H was popped */
	if (head != NULL && head != seen)
		blocks[n++] = head; /* B */
	if (seen != NULL)
		blocks[n++] = seen;
	return n;
}

/* Room and tail of a list that was cut by a visitor. */
static void count_list(struct heap *heap, uint32_t list)
{
	struct block **head = head_of(heap, list);
	unsigned n = 0;
	struct block *tail = NULL;
	for (struct block *block = *head; block != NULL; block = block_next(block), n++)
		tail = block;
	if (list < NB_SIZE_CLASSES) {
		heap->cache.room[list] = (int32_t)(heap->cache.bound[list] - n);
		heap->classes[list].excess = 0;
	} else if (tail != NULL) {
		struct outbox *box = &heap->outbox[list - NB_SIZE_CLASSES];
		box->tail = tail;
		box->room = (int32_t)OUTBOX_NBYTES;
		for (struct block *block = *head; block != NULL; block = block_next(block))
			box->room -= (int32_t)sizeclass_nbytes(word_szidx(address_map_word(block)));
	}
}

/* All lists but the one in doubt were taken; that one becomes a list again of what it holds. */
static void settle_taken(struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
		heap->cache.room[szidx] = (int32_t)heap->cache.bound[szidx];
		heap->classes[szidx].excess = 0;
	}
	if (QUARRY_HARDENED)
		quarantine_settle(heap->quarantine);
	if (heap->seen_list >= CACHE_LISTS)
		return;
	struct block *left[2];
	unsigned n = claim_doubtful(heap, left);
	*head_of(heap, heap->seen_list) = n == 0 ? NULL : left[0];
	if (n > 0)
		block_set_next(left[n - 1], NULL); /* what hung below was taken */
	count_list(heap, heap->seen_list);
}

/* The thread came by before the visitor could take anything. */
static void obey(struct heap *heap)
{
	if (heap->poked == POKED_TO_AGE) {
		cache_age(heap);
	} else {
		cache_flush_all(heap);
		set_visited(heap, true);
	}
}

void claim_settle(struct heap *heap)
{
	if (likely(!heap->diverted))
		return;
	if (heap->taken || heap->poked)
		slot.visited = 1;
	if (heap->taken)
		settle_taken(heap);
	if (heap->taken && atomic_load_explicit(&cache_exact, relaxed))
		cache_flush_all(heap); /* what was in doubt was free before the hold began */
	else if (!heap->taken && heap->poked)
		obey(heap);
	heap->taken = 0;
	heap->poked = POKED_NOT;
	heap->seen_list = CACHE_LISTS;
	heap->locked = claim_is_locked_mode();
	if (heap->locked)
		return;
	heap->diverted = 0;
	atomic_store_explicit(&slot.current, heap, memory_order_release);
}

/* --- divert, note, take ----------------------------------------------------------------------------------------- */

static void divert(struct heap *heap)
{
	atomic_store_explicit(&heap->slot->current, &heap_empty, memory_order_release);
	heap->diverted = 1;
}

static void note_head(struct heap *heap)
{
	heap->seen_list = (uint8_t)atomic_load_explicit(&heap->slot->last, relaxed);
	heap->seen_head = heap->seen_list < CACHE_LISTS ? load_block(head_of(heap, heap->seen_list)) : NULL;
	heap->seen_next = NULL;
	if (QUARRY_HARDENED)
		quarantine_note(heap->quarantine);
}

/* The block may have been handed out and freed meanwhile: the link is then nonsense, which the next look at the head
 * betrays, and its arena stays mapped, since whoever unmaps one holds VISIT. */
static void note_link(struct heap *heap)
{
	if (heap->seen_head == NULL)
		return;
#if QUARRY_HARDENED
	void *next;
	if (harden_link_holds(&heap->seen_head->next, &next))
		heap->seen_next = next;
	else
		heap->seen_head = (struct block *)heap; /* no block: the note does not hold */
#else
	heap->seen_next = load_block(&heap->seen_head->next);
#endif
}

static bool note_holds(struct heap *heap)
{
	return heap->seen_list >= CACHE_LISTS || load_block(head_of(heap, heap->seen_list)) == heap->seen_head;
}

/* Everything but the list in doubt, of which only what hangs below the head. What belongs to others is sent from an
 * outbox of the visitor's: the thread may be pushing into its own. */
static void take(struct heap *heap)
{
	struct outbox outbox[OUTBOX_BUCKETS];
	cache_outbox_init(outbox);
	heap->taken = 1;
	atomic_fetch_add_explicit(&heap->counters.visits, 1, relaxed);
	for (uint32_t list = 0; list < CACHE_LISTS; list++) {
		struct block **head = head_of(heap, list), *chain = *head;
		if (list == heap->seen_list)
			chain = heap->seen_next;
		else
			*head = NULL;
		cache_return_chain(heap, outbox, chain);
	}
	uint32_t place = 0;
	for (struct block *block; QUARRY_HARDENED && (block = quarantine_take_noted(heap->quarantine, &place)) != NULL;) {
		block_set_next(block, NULL);
		cache_return_chain(heap, outbox, block);
	}
	cache_send_all(outbox);
}

/* --- a visit ---------------------------------------------------------------------------------------------------- */

struct visit {
	struct heap *heap[BATCH];
	unsigned n;
};

/* Sums up where the lists stand. A race with the thread is harmless: the figure is then just another one. */
__attribute__((no_sanitize("thread"))) static uint64_t fingerprint(struct heap *heap)
{
	uint64_t sum = atomic_load_explicit(&heap->counters.refills, relaxed);
	for (uint32_t list = 0; list < CACHE_LISTS; list++)
		sum = sum * 31 + (uintptr_t)load_block(head_of(heap, list));
	return sum;
}

static bool is_idle(struct heap *heap)
{
	uint64_t now = fingerprint(heap);
	if (now != heap->fingerprint) {
		heap->fingerprint = now;
		heap->idle_ticks = 0;
		return false;
	}
	return ++heap->idle_ticks >= IDLE_TICKS;
}

/* Which way to a heap's lists, under its lock. */
enum access {
	OPEN,    /* at rest under the lock: no thread, the caller's own, or locked mode */
	BARRED,  /* the kernel withdrew membarrier and the thread has not gone over to locked mode yet */
	DIVERT,  /* by the protocol */
	EMPTIED, /* taken already, and the thread has not come by since */
};

static enum access access_to(const struct heap *heap)
{
	if (heap->kind != HEAP_ATTACHED || heap->slot == &slot || heap->locked)
		return OPEN;
	if (heap->taken)
		return EMPTIED;
	return has_barrier() ? DIVERT : BARRED;
}

bool claim_is_at_rest(const struct heap *heap)
{
	return access_to(heap) == OPEN;
}

static void empty_inbox(struct heap *heap)
{
	remote_drain(heap, UINT32_MAX);
	heap_release_empty(heap);
	if (heap->kind == HEAP_PARKED)
		heap_give_rings(heap);
}

/* The first step for a heap. True if the visit goes on with it; *whole becomes false where it cannot. */
static bool begin(struct heap *heap, enum claim_scope scope, bool *whole)
{
	bool goes_on = false;
	heap_lock(heap);
	enum access access = access_to(heap);
	bool wanted = scope == CLAIM_ALL || heap->kind != HEAP_ATTACHED;
	if (!wanted && access != EMPTIED && heap->slot != &slot)
		wanted = is_idle(heap);
	if (heap->slot == &slot) {
		divert(heap); /* so that settling decides the mode anew */
		claim_settle(heap);
	}
	if (access == OPEN && wanted && heap->kind != HEAP_SHARED)
		cache_flush_all(heap);
	if (access == BARRED)
		divert(heap); /* no barrier: the thread goes over by itself */
	if (access == BARRED && scope == CLAIM_ALL)
		*whole = false;
	if (access == DIVERT && (wanted || scope == CLAIM_POKE)) {
		divert(heap);
		heap->poked = scope == CLAIM_ALL ? POKED_TO_EMPTY : POKED_TO_AGE;
		goes_on = wanted;
	}
	set_visited(heap, !goes_on);
	if (wanted || access == EMPTIED || scope == CLAIM_POKE) /* one that lives in its cache sorts nothing itself */
		empty_inbox(heap);
	remote_unlock(heap);
	return goes_on;
}

/* One step of the protocol for every heap of the batch that is still diverted and has not settled, be it into locked
 * mode; a heap that fails it drops out. */
static void each(struct visit *visit, bool (*step)(struct heap *heap))
{
	unsigned kept = 0;
	for (unsigned i = 0; i < visit->n; i++) {
		struct heap *heap = visit->heap[i];
		heap_lock(heap);
		if (heap->kind == HEAP_ATTACHED && heap->diverted && !heap->locked && !heap->taken && step(heap))
			visit->heap[kept++] = heap;
		remote_unlock(heap);
	}
	visit->n = kept;
}

static bool step_note_head(struct heap *heap)
{
	note_head(heap);
	return true;
}

static bool step_note_link(struct heap *heap)
{
	note_link(heap);
	return true;
}

static bool step_take(struct heap *heap)
{
	if (!note_holds(heap))
		return false;
	take(heap);
	empty_inbox(heap);
	set_visited(heap, true);
	return true;
}

static bool finish(struct visit *visit)
{
	if (visit->n == 0)
		return true;
	if (!os_barrier())
		return false;
	each(visit, step_note_head);
	if (!os_barrier())
		return false;
	each(visit, step_note_link);
	if (!os_barrier())
		return false;
	each(visit, step_take);
	return true;
}

/* One round over the heaps that were not reached yet; returns how many still are not. */
static unsigned visit_round(enum claim_scope scope, bool *whole)
{
	struct visit visit = {.n = 0};
	unsigned missed = 0;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		if (!is_visited(heap) && begin(heap, scope, whole))
			visit.heap[visit.n++] = heap;
		if (visit.n == BATCH || heap_next(heap) == NULL) {
			*whole = finish(&visit) && *whole;
			visit.n = 0;
		}
	}
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		missed += !is_visited(heap);
	return missed;
}

/* What a heap sent to one that was visited before it; twice more for blocks that are forwarded. */
void claim_empty_inboxes(void)
{
	for (int pass = 0; pass < 3; pass++)
		for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
			heap_lock(heap);
			if (remote_is_waiting(heap) || heap->kind == HEAP_SHARED) /* a push may have emptied pools */
				empty_inbox(heap);
			remote_unlock(heap);
		}
}

/* A heap is missed while its thread comes by between the steps: if all are meant, it then empties its cache itself. */
static bool visit_all(enum claim_scope scope)
{
	bool whole = true;
	unsigned missed = 1;
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		set_visited(heap, false); /* before or after a thread that is settling says that its cache is empty */
	for (int tries = 0; missed > 0 && tries < (scope == CLAIM_ALL ? MOST_TRIES : 1); tries++)
		missed = visit_round(scope, &whole);
	if (scope != CLAIM_ALL)
		return whole; /* who was missed had come back to life */
	claim_empty_inboxes();
	return whole && missed == 0;
}

bool claim_visit(enum claim_scope scope)
{
	claim_lock();
	bool whole = visit_all(scope);
	claim_unlock();
	return whole;
}

bool claim_hold(void)
{
	claim_lock();
	atomic_fetch_add(&holders, 1);
	atomic_store(&cache_exact, true);
	heap_pass_registry(); /* a heap that is made from here on is attached in locked mode */
	bool whole = visit_all(CLAIM_ALL);
	claim_unlock();
	if (!whole)
		claim_release();
	return whole;
}

void claim_release(void)
{
	claim_lock();
	unsigned before = atomic_load(&holders);
	if (before > 0) /* a fork child may have let go already */
		atomic_store(&holders, before - 1);
	if (before <= 1)
		atomic_store(&cache_exact, false);
	claim_unlock();
}

/* --- fork ------------------------------------------------------------------------------------------------------- */

/* Threads, other than this one, whose lists are at rest only by the protocol. */
static bool is_in_doubt(const struct heap *heap)
{
	return heap->kind == HEAP_ATTACHED && heap->slot != &slot && !heap->taken && !heap->locked;
}

static void for_doubtful(void (*step)(struct heap *heap))
{
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		if (is_in_doubt(heap))
			step(heap);
}

static bool all_notes_hold(void)
{
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap))
		if (is_in_doubt(heap) && !note_holds(heap))
			return false;
	return true;
}

static bool notes_are_good; /* from prepare to child; under VISIT */

void claim_prepare_fork(void)
{
	notes_are_good = false;
	for_doubtful(divert);
	for (int tries = 0; tries < MOST_TRIES && !notes_are_good; tries++) {
		if (!os_barrier())
			return;
		for_doubtful(note_head);
		if (!os_barrier())
			return;
		for_doubtful(note_link);
		if (!os_barrier())
			return;
		notes_are_good = all_notes_hold();
	}
}

/* A vanished thread's lists stay with its heap, for whoever gets it next. The list in doubt is cut: the block at its
 * head may have been popped, and another may have been on its way there. */
static void orphan(struct heap *heap)
{
	for (uint32_t list = 0; list < CACHE_LISTS && !heap->locked; list++) {
		struct block **head = head_of(heap, list);
		if (!heap->taken && !notes_are_good)
			*head = NULL;
		else if (list == heap->seen_list)
			*head = heap->taken ? NULL : heap->seen_next;
		if (*head == NULL || list == heap->seen_list)
			count_list(heap, list);
	}
	if (QUARRY_HARDENED && !heap->locked)
		quarantine_orphan(heap->quarantine, heap->taken || notes_are_good);
	heap->diverted = heap->poked = heap->taken = heap->locked = 0;
	heap->seen_list = CACHE_LISTS;
	heap->slot = NULL;
	heap->kind = HEAP_PARKED;
}

void claim_orphans(struct heap *own)
{
	atomic_store(&holders, 0);
	atomic_store(&cache_exact, false);
	heap_forget_parked();
	for (struct heap *heap = heap_first(); heap != NULL; heap = heap_next(heap)) {
		if (heap->kind == HEAP_SHARED || heap == own)
			continue;
		if (heap->kind == HEAP_ATTACHED)
			orphan(heap);
		heap_park(heap); /* also one that a thread had in hand */
	}
}

void claim_lock(void)
{
	lock_take(&visit_lock, LOCK_VISIT);
}

void claim_unlock(void)
{
	lock_drop(&visit_lock, LOCK_VISIT);
}

void claim_unlock_after_fork(bool in_child)
{
	lock_after_fork(&visit_lock, LOCK_VISIT, in_child);
}
