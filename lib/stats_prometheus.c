/* SPDX-License-Identifier: MIT */
/*
 * Statistics in Prometheus's text format: the lines of one metric stand together. Owns nothing.
 */
#include <string.h>

#include "detail_stats.h"
#include "named_stats.h"
#include "stats_output.h"

/* A metric by class, node, thread, cache or tag, for what stands behind its label. */
struct family {
	const char *name; /* with its unit, and _total where it only grows */
	size_t offset;    /* of the member */
	bool by_size;     /* the member counts blocks, the name says bytes */
	const char *meaning;
};

#define FAMILY(record, name, member, meaning) {name, offsetof(struct record, member), false, meaning}

static uint64_t value_in(const void *record, const struct family *family)
{
	return *(const uint64_t *)((const char *)record + family->offset);
}

static bool is_counter(const char *name)
{
	static const char end[] = "_total";
	size_t length = strlen(name);
	return length >= sizeof(end) && strcmp(name + length + 1 - sizeof(end), end) == 0;
}

static void append_head(struct output *output, const char *name, const char *meaning)
{
	output_append(output, "# HELP quarry_%s %s\n# TYPE quarry_%s %s\n", name, meaning, name,
		      is_counter(name) ? "counter" : "gauge");
}

static void append_totals(struct output *output, const struct quarry_stats *stats)
{
	for (size_t i = 0; i < stats_nmetrics; i++) {
		const struct stats_metric *metric = &stats_metrics[i];
		char data[64];
		struct text name;
		text_begin(&name, data, sizeof(data));
		text_append(&name, "%s%s%s", metric->name, metric->bytes ? "_bytes" : "", metric->counter ? "_total" : "");
		append_head(output, data, metric->meaning);
		output_append(output, "quarry_%s %lu\n", data, (unsigned long)stats_value(stats, metric));
	}
}

/* --- by node ------------------------------------------------------------------------------------------------------ */

static const struct family node_families[] = {
	FAMILY(quarry_node_stats, "node_arenas", arenas, "arenas mapped now"),
	FAMILY(quarry_node_stats, "node_mapped_bytes", mapped, "address space of arenas and live large blocks"),
	FAMILY(quarry_node_stats, "node_used_bytes", used, "units of arenas that are pools or spans"),
	FAMILY(quarry_node_stats, "node_live_bytes", live, "in blocks that the program holds"),
	FAMILY(quarry_node_stats, "node_cached_bytes", cached, "in caches of the node's threads and on the way home"),
	FAMILY(quarry_node_stats, "node_free_dirty_bytes", free_dirty, "free, perhaps resident"),
	FAMILY(quarry_node_stats, "node_free_clean_bytes", free_clean, "given back or never touched"),
	FAMILY(quarry_node_stats, "node_spills_total", spills, "memory wanted here and got elsewhere"),
	FAMILY(quarry_node_stats, "node_migrations_total", migrations, "threads that were followed here"),
};

static void append_nodes(struct output *output, unsigned nnodes)
{
	for (size_t i = 0; i < sizeof(node_families) / sizeof(node_families[0]); i++) {
		const struct family *family = &node_families[i];
		append_head(output, family->name, family->meaning);
		for (unsigned node = 0; node < nnodes; node++) {
			struct quarry_node_stats stats;
			if (quarry_node_stats_get(node, &stats, sizeof(stats)) == 0)
				output_append(output, "quarry_%s{node=\"%d\"} %lu\n", family->name, stats.os_node,
					      (unsigned long)value_in(&stats, family));
		}
	}
}

/* --- by size class ------------------------------------------------------------------------------------------------ */

static const struct family class_families[] = {
	FAMILY(quarry_class_stats, "class_pools", pools, "pools, by the size of their blocks"),
	{"class_capacity_bytes", offsetof(struct quarry_class_stats, capacity), true, "room for blocks in these pools"},
	{"class_out_bytes", offsetof(struct quarry_class_stats, out), true, "in blocks that are in no pool"},
	{"class_cached_bytes", offsetof(struct quarry_class_stats, cached), true, "of these, in thread caches"},
};

