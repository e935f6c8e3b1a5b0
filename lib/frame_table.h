/* SPDX-License-Identifier: MIT */
/*
 * Frame table: how a function's frame is laid out, as its program or library tells: the entry of an address, and the
 * numbers that entries are written in. The tables are those of the DWARF standard, section "Call Frame Information", as
 * the Linux Standard Base puts them into .eh_frame, with an index in .eh_frame_hdr.
 *
 * Owns nothing, takes no lock and allocates nothing. What is read is as sound as the program's own code.
 */
#ifndef QUARRY_FRAME_TABLE_H
#define QUARRY_FRAME_TABLE_H

#include "compiler.h"

/* How the processor's registers are numbered in the tables; only these three are followed. */
#if defined(__x86_64__)
enum { REG_FP = 6, REG_SP = 7, REG_RA = 16 };
#elif defined(__aarch64__)
enum { REG_FP = 29, REG_SP = 31, REG_RA = 30 };
#else
enum { REG_FP = 1, REG_SP = 2, REG_RA = 3 };
#endif

/* A program or library, as mapped. */
struct table_object {
	uintptr_t start, nbytes;
	const uint8_t *header; /* of the index */
	const struct table_pair *pairs;
	size_t npairs; /* never 0 */
	uint64_t identity;
};

/* A common and a frame entry, as far as they matter. */
struct table_entry {
	const uint8_t *initial, *initial_end;
	const uint8_t *program, *program_end;
	uintptr_t start, nbytes; /* of the code */
	uintptr_t code_align;
	intptr_t data_align;
	uint8_t encoding; /* of addresses */
	bool augmented, is_signal;
};

/**
 * The object that contains pc, and which it is: another one at the same place has another identity. False: there is
 * none, or its index is written in a way that is not known.
 */
bool table_object(uintptr_t pc, struct table_object *object);

/** The frame entry of the object's code that contains pc. False: there is none, or it is not known how to read it. */
bool table_entry(const struct table_object *object, uintptr_t pc, struct table_entry *entry);

/** Numbers of any length, and one of four bytes; *at goes behind them. */
uintptr_t table_unsigned_long(const uint8_t **at);
static inline uintptr_t table_unsigned(const uint8_t **at)
{
	return **at < 0x80 ? *(*at)++ : table_unsigned_long(at);
}
intptr_t table_signed(const uint8_t **at);
uint32_t table_u32(const uint8_t **at);

#endif
