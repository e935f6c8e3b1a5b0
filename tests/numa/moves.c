/* SPDX-License-Identifier: MIT */
/*
 * Scenarios of memory between nodes: blocks freed on another node than their own, threads that move, a node that is
 * full.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include <quarry/quarry.h>

#include "placement.h"

static uint64_t seed_of(int index)
{
	return UINT64_C(0xd1342543de82ef95) * (uint64_t)(index + 1);
}

/* --- a set of pages ----------------------------------------------------------------------------------------------- */

/* Page numbers, hashed; 0 marks an empty place. Never more than half full. */
#define PAGE_SET ((size_t)1 << 17)

static size_t place_of(const uintptr_t *set, uintptr_t page)
{
	size_t place = page * UINT64_C(0x9e3779b97f4a7c15) >> 47;

	while (set[place] != 0 && set[place] != page)
		place = (place + 1) % PAGE_SET;
	return place;
}

/* Count the pages of the blocks, right if the set has them; then add them to it. */
static void note_pages(uintptr_t *set, struct blocks blocks, struct tally *tally)
{
	for (size_t i = 0; i < blocks.n; i++) {
		uintptr_t first = (uintptr_t)blocks.block[i].address, last = first + blocks.block[i].nbytes - 1;

		for (uintptr_t page = first >> 12; page <= last >> 12; page++) {
			size_t place = place_of(set, page);

			tally->right += set[place] == page;
			tally->total++;
			set[place] = page;
		}
	}
}

/* --- producers and consumers -------------------------------------------------------------------------------------- */

/* Pairs on two nodes: one allocates, the other frees and then allocates for itself. */
#define NBLOCKS 800
#define ROUNDS 8

struct pair {
	struct blocks goods, own;
	struct tally producer, consumer, again;
	uintptr_t *pages; /* of all goods so far */
};
static struct pair pairs[MAX_CPUS / 2];

/* The same sizes in each round, so that all memory may come again. */
static void produce(struct pair *pair, int index, int node, bool last)
{
	uint64_t state = seed_of(index);
	struct tally again = { 0 };

	for (size_t i = 0; i < pair->goods.n; i++)
		block_fill(&pair->goods.block[i], random_size(&state, 0), node);
	ask_blocks(pair->goods, &pair->producer);
	note_pages(pair->pages, pair->goods, &again);
	if (last)
		pair->again = again;
}

static void consume(struct pair *pair, int index, int node)
{
	uint64_t state = seed_of(index);

	for (size_t i = 0; i < pair->goods.n; i++) {
		block_empty(&pair->goods.block[i]);
		if (i % 4 == 0) {
			block_empty(&pair->own.block[i / 4]);
			block_fill(&pair->own.block[i / 4], random_size(&state, 0), node);
		}
	}
	ask_blocks(pair->own, &pair->consumer);
}

static void work_remote(int index)
{
	struct pair *pair = &pairs[index / 2];
	int node = run_on(index);

	for (int round = 0; round < ROUNDS; round++) {
		if (index % 2 == 0)
			produce(pair, index, node, round == ROUNDS - 1);
		meet();
		if (index % 2 == 1)
			consume(pair, index, node);
		meet();
	}
}

int scenario_remote(void)
{
	struct tally producer = { 0 }, consumer = { 0 }, again = { 0 };
	int npairs = machine.ncpus / 2;

	for (int i = 0; i < npairs; i++) {
		pairs[i].goods = blocks_make(NBLOCKS);
		pairs[i].own = blocks_make(NBLOCKS / 4);
		pairs[i].pages = map_table(PAGE_SET * sizeof(uintptr_t));
	}
	on_all_cpus(work_remote, 2 * npairs);
	for (int i = 0; i < npairs; i++) {
		add(&producer, pairs[i].producer);
		add(&consumer, pairs[i].consumer);
		add(&again, pairs[i].again);
		blocks_empty(pairs[i].own);
	}
	figure("remote-producer", producer);
	figure("remote-consumer", consumer);
	figure("remote-again", again);
	return 0;
}

/* --- a thread that moves ------------------------------------------------------------------------------------------ */

#define MIGRANTS 600
#define REPLACED 4000
/* Of these, enough for the slow paths in a row that quarry_thread_node_set promises to follow after: they take 200. */
#define NOTICED_WITHIN 500

