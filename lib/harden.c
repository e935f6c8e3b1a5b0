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
	uint64_t own = atomic_fetch_add_explicit(&draws, 1, memory_order_relaxed) << 32;
	return harden_draw(&own, bound);
}

void *harden_broken_link(const void *at)
{
	report_fault("write after free (broken link)", at, NULL);
	return NULL;
}

static uint64_t canaries_of(const char *start)
{
	return harden_canaries(harden_mix(harden_secrets[2], (uintptr_t)start));
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
