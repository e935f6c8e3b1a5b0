/* SPDX-License-Identifier: MIT */
/*
 * Compiler: what C does not say by itself. Branch hints, cold code, cache lines, TLS model, relaxed access.
 */
#ifndef QUARRY_COMPILER_H
#define QUARRY_COMPILER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define cold_path __attribute__((cold, noinline))
#define force_inline inline __attribute__((__always_inline__))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Within the library the public calls bind to its own, without a detour by the PLT; libc's names stay preemptible. */
#define QUARRY_API __attribute__((visibility("protected")))
#define QUARRY_SURFACE __attribute__((visibility("default")))
/* Data of the library's own, as declared: an instruction may name it as an operand. */
#define QUARRY_LOCAL __attribute__((visibility("hidden")))

/* A variable of another file that malloc reads: by its distance, not by way of a table of addresses. */
#define INTERNAL __attribute__((visibility("hidden")))

/*
 * A variable that is zero at first, that start-up or the first malloc touches and that is then read: beside the
 * initialised ones, in a page that the loader has touched already. The others may cost a process a page each. What is
 * written again by more than a change of state must not come here: malloc and free read their neighbours.
 */
#define TOUCHED_EARLY __attribute__((section(".data")))

#define CACHE_LINE 64
/* Neighbouring lines are fetched in pairs, so what different threads write lies two lines apart. */
#define FALSE_SHARING_RANGE 128

/* Initial-exec: one instruction, and no call into the loader, which may call malloc. */
#define thread_local_ie _Thread_local __attribute__((tls_model("initial-exec")))

/* Orders the compiler only; pairs with membarrier in claim.c, which orders the processor. */
#define compiler_barrier() atomic_signal_fence(memory_order_seq_cst)

/*
 * Two instructions fewer in a pair of malloc and free than compilers find: the address of a counter is left to the
 * operand, and what is returned is loaded where it is returned.
 */
#if defined(__x86_64__)
/* Count an element of an int32_t array, which lies so many bytes behind base, down by 1. Is it below 0 now? */
#define count_down(base, offset, index)                                                                                \
	({                                                                                                             \
		bool below_;                                                                                           \
		__asm__ volatile("subl $1, %c3(%1,%2,4)"                                                               \
		                 : "=@ccs"(below_)                                                                     \
		                 : "r"(base), "r"((uint64_t)(index)), "i"(offset)                                      \
		                 : "memory");                                                                          \
		below_;                                                                                                \
	})
#define keep_for_return(value) __asm__("" : "+a"(value))
#else
#define count_down(base, offset, index) (--((int32_t *)((char *)(base) + (offset)))[index] < 0)
#define keep_for_return(value) ((void)0)
#endif

#if defined(__SANITIZE_THREAD__)
#define QUARRY_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUARRY_TSAN 1
#endif
#endif
#ifndef QUARRY_TSAN
#define QUARRY_TSAN 0
#endif

/* A second name for a static object, by which layout.c shows it to other processes. */
#define INSPECTED(name, object) extern __typeof__(object) name __attribute__((alias(#object)))

#ifndef QUARRY_DEBUG
#define QUARRY_DEBUG 0
#endif
#ifndef QUARRY_HARDENED
#define QUARRY_HARDENED 0
#endif
#ifndef QUARRY_NO_CHECKS
#define QUARRY_NO_CHECKS 0
#endif
/* Is misuse looked for where that costs instructions? --disable-checks says no, but not for the hardened library. */
#define QUARRY_CHECKS (!QUARRY_NO_CHECKS || QUARRY_HARDENED)
/* Does a free block of the default library say by its first word that it is free? */
#define QUARRY_MARKS (QUARRY_CHECKS && !QUARRY_HARDENED)
/* Is what the program asks for counted exactly (counting.h)? Hardened has no need: usable is what was asked. */
#if !defined(QUARRY_COUNTING) || QUARRY_HARDENED
#undef QUARRY_COUNTING
#define QUARRY_COUNTING 0
#endif
/* Is there a bit per block that says whether the program has freed it? Then every call takes the slow entries. */
#define QUARRY_BLOCK_BITS (QUARRY_DEBUG || QUARRY_HARDENED || QUARRY_COUNTING)

#endif
