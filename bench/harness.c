/* SPDX-License-Identifier: MIT */
/* Bench harness: see harness.h. Global state is written by the main thread only, except the check sum. */
#define _GNU_SOURCE
#include "harness.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ARGS = 64, MAX_METRICS = 48, MAX_LISTS = 8, MAX_THREADS = 4096 };

static struct {
	const char *workload;
	char **argv;
	int argc;
	bool known[MAX_ARGS];
	double scale;
	bool pin;
	cpu_set_t cpus;
	int cpu_list[MAX_THREADS];	/* of the argument `cpus` */
	int ncpu_list;
	double wall, cpu;
	double wall_from, cpu_from;
	long minflt, minflt_from;
	size_t table_bytes;
	struct {
		const char *name;
		double value;
	} metrics[MAX_METRICS];
	int nmetrics;
	struct {
		const char *name;
		const double *values;
		int count;
	} lists[MAX_LISTS];
	int nlists;
} bench;

static _Atomic uint64_t check_sum;
static pthread_t threads[MAX_THREADS];

void bench_die(const char *what)
{
	dprintf(STDERR_FILENO, "%s: %s\n", bench.workload, what);
	abort();
}

/* --- arguments --- */

static const char *find_arg(const char *key)
{
	size_t len = strlen(key);
	const char *found = NULL;

	for (int i = 1; i < bench.argc; i++)
		if (!strncmp(bench.argv[i], key, len) && bench.argv[i][len] == '=') {
			bench.known[i] = true;
			found = bench.argv[i] + len + 1;
		}
	return found;
}

static double number_arg(const char *key, double preset)
{
	const char *text = find_arg(key);
	char *end;
	double value;

	if (!text)
		return preset;
	value = strtod(text, &end);
	if (end == text || *end) {
		dprintf(STDERR_FILENO, "%s: %s=%s is not a number\n", bench.workload, key, text);
		exit(2);
	}
	return value;
}

long bench_arg(const char *key, long preset)
{
	return (long)number_arg(key, (double)preset);
}

long bench_ops(const char *key, long preset)
{
	long scaled = (long)((double)preset * bench.scale);

	return bench_arg(key, scaled > 0 ? scaled : 1);
}

const char *bench_word(const char *key, const char *preset)
{
	const char *text = find_arg(key);

	return text ? text : preset;
}

int bench_cpu_list(const char *key, int *cpus, int most)
{
	const char *text = find_arg(key);
	int count = 0;
	char *end;

	while (text && *text && count < most) {
		cpus[count++] = (int)strtol(text, &end, 10);
		if (end == text || (*end && *end != ',')) {
			dprintf(STDERR_FILENO, "%s: %s is no list of CPUs\n", bench.workload, key);
			exit(2);
		}
		text = *end ? end + 1 : end;
	}
	return count;
}

void bench_init(int argc, char **argv, const char *workload)
{
	bench.workload = workload;
	bench.argc = argc < MAX_ARGS ? argc : MAX_ARGS;
	bench.argv = argv;
	bench.scale = number_arg("scale", 1);
	bench.pin = bench_arg("pin", 1);
	sched_getaffinity(0, sizeof bench.cpus, &bench.cpus);
	bench.ncpu_list = bench_cpu_list("cpus", bench.cpu_list, MAX_THREADS);
}

void bench_args_done(void)
{
	for (int i = 1; i < bench.argc; i++)
		if (!bench.known[i]) {
			dprintf(STDERR_FILENO, "%s: unknown argument %s\n", bench.workload, bench.argv[i]);
			exit(2);
		}
}

/* --- memory --- */

void *bench_table(size_t nbytes)
{
	void *table = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (table == MAP_FAILED)
		bench_die("cannot map a table");
	bench.table_bytes += (nbytes + 4095) & ~(size_t)4095;
	return table;
}

void bench_table_drop(void *table, size_t nbytes)
{
	munmap(table, nbytes);
}

