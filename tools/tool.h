/* SPDX-License-Identifier: MIT */
/*
 * Tool: what the subcommands of quarry share: how they fail, read small files, and find the library.
 *
 * One thread. The command is no part of the library and may call malloc; what it links of lib/ are rooms without state.
 */
#ifndef QUARRY_TOOL_H
#define QUARRY_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOOL_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Exit status: a request that makes no sense or cannot be carried out; as env(1) has it. */
#define TOOL_FAILED 125
#define TOOL_NO_TARGET 1 /* stat, top, prof: it is not there, may not be looked into, or has no Quarry */
#define TOOL_DAMAGED 2   /* stat, top --batch, prof: what was shown is not all, for the rest is damaged */
#define TOOL_CANNOT_EXECUTE 126
#define TOOL_NOT_FOUND 127

/* One subcommand: its name stands in argv[0], and "quarry NAME" in tool_name. */
struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *meaning;
};

/** "quarry run" and the like: how messages begin. */
extern const char *tool_name;

/** MAJOR.MINOR.PATCH of this build. */
extern const char tool_version[];

int run_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int report_main(int argc, char **argv);
int stat_main(int argc, char **argv);
int prof_main(int argc, char **argv);
int top_main(int argc, char **argv);

/** Write "quarry COMMAND: " and the message to stderr. */
void tool_warn(const char *format, ...) TOOL_PRINTF(1, 2);

/** The same, and exit. */
_Noreturn void tool_fail(int status, const char *format, ...) TOOL_PRINTF(2, 3);

/** "--name=VALUE": the value; NULL where argument is something else. */
const char *tool_value(const char *argument, const char *name);

/** The number in "--name=NUMBER"; the request has failed where there is none, or one out of bounds. */
uint64_t tool_number(const char *argument, uint64_t least, uint64_t most);

/** Read a small text file: its first size - 1 bytes, without the final newline. False with errno: it cannot be read. */
bool tool_read_file(const char *path, char *text, size_t size);

/** An amount of memory for people, as the library's summary writes it, in a buffer of the caller's. */
#define TOOL_NBYTES_SIZE 16
const char *tool_nbytes(char text[TOOL_NBYTES_SIZE], uint64_t nbytes);

/**
 * Find the library to preload, or the hardened one: beside a command that lies in its build directory, beside an
 * installed one, or where this build installs.
 *
 * path, size   becomes its absolute path
 * Returns      false: nowhere; path is then the last place that was tried
 */
bool tool_find_library(char *path, size_t size, bool hardened);

/** Add the library to LD_PRELOAD, before what is there: a second allocator behind it is not asked. */
void tool_preload(const char *library);

#endif
