/* SPDX-License-Identifier: MIT */
/*
 * report: see report.h.
 *
 * write(2) is called by its number: libc's wrapper is a cancellation point, and free() must not become one.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

/* Digits of a 64-bit number in the smallest base in use, 10. */
#define NUMBER_NBYTES 20

static atomic_bool faults_continue;

/* --- text --------------------------------------------------------------------------------------------------------- */

/* How one conversion is to be laid out, and which of two widths its argument has. */
struct layout {
	unsigned width;
	bool left;
	bool wide;
	size_t limit; /* bytes of a string at most */
};

void text_begin(struct text *text, char *data, size_t size)
{
	*text = (struct text){ .data = data, .used = 0, .size = size };
	data[0] = 0;
}

static void put(struct text *text, const char *bytes, size_t nbytes)
{
	size_t room = text->size - 1 - text->used;

	if (nbytes > room)
		nbytes = room;
	memcpy(text->data + text->used, bytes, nbytes);
	text->used += nbytes;
	text->data[text->used] = 0;
}

static void put_aligned(struct text *text, struct layout layout, const char *bytes, size_t nbytes)
{
	size_t pad = layout.width > nbytes ? layout.width - nbytes : 0;

	if (layout.left)
		put(text, bytes, nbytes);
	for (size_t i = 0; i < pad; i++)
		put(text, " ", 1);
	if (!layout.left)
		put(text, bytes, nbytes);
}

