/* SPDX-License-Identifier: MIT */
/*
 * check_unwind: what a walk finds, beside what libgcc's finds, when the tables are read and when rows are remembered;
 * and that rows are those of their key, whatever writes at the same time and whatever library comes in place of
 * another.
 */
#include "unit.h"

#include <dlfcn.h>
#include <execinfo.h>

#include "frame_cache.h"
#include "frame_table.h"
#include "unwind.h"

#define FRAMES 64

static unsigned nwalks;

/*
 * Walked twice from one place, without and with the rows of the first time. The innermost frame is the place in here
 * that a walk was called from. libgcc's may begin further in, where a sanitizer has its own backtrace, and go on
 * further out.
 */
__attribute__((noinline)) static void walk(void)
{
	static uintptr_t frames[2][FRAMES];
	static void *expected[FRAMES];
	unsigned n[2];
	memset(frame_cache, 0, sizeof(frame_cache));
	for (volatile unsigned i = 0; i < COUNT(n); i++)
		n[i] = unwind_stack(frames[i], FRAMES);
	unsigned nexpected = (unsigned)backtrace(expected, FRAMES), shift = 0;
	ck_assert_uint_gt(n[0], 3);
	ck_assert_uint_eq(n[1], n[0]);
	while (shift + n[0] < nexpected && frames[0][1] != (uintptr_t)expected[shift + 1])
		shift++;
	ck_assert_uint_ge(nexpected, shift + n[0]);
	for (unsigned i = 0; i < n[0]; i++) {
		ck_assert_uint_eq(frames[1][i], frames[0][i]);
		ck_assert(i == 0 || frames[0][i] == (uintptr_t)expected[shift + i]);
	}
	nwalks++;
}

/* --- frames of all kinds ------------------------------------------------------------------------------------------ */

/* Keeps an array, and a call from being the last. */
#define keep(array) __asm__ volatile("" : : "r"(array) : "memory")

__attribute__((noinline)) static void from_large_frame(void)
{
	char frame[1 << 18];
	keep(frame);
	walk();
	keep(frame);
}

/* By the frame pointer, since the size is known only as it runs. */
__attribute__((noinline)) static void from_varying_frame(size_t nbytes)
{
	char *frame = __builtin_alloca(nbytes);
	keep(frame);
	from_large_frame();
	keep(frame);
}

/* By an expression on x86-64: the stack pointer was rounded, and varies. */
__attribute__((noinline)) static void from_aligned_frame(size_t nbytes)
{
	_Alignas(256) char frame[256];
	char *more = __builtin_alloca(nbytes);
	keep(frame);
	keep(more);
	from_varying_frame(nbytes);
	keep(frame);
}

static int compare(const void *a, const void *b)
{
	if (nwalks == 0)
		from_aligned_frame(100);
	return *(const int *)a - *(const int *)b;
}

static void *thread(void *unused)
{
	int numbers[] = {3, 1, 2};
	(void)unused;
	qsort(numbers, COUNT(numbers), sizeof(numbers[0]), compare);
	return NULL;
}

START_TEST(walks_find_what_libgcc_finds)
{
	pthread_t id;
	thread(NULL);
	ck_assert_uint_eq(nwalks, 1);
	nwalks = 0;
	ck_assert_int_eq(pthread_create(&id, NULL, thread, NULL), 0);
	ck_assert_int_eq(pthread_join(id, NULL), 0);
	ck_assert_uint_eq(nwalks, 1);
}
END_TEST

/* --- libraries ---------------------------------------------------------------------------------------------------- */

static uintptr_t through[FRAMES];
static unsigned nthrough;

static void walk_through(void)
{
	nthrough = unwind_stack(through, FRAMES);
}

/* Where the library's function was, and who called it. */
__attribute__((noinline)) static uintptr_t call_framed(const char *name, uintptr_t *caller)
{
	char path[4096];
	const char *build = getenv("QUARRY_BUILD_DIR");
	snprintf(path, sizeof(path), "%s/tests/unit/framed_%s.so", build != NULL ? build : ".", name);
	void *library = dlopen(path, RTLD_NOW);
	ck_assert_msg(library != NULL, "%s", dlerror());
	void (*framed)(void (*)(void));
	*(void **)&framed = dlsym(library, "framed");
	ck_assert_ptr_nonnull(framed);
	framed(walk_through);
	ck_assert_uint_gt(nthrough, 4);
	ck_assert_uint_lt(through[1] - (uintptr_t)framed, 4096); /* 0 is in walk_through */
	*caller = through[2];
	uintptr_t address = (uintptr_t)framed;
	ck_assert_int_eq(dlclose(library), 0);
	return address;
}

