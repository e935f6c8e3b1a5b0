/* SPDX-License-Identifier: MIT */
/**
 * Limits: Quarry's own, and those of the container (cgroup version 2) that the process runs in.
 *
 * Each function may be called by any thread at any time; none allocates.
 */
#ifndef QUARRY_LIMITS_H
#define QUARRY_LIMITS_H

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How much of a limit is in use; free memory is given back the sooner. */
enum quarry_pressure {
	QUARRY_PRESSURE_NONE, /* less than 7/8 of every limit, or there is none: after decay_ms */
	QUARRY_PRESSURE_NEAR, /* less than 15/16: after a quarter of that */
	QUARRY_PRESSURE_AT    /* more: at once, the caches of all threads included */
};

#define QUARRY_LIMITS_VERSION 1

/** Bytes unless said otherwise. */
struct quarry_limits {
	uint32_t version;        /* QUARRY_LIMITS_VERSION of the library that filled it */
	uint32_t pressure;       /* enum quarry_pressure, as found last */
	uint64_t own;            /* Quarry's own limit; 0: none */
	uint64_t charged;        /* what counts for it: blocks and pools, and free memory that may be resident */
	uint64_t refusals;       /* number of times that it was in the way; memory given back may have helped then */
	uint64_t container_max;  /* memory.max of the cgroup that is nearest to its limit; UINT64_MAX: none */
	uint64_t container_high; /* memory.high of it; UINT64_MAX: none. Both are 0 where no cgroup has a limit */
	uint64_t container_used; /* memory.current of it, less files' pages that are not in use where it matters */
};

/**
 * Read the limits of the process's cgroup and of those above it again, and what is in use, and fill in what was found.
 * The background thread does so by itself each quarter of decay_ms, except that it does not notice that the process was
 * moved to another cgroup.
 *
 * limits, size  the caller's struct and its sizeof: a newer library fills only what the caller has room for
 * Returns       0; -1 with EINVAL if size is below that of the first two members
 * Cost          some system calls
 */
QUARRY_API int quarry_limits_read(struct quarry_limits *limits, size_t size);

/**
 * Set Quarry's own limit, as limit_mib of QUARRY_CONF does; 0: none.
 *
 * A request that would exceed it fails with ENOMEM, after what is free was given back. Memory in use counts in whole
 * pools, spans and pages, large blocks whether touched or not. Threads that allocate at the same moment may exceed the
 * limit by those requests. What is in use already stays.
 */
QUARRY_API void quarry_limit_set(size_t nbytes);

#ifdef __cplusplus
}
#endif

#endif
