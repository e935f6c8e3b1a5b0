/* SPDX-License-Identifier: MIT */
/*
 * check_guard (guard.c, guard_report.c): guarded blocks where all calls meet them, what is reported of each misuse,
 * whose faults are whose, and how many there are.
 */
#include "unit.h"

#include "heaps.h"

#include <math.h>
#include <setjmp.h>

#include "guard.h"
#include "guard_pace.h"
#include "limit.h"
#include "options.h"
#include "os.h"
#include "quarry/profile.h"
#include "sample.h"

#define SLOTS 48
#define MOST (SPAN_REQUEST_THRESHOLD - HARDEN_SEAL_NBYTES) /* what is larger is never guarded */
#if defined(__SANITIZE_ADDRESS__) || QUARRY_TSAN
#define SANITIZED true
#else
#define SANITIZED false
#endif
#define SIGMAS 5

static bool is_guarded(const void *block)
{
	return address_map_word(block) == WORD_GUARD;
}

static void guard_all(void)
{
	sample_seed(1);
	guard_pace_begin(1);
}

static bool is_last(const char *block, size_t nbytes)
{
	size_t step = QUARRY_HARDENED ? ALIGNMENT : 1; /* what is usable is what was asked for there */
	return round_up((uintptr_t)block + nbytes, step) % guard_pool.slot_nbytes == 0;
}

/* A guarded block that ends with its slot, or begins with it. */
static char *guarded(size_t nbytes, bool last)
{
	for (;;) {
		char *block = quarry_malloc(nbytes);
		expect(is_guarded(block));
		if (is_last(block, nbytes) == last)
			return block;
		quarry_free(block);
	}
}

/* mapped = live + cached + free + metadata */
static struct quarry_stats sums(void)
{
	struct quarry_stats stats;
	expect(quarry_stats_get(&stats, sizeof(stats)) == 0);
	ck_assert_uint_eq(stats.mapped,
	                  stats.live + stats.cached + stats.free_dirty + stats.free_clean + stats.metadata);
	return stats;
}

static int count_block(const struct quarry_block *block, void *arg)
{
	unsigned *n = arg;
	*n += is_guarded(block->address) && block->nbytes == quarry_usable_size(block->address);
	return 0;
}

/* --- every call --------------------------------------------------------------------------------------------------- */

START_TEST(every_slot_has_a_block_and_the_next_one_is_an_ordinary_one)
{
	char *blocks[SLOTS + 1];
	unsigned nlast = 0, nwalked = 0;
	char *ordinary = quarry_malloc(1);
	guard_all();
	for (unsigned i = 0; i <= SLOTS; i++) {
		size_t nbytes = 65 + i * ((MOST - 65) / SLOTS), usable;
		blocks[i] = quarry_malloc(nbytes);
		usable = quarry_usable_size(blocks[i]);
		ck_assert_int_eq(is_guarded(blocks[i]), i < SLOTS);
		ck_assert_uint_eq(usable, quarry_good_size(nbytes));
		ck_assert_uint_eq((uintptr_t)blocks[i] % ALIGNMENT, 0);
		memset(blocks[i], 0x11, usable);
		if (i == SLOTS)
			break;
		nlast += is_last(blocks[i], usable);
		ck_assert(is_last(blocks[i], usable) || (uintptr_t)blocks[i] % guard_pool.slot_nbytes == 0);
		ck_assert_ptr_eq(quarry_block_of(blocks[i] + nbytes - 1, &usable), blocks[i]);
		ck_assert_ptr_null(quarry_block_of(blocks[i] + usable, NULL));
		ck_assert(quarry_owns(blocks[i]));
		ck_assert_int_eq(quarry_node_of(blocks[i]), quarry_node_of(ordinary));
	}
	ck_assert(nlast > SLOTS / 2 && nlast < SLOTS);
	ck_assert_int_eq(quarry_walk(count_block, &nwalked), 0);
	ck_assert_uint_eq(nwalked, SLOTS);
	ck_assert_uint_eq(guard_sums().taken, SLOTS);
	ck_assert_uint_eq(guard_sums().full, 1);
	uint64_t live = sums().live;
	for (unsigned i = 0; i <= SLOTS; i++)
		quarry_free(blocks[i]);
	ck_assert_uint_gt(live, sums().live);
	ck_assert_uint_eq(guard_sums().live, 0);
	ck_assert_uint_gt(guard_sums().open, 0);
	quarry_trim(0);
	ck_assert_uint_eq(guard_sums().open, 0);
	sums();
}
END_TEST

