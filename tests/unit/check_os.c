/* SPDX-License-Identifier: MIT */
/*
 * check_os: mappings, advice, the barrier and the futex, as granted and as refused.
 */
#include "emulated.h"
#include "unit.h"

#include "kernel.h"

#include "os.h"

#define PAGE os_page_size()

static char *map(size_t nbytes)
{
	char *address = os_map(NULL, nbytes);
	expect(address != NULL);
	return address;
}

/* --- mapping ------------------------------------------------------------------------------------------------------ */

START_TEST(sizes_round_up)
{
	ck_assert_uint_eq(os_page_size(), (size_t)sysconf(_SC_PAGESIZE));
	ck_assert_uint_eq(round_up(0, 16), 0);
	ck_assert_uint_eq(round_up(1, 16), 16);
	ck_assert_uint_eq(round_up(16, 16), 16);
	ck_assert_uint_eq(round_up(17, 16), 32);
}
END_TEST

START_TEST(mapped_memory_is_zero_and_errno_is_kept)
{
	errno = ERANGE;
	char *address = map(3 * PAGE);
	ck_assert(reads_as_zero(address, 3 * PAGE));
	memset(address, 1, 3 * PAGE);
	ck_assert(os_unmap(address, 3 * PAGE));
	ck_assert(!is_mapped_at(address));
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_uint_eq(os_counters.map_failures, 0);
}
END_TEST

START_TEST(a_hint_is_taken_if_it_is_free)
{
	char *address = map(2 * PAGE);
	ck_assert(os_unmap(address, 2 * PAGE));
	ck_assert_ptr_eq(os_map(address, 2 * PAGE), address);
	char *other = os_map(address, PAGE);
	ck_assert_ptr_nonnull(other);
	ck_assert_ptr_ne(other, address);
}
END_TEST

START_TEST(a_refused_mapping_is_null_with_enomem_and_counted)
{
	ck_assert_ptr_null(os_map(NULL, (size_t)1 << 60));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_eq(os_counters.map_failures, 1);
	kernel.most_mapped = 1;
	errno = 0;
	ck_assert_ptr_null(os_map_aligned(PAGE, 4 * PAGE));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_uint_ge(os_counters.map_failures, 2);
}
END_TEST

