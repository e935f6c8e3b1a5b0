/* SPDX-License-Identifier: MIT */
/*
 * What the misuse tests share: each misuse runs in processes of its own, in a fresh thread and in one with a history.
 *
 * With the default settings it must end by SIGABRT after a line "quarry: ..." on stderr that names the address, and
 * size class and arena where the block is one of a pool. With QUARRY_CONF=on_error:report the same line appears, the
 * call is ignored, and the process goes on to allocate, verify and exit well.
 */
#ifndef QUARRY_TESTS_MISUSE_H
#define QUARRY_TESTS_MISUSE_H

#include "../stress/stress.h"

#include <signal.h>

/* What is known about the block, hence must be said. */
enum detail { ADDRESS_ONLY, CLASS_AND_ARENA };

struct misuse {
	const char *name;
	/* Do it. Before the fault, misuse_is_next says what address it concerns. */
	void (*run)(size_t nbytes);
	size_t nbytes; /* passed on */
	enum detail detail;
	int debug_only; /* found by a debug build only; elsewhere it is not run */
};

#ifndef QUARRY_NO_CHECKS
#define QUARRY_NO_CHECKS 0
#endif

#ifdef QUARRY_DEBUG
static const int debug_build = 1;
#else
static const int debug_build = 0;
#endif

#ifdef QUARRY_HARDENED
static const int hardened_build = 1;
#else
static const int hardened_build = 0;
#endif

/* The faulty address reaches a call through here, so that no compiler sees what is coming. */
static void *volatile misuse_address;

static inline void *misuse_is_next(const void *address)
{
	misuse_address = (void *)(uintptr_t)address;
	say("next: %p", misuse_address);
	return misuse_address;
}

/* After a misuse that was only reported: nothing is handed out twice, and all still works. */
static inline void go_on_well(void)
{
	enum { PIECES = 500 };
	static struct piece pieces[PIECES];
	uint64_t rng = 7;

	for (int round = 0; round < 20000; round++) {
		struct piece *piece = &pieces[rng_below(&rng, PIECES)];
		if (piece->block != NULL)
			piece_free(&rng, piece);
		else
			*piece = piece_make(&rng, rng_size(&rng, round % 200 == 0 ? 21 : 12), 1);
	}
	for (int i = 0; i < PIECES; i++)
		piece_free(&rng, &pieces[i]);
}

/* A thread that has allocated for a while is served by other paths than one that just began. */
static inline void warm_up(size_t nbytes)
{
	enum { BLOCKS = 1000 };
	static void *blocks[BLOCKS];

	if (nbytes > MIB)
		return;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < BLOCKS; i++)
			blocks[i] = quarry_malloc(nbytes);
		for (int i = 0; i < BLOCKS; i++)
			quarry_free(blocks[i]);
	}
}

/* Run case `number` in a fresh process, "cold" or "warm"; what it said, and its wait status. */
static inline int misuse_process(size_t number, const char *state, const char *conf, char *said, size_t size)
{
	char argument[24];
	int ends[2];

	snprintf(argument, sizeof argument, "%zu", number);
	CHECK(setenv("QUARRY_CONF", conf, 1) == 0 && pipe2(ends, O_CLOEXEC) == 0);
	int kept = dup(2);
	CHECK(kept > 2 && dup2(ends[1], 2) == 2);
	pid_t child = start_self(argument, state);
	CHECK(dup2(kept, 2) == 2);
	close(kept);
	return child_said(child, ends, said, size);
}

/* The line must name the address, or for an interior pointer any address of the block; and what is known of it. */
static inline int message_is_right(const struct misuse *misuse, const char *said)
{
	const char *next = strstr(said, "next: 0x"), *line = strstr(said, "quarry: ");
	char address[32], nbytes[32];

	if (next == NULL || line == NULL || (line != said && line[-1] != '\n'))
		return 0;
	snprintf(address, sizeof address, "%.*s", (int)strspn(next + 6, "0123456789abcdefx"), next + 6);
	/* Hardened, a block of what class that is depends on what was added to the request. */
	snprintf(nbytes, sizeof nbytes, "%zu bytes", quarry_good_size(misuse->nbytes));
	if (hardened_build)
		snprintf(nbytes, sizeof nbytes, " bytes");
	size_t length = strcspn(line, "\n");
	char text[512];
	snprintf(text, sizeof text, "%.*s", (int)length, line);
	if (strstr(text, address) == NULL)
		return 0;
	return misuse->detail == ADDRESS_ONLY ||
	       (strstr(text, "size class") != NULL && strstr(text, nbytes) != NULL && strstr(text, "arena 0x") != NULL);
}

static inline int misuse_fails(const struct misuse *misuse, size_t number, const char *state)
{
	static char said[65536];
	int status = misuse_process(number, state, "on_error:abort", said, sizeof said);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !message_is_right(misuse, said)) {
		say("%s, %zu bytes, %s: status 0x%x, expected SIGABRT and a full message; it said:\n%.300s",
		    misuse->name, misuse->nbytes, state, status, said);
		return 1;
	}
	status = misuse_process(number, state, "on_error:report", said, sizeof said);
	if (status != 0 || !message_is_right(misuse, said)) {
		say("%s, %zu bytes, %s, on_error:report: status 0x%x; it said:\n%.300s", misuse->name, misuse->nbytes,
		    state, status, said);
		return 1;
	}
	return 0;
}

/* The main of each test: every case that this build can find. Skips, with the reason, where that is none. */
static inline int misuse_main(int argc, const struct misuse *misuses, size_t count, char **argv)
{
	int failed = 0, ran = 0;

	test_start(60);
	if (QUARRY_NO_CHECKS && !hardened_build)
		SKIP("configured with --disable-checks");
	if (argc == 3) {
		const struct misuse *misuse = &misuses[atoi(argv[1])];
		if (strcmp(argv[2], "warm") == 0)
			warm_up(misuse->nbytes);
		misuse->run(misuse->nbytes);
		go_on_well();
		return 0;
	}
	for (size_t i = 0; i < count; i++) {
		if (misuses[i].debug_only && !debug_build && !hardened_build) {
			say("left out, only a debug or hardened build finds it: %s, %zu bytes", misuses[i].name, misuses[i].nbytes);
			continue;
		}
		failed += misuse_fails(&misuses[i], i, "cold") + misuse_fails(&misuses[i], i, "warm");
		ran++;
	}
	if (ran == 0)
		SKIP("configure with --enable-debug");
	return failed != 0;
}

#endif
