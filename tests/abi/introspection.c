/* SPDX-License-Identifier: MIT */
/*
 * malloc_trim, mallinfo, mallinfo2, mallopt, malloc_info and malloc_stats answer for this heap, with sane numbers.
 */
#include "blackbox.h"

/* mallinfo is deprecated, and still called. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#include <ctype.h>
#include <errno.h>
#include <malloc.h>

#define BLOCKS 100000
#define BLOCK_SIZE 200

static void **blocks;

static void allocate(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK_SIZE);
		memset(blocks[i], 1, BLOCK_SIZE);
	}
}

static void release(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

/* In use follows what the program holds; sums fit together; the old struct of ints agrees while it can. */
static void check_mallinfo(void)
{
	const size_t live = (size_t)BLOCKS * BLOCK_SIZE;
	struct mallinfo2 before = mallinfo2();

	allocate();
	char *large = malloc(48 * MIB);
	struct mallinfo2 full = mallinfo2();
	size_t grown = full.uordblks + full.hblkhd - before.uordblks - before.hblkhd;
	CHECKF(grown >= live + 48 * MIB && grown <= (live + 48 * MIB) * 5 / 4, "  in use grew by %zu bytes", grown);
	CHECK(full.arena + full.hblkhd >= live + 48 * MIB && full.arena + full.hblkhd < 1024 * MIB);
	CHECKF(full.uordblks + full.fordblks <= full.arena + full.arena / 8 + MIB,
	       "  used %zu + free %zu bytes in %zu", full.uordblks, full.fordblks, full.arena);
	struct mallinfo old = mallinfo();
	CHECK((size_t)old.uordblks >= full.uordblks - MIB && (size_t)old.uordblks <= full.uordblks + MIB);

	release();
	free(large);
	struct mallinfo2 empty = mallinfo2();
	CHECKF(empty.uordblks + empty.hblkhd <= before.uordblks + before.hblkhd + live / 10,
	       "  in use after freeing: %zu bytes, before: %zu", empty.uordblks + empty.hblkhd,
	       before.uordblks + before.hblkhd);
}

static void check_trim(void)
{
	size_t before, full, trimmed;

	malloc_trim(0);
	before = resident();
	allocate();
	full = resident();
	CHECK(full - before >= (size_t)BLOCKS * BLOCK_SIZE * 9 / 10);
	release();
	errno = 77;
	int gave = malloc_trim(0);
	CHECK(gave == 0 || gave == 1);
	trimmed = resident();
	CHECKF(trimmed <= before + 2 * MIB, "  resident before %zu, full %zu, trimmed %zu", before, full, trimmed);
	CHECK(malloc_trim(0) == 0 || malloc_trim(0) == 0 || malloc_trim(0) == 0);
	CHECK(malloc_trim(SIZE_MAX) == 0 || malloc_trim(SIZE_MAX) == 1);
}

static void check_mallopt(void)
{
	static const int known[] = { M_MXFAST,	    M_TRIM_THRESHOLD, M_TOP_PAD,   M_MMAP_THRESHOLD,
				     M_CHECK_ACTION, M_PERTURB,	       M_ARENA_TEST, M_ARENA_MAX };

	for (size_t i = 0; i < COUNT(known); i++) {
		int answer = mallopt(known[i], 1);
		CHECKF(answer == 1 || answer == 0, "  mallopt(%d, 1) = %d", known[i], answer);
	}
	int answer = mallopt(12345, 1);
	CHECK(answer == 0 || answer == 1);
	void *block = malloc(100);
	CHECK(block != NULL);
	free(block);
}

/* Well-formed: one root, each tag closed in order, attributes quoted. Enough XML for what malloc_info writes. */
static void check_xml(const char *text)
{
	const char *open[64];
	size_t depth = 0, roots = 0;

	for (const char *at = strchr(text, '<'); at != NULL; at = strchr(at, '<')) {
		const char *name = ++at, *end = at;
		int quoted = 0;
		for (; *end != 0 && (quoted || *end != '>'); end++)
			quoted ^= *end == '"';
		CHECKF(*end == '>', "  malloc_info: a tag has no end: %.40s", name);
		at = end;
		if (*name == '?' || *name == '!')
			continue;
		if (*name == '/') {
			size_t length = (size_t)(end - name - 1);
			CHECKF(depth > 0 && strncmp(open[depth - 1], name + 1, length) == 0 &&
				       !isalnum((unsigned char)open[depth - 1][length]),
			       "  malloc_info: closed out of order: %.40s", name);
			depth--;
			continue;
		}
		CHECK(isalpha((unsigned char)*name));
		roots += depth == 0;
		if (end[-1] == '/')
			continue;
		CHECK(depth < COUNT(open));
		open[depth++] = name;
	}
	CHECKF(depth == 0 && roots == 1, "  malloc_info: %zu tags left open, %zu roots", depth, roots);
}

static void check_malloc_info(void)
{
	static char text[1 << 20];
	FILE *file = tmpfile();

	CHECK(file != NULL && malloc_info(0, file) == 0);
	rewind(file);
	size_t length = fread(text, 1, sizeof text - 1, file);
	text[length] = 0;
	CHECKF(strncmp(text, "<malloc", 7) == 0, "  malloc_info begins with %.40s", text);
	check_xml(text);
	CHECK(malloc_info(1, file) == EINVAL || malloc_info(1, file) == -1);
	fclose(file);
}

/* malloc_stats writes to stderr: something that has digits, and not through a stdio buffer that was never flushed. */
static void check_malloc_stats(void)
{
	char text[16384];
	int pipe_ends[2];

	CHECK(pipe(pipe_ends) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		dup2(pipe_ends[1], 2);
		malloc_stats();
		_exit(0);
	}
	child_said(child, pipe_ends, text, sizeof text);
	CHECKF(strpbrk(text, "0123456789") != NULL && strlen(text) < 16000, "  malloc_stats wrote %zu bytes",
	       strlen(text));
}

int main(void)
{
	test_start(60);
	blocks = (void **)map_table(BLOCKS * sizeof *blocks);
	check_mallinfo();
	check_trim();
	check_mallopt();
	check_malloc_info();
	check_malloc_stats();
	return 0;
}