struct migrant {
	struct tally after, all; /* pages of blocks allocated since the move was noticed; since the move */
	long noticed_calls;      /* replacements until then; REPLACED: never */
	double noticed_seconds;
};
static struct migrant migrants[MAX_CPUS];

static void replace_one(struct blocks set, uint64_t *state, int node, struct block **replaced)
{
	struct block *block = &set.block[random_next(state) % set.n];

	block_empty(block);
	block_fill(block, random_size(state, 1000), node);
	*replaced = block;
}

/* What was allocated before the move goes as it is replaced: freed by a thread that is no longer on its node. */
static void work_migrate(int index)
{
	struct migrant *migrant = &migrants[index];
	struct blocks set = blocks_make(MIGRANTS);
	uint64_t state = seed_of(index);
	struct block *block;
	int node = run_on(index);

	for (int i = 0; i < REPLACED / 2; i++)
		replace_one(set, &state, node, &block);
	meet();
	node = run_on((index + 1) % machine.ncpus);
	migrant->noticed_calls = REPLACED;
	double start = seconds();
	for (long i = 0; i < REPLACED; i++) {
		struct tally tally = { 0 };

		replace_one(set, &state, node, &block);
		ask_pages(block->address, block->nbytes, node, &tally);
		add(&migrant->all, tally);
		if (migrant->noticed_calls == REPLACED) {
			migrant->noticed_seconds = seconds() - start;
			if (tally.right > 0)
				migrant->noticed_calls = i;
		}
		if (migrant->noticed_calls < REPLACED)
			add(&migrant->after, tally);
	}
	meet();
	blocks_empty(set);
}

int scenario_migrate(void)
{
	struct tally after = { 0 }, all = { 0 }, noticed = { 0 };
	struct migrant worst = { 0 };
	uint64_t moved = (uint64_t)machine.ncpus, counted;

	on_all_cpus(work_migrate, MAX_CPUS);
	for (int i = 0; i < machine.ncpus; i++) {
		add(&after, migrants[i].after);
		add(&all, migrants[i].all);
		noticed.right += migrants[i].noticed_calls < NOTICED_WITHIN;
		noticed.total++;
		if (migrants[i].noticed_calls > worst.noticed_calls)
			worst = migrants[i];
	}
	figure("migrate", after);
	figure("migrate-all", all);
	figure("migrate-noticed", noticed);
	if (sum_of_nodes(offsetof(struct quarry_node_stats, migrations), &counted))
		figure("migrate-counted", (struct tally){ counted < moved ? counted : moved, moved });
	note("migrate-noticed-calls", (double)worst.noticed_calls);
	note("migrate-noticed-ms", worst.noticed_seconds * 1e3);
	return 0;
}

/* --- a node that is full ------------------------------------------------------------------------------------------ */

/* The last CPU's node is small: more is asked of it than it has, and given back, and asked again. */
#define SPILL_NBYTES (150 * MIB)
#define SPILL_BLOCKS 40000

static struct tally spill_calls, spill_local, spill_later;

static void work_spill(int index)
{
	struct blocks set = blocks_make(SPILL_BLOCKS);
	uint64_t state = seed_of(index);
	size_t sum = 0, n = 0;
	int node = run_on(index);

	for (; sum < SPILL_NBYTES && n < set.n; n++) {
		size_t nbytes = random_size(&state, 400);
		char *address = malloc(nbytes);

		spill_calls.right += address != NULL;
		spill_calls.total++;
		if (!address)
			continue;
		touch(address, nbytes);
		set.block[n] = (struct block){ address, nbytes, node };
		sum += nbytes;
	}
	CHECK(sum >= SPILL_NBYTES);
	ask_blocks(set, &spill_local);
	blocks_empty(set);
	malloc_trim(0);
	for (n = 0; n < 400; n++)
		block_fill(&set.block[n], random_size(&state, 0), node);
	ask_blocks(set, &spill_later);
	blocks_empty(set);
}

int scenario_spill(void)
{
	uint64_t counted;

	on_one_cpu(work_spill, machine.ncpus - 1);
	figure("spill", spill_calls);
	figure("spill-later", spill_later);
	if (sum_of_nodes(offsetof(struct quarry_node_stats, spills), &counted))
		figure("spill-counted", (struct tally){ counted > 0, 1 });
	note("spill-local-percent", 100.0 * (double)spill_local.right / (double)spill_local.total);
	return 0;
}
