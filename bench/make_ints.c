/* SPDX-License-Identifier: MIT */
/*
 * Python 2's integers: objects of 24 bytes, made by the million, dropped 100,000 at a time, and what becomes of their
 * memory. Built twice: as make_ints with malloc, or with blocks of integers and a free list as Python 2 had them, whose
 * memory never went back; and with QUARRY_INTS as make_ints_quarry, with a typed cache.
 *
 * usage: make_ints malloc|python2 OBJECTS SECONDS      make_ints_quarry cache OBJECTS SECONDS
 *
 * First 100,000 are made and dropped, again and again, OBJECTS in all; then OBJECTS are made and kept, then dropped,
 * then the program rests. Writes a line of JSON per look at the clock and the resident size, less what the program's
 * own table takes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifdef QUARRY_INTS
#include <quarry/cache.h>
#endif

#define STEP ((size_t)100000)
#define LOOKS 100 /* at least so many while objects are made, and while they are dropped */

struct integer {
	long references;
	void *type;
	long value;
};

struct way {
	const char *name;
	struct integer *(*make)(void);
	void (*drop)(struct integer *);
};

static struct integer **table;
static long own_kib; /* resident before the first object */

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static long resident_kib(void)
{
	char text[128] = "";
	long total, resident = 0;
	int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (file < 0 || read(file, text, sizeof text - 1) < 0 || sscanf(text, "%ld %ld", &total, &resident) != 2) {
		perror("/proc/self/statm");
		exit(2);
	}
	close(file);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* --- ways --------------------------------------------------------------------------------------------------------- */

#ifdef QUARRY_INTS

static struct quarry_cache *cache;

static struct integer *make_in_cache(void)
{
	return quarry_cache_alloc(cache);
}

static void drop_in_cache(struct integer *integer)
{
	quarry_cache_free(cache, integer);
}

static const struct way ways[] = {{"cache", make_in_cache, drop_in_cache}};

static void begin(void)
{
	cache = quarry_cache_create("ints", sizeof(struct integer), 0, NULL, NULL, 0);
}

#else

/* Blocks of about 1000 bytes, and a list of free integers that is threaded through their types. */
#define BLOCK_NBYTES 1000
#define BLOCK_INTEGERS ((BLOCK_NBYTES - sizeof(void *)) / sizeof(struct integer))

struct integer_block {
	struct integer_block *next;
	struct integer integers[BLOCK_INTEGERS];
};

static struct integer_block *blocks;
static struct integer *free_list;

static struct integer *make_in_block(void)
{
	if (free_list == NULL) {
		struct integer_block *block = malloc(sizeof *block);
		if (block == NULL)
			return NULL;
		block->next = blocks;
		blocks = block;
		for (size_t i = 0; i < BLOCK_INTEGERS; i++) {
			block->integers[i].type = free_list;
			free_list = &block->integers[i];
		}
	}
	struct integer *integer = free_list;
	free_list = integer->type;
	return integer;
}

static void drop_in_block(struct integer *integer)
{
	integer->type = free_list;
	free_list = integer;
}

static struct integer *make_by_malloc(void)
{
	return malloc(sizeof(struct integer));
}

static void drop_by_malloc(struct integer *integer)
{
	free(integer);
}

static const struct way ways[] = {
	{"malloc", make_by_malloc, drop_by_malloc},
	{"python2", make_in_block, drop_in_block},
};

static void begin(void)
{
}

#endif

/* --- the experiment ----------------------------------------------------------------------------------------------- */

static void make(const struct way *way, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		struct integer *integer = way->make();
		if (integer == NULL) {
			fprintf(stderr, "make_ints: out of memory\n");
			exit(2);
		}
		integer->references = 1;
		integer->type = table;
		integer->value = (long)i;
		table[i] = integer;
	}
}

static void drop(const struct way *way, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		if (table[i]->value != (long)i) {
			fprintf(stderr, "make_ints: an object has changed\n");
			exit(1);
		}
		way->drop(table[i]);
	}
}

static void look(double start, const char *phase, size_t live)
{
	printf("{\"phase\": \"%s\", \"s\": %.4f, \"live\": %zu, \"kib\": %ld}\n", phase, now() - start, live,
	       resident_kib() - own_kib);
}

static void run(const struct way *way, size_t objects, double seconds)
{
	double start = now();
	size_t every = objects / STEP / LOOKS + 1;

	for (size_t made = 0; made < objects; made += STEP) {
		make(way, 0, STEP);
		drop(way, 0, STEP);
	}
	printf("{\"phase\": \"churn\", \"ns\": %.3f}\n", (now() - start) / (double)objects * 1e9);
	start = now();
	look(start, "make", 0);
	for (size_t step = 0; step < objects / STEP; step++) {
		make(way, step * STEP, STEP);
		if (step % every == 0 || step + 1 == objects / STEP)
			look(start, "make", (step + 1) * STEP);
	}
	for (size_t step = 0; step < objects / STEP; step++) {
		drop(way, step * STEP, STEP);
		if (step % every == 0 || step + 1 == objects / STEP)
			look(start, "drop", objects - (step + 1) * STEP);
	}
	for (double end = now() + seconds; now() < end;) {
		usleep(50000);
		look(start, "rest", 0);
	}
}

int main(int argc, char **argv)
{
	const struct way *way = NULL;
	size_t objects = argc == 4 ? strtoul(argv[2], NULL, 10) / STEP * STEP : 0;

	for (size_t i = 0; argc == 4 && i < sizeof ways / sizeof ways[0]; i++)
		if (strcmp(argv[1], ways[i].name) == 0)
			way = &ways[i];
	if (way == NULL || objects == 0) {
		fprintf(stderr, "usage: %s %s OBJECTS SECONDS (OBJECTS: at least %zu)\n", argv[0], ways[0].name, STEP);
		return 2;
	}
	table = mmap(NULL, objects * sizeof(*table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		     -1, 0);
	if (table == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	begin();
	own_kib = resident_kib();
	run(way, objects, strtod(argv[3], NULL));
	return 0;
}
