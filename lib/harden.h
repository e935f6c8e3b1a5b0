/* SPDX-License-Identifier: MIT */
/*
 * Harden: what the hardened library does to the bytes of a block. QUARRY_HARDENED is 1 when it is compiled, else 0, and
 * then nothing of this is called.
 *
 *     with the program   | requested bytes | canaries | seal 8 |      the seal says how many were requested
 *     free               | link 8, mark 8  | 0 0 0 ...         |      behind the link and its mark all is zero
 *     span, large        | requested bytes | canaries ... guard pages   the size stands in Quarry's records
 *
 * Owns the secrets: random, drawn before the first block, never shown. Links, marks, seals and canaries depend on them
 * and on the address, so that what is read in one place is of no use in another.
 * Invariants: a block that is out of a pool and not with the program (cache, quarantine, inbox) is zero behind its
 * link.
 * Locking: none; the secrets are constant once there is a block. A block's bytes belong to whoever has it in hand.
 */
#ifndef QUARRY_HARDEN_H
#define QUARRY_HARDEN_H

#include <string.h>

#include "compiler.h"

/* Bytes that a small block has beyond the request. */
#define HARDEN_SEAL_NBYTES ((size_t)(QUARRY_HARDENED ? 8 : 0))
/* Canaries behind a request, at most: an overflow begins with them. */
#define HARDEN_CANARY_NBYTES ((size_t)64)
/* Bytes of a freed block, from its start and from its end, that are looked at before it is used again. */
#define HARDEN_LOOK_NBYTES ((size_t)512)

extern uint64_t harden_secrets[4] INTERNAL;

/** Draw the secrets, if that has not been done. Called before the first mapping for blocks, by one thread at a time. */
void harden_begin(void);

