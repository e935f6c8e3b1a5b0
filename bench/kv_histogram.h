/* SPDX-License-Identifier: MIT */
/*
 * A histogram of times with a bounded relative error: KV_SUB equal buckets per power of two of nanoseconds, so a
 * quantile is at most 1 / KV_SUB (1.6 %) too high over the whole range, in a table of fixed size. One thread writes.
 */
#ifndef KV_HISTOGRAM_H
#define KV_HISTOGRAM_H

#include <stdint.h>

#define KV_SUB_BITS 6
#define KV_SUB (1u << KV_SUB_BITS)
#define KV_TOP_BIT 39 /* times of 2^40 ns (18 minutes) and more count as the longest */

struct kv_histogram {
	uint64_t counts[(KV_TOP_BIT - KV_SUB_BITS + 2) * KV_SUB];
	uint64_t total;   /* sum of counts */
	uint64_t longest; /* ns, exact */
};

/** Count one time. */
void kv_histogram_add(struct kv_histogram *histogram, uint64_t ns);

/** Add the counts of another histogram. */
void kv_histogram_merge(struct kv_histogram *into, const struct kv_histogram *from);

/** The time in ns below or at which this fraction (0 to 1) of the counted ones lies; 0 where none was counted. */
uint64_t kv_histogram_quantile(const struct kv_histogram *histogram, double fraction);

#endif
