/* SPDX-License-Identifier: MIT */
/*
 * quarry report: memory over time, drawn by gnuplot from what stats_format:json recorded, a line of JSON each.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "records.h"
#include "tool.h"

static const char *const titles[RECORD_CURVES] = { "resident (whole process)", "mapped", "live", "cached", "free" };

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void read_file(const char *path, struct records *records)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (!file)
		tool_fail(TOOL_FAILED, "%s: %s", path, strerror(errno));
	records_read(records, file);
	if (file != stdin)
		fclose(file);
	if (records->n == 0)
		tool_fail(TOOL_FAILED, "%s: no line of it is a record of stats_format:json", path);
	if (records->nbad > 0)
		tool_warn("%s: %zu lines are no records", path, records->nbad);
}

/* --- drawing ------------------------------------------------------------------------------------------------------ */

/* A string of gnuplot's: a quotation mark is doubled. */
static void quote(FILE *gnuplot, const char *text)
{
	putc('\'', gnuplot);
	for (; *text; text++) {
		if (*text == '\'')
			putc('\'', gnuplot);
		putc(*text, gnuplot);
	}
	putc('\'', gnuplot);
}

static void write_data(FILE *gnuplot, const struct records *records)
{
	fputs("$memory << END\n", gnuplot);
	for (size_t i = 0; i < records->n; i++) {
		const struct record *record = &records->list[i];

		fprintf(gnuplot, "%.3f", record->seconds - records->list[0].seconds);
		for (size_t curve = 0; curve < RECORD_CURVES; curve++)
			fprintf(gnuplot, " %.4f", record->mib[curve]);
		for (size_t node = 0; node < records->most_nodes; node++)
			fprintf(gnuplot, node < record->nnodes ? " %.4f" : " NaN", record->node_live[node]);
		putc('\n', gnuplot);
	}
	fputs("END\n", gnuplot);
}

static void write_script(FILE *gnuplot, const struct records *records, const char *from, const char *to, bool png)
{
	bool nodes = records->most_nodes > 1;

	write_data(gnuplot, records);
	fprintf(gnuplot, "set terminal %s size 900,%d\nset output ", png ? "pngcairo" : "svg background 'white'",
		nodes ? 800 : 450);
	quote(gnuplot, to);
	fputs("\nset xlabel 'seconds'\nset ylabel 'MiB'\nset yrange [0:*]\nset key outside right top\nset grid ytics\n",
	      gnuplot);
	if (nodes)
		fputs("set multiplot layout 2,1\n", gnuplot);
	fputs("set title ", gnuplot);
	quote(gnuplot, from);
	fputs(" noenhanced\nplot ", gnuplot);
	for (size_t i = 0; i < RECORD_CURVES; i++)
		fprintf(gnuplot, "%s$memory using 1:%zu with %s lw 2 title '%s'", i ? ", " : "", i + 2,
			records->n == 1 ? "points" : "lines", titles[i]);
	if (nodes) {
		fputs("\nset title 'live, by node'\nplot ", gnuplot);
		for (size_t i = 0; i < records->most_nodes; i++)
			fprintf(gnuplot, "%s$memory using 1:%zu with lines lw 2 title 'node %d'", i ? ", " : "",
				i + 2 + RECORD_CURVES,
				records->list[0].os_node[i]);
		fputs("\nunset multiplot", gnuplot);
	}
	putc('\n', gnuplot);
}

static int draw(const struct records *records, const char *from, const char *to, bool png)
{
	FILE *gnuplot;
	int status;

	signal(SIGPIPE, SIG_IGN);
	gnuplot = popen("exec gnuplot", "w");
	if (!gnuplot)
		tool_fail(TOOL_FAILED, "gnuplot cannot be started: %s", strerror(errno));
	write_script(gnuplot, records, from, to, png);
	status = pclose(gnuplot);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		tool_fail(TOOL_FAILED, "gnuplot is missing; Debian package: gnuplot-nox");
	if (status != 0)
		tool_fail(TOOL_FAILED, "gnuplot failed; is %s writable?", to);
	return 0;
}

static void help(void)
{
	puts("usage: quarry report [--png] [--out=FILE] RECORDS\n\n"
	     "Draw memory over time from what a program recorded by stats_format:json; - is standard input.\n\n"
	     "  --out=FILE  write the picture there, not to RECORDS.svg\n"
	     "  --png       a PNG, not an SVG");
}

int report_main(int argc, char **argv)
{
	struct records records = { .list = NULL };
	const char *from = NULL, *to = NULL;
	bool png = false;
	char name[4096];

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			help();
			return 0;
		}
		if (strcmp(argv[i], "--png") == 0)
			png = true;
		else if (tool_value(argv[i], "--out"))
			to = tool_value(argv[i], "--out");
		else if ((argv[i][0] == '-' && argv[i][1]) || from)
			tool_fail(TOOL_FAILED, "no option %s; quarry report --help lists them", argv[i]);
		else
			from = argv[i];
	}
	if (!from || (strcmp(from, "-") == 0 && !to))
		tool_fail(TOOL_FAILED, "%s; quarry report --help says how",
			  from ? "- needs --out=FILE" : "no records given");
	if (!to) {
		snprintf(name, sizeof name, "%s.%s", from, png ? "png" : "svg");
		to = name;
	}
	read_file(from, &records);
	int status = draw(&records, from, to, png);
	free(records.list);
	return status;
}
