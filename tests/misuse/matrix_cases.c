/* SPDX-License-Identifier: MIT */
/*
 * The misuses of the matrix: see matrix.h. Each happens among live blocks of other sizes, in a heap that has been used;
 * what follows (go_on) is a program's ordinary life, which gives the allocator the occasion to notice, or to fail.
 */
#include "matrix.h"

#include <pthread.h>

/* So that no compiler sees what is done to a pointer. */
static void *hide(void *ptr)
{
	void *volatile hidden = ptr;
	return hidden;
}

static void release(void *ptr)
{
	free(hide(ptr));
}

static char *obtain(size_t nbytes)
{
	char *block = malloc(nbytes);
	CHECK(block != NULL);
	return block;
}

/* --- before and after --------------------------------------------------------------------------------------------- */

/* Memory that no allocator may hand out, or what the program holds already. */
static char *forbidden;
static size_t forbidden_nbytes;

static void check_handed_out(const char *block, size_t nbytes)
{
	if (block < forbidden + forbidden_nbytes && forbidden < block + nbytes)
		_exit(EXIT_CORRUPTED);
}

enum { CROWD = 48, LIFE = 240, REUSE = 3000 };
static char *crowd[CROWD];

/* A program that has run for a while: blocks of many sizes live, and some were freed. */
static void begin(uint64_t *rng, size_t nbytes)
{
	char *passing[CROWD];

	for (int i = 0; i < CROWD; i++) {
		crowd[i] = obtain(rng_size(rng, 10));
		passing[i] = obtain(i % 2 == 0 || nbytes > 4 * KIB ? rng_size(rng, 10) : nbytes);
	}
	for (int i = 0; i < CROWD; i++)
		release(passing[i]);
}

/* Blocks are made, filled and compared: one that was handed out twice shows, as other blocks' bytes in it. */
static void live(uint64_t *rng, size_t nbytes)
{
	static char *blocks[LIFE];
	size_t n = nbytes > 4 * MIB ? 4 : nbytes > 64 * KIB ? 24 : LIFE, marked = nbytes < 64 ? nbytes : 64;

	for (size_t i = 0; i < n; i++) {
		blocks[i] = obtain(nbytes);
		check_handed_out(blocks[i], nbytes);
		memset(blocks[i], (int)(i + 1), marked);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t at = 0; at < marked; at++)
			if (blocks[i][at] != (char)(i + 1))
				_exit(EXIT_CORRUPTED);
	for (size_t i = 0; i < n; i++) {
		size_t other = i + rng_below(rng, n - i);
		release(blocks[other]);
		blocks[other] = blocks[i];
	}
}

static void go_on(uint64_t *rng, size_t nbytes)
{
	for (int round = 0; round < 3; round++)
		live(rng, nbytes);
	for (int i = 0; i < CROWD; i++)
		release(crowd[i]);
	live(rng, nbytes);
	/* All that is free of this size is used again. */
	for (int i = 0; i < REUSE && nbytes < 4 * KIB; i++)
		check_handed_out(obtain(nbytes), nbytes);
}

static size_t small(uint64_t *rng)
{
	return 1 + rng_below(rng, 1000);
}

static size_t medium(uint64_t *rng)
{
	return 16 * KIB + rng_below(rng, MIB);
}

static size_t large(uint64_t *rng)
{
	return 5 * MIB + rng_below(rng, 8 * MIB);
}

/* --- double free -------------------------------------------------------------------------------------------------- */

static void free_twice(uint64_t *rng, size_t nbytes, size_t frees, size_t mallocs)
{
	begin(rng, nbytes);
	char *others[64], *block = obtain(nbytes);

	CHECK(frees <= COUNT(others));
	for (size_t i = 0; i < frees; i++)
		others[i] = obtain(nbytes);
	release(block);
	for (size_t i = 0; i < frees; i++)
		release(others[i]);
	for (size_t i = 0; i < mallocs; i++)
		if (obtain(nbytes) == block)
			break;
	release(block);
	go_on(rng, nbytes);
}

