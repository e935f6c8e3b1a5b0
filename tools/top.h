/* SPDX-License-Identifier: MIT */
/*
 * Top: the parts of quarry top. top.c reads keys and snapshots, top_tables.c makes tables of a snapshot, top_frame.c
 * what is shown of it as lines of tinted characters; a frame goes to a terminal (top_screen.c) or, with --batch, to
 * standard output.
 */
#ifndef QUARRY_TOP_H
#define QUARRY_TOP_H

#include "look.h"

/* --- frames ------------------------------------------------------------------------------------------------------- */

enum tint {
	TINT_PLAIN, TINT_TITLE, TINT_BOLD, TINT_DIM, TINT_LIVE, TINT_CACHED, TINT_FREE, TINT_SPAN, TINT_ALERT, TINTS
};

#define FRAME_COLUMNS 256

struct frame_line {
	char text[FRAME_COLUMNS]; /* printable, 0 at the end */
	uint8_t tint[FRAME_COLUMNS];
};

struct frame {
	struct frame_line *lines;
	size_t nlines, room;
	unsigned columns, rows; /* of the screen; rows 0: no limit */
};

/** Add a line in one tint, as printf. */
void frame_add(struct frame *frame, enum tint tint, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Add a character to the last line. */
void frame_put(struct frame *frame, char c, enum tint tint);

/* --- tables ------------------------------------------------------------------------------------------------------- */

enum view { VIEW_HEAPS, VIEW_CLASSES, VIEW_ARENAS, VIEW_NODES, VIEW_MAP, VIEWS };

#define TABLE_COLUMNS 12

struct column {
	const char *title;
	int width;  /* negative: left-aligned */
	bool text;  /* shown by its text, sorted by its number all the same */
};

struct cell {
	double number; /* what it is sorted by */
	char text[24];
};

struct table {
	const struct column *columns;
	size_t ncolumns, nrows;
	struct cell *cells; /* row by row */
	uint32_t *order;    /* rows as sorted */
};

struct top {
	struct look look;
	struct snapshot now;
	struct snapshot_heap *heaps_before;
	size_t nheaps_before;
	struct snapshot before; /* its sums only; its arrays are not its own */
	double seconds;         /* between the two; 0: there is no snapshot before */
	double delay;
	enum view view;
	unsigned sort[VIEWS];
	bool reverse[VIEWS];
	bool paused, help;
	size_t scroll;
	size_t arena;           /* of the map, as an index */
	char message[160];
};

/** Make the table of the view, sorted. */
void table_make(struct table *table, const struct top *top);
void table_free(struct table *table);

/** Columns of a view, and the one that it is sorted by at first. */
size_t table_columns(enum view view, const struct column **columns);
unsigned table_first_sort(enum view view);
const char *table_name(enum view view);

/** Make the frame of what is there. */
void frame_make(struct frame *frame, const struct top *top);
void frame_free(struct frame *frame);

/* --- the terminal ------------------------------------------------------------------------------------------------- */

enum { KEY_OF_NONE = -1, KEY_OF_UP = 256, KEY_OF_DOWN, KEY_OF_LEFT, KEY_OF_RIGHT, KEY_OF_PAGE_UP, KEY_OF_PAGE_DOWN };

/** Take the terminal over; false with a message: there is none, or the command was built without ncurses. */
bool screen_open(char *message, size_t size);
void screen_close(void);
void screen_size(unsigned *columns, unsigned *rows);
void screen_draw(const struct frame *frame);

/** The next key, or KEY_OF_NONE after so many milliseconds. */
int screen_key(int wait_ms);

#endif
