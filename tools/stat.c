/* SPDX-License-Identifier: MIT */
/*
 * quarry stat: what a process or a core file has in its heaps, once, as text or JSON.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "look.h"
#include "quarry/quarry.h"

/* Lines of a table that are shown without --all. */
#define SHORT_LINES 16
#define MAP_COLUMNS 64

struct request {
	const char *target;
	const char *copy;
	bool json, all, map;
	uint64_t arena; /* of the map; 0: the first */
};

/* --- text --------------------------------------------------------------------------------------------------------- */

static void row(const char *name, uint64_t nbytes, const char *note)
{
	char text[TOOL_NBYTES_SIZE];

	printf("  %-12s%12s  %s\n", name, tool_nbytes(text, nbytes), note);
}

static void print_totals(const struct look *look, const struct snapshot *snapshot)
{
	printf("%s, %s %d, on Quarry %s (%s)\n", look->target.command,
	       look->target.core >= 0 ? "core of process" : "process",
	       (int)look->target.pid, snapshot->layout->library, look->image->path);
	if (look->nimages > 1)
		printf("  (%zu copies of Quarry are loaded; --copy=PATH chooses another)\n", look->nimages);
	if (snapshot->resident > 0)
		row("resident", snapshot->resident, "of the whole process, as the kernel counts");
	row("mapped", snapshot->mapped, "address space of arenas, large blocks and records");
	row("live", snapshot->live, "in blocks that the program holds");
	if (snapshot->requested_kind != QUARRY_REQUESTED_UNKNOWN)
		row("  requested", snapshot->requested, snapshot->requested_kind == QUARRY_REQUESTED_EXACT
								? "of that, as the program asked for it"
								: "of that, as the program asked for it, by the profile");
	row("  spans", snapshot->span_live, "of that, in whole units of arenas");
	row("  large", snapshot->large_live, "of that, in mappings of their own");
	row("cached", snapshot->cached, "in thread caches and on the way home");
	row("free", snapshot->free, "in pools, arenas and kept large blocks, perhaps resident");
	row("clean", snapshot->clean, "given back or never touched");
	row("records", snapshot->records, "Quarry's own, touched as needed");
	row("purged", snapshot->purged, "given back to the system so far");
	printf("  arenas    %8zu mapped now, %" PRIu64 " ever, %" PRIu64 " retired; %" PRIu64 " madvise calls\n",
	       snapshot->narenas, snapshot->arenas_mapped, snapshot->arenas_retired, snapshot->purge_calls);
	printf("  heaps     %8zu made, %" PRIu64 " attached; %" PRIu64 " refills, %" PRIu64 " flushes, %" PRIu64 " visits\n",
	       snapshot->nheaps, snapshot->heaps_attached, snapshot->refills, snapshot->flushes, snapshot->visits);
	printf("  remote    %8" PRIu64 " blocks came home from other threads\n", snapshot->remote_frees);
	if (snapshot->minor_faults + snapshot->major_faults > 0)
		printf("  faults    %8" PRIu64 " minor, %" PRIu64 " major, of the whole process\n",
		       snapshot->minor_faults,
		       snapshot->major_faults);
	if (snapshot->map_failures + snapshot->bind_failures > 0)
		printf("  refused   %8" PRIu64 " mappings, %" PRIu64 " bindings\n", snapshot->map_failures,
		       snapshot->bind_failures);
}

/* Says how many lines of n were left out; returns the number to show. */
static size_t shown(const struct request *request, size_t n)
{
	return request->all || n <= SHORT_LINES ? n : SHORT_LINES;
}

static void print_rest(size_t n, size_t lines)
{
	if (n > lines)
		printf("  and %zu more (--all)\n", n - lines);
}

