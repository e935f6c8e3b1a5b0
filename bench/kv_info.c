/* SPDX-License-Identifier: MIT */
/*
 * What the server tells about itself. The only file that knows of Quarry, by a weak reference: linked without it, the
 * same sources run on the C library's malloc.
 */
#include "kv_command.h"
#include "kv_protocol.h"
#include "node_of.h"

#include <quarry/quarry.h>

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#pragma weak quarry_stats_print

#define SUMMARY_LIMIT 65536 /* bytes read back of a summary: one screen is far below */

bool kv_print_summary(int fd)
{
	return quarry_stats_print && quarry_stats_print(fd) == 0;
}

/* A figure of /proc/self/status in KiB, 0 where it is not there. No stdio: that would allocate. */
static unsigned long long status_kib(const char *name)
{
	char text[4096];
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t nbytes = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	const char *line;

	if (fd >= 0)
		close(fd);
	if (nbytes <= 0)
		return 0;
	text[nbytes] = '\0';
	line = strstr(text, name);
	return line ? strtoull(line + strlen(name), NULL, 10) : 0;
}

struct report {
	char text[1024];
	size_t nbytes;
};

__attribute__((format(printf, 2, 3))) static void add(struct report *report, const char *format, ...)
{
	size_t room = sizeof(report->text) - report->nbytes;
	va_list arguments;
	int nbytes;

	va_start(arguments, format);
	nbytes = vsnprintf(report->text + report->nbytes, room, format, arguments);
	va_end(arguments);
	if (nbytes > 0)
		report->nbytes += (size_t)nbytes < room ? (size_t)nbytes : room - 1;
}

/* All sections whatever section was asked for: together they are short. */
void kv_command_info(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_service *service = session->service;
	unsigned long long resident = status_kib("VmRSS:") * 1024;
	unsigned long long peak = status_kib("VmHWM:") * 1024;
	struct report report = { .nbytes = 0 };

	(void)arguments;
	(void)count;
	add(&report, "# Server\r\nprocess_id:%d\r\ntcp_port:%u\r\nworker_threads:%u\r\nuptime_in_seconds:%lld\r\n",
	    (int)getpid(), service->port, service->threads, (long long)(kv_clock_ms() - service->started) / 1000);
	add(&report, "\r\n# Clients\r\nconnected_clients:%zu\r\n", atomic_load(&service->clients));
	add(&report, "\r\n# Memory\r\nused_memory_rss:%llu\r\nused_memory_rss_peak:%llu\r\nmem_allocator:%s\r\n",
	    resident, peak, quarry_stats_print ? "quarry" : "libc");
	add(&report, "\r\n# Stats\r\ntotal_connections_received:%llu\r\n", atomic_load(&service->accepted));
	add(&report, "\r\n# Keyspace\r\ndb0:keys=%zu\r\n", kv_table_count(service->table));
	kv_reply_bulk(session->out, report.text, report.nbytes);
}

/* QUARRY STATS: the summary as one bulk string, by way of a file in memory because it is written to a descriptor. */
void kv_command_quarry(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	char *text;
	ssize_t nbytes = -1;
	int fd;

	(void)count;
	if (!kv_slice_is(arguments[1], "stats")) {
		kv_reply_error(session->out, "ERR only QUARRY STATS is known");
		return;
	}
	fd = memfd_create("summary", MFD_CLOEXEC);
	text = malloc(SUMMARY_LIMIT);
	if (fd >= 0 && text && kv_print_summary(fd))
		nbytes = pread(fd, text, SUMMARY_LIMIT, 0);
	if (nbytes >= 0)
		kv_reply_bulk(session->out, text, (size_t)nbytes);
	else
		kv_reply_error(session->out, "ERR this server does not run on Quarry");
	free(text);
	if (fd >= 0)
		close(fd);
}

/* OBJECT NODE key: the NUMA node of the worker that answers and that of the value's first page, -1 if unknown. */
void kv_command_object(struct kv_session *session, const struct kv_slice *arguments, size_t count)
{
	struct kv_place place;
	void *page;
	int node = -1;
	char text[32];
	int nbytes;

	(void)count;
	if (!kv_slice_is(arguments[1], "node")) {
		kv_reply_error(session->out, "ERR only OBJECT NODE key is known");
		return;
	}
	kv_place_open(&place, session->service->table, arguments[2]);
	page = place.entry ? place.entry->value : NULL;
	if (page)
		node_of_pages(&page, &node, 1);
	kv_place_close(&place);
	nbytes = snprintf(text, sizeof(text), "%d %d", node_of_thread(), node < 0 ? -1 : node);
	kv_reply_bulk(session->out, text, (size_t)nbytes);
}