/** 64 bits that depend on a secret and a word. */
static inline uint64_t harden_mix(uint64_t secret, uint64_t word)
{
	unsigned __int128 product = (unsigned __int128)(word ^ secret) * harden_secrets[3];
	return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/** A number below bound (up to 2^32), not to be foreseen. *draws is kept for the next one; it may begin as 0. */
static inline uint32_t harden_draw(uint64_t *draws, uint32_t bound)
{
	uint64_t word = (*draws += harden_secrets[3]) ^ (uintptr_t)draws;
	unsigned __int128 product = (unsigned __int128)(word ^ harden_secrets[1]) * (word ^ harden_secrets[2]);
	uint64_t mixed = (uint64_t)(product >> 64) ^ (uint64_t)product;
	return (uint32_t)((mixed >> 32) * bound >> 32);
}

/** The same from draws that all threads share. */
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

/** Is it what was stored there? *next becomes the link, if so. The block may be another thread's by now. */
static inline bool harden_link_holds(const struct harden_link *at, void **next)
{
	uintptr_t link = __atomic_load_n(&at->link, __ATOMIC_RELAXED) ^ harden_mix(harden_secrets[0], (uintptr_t)at);
	*next = (void *)link;
	return __atomic_load_n(&at->mark, __ATOMIC_RELAXED) == harden_mix(harden_secrets[1] ^ link, (uintptr_t)at);
}

/** The link, or NULL after a report if it is not what was stored there. */
cold_path void *harden_broken_link(const void *at);
static inline void *harden_link(const struct harden_link *at)
{
	void *next;
	return likely(harden_link_holds(at, &next)) ? next : harden_broken_link(at);
}

/* What blocks are made of, and memory is looked at by. */
typedef uint64_t harden_lanes __attribute__((vector_size(16), may_alias));
typedef uint64_t harden_cell __attribute__((may_alias));

/** Are whole lanes zero? */
static force_inline bool harden_is_zero(const void *start, size_t nbytes)
{
	const harden_lanes *at = start, *end = (const harden_lanes *)((const char *)start + nbytes);
	harden_lanes sum = {0, 0};
	for (; end - at >= 4; at += 4)
		sum |= (at[0] | at[1]) | (at[2] | at[3]);
	for (; at < end; at++)
		sum |= *at;
	return (sum[0] | sum[1]) == 0;
}

/** Is a free block of nbytes still as zero as it was left? Its link, of link_nbytes, is not looked at. */
static force_inline bool harden_is_wiped(const void *block, size_t nbytes, size_t link_nbytes)
{
	const char *start = block;
	if (likely(nbytes <= 2 * HARDEN_LOOK_NBYTES))
		return harden_is_zero(start + link_nbytes, nbytes - link_nbytes);
	return harden_is_zero(start + link_nbytes, HARDEN_LOOK_NBYTES - link_nbytes) &&
	       harden_is_zero(start + nbytes - HARDEN_LOOK_NBYTES, HARDEN_LOOK_NBYTES);
}

/** Make it so: small ones without a call. */
static force_inline void harden_wipe(void *block, size_t nbytes)
{
	harden_lanes *at = block, *end = (harden_lanes *)((char *)block + nbytes);
	if (nbytes > HARDEN_LOOK_NBYTES / 2) {
		memset(block, 0, nbytes);
		return;
	}
	do {
		*at++ = (harden_lanes){0, 0};
		__asm__("" : "+r"(at)); /* or it becomes a call again */
	} while (at < end);
}

/* --- blocks with the program ------------------------------------------------------------------------------------ */

/** Fill [start, start + nbytes) with canaries, HARDEN_CANARY_NBYTES of it at most. */
void harden_paint(char *start, size_t nbytes);
bool harden_is_painted(const char *start, size_t nbytes);

/** Eight canaries; none is 0, which would not show the end of a string that is too long. */
static force_inline uint64_t harden_canaries(uint64_t word)
{
	return word | UINT64_C(0x0101010101010101);
}

/*
 * A small block's last 8 bytes: 16 bits of size and 48 that answer for it. The canaries before it, which are made of
 * the same 48, stand in words; of the first one the lower bytes may be the program's.
 */
struct harden_seal {
	harden_cell *at, *first, *end; /* of canaries: from first to before end */
	uint64_t word, canaries;
};

static force_inline harden_cell *harden_seal_at(const void *block, size_t nbytes)
{
	return (harden_cell *)((uintptr_t)block + nbytes - HARDEN_SEAL_NBYTES);
}

/* As it is to be. */
static force_inline struct harden_seal harden_seal_of(const void *block, size_t nbytes, size_t requested)
{
	struct harden_seal seal = {.at = harden_seal_at(block, nbytes)};
	uint64_t answer = harden_mix(harden_secrets[1] + requested, (uintptr_t)seal.at) << 16;
	seal.word = (answer | requested) ^ harden_secrets[0];
	seal.canaries = harden_canaries(answer >> 8 ^ answer << 32);
	seal.first = (harden_cell *)((uintptr_t)block + (requested & ~(size_t)7));
	seal.end = seal.first + HARDEN_CANARY_NBYTES / 8;
	if (likely(seal.end > seal.at))
		seal.end = seal.at;
	return seal;
}

/** Canaries and seal of a small block of nbytes, of which `requested` are the program's (at most nbytes less the
 * seal). */
static force_inline void harden_seal(void *block, size_t nbytes, size_t requested)
{
	struct harden_seal seal = harden_seal_of(block, nbytes, requested);
	*seal.at = seal.word;
	if (seal.first == seal.end)
		return;
	uint64_t own = ((uint64_t)1 << requested % 8 * 8) - 1;
	*seal.first = (*seal.first & own) | (seal.canaries & ~own);
	while (++seal.first < seal.end)
		*seal.first = seal.canaries;
}

/* What the seal says was requested, true or not. */
static force_inline size_t harden_claimed(const void *block, size_t nbytes)
{
	return (*harden_seal_at(block, nbytes) ^ harden_secrets[0]) & 0xffff;
}

/** The bytes that were requested of a small block of nbytes; SIZE_MAX if its seal is broken. */
static inline size_t harden_requested(const void *block, size_t nbytes)
{
	size_t requested = harden_claimed(block, nbytes);
	struct harden_seal seal = harden_seal_of(block, nbytes, requested);
	return *seal.at == seal.word && requested <= nbytes - HARDEN_SEAL_NBYTES ? requested : SIZE_MAX;
}

/** As harden_requested, and SIZE_MAX as well if a canary has changed. */
static force_inline size_t harden_check(const void *block, size_t nbytes)
{
	size_t requested = harden_claimed(block, nbytes);
	struct harden_seal seal = harden_seal_of(block, nbytes, requested);
	if (unlikely(*seal.at != seal.word) || unlikely(requested > nbytes - HARDEN_SEAL_NBYTES))
		return SIZE_MAX;
	if (seal.first == seal.end)
		return requested;
	uint64_t changed = (*seal.first ^ seal.canaries) >> requested % 8 * 8;
	while (++seal.first < seal.end)
		changed |= *seal.first ^ seal.canaries;
	return likely(changed == 0) ? requested : SIZE_MAX;
}

#endif
