/* SPDX-License-Identifier: MIT */
/*
 * The tools of placement.h. Pages are asked of the kernel by move_pages without a target, which tells and moves
 * nothing.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <quarry/quarry.h>

#include "placement.h"

#define PAGE ((size_t)4096)
#define BATCH 256

struct machine machine;

/* One write(2) per line, from the stack. */
static void say(int fd, const char *format, va_list args)
{
	char line[256];
	int length = vsnprintf(line, sizeof line - 1, format, args);

	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length++] = '\n';
	if (write(fd, line, (size_t)length) < 0)
		_exit(1);
}

__attribute__((format(printf, 2, 3))) static void say_line(int fd, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(fd, format, args);
	va_end(args);
}

void fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	say_line(2, "%s:%d: failed", file, line);
	va_start(args, format);
	say(2, format, args);
	va_end(args);
	_exit(1);
}

/* --- the machine -------------------------------------------------------------------------------------------------- */

double seconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int move_to(int cpu)
{
	cpu_set_t set;
	unsigned now, node;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0 || getcpu(&now, &node) < 0)
		FAIL("CPU %d: %s", cpu, strerror(errno));
	CHECK((int)now == cpu);
	return (int)node;
}

int run_on(int n)
{
	move_to(machine.cpu[n]);
	return machine.node[n];
}

/* The text of a file, in a buffer of the caller's. */
static char *read_text(const char *path, char *text, size_t nbytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, nbytes - 1);

	if (length < 0)
		FAIL("%s: %s", path, strerror(errno));
	close(fd);
	text[length] = 0;
	return text;
}

/* The node whose memory serves a CPU of this one: itself or, where its memory may not be used, the nearest. */
static int home_of(int node)
{
	char path[64], text[512], *next = text;
	int home = -1;
	long least = 0;

	if (machine.allowed >> node & 1)
		return node;
	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/distance", node);
	read_text(path, text, sizeof text);
	for (int other = 0; other < 64 && *next > ' '; other++) {
		long distance = strtol(next, &next, 10);

		next += *next == ' ';
		if (machine.allowed >> other & 1 && (home < 0 || distance < least)) {
			home = other;
			least = distance;
		}
	}
	return home;
}

void machine_read(void)
{
	cpu_set_t all;

	CHECK(syscall(SYS_get_mempolicy, NULL, &machine.allowed, 64ul, NULL, MPOL_F_MEMS_ALLOWED) == 0);
	/* All that the cgroup allows, wherever this process was started. */
	memset(&all, 0xff, sizeof all);
	CHECK(sched_setaffinity(0, sizeof all, &all) == 0 && sched_getaffinity(0, sizeof all, &all) == 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && machine.ncpus < MAX_CPUS; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		machine.node[machine.ncpus] = home_of(move_to(cpu));
		machine.cpu[machine.ncpus++] = cpu;
	}
	CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

static void *map(size_t nbytes, int sharing)
{
	void *table = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);

	CHECK(table != MAP_FAILED);
	return table;
}

void *map_table(size_t nbytes)
{
	return map(nbytes, MAP_PRIVATE);
}

void *map_shared(size_t nbytes)
{
	return map(nbytes, MAP_SHARED);
}

struct blocks blocks_make(size_t n)
{
	return (struct blocks){ map_table(n * sizeof(struct block)), n };
}

void touch(char *address, size_t nbytes)
{
	volatile char *bytes = address;

	for (size_t offset = 0; offset < nbytes; offset += PAGE)
		bytes[offset] = 1;
	bytes[nbytes - 1] = 1;
}

void block_fill(struct block *block, size_t nbytes, int node)
{
	char *address = malloc(nbytes);

	if (!address)
		FAIL("malloc(%zu): %s", nbytes, strerror(errno));
	touch(address, nbytes);
	*block = (struct block){ address, nbytes, node };
}

void block_empty(struct block *block)
{
	free(block->address);
	block->address = NULL;
}

