/* SPDX-License-Identifier: MIT */
/*
 * A function with a frame of about FRAMED_NBYTES, in a library: check_unwind walks through it, in libraries that differ
 * in nothing else.
 */
void framed(void (*call)(void));

void framed(void (*call)(void))
{
	volatile char frame[FRAMED_NBYTES];
	frame[0] = 0;
	call();
	frame[FRAMED_NBYTES - 1] = 0;
}
