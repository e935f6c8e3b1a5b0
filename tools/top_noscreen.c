/* SPDX-License-Identifier: MIT */
/*
 * Top: in place of top_screen.c where the command was built without ncurses.
 */
#include <stdio.h>

#include "top.h"

bool screen_open(char *message, size_t size)
{
	snprintf(message, size, "this command was built without ncurses; --batch writes plain text");
	return false;
}

void screen_close(void)
{
}

void screen_size(unsigned *columns, unsigned *rows)
{
	*columns = 80;
	*rows = 0;
}

void screen_draw(const struct frame *frame)
{
	(void)frame;
}

int screen_key(int wait_ms)
{
	(void)wait_ms;
	return KEY_OF_NONE;
}
