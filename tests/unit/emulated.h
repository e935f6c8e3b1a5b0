/* SPDX-License-Identifier: MIT */
/*
 * Emulated: does this suite run under qemu-user or valgrind? Both do mremap by themselves. qemu-user has no mbind, its
 * mremap is not atomic to other threads, and it adds words of its own when a signal ends the program.
 */
#ifndef QUARRY_UNIT_EMULATED_H
#define QUARRY_UNIT_EMULATED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool is_emulated(void)
{
	const char *launcher = getenv("QUARRY_TEST_LAUNCHER");
	return launcher != NULL && (strstr(launcher, "qemu") != NULL || strstr(launcher, "valgrind") != NULL);
}

#endif
