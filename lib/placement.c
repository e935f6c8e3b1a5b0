/* SPDX-License-Identifier: MIT */
/*
 * Placement: the public calls that name a node, a set of nodes or a kind of memory. Owns whose turn it is among the
 * nodes of sets; the rest is in the rooms below.
 */
#include <errno.h>
#include <limits.h>

#include "arena_list.h"
#include "entry.h"
#include "guard.h"
#include "large.h"
#include "node.h"
#include "quarry/quarry.h"
#include "sample.h"
#include "thread.h"

#define LONG_BITS (sizeof(long) * CHAR_BIT)

/* Blocks above this have their pages spread; below, whole blocks are. */
#define WHOLE_MOST_NBYTES ((size_t)64 << 10)

_Static_assert((int)QUARRY_KIND_BANDWIDTH == TOPOLOGY_BANDWIDTH && (int)QUARRY_KIND_LATENCY == TOPOLOGY_LATENCY &&
                       (int)QUARRY_KIND_CAPACITY == TOPOLOGY_CAPACITY,
               "kinds have one number");
_Static_assert(QUARRY_NODE_FOLLOW == THREAD_FOLLOWS, "so has no node");

/* Any numbers: each counts the blocks of some sets, since sets of one count would take turns from each other. */
#define TURNS 64
static _Atomic unsigned turns[TURNS];

static void *invalid(void)
{
	errno = EINVAL;
	return NULL;
}

/* The thread's own cache serves its own node. No further: the slow path of malloc goes where the thread runs now. */
static void *malloc_on(unsigned node, size_t nbytes)
{
	if (node_count() == 1)
		return entry_malloc(nbytes);
	const struct heap *heap = thread_heap();
	bool cached = !QUARRY_BLOCK_BITS && nbytes <= sizeclass_limit && heap != NULL && heap->node == node && sample_rate() == 0;
	struct block *block = cached ? cache_take(sizeclass_of(nbytes)) : NULL;
	return block != NULL ? block : entry_malloc_on(node, nbytes);
}

void *quarry_malloc_on_node(size_t nbytes, int os_node)
{
	int node = node_of_os_index(os_node);
	return node < 0 ? invalid() : malloc_on((unsigned)node, nbytes);
}

/* --- sets --------------------------------------------------------------------------------------------------------- */

#define WORDS (sizeof(((struct node_set *)NULL)->bits) / sizeof(uint64_t))

static void add(struct node_set *set, unsigned node)
{
	set->bits[node / 64] |= (uint64_t)1 << node % 64;
}

/* False: no node, or one that may not be used. */
static bool read_mask(struct node_set *set, const unsigned long *nodemask, unsigned long maxnode)
{
	bool some = false;
	*set = (struct node_set){{0}};
	for (unsigned node = 0; nodemask == NULL && node < node_count(); node++)
		add(set, node);
	for (unsigned long os_node = 0; nodemask != NULL && os_node < maxnode; os_node++) {
		if ((nodemask[os_node / LONG_BITS] >> os_node % LONG_BITS & 1) == 0)
			continue;
		int node = os_node > INT_MAX ? -1 : node_of_os_index((int)os_node);
		if (node < 0)
			return false;
		add(set, (unsigned)node);
		some = true;
	}
	return some || nodemask == NULL;
}

static unsigned take_turn(const struct node_set *set)
{
	unsigned n = 0, i = 0;
	uint64_t mix = 0;
	for (size_t word = 0; word < WORDS; word++) {
		n += (unsigned)__builtin_popcountll(set->bits[word]);
		mix = (mix ^ set->bits[word]) * UINT64_C(0x9e3779b97f4a7c15);
	}
	unsigned k = atomic_fetch_add_explicit(&turns[(mix >> 32) % TURNS], 1, memory_order_relaxed) % n;
	uint64_t bits = set->bits[0];
	for (;; bits &= bits - 1) {
		while (bits == 0)
			bits = set->bits[++i];
		if (k-- == 0)
			return i * 64 + (unsigned)__builtin_ctzll(bits);
	}
}

void *quarry_malloc_interleaved(size_t nbytes, const unsigned long *nodemask, unsigned long maxnode)
{
	struct node_set set;
	if (!read_mask(&set, nodemask, maxnode))
		return invalid();
	if (node_count() == 1)
		return entry_malloc(nbytes);
	if (nbytes > WHOLE_MOST_NBYTES)
		return entry_malloc_over(&set, nbytes);
	return malloc_on(take_turn(&set), nbytes);
}

/* --- kinds -------------------------------------------------------------------------------------------------------- */

void *quarry_malloc_kind(size_t nbytes, enum quarry_kind kind)
{
	if ((unsigned)kind >= TOPOLOGY_KINDS)
		return invalid();
	unsigned node = thread_node();
	unsigned best = node_of_kind(node, kind);
	return best < node_count() ? malloc_on(best, nbytes) : entry_malloc(nbytes);
}

/* --- asking, pinning ---------------------------------------------------------------------------------------------- */

int quarry_node_of(const void *ptr)
{
	uint32_t word = address_map_word(ptr);
	struct large_block large;
	struct guard_block guarded;
	if (guard_is(word))
		return guard_find(ptr, &guarded) ? node_home(guarded.node) : -1;
	if (word_is_pool(word) || word == WORD_SPAN || word == WORD_SPAN_REST)
		return node_home(arena_at(arena_base(ptr))->node);
	return large_at(ptr, &large) || large_find(ptr, &large) ? node_home(large.node) : -1;
}

int quarry_thread_node_set(int os_node)
{
	int node = os_node == QUARRY_NODE_FOLLOW ? THREAD_FOLLOWS : node_of_os_index(os_node);
	if (node < 0 && os_node != QUARRY_NODE_FOLLOW) {
		errno = EINVAL;
		return -1;
	}
	return thread_pin(node) ? 0 : -1;
}

int quarry_thread_node_get(void)
{
	int node = thread_pinned();
	return node == THREAD_FOLLOWS ? QUARRY_NODE_FOLLOW : node_home((unsigned)node);
}
