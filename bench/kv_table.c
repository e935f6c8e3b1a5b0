/* SPDX-License-Identifier: MIT */
/* The sharded key space of kv_table.h. */
#include "kv_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define SHARD_BITS 8
#define SHARDS (1u << SHARD_BITS)
#define SHARDS_PER_SWEEP 8 /* kv_table_expire_some: all shards in SHARDS / 8 calls */

struct kv_shard {
	pthread_mutex_t lock;
	struct kv_dict keys;   /* under lock */
	struct kv_table *home; /* constant */
} __attribute__((aligned(64)));

struct kv_table {
	struct kv_shard shards[SHARDS];
	atomic_size_t timed; /* keys with a time limit, all shards */
	atomic_uint sweep;   /* next shard that kv_table_expire_some looks at */
};

int64_t kv_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct kv_table *kv_table_create(void)
{
	struct kv_table *table = aligned_alloc(64, (sizeof(*table) + 63) / 64 * 64);

	if (!table)
		return NULL;
	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&table->shards[i].lock, NULL);
		table->shards[i].keys = (struct kv_dict){ 0 };
		table->shards[i].home = table;
	}
	atomic_init(&table->timed, 0);
	atomic_init(&table->sweep, 0);
	return table;
}

void kv_table_destroy(struct kv_table *table)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		kv_dict_clear(&table->shards[i].keys);
		pthread_mutex_destroy(&table->shards[i].lock);
	}
	free(table);
}

static void set_expiry(struct kv_table *table, struct kv_entry *entry, int64_t expires)
{
	if (!entry->expires && expires)
		atomic_fetch_add_explicit(&table->timed, 1, memory_order_relaxed);
	else if (entry->expires && !expires)
		atomic_fetch_sub_explicit(&table->timed, 1, memory_order_relaxed);
	entry->expires = expires;
}

void kv_place_open(struct kv_place *place, struct kv_table *table, struct kv_slice key)
{
	place->key = key;
	place->hash = kv_hash(key);
	place->shard = &table->shards[place->hash >> (64 - SHARD_BITS)];
	place->expired = NULL;
	pthread_mutex_lock(&place->shard->lock);
	place->entry = kv_dict_find(&place->shard->keys, key, place->hash);
	if (place->entry && place->entry->expires && place->entry->expires <= kv_clock_ms())
		place->expired = kv_place_remove(place);
}

bool kv_place_put(struct kv_place *place, struct kv_value *value, int64_t expires, struct kv_value **old)
{
	*old = NULL;
	if (place->entry) {
		*old = place->entry->value;
		place->entry->value = value;
	} else {
		place->entry = kv_dict_insert(&place->shard->keys, place->key, place->hash, value);
		if (!place->entry)
			return false;
	}
	set_expiry(place->shard->home, place->entry, expires);
	return true;
}

struct kv_value *kv_place_remove(struct kv_place *place)
{
	struct kv_entry *entry = place->entry;

	set_expiry(place->shard->home, entry, 0);
	place->entry = NULL;
	return kv_dict_remove(&place->shard->keys, entry);
}

void kv_place_close(struct kv_place *place)
{
	pthread_mutex_unlock(&place->shard->lock);
	kv_value_free(place->expired);
}

size_t kv_table_count(struct kv_table *table)
{
	size_t count = 0;

	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&table->shards[i].lock);
		count += table->shards[i].keys.count;
		pthread_mutex_unlock(&table->shards[i].lock);
	}
	return count;
}

void kv_table_clear(struct kv_table *table)
{
	struct kv_dict doomed;
	size_t timed;

	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&table->shards[i].lock);
		doomed = table->shards[i].keys;
		table->shards[i].keys = (struct kv_dict){ 0 };
		pthread_mutex_unlock(&table->shards[i].lock);
		timed = 0;
		for (size_t b = 0; doomed.buckets && b <= doomed.mask; b++) {
			for (struct kv_entry *entry = doomed.buckets[b]; entry; entry = entry->next)
				timed += entry->expires != 0;
		}
		atomic_fetch_sub_explicit(&table->timed, timed, memory_order_relaxed);
		kv_dict_clear(&doomed);
	}
}

/*
 * Remove what is too old in one shard. Values are freed under the lock here: few expire at a time. A removal may shrink
 * the dict in mid-walk; `next` stays a live entry, and what the walk then misses the next sweep finds.
 */
static void expire_shard(struct kv_shard *shard, int64_t now)
{
	struct kv_entry *entry;
	struct kv_entry *next;

	pthread_mutex_lock(&shard->lock);
	for (size_t b = 0; shard->keys.buckets && b <= shard->keys.mask; b++) {
		for (entry = shard->keys.buckets[b]; entry; entry = next) {
			next = entry->next;
			if (!entry->expires || entry->expires > now)
				continue;
			set_expiry(shard->home, entry, 0);
			kv_value_free(kv_dict_remove(&shard->keys, entry));
		}
	}
	pthread_mutex_unlock(&shard->lock);
}

void kv_table_expire_some(struct kv_table *table)
{
	unsigned first = atomic_fetch_add_explicit(&table->sweep, SHARDS_PER_SWEEP, memory_order_relaxed);

	for (unsigned i = 0; i < SHARDS_PER_SWEEP; i++)
		expire_shard(&table->shards[(first + i) % SHARDS], kv_clock_ms());
}

bool kv_table_expiring(struct kv_table *table)
{
	return atomic_load_explicit(&table->timed, memory_order_relaxed) > 0;
}
