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
#include <unistd.h>

#include "options.h"
#include "os.h"
#include "purge.h"
#include "quarry/stats.h"
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
	GAUGE(requested, "asked for in what is live, as far as it is known"),
	NUMBER(requested_kind, "how that is known: 0 not, 1 estimated by the profile, 2 exactly"),
	GAUGE(slabs_idle, "live in slabs of typed caches, but in no object"),
	GAUGE(pools_free, "free in pools, and behind the last blocks of pools and spans"),
};
const size_t stats_nmetrics = sizeof(stats_metrics) / sizeof(stats_metrics[0]);

/* --- text, piece by piece ----------------------------------------------------------------------------------------- */

void output_begin(struct output *output, int fd)
{
	output->fd = fd;
	output->result = 0;
	text_begin(&output->text, output->buffer, sizeof(output->buffer));
}

int output_flush(struct output *output)
{
	if (output->result == 0)
		output->result = text_write(&output->text, output->fd);
	text_begin(&output->text, output->buffer, sizeof(output->buffer));
	return output->result;
}

struct text *output_room(struct output *output)
{
	if (output->text.used > sizeof(output->buffer) / 2)
		output_flush(output);
	return &output->text;
}

void output_append(struct output *output, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	text_append_list(output_room(output), format, list);
	va_end(list);
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
	case OPTION_STATS_FORMAT_TABLES:
		return quarry_stats_tables(fd);
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
