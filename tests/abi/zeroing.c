/* SPDX-License-Identifier: MIT */
/*
 * calloc is zero after dirty reuse: at every size class, after frees by this thread, by another, and after a trim.
 */
#include "blackbox.h"

#include <malloc.h>
#include <pthread.h>

#define MOST_BLOCKS 512

static void *blocks[MOST_BLOCKS];
static size_t count;

static void *free_all(void *unused)
{
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
	return unused;
}

/* Write everything that may be written, so that any reused page or block is dirty to its last byte. */
static void make_dirty(size_t nbytes)
{
	count = MIB / nbytes < 3 ? 3 : MIB / nbytes > MOST_BLOCKS ? MOST_BLOCKS : MIB / nbytes;
	for (size_t i = 0; i < count; i++) {
		blocks[i] = malloc(nbytes);
		memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
	}
}

static void expect_zero(size_t nbytes)
{
	for (size_t i = 0; i < count; i++) {
		blocks[i] = i % 2 == 0 ? calloc(1, nbytes) : calloc(nbytes, 1);
		CHECKF(is_zero(blocks[i], nbytes), "  calloc of %zu bytes is not zero", nbytes);
		memset(blocks[i], 0xff, malloc_usable_size(blocks[i]));
	}
}

static void one_size(size_t nbytes)
{
	pthread_t thread;

	make_dirty(nbytes);
	free_all(NULL);
	expect_zero(nbytes);
	CHECK(pthread_create(&thread, NULL, free_all, NULL) == 0 && pthread_join(thread, NULL) == 0);
	expect_zero(nbytes);
	free_all(NULL);
	malloc_trim(0);
	expect_zero(nbytes);
	/* A block of another class in the same place: the old bytes must not show through. */
	free_all(NULL);
	expect_zero(nbytes / 2 + 1);
	free_all(NULL);
}

int main(void)
{
	test_start(120);
	for (size_t nbytes = 1; nbytes <= 6 * MIB;) {
		one_size(nbytes);
		void *block = malloc(nbytes);
		size_t usable = malloc_usable_size(block);
		free(block);
		/* One size per class, whatever the classes are; at least 1/16 further where sizes are whole pages. */
		nbytes = usable + 1 > nbytes + nbytes / 16 ? usable + 1 : nbytes + nbytes / 16;
	}
	return 0;
}
