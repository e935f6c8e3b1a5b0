/* SPDX-License-Identifier: MIT */
/*
 * Purge: see purge.h.
 */
#include "purge.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "arena_list.h"
#include "claim.h"
#include "guard.h"
#include "guard_pace.h"
#include "large.h"
#include "limit.h"
#include "node.h"
#include "options.h"
#include "os.h"
#include "rcu.h"
#include "sample.h"
#include "span.h"
#include "thread.h"

#define relaxed memory_order_relaxed

#define TICKS_PER_DECAY 4
#define MIN_TICK_MS 10
/* Resident free memory up to here is not worth a thread. */
#define DIRTY_LEAST_NBYTES ((size_t)2 << 20)
/* A running thread ages its cache when it is poked, every so many ticks. */
#define POKE_TICKS 8
/* How full the container is, is looked at so often, also where a tick is longer. */
#define LOOK_MS 1000
/* The purger ends after this time without work. */
#define QUIET_MS 10000
#define STACK_NBYTES ((size_t)64 << 10)
/* Empty arenas that a node keeps: address space, and pages of their heads. */
#define KEEP_ARENAS 1
#define INLINE_NBYTES ((size_t)1 << 20)

enum { NONE, STARTING, RUNNING, REFUSED };
static _Atomic int state TOUCHED_EARLY;
/* Set once (release), with what was set before it; read by whoever hints (acquire). */
static _Atomic bool allowed TOUCHED_EARLY;
static _Atomic uint32_t wake_word;
static _Atomic uint64_t inline_deadline;
/* Set before purge_allow. */
static void (*attendant)(void) TOUCHED_EARLY;
static int attend_ms;
static void (*_Atomic consulted)(bool all);

static int tick_ms(void)
{
	int ms = (int)(options.decay_ms / TICKS_PER_DECAY);
	return ms < MIN_TICK_MS ? MIN_TICK_MS : ms;
}

static void consult(bool all)
{
	void (*call)(bool all) = atomic_load_explicit(&consulted, memory_order_acquire);
	if (call != NULL)
		call(all);
}

static size_t dirty_nbytes(void)
{
	return arena_list_dirty_nbytes() + large_kept_nbytes();
}

static void retire(uint8_t age, unsigned keep, bool past_rcu)
{
	for (unsigned node = 0; node < node_count(); node++) {
		if (!arena_list_retire(node, age, keep, past_rcu))
			continue;
		claim_lock();
		arena_list_unmap();
		claim_unlock();
	}
}

static size_t purge_large(uint8_t age, size_t nbytes)
{
	claim_lock();
	size_t purged = large_purge(age, nbytes);
	claim_unlock();
	return purged;
}

static size_t purge_nodes(uint8_t age, size_t nbytes)
{
	size_t purged = 0, step;
	for (unsigned node = 0; node < node_count(); node++)
		do {
			claim_lock();
			step = purged < nbytes ? arena_list_purge(node, age, nbytes - purged) : 0;
			claim_unlock();
			purged += step;
		} while (step > 0);
	return purged;
}

