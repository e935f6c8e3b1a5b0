/* SPDX-License-Identifier: MIT */
/*
 * quarry: the command. Its subcommands stand in files of their own names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

static const struct command commands[] = {
	{ "run", run_main, "run a program on Quarry" },
	{ "stat", stat_main, "show what a running process, or a core file, has in its heaps" },
	{ "top", top_main, "the same again and again, on a terminal; which processes run on Quarry" },
	{ "prof", prof_main, "profile the heap of a running process: which calls its memory belongs to" },
	{ "report", report_main, "draw memory over time from recorded statistics" },
	{ "doctor", doctor_main, "say what of this system is good for Quarry and what is not" },
};

#define NCOMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *file)
{
	fputs("usage: quarry COMMAND [ARGUMENT...]\n\n", file);
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(file, "  %-8s  %s\n", commands[i].name, commands[i].meaning);
	fputs("\nquarry COMMAND --help says more, quarry --version which one this is.\n", file);
}

int main(int argc, char **argv)
{
	static char name[32];

	if (argc < 2) {
		usage(stderr);
		return TOOL_FAILED;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("quarry %s\n", tool_version);
		return 0;
	}
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			snprintf(name, sizeof name, "quarry %s", commands[i].name);
			tool_name = name;
			return commands[i].main(argc - 1, argv + 1);
		}
	}
	tool_fail(TOOL_FAILED, "no command %s; quarry --help lists them", argv[1]);
}
