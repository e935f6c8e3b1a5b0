/* SPDX-License-Identifier: MIT */
/*
 * Top: the terminal, by ncurses.
 */
#include <curses.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "top.h"

static attr_t attributes[TINTS];

static void choose_tints(void)
{
	static const short colours[TINTS] = {
		[TINT_LIVE] = COLOR_GREEN, [TINT_CACHED] = COLOR_YELLOW, [TINT_FREE] = COLOR_BLUE,
		[TINT_SPAN] = COLOR_MAGENTA, [TINT_ALERT] = COLOR_RED,
	};

	attributes[TINT_TITLE] = A_REVERSE;
	attributes[TINT_BOLD] = A_BOLD;
	attributes[TINT_DIM] = A_DIM;
	if (!has_colors())
		return;
	start_color();
	use_default_colors();
	for (short tint = 0; tint < TINTS; tint++) {
		if (colours[tint] != 0 && init_pair(tint, colours[tint], -1) == OK)
			attributes[tint] = COLOR_PAIR(tint);
	}
}

bool screen_open(char *message, size_t size)
{
	SCREEN *screen;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		snprintf(message, size, "this is no terminal; --batch writes plain text");
		return false;
	}
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		snprintf(message, size, "the terminal is not known (TERM); --batch writes plain text");
		return false;
	}
	set_term(screen);
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	choose_tints();
	return true;
}

void screen_close(void)
{
	endwin();
}

void screen_size(unsigned *columns, unsigned *rows)
{
	*columns = (unsigned)COLS;
	*rows = (unsigned)LINES;
}

void screen_draw(const struct frame *frame)
{
	erase();
	for (size_t i = 0; i < frame->nlines && i < (size_t)LINES; i++) {
		const struct frame_line *line = &frame->lines[i];

		for (int column = 0; line->text[column] && column < COLS; column++)
			mvaddch((int)i, column,
				(chtype)(unsigned char)line->text[column] | attributes[line->tint[column]]);
	}
	refresh();
}

int screen_key(int wait_ms)
{
	timeout(wait_ms);
	int key = getch();
	switch (key) {
	case KEY_UP: return KEY_OF_UP;
	case KEY_DOWN: return KEY_OF_DOWN;
	case KEY_LEFT: return KEY_OF_LEFT;
	case KEY_RIGHT: return KEY_OF_RIGHT;
	case KEY_PPAGE: return KEY_OF_PAGE_UP;
	case KEY_NPAGE: return KEY_OF_PAGE_DOWN;
	default: return key >= 0 && key < 256 ? key : KEY_OF_NONE;
	}
}
