/* SPDX-License-Identifier: MIT */
/*
 * Sample: see sample.h.
 */
#include "sample.h"

#include <errno.h>
#include <string.h>

#include "lock.h"
#include "meta.h"
#include "os.h"
#include "probe.h"
#include "unwind.h"

#define relaxed memory_order_relaxed
#define BUCKETS (2 * SAMPLE_STACKS)
#define CHUNK_RECORDS 256
#define OWNED_BUCKETS SAMPLE_RECORDS
#define MEAN_UNITS ((uint64_t)1 << SAMPLE_UNIT_BITS)

/* Beyond so many means a block is chosen for certain. */
#define CERTAIN_MEANS 64

struct record {
	uint64_t nbytes; /* what the block counts for */
	uint64_t usable;
	uint64_t blocks;
	uint32_t stack;
	uint32_t session;
	uint32_t next;     /* spare, or of an owner's: in the same bucket */
	const void *block; /* of an owner's */
	const void *owner; /* NULL: malloc's, or spare */
};

struct sample_control sample_control;
_Alignas(FALSE_SHARING_RANGE) size_t sample_tabled_limit = TABLE_LIMIT;

static struct lock sample_lock; /* of what follows, for writing */
static struct sample_stack *_Atomic stacks[SAMPLE_STACKS + 1];
static _Atomic uint32_t buckets[BUCKETS];
static struct record *chunks[SAMPLE_RECORDS / CHUNK_RECORDS];
static _Atomic uint32_t nrecords;
static uint32_t spare;
static _Atomic uint32_t owned[OWNED_BUCKETS]; /* records of owners' blocks by address; read without the lock, as a hint */
_Atomic uint32_t sample_nowned;
static void (*_Atomic on_start)(void);
static _Atomic uint64_t random_state; /* 0: not seeded yet */
INSPECTED(sample_stack_table, stacks);

/* --- chance ------------------------------------------------------------------------------------------------------- */

void sample_seed(uint64_t seed)
{
	atomic_store(&random_state, seed);
}

