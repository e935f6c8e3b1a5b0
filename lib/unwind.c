/* SPDX-License-Identifier: MIT */
/*
 * Unwind: see unwind.h. A frame's entry is a program that says where the caller's registers are; it is run up to the
 * address in question, and what it says is done.
 */
#include "unwind.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "frame_table.h"
#include "os.h"

/* Where this function is. */
#if defined(__x86_64__)
#define IS_KNOWN true
#define HERE(state)                                                                                                    \
	__asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"                                         \
			 : "=r"((state)->pc), "=r"((state)->sp), "=r"((state)->fp))
#elif defined(__aarch64__)
#define IS_KNOWN true
#define HERE(state)                                                                                                    \
	__asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29"                                                     \
			 : "=r"((state)->pc), "=r"((state)->sp), "=r"((state)->fp))
#else
#define IS_KNOWN false
#define HERE(state) ((void)(state))
#endif

/* No frame lies further up than this. */
#define STACK_MOST_NBYTES ((uintptr_t)1 << 30)
#define REMEMBERED 8
#define LEAST_PAGE_BITS 12 /* memory ends at multiples of this, whatever a page is */

struct state {
	uintptr_t pc, sp, fp;
	uintptr_t bottom; /* of the stack, as far as it is read */
	uintptr_t page;   /* number of one that can be read */
};

enum how { SAME, UNDEFINED, AT_OFFSET, AT_EXPRESSION, UNKNOWN };

struct rule {
	enum how how;
	intptr_t offset;
	const uint8_t *expression; /* its length first */
};

struct rules {
	unsigned cfa_register;
	intptr_t cfa_offset;
	const uint8_t *cfa_expression; /* NULL: register and offset */
	struct rule fp, ra;
};

bool unwind_is_known(void)
{
	return IS_KNOWN;
}

/* A word of the stack. */
static bool read_stack(struct state *state, uintptr_t address, uintptr_t *value)
{
	uintptr_t page = address >> LEAST_PAGE_BITS;
	if (address % sizeof(*value) != 0 || address < state->bottom || address - state->bottom > STACK_MOST_NBYTES)
		return false;
	if (page != state->page && !os_is_readable((const void *)address))
		return false;
	state->page = page;
	*value = *(const uintptr_t *)address;
	return true;
}

/* --- expressions -------------------------------------------------------------------------------------------------- */

#define DEPTH 8

/* The value of a register that an expression may name. */
static bool get_register(const struct state *state, uintptr_t number, uintptr_t *value)
{
	if (number == REG_SP)
		*value = state->sp;
	else if (number == REG_FP)
		*value = state->fp;
	else if (number == REG_RA)
		*value = state->pc;
	else
		return false;
	return true;
}

/* One operation with two operands. */
static bool combine(uint8_t op, uintptr_t *a, uintptr_t b)
{
	switch (op) {
	case 0x1a: /* and */
		*a &= b;
		return true;
	case 0x1c: /* minus */
		*a -= b;
		return true;
	case 0x22: /* plus */
		*a += b;
		return true;
	case 0x24: /* shl */
		*a = b < 64 ? *a << b : 0;
		return true;
	case 0x2a: /* ge */
		*a = (intptr_t)*a >= (intptr_t)b;
		return true;
	default:
		return false;
	}
}

/* What compilers and linkers write for realigned stacks and for stubs. `first` is on the stack at the start. */
static bool evaluate(struct state *state, const uint8_t *at, uintptr_t first, uintptr_t *result)
{
	uintptr_t stack[DEPTH] = {first}, nbytes = table_unsigned(&at);
	unsigned n = 1;
	for (const uint8_t *end = at + nbytes; at < end;) {
		uint8_t op = *at++;
		bool grows = (op >= 0x30 && op <= 0x4f) || (op >= 0x70 && op <= 0x8f) || op == 0x08 || op == 0x09;
		if (grows && n == DEPTH)
			return false;
		if (op >= 0x70 && op <= 0x8f) { /* breg */
			if (!get_register(state, op - 0x70u, &stack[n]))
				return false;
			stack[n++] += (uintptr_t)table_signed(&at);
		} else if (op >= 0x30 && op <= 0x4f) { /* lit */
			stack[n++] = op - 0x30u;
		} else if (op == 0x08) { /* const1u */
			stack[n++] = *at++;
		} else if (op == 0x09) { /* const1s */
			stack[n++] = (uintptr_t)(intptr_t)(int8_t)*at++;
		} else if (op == 0x23) { /* plus_uconst */
			stack[n - 1] += table_unsigned(&at);
		} else if (op == 0x06) { /* deref */
			if (!read_stack(state, stack[n - 1], &stack[n - 1]))
				return false;
		} else {
			if (n < 2 || !combine(op, &stack[n - 2], stack[n - 1]))
				return false;
			n--;
		}
	}
	*result = stack[n - 1];
	return true;
}

/* --- programs ----------------------------------------------------------------------------------------------------- */

