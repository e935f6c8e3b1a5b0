/* SPDX-License-Identifier: MIT */
/*
 * The epoll loops of kv_worker.h.
 *
 * A connection is in the list of connections from accept to close (`lock`), for the final clean-up and the count; all
 * else in it belongs to its worker. Once it has been added to the worker's epoll set the acceptor may not touch it.
 *
 * Back pressure: while more than OUT_HIGH bytes of replies wait, no further request of that connection is run and
 * nothing is read from it.
 */
#include "kv_worker.h"
#include "kv_protocol.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_NBYTES ((size_t)64 << 10) /* room for one read */
#define OUT_HIGH ((size_t)1 << 20)
#define EVENTS 64
#define DISCARDS 256    /* reads of input that is dropped: a client that never stops sending is cut off */
#define SWEEP_MS 100    /* between expiry sweeps, while there is anything that can expire */
#define IDLE_MS 1000    /* between looks whether there is */
#define RESERVED_FDS 64 /* descriptors that connections leave for the rest */

struct worker {
	struct kv_workers *all;
	pthread_t thread;
	int epoll;
};

struct connection {
	struct connection *next; /* under lock */
	struct connection *prev; /* under lock */
	int fd;
	int epoll;        /* its worker's */
	uint32_t waits;   /* epoll events asked for */
	bool end_of_file; /* the client has sent all it will send */
	struct kv_session session;
	struct kv_buffer in;
	struct kv_buffer out;
	struct kv_request request;
};

struct kv_workers {
	struct kv_service *service;
	int listener;
	int stop;                      /* eventfd, readable once the workers shall stop */
	size_t limit;                  /* most connections */
	pthread_mutex_t lock;
	struct connection connections; /* head of the ring, under lock */
	struct worker workers[];       /* service->threads */
};

/* The marks in epoll data that are no connections. */
static char listener_mark, stop_mark;

/* --- connections ------------------------------------------------------------------------------------------------ */

static void connection_close(struct kv_workers *all, struct connection *connection)
{
	pthread_mutex_lock(&all->lock);
	connection->next->prev = connection->prev;
	connection->prev->next = connection->next;
	pthread_mutex_unlock(&all->lock);
	atomic_fetch_sub_explicit(&all->service->clients, 1, memory_order_relaxed);
	close(connection->fd); /* leaves the epoll set by that */
	kv_buffer_free(&connection->in);
	kv_buffer_free(&connection->out);
	kv_request_free(&connection->request);
	free(connection);
}

static struct connection *connection_create(struct kv_workers *all, int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->fd = fd;
	connection->waits = EPOLLIN;
	connection->session = (struct kv_session){ .service = all->service, .out = &connection->out };
	pthread_mutex_lock(&all->lock);
	connection->next = &all->connections;
	connection->prev = all->connections.prev;
	connection->prev->next = connection;
	all->connections.prev = connection;
	pthread_mutex_unlock(&all->lock);
	atomic_fetch_add_explicit(&all->service->clients, 1, memory_order_relaxed);
	return connection;
}

static void refuse(int fd)
{
	static const char text[] = "-ERR max number of clients reached\r\n";

	if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* It is closed either way. */
	}
	close(fd);
}

