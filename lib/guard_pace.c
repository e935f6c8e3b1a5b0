/* SPDX-License-Identifier: MIT */
/*
 * Guard pace: see guard_pace.h.
 */
#include "guard_pace.h"

#include "options.h"
#include "os.h"
#include "sample.h"

#define relaxed memory_order_relaxed

/* Slow paths between two looks at the clock. */
#define LOOKS_APART 16

_Atomic bool guard_pace_is_windowed TOUCHED_EARLY;

static uint64_t window_rate;       /* units of credit per byte while the window is open */
static _Atomic uint64_t turn_at;   /* milliseconds: when it opens or closes */
static _Atomic bool is_open;
static _Atomic bool turning;       /* of the thread that opens or closes it */
static _Atomic uint32_t room;      /* blocks that may be chosen before it closes */
static _Atomic unsigned nlooks;
static unsigned period_ms = GUARD_PERIOD_MS; /* of who turns */

static void set_turn(uint64_t ms)
{
	atomic_store_explicit(&turn_at, os_milliseconds() + ms, relaxed);
}

/* From half of it to one and a half times. */
static uint64_t about(uint64_t ms)
{
	return ms / 2 + sample_random() % (ms + 1);
}

void guard_pace_begin(size_t mean)
{
	const uint64_t one = (uint64_t)1 << SAMPLE_UNIT_BITS;
	bool windowed = mean >= GUARD_WINDOWS_FROM && options.purge != OPTION_PURGE_OFF;
	size_t within = mean / GUARD_WINDOW_PART;
	sample_set_guards(windowed || mean == 0 ? 0 : one / mean);
	if (windowed) {
		window_rate = one / within;
		set_turn(sample_random() % GUARD_PERIOD_MS);
	}
	atomic_store_explicit(&guard_pace_is_windowed, windowed, relaxed);
}

static void open_window(void)
{
	atomic_store_explicit(&room, GUARD_WINDOW_MOST, relaxed);
	set_turn(period_ms / GUARD_WINDOW_PART);
	atomic_store_explicit(&is_open, true, relaxed);
	sample_set_guards(window_rate);
}

static void close_window(void)
{
	bool was_needed = atomic_load_explicit(&room, relaxed) < GUARD_WINDOW_MOST;
	sample_set_guards(0);
	atomic_store_explicit(&is_open, false, relaxed);
	period_ms = was_needed ? GUARD_PERIOD_MS : period_ms < GUARD_PERIOD_MOST_MS ? 2 * period_ms : period_ms;
	set_turn(about(period_ms - period_ms / GUARD_WINDOW_PART));
}

/* Unless another thread is at it. */
static void turn(bool only_close)
{
	if (atomic_exchange(&turning, true))
		return;
	if (atomic_load_explicit(&is_open, relaxed))
		close_window();
	else if (!only_close)
		open_window();
	atomic_store(&turning, false);
}

int guard_pace_turn(void)
{
	if (!atomic_load_explicit(&guard_pace_is_windowed, relaxed))
		return 0;
	if (os_milliseconds() >= atomic_load_explicit(&turn_at, relaxed))
		turn(false);
	uint64_t now = os_milliseconds(), at = atomic_load_explicit(&turn_at, relaxed);
	return at > now ? (int)(at - now) : 1;
}

void guard_pace_look(void)
{
	if (atomic_fetch_add_explicit(&nlooks, 1, relaxed) % LOOKS_APART == 0)
		guard_pace_turn();
}

/* A window that nobody has closed in time is over. */
bool guard_pace_allows(void)
{
	if (!atomic_load_explicit(&guard_pace_is_windowed, relaxed))
		return true;
	uint32_t left = atomic_load_explicit(&room, relaxed);
	bool allowed = os_milliseconds() <= atomic_load_explicit(&turn_at, relaxed) && left > 0 &&
		       atomic_compare_exchange_strong(&room, &left, left - 1);
	if (!allowed || left == 1)
		turn(true);
	return allowed;
}

void guard_pace_after_fork_child(void)
{
	atomic_store(&turning, false);
}
