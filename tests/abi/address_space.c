/* SPDX-License-Identifier: MIT */
/*
 * Address space and committed memory used up: NULL with ENOMEM, and after freeing any other size class is served.
 *
 * Each case runs in a process of its own that starts under a limit of 128 MiB: RLIMIT_AS counts all that is mapped;
 * RLIMIT_DATA counts private writable memory, which is what vm.overcommit_memory=2 counts, but needs no privilege.
 * What is served is measured in blocks: in the hardened library a small one has a seal, and room for it.
 */
#include "blackbox.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

#define LIMIT (128 * MIB)

struct block {
	struct block *next;
	size_t size;
};

static size_t block_size(size_t size)
{
	return is_hardened() && size < 8192 ? (size + 8 + 15) / 16 * 16 : size;
}

/* Allocate until nothing more comes; the blocks chain themselves. Returns the bytes that came. */
static size_t flood(size_t size, struct block **chain)
{
	size_t total = 0;
	struct block *block;

	for (errno = 0; (block = malloc(size)) != NULL; errno = 0) {
		block->next = *chain;
		block->size = size;
		*chain = block;
		total += block_size(size);
		CHECKF(total <= LIMIT, "  no limit is in force");
	}
	CHECKF(errno == ENOMEM, "  malloc failed with errno %d", errno);
	errno = 0;
	CHECK(calloc(1, LIMIT) == NULL && errno == ENOMEM);
	errno = 0;
	CHECK(realloc(NULL, LIMIT) == NULL && errno == ENOMEM);
	CHECK(*chain == NULL || realloc(*chain, LIMIT) == NULL);
	return total;
}

static void release(struct block **chain)
{
	while (*chain != NULL) {
		struct block *block = *chain;
		*chain = block->next;
		free(block);
	}
}

static void *flood_and_release(void *size)
{
	struct block *chain = NULL;
	size_t total = flood(*(size_t *)size, &chain);

	release(&chain);
	return (void *)total;
}

/* In the limited process. */
static int run_case(size_t first, size_t second, int threaded)
{
	struct block *chain = NULL;
	size_t yield;

	test_start(60);
	if (threaded) {
		void *result;
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, flood_and_release, &first) == 0);
		CHECK(pthread_join(thread, &result) == 0);
		yield = (size_t)result;
	} else {
		yield = (size_t)flood_and_release(&first);
	}
	CHECKF(yield >= LIMIT / 2, "  only %zu KiB of %zu served", yield / KIB, LIMIT / KIB);
	size_t again = flood(second, &chain);
	CHECKF(again * 4 >= yield * 3, "  after freeing %zu KiB in blocks of %zu only %zu KiB came in blocks of %zu",
	       yield / KIB, first, again / KIB, second);
	release(&chain);
	/* And back: nothing was worn out by the failures. */
	again = (size_t)flood_and_release(&first);
	CHECKF(again * 4 >= yield * 3, "  the third flood gave only %zu KiB of %zu", again / KIB, yield / KIB);
	return 0;
}

static int start_case(int resource, const char *first, const char *second, const char *threaded)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		struct rlimit limit = { LIMIT, LIMIT };
		CHECK(setrlimit((__rlimit_resource_t)resource, &limit) == 0);
		execl("/proc/self/exe", "address_space", first, second, threaded, (char *)NULL);
		_exit(2);
	}
	CHECK(waitpid(child, &status, 0) == child);
	if (status != 0)
		say("failed (status 0x%x): %s, %s after %s bytes%s", status,
		    resource == RLIMIT_AS ? "RLIMIT_AS" : "RLIMIT_DATA", second, first,
		    *threaded == '1' ? " in another thread" : "");
	return status != 0;
}

int main(int argc, char **argv)
{
	static const char *const pairs[][2] = { { "64", "4096" }, { "4096", "64" },    { "100", "100000" },
						{ "100000", "100" }, { "1048576", "48" }, { "48", "1048576" },
						{ "16", "20000" },   { "300", "310" } };
	int failed = 0;

	if (argc == 4)
		return run_case(strtoul(argv[1], NULL, 10), strtoul(argv[2], NULL, 10), argv[3][0] == '1');
	test_start(240);
	for (size_t i = 0; i < COUNT(pairs); i++) {
		failed += start_case(RLIMIT_AS, pairs[i][0], pairs[i][1], "0");
		failed += start_case(RLIMIT_DATA, pairs[i][0], pairs[i][1], "0");
		failed += start_case(RLIMIT_AS, pairs[i][0], pairs[i][1], "1");
	}
	return failed != 0;
}
