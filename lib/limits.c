/* SPDX-License-Identifier: MIT */
/*
 * The calls of quarry/limit.h.
 */
#include "limit.h"

#include <errno.h>
#include <string.h>

#include "quarry/limit.h"

_Static_assert((int)QUARRY_PRESSURE_NEAR == (int)LIMIT_NEAR && (int)QUARRY_PRESSURE_AT == (int)LIMIT_AT, "one scale");

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

int quarry_limits_read(struct quarry_limits *limits, size_t size)
{
	if (limits == NULL || size < offsetof(struct quarry_limits, own)) {
		errno = EINVAL;
		return -1;
	}
	struct quarry_limits found = {.version = QUARRY_LIMITS_VERSION, .pressure = limit_look(true)};
	found.own = atomic_load_explicit(&limit_own, memory_order_relaxed);
	found.charged = limit_charged();
	found.refusals = load(&limit_refusals);
	found.container_max = load(&limit_container.max);
	found.container_high = load(&limit_container.high);
	found.container_used = load(&limit_container.used);
	memcpy(limits, &found, size < sizeof(found) ? size : sizeof(found));
	return 0;
}

void quarry_limit_set(size_t nbytes)
{
	atomic_store_explicit(&limit_own, nbytes, memory_order_relaxed);
}
