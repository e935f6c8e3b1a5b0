/* SPDX-License-Identifier: MIT */
/*
 * A hash table from byte strings to values, chained, sized to its count in both directions. It serves as the key space
 * of a shard and as the body of a hash value.
 *
 * Invariant: buckets is NULL if and only if the dict is empty and has never grown or was freed; else there are mask + 1
 * of them, a power of two, and an entry is in buckets[hash & mask]. No lock: the owner of the dict excludes others.
 */
#ifndef KV_DICT_H
#define KV_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_value;

/* Bytes that belong to somebody else. */
struct kv_slice {
	const char *data;
	size_t nbytes;
};

struct kv_entry {
	struct kv_entry *next;  /* in its bucket */
	struct kv_value *value; /* owned, never NULL */
	int64_t expires;        /* ms of the monotonic clock; 0: never */
	uint64_t hash;          /* of the key */
	uint32_t nkey;          /* bytes of the key */
	char key[];
};

struct kv_dict {
	struct kv_entry **buckets;
	size_t mask;  /* number of buckets less one */
	size_t count; /* number of entries */
};

/** Choose the hash seed, once, before the first dict is used; keys cannot be made to collide from outside. */
void kv_hash_seed(uint64_t seed);

/** Hash of a key. */
uint64_t kv_hash(struct kv_slice key);

/** The entry of a key, or NULL. */
struct kv_entry *kv_dict_find(const struct kv_dict *dict, struct kv_slice key, uint64_t hash);

/** Add a key that is not there, taking over value; the entry, or NULL without memory (value stays the caller's). */
struct kv_entry *kv_dict_insert(struct kv_dict *dict, struct kv_slice key, uint64_t hash, struct kv_value *value);

/** Unlink and free an entry; its value goes to the caller. */
struct kv_value *kv_dict_remove(struct kv_dict *dict, struct kv_entry *entry);

/** Free all entries and their values; the dict is empty and usable again. */
void kv_dict_clear(struct kv_dict *dict);

#endif
