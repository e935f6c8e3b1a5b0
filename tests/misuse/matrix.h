/* SPDX-License-Identifier: MIT */
/*
 * The misuse matrix: every misuse by name, done many times with other sizes, neighbours and moments, and how often the
 * allocator under test catches it. A black box: nothing but libc is linked, so that any library can be preloaded.
 *
 * A trial is a process of its own (matrix.c), which ends in one of the ways of enum outcome. What it did is decided by
 * its seed alone.
 */
#ifndef QUARRY_TESTS_MATRIX_H
#define QUARRY_TESTS_MATRIX_H

#include "../abi/blackbox.h"

/* The first two are caught; the others are worse and worse. */
enum outcome {
	REPORTED,  /* a message and an abort, or a message alone */
	FAULTED,   /* the bad access itself met forbidden memory */
	UNNOTICED, /* nothing was said, and nothing happened in the time of the trial */
	CRASHED,   /* some time later, somewhere else */
	HUNG,
	CORRUPTED, /* a block was handed out twice, or memory that is none of the heap's */
	OUTCOMES
};

struct misuse_case {
	const char *name;
	void (*run)(uint64_t *rng);
	/* The share of trials, in percent, in which Quarry catches it, for certain or by this chance: stated, and
	 * tested. */
	double chance, chance_hardened;
	const char *text; /* what is done */
};

extern const struct misuse_case misuse_cases[];
extern const size_t misuse_ncases;

/* How a trial ends by itself. */
enum { EXIT_UNNOTICED = 0, EXIT_CORRUPTED = 40, EXIT_FAULTED = 41, EXIT_CRASHED = 42 };

/* Set around the access that is the misuse. */
extern volatile int accessing;

#endif
