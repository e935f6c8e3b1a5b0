/* SPDX-License-Identifier: MIT */
/*
 * Node statistics: what quarry_node_stats_get and quarry_node_residency tell. Owns nothing, as stats.
 */
#ifndef QUARRY_NODE_STATS_H
#define QUARRY_NODE_STATS_H

#include "report.h"

/** Append a line about the node. */
void node_stats_append(struct text *text, unsigned node);

#endif
