/* SPDX-License-Identifier: MIT */
/*
 * Typed caches under threads: objects go through a shared table, so that most are freed by another thread than the one
 * that allocated them; threads end and are replaced, caches are trimmed, visited and counted, made and destroyed, and
 * the process forks, all at the same time. At the end nothing is out and nothing is kept.
 */
#include "stress.h"

#include <quarry/cache.h>
#include <sys/wait.h>

#define SLOTS 4096
#define LIFETIME 30000 /* steps of a thread */
#define CACHES 3

struct object {
	uint64_t tag;
	uint64_t constructed; /* by the constructor, in those caches that have one */
};

static const size_t sizes[CACHES] = {24, 40, 700};
static struct quarry_cache *caches[CACHES];
static struct object *_Atomic slots[CACHES][SLOTS];

/* ThreadSanitizer ends a child of threads that starts one, as Quarry does to give memory back. */
#if defined(__SANITIZE_THREAD__)
#define FORKS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FORKS 0
#endif
#endif
#ifndef FORKS
#define FORKS 1
#endif
static _Atomic long constructed;

static int construct(void *object)
{
	((struct object *)object)->constructed = 0xc0;
	constructed++;
	return 0;
}

static void destruct(void *object)
{
	CHECK(((struct object *)object)->constructed == 0xc0);
	constructed--;
}

static struct quarry_cache *make(unsigned kind)
{
	struct quarry_cache *cache = quarry_cache_create("stress", sizes[kind], _Alignof(struct object),
							 kind == 1 ? construct : NULL, kind == 1 ? destruct : NULL, 0);
	CHECK(cache != NULL);
	return cache;
}

static void put(unsigned kind, struct object *object)
{
	if (object == NULL)
		return;
	CHECKF(object->tag == ((uintptr_t)object ^ kind), "  object %p has changed", (void *)object);
	CHECK(kind != 1 || object->constructed == 0xc0);
	object->tag = 0;
	errno = 77;
	quarry_cache_free(caches[kind], object);
	CHECK(errno == 77);
}

static void step(uint64_t *rng)
{
	unsigned kind = (unsigned)rng_below(rng, CACHES);
	struct object *object = NULL;
	if (rng_below(rng, 8) != 0) {
		object = quarry_cache_alloc(caches[kind]);
		CHECK(object != NULL && (kind != 1 || object->constructed == 0xc0));
		object->tag = (uintptr_t)object ^ kind;
	}
	put(kind, __atomic_exchange_n((struct object **)&slots[kind][rng_below(rng, SLOTS)], object, __ATOMIC_ACQ_REL));
}

/* A cache that lives as long as a thread's errand, while the others are in use. */
static void make_and_destroy(void)
{
	struct quarry_cache *cache = make(1);
	void *objects[300];
	for (int i = 0; i < 300; i++)
		CHECK((objects[i] = quarry_cache_alloc(cache)) != NULL);
	for (int i = 0; i < 300; i++)
		quarry_cache_free(cache, objects[i]);
	CHECK(quarry_cache_destroy(cache) == 0);
}

static void *live_a_while(void *arg)
{
	uint64_t rng = test_seed((uint64_t)(uintptr_t)arg + 1);
	for (int i = 0; i < LIFETIME && crowd_goes_on(); i++) {
		step(&rng);
		if (rng_below(&rng, 3000) == 0)
			quarry_cache_trim(caches[rng_below(&rng, CACHES)]);
		if (rng_below(&rng, 5000) == 0)
			quarry_trim(0);
	}
	make_and_destroy();
	return NULL;
}

/* In the child: all objects are there, and can be freed; what the lost threads were just doing may be out. */
static void live_alone(void)
{
	struct quarry_cache_stats stats;
	for (unsigned kind = 0; kind < CACHES; kind++) {
		for (int i = 0; i < SLOTS; i++)
			if (slots[kind][i] != NULL)
				quarry_cache_free(caches[kind], slots[kind][i]);
		quarry_cache_trim(caches[kind]);
		CHECK(quarry_cache_stats_get(caches[kind], &stats, sizeof stats) == 0);
		CHECKF(stats.live <= CROWD && stats.cached == 0, "  %llu out", (unsigned long long)stats.live);
	}
	_exit(0);
}

static void fork_once(void)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0)
		live_alone();
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	CHECKF(WIFEXITED(status) && WEXITSTATUS(status) == 0, "  the child's status is %d", status);
}

static void finish(void)
{
	struct quarry_cache_stats stats;
	for (unsigned kind = 0; kind < CACHES; kind++) {
		for (int i = 0; i < SLOTS; i++)
			put(kind, slots[kind][i]);
		CHECK(quarry_cache_stats_get(caches[kind], &stats, sizeof stats) == 0);
		CHECKF(stats.live == 0, "  %llu objects are out", (unsigned long long)stats.live);
		say("%zu bytes: %llu slabs made, %llu refills, %llu flushes", sizes[kind],
		    (unsigned long long)stats.slabs_made, (unsigned long long)stats.refills,
		    (unsigned long long)stats.flushes);
		CHECK(quarry_cache_destroy(caches[kind]) == 0);
	}
	CHECK(constructed == 0);
}

int main(void)
{
	test_start(60);
	uint64_t live_before = stats_live();
	for (unsigned kind = 0; kind < CACHES; kind++)
		caches[kind] = make(kind);
	crowd_lives(live_a_while, test_seconds(3), FORKS ? fork_once : NULL);
	finish();
	quarry_trim(0);
	CHECKF(stats_live() <= live_before + 4096, "  live before %llu bytes, after %llu", (unsigned long long)live_before,
	       (unsigned long long)stats_live());
	return 0;
}
