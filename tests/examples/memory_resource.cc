// SPDX-License-Identifier: MIT
//
// An example: Quarry as a std::pmr::memory_resource, for single containers of a program that keeps its own malloc.
#include <quarry/quarry.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory_resource>
#include <new>
#include <string>
#include <thread>
#include <vector>

// Any two are equal: what one allocated, another may free.
class quarry_resource final : public std::pmr::memory_resource {
	void *do_allocate(std::size_t nbytes, std::size_t alignment) override
	{
		void *block = alignment <= alignof(std::max_align_t) ? quarry_malloc(nbytes)
		                                                     : quarry_aligned_alloc(alignment, nbytes);
		if (block == nullptr)
			throw std::bad_alloc();
		return block;
	}

	void do_deallocate(void *block, std::size_t nbytes, std::size_t alignment) override
	{
		if (alignment <= alignof(std::max_align_t))
			quarry_free_sized(block, nbytes);
		else
			quarry_free_aligned_sized(block, alignment, nbytes);
	}

	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
		return dynamic_cast<const quarry_resource *>(&other) != nullptr;
	}
};

// --- the check -------------------------------------------------------------------------------------------------------

static int failures;

static void check(bool holds, const char *what)
{
	if (!holds) {
		std::printf("not so: %s\n", what);
		failures++;
	}
}

struct alignas(256) wide {
	char bytes[256];
};

static void fill(std::pmr::memory_resource *resource)
{
	std::pmr::map<int, std::pmr::string> names(resource);
	for (int i = 0; i < 20000; i++)
		names[i * 7 % 5000].append(static_cast<std::size_t>(i % 50), 'x');
	check(names.size() == 5000 && quarry_owns(names[1].data()), "strings of a map are Quarry's");
}

static int count(const quarry_block *, void *arg)
{
	++*static_cast<int *>(arg);
	return 0;
}

int main()
{
	quarry_resource one, other;
	check(one == other && one != *std::pmr::new_delete_resource(), "equality");
	{
		std::pmr::vector<wide> aligned(&one);
		aligned.resize(100);
		check(reinterpret_cast<std::uintptr_t>(aligned.data()) % 256 == 0, "alignment");
		check(quarry_owns(aligned.data()), "the vector is Quarry's");
		std::pmr::vector<wide> moved(std::move(aligned), &other); // takes the memory over
		check(moved.size() == 100 && aligned.empty(), "moved between equal resources");
		std::vector<std::thread> threads;
		for (int i = 0; i < 4; i++)
			threads.emplace_back(fill, &one);
		for (auto &thread : threads)
			thread.join();
	}
	int left = 0;
	quarry_walk(count, &left);
	check(left == 0, "all went back");
	try {
		void *volatile none = one.allocate(PTRDIFF_MAX);
		(void)none;
		check(false, "too much is refused");
	} catch (const std::bad_alloc &) {
	}
	return failures != 0;
}
