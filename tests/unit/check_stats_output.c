/* SPDX-License-Identifier: MIT */
/*
 * check_stats_output: statistics as JSON and for Prometheus, and the records that go to a file or standard error at
 * exit, by the clock and on a signal.
 */
#include "heaps.h"

#include "machine.h"
#include "options.h"
#include "purge.h"
#include "stats.h"
#include "stats_output.h"

#include "quarry/stats.h"
#include <sys/syscall.h>

static char text[1 << 17];

/* What was written to the pipe or file; a 0 behind it. */
static const char *read_all(int fd)
{
	size_t nbytes = 0;
	for (ssize_t got; (got = read(fd, text + nbytes, sizeof(text) - 1 - nbytes)) > 0;)
		nbytes += (size_t)got;
	text[nbytes] = 0;
	return text;
}

/* What a call writes to a descriptor, of a file without a name. */
static const char *written_by(int (*call)(int fd))
{
	FILE *file = tmpfile();
	expect(file != NULL);
	ck_assert_int_eq(call(fileno(file)), 0);
	expect(lseek(fileno(file), 0, SEEK_SET) == 0);
	read_all(fileno(file));
	fclose(file);
	return text;
}

static unsigned times_in(const char *where, const char *what)
{
	unsigned n = 0;
	for (const char *at = where; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* The number behind a name; the name is there once. */
static uint64_t number_of(const char *where, const char *format, const char *name)
{
	char what[96];
	snprintf(what, sizeof(what), format, name);
	ck_assert_msg(times_in(where, what) == 1, "%s stands there %u times", what, times_in(where, what));
	return strtoull(strstr(where, what) + strlen(what), NULL, 10);
}

/* --- JSON: the little of its grammar that is needed --------------------------------------------------------------- */

static const char *past_value(const char *c);

static const char *past_string(const char *c)
{
	expect(*c == '"');
	for (c++; *c != '"'; c++)
		expect((unsigned char)*c >= ' ' && *c != '\\');
	return c + 1;
}

static const char *past_list(const char *c, char end, bool named)
{
	for (c++; *c != end; c++) {
		if (named) {
			c = past_string(c);
			expect(*c++ == ':');
		}
		c = past_value(c);
		if (*c == end)
			break;
		expect(*c == ',');
	}
	return c + 1;
}

static const char *past_value(const char *c)
{
	if (*c == '{')
		return past_list(c, '}', true);
	if (*c == '[')
		return past_list(c, ']', false);
	if (*c == '"')
		return past_string(c);
	char *end;
	strtod(c, &end);
	expect(end != c);
	return end;
}

/* --- formats ------------------------------------------------------------------------------------------------------ */

/* What does not change by being looked at: everything, while nobody else is inside. */
static struct quarry_stats some_stats(void)
{
	static struct lot lot = {.nbytes = SMALL, .n = 3000};
	struct quarry_stats stats;
	lot_allocate(&lot);
	quarry_free(quarry_malloc(LARGE_REQUEST_THRESHOLD + 1));
	ck_assert_int_eq(quarry_stats_get(&stats, sizeof(stats)), 0);
	ck_assert_uint_gt(stats.live, lot.n * SMALL - 1);
	return stats;
}

START_TEST(json_is_a_line_with_every_figure)
{
	struct quarry_stats stats = some_stats();
	const char *json = written_by(quarry_stats_json);
	ck_assert_str_eq(past_value(json), "\n");
	*strstr(text, ",\"nodes\":") = 0; /* nodes have some of the same names */
	for (size_t i = 0; i < stats_nmetrics; i++)
		ck_assert_uint_eq(number_of(json, ",\"%s\":", stats_metrics[i].name),
		                  stats_value(&stats, &stats_metrics[i]));
	ck_assert_uint_eq(number_of(json, "\"%s\":", "version"), QUARRY_STATS_VERSION);
	ck_assert_uint_eq(number_of(json, "\"%s\":", "pid"), (uint64_t)getpid());
	ck_assert_uint_gt(number_of(json, "\"%s\":", "resident"), stats.live);
	ck_assert_uint_ge(number_of(json, "\"%s\":", "time_ms"), (uint64_t)time(NULL) * 1000 - 100000);
}
END_TEST

START_TEST(json_has_an_object_per_node)
{
	make_machine(16);
	some_stats();
	const char *json = written_by(quarry_stats_json);
	ck_assert_str_eq(past_value(json), "\n");
	*strstr(text, ",\"by_class\":") = 0;
	ck_assert_uint_eq(times_in(json, "\"os_node\":"), 16);
	for (unsigned node = 0; node < 16; node++) {
		char name[32];
		snprintf(name, sizeof(name), "{\"os_node\":%d,", OS(node));
		ck_assert_ptr_nonnull(strstr(json, name));
	}
}
END_TEST

/* Each sample has its two comments above it, a name with its unit and, of a counter, _total. */
START_TEST(prometheus_gets_each_metric_with_its_unit_and_type)
{
	struct quarry_stats stats = some_stats();
	written_by(quarry_stats_prometheus);
	char *line = text;
	size_t n = 0;
	for (; n < stats_nmetrics; n++) {
		const struct stats_metric *metric = &stats_metrics[n];
		char name[96], expected[512];
		snprintf(name, sizeof(name), "quarry_%s%s%s", metric->name, metric->bytes ? "_bytes" : "",
		         metric->counter ? "_total" : "");
		int length = snprintf(expected, sizeof(expected), "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name,
		                      metric->meaning, name, metric->counter ? "counter" : "gauge", name,
		                      (unsigned long long)stats_value(&stats, metric));
		ck_assert_msg(strncmp(line, expected, (size_t)length) == 0, "%s instead of %s", line, expected);
		line += length;
	}
	ck_assert_uint_eq(times_in(line, "\nquarry_node_live_bytes{node=\""), 1);
	make_machine(3);
	written_by(quarry_stats_prometheus);
	ck_assert_uint_eq(times_in(text, "\nquarry_node_live_bytes{node=\""), 3);
	ck_assert_uint_eq(times_in(text, "\nquarry_node_cached_bytes{node=\"7\"} "), 1);
	ck_assert_uint_eq(times_in(text, "# TYPE quarry_node_free_dirty_bytes gauge\n"), 1);
}
END_TEST

/* --- by class, arena and thread ----------------------------------------------------------------------------------- */

struct totals {
	uint64_t out, spans, mapped, cached, refills, classes, rounds;
};

static int add_class(const struct quarry_class_stats *stats, void *arg)
{
	struct totals *totals = arg;
	ck_assert_uint_eq(stats->version, QUARRY_CLASS_STATS_VERSION);
	ck_assert_uint_eq(stats->size_class, totals->classes++);
	ck_assert_uint_eq(stats->size, quarry_good_size(stats->size));
	ck_assert(stats->out <= stats->capacity && stats->cached <= stats->out && stats->pools <= stats->capacity);
	totals->out += stats->out * stats->size;
	totals->cached += stats->cached * stats->size;
	return 0;
}

static int add_arena(const struct quarry_arena_stats *stats, void *arg)
{
	struct totals *totals = arg;
	ck_assert_uint_eq(stats->version, QUARRY_ARENA_STATS_VERSION);
	ck_assert_uint_eq(stats->mapped, stats->head + stats->used + stats->free_dirty + stats->free_clean);
	ck_assert(stats->out <= stats->used && quarry_owns(stats->address));
	totals->mapped += stats->mapped;
	totals->spans += stats->out;
	return 0;
}

static int add_thread(const struct quarry_thread_stats *stats, void *arg)
{
	struct totals *totals = arg;
	ck_assert_uint_eq(stats->version, QUARRY_THREAD_STATS_VERSION);
	ck_assert(stats->shared == (stats->tid == 0) && (stats->shared || stats->tid == (int)syscall(SYS_gettid)));
	totals->cached += stats->cached + stats->waiting;
	totals->refills += stats->refills;
	return 0;
}

static int end_second(const void *stats, void *arg)
{
	(void)stats;
	return (int)++((struct totals *)arg)->rounds == 2 ? 77 : 0;
}

static int end_second_class(const struct quarry_class_stats *stats, void *arg)
{
	return end_second(stats, arg);
}

static int end_second_thread(const struct quarry_thread_stats *stats, void *arg)
{
	return end_second(stats, arg);
}

START_TEST(details_add_up_to_the_whole)
{
	struct quarry_stats stats = some_stats();
	struct totals classes = {0}, arenas = {0}, threads = {0}, ended = {0};
	void *span = quarry_malloc(SPAN);
	uint64_t spans = counted_nbytes(quarry_usable_size(span));
	ck_assert_int_eq(quarry_stats_get(&stats, sizeof(stats)), 0);
	ck_assert_int_eq(quarry_class_stats_each(add_class, &classes), 0);
	ck_assert_int_eq(quarry_arena_stats_each(add_arena, &arenas), 0);
	ck_assert_int_eq(quarry_thread_stats_each(add_thread, &threads), 0);
	ck_assert_uint_eq(classes.out + spans, stats.live + stats.cached);
	ck_assert_uint_eq(arenas.spans, stats.live + stats.cached);
	ck_assert_uint_eq(arenas.mapped + stats.large_kept + stats.metadata - stats.arenas * ARENA_HEAD_UNITS * POOL_SIZE,
	                  stats.mapped);
	ck_assert_uint_eq(threads.cached, stats.cached);
	ck_assert_uint_eq(classes.cached, stats.cached); /* nothing is on the way home */
	ck_assert_uint_eq(threads.refills, stats.refills);
	ck_assert_int_eq(quarry_class_stats_each(end_second_class, &ended), 77);
	ended.rounds = 0;
	ck_assert_int_eq(quarry_thread_stats_each(end_second_thread, &ended), 77);
}
END_TEST

START_TEST(tables_have_a_line_each)
{
	some_stats();
	written_by(quarry_stats_tables);
	ck_assert_uint_eq(times_in(text, "Quarry "), 1);
	ck_assert_uint_eq(times_in(text, "\n    block size "), 1);
	ck_assert_uint_eq(times_in(text, "\n            64 "), 1);
	ck_assert_uint_eq(times_in(text, " 0x"), 1); /* an arena */
	ck_assert_uint_eq(times_in(text, "  shared\n"), 1);
	ck_assert_int_eq(quarry_stats_tables(-1), -1);
}
END_TEST

START_TEST(what_cannot_be_written_is_said)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(quarry_stats_json(-1), -1);
	ck_assert_int_eq(quarry_stats_prometheus(-1), -1);
	if (full >= 0) {
		ck_assert_int_eq(quarry_stats_json(full), -1);
		ck_assert_int_eq(quarry_stats_prometheus(full), -1);
		close(full);
	}
}
END_TEST

/* --- records ------------------------------------------------------------------------------------------------------ */

static char directory[] = "/tmp/check_stats_output.XXXXXX";
static char file_name[128];

/* Records go to a file whose name has the process's number. */
static void begin(unsigned format)
{
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(options.stats_file, sizeof(options.stats_file), "%s/of_%%p", directory);
	snprintf(file_name, sizeof(file_name), "%s/of_%d", directory, (int)getpid());
	options.stats_format = format;
}

static const char *recorded(void)
{
	int fd = open(file_name, O_RDONLY | O_CLOEXEC);
	text[0] = 0;
	if (fd >= 0) {
		read_all(fd);
		close(fd);
	}
	return text;
}

static void end(void)
{
	unlink(file_name);
	ck_assert_int_eq(rmdir(directory), 0); /* nothing else was left there */
}

START_TEST(records_at_exit_are_appended)
{
	begin(OPTION_STATS_FORMAT_JSON);
	stats_at_start();
	stats_at_exit();
	ck_assert_str_eq(recorded(), ""); /* nobody asked */
	options.stats = OPTION_STATS_EXIT;
	errno = 77;
	stats_at_exit();
	stats_at_exit();
	ck_assert_int_eq(errno, 77);
	ck_assert_uint_eq(times_in(recorded(), "\n"), 2);
	ck_assert_str_eq(past_value(strchr(text, '\n') + 1), "\n");
	options.stats_format = OPTION_STATS_FORMAT_TEXT;
	stats_at_exit();
	ck_assert_uint_eq(times_in(recorded(), "{\"version\""), 2);
	ck_assert_uint_eq(times_in(text, "Quarry "), 1);
	end();
}
END_TEST

START_TEST(a_record_for_prometheus_replaces_the_one_before)
{
	begin(OPTION_STATS_FORMAT_PROMETHEUS);
	options.stats = OPTION_STATS_EXIT;
	stats_at_start();
	for (int i = 0; i < 3; i++)
		stats_at_exit();
	ck_assert_uint_eq(times_in(recorded(), "# TYPE quarry_mapped_bytes gauge\n"), 1);
	end();
}
END_TEST

START_TEST(without_a_file_they_go_to_standard_error_as_it_was)
{
	options.stats = OPTION_STATS_EXIT;
	catch_begin();
	stats_at_start();
	int kept = dup(STDERR_FILENO);
	close(STDERR_FILENO); /* as many programs do at their end */
	stats_at_exit();
	dup2(kept, STDERR_FILENO);
	close(kept);
	ck_assert_ptr_nonnull(strstr(catch_end(), "Quarry "));
}
END_TEST

START_TEST(a_file_that_cannot_be_written_is_reported_once)
{
	options.stats = OPTION_STATS_EXIT;
	strcpy(options.stats_file, "/nonexistent/directory/file");
	stats_at_start();
	catch_begin();
	stats_at_exit();
	stats_at_exit();
	const char *said = catch_end();
	ck_assert_uint_eq(times_in(said, "stats_file:/nonexistent/directory/file cannot be written, error 2"), 1);
	ck_assert_uint_eq(times_in(said, "\n"), 1);
}
END_TEST

static bool has_lines(unsigned least)
{
	for (unsigned i = 0; i < 4000 && times_in(recorded(), "\n") < least; i++)
		sleep_ms(5);
	return times_in(text, "\n") >= least;
}

/* The purger stays for that, though there is nothing to give back. */
START_TEST(the_clock_writes_records)
{
	begin(OPTION_STATS_FORMAT_JSON);
	options.stats_ms = 20;
	stats_at_start();
	purge_allow();
	quarry_free(quarry_malloc(SPAN));
	ck_assert(has_lines(3));
	end();
	_exit(0); /* or the purger writes another one */
}
END_TEST

START_TEST(a_signal_asks_for_a_record)
{
	begin(OPTION_STATS_FORMAT_JSON);
	options.stats_signal = SIGUSR1;
	stats_at_start();
	purge_allow();
	quarry_free(quarry_malloc(SPAN));
	for (unsigned n = 1; n <= 3; n++) {
		raise(SIGUSR1);
		ck_assert(has_lines(n));
		ck_assert_uint_eq(times_in(text, "\n"), n);
	}
	end();
}
END_TEST

START_TEST(clock_and_signal_need_the_purger)
{
	options.stats_ms = 20;
	options.purge = OPTION_PURGE_INLINE;
	catch_begin();
	stats_at_start();
	ck_assert_ptr_nonnull(strstr(catch_end(), "stats_ms and stats_signal do nothing without purge:thread"));
	options.purge = OPTION_PURGE_THREAD;
	options.stats_signal = SIGKILL;
	catch_begin();
	stats_at_start();
	ck_assert_ptr_nonnull(strstr(catch_end(), "stats_signal:9 cannot be caught"));
}
END_TEST

int main(void)
{
	without_quarantine();
	Suite *suite = suite_create("stats_output");
	TCase *tcase = new_case(suite, "stats_output");
	tcase_add_test(tcase, json_is_a_line_with_every_figure);
	tcase_add_test(tcase, json_has_an_object_per_node);
	tcase_add_test(tcase, prometheus_gets_each_metric_with_its_unit_and_type);
	tcase_add_test(tcase, details_add_up_to_the_whole);
	tcase_add_test(tcase, tables_have_a_line_each);
	tcase_add_test(tcase, what_cannot_be_written_is_said);
	tcase_add_test(tcase, records_at_exit_are_appended);
	tcase_add_test(tcase, a_record_for_prometheus_replaces_the_one_before);
	tcase_add_test(tcase, without_a_file_they_go_to_standard_error_as_it_was);
	tcase_add_test(tcase, a_file_that_cannot_be_written_is_reported_once);
	tcase_add_exit_test(tcase, the_clock_writes_records, 0);
	tcase_add_test(tcase, a_signal_asks_for_a_record);
	tcase_add_test(tcase, clock_and_signal_need_the_purger);
	return run_suite(suite);
}
