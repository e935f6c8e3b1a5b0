/* SPDX-License-Identifier: MIT */
/*
 * The operating system: see os.h.
 */
#include "os.h"
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct os_counters os_counters;

size_t os_page_size(void)
{
	static _Atomic size_t page_size TOUCHED_EARLY;
	size_t nbytes = atomic_load_explicit(&page_size, memory_order_relaxed);
	if (unlikely(nbytes == 0)) {
		nbytes = getauxval(AT_PAGESZ);
		atomic_store_explicit(&page_size, nbytes, memory_order_relaxed);
	}
	return nbytes;
}

static void *mapped(void *address, int saved_errno)
{
	if (address == MAP_FAILED) {
		atomic_fetch_add_explicit(&os_counters.map_failures, 1, memory_order_relaxed);
		errno = ENOMEM;
		return NULL;
	}
	errno = saved_errno;
	return address;
}

void *os_map(void *hint, size_t nbytes)
{
	int saved_errno = errno;
	return mapped(mmap(hint, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), saved_errno);
}

void *os_map_exactly(void *address, size_t nbytes)
{
	int saved_errno = errno;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	void *got = mmap(address, nbytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (got != MAP_FAILED && got != address) {
		munmap(got, nbytes); /* a kernel before 4.17 takes the address as a hint */
		got = MAP_FAILED;
	}
	errno = saved_errno;
	return got == MAP_FAILED ? NULL : got;
}

void *os_map_aligned(size_t nbytes, size_t alignment)
{
	size_t page = os_page_size();
	if (alignment <= page)
		return os_map(NULL, nbytes);
	size_t slack = alignment - page;
	if (nbytes + slack < nbytes) {
		errno = ENOMEM;
		return NULL;
	}
	/* Mappings go below one another, so that sizes which are multiples of the alignment mostly fit at once. */
	char *base = nbytes % alignment == 0 ? os_map(NULL, nbytes) : NULL;
	if (base != NULL && (uintptr_t)base % alignment == 0)
		return base;
	if (base != NULL)
		os_unmap(base, nbytes);
	base = os_map(NULL, nbytes + slack);
	if (base == NULL)
		return NULL;
	char *start = (char *)round_up((uintptr_t)base, alignment);
	/* Trimming that is refused leaves address space behind, untouched: no harm. */
	if (start > base)
		os_unmap(base, (size_t)(start - base));
	if (start + nbytes < base + nbytes + slack)
		os_unmap(start + nbytes, (size_t)(base + slack - start));
	return start;
}

/* Addresses first, since huge pages that are only there to be cut off would have to be left. Where another thread maps
 * there in between, there are none. */
void *os_map_huge(size_t nbytes, size_t alignment, size_t page_nbytes)
{
	int saved_errno = errno;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_FIXED_NOREPLACE;
	char *address = os_map_aligned(nbytes, alignment);
	flags |= __builtin_ctzl(page_nbytes) << MAP_HUGE_SHIFT;
	void *huge = MAP_FAILED;
	if (address != NULL && os_unmap(address, nbytes))
		huge = mmap(address, nbytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (huge != MAP_FAILED && huge != address) { /* an older kernel takes the flag for a hint */
		os_unmap(huge, nbytes);
		huge = MAP_FAILED;
	}
	errno = saved_errno;
	return huge == MAP_FAILED ? NULL : huge;
}

void *os_reserve(size_t nbytes)
{
	int saved_errno = errno;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *address = mmap(NULL, nbytes, PROT_READ, flags, -1, 0);
	errno = saved_errno;
	if (address == MAP_FAILED)
		return NULL;
	madvise(address, nbytes, MADV_NOHUGEPAGE);
	errno = saved_errno;
	return address;
}

bool os_commit(void *address, size_t nbytes)
{
	int saved_errno = errno;
	size_t page = os_page_size();
	uintptr_t start = (uintptr_t)address & ~(page - 1);
	size_t length = round_up((uintptr_t)address + nbytes, page) - start;
	int result = mprotect((void *)start, length, PROT_READ | PROT_WRITE);
	errno = saved_errno;
	return result == 0;
}

bool os_forbid(void *address, size_t nbytes)
{
	int saved_errno = errno;
	int result = mprotect(address, nbytes, PROT_NONE);
	errno = saved_errno;
	return result == 0;
}

void os_random(void *bytes, size_t nbytes)
{
	int saved_errno = errno;
	if (syscall(SYS_getrandom, bytes, nbytes, GRND_NONBLOCK) != (long)nbytes) {
		const unsigned char *given = (const unsigned char *)getauxval(AT_RANDOM);
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		for (size_t i = 0; i < nbytes; i++)
			((unsigned char *)bytes)[i] = (unsigned char)((given != NULL ? given[i % 16] : 0) +
			                                              (now.tv_nsec >> i % 4 * 8) + 37 * (long)i);
	}
	errno = saved_errno;
}

bool os_unmap(void *address, size_t nbytes)
{
	int saved_errno = errno;
	int result = munmap(address, nbytes);
	errno = saved_errno;
	return result == 0;
}

bool os_purge(void *address, size_t nbytes)
{
	int saved_errno = errno;
	int result = madvise(address, nbytes, MADV_DONTNEED);
	errno = saved_errno;
	if (result != 0)
		return false;
	atomic_fetch_add_explicit(&os_counters.purge_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&os_counters.purged_nbytes, nbytes, memory_order_relaxed);
	PROBE2(purge, address, nbytes);
	return true;
}

void os_refuse_huge_pages(void *address, size_t nbytes)
{
	int saved_errno = errno;
	madvise(address, nbytes, MADV_NOHUGEPAGE);
	errno = saved_errno;
}

void os_want_huge_pages(void *address, size_t nbytes)
{
	int saved_errno = errno;
	madvise(address, nbytes, MADV_HUGEPAGE);
	errno = saved_errno;
}

bool os_page_nodes(size_t n, void *const pages[], int status[])
{
	return syscall(SYS_move_pages, 0, n, pages, NULL, status, 0) == 0;
}

/* By system calls: libc's open and read are cancellation points, and may be interposed. */
bool os_read_file(const char *path, char *data, size_t size)
{
	int saved_errno = errno;
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), got = -1;
	if (fd >= 0) {
		got = syscall(SYS_read, fd, data, size - 1);
		syscall(SYS_close, fd);
	}
	errno = saved_errno;
	data[got > 0 ? got : 0] = 0;
	return got > 0;
}

bool os_resize(void *address, size_t old_nbytes, size_t new_nbytes, bool *split)
{
	int saved_errno = errno;
	void *got = mremap(address, old_nbytes, new_nbytes, 0);
	*split = got == MAP_FAILED && errno == EFAULT;
	errno = saved_errno;
	return got != MAP_FAILED;
}

bool os_move(void *address, size_t old_nbytes, void *target, size_t new_nbytes)
{
	return mremap(address, old_nbytes, new_nbytes, MREMAP_MAYMOVE | MREMAP_FIXED, target) != MAP_FAILED;
}

enum { BARRIER_UNKNOWN, BARRIER_READY, BARRIER_REFUSED };
static _Atomic int barrier_state TOUCHED_EARLY;

bool os_barrier_ready(void)
{
	int state = atomic_load_explicit(&barrier_state, memory_order_relaxed);
	if (likely(state != BARRIER_UNKNOWN))
		return state == BARRIER_READY;
	int saved_errno = errno;
	long result = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	if (result == 0)
		result = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	errno = saved_errno;
	int expected = BARRIER_UNKNOWN;
	atomic_compare_exchange_strong(&barrier_state, &expected, result == 0 ? BARRIER_READY : BARRIER_REFUSED);
	return atomic_load_explicit(&barrier_state, memory_order_relaxed) == BARRIER_READY;
}

bool os_barrier(void)
{
	if (!os_barrier_ready())
		return false;
	int saved_errno = errno;
	long result = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	errno = saved_errno;
	if (result == 0)
		return true;
	atomic_store_explicit(&barrier_state, BARRIER_REFUSED, memory_order_relaxed);
	return false;
}

void os_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms)
{
	int saved_errno = errno;
	struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
	errno = saved_errno;
}

void os_wake(_Atomic uint32_t *word, int count)
{
	int saved_errno = errno;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
	errno = saved_errno;
}

/* A sleep of no time: the word is compared, if there is one. A sandbox that forbids locks forbids everything. */
bool os_is_readable(const void *address)
{
	int saved_errno = errno;
	struct timespec timeout = {0};
	bool fault = syscall(SYS_futex, address, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0) != 0 && errno == EFAULT;
	errno = saved_errno;
	return !fault;
}

uint64_t os_milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint32_t os_thread_id(void)
{
	return (uint32_t)syscall(SYS_gettid);
}
