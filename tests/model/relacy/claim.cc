/* SPDX-License-Identifier: MIT */
/*
 * The slot (lib/slot.h), the fast path's announcement (lib/cache.h) and the visit (lib/claim.c): one thread pops from
 * two lists and pushes to them, now and then by a slow path, while another visits all caches.
 *
 * The thread's stores are relaxed, as its machine may have them; a membarrier is a full fence wherever the thread is.
 * What the model has of its own: pools (a word per block that says where it is), and the slow path around claim_settle.
 */
#define THREADS 2
#include "shim.h"

#define NB_SIZE_CLASSES 2
#define OUTBOX_BUCKETS 1
#define OUTBOX_NBYTES 16384
#define CACHE_LISTS (NB_SIZE_CLASSES + OUTBOX_BUCKETS)
#define BLOCKS 3 /* of each list */
#define OPERATIONS 4

enum place { IN_POOL, IN_LIST, OUT };

struct block {
	racy<struct block *> next;
	enum place place;
	unsigned szidx;
};

typedef racy<struct block *> block_link;

/* --- what stands for lib/heap.h ----------------------------------------------------------------------------------- */

#define QUARRY_HEAP_H
#define QUARRY_REMOTE_H
#include "lock.h"
#include "lock.c"

static struct slot *own_slot();
#include "slot.h"

struct cache {
	block_link head[NB_SIZE_CLASSES];
	int32_t room[NB_SIZE_CLASSES];
	uint32_t bound[NB_SIZE_CLASSES];
};
struct outbox {
	block_link head;
	struct block *tail;
	int32_t room;
};
struct cache_class {
	uint16_t excess;
};
enum poke { POKED_NOT, POKED_TO_AGE, POKED_TO_EMPTY };
enum heap_kind { HEAP_ATTACHED, HEAP_PARKED, HEAP_SHARED };

/* The hardened library's alone. */
struct quarantine {};

struct heap {
	struct cache cache;
	struct quarantine quarantine[1];
	struct outbox outbox[OUTBOX_BUCKETS];
	struct cache_class classes[NB_SIZE_CLASSES];
	uint8_t diverted, poked, taken, locked;
	shared<uint8_t> visited;
	enum heap_kind kind;
	uint32_t seen_list;
	struct block *seen_head, *seen_next;
	uint64_t fingerprint;
	uint32_t idle_ticks;
	struct {
		shared<uint64_t> visits, refills;
	} counters;
	struct slot *slot;
	struct lock lock;
};

#include "blocks.h"

/* Of the model that runs. */
static struct slot *slots;
static struct heap *only, *empty;
static struct block *blocks;
static struct block *junk; /* what stands in a link that is none */
static struct lock *visit_lock_of_model;
static shared<unsigned> *holders_of_model;
static shared<bool> *cache_exact_of_model;
#define visit_lock (*visit_lock_of_model)
#define holders (*holders_of_model)
#define cache_exact (*cache_exact_of_model)
#define heap_empty (*empty)

static struct slot *own_slot()
{
	return &slots[rl::ctx().current_thread()];
}

static struct heap *heap_first()
{
	return only;
}

static struct heap *heap_next(const struct heap *)
{
	return NULL;
}

static void heap_release_empty(struct heap *) {}
static void heap_give_rings(struct heap *) {}
static void heap_park(struct heap *) {}
static void heap_forget_parked() {}
static void heap_pass_registry() {}

static unsigned remote_drain(struct heap *, unsigned)
{
	return 0;
}

static bool remote_is_waiting(const struct heap *)
{
	return false;
}

static void remote_unlock(struct heap *heap)
{
	heap_unlock(heap);
}

static void quarantine_settle(struct quarantine *) {}
static void quarantine_note(struct quarantine *) {}
static void quarantine_orphan(struct quarantine *, bool) {}

static struct block *quarantine_take_noted(struct quarantine *, unsigned *)
{
	return NULL;
}

static uint32_t address_map_word(const struct block *)
{
	return 0;
}

static unsigned word_szidx(uint32_t)
{
	return 0;
}

static size_t sizeclass_nbytes(unsigned)
{
	return 16;
}

#include "cache.h"
#include "claim.h"
#include "claim.c"

/* --- lib/cache.c as far as it goes here --------------------------------------------------------------------------- */

void cache_outbox_init(struct outbox *) {}
void cache_send_all(struct outbox *) {}

void cache_return_chain(struct heap *, struct outbox *, struct block *chain)
{
	for (struct block *next; chain != NULL; chain = next) {
		RL_ASSERT(chain != junk && chain->place == IN_LIST);
		next = chain->next;
		chain->place = IN_POOL;
		chain->next = junk;
	}
}

void cache_flush_list(struct heap *heap, unsigned szidx)
{
	struct block *chain = heap->cache.head[szidx];
	heap->cache.head[szidx] = (struct block *)NULL;
	cache_return_chain(heap, heap->outbox, chain);
}

