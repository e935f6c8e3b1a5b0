/* SPDX-License-Identifier: MIT */
/*
 * Shim: what lets Relacy run the library's own source. C11's atomics become Relacy's, with the orders that the source
 * names; tests/model/relacy/run.sh turns `_Atomic type` into shared<type> and puts copies of the files beside this one.
 *
 * plain<> is memory that must not be raced for: Relacy reports two accesses that nothing orders. racy<> stands for what
 * the source reads and writes by plain or volatile accesses on purpose: relaxed, so that old values may be seen.
 * A model says how many THREADS it has. The headers whose guards are set here are replaced by what a model says of
 * them.
 */
#ifndef QUARRY_MODEL_SHIM_H
#define QUARRY_MODEL_SHIM_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>

#include <relacy/relacy.hpp>

#define QUARRY_COMPILER_H
#define likely(x) (x)
#define unlikely(x) (x)
#define cold_path
#define force_inline inline
#define thread_local_ie thread_local
#define compiler_barrier() ((void)0)
#define keep_for_return(value) ((void)0)
#define count_down(base, offset, index) (--((int32_t *)((char *)(base) + (offset)))[index] < 0)
#define QUARRY_DEBUG 0
#define QUARRY_HARDENED 0
#define QUARRY_TSAN 0

#define memory_order_relaxed rl::mo_relaxed
#define memory_order_acquire rl::mo_acquire
#define memory_order_release rl::mo_release
#define memory_order_seq_cst rl::mo_seq_cst

/* Relacy's history has only what converts to void *. */
template <typename T> struct opaque {
	rl::atomic<void *> cell;
	opaque(T value) : cell((void *)value) {}
	T load(rl::memory_order order, rl::debug_info_param info) const { return (T)cell.load(order, info); }
	void store(T value, rl::memory_order order, rl::debug_info_param info) { cell.store((void *)value, order, info); }
};
template <typename T> struct cell_of {
	typedef rl::atomic<T> type;
};
template <typename T> struct cell_of<const T *> {
	typedef opaque<const T *> type;
};
template <typename Result, typename... Args> struct cell_of<Result (*)(Args...)> {
	typedef opaque<Result (*)(Args...)> type;
};

template <typename T> struct shared {
	typename cell_of<T>::type cell;
	shared() : cell(T()) {}
	operator T() const { return cell.load(rl::mo_seq_cst, $); }
	shared &operator=(T value)
	{
		cell.store(value, rl::mo_seq_cst, $);
		return *this;
	}
};

template <typename T> struct racy {
	rl::atomic<T> cell;
	racy() : cell(T()) {}
	operator T() const { return const_cast<rl::atomic<T> &>(cell).load(rl::mo_relaxed, $); }
	T operator->() const { return *this; }
	racy &operator=(T value)
	{
		cell.store(value, rl::mo_relaxed, $);
		return *this;
	}
	racy &operator=(const racy &other) { return *this = (T)other; }
};

template <typename T> struct plain {
	rl::var<T> cell;
	plain() {}
	operator T() const { return const_cast<rl::var<T> &>(cell)($); }
	T operator->() const { return *this; }
	plain &operator=(T value)
	{
		cell($) = value;
		return *this;
	}
	plain &operator=(const plain &other) { return *this = (T)other; }
	plain &operator|=(T bits) { return *this = (T)*this | bits; }
	plain &operator&=(T bits) { return *this = (T)*this & bits; }
	T operator++(int) { return add(1); }
	T operator--(int) { return add(-1); }
	T add(int n)
	{
		T before = *this;
		*this = before + n;
		return before;
	}
};

