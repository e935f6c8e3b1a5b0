/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: any sequence of calls of the quarry_* surface, against a reference model of which bytes belong to whom.
 *
 * An input is a program: each operation takes an opcode byte and its arguments from the bytes that follow. The
 * model keeps, for each block, where it is, what was asked for, and its contents as one byte that is repeated; live
 * blocks never overlap, keep their contents, and every call that looks finds them. What must fail leaves all as it was.
 * Linked with libFuzzer by make fuzz; with tests/fuzz/replay.c it replays the kept corpus in make check-long.
 */
#include "fuzz.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "quarry/quarry.h"

#define SLOTS 64

static const uint8_t *input;
static size_t left;
static struct slot {
	uint8_t *block;
	size_t nbytes;
	uint8_t mark;
} slots[SLOTS];
static uint8_t next_mark;
static unsigned long long noperations;

__attribute__((destructor)) static void say_how_many(void)
{
	fprintf(stderr, "%llu operations\n", noperations);
}

static uint64_t take(unsigned nbytes)
{
	uint64_t value = 0;
	for (; nbytes > 0 && left > 0; nbytes--, left--)
		value = value << 8 | *input++;
	return value;
}

/* A byte chooses the magnitude, two the rest: all sizes up to 16 MiB, borders of classes more often. */
static size_t take_size(void)
{
	unsigned bits = (unsigned)take(1) % 25;
	size_t rest = (size_t)take(2), size = (size_t)1 << (bits == 24 ? 5 : bits);
	switch (rest & 3) {
	case 0:
		return size;
	case 1:
		return size + (rest >> 2) % 17;
	case 2:
		return size - (rest >> 2) % 17 % size;
	default:
		return size + (rest >> 2) * (size >> 14) + (rest >> 2) % size;
	}
}

