/* SPDX-License-Identifier: MIT */
/*
 * Snapshot: see snapshot.h. Heaps, counters and sums; snapshot_arenas.c reads arenas.
 */
#include "snapshot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "quarry/quarry.h"
#include "tool.h"

/* Heaps that the library can have. */
#define HEAPS_MAX ((uint64_t)1 << 19)
/* No list of a cache is longer. */
#define LIST_MAX ((int64_t)1 << 24)
#define POOL_UNITS_MAX 16
#define ATTEMPTS 5

static const struct layout_field word = { 0, sizeof(uint64_t) };
static const struct layout_field half = { 0, sizeof(uint32_t) };

void snapshot_damage(struct snapshot *snapshot, const char *format, ...)
{
	va_list list;

	if (snapshot->ndamage < SNAPSHOT_MAX_DAMAGE) {
		va_start(list, format);
		vsnprintf(snapshot->damage[snapshot->ndamage], sizeof snapshot->damage[0], format, list);
		va_end(list);
	}
	snapshot->ndamage++;
}

uint64_t snapshot_field(const void *record, struct layout_field field)
{
	const char *at = (const char *)record + field.offset;
	union {
		uint8_t u8;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
	} value = { .u64 = 0 };

	memcpy(&value, at, field.nbytes);
	return field.nbytes == 1 ? value.u8 : field.nbytes == 2 ? value.u16 : field.nbytes == 4 ? value.u32 : value.u64;
}

uint64_t snapshot_number(const struct snapshot *snapshot, const volatile void *object, struct layout_field field)
{
	char bytes[sizeof(uint64_t)];

	if (!target_read(snapshot->target, (uintptr_t)object + field.offset, bytes, field.nbytes))
		return 0;
	field.offset = 0;
	return snapshot_field(bytes, field);
}

/* --- classes and nodes -------------------------------------------------------------------------------------------- */

static bool read_classes(struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;
	size_t nbytes = layout->nclasses * layout->size_class_nbytes;
	char *table = malloc(nbytes);
	bool read = table && target_read(snapshot->target, (uintptr_t)layout->size_classes, table, nbytes);

	snapshot->nclasses = read ? layout->nclasses : 0;
	for (size_t i = 0; i < snapshot->nclasses; i++) {
		const char *record = table + i * layout->size_class_nbytes;

		snapshot->classes[i] = (struct snapshot_class){
			.nbytes = snapshot_field(record, layout->class_nbytes),
			.units = (uint32_t)snapshot_field(record, layout->class_units),
			.capacity = (uint32_t)snapshot_field(record, layout->class_capacity),
		};
		if (snapshot->classes[i].nbytes == 0 || snapshot->classes[i].capacity == 0 ||
		    snapshot->classes[i].units == 0 || snapshot->classes[i].units > POOL_UNITS_MAX)
			read = false;
	}
	free(table);
	return read;
}

static void read_nodes(struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;
	uint64_t topology = snapshot_number(snapshot, layout->topology, word), nodes;

	memset(snapshot->nodes, 0, sizeof snapshot->nodes);
	snapshot->nnodes = 1;
	snapshot->nodes[0].os_index = -1;
	if (topology == 0)
		return;
	snapshot->nnodes = snapshot_number(snapshot, (void *)(uintptr_t)topology, layout->topology_nnodes);
	nodes = snapshot_number(snapshot, (void *)(uintptr_t)topology, layout->topology_nodes);
	if (snapshot->nnodes == 0 || snapshot->nnodes > SNAPSHOT_MAX_NODES) {
		snapshot_damage(snapshot, "the table of nodes at 0x%" PRIx64 " says %zu", topology, snapshot->nnodes);
		snapshot->nnodes = 1;
		return;
	}
	for (size_t i = 0; i < snapshot->nnodes; i++)
		snapshot->nodes[i].os_index = (int)snapshot_number(
			snapshot, (void *)(uintptr_t)(nodes + i * layout->topology_node_nbytes), layout->node_os_index);
}