#define atomic_load_explicit(object, order) (object)->cell.load(order, $)
#define atomic_load(object) (object)->cell.load(rl::mo_seq_cst, $)
#define atomic_store_explicit(object, value, order) (object)->cell.store(value, order, $)
#define atomic_store(object, value) (object)->cell.store(value, rl::mo_seq_cst, $)
#define atomic_exchange_explicit(object, value, order) (object)->cell.exchange(value, order, $)
#define atomic_exchange(object, value) (object)->cell.exchange(value, rl::mo_seq_cst, $)
#define atomic_fetch_add_explicit(object, value, order) (object)->cell.fetch_add(value, order, $)
#define atomic_fetch_sub_explicit(object, value, order) (object)->cell.fetch_sub(value, order, $)
#define atomic_fetch_add(object, value) (object)->cell.fetch_add(value, rl::mo_seq_cst, $)
#define atomic_compare_exchange_weak(object, expected, value) \
	(object)->cell.compare_exchange_weak(*(expected), value, rl::mo_seq_cst, $)
#define atomic_compare_exchange_strong(object, expected, value) \
	(object)->cell.compare_exchange_strong(*(expected), value, rl::mo_seq_cst, $)
#define atomic_compare_exchange_strong_explicit(object, expected, value, success, failure) \
	(object)->cell.compare_exchange_strong(*(expected), value, success, $, failure, $)
#define atomic_compare_exchange_weak_explicit(object, expected, value, success, failure) \
	(object)->cell.compare_exchange_weak(*(expected), value, success, $, failure, $)

/* --- the system --------------------------------------------------------------------------------------------------- */

#define QUARRY_REPORT_H
struct report_place;
static inline void report_fault(const char *what, const void *, const struct report_place *)
{
	RL_ASSERT(what == NULL);
}

#define QUARRY_OS_H
/* Futex: the kernel looks at the word and lies down under a lock that a waker takes. A lost waking is a deadlock. */
static rl::mutex *futex_lock;
static rl::condition_variable *futex_sleepers;

static inline void os_wait(shared<uint32_t> *word, uint32_t value, int)
{
	futex_lock->lock($);
	if (word->cell.load(rl::mo_seq_cst, $) == value)
		futex_sleepers->wait(*futex_lock, $);
	futex_lock->unlock($);
}

static inline void os_wake(shared<uint32_t> *, int)
{
	futex_lock->lock($);
	futex_sleepers->notify_all($);
	futex_lock->unlock($);
}

/* membarrier: a full fence on every thread, wherever it is. */
static rl::thread_info_base *threads[THREADS];

static inline bool os_barrier_ready()
{
	return true;
}

static inline bool os_barrier()
{
	rl::atomic_thread_fence(rl::mo_seq_cst, $);
	for (int i = 0; i < THREADS; i++)
		if (threads[i] != NULL)
			static_cast<rl::thread_info<THREADS> *>(threads[i])->atomic_thread_fence_seq_cst(rl::ctx().seq_cst_fence_order_);
	rl::atomic_thread_fence(rl::mo_seq_cst, $);
	return true;
}

/* Each thread's first step. A membarrier that came before reached it, too. */
static inline void thread_begins(unsigned index)
{
	threads[index] = rl::ctx().threadx_;
	rl::atomic_thread_fence(rl::mo_seq_cst, $);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

/* What every model owns beside its own things; made anew for each execution. */
struct system_parts {
	rl::mutex lock;
	rl::condition_variable sleepers;
	system_parts()
	{
		futex_lock = &lock;
		futex_sleepers = &sleepers;
		for (int i = 0; i < THREADS; i++)
			threads[i] = NULL;
	}
};

/* Its last line: executions, and what was found. 0 only if nothing was. */
template <typename Model> static int run_model(unsigned long executions)
{
	rl::test_params params;
	params.iteration_count = executions;
	params.execution_depth_limit = 4000;
	params.search_type = rl::random_scheduler_type;
	std::ostream quiet(NULL);
	params.progress_stream = &quiet; /* an error goes to the standard output, with what led to it */
	bool good = rl::simulate<Model>(params);
	printf("%lu executions, %s\n", (unsigned long)params.stop_iteration,
	       good ? "no error" : rl::test_result_str(params.test_result));
	return good ? 0 : 1;
}

#endif
