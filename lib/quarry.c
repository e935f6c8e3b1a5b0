/* SPDX-License-Identifier: MIT */
/*
 * Quarry: the public allocating calls.
 */
#include <errno.h>
#include <string.h>

#include "entry.h"
#include "large.h"
#include "magazine.h"
#include "os.h"
#include "purge.h"
#include "quarry/quarry.h"
#include "resize.h"
#include "span.h"

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/* --- public: allocation ----------------------------------------------------------------------------------------- */

void *quarry_malloc(size_t nbytes)
{
	return entry_malloc(nbytes);
}

void quarry_free(void *ptr)
{
	entry_free(ptr);
}

void quarry_free_sized(void *ptr, size_t nbytes)
{
	entry_free_sized(ptr, nbytes);
}

void quarry_free_aligned_sized(void *ptr, size_t alignment, size_t nbytes)
{
	(void)alignment;
	entry_free_sized(ptr, nbytes);
}

void *quarry_calloc(size_t count, size_t size)
{
	size_t nbytes;
	if (unlikely(__builtin_mul_overflow(count, size, &nbytes)))
		return out_of_memory();
	bool zeroed = false;
	void *ptr;
	if (likely(nbytes <= sizeclass_limit))
		ptr = entry_malloc(nbytes);
	else
		ptr = entry_malloc_big(nbytes, ALIGNMENT, &zeroed);
	if (likely(ptr != NULL) && !zeroed)
		memset(ptr, 0, nbytes);
	return ptr;
}

void *quarry_aligned_alloc(size_t alignment, size_t nbytes)
{
	size_t power = entry_power_of_two(alignment);
	if (power <= ALIGNMENT && power != 0)
		return entry_malloc(nbytes);
	if (power == 0 || nbytes > PTRDIFF_MAX)
		return out_of_memory();
	int szidx = power <= POOL_SIZE ? sizeclass_of_aligned(nbytes + HARDEN_SEAL_NBYTES, power) : -1;
	if (szidx >= 0) {
		void *ptr = QUARRY_HARDENED ? entry_malloc_aligned_class((unsigned)szidx, nbytes)
					    : entry_malloc(sizeclass_nbytes((unsigned)szidx));
		if (QUARRY_COUNTING && ptr != NULL)
			entry_recount(ptr, address_map_word(ptr), nbytes);
		return ptr;
	}
	bool zeroed;
	return entry_malloc_big(nbytes, power, &zeroed);
}

void *quarry_memalign(size_t alignment, size_t nbytes)
{
	return quarry_aligned_alloc(alignment, nbytes);
}

int quarry_posix_memalign(void **memptr, size_t alignment, size_t nbytes)
{
	if (alignment == 0 || alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	int saved_errno = errno;
	void *ptr = quarry_aligned_alloc(alignment, nbytes);
	errno = saved_errno;
	if (ptr == NULL)
		return ENOMEM;
	*memptr = ptr;
	return 0;
}

void *quarry_valloc(size_t nbytes)
{
	return quarry_aligned_alloc(os_page_size(), nbytes);
}

void *quarry_pvalloc(size_t nbytes)
{
	size_t page = os_page_size();
	return nbytes > PTRDIFF_MAX ? out_of_memory() : quarry_aligned_alloc(page, round_up(nbytes, page));
}

/* --- public: sizes ---------------------------------------------------------------------------------------------- */

size_t quarry_usable_size(const void *ptr)
{
	if (ptr == NULL)
		return 0;
	uint32_t word = address_map_word(ptr);
	size_t nbytes = entry_usable(ptr, word);
	if (unlikely(nbytes == 0))
		entry_report_misuse("size of no block", ptr, word);
	return nbytes;
}

size_t quarry_good_size(size_t nbytes)
{
	if (QUARRY_HARDENED)
		return large_good_size(nbytes) == 0 && nbytes != 0 ? 0 : nbytes + (nbytes == 0);
	if (nbytes <= sizeclass_limit)
		return sizeclass_nbytes(sizeclass_of(nbytes));
	return nbytes <= LARGE_REQUEST_THRESHOLD ? span_good_size(nbytes) : large_good_size(nbytes);
}

void *quarry_malloc_usable(size_t nbytes, size_t *usable)
{
	void *ptr = entry_malloc(nbytes);
	if (ptr != NULL && usable != NULL)
		*usable = entry_usable(ptr, address_map_word(ptr));
	return ptr;
}

size_t quarry_resize_in_place(void *ptr, size_t nbytes)
{
	if (ptr == NULL)
		return 0;
	uint32_t word = address_map_word(ptr);
	if (entry_usable(ptr, word) == 0) {
		entry_report_misuse("resize of no block", ptr, word);
		return 0;
	}
	return resize_in_place(ptr, word, nbytes);
}

void *quarry_realloc(void *ptr, size_t nbytes)
{
	if (ptr == NULL)
		return entry_malloc(nbytes);
	if (nbytes == 0) {
		if (resize_is_block(ptr))
			entry_free(ptr);
		return NULL;
	}
	return resize_block(ptr, nbytes, entry_malloc, entry_free);
}

void *quarry_reallocarray(void *ptr, size_t count, size_t size)
{
	size_t nbytes;
	if (unlikely(__builtin_mul_overflow(count, size, &nbytes)))
		return out_of_memory();
	return quarry_realloc(ptr, nbytes);
}

/* --- public: the whole ------------------------------------------------------------------------------------------ */

int quarry_trim(size_t keep)
{
	magazine_trim();
	return purge_all(keep, true);
}

const char *quarry_version(void)
{
#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
	return VERSION(QUARRY_VERSION_MAJOR, QUARRY_VERSION_MINOR, QUARRY_VERSION_PATCH);
}
