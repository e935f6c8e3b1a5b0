/* SPDX-License-Identifier: MIT */
/*
 * Inject: see inject.h.
 */
#include "inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_FAULTS 2

/* The error is one that the kernel, a limit or a filter gives, and not the one that the program is to see. */
static const struct {
	const char *name;
	int error;
} calls[NCALLS] = {
	[CALL_MMAP] = { "mmap", EAGAIN },
	[CALL_MPROTECT] = { "mprotect", EACCES },
	[CALL_MUNMAP] = { "munmap", ENOMEM },
	[CALL_MREMAP] = { "mremap", EINVAL },
	[CALL_MADVISE] = { "madvise", EINVAL },
	[CALL_MBIND] = { "mbind", EPERM },
	[CALL_GET_MEMPOLICY] = { "get_mempolicy", ENOSYS },
	[CALL_MEMBARRIER] = { "membarrier", EPERM },
	[CALL_FUTEX_WAIT] = { "futex wait", EINTR },
	[CALL_CREATE_THREAD] = { "pthread_create", EAGAIN },
	[CALL_CREATE_KEY] = { "pthread_key_create", EAGAIN },
	[CALL_SET_KEY] = { "pthread_setspecific", ENOMEM },
	[CALL_GETRLIMIT] = { "getrlimit", EPERM },
	[CALL_GETCPU] = { "getcpu", ENOSYS },
	[CALL_FCNTL] = { "fcntl", EMFILE },
	[CALL_DLOPEN] = { "dlopen", ENOMEM },
	[CALL_OPEN] = { "open", EACCES },
	[CALL_READ] = { "read", EIO },
	[CALL_WRITE] = { "write", ENOSPC },
	[CALL_MOVE_PAGES] = { "move_pages", EPERM },
	[CALL_GETRANDOM] = { "getrandom", ENOSYS },
};

static struct fault armed[MOST_FAULTS];
static _Atomic unsigned narmed;
static _Atomic unsigned made[NCALLS], failed[NCALLS];
static _Atomic size_t mapped_nbytes, left_nbytes;

const char *call_name(enum call call)
{
	return calls[call].name;
}

void inject(const struct fault *faults, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		armed[i] = faults[i];
	narmed = count;
	mapped_nbytes = 0;
}

void inject_nothing(void)
{
	narmed = 0;
}

unsigned calls_made(enum call call)
{
	return made[call];
}

unsigned calls_failed(enum call call)
{
	return failed[call];
}

size_t mapped_now(void)
{
	return mapped_nbytes;
}

size_t left_mapped(void)
{
	return left_nbytes;
}

/* Counts a call. 0, or the error that it fails with. */
static int fault_of(enum call call)
{
	unsigned number = ++made[call];
	for (unsigned i = 0; i < narmed; i++) {
		const struct fault *fault = &armed[i];
		if (fault->call == call && (fault->forever ? number >= fault->at : number == fault->at)) {
			failed[call]++;
			return calls[call].error;
		}
	}
	return 0;
}

/* As system calls fail: -1, and errno; true if it did. */
static bool fails(enum call call)
{
	int error = fault_of(call);
	if (error != 0)
		errno = error;
	return error != 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static size_t whole_pages(size_t nbytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (nbytes + page - 1) / page * page;
}

void *__real_mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset)
{
	nbytes = whole_pages(nbytes);
	void *got = fails(CALL_MMAP) ? MAP_FAILED : __real_mmap(address, nbytes, protection, flags, fd, offset);
	mapped_nbytes += got != MAP_FAILED ? nbytes : 0;
	return got;
}

int __real_munmap(void *address, size_t nbytes);
int __wrap_munmap(void *address, size_t nbytes);
int __wrap_munmap(void *address, size_t nbytes)
{
	nbytes = whole_pages(nbytes);
	int result = fails(CALL_MUNMAP) ? -1 : __real_munmap(address, nbytes);
	*(result == 0 ? &mapped_nbytes : &left_nbytes) += result == 0 ? -nbytes : nbytes;
	return result;
}