START_TEST(an_exact_mapping_replaces_nothing)
{
	char *address = map(3 * PAGE);
	memset(address, 9, 3 * PAGE);
	errno = ERANGE;
	ck_assert_ptr_null(os_map_exactly(address, PAGE));
	ck_assert_ptr_null(os_map_exactly(address - PAGE, 2 * PAGE));
	ck_assert_int_eq(address[0], 9);
	ck_assert(os_unmap(address + PAGE, PAGE));
	ck_assert_ptr_null(os_map_exactly(address + PAGE, 2 * PAGE));
	ck_assert_ptr_eq(os_map_exactly(address + PAGE, PAGE), address + PAGE);
	ck_assert_int_eq(address[PAGE], 0);
	ck_assert_int_eq(address[2 * PAGE], 9);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(aligned_mappings_leave_nothing_behind)
{
	for (size_t alignment = PAGE; alignment <= (size_t)64 << 20; alignment *= 2)
		for (size_t nbytes = PAGE; nbytes <= 4 * alignment; nbytes = 2 * nbytes + (nbytes == PAGE ? PAGE : 0)) {
			size_t before = kernel.mapped_nbytes - kernel.unmapped_nbytes;
			char *address = os_map_aligned(nbytes, alignment);
			expect(address != NULL && (uintptr_t)address % alignment == 0);
			expect(kernel.mapped_nbytes - kernel.unmapped_nbytes == before + nbytes);
			address[0] = address[nbytes - 1] = 1;
			expect(os_unmap(address, nbytes));
			kernel.place = (char *)round_up((uintptr_t)address, alignment) - PAGE; /* an odd start */
		}
}
END_TEST

START_TEST(an_aligned_size_that_overflows_is_refused)
{
	errno = 0;
	ck_assert_ptr_null(os_map_aligned(SIZE_MAX - PAGE + 1, 4 * PAGE));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(os_map_aligned((size_t)1 << 62, (size_t)1 << 63));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

/* --- reservations ------------------------------------------------------------------------------------------------- */

START_TEST(a_reservation_reads_as_zero_and_becomes_writable)
{
	size_t nbytes = (size_t)1 << 33;
	errno = ERANGE;
	char *address = os_reserve(nbytes);
	ck_assert_ptr_nonnull(address);
	ck_assert_int_eq(address[nbytes - 1], 0);
	ck_assert(os_commit(address + 5 * PAGE + 100, 2 * PAGE));
	for (size_t offset = 5 * PAGE; offset < 8 * PAGE; offset += 64)
		address[offset] = 1;
	ck_assert_int_eq(errno, ERANGE);
	kernel.refuse_protect = true;
	ck_assert(!os_commit(address, PAGE));
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_ptr_null(os_reserve((size_t)1 << 60));
}
END_TEST

START_TEST(a_reservation_is_read_only)
{
	signal(SIGSEGV, SIG_DFL);
	char *address = os_reserve(16 * PAGE);
	ck_assert_ptr_nonnull(address);
	*(volatile char *)address = 1;
}
END_TEST

/* --- giving back -------------------------------------------------------------------------------------------------- */

START_TEST(purged_memory_reads_as_zero)
{
	char *address = map(4 * PAGE);
	memset(address, 1, 4 * PAGE);
	errno = ERANGE;
	ck_assert(os_purge(address + PAGE, 2 * PAGE));
	ck_assert_uint_eq(resident_pages(address, 4 * PAGE), 2);
	ck_assert(reads_as_zero(address + PAGE, 2 * PAGE));
	ck_assert_int_eq(address[PAGE - 1], 1);
	ck_assert_int_eq(address[3 * PAGE], 1);
	ck_assert_uint_eq(os_counters.purge_calls, 1);
	ck_assert_uint_eq(os_counters.purged_nbytes, 2 * PAGE);
	kernel.refuse_advice = true;
	ck_assert(!os_purge(address, PAGE));
	os_refuse_huge_pages(address, PAGE);
	os_want_huge_pages(address, PAGE);
	ck_assert_int_eq(address[0], 1);
	ck_assert_uint_eq(os_counters.purge_calls, 1);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(a_refused_unmap_keeps_the_memory)
{
	char *address = map(PAGE);
	errno = ERANGE;
	kernel.refuse_unmap = true;
	ck_assert(!os_unmap(address, PAGE));
	kernel.refuse_unmap = false;
	address[0] = 1;
	ck_assert(os_unmap(address, PAGE));
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* --- changing size ------------------------------------------------------------------------------------------------ */

START_TEST(a_mapping_grows_where_there_is_room)
{
	char *address = map(8 * PAGE);
	bool split;
	memset(address, 5, 8 * PAGE);
	errno = ERANGE;
	ck_assert(os_resize(address, 8 * PAGE, 3 * PAGE, &split));
	ck_assert(!is_mapped_at(address + 3 * PAGE));
	ck_assert(os_resize(address, 3 * PAGE, 8 * PAGE, &split));
	ck_assert_int_eq(address[3 * PAGE - 1], 5);
	ck_assert(reads_as_zero(address + 3 * PAGE, 5 * PAGE));
	char *behind = os_map_exactly(address + 8 * PAGE, PAGE);
	ck_assert(behind != NULL || is_mapped_at(address + 8 * PAGE));
	ck_assert(!os_resize(address, 8 * PAGE, 9 * PAGE, &split) && !split);
	ck_assert_int_eq(madvise(address, PAGE, MADV_DONTFORK), 0);
	ck_assert(!os_resize(address, 8 * PAGE, 9 * PAGE, &split));
	ck_assert(split || is_emulated());
	ck_assert_int_eq(address[0], 5);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(a_mapping_moves_with_its_contents)
{
	char *address = map(3 * PAGE), *target = map(5 * PAGE);
	bool split;
	stamp(address, 3 * PAGE, 77);
	errno = ERANGE;
	kernel.refuse_remap = true;
	ck_assert(!os_move(address, 3 * PAGE, target, 5 * PAGE) && errno == ENOMEM); /* the one call that says why */
	errno = ERANGE;
	ck_assert(!os_resize(address, 3 * PAGE, 2 * PAGE, &split));
	kernel.refuse_remap = false;
	ck_assert(stamp_holds(address, 3 * PAGE, 77));
	target[0] = 1;
	ck_assert(os_move(address, 3 * PAGE, target, 5 * PAGE));
	ck_assert(!is_mapped_at(address));
	ck_assert(stamp_holds(target, 3 * PAGE, 77));
	ck_assert(is_emulated() || reads_as_zero(target + 3 * PAGE, 2 * PAGE));
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* --- barrier ------------------------------------------------------------------------------------------------------ */

START_TEST(the_barrier_registers_once)
{
	errno = ERANGE;
	if (!os_barrier_ready())
		return; /* an old kernel, or a filter */
	size_t calls = kernel.nbarriers;
	ck_assert(os_barrier_ready());
	ck_assert_uint_eq(kernel.nbarriers, calls);
	ck_assert(os_barrier());
	ck_assert_uint_eq(kernel.nbarriers, calls + 1);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(a_refused_barrier_is_not_asked_for_again)
{
	errno = ERANGE;
	kernel.refuse_barrier = true;
	ck_assert(!os_barrier_ready());
	size_t calls = kernel.nbarriers;
	ck_assert(!os_barrier());
	ck_assert(!os_barrier_ready());
	ck_assert_uint_eq(kernel.nbarriers, calls);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(a_barrier_may_be_withdrawn)
{
	if (!os_barrier_ready())
		return;
	kernel.refuse_barrier = true;
	ck_assert(os_barrier_ready());
	errno = ERANGE;
	ck_assert(!os_barrier());
	ck_assert_int_eq(errno, ERANGE);
	ck_assert(!os_barrier_ready());
	kernel.refuse_barrier = false;
	ck_assert(!os_barrier_ready());
}
END_TEST

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static _Atomic uint32_t word;

static void wait_while_one(void *unused)
{
	(void)unused;
	while (atomic_load(&word) == 1)
		os_wait(&word, 1, -1);
}

START_TEST(a_sleeper_wakes)
{
	struct actor sleeper;
	actor_begin(&sleeper);
	atomic_store(&word, 1);
	actor_tell(&sleeper, wait_while_one, NULL);
	sleep_ms(20);
	atomic_store(&word, 2);
	os_wake(&word, 1);
	actor_wait(&sleeper);
	actor_end(&sleeper);
}
END_TEST

START_TEST(nobody_sleeps_on_another_value_or_for_ever)
{
	atomic_store(&word, 3);
	errno = ERANGE;
	os_wait(&word, 1, -1);
	uint64_t before = os_milliseconds();
	os_wait(&word, 3, 50);
	uint64_t slept = os_milliseconds() - before;
	ck_assert_uint_ge(slept, 30);
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

START_TEST(the_clock_goes_forward)
{
	uint64_t before = os_milliseconds();
	for (int i = 0; i < 20; i++) {
		sleep_ms(2);
		uint64_t now = os_milliseconds();
		ck_assert_uint_ge(now, before);
		before = now;
	}
	sleep_ms(20);
	ck_assert_uint_gt(os_milliseconds(), before);
}
END_TEST

START_TEST(a_file_is_read_as_far_as_there_is_room)
{
	char data[8], path[] = "/tmp/quarry-check-os-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_eq(write(fd, "1234567890", 10), 10);
	errno = ERANGE;
	ck_assert(os_read_file(path, data, sizeof(data)));
	ck_assert_str_eq(data, "1234567");
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert(!os_read_file(path, data, sizeof(data)));
	ck_assert_str_eq(data, "");
	unlink(path);
	data[0] = 1;
	ck_assert(!os_read_file(path, data, sizeof(data)));
	ck_assert_str_eq(data, "");
	ck_assert_int_eq(errno, ERANGE);
	close(fd);
	int next = dup(0);
	ck_assert_int_eq(next, fd); /* none is left open */
}
END_TEST

START_TEST(pages_are_on_nodes_or_absent)
{
	char *address = map(3 * PAGE);
	void *pages[] = {address, address + PAGE, address + 2 * PAGE};
	int status[3];
	address[PAGE] = 1;
	if (!os_page_nodes(3, pages, status))
		return; /* a sandbox that does not let us ask, or an emulator */
	ck_assert_int_lt(status[0], 0);
	ck_assert_int_ge(status[1], 0);
	ck_assert_int_lt(status[2], 0);
}
END_TEST

START_TEST(what_can_be_read_is_told)
{
	if (is_emulated())
		return; /* memcheck wants no word to be asked for that may not be read */
	char *address = map(2 * PAGE);
	ck_assert_int_eq(mprotect(address + PAGE, PAGE, PROT_NONE), 0);
	errno = 7;
	ck_assert(os_is_readable(address + PAGE - 4));
	ck_assert(!os_is_readable(address + PAGE));
	ck_assert(!os_is_readable(NULL));
	ck_assert_int_eq(mprotect(address + PAGE, PAGE, PROT_READ), 0);
	ck_assert(os_is_readable(address + PAGE)); /* no page yet */
	ck_assert(!os_is_readable((void *)(UINTPTR_MAX - 7)));
	ck_assert_int_eq(errno, 7);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("os");
	TCase *tcase = new_case(suite, "os");
	tcase_add_test(tcase, sizes_round_up);
	tcase_add_test(tcase, mapped_memory_is_zero_and_errno_is_kept);
	tcase_add_test(tcase, a_hint_is_taken_if_it_is_free);
	tcase_add_test(tcase, a_refused_mapping_is_null_with_enomem_and_counted);
	tcase_add_test(tcase, an_exact_mapping_replaces_nothing);
	tcase_add_test(tcase, aligned_mappings_leave_nothing_behind);
	tcase_add_test(tcase, an_aligned_size_that_overflows_is_refused);
	tcase_add_test(tcase, a_reservation_reads_as_zero_and_becomes_writable);
	tcase_add_test_raise_signal(tcase, a_reservation_is_read_only, SIGSEGV);
	tcase_add_test(tcase, purged_memory_reads_as_zero);
	tcase_add_test(tcase, a_refused_unmap_keeps_the_memory);
	tcase_add_test(tcase, a_mapping_grows_where_there_is_room);
	tcase_add_test(tcase, a_mapping_moves_with_its_contents);
	tcase_add_test(tcase, the_barrier_registers_once);
	tcase_add_test(tcase, a_refused_barrier_is_not_asked_for_again);
	tcase_add_test(tcase, a_barrier_may_be_withdrawn);
	tcase_add_test(tcase, a_sleeper_wakes);
	tcase_add_test(tcase, nobody_sleeps_on_another_value_or_for_ever);
	tcase_add_test(tcase, the_clock_goes_forward);
	tcase_add_test(tcase, a_file_is_read_as_far_as_there_is_room);
	tcase_add_test(tcase, pages_are_on_nodes_or_absent);
	tcase_add_test(tcase, what_can_be_read_is_told);
	return run_suite(suite);
}
