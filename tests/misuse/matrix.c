/* SPDX-License-Identifier: MIT */
/*
 * The driver of the misuse matrix: see matrix.h.
 *
 *     matrix --list                    a line per misuse: name, chance, chance hardened, text; tabs between
 *     matrix SEED TRIALS [NAME...]     a line per misuse: name, then the number of trials by enum outcome; tabs between.
 *                                      The first message of each goes to stderr
 *
 * Trials are forked from a process that has done nothing yet, so each finds the allocator as a program's start does.
 */
#include "matrix.h"

#include <signal.h>
#include <sys/resource.h>

volatile int accessing;

static void on_fault(int signal)
{
	(void)signal;
	_exit(accessing ? EXIT_FAULTED : EXIT_CRASHED);
}

static void begin_trial(const struct misuse_case *misuse, uint64_t seed)
{
	static char stack[64 * 1024];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };
	struct rlimit no_core = { 0, 0 }, second = { 1, 1 };

	setrlimit(RLIMIT_CORE, &no_core);
	setrlimit(RLIMIT_CPU, &second);
	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	alarm(10);
	misuse->run(&seed);
	exit(EXIT_UNNOTICED); /* the last occasion to notice */
}

static enum outcome by_signal(int number)
{
	if (number == SIGABRT || number == SIGTRAP || number == SIGILL)
		return REPORTED;
	return number == SIGALRM || number == SIGXCPU || number == SIGKILL ? HUNG : CRASHED;
}

static enum outcome outcome_of(int status, const char *said)
{
	if (said[0] != 0)
		return REPORTED;
	if (WIFSIGNALED(status))
		return by_signal(WTERMSIG(status));
	switch (WEXITSTATUS(status)) {
	case EXIT_UNNOTICED:
		return UNNOTICED;
	case EXIT_CORRUPTED:
		return CORRUPTED;
	case EXIT_FAULTED:
		return FAULTED;
	default:
		return CRASHED;
	}
}

static enum outcome try(const struct misuse_case *misuse, uint64_t seed, char *said, size_t size)
{
	int ends[2];

	CHECK(pipe2(ends, O_CLOEXEC) == 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		if (dup2(ends[1], 2) != 2)
			_exit(EXIT_CRASHED);
		begin_trial(misuse, seed);
	}
	int status = child_said(child, ends, said, size);
	return outcome_of(status, said);
}

static void try_all(const struct misuse_case *misuse, uint64_t seed, unsigned trials)
{
	static char said[4096];
	unsigned counts[OUTCOMES] = { 0 };

	/* What hangs takes its time: a few are enough. */
	for (unsigned trial = 0; trial < trials && counts[HUNG] < 3; trial++) {
		uint64_t stream = (seed + trial + 1) * UINT64_C(0x9e3779b97f4a7c15);
		enum outcome outcome = try(misuse, stream != 0 ? stream : 1, said, sizeof said);
		if (counts[outcome]++ == 0 && outcome == REPORTED)
			say("%s: %.*s", misuse->name, (int)strcspn(said, "\n"), said);
	}
	printf("%s", misuse->name);
	for (unsigned outcome = 0; outcome < OUTCOMES; outcome++)
		printf("\t%u", counts[outcome]);
	printf("\n");
	fflush(stdout);
}

static int is_chosen(const char *name, int argc, char **argv)
{
	for (int i = 3; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return argc <= 3;
}

int main(int argc, char **argv)
{
	static char buffer[1 << 16];

	setvbuf(stdout, buffer, _IOFBF, sizeof buffer); /* no block of the allocator's */
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (size_t i = 0; i < misuse_ncases; i++)
			printf("%s\t%g\t%g\t%s\n", misuse_cases[i].name, misuse_cases[i].chance,
			       misuse_cases[i].chance_hardened, misuse_cases[i].text);
		return 0;
	}
	if (argc < 3) {
		say("usage: matrix --list | matrix SEED TRIALS [NAME...]");
		return 2;
	}
	for (size_t i = 0; i < misuse_ncases; i++)
		if (is_chosen(misuse_cases[i].name, argc, argv))
			try_all(&misuse_cases[i], strtoull(argv[1], NULL, 0), (unsigned)atoi(argv[2]));
	return 0;
}
