/* SPDX-License-Identifier: MIT */
/*
 * Larger pages: preloaded, this makes a program and the rooms in it believe that a page has QUARRY_TEST_PAGE_NBYTES
 * (65536), as on some aarch64 kernels. Addresses that are not at a border of such a page are refused, lengths are
 * rounded up to whole ones, so that too much goes where a caller counts in smaller ones, and mappings lie on whole
 * ones.
 *
 * libc's own calls do not come by here, and go by the kernel's pages. Owns nothing; any thread, at any time.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KERNEL_PAGE ((size_t)4096)

static size_t page(void)
{
	static size_t nbytes;
	if (nbytes == 0) {
		const char *text = getenv("QUARRY_TEST_PAGE_NBYTES");
		nbytes = text != NULL ? strtoul(text, NULL, 10) : 65536;
	}
	return nbytes;
}

static size_t whole(size_t nbytes)
{
	return (nbytes + page() - 1) & ~(page() - 1);
}

static int is_odd(const void *address)
{
	return (uintptr_t)address % page() != 0;
}

static int refuse(void)
{
	errno = EINVAL;
	return -1;
}

static void *map(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, address, nbytes, protection, flags, fd, offset);
}

/* Anywhere: with room to cut off what lies before a border, and behind the end. */
static void *map_anywhere(size_t nbytes, int protection, int flags, int fd, off_t offset)
{
	size_t slack = page() - KERNEL_PAGE;
	if (nbytes + slack < nbytes) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	char *base = map(NULL, nbytes + slack, protection, flags, fd, offset);
	if (base == MAP_FAILED)
		return base;
	char *start = (char *)whole((uintptr_t)base);
	if (start > base)
		syscall(SYS_munmap, base, (size_t)(start - base));
	if (start < base + slack)
		syscall(SYS_munmap, start + nbytes, (size_t)(base + slack - start));
	return start;
}

void *mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset)
{
	if (!(flags & MAP_ANONYMOUS)) /* what files and other processes have is theirs */
		return map(address, nbytes, protection, flags, fd, offset);
	if (whole(nbytes) < nbytes) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	nbytes = whole(nbytes);
	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (is_odd(address)) {
			refuse();
			return MAP_FAILED;
		}
		return map(address, nbytes, protection, flags, fd, offset);
	}
	if (address != NULL && !is_odd(address)) {
		int saved_errno = errno;
		void *got = map(address, nbytes, protection, flags | MAP_FIXED_NOREPLACE, fd, offset);
		if (got == address)
			return got;
		errno = saved_errno;
	}
	return map_anywhere(nbytes, protection, flags, fd, offset);
}

int munmap(void *address, size_t nbytes)
{
	return is_odd(address) ? refuse() : (int)syscall(SYS_munmap, address, whole(nbytes));
}

int mprotect(void *address, size_t nbytes, int protection)
{
	return is_odd(address) ? refuse() : (int)syscall(SYS_mprotect, address, whole(nbytes), protection);
}

int madvise(void *address, size_t nbytes, int advice)
{
	return is_odd(address) ? refuse() : (int)syscall(SYS_madvise, address, whole(nbytes), advice);
}

/* Without a target it stays or is refused: nobody here asks for another place without saying which. */
void *mremap(void *address, size_t old_nbytes, size_t nbytes, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	void *target = flags & MREMAP_FIXED ? va_arg(list, void *) : NULL;
	va_end(list);
	if (is_odd(address) || is_odd(target)) {
		refuse();
		return MAP_FAILED;
	}
	if (whole(nbytes) < nbytes || ((flags & MREMAP_MAYMOVE) && !(flags & MREMAP_FIXED))) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return (void *)syscall(SYS_mremap, address, whole(old_nbytes), whole(nbytes), flags, target);
}

/* A page is mapped, and resident, where any part of it is. */
int mincore(void *address, size_t nbytes, unsigned char *resident)
{
	if (is_odd(address))
		return refuse();
	for (size_t i = 0; i < whole(nbytes) / page(); i++) {
		int is_mapped = 0;
		resident[i] = 0;
		for (size_t at = 0; at < page(); at += KERNEL_PAGE) {
			unsigned char part = 0;
			is_mapped |= syscall(SYS_mincore, (char *)address + i * page() + at, KERNEL_PAGE, &part) == 0;
			resident[i] |= part & 1;
		}
		if (!is_mapped) {
			errno = ENOMEM;
			return -1;
		}
	}
	return 0;
}

/* --- who asks how large a page is --------------------------------------------------------------------------------- */

extern unsigned long __getauxval(unsigned long type);

unsigned long getauxval(unsigned long type)
{
	return type == AT_PAGESZ ? page() : __getauxval(type);
}

extern long __sysconf(int name);

long sysconf(int name)
{
	return name == _SC_PAGESIZE ? (long)page() : __sysconf(name);
}

int getpagesize(void)
{
	return (int)page();
}
