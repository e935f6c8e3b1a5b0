/* SPDX-License-Identifier: MIT */
/*
 * What the black-box tests share: checks, skips, seeds, clocks and the process's own footprint. C and C++.
 *
 * Owns nothing and allocates nothing, so that a test decides about every malloc itself.
 * Environment: QUARRY_TEST_SECONDS length of the timed tests, QUARRY_TEST_SEED, QUARRY_TEST_FULL=1 full sizes,
 * QUARRY_TEST_REQUIRE=1 turns skips into failures, QUARRY_PRELOAD the library that the program must run on.
 */
#ifndef QUARRY_TESTS_BLACKBOX_H
#define QUARRY_TESTS_BLACKBOX_H

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One line on stderr by a single write(2), so that lines of several threads and processes stay whole. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length++] = '\n';
	if (write(2, line, (size_t)length) < 0)
		_exit(1);
}

/* _exit: a failed test must not run destructors on a heap that may be broken. */
#define FAIL(...) (say("%s:%d: %s", __FILE__, __LINE__, __func__), say(__VA_ARGS__), _exit(1))
#define CHECK(condition) ((condition) ? (void)0 : FAIL("  not true: %s", #condition))
#define CHECKF(condition, ...) ((condition) ? (void)0 : FAIL(__VA_ARGS__))

static inline int env_flag(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && value[0] == '1';
}

/* Is the library under test hardened, as every one of its build is? */
static inline int is_hardened(void)
{
	const char *value = getenv("QUARRY_ALL_HARDENED");
	return value != NULL && strcmp(value, "no") != 0;
}

#define SKIP(...) (say("skipped: " __VA_ARGS__), _exit(env_flag("QUARRY_TEST_REQUIRE") ? 1 : 77))

static inline double test_seconds(double otherwise)
{
	const char *value = getenv("QUARRY_TEST_SECONDS");
	double seconds = value != NULL ? atof(value) : 0;
	return seconds > 0 ? seconds : otherwise;
}

/* xorshift64*: one state per thread, never 0. */
static inline uint64_t rng_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static inline size_t rng_below(uint64_t *state, size_t bound)
{
	return (size_t)((rng_next(state) >> 11) % bound);
}

/* Sizes from 1 to 2^bits - 1, each power of two as likely as the next: small ones prevail, as in programs. */
static inline size_t rng_size(uint64_t *state, unsigned bits)
{
	size_t top = (size_t)1 << rng_below(state, bits);
	return top + rng_below(state, top);
}

/* The seed of stream `index`: the streams of one run differ, and a run is repeated by QUARRY_TEST_SEED. */
static inline uint64_t test_seed(uint64_t index)
{
	const char *value = getenv("QUARRY_TEST_SEED");
	uint64_t seed = value != NULL ? strtoull(value, NULL, 0) : 1;

	if (index == 0)
		say("seed: QUARRY_TEST_SEED=%llu", (unsigned long long)seed);
	seed = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + index * UINT64_C(0xd1342543de82ef95);
	return seed != 0 ? seed : 1;
}

static inline double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline void sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
	while (nanosleep(&time, &time) != 0)
		continue;
}

/* Memory of the test's own records: beside malloc, and resident from the start so that it cancels out. */
static inline void *map_table(size_t nbytes)
{
	void *table = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(table != MAP_FAILED);
	return table;
}

/*
 * Anonymous resident bytes. smaps_rollup walks the page tables: statm's counters are approximate on newer kernels.
 */
static inline size_t resident(void)
{
	char text[4096];
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	CHECK(length > 0);
	text[length] = 0;
	const char *line = strstr(text, "\nAnonymous:");
	CHECK(line != NULL);
	return strtoull(line + 11, NULL, 10) * KIB;
}

/* First number after a line's name in /proc/self/status, such as "VmSize:" (in KiB) or "Threads:". */
static inline size_t proc_status(const char *name)
{
	char text[8192];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	CHECK(length > 0);
	text[length] = 0;
	const char *line = strstr(text, name);
	CHECK(line != NULL);
	return strtoull(line + strlen(name), NULL, 10);
}

