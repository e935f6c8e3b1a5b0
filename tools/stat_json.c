/* SPDX-License-Identifier: MIT */
/*
 * Look: a snapshot as one JSON object. quarry(1) lists the members; a member is added, never renamed, while "version"
 * is the same.
 */
#include <inttypes.h>
#include <stdio.h>

#include "look.h"

#define JSON_VERSION 1

static void string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c >= 0x7f) /* names of threads are bytes, not text */
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

/* ,"name":number */
static void number(const char *name, uint64_t value)
{
	printf(",\"%s\":%" PRIu64, name, value);
}

static void print_totals(const struct snapshot *snapshot)
{
	number("resident", snapshot->resident);
	number("minor_faults", snapshot->minor_faults);
	number("major_faults", snapshot->major_faults);
	number("mapped", snapshot->mapped);
	number("live", snapshot->live);
	number("span_live", snapshot->span_live);
	number("requested", snapshot->requested);
	number("requested_kind", snapshot->requested_kind);
	number("pools_free", snapshot->pools_free);
	number("large_live", snapshot->large_live);
	number("large_kept", snapshot->large_kept);
	number("cached", snapshot->cached);
	number("free_dirty", snapshot->free);
	number("free_clean", snapshot->clean);
	number("metadata", snapshot->records);
	number("purged", snapshot->purged);
	number("purge_calls", snapshot->purge_calls);
	number("map_failures", snapshot->map_failures);
	number("bind_failures", snapshot->bind_failures);
	number("arenas_mapped", snapshot->arenas_mapped);
	number("arenas_retired", snapshot->arenas_retired);
	number("heaps_attached", snapshot->heaps_attached);
	number("refills", snapshot->refills);
	number("flushes", snapshot->flushes);
	number("visits", snapshot->visits);
	number("remote_frees", snapshot->remote_frees);
	number("duration_us", snapshot->duration_us);
}

static void print_nodes(const struct snapshot *snapshot)
{
	printf(",\n\"nodes\":[");
	for (size_t i = 0; i < snapshot->nnodes; i++) {
		const struct snapshot_node *node = &snapshot->nodes[i];

		printf("%s{\"node\":%zu,\"os_index\":%d", i ? ",\n" : "", i, node->os_index);
		number("arenas", node->arenas);
		number("heaps", node->heaps);
		number("used", node->used);
		number("free_dirty", node->dirty);
		number("free_clean", node->clean);
		putchar('}');
	}
	putchar(']');
}

static void print_arenas(const struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;

	printf(",\n\"arenas\":[");
	for (size_t i = 0; i < snapshot->narenas; i++) {
		const struct snapshot_arena *arena = &snapshot->arenas[i];

		printf("%s{\"address\":\"0x%" PRIx64 "\"", i ? ",\n" : "", arena->address);
		number("bytes", (layout->head_units + arena->units) << layout->pool_bits);
		number("unit_bytes", UINT64_C(1) << layout->pool_bits);
		number("head_bytes", (uint64_t)layout->head_units << layout->pool_bits);
		number("node", arena->node);
		number("units", arena->units);
		number("free", arena->free);
		number("dirty", arena->dirty);
		number("pools", arena->pools);
		number("spans", arena->spans);
		number("pool_out", arena->pool_out);
		number("span_bytes", arena->span_nbytes);
		putchar('}');
	}
	putchar(']');
}

static void print_classes(const struct snapshot *snapshot)
{
	printf(",\n\"classes\":[");
	for (size_t i = 0; i < snapshot->nclasses; i++) {
		const struct snapshot_class *class = &snapshot->classes[i];

		printf("%s{\"class\":%zu", i ? ",\n" : "", i);
		number("bytes", class->nbytes);
		number("capacity", class->capacity);
		number("pools", class->pools);
		number("out", class->out);
		number("cached", class->cached);
		putchar('}');
	}
	putchar(']');
}

static void print_heaps(const struct look *look, const struct snapshot *snapshot)
{
	char name[32];

	printf(",\n\"heaps\":[");
	for (size_t i = 0; i < snapshot->nheaps; i++) {
		const struct snapshot_heap *heap = &snapshot->heaps[i];

		printf("%s{\"heap\":%u,\"state\":\"%s\"", i ? ",\n" : "", heap->id, look_kind(heap->kind));
		printf(",\"node\":%d", look_node(snapshot, heap));
		number("tid", heap->tid);
		printf(",\"name\":");
		string(look_thread_name(&look->target, heap->tid, name));
		number("cached", heap->cached);
		number("waiting", heap->inbox);
		number("pools", heap->pools);
		number("refills", heap->refills);
		number("flushes", heap->flushes);
		number("visits", heap->visits);
		number("remote_frees", heap->remote_frees);
		putchar('}');
	}
	putchar(']');
}

void look_print_json(const struct look *look, const struct snapshot *snapshot)
{
	printf("{\"version\":%d,\"quarry\":", JSON_VERSION);
	string(snapshot->layout->library);
	printf(",\"copy\":");
	string(look->image->path);
	printf(",\"command\":");
	string(look->target.command);
	printf(",\"pid\":%d", (int)look->target.pid);
	print_totals(snapshot);
	print_nodes(snapshot);
	print_arenas(snapshot);
	print_classes(snapshot);
	print_heaps(look, snapshot);
	printf(",\n\"damage\":[");
	for (size_t i = 0; i < snapshot->ndamage && i < SNAPSHOT_MAX_DAMAGE; i++) {
		printf("%s", i ? ",\n" : "");
		string(snapshot->damage[i]);
	}
	puts("]}");
}
