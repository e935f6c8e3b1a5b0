/* SPDX-License-Identifier: MIT */
/*
 * RCU: see rcu.h. Opening liburcu.
 */
#include "rcu.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/auxv.h>

#define SONAME "liburcu-bp.so.8"

/* A static program may lack them. */
extern __typeof__(dlopen) dlopen __attribute__((weak));
extern __typeof__(dlsym) dlsym __attribute__((weak));
extern __typeof__(dlerror) dlerror __attribute__((weak));

/* In the archives only. */
extern const struct rcu_calls rcu_linked __attribute__((weak, visibility("hidden")));

static struct rcu_calls opened;
static const struct rcu_calls *_Atomic published; /* by whoever set tried, once (release); read anywhere (acquire) */
static _Atomic bool tried;
char rcu_readers;

const struct rcu_calls *rcu_calls(void)
{
	return atomic_load_explicit(&published, memory_order_acquire);
}

/* A failure leaves no message behind, which the program's next dlerror would take for its own. */
static const struct rcu_calls *open_library(void)
{
	static const struct {
		const char *name;
		size_t offset;
	} calls[] = {
		{"urcu_bp_register_thread", offsetof(struct rcu_calls, register_thread)},
		{"urcu_bp_read_lock", offsetof(struct rcu_calls, read_lock)},
		{"urcu_bp_read_unlock", offsetof(struct rcu_calls, read_unlock)},
		{"urcu_bp_read_ongoing", offsetof(struct rcu_calls, read_ongoing)},
		{"urcu_bp_synchronize_rcu", offsetof(struct rcu_calls, synchronize_rcu)},
		{"urcu_bp_before_fork", offsetof(struct rcu_calls, before_fork)},
		{"urcu_bp_after_fork_parent", offsetof(struct rcu_calls, after_fork_parent)},
		{"urcu_bp_after_fork_child", offsetof(struct rcu_calls, after_fork_child)},
	};
	/* Where the loader lies; a static program has none, though it may have linked dlopen. */
	if (!getauxval(AT_BASE) || !dlopen || !dlsym || !dlerror)
		return NULL;
	void *library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
	bool whole = library != NULL;
	for (size_t i = 0; whole && i < sizeof(calls) / sizeof(calls[0]); i++) {
		void *call = dlsym(library, calls[i].name);
		*(void **)((char *)&opened + calls[i].offset) = call;
		whole = call != NULL;
	}
	if (!whole)
		dlerror();
	return whole ? &opened : NULL;
}

bool rcu_open(void)
{
	if (likely(rcu_calls() != NULL))
		return true;
	/* Another thread that opens it just now is not waited for: it may be waiting for us, over the loader's lock. */
	if (atomic_exchange(&tried, true))
		return false;
	int saved_errno = errno;
	const struct rcu_calls *calls = &rcu_linked != NULL ? &rcu_linked : open_library();
	errno = saved_errno;
	atomic_store_explicit(&published, calls, memory_order_release);
	return calls != NULL;
}

void rcu_after_fork_child(void)
{
	atomic_store(&tried, true);
	atomic_store(&published, NULL);
}