static void advance_tick(void)
{
	arena_list_set_tick((uint8_t)(arena_list_tick() + 1));
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

/* A hint that came just before relied on this thread: look once more after letting go of the post. Those who hint look
 * at it by a relaxed load, and what they freed is counted by relaxed stores: by the barrier, where the kernel has it,
 * one of the two is seen. */
static bool may_end(void)
{
	int none = NONE;
	atomic_store(&state, NONE);
	os_barrier();
	return dirty_nbytes() <= DIRTY_LEAST_NBYTES || !atomic_compare_exchange_strong(&state, &none, RUNNING);
}

/* A tick long, or until a limit is near; whoever is attended may cut that into pieces. */
static enum limit_pressure wait_for_tick(void)
{
	uint64_t now = os_milliseconds(), tick_at = now + (uint64_t)tick_ms();
	enum limit_pressure pressure;
	bool woken;
	int piece = attend_ms > 0 && attend_ms < LOOK_MS ? attend_ms : LOOK_MS;
	do {
		int left = (int)(tick_at - now), turn = guard_pace_turn();
		left = turn > 0 && turn < left ? turn : left;
		os_wait(&wake_word, 0, piece < left ? piece : left);
		woken = atomic_exchange(&wake_word, 0) != 0;
		if (attendant != NULL)
			attendant();
		pressure = limit_look(false);
		now = os_milliseconds();
	} while (now < tick_at && pressure == LIMIT_CALM && (attendant != NULL || !woken));
	return pressure;
}

/* Near a limit free memory is kept for one tick, at it for none. */
static uint8_t age_under(enum limit_pressure pressure)
{
	return pressure == LIMIT_CALM ? TICKS_PER_DECAY : pressure == LIMIT_NEAR ? 1 : 0;
}

static void *purger(void *unused)
{
	(void)unused;
	atomic_store(&state, RUNNING);
	uint64_t busy_at = os_milliseconds();
	for (unsigned turn = 1;; turn++) {
		enum limit_pressure pressure = wait_for_tick();
		uint8_t age = age_under(pressure);
		if (sample_is_asked())
			sample_obey();
		advance_tick();
		consult(pressure == LIMIT_AT);
		claim_visit(pressure == LIMIT_AT ? CLAIM_ALL : turn % POKE_TICKS == 0 ? CLAIM_POKE : CLAIM_IDLE);
		size_t purged = purge_nodes(age, SIZE_MAX) + purge_large(age, SIZE_MAX);
		retire(age, pressure == LIMIT_CALM ? KEEP_ARENAS : 0, true);
		uint64_t now = os_milliseconds();
		if (purged > 0 || dirty_nbytes() > DIRTY_LEAST_NBYTES)
			busy_at = now;
		if (attendant == NULL && !guard_pace_is_windowed && now - busy_at > QUIET_MS && may_end())
			return NULL;
	}
}

static bool make_thread(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
	if (pthread_attr_init(&attributes) != 0)
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_NBYTES > 2 * least ? STACK_NBYTES : 2 * least);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int made = pthread_create(&thread, &attributes, purger, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return made == 0;
}

static void start(void)
{
	int expected = NONE;
	if (!atomic_compare_exchange_strong(&state, &expected, STARTING))
		return;
	int saved_errno = errno;
	if (!make_thread()) /* else the state is that thread's: it may have ended already, and the next one begun */
		atomic_store(&state, REFUSED);
	errno = saved_errno;
}

/* --- inline ----------------------------------------------------------------------------------------------------- */

static void purge_inline(void)
{
	uint64_t now = os_milliseconds(), deadline = atomic_load_explicit(&inline_deadline, relaxed);
	if (now < deadline)
		return;
	uint64_t next = now + (uint64_t)tick_ms();
	if (!atomic_compare_exchange_strong(&inline_deadline, &deadline, next))
		return;
	advance_tick();
	uint8_t age = age_under(limit_look(false));
	consult(false);
	purge_nodes(age, INLINE_NBYTES);
	purge_large(age, SIZE_MAX);
}

/* --- door ------------------------------------------------------------------------------------------------------- */

void purge_allow(void)
{
	atomic_store_explicit(&allowed, true, memory_order_release);
}

void purge_hint(void)
{
	int now = atomic_load_explicit(&state, relaxed);
	if (likely(now == RUNNING || now == STARTING) || !atomic_load_explicit(&allowed, memory_order_acquire) ||
	    options.purge == OPTION_PURGE_OFF || slot.state != SLOT_READY)
		return;
	guard_pace_pass();
	if (attendant == NULL && thread_count() < 2 && dirty_nbytes() <= DIRTY_LEAST_NBYTES)
		return;
	if (options.purge == OPTION_PURGE_INLINE || now == REFUSED)
		purge_inline();
	else
		start();
}

void purge_attend(void (*call)(void), int every_ms)
{
	attendant = call;
	attend_ms = every_ms;
}

void purge_consult(void (*call)(bool all))
{
	atomic_store_explicit(&consulted, call, memory_order_release);
}

void purge_wake(void)
{
	atomic_store(&wake_word, 1);
	os_wake(&wake_word, 1);
}

bool purge_all(size_t keep, bool unmap)
{
	consult(true);
	span_release_held();
	large_release_held();
	guard_purge();
	claim_visit(CLAIM_ALL);
	size_t dirty = dirty_nbytes(), purged = 0;
	if (dirty > keep) {
		purged = purge_large(0, dirty - keep);
		if (dirty - purged > keep)
			purged += purge_nodes(0, dirty - keep - purged);
	}
	/* An application that uses liburcu-bp may call us from a read section of its own. liburcu may be opened between
	 * the two looks, hence this order. */
	bool past_rcu = rcu_calls() != NULL;
	if (unmap && !thread_may_be_reading())
		retire(0, 0, past_rcu);
	return purged > 0;
}

void purge_after_fork_child(void)
{
	atomic_store_explicit(&state, NONE, relaxed);
	limit_after_fork_child();
}
