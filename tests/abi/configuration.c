/* SPDX-License-Identifier: MIT */
/*
 * QUARRY_CONF: an unknown key or a bad value costs one line on stderr that names key, value and range, and the default
 * holds; a good one is silent and takes effect. Each case is a process of its own.
 */
#include "blackbox.h"

static char said[65536];

/* What a fresh process writes to stderr; it must end well. */
static void run_with(const char *conf, const char *action)
{
	int ends[2];

	if (conf != NULL)
		CHECK(setenv("QUARRY_CONF", conf, 1) == 0);
	else
		CHECK(unsetenv("QUARRY_CONF") == 0);
	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	int kept = dup(2);
	CHECK(dup2(ends[1], 2) == 2);
	pid_t child = start_self(action, NULL);
	CHECK(dup2(kept, 2) == 2);
	close(kept);
	int status = child_said(child, ends, said, sizeof said);
	CHECKF(status == 0, "  QUARRY_CONF=\"%.200s\": status 0x%x; it said: %.200s", conf, status, said);
}

static int lines(void)
{
	int count = 0;
	for (const char *c = said; *c != 0; c++)
		count += *c == '\n';
	return count;
}

static void expect_silence(const char *conf)
{
	run_with(conf, "allocate");
	CHECKF(said[0] == 0, "  QUARRY_CONF=\"%s\" said: %.300s", conf != NULL ? conf : "(unset)", said);
}

static void expect_complaint(const char *conf, const char *key, const char *value, const char *range)
{
	run_with(conf, "allocate");
	CHECKF(lines() == 1 && strncmp(said, "quarry: ", 8) == 0, "  QUARRY_CONF=\"%s\" said: %.300s", conf, said);
	CHECKF(strstr(said, key) != NULL && strstr(said, value) != NULL && strstr(said, range) != NULL,
	       "  QUARRY_CONF=\"%s\": the line lacks %s, %s or %s: %s", conf, key, value, range, said);
}

static int allocate(void)
{
	char *blocks[1000];
	uint64_t rng = 1;

	for (size_t i = 0; i < COUNT(blocks); i++) {
		blocks[i] = malloc(rng_size(&rng, 16));
		CHECK(blocks[i] != NULL);
		blocks[i][0] = 1;
	}
	for (size_t i = 0; i < COUNT(blocks); i++)
		free(blocks[i]);
	return 0;
}

/* Not a block: fatal unless on_error:report holds. */
static int misuse(void)
{
	static char not_a_block[64];
	char *volatile wrong = not_a_block + 16;
	free(wrong);
	return allocate();
}

int main(int argc, char **argv)
{
	static const char *const good[] = {
		NULL, "", "on_error:abort", "decay_ms:250,numa:off", "purge:inline,purge:off", ",purge:thread,,",
		"huge_pages:inherit,cache_kib:64", "stats:none",
	};
	test_start(60);
	if (argc == 2)
		return strcmp(argv[1], "misuse") == 0 ? misuse() : allocate();
	if (!on_quarry())
		SKIP("only Quarry has QUARRY_CONF");
	for (size_t i = 0; i < COUNT(good); i++)
		expect_silence(good[i]);
	expect_complaint("no_such_key:1", "no_such_key", "1", "");
	expect_complaint("on_error:sometimes", "on_error", "sometimes", "report");
	expect_complaint("decay_ms:600001", "decay_ms", "600001", "0..600000");
	expect_complaint("decay_ms:99999999999999999999999", "decay_ms", "99999999999999999999999", "0..600000");
	expect_complaint("decay_ms:-1", "decay_ms", "-1", "0..600000");
	expect_complaint("decay_ms:10x", "decay_ms", "10x", "0..600000");
	expect_complaint("purge", "purge", "purge", "inline");
	expect_complaint("numa:off,huge_pages:perhaps", "huge_pages", "perhaps", "always");
	expect_complaint("numa:node", "numa", "node", "node:0..1023");
	expect_complaint("numa:node:1024", "numa", "node:1024", "node:0..1023");
	expect_complaint("numa:node:1023", "numa", "node:1023", "this process may use");
	expect_complaint(":::", ":", ":", "");
	run_with("bogus:1,decay_ms:x,on_error:y", "allocate");
	CHECKF(lines() == 3, "  three faults said: %.300s", said);

	/* A value of 60 KiB: reported, perhaps cut off, in one line. */
	static char endless[60000];
	memset(endless, 'y', sizeof endless - 1);
	memcpy(endless, "decay_ms:", 9);
	expect_complaint(endless, "decay_ms", "yyyy", "");

	/* In effect: without on_error:report the misuse would be fatal. */
	run_with("on_error:report", "misuse");
	CHECK(lines() == 1 && strncmp(said, "quarry: ", 8) == 0);
	run_with("stats:exit", "allocate");
	CHECKF(lines() > 3 && strpbrk(said, "0123456789") != NULL, "  stats:exit said: %.300s", said);
	return 0;
}
