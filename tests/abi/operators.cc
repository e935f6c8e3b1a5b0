/* SPDX-License-Identifier: MIT */
/*
 * Every C++ operator new and delete: plain, array, nothrow, aligned, sized; new_handler and bad_alloc as the
 * standard says.
 */
#include "blackbox.h"

#include <map>
#include <memory>
#include <new>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

/* Declared by the standard library only where the compiler was told to use them (clang: -fsized-deallocation). */
void operator delete(void *block, size_t nbytes) noexcept;
void operator delete[](void *block, size_t nbytes) noexcept;
void operator delete(void *block, size_t nbytes, std::align_val_t alignment) noexcept;
void operator delete[](void *block, size_t nbytes, std::align_val_t alignment) noexcept;

using std::align_val_t;
using std::nothrow;

static const size_t sizes[] = { 0, 1, 8, 24, 100, 500, 4000, 30000, 200000, 3 * MIB };
static const size_t alignments[] = { 1, 2, 8, 16, 32, 64, 256, 4096, 65536, MIB };
static volatile size_t too_large = PTRDIFF_MAX;
static int handler_calls;
static void *ballast;
static int *volatile kept; /* a store that no compiler may drop together with its new */

/* Each new with each delete that may follow it. */
static void plain_pairs(size_t nbytes)
{
	for (int form = 0; form < 6; form++) {
		void *block = form < 3 ? ::operator new(nbytes) : ::operator new(nbytes, nothrow);
		void *array = form < 3 ? ::operator new[](nbytes) : ::operator new[](nbytes, nothrow);

		CHECK(block != nullptr && array != nullptr && block != array);
		CHECK((uintptr_t)block % 16 == 0 && (uintptr_t)array % 16 == 0);
		pattern_fill(block, nbytes, 1);
		pattern_fill(array, nbytes, 2);
		pattern_check(block, nbytes, 1);
		pattern_check(array, nbytes, 2);
		switch (form % 3) {
		case 0:
			::operator delete(block);
			::operator delete[](array);
			break;
		case 1:
			::operator delete(block, nbytes);
			::operator delete[](array, nbytes);
			break;
		default:
			::operator delete(block, nothrow);
			::operator delete[](array, nothrow);
		}
	}
}

static void aligned_pairs(size_t nbytes, size_t alignment)
{
	align_val_t align = align_val_t(alignment);

	for (int form = 0; form < 6; form++) {
		void *block = form < 3 ? ::operator new(nbytes, align) : ::operator new(nbytes, align, nothrow);
		void *array = form < 3 ? ::operator new[](nbytes, align) : ::operator new[](nbytes, align, nothrow);

		CHECK(block != nullptr && array != nullptr && block != array);
		CHECK((uintptr_t)block % alignment == 0 && (uintptr_t)array % alignment == 0);
		pattern_fill(block, nbytes, 1);
		pattern_fill(array, nbytes, 2);
		pattern_check(block, nbytes, 1);
		pattern_check(array, nbytes, 2);
		switch (form % 3) {
		case 0:
			::operator delete(block, align);
			::operator delete[](array, align);
			break;
		case 1:
			::operator delete(block, nbytes, align);
			::operator delete[](array, nbytes, align);
			break;
		default:
			::operator delete(block, align, nothrow);
			::operator delete[](array, align, nothrow);
		}
	}
}

/* 1 if the call throws bad_alloc, 0 if it answers NULL. Anything else fails. */
template <typename Call> static int throws(Call call)
{
	try {
		CHECK(call() == nullptr);
		return 0;
	} catch (const std::bad_alloc &failure) {
		CHECK(failure.what()[0] != 0);
		return 1;
	}
}

static void expect_all_fail(void)
{
	align_val_t align = align_val_t(64);

	CHECK(throws([] { return ::operator new(too_large); }) == 1);
	CHECK(throws([] { return ::operator new[](too_large); }) == 1);
	CHECK(throws([=] { return ::operator new(too_large, align); }) == 1);
	CHECK(throws([=] { return ::operator new[](too_large, align); }) == 1);
	CHECK(throws([] { return ::operator new(too_large, nothrow); }) == 0);
	CHECK(throws([] { return ::operator new[](too_large, nothrow); }) == 0);
	CHECK(throws([=] { return ::operator new(too_large, align, nothrow); }) == 0);
	CHECK(throws([=] { return ::operator new[](too_large, align, nothrow); }) == 0);
}

