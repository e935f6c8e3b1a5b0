/* SPDX-License-Identifier: MIT */
/*
 * All threads exchange patterned blocks of 1 B to 8 MB through a shared table; threads end and are replaced meanwhile.
 *
 * Whoever takes a piece out of the table verifies it, and then frees it, resizes it or puts it back elsewhere: most
 * blocks are freed by another thread than the one that allocated them, many after that one has gone.
 */
#include "stress.h"

#define SLOTS 2048
#define LIFETIME 20000 /* steps of a thread */
#define MOST_LIVE (192 * MIB)

static struct slot slots[SLOTS];

static size_t live;

static void count(size_t more, size_t less)
{
	__atomic_fetch_add(&live, more - less, __ATOMIC_RELAXED);
}

/* 1 B to 8 MB, the large ones seldom, and only while the table as a whole is not too large. */
static size_t any_size(uint64_t *rng)
{
	unsigned bits = rng_below(rng, 200) == 0 ? 23 : rng_below(rng, 8) == 0 ? 17 : 12;

	if (__atomic_load_n(&live, __ATOMIC_RELAXED) > MOST_LIVE)
		bits = 8;
	return rng_size(rng, bits);
}

static void step(uint64_t *rng, uint64_t tag)
{
	struct piece piece = { .block = NULL };

	switch (rng_below(rng, 8)) {
	case 0: /* leave a gap */
		break;
	case 1: /* resize what lies there, and move it */
		piece = swap(&slots[rng_below(rng, SLOTS)], piece);
		if (piece.block != NULL) {
			size_t before = piece.nbytes;
			piece_resize(rng, &piece, any_size(rng));
			count(piece.nbytes, before);
		}
		break;
	default:
		piece = piece_make(rng, any_size(rng), tag);
		count(piece.nbytes, 0);
	}
	piece = swap(&slots[rng_below(rng, SLOTS)], piece);
	if (piece.block != NULL)
		count(0, piece.nbytes);
	piece_free(rng, &piece);
}

static void *live_a_while(void *arg)
{
	uint64_t number = (uint64_t)(uintptr_t)arg, rng = test_seed(number + 1);

	for (int i = 0; i < LIFETIME && crowd_goes_on(); i++)
		step(&rng, number % 1000);
	return NULL;
}

int main(void)
{
	uint64_t rng, live_before;

	test_start(60);
	rng = test_seed(0);
	live_before = stats_live();
	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&slots[i].lock, NULL);
	size_t started = crowd_lives(live_a_while, test_seconds(3), NULL);
	for (int i = 0; i < SLOTS; i++)
		piece_free(&rng, &slots[i].piece);
	say("%zu threads", started);
	quarry_trim(0);
	CHECKF(stats_live() == live_before, "  live before %llu bytes, after %llu", (unsigned long long)live_before,
	       (unsigned long long)stats_live());
	return 0;
}