static void double_free(uint64_t *rng)
{
	free_twice(rng, small(rng), 0, 0);
}

static void double_free_medium(uint64_t *rng)
{
	free_twice(rng, medium(rng), 0, 0);
}

static void double_free_large(uint64_t *rng)
{
	free_twice(rng, large(rng), 0, 0);
}

static void double_free_after_frees(uint64_t *rng)
{
	size_t nbytes = small(rng);
	free_twice(rng, nbytes, 1 + rng_below(rng, 8), 0);
}

static void double_free_medium_after_frees(uint64_t *rng)
{
	size_t nbytes = medium(rng);
	free_twice(rng, nbytes, 1 + rng_below(rng, 8), 0);
}

/* The block has been handed out again, if the allocator reuses what was freed last. */
static void double_free_after_reuse(uint64_t *rng)
{
	size_t nbytes = small(rng);
	free_twice(rng, nbytes, 0, 1 + rng_below(rng, 4));
}

/* So many are freed in between that the block has left every cache. */
static void double_free_after_refill(uint64_t *rng)
{
	enum { MANY = 6000 };
	static char *blocks[MANY];
	size_t nbytes = 1 + rng_below(rng, 256);

	begin(rng, nbytes);
	for (int i = 0; i < MANY; i++)
		blocks[i] = obtain(nbytes);
	for (int i = 0; i < MANY; i++)
		release(blocks[i]);
	release(blocks[rng_below(rng, 64)]);
	for (int i = 0; i < MANY; i++)
		blocks[i] = obtain(nbytes);
	for (int i = 0; i < MANY; i++)
		release(blocks[i]);
	go_on(rng, nbytes);
}

static void *release_in_thread(void *block)
{
	release(block);
	return NULL;
}

static void in_thread(void *(*call)(void *), void *argument)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, call, argument) == 0 && pthread_join(thread, NULL) == 0);
}

static void double_free_after_thread(uint64_t *rng)
{
	size_t nbytes = small(rng);
	begin(rng, nbytes);
	char *block = obtain(nbytes);

	in_thread(release_in_thread, block);
	release(block);
	go_on(rng, nbytes);
}

static void double_free_by_thread(uint64_t *rng)
{
	size_t nbytes = small(rng);
	begin(rng, nbytes);
	char *block = obtain(nbytes);

	release(block);
	in_thread(release_in_thread, block);
	go_on(rng, nbytes);
}

static pthread_key_t exit_key;

static void *release_and_end(void *block)
{
	CHECK(pthread_setspecific(exit_key, block) == 0);
	release(block);
	return NULL;
}

static void double_free_at_exit(uint64_t *rng)
{
	size_t nbytes = small(rng);
	begin(rng, nbytes);

	CHECK(pthread_key_create(&exit_key, release) == 0);
	in_thread(release_and_end, obtain(nbytes));
	go_on(rng, nbytes);
}

/* --- free of what is no block ------------------------------------------------------------------------------------- */

static void free_no_block(uint64_t *rng, void *ptr)
{
	size_t nbytes = small(rng);
	begin(rng, nbytes);
	release(ptr);
	go_on(rng, nbytes);
}

static void free_stack(uint64_t *rng)
{
	_Alignas(16) char bytes[1024] = { 1 };
	free_no_block(rng, hide(bytes + 16 * rng_below(rng, 63)));
}

static void free_static(uint64_t *rng)
{
	static _Alignas(16) char bytes[8192] = { 1 };
	free_no_block(rng, bytes + 16 * rng_below(rng, 511));
}

static void free_mapped(uint64_t *rng)
{
	free_no_block(rng, (char *)map_table(MIB) + 16 * rng_below(rng, MIB / 16));
}

static void free_inside(uint64_t *rng, size_t nbytes, size_t offset)
{
	begin(rng, nbytes);
	char *block = obtain(nbytes);

	release(block + offset);
	go_on(rng, nbytes);
	release(block);
}