START_TEST(a_freed_slot_is_the_last_to_be_used_again)
{
	guard_all();
	char *first = quarry_malloc(100);
	quarry_free(first);
	for (unsigned i = 0; i < 3 * SLOTS; i++) {
		char *block = quarry_malloc(100);
		ck_assert_int_eq(guard_slot_near(block) == guard_slot_near(first), i % SLOTS == SLOTS - 1);
		if (i == SLOTS / 2)
			quarry_trim(0);
		quarry_free(block);
	}
}
END_TEST

START_TEST(all_ways_of_allocating_get_what_they_ask_for)
{
	guard_all();
	for (size_t alignment = 16; alignment <= 4096; alignment *= 2)
		for (unsigned i = 0; i < 20; i++) {
			char *block = quarry_aligned_alloc(alignment, 100);
			expect((uintptr_t)block % alignment == 0);
			memset(block, 1, 100);
			quarry_free(block);
		}
	char *block = quarry_calloc(10, 10);
	expect(is_guarded(block) && reads_as_zero(block, 100));
	memset(block, 7, 100);
	char *moved = quarry_realloc(block, MOST / 2);
	expect(is_guarded(moved) && moved != block && moved[99] == 7);
	moved = quarry_realloc(moved, 300000);
	expect(!is_guarded(moved) && moved[99] == 7);
	moved = quarry_realloc(moved, 50);
	expect(is_guarded(moved) && moved[49] == 7);
	ck_assert_ptr_eq(quarry_realloc(moved, 50), moved);
	quarry_free_sized(moved, 50);
	ck_assert(!is_guarded(block = quarry_malloc(guard_pool.slot_nbytes + 1)));
	quarry_free(block);
	ck_assert_uint_eq(guard_sums().live, 0);
}
END_TEST

START_TEST(a_limit_keeps_guarded_blocks_away)
{
	guard_all();
	quarry_free(quarry_malloc(100));
	quarry_trim(0);
	size_t charged = limit_charged();
	quarry_free(quarry_malloc(100));
	ck_assert_uint_eq(limit_charged() - charged, os_page_size());
	atomic_store(&limit_own, 1);
	char *block = quarry_malloc(100);
	ck_assert(block == NULL || !is_guarded(block));
	atomic_store(&limit_own, 0);
	quarry_free(block);
	sums();
}
END_TEST

/* --- misuse ------------------------------------------------------------------------------------------------------- */

static void expect_said(const char *said, const char *what, const void *address, bool was_freed)
{
	char text[64];
	const char *lines[] = {what, text, "allocated by thread", was_freed ? "freed by thread" : "#0 0x"};
	snprintf(text, sizeof text, "%p", address);
	for (unsigned i = 0; i < COUNT(lines); i++)
		ck_assert_msg(strstr(said, lines[i]) != NULL, "no \"%s\" in\n%s", lines[i], said);
	ck_assert(was_freed || strstr(said, "freed by") == NULL);
}

START_TEST(misuse_that_a_call_finds_is_reported_with_stacks)
{
	guard_all();
	char *block = guarded(64, true), *other = guarded(64, false);
	catch_begin();
	quarry_free(block + 16);
	expect_said(catch_end(), "free of an interior pointer", block + 16, false);
	catch_begin();
	other[64] = 1;
	quarry_free(other);
	expect_said(catch_end(), "overflow, found by free,", other, false);
	catch_begin();
	block[-1] = 1;
	quarry_free(block);
	expect_said(catch_end(), "underflow, found by free,", block, false);
	ck_assert_uint_eq(quarry_usable_size(block), 64);
	char *third = guarded(64, true);
	quarry_free(third);
	catch_begin();
	quarry_free(third);
	expect_said(catch_end(), "double free", third, true);
	catch_begin();
	ck_assert_uint_eq(quarry_usable_size(third), 0);
	expect_said(catch_end(), "size of no block", third, true);
	sums();
}
END_TEST

/* What is said of an access, which goes on. */
static const char *said_of_access(volatile char *address, bool writes)
{
	catch_begin();
	if (writes)
		*address = 3;
	else
		(void)*address;
	return catch_end();
}

