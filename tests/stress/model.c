/* SPDX-License-Identifier: MIT */
/*
 * Random sequences of all calls against a shadow model: which blocks are live, where they begin and end, what they
 * hold. No two live blocks overlap, sizes are what was promised, block-of and ownership agree with the model, and
 * failing calls change nothing.
 *
 * First one thread alone, whose sequence depends on QUARRY_TEST_SEED only; then several, each with its own model.
 */
#include "stress.h"

#define MOST_PIECES 400
#define THREADS 3
#define SEQUENCE 4000 /* steps until the model is emptied and begins anew, with other sizes */

struct model {
	uint64_t rng;
	uint64_t tag;
	unsigned bits; /* sizes below 2^bits in this sequence */
	struct piece pieces[MOST_PIECES];
	uintptr_t starts[MOST_PIECES], ends[MOST_PIECES]; /* of the usable bytes, by address */
	size_t live;
};

/* Index of the first live block that ends above an address. */
static size_t find(const struct model *model, uintptr_t address)
{
	size_t low = 0, high = model->live;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (model->ends[middle] <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void enter(struct model *model, const struct piece *piece)
{
	uintptr_t start = (uintptr_t)piece->block, end = start + quarry_usable_size(piece->block);
	size_t at = find(model, start);

	CHECK(end >= start + piece->nbytes);
	CHECKF(at == model->live || model->starts[at] >= end, "  %zu bytes at %p overlap a block at %p", piece->nbytes,
	       piece->block, (void *)model->starts[at]);
	memmove(&model->starts[at + 1], &model->starts[at], (model->live - at) * sizeof start);
	memmove(&model->ends[at + 1], &model->ends[at], (model->live - at) * sizeof end);
	model->starts[at] = start;
	model->ends[at] = end;
	model->live++;
}

static void leave(struct model *model, const struct piece *piece)
{
	size_t at = find(model, (uintptr_t)piece->block);

	CHECK(at < model->live && model->starts[at] == (uintptr_t)piece->block);
	model->live--;
	memmove(&model->starts[at], &model->starts[at + 1], (model->live - at) * sizeof *model->starts);
	memmove(&model->ends[at], &model->ends[at + 1], (model->live - at) * sizeof *model->ends);
}

static size_t any_size(struct model *model)
{
	return rng_below(&model->rng, 300) == 0 ? 0 : rng_size(&model->rng, model->bits);
}

static void make(struct model *model, struct piece *piece)
{
	size_t nbytes = any_size(model), good = quarry_good_size(nbytes);

	*piece = piece_make(&model->rng, nbytes, model->tag);
	enter(model, piece);
	CHECKF(good >= nbytes && good != 0, "  good size of %zu is %zu", nbytes, good);
	if (rng_below(&model->rng, 16) == 0) {
		size_t usable = 0;
		void *plain = quarry_malloc_usable(nbytes, &usable);
		CHECKF(usable == good, "  %zu bytes took %zu, predicted were %zu", nbytes, usable, good);
		quarry_free(plain);
	}
}

static void change(struct model *model, struct piece *piece)
{
	size_t nbytes = any_size(model);

	leave(model, piece);
	piece_resize(&model->rng, piece, nbytes == 0 ? 1 : nbytes);
	enter(model, piece);
}

/* The block of an address inside; ownership there, and not on the stack, in static data or nowhere. */
static void look(struct model *model, const struct piece *piece)
{
	size_t usable = quarry_usable_size(piece->block), found = 0;
	size_t offset = usable == 0 ? 0 : rng_below(&model->rng, usable);
	static char own;
	char *inside = (char *)piece->block + offset;

	CHECK(quarry_owns(inside) == 1);
	CHECKF(quarry_block_of(inside, &found) == piece->block, "  block of %p + %zu (%zu bytes) is %p", piece->block,
	       offset, usable, quarry_block_of(inside, NULL));
	CHECK(found == usable);
	CHECK(quarry_owns(NULL) == 0 && quarry_owns(&own) == 0 && quarry_owns(&offset) == 0);
	/* Any address at all may be asked about. */
	CHECK((quarry_owns((void *)(uintptr_t)rng_next(&model->rng)) & ~1) == 0);
	CHECK(quarry_block_of(&own, NULL) == NULL && quarry_block_of(NULL, NULL) == NULL);
}

/* What must fail, and leave the block as it was. */
static void fail(struct piece *piece)
{
	volatile size_t huge = PTRDIFF_MAX, most = SIZE_MAX;
	void *untouched = piece->block;

	errno = 0;
	CHECK(quarry_malloc(huge) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(quarry_realloc(piece->block, huge) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(quarry_calloc(most / 2, 3) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(quarry_reallocarray(piece->block, most / 4, 5) == NULL && errno == ENOMEM);
	errno = 77;
	CHECK(quarry_posix_memalign(&untouched, 3, 10) == EINVAL);
	CHECK(quarry_posix_memalign(&untouched, 64, huge) == ENOMEM);
	CHECK(errno == 77 && untouched == piece->block);
	CHECK(quarry_resize_in_place(piece->block, huge) == 0 && quarry_good_size(huge) == 0);
	piece_verify(piece);
}

static void step(struct model *model)
{
	struct piece *piece = &model->pieces[rng_below(&model->rng, MOST_PIECES)];

	if (piece->block == NULL) {
		make(model, piece);
		return;
	}
	switch (rng_below(&model->rng, 16)) {
	case 0:
	case 1:
	case 2:
		change(model, piece);
		break;
	case 3:
		look(model, piece);
		break;
	case 4:
		if (rng_below(&model->rng, 50) == 0)
			fail(piece);
		else if (rng_below(&model->rng, 200) == 0)
			quarry_trim(rng_below(&model->rng, MIB));
		break;
	default:
		leave(model, piece);
		piece_free(&model->rng, piece);
	}
}

static void sequence(struct model *model)
{
	model->bits = 4 + (unsigned)rng_below(&model->rng, 20);
	for (int i = 0; i < SEQUENCE; i++)
		step(model);
	for (size_t i = 0; i < MOST_PIECES; i++)
		if (model->pieces[i].block != NULL) {
			leave(model, &model->pieces[i]);
			piece_free(&model->rng, &model->pieces[i]);
		}
	CHECK(model->live == 0);
}

static void *run(void *arg)
{
	struct model *model = map_table(sizeof *model);
	double end = now() + test_seconds(3) / 2;

	model->tag = (uint64_t)(uintptr_t)arg;
	model->rng = test_seed(model->tag);
	for (unsigned count = 0; now() < end || count == 0; count++)
		sequence(model);
	return NULL;
}

/* While nobody else is inside. What caches hold is counted closely, and exactly once they have been emptied. */
static void check_stats(uint64_t live_before, uint64_t tolerance)
{
	struct quarry_stats stats = { .version = 0 }, first = { .version = 0 };

	CHECK(quarry_stats_get(&stats, sizeof stats) == 0 && stats.version == QUARRY_STATS_VERSION && stats.nodes >= 1);
	CHECKF(stats.live <= live_before + tolerance && live_before <= stats.live + tolerance,
	       "  live %llu bytes, before %llu", (unsigned long long)stats.live, (unsigned long long)live_before);
	uint64_t sum = stats.live + stats.cached + stats.free_dirty + stats.free_clean + stats.metadata;
	CHECKF(stats.mapped == sum, "  mapped %llu bytes, the parts are %llu", (unsigned long long)stats.mapped,
	       (unsigned long long)sum);
	errno = 0;
	CHECK(quarry_stats_get(&stats, 4) == -1 && errno == EINVAL);
	CHECK(quarry_stats_get(&first, 8) == 0 && first.version == QUARRY_STATS_VERSION && first.mapped == 0);
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	CHECK(quarry_stats_print(null) == 0 && quarry_stats_print(-1) == -1);
	close(null);
}

int main(void)
{
	pthread_t threads[THREADS];
	uint64_t live_before;

	test_start(60);
	test_seed(0);
	live_before = stats_live();
	run(NULL);
	check_stats(live_before, 64 * KIB);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, run, (void *)(i + 1)) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	check_stats(live_before, 64 * KIB);
	quarry_trim(0);
	check_stats(live_before, 0);
	return 0;
}
