/* SPDX-License-Identifier: MIT */
/*
 * check_report: the text builder, the lines on descriptor 2, and the way a fault ends.
 *
 * Descriptor 2 is a pipe while a message is caught. Check runs each test in a process of its own.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulated.h"
#include "report.h"

static char caught[4096];
static int pipe_end = -1;
static int kept_stderr = -1;

static void catch_begin(void)
{
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	pipe_end = ends[0];
	kept_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	close(ends[1]);
}

static const char *catch_end(void)
{
	ssize_t nbytes;

	dup2(kept_stderr, STDERR_FILENO);
	close(kept_stderr);
	nbytes = read(pipe_end, caught, sizeof caught - 1);
	caught[nbytes > 0 ? nbytes : 0] = 0;
	close(pipe_end);
	return caught;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

#define ck_assert_formats(...)                                                                                         \
	do {                                                                                                           \
		char ours_[256], libc_[256];                                                                           \
		struct text text_;                                                                                     \
		text_begin(&text_, ours_, sizeof ours_);                                                               \
		text_append(&text_, __VA_ARGS__);                                                                      \
		snprintf(libc_, sizeof libc_, __VA_ARGS__);                                                            \
		ck_assert_str_eq(ours_, libc_);                                                                        \
		ck_assert_uint_eq(text_.used, strlen(libc_));                                                          \
	} while (0)

START_TEST(text_formats_as_printf)
{
	ck_assert_formats("plain, and 100 %%");
	ck_assert_formats("%s|%s", "one", "");
	ck_assert_formats("%c%c", 'x', 'y');
	ck_assert_formats("%d %d %d %d", 0, -1, INT_MAX, INT_MIN);
	ck_assert_formats("%ld %ld %zd", LONG_MAX, LONG_MIN, (ssize_t)-5);
	ck_assert_formats("%u %u", 0u, UINT_MAX);
	ck_assert_formats("%lu %zu", ULONG_MAX, SIZE_MAX);
	ck_assert_formats("%x %lx %x", 0u, ULONG_MAX, 0xabcdefu);
	ck_assert_formats("%p", (void *)text_begin);
	ck_assert_formats("[%8s][%-8s][%2s]", "right", "left", "longer");
	ck_assert_formats("[%6u][%-6u][%12lu][%-4d][%4c]", 42u, 42u, 1234567890123ul, -7, 'c');
	ck_assert_formats("[%.*s][%.*s][%6.*s]", 2, "abcdef", 9, "abc", 3, "abcdef");
}
END_TEST

START_TEST(text_survives_null_and_unknown_conversions)
{
	char data[64];
	struct text text;
	const char *volatile unknown = "a%qb%s";
	const char *volatile nothing = NULL;

	text_begin(&text, data, sizeof data);
	text_append(&text, "%s", nothing);
	ck_assert_str_eq(data, "(null)");
	text_begin(&text, data, sizeof data);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	text_append(&text, unknown);
#pragma GCC diagnostic pop
	ck_assert_str_eq(data, "a?");
}
END_TEST

START_TEST(text_stays_inside_its_bounds)
{
	char data[12];

	for (size_t size = 1; size <= 10; size++) {
		struct text text;

		memset(data, '#', sizeof data);
		text_begin(&text, data + 1, size);
		for (int i = 0; i < 5; i++)
			text_append(&text, "%s%5u%c", "ab", 12u, 'z');
		ck_assert_uint_eq(text.used, size - 1);
		ck_assert_uint_eq(strlen(data + 1), size - 1);
		ck_assert_int_eq(strncmp(data + 1, "ab   12zab", size - 1), 0);
		ck_assert_int_eq(data[0], '#');
		ck_assert_int_eq(data[1 + size], '#');
	}
}
END_TEST

START_TEST(text_shows_amounts_for_people)
{
	static const struct {
		uint64_t nbytes;
		const char *shown;
	} rows[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ 1024 * 1024 - 1, "1024.0 KiB" },
		{ 1024 * 1024, "1.0 MiB" },
		{ UINT64_C(5) << 30, "5.0 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char data[32];
		struct text text;

		text_begin(&text, data, sizeof data);
		text_append_nbytes(&text, 0, rows[i].nbytes);
		ck_assert_str_eq(data, rows[i].shown);
		text_begin(&text, data, sizeof data);
		text_append_nbytes(&text, 12, rows[i].nbytes);
		ck_assert_uint_eq(text.used, 12);
		ck_assert_str_eq(data + 12 - strlen(rows[i].shown), rows[i].shown);
	}
}
END_TEST

START_TEST(text_write_tells_failure)
{
	char data[8];
	struct text text;

	text_begin(&text, data, sizeof data);
	text_append(&text, "x");
	errno = 0;
	ck_assert_int_eq(text_write(&text, -1), -1);
	ck_assert_int_eq(errno, EBADF);
}
END_TEST

/* --- lines -------------------------------------------------------------------------------------------------------- */

