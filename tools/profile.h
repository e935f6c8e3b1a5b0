/* SPDX-License-Identifier: MIT */
/*
 * Profile: a heap profile in the memory of the command: stacks with their estimates, and the names of their frames.
 * Read from a live process (lib/layout.h) or from the text that the library writes; written as that text, as pprof's
 * protocol buffer, as folded stacks, and as a flame graph.
 */
#ifndef QUARRY_PROFILE_TOOL_H
#define QUARRY_PROFILE_TOOL_H

#include <stdio.h>

#include "layout.h"
#include "target.h"

enum profile_value {
	PROFILE_ALL_BLOCKS,
	PROFILE_ALL_NBYTES,
	PROFILE_LIVE_BLOCKS,
	PROFILE_LIVE_NBYTES,
	PROFILE_VALUES,
};

/* Return addresses, innermost first; then the place of each in `locations`. */
struct profile_stack {
	uint64_t values[PROFILE_VALUES];
	const char *label_key; /* "cache" or "heap"; NULL: of malloc, or not known */
	char *label;           /* its name or tag */
	size_t nframes;
	uint64_t *frames;
	uint32_t *places;
};

/* A return address. Names are never NULL; the file may be, and then the line is 0. */
struct profile_location {
	uint64_t address;
	char *name;    /* for people */
	char *symbol;  /* as the program has it */
	char *file;
	int line;
	int mapping;   /* place among the target's; -1: none */
};

struct profile {
	struct target target; /* its mappings; the process, if it is one */
	bool is_process;
	struct profile_stack *stacks;
	size_t nstacks;
	struct profile_location *locations; /* by address */
	size_t nlocations;
	uint64_t mean;        /* bytes between chosen blocks; 0: not known */
	uint64_t dropped;     /* blocks that were chosen and are not in it */
	uint64_t damaged;     /* stacks that could not be read */
	int64_t time_ns, duration_ns;
	FILE *maps;           /* of a text: its lines, for the finder of names */
};

/** Memory, or the end of the command. */
void *profile_room(void *memory, size_t nbytes);
char *profile_text(const char *text);

/* --- reading: profile_read.c --- */

/** The word of the control record of a process that is named, or 0. */
uint64_t profile_control(const struct target *target, const struct layout *layout, struct layout_field field);

/** Ask a process for something (lib/layout.h: sample_wanted). False with target->error. */
bool profile_ask(struct target *target, const struct layout *layout, uint64_t wanted);

/** What a process knows now; its target is opened anew, since it may have loaded libraries. False with target.error. */
bool profile_read_process(struct profile *profile, pid_t pid, const struct layout *layout);

/** The library's text. False with target.error. */
bool profile_read_text(struct profile *profile, const char *path);

/** Are all sums 0? */
bool profile_is_empty(const struct profile *profile);

/* --- names: profile_names.c, and profile_libdw.c or profile_nolibdw.c --- */

/** Make a text of a process what terminals, XML and protocol buffers take for one: UTF-8 without control characters. */
char *profile_clean(char *text);

/** Find the locations of all stacks, and their names; leave out what is the allocator's own. */
void profile_name(struct profile *profile);

/** Names and lines of locations that have none yet, from symbol tables; what is not found keeps its NULLs. */
void profile_find_symbols(struct profile *profile);

/* --- writing: profile_pprof.c, profile_flame.c, and the library's text: profile_read.c; false with errno --- */

bool profile_write_pprof(const struct profile *profile, const char *path);
bool profile_write_text(const struct profile *profile, const char *path);
bool profile_write_folded(const struct profile *profile, enum profile_value value, const char *path);
bool profile_write_svg(const struct profile *profile, enum profile_value value, const char *title, const char *path);

#endif
