/* SPDX-License-Identifier: MIT */
/*
 * In a control group with little memory, really enforced by the kernel: a program whose live blocks stay well below the
 * limit is not killed, whatever sizes it goes through, since what it frees serves other sizes or goes back.
 *
 * Version 1 (memory.limit_in_bytes, of which Quarry knows nothing) or version 2 (memory.max, which it reads). Where no
 * group can be made the case is not tried: that is for the machine to allow.
 */
#include "blackbox.h"

#include <pthread.h>
#include <sys/stat.h>

#define LIMIT (96 * MIB)
#define LIVE (24 * MIB)
#define WAVES 24
#define MOST_BLOCKS 100000

static char group[256];

static int write_text(const char *file, const char *text)
{
	char path[320];
	snprintf(path, sizeof path, "%s/%s", group, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return good;
}

static int make_group(const char *root, const char *file)
{
	char text[32];
	snprintf(group, sizeof group, "%s/quarry-test-%d", root, (int)getpid());
	snprintf(text, sizeof text, "%zu", LIMIT);
	if (mkdir(group, 0755) != 0)
		return 0;
	if (write_text(file, text))
		return 1;
	rmdir(group);
	return 0;
}

/* Blocks of about one size, LIVE bytes of them, touched and freed again. */
static void wave(size_t nbytes)
{
	static char *blocks[MOST_BLOCKS];
	size_t n = LIVE / nbytes;

	n = n < MOST_BLOCKS ? n : MOST_BLOCKS;
	for (size_t i = 0; i < n; i++) {
		blocks[i] = malloc(nbytes + i % 7);
		CHECKF(blocks[i] != NULL, "  no memory for %zu bytes", nbytes);
		memset(blocks[i], (int)i, nbytes);
	}
	for (size_t i = 0; i < n; i++) {
		CHECK(blocks[i][nbytes - 1] == (char)i);
		free(blocks[i]);
	}
}

static void *waves(void *arg)
{
	uint64_t rng = test_seed((uintptr_t)arg + 1);
	for (int i = 0; i < WAVES; i++)
		wave(rng_size(&rng, 24) + 200);
	return NULL;
}

static int run_inside(void)
{
	pthread_t thread;
	for (uintptr_t i = 0; i < 3; i++) {
		CHECK(pthread_create(&thread, NULL, waves, (void *)i) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int status;
	(void)argv;

	test_start(150);
	if (argc == 2)
		return run_inside();
	if (!make_group("/sys/fs/cgroup/memory", "memory.limit_in_bytes") && !make_group("/sys/fs/cgroup", "memory.max")) {
		say("not tried: no control group with a limit can be made here");
		return 0;
	}
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		char pid[16];
		snprintf(pid, sizeof pid, "%d", (int)getpid());
		if (!write_text("cgroup.procs", pid))
			_exit(77);
		execl("/proc/self/exe", "memory_group", "inside", (char *)NULL);
		_exit(2);
	}
	CHECK(waitpid(child, &status, 0) == child);
	for (int i = 0; i < 100 && rmdir(group) != 0; i++)
		sleep_ms(50);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		say("not tried: the group cannot be entered");
	else
		CHECKF(status == 0, "  status 0x%x under a limit of %zu MiB", status, LIMIT / MIB);
	return 0;
}
