/* SPDX-License-Identifier: MIT */
/*
 * check_options: QUARRY_CONF, what is accepted, and what is said about the rest.
 *
 * Check runs each test in a process of its own, so each begins with the defaults. getauxval is ours here, so that a
 * set-uid program can be played.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include "options.h"
#include "report.h"

static unsigned long secure;

unsigned long getauxval(unsigned long type)
{
	return type == AT_SECURE ? secure : 0;
}

/* --- catching descriptor 2 ---------------------------------------------------------------------------------------- */

static char caught[4096];

static const char *parse_and_catch(void (*parse)(const char *), const char *conf)
{
	int ends[2];
	int kept = dup(STDERR_FILENO);
	ssize_t nbytes;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	parse(conf);
	dup2(kept, STDERR_FILENO);
	nbytes = read(ends[0], caught, sizeof caught - 1);
	caught[nbytes > 0 ? nbytes : 0] = 0;
	close(ends[0]);
	close(ends[1]);
	close(kept);
	return caught;
}

static void read_from_environment(const char *conf)
{
	setenv("QUARRY_CONF", conf, 1);
	options_read();
}

static unsigned count_lines(const char *text)
{
	unsigned nlines = 0;

	for (; *text; text++)
		nlines += *text == '\n';
	return nlines;
}

static void assert_defaults(void)
{
	ck_assert_uint_eq(options.purge, OPTION_PURGE_THREAD);
	ck_assert_uint_eq(options.decay_ms, 1000);
	ck_assert_uint_eq(options.on_error, OPTION_ON_ERROR_ABORT);
	ck_assert_uint_eq(options.numa, OPTION_NUMA_LOCAL);
	ck_assert_uint_eq(options.huge_pages, OPTION_HUGE_PAGES_NEVER);
	ck_assert_uint_eq(options.cache_kib, 4096);
	ck_assert_uint_eq(options.limit_mib, 0);
	ck_assert_uint_eq(options.stats, OPTION_STATS_NONE);
}

/* --- what is accepted --------------------------------------------------------------------------------------------- */

START_TEST(defaults_hold_without_environment)
{
	assert_defaults();
	unsetenv("QUARRY_CONF");
	options_read();
	assert_defaults();
	clearenv();
	options_read();
	assert_defaults();
}
END_TEST

START_TEST(every_key_is_read)
{
	ck_assert_str_eq(parse_and_catch(read_from_environment, "purge:inline,decay_ms:250,on_error:report,numa:off,"
								"huge_pages:inherit,cache_kib:16,stats:exit"), "");
	ck_assert_uint_eq(options.purge, OPTION_PURGE_INLINE);
	ck_assert_uint_eq(options.decay_ms, 250);
	ck_assert_uint_eq(options.on_error, OPTION_ON_ERROR_REPORT);
	ck_assert_uint_eq(options.numa, OPTION_NUMA_OFF);
	ck_assert_uint_eq(options.huge_pages, OPTION_HUGE_PAGES_INHERIT);
	ck_assert_uint_eq(options.cache_kib, 16);
	ck_assert_uint_eq(options.stats, OPTION_STATS_EXIT);
}
END_TEST

START_TEST(a_node_is_a_value_by_its_number)
{
	const char *const wrong[] = {"numa:node", "numa:node:", "numa:node:1024", "numa:node:0..1023", "numa:node:-1",
				     "numa:node:1x", "numa:nod:1", "numa:node1", "numa:node=1", "numa:", "numa:local:1"};

	ck_assert_str_eq(parse_and_catch(options_parse, "numa:node:0"), "");
	ck_assert_uint_eq(options.numa, OPTION_NUMA_NODE);
	ck_assert_str_eq(parse_and_catch(options_parse, "numa:node:1023,decay_ms:5"), "");
	ck_assert_uint_eq(options.numa, OPTION_NUMA_NODE + 1023);
	ck_assert_uint_eq(options.decay_ms, 5);
	ck_assert_str_eq(parse_and_catch(options_parse, "numa:interleave"), "");
	ck_assert_uint_eq(options.numa, OPTION_NUMA_INTERLEAVE);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		const char *text = parse_and_catch(options_parse, wrong[i]);

		ck_assert_uint_eq(count_lines(text), 1);
		ck_assert_ptr_nonnull(strstr(text, "numa takes local|interleave|off|node:0..1023"));
		ck_assert_uint_eq(options.numa, OPTION_NUMA_INTERLEAVE);
	}
	ck_assert(options_accept("numa", "node:7") && !options_accept("numa", "node:1024"));
}
END_TEST

