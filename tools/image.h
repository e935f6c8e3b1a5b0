/* SPDX-License-Identifier: MIT */
/*
 * Image: finds the copies of Quarry in a target, by the ELF note that each has, and checks their layouts.
 */
#ifndef QUARRY_IMAGE_H
#define QUARRY_IMAGE_H

#include "layout.h"
#include "target.h"

struct image {
	const char *path;     /* of the library or program; the target's */
	uint64_t address;     /* of the layout */
	struct layout layout; /* as read; sound if image_find said so */
};

/* Layouts that a process may have: a library beside a program's own copy, at most a few. */
#define IMAGES_MAX 8

/**
 * Find the copies of Quarry.
 *
 * images     become the copies that are of this version and sound
 * Returns    their number; 0 with target->error: there is none, or why what there is cannot be read
 */
size_t image_find(struct target *target, struct image images[IMAGES_MAX]);

/** Units of an arena, its head included. */
static inline size_t image_arena_units(const struct layout *layout)
{
	return (size_t)1 << (layout->arena_bits - layout->pool_bits);
}

#endif
