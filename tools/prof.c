/* SPDX-License-Identifier: MIT */
/*
 * quarry prof: the heap profile of a live process, switched on for a while from outside, or of a file that the library
 * wrote; as pprof's protocol buffer, folded stacks and a flame graph.
 *
 * The process is neither stopped nor traced: one word of its memory is written (lib/layout.h: sample_wanted), and the
 * rest is read. Where the profile is on already it is left on.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "look.h"
#include "profile.h"

#define ASK_STOP UINT64_MAX
#define TAKEN_UP_MS 5000 /* as long as a purger sleeps, by far */
#define FUNCTIONS_SHOWN 10

struct request {
	const char *what;
	const char *copy;
	const char *out;
	uint64_t seconds, mean;
	enum profile_value value;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

static void sleep_ms(long ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- the process -------------------------------------------------------------------------------------------------- */

/* Is the copy of Quarry still where it was found? The process may run another program by now. */
static bool is_there(const struct look *look)
{
	const struct layout *then = &look->image->layout;
	struct layout now;

	return target_read(&look->target, look->image->address, &now, sizeof now) &&
	       memcmp(&now, then, sizeof now) == 0;
}

static _Noreturn void fail_as_gone(const struct look *look)
{
	tool_fail(TOOL_NO_TARGET, "process %d %s", (int)look->target.pid,
		  target_is_alive(&look->target) ? "runs another program now" : "ended before its profile was read");
}

/* Wait until the profile is on, or off. False: in vain. */
static bool wait_until(const struct look *look, bool on)
{
	const struct layout *layout = &look->image->layout;

	for (int ms = 0; ms < TAKEN_UP_MS; ms += 10) {
		if ((profile_control(&look->target, layout, layout->sample_rate) != 0) == on)
			return true;
		if (!is_there(look) || (on && interrupted))
			return false;
		sleep_ms(10);
	}
	return false;
}

/* What was asked stands until it is taken: it is withdrawn. */
static void switch_on(struct look *look, uint64_t mean)
{
	const struct layout *layout = &look->image->layout;

	if (!profile_ask(&look->target, layout, mean))
		tool_fail(TOOL_NO_TARGET, "%s", look->target.error);
	if (wait_until(look, true))
		return;
	if (!is_there(look))
		fail_as_gone(look);
	profile_ask(&look->target, layout, 0);
	if (profile_control(&look->target, layout, layout->sample_rate) != 0)
		return; /* at the last moment */
	if (interrupted)
		tool_fail(TOOL_FAILED, "interrupted");
	tool_fail(TOOL_NO_TARGET,
		  "process %d has not taken it up within %d s; it allocates nothing at the moment, it seems",
		  (int)look->target.pid, TAKEN_UP_MS / 1000);
}

static void switch_off(struct look *look)
{
	const struct layout *layout = &look->image->layout;

	if (!is_there(look))
		return;
	if (!profile_ask(&look->target, layout, ASK_STOP))
		tool_warn("the profile stays on: %s", look->target.error);
	else if (!wait_until(look, false) && is_there(look))
		tool_warn("the profile of process %d goes off when it allocates next", (int)look->target.pid);
}

/* Whatever would end this command ends the profile before. */
static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	const struct sigaction action = { .sa_handler = on_signal };

	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &action, NULL);
}

static void wait_for(struct look *look, uint64_t seconds)
{
	for (uint64_t ms = 0; ms < seconds * 1000 && !interrupted; ms += 50) {
		if (!is_there(look))
			fail_as_gone(look);
		sleep_ms(50);
	}
}

static void profile_process(const struct request *request, struct profile *profile)
{
	static struct look look;
	const struct layout *layout;
	int64_t start;

	if (!look_open(&look, request->what, request->copy))
		tool_fail(TOOL_NO_TARGET, "%s", look.target.error);
	layout = &look.image->layout;
	profile_clean(look.target.command);
	catch_signals();
	bool was_on = profile_control(&look.target, layout, layout->sample_rate) != 0;
	if (was_on)
		tool_warn("the profile is on already, one block in %" PRIu64 " bytes; it is shown from its start, and stays on",
			  profile_control(&look.target, layout, layout->sample_mean));
	else
		switch_on(&look, request->mean);
	start = monotonic_ns();
	if (request->seconds > 0) {
		printf("%s (%d) is profiled for %" PRIu64 " s\n", look.target.command, (int)look.target.pid,
		       request->seconds);
		fflush(stdout);
	}
	wait_for(&look, request->seconds);
	if (!is_there(&look))
		fail_as_gone(&look);
	bool read = profile_read_process(profile, look.target.pid, layout);
	profile->duration_ns = monotonic_ns() - start;
	if (!was_on)
		switch_off(&look);
	if (!read)
		tool_fail(TOOL_NO_TARGET, "%s", profile->target.error);
	snprintf(profile->target.command, sizeof profile->target.command, "%s", look.target.command);
	profile_name(profile);
	target_close(&look.target);
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

struct function {
	const char *name;
	uint64_t nbytes;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct function *)a)->name, ((const struct function *)b)->name);
}

static int by_nbytes(const void *a, const void *b)
{
	const struct function *left = a, *right = b;

	return left->nbytes != right->nbytes ? (left->nbytes < right->nbytes ? 1 : -1)
					     : strcmp(left->name, right->name);
}

