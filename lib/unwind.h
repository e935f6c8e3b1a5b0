/* SPDX-License-Identifier: MIT */
/*
 * Unwind: the return addresses of this thread's calls, by the call frame tables (.eh_frame) that every program and
 * library carries, with or without frame pointers.
 *
 * Owns nothing. Takes no lock, allocates nothing and opens no library, so that it may run inside malloc wherever that
 * is called: the C library's own finder of tables (_dl_find_object) is wait-free. A compiler's unwinder would want a
 * library to be loaded in the middle of malloc, and restores every register; here only those are followed that lead
 * from frame to frame. Where a table is missing or says what is not understood, the walk ends early and what was found
 * so far stands. What it reads of the stack lies between the stack pointer and a bound, upwards only, and the kernel is
 * asked if a page can be read before the first word of it is: a program that switches stacks by itself may have left
 * anything where the outermost return address should be.
 */
#ifndef QUARRY_UNWIND_H
#define QUARRY_UNWIND_H

#include "compiler.h"

/** Can stacks be walked on this processor? */
bool unwind_is_known(void);

/**
 * The return addresses of this call, innermost first, at most `most`. Those within Quarry's own library are left out,
 * unless it is part of the program itself. Returns their number.
 */
unsigned unwind_stack(uintptr_t *frames, unsigned most);

/** The same from where a signal has interrupted this thread, by its registers: pc first, then return addresses. */
unsigned unwind_stack_from(uintptr_t pc, uintptr_t sp, uintptr_t fp, uintptr_t *frames, unsigned most);

#endif