static void free_misaligned(uint64_t *rng)
{
	size_t nbytes = 16 + small(rng);
	free_inside(rng, nbytes, rng_below(rng, nbytes / 16) * 16 + 1 + rng_below(rng, 15));
}

static void free_interior(uint64_t *rng)
{
	size_t nbytes = 64 + small(rng);
	free_inside(rng, nbytes, 16 + 16 * rng_below(rng, nbytes / 16 - 1));
}

static void free_interior_medium(uint64_t *rng)
{
	size_t nbytes = medium(rng);
	free_inside(rng, nbytes, 16 + 16 * rng_below(rng, nbytes / 16 - 1));
}

static void free_interior_large(uint64_t *rng)
{
	size_t nbytes = large(rng);
	free_inside(rng, nbytes, 16 + 16 * rng_below(rng, nbytes / 16 - 1));
}

/* --- sizes, realloc ----------------------------------------------------------------------------------------------- */

/* By C++'s operators where the library has them, else not at all. */
static void delete_wrongly(uint64_t *rng, size_t nbytes, size_t claimed)
{
	void *(*new)(size_t) = NULL;
	void (*delete)(void *, size_t) = NULL;

	*(void **)&new = dlsym(RTLD_DEFAULT, "_Znwm");
	*(void **)&delete = dlsym(RTLD_DEFAULT, "_ZdlPvm");
	begin(rng, nbytes);
	if (new != NULL && delete != NULL)
		delete (hide(new (nbytes)), claimed);
	go_on(rng, nbytes);
}

static void wrong_size(uint64_t *rng)
{
	size_t nbytes = 64 + small(rng);
	delete_wrongly(rng, nbytes, rng_below(rng, 2) == 0 ? nbytes / 2 : 2 * nbytes);
}

static void wrong_size_kind(uint64_t *rng)
{
	size_t nbytes = small(rng), big = rng_below(rng, 2) == 0 ? medium(rng) : large(rng);
	int bigger = rng_below(rng, 2) == 0;
	delete_wrongly(rng, bigger ? nbytes : big, bigger ? big : nbytes);
}

static void realloc_freed(uint64_t *rng, size_t nbytes, size_t frees)
{
	begin(rng, nbytes);
	char *others[8], *block = obtain(nbytes);

	for (size_t i = 0; i < frees; i++)
		others[i] = obtain(nbytes);
	release(block);
	for (size_t i = 0; i < frees; i++)
		release(others[i]);
	hide(realloc(hide(block), 2 * nbytes + 100));
	go_on(rng, nbytes);
}

static void realloc_freed_small(uint64_t *rng)
{
	realloc_freed(rng, small(rng), 0);
}

static void realloc_freed_later(uint64_t *rng)
{
	size_t nbytes = small(rng);
	realloc_freed(rng, nbytes, 1 + rng_below(rng, 8));
}

static void realloc_freed_medium(uint64_t *rng)
{
	realloc_freed(rng, medium(rng), 0);
}

static void realloc_freed_large(uint64_t *rng)
{
	realloc_freed(rng, large(rng), 0);
}

/* --- access outside of a block, or after it ----------------------------------------------------------------------- */

static void write_bytes(uint64_t *rng, char *start, size_t nbytes)
{
	accessing = 1;
	for (size_t i = 0; i < nbytes; i++)
		((char volatile *)start)[i] = (char)rng_next(rng);
	accessing = 0;
}

/* The block is one of several of its size. Bytes before it are written from the nearest on, as an overflow goes. */
static void overflow(uint64_t *rng, size_t nbytes, size_t over, int before)
{
	char *blocks[9];
	size_t n = nbytes > 4 * MIB ? 3 : COUNT(blocks), victim = rng_below(rng, n);

	begin(rng, nbytes);
	for (size_t i = 0; i < n; i++)
		memset(blocks[i] = obtain(nbytes), 1, nbytes < 4096 ? nbytes : 4096);
	accessing = 1;
	for (size_t i = 0; before && i < over; i++)
		((char volatile *)blocks[victim])[-1 - (long)i] = (char)rng_next(rng);
	accessing = 0;
	if (!before)
		write_bytes(rng, blocks[victim] + nbytes, over);
	for (size_t i = 0; i < n; i++)
		release(blocks[i]);
	go_on(rng, nbytes);
}

