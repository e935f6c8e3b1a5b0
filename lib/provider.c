/* SPDX-License-Identifier: MIT */
/*
 * Provider: see provider.h.
 */
#include "provider.h"

#include <errno.h>

#include "address_map.h"
#include "node.h"
#include "os.h"
#include "report.h"

#define MOST_PROVIDERS 16
#define ALL_FLAGS (QUARRY_PROVIDER_ZEROED | QUARRY_PROVIDER_OR_SYSTEM)

static const struct quarry_provider *_Atomic by_node[NODE_PLACES];
struct lock provider_lock;
static struct quarry_provider copies[MOST_PROVIDERS];
static unsigned ncopies;

const struct quarry_provider *provider_of(unsigned node)
{
	return atomic_load_explicit(&by_node[node], memory_order_acquire);
}

/* --- setting ------------------------------------------------------------------------------------------------------ */

static bool same(const struct quarry_provider *one, const struct quarry_provider *other)
{
	return one->context == other->context && one->map == other->map && one->unmap == other->unmap &&
	       one->purge == other->purge && one->flags == other->flags;
}

/* The copy that is there already, or a new one; NULL: no room. */
static const struct quarry_provider *copy_of(const struct quarry_provider *provider)
{
	struct quarry_provider *copy = copies;
	lock_take(&provider_lock, LOCK_META);
	while (copy < copies + ncopies && !same(copy, provider))
		copy++;
	if (copy == copies + ncopies && ncopies < MOST_PROVIDERS)
		copies[ncopies++] = *provider;
	bool found = copy < copies + ncopies;
	lock_drop(&provider_lock, LOCK_META);
	return found ? copy : NULL;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

int quarry_provider_set(int os_node, const struct quarry_provider *provider)
{
	int node = os_node == QUARRY_EVERY_NODE ? 0 : node_of_os_index(os_node);
	if (node < 0)
		return refuse(EINVAL);
	if (provider != NULL) {
		if (provider->map == NULL || provider->unmap == NULL || (provider->flags & ~ALL_FLAGS) != 0)
			return refuse(EINVAL);
		provider = copy_of(provider);
		if (provider == NULL)
			return refuse(ENOSPC);
	}
	for (unsigned i = 0; i < NODE_PLACES; i++)
		if (os_node == QUARRY_EVERY_NODE || i == (unsigned)node)
			atomic_store_explicit(&by_node[i], provider, memory_order_release);
	return 0;
}

/* --- use ---------------------------------------------------------------------------------------------------------- */

/* A piece that cannot be used goes back; if even that fails, it is the provider's loss. */
static void reject(const struct quarry_provider *from, void *address, size_t nbytes, const char *why)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	if (!atomic_flag_test_and_set(&said))
		report_line("a page provider gave %p, which %s: given back", address, why);
	from->unmap(from->context, address, nbytes);
}

void *provider_map(unsigned node, size_t nbytes, size_t alignment, const struct quarry_provider **from)
{
	const struct quarry_provider *provider = *from = provider_of(node);
	if (likely(provider == NULL))
		return NULL;
	int saved_errno = errno;
	void *address = provider->map(provider->context, nbytes, alignment, node_home(node));
	errno = saved_errno;
	if (address != NULL && (uintptr_t)address % alignment != 0) {
		reject(provider, address, nbytes, "is not aligned");
		address = NULL;
	} else if (address != NULL && !address_map_admit(address, nbytes)) {
		reject(provider, address, nbytes, "lies beyond what can be kept account of");
		address = NULL;
	}
	if (address == NULL && (provider->flags & QUARRY_PROVIDER_OR_SYSTEM) != 0)
		*from = NULL;
	else if (address == NULL)
		errno = ENOMEM;
	return address;
}

bool provider_unmap(const struct quarry_provider *from, void *address, size_t nbytes)
{
	if (likely(from == NULL))
		return os_unmap(address, nbytes);
	int saved_errno = errno;
	bool gone = from->unmap(from->context, address, nbytes) == 0;
	errno = saved_errno;
	return gone;
}

bool provider_purge(const struct quarry_provider *from, void *address, size_t nbytes)
{
	if (likely(from == NULL))
		return os_purge(address, nbytes);
	if (from->purge == NULL)
		return false;
	int saved_errno = errno;
	bool purged = from->purge(from->context, address, nbytes) == 0;
	errno = saved_errno;
	return purged;
}

void provider_lock_for_fork(void)
{
	lock_take(&provider_lock, LOCK_META);
}

void provider_unlock_after_fork(bool in_child)
{
	lock_after_fork(&provider_lock, LOCK_META, in_child);
}
