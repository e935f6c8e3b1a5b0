/* SPDX-License-Identifier: MIT */
/*
 * Every system call that Quarry makes fails at every occurrence, once and for good, and two at random together.
 *
 * Each trial is a process that goes through the whole workload (workload.h) under its faults. A program notices nothing
 * but NULL with ENOMEM, and that only while memory is refused for good; when the faults are over everything works, all
 * blocks are whole and nothing is lost. By default some of the occurrences are tried; QUARRY_TEST_FULL=1 tries all
 * (of the calls that are made more often than 250 times, so many at regular steps).
 * calls CALL AT once|forever repeats one trial.
 */
#include "../abi/blackbox.h"
#include "inject.h"
#include "workload.h"

#define PARALLEL 4
#define LIMIT_SECONDS 120

/* In memory that trials and this process share. */
static struct tally {
	unsigned made[NCALLS];
	unsigned reached; /* by the trial that ended last with its faults met */
} *tallies;

struct trial {
	struct fault faults[2];
	unsigned nfaults;
	pid_t pid;
};

static struct trial running[PARALLEL];
static unsigned long ntrials[NCALLS + 1], nreached[NCALLS + 1], nfailed[NCALLS + 1];

static bool takes_memory(enum call call)
{
	return call == CALL_MMAP || call == CALL_MPROTECT;
}

static void run_trial(const struct trial *trial, struct tally *tally)
{
	bool may_run_short = false;
	alarm(LIMIT_SECONDS);
	inject(trial->faults, trial->nfaults);
	for (unsigned i = 0; i < trial->nfaults; i++)
		may_run_short |= takes_memory(trial->faults[i].call) && trial->faults[i].forever;
	workload_run(may_run_short);
	for (int call = 0; call < NCALLS; call++)
		tally->made[call] = calls_made((enum call)call);
	tally->reached = 0;
	for (unsigned i = 0; i < trial->nfaults; i++)
		tally->reached += calls_failed(trial->faults[i].call) > 0;
	inject_nothing();
	workload_recover();
	_exit(0);
}

static unsigned row_of(const struct trial *trial)
{
	return trial->nfaults == 1 ? trial->faults[0].call : NCALLS;
}

static void describe(const struct trial *trial, int status)
{
	char text[200] = "";
	for (unsigned i = 0; i < trial->nfaults; i++) {
		const struct fault *fault = &trial->faults[i];
		size_t used = strlen(text);
		snprintf(text + used, sizeof text - used, "%s%s %u %s", i > 0 ? ", " : "", call_name(fault->call), fault->at,
			 fault->forever ? "for good" : "once");
	}
	say("failed: %s: status 0x%x", text, status);
}

/* Wait for one trial. */
static void reap(void)
{
	int status;
	pid_t pid = wait(&status);
	CHECK(pid > 0);
	for (size_t i = 0; i < PARALLEL; i++) {
		struct trial *trial = &running[i];
		if (trial->pid != pid)
			continue;
		unsigned row = row_of(trial);
		ntrials[row]++;
		nreached[row] += tallies[i].reached == trial->nfaults;
		nfailed[row] += status != 0;
		if (status != 0)
			describe(trial, status);
		trial->pid = 0;
		return;
	}
}

static void start(const struct fault *faults, unsigned nfaults)
{
	size_t i = 0;
	while (i < PARALLEL && running[i].pid != 0)
		i++;
	if (i == PARALLEL) {
		reap();
		start(faults, nfaults);
		return;
	}
	running[i].nfaults = nfaults;
	memcpy(running[i].faults, faults, nfaults * sizeof *faults);
	memset(&tallies[i], 0, sizeof tallies[i]);
	running[i].pid = fork();
	CHECK(running[i].pid >= 0);
	if (running[i].pid == 0)
		run_trial(&running[i], &tallies[i]);
}

static void finish(void)
{
	for (size_t i = 0; i < PARALLEL; i++)
		while (running[i].pid != 0)
			reap();
}

/* Where the first trial, without faults, has left it; counts that depend on time may be less in another run. */
static void try_all(const struct tally *usual, bool all)
{
	for (int call = 0; call < NCALLS; call++) {
		unsigned count = usual->made[call], most = all ? 250 : 6, step = count / most + 1;
		for (unsigned at = 1; at <= count; at += step)
			for (int forever = 0; forever < 2; forever++) {
				struct fault fault = { (enum call)call, at, forever };
				start(&fault, 1);
			}
	}
	finish();
}

static struct fault any_fault(const struct tally *usual, uint64_t *rng)
{
	enum call call;
	do
		call = (enum call)rng_below(rng, NCALLS);
	while (usual->made[call] == 0);
	return (struct fault){ call, 1 + (unsigned)rng_below(rng, usual->made[call]), rng_below(rng, 4) == 0 };
}

static void try_pairs(const struct tally *usual, unsigned count)
{
	uint64_t rng = test_seed(0);
	for (unsigned i = 0; i < count; i++) {
		struct fault pair[2] = { any_fault(usual, &rng), any_fault(usual, &rng) };
		start(pair, 2);
	}
	finish();
}

static int print(const struct tally *usual)
{
	unsigned long trials = 0, failed = 0, occurrences = 0;
	for (int row = 0; row <= NCALLS; row++) {
		unsigned made = row < NCALLS ? usual->made[row] : 0;
		if (ntrials[row] > 0)
			say("%-20s %4u occurrences, %5lu trials, %5lu met, %lu failures",
			    row < NCALLS ? call_name((enum call)row) : "pairs", made, ntrials[row], nreached[row],
			    nfailed[row]);
		occurrences += made;
		trials += ntrials[row];
		failed += nfailed[row];
	}
	say("%d calls, %lu occurrences, %lu trials, %lu failures", NCALLS, occurrences, trials, failed);
	return failed != 0;
}

static int repeat(char **argv)
{
	struct fault fault = { NCALLS, (unsigned)atoi(argv[2]), argv[3][0] == 'f' };
	for (int call = 0; call < NCALLS; call++)
		if (strcmp(argv[1], call_name((enum call)call)) == 0)
			fault.call = (enum call)call;
	CHECK(fault.call < NCALLS);
	start(&fault, 1);
	finish();
	return nfailed[fault.call] != 0;
}

int main(int argc, char **argv)
{
	bool all = env_flag("QUARRY_TEST_FULL");

	tallies = mmap(NULL, PARALLEL * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(tallies != MAP_FAILED);
	if (argc == 4)
		return repeat(argv);
	alarm(all ? 1800 : 280);
	start(NULL, 0);
	finish();
	CHECKF(nfailed[NCALLS] == 0, "  the workload fails without faults");
	ntrials[NCALLS] = nreached[NCALLS] = 0;
	struct tally usual = tallies[0];
	for (int call = 0; call < NCALLS; call++)
		CHECKF(usual.made[call] > 0, "  %s was never called", call_name((enum call)call));
	try_all(&usual, all);
	try_pairs(&usual, all ? 300 : 20);
	return print(&usual);
}
