/* SPDX-License-Identifier: MIT */
/*
 * The lock (lib/lock.h, lib/lock.c): three threads take it twice each, one of them by trying; what it guards is not
 * raced for, and no sleeper is forgotten.
 */
#define THREADS 3
#include "shim.h"

#include "lock.h"
#include "lock.c"

struct lock_model : rl::test_suite<lock_model, THREADS> {
	system_parts parts;
	struct lock lock;
	plain<int> guarded;
	int entered;

	void before()
	{
		guarded = 0;
		entered = 0;
	}

	void enter()
	{
		guarded = guarded + 1;
		entered++;
		lock_drop(&lock, LOCK_HEAP);
	}

	void thread(unsigned index)
	{
		thread_begins(index);
		for (int turn = 0; turn < 2; turn++)
			if (index < 2 || lock_try(&lock, LOCK_HEAP)) {
				if (index < 2)
					lock_take(&lock, LOCK_HEAP);
				enter();
			}
	}

	void after()
	{
		RL_ASSERT(guarded == entered && entered >= 4);
	}
};

int main(int, char **argv)
{
	return run_model<lock_model>(strtoul(argv[1], NULL, 10));
}
