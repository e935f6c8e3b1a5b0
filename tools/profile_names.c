/* SPDX-License-Identifier: MIT */
/*
 * Profile, names: see profile.h. What symbol tables do not tell is named by its place in the file that is mapped there.
 */
#include "profile.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character that text begins with; 0: control, or no UTF-8. */
static size_t character_nbytes(const unsigned char *text)
{
	size_t nbytes = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
	uint32_t code = text[0] & (nbytes == 1 ? 0x7fu : 0xffu >> (nbytes + 1));
	static const uint32_t least[] = { 0, 0x20, 0xa0, 0x800, 0x10000 };

	if (text[0] == 0x7f || (text[0] >= 0x80 && text[0] < 0xc0) || text[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < nbytes; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	/* Neither half of a surrogate pair nor one of the two that XML forbids. */
	if (code < least[nbytes] || code > 0x10ffff || code / 0x800 == 0xd800 / 0x800 || code / 2 == 0xfffe / 2)
		return 0;
	return nbytes;
}

char *profile_clean(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c;) {
		size_t nbytes = character_nbytes(c);

		if (nbytes == 0)
			*c = '?';
		c += nbytes ? nbytes : 1;
	}
	return text;
}

static int by_address(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static int find_mapping(const struct target *target, uint64_t address)
{
	for (size_t i = 0; i < target->nmappings; i++) {
		if (address >= target->mappings[i].start && address < target->mappings[i].end)
			return (int)i;
	}
	return -1;
}

static void make_locations(struct profile *profile)
{
	size_t n = 0;
	uint64_t *all;

	for (size_t i = 0; i < profile->nstacks; i++)
		n += profile->stacks[i].nframes;
	all = profile_room(NULL, n * sizeof *all);
	n = 0;
	for (size_t i = 0; i < profile->nstacks; i++) {
		memcpy(all + n, profile->stacks[i].frames, profile->stacks[i].nframes * sizeof *all);
		n += profile->stacks[i].nframes;
	}
	qsort(all, n, sizeof *all, by_address);
	profile->locations = profile_room(NULL, n * sizeof *profile->locations);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && all[i] == all[i - 1])
			continue;
		profile->locations[profile->nlocations++] = (struct profile_location){
			.address = all[i], .mapping = find_mapping(&profile->target, all[i]) };
	}
	free(all);
}

/* What C++ calls it, if the runtime of C++ is installed; the symbol itself else. */
static char *demangled(const char *symbol)
{
	static char *(*demangle)(const char *, char *, size_t *, int *);
	static bool tried;
	char *name = NULL;
	int status;

	if (!tried) {
		void *library = dlopen("libstdc++.so.6", RTLD_LAZY);

		tried = true;
		if (library)
			*(void **)&demangle = dlsym(library, "__cxa_demangle");
	}
	if (demangle && strncmp(symbol, "_Z", 2) == 0)
		name = demangle(symbol, NULL, NULL, &status);
	return name ? name : profile_text(symbol);
}

/* FILE+0xOFFSET, or the address. */
static char *name_of_place(const struct profile *profile, const struct profile_location *location)
{
	char text[4200];

	if (location->mapping < 0) {
		snprintf(text, sizeof text, "0x%" PRIx64, location->address);
	} else {
		const struct mapping *mapping = &profile->target.mappings[location->mapping];
		const char *file = strrchr(mapping->path, '/');

		snprintf(text, sizeof text, "%.4000s+0x%" PRIx64,
			 file ? file + 1 : *mapping->path ? mapping->path : "anonymous",
			 location->address - mapping->start + mapping->offset);
	}
	return profile_text(text);
}

/* A function between the program's call and the one that notes the stack, by the names that lib/ gives them. */
static bool is_allocator(const char *symbol)
{
	static const char *const names[] = { "choose", "counted_big", "counted_small", "malloc_untabled", "malloc", "calloc",
					     "realloc", "reallocarray", "aligned_alloc", "posix_memalign", "memalign",
					     "valloc", "pvalloc", "region_allocate", "alloc_slow", "counted", NULL };
	static const char *const beginnings[] = { "sample_", "malloc_due", "entry_", "quarry_", "resize_", "_Znw", "_Zna",
						  NULL };

	for (size_t i = 0; names[i]; i++) {
		if (strcmp(symbol, names[i]) == 0)
			return true;
	}
	for (size_t i = 0; beginnings[i]; i++) {
		if (strncmp(symbol, beginnings[i], strlen(beginnings[i])) == 0)
			return true;
	}
	return false;
}

/* A shared library leaves out its own frames; in a program that has Quarry inside they begin with this one. */
static size_t count_own(const struct profile *profile, const struct profile_stack *stack)
{
	size_t own = 0;

	if (stack->nframes > 0 && strncmp(profile->locations[stack->places[0]].symbol, "sample_take", 11) == 0) {
		while (own < stack->nframes && is_allocator(profile->locations[stack->places[own]].symbol))
			own++;
	}
	return own;
}

static void place_frames(struct profile *profile, struct profile_stack *stack)
{
	size_t own;

	stack->places = profile_room(NULL, stack->nframes * sizeof *stack->places);
	for (size_t i = 0; i < stack->nframes; i++) {
		size_t low = 0, high = profile->nlocations;

		while (high - low > 1) {
			size_t middle = low + (high - low) / 2;

			if (profile->locations[middle].address <= stack->frames[i])
				low = middle;
			else
				high = middle;
		}
		stack->places[i] = (uint32_t)low;
	}
	own = count_own(profile, stack);
	stack->nframes -= own;
	memmove(stack->places, stack->places + own, stack->nframes * sizeof *stack->places);
	memmove(stack->frames, stack->frames + own, stack->nframes * sizeof *stack->frames);
}

void profile_name(struct profile *profile)
{
	make_locations(profile);
	profile_find_symbols(profile);
	for (size_t i = 0; i < profile->target.nmappings; i++)
		profile_clean(profile->target.mappings[i].path);
	for (size_t i = 0; i < profile->nlocations; i++) {
		struct profile_location *location = &profile->locations[i];

		location->name = location->symbol ? demangled(location->symbol) : name_of_place(profile, location);
		profile_clean(location->name);
		if (!location->symbol)
			location->symbol = profile_text(location->name);
		profile_clean(location->symbol);
		if (location->file)
			profile_clean(location->file);
	}
	for (size_t i = 0; i < profile->nstacks; i++)
		place_frames(profile, &profile->stacks[i]);
}
