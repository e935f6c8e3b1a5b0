/* SPDX-License-Identifier: MIT */
/*
 * Ready-made providers: a buffer of the program's, and huge pages of the administrator's. See quarry/provider.h.
 *
 * A buffer begins with its record; the rest is free pieces and pieces that were given, all of whole units. A free piece
 * has its own link and length at its start; the list is by address, and no two of it adjoin. Locking: provider_lock.
 */
#include <errno.h>

#include "address_map.h"
#include "lock.h"
#include "node.h"
#include "os.h"
#include "provider.h"
#include "tunables.h"

struct piece {
	struct piece *next;
	size_t nbytes;
};

struct buffer {
	struct piece *free;
};

static char *end_of(struct piece *piece)
{
	return (char *)piece + piece->nbytes;
}

static struct piece *make_piece(char *start, char *end, struct piece *next)
{
	if (start == end)
		return next;
	struct piece *piece = (struct piece *)start;
	*piece = (struct piece){next, (size_t)(end - start)};
	return piece;
}

static void *take(struct buffer *buffer, size_t nbytes, size_t alignment)
{
	for (struct piece **link = &buffer->free; *link != NULL; link = &(*link)->next) {
		struct piece *piece = *link;
		char *start = (char *)round_up((uintptr_t)piece, alignment), *end = end_of(piece);
		if (start >= end || (size_t)(end - start) < nbytes)
			continue;
		struct piece *behind = make_piece(start + nbytes, end, piece->next);
		*link = make_piece((char *)piece, start, behind);
		return start;
	}
	return NULL;
}

static void put(struct buffer *buffer, char *address, size_t nbytes)
{
	struct piece *before = NULL, *after = buffer->free;
	for (; after != NULL && (char *)after < address; after = after->next)
		before = after;
	char *end = address + nbytes;
	if (after != NULL && end == (char *)after) {
		end = end_of(after);
		after = after->next;
	}
	if (before != NULL && end_of(before) == address)
		make_piece((char *)before, end, after);
	else if (before != NULL)
		before->next = make_piece(address, end, after);
	else
		buffer->free = make_piece(address, end, after);
}

static void *buffer_map(void *context, size_t nbytes, size_t alignment, int os_node)
{
	(void)os_node;
	lock_take(&provider_lock, LOCK_META);
	void *address = take(context, nbytes, alignment);
	lock_drop(&provider_lock, LOCK_META);
	return address;
}

static int buffer_unmap(void *context, void *address, size_t nbytes)
{
	lock_take(&provider_lock, LOCK_META);
	put(context, address, nbytes);
	lock_drop(&provider_lock, LOCK_META);
	return 0;
}

int quarry_provider_buffer(struct quarry_provider *provider, void *buffer, size_t nbytes)
{
	size_t unit = os_page_size() > POOL_SIZE ? os_page_size() : POOL_SIZE;
	uintptr_t record = round_up((uintptr_t)buffer, _Alignof(struct buffer));
	uintptr_t start = round_up(record + sizeof(struct buffer), unit), end = ((uintptr_t)buffer + nbytes) & ~(unit - 1);
	uintptr_t arena = round_up(start, ARENA_SIZE);
	if (buffer == NULL || end < (uintptr_t)buffer || arena < start || arena > end || end - arena < ARENA_MIN_SIZE) {
		errno = EINVAL;
		return -1;
	}
	if (!address_map_admit((const void *)start, end - start)) {
		errno = ERANGE;
		return -1;
	}
	*(struct buffer *)record = (struct buffer){make_piece((char *)start, (char *)end, NULL)};
	*provider = (struct quarry_provider){.context = (void *)record, .map = buffer_map, .unmap = buffer_unmap};
	return 0;
}

/* --- huge pages --------------------------------------------------------------------------------------------------- */

#define HUGE_PAGE_NBYTES ((size_t)2 << 20)

static void *huge_map(void *context, size_t nbytes, size_t alignment, int os_node)
{
	size_t page = (uintptr_t)context;
	void *address = os_map_huge(round_up(nbytes, page), alignment > page ? alignment : page, page);
	int node = node_of_os_index(os_node);
	if (address != NULL && node >= 0)
		node_bind(address, round_up(nbytes, page), (unsigned)node);
	return address;
}

static int huge_unmap(void *context, void *address, size_t nbytes)
{
	return os_unmap(address, round_up(nbytes, (uintptr_t)context)) ? 0 : -1;
}

int quarry_provider_hugetlb(struct quarry_provider *provider, size_t page_nbytes)
{
	size_t page = page_nbytes == 0 ? HUGE_PAGE_NBYTES : page_nbytes;
	if ((page & (page - 1)) != 0 || page > ARENA_SIZE || page < os_page_size()) {
		errno = EINVAL;
		return -1;
	}
	*provider = (struct quarry_provider){.context = (void *)page, .map = huge_map, .unmap = huge_unmap,
	                                     .flags = QUARRY_PROVIDER_ZEROED | QUARRY_PROVIDER_OR_SYSTEM};
	return 0;
}

size_t quarry_arena_size(void)
{
	return ARENA_SIZE;
}
