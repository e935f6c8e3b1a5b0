/* SPDX-License-Identifier: MIT */
/*
 * The guest's first process: mounts what programs need, runs the jobs of one list, one after the other, and resets the
 * machine, at which the emulator ends.
 *
 * The kernel hands over `jobs=NAME` from its command line in the environment; /jobs/NAME has one job per line:
 *
 *     id seconds cpuset start variable[,variable...] program argument...
 *
 * start is "last" if the program shall start bound to the last CPU it may use, so that what it allocates first is not
 * by chance on the first node, else "any". cpuset is CPUS:NODES (as in the cgroup's files) or -; variables are
 * NAME=VALUE or -, a semicolon in a value stands for a comma. Jobs write to the second serial line, and their
 * complaints go to the first, the console. A job is framed by "@start id" and "@end id status milliseconds"; a signal
 * is reported as 128 + its number, the job's time limit as 124. "@done" is the last line: without it the guest has not
 * come to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define TIMED_OUT 124
#define MAX_WORDS 32

static void complain(const char *what)
{
	fprintf(stderr, "guest_init: %s: %s\n", what, strerror(errno));
}

static void mount_one(const char *type, const char *where)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, NULL) < 0)
		complain(where);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (written < 0)
		complain(path);
	if (fd >= 0)
		close(fd);
	return written < 0 ? -1 : 0;
}

/* Standard output is the report's line, raw so that it carries what programs write and nothing else. */
static void open_lines(void)
{
	struct termios line;
	int report = open("/dev/ttyS1", O_RDWR | O_NOCTTY);

	if (report < 0) {
		complain("/dev/ttyS1");
		return;
	}
	if (tcgetattr(report, &line) == 0) {
		cfmakeraw(&line);
		tcsetattr(report, TCSANOW, &line);
	}
	dup2(report, 1);
	close(report);
}

static long milliseconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* --- one job ------------------------------------------------------------------------------------------------------ */

/* A group of its own for each pair of sets, made on first use; the calling process moves into it. */
static int enter_cpuset(const char *sets)
{
	const char *colon = strchr(sets, ':');
	char group[128], path[256], value[64];

	if (!colon)
		return -1;
	snprintf(group, sizeof group, CGROUPS "/%s", sets);
	if (mkdir(group, 0755) < 0 && errno != EEXIST)
		return -1;
	snprintf(path, sizeof path, "%s/cpuset.cpus", group);
	snprintf(value, sizeof value, "%.*s", (int)(colon - sets), sets);
	if (write_file(path, value) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/cpuset.mems", group);
	if (write_file(path, colon + 1) < 0)
		return -1;
	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	return write_file(path, "0");
}

static void set_variables(char *variables)
{
	char *rest;

	for (char *one = strtok_r(variables, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		char *equals = strchr(one, '=');

		if (!equals)
			continue;
		for (char *c = equals; *c; c++) {
			if (*c == ';')
				*c = ',';
		}
		*equals = 0;
		setenv(one, equals + 1, 1);
	}
}

static void go_to_last_cpu(void)
{
	cpu_set_t all, last;
	int cpu = CPU_SETSIZE - 1;

	if (sched_getaffinity(0, sizeof all, &all) < 0)
		return;
	while (cpu > 0 && !CPU_ISSET(cpu, &all))
		cpu--;
	CPU_ZERO(&last);
	CPU_SET(cpu, &last);
	sched_setaffinity(0, sizeof last, &last);
}

_Noreturn static void become(char **words)
{
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (strcmp(words[2], "-") != 0 && enter_cpuset(words[2]) < 0)
		_exit(125);
	if (strcmp(words[3], "last") == 0)
		go_to_last_cpu();
	set_variables(words[4]);
	execv(words[5], words + 5);
	complain(words[5]);
	_exit(127);
}

/* Whatever the job left running ends with it. */
static int wait_for(pid_t child, long limit)
{
	long deadline = milliseconds() + limit;
	bool in_time = true;
	sigset_t children;
	int status;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	while (waitpid(child, &status, WNOHANG) == 0) {
		long left = deadline - milliseconds();
		struct timespec pause = { left / 1000, left % 1000 * 1000000 };

		if (left > 0) {
			sigtimedwait(&children, NULL, &pause);
			continue;
		}
		in_time = false;
		kill(-child, SIGKILL);
		waitpid(child, &status, 0);
		break;
	}
	kill(-child, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
	if (!in_time)
		return TIMED_OUT;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void run_job(char *line)
{
	char *words[MAX_WORDS + 1];
	int nwords = 0, status;
	long start = milliseconds();
	char *rest;

	for (char *word = strtok_r(line, " \n", &rest); word && nwords < MAX_WORDS; word = strtok_r(NULL, " \n", &rest))
		words[nwords++] = word;
	words[nwords] = NULL;
	if (nwords < 6)
		return;
	printf("@start %s\n", words[0]);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		become(words);
	status = child < 0 ? 125 : wait_for(child, atol(words[1]) * 1000);
	printf("@end %s %d %ld\n", words[0], status, milliseconds() - start);
	fflush(stdout);
}

int main(void)
{
	char path[128], line[1024];
	sigset_t children;
	FILE *jobs;

	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("devtmpfs", "/dev");
	mount_one("tmpfs", "/tmp");
	mount_one("cgroup2", CGROUPS);
	write_file(CGROUPS "/cgroup.subtree_control", "+cpuset");
	open_lines();
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);

	snprintf(path, sizeof path, "/jobs/%s", getenv("jobs") ? getenv("jobs") : "");
	jobs = fopen(path, "re");
	if (!jobs)
		complain(path);
	while (jobs && fgets(line, sizeof line, jobs))
		run_job(line);
	printf("@done\n");
	fflush(stdout);
	tcdrain(1);
	sync();
	reboot(RB_AUTOBOOT);
	return 1;
}
