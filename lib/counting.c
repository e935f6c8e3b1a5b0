/* SPDX-License-Identifier: MIT */
/*
 * Counting: see counting.h.
 */
#include "counting.h"

#include "os.h"
#include "report.h"
#include "tunables.h"

#define relaxed memory_order_relaxed
#define TABLES ((size_t)(QUARRY_COUNTING ? 65536 : 1))
/* A table's stretch of addresses: where address space is short, arenas are as small. */
#define STRETCH ARENA_MIN_SIZE
#define PLACES (STRETCH / ALIGNMENT)

/* Open addressing by base; none is ever taken out. */
struct table {
	_Atomic uintptr_t base;               /* 0: unused */
	_Atomic uint32_t *_Atomic numbers;    /* NULL until mapped */
};

static struct table tables[TABLES];
static _Atomic uint64_t total;
INSPECTED(counting_sum, total);

static _Atomic uint32_t *map_numbers(struct table *table)
{
	_Atomic uint32_t *none = NULL, *fresh = os_map(NULL, PLACES * sizeof(*fresh));
	if (fresh == NULL)
		return NULL;
	if (atomic_compare_exchange_strong(&table->numbers, &none, fresh))
		return fresh;
	os_unmap((void *)fresh, PLACES * sizeof(*fresh));
	return none;
}

/* Numbers of the stretch that begins at base; NULL: there are none, or there is no room for any. */
static _Atomic uint32_t *numbers_at(uintptr_t base, bool make)
{
	size_t first = (base / STRETCH) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
	for (size_t i = 0; i < TABLES; i++) {
		struct table *table = &tables[(first + i) % TABLES];
		uintptr_t found = atomic_load(&table->base);
		if (found == 0 && (!make || atomic_compare_exchange_strong(&table->base, &found, base)))
			found = make ? base : 0;
		if (found == 0)
			return NULL;
		if (found != base)
			continue;
		_Atomic uint32_t *numbers = atomic_load(&table->numbers);
		return numbers != NULL || !make ? numbers : map_numbers(table);
	}
	return NULL;
}

static _Atomic uint32_t *place_of(const void *ptr, bool make)
{
	static _Atomic bool complained;
	uintptr_t address = (uintptr_t)ptr;
	_Atomic uint32_t *numbers = numbers_at(address & ~(uintptr_t)(STRETCH - 1), make);
	if (numbers == NULL && make && !atomic_exchange(&complained, true))
		report_line("no memory to count requested bytes: the statistics say too little of them from here on");
	return numbers == NULL ? NULL : &numbers[(address & (STRETCH - 1)) / ALIGNMENT];
}

uint64_t counting_small(const void *ptr, size_t nbytes)
{
	_Atomic uint32_t *place = place_of(ptr, nbytes > 0);
	if (place == NULL)
		return 0;
	uint64_t before = atomic_exchange_explicit(place, (uint32_t)nbytes, relaxed);
	atomic_fetch_add_explicit(&total, nbytes - before, relaxed);
	return before;
}

/* No other block starts in the next place: it has the upper half. */
uint64_t counting_big(const void *ptr, size_t nbytes)
{
	_Atomic uint32_t *place = place_of(ptr, nbytes > 0);
	if (place == NULL)
		return 0;
	uint64_t before = atomic_exchange_explicit(&place[0], (uint32_t)nbytes, relaxed);
	before |= (uint64_t)atomic_exchange_explicit(&place[1], (uint32_t)(nbytes >> 32), relaxed) << 32;
	atomic_fetch_add_explicit(&total, nbytes - before, relaxed);
	return before;
}

uint64_t counting_total(void)
{
	return atomic_load_explicit(&total, relaxed);
}
