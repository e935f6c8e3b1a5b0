/* SPDX-License-Identifier: MIT */
/*
 * Target: the memory of another process, or of a core file, read without its help.
 *
 * A process is read by process_vm_readv (and, for quarry prof, a word of it written by process_vm_writev), which needs
 * the permission of a debugger and does not stop it. Nothing that is
 * read is trusted: a read of what is not mapped fails and is no error of this room.
 */
#ifndef QUARRY_TARGET_H
#define QUARRY_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mapping {
	uint64_t start, end;
	uint64_t offset; /* in the file */
	bool readable, executable;
	char *path; /* of the file; "" where there is none */
};

/* A part of a core file. */
struct segment {
	uint64_t start, nbytes;
	uint64_t offset;
};

struct target {
	pid_t pid;          /* of the process that is or was */
	char command[64];   /* its short name */
	int core;           /* descriptor of the core file; -1 for a process */
	struct mapping *mappings;
	size_t nmappings;
	struct segment *segments; /* core only */
	size_t nsegments;
	char error[512];    /* what went wrong, for people */
};

/** Open a process. False with target->error: there is none, it has ended, or it may not be looked into. */
bool target_open_process(struct target *target, pid_t pid);

/** Open a core file. False with target->error. */
bool target_open_core(struct target *target, const char *path);

void target_close(struct target *target);

/** Read nbytes at an address, all or nothing. */
bool target_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes);

/** Does the process still run? Always true of a core file. */
bool target_is_alive(const struct target *target);

/** Write nbytes of a process at an address, all or nothing. False with target->error. */
bool target_write(struct target *target, uint64_t address, const void *buffer, size_t nbytes);

/** Add the mapping that a line of /proc/PID/maps describes; others are passed over. Changes the line. */
void target_add_line(struct target *target, char *line);

/** Add a mapping; for the readers of maps and cores. */
void target_add_mapping(struct target *target, struct mapping mapping);

/** As printf into target->error; returns false. */
bool target_error(struct target *target, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** target_read for a core: from the file, or from what was mapped there. */
bool core_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes);

#endif
