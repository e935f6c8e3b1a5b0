/* SPDX-License-Identifier: MIT */
/*
 * Frame rules: see frame_rules.h. A frame's entry is a program that says where the caller's registers are; it is run up
 * to the address in question.
 */
#include "frame_rules.h"

#include <string.h>

#define REMEMBERED 8

/* --- programs ----------------------------------------------------------------------------------------------------- */

static void set_rule(struct frame_rules *rules, uintptr_t number, struct frame_rule rule)
{
	if (number == REG_FP)
		rules->fp = rule;
	else if (number == REG_RA)
		rules->ra = rule;
}

static void restore_rule(struct frame_rules *rules, uintptr_t number, const struct frame_rules *initial)
{
	if (number == REG_FP)
		rules->fp = initial->fp;
	else if (number == REG_RA)
		rules->ra = initial->ra;
}

static struct frame_rule offset_rule(intptr_t offset)
{
	return (struct frame_rule){.how = AT_OFFSET, .offset = offset};
}

/* An expression: its place, with the length in front. */
static const uint8_t *skip_expression(const uint8_t **at)
{
	const uint8_t *place = *at;
	uintptr_t nbytes = table_unsigned(at);
	*at += nbytes;
	return place;
}

/* What sets the frame's address. False: the operation is none of these. */
static bool run_cfa(uint8_t op, const uint8_t **at, const struct table_entry *entry, struct frame_rules *rules)
{
	switch (op) {
	case 0x0c: /* def_cfa */
	case 0x12: /* def_cfa_sf */
		rules->cfa_register = (unsigned)table_unsigned(at);
		rules->cfa_offset = op == 0x0c ? (intptr_t)table_unsigned(at) : table_signed(at) * entry->data_align;
		rules->cfa_expression = NULL;
		return true;
	case 0x0d: /* def_cfa_register */
		rules->cfa_register = (unsigned)table_unsigned(at);
		rules->cfa_expression = NULL;
		return true;
	case 0x0e: /* def_cfa_offset */
		rules->cfa_offset = (intptr_t)table_unsigned(at);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		rules->cfa_offset = table_signed(at) * entry->data_align;
		return true;
	case 0x0f: /* def_cfa_expression */
		rules->cfa_expression = skip_expression(at);
		return true;
	default:
		return false;
	}
}

/* What says where a register was saved. False: the operation is none of these. */
static bool run_register(uint8_t op, const uint8_t **at, const struct table_entry *entry, struct frame_rules *rules,
			 const struct frame_rules *initial)
{
	if (op != 0x05 && op != 0x11 && (op < 0x06 || op > 0x09) && op != 0x10 && op != 0x14 && op != 0x15 && op != 0x16)
		return false;
	uintptr_t number = table_unsigned(at);
	switch (op) {
	case 0x05: /* offset_extended */
		set_rule(rules, number, offset_rule((intptr_t)table_unsigned(at) * entry->data_align));
		return true;
	case 0x11: /* offset_extended_sf */
		set_rule(rules, number, offset_rule(table_signed(at) * entry->data_align));
		return true;
	case 0x06: /* restore_extended */
		restore_rule(rules, number, initial);
		return true;
	case 0x07: /* undefined */
		set_rule(rules, number, (struct frame_rule){.how = UNDEFINED});
		return true;
	case 0x08: /* same_value */
		set_rule(rules, number, (struct frame_rule){.how = SAME});
		return true;
	case 0x10: /* expression */
		set_rule(rules, number, (struct frame_rule){.how = AT_EXPRESSION, .expression = skip_expression(at)});
		return true;
	case 0x16: /* val_expression */
		skip_expression(at);
		break;
	case 0x15: /* val_offset_sf */
		table_signed(at);
		break;
	default: /* register, val_offset */
		table_unsigned(at);
		break;
	}
	set_rule(rules, number, (struct frame_rule){.how = UNKNOWN});
	return true;
}

/* Code that an advance moves over; -1: no advance. */
static intptr_t run_advance(uint8_t op, const uint8_t **at)
{
	uint16_t two;
	switch (op) {
	case 0x02:
		return *(*at)++;
	case 0x03:
		memcpy(&two, *at, sizeof(two));
		*at += sizeof(two);
		return two;
	case 0x04:
		return (intptr_t)table_u32(at);
	default:
		return op >> 6 == 1 ? op & 0x3f : -1;
	}
}

/* Run the operations that hold at pc; initial is what those of the common entry have set. */
static bool run(const uint8_t *at, const uint8_t *end, const struct table_entry *entry, uintptr_t pc,
		struct frame_rules *rules, const struct frame_rules *initial)
{
	struct frame_rules remembered[REMEMBERED];
	unsigned n = 0;
	uintptr_t place = entry->start;
	while (at < end) {
		uint8_t op = *at++;
		intptr_t advance = run_advance(op, &at);
		if (advance >= 0) {
			place += (uintptr_t)advance * entry->code_align;
			if (place > pc)
				return true;
		} else if (op >> 6 == 2) { /* offset */
			set_rule(rules, op & 0x3f, offset_rule((intptr_t)table_unsigned(&at) * entry->data_align));
		} else if (op >> 6 == 3) { /* restore */
			restore_rule(rules, op & 0x3f, initial);
		} else if (op == 0x0a) { /* remember_state */
			if (n == REMEMBERED)
				return false;
			remembered[n++] = *rules;
		} else if (op == 0x0b) { /* restore_state */
			if (n == 0)
				return false;
			*rules = remembered[--n];
		} else if (op == 0x2e) { /* GNU_args_size */
			table_unsigned(&at);
		} else if (op != 0 && op != 0x2d && !run_cfa(op, &at, entry, rules) &&
			   !run_register(op, &at, entry, rules, initial)) {
			return false; /* 0x2d: the return address is signed, on aarch64 */
		}
	}
	return true;
}

/* --- rules -------------------------------------------------------------------------------------------------------- */

bool frame_rules_read(const struct table_object *object, uintptr_t pc, struct frame_rules *rules)
{
	struct table_entry entry;
	*rules = (struct frame_rules){.ra.how = UNKNOWN};
	if (!table_entry(object, pc, &entry) || entry.is_signal ||
	    !run(entry.initial, entry.initial_end, &entry, UINTPTR_MAX, rules, rules))
		return false;
	struct frame_rules initial = *rules;
	return run(entry.program, entry.program_end, &entry, pc, rules, &initial);
}

/* The distance in words: 0 where the register was not saved. False: it does not fit. */
static bool pack_rule(const struct frame_rule *rule, int16_t *words)
{
	*words = 0;
	if (rule->how != AT_OFFSET)
		return rule->how == SAME || rule->how == UNDEFINED;
	*words = (int16_t)(rule->offset / (intptr_t)sizeof(uintptr_t));
	return *words != 0 && *words * (intptr_t)sizeof(uintptr_t) == rule->offset;
}

bool frame_rules_pack(const struct frame_rules *rules, struct frame_row *row)
{
	bool from_fp = rules->cfa_register == REG_FP;
	*row = (struct frame_row){.cfa_offset = (uint32_t)rules->cfa_offset & 0x7fffffff, .from_fp = from_fp};
	return rules->cfa_expression == NULL && (from_fp || rules->cfa_register == REG_SP) &&
	       row->cfa_offset == rules->cfa_offset && pack_rule(&rules->ra, &row->ra) &&
	       pack_rule(&rules->fp, &row->fp);
}
