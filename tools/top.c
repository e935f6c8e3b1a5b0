/* SPDX-License-Identifier: MIT */
/*
 * quarry top: a running process, looked at again and again.
 *
 * Looking costs the target no time of its own but page faults on its untouched memory; what it costs the machine is
 * kept below a twentieth of one processor by waiting longer where reading takes long.
 */
#include "top.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SHARE 20 /* of the time, at most one part is spent on reading */
#define PAGE 16

struct request {
	const char *target;
	const char *copy;
	bool batch;
	unsigned iterations; /* 0: until it ends */
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* --- all processes ------------------------------------------------------------------------------------------------ */

/* Those that run on Quarry and may be looked into. */
static int list_processes(void)
{
	static struct look look;
	static struct snapshot snapshot;
	DIR *directory = opendir("/proc");
	char text[4][TOOL_NBYTES_SIZE];
	unsigned nfound = 0;

	if (!directory)
		tool_fail(TOOL_NO_TARGET, "/proc: %s", strerror(errno));
	printf("%8s  %-16s %10s %10s %10s %10s  %7s\n", "PID", "COMMAND", "RESIDENT", "LIVE", "CACHED", "FREE",
	       "THREADS");
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		if (look_pid(entry->d_name) == 0)
			continue;
		if (look_open(&look, entry->d_name, NULL) &&
		    snapshot_take(&snapshot, &look.target, &look.image->layout)) {
			printf("%8s  %-16s %10s %10s %10s %10s  %7" PRIu64 "\n", entry->d_name, look.target.command,
			       tool_nbytes(text[0], snapshot.resident), tool_nbytes(text[1], snapshot.live),
			       tool_nbytes(text[2], snapshot.cached), tool_nbytes(text[3], snapshot.free),
			       snapshot.heaps_attached);
			nfound++;
		}
		target_close(&look.target);
	}
	closedir(directory);
	snapshot_free(&snapshot);
	if (nfound == 0)
		tool_fail(TOOL_NO_TARGET, "no process that may be looked into runs on Quarry");
	return 0;
}

/* --- one process -------------------------------------------------------------------------------------------------- */

/* False: it has ended. */
static bool look_again(struct top *top)
{
	static double taken;
	double start = now();

	free(top->heaps_before);
	top->heaps_before = top->now.heaps;
	top->nheaps_before = top->now.nheaps;
	top->before = top->now;
	top->now.heaps = NULL;
	top->now.nheaps = 0;
	top->seconds = taken > 0 ? start - taken : 0;
	taken = start;
	if (top->arena >= top->now.narenas)
		top->arena = top->now.narenas > 0 ? top->now.narenas - 1 : 0;
	top->now.map_of = top->now.narenas > 0 ? top->now.arenas[top->arena].address : 0;
	if (!snapshot_take(&top->now, &top->look.target, &top->look.image->layout)) {
		top->seconds = 0;
		return false;
	}
	if (top->now.map_of == 0 && top->now.narenas > 0) { /* the first time */
		top->now.map_of = top->now.arenas[0].address;
		return snapshot_take(&top->now, &top->look.target, &top->look.image->layout);
	}
	return true;
}

static void choose_view(struct top *top, enum view view)
{
	top->view = view;
	top->scroll = 0;
	top->help = false;
}

static void move_sort(struct top *top, int step)
{
	const struct column *columns;
	size_t ncolumns = table_columns(top->view, &columns);

	if (ncolumns > 0)
		top->sort[top->view] = (unsigned)((top->sort[top->view] + ncolumns + (size_t)step) % ncolumns);
}

static void move_arena(struct top *top, int step)
{
	if (step > 0 ? top->arena + 1 < top->now.narenas : top->arena > 0)
		top->arena += (size_t)step;
	top->now.map_of = top->arena < top->now.narenas ? top->now.arenas[top->arena].address : 0;
}

static void scroll(struct top *top, long step)
{
	top->scroll = step < 0 && top->scroll < (size_t)-step ? 0 : top->scroll + (size_t)step;
}

/* Returns false to quit; *again: what is shown must be read anew. */
static bool act(struct top *top, int key, bool *again)
{
	switch (key) {
	case 'q': return false;
	case 't': choose_view(top, VIEW_HEAPS); break;
	case 'c': choose_view(top, VIEW_CLASSES); break;
	case 'a': choose_view(top, VIEW_ARENAS); break;
	case 'n': choose_view(top, VIEW_NODES); break;
	case 'm': choose_view(top, VIEW_MAP); break;
	case '<': move_sort(top, -1); break;
	case '>': move_sort(top, 1); break;
	case 'r': top->reverse[top->view] ^= true; break;
	case ' ': top->paused ^= true; break;
	case '?':
	case 'h': top->help ^= true; break;
	case '+': top->delay *= top->delay < 60 ? 2 : 1; break;
	case '-': top->delay /= top->delay > 0.2 ? 2 : 1; break;
	case KEY_OF_LEFT: move_arena(top, -1), *again = true; break;
	case KEY_OF_RIGHT: move_arena(top, 1), *again = true; break;
	case KEY_OF_UP: scroll(top, -1); break;
	case KEY_OF_DOWN: scroll(top, 1); break;
	case KEY_OF_PAGE_UP: scroll(top, -PAGE); break;
	case KEY_OF_PAGE_DOWN: scroll(top, PAGE); break;
	default: break;
	}
	return true;
}

