/* SPDX-License-Identifier: MIT */
/*
 * Statistics, written out: see stats_output.h.
 */
#include "stats_output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "named_stats.h"
#include "node_stats.h"
#include "options.h"
#include "os.h"
#include "purge.h"
#include "report.h"
#include "stats.h"

#define GAUGE(name, meaning) {#name, offsetof(struct quarry_stats, name), true, false, meaning}
#define NUMBER(name, meaning) {#name, offsetof(struct quarry_stats, name), false, false, meaning}
#define COUNTER(name, meaning) {#name, offsetof(struct quarry_stats, name), false, true, meaning}

const struct stats_metric stats_metrics[] = {
	GAUGE(mapped, "address space of arenas, large blocks and records"),
	GAUGE(live, "in blocks that the program holds"),
	GAUGE(cached, "in thread caches and on the way home"),
	GAUGE(free_dirty, "free, perhaps resident"),
	GAUGE(free_clean, "given back or never touched"),
	GAUGE(metadata, "Quarry's own records"),
	GAUGE(large_live, "live in mappings of their own"),
	GAUGE(large_kept, "freed large blocks kept for reuse"),
	NUMBER(arenas, "arenas mapped now"),
	COUNTER(arenas_mapped, "arenas ever mapped"),
	COUNTER(arenas_retired, "arenas ever unmapped"),
	NUMBER(heaps, "heap records"),
	NUMBER(heaps_attached, "heaps that serve a thread"),
	COUNTER(refills, "cache refills"),
	COUNTER(flushes, "cache flushes"),
	COUNTER(remote_frees, "blocks that came home from other threads"),
	COUNTER(visits, "idle caches emptied"),
	{"purged", offsetof(struct quarry_stats, purged), true, true, "given back to the system"},
	COUNTER(purge_calls, "madvise calls that gave memory back"),
	COUNTER(bind_failures, "memory that could not be bound to its node"),
	COUNTER(map_failures, "mappings that the system refused"),
};
const size_t stats_nmetrics = sizeof(stats_metrics) / sizeof(stats_metrics[0]);

/* Text that goes to a descriptor piece by piece: stacks may be small. */
struct output {
	struct text text;
	int fd;
	int result;
	char buffer[1024];
};

static void begin(struct output *output, int fd)
{
	output->fd = fd;
	output->result = 0;
	text_begin(&output->text, output->buffer, sizeof(output->buffer));
}

static int flush(struct output *output)
{
	if (output->result == 0)
		output->result = text_write(&output->text, output->fd);
	text_begin(&output->text, output->buffer, sizeof(output->buffer));
	return output->result;
}