static struct slot *take_slot(void)
{
	return &slots[take(1) % SLOTS];
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

/* Of a larger block the ends and some bytes between: few pages are touched. */
static size_t next_offset(size_t offset, size_t nbytes)
{
	if (offset < 256 || offset + 256 >= nbytes)
		return offset + 1;
	offset += nbytes < 65536 ? 61 : nbytes / 32;
	return offset + 256 > nbytes ? nbytes - 256 : offset;
}

static bool holds(const uint8_t *block, size_t kept, size_t nbytes, uint8_t mark)
{
	for (size_t i = 0; i < kept; i = next_offset(i, nbytes))
		if (block[i] != mark)
			return false;
	return true;
}

static bool is_whole(const struct slot *slot)
{
	return holds(slot->block, slot->nbytes, slot->nbytes, slot->mark);
}

static void fill(struct slot *slot)
{
	slot->mark = ++next_mark;
	for (size_t i = 0; i < slot->nbytes; i = next_offset(i, slot->nbytes))
		slot->block[i] = slot->mark;
}

static void check_extent(const struct slot *slot, size_t alignment)
{
	size_t usable = quarry_usable_size(slot->block), found = 0;
	uintptr_t start = (uintptr_t)slot->block;
	EXPECT(usable >= slot->nbytes && start % alignment == 0 && start % 16 == 0);
	EXPECT(quarry_owns(slot->block) == 1);
	EXPECT(quarry_block_of(slot->block + (slot->nbytes > 0 ? slot->nbytes - 1 : 0), &found) == slot->block &&
	       found == usable);
	for (const struct slot *other = slots; other < slots + SLOTS; other++) {
		uintptr_t from = (uintptr_t)other->block;
		if (other != slot && other->block != NULL)
			EXPECT(start + usable <= from || from + quarry_usable_size(other->block) <= start);
	}
}

static void adopt(struct slot *slot, void *block, size_t nbytes, size_t alignment)
{
	EXPECT(block != NULL);
	slot->block = block;
	slot->nbytes = nbytes;
	check_extent(slot, alignment);
	fill(slot);
}

static void release(struct slot *slot, unsigned way)
{
	if (slot->block == NULL)
		return;
	EXPECT(is_whole(slot));
	errno = 77;
	if (way == 1)
		quarry_free_sized(slot->block, slot->nbytes);
	else if (way == 2)
		quarry_free_aligned_sized(slot->block, 16, slot->nbytes);
	else if (way == 3)
		EXPECT(quarry_realloc(slot->block, 0) == NULL);
	else
		quarry_free(slot->block);
	EXPECT(errno == 77);
	slot->block = NULL;
}

/* --- operations --------------------------------------------------------------------------------------------------- */

static void allocate(unsigned how)
{
	struct slot *slot = take_slot();
	size_t nbytes = take_size(), usable = 0, alignment = (size_t)1 << (how >= 4 ? take(1) % 22 : 0);
	void *block = NULL;

	release(slot, 0);
	switch (how) {
	case 1:
		block = quarry_calloc(nbytes / 7 + 1, 7);
		nbytes = (nbytes / 7 + 1) * 7;
		EXPECT(block != NULL && holds(block, nbytes, nbytes, 0));
		break;
	case 2:
		block = quarry_malloc_usable(nbytes, &usable);
		EXPECT(usable == quarry_good_size(nbytes));
		break;
	case 3:
		block = quarry_realloc(NULL, nbytes);
		break;
	case 4:
		block = quarry_aligned_alloc(alignment, nbytes);
		break;
	case 5:
		alignment = alignment < 8 ? 8 : alignment;
		EXPECT(quarry_posix_memalign(&block, alignment, nbytes) == 0);
		break;
	case 6:
		alignment = 4096;
		block = nbytes % 2 == 0 ? quarry_valloc(nbytes) : quarry_pvalloc(nbytes);
		break;
	default:
		block = quarry_malloc(nbytes);
	}
	adopt(slot, block, nbytes, alignment);
}

static void resize(unsigned how)
{
	struct slot *slot = take_slot();
	size_t nbytes = take_size(), kept = nbytes < slot->nbytes ? nbytes : slot->nbytes;
	if (slot->block == NULL)
		return;
	EXPECT(is_whole(slot));
	if (how == 0) {
		size_t usable = quarry_resize_in_place(slot->block, nbytes);
		EXPECT(usable == 0 || (usable >= nbytes && usable == quarry_usable_size(slot->block)));
		EXPECT(holds(slot->block, usable == 0 ? slot->nbytes : kept, slot->nbytes, slot->mark));
		nbytes = usable == 0 ? slot->nbytes : nbytes;
	} else {
		slot->block = how == 1 ? quarry_realloc(slot->block, nbytes) : quarry_reallocarray(slot->block, 1, nbytes);
		EXPECT(slot->block != NULL && holds(slot->block, kept, slot->nbytes, slot->mark));
	}
	slot->nbytes = nbytes;
	check_extent(slot, 1);
	fill(slot);
}

static void fail(void)
{
	struct slot *slot = take_slot();
	volatile size_t huge = PTRDIFF_MAX - (size_t)take(2);
	volatile size_t most = SIZE_MAX - (size_t)take(2);
	void *untouched = slots;
	errno = 0;
	EXPECT(quarry_malloc(most) == NULL && errno == ENOMEM);
	errno = 0;
	EXPECT(quarry_malloc(huge) == NULL && errno == ENOMEM);
	errno = 0;
	EXPECT(quarry_calloc(huge, 3) == NULL && errno == ENOMEM);
	errno = 0;
	EXPECT(quarry_aligned_alloc((size_t)1 << take(1) % 64, huge) == NULL && errno == ENOMEM);
	EXPECT(quarry_posix_memalign(&untouched, (size_t)take(1) * 2 + 1, 1) == EINVAL && untouched == slots);
	EXPECT(quarry_good_size(most) == 0);
	if (slot->block == NULL)
		return;
	errno = 0;
	EXPECT(quarry_realloc(slot->block, most) == NULL && errno == ENOMEM);
	EXPECT(quarry_reallocarray(slot->block, most, 2) == NULL && quarry_resize_in_place(slot->block, most) == 0);
	EXPECT(is_whole(slot));
}

static void look(void)
{
	struct slot *slot = take_slot();
	size_t offset = (size_t)take(3), found;
	const void *anywhere = (const void *)(uintptr_t)take(8);
	EXPECT((quarry_owns(anywhere) & ~1) == 0 && quarry_owns(&left) == 0 && quarry_owns(NULL) == 0);
	EXPECT(quarry_block_of(&left, NULL) == NULL);
	if (slot->block == NULL)
		return;
	offset %= quarry_usable_size(slot->block);
	EXPECT(quarry_block_of(slot->block + offset, &found) == slot->block);
	EXPECT(found == quarry_usable_size(slot->block));
}

static int find_slot(const struct quarry_block *block, void *arg)
{
	size_t *nfound = arg;
	for (const struct slot *slot = slots; slot < slots + SLOTS; slot++)
		if (slot->block == block->address) {
			EXPECT(block->nbytes == quarry_usable_size(slot->block));
			++*nfound;
			return 0;
		}
	EXPECT(!"a block that nobody holds");
	return 1;
}

static void walk(void)
{
	size_t nfound = 0, nlive = 0;
	for (const struct slot *slot = slots; slot < slots + SLOTS; slot++)
		nlive += slot->block != NULL;
	EXPECT(quarry_walk(find_slot, &nfound) == 0 && nfound == nlive);
}

static void *free_there(void *arg)
{
	size_t from = (size_t)(uintptr_t)arg;
	for (size_t i = from; i < SLOTS; i += 3)
		release(&slots[i], (unsigned)(i % 4));
	adopt(&slots[from], quarry_malloc(100 * from + 1), 100 * from + 1, 1);
	return NULL;
}

/* Another thread frees blocks of this one and leaves one behind. */
static void cross_threads(void)
{
	pthread_t thread;
	EXPECT(pthread_create(&thread, NULL, free_there, (void *)(uintptr_t)(take(1) % 3)) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
}

static void operate(unsigned opcode)
{
	if (opcode < 112)
		allocate(opcode / 16);
	else if (opcode < 176)
		release(take_slot(), opcode % 4);
	else if (opcode < 224)
		resize(opcode % 3);
	else if (opcode < 236)
		look();
	else if (opcode < 242)
		fail();
	else if (opcode < 248)
		quarry_trim((size_t)take(1) << 16);
	else if (opcode < 253)
		walk();
	else
		cross_threads();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct quarry_stats stats;
	input = data;
	left = size;
	for (; left > 0; noperations++)
		operate((unsigned)take(1));
	for (size_t i = 0; i < SLOTS; i++)
		release(&slots[i], 0);
	if (size % 8 != 0)
		return 0;
	quarry_trim(0);
	EXPECT(quarry_stats_get(&stats, sizeof stats) == 0 && stats.live == 0);
	EXPECT(stats.mapped == stats.live + stats.cached + stats.free_dirty + stats.free_clean + stats.metadata);
	return 0;
}
