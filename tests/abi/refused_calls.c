/* SPDX-License-Identifier: MIT */
/*
 * System calls that the kernel or a container refuses: placement, advice and threads may be lost, never memory.
 *
 * Each case runs twice in processes of their own: under a seccomp filter from the start, and with the filter set
 * while its threads are allocating. "mmap" is different: then NULL with ENOMEM is right, and freeing makes room.
 */
#include "blackbox.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define SLOTS 1024
#define THREADS 3
#define MOST_CALLS 5

static const struct refusal {
	const char *name;
	int error;
	int at_start; /* the loader and libc can start without them */
	int threads;  /* threads can be started without them */
	long calls[MOST_CALLS];
} refusals[] = {
	{ "memory policy", EPERM, 1, 1, { SYS_mbind, SYS_set_mempolicy, SYS_get_mempolicy, SYS_move_pages } },
	{ "memory policy, no such call", ENOSYS, 1, 1, { SYS_mbind, SYS_set_mempolicy, SYS_get_mempolicy } },
	{ "membarrier", EPERM, 1, 1, { SYS_membarrier } },
	{ "membarrier, no such call", ENOSYS, 1, 1, { SYS_membarrier } },
	{ "advice", EINVAL, 1, 1, { SYS_madvise } },
	{ "mremap", ENOMEM, 1, 1, { SYS_mremap } },
	{ "random numbers and affinity", ENOSYS, 1, 1, { SYS_getrandom, SYS_sched_getaffinity, SYS_getcpu } },
	{ "restartable sequences", ENOSYS, 1, 1, { SYS_rseq } },
	{ "threads", EAGAIN, 1, 0, { SYS_clone3, SYS_clone } },
	{ "munmap", ENOMEM, 0, 1, { SYS_munmap } },
	{ "files", EACCES, 0, 1, { SYS_openat } },
	{ "all that can be", EPERM, 1, 1, { SYS_mbind, SYS_get_mempolicy, SYS_membarrier, SYS_madvise, SYS_mremap } },
};

static void *shared[SLOTS];
static size_t shared_sizes[SLOTS];
static pthread_mutex_t locks[SLOTS];
static volatile int stop;

/* 0, or -1 where filters are not allowed. For all threads of the process, and for what it executes. */
static int refuse(const long *calls, int error)
{
	struct sock_filter program[3 + 2 * MOST_CALLS];
	struct sock_fprog filter = { .filter = program };
	unsigned short length = 0;

	program[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < MOST_CALLS && calls[i] != 0; i++) {
		program[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
		program[length++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error);
	}
	program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter.len = length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0 ? 0 : -1;
}

static void one_exchange(uint64_t *rng)
{
	size_t i = rng_below(rng, SLOTS), nbytes = rng_size(rng, rng_below(rng, 64) == 0 ? 23 : 14);

	pthread_mutex_lock(&locks[i]);
	if (shared[i] != NULL)
		pattern_check(shared[i], shared_sizes[i], i);
	if (rng_below(rng, 4) == 0) {
		uintptr_t from = (uintptr_t)shared[i];
		size_t kept = shared_sizes[i] < nbytes ? shared_sizes[i] : nbytes;
		shared[i] = realloc(shared[i], nbytes);
		CHECK(shared[i] != NULL && pattern_kept(shared[i], kept, from, shared_sizes[i], i));
	} else {
		free(shared[i]);
		shared[i] = malloc(nbytes);
	}
	CHECKF(shared[i] != NULL, "  no memory: errno %d", errno);
	shared_sizes[i] = nbytes;
	pattern_fill(shared[i], nbytes, i);
	pthread_mutex_unlock(&locks[i]);
}

static void *storm(void *arg)
{
	uint64_t rng = test_seed((uintptr_t)arg + 1);

	for (unsigned round = 1; !stop; round++) {
		one_exchange(&rng);
		if (round % 4096 == 0)
			malloc_trim(0);
	}
	return NULL;
}

static int run_storm(const struct refusal *refusal, int late)
{
	pthread_t threads[THREADS];
	double seconds = test_seconds(3) / 10;
	uint64_t rng = test_seed(100);
	int started = late || refusal->threads;

	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&locks[i], NULL);
	for (uintptr_t i = 0; i < THREADS && started; i++)
		CHECK(pthread_create(&threads[i], NULL, storm, (void *)i) == 0);
	for (double end = now() + seconds; late && now() < end;)
		one_exchange(&rng);
	if (late)
		CHECK(refuse(refusal->calls, refusal->error) == 0);
	for (double end = now() + seconds; now() < end;)
		one_exchange(&rng);
	mallinfo2();
	stop = 1;
	for (int i = 0; i < THREADS && started; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < SLOTS; i++)
		free(shared[i]);
	malloc_trim(0);
	free(calloc(100, 1000));
	return 0;
}

/* No new memory from now on: what is there goes round, failure is NULL with ENOMEM, and old blocks stay whole. */
static int run_without_mmap(void)
{
	static const long calls[MOST_CALLS] = { SYS_mmap, SYS_mremap, SYS_brk };
	static void *blocks[100000];
	size_t first = 0, again = 0;

	for (; first < 20000; first++) {
		blocks[first] = malloc(1000);
		pattern_fill(blocks[first], 1000, first);
	}
	CHECK(refuse(calls, ENOMEM) == 0);
	for (errno = 0; first < COUNT(blocks) && (blocks[first] = malloc(1000)) != NULL; first++)
		pattern_fill(blocks[first], 1000, first);
	CHECK(first < COUNT(blocks) && errno == ENOMEM);
	errno = 0;
	CHECK(realloc(blocks[0], 512 * MIB) == NULL && errno == ENOMEM);
	for (size_t i = 0; i < first; i++) {
		pattern_check(blocks[i], 1000, i);
		free(blocks[i]);
	}
	for (errno = 0; again < COUNT(blocks) && (blocks[again] = malloc(3000)) != NULL; again++)
		pattern_fill(blocks[again], 3000, again);
	CHECKF(3 * again * 4 >= first * 3, "  %zu blocks of 1000 bytes, then only %zu of 3000", first, again);
	return 0;
}

/* In a fork child, which the filter binds and the program that it executes. */
static int run_refused(const struct refusal *refusal, const char *number)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		if (refuse(refusal->calls, refusal->error) != 0)
			SKIP("seccomp filters are not allowed here");
		execl("/proc/self/exe", "again", number, "start", (char *)NULL);
		_exit(2);
	}
	CHECK(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		_exit(77);
	return status;
}

int main(int argc, char **argv)
{
	int failed = 0;

	test_start(120);
	if (argc == 3 && strcmp(argv[2], "mmap") == 0)
		return run_without_mmap();
	if (argc == 3)
		return run_storm(&refusals[atoi(argv[1])], strcmp(argv[2], "late") == 0);
	for (size_t i = 0; i < COUNT(refusals); i++) {
		char number[8];
		snprintf(number, sizeof number, "%zu", i);
		int early = refusals[i].at_start ? run_refused(&refusals[i], number) : 0;
		int late = run_self(number, "late");
		if (early != 0 || late != 0)
			say("refused %s: status 0x%x from the start, 0x%x when late", refusals[i].name, early, late);
		failed += early != 0 || late != 0;
	}
	int status = run_self("0", "mmap");
	if (status != 0)
		say("refused mmap: status 0x%x", status);
	return failed != 0 || status != 0;
}
