/* SPDX-License-Identifier: MIT */
/*
 * The contract of each call of the malloc family, as glibc 2.36 answers: zero, huge, overflow, alignment, errno. On
 * Quarry a second time while many blocks are chosen for the heap profile.
 */
#include "blackbox.h"

#include <errno.h>
#include <malloc.h>

static const size_t huge_sizes[] = { PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX - 8192, SIZE_MAX - 4096,
				     SIZE_MAX - 16, SIZE_MAX };

/* NULL with ENOMEM. The size is volatile: the compiler warns about, and folds, what it knows to be too large. */
#define EXPECT_ENOMEM(call)                                                                     \
	do {                                                                                    \
		errno = 0;                                                                      \
		void *result = call;                                                            \
		CHECKF(result == NULL && errno == ENOMEM, "  " #call " = %p, errno %d", result, errno); \
	} while (0)

static void huge_requests(void)
{
	for (size_t i = 0; i < COUNT(huge_sizes); i++) {
		volatile size_t huge = huge_sizes[i];
		char *block = malloc(100);
		void *untouched = block;

		memset(block, 'x', 100);
		EXPECT_ENOMEM(malloc(huge));
		EXPECT_ENOMEM(calloc(1, huge));
		EXPECT_ENOMEM(calloc(huge, 1));
		EXPECT_ENOMEM(realloc(NULL, huge));
		EXPECT_ENOMEM(realloc(block, huge));
		EXPECT_ENOMEM(reallocarray(block, 1, huge));
		EXPECT_ENOMEM(memalign(64, huge));
		EXPECT_ENOMEM(aligned_alloc(4096, huge));
		EXPECT_ENOMEM(valloc(huge));
		EXPECT_ENOMEM(pvalloc(huge));
		CHECK(posix_memalign(&untouched, 64, huge) == ENOMEM && untouched == block);
		for (int j = 0; j < 100; j++)
			CHECK(block[j] == 'x');
		free(block);
	}
}

/* Around each power of two either a usable block or ENOMEM, and afterwards no address space is lost. */
static void size_sweep(void)
{
	static const long deltas[] = { -4096, -17, -1, 0, 1, 16, 4096 };
	size_t before = 0;

	for (int round = 0; round < 2; round++) {
		for (unsigned bit = 13; bit < 64; bit++)
			for (size_t i = 0; i < COUNT(deltas); i++) {
				volatile size_t nbytes = ((size_t)1 << bit) + (size_t)deltas[i];
				char *blocks[6] = { malloc(nbytes), calloc(1, nbytes), realloc(malloc(1), nbytes),
						    memalign(256, nbytes), valloc(nbytes), NULL };
				if (posix_memalign((void **)&blocks[5], 64, nbytes) != 0)
					blocks[5] = NULL;
				for (int j = 0; j < 6; j++) {
					if (blocks[j] == NULL) {
						CHECKF(nbytes >= 256 * MIB, "  %zu bytes, call %d", nbytes, j);
						continue;
					}
					CHECK(nbytes < PTRDIFF_MAX && malloc_usable_size(blocks[j]) >= nbytes);
					blocks[j][0] = blocks[j][nbytes - 1] = 1;
					free(blocks[j]);
				}
			}
		malloc_trim(0);
		if (round == 0)
			before = proc_status("VmSize:");
	}
	CHECKF(proc_status("VmSize:") <= before + 64 * 1024, "  VmSize was %zu KiB, is %zu", before,
	       proc_status("VmSize:"));
}

static void products(void)
{
	static const size_t factors[][2] = {
		{ (size_t)1 << 32, (size_t)1 << 32 }, { SIZE_MAX, 2 },	       { 2, SIZE_MAX },
		{ SIZE_MAX / 2 + 2, 2 },	      { SIZE_MAX / 16 + 1, 16 }, { SIZE_MAX, SIZE_MAX },
		{ ((size_t)1 << 33) + 1, (size_t)1 << 31 },
	};
	for (size_t i = 0; i < COUNT(factors); i++) {
		volatile size_t count = factors[i][0], size = factors[i][1];
		char *block = malloc(10);

		strcpy(block, "unchanged");
		EXPECT_ENOMEM(calloc(count, size));
		EXPECT_ENOMEM(reallocarray(NULL, count, size));
		EXPECT_ENOMEM(reallocarray(block, count, size));
		CHECK(strcmp(block, "unchanged") == 0);
		free(block);
	}
	volatile size_t zero = 0, most = SIZE_MAX;
	void *empty[2] = { calloc(zero, most), calloc(most, zero) };
	CHECK(empty[0] != NULL && empty[1] != NULL && empty[0] != empty[1]);
	free(empty[0]);
	free(empty[1]);

	char *grown = reallocarray(NULL, 10, 10);
	memset(grown, 1, 100);
	grown = reallocarray(grown, 1000, 100);
	CHECK(grown != NULL && grown[0] == 1 && grown[99] == 1 && malloc_usable_size(grown) >= 100000);
	free(grown);
}

static void zero_sizes(void)
{
	void *blocks[400];
	size_t count = 0;

	for (int i = 0; i < 50; i++) {
		blocks[count++] = malloc(0);
		blocks[count++] = calloc(0, 0);
		blocks[count++] = realloc(NULL, 0);
		blocks[count++] = memalign(64, 0);
		blocks[count++] = aligned_alloc(16, 0);
		blocks[count++] = valloc(0);
		blocks[count++] = pvalloc(0);
		CHECK(posix_memalign(&blocks[count++], 8, 0) == 0);
	}
	for (size_t i = 0; i < count; i++) {
		CHECK(blocks[i] != NULL);
		for (size_t j = 0; j < i; j++)
			CHECK(blocks[i] != blocks[j]);
	}
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
	free(NULL);
	CHECK(malloc_usable_size(NULL) == 0);
}

static void realloc_to_zero(void)
{
	static const size_t sizes[] = { 1, 100, 5000, 100000, 4 * MIB };
	volatile size_t zero = 0;
	size_t before = proc_status("VmSize:");

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (int round = 0; round < 1000; round++) {
			void *block = malloc(sizes[i]);
			errno = 77;
			CHECK(realloc(block, zero) == NULL && errno == 77);
			CHECK(reallocarray(malloc(sizes[i]), zero, 8) == NULL);
		}
	/* Freed, not leaked: 4 MiB a thousand times over. */
	CHECK(proc_status("VmSize:") < before + 256 * 1024);
}

/* Bytes survive each way across the class borders, in place or moved, and the unused tail of a shrink is given up. */
static void realloc_keeps_bytes(void)
{
	uint64_t rng = test_seed(1);
	size_t nbytes = 1;
	char *block = malloc(nbytes);

	pattern_fill(block, nbytes, 1);
	for (int round = 0; round < 3000; round++) {
		size_t wanted = rng_size(&rng, round % 50 == 0 ? 25 : 18);
		volatile uintptr_t from = (uintptr_t)block;
		block = realloc(block, wanted);
		CHECK(block != NULL && (uintptr_t)block % 16 == 0 && malloc_usable_size(block) >= wanted);
		CHECK(pattern_kept(block, wanted < nbytes ? wanted : nbytes, from, nbytes, 1));
		nbytes = wanted;
		pattern_fill(block, nbytes, 1);
	}
	block = realloc(block, 64 * MIB);
	memset(block, 1, 64 * MIB);
	block = realloc(block, 100);
	malloc_trim(0);
	size_t holding = resident();
	CHECKF(block[99] == 1 && holding < 56 * MIB, "  64 MiB shrunk to 100 bytes still hold %zu", holding);
	free(block);
}

static void aligned_requests(void)
{
	static const size_t sizes[] = { 1, 8, 24, 100, 1000, 5000, 40000, 300000 };

	for (size_t alignment = 1; alignment <= (size_t)1 << 30; alignment *= 2)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			void *blocks[8];
			for (size_t j = 0; j < COUNT(blocks); j++) {
				void **slot = &blocks[j];
				if (j % 4 < 2)
					*slot = j % 4 == 0 ? memalign(alignment, sizes[i])
							   : aligned_alloc(alignment, sizes[i]);
				else if (alignment < sizeof(void *))
					*slot = malloc(sizes[i]);
				else
					CHECK(posix_memalign(slot, alignment, sizes[i]) == 0);
				CHECKF(*slot != NULL, "  alignment %zu, %zu bytes", alignment, sizes[i]);
				CHECK((uintptr_t)*slot % alignment == 0 && malloc_usable_size(*slot) >= sizes[i]);
				pattern_fill(*slot, sizes[i], j);
			}
			for (size_t j = 0; j < COUNT(blocks); j++) {
				pattern_check(blocks[j], sizes[i], j);
				if (j % 2 == 0) {
					uintptr_t from = (uintptr_t)blocks[j];
					blocks[j] = realloc(blocks[j], sizes[i] * 2);
					CHECK(pattern_kept(blocks[j], sizes[i], from, sizes[i], j));
				}
				free(blocks[j]);
			}
		}

	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *whole = valloc(1), *rounded = pvalloc(page + 1);
	CHECK((uintptr_t)whole % page == 0 && (uintptr_t)rounded % page == 0);
	CHECK(malloc_usable_size(rounded) >= 2 * page);
	memset(rounded, 1, 2 * page);
	free(whole);
	free(rounded);
}

