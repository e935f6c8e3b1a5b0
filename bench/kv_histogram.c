/* SPDX-License-Identifier: MIT */
/*
 * The histogram of kv_histogram.h. Times below KV_SUB have a bucket each; above, a bucket's index is the position of
 * the highest bit and the KV_SUB_BITS bits behind it.
 */
#include "kv_histogram.h"

#include <stddef.h>

#define BUCKETS (sizeof(((struct kv_histogram *)0)->counts) / sizeof(uint64_t))

static size_t bucket_of(uint64_t ns)
{
	unsigned shift;
	size_t bucket;

	if (ns < KV_SUB)
		return (size_t)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - KV_SUB_BITS;
	bucket = (size_t)(shift + 1) * KV_SUB + (size_t)((ns >> shift) - KV_SUB);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The longest time that falls into a bucket. */
static uint64_t bucket_end(size_t bucket)
{
	size_t shift;

	if (bucket < KV_SUB)
		return bucket;
	shift = bucket / KV_SUB - 1;
	return ((KV_SUB + bucket % KV_SUB + 1) << shift) - 1;
}

void kv_histogram_add(struct kv_histogram *histogram, uint64_t ns)
{
	histogram->counts[bucket_of(ns)]++;
	histogram->total++;
	if (ns > histogram->longest)
		histogram->longest = ns;
}

void kv_histogram_merge(struct kv_histogram *into, const struct kv_histogram *from)
{
	for (size_t i = 0; i < BUCKETS; i++)
		into->counts[i] += from->counts[i];
	into->total += from->total;
	if (from->longest > into->longest)
		into->longest = from->longest;
}

uint64_t kv_histogram_quantile(const struct kv_histogram *histogram, double fraction)
{
	uint64_t wanted = (uint64_t)(fraction * (double)histogram->total);
	uint64_t seen = 0;

	if (histogram->total == 0)
		return 0;
	for (size_t i = 0; i < BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen > wanted || seen == histogram->total)
			return bucket_end(i) < histogram->longest ? bucket_end(i) : histogram->longest;
	}
	return histogram->longest;
}
