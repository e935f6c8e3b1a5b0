/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: a heap profile's text, as quarry prof reads it (tools/profile_read.c). What can be read can be written in
 * every form, and, written as text again, is read as the same stacks.
 */
#include "fuzz.h"

#include <string.h>

#include "../../tools/profile.h"

static void end_profile(struct profile *profile)
{
	for (size_t i = 0; i < profile->nstacks; i++) {
		free(profile->stacks[i].frames);
		free(profile->stacks[i].places);
	}
	for (size_t i = 0; i < profile->nlocations; i++) {
		free(profile->locations[i].name);
		free(profile->locations[i].symbol);
		free(profile->locations[i].file);
	}
	free(profile->stacks);
	free(profile->locations);
	if (profile->maps)
		fclose(profile->maps);
	target_close(&profile->target);
}

static void compare(const struct profile *one, const struct profile *other)
{
	EXPECT(one->nstacks == other->nstacks && other->damaged == 0);
	for (size_t i = 0; i < one->nstacks; i++) {
		const struct profile_stack *a = &one->stacks[i], *b = &other->stacks[i];
		EXPECT(memcmp(a->values, b->values, sizeof a->values) == 0 && a->nframes == b->nframes);
		EXPECT(memcmp(a->frames, b->frames, a->nframes * sizeof a->frames[0]) == 0);
	}
}

static void write_all(struct profile *profile)
{
	static struct memory_file text, sink;
	struct profile again = { .stacks = NULL };

	memory_file_fill(&text, NULL, 0);
	memory_file_fill(&sink, NULL, 0);
	EXPECT(profile_write_text(profile, text.path) && profile_read_text(&again, text.path));
	compare(profile, &again);
	end_profile(&again);
	profile_name(profile);
	EXPECT(profile_write_pprof(profile, sink.path));
	EXPECT(profile_write_folded(profile, PROFILE_LIVE_NBYTES, sink.path));
	EXPECT(profile_write_svg(profile, PROFILE_ALL_NBYTES, "a <title>", sink.path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory_file file;
	struct profile profile = { .stacks = NULL };

	memory_file_fill(&file, data, size);
	if (profile_read_text(&profile, file.path))
		write_all(&profile);
	else
		EXPECT(profile.target.error[0] != 0);
	end_profile(&profile);
	return 0;
}