/* --- heaps -------------------------------------------------------------------------------------------------------- */

/* As lib/stats.c counts it. */
static uint64_t cached_nbytes(struct snapshot *snapshot, const char *record)
{
	const struct layout *layout = snapshot->layout;
	uint64_t nbytes = 0;

	for (uint32_t i = 0; i < layout->nclasses; i++) {
		struct layout_field head = { layout->heap_heads.offset + i * 8, 8 };
		struct layout_field room = { layout->heap_rooms.offset + i * 4, 4 };
		struct layout_field bound = { layout->heap_bounds.offset + i * 4, 4 };
		const char *class = record + layout->heap_classes.offset + i * layout->cache_class_nbytes;
		int64_t length = (int64_t)snapshot_field(record, bound) - (int32_t)snapshot_field(record, room) +
				 (int64_t)snapshot_field(class, layout->class_excess);

		if (snapshot_field(record, head) == 0 || length <= 0)
			continue;
		if (length > LIST_MAX) {
			snapshot_damage(snapshot, "a cache list of heap %u says it has %" PRId64 " blocks",
					(unsigned)snapshot_field(record, layout->heap_id), length);
			continue;
		}
		snapshot->classes[i].cached += (uint64_t)length;
		nbytes += (uint64_t)length * snapshot->classes[i].nbytes;
	}
	for (uint32_t i = 0; i < layout->noutboxes; i++) {
		const char *box = record + layout->heap_outboxes.offset + i * layout->outbox_record_nbytes;
		int64_t filled = (int64_t)layout->outbox_nbytes - (int32_t)snapshot_field(box, layout->outbox_room);

		if (snapshot_field(box, layout->outbox_head) != 0 && filled > 0)
			nbytes += (uint64_t)filled;
	}
	return nbytes;
}

/* The record as read: is it that heap's? */
static bool is_heap(struct snapshot *snapshot, const char *record, uint32_t id, uint64_t address)
{
	const struct layout *layout = snapshot->layout;
	uint64_t says = snapshot_field(record, layout->heap_id), kind = snapshot_field(record, layout->heap_kind),
		 node = snapshot_field(record, layout->heap_node);

	if (says == id && kind <= SNAPSHOT_SHARED && node < SNAPSHOT_MAX_NODES)
		return true;
	snapshot_damage(snapshot, "heap %u at 0x%" PRIx64 " says id %" PRIu64 ", kind %" PRIu64 ", node %" PRIu64, id,
			address, says, kind, node);
	return false;
}

static void add_heap(struct snapshot *snapshot, const char *record, uint32_t id)
{
	const struct layout *layout = snapshot->layout;
	struct snapshot_heap *heap = &snapshot->heaps[snapshot->nheaps++];

	heap->id = id;
	heap->kind = (enum snapshot_kind)snapshot_field(record, layout->heap_kind);
	heap->node = (uint32_t)snapshot_field(record, layout->heap_node);
	heap->tid = heap->kind == SNAPSHOT_ATTACHED ? (uint32_t)snapshot_field(record, layout->heap_tid) : 0;
	if (heap->kind != SNAPSHOT_SHARED && !snapshot_field(record, layout->heap_taken))
		heap->cached = cached_nbytes(snapshot, record);
	heap->inbox = snapshot_field(record, layout->heap_inbox_nbytes);
	heap->refills = snapshot_field(record, layout->heap_refills);
	heap->flushes = snapshot_field(record, layout->heap_flushes);
	heap->visits = snapshot_field(record, layout->heap_visits);
	heap->remote_frees = snapshot_field(record, layout->heap_remote_frees);
	heap->out = (int64_t)snapshot_field(record, layout->heap_out_nbytes);
	if (heap->node < snapshot->nnodes)
		snapshot->nodes[heap->node].heaps++;
}

