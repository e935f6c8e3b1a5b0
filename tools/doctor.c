/* SPDX-License-Identifier: MIT */
/*
 * quarry doctor: what of this system is good for Quarry, what is not, and what to do.
 *
 * Only looks: nothing is set, and only a child of its own has the library preloaded.
 */
#include "doctor.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "quarry/quarry.h"

static const char *root = "";
static unsigned nbad;

void doctor_say(enum verdict verdict, const char *subject, const char *advice, const char *format, ...)
{
	static const char *const names[] = { "good", "note", "bad" };
	va_list list;

	printf("%-4s  %-14s  ", names[verdict], subject);
	va_start(list, format);
	vprintf(format, list);
	va_end(list);
	putchar('\n');
	if (verdict != GOOD && advice)
		printf("%22s> %s\n", "", advice);
	nbad += verdict == BAD;
}

bool doctor_read(const char *path, char *text, size_t size)
{
	char name[PATH_MAX];

	snprintf(name, sizeof name, "%s%s", root, path);
	return tool_read_file(name, text, size);
}

bool doctor_is_here(void)
{
	return !*root;
}

/* --- the library -------------------------------------------------------------------------------------------------- */

/* In the child with the library preloaded: who is there? */
static int answer(void)
{
	const char *(*version)(void);
	void *(*malloc_of_quarry)(size_t);
	int (*owns)(const void *);
	void *block = malloc(100);

	*(void **)&version = dlsym(RTLD_DEFAULT, "quarry_version");
	*(void **)&malloc_of_quarry = dlsym(RTLD_DEFAULT, "quarry_malloc");
	*(void **)&owns = dlsym(RTLD_DEFAULT, "quarry_owns");
	if (!version || !malloc_of_quarry || !owns)
		return 1;
	printf("%s %s\n", version(), owns(block) ? "serves" : "is loaded, but another allocator serves");
	free(block);
	return 0;
}

/* What the child says, or 0 bytes. */
static bool ask_child(const char *library, char *said, size_t size)
{
	int ends[2], status;
	size_t used = 0;
	ssize_t nbytes;
	pid_t child;

	if (pipe(ends) < 0 || (child = fork()) < 0)
		return false;
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		tool_preload(library);
		execl("/proc/self/exe", "quarry", "doctor", "--answer", (char *)NULL);
		_exit(TOOL_CANNOT_EXECUTE);
	}
	close(ends[1]);
	while (used < size - 1 && (nbytes = read(ends[0], said + used, size - 1 - used)) > 0)
		used += (size_t)nbytes;
	close(ends[0]);
	said[used] = 0;
	said[strcspn(said, "\n")] = 0;
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void check_library(const char *given)
{
	char path[PATH_MAX], said[128];
	const char *stale = "install the library and this command from one build";

	if (given ? !realpath(given, path) : !tool_find_library(path, sizeof path, false)) {
		doctor_say(BAD, "library", "make install, or quarry doctor --library=FILE", "none at %s",
			   given ? given : path);
		return;
	}
	if (!ask_child(path, said, sizeof said))
		doctor_say(BAD, "library", "ldd FILE tells what the loader misses (liburcu?)",
			   "%s: cannot be preloaded",
			   path);
	else if (!strstr(said, "serves") || strstr(said, "another"))
		doctor_say(BAD, "library", "look at LD_PRELOAD and /etc/ld.so.preload", "%s %s", path, said);
	else
		doctor_say(strncmp(said, tool_version, strcspn(said, " ")) == 0 ? GOOD : NOTE, "library", stale,
			   "%s, version %.*s, serves malloc when it is preloaded", path, (int)strcspn(said, " "), said);
}

/* Each item as the library will read it. */
static void check_options(void)
{
	const char *conf = getenv("QUARRY_CONF");
	char items[4096], *save = NULL;
	bool good = true;

	if (!conf || !*conf) {
		doctor_say(GOOD, "options", NULL, "QUARRY_CONF is not set, so every default holds");
		return;
	}
	snprintf(items, sizeof items, "%s", conf);
	for (char *item = strtok_r(items, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *value = strchr(item, ':');

		if (value)
			*value++ = 0;
		if (options_accept(item, value ? value : ""))
			continue;
		doctor_say(BAD, "options", "quarry run --help lists keys and values", "QUARRY_CONF: %s:%s is not valid",
			   item, value ? value : "");
		good = false;
	}
	if (good)
		doctor_say(GOOD, "options", NULL, "QUARRY_CONF=%s", conf);
}

/* --- the command -------------------------------------------------------------------------------------------------- */

static void help(void)
{
	puts("usage: quarry doctor [--library=FILE] [--root=DIRECTORY]\n\n"
	     "Say what of this system is good for Quarry and what is not. Exit status 1: something is bad.\n\n"
	     "  --library=FILE    look at this library\n"
	     "  --root=DIRECTORY  read proc/ and sys/ there: a copy of another system's; ask this kernel nothing");
}

int doctor_main(int argc, char **argv)
{
	const char *library = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			help();
			return 0;
		}
		if (strcmp(argv[i], "--answer") == 0)
			return answer();
		if (tool_value(argv[i], "--library"))
			library = tool_value(argv[i], "--library");
		else if (tool_value(argv[i], "--root"))
			root = tool_value(argv[i], "--root");
		else
			tool_fail(TOOL_FAILED, "no option %s; quarry doctor --help lists them", argv[i]);
	}
	if (doctor_is_here()) {
		fflush(stdout);
		check_library(library);
		check_options();
	}
	doctor_check_system();
	return nbad > 0;
}
