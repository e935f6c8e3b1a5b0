/* SPDX-License-Identifier: MIT */
/*
 * Address map: see address_map.h. The words are a reservation that reads as zero; stretches of it are made writable
 * when memory is placed under them, so that the rest is charged to nobody even where overcommit is off.
 */
#include "address_map.h"

#include <errno.h>
#include <sys/resource.h>

#include "harden.h"
#include "lock.h"
#include "os.h"
#include "sizeclass.h"

/* 4 TiB: what a process maps is far less, and the words of all of it (1 GiB) stay a modest reservation. */
#define WINDOW_BITS 42
#define WINDOW_MIN_BITS 30
/* Under RLIMIT_AS the window is so many times the limit that its words take at most a 16th of the limit. */
#define WINDOW_PER_LIMIT_BITS (QUARRY_POOL_BITS - 2 - 5)

/* Words become writable in stretches of this many units. */
#define STRETCH_BITS 14
#define STRETCHES ((size_t)1 << (WINDOW_BITS - QUARRY_POOL_BITS - STRETCH_BITS))

struct address_map address_map;
uintptr_t address_map_start = (uintptr_t)1 << 63; /* until the window is fixed, even NULL is far from it */
size_t address_map_steps;
uintptr_t address_map_origin;

static struct lock window_lock;
static _Atomic uint64_t writable[STRETCHES / 64];

static unsigned window_bits(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >> 40 != 0)
		return WINDOW_BITS;
	unsigned bits = WINDOW_MIN_BITS;
	while (bits < WINDOW_BITS && (rlim_t)1 << bits < limit.rlim_cur << WINDOW_PER_LIMIT_BITS)
		bits++;
	return bits;
}

/* Centred where the kernel maps now, whether it goes down from there or up. */
static bool fix_window(unsigned bits)
{
	size_t page = os_page_size();
	char *probe = os_map(NULL, page);
	if (probe == NULL)
		return false;
	os_unmap(probe, page);
	uintptr_t half = (uintptr_t)1 << (bits - 1);
	uintptr_t start = (uintptr_t)probe > half ? ((uintptr_t)probe - half) & ~(POOL_SIZE - 1) : 0;
	size_t nunits = ((size_t)1 << bits) >> QUARRY_POOL_BITS;
	_Atomic uint32_t *words = os_reserve(nunits * sizeof(*words));
	if (words == NULL)
		return false;
	if (QUARRY_HARDENED)
		harden_begin();
	if (bits < WINDOW_BITS)
		sizeclass_limit = SMALL_REQUEST_THRESHOLD;
	address_map.first_unit = start >> QUARRY_POOL_BITS;
	address_map.words = words;
	address_map_start = start;
	address_map_origin = (uintptr_t)words - address_map.first_unit * sizeof(*words);
	__atomic_store_n(&address_map_steps, nunits << (QUARRY_POOL_BITS - ALIGNMENT_BITS), __ATOMIC_RELEASE);
	__atomic_store_n(&address_map.nunits, nunits, __ATOMIC_RELEASE);
	return true;
}

static bool window_is_fixed(void)
{
	if (likely(__atomic_load_n(&address_map.nunits, __ATOMIC_ACQUIRE) != 0))
		return true;
	int saved_errno = errno;
	unsigned bits = window_bits();
	errno = saved_errno;
	lock_take(&window_lock, LOCK_META);
	while (address_map.nunits == 0 && !fix_window(bits) && bits > WINDOW_MIN_BITS)
		bits--;
	lock_drop(&window_lock, LOCK_META);
	return address_map.nunits != 0;
}

static bool in_window(const void *address, size_t nbytes)
{
	uintptr_t first = ((uintptr_t)address >> QUARRY_POOL_BITS) - address_map.first_unit;
	uintptr_t last = (((uintptr_t)address + nbytes - 1) >> QUARRY_POOL_BITS) - address_map.first_unit;
	return first < address_map.nunits && last < address_map.nunits && first <= last;
}

static bool make_writable(const void *address, size_t nbytes)
{
	size_t first = ((uintptr_t)address >> QUARRY_POOL_BITS) - address_map.first_unit;
	size_t last = (((uintptr_t)address + nbytes - 1) >> QUARRY_POOL_BITS) - address_map.first_unit;
	for (size_t stretch = first >> STRETCH_BITS; stretch <= last >> STRETCH_BITS; stretch++) {
		uint64_t bit = (uint64_t)1 << stretch % 64;
		if (atomic_load_explicit(&writable[stretch / 64], memory_order_acquire) & bit)
			continue;
		size_t length = sizeof(uint32_t) << STRETCH_BITS;
		if (!os_commit((char *)address_map.words + stretch * length, length))
			return false;
		atomic_fetch_or_explicit(&writable[stretch / 64], bit, memory_order_release);
	}
	return true;
}

bool address_map_cover(const void *address, size_t nbytes)
{
	return in_window(address, nbytes) && make_writable(address, nbytes);
}

bool address_map_admit(const void *address, size_t nbytes)
{
	return window_is_fixed() && address_map_cover(address, nbytes);
}

/* Where the kernel's own choice lies outside (it filled up with other mappings), look for room at regular steps. */
static void *place_by_probing(size_t nbytes, size_t alignment)
{
	size_t window = address_map.nunits << QUARRY_POOL_BITS;
	for (unsigned step = 1; step < 64; step++) {
		uintptr_t hint = (address_map.first_unit << QUARRY_POOL_BITS) + window / 64 * step;
		void *address = os_map_exactly((void *)round_up(hint, alignment), nbytes);
		if (address != NULL)
			return address;
	}
	errno = ENOMEM;
	return NULL;
}

void *address_map_place(size_t nbytes, size_t alignment)
{
	if (!window_is_fixed())
		return NULL;
	void *address = os_map_aligned(nbytes, alignment);
	if (address == NULL)
		return NULL;
	if (!in_window(address, nbytes)) {
		os_unmap(address, nbytes);
		address = place_by_probing(nbytes, alignment);
	}
	if (address != NULL && !address_map_cover(address, nbytes)) {
		os_unmap(address, nbytes);
		errno = ENOMEM;
		return NULL;
	}
	return address;
}

void *address_map_place_exactly(void *address, size_t nbytes)
{
	if (!window_is_fixed() || !in_window(address, nbytes) || os_map_exactly(address, nbytes) == NULL)
		return NULL;
	if (make_writable(address, nbytes))
		return address;
	os_unmap(address, nbytes);
	return NULL;
}

void address_map_set(const void *address, size_t nunits, uint32_t word)
{
	uintptr_t unit = ((uintptr_t)address >> QUARRY_POOL_BITS) - address_map.first_unit;
	for (size_t i = 0; i < nunits; i++)
		atomic_store_explicit(&address_map.words[unit + i], word, memory_order_relaxed);
}

bool address_map_clear(const void *address, uint32_t word)
{
	uintptr_t unit = ((uintptr_t)address >> QUARRY_POOL_BITS) - address_map.first_unit;
	return atomic_compare_exchange_strong(&address_map.words[unit], &word, 0);
}

bool address_map_is_limited(void)
{
	return address_map.nunits < (size_t)1 << (WINDOW_BITS - QUARRY_POOL_BITS);
}

size_t address_map_reserved(void)
{
	return address_map.nunits * sizeof(uint32_t);
}

void address_map_lock_for_fork(void)
{
	lock_take(&window_lock, LOCK_META);
}

void address_map_unlock_after_fork(bool in_child)
{
	lock_after_fork(&window_lock, LOCK_META, in_child);
}
