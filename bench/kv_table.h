/* SPDX-License-Identifier: MIT */
/*
 * The key space: shards of a dict and a lock each, chosen by the key's hash and shared by all workers. A block that one
 * worker allocated is therefore freed by whichever worker replaces or deletes it.
 *
 * Locking: a command opens a place (its key's shard is locked), works on the entry, closes the place. It holds one
 * place at a time, so there is no lock order to keep. Old values are freed after the place is closed.
 */
#ifndef KV_TABLE_H
#define KV_TABLE_H

#include "kv_value.h"

struct kv_table;
struct kv_shard;

/* A key's place in the table between open and close. */
struct kv_place {
	struct kv_shard *shard;   /* locked */
	struct kv_slice key;
	uint64_t hash;
	struct kv_entry *entry;   /* NULL where the key is absent */
	struct kv_value *expired; /* a value that was too old, freed on close */
};

/** A table; NULL without memory. */
struct kv_table *kv_table_create(void);

/** Free the table; no other thread uses it any more. */
void kv_table_destroy(struct kv_table *table);

/** Lock a key's shard and look the key up; a key whose time has passed is absent. */
void kv_place_open(struct kv_place *place, struct kv_table *table, struct kv_slice key);

/**
 * Store a value at an open place.
 *
 * value      taken over if true is returned
 * expires    ms of the monotonic clock, 0 for never
 * old        becomes the value that was there, or NULL: the caller's to free
 * Returns    false without memory, nothing has changed
 */
bool kv_place_put(struct kv_place *place, struct kv_value *value, int64_t expires, struct kv_value **old);

/** Take the key out of an open place where it is present; its value is the caller's. */
struct kv_value *kv_place_remove(struct kv_place *place);

/** Unlock. The entry and its value may be gone from now on. */
void kv_place_close(struct kv_place *place);

/** Number of keys; exact while nobody writes. */
size_t kv_table_count(struct kv_table *table);

/** Remove all keys. */
void kv_table_clear(struct kv_table *table);

/** Remove what is too old in the next few shards; called now and then while kv_table_expiring says so. */
void kv_table_expire_some(struct kv_table *table);

/** True while keys with a time limit may be in the table. */
bool kv_table_expiring(struct kv_table *table);

/** Milliseconds of the clock that expiry uses. */
int64_t kv_clock_ms(void);

#endif