static void bad_alignments(void)
{
	static const size_t rounded_up[][2] = { { 3, 4 }, { 24, 32 }, { 0, 16 }, { 48, 64 }, { 1000, 1024 } };
	static const size_t invalid[] = { 0, 1, 2, 3, 4, 7, 12, 24, 1000, SIZE_MAX };
	volatile size_t most = SIZE_MAX / 2 + 1, above = SIZE_MAX / 2 + 2;
	void *untouched = bad_alignments;

	for (size_t i = 0; i < COUNT(rounded_up); i++) {
		void *block[2] = { memalign(rounded_up[i][0], 10), aligned_alloc(rounded_up[i][0], 10) };
		for (int j = 0; j < 2; j++) {
			CHECK(block[j] != NULL && (uintptr_t)block[j] % rounded_up[i][1] == 0);
			free(block[j]);
		}
	}
	for (size_t i = 0; i < COUNT(invalid); i++) {
		errno = 77;
		CHECKF(posix_memalign(&untouched, invalid[i], 10) == EINVAL, "  alignment %zu", invalid[i]);
		CHECK(untouched == bad_alignments && errno == 77);
	}
	void *odd_size = aligned_alloc(64, 10);
	CHECK(odd_size != NULL && (uintptr_t)odd_size % 64 == 0);
	free(odd_size);
	/* glibc answers EINVAL above the largest power of two; a caller can only tell that it failed. */
	EXPECT_ENOMEM(memalign(most, 10));
	CHECK(memalign(above, 10) == NULL && aligned_alloc(above, 10) == NULL);
	CHECK(posix_memalign(&untouched, most, 10) == ENOMEM && untouched == bad_alignments);
}

