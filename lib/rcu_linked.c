/* SPDX-License-Identifier: MIT */
/*
 * RCU, linked: liburcu's calls for the archives, whose programs link it. Not in the shared libraries: see rcu.h.
 */
#include <urcu-bp.h>

#include "rcu.h"

__attribute__((visibility("hidden"))) const struct rcu_calls rcu_linked = {
	.register_thread = urcu_bp_register_thread,
	.read_lock = urcu_bp_read_lock,
	.read_unlock = urcu_bp_read_unlock,
	.read_ongoing = urcu_bp_read_ongoing,
	.synchronize_rcu = urcu_bp_synchronize_rcu,
	.before_fork = urcu_bp_before_fork,
	.after_fork_parent = urcu_bp_after_fork_parent,
	.after_fork_child = urcu_bp_after_fork_child,
};