/* The loader mostly puts the second where the first was; the frame is another one there. */
START_TEST(a_library_in_place_of_another_has_its_own_frames)
{
	const char *names[] = {"small", "large"};
	uintptr_t callers[2], addresses[2];
	unsigned ntogether = 0;
	for (volatile unsigned i = 0; i < 20; i++) {
		addresses[i % 2] = call_framed(names[i % 2], &callers[i % 2]);
		if (i % 2 == 0)
			continue;
		ntogether += addresses[0] == addresses[1];
		ck_assert_uint_eq(callers[0], callers[1]);
	}
	printf("%u of 10 at the same address\n", ntogether);
}
END_TEST

START_TEST(objects_differ)
{
	struct table_object program, library;
	ck_assert(table_object((uintptr_t)&call_framed, &program));
	ck_assert(table_object((uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), &library));
	ck_assert_uint_ne(program.identity, library.identity);
	ck_assert_uint_lt((uintptr_t)&call_framed - program.start, program.nbytes);
	ck_assert(!table_object((uintptr_t)&program, &library)); /* the stack */
}
END_TEST

/* --- rows --------------------------------------------------------------------------------------------------------- */

#define ROWS 4

static uint64_t keys[ROWS];

/* Keys whose place is the same, and for each a row of its own. */
static void find_keys(void)
{
	unsigned n = 0;
	for (uintptr_t pc = 0x400000; n < ROWS; pc++) {
		uint64_t key = frame_key(pc, 7);
		if (n == 0 || frame_place(key) == frame_place(keys[0]))
			keys[n++] = key;
	}
}

static struct frame_row row_of(unsigned i)
{
	return (struct frame_row){.cfa_offset = 8 + i, .from_fp = i % 2, .ra = (int16_t)-i, .fp = (int16_t)(i << 8)};
}

static bool is_row_of(struct frame_row row, unsigned i)
{
	struct frame_row expected = row_of(i);
	return memcmp(&row, &expected, sizeof(row)) == 0;
}

START_TEST(a_row_is_found_by_its_key_alone)
{
	struct frame_row row;
	find_keys();
	for (unsigned i = 0; i < ROWS; i++)
		ck_assert(!frame_cache_find(keys[i], &row));
	for (unsigned i = 0; i < ROWS; i++) {
		frame_cache_put(keys[i], row_of(i));
		for (unsigned k = 0; k < ROWS; k++)
			ck_assert(frame_cache_find(keys[k], &row) == (k == i));
		ck_assert(frame_cache_find(keys[i], &row) && is_row_of(row, i));
	}
	ck_assert_uint_ne(frame_key(0x400000, 7), frame_key(0x400000, 8));
}
END_TEST

START_TEST(half_a_row_is_none)
{
	struct frame_row row;
	find_keys();
	frame_cache_put(keys[0], row_of(0));
	uint64_t check = frame_place(keys[0])->check;
	frame_cache_put(keys[1], row_of(1));
	frame_place(keys[0])->check = check;
	for (unsigned i = 0; i < ROWS; i++)
		ck_assert(!frame_cache_find(keys[i], &row));
}
END_TEST

static void *put_and_find(void *argument)
{
	unsigned mine = *(unsigned *)argument;
	struct frame_row row;
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 3 == 0)
			frame_cache_put(keys[mine], row_of(mine));
		unsigned other = (mine + i) % ROWS;
		if (frame_cache_find(keys[other], &row))
			expect(is_row_of(row, other));
	}
	return NULL;
}

START_TEST(threads_find_whole_rows)
{
	pthread_t ids[ROWS];
	unsigned numbers[ROWS];
	find_keys();
	for (unsigned i = 0; i < ROWS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&ids[i], NULL, put_and_find, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < ROWS; i++)
		ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("unwind");
	TCase *tcase = new_case(suite, "unwind");
	if (!unwind_is_known())
		return 77;
	tcase_add_test(tcase, walks_find_what_libgcc_finds);
	tcase_add_test(tcase, a_library_in_place_of_another_has_its_own_frames);
	tcase_add_test(tcase, objects_differ);
	tcase_add_test(tcase, a_row_is_found_by_its_key_alone);
	tcase_add_test(tcase, half_a_row_is_none);
	tcase_add_test(tcase, threads_find_whole_rows);
	return run_suite(suite);
}
