/* SPDX-License-Identifier: MIT */
/*
 * options: see options.h.
 *
 * A new key is a field in struct options and one line of options_table.h.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "options.h"
#include "report.h"

/* So much of a wrong item is shown. */
#define SHOWN_NBYTES 64

struct options options = {
#define OPTION_WORDS(key, words, value, meaning) .key = value,
#define OPTION_NUMBER(key, min, max, value, meaning) .key = value,
#define OPTION_PATH(key, meaning) .key = "",
#include "options_table.h"
};

/* One key. Its values are words, the first being 0, or numbers from min to max. A last word like "node:0..7" stands for
   node:0, node:1 and so on, each a value of its own. */
struct option {
	const char *key;
	unsigned *field;
	const char *words; /* separated by '|'; NULL for a number */
	unsigned min;
	unsigned max;
	char *path; /* in place of field, words, min and max */
};

static const struct option table[] = {
#define OPTION_WORDS(key, words, value, meaning) { #key, &options.key, words, 0, 0, NULL },
#define OPTION_NUMBER(key, min, max, value, meaning) { #key, &options.key, NULL, min, max, NULL },
#define OPTION_PATH(key, meaning) { #key, NULL, NULL, 0, 0, options.key },
#include "options_table.h"
};

#define NOPTIONS (sizeof table / sizeof table[0])

/* Part of the text in the environment. */
struct slice {
	const char *start;
	size_t nbytes;
};

static bool slice_is(struct slice slice, const char *word, size_t nbytes)
{
	return slice.nbytes == nbytes && memcmp(slice.start, word, nbytes) == 0;
}

/* Argument pair for %.*s, cut to what is worth showing. */
#define SHOWN(slice) (int)((slice).nbytes < SHOWN_NBYTES ? (slice).nbytes : SHOWN_NBYTES), (slice).start

static bool parse_number(struct slice value, unsigned min, unsigned max, unsigned *result)
{
	unsigned number = 0;

	if (value.nbytes == 0)
		return false;
	for (size_t i = 0; i < value.nbytes; i++) {
		unsigned digit = (unsigned)(value.start[i] - '0');

		if (digit > 9 || number > (UINT_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	if (number < min || number > max)
		return false;
	*result = number;
	return true;
}

/* "word:0..MOST" against word:number. */
static bool parse_numbered(struct slice word, struct slice value, unsigned *number)
{
	const char *colon = memchr(word.start, ':', word.nbytes);
	size_t prefix = colon ? (size_t)(colon - word.start) + 1 : 0;
	size_t range = prefix + strlen("0..");
	unsigned most;

	if (!colon || value.nbytes < prefix || memcmp(value.start, word.start, prefix) != 0)
		return false;
	return parse_number((struct slice){ word.start + range, word.nbytes - range }, 0, UINT_MAX, &most) &&
	       parse_number((struct slice){ value.start + prefix, value.nbytes - prefix }, 0, most, number);
}

static bool parse_word(const char *words, struct slice value, unsigned *result)
{
	for (unsigned index = 0;; index++) {
		size_t nbytes = strcspn(words, "|");
		struct slice word = { words, nbytes };
		bool numbered = memchr(words, ':', nbytes);
		unsigned number = 0;

		if (numbered ? parse_numbered(word, value, &number) : slice_is(value, words, nbytes)) {
			*result = index + number;
			return true;
		}
		if (!words[nbytes])
			return false;
		words += nbytes + 1;
	}
}

static void report_bad_value(const struct option *option, struct slice value)
{
	if (option->path)
		report_line("QUARRY_CONF: %s:%.*s is not valid, %s takes a path of 1 to %d bytes", option->key,
			    SHOWN(value), option->key, OPTION_PATH_NBYTES - 1);
	else if (option->words)
		report_line("QUARRY_CONF: %s:%.*s is not valid, %s takes %s", option->key, SHOWN(value), option->key,
			    option->words);
	else
		report_line("QUARRY_CONF: %s:%.*s is not valid, %s takes %u..%u", option->key, SHOWN(value),
			    option->key, option->min, option->max);
}

static void report_unknown_key(struct slice key, struct slice value)
{
	char data[REPORT_LINE_NBYTES];
	struct text keys;

	text_begin(&keys, data, sizeof data);
	for (size_t i = 0; i < NOPTIONS; i++)
		text_append(&keys, "%s%s", i ? ", " : "", table[i].key);
	report_line("QUARRY_CONF: unknown key %.*s (value %.*s), the keys are %s", SHOWN(key), SHOWN(value), data);
}

static const struct option *find(struct slice key)
{
	for (size_t i = 0; i < NOPTIONS; i++) {
		if (slice_is(key, table[i].key, strlen(table[i].key)))
			return &table[i];
	}
	return NULL;
}

/* Into *result, or for a path into path. */
static bool parse_value(const struct option *option, struct slice value, unsigned *result, char *path)
{
	if (option->path) {
		if (value.nbytes == 0 || value.nbytes >= OPTION_PATH_NBYTES)
			return false;
		memcpy(path, value.start, value.nbytes);
		path[value.nbytes] = 0;
		return true;
	}
	return option->words ? parse_word(option->words, value, result)
			     : parse_number(value, option->min, option->max, result);
}

static void apply(struct slice key, struct slice value)
{
	const struct option *option = find(key);

	if (!option)
		report_unknown_key(key, value);
	else if (!parse_value(option, value, option->field, option->path))
		report_bad_value(option, value);
}

bool options_accept(const char *key, const char *value)
{
	const struct option *option = find((struct slice){ key, strlen(key) });
	unsigned ignored;
	char ignored_path[OPTION_PATH_NBYTES];

	return option && parse_value(option, (struct slice){ value, strlen(value) }, &ignored, ignored_path);
}

void options_parse(const char *conf)
{
	while (*conf) {
		size_t item = strcspn(conf, ",");
		size_t key = strcspn(conf, ":,");
		size_t value = key < item ? key + 1 : item;

		if (item)
			apply((struct slice){ conf, key }, (struct slice){ conf + value, item - value });
		conf += item;
		conf += *conf == ',';
	}
	report_set_fatal(options.on_error == OPTION_ON_ERROR_ABORT);
}

void options_append_path(struct text *name, const char *path)
{
	for (const char *c = path; *c; c++) {
		if (c[0] == '%' && c[1] == 'p') {
			text_append(name, "%d", (int)getpid());
			c++;
		} else {
			text_append(name, "%c", *c);
		}
	}
}

const char *options_environment(const char *name)
{
	size_t nbytes = strlen(name);

	if (!environ || getauxval(AT_SECURE))
		return NULL;
	for (char **entry = environ; *entry; entry++) {
		if (strncmp(*entry, name, nbytes) == 0 && (*entry)[nbytes] == '=')
			return *entry + nbytes + 1;
	}
	return NULL;
}

void options_read(void)
{
	const char *conf = options_environment("QUARRY_CONF");

	if (conf)
		options_parse(conf);
}
