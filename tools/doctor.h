/* SPDX-License-Identifier: MIT */
/*
 * Doctor: what the checks of quarry doctor tell each other. doctor.c has the command and what concerns the library,
 * doctor_system.c the system.
 */
#ifndef QUARRY_DOCTOR_H
#define QUARRY_DOCTOR_H

#include "tool.h"

enum verdict {
	GOOD,
	NOTE, /* works; costs something or is worth knowing */
	BAD,
};

/** Print one finding; for what is not good, what to do (NULL: nothing). Counts the bad ones. */
void doctor_say(enum verdict verdict, const char *subject, const char *advice, const char *format, ...)
	TOOL_PRINTF(4, 5);

/** Read a file below /proc or /sys, or below the directory of --root. */
bool doctor_read(const char *path, char *text, size_t size);

/** Are we looking at this system, not at a copy of another one's files? */
bool doctor_is_here(void);

/** All checks of the system. */
void doctor_check_system(void);

#endif
