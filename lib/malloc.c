/* SPDX-License-Identifier: MIT */
/*
 * malloc: libc's names, each a line or two over the quarry_* calls.
 *
 * Owns       nothing. All of the family is here: a static program that found one member missing would link libc's
 *            malloc beside this one.
 * Compiled   with -fno-builtin, or the compiler would put calls of these functions into themselves.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "entry.h"
#include "quarry/quarry.h"
#include "stats_output.h"

/* The largest value that glibc accepts for M_MXFAST. */
#define MXFAST_MAX ((int)(80 * sizeof(size_t) / 4))

/* --- allocation --------------------------------------------------------------------------------------------------- */

QUARRY_SURFACE void *malloc(size_t nbytes)
{
	return entry_malloc(nbytes);
}

QUARRY_SURFACE void free(void *ptr)
{
	entry_free(ptr);
}

QUARRY_SURFACE void *calloc(size_t count, size_t size)
{
	return quarry_calloc(count, size);
}

QUARRY_SURFACE void *realloc(void *ptr, size_t nbytes)
{
	return quarry_realloc(ptr, nbytes);
}

QUARRY_SURFACE void *reallocarray(void *ptr, size_t count, size_t size)
{
	return quarry_reallocarray(ptr, count, size);
}

QUARRY_SURFACE void *aligned_alloc(size_t alignment, size_t nbytes)
{
	return quarry_aligned_alloc(alignment, nbytes);
}

QUARRY_SURFACE void *memalign(size_t alignment, size_t nbytes)
{
	return quarry_memalign(alignment, nbytes);
}

QUARRY_SURFACE int posix_memalign(void **memptr, size_t alignment, size_t nbytes)
{
	return quarry_posix_memalign(memptr, alignment, nbytes);
}

QUARRY_SURFACE void *valloc(size_t nbytes)
{
	return quarry_valloc(nbytes);
}

QUARRY_SURFACE void *pvalloc(size_t nbytes)
{
	return quarry_pvalloc(nbytes);
}

/* C23; libc 2.36 declares neither. */
QUARRY_SURFACE void free_sized(void *ptr, size_t nbytes);
QUARRY_SURFACE void free_aligned_sized(void *ptr, size_t alignment, size_t nbytes);

QUARRY_SURFACE void free_sized(void *ptr, size_t nbytes)
{
	entry_free_sized(ptr, nbytes);
}

QUARRY_SURFACE void free_aligned_sized(void *ptr, size_t alignment, size_t nbytes)
{
	quarry_free_aligned_sized(ptr, alignment, nbytes);
}

QUARRY_SURFACE size_t malloc_usable_size(void *ptr)
{
	return quarry_usable_size(ptr);
}

/* --- control ------------------------------------------------------------------------------------------------------ */

QUARRY_SURFACE int malloc_trim(size_t pad)
{
	return quarry_trim(pad);
}

/* Answers as glibc does, which knows every parameter; none of them means anything to this allocator. */
QUARRY_SURFACE int mallopt(int parameter, int value)
{
	return parameter != M_MXFAST || (value >= 0 && value <= MXFAST_MAX);
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static struct quarry_stats take_stats(void)
{
	struct quarry_stats stats = { 0 };

	quarry_stats_get(&stats, sizeof stats);
	return stats;
}

/*
 * In glibc's terms: a block with a mapping of its own is "mmapped" (hblkhd), all else comes from the "arena", which is
 * what is used there and what is free and still resident. Free memory that went back to the system is in neither.
 */
QUARRY_SURFACE struct mallinfo2 mallinfo2(void)
{
	struct quarry_stats stats = take_stats();
	struct mallinfo2 info = { 0 };

	info.hblkhd = stats.large_live;
	info.uordblks = stats.live - stats.large_live;
	info.fsmblks = stats.cached;
	info.fordblks = stats.cached + stats.free_dirty;
	info.arena = info.uordblks + info.fordblks;
	info.keepcost = stats.free_dirty;
	return info;
}

static int saturate(size_t value)
{
	return value < INT_MAX ? (int)value : INT_MAX;
}

QUARRY_SURFACE struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = mallinfo2();
	struct mallinfo info = { 0 };

	info.hblkhd = saturate(wide.hblkhd);
	info.uordblks = saturate(wide.uordblks);
	info.fsmblks = saturate(wide.fsmblks);
	info.fordblks = saturate(wide.fordblks);
	info.arena = saturate(wide.arena);
	info.keepcost = saturate(wide.keepcost);
	return info;
}

QUARRY_SURFACE void malloc_stats(void)
{
	quarry_stats_print(STDERR_FILENO);
}

static void write_counter(FILE *file, const char *name, uint64_t value)
{
	fprintf(file, "<counter name=\"%s\" value=\"%llu\"/>\n", name, (unsigned long long)value);
}

static void write_counters(FILE *file, const struct quarry_stats *stats)
{
	write_counter(file, "nodes", stats->nodes);
	for (size_t i = 0; i < stats_nmetrics; i++)
		write_counter(file, stats_metrics[i].name, stats_value(stats, &stats_metrics[i]));
}

/* The elements that glibc writes for the whole process, then all of our own figures. */
QUARRY_SURFACE int malloc_info(int options, FILE *file)
{
	struct quarry_stats stats;

	if (options != 0)
		return EINVAL;
	stats = take_stats();
	fprintf(file, "<malloc version=\"1\">\n");
	fprintf(file, "<total type=\"fast\" size=\"%llu\"/>\n", (unsigned long long)stats.cached);
	fprintf(file, "<total type=\"rest\" size=\"%llu\"/>\n", (unsigned long long)stats.free_dirty);
	fprintf(file, "<total type=\"mmap\" size=\"%llu\"/>\n", (unsigned long long)stats.large_live);
	fprintf(file, "<system type=\"current\" size=\"%llu\"/>\n",
		(unsigned long long)(stats.live + stats.cached + stats.free_dirty + stats.metadata));
	fprintf(file, "<aspace type=\"total\" size=\"%llu\"/>\n", (unsigned long long)stats.mapped);
	fprintf(file, "<quarry version=\"%s\">\n", quarry_version());
	write_counters(file, &stats);
	fprintf(file, "</quarry>\n</malloc>\n");
	return 0;
}
