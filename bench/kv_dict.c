/* SPDX-License-Identifier: MIT */
/* The hash table of kv_dict.h. One block per entry, key included; one block for the buckets. */
#include "kv_dict.h"
#include "kv_value.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 4
#define SHRINK_BELOW 8 /* a table with fewer than 1 entry in so many buckets is halved */

static uint64_t hash_seed;

void kv_hash_seed(uint64_t seed)
{
	hash_seed = seed;
}

uint64_t kv_hash(struct kv_slice key)
{
	uint64_t hash = hash_seed ^ (key.nbytes * 0x9e3779b97f4a7c15u);
	uint64_t word;
	size_t done;

	for (done = 0; done + sizeof(word) <= key.nbytes; done += sizeof(word)) {
		memcpy(&word, key.data + done, sizeof(word));
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	if (done < key.nbytes) {
		word = 0;
		memcpy(&word, key.data + done, key.nbytes - done);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
	}
	hash *= 0xc4ceb9fe1a85ec53u;
	return hash ^ (hash >> 29);
}

struct kv_entry *kv_dict_find(const struct kv_dict *dict, struct kv_slice key, uint64_t hash)
{
	struct kv_entry *entry;

	if (!dict->buckets)
		return NULL;
	for (entry = dict->buckets[hash & dict->mask]; entry; entry = entry->next) {
		if (entry->hash == hash && entry->nkey == key.nbytes && !memcmp(entry->key, key.data, key.nbytes))
			return entry;
	}
	return NULL;
}

/* Give the dict nbuckets buckets. Without memory it stays as it is: that only costs time. */
static void rehash(struct kv_dict *dict, size_t nbuckets)
{
	struct kv_entry **buckets = calloc(nbuckets, sizeof(struct kv_entry *));
	struct kv_entry *entry;
	struct kv_entry *next;

	if (!buckets)
		return;
	for (size_t i = 0; dict->buckets && i <= dict->mask; i++) {
		for (entry = dict->buckets[i]; entry; entry = next) {
			next = entry->next;
			entry->next = buckets[entry->hash & (nbuckets - 1)];
			buckets[entry->hash & (nbuckets - 1)] = entry;
		}
	}
	free(dict->buckets);
	dict->buckets = buckets;
	dict->mask = nbuckets - 1;
}

struct kv_entry *kv_dict_insert(struct kv_dict *dict, struct kv_slice key, uint64_t hash, struct kv_value *value)
{
	struct kv_entry *entry;

	if (!dict->buckets)
		rehash(dict, FIRST_BUCKETS);
	else if (dict->count > dict->mask)
		rehash(dict, (dict->mask + 1) * 2);
	if (!dict->buckets)
		return NULL;
	entry = malloc(sizeof(*entry) + key.nbytes);
	if (!entry)
		return NULL;
	entry->value = value;
	entry->expires = 0;
	entry->hash = hash;
	entry->nkey = (uint32_t)key.nbytes;
	memcpy(entry->key, key.data, key.nbytes);
	entry->next = dict->buckets[hash & dict->mask];
	dict->buckets[hash & dict->mask] = entry;
	dict->count++;
	return entry;
}

struct kv_value *kv_dict_remove(struct kv_dict *dict, struct kv_entry *entry)
{
	struct kv_entry **link = &dict->buckets[entry->hash & dict->mask];
	struct kv_value *value = entry->value;

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	free(entry);
	dict->count--;
	if (dict->mask >= FIRST_BUCKETS && dict->count < (dict->mask + 1) / SHRINK_BELOW)
		rehash(dict, (dict->mask + 1) / 2);
	return value;
}

void kv_dict_clear(struct kv_dict *dict)
{
	struct kv_entry *entry;
	struct kv_entry *next;

	for (size_t i = 0; dict->buckets && i <= dict->mask; i++) {
		for (entry = dict->buckets[i]; entry; entry = next) {
			next = entry->next;
			kv_value_free(entry->value);
			free(entry);
		}
	}
	free(dict->buckets);
	*dict = (struct kv_dict){ 0 };
}
