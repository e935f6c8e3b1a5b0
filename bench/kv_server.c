/* SPDX-License-Identifier: MIT */
/*
 * A key-value server: the process around the workers of kv_worker.c. It speaks a subset of the redis protocol on
 * 127.0.0.1, without authentication, and keeps everything in memory. Built twice from the same sources: kv_server on
 * the C library's malloc, kv_server_quarry on Quarry.
 *
 * The main thread blocks all signals before it starts the workers, then waits for SIGTERM or SIGINT (the SHUTDOWN
 * command sends one, and --lifetime bounds the wait), stops the workers, frees everything and exits with 0.
 */
#include "kv_command.h"
#include "kv_worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 1024
#define THREADS_LIMIT 1024
#define CPUS_LIMIT 8192

struct options {
	unsigned port;     /* 0: any free one */
	unsigned threads;
	unsigned lifetime; /* seconds; 0: no limit */
	unsigned ncpus;    /* of cpus */
	bool stats;
	int cpus[THREADS_LIMIT];
};

static void usage(FILE *stream)
{
	fputs("usage: kv_server [--port N] [--threads N] [--cpus A,B,...] [--lifetime SECONDS] [--stats]\n"
	      "  --port N      listen on 127.0.0.1:N (default 6380; 0 takes a free port and prints it)\n"
	      "  --threads N   worker threads (default: one per core)\n"
	      "  --cpus A,B    bind the workers to these CPUs, in turn (default: none is bound)\n"
	      "  --lifetime S  stop after S seconds (default: never)\n"
	      "  --stats       print Quarry's summary to standard output when stopping, where Quarry is linked\n",
	      stream);
}

static unsigned number_or_exit(const char *option, const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || end == text || *end || number < least || number > most) {
		fprintf(stderr, "kv_server: --%s: '%s' is not a number from %u to %u\n", option, text, least, most);
		exit(2);
	}
	return (unsigned)number;
}

static void parse_cpus(struct options *options, char *list)
{
	options->ncpus = 0;
	for (char *word = strtok(list, ","); word && options->ncpus < THREADS_LIMIT; word = strtok(NULL, ","))
		options->cpus[options->ncpus++] = (int)number_or_exit("cpus", word, 0, CPUS_LIMIT - 1);
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "port", required_argument, NULL, 'p' },     { "threads", required_argument, NULL, 't' },
		{ "lifetime", required_argument, NULL, 'l' }, { "stats", no_argument, NULL, 's' },
		{ "cpus", required_argument, NULL, 'c' },     { "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct options options = { .port = 6380, .threads = cores > 0 ? (unsigned)cores : 1 };
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (option == 'p') {
			options.port = number_or_exit("port", optarg, 0, 65535);
		} else if (option == 't') {
			options.threads = number_or_exit("threads", optarg, 1, THREADS_LIMIT);
		} else if (option == 'l') {
			options.lifetime = number_or_exit("lifetime", optarg, 1, 1u << 30);
		} else if (option == 'c') {
			parse_cpus(&options, optarg);
		} else if (option == 's') {
			options.stats = true;
		} else {
			usage(option == 'h' ? stdout : stderr);
			exit(option == 'h' ? 0 : 2);
		}
	}
	return options;
}

/* A listening socket on loopback; *port becomes its port. -1 with a message where there is none. */
static int listen_on(unsigned *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t nbytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) &&
	    !bind(fd, (struct sockaddr *)&address, nbytes) && !listen(fd, BACKLOG) &&
	    !getsockname(fd, (struct sockaddr *)&address, &nbytes)) {
		*port = ntohs(address.sin_port);
		return fd;
	}
	fprintf(stderr, "kv_server: cannot listen on 127.0.0.1:%u: %s\n", *port, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Wait for one of the signals, or until the lifetime is over. */
static void wait_for_stop(const sigset_t *signals, unsigned lifetime)
{
	struct timespec limit = { .tv_sec = lifetime };
	int result;

	do {
		result = lifetime ? sigtimedwait(signals, NULL, &limit) : sigwaitinfo(signals, NULL);
	} while (result < 0 && errno == EINTR);
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed))
		seed = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u;
	return seed;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct kv_service service = { .threads = options.threads, .cpus = options.cpus, .ncpus = options.ncpus,
				      .started = kv_clock_ms() };
	struct kv_workers *workers;
	sigset_t signals;
	int listener;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	listener = listen_on(&options.port);
	if (listener < 0)
		return 1;
	kv_hash_seed(random_seed());
	service.port = options.port;
	service.table = kv_table_create();
	workers = service.table ? kv_workers_start(&service, listener) : NULL;
	if (!workers) {
		fprintf(stderr, "kv_server: cannot start %u workers: %s\n", options.threads, strerror(errno));
		return 1;
	}
	printf("kv_server: listening on 127.0.0.1:%u, %u threads\n", options.port, options.threads);
	fflush(stdout);
	wait_for_stop(&signals, options.lifetime);
	kv_workers_stop(workers);
	close(listener);
	if (options.stats)
		kv_print_summary(STDOUT_FILENO);
	kv_table_destroy(service.table);
	return 0;
}