static void free_keeps_errno(void)
{
	static const size_t sizes[] = { 1, 100, 3000, 40000, 300000, 3 * MIB, 64 * MIB };

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (int round = 0; round < 100; round++) {
			void *block = malloc(sizes[i]);
			errno = 77;
			free(block);
			CHECK(errno == 77);
		}
	errno = 77;
	free(NULL);
	CHECK(errno == 77);
}

/* All of the usable size may be written: 40 neighbours of each size are filled to the end and compared. */
static void usable_sizes(void)
{
	char *blocks[40];
	size_t (*good_size)(size_t);

	*(void **)&good_size = dlsym(RTLD_DEFAULT, "quarry_good_size");
	for (size_t nbytes = 0; nbytes < MIB; nbytes += 1 + nbytes / 13) {
		size_t usable[COUNT(blocks)];
		for (size_t i = 0; i < COUNT(blocks); i++) {
			blocks[i] = malloc(nbytes);
			usable[i] = malloc_usable_size(blocks[i]);
			CHECK(blocks[i] != NULL && (uintptr_t)blocks[i] % 16 == 0 && usable[i] >= nbytes);
			CHECKF(!on_quarry() || nbytes <= 128 || usable[i] - nbytes <= usable[i] / 8,
			       "  %zu bytes take %zu", nbytes, usable[i]);
			CHECKF(good_size == NULL || usable[i] == good_size(nbytes), "  %zu bytes take %zu", nbytes, usable[i]);
			pattern_fill(blocks[i], usable[i], i);
		}
		for (size_t i = 0; i < COUNT(blocks); i++) {
			pattern_check(blocks[i], usable[i], i);
			free(blocks[i]);
		}
	}
}

/* C23; absent from glibc 2.36, so looked up at run time. */
static void sized_frees(void)
{
	void (*sized)(void *, size_t);
	void (*aligned_sized)(void *, size_t, size_t);

	*(void **)&sized = dlsym(RTLD_DEFAULT, "free_sized");
	*(void **)&aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
	if (getenv("QUARRY_PRELOAD") != NULL)
		CHECK(sized != NULL && aligned_sized != NULL);
	if (sized == NULL || aligned_sized == NULL)
		return;
	sized(NULL, 10);
	aligned_sized(NULL, 64, 10);
	for (size_t nbytes = 0; nbytes < 4 * MIB; nbytes += 1 + nbytes / 5)
		for (int round = 0; round < 4; round++) {
			errno = 77;
			sized(round % 2 ? malloc(nbytes) : calloc(1, nbytes), nbytes);
			aligned_sized(aligned_alloc(128, nbytes), 128, nbytes);
			CHECK(errno == 77);
		}
}

/* Whatever is chosen, nothing else may show. */
static void again_while_profiled(void)
{
	if (!on_quarry() || getenv("QUARRY_CONF") != NULL)
		return;
	setenv("QUARRY_CONF", "profile:on,profile_bytes:1000", 1);
	int status = run_self(NULL, NULL);
	CHECKF(status == 0, "  while it is profiled: status %d", status);
}

int main(void)
{
	test_start(120);
	test_seed(0);
	huge_requests();
	products();
	zero_sizes();
	realloc_to_zero();
	realloc_keeps_bytes();
	aligned_requests();
	bad_alignments();
	free_keeps_errno();
	sized_frees();
	size_sweep();
	usable_sizes();
	again_while_profiled();
	return 0;
}
