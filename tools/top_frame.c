/* SPDX-License-Identifier: MIT */
/*
 * Top: what is shown of a snapshot, as lines of tinted characters.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "top.h"

#define BAR_COLUMNS 64

void frame_add(struct frame *frame, enum tint tint, const char *format, ...)
{
	va_list list;

	if (frame->nlines == frame->room) {
		frame->room = frame->room ? 2 * frame->room : 64;
		frame->lines = realloc(frame->lines, frame->room * sizeof *frame->lines);
		if (!frame->lines)
			tool_fail(TOOL_FAILED, "no memory");
	}
	struct frame_line *line = &frame->lines[frame->nlines++];
	va_start(list, format);
	vsnprintf(line->text, sizeof line->text, format, list);
	va_end(list);
	for (char *c = line->text; *c; c++)
		*c = *c >= ' ' && *c < 0x7f ? *c : '?';
	memset(line->tint, tint, sizeof line->tint);
}

void frame_put(struct frame *frame, char c, enum tint tint)
{
	struct frame_line *line = &frame->lines[frame->nlines - 1];
	size_t used = strlen(line->text);

	if (used + 1 < sizeof line->text) {
		line->text[used] = c;
		line->text[used + 1] = 0;
		line->tint[used] = (uint8_t)tint;
	}
}

void frame_free(struct frame *frame)
{
	free(frame->lines);
	frame->lines = NULL;
	frame->nlines = frame->room = 0;
}

/* --- head --------------------------------------------------------------------------------------------------------- */

/* Parts of what is mapped: '#' live, '+' cached, '-' free, '.' clean. */
static void add_bar(struct frame *frame, const struct snapshot *now)
{
	const struct {
		uint64_t nbytes;
		char c;
		enum tint tint;
	} parts[] = {
		{ now->live, '#', TINT_LIVE },
		{ now->cached, '+', TINT_CACHED },
		{ now->free, '-', TINT_FREE },
		{ now->clean + now->records, '.', TINT_DIM },
	};
	uint64_t before = 0, all = now->live + now->cached + now->free + now->clean + now->records;

	frame_add(frame, TINT_PLAIN, "  [");
	for (size_t i = 0; i < sizeof parts / sizeof parts[0] && all > 0; i++) {
		size_t first = (size_t)((double)before / (double)all * BAR_COLUMNS + 0.5);
		size_t end = (size_t)((double)(before + parts[i].nbytes) / (double)all * BAR_COLUMNS + 0.5);

		for (size_t column = first; column < end; column++)
			frame_put(frame, parts[i].c, parts[i].tint);
		before += parts[i].nbytes;
	}
	for (const char *c = "]  # live  + cached  - free  . clean"; *c; c++)
		frame_put(frame, *c, TINT_PLAIN);
}

static double per_second(const struct top *top, uint64_t now, uint64_t before)
{
	return top->seconds > 0 && now > before ? (double)(now - before) / top->seconds : 0;
}

static void add_head(struct frame *frame, const struct top *top)
{
	const struct snapshot *now = &top->now, *before = &top->before;
	char text[7][TOOL_NBYTES_SIZE], clock[16];
	time_t seconds = time(NULL);

	strftime(clock, sizeof clock, "%H:%M:%S", localtime(&seconds));
	frame_add(frame, TINT_BOLD, "%s (%d) on Quarry %s, %s; every %.1f s, read in %.1f ms%s",
		  top->look.target.command,
		  (int)top->look.target.pid, now->layout->library, clock, top->delay, (double)now->duration_us / 1000,
		  top->paused ? ", paused" : "");
	frame_add(frame, TINT_PLAIN, "  resident %s, mapped %s, live %s, cached %s, free %s, clean %s",
		  tool_nbytes(text[0], now->resident), tool_nbytes(text[1], now->mapped),
		  tool_nbytes(text[2], now->live),
		  tool_nbytes(text[3], now->cached), tool_nbytes(text[4], now->free), tool_nbytes(text[5], now->clean));
	add_bar(frame, now);
	frame_add(frame, TINT_PLAIN,
		  "  arenas %zu, %" PRIu64 " ever, %" PRIu64 " retired; spans %s, large %s; purged %s", now->narenas,
		  now->arenas_mapped, now->arenas_retired, tool_nbytes(text[0], now->span_live),
		  tool_nbytes(text[1], now->large_live), tool_nbytes(text[2], now->purged));
	frame_add(frame, TINT_PLAIN,
		  "  a second: %.0f refills, %.0f flushes, %.0f remote frees, %s purged, %.0f faults",
		  per_second(top, now->refills, before->refills), per_second(top, now->flushes, before->flushes),
		  per_second(top, now->remote_frees, before->remote_frees),
		  tool_nbytes(text[3], (uint64_t)per_second(top, now->purged, before->purged)),
		  per_second(top, now->minor_faults + now->major_faults, before->minor_faults + before->major_faults));
	if (now->ndamage > 0)
		frame_add(frame, TINT_ALERT, "  damaged: %s", now->damage[0]);
	frame_add(frame, top->message[0] ? TINT_ALERT : TINT_DIM, "  %s",
		  top->message[0] ? top->message : "? help  t heaps  c classes  a arenas  n nodes  m map  q quit");
}

