/* SPDX-License-Identifier: MIT */
/*
 * Harden: see harden.h.
 */
#include "harden.h"

#include <string.h>

#include "os.h"
#include "report.h"

uint64_t harden_secrets[4];
static _Atomic uint64_t draws;

void harden_begin(void)
{
	if (harden_secrets[3] == 0)
		os_random(harden_secrets, sizeof(harden_secrets));
	harden_secrets[3] |= 1;
}

uint32_t harden_below(uint32_t bound)
{
	/* Not one by one from the system, but no value tells the next one. */
	uint64_t draw = atomic_fetch_add_explicit(&draws, 1, memory_order_relaxed);
	uint64_t mixed = harden_mix(harden_secrets[1], harden_mix(harden_secrets[2], draw));
	return (uint32_t)((mixed >> 32) * bound >> 32);
}

void *harden_broken_link(const void *at)
{
	report_fault("write after free (broken link)", at, -1, 0, NULL);
	return NULL;
}

static bool is_zero(const char *start, const char *end)
{
	uint64_t sum = 0, word;
	for (; end - start >= 8; start += 8) {
		memcpy(&word, start, 8);
		sum |= word;
	}
	while (start < end)
		sum |= (unsigned char)*start++;
	return sum == 0;
}

bool harden_is_wiped(const void *block, size_t nbytes, size_t link_nbytes)
{
	const char *start = block, *end = start + nbytes;
	if (nbytes <= 2 * HARDEN_LOOK_NBYTES)
		return is_zero(start + link_nbytes, end);
	return is_zero(start + link_nbytes, start + HARDEN_LOOK_NBYTES) && is_zero(end - HARDEN_LOOK_NBYTES, end);
}

/* Eight canaries, none of them 0, which would not show the end of a string that is too long. */
static uint64_t canaries_of(const char *start)
{
	uint64_t word = harden_mix(harden_secrets[2], (uintptr_t)start);
	return word | (UINT64_C(0x0101010101010101) & ~(word >> 1 | word >> 2 | word >> 3));
}

static size_t painted_nbytes(size_t nbytes)
{
	return nbytes < HARDEN_CANARY_NBYTES ? nbytes : HARDEN_CANARY_NBYTES;
}

void harden_paint(char *start, size_t nbytes)
{
	uint64_t canaries = canaries_of(start);
	nbytes = painted_nbytes(nbytes);
	for (; nbytes >= 8; nbytes -= 8, start += 8)
		memcpy(start, &canaries, 8);
	memcpy(start, &canaries, nbytes);
}

bool harden_is_painted(const char *start, size_t nbytes)
{
	uint64_t canaries = canaries_of(start);
	nbytes = painted_nbytes(nbytes);
	for (; nbytes >= 8; nbytes -= 8, start += 8)
		if (memcmp(start, &canaries, 8) != 0)
			return false;
	return memcmp(start, &canaries, nbytes) == 0;
}

/* 16 bits of size and 48 that answer for it, all of them covered. */
static uint64_t seal_of(const char *at, size_t requested)
{
	uint64_t answer = harden_mix(harden_secrets[1] + requested, (uintptr_t)at) << 16 | requested;
	return answer ^ harden_mix(harden_secrets[0], (uintptr_t)at);
}

void harden_seal(void *block, size_t nbytes, size_t requested)
{
	char *at = (char *)block + nbytes - HARDEN_SEAL_NBYTES, *end = (char *)block + requested;
	uint64_t seal = seal_of(at, requested);
	harden_paint(end, (size_t)(at - end));
	memcpy(at, &seal, sizeof(seal));
}

size_t harden_requested(const void *block, size_t nbytes)
{
	const char *at = (const char *)block + nbytes - HARDEN_SEAL_NBYTES;
	uint64_t seal;
	memcpy(&seal, at, sizeof(seal));
	size_t requested = (seal ^ harden_mix(harden_secrets[0], (uintptr_t)at)) & 0xffff;
	return seal == seal_of(at, requested) && requested <= nbytes - HARDEN_SEAL_NBYTES ? requested : SIZE_MAX;
}

size_t harden_check(const void *block, size_t nbytes)
{
	size_t requested = harden_requested(block, nbytes);
	if (requested == SIZE_MAX)
		return SIZE_MAX;
	const char *end = (const char *)block + requested;
	return harden_is_painted(end, nbytes - HARDEN_SEAL_NBYTES - requested) ? requested : SIZE_MAX;
}