void blocks_empty(struct blocks blocks)
{
	for (size_t i = 0; i < blocks.n; i++)
		block_empty(&blocks.block[i]);
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717) >> 16;
}

size_t random_size(uint64_t *state, unsigned rarely)
{
	uint64_t dice = random_next(state);

	if (rarely && dice % rarely == 0)
		return 5 * MIB;
	if (dice % 16 == 1)
		return 4 * KIB + random_next(state) % (60 * KIB);
	if (dice % 128 == 2)
		return 64 * KIB + random_next(state) % (236 * KIB);
	size_t top = (size_t)16 << random_next(state) % 8;
	return top + random_next(state) % top;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static void ask(void **pages, int *nodes, size_t n)
{
	if (syscall(SYS_move_pages, 0, n, pages, NULL, nodes, 0) < 0)
		FAIL("move_pages: %s", strerror(errno));
}

void ask_pages(const void *address, size_t nbytes, int node, struct tally *tally)
{
	uintptr_t page = (uintptr_t)address & ~(PAGE - 1), end = (uintptr_t)address + nbytes;

	while (page < end) {
		void *pages[BATCH];
		int nodes[BATCH];
		size_t n = 0;

		for (; n < BATCH && page < end; page += PAGE)
			pages[n++] = (void *)page;
		ask(pages, nodes, n);
		for (size_t i = 0; i < n; i++) {
			tally->right += nodes[i] == node;
			tally->total += nodes[i] >= 0;
		}
	}
}

int ask_page(const void *address)
{
	void *page = (void *)((uintptr_t)address & ~(PAGE - 1));
	int node = -1;

	ask(&page, &node, 1);
	return node;
}

void ask_blocks(struct blocks blocks, struct tally *tally)
{
	for (size_t i = 0; i < blocks.n; i++) {
		const struct block *block = &blocks.block[i];

		if (block->address)
			ask_pages(block->address, block->nbytes, block->node, tally);
	}
}

static int ask_arena(const struct quarry_block *block, void *arg)
{
	/* Where one node may be used Quarry has no numbers for nodes. */
	int node = machine.allowed & (machine.allowed - 1) ? block->node : __builtin_ctzl(machine.allowed);

	ask_pages(block->address, block->nbytes, node, arg);
	return 0;
}

bool ask_arenas(struct tally *tally)
{
	int (*walk)(quarry_walk_fn, void *);

	/* POSIX's way to make a function of what dlsym returns. */
	*(void **)&walk = dlsym(RTLD_DEFAULT, "quarry_walk");
	if (!walk)
		return false;
	CHECK(walk(ask_arena, tally) == 0);
	return true;
}

void add(struct tally *sum, struct tally part)
{
	sum->right += part.right;
	sum->total += part.total;
}

void figure(const char *name, struct tally tally)
{
	say_line(1, "@figure %s %llu %llu", name, (unsigned long long)tally.right, (unsigned long long)tally.total);
}

void note(const char *name, double value)
{
	say_line(1, "@note %s %.6g", name, value);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static pthread_barrier_t together;
static void (*thread_work)(int);

static void *thread_main(void *index)
{
	thread_work((int)(intptr_t)index);
	return NULL;
}

void on_all_cpus(void (*work)(int index), int most)
{
	pthread_t threads[MAX_CPUS];
	int n = machine.ncpus < most ? machine.ncpus : most;

	thread_work = work;
	pthread_barrier_init(&together, NULL, (unsigned)n);
	for (int i = 0; i < n; i++)
		CHECK(pthread_create(&threads[i], NULL, thread_main, (void *)(intptr_t)i) == 0);
	for (int i = 0; i < n; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	pthread_barrier_destroy(&together);
}

void on_one_cpu(void (*work)(int index), int index)
{
	pthread_t thread;

	thread_work = work;
	CHECK(pthread_create(&thread, NULL, thread_main, (void *)(intptr_t)index) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
}

void meet(void)
{
	pthread_barrier_wait(&together);
}