static void put_number(struct text *text, struct layout layout, const char *sign, unsigned long number, unsigned base)
{
	char digits[2 + NUMBER_NBYTES];
	size_t first = sizeof digits;
	size_t sign_nbytes = strlen(sign);

	do {
		digits[--first] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	first -= sign_nbytes;
	memcpy(digits + first, sign, sign_nbytes);
	put_aligned(text, layout, digits + first, sizeof digits - first);
}

static void put_signed(struct text *text, struct layout layout, long number)
{
	/* The magnitude of LONG_MIN is no long. */
	unsigned long magnitude = number < 0 ? 0 - (unsigned long)number : (unsigned long)number;

	put_number(text, layout, number < 0 ? "-" : "", magnitude, 10);
}

static void put_string(struct text *text, struct layout layout, const char *string)
{
	if (!string)
		string = "(null)";
	put_aligned(text, layout, string, strnlen(string, layout.limit));
}

_Static_assert(sizeof(size_t) == sizeof(long), "the modifiers l and z mean the same");

static unsigned long take_unsigned(va_list *list, struct layout layout)
{
	return layout.wide ? va_arg(*list, unsigned long) : va_arg(*list, unsigned int);
}

static long take_signed(va_list *list, struct layout layout)
{
	return layout.wide ? va_arg(*list, long) : va_arg(*list, int);
}

/* Read what stands between '%' and the letter of the conversion; returns the place of that letter. */
static const char *read_layout(const char *c, struct layout *layout, va_list *list)
{
	*layout = (struct layout){ .limit = SIZE_MAX };
	if (*c == '-') {
		layout->left = true;
		c++;
	}
	for (; *c >= '0' && *c <= '9'; c++)
		layout->width = layout->width * 10 + (unsigned)(*c - '0');
	if (c[0] == '.' && c[1] == '*') {
		layout->limit = (size_t)va_arg(*list, int);
		c += 2;
	}
	for (; *c == 'l' || *c == 'z'; c++)
		layout->wide = true;
	return c;
}

/* Append one argument. False where the conversion, and so the type of its argument, is not known. */
static bool put_conversion(struct text *text, char conversion, struct layout layout, va_list *list)
{
	char byte;

	switch (conversion) {
	case 's':
		put_string(text, layout, va_arg(*list, const char *));
		return true;
	case 'c':
		byte = (char)va_arg(*list, int);
		put_aligned(text, layout, &byte, 1);
		return true;
	case 'd':
		put_signed(text, layout, take_signed(list, layout));
		return true;
	case 'u':
		put_number(text, layout, "", take_unsigned(list, layout), 10);
		return true;
	case 'x':
		put_number(text, layout, "", take_unsigned(list, layout), 16);
		return true;
	case 'p':
		put_number(text, layout, "0x", (unsigned long)va_arg(*list, void *), 16);
		return true;
	case '%':
		put(text, "%", 1);
		return true;
	default:
		put(text, "?", 1);
		return false;
	}
}

void text_append_list(struct text *text, const char *format, va_list arguments)
{
	va_list list;

	va_copy(list, arguments);
	while (*format) {
		struct layout layout;
		size_t plain = strcspn(format, "%");

		put(text, format, plain);
		format += plain;
		if (!*format)
			break;
		format = read_layout(format + 1, &layout, &list);
		if (!put_conversion(text, *format, layout, &list))
			break;
		format++;
	}
	va_end(list);
}

void text_append(struct text *text, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	text_append_list(text, format, list);
	va_end(list);
}

void text_append_nbytes(struct text *text, unsigned width, uint64_t nbytes)
{
	static const char units[][4] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	char data[32];
	struct text number;
	unsigned unit = 0;

	while (nbytes >> (10 * unit) >= 1024)
		unit++;
	text_begin(&number, data, sizeof data);
	if (unit == 0) {
		text_append(&number, "%lu B", (unsigned long)nbytes);
	} else {
		/* Ten bits of fraction are enough for one decimal, and the product cannot overflow. */
		uint64_t tenths = ((nbytes >> (10 * (unit - 1))) * 10 + 512) >> 10;

		text_append(&number, "%lu.%lu %s", (unsigned long)(tenths / 10), (unsigned long)(tenths % 10),
			    units[unit]);
	}
	put_aligned(text, (struct layout){ .width = width }, number.data, number.used);
}

int text_write(const struct text *text, int fd)
{
	size_t done = 0;

	while (done < text->used) {
		long written = syscall(SYS_write, fd, text->data + done, text->used - done);

		if (written == 0 || (written < 0 && errno != EINTR))
			return -1;
		if (written > 0)
			done += (size_t)written;
	}
	return 0;
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* Nobody can be told that a message was lost. The newline always fits: its byte was kept back from the text. */
static void write_line(struct text *line)
{
	int saved = errno;

	line->size++;
	put(line, "\n", 1);
	(void)!text_write(line, STDERR_FILENO);
	errno = saved;
}

void report_line(const char *format, ...)
{
	char data[REPORT_LINE_NBYTES + 1];
	struct text line;
	va_list list;

	text_begin(&line, data, sizeof data - 1);
	text_append(&line, "quarry: ");
	va_start(list, format);
	text_append_list(&line, format, list);
	va_end(list);
	write_line(&line);
}

void report_set_fatal(bool fatal)
{
	atomic_store_explicit(&faults_continue, !fatal, memory_order_relaxed);
}

bool report_is_fatal(void)
{
	return !atomic_load_explicit(&faults_continue, memory_order_relaxed);
}

void report_end(void)
{
	if (report_is_fatal())
		abort();
}

static void put_place(struct text *line, const struct report_place *place)
{
	const char *before = " (";

	if (place->szidx >= 0) {
		text_append(line, "%ssize class %d, %zu bytes", before, place->szidx, place->block_nbytes);
		before = ", ";
	}
	if (place->arena) {
		text_append(line, "%sarena %p", before, place->arena);
		before = ", ";
	}
	if (place->node >= 0) {
		text_append(line, "%snode %d", before, place->node);
		before = ", ";
	}
	if (place->thread) {
		text_append(line, "%sheap of thread %u", before, place->thread);
		before = ", ";
	}
	if (before[0] == ',')
		text_append(line, ")");
}

void report_fault(const char *what, const void *ptr, const struct report_place *place)
{
	char data[REPORT_LINE_NBYTES + 1];
	struct text line;

	text_begin(&line, data, sizeof data - 1);
	text_append(&line, "quarry: %s of %p", what, ptr);
	if (place)
		put_place(&line, place);
	text_append(&line, ", found by thread %d", (int)syscall(SYS_gettid));
	write_line(&line);
	report_end();
}
