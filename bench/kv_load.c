/* SPDX-License-Identifier: MIT */
/*
 * A load generator for servers that speak the redis protocol, kv_server among them. It fills the server with keys,
 * mixes commands for a while, deletes most keys, and reads everything back; every reply is compared with what it must
 * be. One line of key=value pairs per phase goes to standard output.
 *
 * Exit status: 0 all replies right; 1 a reply was wrong or a connection broke; 2 wrong usage.
 */
#include "kv_client.h"
#include "kv_requests.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_LIMIT 256
#define CONNECTIONS_LIMIT 10000
#define NODES_LIMIT 1024
#define LOCALITY_KEYS 256 /* asked for per connection, at most */

struct options {
	unsigned port;
	unsigned threads;
	unsigned connections; /* of all threads, a multiple of threads */
	unsigned pipeline;
	unsigned keys;
	unsigned milliseconds; /* of churn */
	unsigned keep;
	unsigned seed;
	unsigned limit; /* seconds for the whole run */
	const char *summary;
	bool locality;
};

struct load_thread {
	pthread_t thread;
	struct load *load;
	struct kv_client *clients; /* its part of load->clients */
	unsigned count;
	struct kv_tally tally;     /* of the phase that has just ended; main reads it between the barriers */
};

/* The whole run. Threads and main meet at the barrier before and after each phase. */
struct load {
	struct options options;
	struct kv_client *clients;
	struct load_thread *threads;
	struct kv_outcome outcome;
	pthread_barrier_t barrier;
};

static const char *const phase_names[] = { "fill", "churn", "shrink", "verify" };

static void usage(FILE *stream)
{
	fputs("usage: kv_load --port N [options]    (the server's keys are flushed first)\n"
	      "  --threads N       threads of the generator (default 2)\n"
	      "  --connections N   connections in all (default 8)\n"
	      "  --pipeline N      requests under way per connection (default 16)\n"
	      "  --keys N          string keys; lists, hashes and counters are added (default 100000)\n"
	      "  --milliseconds N  length of the mixed phase (default 4000)\n"
	      "  --keep N          percent of the keys that are left at the end (default 5)\n"
	      "  --seed N          of the random numbers (default 1)\n"
	      "  --limit N         give up after so many seconds (default 120)\n"
	      "  --locality        after the mixed phase ask kv_server for the nodes of values and their workers\n"
	      "  --summary FILE    write the reply to QUARRY STATS after the mixed phase there\n",
	      stream);
}

static unsigned number_or_exit(const char *option, const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || end == text || *end || number < least || number > most) {
		fprintf(stderr, "kv_load: --%s: '%s' is not a number from %u to %u\n", option, text, least, most);
		exit(2);
	}
	return (unsigned)number;
}

static struct options parse_options(int argc, char **argv)
{
	struct options options = { .threads = 2, .connections = 8, .pipeline = 16, .keys = 100000,
				   .milliseconds = 4000, .keep = 5, .seed = 1, .limit = 120 };
	const struct {
		const char *name;
		unsigned *number;
		unsigned least;
		unsigned most;
	} numbers[] = {
		{ "port", &options.port, 1, 65535 },
		{ "threads", &options.threads, 1, THREADS_LIMIT },
		{ "connections", &options.connections, 1, CONNECTIONS_LIMIT },
		{ "pipeline", &options.pipeline, 1, KV_PIPELINE_LIMIT },
		{ "keys", &options.keys, 1, 100000000 },
		{ "milliseconds", &options.milliseconds, 0, 3600000 },
		{ "keep", &options.keep, 0, 100 },
		{ "seed", &options.seed, 0, UINT32_MAX },
		{ "limit", &options.limit, 1, 86400 },
	};
	enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]), SUMMARY = NUMBERS, LOCALITY, HELP };
	struct option names[NUMBERS + 4] = { 0 };
	int option;

	for (int i = 0; i < NUMBERS; i++)
		names[i] = (struct option){ numbers[i].name, required_argument, NULL, i };
	names[NUMBERS] = (struct option){ "summary", required_argument, NULL, SUMMARY };
	names[NUMBERS + 1] = (struct option){ "locality", no_argument, NULL, LOCALITY };
	names[NUMBERS + 2] = (struct option){ "help", no_argument, NULL, HELP };
	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option >= 0 && option < NUMBERS) {
			*numbers[option].number = number_or_exit(numbers[option].name, optarg, numbers[option].least,
								 numbers[option].most);
		} else if (option == SUMMARY) {
			options.summary = optarg;
		} else if (option == LOCALITY) {
			options.locality = true;
		} else {
			usage(option == HELP ? stdout : stderr);
			exit(option == HELP ? 0 : 2);
		}
	}
	if (options.port == 0 || optind < argc) {
		usage(stderr);
		exit(2);
	}
	if (options.connections < options.threads)
		options.threads = options.connections;
	return options;
}

