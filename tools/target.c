/* SPDX-License-Identifier: MIT */
/*
 * Target: see target.h. Processes; core.c has core files.
 */
#include "target.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tool.h"

bool target_error(struct target *target, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(target->error, sizeof target->error, format, list);
	va_end(list);
	return false;
}

void target_add_mapping(struct target *target, struct mapping mapping)
{
	if ((target->nmappings & (target->nmappings - 1)) == 0) {
		size_t room = target->nmappings ? 2 * target->nmappings : 1;

		target->mappings = realloc(target->mappings, room * sizeof *target->mappings);
		if (!target->mappings)
			tool_fail(TOOL_FAILED, "no memory");
	}
	target->mappings[target->nmappings++] = mapping;
}

static bool no_permission(struct target *target)
{
	return target_error(target,
			    "process %d may not be looked into; that needs the permission that a debugger needs: be its user "
			    "(and kernel.yama.ptrace_scope 0) or root, or have CAP_SYS_PTRACE",
			    (int)target->pid);
}

static bool has_ended(struct target *target)
{
	return target_error(target, "process %d has ended", (int)target->pid);
}

/* START-END PERMISSIONS OFFSET DEVICE INODE PATH */
void target_add_line(struct target *target, char *line)
{
	struct mapping mapping;
	char permissions[5] = "";
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %*s %n", &mapping.start, &mapping.end,
		   permissions,
		   &mapping.offset, &path) < 4)
		return;
	line[strcspn(line, "\n")] = 0;
	mapping.readable = permissions[0] == 'r';
	mapping.executable = permissions[2] == 'x';
	mapping.path = strdup(path > 0 ? line + path : "");
	if (!mapping.path)
		tool_fail(TOOL_FAILED, "no memory");
	target_add_mapping(target, mapping);
}

static bool read_maps(struct target *target)
{
	char name[64], *line = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(name, sizeof name, "/proc/%d/maps", (int)target->pid);
	file = fopen(name, "re");
	if (!file && (errno == EACCES || errno == EPERM))
		return no_permission(target);
	if (!file)
		return target_error(target, "there is no process %d", (int)target->pid);
	errno = 0;
	while (getline(&line, &size, file) > 0)
		target_add_line(target, line);
	int reason = errno;
	free(line);
	fclose(file);
	if (reason == EACCES || reason == EPERM)
		return no_permission(target);
	if (target->nmappings == 0)
		return target_is_alive(target)
			       ? target_error(target, "process %d has no memory of its own: a thread of the kernel",
					      (int)target->pid)
			       : has_ended(target);
	return true;
}

bool target_open_process(struct target *target, pid_t pid)
{
	char name[64], byte;

	*target = (struct target){ .pid = pid, .core = -1 };
	snprintf(name, sizeof name, "/proc/%d/comm", (int)pid);
	tool_read_file(name, target->command, sizeof target->command);
	if (!read_maps(target))
		return false;
	for (size_t i = 0; i < target->nmappings; i++) {
		struct iovec local = { &byte, 1 }, remote = { (void *)(uintptr_t)target->mappings[i].start, 1 };

		if (!target->mappings[i].readable)
			continue;
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) == 1)
			return true;
		if (errno == EPERM)
			return no_permission(target);
		if (errno == ESRCH)
			return has_ended(target);
		if (errno == ENOSYS)
			return target_error(target, "this kernel has no process_vm_readv");
	}
	return target_error(target, "nothing of process %d can be read", (int)pid);
}

/* One that is ending has no memory any more before it shows as a zombie: its size, the 23rd figure, is 0. */
bool target_is_alive(const struct target *target)
{
	char name[64], text[512], *state, letter;
	unsigned long long nbytes;

	if (target->core >= 0)
		return true;
	snprintf(name, sizeof name, "/proc/%d/stat", (int)target->pid);
	if (!tool_read_file(name, text, sizeof text))
		return false;
	state = strrchr(text, ')');
	return state &&
	       sscanf(state + 1,
		      " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &letter,
		      &nbytes) == 2 &&
	       letter != 'Z' && letter != 'X' && nbytes > 0;
}

bool target_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes)
{
	if (target->core >= 0)
		return core_read(target, address, buffer, nbytes);
	while (nbytes > 0) {
		struct iovec local = { buffer, nbytes }, remote = { (void *)(uintptr_t)address, nbytes };
		ssize_t done = process_vm_readv(target->pid, &local, 1, &remote, 1, 0);

		if (done <= 0)
			return false;
		address += (size_t)done;
		buffer = (char *)buffer + done;
		nbytes -= (size_t)done;
	}
	return true;
}

bool target_write(struct target *target, uint64_t address, const void *buffer, size_t nbytes)
{
	struct iovec local = { (void *)(uintptr_t)buffer, nbytes }, remote = { (void *)(uintptr_t)address, nbytes };

	if (process_vm_writev(target->pid, &local, 1, &remote, 1, 0) == (ssize_t)nbytes)
		return true;
	if (errno == EPERM)
		return no_permission(target);
	if (errno == ESRCH)
		return has_ended(target);
	return target_error(target, "process %d cannot be written to: %s", (int)target->pid, strerror(errno));
}

void target_close(struct target *target)
{
	for (size_t i = 0; i < target->nmappings; i++)
		free(target->mappings[i].path);
	free(target->mappings);
	free(target->segments);
	if (target->core >= 0)
		close(target->core);
	target->mappings = NULL;
	target->segments = NULL;
	target->nmappings = target->nsegments = 0;
	target->core = -1;
}
