/* SPDX-License-Identifier: MIT */
/*
 * Profile: the calls of quarry/profile.h, and what QUARRY_CONF asks for at start and at exit. Owns when it began; what
 * is sampled belongs to sample.c. Allocates nothing.
 */
#ifndef QUARRY_PROFILE_ROOM_H
#define QUARRY_PROFILE_ROOM_H

/** At start: switch the profile on where options.profile asks for it. */
void profile_at_start(void);

/** At exit: write it where options.profile asks for that. A forked child writes only to a file of its own (%p). */
void profile_at_exit(void);

#endif