static inline size_t mapping_count(void)
{
	static char text[65536];
	size_t count = 0;
	ssize_t length;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	while ((length = read(fd, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < length; i++)
			count += text[i] == '\n';
	close(fd);
	return count;
}

/* What a child writes into a pipe until its end, as text; its wait status. */
static inline int child_said(pid_t child, const int ends[2], char *text, size_t size)
{
	size_t length = 0;
	ssize_t part;
	int status;

	close(ends[1]);
	while ((part = read(ends[0], text + length, size - 1 - length)) > 0)
		length += (size_t)part;
	text[length] = 0;
	close(ends[0]);
	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

/*
 * A block's bytes follow from its address, size and a tag: a block handed out twice, moved wrongly or written by
 * somebody else shows. Beyond 4 KiB only the first and last KiB and one line per 1 KiB are written, for speed.
 */
static inline size_t pattern_next(size_t offset, size_t nbytes)
{
	offset += 8;
	if (nbytes > 4 * KIB && offset % KIB >= 64 && offset >= KIB && offset + KIB < nbytes)
		offset = (offset | (KIB - 1)) + 1;
	return offset;
}

static inline uint64_t pattern_word(uint64_t key, size_t offset)
{
	return (key + offset) * UINT64_C(0x9e3779b97f4a7c15) ^ key >> 7;
}

static inline void pattern_fill(void *block, size_t nbytes, uint64_t tag)
{
	uint64_t key = (uint64_t)(uintptr_t)block * 31 + nbytes + (tag << 48);

	for (size_t offset = 0; offset < nbytes; offset = pattern_next(offset, nbytes)) {
		uint64_t word = pattern_word(key, offset);
		memcpy((char *)block + offset, &word, nbytes - offset < 8 ? nbytes - offset : 8);
	}
}

/* Whether the first `kept` bytes of `block` still hold what was filled in when it lay at `from` with `nbytes`. */
static inline int pattern_kept(const void *block, size_t kept, uintptr_t from, size_t nbytes, uint64_t tag)
{
	uint64_t key = (uint64_t)from * 31 + nbytes + (tag << 48);

	for (size_t offset = 0; offset < kept; offset = pattern_next(offset, nbytes)) {
		uint64_t word = pattern_word(key, offset);
		if (memcmp((const char *)block + offset, &word, kept - offset < 8 ? kept - offset : 8) != 0)
			return 0;
	}
	return 1;
}

static inline void pattern_check(const void *block, size_t nbytes, uint64_t tag)
{
	CHECKF(pattern_kept(block, nbytes, (uintptr_t)block, nbytes, tag), "  block %p of %zu bytes has changed", block,
	       nbytes);
}

static inline int is_zero(const void *block, size_t nbytes)
{
	const char *bytes = (const char *)block;
	return nbytes == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, nbytes - 1) == 0);
}

/* Whether this process runs on Quarry: what Quarry alone promises is not asked of another malloc. */
static inline int on_quarry(void)
{
	return dlsym(RTLD_DEFAULT, "quarry_version") != NULL;
}

/* Start this program once more with up to two arguments, as a fresh process that inherits the environment. */
static inline pid_t start_self(const char *first, const char *second)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", "again", first, second, (char *)NULL);
		_exit(2);
	}
	return child;
}

/* Its wait status. */
static inline int run_self(const char *first, const char *second)
{
	int status;
	pid_t child = start_self(first, second);

	CHECK(waitpid(child, &status, 0) == child);
	return status;
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWER 4
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SLOWER 4
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

/* First call of each test: a time limit that ends even a hung one, and proof that the library is really there. */
static inline void test_start(unsigned limit_seconds)
{
	alarm(SLOWER * (limit_seconds + (unsigned)(30 * test_seconds(0))));
	if (getenv("QUARRY_PRELOAD") != NULL && getenv("LD_PRELOAD") != NULL)
		CHECKF(on_quarry(), "  QUARRY_PRELOAD is set but not in this process");
}

#endif
