/* SPDX-License-Identifier: MIT */
/**
 * Quarry: the sampled heap profile. It tells which calls the memory of a program belongs to.
 *
 * Of all allocations some are chosen by chance, one per so many bytes on the average, and the stack of each is noted. A
 * block of n bytes is chosen with the probability p = 1 - exp(-n / mean) and counts for 1 / p blocks of its kind, so
 * that sums over many are near the truth, and as often above it as below. The profile is off unless it is asked for: by
 * these calls, by QUARRY_CONF=profile:on, or from outside by quarry prof. While it is off it costs nothing.
 *
 * Every function may be called by any thread at any time, but not from a signal handler.
 */
#ifndef QUARRY_PROFILE_H
#define QUARRY_PROFILE_H

#include <quarry/quarry.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Switch the profile on. What was noted before is forgotten; blocks that are live already are not in it.
 *
 * mean_nbytes  bytes between two chosen blocks, on the average: 1 to 2^30, or 0 for 524288
 * Returns      0; -1 with errno: EALREADY, it is on; EINVAL, no such mean; ENOTSUP, this processor's stacks are unknown
 */
QUARRY_API int quarry_profile_start(size_t mean_nbytes);

/** Switch it off. What was chosen stays known, and leaves the live view as it is freed. -1 with EALREADY: it is off. */
QUARRY_API int quarry_profile_stop(void);

/**
 * Write the profile to a descriptor, as text that pprof, google-pprof and quarry prof read: a line per stack with
 * estimates of the live blocks and bytes and, in brackets, of all since the start; then what is mapped where.
 *
 * Returns      0; -1 with errno if a write failed
 * Cost         allocates nothing; some hundred bytes of stack and as many system calls as KiB are written
 */
QUARRY_API int quarry_profile_write(int fd);

#ifdef __cplusplus
}
#endif

#endif
