/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: a core file, as quarry stat --core reads it (tools/core.c, tools/image.c). Whatever it holds, it is refused
 * with a reason, or what is found in it can be looked at.
 */
#include "fuzz.h"

#include "../../tools/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory_file file;
	struct image images[IMAGES_MAX];
	struct target target;
	size_t nimages = 0;

	memory_file_fill(&file, data, size);
	if (target_open_core(&target, file.path)) {
		nimages = image_find(&target, images);
		EXPECT(nimages > 0 || target.error[0] != 0);
	} else {
		EXPECT(target.error[0] != 0);
	}
	for (size_t i = 0; i < nimages; i++) {
		struct snapshot snapshot = { .target = NULL };
		EXPECT(snapshot_take(&snapshot, &target, &images[i].layout) || target.error[0] != 0);
		snapshot_free(&snapshot);
	}
	target_close(&target);
	return 0;
}