START_TEST(line_has_prefix_and_newline)
{
	catch_begin();
	report_line("%s is %u", "answer", 42u);
	ck_assert_str_eq(catch_end(), "quarry: answer is 42\n");
}
END_TEST

START_TEST(line_that_is_too_long_is_cut)
{
	char longer[2 * REPORT_LINE_NBYTES];
	const char *line;

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	catch_begin();
	report_line("%s", longer);
	line = catch_end();
	ck_assert_uint_eq(strlen(line), REPORT_LINE_NBYTES);
	ck_assert_int_eq(line[REPORT_LINE_NBYTES - 1], '\n');
	ck_assert_int_eq(line[REPORT_LINE_NBYTES - 2], 'x');
}
END_TEST

START_TEST(line_keeps_errno)
{
	int kept = dup(STDERR_FILENO);

	close(STDERR_FILENO);
	errno = ERANGE;
	report_line("nobody reads this");
	ck_assert_int_eq(errno, ERANGE);
	dup2(kept, STDERR_FILENO);
}
END_TEST

static void *report_when_cancelled(void *arg)
{
	atomic_int *passed = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	report_line("from a cancelled thread");
	atomic_store(passed, 1);
	return NULL;
}

START_TEST(line_is_no_cancellation_point)
{
	pthread_t thread;
	atomic_int passed = 0;

	catch_begin();
	ck_assert_int_eq(pthread_create(&thread, NULL, report_when_cancelled, &passed), 0);
	pthread_join(thread, NULL);
	ck_assert_str_eq(catch_end(), "quarry: from a cancelled thread\n");
	ck_assert_int_eq(atomic_load(&passed), 1);
}
END_TEST

/* --- faults ------------------------------------------------------------------------------------------------------- */

START_TEST(fault_names_what_is_known)
{
	void *ptr = (void *)0x7f0000001000;
	void *arena = (void *)0x7f0000000000;
	struct report_place all = { 5, 96, arena, 1, 77 }, class = { 0, 16, NULL, -1, 0 }, in_arena = { -1, 0, arena, 0, 0 };
	char wanted[512];

	snprintf(wanted, sizeof wanted,
		 "quarry: double free of 0x7f0000001000 (size class 5, 96 bytes, arena 0x7f0000000000, node 1, "
		 "heap of thread 77), found by thread %1$d\n"
		 "quarry: double free of 0x7f0000001000 (size class 0, 16 bytes), found by thread %1$d\n"
		 "quarry: free of 0x7f0000001000 (arena 0x7f0000000000, node 0), found by thread %1$d\n"
		 "quarry: invalid free (no block) of 0x7f0000001000, found by thread %1$d\n", (int)gettid());
	report_set_fatal(false);
	catch_begin();
	report_fault("double free", ptr, &all);
	report_fault("double free", ptr, &class);
	report_fault("free", ptr, &in_arena);
	report_fault("invalid free (no block)", ptr, NULL);
	ck_assert_str_eq(catch_end(), wanted);
}
END_TEST

START_TEST(fault_aborts)
{
	int status;
	pid_t child;

	catch_begin();
	child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		report_fault("double free", (void *)0x10, NULL);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	const char *said = catch_end(), *wanted = "quarry: double free of 0x10, found by thread ";
	ck_assert(strncmp(said, wanted, strlen(wanted)) == 0);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("report");
	TCase *tcase = tcase_create("report");
	SRunner *runner;
	int failed;

	tcase_add_test(tcase, text_formats_as_printf);
	tcase_add_test(tcase, text_survives_null_and_unknown_conversions);
	tcase_add_test(tcase, text_stays_inside_its_bounds);
	tcase_add_test(tcase, text_shows_amounts_for_people);
	tcase_add_test(tcase, text_write_tells_failure);
	tcase_add_test(tcase, line_has_prefix_and_newline);
	tcase_add_test(tcase, line_that_is_too_long_is_cut);
	tcase_add_test(tcase, line_keeps_errno);
	tcase_add_test(tcase, line_is_no_cancellation_point);
	tcase_add_test(tcase, fault_names_what_is_known);
	tcase_add_test(tcase, fault_aborts);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
