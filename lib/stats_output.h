/* SPDX-License-Identifier: MIT */
/*
 * Statistics, written out: as tables (stats_tables.c), JSON (stats_json.c) and in Prometheus's text format
 * (stats_prometheus.c), and to a file at exit, by the clock or on a signal.
 *
 * Owns the table of what is written, and the file's name and descriptor, set by the constructor. What is written by the
 * clock and after a signal is written by the purger, which stays for it: a signal's handler only sets a flag and wakes
 * it. Nothing here allocates. Locking: `writing` keeps records apart; who does not get it in a while writes all the
 * same, since a fork may have left it set.
 */
#ifndef QUARRY_STATS_OUTPUT_H
#define QUARRY_STATS_OUTPUT_H

#include <stddef.h>

#include "compiler.h"
#include "quarry/quarry.h"
#include "report.h"

/* A member of struct quarry_stats. */
struct stats_metric {
	const char *name;
	size_t offset;
	bool bytes;         /* else a number of something */
	bool counter;       /* only grows */
	const char *meaning;
};

extern const struct stats_metric stats_metrics[];
extern const size_t stats_nmetrics;

static inline uint64_t stats_value(const struct quarry_stats *stats, const struct stats_metric *metric)
{
	return *(const uint64_t *)((const char *)stats + metric->offset);
}

/* Text that goes to a descriptor piece by piece: stacks may be small. */
struct output {
	struct text text;
	int fd;
	int result; /* of the writes: 0, or -1 with errno */
	char buffer[1024];
};

void output_begin(struct output *output, int fd);

/** Write what is there. The result so far. */
int output_flush(struct output *output);

/** Room for half of the buffer. */
struct text *output_room(struct output *output);

/** Append no more than that. */
void output_append(struct output *output, const char *format, ...) REPORT_PRINTF(2, 3);

#endif
