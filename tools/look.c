/* SPDX-License-Identifier: MIT */
/*
 * Look: see look.h.
 */
#include "look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pid_t look_pid(const char *text)
{
	char *end;

	errno = 0;
	long pid = strtol(text, &end, 10);
	return *text >= '1' && *text <= '9' && !*end && errno == 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* Bytes of arenas that the copy has mapped: a second copy in a process is mostly an unused one. */
static uint64_t weight(const struct target *target, const struct image *image)
{
	const struct snapshot snapshot = { .target = target, .layout = &image->layout };

	return snapshot_number(&snapshot, image->layout.arena_counters, image->layout.arenas_nbytes);
}

static bool choose(struct look *look, const char *copy)
{
	uint64_t most = 0;

	for (size_t i = 0; i < look->nimages; i++) {
		const struct image *image = &look->images[i];

		if (copy && !strstr(image->path, copy))
			continue;
		if (!look->image || weight(&look->target, image) > most) {
			look->image = image;
			most = weight(&look->target, image);
		}
	}
	if (!look->image)
		return target_error(&look->target, "no copy of Quarry there has \"%s\" in its path", copy);
	return true;
}

bool look_open(struct look *look, const char *what, const char *copy)
{
	pid_t pid = look_pid(what);

	look->image = NULL;
	look->nimages = 0;
	if (!(pid ? target_open_process(&look->target, pid) : target_open_core(&look->target, what)))
		return false;
	look->nimages = image_find(&look->target, look->images);
	return look->nimages > 0 && choose(look, copy);
}

const char *look_thread_name(const struct target *target, uint32_t tid, char name[32])
{
	char path[64];

	name[0] = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%u/comm", (int)target->pid, tid);
	if (target->core < 0 && tid != 0 && !tool_read_file(path, name, 32))
		name[0] = 0;
	for (char *c = name; *c; c++)
		*c = *c >= ' ' && *c != 0x7f ? *c : '?';
	return name;
}

const char *look_kind(enum snapshot_kind kind)
{
	return kind == SNAPSHOT_ATTACHED ? "thread" : kind == SNAPSHOT_PARKED ? "parked" : "shared";
}

int look_node(const struct snapshot *snapshot, const struct snapshot_heap *heap)
{
	return heap->node < snapshot->nnodes ? (int)heap->node : -1;
}

unsigned look_percent(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (unsigned)(100.0 * (double)part / (double)whole + 0.5);
}
