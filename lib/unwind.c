/* SPDX-License-Identifier: MIT */
/*
 * Unwind: see unwind.h. For each frame, what its rules say of the caller's registers is done, or what its row says.
 */
#include "unwind.h"

#include <dlfcn.h>
#include <link.h>

#include "frame_cache.h"
#include "frame_rules.h"
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
#define LEAST_PAGE_BITS 12 /* memory ends at multiples of this, whatever a page is */

struct state {
	uintptr_t pc, sp, fp;
	uintptr_t bottom;           /* of the stack, as far as it is read */
	uintptr_t page;             /* number of one that can be read */
	struct table_object object; /* that the last frame was of */
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

/* --- frames ------------------------------------------------------------------------------------------------------- */

static bool apply(struct state *state, const struct frame_rule *rule, uintptr_t cfa, uintptr_t *value)
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

/* False: this was the outermost frame, or the stack is not one. */
static bool enter(struct state *state, uintptr_t cfa, uintptr_t ra, uintptr_t fp)
{
	if (cfa <= state->sp)
		return false;
	state->pc = strip(ra);
	state->sp = cfa;
	state->fp = fp;
	return state->pc != 0;
}

static bool follow_row(struct state *state, struct frame_row row)
{
	uintptr_t cfa = (row.from_fp ? state->fp : state->sp) + row.cfa_offset, ra, fp = state->fp;
	return row.ra != 0 && read_stack(state, cfa + (uintptr_t)row.ra * sizeof(ra), &ra) &&
	       (row.fp == 0 || read_stack(state, cfa + (uintptr_t)row.fp * sizeof(fp), &fp)) &&
	       enter(state, cfa, ra, fp);
}

static bool follow_rules(struct state *state, const struct frame_rules *rules)
{
	uintptr_t cfa, ra = 0, fp = state->fp;
	if (rules->cfa_expression != NULL ? !evaluate(state, rules->cfa_expression, 0, &cfa)
					  : !get_register(state, rules->cfa_register, &cfa))
		return false;
	if (rules->cfa_expression == NULL)
		cfa += (uintptr_t)rules->cfa_offset;
	return apply(state, &rules->ra, cfa, &ra) &&
	       (rules->fp.how == UNDEFINED || apply(state, &rules->fp, cfa, &fp)) && enter(state, cfa, ra, fp);
}

/* To the caller. False: it ends here. */
static bool step(struct state *state, bool innermost)
{
	uintptr_t at = state->pc - !innermost; /* a call may be a function's last instruction */
	struct frame_row row;
	struct frame_rules rules;
	if (at - state->object.start >= state->object.nbytes && !table_object(at, &state->object))
		return false;
	uint64_t key = frame_key(at, state->object.identity);
	if (likely(frame_cache_find(key, &row)))
		return follow_row(state, row);
	if (!frame_rules_read(&state->object, at, &rules))
		return false;
	if (frame_rules_pack(&rules, &row))
		frame_cache_put(key, row);
	return follow_rules(state, &rules);
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