static void give_up_at_the_third(void)
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

struct handler_failure : std::bad_alloc {
};

static void throw_own(void)
{
	handler_calls++;
	throw handler_failure();
}

static void free_ballast(void)
{
	handler_calls++;
	CHECKF(ballast != nullptr, "  the handler was called again after it had freed memory");
	::operator delete(ballast);
	ballast = nullptr;
}

template <typename Call> static void expect_three_handler_calls(Call call, int thrown)
{
	handler_calls = 0;
	std::set_new_handler(give_up_at_the_third);
	CHECK(throws(call) == thrown);
	CHECKF(handler_calls == 3, "  new_handler was called %d times", handler_calls);
}

static void handlers(void)
{
	align_val_t align = align_val_t(128);

	expect_three_handler_calls([] { return ::operator new(too_large); }, 1);
	expect_three_handler_calls([] { return ::operator new[](too_large); }, 1);
	expect_three_handler_calls([=] { return ::operator new(too_large, align); }, 1);
	expect_three_handler_calls([] { return ::operator new(too_large, nothrow); }, 0);
	expect_three_handler_calls([] { return ::operator new[](too_large, nothrow); }, 0);
	expect_three_handler_calls([=] { return ::operator new(too_large, align, nothrow); }, 0);

	std::set_new_handler(throw_own);
	handler_calls = 0;
	try {
		(void)::operator new(too_large);
		CHECK(!"nothing thrown");
	} catch (const handler_failure &) {
		CHECK(handler_calls == 1);
	}
	CHECK(::operator new(too_large, nothrow) == nullptr && handler_calls == 2);
	std::set_new_handler(nullptr);
}

/* A handler that makes room: under a limit, new succeeds once the ballast is gone. */
static void handler_frees(void)
{
	struct rlimit limit, old;

	CHECK(getrlimit(RLIMIT_AS, &old) == 0);
	ballast = ::operator new(400 * MIB);
	limit = old;
	limit.rlim_cur = proc_status("VmSize:") * KIB + 100 * MIB;
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	std::set_new_handler(free_ballast);
	handler_calls = 0;
	char *block = (char *)::operator new(300 * MIB);
	CHECKF(handler_calls == 1, "  new_handler was called %d times", handler_calls);
	block[0] = block[300 * MIB - 1] = 1;
	::operator delete(block);
	std::set_new_handler(nullptr);
	CHECK(setrlimit(RLIMIT_AS, &old) == 0);
}

struct alignas(256) wide {
	char bytes[300];
};

static int negative(void)
{
	volatile int count = -1;
	return count;
}

/* What compilers make of new expressions, and the containers, across threads. */
static void expressions(void)
{
	for (int i = 0; i < 100; i++) {
		wide *one = new wide, *many = new wide[7];
		CHECK((uintptr_t)one % 256 == 0 && (uintptr_t)many % 256 == 0);
		delete one;
		delete[] many;
	}
	try {
		kept = new int[negative()];
		CHECK(!"a negative count was accepted");
	} catch (const std::bad_alloc &) {
	}
	std::map<std::string, std::vector<std::shared_ptr<std::string>>> table;
	for (int i = 0; i < 20000; i++)
		table[std::to_string(i % 977)].push_back(std::make_shared<std::string>(i % 300, (char)('a' + i % 26)));
	std::thread other([&table] {
		for (int i = 0; i < 977; i += 2)
			table.erase(std::to_string(i));
	});
	other.join();
	for (auto &entry : table)
		for (auto &text : entry.second)
			CHECK(text->find_first_not_of(*text->c_str()) == std::string::npos);
}

int main(void)
{
	test_start(60);
	for (size_t nbytes : sizes) {
		plain_pairs(nbytes);
		for (size_t alignment : alignments)
			aligned_pairs(nbytes, alignment);
	}
	::operator delete(nullptr);
	::operator delete[](nullptr);
	::operator delete(nullptr, (size_t)8);
	::operator delete(nullptr, align_val_t(64));
	expect_all_fail();
	handlers();
	handler_frees();
	expressions();
	return 0;
}
