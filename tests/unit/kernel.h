/* SPDX-License-Identifier: MIT */
/*
 * A kernel that refuses: the system calls of Quarry's rooms pass through here, in the suites that include this file
 * (libc's own do not).
 */
#ifndef QUARRY_UNIT_KERNEL_H
#define QUARRY_UNIT_KERNEL_H

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct {
	_Atomic size_t most_mapped;     /* a larger mapping is refused, where it is not 0 */
	_Atomic int maps_until_refusal; /* the last one is refused; 0: none */
	char *_Atomic place;            /* where the next mapping without a wish goes, if not NULL */
	void (*after_remap)(void);      /* happens just then */
	void (*at_barrier)(void);       /* likewise, before the barrier is done */
	void (*at_advice)(int advice);
	const char *(*file)(const char *path); /* what a file says that Quarry reads; NULL, or returning it: what it does */
	const char *said;                      /* by the one that is open */
	_Atomic int refuse_unmap, refuse_advice, refuse_protect, refuse_remap, refuse_barrier;
	_Atomic size_t nmaps, nadvices, nbarriers, nfutexes, mapped_nbytes, unmapped_nbytes;
} kernel;

/* The descriptor of a file that the test plays. */
#define PLAYED_FD 1000000

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int refused(int error)
{
	errno = error;
	return -1;
}

void *mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset)
{
	size_t most = kernel.most_mapped;
	int until = kernel.maps_until_refusal;
	kernel.nmaps++;
	while (until > 0 && !atomic_compare_exchange_weak(&kernel.maps_until_refusal, &until, until - 1))
		;
	if ((most != 0 && nbytes > most) || until == 1) {
		errno = EAGAIN; /* a limit of locked memory says so */
		return MAP_FAILED;
	}
	if (address == NULL)
		address = atomic_exchange(&kernel.place, NULL);
	void *got = REAL(mmap)(address, nbytes, protection, flags, fd, offset);
	if (got != MAP_FAILED)
		kernel.mapped_nbytes += nbytes;
	return got;
}

int munmap(void *address, size_t nbytes)
{
	if (kernel.refuse_unmap)
		return refused(ENOMEM);
	kernel.unmapped_nbytes += nbytes;
	return REAL(munmap)(address, nbytes);
}

int madvise(void *address, size_t nbytes, int advice)
{
	kernel.nadvices++;
	if (kernel.at_advice != NULL)
		kernel.at_advice(advice);
	return kernel.refuse_advice ? refused(EINVAL) : REAL(madvise)(address, nbytes, advice);
}

int mprotect(void *address, size_t nbytes, int protection)
{
	return kernel.refuse_protect ? refused(ENOMEM) : REAL(mprotect)(address, nbytes, protection);
}

void *mremap(void *address, size_t old_nbytes, size_t nbytes, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	void *target = flags & MREMAP_FIXED ? va_arg(list, void *) : NULL;
	va_end(list);
	if (kernel.refuse_remap) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	void *got = REAL(mremap)(address, old_nbytes, nbytes, flags, target);
	if (kernel.after_remap != NULL)
		kernel.after_remap();
	return got;
}

/* It reads six arguments where fewer may have been passed. */
__attribute__((no_sanitize("address"))) long syscall(long number, ...)
{
	long args[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	kernel.nfutexes += number == SYS_futex;
	if (number == SYS_membarrier) {
		kernel.nbarriers++;
		if (kernel.at_barrier != NULL)
			kernel.at_barrier();
		if (kernel.refuse_barrier)
			return refused(ENOSYS);
	}
	if (number == SYS_openat && kernel.file != NULL && (kernel.said = kernel.file((const char *)args[1])) != NULL)
		return PLAYED_FD;
	if (number == SYS_read && args[0] == PLAYED_FD)
		return (long)strlen(strncpy((char *)args[1], kernel.said, (size_t)args[2]));
	if (number == SYS_close && args[0] == PLAYED_FD)
		return 0;
	return REAL(syscall)(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

#endif