static void read_heap(struct snapshot *snapshot, uint32_t id, uint64_t *chunk, char *record)
{
	const struct layout *layout = snapshot->layout;
	uint64_t per = layout->heaps_per_chunk, entry = (uintptr_t)layout->heap_directory + id / per * sizeof(uint64_t);

	if (id == 1 || id % per == 0) {
		uint64_t at = snapshot_number(snapshot, (void *)(uintptr_t)entry, word);

		if (!target_read(snapshot->target, at, chunk, per * sizeof *chunk)) {
			memset(chunk, 0, per * sizeof *chunk);
			snapshot_damage(snapshot, "the heaps from %u on are said to be at 0x%" PRIx64, id, at);
		}
	}
	if (!target_read(snapshot->target, chunk[id % per], record, layout->heap_nbytes))
		snapshot_damage(snapshot, "heap %u is said to be at 0x%" PRIx64, id, chunk[id % per]);
	else if (is_heap(snapshot, record, id, chunk[id % per]))
		add_heap(snapshot, record, id);
}

static void read_heaps(struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;
	uint64_t count = snapshot_number(snapshot, layout->heap_count, half);
	uint64_t *chunk = calloc(layout->heaps_per_chunk, sizeof *chunk);
	char *record = malloc(layout->heap_nbytes);

	if (count > HEAPS_MAX) {
		snapshot_damage(snapshot, "there are said to be %" PRIu64 " heaps", count);
		count = 0;
	}
	snapshot->nheaps = 0;
	free(snapshot->heaps);
	snapshot->heaps = calloc(count + 1, sizeof *snapshot->heaps);
	if (!chunk || !record || !snapshot->heaps)
		tool_fail(TOOL_FAILED, "no memory");
	/* A directory that is damaged makes every heap damaged: a few are enough to know. */
	for (uint32_t id = 1; id <= count && snapshot->ndamage < 4 * SNAPSHOT_MAX_DAMAGE; id++)
		read_heap(snapshot, id, chunk, record);
	free(chunk);
	free(record);
}

/* --- the process -------------------------------------------------------------------------------------------------- */

static void read_process(struct snapshot *snapshot)
{
	char name[64], text[512], *rest;
	uint64_t size, resident;

	snapshot->resident = snapshot->minor_faults = snapshot->major_faults = 0;
	if (snapshot->target->core >= 0)
		return;
	snprintf(name, sizeof name, "/proc/%d/statm", (int)snapshot->target->pid);
	if (tool_read_file(name, text, sizeof text) && sscanf(text, "%" SCNu64 " %" SCNu64, &size, &resident) == 2)
		snapshot->resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	snprintf(name, sizeof name, "/proc/%d/stat", (int)snapshot->target->pid);
	if (tool_read_file(name, text, sizeof text) && (rest = strrchr(text, ')')) != NULL)
		sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %" SCNu64 " %*u %" SCNu64, &snapshot->minor_faults,
		       &snapshot->major_faults);
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

static void read_counters(struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;

	snapshot->records = snapshot_number(snapshot, layout->records_nbytes, word);
	snapshot->large_live = snapshot_number(snapshot, layout->large_live, word);
	snapshot->large_kept = snapshot_number(snapshot, layout->large_kept, word);
	snapshot->heaps_attached = snapshot_number(snapshot, layout->threads, half);
	snapshot->bind_failures = snapshot_number(snapshot, layout->bind_failures, word);
	snapshot->arenas_mapped = snapshot_number(snapshot, layout->arena_counters, layout->arenas_mapped);
	snapshot->arenas_retired = snapshot_number(snapshot, layout->arena_counters, layout->arenas_retired);
	snapshot->mapped = snapshot_number(snapshot, layout->arena_counters, layout->arenas_nbytes);
	snapshot->purged = snapshot_number(snapshot, layout->os_counters, layout->os_purged_nbytes);
	snapshot->purge_calls = snapshot_number(snapshot, layout->os_counters, layout->os_purge_calls);
	snapshot->map_failures = snapshot_number(snapshot, layout->os_counters, layout->os_map_failures);
	snapshot->mapped += snapshot->records + snapshot->large_live + snapshot->large_kept;
}

