/* SPDX-License-Identifier: MIT */
/*
 * Detail statistics: by size class, arena and thread, counted when they are asked for by a look at every unit's word
 * and every pool's header; the calls stand in quarry/stats.h. Owns nothing.
 *
 * Headers are read without their heaps' locks: a count is one aligned word, and a pool that comes or goes meanwhile may
 * be there or not. Arenas are pinned, so no header goes away.
 */
#ifndef QUARRY_DETAIL_STATS_H
#define QUARRY_DETAIL_STATS_H

#include "sizeclass.h"
#include "quarry/stats.h"

/* The figures of all classes, by number. */
struct class_table {
	struct quarry_class_stats of[NB_SIZE_CLASSES];
};

void detail_classes(struct class_table *table);

#endif
