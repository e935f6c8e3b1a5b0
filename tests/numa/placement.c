/* SPDX-License-Identifier: MIT */
/*
 * placement SCENARIO: where does an allocator put the memory of threads that are bound to nodes? See placement.h.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "placement.h"

static const struct {
	const char *name;
	int (*run)(void);
} scenarios[] = {
	{ "pinned", scenario_pinned },     { "exchange", scenario_exchange }, { "churn", scenario_churn },
	{ "fork", scenario_fork },         { "handed", scenario_handed },     { "remote", scenario_remote },
	{ "migrate", scenario_migrate },   { "spill", scenario_spill },       { "program", scenario_program },
	{ "calls", scenario_calls },       { "spread", scenario_spread },     { "interleaved", scenario_interleaved },
	{ "settled", scenario_settled },   { "kinds", scenario_kinds },
};

int main(int argc, char **argv)
{
	machine_read();
	for (size_t i = 0; argc == 2 && i < sizeof scenarios / sizeof scenarios[0]; i++) {
		if (strcmp(argv[1], scenarios[i].name) == 0)
			return scenarios[i].run();
	}
	dprintf(2, "usage: placement SCENARIO\n");
	return 2;
}
