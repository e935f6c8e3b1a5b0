/* SPDX-License-Identifier: MIT */
/*
 * Region entry: allocating from a region, with an arena mapped where one helps. Owns nothing.
 */
#ifndef QUARRY_REGION_ENTRY_H
#define QUARRY_REGION_ENTRY_H

#include "region.h"

/** A block of the region; NULL with ENOMEM. A region that is not live is reported. No lock held. */
void *region_allocate(struct quarry_heap *region, struct region_request *request);

/** Move a block of the region, whose usable size is given, to one of nbytes > 0. NULL with ENOMEM. No lock held. */
void *region_move(struct quarry_heap *region, void *ptr, size_t usable, size_t nbytes);

#endif