/* The number after `key` in a file of /proc, or -1. Reads in one piece without stdio, which would allocate. */
static long proc_number(const char *path, const char *key)
{
	char text[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *at;

	if (fd >= 0)
		close(fd);
	if (len <= 0)
		return -1;
	text[len] = 0;
	at = strstr(text, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

/* The counters behind VmRSS are summed lazily per CPU on many kernels; the walk behind smaps_rollup is exact. */
long bench_rss_kib(void)
{
	long rss = proc_number("/proc/self/smaps_rollup", "\nRss:");

	return rss >= 0 ? rss : proc_number("/proc/self/status", "\nVmRSS:");
}

long bench_peak_kib(void)
{
	return proc_number("/proc/self/status", "\nVmHWM:");
}

long bench_table_kib(void)
{
	return (long)(bench.table_bytes / 1024);
}

/* --- clock --- */

static double clock_seconds(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

double bench_now(void)
{
	return clock_seconds(CLOCK_MONOTONIC);
}

void bench_start(void)
{
	bench.minflt_from = minor_faults();
	bench.cpu_from = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
	bench.wall_from = bench_now();
}

void bench_stop(void)
{
	bench.wall += bench_now() - bench.wall_from;
	bench.cpu += clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - bench.cpu_from;
	bench.minflt += minor_faults() - bench.minflt_from;
}

void bench_sleep(double seconds)
{
	struct timespec ts = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};

	nanosleep(&ts, NULL);
}

/* --- threads --- */

void bench_pin_to(int cpu)
{
	cpu_set_t one[8];	/* the largest machines have more CPUs than a cpu_set_t */

	memset(one, 0, sizeof one);
	CPU_SET_S((size_t)cpu, sizeof one, one);
	if (pthread_setaffinity_np(pthread_self(), sizeof one, one))
		bench_die("cannot bind a thread to its CPU");
}

void bench_pin(int id, int nthreads)
{
	int ncpus = CPU_COUNT(&bench.cpus), wanted;

	if (bench.ncpu_list) {
		bench_pin_to(bench.cpu_list[id % bench.ncpu_list]);
		return;
	}
	if (!bench.pin || nthreads > ncpus)
		return;
	wanted = id % ncpus;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &bench.cpus) && wanted-- == 0) {
			bench_pin_to(cpu);
			return;
		}
}

static struct {
	const struct bench_job *job;
	void (*work)(int id);
	int nthreads;
	pthread_barrier_t barrier;
} team;

static void run_phase(void (*phase)(int id), int id)
{
	if (phase)
		phase(id);
}

static void *job_thread(void *arg)
{
	int id = (int)(intptr_t)arg;

	bench_pin(id, team.nthreads);
	run_phase(team.job->setup, id);
	pthread_barrier_wait(&team.barrier);	/* all are set up; the main thread starts the clock */
	pthread_barrier_wait(&team.barrier);
	team.job->work(id);
	pthread_barrier_wait(&team.barrier);	/* all work is done; the clock stops, the main thread measures */
	pthread_barrier_wait(&team.barrier);
	run_phase(team.job->finish, id);
	return NULL;
}

static void create_threads(int nthreads, void *(*body)(void *))
{
	if (nthreads > MAX_THREADS)
		bench_die("too many threads");
	team.nthreads = nthreads;
	for (int i = 0; i < nthreads; i++)
		if (pthread_create(&threads[i], NULL, body, (void *)(intptr_t)i))
			bench_die("cannot create a thread");
}

static void join_threads(int nthreads)
{
	for (int i = 0; i < nthreads; i++)
		pthread_join(threads[i], NULL);
}

static void run_alone(const struct bench_job *job)
{
	if (bench.ncpu_list)
		bench_pin(0, 1);
	run_phase(job->setup, 0);
	bench_start();
	job->work(0);
	bench_stop();
	if (job->measure)
		job->measure();
	run_phase(job->finish, 0);
}

void bench_threads(int nthreads, const struct bench_job *job)
{
	if (nthreads == 1) {
		run_alone(job);
		return;
	}
	team.job = job;
	pthread_barrier_init(&team.barrier, NULL, (unsigned)nthreads + 1);
	create_threads(nthreads, job_thread);
	pthread_barrier_wait(&team.barrier);
	bench_start();
	pthread_barrier_wait(&team.barrier);
	pthread_barrier_wait(&team.barrier);
	bench_stop();
	if (job->measure)
		job->measure();
	pthread_barrier_wait(&team.barrier);
	join_threads(nthreads);
	pthread_barrier_destroy(&team.barrier);
}

static void *spawned_thread(void *arg)
{
	int id = (int)(intptr_t)arg;

	bench_pin(id, team.nthreads);
	team.work(id);
	return NULL;
}

void bench_spawn(int nthreads, void (*work)(int id))
{
	team.work = work;
	create_threads(nthreads, spawned_thread);
	join_threads(nthreads);
}

/* --- queue --- */

void bench_queue_init(struct bench_queue *queue, size_t capacity, int producers)
{
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->filled, NULL);
	pthread_cond_init(&queue->drained, NULL);
	queue->ring = bench_table(capacity * sizeof *queue->ring);
	queue->capacity = capacity;
	queue->head = queue->count = 0;
	queue->producers = producers;
}

