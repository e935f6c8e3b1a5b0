/* SPDX-License-Identifier: MIT */
/*
 * quarry-python: CPython on Quarry. The launcher's two parts: what CPython is told, and what is shown.
 */
#ifndef QUARRY_PYTHON_H
#define QUARRY_PYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/** Write what Quarry holds, in the manner of sys._debugmallocstats(), with a line for each size class. */
void python_report(FILE *out);

#endif
