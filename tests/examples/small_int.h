/* SPDX-License-Identifier: MIT */
/*
 * An example of a typed cache: integer objects with reference counts, as an interpreter has them. The values -5 to 256
 * are made once and shared; any other value is an object of its own, of exactly sizeof(struct integer) bytes.
 *
 * Threads   any may make and drop integers; one integer's count is not atomic, as under an interpreter's lock. The
 *           small ones are immortal, so their counts do not change.
 */
#ifndef SMALL_INT_H
#define SMALL_INT_H

#include <stddef.h>

#define SMALL_INT_LEAST (-5)
#define SMALL_INT_MOST 256

struct integer {
	long references; /* of small ones: not counted */
	const void *type;
	long value;
};

/** Make the cache and the small integers. 0, or -1 with errno. */
int integers_begin(void);

/** Give all of it back. Returns 0, or -1 where integers are still in use, as is then reported. */
int integers_end(void);

/** A new reference to an integer of the value; NULL with ENOMEM. */
struct integer *integer_from(long value);

void integer_take(struct integer *integer);
void integer_drop(struct integer *integer);

#endif
