/* SPDX-License-Identifier: MIT */
/*
 * Runs one program and writes what it took, its children included, as a line of JSON to a file: seconds, CPU seconds,
 * peak resident KiB, page faults, how it ended. This program stays small, since the kernel counts what a process held
 * before exec to its peak: the runner in Python could not measure a peak below its own size.
 *
 * usage: measure FILE [VARIABLE=VALUE]... -- PROGRAM [ARGUMENT]...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static double seconds(struct timeval spent)
{
	return (double)spent.tv_sec + (double)spent.tv_usec * 1e-6;
}

/* In the child: the environment, then the program; returns only if there is none. */
static void become(char **settings, char **command)
{
	struct rlimit none = {0, 0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setrlimit(RLIMIT_CORE, &none);
	for (; settings < command - 1; settings++)
		putenv(*settings);
	execvp(command[0], command);
	fprintf(stderr, "measure: %s: %s\n", command[0], strerror(errno));
	_exit(127);
}

static void report(FILE *out, double wall, const struct rusage *used, int status)
{
	fprintf(out, "{\"wall_s\": %.6f, \"cpu_s\": %.6f, \"system_s\": %.6f, \"peak_rss_kib\": %ld, ", wall,
		seconds(used->ru_utime) + seconds(used->ru_stime), seconds(used->ru_stime), used->ru_maxrss);
	fprintf(out, "\"minor_faults\": %ld, \"major_faults\": %ld, \"end\": %d}\n", used->ru_minflt, used->ru_majflt,
		WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	char **command = argv + 2;
	struct rusage used;
	double from;
	pid_t child;
	FILE *out;
	int status;

	while (argc > 2 && *command && strcmp(*command, "--"))
		command++;
	if (argc < 4 || !*command || !command[1]) {
		fprintf(stderr, "usage: measure FILE [VARIABLE=VALUE]... -- PROGRAM [ARGUMENT]...\n");
		return 2;
	}
	out = fopen(argv[1], "we");
	if (!out) {
		perror(argv[1]);
		return 2;
	}
	from = now();
	child = fork();
	if (child == 0)
		become(argv + 2, command + 1);
	while (child < 0 || wait4(child, &status, 0, &used) < 0)
		if (child < 0 || errno != EINTR) {
			perror("measure");
			return 2;
		}
	report(out, now() - from, &used, status);
	return fclose(out) ? 2 : 0;
}
