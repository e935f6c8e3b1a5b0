/* SPDX-License-Identifier: MIT */
/*
 * Target: core files. What the kernel or gcore left out of one (pages of files that nobody wrote to) is read from the
 * files themselves, which must be those that the process had.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"
#include "tool.h"

/* No note of a real core is longer. */
#define NOTES_MAX_NBYTES ((size_t)256 << 20)

static bool read_at(int fd, uint64_t offset, void *buffer, size_t nbytes)
{
	while (nbytes > 0) {
		ssize_t done = pread(fd, buffer, nbytes, (off_t)offset);

		if (done <= 0)
			return false;
		offset += (size_t)done;
		buffer = (char *)buffer + done;
		nbytes -= (size_t)done;
	}
	return true;
}

static bool read_segment(const struct target *target, uint64_t address, void *buffer, size_t nbytes)
{
	for (size_t i = 0; i < target->nsegments; i++) {
		const struct segment *segment = &target->segments[i];

		if (address >= segment->start && address - segment->start < segment->nbytes &&
		    nbytes <= segment->nbytes - (address - segment->start))
			return read_at(target->core, segment->offset + (address - segment->start), buffer, nbytes);
	}
	return false;
}

/* A core may name any file: a pipe or a device is not opened for long, and not read. */
static int open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat stat;

	if (fd < 0 || (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode)))
		return fd;
	close(fd);
	return -1;
}

static bool read_mapped_file(const struct target *target, uint64_t address, void *buffer, size_t nbytes)
{
	for (size_t i = 0; i < target->nmappings; i++) {
		const struct mapping *mapping = &target->mappings[i];

		if (address < mapping->start || address >= mapping->end || nbytes > mapping->end - address)
			continue;
		int fd = open_regular(mapping->path);
		bool done = fd >= 0 && read_at(fd, mapping->offset + (address - mapping->start), buffer, nbytes);
		if (fd >= 0)
			close(fd);
		return done;
	}
	return false;
}

/* A range may begin in one segment and end in the next: page by page, then. */
bool core_read(const struct target *target, uint64_t address, void *buffer, size_t nbytes)
{
	if (read_segment(target, address, buffer, nbytes))
		return true;
	while (nbytes > 0) {
		size_t step = 4096 - address % 4096;

		step = step < nbytes ? step : nbytes;
		if (!read_segment(target, address, buffer, step) && !read_mapped_file(target, address, buffer, step))
			return false;
		address += step;
		buffer = (char *)buffer + step;
		nbytes -= step;
	}
	return true;
}

/* --- notes -------------------------------------------------------------------------------------------------------- */

/* count, page size, then start, end, page offset of each, then their names. */
static void add_files(struct target *target, const char *note, size_t nbytes)
{
	uint64_t head[2], entry[3];
	const char *names, *end = note + nbytes;

	if (nbytes < sizeof head)
		return;
	memcpy(head, note, sizeof head);
	if (head[0] > (nbytes - sizeof head) / sizeof entry)
		return;
	names = note + sizeof head + head[0] * sizeof entry;
	for (uint64_t i = 0; i < head[0]; i++) {
		size_t length = strnlen(names, (size_t)(end - names));

		if (names + length >= end)
			return;
		memcpy(entry, note + sizeof head + i * sizeof entry, sizeof entry);
		char *path = strdup(names);
		if (!path)
			tool_fail(TOOL_FAILED, "no memory");
		target_add_mapping(target, (struct mapping){ .start = entry[0], .end = entry[1], .readable = true,
							     .offset = entry[2] * head[1], .path = path });
		names += length + 1;
	}
}

static void add_process(struct target *target, const char *note, size_t nbytes)
{
	struct elf_prpsinfo info;

	if (nbytes < sizeof info)
		return;
	memcpy(&info, note, sizeof info);
	target->pid = info.pr_pid;
	memcpy(target->command, info.pr_fname, sizeof info.pr_fname);
	target->command[sizeof info.pr_fname] = 0;
}

static void read_notes(struct target *target, const char *notes, size_t nbytes)
{
	ElfW(Nhdr) header;

	while (nbytes >= sizeof header) {
		memcpy(&header, notes, sizeof header);
		size_t name = ((size_t)header.n_namesz + 3) & ~(size_t)3;
		size_t description = ((size_t)header.n_descsz + 3) & ~(size_t)3;
		const char *contents = notes + sizeof header + name;

		if (name > nbytes - sizeof header || description > nbytes - sizeof header - name)
			return;
		if (header.n_type == NT_FILE)
			add_files(target, contents, header.n_descsz);
		else if (header.n_type == NT_PRPSINFO)
			add_process(target, contents, header.n_descsz);
		notes = contents + description;
		nbytes -= sizeof header + name + description;
	}
}

static bool add_notes(struct target *target, const ElfW(Phdr) *part)
{
	char *notes;
	bool read;

	if (part->p_filesz > NOTES_MAX_NBYTES || !(notes = malloc(part->p_filesz + 1)))
		return false;
	read = read_at(target->core, part->p_offset, notes, part->p_filesz);
	if (read)
		read_notes(target, notes, part->p_filesz);
	free(notes);
	return read;
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool read_parts(struct target *target, const ElfW(Ehdr) *header, size_t nparts)
{
	ElfW(Phdr) part;
	struct stat stat;

	if (fstat(target->core, &stat) < 0 || nparts > (uint64_t)stat.st_size / sizeof part)
		return target_error(target, "the core file is cut off");
	target->segments = calloc(nparts + 1, sizeof *target->segments);
	if (!target->segments)
		return target_error(target, "no memory");
	for (size_t i = 0; i < nparts; i++) {
		if (!read_at(target->core, header->e_phoff + i * sizeof part, &part, sizeof part))
			return target_error(target, "the core file is cut off");
		if (part.p_type == PT_LOAD && part.p_filesz > 0)
			target->segments[target->nsegments++] =
				(struct segment){ part.p_vaddr, part.p_filesz, part.p_offset };
		else if (part.p_type == PT_NOTE && !add_notes(target, &part))
			return target_error(target, "the core file is cut off");
	}
	return true;
}

bool target_open_core(struct target *target, const char *path)
{
	ElfW(Ehdr) header, self;
	ElfW(Shdr) first;
	int own;

	*target = (struct target){ .core = open(path, O_RDONLY | O_CLOEXEC) };
	if (target->core < 0)
		return target_error(target, "%s: %s", path, strerror(errno));
	if (!read_at(target->core, 0, &header, sizeof header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_type != ET_CORE)
		return target_error(target, "%s is no core file", path);
	own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (own < 0 || !read_at(own, 0, &self, sizeof self))
		return target_error(target, "/proc is not mounted");
	close(own);
	if (memcmp(header.e_ident, self.e_ident, EI_VERSION) != 0 || header.e_machine != self.e_machine ||
	    header.e_phentsize != sizeof(ElfW(Phdr)))
		return target_error(target, "%s is of another architecture", path);
	/* More parts than the header can count are counted in the first section. */
	size_t nparts = header.e_phnum;
	if (nparts == PN_XNUM && read_at(target->core, header.e_shoff, &first, sizeof first))
		nparts = first.sh_info;
	return read_parts(target, &header, nparts);
}