static void set_rule(struct rules *rules, uintptr_t number, struct rule rule)
{
	if (number == REG_FP)
		rules->fp = rule;
	else if (number == REG_RA)
		rules->ra = rule;
}

static void restore_rule(struct rules *rules, uintptr_t number, const struct rules *initial)
{
	if (number == REG_FP)
		rules->fp = initial->fp;
	else if (number == REG_RA)
		rules->ra = initial->ra;
}

static struct rule offset_rule(intptr_t offset)
{
	return (struct rule){.how = AT_OFFSET, .offset = offset};
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
static bool run_cfa(uint8_t op, const uint8_t **at, const struct table_entry *entry, struct rules *rules)
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
static bool run_register(uint8_t op, const uint8_t **at, const struct table_entry *entry, struct rules *rules,
			 const struct rules *initial)
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
		set_rule(rules, number, (struct rule){.how = UNDEFINED});
		return true;
	case 0x08: /* same_value */
		set_rule(rules, number, (struct rule){.how = SAME});
		return true;
	case 0x10: /* expression */
		set_rule(rules, number, (struct rule){.how = AT_EXPRESSION, .expression = skip_expression(at)});
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
	set_rule(rules, number, (struct rule){.how = UNKNOWN});
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
static bool run(const uint8_t *at, const uint8_t *end, const struct table_entry *entry, uintptr_t pc, struct rules *rules,
		const struct rules *initial)
{
	struct rules remembered[REMEMBERED];
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

/* --- frames ------------------------------------------------------------------------------------------------------- */

static bool apply(struct state *state, const struct rule *rule, uintptr_t cfa, uintptr_t *value)
{
	uintptr_t place = cfa + (uintptr_t)rule->offset;
	switch (rule->how) {
	case SAME:
		return true;
	case AT_OFFSET:
		return read_stack(state, place, value);
	case AT_EXPRESSION:
		return evaluate(state, rule->expression, cfa, &place) && read_stack(state, place, value);
	default:
		return false;
	}
}

/* Without what pointer authentication puts into the upper bits. */
static uintptr_t strip(uintptr_t pc)
{
#if defined(__aarch64__)
	register uintptr_t x30 __asm__("x30") = pc;
	__asm__("hint 7" : "+r"(x30)); /* xpaclri */
	return x30;
#else
	return pc;
#endif
}

/* To the caller. False: this was the outermost frame, or the tables end here. */
static bool step(struct state *state, bool innermost)
{
	struct table_entry entry;
	struct rules rules = {.ra.how = UNKNOWN}, initial;
	uintptr_t at = state->pc - !innermost; /* a call may be a function's last instruction */
	uintptr_t cfa, ra = 0, fp = state->fp;
	if (!table_entry(at, &entry) || !run(entry.initial, entry.initial_end, &entry, UINTPTR_MAX, &rules, &rules))
		return false;
	initial = rules;
	if (entry.is_signal || !run(entry.program, entry.program_end, &entry, at, &rules, &initial))
		return false;
	if (rules.cfa_expression != NULL ? !evaluate(state, rules.cfa_expression, 0, &cfa)
					 : !get_register(state, rules.cfa_register, &cfa))
		return false;
	if (rules.cfa_expression == NULL)
		cfa += (uintptr_t)rules.cfa_offset;
	if (!apply(state, &rules.ra, cfa, &ra) || cfa <= state->sp)
		return false;
	if (rules.fp.how != UNDEFINED && !apply(state, &rules.fp, cfa, &fp))
		return false;
	state->pc = strip(ra);
	state->sp = cfa;
	state->fp = fp;
	return state->pc != 0;
}

__attribute__((noinline)) unsigned unwind_stack(uintptr_t *frames, unsigned most)
{
	struct state state = {0};
	struct dl_find_object own;
	uintptr_t start = 0, nbytes = 0;
	unsigned n = 0;
	bool outside = false;
	if (!IS_KNOWN)
		return 0;
	if (_dl_find_object((void *)&unwind_stack, &own) == 0 && own.dlfo_link_map->l_name[0] != 0) {
		start = (uintptr_t)own.dlfo_map_start; /* a shared library */
		nbytes = (uintptr_t)own.dlfo_map_end - start;
	}
	HERE(&state);
	state.bottom = state.sp;
	state.page = state.sp >> LEAST_PAGE_BITS;
	for (bool innermost = true; n < most && step(&state, innermost); innermost = false) {
		outside = outside || state.pc - start >= nbytes;
		if (outside)
			frames[n++] = state.pc;
	}
	return n;
}

unsigned unwind_stack_from(uintptr_t pc, uintptr_t sp, uintptr_t fp, uintptr_t *frames, unsigned most)
{
	struct state state = {.pc = pc, .sp = sp, .fp = fp, .bottom = sp};
	unsigned n = 0;
	if (most > 0)
		frames[n++] = pc;
	for (bool innermost = true; IS_KNOWN && n < most && step(&state, innermost); innermost = false)
		frames[n++] = state.pc;
	return n;
}