/* The innermost functions, which asked for the memory themselves. */
static void print_functions(const struct profile *profile, enum profile_value value)
{
	struct function *functions = profile_room(NULL, profile->nstacks * sizeof *functions);
	size_t n = 0;
	uint64_t whole = 0;
	char text[TOOL_NBYTES_SIZE];

	for (size_t i = 0; i < profile->nstacks; i++) {
		const struct profile_stack *stack = &profile->stacks[i];

		functions[i].name = stack->nframes ? profile->locations[stack->places[0]].name : "(no stack)";
		functions[i].nbytes = stack->values[value];
		whole += stack->values[value];
	}
	qsort(functions, profile->nstacks, sizeof *functions, by_name);
	for (size_t i = 0; i < profile->nstacks; i++) {
		if (n > 0 && strcmp(functions[n - 1].name, functions[i].name) == 0)
			functions[n - 1].nbytes += functions[i].nbytes;
		else
			functions[n++] = functions[i];
	}
	qsort(functions, n, sizeof *functions, by_nbytes);
	printf("%s %s, %s:\n", value == PROFILE_LIVE_NBYTES ? "live" : "allocated", tool_nbytes(text, whole),
	       profile->target.command);
	for (size_t i = 0; i < n && i < FUNCTIONS_SHOWN && functions[i].nbytes > 0; i++)
		printf("  %12s  %3u%%  %s\n", tool_nbytes(text, functions[i].nbytes),
		       look_percent(functions[i].nbytes, whole),
		       functions[i].name);
	free(functions);
}

static void written(bool good, const char *path)
{
	if (!good)
		tool_fail(TOOL_FAILED, "%s: %s", path, strerror(errno));
	printf("%s\n", path);
}

static void write_files(const struct request *request, const struct profile *profile)
{
	char base[4000], path[4096], title[200];

	if (request->out)
		snprintf(base, sizeof base, "%s", request->out);
	else if (profile->is_process)
		snprintf(base, sizeof base, "quarry.%d", (int)profile->target.pid);
	else
		snprintf(base, sizeof base, "%s", request->what);
	snprintf(title, sizeof title, "%s, %s bytes", profile->target.command,
		 request->value == PROFILE_LIVE_NBYTES ? "live" : "allocated");
	snprintf(path, sizeof path, "%s.pb", base);
	written(profile_write_pprof(profile, path), path);
	if (profile->is_process) {
		snprintf(path, sizeof path, "%s.heap", base);
		written(profile_write_text(profile, path), path);
	}
	snprintf(path, sizeof path, "%s.folded", base);
	written(profile_write_folded(profile, request->value, path), path);
	snprintf(path, sizeof path, "%s.svg", base);
	written(profile_write_svg(profile, request->value, title, path), path);
}

/* --- command ------------------------------------------------------------------------------------------------------ */

static void help(void)
{
	puts("usage: quarry prof [OPTION...] PID|FILE\n\n"
	     "Switch the heap profile of a process on for a while, or read one from a file that profile:exit left, and write\n"
	     "BASE.pb for pprof, BASE.folded, a flame graph BASE.svg and, of a process, BASE.heap for google-pprof. The\n"
	     "process is neither stopped nor traced.\n\n"
	     "  --seconds=N      so long (10); an interrupt ends it before\n"
	     "  --bytes=N        one allocation in N bytes is chosen, on the average (524288)\n"
	     "  --view=VIEW      live (what was allocated meanwhile and is not free yet) or allocated: in BASE.folded and .svg\n"
	     "  --out=BASE       beginning of the files' names (quarry.PID, or FILE)\n"
	     "  --copy=PATH      where several copies of Quarry are loaded: the one with this in its path");
}

static void parse(struct request *request, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *view = tool_value(argv[i], "--view");

		if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(0);
		}
		if (tool_value(argv[i], "--seconds"))
			request->seconds = tool_number(argv[i], 0, 86400);
		else if (tool_value(argv[i], "--bytes"))
			request->mean = tool_number(argv[i], 1, 1 << 30);
		else if (view && strcmp(view, "live") == 0)
			request->value = PROFILE_LIVE_NBYTES;
		else if (view && strcmp(view, "allocated") == 0)
			request->value = PROFILE_ALL_NBYTES;
		else if (view)
			tool_fail(TOOL_FAILED, "%s: live or allocated is needed", argv[i]);
		else if (tool_value(argv[i], "--out"))
			request->out = tool_value(argv[i], "--out");
		else if (tool_value(argv[i], "--copy"))
			request->copy = tool_value(argv[i], "--copy");
		else if (argv[i][0] == '-' || request->what)
			tool_fail(TOOL_FAILED, "no option %s; quarry prof --help lists them", argv[i]);
		else
			request->what = argv[i];
	}
	if (!request->what)
		tool_fail(TOOL_FAILED, "no process given; quarry prof --help says how");
}

int prof_main(int argc, char **argv)
{
	static struct profile profile;
	struct request request = { .seconds = 10, .mean = 524288, .value = PROFILE_LIVE_NBYTES };

	parse(&request, argc, argv);
	if (look_pid(request.what)) {
		profile_process(&request, &profile);
	} else {
		if (!profile_read_text(&profile, request.what))
			tool_fail(TOOL_NO_TARGET, "%s", profile.target.error);
		snprintf(profile.target.command, sizeof profile.target.command, "%.60s", request.what);
		profile_clean(profile.target.command);
		profile_name(&profile);
	}
	if (profile_is_empty(&profile))
		tool_warn("no allocation was chosen meanwhile; fewer --bytes or more --seconds choose more");
	if (profile.damaged > 0)
		tool_warn("damaged: %" PRIu64 " stacks could not be read", profile.damaged);
	if (profile.dropped > 0)
		tool_warn("%" PRIu64 " chosen blocks are missing, for want of room; more --bytes choose fewer",
			  profile.dropped);
	print_functions(&profile, request.value);
	write_files(&request, &profile);
	return profile.damaged > 0 ? TOOL_DAMAGED : 0;
}