/* An emulator may not say what the access was. */
static void expect_fault(char *address, bool writes, const char *what, bool was_freed)
{
	char text[64];
	snprintf(text, sizeof text, "%s: %s of", what, writes ? "write" : "read");
	const char *said = said_of_access(address, writes);
	expect_said(said, strstr(said, ": access of") != NULL || QUARRY_TSAN ? what : text, address, was_freed);
}

START_TEST(faults_are_reported_and_the_program_goes_on)
{
	guard_all();
	for (int writes = 0; writes < 2; writes++) {
		char *block = guarded(64, true), *first = guarded(64, false);
		block[5] = 42;
		expect_fault(block + 64, writes, "overflow", false);
		expect_fault(first - 1, writes, "underflow", false);
		quarry_free(block);
		expect_fault(block + 5, writes, "use after free", true);
		ck_assert_int_eq(block[5], writes ? 3 : 42);
		ck_assert_int_eq((int)strlen(said_of_access(block + 5, writes)), 0);
		quarry_free(first);
	}
	unsigned nslots = 0;
	for (unsigned i = 0; i < SLOTS; i++)
		nslots += is_guarded(quarry_malloc(100));
	ck_assert_uint_eq(nslots, SLOTS - 2); /* those in which a freed block was used are lost */
	sums();
}
END_TEST

/* --- handlers ----------------------------------------------------------------------------------------------------- */

static sigjmp_buf back;
static volatile sig_atomic_t nown;

static void own_handler(int number)
{
	(void)number;
	nown++;
	siglongjmp(back, 1);
}

static void expect_own_fault(char *address)
{
	int before = nown;
	if (sigsetjmp(back, 1) == 0) {
		*(volatile char *)address = 1;
		ck_abort_msg("no fault");
	}
	ck_assert_int_eq(nown, before + 1);
}

START_TEST(a_handler_that_was_there_before_has_its_faults)
{
	char *closed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	signal(SIGSEGV, own_handler);
	guard_all();
	char *block = guarded(64, true);
	expect_own_fault(closed);
	expect_own_fault(closed);
	expect_fault(block + 64, true, "overflow", false);
	ck_assert_int_eq(nown, 2);
	char *other = guarded(64, true);
	quarry_free(other);
	catch_begin();
	report_set_fatal(true); /* then the program's handler has the last word */
	expect_own_fault(other);
	expect_said(catch_end(), "use after free", other, true);
}
END_TEST

START_TEST(a_handler_that_comes_later_has_all_faults)
{
	guard_all();
	char *block = guarded(64, true);
	signal(SIGSEGV, own_handler);
	expect_own_fault(block + 64);
}
END_TEST

#define WENT_ON 7

static int status_of_child(void (*run)(char *), char *block)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		run(block);
		_exit(WENT_ON);
	}
	expect(waitpid(child, &status, 0) == child);
	return status;
}

static void fault_elsewhere(char *block)
{
	block = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(volatile char *)block = 1;
}

static void send_signal(char *block)
{
	(void)block;
	kill(getpid(), SIGSEGV);
}

static void use_freed(char *block)
{
	report_set_fatal(true);
	quarry_free(block);
	*(volatile char *)block = 1;
}

static void be_well(char *block)
{
	quarry_free(block);
	for (unsigned i = 0; i < 3 * SLOTS; i++)
		quarry_free(guarded(64, i % 2));
	_exit(guard_sums().live == 0 ? 0 : 1);
}

/* By the signal, or by a sanitizer, whose handler was there before. */
static bool ended_by_fault(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSEGV;
	return SANITIZED && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != WENT_ON;
}

START_TEST(a_child_ends_by_the_signal_or_goes_on)
{
	guard_all();
	char *block = guarded(64, true);
	ck_assert(ended_by_fault(status_of_child(fault_elsewhere, block)));
	ck_assert(ended_by_fault(status_of_child(send_signal, block)));
	catch_begin();
	int status = status_of_child(use_freed, block);
	expect_said(catch_end(), "use after free", block, true);
	ck_assert(ended_by_fault(status));
	ck_assert_int_eq(status_of_child(be_well, block), 0);
	quarry_free(block);
}
END_TEST

/* --- how many ----------------------------------------------------------------------------------------------------- */

#define ROUNDS 200000

