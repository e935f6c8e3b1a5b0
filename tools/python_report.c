/* SPDX-License-Identifier: MIT */
/*
 * quarry-python: the report. The process looks at itself as quarry stat looks at others, so that nothing stands still
 * for it and no cache is emptied.
 */
#include "python.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "quarry/quarry.h"
#include "snapshot.h"
#include "tunables.h"

/* The copy that serves CPython, where a preload brings another one. */
static const struct image *choose(const struct target *target, const struct image *images, size_t n)
{
	uint64_t address = (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "quarry_malloc");
	const char *path = "";

	for (size_t i = 0; i < target->nmappings; i++) {
		if (target->mappings[i].start <= address && address < target->mappings[i].end)
			path = target->mappings[i].path;
	}
	for (size_t i = 0; i < n; i++) {
		if (strcmp(images[i].path, path) == 0)
			return &images[i];
	}
	return &images[0];
}

/* "name = 1,234,567" in obmalloc's columns. */
static void amount(FILE *out, const char *name, uint64_t value)
{
	char digits[32];
	int at = sizeof digits - 1, n = 0;

	digits[at] = 0;
	do {
		if (n > 0 && n % 3 == 0)
			digits[--at] = ',';
		digits[--at] = (char)('0' + value % 10);
		n++;
	} while ((value /= 10) > 0);
	fprintf(out, "%-35s= %20s\n", name, digits + at);
}

static void print_classes(FILE *out, const struct snapshot *snapshot)
{
	size_t n = 0;

	while (n < snapshot->nclasses && snapshot->classes[n].nbytes <= SPAN_REQUEST_THRESHOLD)
		n++;
	fprintf(out, "Quarry %s: small block threshold = %zu, in %zu size classes.\n\n", quarry_version(),
		SPAN_REQUEST_THRESHOLD, n);
	fputs("class   size   num pools   blocks in use  avail blocks\n"
	      "-----   ----   ---------   -------------  ------------\n", out);
	for (size_t i = 0; i < n; i++) {
		const struct snapshot_class *class = &snapshot->classes[i];
		uint64_t room = class->pools * class->capacity;
		uint64_t used = class->out > class->cached ? class->out - class->cached : 0;

		if (class->pools > 0)
			fprintf(out, "%5zu %6" PRIu64 " %11" PRIu64 " %15" PRIu64 " %13" PRIu64 "\n", i, class->nbytes,
				class->pools, used, room > used ? room - used : 0);
	}
}

static void print_totals(FILE *out, const struct snapshot *snapshot)
{
	fputc('\n', out);
	amount(out, "# arenas allocated total", snapshot->arenas_mapped);
	amount(out, "# arenas reclaimed", snapshot->arenas_retired);
	amount(out, "# arenas allocated current", snapshot->narenas);
	fputc('\n', out);
	amount(out, "# bytes in allocated blocks", snapshot->live);
	amount(out, "#   of these in spans", snapshot->span_live);
	amount(out, "#   of these in mappings", snapshot->large_live);
	amount(out, "# bytes in thread caches", snapshot->cached);
	amount(out, "# bytes free, perhaps resident", snapshot->free);
	amount(out, "# bytes given back or untouched", snapshot->clean);
	amount(out, "# bytes of Quarry's own records", snapshot->records);
	amount(out, "Total", snapshot->mapped);
	fputc('\n', out);
}

void python_report(FILE *out)
{
	static struct image images[IMAGES_MAX];
	static struct snapshot snapshot;
	struct target target;
	size_t n = 0;

	fflush(out);
	if (!target_open_process(&target, getpid()) || (n = image_find(&target, images)) == 0 ||
	    !snapshot_take(&snapshot, &target, &choose(&target, images, n)->layout)) {
		fprintf(out, "quarry-python: no figures: %s\n", target.error);
	} else {
		print_classes(out, &snapshot);
		print_totals(out, &snapshot);
	}
	snapshot_free(&snapshot);
	target_close(&target);
	fflush(out);
}