/* Sixty-four bits that depend on how often this was called (Steele, Lea and Flood, 2014: splitmix). */
uint64_t sample_random(void)
{
	uint64_t x = atomic_fetch_add_explicit(&random_state, UINT64_C(0x9e3779b97f4a7c15), relaxed);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* -ln of (bits + 1) / 2^53, without libm: of the power of two, and of what is left, 1 <= m < 2, by its series. */
static double minus_log(uint64_t bits)
{
	const double ln2 = 0.693147180559945309417;
	uint64_t n = bits + 1;
	int log2 = 63 - __builtin_clzl(n);
	double m = (double)n / (double)((uint64_t)1 << log2), s = (m - 1) / (m + 1), power = s, sum = 0;
	for (int i = 1; i < 40; i += 2, power *= s * s)
		sum += power / i;
	return (53 - log2) * ln2 - 2 * sum;
}

/* From 0 to below 1. */
static double chance(void)
{
	return (double)(sample_random() >> 11) / (double)((uint64_t)1 << 53);
}

int64_t sample_draw(void)
{
	return (int64_t)(minus_log(sample_random() >> 11) * (double)MEAN_UNITS);
}

/* 1 - exp(-x): by its series for small x, and 1 - exp(-2x) = p (2 - p). */
double sample_probability(uint64_t units)
{
	double x = (double)units / (double)MEAN_UNITS, sum = 0;
	int doublings = 0;
	if (x >= CERTAIN_MEANS)
		return 1;
	for (; x > 0.125; doublings++)
		x /= 2;
	double term = -1;
	for (int i = 1; i < 14; i++) {
		term *= -x / i;
		sum += term;
	}
	for (; doublings > 0; doublings--)
		sum *= 2 - sum;
	return sum;
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

static uint64_t units_of(uint64_t rate, size_t nbytes)
{
	const uint64_t most = CERTAIN_MEANS * MEAN_UNITS;
	return nbytes >= most / rate ? most : nbytes * rate;
}

bool sample_count_big(uint64_t rate, size_t nbytes)
{
	slot.credit -= (int64_t)units_of(rate, nbytes);
	return slot.credit < 0;
}

bool sample_is_due(uint64_t rate, size_t nbytes)
{
	if (unlikely(!slot.counts)) { /* the thread's first: from where is it to the next point? */
		slot.counts = 1;
		slot.credit = sample_draw() - (int64_t)units_of(rate, nbytes);
		if (slot.credit >= 0)
			return false;
	}
	slot.credit = sample_draw();
	return true;
}

/* Given that some point is in the block, the profile has one with probability p / any, and the guards, whose points
 * come without regard to the profile's, as ever, unless they must, since it was not the profile's. */
unsigned sample_whose(size_t nbytes, uint64_t *rate)
{
	uint64_t profile = *rate = sample_profile_rate(), guards = atomic_load_explicit(&sample_control.guards, relaxed);
	if (profile == 0 || guards == 0)
		return profile != 0 ? SAMPLE_FOR_PROFILE : guards != 0 ? SAMPLE_FOR_GUARD : 0;
	double by_profile = sample_probability(units_of(profile, nbytes));
	double by_guards = sample_probability(units_of(guards, nbytes));
	double any = by_profile + by_guards - by_profile * by_guards;
	if (chance() * any >= by_profile)
		return SAMPLE_FOR_GUARD;
	return SAMPLE_FOR_PROFILE | (chance() < by_guards ? SAMPLE_FOR_GUARD : 0);
}

/* --- stacks ------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const uintptr_t *frames, unsigned nframes, const struct sample_owner *owner)
{
	uint64_t hash = nframes;
	for (const char *c = owner == NULL ? "" : owner->label; *c != 0; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
	for (unsigned i = 0; i < nframes; i++) {
		hash = (hash ^ frames[i]) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
	}
	return hash;
}

const struct sample_stack *sample_stack_at(uint32_t number)
{
	return atomic_load_explicit(&stacks[number], memory_order_acquire);
}

uint32_t sample_stack_count(void)
{
	return atomic_load_explicit(&sample_control.nstacks, memory_order_acquire);
}

static bool is_of(const struct sample_stack *stack, const struct sample_owner *owner)
{
	if (owner == NULL)
		return stack->kind == SAMPLE_OF_MALLOC;
	return stack->kind == owner->kind && strcmp(stack->label, owner->label) == 0;
}

static uint32_t look_up(uint64_t hash, const uintptr_t *frames, unsigned nframes, const struct sample_owner *owner)
{
	uint32_t number = atomic_load_explicit(&buckets[hash % BUCKETS], memory_order_acquire);
	while (number != 0) {
		const struct sample_stack *stack = sample_stack_at(number);
		if (stack->hash == hash && stack->nframes == nframes &&
		    memcmp(stack->frames, frames, nframes * sizeof(*frames)) == 0 && is_of(stack, owner))
			return number;
		number = stack->next;
	}
	return 0;
}

/* Under the lock. Who finds its number in the bucket finds it whole. */
static uint32_t add_stack(struct sample_stack *stack)
{
	uint32_t number = sample_stack_count() + 1;
	_Atomic uint32_t *bucket = &buckets[stack->hash % BUCKETS];
	stack->next = atomic_load_explicit(bucket, relaxed);
	atomic_store_explicit(&stacks[number], stack, memory_order_release);
	atomic_store_explicit(bucket, number, memory_order_release);
	atomic_store_explicit(&sample_control.nstacks, number, memory_order_release);
	return number;
}

/* Where another thread adds the same stack meanwhile the record that was made for it here is lost; that is rare. */
uint32_t sample_find_stack(const uintptr_t *frames, unsigned nframes, const struct sample_owner *owner)
{
	uint64_t hash = hash_of(frames, nframes, owner);
	uint32_t number = look_up(hash, frames, nframes, owner);
	if (likely(number != 0))
		return number;
	if (nframes > 0 && sample_stack_count() >= SAMPLE_STACKS - 1) /* one place is kept */
		return sample_find_stack(frames, 0, NULL);
	struct sample_stack *fresh = meta_alloc(sizeof(*fresh) + nframes * sizeof(*frames), sizeof(uint64_t), 0);
	if (fresh == NULL)
		return 0;
	fresh->hash = hash;
	fresh->nframes = nframes;
	if (owner != NULL) {
		fresh->kind = owner->kind;
		strncpy(fresh->label, owner->label, sizeof(fresh->label) - 1);
	}
	memcpy(fresh->frames, frames, nframes * sizeof(*frames));
	lock_take(&sample_lock, LOCK_META);
	number = look_up(hash, frames, nframes, owner);
	if (number == 0 && sample_stack_count() < SAMPLE_STACKS - (nframes > 0))
		number = add_stack(fresh);
	lock_drop(&sample_lock, LOCK_META);
	return number == 0 && nframes > 0 ? sample_find_stack(frames, 0, NULL) : number;
}

struct sample_sums sample_sums_of(const struct sample_stack *stack)
{
	lock_take(&sample_lock, LOCK_META);
	struct sample_sums sums = stack->sums;
	lock_drop(&sample_lock, LOCK_META);
	return sums;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* Numbers begin with 1. */
static struct record *record_at(uint32_t number)
{
	return &chunks[(number - 1) / CHUNK_RECORDS][(number - 1) % CHUNK_RECORDS];
}

/* Under the lock; 0: make_records is called for. */
static uint32_t take_spare(void)
{
	uint32_t number = spare;
	if (number != 0)
		spare = record_at(number)->next;
	return number;
}

static void put_spare(uint32_t number)
{
	record_at(number)->owner = NULL;
	record_at(number)->next = spare;
	spare = number;
}

static bool make_records(void)
{
	struct record *chunk = meta_alloc(CHUNK_RECORDS * sizeof(*chunk), CACHE_LINE, 0);
	if (chunk == NULL)
		return false;
	lock_take(&sample_lock, LOCK_META);
	bool room = nrecords < SAMPLE_RECORDS;
	if (room) {
		chunks[nrecords / CHUNK_RECORDS] = chunk;
		for (uint32_t i = CHUNK_RECORDS; i > 0; i--)
			put_spare(nrecords + i);
		nrecords += CHUNK_RECORDS;
	}
	lock_drop(&sample_lock, LOCK_META);
	return room;
}

/* Under the lock. */
static void add(_Atomic uint64_t *sum, uint64_t added, uint64_t removed)
{
	atomic_store_explicit(sum, atomic_load_explicit(sum, relaxed) + added - removed, relaxed);
}

static void account(uint32_t number, uint32_t stack, uint64_t units, size_t nbytes, size_t usable)
{
	double weight = 1 / sample_probability(units);
	struct record *record = record_at(number);
	record->stack = stack;
	record->session = atomic_load_explicit(&sample_control.session, relaxed);
	record->nbytes = (uint64_t)(weight * (double)nbytes + 0.5);
	record->usable = (uint64_t)(weight * (double)usable + 0.5);
	record->blocks = (uint64_t)(weight * (1 << SAMPLE_BLOCK_BITS) + 0.5);
	add(&sample_control.requested, record->nbytes, 0);
	add(&sample_control.usable, record->usable, 0);
	struct sample_sums *sums = &stacks[stack]->sums;
	sums->taken++;
	sums->blocks += record->blocks;
	sums->nbytes += record->nbytes;
	sums->live_blocks += record->blocks;
	sums->live_nbytes += record->nbytes;
}

static _Atomic uint32_t *owned_bucket(const void *ptr)
{
	return &owned[((uintptr_t)ptr >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (OWNED_BUCKETS - 1)];
}

/* Under the lock. */
static void link_owned(uint32_t number, const void *ptr, const void *owner)
{
	struct record *record = record_at(number);
	_Atomic uint32_t *bucket = owned_bucket(ptr);
	record->block = ptr;
	record->owner = owner;
	record->next = atomic_load_explicit(bucket, relaxed);
	atomic_store_explicit(bucket, number, relaxed);
	atomic_store_explicit(&sample_nowned, sample_nowned + 1, relaxed);
}

/* The block at ptr is the owner's, if there is one. */
static force_inline uint32_t take(uint64_t rate, const void *ptr, size_t nbytes, size_t usable,
                                  const struct sample_owner *owner)
{
	uintptr_t frames[SAMPLE_FRAMES];
	uint32_t stack = sample_find_stack(frames, unwind_stack(frames, SAMPLE_FRAMES), owner), number = 0;
	if (stack == 0)
		return 0;
	do {
		lock_take(&sample_lock, LOCK_META);
		number = take_spare();
		if (number != 0)
			account(number, stack, units_of(rate, nbytes), nbytes, usable);
		if (number != 0 && owner != NULL)
			link_owned(number, ptr, owner->address);
		lock_drop(&sample_lock, LOCK_META);
	} while (number == 0 && nrecords < SAMPLE_RECORDS && make_records());
	if (number != 0)
		PROBE3(sample, nbytes, stack, record_at(number)->nbytes);
	return number;
}

uint32_t sample_take(uint64_t rate, size_t nbytes, size_t usable)
{
	return take(rate, NULL, nbytes, usable, NULL);
}

void sample_take_owned(uint64_t rate, const void *ptr, size_t nbytes, size_t usable, const struct sample_owner *owner)
{
	if (take(rate, ptr, nbytes, usable, owner) == 0)
		sample_drop();
}

/* Under the lock. */
static void forget(uint32_t number)
{
	const struct record *record = record_at(number);
	if (record->session == atomic_load_explicit(&sample_control.session, relaxed)) {
		struct sample_sums *sums = &stacks[record->stack]->sums;
		sums->live_blocks -= record->blocks;
		sums->live_nbytes -= record->nbytes;
		add(&sample_control.requested, 0, record->nbytes);
		add(&sample_control.usable, 0, record->usable);
	}
	put_spare(number);
}

void sample_forget(uint32_t number)
{
	lock_take(&sample_lock, LOCK_META);
	forget(number);
	lock_drop(&sample_lock, LOCK_META);
}

/* Under the lock: all records of the block. There may be an old one, of an object that never came back to its slab. */
static void forget_block(const void *ptr)
{
	_Atomic uint32_t *bucket = owned_bucket(ptr);
	uint32_t before = 0, next;
	for (uint32_t number = atomic_load_explicit(bucket, relaxed); number != 0; number = next) {
		next = record_at(number)->next;
		if (record_at(number)->block != ptr) {
			before = number;
			continue;
		}
		if (before == 0)
			atomic_store_explicit(bucket, next, relaxed);
		else
			record_at(before)->next = next;
		atomic_store_explicit(&sample_nowned, sample_nowned - 1, relaxed);
		forget(number);
	}
}

void sample_forget_owned(const void *ptr)
{
	if (atomic_load_explicit(owned_bucket(ptr), relaxed) == 0)
		return;
	lock_take(&sample_lock, LOCK_META);
	forget_block(ptr);
	lock_drop(&sample_lock, LOCK_META);
}

void sample_forget_owner(const void *owner)
{
	lock_take(&sample_lock, LOCK_META);
	for (uint32_t number = 1; number <= nrecords; number++)
		if (record_at(number)->owner == owner)
			forget_block(record_at(number)->block);
	lock_drop(&sample_lock, LOCK_META);
}

void sample_drop(void)
{
	atomic_fetch_add_explicit(&sample_control.dropped, 1, relaxed);
}

/* --- the switch --------------------------------------------------------------------------------------------------- */

/* Under the lock, when a rate has changed. */
static void set_total(void)
{
	uint64_t total = sample_profile_rate() + atomic_load_explicit(&sample_control.guards, relaxed);
	if (atomic_load_explicit(&random_state, relaxed) == 0)
		sample_seed(os_milliseconds() << 20 ^ os_thread_id());
	atomic_store_explicit(&sample_control.total, total, memory_order_release);
	__atomic_store_n(&sample_tabled_limit, total == 0 ? TABLE_LIMIT : 0, __ATOMIC_RELAXED);
}

void sample_set_guards(uint64_t rate)
{
	lock_take(&sample_lock, LOCK_META);
	atomic_store_explicit(&sample_control.guards, rate, relaxed);
	set_total();
	lock_drop(&sample_lock, LOCK_META);
}

static void begin_session(size_t mean)
{
	uint32_t n = sample_stack_count();
	for (uint32_t number = 1; number <= n; number++)
		stacks[number]->sums = (struct sample_sums){0};
	atomic_store_explicit(&sample_control.dropped, 0, relaxed);
	atomic_store_explicit(&sample_control.requested, 0, relaxed);
	atomic_store_explicit(&sample_control.usable, 0, relaxed);
	atomic_store_explicit(&sample_control.mean, mean, relaxed);
	atomic_store_explicit(&sample_control.session, sample_control.session + 1, relaxed);
	atomic_store_explicit(&sample_control.rate, MEAN_UNITS / mean, relaxed);
}

bool sample_start(size_t mean)
{
	if (mean < SAMPLE_MEAN_LEAST || mean > SAMPLE_MEAN_MOST) {
		errno = EINVAL;
		return false;
	}
	if (!unwind_is_known()) {
		errno = ENOTSUP;
		return false;
	}
	lock_take(&sample_lock, LOCK_META);
	bool was_off = sample_profile_rate() == 0;
	if (was_off) {
		begin_session(mean);
		set_total();
	}
	lock_drop(&sample_lock, LOCK_META);
	void (*started)(void) = atomic_load(&on_start);
	if (!was_off)
		errno = EALREADY;
	else if (started != NULL)
		started();
	return was_off;
}

void sample_attend(void (*started)(void))
{
	atomic_store(&on_start, started);
}

bool sample_stop(void)
{
	lock_take(&sample_lock, LOCK_META);
	bool was_on = sample_profile_rate() != 0;
	atomic_store_explicit(&sample_control.rate, 0, relaxed);
	set_total();
	lock_drop(&sample_lock, LOCK_META);
	if (!was_on)
		errno = EALREADY;
	return was_on;
}

void sample_obey(void)
{
	int saved_errno = errno;
	uint64_t wanted = atomic_exchange(&sample_control.wanted, SAMPLE_ASKED_NOTHING);
	if (wanted == SAMPLE_ASKED_STOP)
		sample_stop();
	else if (wanted != SAMPLE_ASKED_NOTHING)
		sample_start(wanted);
	errno = saved_errno;
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

void sample_lock_for_fork(void)
{
	lock_take(&sample_lock, LOCK_META);
}

void sample_unlock_after_fork(bool in_child)
{
	lock_after_fork(&sample_lock, LOCK_META, in_child);
}
