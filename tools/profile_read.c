/* SPDX-License-Identifier: MIT */
/*
 * Profile, reading, and the text that it is read from: see profile.h. Nothing that a process or a file says is trusted.
 */
#include "profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "snapshot.h"
#include "tool.h"

/* A line of more is no stack: libraries note 64. */
#define FRAMES_MOST 4096

void *profile_room(void *memory, size_t nbytes)
{
	memory = realloc(memory, nbytes ? nbytes : 1);
	if (!memory)
		tool_fail(TOOL_FAILED, "no memory");
	return memory;
}

char *profile_text(const char *text)
{
	size_t nbytes = strlen(text) + 1;

	return memcpy(profile_room(NULL, nbytes), text, nbytes);
}

static struct profile_stack *add_stack(struct profile *profile, size_t nframes)
{
	size_t n = profile->nstacks;

	if ((n & (n - 1)) == 0)
		profile->stacks = profile_room(profile->stacks, (n ? 2 * n : 1) * sizeof *profile->stacks);
	profile->stacks[n] = (struct profile_stack){ .nframes = nframes };
	profile->stacks[n].frames = profile_room(NULL, nframes * sizeof(uint64_t));
	profile->nstacks++;
	return &profile->stacks[n];
}

bool profile_is_empty(const struct profile *profile)
{
	for (size_t i = 0; i < profile->nstacks; i++) {
		if (profile->stacks[i].values[PROFILE_ALL_NBYTES] > 0)
			return false;
	}
	return true;
}

/* --- a process ---------------------------------------------------------------------------------------------------- */

uint64_t profile_control(const struct target *target, const struct layout *layout, struct layout_field field)
{
	const struct snapshot snapshot = { .target = target, .layout = layout };

	return snapshot_number(&snapshot, layout->sample_control, field);
}

bool profile_ask(struct target *target, const struct layout *layout, uint64_t wanted)
{
	return target_write(target, (uintptr_t)layout->sample_control + layout->sample_wanted.offset, &wanted,
			    sizeof wanted);
}

static uint64_t rounded(uint64_t blocks, uint64_t bits)
{
	return bits == 0 ? blocks : (blocks + ((uint64_t)1 << (bits - 1))) >> bits;
}

/* Whose the blocks of the stack are: a typed cache's or a heap's, by name. */
static void read_label(struct profile_stack *stack, const struct layout *layout, const char *record)
{
	static const char *const keys[] = { NULL, "cache", "heap" };
	uint64_t kind = snapshot_field(record, layout->stack_kind);
	size_t nbytes = layout->sample_label_nbytes;

	if (kind == 0 || kind >= sizeof keys / sizeof keys[0])
		return;
	stack->label_key = keys[kind];
	stack->label = profile_room(NULL, nbytes + 1);
	memcpy(stack->label, record + layout->stack_label.offset, nbytes);
	stack->label[nbytes] = 0;
	profile_clean(stack->label);
}

