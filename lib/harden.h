/* SPDX-License-Identifier: MIT */
/*
 * Harden: what the hardened library does to the bytes of a block. QUARRY_HARDENED is 1 when it is compiled, else 0, and
 * then nothing of this is called.
 *
 *     with the program   | requested bytes | canaries | seal 8 |      the seal says how many were requested
 *     free               | link 8, mark 8  | 0 0 0 ...         |      behind the link and its mark all is zero
 *     span, large        | requested bytes | canaries ... guard pages   the size stands in Quarry's records
 *
 * Owns the secrets: random, drawn before the first block, never shown. Links, marks, seals and canaries depend on them and
 * on the address, so that what is read in one place is of no use in another.
 * Invariants: a block that is out of a pool and not with the program (cache, quarantine, inbox) is zero behind its link.
 * Locking: none; the secrets are constant once there is a block. A block's bytes belong to whoever has it in hand.
 */
#ifndef QUARRY_HARDEN_H
#define QUARRY_HARDEN_H

#include "compiler.h"

/* Bytes that a small block has beyond the request. */
#define HARDEN_SEAL_NBYTES ((size_t)(QUARRY_HARDENED ? 8 : 0))
/* Canaries behind a request, at most: an overflow begins with them. */
#define HARDEN_CANARY_NBYTES ((size_t)64)
/* Bytes of a freed block, from its start and from its end, that are looked at before it is used again. */
#define HARDEN_LOOK_NBYTES ((size_t)512)

extern uint64_t harden_secrets[4];

/** Draw the secrets, if that has not been done. Called before the first mapping for blocks, by one thread at a time. */
void harden_begin(void);

/** 64 bits that depend on a secret and a word. */
static inline uint64_t harden_mix(uint64_t secret, uint64_t word)
{
	unsigned __int128 product = (unsigned __int128)(word ^ secret) * (harden_secrets[3] | 1);
	return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/** A number below bound (up to 2^32), not to be foreseen. */
uint32_t harden_below(uint32_t bound);

/* --- free blocks ------------------------------------------------------------------------------------------------ */

/* In a free block. */
struct harden_link {
	uintptr_t link;
	uint64_t mark;
};

static inline void harden_set_link(struct harden_link *at, const void *next)
{
	at->link = (uintptr_t)next ^ harden_mix(harden_secrets[0], (uintptr_t)at);
	at->mark = harden_mix(harden_secrets[1] ^ (uintptr_t)next, (uintptr_t)at);
}

/** The link, or NULL after a report if it is not what was stored there. */
cold_path void *harden_broken_link(const void *at);
static inline void *harden_link(const struct harden_link *at)
{
	uintptr_t next = at->link ^ harden_mix(harden_secrets[0], (uintptr_t)at);
	if (unlikely(at->mark != harden_mix(harden_secrets[1] ^ next, (uintptr_t)at)))
		return harden_broken_link(at);
	return (void *)next;
}

/** Is a free block of nbytes still as zero as it was left? Its link, of link_nbytes, is not looked at. */
bool harden_is_wiped(const void *block, size_t nbytes, size_t link_nbytes);

/* --- blocks with the program ------------------------------------------------------------------------------------ */

/** Fill [start, start + nbytes) with canaries, HARDEN_CANARY_NBYTES of it at most. */
void harden_paint(char *start, size_t nbytes);
bool harden_is_painted(const char *start, size_t nbytes);

/** Canaries and seal of a small block of nbytes, of which `requested` are the program's (at most nbytes less the seal). */
void harden_seal(void *block, size_t nbytes, size_t requested);

/** The bytes that were requested of a small block of nbytes; SIZE_MAX if its seal is broken. */
size_t harden_requested(const void *block, size_t nbytes);

/** As harden_requested, and SIZE_MAX as well if a canary has changed. */
size_t harden_check(const void *block, size_t nbytes);

#endif
