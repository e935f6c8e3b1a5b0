/* SPDX-License-Identifier: MIT */
/*
 * quarry run: start a program with the library preloaded and QUARRY_CONF set.
 *
 * Becomes the program by exec, so that its process, descriptors and exit status are what they would be without.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "options.h"
#include "tool.h"

/* Words first to last, or a range; a key's switch is --KEY=VALUE. */
struct key {
	const char *name;
	const char *words;
	unsigned min, max, value;
	const char *meaning;
};

static const char path_word[] = "path"; /* in place of words: any text without a comma */

static const struct key keys[] = {
#define OPTION_WORDS(key, words, value, meaning) { #key, words, 0, 0, value, meaning },
#define OPTION_NUMBER(key, min, max, value, meaning) { #key, NULL, min, max, value, meaning },
#define OPTION_PATH(key, meaning) { #key, path_word, 0, 0, 0, meaning },
#include "options_table.h"
};

#define NKEYS (sizeof keys / sizeof keys[0])

/* --- help --------------------------------------------------------------------------------------------------------- */

static void values(const struct key *key, char *text, size_t size)
{
	if (key->words)
		snprintf(text, size, "%s", key->words);
	else
		snprintf(text, size, "%u..%u", key->min, key->max);
}

static void default_value(const struct key *key, char *text, size_t size)
{
	const char *word = key->words;

	if (!word || word == path_word) {
		snprintf(text, size, word ? "none" : "%u", key->value);
		return;
	}
	for (unsigned i = 0; i < key->value; i++)
		word += strcspn(word, "|") + 1;
	snprintf(text, size, "%.*s", (int)strcspn(word, "|"), word);
}

static void help(void)
{
	char range[64], value[32];

	puts("usage: quarry run [OPTION...] [--] PROGRAM [ARGUMENT...]\n\n"
	     "Run a program with Quarry in place of malloc.\n\n"
	     "  --summary       write the library's summary to stderr when the program ends\n"
	     "  --profile=FILE  write the heap profile to FILE when the program ends; ./on is a file\n"
	     "  --hardened      preload the library that finds more misuses, and is slower\n"
	     "  --library=FILE  preload this library, not the one that came with this command\n"
	     "  --list          list the keys below for scripts: key, values and default, tabs between\n\n"
	     "and, beyond what QUARRY_CONF says already, each key of quarry.conf(5) as --KEY=VALUE:\n");
	for (size_t i = 0; i < NKEYS; i++) {
		values(&keys[i], range, sizeof range);
		default_value(&keys[i], value, sizeof value);
		printf("  --%s=%s\n        %s (%s)\n", keys[i].name, range, keys[i].meaning, value);
	}
}

static void list(void)
{
	char range[64], value[32];

	for (size_t i = 0; i < NKEYS; i++) {
		values(&keys[i], range, sizeof range);
		default_value(&keys[i], value, sizeof value);
		printf("%s\t%s\t%s\n", keys[i].name, range, value);
	}
}

/* --- switches ----------------------------------------------------------------------------------------------------- */

struct run {
	const char *library;
	bool hardened;
	char conf[4096];
};

static void add_conf(struct run *run, const char *key, const char *value)
{
	size_t used = strlen(run->conf), room = sizeof run->conf - used;

	if ((size_t)snprintf(run->conf + used, room, "%s%s:%s", used ? "," : "", key, value) >= room)
		tool_fail(TOOL_FAILED, "QUARRY_CONF would be too long");
}

static void parse_key(struct run *run, const char *argument)
{
	char name[32], range[64];
	const char *value = strchr(argument, '=');

	for (size_t i = 0; i < NKEYS; i++) {
		snprintf(name, sizeof name, "--%s", keys[i].name);
		if (!tool_value(argument, name) && strcmp(argument, name) != 0)
			continue;
		values(&keys[i], range, sizeof range);
		if (!value || strchr(value, ',') || !options_accept(keys[i].name, value + 1))
			tool_fail(TOOL_FAILED, "%s: --%s= takes %s", argument, keys[i].name, range);
		add_conf(run, keys[i].name, value + 1);
		return;
	}
	tool_fail(TOOL_FAILED, "no option %s; quarry run --help lists them", argument);
}

/* "--profile=FILE", where FILE is no value of the key: the two keys in one. */
static bool is_profile_file(const char *argument)
{
	const char *file = tool_value(argument, "--profile");

	return file && !strchr(file, ',') && !options_accept("profile", file) && options_accept("profile_file", file);
}

