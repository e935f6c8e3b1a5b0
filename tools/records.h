/* SPDX-License-Identifier: MIT */
/*
 * Records: what a program recorded by stats_format:json, a line each, read for quarry report. Nothing in them is
 * trusted.
 */
#ifndef QUARRY_RECORDS_H
#define QUARRY_RECORDS_H

#include <stdio.h>

#define RECORD_MAX_NODES 16

/* Of these a record has the mebibytes. */
enum record_curve { RECORD_RESIDENT, RECORD_MAPPED, RECORD_LIVE, RECORD_CACHED, RECORD_FREE, RECORD_CURVES };

struct record {
	double seconds;
	double mib[RECORD_CURVES];
	double node_live[RECORD_MAX_NODES]; /* MiB */
	int os_node[RECORD_MAX_NODES];
	size_t nnodes;
};

struct records {
	struct record *list;
	size_t n;
	size_t nbad; /* lines that are none */
	size_t most_nodes;
};

/** Read all lines; records is zeroed before its first use. Its list is the caller's to free. */
void records_read(struct records *records, FILE *file);

#endif