/* False: it is not what a stack looks like. */
static bool read_stack(struct profile *profile, const struct layout *layout, uint64_t address)
{
	char record[4096]; /* image.c has seen to it that it is no more */
	struct profile_stack *stack;
	uint64_t nframes, bits = layout->sample_block_bits;

	if (!target_read(&profile->target, address, record, layout->sample_stack_nbytes))
		return false;
	nframes = snapshot_field(record, layout->stack_nframes);
	if (nframes > layout->sample_frames_most)
		return false;
	if (snapshot_field(record, layout->stack_blocks) == 0)
		return true;
	stack = add_stack(profile, nframes);
	read_label(stack, layout, record);
	stack->values[PROFILE_ALL_BLOCKS] = rounded(snapshot_field(record, layout->stack_blocks), bits);
	stack->values[PROFILE_ALL_NBYTES] = snapshot_field(record, layout->stack_nbytes);
	stack->values[PROFILE_LIVE_BLOCKS] = rounded(snapshot_field(record, layout->stack_live_blocks), bits);
	stack->values[PROFILE_LIVE_NBYTES] = snapshot_field(record, layout->stack_live_nbytes);
	if (target_read(&profile->target, address + layout->sample_stack_nbytes, stack->frames,
			nframes * sizeof(uint64_t)))
		return true;
	profile->nstacks--;
	free(stack->label);
	free(stack->frames);
	return false;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

bool profile_read_process(struct profile *profile, pid_t pid, const struct layout *layout)
{
	uint64_t n, *stacks;

	if (!target_open_process(&profile->target, pid))
		return false;
	profile->is_process = true;
	profile->time_ns = now_ns();
	profile->mean = profile_control(&profile->target, layout, layout->sample_mean);
	profile->dropped = profile_control(&profile->target, layout, layout->sample_dropped);
	n = profile_control(&profile->target, layout, layout->sample_nstacks);
	if (n > layout->sample_stacks_most)
		return target_error(&profile->target, "process %d: damaged: %" PRIu64 " stacks", (int)pid, n);
	stacks = profile_room(NULL, (n + 1) * sizeof *stacks);
	if (!target_read(&profile->target, (uintptr_t)layout->sample_stacks, stacks, (n + 1) * sizeof *stacks)) {
		free(stacks);
		return target_error(&profile->target, "process %d has ended, or its stacks cannot be read", (int)pid);
	}
	for (uint64_t i = 1; i <= n; i++) {
		if (!read_stack(profile, layout, stacks[i]))
			profile->damaged++;
	}
	free(stacks);
	return true;
}

/* --- a text ------------------------------------------------------------------------------------------------------- */

static bool read_line(struct profile *profile, const char *line)
{
	struct profile_stack *stack;
	uint64_t live_blocks, live, blocks, nbytes, frame;
	int at = 0, step;
	size_t nframes = 0;

	if (sscanf(line, "%" SCNu64 ": %" SCNu64 " [%" SCNu64 ": %" SCNu64 "] @%n", &live_blocks, &live, &blocks,
		   &nbytes,
		   &at) < 4 || at == 0)
		return false;
	for (const char *c = line + at; *c; c++)
		nframes += *c == ' ';
	if (nframes > FRAMES_MOST)
		return false;
	stack = add_stack(profile, nframes);
	stack->values[PROFILE_ALL_BLOCKS] = blocks;
	stack->values[PROFILE_ALL_NBYTES] = nbytes;
	stack->values[PROFILE_LIVE_BLOCKS] = live_blocks;
	stack->values[PROFILE_LIVE_NBYTES] = live;
	stack->nframes = 0;
	for (const char *c = line + at; sscanf(c, " %" SCNx64 "%n", &frame, &step) == 1; c += step) {
		if (frame != 0 && stack->nframes < nframes)
			stack->frames[stack->nframes++] = frame;
	}
	return true;
}

bool profile_read_text(struct profile *profile, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	bool good, in_maps = false;
	struct stat stat;

	profile->target = (struct target){ .core = -1 };
	if (!file)
		return target_error(&profile->target, "%s: %s", path, strerror(errno));
	if (fstat(fileno(file), &stat) == 0)
		profile->time_ns = (int64_t)stat.st_mtim.tv_sec * 1000000000 + stat.st_mtim.tv_nsec;
	profile->maps = tmpfile();
	good = profile->maps && getline(&line, &size, file) > 0 && strncmp(line, "heap profile: ", 14) == 0 &&
	       strstr(line, "@ heapprofile");
	while (good && getline(&line, &size, file) > 0) {
		if (in_maps) {
			fputs(line, profile->maps);
			target_add_line(&profile->target, line);
		} else if (strncmp(line, "MAPPED_LIBRARIES:", 17) == 0) {
			in_maps = true;
		} else if (strcmp(line, "\n") != 0 && !read_line(profile, line)) {
			profile->damaged++;
		}
	}
	good = good && in_maps;
	free(line);
	fclose(file);
	if (good)
		rewind(profile->maps);
	return good || target_error(&profile->target, "%s is no heap profile of Quarry's", path);
}

static void put_sums(FILE *file, const char *before, const uint64_t values[PROFILE_VALUES], const char *after)
{
	fprintf(file, "%s%" PRIu64 ": %" PRIu64 " [%" PRIu64 ": %" PRIu64 "] @%s", before, values[PROFILE_LIVE_BLOCKS],
		values[PROFILE_LIVE_NBYTES], values[PROFILE_ALL_BLOCKS], values[PROFILE_ALL_NBYTES], after);
}

/* As lib/profile.c does. */
bool profile_write_text(const struct profile *profile, const char *path)
{
	FILE *file = fopen(path, "we");
	uint64_t sums[PROFILE_VALUES] = { 0 };
	bool good;

	if (!file)
		return false;
	for (size_t i = 0; i < profile->nstacks; i++) {
		for (int value = 0; value < PROFILE_VALUES; value++)
			sums[value] += profile->stacks[i].values[value];
	}
	put_sums(file, "heap profile: ", sums, " heapprofile\n");
	for (size_t i = 0; i < profile->nstacks; i++) {
		put_sums(file, "", profile->stacks[i].values, profile->stacks[i].nframes ? "" : " 0x0");
		for (size_t frame = 0; frame < profile->stacks[i].nframes; frame++)
			fprintf(file, " 0x%" PRIx64, profile->stacks[i].frames[frame]);
		fputc('\n', file);
	}
	fputs("\nMAPPED_LIBRARIES:\n", file);
	for (size_t i = 0; i < profile->target.nmappings; i++) {
		const struct mapping *mapping = &profile->target.mappings[i];

		fprintf(file, "%" PRIx64 "-%" PRIx64 " %s %08" PRIx64 " 00:00 0 %s\n", mapping->start, mapping->end,
			mapping->executable ? "r-xp" : mapping->readable ? "r--p" : "---p", mapping->offset, mapping->path);
	}
	good = !ferror(file);
	return fclose(file) == 0 && good;
}
