/* SPDX-License-Identifier: MIT */
/*
 * Statistics as a line of JSON. Owns nothing.
 */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "named_stats.h"
#include "os.h"
#include "stats_output.h"
#include "quarry/stats.h"

static unsigned long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000;
}

/* Of the whole process, as the kernel counts; 0 where it does not tell. */
static unsigned long resident_nbytes(void)
{
	char data[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t nbytes = fd >= 0 ? read(fd, data, sizeof(data) - 1) : 0;
	if (fd >= 0)
		close(fd);
	data[nbytes > 0 ? nbytes : 0] = 0;
	const char *pages = strchr(data, ' ');
	unsigned long count = 0;
	for (const char *c = pages == NULL ? "" : pages + 1; *c >= '0' && *c <= '9'; c++)
		count = count * 10 + (unsigned long)(*c - '0');
	return count * os_page_size();
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

/* One being written. */
struct list {
	struct output *output;
	bool any;
};

static void begin_list(struct list *list, struct output *output, const char *name)
{
	*list = (struct list){.output = output};
	output_append(output, ",\"%s\":[", name);
}

static void end_list(struct list *list)
{
	output_append(list->output, "]");
}

/* An object's first member is for the caller to append. */
static struct output *begin_object(struct list *list)
{
	output_append(list->output, list->any ? ",{" : "{");
	list->any = true;
	return list->output;
}

static void member(struct output *output, const char *name, uint64_t value)
{
	output_append(output, ",\"%s\":%lu", name, (unsigned long)value);
}

static void append_nodes(struct output *output, unsigned nnodes)
{
	struct list list;
	begin_list(&list, output, "nodes");
	for (unsigned node = 0; node < nnodes; node++) {
		struct quarry_node_stats stats;
		if (quarry_node_stats_get(node, &stats, sizeof(stats)) != 0)
			continue;
		output_append(begin_object(&list), "\"os_node\":%d", stats.os_node);
		member(output, "arenas", stats.arenas);
		member(output, "mapped", stats.mapped);
		member(output, "used", stats.used);
		member(output, "live", stats.live);
		member(output, "cached", stats.cached);
		member(output, "free_dirty", stats.free_dirty);
		member(output, "free_clean", stats.free_clean);
		member(output, "large_live", stats.large_live);
		member(output, "arenas_retired", stats.arenas_retired);
		member(output, "remote_sent", stats.remote_sent);
		member(output, "remote_received", stats.remote_received);
		member(output, "migrations", stats.migrations);
		member(output, "spills", stats.spills);
		output_append(output, "}");
	}
	end_list(&list);
}

static int append_class(const struct quarry_class_stats *stats, void *arg)
{
	struct output *output = ((struct list *)arg)->output;
	if (stats->pools + stats->cached == 0)
		return 0;
	output_append(begin_object(arg), "\"class\":%u", stats->size_class);
	member(output, "size", stats->size);
	member(output, "pools", stats->pools);
	member(output, "capacity", stats->capacity);
	member(output, "out", stats->out);
	member(output, "cached", stats->cached);
	output_append(output, "}");
	return 0;
}

static int append_arena(const struct quarry_arena_stats *stats, void *arg)
{
	struct output *output = ((struct list *)arg)->output;
	output_append(begin_object(arg), "\"address\":\"%p\",\"os_node\":%d", stats->address, stats->os_node);
	member(output, "mapped", stats->mapped);
	member(output, "head", stats->head);
	member(output, "used", stats->used);
	member(output, "out", stats->out);
	member(output, "free_dirty", stats->free_dirty);
	member(output, "free_clean", stats->free_clean);
	member(output, "pools", stats->pools);
	member(output, "spans", stats->spans);
	output_append(output, "}");
	return 0;
}

static int append_thread(const struct quarry_thread_stats *stats, void *arg)
{
	struct output *output = ((struct list *)arg)->output;
	output_append(begin_object(arg), "\"number\":%u,\"tid\":%d,\"os_node\":%d", stats->number, stats->tid,
		      stats->os_node);
	member(output, "shared", stats->shared);
	member(output, "cached", stats->cached);
	member(output, "waiting", stats->waiting);
	member(output, "refills", stats->refills);
	member(output, "flushes", stats->flushes);
	member(output, "visits", stats->visits);
	member(output, "remote_frees", stats->remote_frees);
	output_append(output, "}");
	return 0;
}

static void append_named(struct output *output, enum named_kind kind)
{
	bool caches = kind == NAMED_CACHES;
	struct named_table table;
	struct list list;
	named_collect(kind, &table);
	begin_list(&list, output, caches ? "by_cache" : "by_tag");
	for (size_t i = 0; i < table.n; i++) {
		const struct named_sum *sum = &table.sums[i];
		output_append(begin_object(&list), "\"%s\":\"%s\"", caches ? "name" : "tag", sum->name);
		member(output, "count", sum->count);
		member(output, "live", sum->live);
		member(output, caches ? "objects" : "blocks", sum->number);
		member(output, caches ? "slabs" : "peak", sum->held);
		member(output, "limit", sum->limit);
		member(output, "refusals", sum->refusals);
		output_append(output, "}");
	}
	end_list(&list);
	named_release(&table);
}

/* --- the line ----------------------------------------------------------------------------------------------------- */

int quarry_stats_json(int fd)
{
	struct output output;
	struct quarry_stats stats;
	struct list list;
	quarry_stats_get(&stats, sizeof(stats));
	output_begin(&output, fd);
	output_append(&output, "{\"version\":%u,\"quarry\":\"%s\",\"time_ms\":%lu,\"pid\":%d,\"resident\":%lu", stats.version,
		      quarry_version(), now_ms(), (int)getpid(), resident_nbytes());
	for (size_t i = 0; i < stats_nmetrics; i++)
		member(&output, stats_metrics[i].name, stats_value(&stats, &stats_metrics[i]));
	append_nodes(&output, stats.nodes);
	begin_list(&list, &output, "by_class");
	quarry_class_stats_each(append_class, &list);
	end_list(&list);
	begin_list(&list, &output, "by_arena");
	quarry_arena_stats_each(append_arena, &list);
	end_list(&list);
	begin_list(&list, &output, "by_thread");
	quarry_thread_stats_each(append_thread, &list);
	end_list(&list);
	append_named(&output, NAMED_CACHES);
	append_named(&output, NAMED_HEAPS);
	output_append(&output, "}\n");
	return output_flush(&output);
}