/* As lib/stats.c, but for typed caches, of which a snapshot knows nothing: their slabs count as blocks. */
static void read_requested(struct snapshot *snapshot)
{
	const struct layout *layout = snapshot->layout;
	uint64_t requested, usable;

	snapshot->requested = snapshot->requested_kind = 0;
	if (layout->counts != 0) {
		snapshot->requested = snapshot_number(snapshot, layout->requested, word);
		snapshot->requested_kind = QUARRY_REQUESTED_EXACT;
	} else if (snapshot_number(snapshot, layout->sample_control, layout->sample_rate) != 0) {
		requested = snapshot_number(snapshot, layout->sample_control, layout->sample_requested);
		usable = snapshot_number(snapshot, layout->sample_control, layout->sample_usable);
		if (usable == 0 || requested > usable)
			return;
		snapshot->requested = (uint64_t)((double)requested / (double)usable * (double)snapshot->live);
		snapshot->requested_kind = QUARRY_REQUESTED_ESTIMATED;
	}
}

/* As lib/stats.c: what units in use hold beside the blocks that are out is free and perhaps resident. */
static void add_up(struct snapshot *snapshot)
{
	int64_t out = 0;
	uint64_t used = 0, dirty = 0, clean = 0;

	snapshot->cached = snapshot->refills = snapshot->flushes = snapshot->visits = snapshot->remote_frees = 0;
	for (size_t i = 0; i < snapshot->nheaps; i++) {
		const struct snapshot_heap *heap = &snapshot->heaps[i];

		snapshot->cached += heap->cached + heap->inbox;
		snapshot->refills += heap->refills;
		snapshot->flushes += heap->flushes;
		snapshot->visits += heap->visits;
		snapshot->remote_frees += heap->remote_frees;
		out += heap->out;
	}
	snapshot->span_live = 0;
	for (size_t i = 0; i < snapshot->narenas; i++)
		snapshot->span_live += snapshot->arenas[i].span_nbytes;
	for (size_t i = 0; i < snapshot->nnodes; i++) {
		used += snapshot->nodes[i].used;
		dirty += snapshot->nodes[i].dirty;
		clean += snapshot->nodes[i].clean;
	}
	snapshot->live = out > (int64_t)snapshot->cached ? (uint64_t)out - snapshot->cached : 0;
	uint64_t held = snapshot->live + snapshot->cached + snapshot->span_live;
	snapshot->pools_free = used > held ? used - held : 0;
	snapshot->free = dirty + snapshot->pools_free + snapshot->large_kept;
	snapshot->clean = clean;
	snapshot->live += snapshot->span_live + snapshot->large_live;
	snapshot->records += (snapshot->narenas * snapshot->layout->head_units) << snapshot->layout->pool_bits;
	read_requested(snapshot);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool snapshot_take(struct snapshot *snapshot, struct target *target, const struct layout *layout)
{
	uint64_t start = now_us();
	bool steady = false;

	snapshot->target = target;
	snapshot->layout = layout;
	for (int attempt = 1; attempt <= ATTEMPTS && !steady; attempt++) {
		bool last = attempt == ATTEMPTS;

		snapshot->ndamage = 0;
		if (!read_classes(snapshot))
			break;
		read_nodes(snapshot);
		read_heaps(snapshot);
		steady = snapshot_arenas(snapshot, last) && (last || snapshot->ndamage == 0);
	}
	if (!target_is_alive(target))
		return target_error(target, "process %d has ended", (int)target->pid);
	if (!steady)
		return target_error(target, "damaged: the first records of %s cannot be read", target->command);
	read_counters(snapshot);
	read_process(snapshot);
	add_up(snapshot);
	snapshot->duration_us = now_us() - start;
	return true;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->heaps);
	free(snapshot->arenas);
	free(snapshot->units);
	memset(snapshot, 0, sizeof *snapshot);
}