/* --- body --------------------------------------------------------------------------------------------------------- */

static void add_help(struct frame *frame)
{
	static const char *const lines[] = {
		"  t c a n m    heaps (threads), size classes, arenas, nodes, map of one arena",
		"  < >          sort by the column to the left, to the right",
		"  r            the other way round",
		"  left right   map: the arena before, the next one",
		"  up down      scroll; also page up and page down",
		"  + -          look half as often, twice as often",
		"  space        pause and go on",
		"  q            quit",
	};

	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		frame_add(frame, TINT_PLAIN, "%s", lines[i]);
}

static void add_cell(struct frame *frame, const struct column *column, const char *text, enum tint tint)
{
	char padded[64];

	snprintf(padded, sizeof padded, " %*s ", column->width, text);
	for (const char *c = padded; *c; c++)
		frame_put(frame, *c >= ' ' && *c < 0x7f ? *c : '?', tint);
}

static void add_table(struct frame *frame, const struct top *top)
{
	struct table table;

	table_make(&table, top);
	frame_add(frame, TINT_TITLE, "%s", "");
	for (size_t i = 0; i < table.ncolumns; i++)
		add_cell(frame, &table.columns[i], table.columns[i].title,
			 i == top->sort[top->view] ? TINT_BOLD : TINT_TITLE);
	for (size_t row = top->scroll; row < table.nrows && (frame->rows == 0 || frame->nlines < frame->rows); row++) {
		frame_add(frame, TINT_PLAIN, "%s", "");
		for (size_t i = 0; i < table.ncolumns; i++)
			add_cell(frame, &table.columns[i], table.cells[table.order[row] * table.ncolumns + i].text,
				 i == top->sort[top->view] ? TINT_BOLD : TINT_PLAIN);
	}
	table_free(&table);
}

/* Several units share a character where the arena has more than the screen: the fullest of them counts. */
static void add_map(struct frame *frame, const struct top *top)
{
	static const enum tint tints[] = { TINT_BOLD, TINT_DIM, TINT_FREE, TINT_LIVE, TINT_SPAN, TINT_ALERT };
	const struct snapshot *now = &top->now;
	unsigned columns = frame->columns > 72 ? 64 : 32;

	if (now->nunits == 0) {
		frame_add(frame, TINT_TITLE, " no arena");
		return;
	}
	frame_add(frame, TINT_TITLE,
		  " arena 0x%012" PRIx64 ", %zu of %zu, units of %u KiB: H head  . clean  - dirty  0..9 pool, tenths full  S span",
		  now->map_of, top->arena + 1, now->narenas, 1u << (now->layout->pool_bits - 10));
	for (size_t i = top->scroll * columns; i < now->nunits; i++) {
		const struct snapshot_unit *unit = &now->units[i];
		unsigned tenth = unit->full / 10u;

		if (i % columns == 0) {
			if (frame->rows > 0 && frame->nlines >= frame->rows)
				return;
			frame_add(frame, TINT_PLAIN, "%6zu  ", i);
		}
		if (unit->kind == UNIT_POOL)
			frame_put(frame, (char)('0' + (tenth > 9 ? 9 : tenth)), tenth < 3 ? TINT_CACHED : TINT_LIVE);
		else
			frame_put(frame, "H.-?S?"[unit->kind], tints[unit->kind]);
	}
}

void frame_make(struct frame *frame, const struct top *top)
{
	frame->nlines = 0;
	add_head(frame, top);
	if (top->help)
		add_help(frame);
	else if (top->view == VIEW_MAP)
		add_map(frame, top);
	else
		add_table(frame, top);
}
