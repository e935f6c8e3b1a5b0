/* SPDX-License-Identifier: MIT */
/*
 * Inject: a layer between Quarry's rooms and the system, which counts their calls and fails the ones it is told to.
 *
 * The linker puts it there (--wrap, in tests/local.mk), so that it sees the calls of the rooms linked into the program
 * and no others: libc and liburcu have their own door. liburcu ends the process where it gets no memory for a thread's
 * record; the rooms ask whether there is some before they register a thread.
 *
 * Also keeps account of what is mapped. Locking: none; counts are atomic. Faults are set and lifted while one thread
 * runs.
 */
#ifndef QUARRY_FAULT_INJECT_H
#define QUARRY_FAULT_INJECT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Waking sleepers is not among them: on a word that is mapped it cannot fail. */
enum call {
	CALL_MMAP,
	CALL_MPROTECT,
	CALL_MUNMAP,
	CALL_MREMAP,
	CALL_MADVISE,
	CALL_MBIND,
	CALL_GET_MEMPOLICY,
	CALL_MEMBARRIER,
	CALL_FUTEX_WAIT,
	CALL_CREATE_THREAD,
	CALL_CREATE_KEY,
	CALL_SET_KEY,
	CALL_GETRLIMIT,
	CALL_GETCPU,
	CALL_FCNTL,
	CALL_DLOPEN,
	CALL_OPEN,
	CALL_READ,
	CALL_WRITE,
	CALL_MOVE_PAGES,
	CALL_GETRANDOM,
	NCALLS
};

/* A call to fail. */
struct fault {
	enum call call;
	unsigned at;  /* which one, from 1 */
	bool forever; /* and all after it */
};

const char *call_name(enum call call);

/** Fail these from now on; count is 2 at most. What was mapped before is not Quarry's. */
void inject(const struct fault *faults, unsigned count);

/** Fail nothing any more. */
void inject_nothing(void);

/** How many calls there were so far, and how many of them failed. */
unsigned calls_made(enum call call);
unsigned calls_failed(enum call call);

/** Bytes mapped now, and bytes that a failed call left mapped. */
size_t mapped_now(void);
size_t left_mapped(void);

/** A thread of the test's own, whatever fails. */
void start_thread(pthread_t *thread, void *(*start)(void *), uintptr_t arg);

/** For rooms that ask libquarry_topology: mbind passes through here. */
int bind_memory(void *address, size_t nbytes, unsigned node);

#endif