#define OVERFLOW(name, size, over, before)                                                                             \
	static void name(uint64_t *rng)                                                                                \
	{                                                                                                              \
		overflow(rng, size, over, before);                                                                     \
	}
OVERFLOW(overflow_1, small(rng), 1, 0)
OVERFLOW(overflow_8, small(rng), 8, 0)
OVERFLOW(overflow_64, small(rng), 64, 0)
OVERFLOW(overflow_page, small(rng), 4096, 0)
OVERFLOW(underflow_1, small(rng), 1, 1)
OVERFLOW(underflow_8, small(rng), 8, 1)
OVERFLOW(underflow_64, small(rng), 64, 1)
OVERFLOW(underflow_page, small(rng), 4096, 1)
OVERFLOW(overflow_medium_1, medium(rng), 1, 0)
OVERFLOW(overflow_medium_page, medium(rng), 4096, 0)
OVERFLOW(underflow_medium_1, medium(rng), 1, 1)
OVERFLOW(underflow_medium_page, medium(rng), 4096, 1)
OVERFLOW(overflow_large_1, large(rng), 1, 0)
OVERFLOW(overflow_large_page, large(rng), 4096, 0)
OVERFLOW(underflow_large_1, large(rng), 1, 1)
OVERFLOW(underflow_large_page, large(rng), 4096, 1)

/* At an offset of the freed block, so many bytes of it. */
static void use_after_free(uint64_t *rng, size_t nbytes, size_t written, int from_start)
{
	begin(rng, nbytes);
	char *block = obtain(nbytes);
	size_t length = written < nbytes ? written : nbytes;

	memset(block, 1, nbytes < 4096 ? nbytes : 4096);
	release(block);
	if (written > 0) {
		write_bytes(rng, block + (from_start ? 0 : rng_below(rng, nbytes - length + 1)), length);
	} else {
		accessing = 1;
		hide((void *)(uintptr_t)((char volatile *)block)[rng_below(rng, nbytes)]);
		accessing = 0;
	}
	go_on(rng, nbytes);
}

#define USE(name, size, written, from_start)                                                                           \
	static void name(uint64_t *rng)                                                                                \
	{                                                                                                              \
		use_after_free(rng, size, written, from_start);                                                        \
	}
USE(write_freed_start, 16 + small(rng), 16, 1)
USE(write_freed_byte, small(rng), 1, 0)
USE(write_freed_medium, medium(rng), 16, 0)
USE(write_freed_large, large(rng), 16, 0)
USE(read_freed, small(rng), 0, 0)
USE(read_freed_medium, medium(rng), 0, 0)
USE(read_freed_large, large(rng), 0, 0)

/* The link of a block that has gone back to where its cache was filled from. */
static void write_freed_deep(uint64_t *rng)
{
	enum { MANY = 4000 };
	static char *blocks[MANY];
	size_t nbytes = 16 + rng_below(rng, 240);

	begin(rng, nbytes);
	for (int i = 0; i < MANY; i++)
		blocks[i] = obtain(nbytes);
	for (int i = 0; i < MANY; i++)
		release(blocks[i]);
	write_bytes(rng, blocks[rng_below(rng, 64)], 16);
	for (int i = 0; i < MANY; i++)
		blocks[i] = obtain(nbytes);
	for (int i = 0; i < MANY; i++)
		release(blocks[i]);
	go_on(rng, nbytes);
}

/* --- exploits ----------------------------------------------------------------------------------------------------- */

static _Alignas(64) char target[4096];

