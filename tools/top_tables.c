/* SPDX-License-Identifier: MIT */
/*
 * Top: tables of a snapshot, and their order.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "top.h"

static const struct column heap_columns[] = {
	{ "HEAP", 5, false },      { "STATE", -6, true },     { "NODE", 4, false },     { "TID", 8, false },
	{ "NAME", -16, true },     { "CACHED", 10, true },    { "WAITING", 10, true },  { "POOLS", 6, false },
	{ "REFILL/s", 9, false },  { "FLUSH/s", 9, false },   { "REMOTE/s", 9, false }, { "VISITS", 7, false },
};
static const struct column class_columns[] = {
	{ "CLASS", 5, false }, { "BLOCK", 6, false },   { "POOLS", 8, false },   { "BLOCKS", 12, false },
	{ "FULL%", 6, false }, { "OUT", 11, true },     { "UNUSED", 11, true },  { "CACHED", 9, false },
};
static const struct column arena_columns[] = {
	{ "ARENA", -16, true },   { "NODE", 4, false },  { "USED%", 6, false }, { "DIRTY%", 6, false },
	{ "POOLS", 6, false },
	{ "BLOCKS OUT", 11, true }, { "SPANS", 6, false }, { "IN SPANS", 11, true },
};
static const struct column node_columns[] = {
	{ "NODE", 5, false },    { "OS", 4, false },     { "ARENAS", 7, false }, { "HEAPS", 7, false },
	{ "USED", 11, true },    { "DIRTY", 11, true },  { "CLEAN", 11, true },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *name;
	const struct column *columns;
	size_t ncolumns;
	unsigned sort;
} views[VIEWS] = {
	[VIEW_HEAPS] = { "heaps", heap_columns, COUNT(heap_columns), 5 },
	[VIEW_CLASSES] = { "classes", class_columns, COUNT(class_columns), 5 },
	[VIEW_ARENAS] = { "arenas", arena_columns, COUNT(arena_columns), 2 },
	[VIEW_NODES] = { "nodes", node_columns, COUNT(node_columns), 4 },
	[VIEW_MAP] = { "map", NULL, 0, 0 },
};

size_t table_columns(enum view view, const struct column **columns)
{
	*columns = views[view].columns;
	return views[view].ncolumns;
}

unsigned table_first_sort(enum view view)
{
	return views[view].sort;
}

const char *table_name(enum view view)
{
	return views[view].name;
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

static struct cell number(double value)
{
	struct cell cell = { .number = value };

	snprintf(cell.text, sizeof cell.text, "%.0f", value);
	return cell;
}

static struct cell memory(uint64_t nbytes)
{
	struct cell cell = { .number = (double)nbytes };

	tool_nbytes(cell.text, nbytes);
	return cell;
}

static struct cell word(const char *text, double order)
{
	struct cell cell = { .number = order };

	snprintf(cell.text, sizeof cell.text, "%.*s", (int)sizeof cell.text - 1, text);
	return cell;
}

static const struct snapshot_heap *heap_before(const struct top *top, uint32_t id)
{
	for (size_t i = id < top->nheaps_before ? id : top->nheaps_before; i-- > 0;) {
		if (top->heaps_before[i].id == id)
			return &top->heaps_before[i];
	}
	return NULL;
}

static double rate(const struct top *top, uint64_t now, uint64_t before)
{
	return top->seconds > 0 && now > before ? (double)(now - before) / top->seconds : 0;
}

static void heap_row(const struct top *top, size_t row, struct cell *cells)
{
	const struct snapshot_heap *heap = &top->now.heaps[row], *before = heap_before(top, heap->id);
	char name[32];

	before = before ? before : heap;
	look_thread_name(&top->look.target, heap->tid, name);
	cells[0] = number(heap->id);
	cells[1] = word(look_kind(heap->kind), -(double)heap->kind);
	cells[2] = number(look_node(&top->now, heap));
	cells[3] = number(heap->tid);
	cells[4] = word(name, heap->tid);
	cells[5] = memory(heap->cached);
	cells[6] = memory(heap->inbox);
	cells[7] = number((double)heap->pools);
	cells[8] = number(rate(top, heap->refills, before->refills));
	cells[9] = number(rate(top, heap->flushes, before->flushes));
	cells[10] = number(rate(top, heap->remote_frees, before->remote_frees));
	cells[11] = number((double)heap->visits);
}

static void class_row(const struct top *top, size_t row, struct cell *cells)
{
	const struct snapshot_class *class = &top->now.classes[row];
	uint64_t blocks = class->pools * class->capacity;

	cells[0] = number((double)row);
	cells[1] = number((double)class->nbytes);
	cells[2] = number((double)class->pools);
	cells[3] = number((double)class->out);
	cells[4] = number(look_percent(class->out, blocks));
	cells[5] = memory(class->out * class->nbytes);
	cells[6] = memory((blocks > class->out ? blocks - class->out : 0) * class->nbytes);
	cells[7] = number((double)class->cached);
}

static void arena_row(const struct top *top, size_t row, struct cell *cells)
{
	const struct snapshot_arena *arena = &top->now.arenas[row];
	char address[20];

	snprintf(address, sizeof address, "0x%012" PRIx64, arena->address);
	cells[0] = word(address, (double)arena->address);
	cells[1] = number(arena->node);
	cells[2] = number(look_percent(arena->units - arena->free, arena->units));
	cells[3] = number(look_percent(arena->dirty, arena->units));
	cells[4] = number(arena->pools);
	cells[5] = memory(arena->pool_out);
	cells[6] = number(arena->spans);
	cells[7] = memory(arena->span_nbytes);
}

static void node_row(const struct top *top, size_t row, struct cell *cells)
{
	const struct snapshot_node *node = &top->now.nodes[row];

	cells[0] = number((double)row);
	cells[1] = number(node->os_index);
	cells[2] = number((double)node->arenas);
	cells[3] = number((double)node->heaps);
	cells[4] = memory(node->used);
	cells[5] = memory(node->dirty);
	cells[6] = memory(node->clean);
}

/* --- order -------------------------------------------------------------------------------------------------------- */