/* One append: no longer than half of the buffer. */
__attribute__((format(printf, 2, 3))) static void append(struct output *output, const char *format, ...)
{
	va_list list;
	if (output->text.used > sizeof(output->buffer) / 2)
		flush(output);
	va_start(list, format);
	text_append_list(&output->text, format, list);
	va_end(list);
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

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

static void append_node_json(struct output *output, unsigned node)
{
	struct quarry_node_stats stats;
	if (quarry_node_stats_get(node, &stats, sizeof(stats)) != 0)
		return;
	append(output, "%s{\"os_node\":%d,\"arenas\":%lu,\"mapped\":%lu,\"used\":%lu,\"live\":%lu,\"cached\":%lu,",
	       node == 0 ? "" : ",", stats.os_node, (unsigned long)stats.arenas, (unsigned long)stats.mapped,
	       (unsigned long)stats.used, (unsigned long)stats.live, (unsigned long)stats.cached);
	append(output, "\"free_dirty\":%lu,\"free_clean\":%lu,\"large_live\":%lu,\"remote_sent\":%lu,",
	       (unsigned long)stats.free_dirty, (unsigned long)stats.free_clean, (unsigned long)stats.large_live,
	       (unsigned long)stats.remote_sent);
	append(output, "\"remote_received\":%lu,\"migrations\":%lu,\"spills\":%lu}", (unsigned long)stats.remote_received,
	       (unsigned long)stats.migrations, (unsigned long)stats.spills);
}

int quarry_stats_json(int fd)
{
	struct output output;
	struct quarry_stats stats;
	quarry_stats_get(&stats, sizeof(stats));
	begin(&output, fd);
	append(&output, "{\"version\":%u,\"quarry\":\"%s\",\"time_ms\":%lu,\"pid\":%d,\"resident\":%lu", stats.version,
	       quarry_version(), now_ms(), (int)getpid(), resident_nbytes());
	for (size_t i = 0; i < stats_nmetrics; i++)
		append(&output, ",\"%s\":%lu", stats_metrics[i].name,
		       (unsigned long)stats_value(&stats, &stats_metrics[i]));
	append(&output, ",\"nodes\":[");
	for (unsigned node = 0; node < stats.nodes; node++)
		append_node_json(&output, node);
	append(&output, "]}\n");
	return flush(&output);
}

/* --- Prometheus --------------------------------------------------------------------------------------------------- */

/* Names end in the unit, those of counters in _total. */
static void append_metric(struct output *output, const struct stats_metric *metric, uint64_t value)
{
	char data[64];
	struct text name;
	text_begin(&name, data, sizeof(data));
	text_append(&name, "quarry_%s%s%s", metric->name, metric->bytes ? "_bytes" : "", metric->counter ? "_total" : "");
	append(output, "# HELP %s %s\n# TYPE %s %s\n%s %lu\n", data, metric->meaning, data,
	       metric->counter ? "counter" : "gauge", data, (unsigned long)value);
}

/* The lines of one metric stand together, a line per node. */
static void append_node_metric(struct output *output, unsigned nodes, const char *name, const char *meaning, size_t offset)
{
	struct quarry_node_stats stats;
	append(output, "# HELP quarry_node_%s_bytes %s\n# TYPE quarry_node_%s_bytes gauge\n", name, meaning, name);
	for (unsigned node = 0; node < nodes; node++)
		if (quarry_node_stats_get(node, &stats, sizeof(stats)) == 0)
			append(output, "quarry_node_%s_bytes{node=\"%d\"} %lu\n", name, stats.os_node,
			       (unsigned long)*(const uint64_t *)((const char *)&stats + offset));
}

static void append_named(struct output *output, enum named_kind kind, const char *name, const char *meaning)
{
	struct named_sum sum;
	void *place = NULL;
	for (bool first = true; named_next(kind, &place, &sum); first = false) {
		if (first)
			append(output, "# HELP quarry_%s %s\n# TYPE quarry_%s gauge\n", name, meaning, name);
		append(output, "quarry_%s{%s=\"%s\"} %lu\n", name, kind == NAMED_CACHES ? "name" : "tag", sum.name,
		       (unsigned long)sum.live);
	}
}

int quarry_stats_prometheus(int fd)
{
	struct output output;
	struct quarry_stats stats;
	quarry_stats_get(&stats, sizeof(stats));
	begin(&output, fd);
	for (size_t i = 0; i < stats_nmetrics; i++)
		append_metric(&output, &stats_metrics[i], stats_value(&stats, &stats_metrics[i]));
	append_named(&output, NAMED_CACHES, "cache_live_bytes", "in objects of typed caches, by name");
	append_named(&output, NAMED_HEAPS, "heap_live_bytes", "in blocks of heaps, by tag");
	if (stats.nodes > 1) {
		append_node_metric(&output, stats.nodes, "live", "in blocks that the program holds",
				   offsetof(struct quarry_node_stats, live));
		append_node_metric(&output, stats.nodes, "cached", "in caches of the node's threads and on the way home",
				   offsetof(struct quarry_node_stats, cached));
		append_node_metric(&output, stats.nodes, "free_dirty", "free, perhaps resident",
				   offsetof(struct quarry_node_stats, free_dirty));
	}
	return flush(&output);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Room for numbers in place of a few %p. */
#define NAME_NBYTES (2 * OPTION_PATH_NBYTES)

static int error_fd = -1;           /* standard error as it was at start */
static _Atomic bool writing;        /* a record */
static _Atomic bool is_asked;       /* by a signal */
static _Atomic uint64_t next_at_ms; /* of the clock; only the purger writes it */

static int write_to(int fd)
{
	switch (options.stats_format) {
	case OPTION_STATS_FORMAT_JSON:
		return quarry_stats_json(fd);
	case OPTION_STATS_FORMAT_PROMETHEUS:
		return quarry_stats_prometheus(fd);
	default:
		return quarry_stats_print(fd);
	}
}

/* Records are appended; Prometheus's reader wants one, whole at any time. */
static bool write_file(void)
{
	char data[NAME_NBYTES], fresh_data[NAME_NBYTES + 8];
	struct text name, fresh;
	bool replace = options.stats_format == OPTION_STATS_FORMAT_PROMETHEUS;
	text_begin(&name, data, sizeof(data));
	options_append_path(&name, options.stats_file);
	text_begin(&fresh, fresh_data, sizeof(fresh_data));
	text_append(&fresh, "%s%s", data, replace ? ".new" : "");
	int fd = open(fresh_data, O_WRONLY | O_CREAT | O_CLOEXEC | (replace ? O_TRUNC : O_APPEND), 0644);
	if (fd < 0)
		return false;
	bool written = write_to(fd) == 0;
	close(fd);
	return written && (!replace || rename(fresh_data, data) == 0);
}

/* Whoever holds it only writes, and soon lets go: at most a tenth of a second is waited. */
static void write_record(void)
{
	static _Atomic bool complained;
	_Atomic uint32_t nobody = 0;
	int saved_errno = errno;
	for (int i = 0; atomic_exchange(&writing, true) && i < 100; i++)
		os_wait(&nobody, 0, 1);
	if (options.stats_file[0] == 0)
		write_to(error_fd);
	else if (!write_file() && !atomic_exchange(&complained, true))
		report_line("stats_file:%s cannot be written, error %d", options.stats_file, errno);
	atomic_store(&writing, false);
	errno = saved_errno;
}

/* The purger calls this at least every options.stats_ms, and when it is woken. */
static void attend(void)
{
	uint64_t now = os_milliseconds(), next = atomic_load_explicit(&next_at_ms, memory_order_relaxed);
	bool due = options.stats_ms > 0 && now >= next;
	if (due)
		atomic_store_explicit(&next_at_ms, now - next < options.stats_ms ? next + options.stats_ms
									    : now + options.stats_ms,
				      memory_order_relaxed);
	if (atomic_exchange(&is_asked, false) || due)
		write_record();
}

static void on_signal(int number)
{
	(void)number;
	atomic_store(&is_asked, true);
	purge_wake();
}

void stats_at_start(void)
{
	bool by_purger = options.stats_ms > 0 || options.stats_signal > 0;
	if (options.stats_file[0] == 0 && (by_purger || options.stats == OPTION_STATS_EXIT))
		error_fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
	if (!by_purger)
		return;
	if (options.purge != OPTION_PURGE_THREAD) {
		report_line("QUARRY_CONF: stats_ms and stats_signal do nothing without purge:thread");
		return;
	}
	if (options.stats_signal > 0) {
		struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
		if (sigaction((int)options.stats_signal, &action, NULL) != 0)
			report_line("QUARRY_CONF: stats_signal:%u cannot be caught", options.stats_signal);
	}
	atomic_store_explicit(&next_at_ms, os_milliseconds() + options.stats_ms, memory_order_relaxed);
	purge_attend(attend, (int)options.stats_ms);
}

void stats_at_exit(void)
{
	if (options.stats == OPTION_STATS_EXIT && (error_fd >= 0 || options.stats_file[0] != 0))
		write_record();
}