static void append_classes(struct output *output)
{
	struct class_table table;
	detail_classes(&table);
	for (size_t i = 0; i < sizeof(class_families) / sizeof(class_families[0]); i++) {
		const struct family *family = &class_families[i];
		append_head(output, family->name, family->meaning);
		for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++) {
			const struct quarry_class_stats *stats = &table.of[szidx];
			uint64_t value = value_in(stats, family) * (family->by_size ? stats->size : 1);
			if (stats->pools + stats->cached > 0)
				output_append(output, "quarry_%s{size=\"%lu\"} %lu\n", family->name,
					      (unsigned long)stats->size, (unsigned long)value);
		}
	}
}

/* --- by thread ---------------------------------------------------------------------------------------------------- */

static const struct family thread_families[] = {
	FAMILY(quarry_thread_stats, "thread_cached_bytes", cached, "in the thread's cache and outbox"),
	FAMILY(quarry_thread_stats, "thread_waiting_bytes", waiting, "that came home and wait to be sorted"),
	FAMILY(quarry_thread_stats, "thread_refills_total", refills, "cache refills"),
	FAMILY(quarry_thread_stats, "thread_flushes_total", flushes, "cache flushes"),
	FAMILY(quarry_thread_stats, "thread_remote_frees_total", remote_frees, "blocks that came home from other threads"),
};

struct thread_lines {
	struct output *output;
	const struct family *family;
};

static int append_thread(const struct quarry_thread_stats *stats, void *arg)
{
	const struct thread_lines *lines = arg;
	output_append(lines->output, "quarry_%s{heap=\"%u\",tid=\"%d\",node=\"%d\"} %lu\n", lines->family->name, stats->number,
		      stats->tid, stats->os_node, (unsigned long)value_in(stats, lines->family));
	return 0;
}

static void append_threads(struct output *output)
{
	for (size_t i = 0; i < sizeof(thread_families) / sizeof(thread_families[0]); i++) {
		struct thread_lines lines = {output, &thread_families[i]};
		append_head(output, lines.family->name, lines.family->meaning);
		quarry_thread_stats_each(append_thread, &lines);
	}
}

/* --- by name ------------------------------------------------------------------------------------------------------ */

static const struct family cache_families[] = {
	FAMILY(named_sum, "cache_live_bytes", live, "in objects of typed caches, by name"),
	FAMILY(named_sum, "cache_objects", number, "objects out with the program"),
	FAMILY(named_sum, "cache_slab_bytes", held, "slabs of typed caches"),
	FAMILY(named_sum, "cache_refusals_total", refusals, "allocations that failed at the limit"),
};

static const struct family tag_families[] = {
	FAMILY(named_sum, "heap_live_bytes", live, "in blocks of heaps, by tag"),
	FAMILY(named_sum, "heap_blocks", number, "blocks of heaps"),
	FAMILY(named_sum, "heap_peak_bytes", held, "most that was live, summed up over the heaps of a tag"),
	FAMILY(named_sum, "heap_limit_bytes", limit, "limits, summed up; 0: some have none"),
	FAMILY(named_sum, "heap_refusals", refusals, "requests that the limits of live heaps refused"),
};

static void append_named(struct output *output, enum named_kind kind, const struct family *families, size_t nfamilies)
{
	struct named_table table;
	named_collect(kind, &table);
	for (size_t i = 0; i < nfamilies && table.n > 0; i++) {
		append_head(output, families[i].name, families[i].meaning);
		for (size_t name = 0; name < table.n; name++)
			output_append(output, "quarry_%s{%s=\"%s\"} %lu\n", families[i].name,
				      kind == NAMED_CACHES ? "name" : "tag", table.sums[name].name,
				      (unsigned long)value_in(&table.sums[name], &families[i]));
	}
	named_release(&table);
}

/* ------------------------------------------------------------------------------------------------------------------ */

int quarry_stats_prometheus(int fd)
{
	struct output output;
	struct quarry_stats stats;
	quarry_stats_get(&stats, sizeof(stats));
	output_begin(&output, fd);
	append_totals(&output, &stats);
	append_nodes(&output, stats.nodes);
	append_classes(&output);
	append_threads(&output);
	append_named(&output, NAMED_CACHES, cache_families, sizeof(cache_families) / sizeof(cache_families[0]));
	append_named(&output, NAMED_HEAPS, tag_families, sizeof(tag_families) / sizeof(tag_families[0]));
	return output_flush(&output);
}