static void accept_connections(struct kv_workers *all)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct kv_service *service = all->service;
	struct connection *connection;
	unsigned long long turn;
	int fd;

	while ((fd = accept4(all->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		connection = atomic_load(&service->clients) < all->limit ? connection_create(all, fd) : NULL;
		if (!connection) {
			refuse(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		turn = atomic_fetch_add_explicit(&service->accepted, 1, memory_order_relaxed);
		connection->epoll = all->workers[turn % service->threads].epoll;
		event.data.ptr = connection;
		if (epoll_ctl(connection->epoll, EPOLL_CTL_ADD, fd, &event))
			connection_close(all, connection);
	}
	/* Out of descriptors or memory: the listener stays readable, so wait a moment instead of spinning. */
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

/* Read what is there, once; false where the connection is broken. */
static bool read_input(struct connection *connection)
{
	size_t lacks = kv_request_lacks(&connection->request, &connection->in);
	size_t there = kv_buffer_pending(&connection->in);
	size_t room = READ_NBYTES;
	char *place;
	ssize_t nbytes;

	/* No more room than bytes have come: announcing a large argument costs the server nothing. */
	if (lacks > room && there > room)
		room = lacks < there ? lacks : there;
	place = kv_buffer_reserve(&connection->in, room);
	if (!place)
		return false;
	nbytes = recv(connection->fd, place, room, 0);
	if (nbytes > 0)
		connection->in.end += (size_t)nbytes;
	else if (nbytes == 0)
		connection->end_of_file = true;
	else if (errno != EAGAIN && errno != EINTR)
		return false;
	if (nbytes <= 0)
		kv_buffer_consume(&connection->in, 0); /* gives an unused buffer back */
	return true;
}

/* Send what waits, as far as the socket takes it; false where the connection is broken. */
static bool write_output(struct connection *connection)
{
	ssize_t nbytes;

	while (kv_buffer_pending(&connection->out) > 0) {
		nbytes = send(connection->fd, kv_buffer_head(&connection->out), kv_buffer_pending(&connection->out),
			      MSG_NOSIGNAL);
		if (nbytes < 0 && errno == EINTR)
			continue;
		if (nbytes < 0)
			return errno == EAGAIN;
		kv_buffer_consume(&connection->out, (size_t)nbytes);
	}
	return true;
}

/* Run the requests that are complete, until one is not or too many replies wait. True if it stopped for replies. */
static bool run_requests(struct connection *connection)
{
	struct kv_request *request = &connection->request;
	enum kv_parse state;

	while (!connection->session.closing && kv_buffer_pending(&connection->in) > 0) {
		if (kv_buffer_pending(&connection->out) > OUT_HIGH)
			return true;
		state = kv_request_parse(request, &connection->in);
		if (state == KV_PARSE_MORE)
			return false;
		if (state == KV_PARSE_BAD) {
			kv_reply_error(&connection->out, request->error);
			connection->session.closing = true;
			return false;
		}
		if (request->count > 0)
			kv_command_run(&connection->session, request->arguments, request->count);
		kv_request_finish(request, &connection->in);
	}
	return false;
}

/* Drop input that nobody will read: closing with it unread would reset the connection, replies under way included. */
static void discard_input(int fd)
{
	char dropped[4096];

	shutdown(fd, SHUT_WR);
	for (int i = 0; i < DISCARDS; i++) {
		if (recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT) <= 0)
			return;
	}
}

/* Do all that an event allows. False where the connection is done with or broken. */
static bool serve(struct connection *connection, uint32_t events)
{
	struct epoll_event event = { .data.ptr = connection };
	bool stopped;
	bool waiting;

	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && (connection->waits & EPOLLIN) && !read_input(connection))
		return false;
	do {
		stopped = run_requests(connection);
		if (connection->out.failed || !write_output(connection))
			return false;
		waiting = kv_buffer_pending(&connection->out) > 0;
	} while (stopped && !waiting);
	if ((connection->session.closing || connection->end_of_file) && !waiting) {
		discard_input(connection->fd);
		return false;
	}
	if (!(connection->waits & EPOLLIN) && (events & (EPOLLHUP | EPOLLERR)))
		return false; /* the other side is gone while replies wait for it */
	event.events = waiting ? EPOLLOUT : 0;
	if (!stopped && !connection->session.closing && !connection->end_of_file)
		event.events |= EPOLLIN;
	if (event.events == connection->waits)
		return true;
	connection->waits = event.events;
	return !epoll_ctl(connection->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

/* --- workers ---------------------------------------------------------------------------------------------------- */

/* The first worker also looks for keys whose time has passed; others may set such keys while it sleeps. */
static int wait_ms(const struct worker *worker)
{
	if (worker != worker->all->workers)
		return -1;
	return kv_table_expiring(worker->all->service->table) ? SWEEP_MS : IDLE_MS;
}

/* A worker that cannot be bound runs where it likes: the server is right without. */
static void bind_worker(const struct worker *worker)
{
	const struct kv_service *service = worker->all->service;
	cpu_set_t cpus[8]; /* the largest machines have more CPUs than a cpu_set_t */

	if (service->ncpus == 0)
		return;
	memset(cpus, 0, sizeof(cpus));
	CPU_SET_S((size_t)service->cpus[(worker - worker->all->workers) % service->ncpus], sizeof(cpus), cpus);
	if (pthread_setaffinity_np(pthread_self(), sizeof(cpus), cpus))
		fputs("kv_server: a worker cannot be bound to its CPU\n", stderr);
}

static void *worker_run(void *argument)
{
	struct worker *worker = argument;
	struct kv_workers *all = worker->all;
	struct epoll_event events[EVENTS];
	int64_t swept = kv_clock_ms();
	int count;

	bind_worker(worker);
	for (;;) {
		count = epoll_wait(worker->epoll, events, EVENTS, wait_ms(worker));
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == &stop_mark)
				return NULL;
			if (events[i].data.ptr == &listener_mark)
				accept_connections(all);
			else if (!serve(events[i].data.ptr, events[i].events))
				connection_close(all, events[i].data.ptr);
		}
		if (worker == all->workers && kv_clock_ms() - swept >= SWEEP_MS) {
			swept = kv_clock_ms();
			if (kv_table_expiring(all->service->table))
				kv_table_expire_some(all->service->table);
		}
	}
}

static bool worker_start(struct worker *worker, struct kv_workers *all)
{
	struct epoll_event listens = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &listener_mark };
	struct epoll_event stops = { .events = EPOLLIN, .data.ptr = &stop_mark };

	worker->all = all;
	return !epoll_ctl(worker->epoll, EPOLL_CTL_ADD, all->listener, &listens) &&
	       !epoll_ctl(worker->epoll, EPOLL_CTL_ADD, all->stop, &stops) &&
	       !(errno = pthread_create(&worker->thread, NULL, worker_run, worker));
}

/* As many connections as descriptors allow, after the soft limit has been raised to the hard one. */
static size_t connection_limit(unsigned threads)
{
	struct rlimit limit;
	size_t reserved = RESERVED_FDS + threads;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1024 - RESERVED_FDS;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur > 2 * reserved ? limit.rlim_cur - reserved : limit.rlim_cur / 2;
}

struct kv_workers *kv_workers_start(struct kv_service *service, int listener)
{
	struct kv_workers *all = calloc(1, sizeof(*all) + service->threads * sizeof(struct worker));

	if (!all)
		return NULL;
	all->service = service;
	all->listener = listener;
	all->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->limit = connection_limit(service->threads);
	all->connections.next = all->connections.prev = &all->connections;
	pthread_mutex_init(&all->lock, NULL);
	/* All epoll sets exist before the first worker can hand a connection to one of them. */
	for (unsigned i = 0; i < service->threads; i++) {
		all->workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
		if (all->workers[i].epoll < 0)
			return NULL; /* the process ends: nothing to undo */
	}
	for (unsigned i = 0; i < service->threads; i++) {
		if (!worker_start(&all->workers[i], all))
			return NULL;
	}
	return all;
}

void kv_workers_stop(struct kv_workers *all)
{
	eventfd_write(all->stop, 1);
	for (unsigned i = 0; i < all->service->threads; i++)
		pthread_join(all->workers[i].thread, NULL);
	while (all->connections.next != &all->connections)
		connection_close(all, all->connections.next);
	for (unsigned i = 0; i < all->service->threads; i++)
		close(all->workers[i].epoll);
	close(all->stop);
	pthread_mutex_destroy(&all->lock);
	free(all);
}
