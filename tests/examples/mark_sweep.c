/* SPDX-License-Identifier: MIT */
/*
 * An example: a mark-and-sweep collector for a program that counts references. Counting frees what nobody refers to,
 * but not objects that refer to one another in a circle. The collector finds those with two calls of Quarry's, and
 * needs neither a list of all objects nor a header in them:
 *
 *     quarry_walk      lists the live blocks
 *     quarry_block_of  says which block a word points into, its middle too
 *
 * It is conservative: each word of a block that might be a pointer counts as one. The table of blocks lies in libc's
 * memory, since this program keeps its own malloc beside Quarry's.
 */
#include <quarry/quarry.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the collector ------------------------------------------------------------------------------------------------ */

struct entry {
	void **address;
	size_t nwords;
	bool marked;
};

struct collector {
	struct entry *entries; /* by address */
	size_t n, room;
	size_t *stack;         /* marked entries whose words are still to be looked at */
	size_t depth;
};

static int add_block(const struct quarry_block *block, void *arg)
{
	struct collector *collector = arg;
	if (collector->n == collector->room) {
		collector->room = 2 * collector->room + 1000;
		collector->entries = realloc(collector->entries, collector->room * sizeof(*collector->entries));
		if (collector->entries == NULL)
			return -1;
	}
	collector->entries[collector->n++] = (struct entry){block->address, block->nbytes / sizeof(void *), false};
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	return (left->address > right->address) - (left->address < right->address);
}

/* What a block was before it was freed is no live block: the walk decides. */
static void mark_word(struct collector *collector, const void *word)
{
	struct entry wanted = {.address = quarry_block_of(word, NULL)};
	struct entry *entry = wanted.address == NULL ? NULL : bsearch(&wanted, collector->entries, collector->n,
	                                                              sizeof(wanted), by_address);
	if (entry == NULL || entry->marked)
		return;
	entry->marked = true;
	collector->stack[collector->depth++] = (size_t)(entry - collector->entries);
}

static void mark_range(struct collector *collector, void *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mark_word(collector, words[i]);
	while (collector->depth > 0) {
		const struct entry *entry = &collector->entries[collector->stack[--collector->depth]];
		for (size_t i = 0; i < entry->nwords; i++)
			mark_word(collector, entry->address[i]);
	}
}

/* Free every block that cannot be reached from the roots; their number. No other thread may change references. */
static size_t collect(void *const *roots, size_t nroots)
{
	struct collector collector = {0};
	size_t freed = 0;
	if (quarry_walk(add_block, &collector) != 0)
		abort();
	qsort(collector.entries, collector.n, sizeof(*collector.entries), by_address);
	collector.stack = calloc(collector.n + 1, sizeof(*collector.stack));
	if (collector.stack == NULL)
		abort();
	mark_range(&collector, roots, nroots);
	for (size_t i = 0; i < collector.n; i++)
		if (!collector.entries[i].marked) {
			quarry_free(collector.entries[i].address);
			freed++;
		}
	free(collector.stack);
	free(collector.entries);
	return freed;
}

/* --- a program that counts references ----------------------------------------------------------------------------- */

struct object {
	size_t count; /* references to it */
	size_t n;
	struct object *refers_to[];
};

static size_t nlive; /* objects that counting has not freed */

/* All of its block is zeroed: what an earlier object left behind the new one's end would count as references. */
static struct object *make(size_t n, size_t more)
{
	struct object *object = quarry_calloc(1, quarry_good_size(sizeof(*object) + n * sizeof(struct object *) + more));
	if (object == NULL)
		abort();
	object->n = n;
	nlive++;
	return object;
}

static void drop(struct object *object)
{
	if (object == NULL || --object->count > 0)
		return;
	for (size_t i = 0; i < object->n; i++)
		drop(object->refers_to[i]);
	nlive--;
	quarry_free(object);
}

static void assign(struct object **place, struct object *object)
{
	struct object *before = *place;
	if (object != NULL)
		object->count++;
	*place = object;
	drop(before);
}

static unsigned below(unsigned n)
{
	static uint32_t state = 1;
	state = state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)state * n >> 32);
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

#define NROOTS 50
static struct object *roots[NROOTS];
static struct object *reached[200000];

/* What can be reached, by the program's own knowledge of its objects. The count's top bit says: seen. */
#define SEEN (~(SIZE_MAX >> 1))

static size_t count_reachable(void)
{
	size_t n = 0;
	for (size_t at = 0, root = 0; root < NROOTS || at < n;) {
		bool from_root = root < NROOTS;
		struct object *object = from_root ? NULL : reached[at++], *single = from_root ? roots[root++] : NULL;
		struct object *const *list = from_root ? &single : object->refers_to;
		for (size_t i = 0; i < (from_root ? 1 : object->n); i++)
			if (list[i] != NULL && !(list[i]->count & SEEN)) {
				list[i]->count |= SEEN;
				reached[n++] = list[i];
			}
	}
	for (size_t i = 0; i < n; i++)
		reached[i]->count &= ~SEEN;
	return n;
}

static int count_block(const struct quarry_block *block, void *arg)
{
	(void)block;
	++*(size_t *)arg;
	return 0;
}

/* Objects of all sizes that refer to others at random, circles among them; then most references go. */
static void live_a_while(void)
{
	static struct object *table[10000]; /* not counted: the program's borrowed pointers */
	size_t n = sizeof(table) / sizeof(table[0]);
	for (size_t i = 0; i < n; i++)
		table[i] = make(below(6), below(1000) == 0 ? 100000 + below(100) * 50000 : below(300));
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < table[i]->n; k++)
			if (below(3) != 0)
				assign(&table[i]->refers_to[k], table[i / 100 * 100 + below(100)]);
	for (size_t i = 0; i < NROOTS; i++)
		assign(&roots[i], table[below((unsigned)n)]);
	/* What nobody refers to goes, as counting has it. */
	for (size_t i = 0; i < n; i++)
		table[i]->count++;
	for (size_t i = 0; i < n; i++)
		drop(table[i]);
}

int main(void)
{
	int failures = 0;
	for (int round = 0; round < 3; round++) {
		live_a_while();
		size_t reachable = count_reachable(), left = nlive - reachable;
		size_t freed = collect((void *const *)roots, NROOTS), there = 0;
		nlive -= freed;
		quarry_walk(count_block, &there);
		printf("round %d: counting left %zu objects in circles, the collector freed %zu; %zu are in use\n", round, left,
		       freed, there);
		if (left == 0 || freed != left || there != reachable || count_reachable() != reachable)
			failures++;
	}
	/* A pointer to the middle keeps its object. */
	struct object *object = make(0, 1000);
	void *middle = (char *)object + 500;
	for (size_t i = 0; i < NROOTS; i++)
		roots[i] = NULL;
	nlive = 1;
	collect(&middle, 1);
	size_t there = 0;
	quarry_walk(count_block, &there);
	failures += there != 1;
	collect(NULL, 0);
	there = 0;
	quarry_walk(count_block, &there);
	failures += there != 0;
	return failures != 0;
}