static void give_up(int signal)
{
	static const char text[] = "kv_load: the time limit is over\n";

	(void)signal;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		/* The status tells it too. */
	}
	_exit(1);
}

static void *thread_run(void *argument)
{
	struct load_thread *thread = argument;
	struct load *load = thread->load;
	uint64_t until;

	for (int phase = 0; phase < KV_PHASES; phase++) {
		pthread_barrier_wait(&load->barrier);
		memset(&thread->tally, 0, sizeof(thread->tally));
		until = phase == KV_CHURN ? kv_now() + load->options.milliseconds * 1000000ull : 0;
		if (!atomic_load(&load->outcome.broken))
			kv_client_run(thread->clients, thread->count, (enum kv_phase)phase, until, &thread->tally,
				      &load->outcome);
		pthread_barrier_wait(&load->barrier);
	}
	return NULL;
}

static uint64_t live_bytes(const struct load *load, uint64_t *keys)
{
	uint64_t nbytes = 0;
	uint64_t some;

	*keys = 0;
	for (unsigned i = 0; i < load->options.connections; i++) {
		nbytes += kv_model_live(&load->clients[i].model, &some);
		*keys += some;
	}
	return nbytes;
}

static void report_phase(const struct load *load, const char *name, uint64_t elapsed_ns)
{
	struct kv_tally *sum = calloc(1, sizeof(*sum));
	double seconds = (double)elapsed_ns / 1e9;
	uint64_t keys;
	uint64_t live = live_bytes(load, &keys);

	if (!sum)
		return;
	for (unsigned i = 0; i < load->options.threads; i++) {
		sum->requests += load->threads[i].tally.requests;
		kv_histogram_merge(&sum->latency, &load->threads[i].tally.latency);
	}
	printf("phase=%s requests=%llu seconds=%.3f rate=%.0f p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f "
	       "live_bytes=%llu keys=%llu wrong=%llu\n",
	       name, (unsigned long long)sum->requests, seconds, (double)sum->requests / seconds,
	       (double)kv_histogram_quantile(&sum->latency, 0.5) / 1e3,
	       (double)kv_histogram_quantile(&sum->latency, 0.99) / 1e3,
	       (double)kv_histogram_quantile(&sum->latency, 0.999) / 1e3, (double)sum->latency.longest / 1e3,
	       (unsigned long long)live, (unsigned long long)keys,
	       (unsigned long long)atomic_load(&load->outcome.wrong));
	fflush(stdout);
	free(sum);
}

/* Fetch Quarry's summary while the server is full. A server without one answers with an error: no file is written. */
static void save_summary(const struct options *options)
{
	struct kv_buffer reply = { 0 };
	const char *body;
	FILE *file;

	if (kv_ask(options->port, "QUARRY STATS", &reply) && *kv_buffer_head(&reply) == '$') {
		body = memchr(kv_buffer_head(&reply), '\n', kv_buffer_pending(&reply));
		body++;
		file = fopen(options->summary, "w");
		if (file) {
			fwrite(body, 1, (size_t)(reply.data + reply.end - 2 - body), file);
			fclose(file);
		}
	}
	kv_buffer_free(&reply);
}

/* One key's nodes into the matrix; false without an answer. */
static bool ask_node(struct kv_client *client, uint32_t index, unsigned (*values)[NODES_LIMIT])
{
	struct kv_buffer reply = { 0 };
	char command[80] = "OBJECT NODE ";
	size_t nbytes = strlen(command);
	char *end;
	long worker;
	long value;
	bool answered;

	kv_key_text(&client->model, KV_KEY_STRING, index, command + nbytes, sizeof(command) - nbytes);
	answered = kv_ask_over(client->fd, command, &reply) && *kv_buffer_head(&reply) == '$';
	if (answered) {
		worker = strtol(strchr(kv_buffer_head(&reply), '\n') + 1, &end, 10);
		value = strtol(end, NULL, 10);
		if (worker >= 0 && worker < NODES_LIMIT && value >= 0 && value < NODES_LIMIT)
			values[worker][value]++;
	}
	kv_buffer_free(&reply);
	return answered;
}

/*
 * Where values lie: each connection asks its worker, which serves all of its keys, for the nodes of some of them. One
 * line: pairs of nodes, worker's and value's, and how many values; `local` is the sum of those with equal nodes.
 */
