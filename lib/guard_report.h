/* SPDX-License-Identifier: MIT */
/*
 * Guard report: what is said of a misuse of a guarded block, and the handler that turns a fault on a closed page into
 * that.
 *
 * Each report is a few lines on descriptor 2: what was done, where and to which block, by which thread and calls, then
 * the calls that freed the block and those that allocated it. A call is told by its address, and by its module and the
 * place there, which addr2line and gdb take. By on_error:abort the process then ends: of a misuse that a call has
 * found by abort, of a fault by the signal, with the registers as they were. By on_error:report the page is opened and
 * the program goes on.
 *
 * The handler of SIGSEGV is there from the first guarded block on. What is no fault on the pool it leaves to the
 * handler that was there before it, and to the default action; it runs on the thread's alternate stack if there is
 * one. A program that sets its own later has all faults to itself.
 *
 * Owns the action that was in force before. Safe in a signal handler, all of it: no allocation, no lock but by trying.
 */
#ifndef QUARRY_GUARD_REPORT_H
#define QUARRY_GUARD_REPORT_H

#include "compiler.h"

/** Put the handler in its place. Once, when the pool exists. */
void guard_catch_faults(void);

/** Report a misuse of the block at ptr, in the pool, that the calling thread's call has found, and end as is set. */
void guard_report_misuse(const char *what, const void *ptr);

#endif
