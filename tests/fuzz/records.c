/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: recorded statistics, as quarry report reads them (tools/records.c). Whatever the file holds, each record's
 * numbers can be drawn: finite, none below zero, of no more nodes than there is room for.
 */
#include "fuzz.h"

#include <math.h>

#include "../../tools/records.h"

static int can_be_drawn(double number)
{
	return isfinite(number) && number >= 0;
}

static void check(const struct record *record, size_t most_nodes)
{
	EXPECT(can_be_drawn(record->seconds) && record->nnodes <= most_nodes);
	for (size_t i = 0; i < RECORD_CURVES; i++)
		EXPECT(can_be_drawn(record->mib[i]));
	for (size_t i = 0; i < record->nnodes; i++)
		EXPECT(can_be_drawn(record->node_live[i]) && record->os_node[i] >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct records records = { .list = NULL };
	FILE *file = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;

	if (file == NULL)
		return 0;
	records_read(&records, file);
	fclose(file);
	EXPECT(records.most_nodes <= RECORD_MAX_NODES);
	for (size_t i = 0; i < records.n; i++)
		check(&records.list[i], records.most_nodes);
	free(records.list);
	return 0;
}