/* Of blocks of several sizes, the guarded ones, by size; with the profile at another rate beside them or not. */
static void expect_share(bool with_profile)
{
	const size_t sizes[] = {16, 100, MOST / 8, MOST}, mean = 32768;
	unsigned n[COUNT(sizes)] = {0};
	sample_seed(5);
	if (with_profile)
		expect(quarry_profile_start(mean / 2) == 0);
	guard_pace_begin(mean);
	for (unsigned i = 0; i < ROUNDS; i++) {
		void *volatile block = quarry_malloc(sizes[i % COUNT(sizes)]);
		n[i % COUNT(sizes)] += is_guarded(block);
		quarry_free(block);
	}
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		double p = 1 - exp(-(double)sizes[i] / (double)mean), all = ROUNDS / COUNT(sizes);
		ck_assert_msg(fabs(n[i] - all * p) <= SIGMAS * sqrt(all * p * (1 - p)), "%zu bytes: %u, not %.0f", sizes[i],
			      n[i], all * p);
	}
}

START_TEST(blocks_are_guarded_by_their_bytes)
{
	expect_share(false);
}
END_TEST

START_TEST(the_profile_and_guards_do_not_heed_each_other)
{
	const double mean = 16384;
	expect_share(true);
	double bytes = 0, variance = 0, truth = 0;
	const size_t sizes[] = {16, 100, MOST / 8, MOST};
	for (uint32_t number = 1; number <= sample_stack_count(); number++) {
		struct sample_sums all = sample_sums_of(sample_stack_at(number));
		ck_assert_uint_eq(all.live_nbytes, 0);
		bytes += (double)all.nbytes;
	}
	for (unsigned i = 0; i < COUNT(sizes); i++) {
		double nbytes = (double)sizes[i], p = 1 - exp(-nbytes / mean), n = ROUNDS / COUNT(sizes);
		truth += n * nbytes;
		variance += n * nbytes * nbytes * (1 - p) / p;
	}
	ck_assert_double_le(fabs(bytes - truth), SIGMAS * sqrt(variance));
}
END_TEST

/* Blocks are chosen in a window, no more than so many, and the window closes. */
START_TEST(windows_open_and_close)
{
	guard_pace_begin(GUARD_WINDOWS_FROM);
	ck_assert(guard_pace_is_windowed);
	for (unsigned turn = 0; turn < 2; turn++) {
		unsigned before = (unsigned)guard_sums().taken;
		while (sample_rate() == 0) {
			int ms = guard_pace_turn();
			ck_assert_int_gt(ms, 0);
			sleep_ms(sample_rate() == 0 ? ms : 0);
		}
		while (sample_rate() != 0) {
			quarry_free(quarry_malloc(MOST));
			guard_pace_turn();
		}
		unsigned taken = (unsigned)guard_sums().taken - before;
		ck_assert_uint_le(taken, GUARD_WINDOW_MOST);
	}
	options.purge = OPTION_PURGE_OFF;
	guard_pace_begin(GUARD_WINDOWS_FROM);
	ck_assert(!guard_pace_is_windowed && sample_rate() != 0);
}
END_TEST

/* memcheck reports each fault as an error of the program's, which it is. */
static bool faults_are_errors(void)
{
	const char *launcher = getenv("QUARRY_TEST_LAUNCHER");
	return launcher != NULL && strstr(launcher, "valgrind") != NULL;
}

int main(void)
{
	Suite *suite = suite_create("guard");
	TCase *tcase = new_case(suite, "calls");
	tcase_add_test(tcase, every_slot_has_a_block_and_the_next_one_is_an_ordinary_one);
	tcase_add_test(tcase, a_freed_slot_is_the_last_to_be_used_again);
	tcase_add_test(tcase, all_ways_of_allocating_get_what_they_ask_for);
	tcase_add_test(tcase, a_limit_keeps_guarded_blocks_away);
	tcase = new_case(suite, "misuse");
	tcase_add_test(tcase, misuse_that_a_call_finds_is_reported_with_stacks);
	if (!faults_are_errors()) {
		tcase_add_test(tcase, faults_are_reported_and_the_program_goes_on);
		tcase = new_case(suite, "handlers");
		tcase_add_test(tcase, a_handler_that_was_there_before_has_its_faults);
		tcase_add_test(tcase, a_handler_that_comes_later_has_all_faults);
		tcase_add_test(tcase, a_child_ends_by_the_signal_or_goes_on);
	}
	tcase = new_case(suite, "how many");
	tcase_add_test(tcase, blocks_are_guarded_by_their_bytes);
	tcase_add_test(tcase, the_profile_and_guards_do_not_heed_each_other);
	tcase_add_test(tcase, windows_open_and_close);
	return run_suite(suite);
}
