/* SPDX-License-Identifier: MIT */
/*
 * Misuse of guarded blocks, each in a process of its own under QUARRY_CONF=guard_sample:1: the report names what was
 * done, by which calls, and those that freed and allocated the block; a fault then ends the process by SIGSEGV, what a
 * call has found by SIGABRT. With on_error:report the same is said, and the process goes on.
 */
#include "misuse.h"

#include <stdbool.h>

#define NBYTES ((size_t)64)
#define PAGE ((uintptr_t)4096)

/* Calls that no compiler merges, so that each is a frame. */
__attribute__((noinline)) static char *make_block(void)
{
	char *volatile block = quarry_malloc(NBYTES);
	return block;
}

__attribute__((noinline)) static void drop_block(char *block)
{
	quarry_free(block);
	__asm__ volatile("" ::: "memory");
}

/* A block that ends a page, or begins one. */
static volatile char *block_at(bool end)
{
	for (;;) {
		char *block = make_block();
		if (((uintptr_t)block + (end ? NBYTES : 0)) % PAGE == 0)
			return block;
		drop_block(block);
	}
}

static volatile char *freed_block(void)
{
	volatile char *block = block_at(true);
	drop_block((char *)block);
	return block;
}

static void write_freed(void)
{
	volatile char *block = freed_block();
	*(volatile char *)misuse_is_next((char *)block + 7) = 1;
}

static void read_freed(void)
{
	volatile char *block = freed_block();
	(void)*(volatile char *)misuse_is_next((char *)block + 7);
}

static void read_behind(void)
{
	(void)*(volatile char *)misuse_is_next((char *)block_at(true) + NBYTES);
}

static void write_behind(void)
{
	*(volatile char *)misuse_is_next((char *)block_at(true) + NBYTES) = 1;
}

static void read_before(void)
{
	(void)*(volatile char *)misuse_is_next((char *)block_at(false) - 1);
}

static void write_before(void)
{
	*(volatile char *)misuse_is_next((char *)block_at(false) - 1) = 1;
}

static void free_twice(void)
{
	drop_block(misuse_is_next((char *)freed_block()));
}

static void free_interior(void)
{
	drop_block((char *)misuse_is_next((char *)block_at(true) + 16));
}

static void write_behind_and_free(void)
{
	char *block = (char *)block_at(false);
	block[NBYTES] = 1;
	drop_block(misuse_is_next(block));
}

static void write_before_and_free(void)
{
	char *block = (char *)block_at(true);
	block[-1] = 1;
	drop_block(misuse_is_next(block));
}

static void realloc_freed(void)
{
	if (quarry_realloc(misuse_is_next((char *)freed_block()), 100) != NULL)
		FAIL("  realloc of a freed block returned one");
}

static const struct guarded_case {
	void (*run)(void);
	const char *what;
	int signal;
	bool freed;
} cases[] = {
	{ write_freed, "use after free: write", SIGSEGV, true },
	{ read_freed, "use after free: read", SIGSEGV, true },
	{ read_behind, "overflow: read", SIGSEGV, false },
	{ write_behind, "overflow: write", SIGSEGV, false },
	{ read_before, "underflow: read", SIGSEGV, false },
	{ write_before, "underflow: write", SIGSEGV, false },
	{ free_twice, "double free", SIGABRT, true },
	{ free_interior, "free of an interior pointer", SIGABRT, false },
	{ write_behind_and_free, "overflow, found by free", SIGABRT, false },
	{ write_before_and_free, "underflow, found by free", SIGABRT, false },
	{ realloc_freed, "realloc of what is no live block", SIGABRT, true },
};

/* Frames below a line, up to the next such line. */
static unsigned frames_below(const char *said, const char *line)
{
	const char *at = strstr(said, line);
	unsigned n = 0;
	if (at == NULL)
		return 0;
	for (at = strchr(at, '\n'); at != NULL && strncmp(at, "\nquarry:     #", 14) == 0; at = strchr(at + 1, '\n'))
		n++;
	return n;
}

static bool is_right(const struct guarded_case *guarded, const char *said)
{
	const char *next = strstr(said, "next: 0x");
	char address[32], line[128];
	if (next == NULL)
		return false;
	snprintf(address, sizeof address, "%.*s", (int)strspn(next + 6, "0123456789abcdefx"), next + 6);
	snprintf(line, sizeof line, "quarry: %.*s", (int)strcspn(guarded->what, ":"), guarded->what);
	const char *message = strstr(next, line);
	return message != NULL && strstr(message, guarded->what) != NULL && strstr(message, address) != NULL &&
	       frames_below(message, guarded->signal == SIGSEGV ? "  by thread" : "  found in a call by thread") > 1 &&
	       frames_below(message, "  allocated by thread") > 1 && (frames_below(message, "  freed by thread") > 1) == guarded->freed;
}

static bool fails(size_t number, const char *conf, bool goes_on)
{
	static char said[65536];
	const struct guarded_case *guarded = &cases[number];
	int status = misuse_process(number, "cold", conf, said, sizeof said);
	bool ended = goes_on ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == guarded->signal;
	if (ended && is_right(guarded, said))
		return false;
	say("%s, %s: status 0x%x; it said:\n%.2000s", guarded->what, conf, status, said);
	return true;
}

int main(int argc, char **argv)
{
	unsigned failed = 0;

	test_start(60);
	if (argc == 3) {
		cases[atoi(argv[1])].run();
		go_on_well();
		return 0;
	}
	for (size_t i = 0; i < COUNT(cases); i++) {
		failed += fails(i, "guard_sample:1,on_error:abort", false);
		failed += fails(i, "guard_sample:1,on_error:report", true);
	}
	return failed != 0;
}
