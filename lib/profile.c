/* SPDX-License-Identifier: MIT */
/*
 * Profile: see profile.h.
 */
#include "profile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "compiler.h"
#include "options.h"
#include "quarry/profile.h"
#include "report.h"
#include "sample.h"

/* Where it goes when nobody said. */
#define DEFAULT_FILE "quarry.%p.heap"

static pid_t started_by;

/* --- writing ------------------------------------------------------------------------------------------------------ */

/* Text that goes to a descriptor piece by piece: stacks may be small. */
struct page {
	struct text text;
	int fd;
	int result;
	char data[1024];
};

static void flush(struct page *page)
{
	if (page->result == 0)
		page->result = text_write(&page->text, page->fd);
	text_begin(&page->text, page->data, sizeof(page->data));
}

/* Room for one append. */
static struct text *room(struct page *page)
{
	if (page->text.used > sizeof(page->data) / 2)
		flush(page);
	return &page->text;
}

static unsigned long whole(uint64_t blocks)
{
	return (unsigned long)((blocks + (1 << SAMPLE_BLOCK_BITS) / 2) >> SAMPLE_BLOCK_BITS);
}

static void append_sums(struct page *page, const char *before, const struct sample_sums *sums, const char *after)
{
	text_append(room(page), "%s%lu: %lu [%lu: %lu] @%s", before, whole(sums->live_blocks),
		    (unsigned long)sums->live_nbytes, whole(sums->blocks), (unsigned long)sums->nbytes, after);
}

static void append_stack(struct page *page, uint32_t number)
{
	const struct sample_stack *stack = sample_stack_at(number);
	struct sample_sums sums = sample_sums_of(stack);
	if (sums.blocks == 0)
		return;
	append_sums(page, "", &sums, "");
	for (uint32_t i = 0; i < stack->nframes; i++)
		text_append(room(page), " %p", (void *)stack->frames[i]);
	if (stack->nframes == 0)
		text_append(room(page), " 0x0");
	text_append(room(page), "\n");
}

static struct sample_sums total(uint32_t nstacks)
{
	struct sample_sums all = {0};
	for (uint32_t number = 1; number <= nstacks; number++) {
		struct sample_sums sums = sample_sums_of(sample_stack_at(number));
		all.blocks += sums.blocks;
		all.nbytes += sums.nbytes;
		all.live_blocks += sums.live_blocks;
		all.live_nbytes += sums.live_nbytes;
	}
	return all;
}

/* What is mapped where, as the kernel tells it. */
static void append_maps(struct page *page)
{
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	text_append(room(page), "\nMAPPED_LIBRARIES:\n");
	flush(page);
	while (fd >= 0 && page->result == 0) {
		ssize_t nbytes = read(fd, page->data, sizeof(page->data) - 1);
		if (nbytes < 0 && errno == EINTR)
			continue;
		if (nbytes <= 0)
			break;
		page->text.used = (size_t)nbytes;
		flush(page);
	}
	if (fd >= 0)
		close(fd);
}

/* The kind "heapprofile" says to readers that the figures are estimates already, not what was chosen. */
int quarry_profile_write(int fd)
{
	struct page page = {.fd = fd};
	uint32_t nstacks = sample_stack_count();
	struct sample_sums all = total(nstacks);
	text_begin(&page.text, page.data, sizeof(page.data));
	append_sums(&page, "heap profile: ", &all, " heapprofile\n");
	for (uint32_t number = 1; number <= nstacks; number++)
		append_stack(&page, number);
	append_maps(&page);
	return page.result;
}

/* --- the switch --------------------------------------------------------------------------------------------------- */

int quarry_profile_start(size_t mean_nbytes)
{
	return sample_start(mean_nbytes == 0 ? SAMPLE_MEAN_NBYTES : mean_nbytes) ? 0 : -1;
}

int quarry_profile_stop(void)
{
	return sample_stop() ? 0 : -1;
}

void profile_at_start(void)
{
	if (options.profile == OPTION_PROFILE_OFF)
		return;
	started_by = getpid();
	if (!sample_start(options.profile_bytes))
		report_line("QUARRY_CONF: profile: the stacks of this processor cannot be walked");
}

void profile_at_exit(void)
{
	char data[2 * OPTION_PATH_NBYTES];
	struct text name;
	const char *path = options.profile_file[0] != 0 ? options.profile_file : DEFAULT_FILE;
	if (options.profile != OPTION_PROFILE_EXIT || sample_control.session == 0)
		return;
	if (getpid() != started_by && strstr(path, "%p") == NULL)
		return;
	text_begin(&name, data, sizeof(data));
	options_append_path(&name, path);
	int saved_errno = errno, fd = open(data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || quarry_profile_write(fd) != 0)
		report_line("profile_file:%s cannot be written, error %d", data, errno);
	if (fd >= 0)
		close(fd);
	errno = saved_errno;
}
