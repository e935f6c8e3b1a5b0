/* SPDX-License-Identifier: MIT */
/*
 * Start-up: runs /bin/true `count` times under each allocator, interleaved, and prints of each start the microseconds
 * from spawn to the end of the process and its CPU time. posix_spawn (a vfork underneath) keeps the cost apart from
 * this program's size.
 *
 * usage: startup [count=N] {NAME=PATH [+VARIABLE=VALUE]...}... (an empty PATH: no preload)
 */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { MAX_SUBJECTS = 64, MAX_COUNT = 10000, MAX_ENV = 16 };

static struct subject {
	const char *name;
	char preload[4096];
	char *envp[MAX_ENV];
	int nenv;
	double *wall_us, *cpu_us;
	int failed;
} subjects[MAX_SUBJECTS];

static int nsubjects;
static long count = 400;

static void add_variable(struct subject *subject, char *setting)
{
	if (subject->nenv == MAX_ENV - 1) {
		fprintf(stderr, "startup: too many variables\n");
		exit(2);
	}
	subject->envp[subject->nenv++] = setting;
}

static void add_subject(const char *word)
{
	const char *path = strchr(word, '=');
	struct subject *subject = &subjects[nsubjects];

	if (!path || nsubjects == MAX_SUBJECTS) {
		fprintf(stderr, "startup: bad argument %s\n", word);
		exit(2);
	}
	subject->name = strndup(word, (size_t)(path - word));
	add_variable(subject, "PATH=/usr/bin:/bin");
	if (path[1]) {
		snprintf(subject->preload, sizeof subject->preload, "LD_PRELOAD=%s", path + 1);
		add_variable(subject, subject->preload);
	}
	nsubjects++;
}

static double microseconds(struct timeval spent)
{
	return (double)spent.tv_sec * 1e6 + (double)spent.tv_usec;
}

static bool run_true(struct subject *subject, double *wall_us, double *cpu_us)
{
	char *argv[] = {"/bin/true", NULL};
	double from = bench_now();
	struct rusage usage;
	int status;
	pid_t pid;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, subject->envp))
		return false;
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return false;
	*wall_us = (bench_now() - from) * 1e6;
	*cpu_us = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
	return status == 0;
}

static void print_result(void)
{
	printf("{\"workload\": \"startup\", \"count\": %ld, \"samples\": {", count);
	for (int i = 0; i < nsubjects; i++) {
		printf("%s\"%s\": {\"failed\": %d, \"us\": [", i ? ", " : "", subjects[i].name, subjects[i].failed);
		for (long k = 0; k < count; k++)
			printf("%s[%.1f, %.1f]", k ? ", " : "", subjects[i].wall_us[k], subjects[i].cpu_us[k]);
		printf("]}");
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strncmp(argv[i], "count=", 6))
			count = strtol(argv[i] + 6, NULL, 10);
		else if (argv[i][0] == '+' && nsubjects)
			add_variable(&subjects[nsubjects - 1], argv[i] + 1);
		else
			add_subject(argv[i]);
	if (!nsubjects || count < 1 || count > MAX_COUNT) {
		fprintf(stderr, "usage: startup [count=N] {NAME=PATH [+VARIABLE=VALUE]...}...\n");
		return 2;
	}
	for (int i = 0; i < nsubjects; i++) {
		subjects[i].wall_us = bench_table((size_t)count * sizeof(double));
		subjects[i].cpu_us = bench_table((size_t)count * sizeof(double));
	}
	for (long k = -3; k < count; k++)	/* three rounds to warm the page cache */
		for (int i = 0; i < nsubjects; i++) {
			struct subject *subject = &subjects[(i + k + 3) % nsubjects];
			long at = k < 0 ? 0 : k;

			if (!run_true(subject, &subject->wall_us[at], &subject->cpu_us[at]))
				subject->failed++;
		}
	print_result();
}