static struct {
	const struct table *table;
	unsigned column;
	bool reverse;
} by; /* of the sort under way: qsort has no argument for it */

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
	double x = by.table->cells[left * by.table->ncolumns + by.column].number;
	double y = by.table->cells[right * by.table->ncolumns + by.column].number;
	int order = x != y ? (x < y ? 1 : -1) : left < right ? -1 : 1;

	return by.reverse ? -order : order;
}

/* Classes without pools are not shown. */
static bool is_shown(const struct top *top, size_t row)
{
	return top->view != VIEW_CLASSES || top->now.classes[row].pools + top->now.classes[row].cached > 0;
}

void table_make(struct table *table, const struct top *top)
{
	static void (*const fill[VIEWS])(const struct top *, size_t, struct cell *) = { heap_row, class_row, arena_row,
											   node_row, NULL };
	const size_t nrows[VIEWS] = { top->now.nheaps, top->now.nclasses, top->now.narenas, top->now.nnodes, 0 };

	*table = (struct table){ .ncolumns = table_columns(top->view, &table->columns) };
	table->ncolumns = table_columns(top->view, &table->columns);
	table->cells = calloc(nrows[top->view] * table->ncolumns + 1, sizeof *table->cells);
	table->order = calloc(nrows[top->view] + 1, sizeof *table->order);
	if (!table->cells || !table->order)
		tool_fail(TOOL_FAILED, "no memory");
	for (size_t row = 0; row < nrows[top->view]; row++) {
		fill[top->view](top, row, &table->cells[row * table->ncolumns]);
		if (is_shown(top, row))
			table->order[table->nrows++] = (uint32_t)row;
	}
	by.table = table;
	by.column = top->sort[top->view];
	by.reverse = top->reverse[top->view];
	if (table->nrows > 1)
		qsort(table->order, table->nrows, sizeof *table->order, compare);
}

void table_free(struct table *table)
{
	free(table->cells);
	free(table->order);
}