void bench_queue_open(struct bench_queue *queue, int producers)
{
	pthread_mutex_lock(&queue->lock);
	queue->producers = producers;
	pthread_mutex_unlock(&queue->lock);
}

void bench_queue_put(struct bench_queue *queue, void **batch)
{
	pthread_mutex_lock(&queue->lock);
	while (queue->count == queue->capacity)
		pthread_cond_wait(&queue->drained, &queue->lock);
	memcpy(queue->ring[(queue->head + queue->count) % queue->capacity], batch, sizeof *queue->ring);
	queue->count++;
	if (queue->count >= queue->capacity / 2)
		pthread_cond_broadcast(&queue->filled);
	pthread_mutex_unlock(&queue->lock);
}

bool bench_queue_get(struct bench_queue *queue, void **batch)
{
	bool found;

	pthread_mutex_lock(&queue->lock);
	while (!queue->count && queue->producers)
		pthread_cond_wait(&queue->filled, &queue->lock);
	found = queue->count > 0;
	if (found) {
		memcpy(batch, queue->ring[queue->head], sizeof *queue->ring);
		queue->head = (queue->head + 1) % queue->capacity;
		queue->count--;
	}
	if (queue->count <= queue->capacity / 2)
		pthread_cond_broadcast(&queue->drained);
	pthread_mutex_unlock(&queue->lock);
	return found;
}

void bench_queue_close(struct bench_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->producers--;
	pthread_cond_broadcast(&queue->filled);
	pthread_mutex_unlock(&queue->lock);
}

/* --- result --- */

void bench_metric(const char *name, double value)
{
	if (bench.nmetrics == MAX_METRICS)
		bench_die("too many metrics");
	bench.metrics[bench.nmetrics].name = name;
	bench.metrics[bench.nmetrics++].value = value;
}

void bench_metric_list(const char *name, const double *values, int count)
{
	if (bench.nlists == MAX_LISTS)
		bench_die("too many lists");
	bench.lists[bench.nlists].name = name;
	bench.lists[bench.nlists].values = values;
	bench.lists[bench.nlists++].count = count;
}

void bench_check_add(uint64_t amount)
{
	atomic_fetch_add_explicit(&check_sum, amount, memory_order_relaxed);
}

/* The file that malloc comes from, so that a preload which did not take place cannot pass for a result. */
static const char *malloc_origin(void)
{
	Dl_info info;
	void *address = dlsym(RTLD_DEFAULT, "malloc");

	return address && dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}

static void report_list(int which)
{
	dprintf(STDOUT_FILENO, ", \"%s\": [", bench.lists[which].name);
	for (int i = 0; i < bench.lists[which].count; i++)
		dprintf(STDOUT_FILENO, "%s%.6g", i ? ", " : "", bench.lists[which].values[i]);
	dprintf(STDOUT_FILENO, "]");
}

void bench_report(double ops)
{
	char line[8192];
	long end_rss = bench_rss_kib();
	int len = snprintf(line, sizeof line,
		"{\"workload\": \"%s\", \"ops\": %.0f, \"wall_s\": %.9f, \"cpu_s\": %.9f, \"peak_rss_kib\": %ld, "
		"\"end_rss_kib\": %ld, \"table_kib\": %ld, \"minflt\": %ld, \"check\": %llu, \"malloc\": \"%s\"",
		bench.workload, ops, bench.wall, bench.cpu, bench_peak_kib(), end_rss, bench_table_kib(), bench.minflt,
		(unsigned long long)atomic_load(&check_sum), malloc_origin());

	for (int i = 0; i < bench.nmetrics && len < (int)sizeof line - 64; i++)
		len += snprintf(line + len, sizeof line - (size_t)len, ", \"%s\": %.9g",
			bench.metrics[i].name, bench.metrics[i].value);
	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		bench_die("cannot write the result");
	for (int i = 0; i < bench.nlists; i++)
		report_list(i);
	dprintf(STDOUT_FILENO, "}\n");
}
