/* SPDX-License-Identifier: MIT */
/*
 * Tool: see tool.h.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quarry/quarry.h"
#include "report.h"

#define LIBRARY "libquarry_malloc.so"
#define HARDENED_LIBRARY "libquarry_malloc_hardened.so"

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *tool_name = "quarry";
const char tool_version[] = VERSION(QUARRY_VERSION_MAJOR, QUARRY_VERSION_MINOR, QUARRY_VERSION_PATCH);

static void warn_list(const char *format, va_list list)
{
	fflush(stdout);
	fprintf(stderr, "%s: ", tool_name);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
}

void tool_warn(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	warn_list(format, list);
	va_end(list);
}

void tool_fail(int status, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	warn_list(format, list);
	va_end(list);
	exit(status);
}

const char *tool_value(const char *argument, const char *name)
{
	size_t nbytes = strlen(name);

	return strncmp(argument, name, nbytes) == 0 && argument[nbytes] == '=' ? argument + nbytes + 1 : NULL;
}

uint64_t tool_number(const char *argument, uint64_t least, uint64_t most)
{
	const char *text = strchr(argument, '=') + 1;
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < least || value > most)
		tool_fail(TOOL_FAILED, "%s: a number from %" PRIu64 " to %" PRIu64 " is needed", argument, least, most);
	return value;
}

bool tool_read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t nbytes = 0;

	if (fd < 0)
		return false;
	while (used < size - 1 && (nbytes = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)nbytes;
	int saved = errno;
	close(fd);
	errno = saved;
	while (used > 0 && text[used - 1] == '\n')
		used--;
	text[used] = 0;
	return nbytes >= 0;
}

const char *tool_nbytes(char data[TOOL_NBYTES_SIZE], uint64_t nbytes)
{
	struct text text;

	text_begin(&text, data, TOOL_NBYTES_SIZE);
	text_append_nbytes(&text, 0, nbytes);
	return data;
}

/* --- the library -------------------------------------------------------------------------------------------------- */

/* The library in the directory, or the file that it is a link to where only programs are run and not built. */
static bool try_directory(char *path, size_t size, const char *directory, const char *library)
{
	static const char *const suffixes[] = { "", ".0" };
	char resolved[PATH_MAX];

	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		if ((size_t)snprintf(path, size, "%s/%s%s", directory, library, suffixes[i]) < size &&
		    access(path, R_OK) == 0 && realpath(path, resolved) && strlen(resolved) < size) {
			strcpy(path, resolved);
			return true;
		}
	}
	return false;
}

bool tool_find_library(char *path, size_t size, bool hardened)
{
	const char *library = hardened ? HARDENED_LIBRARY : LIBRARY;
	char self[PATH_MAX - 32], directory[PATH_MAX];
	ssize_t nbytes = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	self[nbytes > 0 ? nbytes : 0] = 0;
	slash = strrchr(self, '/');
	if (slash) {
		*slash = 0;
		slash = strrchr(self, '/');
	}
	if (slash) {
		snprintf(directory, sizeof directory, "%s/../lib/.libs", self);
		if (strcmp(slash, "/tools") == 0 && try_directory(path, size, directory, library))
			return true;
		snprintf(directory, sizeof directory, "%s/../lib", self);
		if (try_directory(path, size, directory, library))
			return true;
	}
	return try_directory(path, size, QUARRY_LIBDIR, library);
}

void tool_preload(const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	char *list;

	if (strpbrk(library, ": \t\n"))
		tool_fail(TOOL_FAILED, "%s: the loader cannot preload a path with blanks or colons", library);
	if (asprintf(&list, "%s%s%s", library, before && *before ? ":" : "", before ? before : "") < 0 ||
	    setenv("LD_PRELOAD", list, 1) < 0)
		tool_fail(TOOL_FAILED, "no memory");
	free(list);
}
