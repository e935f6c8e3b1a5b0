/* SPDX-License-Identifier: MIT */
/*
 * Fuzzer: the parser of QUARRY_CONF. Whatever it is given, every option holds one of its values afterwards, what is
 * written to descriptor 2 is whole lines, and the same text parsed twice changes nothing more.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"

#define EXPECT(condition)                                                                        \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			dup2(kept_stderr, 2);                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                 \
		}                                                                                \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int kept_stderr = -1, messages[2];

/* Lines of at most REPORT_LINE_NBYTES, each begun by the library's name. */
static void read_messages(void)
{
	static char text[65536];
	ssize_t length;
	while ((length = read(messages[0], text, sizeof text - 1)) > 0) {
		text[length] = 0;
		EXPECT(strncmp(text, "quarry: ", 8) == 0 && text[length - 1] == '\n');
	}
}

static bool in_range(const struct options *now)
{
	return now->purge <= OPTION_PURGE_OFF && now->decay_ms <= 600000 && now->on_error <= OPTION_ON_ERROR_REPORT &&
	       now->numa <= OPTION_NUMA_NODE + 1023 && now->huge_pages <= OPTION_HUGE_PAGES_INHERIT && now->cache_kib <= 65536 &&
	       now->limit_mib <= 16777216 && now->stats <= OPTION_STATS_EXIT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct options defaults;
	if (kept_stderr < 0) {
		defaults = options;
		kept_stderr = fcntl(2, F_DUPFD_CLOEXEC, 3);
		EXPECT(pipe2(messages, O_CLOEXEC | O_NONBLOCK) == 0);
	}
	char *text = malloc(size + 1);
	EXPECT(text != NULL);
	memcpy(text, data, size);
	text[size] = 0;
	options = defaults;
	dup2(messages[1], 2);
	options_parse(text);
	struct options first = options;
	options_parse(text);
	dup2(kept_stderr, 2);
	read_messages();
	EXPECT(in_range(&options) && memcmp(&first, &options, sizeof first) == 0);
	free(text);
	return 0;
}
