/* SPDX-License-Identifier: MIT */
/*
 * Provider: where a node's arenas and large blocks are mapped, if not by the kernel alone; see quarry/provider.h.
 *
 * Owns the table of providers by node and their copies. Invariants: a copy never changes and is never taken away, so
 * that whoever found one may use it for as long as it has memory of it. Locking: copies are made under provider_lock,
 * of rank META; tables are read by one load (acquire: the copy was filled before).
 */
#ifndef QUARRY_LIB_PROVIDER_H
#define QUARRY_LIB_PROVIDER_H

#include "compiler.h"
#include "lock.h"
#include "quarry/provider.h"

extern struct lock provider_lock; /* of copies, and of what ready-made providers own */

/** The node's provider; NULL: the kernel. */
const struct quarry_provider *provider_of(unsigned node);

/**
 * Map nbytes at a multiple of alignment from the node's provider, with writable words in the address map. *from becomes
 * NULL where the kernel is to be asked: then nothing is returned either. NULL with ENOMEM else. No lock held.
 */
void *provider_map(unsigned node, size_t nbytes, size_t alignment, const struct quarry_provider **from);

/** Give back what provider_map gave; from NULL: to the kernel. False if refused: it is still there. No lock held. */
bool provider_unmap(const struct quarry_provider *from, void *address, size_t nbytes);

/** As os_purge, by whoever the memory came from. */
bool provider_purge(const struct quarry_provider *from, void *address, size_t nbytes);

void provider_lock_for_fork(void);
void provider_unlock_after_fork(bool in_child);

#endif
