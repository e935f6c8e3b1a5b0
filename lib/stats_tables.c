/* SPDX-License-Identifier: MIT */
/*
 * Statistics as the summary and tables. Owns nothing.
 */
#include "named_stats.h"
#include "stats_output.h"
#include "quarry/stats.h"

static void append_nbytes(struct output *output, uint64_t nbytes)
{
	text_append_nbytes(output_room(output), 12, nbytes);
}

static int append_class(const struct quarry_class_stats *stats, void *arg)
{
	struct output *output = arg;
	if (stats->pools + stats->cached == 0)
		return 0;
	output_append(output, "  %12lu%12lu%12lu%12lu%12lu", (unsigned long)stats->size, (unsigned long)stats->pools,
		      (unsigned long)stats->capacity, (unsigned long)stats->out, (unsigned long)stats->cached);
	append_nbytes(output, stats->out * stats->size);
	output_append(output, "\n");
	return 0;
}

static int append_arena(const struct quarry_arena_stats *stats, void *arg)
{
	struct output *output = arg;
	output_append(output, "  %14p%6d", stats->address, stats->os_node);
	append_nbytes(output, stats->mapped);
	append_nbytes(output, stats->used);
	append_nbytes(output, stats->out);
	append_nbytes(output, stats->free_dirty);
	append_nbytes(output, stats->free_clean);
	output_append(output, "%8lu%8lu\n", (unsigned long)stats->pools, (unsigned long)stats->spans);
	return 0;
}

static int append_thread(const struct quarry_thread_stats *stats, void *arg)
{
	struct output *output = arg;
	output_append(output, "  %6u%10d%6d", stats->number, stats->tid, stats->os_node);
	append_nbytes(output, stats->cached);
	append_nbytes(output, stats->waiting);
	output_append(output, "%12lu%12lu%12lu%s\n", (unsigned long)stats->refills, (unsigned long)stats->flushes,
		      (unsigned long)stats->remote_frees, stats->shared ? "  shared" : stats->tid == 0 ? "  waits" : "");
	return 0;
}

static void append_named(struct output *output, enum named_kind kind)
{
	bool caches = kind == NAMED_CACHES;
	struct named_table table;
	named_collect(kind, &table);
	if (table.n > 0)
		output_append(output, "\n  %-32s%8s%12s%12s%12s%10s\n", caches ? "typed cache" : "heaps by tag", "count", "live",
			      caches ? "objects" : "blocks", caches ? "slabs" : "peak", "refused");
	for (size_t i = 0; i < table.n; i++) {
		const struct named_sum *sum = &table.sums[i];
		output_append(output, "  %-32s%8lu", sum->name, (unsigned long)sum->count);
		append_nbytes(output, sum->live);
		output_append(output, "%12lu", (unsigned long)sum->number);
		append_nbytes(output, sum->held);
		output_append(output, "%10lu\n", (unsigned long)sum->refusals);
	}
	named_release(&table);
}

int quarry_stats_tables(int fd)
{
	struct output output;
	if (quarry_stats_print(fd) != 0)
		return -1;
	output_begin(&output, fd);
	output_append(&output, "\n  %12s%12s%12s%12s%12s%12s\n", "block size", "pools", "capacity", "out", "cached", "bytes out");
	quarry_class_stats_each(append_class, &output);
	output_append(&output, "\n  %14s%6s%12s%12s%12s%12s%12s%8s%8s\n", "arena", "node", "mapped", "used", "out", "free",
		      "clean", "pools", "spans");
	quarry_arena_stats_each(append_arena, &output);
	output_append(&output, "\n  %6s%10s%6s%12s%12s%12s%12s%12s\n", "heap", "thread", "node", "cached", "waiting", "refills",
		      "flushes", "remote");
	quarry_thread_stats_each(append_thread, &output);
	append_named(&output, NAMED_CACHES);
	append_named(&output, NAMED_HEAPS);
	return output_flush(&output);
}
