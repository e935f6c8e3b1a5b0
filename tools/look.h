/* SPDX-License-Identifier: MIT */
/*
 * Look: what stat and top have in common: which target and copy of Quarry are meant, and words for what was read.
 */
#ifndef QUARRY_LOOK_H
#define QUARRY_LOOK_H

#include "snapshot.h"
#include "tool.h"

struct look {
	struct target target;
	struct image images[IMAGES_MAX];
	size_t nimages;
	const struct image *image; /* the one that is looked at */
};

/**
 * Open what the user named: the number of a process, or else a core file.
 *
 * copy       part of the path of the library or program that is meant; NULL: the one with the most memory
 * Returns    false with look->target.error
 */
bool look_open(struct look *look, const char *what, const char *copy);

/** The number of a process, or 0. */
pid_t look_pid(const char *text);

/** Name of a thread of the target; "" where it is not known. */
const char *look_thread_name(const struct target *target, uint32_t tid, char name[32]);

/** "thread", "parked", "shared". */
const char *look_kind(enum snapshot_kind kind);

/** Node of a heap as a number; -1: all by turns. */
int look_node(const struct snapshot *snapshot, const struct snapshot_heap *heap);

/** Percent of part in whole; 0 of nothing. */
unsigned look_percent(uint64_t part, uint64_t whole);

/* tools/stat_json.c */
void look_print_json(const struct look *look, const struct snapshot *snapshot);

#endif