static void print_nodes(const struct snapshot *snapshot)
{
	char text[3][TOOL_NBYTES_SIZE];

	printf("\nnode    os  arenas   heaps        used  free dirty  free clean\n");
	for (size_t i = 0; i < snapshot->nnodes; i++) {
		const struct snapshot_node *node = &snapshot->nodes[i];

		printf("%4zu  %4d  %6" PRIu64 "  %6" PRIu64 "  %10s  %10s  %10s\n", i, node->os_index, node->arenas,
		       node->heaps, tool_nbytes(text[0], node->used), tool_nbytes(text[1], node->dirty),
		       tool_nbytes(text[2], node->clean));
	}
}

static void print_arenas(const struct request *request, const struct snapshot *snapshot)
{
	char text[2][TOOL_NBYTES_SIZE];
	size_t lines = shown(request, snapshot->narenas);

	printf("\narena           node  used  dirty  pools  spans  blocks out       spans\n");
	for (size_t i = 0; i < lines; i++) {
		const struct snapshot_arena *arena = &snapshot->arenas[i];

		printf("0x%012" PRIx64 "  %4u  %3u%%   %3u%%  %5u  %5u  %10s  %10s\n", arena->address, arena->node,
		       look_percent(arena->units - arena->free, arena->units), look_percent(arena->dirty, arena->units),
		       arena->pools, arena->spans, tool_nbytes(text[0], arena->pool_out),
		       tool_nbytes(text[1], arena->span_nbytes));
	}
	print_rest(snapshot->narenas, lines);
}

static void print_classes(const struct snapshot *snapshot)
{
	char text[TOOL_NBYTES_SIZE];

	printf("\nclass  block     pools        blocks  full      out       cached\n");
	for (size_t i = 0; i < snapshot->nclasses; i++) {
		const struct snapshot_class *class = &snapshot->classes[i];
		uint64_t blocks = class->pools * class->capacity;

		if (class->pools + class->cached == 0)
			continue;
		printf("%5zu  %5" PRIu64 "  %8" PRIu64 "  %12" PRIu64 "  %3u%%  %10s  %6" PRIu64 "\n", i, class->nbytes,
		       class->pools, class->out, look_percent(class->out, blocks),
		       tool_nbytes(text, class->out * class->nbytes), class->cached);
	}
}

static int by_cached(const void *a, const void *b)
{
	const struct snapshot_heap *left = a, *right = b;

	return left->cached != right->cached ? (left->cached < right->cached ? 1 : -1) : (int)left->id - (int)right->id;
}

static void print_heaps(const struct request *request, const struct look *look, const struct snapshot *snapshot)
{
	char text[2][TOOL_NBYTES_SIZE], name[32];
	size_t lines = shown(request, snapshot->nheaps);

	qsort(snapshot->heaps, snapshot->nheaps, sizeof *snapshot->heaps, by_cached);
	printf("\nheap  state   node      tid  name                  cached    waiting  pools   refills   flushes  remote\n");
	for (size_t i = 0; i < lines; i++) {
		const struct snapshot_heap *heap = &snapshot->heaps[i];

		printf("%4u  %-6s  %4d  %7u  %-16s  %10s %10s  %5" PRIu64 "  %8" PRIu64 "  %8" PRIu64 "  %6" PRIu64 "\n", heap->id,
		       look_kind(heap->kind), look_node(snapshot, heap), heap->tid,
		       look_thread_name(&look->target, heap->tid, name), tool_nbytes(text[0], heap->cached),
		       tool_nbytes(text[1], heap->inbox), heap->pools, heap->refills,
		       heap->flushes, heap->remote_frees);
	}
	print_rest(snapshot->nheaps, lines);
}

static void print_map(const struct snapshot *snapshot)
{
	static const char *const fullness = "0123456789";

	printf("\nunits of arena 0x%" PRIx64 ": H head, . clean, - free and dirty, 0..9 pool (full in tenths), S span, ? changing\n",
	       snapshot->map_of);
	for (size_t i = 0; i < snapshot->nunits; i++) {
		const struct snapshot_unit *unit = &snapshot->units[i];
		unsigned tenth = unit->full / 10u;

		if (i % MAP_COLUMNS == 0)
			printf("%s%6zu  ", i ? "\n" : "", i);
		putchar(unit->kind == UNIT_POOL ? fullness[tenth > 9 ? 9 : tenth] : "H.-?S?"[unit->kind]);
	}
	putchar('\n');
}

