/* SPDX-License-Identifier: MIT */
/*
 * Layout: see layout.h.
 */
#include "layout.h"

#include "address_map.h"
#include "arena_list.h"
#include "heap.h"
#include "os.h"
#include "quarry/quarry.h"
#include "sample.h"
#include "sizeclass.h"
#include "topology.h"

/* What is static in its room, by the name that INSPECTED gave it; only the addresses count here. */
extern const char heap_directory[], heap_number[], arena_list_head[], meta_mapped_nbytes[], large_live_total[],
	large_kept_total[], thread_total[], node_bind_failure_total[], node_topology[], sample_stack_table[], counting_sum[];

#define TEXT(x) #x
#define NOTE(type) TEXT(type)
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

__attribute__((used)) const struct layout quarry_layout = {
	.magic = LAYOUT_MAGIC,
	.version = LAYOUT_VERSION,
	.nbytes = sizeof(struct layout),
	.library = VERSION(QUARRY_VERSION_MAJOR, QUARRY_VERSION_MINOR, QUARRY_VERSION_PATCH),
#define LAYOUT_NUMBER(name, value) .name = value,
	LAYOUT_NUMBERS(LAYOUT_NUMBER)
#define LAYOUT_OBJECT(name, object) .name = &object,
	LAYOUT_OBJECTS(LAYOUT_OBJECT)
#define LAYOUT_FIELD(name, type, member) .name = {offsetof(type, member), sizeof(((type *)0)->member)},
	LAYOUT_FIELDS(LAYOUT_FIELD)
};

__asm__(".pushsection .note.quarry, \"a\", %note\n"
	"	.balign 4\n"
	"	.long 7, 4, " NOTE(LAYOUT_NOTE) "\n"
	"	.asciz \"Quarry\"\n"
	"	.balign 4\n"
	"	.long quarry_layout - .\n"
	"	.popsection\n");