START_TEST(ends_of_ranges_are_valid)
{
	ck_assert_str_eq(parse_and_catch(options_parse, "decay_ms:0,cache_kib:65536"), "");
	ck_assert_uint_eq(options.decay_ms, 0);
	ck_assert_uint_eq(options.cache_kib, 65536);
	ck_assert_str_eq(parse_and_catch(options_parse, "decay_ms:600000,cache_kib:0"), "");
	ck_assert_uint_eq(options.decay_ms, 600000);
	ck_assert_uint_eq(options.cache_kib, 0);
}
END_TEST

START_TEST(empty_items_are_passed_over)
{
	ck_assert_str_eq(parse_and_catch(options_parse, ",,decay_ms:7,,"), "");
	ck_assert_uint_eq(options.decay_ms, 7);
	ck_assert_str_eq(parse_and_catch(options_parse, ""), "");
}
END_TEST

START_TEST(last_value_holds)
{
	ck_assert_str_eq(parse_and_catch(options_parse, "decay_ms:7,purge:off,decay_ms:8"), "");
	ck_assert_uint_eq(options.decay_ms, 8);
	ck_assert_uint_eq(options.purge, OPTION_PURGE_OFF);
}
END_TEST

START_TEST(variable_is_found_by_its_whole_name)
{
	static char *entries[] = { "QUARRY_CONFIG=decay_ms:1", "XQUARRY_CONF=decay_ms:2", "QUARRY_CONF", NULL,
				   NULL };

	environ = entries;
	options_read();
	assert_defaults();
	entries[3] = "QUARRY_CONF=decay_ms:3";
	options_read();
	ck_assert_uint_eq(options.decay_ms, 3);
}
END_TEST

START_TEST(set_uid_program_keeps_defaults)
{
	secure = 1;
	ck_assert_str_eq(parse_and_catch(read_from_environment, "purge:off,nonsense:1"), "");
	assert_defaults();
	ck_assert_ptr_null(options_environment("QUARRY_CONF"));
	secure = 0;
	ck_assert_str_eq(options_environment("QUARRY_CONF"), "purge:off,nonsense:1");
}
END_TEST