void *__real_mremap(void *address, size_t old_nbytes, size_t nbytes, int flags, ...);
void *__wrap_mremap(void *address, size_t old_nbytes, size_t nbytes, int flags, ...);
void *__wrap_mremap(void *address, size_t old_nbytes, size_t nbytes, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	void *target = flags & MREMAP_FIXED ? va_arg(list, void *) : NULL;
	va_end(list);
	if (fails(CALL_MREMAP))
		return MAP_FAILED;
	void *got = __real_mremap(address, old_nbytes, nbytes, flags, target);
	/* What was mapped at the target is replaced. */
	if (got != MAP_FAILED)
		mapped_nbytes += (flags & MREMAP_FIXED ? 0 : whole_pages(nbytes)) - whole_pages(old_nbytes);
	return got;
}

int __real_mprotect(void *address, size_t nbytes, int protection);
int __wrap_mprotect(void *address, size_t nbytes, int protection);
int __wrap_mprotect(void *address, size_t nbytes, int protection)
{
	return fails(CALL_MPROTECT) ? -1 : __real_mprotect(address, nbytes, protection);
}

int __real_madvise(void *address, size_t nbytes, int advice);
int __wrap_madvise(void *address, size_t nbytes, int advice);
int __wrap_madvise(void *address, size_t nbytes, int advice)
{
	return fails(CALL_MADVISE) ? -1 : __real_madvise(address, nbytes, advice);
}

int bind_memory(void *address, size_t nbytes, unsigned node)
{
	(void)address;
	(void)nbytes;
	(void)node;
	return fails(CALL_MBIND) ? -1 : 0;
}

/* --- calls without a function in libc ----------------------------------------------------------------------------- */

/* -1: none that is failed here. */
static int call_of(long number, const long *args)
{
	switch (number) {
	case SYS_membarrier:
		return CALL_MEMBARRIER;
	case SYS_get_mempolicy:
		return CALL_GET_MEMPOLICY;
	case SYS_mbind:
		return CALL_MBIND;
	case SYS_futex:
		return (args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT ? CALL_FUTEX_WAIT : -1;
	case SYS_openat:
		return CALL_OPEN;
	case SYS_read:
		return CALL_READ;
	case SYS_write:
		return CALL_WRITE;
	case SYS_move_pages:
		return CALL_MOVE_PAGES;
	case SYS_getrandom:
		return CALL_GETRANDOM;
	default:
		return -1;
	}
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	long args[6];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	int call = call_of(number, args);
	if (call >= 0 && fails((enum call)call))
		return -1;
	return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* --- threads, files and the rest ---------------------------------------------------------------------------------- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
	int error = fault_of(CALL_CREATE_THREAD);
	return error != 0 ? error : __real_pthread_create(thread, attributes, start, arg);
}

void start_thread(pthread_t *thread, void *(*start)(void *), uintptr_t arg)
{
	if (__real_pthread_create(thread, NULL, start, (void *)arg) != 0)
		abort();
}

int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
	int error = fault_of(CALL_CREATE_KEY);
	return error != 0 ? error : __real_pthread_key_create(key, destructor);
}

int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
	int error = fault_of(CALL_SET_KEY);
	return error != 0 ? error : __real_pthread_setspecific(key, value);
}

int __real_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	return fails(CALL_GETRLIMIT) ? -1 : __real_getrlimit(resource, limit);
}

int __real_getcpu(unsigned *cpu, unsigned *node);
int __wrap_getcpu(unsigned *cpu, unsigned *node);
int __wrap_getcpu(unsigned *cpu, unsigned *node)
{
	return fails(CALL_GETCPU) ? -1 : __real_getcpu(cpu, node);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
	va_list list;
	va_start(list, command);
	int arg = va_arg(list, int);
	va_end(list);
	return fails(CALL_FCNTL) ? -1 : __real_fcntl(fd, command, arg);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list list;
	va_start(list, flags);
	unsigned mode = flags & O_CREAT ? va_arg(list, unsigned) : 0;
	va_end(list);
	return fails(CALL_OPEN) ? -1 : __real_open(path, flags, mode);
}

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size)
{
	return fails(CALL_READ) ? -1 : __real_read(fd, data, size);
}

/* dlerror is not asked by the rooms, so nothing is owed to it. */
void *__real_dlopen(const char *path, int mode);
void *__wrap_dlopen(const char *path, int mode);
void *__wrap_dlopen(const char *path, int mode)
{
	return fault_of(CALL_DLOPEN) != 0 ? NULL : __real_dlopen(path, mode);
}