/* --- command ------------------------------------------------------------------------------------------------------ */

static int print(const struct request *request, const struct look *look, const struct snapshot *snapshot)
{
	if (request->json) {
		look_print_json(look, snapshot);
	} else {
		print_totals(look, snapshot);
		print_nodes(snapshot);
		print_arenas(request, snapshot);
		print_classes(snapshot);
		print_heaps(request, look, snapshot);
		if (request->map && snapshot->nunits > 0)
			print_map(snapshot);
	}
	for (size_t i = 0; i < snapshot->ndamage && i < SNAPSHOT_MAX_DAMAGE; i++)
		tool_warn("damaged: %s", snapshot->damage[i]);
	if (snapshot->ndamage > SNAPSHOT_MAX_DAMAGE)
		tool_warn("damaged: and %zu more", snapshot->ndamage - SNAPSHOT_MAX_DAMAGE);
	return snapshot->ndamage > 0 ? TOOL_DAMAGED : 0;
}

static void help(void)
{
	puts("usage: quarry stat [OPTION...] PID|CORE\n\n"
	     "Show what a running process, or a core file, has in its heaps. The process is neither stopped nor asked.\n\n"
	     "  --json           everything, as one JSON object\n"
	     "  --all            every arena and heap, not the first ones\n"
	     "  --map            the units of the first arena too\n"
	     "  --map=ADDRESS    of the arena at this address\n"
	     "  --copy=PATH      where several copies of Quarry are loaded: the one with this in its path");
}

/* Of an arena, in hexadecimal. */
static uint64_t address(const char *argument, const char *text)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 16);
	if (!isxdigit((unsigned char)*text) || *end || errno)
		tool_fail(TOOL_FAILED, "%s: a hexadecimal address is needed", argument);
	return value;
}

static void parse(struct request *request, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *map = tool_value(argv[i], "--map");

		if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(0);
		}
		if (strcmp(argv[i], "--json") == 0)
			request->json = true;
		else if (strcmp(argv[i], "--all") == 0)
			request->all = true;
		else if (strcmp(argv[i], "--map") == 0 || map)
			request->map = true, request->arena = map ? address(argv[i], map) : 0;
		else if (tool_value(argv[i], "--copy"))
			request->copy = tool_value(argv[i], "--copy");
		else if (argv[i][0] == '-' || request->target)
			tool_fail(TOOL_FAILED, "no option %s; quarry stat --help lists them", argv[i]);
		else
			request->target = argv[i];
	}
	if (!request->target)
		tool_fail(TOOL_FAILED, "no process given; quarry stat --help says how");
}

int stat_main(int argc, char **argv)
{
	static struct look look;
	static struct snapshot snapshot;
	struct request request = { .target = NULL };

	parse(&request, argc, argv);
	if (!look_open(&look, request.target, request.copy))
		tool_fail(TOOL_NO_TARGET, "%s", look.target.error);
	if (!snapshot_take(&snapshot, &look.target, &look.image->layout))
		tool_fail(TOOL_NO_TARGET, "%s", look.target.error);
	if (request.map) {
		snapshot.map_of = request.arena ? request.arena : snapshot.narenas ? snapshot.arenas[0].address : 0;
		if (!snapshot_take(&snapshot, &look.target, &look.image->layout))
			tool_fail(TOOL_NO_TARGET, "%s", look.target.error);
		if (snapshot.nunits == 0)
			tool_warn("there is no arena at 0x%" PRIx64, snapshot.map_of);
	}
	int status = print(&request, &look, &snapshot);
	snapshot_free(&snapshot);
	target_close(&look.target);
	return status;
}
