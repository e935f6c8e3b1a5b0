/* SPDX-License-Identifier: MIT */
/*
 * Records: see records.h.
 */
#include "records.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MIB (1024.0 * 1024.0)
/* No count of bytes nor of milliseconds is more. */
#define NUMBER_MOST 18446744073709551616.0
#define NODE_MOST 1048576

static const char *const members[RECORD_CURVES] = { "resident", "mapped", "live", "cached", "free_dirty" };

/* The number behind "name": between start and end, from least to most; so neither infinite nor not a number. */
static bool number(const char *start, const char *end, const char *name, double least, double most, double *value)
{
	char key[64];
	const char *at;
	char *after;

	snprintf(key, sizeof key, "\"%s\":", name);
	at = strstr(start, key);
	if (!at || at >= end)
		return false;
	at += strlen(key);
	*value = strtod(at, &after);
	return after != at && *value >= least && *value <= most;
}

static bool read_nodes(const char *at, struct record *record)
{
	const char *list_end = strchr(at, ']');
	double os_node, live;

	while (record->nnodes < RECORD_MAX_NODES && list_end && (at = strchr(at, '{')) != NULL && at < list_end) {
		const char *end = strchr(at, '}');

		if (!end || !number(at, end, "os_node", -1, NODE_MOST, &os_node) ||
		    !number(at, end, "live", 0, NUMBER_MOST, &live))
			return false;
		record->os_node[record->nnodes] = (int)os_node;
		record->node_live[record->nnodes++] = live / MIB;
		at = end;
	}
	return true;
}

static bool read_line(const char *line, struct record *record)
{
	const char *nodes = strstr(line, "\"nodes\":[");
	double time_ms;

	*record = (struct record){ .nnodes = 0 };
	if (line[0] != '{' || !strstr(line, "}\n") || !nodes ||
	    !number(line, nodes, "time_ms", 0, NUMBER_MOST, &time_ms))
		return false;
	record->seconds = time_ms / 1000;
	for (size_t i = 0; i < RECORD_CURVES; i++) {
		if (!number(line, nodes, members[i], 0, NUMBER_MOST, &record->mib[i]))
			return false;
		record->mib[i] /= MIB;
	}
	return read_nodes(nodes, record);
}

void records_read(struct records *records, FILE *file)
{
	struct record record;
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, file) > 0) {
		if (!read_line(line, &record)) {
			records->nbad++;
			continue;
		}
		if ((records->n & (records->n - 1)) == 0)
			records->list = realloc(records->list, (records->n ? 2 * records->n : 1) * sizeof record);
		if (!records->list)
			tool_fail(TOOL_FAILED, "no memory");
		records->list[records->n++] = record;
		if (record.nnodes > records->most_nodes)
			records->most_nodes = record.nnodes;
	}
	free(line);
}
