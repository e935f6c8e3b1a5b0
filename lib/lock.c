/* SPDX-License-Identifier: MIT */
/*
 * Lock: see lock.h. A short spin covers the usual hold time of a batch; then the thread sleeps.
 */
#include "lock.h"

#include "os.h"
#include "report.h"

#define SPINS 100

static thread_local_ie volatile uint32_t held[LOCK_RANKS];

void lock_check_take(enum lock_rank rank, bool trying)
{
	for (int inner = (int)rank + 1; inner < LOCK_RANKS; inner++)
		if (held[inner] != 0 && !trying)
			report_fault("lock taken out of order", NULL, NULL);
	held[rank]++;
}

void lock_check_drop(enum lock_rank rank)
{
	held[rank]--;
}

void lock_forget_held(void)
{
	for (int rank = 0; rank < LOCK_RANKS; rank++)
		held[rank] = 0;
}

void lock_take_contended(struct lock *lock)
{
	for (int spin = 0; spin < SPINS; spin++) {
		uint32_t expected = 0;
		if (atomic_load_explicit(&lock->word, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(&lock->word, &expected, 1, memory_order_acquire,
		                                          memory_order_relaxed))
			return;
	}
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
		os_wait(&lock->word, 2, -1);
}

void lock_wake(struct lock *lock)
{
	os_wake(&lock->word, 1);
}