void cache_flush_all(struct heap *heap)
{
	for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
		cache_flush_list(heap, szidx);
}

void cache_age(struct heap *heap)
{
	cache_flush_all(heap);
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

#ifndef OTHER_THREAD /* fork.cc has another one */
#define OTHER_THREAD claim_visit(CLAIM_ALL)
#define MORE_MEMORY
#endif

struct claim_model : rl::test_suite<claim_model, THREADS> {
	system_parts parts;
	struct slot slot_of[THREADS];
	struct heap heap, none;
	struct block block[NB_SIZE_CLASSES * BLOCKS], no_block;
	struct lock visiting;
	shared<unsigned> nholders;
	shared<bool> exact;
	struct block *mine[OPERATIONS]; /* blocks that the thread has out */
	unsigned nmine;
	MORE_MEMORY

	void before()
	{
		slots = slot_of;
		only = &heap;
		empty = &none;
		blocks = block;
		junk = &no_block;
		visit_lock_of_model = &visiting;
		holders_of_model = &nholders;
		cache_exact_of_model = &exact;
		nmine = 0;
		heap.kind = HEAP_ATTACHED;
		heap.slot = &slot_of[0];
		heap.diverted = heap.poked = heap.taken = heap.locked = 0;
		heap.seen_list = CACHE_LISTS;
		heap.seen_head = heap.seen_next = NULL;
		heap.fingerprint = heap.idle_ticks = 0;
		slot_of[0].last = CACHE_LISTS;
		slot_of[0].current = &heap;
		slot_of[0].heap = &heap;
		slot_of[1].current = &none;
		slot_of[1].heap = NULL;
		for (unsigned i = 0; i < NB_SIZE_CLASSES * BLOCKS; i++) {
			unsigned szidx = i / BLOCKS;
			block[i].szidx = szidx;
			block[i].place = i % BLOCKS == 0 ? IN_POOL : IN_LIST;
			block[i].next = i % BLOCKS == 0 ? junk : (struct block *)heap.cache.head[szidx];
			if (i % BLOCKS != 0)
				heap.cache.head[szidx] = &block[i];
		}
	}

	/* The program writes to it at once. */
	void hand_out(struct block *got)
	{
		RL_ASSERT(got != junk && got->place == IN_LIST);
		got->place = OUT;
		got->next = junk;
		mine[nmine++] = got;
	}

	void allocate_slowly(unsigned szidx)
	{
		heap_lock(&heap);
		claim_settle(&heap);
		struct block *head = heap.cache.head[szidx];
		for (unsigned i = 0; head == NULL && i < NB_SIZE_CLASSES * BLOCKS; i++)
			if (block[i].szidx == szidx && block[i].place == IN_POOL) {
				block[i].place = IN_LIST;
				block[i].next = (struct block *)NULL;
				head = &block[i];
			}
		if (head != NULL) { /* else all are out */
			heap.cache.head[szidx] = (struct block *)head->next;
			hand_out(head);
		}
		remote_unlock(&heap);
	}

	void free_slowly(struct block *freed)
	{
		heap_lock(&heap);
		claim_settle(&heap);
		freed->place = IN_LIST;
		cache_push(&heap.cache, freed->szidx, freed);
		remote_unlock(&heap);
	}

	void allocate(unsigned szidx)
	{
		struct block *got = cache_take(szidx);
		if (got != NULL)
			hand_out(got);
		else
			allocate_slowly(szidx);
	}

	/* As entry_free does. */
	void free_one(struct block *freed)
	{
		struct heap *current = cache_announce(freed->szidx);
		if (current == &none) {
			free_slowly(freed);
			return;
		}
		freed->place = IN_LIST;
		cache_push(&current->cache, freed->szidx, freed);
	}

	void use()
	{
		for (unsigned i = 0; i < OPERATIONS; i++) {
			if (nmine > 0 && rl::rand(2) == 0)
				free_one(mine[--nmine]);
			else
				allocate(rl::rand(NB_SIZE_CLASSES));
		}
		heap_lock(&heap); /* its last slow path */
		claim_settle(&heap);
		remote_unlock(&heap);
	}

	void thread(unsigned index)
	{
		thread_begins(index);
		if (index == 0)
			use();
		else
			OTHER_THREAD;
	}

	/* Each block is at one place, and the lists hold exactly those that say so. */
	void after()
	{
		unsigned listed = 0;
		for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)
			for (struct block *at = heap.cache.head[szidx]; at != NULL; at = at->next) {
				RL_ASSERT(at != junk && at->place == IN_LIST && at->szidx == szidx);
				RL_ASSERT(++listed <= NB_SIZE_CLASSES * BLOCKS);
			}
		for (unsigned i = 0; i < NB_SIZE_CLASSES * BLOCKS; i++)
			listed -= block[i].place == IN_LIST;
		RL_ASSERT(listed == 0);
	}
};

int main(int, char **argv)
{
	return run_model<claim_model>(strtoul(argv[1], NULL, 10));
}