/* List poisoning: the link of a freed block is made to point to memory of the attacker's choice. */
static void poison(uint64_t *rng, size_t nbytes, char *to)
{
	begin(rng, nbytes);
	char *blocks[4];

	forbidden = target;
	forbidden_nbytes = sizeof target;
	for (size_t i = 0; i < COUNT(blocks); i++)
		blocks[i] = obtain(nbytes);
	for (size_t i = 0; i < COUNT(blocks); i++)
		release(blocks[i]);
	accessing = 1;
	*(char *volatile *)hide(blocks[3]) = to;
	accessing = 0;
	go_on(rng, nbytes);
}

static void poison_static(uint64_t *rng)
{
	poison(rng, 16 + small(rng), target + 64 * rng_below(rng, 32));
}

/* To a block that the program holds, which would then be handed out a second time. */
static void poison_live(uint64_t *rng)
{
	size_t nbytes = 16 + small(rng);
	char *held = obtain(nbytes);

	memset(held, 0, nbytes);
	begin(rng, nbytes);
	char *blocks[4];
	forbidden = held;
	forbidden_nbytes = nbytes;
	for (size_t i = 0; i < COUNT(blocks); i++)
		blocks[i] = obtain(nbytes);
	for (size_t i = 0; i < COUNT(blocks); i++)
		release(blocks[i]);
	accessing = 1;
	*(char *volatile *)hide(blocks[3]) = held;
	accessing = 0;
	go_on(rng, nbytes);
}

/*
 * A size that reaches over the next block is written where other allocators have a block's header, by an index before
 * the block or by an overflow from the block before it; then the block is freed and asked for at that size.
 */
static void write_size(uint64_t *rng, int by_overflow)
{
	size_t nbytes = 24 + 16 * rng_below(rng, 30);
	begin(rng, nbytes);
	char *first = obtain(nbytes), *second = obtain(nbytes), *third = obtain(nbytes);
	char *header = by_overflow ? first + (nbytes + 7) / 8 * 8 : (char *)hide(second) - sizeof(size_t);

	forbidden = third;
	forbidden_nbytes = nbytes;
	accessing = 1;
	*(size_t volatile *)(void *)header = 2 * (nbytes + 8) | 1;
	accessing = 0;
	release(second);
	check_handed_out(obtain(2 * nbytes), 2 * nbytes);
	release(first);
	go_on(rng, nbytes);
}

static void fake_size(uint64_t *rng)
{
	write_size(rng, 0);
}

static void overlap(uint64_t *rng)
{
	write_size(rng, 1);
}

/* A chunk of the attacker's making, header and all, in static memory, is freed and asked for. */
static void fake_chunk(uint64_t *rng)
{
	size_t nbytes = 24 + 16 * rng_below(rng, 30);

	begin(rng, nbytes);
	forbidden = target;
	forbidden_nbytes = sizeof target;
	((size_t volatile *)hide(target))[1] = (nbytes + 8 + 15) / 16 * 16 | 1;
	((size_t volatile *)hide(target))[(nbytes + 8 + 15) / 16 * 2 + 1] = 0x1001;
	release(target + 16);
	go_on(rng, nbytes);
}

