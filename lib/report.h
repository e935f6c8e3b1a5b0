/* SPDX-License-Identifier: MIT */
/*
 * report: messages to descriptor 2, and the one place that ends the process.
 *
 * Owns       the text builder, the message format, and whether a fault is fatal.
 * Promises   no allocation, no stdio, no lock, no cancellation point; errno is kept. Everything here works before
 *            any constructor, after the last destructor, in a signal handler and with 2 KiB of stack.
 * Locking    none. A line is one write, so lines of several threads do not mix.
 */
#ifndef QUARRY_REPORT_H
#define QUARRY_REPORT_H

#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define REPORT_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Longest line that report_line writes, prefix and newline included; the rest of a longer one is cut off. */
#define REPORT_LINE_NBYTES 512

/* --- text: a bounded string --------------------------------------------------------------------------------------- */

/* Text that grows up to a fixed size. What does not fit is dropped; data[used] is 0 at all times. */
struct text {
	char *data;
	size_t used; /* bytes, the final 0 not counted; below size */
	size_t size; /* bytes at data; at least 1 */
};

/** Begin an empty text in size bytes of the caller's (at least 1). */
void text_begin(struct text *text, char *data, size_t size);

/**
 * Append, as printf would.
 *
 * format     %s %c %d %u %x %p %%, with the modifiers l and z, a width, '-' for the left, and %.*s
 */
void text_append(struct text *text, const char *format, ...) REPORT_PRINTF(2, 3);
void text_append_list(struct text *text, const char *format, va_list list) REPORT_PRINTF(2, 0);

/** Append an amount of memory for people, one decimal from 1 KiB on ("96 B", "1.5 KiB"), right-aligned in width. */
void text_append_nbytes(struct text *text, unsigned width, uint64_t nbytes);

/** Write all of it. Interrupted and short writes go on; 0, or -1 with errno. */
int text_write(const struct text *text, int fd);

/* --- messages ----------------------------------------------------------------------------------------------------- */

/** Write "quarry: ", the formatted text and a newline to descriptor 2; the format is that of text_append. */
void report_line(const char *format, ...) REPORT_PRINTF(1, 2);

/* What is known of where a pointer points to. */
struct report_place {
	int szidx;           /* size class; -1: not known */
	size_t block_nbytes; /* of the class */
	const void *arena;   /* its base; NULL: not known */
	int node;            /* of the arena; -1: not known */
	uint32_t thread;     /* whose heap the block belongs to, by the kernel's number; 0: none's, or not known */
};

/**
 * Report a misuse that was found, and by which thread, and abort unless report_set_fatal(false) has been called.
 *
 * what          the fault, read before " of ADDRESS": "double free", "invalid free (no block)"
 * ptr           the pointer that the program passed
 * place         what is known of it; NULL: nothing
 */
void report_fault(const char *what, const void *ptr, const struct report_place *place);

/** Does report_fault abort? */
bool report_is_fatal(void);

/** After a report in several lines: abort, as report_fault would. */
void report_end(void);

/** Whether report_fault aborts. It does until told otherwise (on_error:report). */
void report_set_fatal(bool fatal);

#endif