static double interval(const struct top *top)
{
	double least = SHARE * 1e-6 * (double)top->now.duration_us;

	return top->delay > least ? top->delay : least;
}

static int run_on_screen(struct top *top)
{
	struct frame frame = { .lines = NULL };
	bool quit = false, ended = false;

	if (!screen_open(top->message, sizeof top->message))
		tool_fail(TOOL_FAILED, "%s", top->message);
	while (!quit) {
		bool again = false;
		double next = now() + interval(top);

		if (!ended && !top->paused && !look_again(top)) {
			ended = true;
			snprintf(top->message, sizeof top->message, "%.120s; q quits", top->look.target.error);
		}
		while (!quit && !again && (ended || top->paused || now() < next)) {
			screen_size(&frame.columns, &frame.rows);
			frame_make(&frame, top);
			screen_draw(&frame);
			double left = next - now();
			int key = screen_key(ended || top->paused ? 1000 : left > 0 ? (int)(left * 1000) + 1 : 0);
			bool paused = top->paused;
			quit = !act(top, key, &again);
			again |= paused && !top->paused;
		}
	}
	screen_close();
	frame_free(&frame);
	return 0;
}

/* The status is that of the last look. */
static int run_batch(struct top *top, unsigned iterations)
{
	struct frame frame = { .columns = 80 };
	struct timespec pause;

	for (unsigned i = 0; iterations == 0 || i < iterations; i++) {
		if (i > 0) {
			double seconds = interval(top);

			pause.tv_sec = (time_t)seconds;
			pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
			nanosleep(&pause, NULL);
			putchar('\n');
		}
		if (!look_again(top))
			tool_fail(TOOL_NO_TARGET, "%s", top->look.target.error);
		frame_make(&frame, top);
		for (size_t line = 0; line < frame.nlines; line++)
			puts(frame.lines[line].text);
		fflush(stdout);
	}
	frame_free(&frame);
	return top->now.ndamage > 0 ? TOOL_DAMAGED : 0;
}

/* --- command ------------------------------------------------------------------------------------------------------ */

static void help(void)
{
	puts("usage: quarry top [OPTION...] [PID]\n\n"
	     "Look at a running process again and again; without PID, list those that run on Quarry. ? shows the keys.\n\n"
	     "  --delay=SECONDS  between two looks (1)\n"
	     "  --view=NAME      begin with heaps, classes, arenas, nodes or map (heaps)\n"
	     "  --sort=COLUMN    sort the view by this column, in small or capital letters\n"
	     "  --batch          write plain text, not to a terminal\n"
	     "  --iterations=N   with --batch, so many times; else until the process ends\n"
	     "  --copy=PATH      where several copies of Quarry are loaded: the one with this in its path");
}

static void choose_start(struct top *top, const char *name)
{
	for (enum view view = 0; view < VIEWS; view++) {
		if (strcmp(name, table_name(view)) == 0) {
			top->view = view;
			return;
		}
	}
	tool_fail(TOOL_FAILED, "--view=%s: heaps, classes, arenas, nodes or map", name);
}

static void choose_sort(struct top *top, const char *title)
{
	const struct column *columns;
	size_t ncolumns = table_columns(top->view, &columns);

	for (unsigned i = 0; i < ncolumns; i++) {
		if (strcasecmp(columns[i].title, title) == 0) {
			top->sort[top->view] = i;
			return;
		}
	}
	tool_fail(TOOL_FAILED, "--sort=%s: no column of %s", title, table_name(top->view));
}

static double seconds(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || !(value >= 0.1 && value <= 3600))
		tool_fail(TOOL_FAILED, "--delay= takes 0.1 to 3600");
	return value;
}

static void parse(struct top *top, struct request *request, int argc, char **argv)
{
	const char *sort = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(0);
		}
		if (tool_value(argv[i], "--delay"))
			top->delay = seconds(tool_value(argv[i], "--delay"));
		else if (tool_value(argv[i], "--view"))
			choose_start(top, tool_value(argv[i], "--view"));
		else if (tool_value(argv[i], "--sort"))
			sort = tool_value(argv[i], "--sort");
		else if (strcmp(argv[i], "--batch") == 0)
			request->batch = true;
		else if (tool_value(argv[i], "--iterations"))
			request->iterations = (unsigned)tool_number(argv[i], 1, UINT32_MAX);
		else if (tool_value(argv[i], "--copy"))
			request->copy = tool_value(argv[i], "--copy");
		else if (argv[i][0] == '-' || request->target)
			tool_fail(TOOL_FAILED, "no option %s; quarry top --help lists them", argv[i]);
		else
			request->target = argv[i];
	}
	if (sort)
		choose_sort(top, sort);
}

int top_main(int argc, char **argv)
{
	static struct top top = { .delay = 1 };
	struct request request = { .target = NULL };

	for (enum view view = 0; view < VIEWS; view++)
		top.sort[view] = table_first_sort(view);
	parse(&top, &request, argc, argv);
	if (!request.target)
		return list_processes();
	if (look_pid(request.target) == 0)
		tool_fail(TOOL_FAILED, "%s is not the number of a process; quarry stat shows core files",
			  request.target);
	if (!look_open(&top.look, request.target, request.copy))
		tool_fail(TOOL_NO_TARGET, "%s", top.look.target.error);
	int status = request.batch ? run_batch(&top, request.iterations) : run_on_screen(&top);
	free(top.heaps_before);
	snapshot_free(&top.now);
	target_close(&top.look.target);
	return status;
}
