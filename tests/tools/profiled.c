/* SPDX-License-Identifier: MIT */
/*
 * A process that knows what belongs to its call sites: profiled hold|churn|exit
 *
 * A typed cache, "orders", and a heap, "tenant 1", serve two of the sites. Without -DLINKED the program knows Quarry by
 * name only, and has it preloaded.
 *
 * hold      allocates from two threads, forks a child that allocates and frees by itself, writes a line for each site,
 *           "SITE SIZE LIVE ALL" with numbers of blocks, then "ready", and waits for its standard input to end
 * churn     writes "ready", then replaces blocks at all sites until its standard input ends
 * idle      writes "ready" and allocates nothing
 * exit      as hold, without waiting
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quarry/cache.h"
#include "quarry/heap.h"

#define SLOTS 4096
#define NTHREADS 2

#ifdef LINKED
#define THE(call) call
#else
#define THE(call) (*(__typeof__(&call))dlsym(RTLD_DEFAULT, #call))
#endif

#define OBJECT_NBYTES 40

static struct quarry_cache *orders;
static struct quarry_heap *tenant;
static __typeof__(&quarry_cache_alloc) cache_alloc;
static __typeof__(&quarry_heap_malloc) heap_malloc;

static void free_object(void *object)
{
	THE(quarry_cache_free)(orders, object);
}

static void free_of_tenant(void *block)
{
	THE(quarry_heap_free)(tenant, block);
}

/* Each a function of its own, which no compiler merges or calls last. */
#define SITE(name, call)                                                                                               \
	__attribute__((noinline)) void *name(size_t nbytes)                                                            \
	{                                                                                                              \
		char *volatile block = call;                                                                           \
		if (!block)                                                                                            \
			abort();                                                                                       \
		block[0] = 1;                                                                                          \
		return block;                                                                                          \
	}
SITE(site_small, malloc(nbytes))
SITE(site_medium, malloc(nbytes))
SITE(site_span, malloc(nbytes))
SITE(site_dropped, malloc(nbytes))
SITE(site_object, ((void)nbytes, cache_alloc(orders)))
SITE(site_tenant, heap_malloc(tenant, nbytes))

static struct {
	const char *name;
	void *(*call)(size_t nbytes);
	size_t nbytes;
	unsigned each, kept; /* blocks per thread: so many are made, and so many of them live on */
	void (*release)(void *block);
} sites[] = {
	{ "site_small", site_small, 48, 60000, 40000, free },
	{ "site_medium", site_medium, 3000, 3000, 1000, free },
	{ "site_span", site_span, 50000, 200, 150, free },
	{ "site_object", site_object, OBJECT_NBYTES, 60000, 40000, free_object },
	{ "site_tenant", site_tenant, 700, 8000, 5000, free_of_tenant },
	{ "site_dropped", site_dropped, 100, 30000, 0, free },
};
#define NSITES (sizeof sites / sizeof sites[0])

/* A slot belongs to one site. */
static void *_Atomic slots[NSITES][SLOTS];
static atomic_bool ended;

static void *hold(void *unused)
{
	for (size_t i = 0; i < NSITES; i++) {
		for (unsigned n = 0; n < sites[i].each; n++) {
			void *block = sites[i].call(sites[i].nbytes);

			if (n >= sites[i].kept)
				sites[i].release(block);
		}
	}
	return unused;
}

static void *churn(void *unused)
{
	unsigned n = 0;

	while (!ended) {
		size_t i = n % NSITES;
		void *old = atomic_exchange(&slots[i][n * 7 % SLOTS], sites[i].call(sites[i].nbytes));

		if (old)
			sites[i].release(old);
		if (n++ % 64 == 0)
			usleep(100);
	}
	return unused;
}

static void with_threads(void *(*work)(void *unused), bool until_end)
{
	pthread_t threads[NTHREADS];
	char byte;

	for (int i = 0; i < NTHREADS; i++) {
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			abort();
	}
	while (until_end && read(0, &byte, 1) == 1)
		;
	ended = true;
	for (int i = 0; i < NTHREADS; i++)
		pthread_join(threads[i], NULL);
}

/* A child with figures of its own; what it does with its copy is not seen in the parent. */
static void fork_one(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		hold(NULL);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		abort();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "hold";
	char byte;

	setvbuf(stdout, NULL, _IOLBF, 0);
	cache_alloc = THE(quarry_cache_alloc);
	heap_malloc = THE(quarry_heap_malloc);
	orders = THE(quarry_cache_create)("orders", OBJECT_NBYTES, 0, NULL, NULL, 0);
	tenant = THE(quarry_heap_create)("tenant 1", 0);
	if (strcmp(mode, "churn") == 0) {
		puts("ready");
		with_threads(churn, true);
		return 0;
	}
	if (strcmp(mode, "idle") != 0) {
		with_threads(hold, false);
		fork_one();
		for (size_t i = 0; i < NSITES; i++)
			printf("%s %zu %u %u\n", sites[i].name, sites[i].nbytes, NTHREADS * sites[i].kept,
			       NTHREADS * sites[i].each);
	}
	puts("ready");
	while (strcmp(mode, "exit") != 0 && read(0, &byte, 1) == 1)
		;
	return 0;
}