START_TEST(on_error_decides_about_faults)
{
	int status;
	pid_t child;

	options_parse("on_error:report");
	report_fault("a fault that is only reported", NULL, NULL);
	child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		options_parse("on_error:abort");
		report_fault("a fault that aborts", NULL, NULL);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

/* --- what is not -------------------------------------------------------------------------------------------------- */

static const struct {
	const char *conf;
	const char *message;
} wrong[] = {
	{ "decay_ms:600001", "quarry: QUARRY_CONF: decay_ms:600001 is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms:-1", "quarry: QUARRY_CONF: decay_ms:-1 is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms:4294967296", "quarry: QUARRY_CONF: decay_ms:4294967296 is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms:42949672960",
	  "quarry: QUARRY_CONF: decay_ms:42949672960 is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms:", "quarry: QUARRY_CONF: decay_ms: is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms", "quarry: QUARRY_CONF: decay_ms: is not valid, decay_ms takes 0..600000\n" },
	{ "decay_ms:1k", "quarry: QUARRY_CONF: decay_ms:1k is not valid, decay_ms takes 0..600000\n" },
	{ "cache_kib:65537", "quarry: QUARRY_CONF: cache_kib:65537 is not valid, cache_kib takes 0..65536\n" },
	{ "purge:never", "quarry: QUARRY_CONF: purge:never is not valid, purge takes thread|inline|off\n" },
	{ "purge:thread|inline",
	  "quarry: QUARRY_CONF: purge:thread|inline is not valid, purge takes thread|inline|off\n" },
	{ "purge:", "quarry: QUARRY_CONF: purge: is not valid, purge takes thread|inline|off\n" },
	{ "stats:Exit", "quarry: QUARRY_CONF: stats:Exit is not valid, stats takes none|exit\n" },
	{ "decay:5", "quarry: QUARRY_CONF: unknown key decay (value 5), the keys are purge, decay_ms, on_error, numa, "
		     "huge_pages, cache_kib, limit_mib, quarantine_kib, stats, stats_format, "
	  "stats_file, stats_ms, stats_signal, profile, profile_bytes, profile_file, "
	  "guard_sample, guard_slots\n" },
	{ " decay_ms:5", "quarry: QUARRY_CONF: unknown key  decay_ms (value 5), the keys are purge, decay_ms, "
			 "on_error, numa, huge_pages, cache_kib, limit_mib, quarantine_kib, stats, stats_format, "
	  "stats_file, stats_ms, stats_signal, profile, profile_bytes, profile_file, "
	  "guard_sample, guard_slots\n" },
	{ ":5", "quarry: QUARRY_CONF: unknown key  (value 5), the keys are purge, decay_ms, on_error, numa, "
		"huge_pages, cache_kib, limit_mib, quarantine_kib, stats, stats_format, "
	  "stats_file, stats_ms, stats_signal, profile, profile_bytes, profile_file, "
	  "guard_sample, guard_slots\n" },
};

START_TEST(wrong_item_is_named_and_default_holds)
{
	ck_assert_str_eq(parse_and_catch(read_from_environment, wrong[_i].conf), wrong[_i].message);
	assert_defaults();
}
END_TEST

START_TEST(wrong_items_leave_the_others_alone)
{
	const char *said = parse_and_catch(options_parse, "purge:x,decay_ms:5,unknown:y,stats:exit");

	ck_assert_uint_eq(count_lines(said), 2);
	ck_assert_uint_eq(options.purge, OPTION_PURGE_THREAD);
	ck_assert_uint_eq(options.decay_ms, 5);
	ck_assert_uint_eq(options.stats, OPTION_STATS_EXIT);
}
END_TEST

START_TEST(a_path_is_any_text_without_a_comma)
{
	char conf[OPTION_PATH_NBYTES + 32], longest[OPTION_PATH_NBYTES];

	options_parse("stats_file:/run/a:b %p.json,decay_ms:5");
	ck_assert_str_eq(options.stats_file, "/run/a:b %p.json");
	ck_assert_uint_eq(options.decay_ms, 5);
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	snprintf(conf, sizeof conf, "stats_file:%s", longest);
	options_parse(conf);
	ck_assert_str_eq(options.stats_file, longest);
	snprintf(conf, sizeof conf, "stats_file:%sx", longest);
	ck_assert_ptr_nonnull(strstr(parse_and_catch(options_parse, conf), "takes a path of 1 to 255 bytes"));
	ck_assert_ptr_nonnull(strstr(parse_and_catch(options_parse, "stats_file:"), "takes a path of 1 to 255 bytes"));
	ck_assert_str_eq(options.stats_file, longest);
}
END_TEST

START_TEST(long_items_are_cut)
{
	char conf[1000];
	const char *said;

	memset(conf, 'k', sizeof conf - 1);
	conf[sizeof conf - 1] = 0;
	said = parse_and_catch(options_parse, conf);
	ck_assert_uint_eq(count_lines(said), 1);
	ck_assert_ptr_nonnull(strstr(said, "guard_slots\n"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, defaults_hold_without_environment);
	tcase_add_test(tcase, every_key_is_read);
	tcase_add_test(tcase, a_node_is_a_value_by_its_number);
	tcase_add_test(tcase, ends_of_ranges_are_valid);
	tcase_add_test(tcase, empty_items_are_passed_over);
	tcase_add_test(tcase, last_value_holds);
	tcase_add_test(tcase, variable_is_found_by_its_whole_name);
	tcase_add_test(tcase, set_uid_program_keeps_defaults);
	tcase_add_test(tcase, on_error_decides_about_faults);
	tcase_add_loop_test(tcase, wrong_item_is_named_and_default_holds, 0, sizeof wrong / sizeof wrong[0]);
	tcase_add_test(tcase, wrong_items_leave_the_others_alone);
	tcase_add_test(tcase, a_path_is_any_text_without_a_comma);
	tcase_add_test(tcase, long_items_are_cut);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
