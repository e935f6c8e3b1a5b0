/* SPDX-License-Identifier: MIT */
/*
 * Frame rules: where a frame begins and where it keeps its caller's registers, by the tables (frame_table.h). Owns
 * nothing.
 */
#ifndef QUARRY_FRAME_RULES_H
#define QUARRY_FRAME_RULES_H

#include "frame_cache.h"
#include "frame_table.h"

enum how { SAME, UNDEFINED, AT_OFFSET, AT_EXPRESSION, UNKNOWN };

/* Of a register. */
struct frame_rule {
	enum how how;
	intptr_t offset;
	const uint8_t *expression; /* its length first */
};

struct frame_rules {
	unsigned cfa_register;
	intptr_t cfa_offset;
	const uint8_t *cfa_expression; /* NULL: register and offset */
	struct frame_rule fp, ra;
};

/** What the tables of the object say of pc. False: nothing that is understood, or the frame is a signal's. */
bool frame_rules_read(const struct table_object *object, uintptr_t pc, struct frame_rules *rules);

/** The same as a row. False: it does not fit. */
bool frame_rules_pack(const struct frame_rules *rules, struct frame_row *row);

#endif