static void report_locality(struct load *load)
{
	static unsigned values[NODES_LIMIT][NODES_LIMIT];
	unsigned long long asked = 0;
	unsigned long long local = 0;

	for (unsigned i = 0; i < load->options.connections; i++) {
		struct kv_client *client = &load->clients[i];
		uint32_t step = client->model.nstrings / LOCALITY_KEYS + 1;

		for (uint32_t index = 0; index < client->model.nstrings; index += step) {
			if (kv_key_present(&client->model, KV_KEY_STRING, index) && !ask_node(client, index, values))
				return;
		}
	}
	printf("phase=locality pairs=");
	for (unsigned worker = 0; worker < NODES_LIMIT; worker++) {
		for (unsigned value = 0; value < NODES_LIMIT; value++) {
			if (values[worker][value] > 0)
				printf("%s%u:%u:%u", asked ? "," : "", worker, value, values[worker][value]);
			asked += values[worker][value];
			local += worker == value ? values[worker][value] : 0;
		}
	}
	printf(" asked=%llu local=%llu\n", asked, local);
}

/* The server must hold exactly the model's keys, no more and no fewer. */
static void check_count(struct load *load)
{
	struct kv_buffer reply = { 0 };
	uint64_t keys;
	long long there = -1;

	live_bytes(load, &keys);
	if (kv_ask(load->options.port, "DBSIZE", &reply) && *kv_buffer_head(&reply) == ':')
		there = strtoll(kv_buffer_head(&reply) + 1, NULL, 10);
	if (there != (long long)keys) {
		atomic_fetch_add(&load->outcome.wrong, 1);
		fprintf(stderr, "kv_load: the server holds %lld keys instead of %llu\n", there,
			(unsigned long long)keys);
	}
	kv_buffer_free(&reply);
}

static bool create_clients(struct load *load)
{
	const struct options *options = &load->options;
	struct kv_client *client;

	load->clients = calloc(options->connections, sizeof(*load->clients));
	for (unsigned i = 0; load->clients && i < options->connections; i++) {
		client = &load->clients[i];
		client->pipeline = options->pipeline;
		client->expects = calloc(options->pipeline, sizeof(*client->expects));
		if (!client->expects || !kv_model_create(&client->model, i, options->connections, options->keys,
							 options->keep, options->seed))
			return false;
		client->fd = kv_client_connect(options->port);
		if (client->fd < 0)
			return false;
	}
	return load->clients != NULL;
}

static bool start_threads(struct load *load)
{
	const struct options *options = &load->options;
	unsigned first = 0;
	struct load_thread *thread;

	load->threads = calloc(options->threads, sizeof(*load->threads));
	if (!load->threads || pthread_barrier_init(&load->barrier, NULL, options->threads + 1))
		return false;
	for (unsigned i = 0; i < options->threads; i++) {
		thread = &load->threads[i];
		thread->load = load;
		thread->clients = load->clients + first;
		thread->count = (options->connections - first) / (options->threads - i);
		first += thread->count;
		errno = pthread_create(&thread->thread, NULL, thread_run, thread);
		if (errno)
			return false;
	}
	return true;
}

static void destroy(struct load *load)
{
	for (unsigned i = 0; i < load->options.threads; i++)
		pthread_join(load->threads[i].thread, NULL);
	for (unsigned i = 0; i < load->options.connections; i++) {
		close(load->clients[i].fd);
		kv_buffer_free(&load->clients[i].in);
		kv_buffer_free(&load->clients[i].out);
		kv_model_destroy(&load->clients[i].model);
		free(load->clients[i].expects);
	}
	pthread_barrier_destroy(&load->barrier);
	free(load->clients);
	free(load->threads);
}

int main(int argc, char **argv)
{
	struct load load = { .options = parse_options(argc, argv) };
	struct kv_buffer reply = { 0 };
	uint64_t started;

	signal(SIGALRM, give_up);
	alarm(load.options.limit);
	if (!kv_ask(load.options.port, "FLUSHALL", &reply) || *kv_buffer_head(&reply) != '+' ||
	    !create_clients(&load) || !start_threads(&load)) {
		fprintf(stderr, "kv_load: cannot start on 127.0.0.1:%u: %s\n", load.options.port, strerror(errno));
		return 1;
	}
	kv_buffer_free(&reply);
	for (int phase = 0; phase < KV_PHASES; phase++) {
		started = kv_now();
		pthread_barrier_wait(&load.barrier);
		pthread_barrier_wait(&load.barrier);
		report_phase(&load, phase_names[phase], kv_now() - started);
		if (phase == KV_CHURN && load.options.summary)
			save_summary(&load.options);
		if (phase == KV_CHURN && load.options.locality && !atomic_load(&load.outcome.broken))
			report_locality(&load);
	}
	if (!atomic_load(&load.outcome.broken))
		check_count(&load);
	destroy(&load);
	if (atomic_load(&load.outcome.broken) || atomic_load(&load.outcome.wrong) > 0) {
		fprintf(stderr, "kv_load: FAILED, %llu wrong replies\n",
			(unsigned long long)atomic_load(&load.outcome.wrong));
		return 1;
	}
	return 0;
}