/* Returns the place of the program in argv. */
static int parse(struct run *run, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (strcmp(argv[i], "--help") == 0) {
			help();
			exit(0);
		} else if (strcmp(argv[i], "--list") == 0) {
			list();
			exit(0);
		} else if (strcmp(argv[i], "--summary") == 0) {
			add_conf(run, "stats", "exit");
		} else if (is_profile_file(argv[i])) {
			add_conf(run, "profile", "exit");
			add_conf(run, "profile_file", tool_value(argv[i], "--profile"));
		} else if (strcmp(argv[i], "--hardened") == 0) {
			run->hardened = true;
		} else if (tool_value(argv[i], "--library")) {
			run->library = tool_value(argv[i], "--library");
		} else {
			parse_key(run, argv[i]);
		}
	}
	if (i >= argc)
		tool_fail(TOOL_FAILED, "no program given; quarry run --help says how");
	return i;
}

/* --- the program -------------------------------------------------------------------------------------------------- */

/* As execvp looks for it. False: it is not there, and exec will say so. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *list = getenv("PATH");

	if (strchr(name, '/'))
		return (size_t)snprintf(path, size, "%s", name) < size;
	for (list = list ? list : "/bin:/usr/bin"; *list; list += *list == ':') {
		int nbytes = (int)strcspn(list, ":");

		if ((size_t)snprintf(path, size, "%.*s/%s", nbytes ? nbytes : 1, nbytes ? list : ".", name) < size &&
		    access(path, X_OK) == 0)
			return true;
		list += nbytes;
	}
	return false;
}

/* Set-uid, set-gid or file capabilities that this user does not have anyway: the loader ignores the environment. */
static bool is_secure(int fd)
{
	struct stat stat;

	if (fstat(fd, &stat) < 0)
		return false;
	return ((stat.st_mode & S_ISUID) && stat.st_uid != getuid()) ||
	       ((stat.st_mode & S_ISGID) && (stat.st_mode & S_IXGRP) && stat.st_gid != getgid()) ||
	       (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0);
}

static bool has_interpreter(int fd, const ElfW(Ehdr) *header)
{
	ElfW(Phdr) segment;

	for (unsigned i = 0; i < header->e_phnum; i++) {
		off_t place = (off_t)(header->e_phoff + (uint64_t)i * header->e_phentsize);

		if (pread(fd, &segment, sizeof segment, place) == sizeof segment && segment.p_type == PT_INTERP)
			return true;
	}
	return false;
}

static bool is_shared_library(const ElfW(Ehdr) *header, const char *path)
{
	return header->e_type == ET_DYN && strstr(path, "/ld-") != NULL;
}

/* Say where a preload would silently do nothing. What is no ELF file (a script) is left to exec. */
static void check_program(const char *path)
{
	ElfW(Ehdr) program, self;
	int fd = open(path, O_RDONLY | O_CLOEXEC), own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && is_secure(fd))
		tool_fail(TOOL_FAILED, "%s runs with other privileges than yours; the loader preloads nothing there",
			  path);
	if (fd >= 0 && own >= 0 && pread(fd, &program, sizeof program, 0) == sizeof program &&
	    pread(own, &self, sizeof self, 0) == sizeof self && memcmp(program.e_ident, ELFMAG, SELFMAG) == 0) {
		if (program.e_ident[EI_CLASS] != self.e_ident[EI_CLASS] || program.e_machine != self.e_machine)
			tool_fail(TOOL_FAILED, "%s is for another machine or word size than the library", path);
		if (!has_interpreter(fd, &program) && !is_shared_library(&program, path))
			tool_fail(TOOL_FAILED,
				  "%s is linked statically, so nothing can be preloaded; link it with libquarry_malloc.a",
				  path);
	}
	if (fd >= 0)
		close(fd);
	if (own >= 0)
		close(own);
}

int run_main(int argc, char **argv)
{
	struct run run = { .library = NULL };
	const char *conf = getenv("QUARRY_CONF");
	char path[PATH_MAX];

	if (conf && (size_t)snprintf(run.conf, sizeof run.conf, "%s", conf) >= sizeof run.conf)
		tool_fail(TOOL_FAILED, "QUARRY_CONF is too long");
	argv += parse(&run, argc, argv);
	if (find_program(argv[0], path, sizeof path))
		check_program(path);
	if (run.library ? !realpath(run.library, path) || access(path, R_OK) < 0
			: !tool_find_library(path, sizeof path, run.hardened))
		tool_fail(TOOL_FAILED, "no library at %s; --library=FILE names another",
			  run.library ? run.library : path);
	tool_preload(path);
	if (run.conf[0])
		setenv("QUARRY_CONF", run.conf, 1);
	execvp(argv[0], argv);
	tool_fail(errno == ENOENT ? TOOL_NOT_FOUND : TOOL_CANNOT_EXECUTE, "%s: %s", argv[0], strerror(errno));
}
