/* SPDX-License-Identifier: MIT */
/*
 * Init: the library's constructor and destructor. Nothing that allocates depends on either having run: until then
 * there is one node, default options and no purger.
 */
#include "claim.h"
#include "fork.h"
#include "node.h"
#include "options.h"
#include "os.h"
#include "purge.h"
#include "stats.h"
#include "thread.h"

/* Among the first: programs' own constructors may start threads, and fork handlers registered later run before ours. */
__attribute__((constructor(101))) static void begin(void)
{
	options_read();
	stats_at_start();
	os_barrier_ready();
	thread_init();
	fork_init();
	node_init();
	purge_allow();
}

__attribute__((destructor)) static void end(void)
{
	stats_at_exit();
}