/* A freed block is made its own successor, so that it is handed out over and over. */
static void self_loop(uint64_t *rng)
{
	size_t nbytes = 16 + small(rng);
	begin(rng, nbytes);
	char *block = obtain(nbytes);

	release(block);
	accessing = 1;
	((char *volatile *)hide(block))[0] = block;
	((char *volatile *)hide(block))[1] = block;
	accessing = 0;
	go_on(rng, nbytes);
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

#define CASE(name, chance, chance_hardened, text) { #name, name, chance, chance_hardened, text }

const struct misuse_case misuse_cases[] = {
	CASE(double_free, 100, 100, "free twice with nothing in between"),
	CASE(double_free_medium, 100, 100, "the same, 16 KiB to 1 MiB"),
	CASE(double_free_large, 100, 100, "the same, 5 to 13 MiB"),
	CASE(double_free_after_frees, 100, 100, "after 1 to 8 others of the size were freed"),
	CASE(double_free_medium_after_frees, 60, 100, "the same, 16 KiB to 1 MiB"),
	CASE(double_free_after_refill, 100, 100, "after thousands of others were freed"),
	CASE(double_free_after_thread, 100, 100, "after another thread freed it and ended"),
	CASE(double_free_by_thread, 90, 100, "the second time by another thread"),
	CASE(double_free_at_exit, 100, 100, "the second time as its thread ends"),
	CASE(double_free_after_reuse, 0, 98, "after 1 to 4 mallocs of the size"),
	CASE(free_stack, 100, 100, "memory on the stack"),
	CASE(free_static, 100, 100, "static memory"),
	CASE(free_mapped, 100, 100, "inside a mapping of the program's"),
	CASE(free_misaligned, 100, 100, "inside a block, no multiple of 16"),
	CASE(free_interior, 70, 100, "inside a block, a multiple of 16"),
	CASE(free_interior_medium, 100, 100, "the same, 16 KiB to 1 MiB"),
	CASE(free_interior_large, 100, 100, "the same, 5 to 13 MiB"),
	CASE(wrong_size, 100, 100, "sized delete with half or twice the size"),
	CASE(wrong_size_kind, 100, 100, "sized delete of a small block as a big one, and the reverse"),
	CASE(realloc_freed_small, 100, 100, "realloc of a block that was just freed"),
	CASE(realloc_freed_later, 100, 100, "after 1 to 8 others of the size were freed"),
	CASE(realloc_freed_medium, 100, 100, "the same, 16 KiB to 1 MiB"),
	CASE(realloc_freed_large, 100, 100, "the same, 5 to 13 MiB"),
	CASE(overflow_1, 0, 99.6, "a byte is written behind a block"),
	CASE(overflow_8, 0, 100, "8 bytes"),
	CASE(overflow_64, 0, 100, "64 bytes"),
	CASE(overflow_page, 0, 100, "4096 bytes"),
	CASE(underflow_1, 0, 98, "a byte is written before a block"),
	CASE(underflow_8, 0, 98, "8 bytes"),
	CASE(underflow_64, 0, 98, "64 bytes"),
	CASE(underflow_page, 0, 100, "4096 bytes"),
	CASE(overflow_medium_1, 0, 99.6, "behind a block of 16 KiB to 1 MiB, 1 byte"),
	CASE(overflow_medium_page, 0, 100, "4096 bytes"),
	CASE(underflow_medium_1, 0, 100, "before it, 1 byte"),
	CASE(underflow_medium_page, 0, 100, "4096 bytes"),
	CASE(overflow_large_1, 0, 99.6, "behind a block of 5 to 13 MiB, 1 byte"),
	CASE(overflow_large_page, 0, 100, "4096 bytes"),
	CASE(underflow_large_1, 0, 100, "before it, 1 byte"),
	CASE(underflow_large_page, 0, 100, "4096 bytes"),
	CASE(write_freed_start, 100, 100, "the first 16 bytes of a freed block are written"),
	CASE(write_freed_byte, 0, 99.6, "one byte of a freed block, anywhere"),
	CASE(write_freed_deep, 100, 100, "the first 16 bytes, after thousands of others were freed"),
	CASE(write_freed_medium, 0, 100, "16 bytes of a freed block of 16 KiB to 1 MiB"),
	CASE(write_freed_large, 0, 100, "16 bytes of a freed block of 5 to 13 MiB"),
	CASE(read_freed, 0, 0, "a byte of a freed block is read"),
	CASE(read_freed_medium, 0, 100, "the same, 16 KiB to 1 MiB"),
	CASE(read_freed_large, 0, 100, "the same, 5 to 13 MiB"),
	CASE(poison_static, 100, 100, "a freed block's link points to static memory"),
	CASE(poison_live, 100, 100, "a freed block's link points to a block in use"),
	CASE(self_loop, 100, 100, "a freed block's first words point to itself"),
	CASE(fake_size, 0, 98, "a false size before a block that is freed"),
	CASE(overlap, 0, 100, "the same, by an overflow from the block before"),
	CASE(fake_chunk, 100, 100, "free of a false block in static memory"),
};
const size_t misuse_ncases = COUNT(misuse_cases);
