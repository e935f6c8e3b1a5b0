/* SPDX-License-Identifier: MIT */
/*
 * A process without /proc and /sys, as in a bare container: it starts, allocates, has one node, and starts threads.
 *
 * In a mount namespace of its own both are covered by an empty file system, then the program is executed once more. It
 * is run with several nodes described as well, where the topology module and hwloc are loaded.
 */
#include "blackbox.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>

static void *work(void *arg)
{
	void *blocks[512] = { NULL };
	uint64_t rng = (uintptr_t)arg + 1;

	for (int round = 0; round < 20000; round++) {
		size_t i = rng_below(&rng, COUNT(blocks)), nbytes = rng_size(&rng, round % 64 == 0 ? 23 : 13);
		free(blocks[i]);
		blocks[i] = malloc(nbytes);
		CHECK(blocks[i] != NULL);
		pattern_fill(blocks[i], nbytes, 1);
	}
	for (size_t i = 0; i < COUNT(blocks); i++)
		free(blocks[i]);
	malloc_trim(0);
	return NULL;
}

static int run_bare(void)
{
	pthread_t threads[3];

	CHECK(access("/proc/self/maps", F_OK) != 0 && access("/sys/devices", F_OK) != 0);
	CHECK(on_quarry() || getenv("QUARRY_PRELOAD") == NULL);
	work((void *)100);
	for (uintptr_t i = 0; i < COUNT(threads); i++)
		CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	for (size_t i = 0; i < COUNT(threads); i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	malloc_stats();
	return 0;
}

/* In a child: this program again, its file opened before /proc goes. */
static int run_without(char **environment)
{
	static char name[] = "bare_system", bare[] = "bare";
	char *arguments[] = { name, bare, NULL };
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		int self = open("/proc/self/exe", O_RDONLY);
		CHECK(self >= 0);
		if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			_exit(77);
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", "/proc", "tmpfs", 0, NULL) != 0 ||
		    mount("none", "/sys", "tmpfs", 0, NULL) != 0)
			_exit(77);
		fexecve(self, arguments, environment);
		_exit(2);
	}
	CHECK(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no mount namespace of one's own is allowed here: errno %d", errno);
	return status;
}

int main(int argc, char **argv)
{
	extern char **environ;
	(void)argv;

	test_start(60);
	if (argc == 2)
		return run_bare();
	int plain = run_without(environ);
	CHECKF(plain == 0, "  status 0x%x", plain);
	CHECK(setenv("HWLOC_SYNTHETIC", "numa:4 core:2 pu:1", 1) == 0);
	const char *build = getenv("QUARRY_BUILD_DIR");
	if (build != NULL) {
		char module[4096];
		snprintf(module, sizeof module, "%s/lib/.libs/libquarry_topology.so", build);
		CHECK(setenv("QUARRY_TOPOLOGY", module, 1) == 0);
	}
	int described = run_without(environ);
	CHECKF(described == 0, "  status 0x%x with nodes described", described);
	return 0;
}
