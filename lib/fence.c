/* SPDX-License-Identifier: MIT */
/*
 * Fence: see fence.h.
 */
#include "fence.h"

#include <string.h>

#include "os.h"
#include "pool.h"

#define relaxed memory_order_relaxed

static _Atomic uint32_t open_runs; /* in fenced arenas */

static struct arena_object *arena_of(const void *address)
{
	return arena_at(arena_base(address));
}

/* Nothing is closed in the arena from now on, but what another thread is about to close: who takes that opens it. */
static bool open_all(struct arena_object *arena)
{
	atomic_store_explicit(&arena->opened, true, relaxed);
	size_t head = ARENA_HEAD_UNITS * POOL_SIZE;
	return os_commit(arena->address + head, arena_nbytes(arena) - head);
}

static bool open_run(struct arena_object *arena, char *address, size_t nbytes)
{
	if (atomic_fetch_add_explicit(&open_runs, 1, relaxed) >= FENCE_MOST_RUNS &&
	    !atomic_load_explicit(&arena->opened, relaxed))
		return open_all(arena);
	return os_commit(address, nbytes) || open_all(arena);
}

static void count_closed(const struct arena_object *arena)
{
	if (arena->fenced)
		atomic_fetch_sub_explicit(&open_runs, 1, relaxed);
}

struct arena_run fence_take_between(unsigned node, size_t nunits, size_t alignment, size_t nbytes)
{
	struct arena_run run = arena_list_take(node, nunits + 1, alignment);
	if (run.address == NULL)
		return run;
	struct arena_object *arena = arena_of(run.address);
	char *fence = run.address + (nunits << QUARRY_POOL_BITS);
	pool_header_at(fence)->zeroed = run.clean;
	if (!arena->fenced) {
		arena_list_put(fence, 1, run.clean);
	} else if (!open_run(arena, run.address, nbytes)) {
		count_closed(arena);
		arena_list_put(run.address, nunits + 1, run.clean);
		return (struct arena_run){NULL, 0, false};
	}
	run.nunits = nunits;
	return run;
}

bool fence_close(char *address, size_t nunits, size_t open_nbytes)
{
	struct arena_object *arena = arena_of(address);
	size_t nbytes = nunits << QUARRY_POOL_BITS;
	bool clean = arena->provider == NULL && open_nbytes > FENCE_WIPE_NBYTES && os_purge(address, nbytes);
	if (!clean)
		memset(address, 0, open_nbytes);
	if (arena->fenced && !atomic_load_explicit(&arena->opened, relaxed))
		os_forbid(address, nbytes);
	return clean;
}

/* Where the system does not let a run be closed it stays open, free as it is. */
void fence_put_between(char *address, size_t nunits, bool clean, bool closed)
{
	struct arena_object *arena = arena_of(address);
	if (!closed && arena->fenced && !atomic_load_explicit(&arena->opened, relaxed))
		os_forbid(address, nunits << QUARRY_POOL_BITS);
	char *fence = address + (nunits << QUARRY_POOL_BITS);
	count_closed(arena);
	if (arena->fenced)
		arena_list_put(fence, 1, pool_header_at(fence)->zeroed);
	arena_list_put(address, nunits, clean);
}
