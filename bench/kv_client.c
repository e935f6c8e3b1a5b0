/* SPDX-License-Identifier: MIT */
/* The connections of kv_client.h. */
#include "kv_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define READ_NBYTES ((size_t)64 << 10)
#define STALL_MS 10000
#define WRONG_SHOWN 5 /* wrong replies that are described on stderr */
#define EVENTS 64

uint64_t kv_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int kv_client_connect(unsigned port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

static bool broken(struct kv_outcome *outcome, const char *what)
{
	if (!atomic_exchange(&outcome->broken, true))
		fprintf(stderr, "kv_load: %s\n", what);
	return false;
}

/* Write requests until the pipeline is full or the phase has no more. */
static void write_requests(struct kv_client *client, enum kv_phase phase, uint64_t until, uint64_t now)
{
	struct kv_expect *expect;

	if (until && now >= until)
		client->finished = true;
	while (!client->finished && client->under_way < client->pipeline) {
		expect = &client->expects[(client->first + client->under_way) % client->pipeline];
		if (!kv_model_next(&client->model, phase, &client->out, expect)) {
			client->finished = true;
			return;
		}
		expect->sent = now;
		client->under_way++;
	}
}

static bool send_output(struct kv_client *client, int epoll)
{
	struct epoll_event event = { .data.ptr = client };
	ssize_t nbytes;
	bool waiting;

	while (kv_buffer_pending(&client->out) > 0) {
		nbytes = send(client->fd, kv_buffer_head(&client->out), kv_buffer_pending(&client->out),
			      MSG_NOSIGNAL | MSG_DONTWAIT);
		if (nbytes < 0 && errno == EAGAIN)
			break;
		if (nbytes < 0 && errno != EINTR)
			return false;
		if (nbytes > 0)
			kv_buffer_consume(&client->out, (size_t)nbytes);
	}
	waiting = kv_buffer_pending(&client->out) > 0;
	if (waiting == client->waits_to_write)
		return !client->out.failed;
	client->waits_to_write = waiting;
	event.events = EPOLLIN | (waiting ? (uint32_t)EPOLLOUT : 0);
	return !client->out.failed && !epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
}

/* Check the replies that have come; false where the stream is broken. */
static bool check_replies(struct kv_client *client, uint64_t now, struct kv_tally *tally, struct kv_outcome *outcome)
{
	struct kv_expect *expect;
	enum kv_verdict verdict;
	char what[160];

	while (client->under_way > 0) {
		expect = &client->expects[client->first];
		verdict = kv_reply_check(&client->in, expect, what, sizeof(what));
		if (verdict == KV_REPLY_MORE)
			return true;
		if (verdict != KV_REPLY_RIGHT && atomic_fetch_add(&outcome->wrong, 1) < WRONG_SHOWN)
			fprintf(stderr, "kv_load: wrong reply to %s: %s\n", expect->verb, what);
		if (verdict == KV_REPLY_BROKEN)
			return false;
		kv_histogram_add(&tally->latency, now - expect->sent);
		tally->requests++;
		client->first = (client->first + 1) % client->pipeline;
		client->under_way--;
	}
	return kv_buffer_pending(&client->in) == 0; /* bytes that nobody asked for */
}

/* Read once and check; the time of the read stands for all replies in it. */
static bool read_replies(struct kv_client *client, struct kv_tally *tally, struct kv_outcome *outcome)
{
	char *place = kv_buffer_reserve(&client->in, READ_NBYTES);
	ssize_t nbytes = place ? recv(client->fd, place, READ_NBYTES, MSG_DONTWAIT) : 0;

	if (nbytes < 0)
		return errno == EAGAIN || errno == EINTR;
	if (nbytes == 0)
		return false;
	client->in.end += (size_t)nbytes;
	return check_replies(client, kv_now(), tally, outcome);
}

static bool loop(struct kv_client *clients, unsigned count, enum kv_phase phase, uint64_t until, int epoll,
		 struct kv_tally *tally, struct kv_outcome *outcome)
{
	struct epoll_event events[EVENTS];
	struct kv_client *client;
	unsigned busy;
	int ready;

	for (;;) {
		busy = 0;
		for (unsigned i = 0; i < count; i++) {
			client = &clients[i];
			/* Half empty before it is filled again: requests travel in batches, as from a real client. */
			if (client->under_way <= client->pipeline / 2)
				write_requests(client, phase, until, kv_now());
			if (!send_output(client, epoll))
				return broken(outcome, "a connection broke while sending");
			busy += client->under_way > 0;
		}
		if (busy == 0)
			return true;
		ready = epoll_wait(epoll, events, EVENTS, STALL_MS);
		if (atomic_load_explicit(&outcome->broken, memory_order_relaxed))
			return false;
		if (ready == 0)
			return broken(outcome, "no reply for ten seconds");
		for (int i = 0; i < ready; i++) {
			client = events[i].data.ptr;
			if ((events[i].events & ~(uint32_t)EPOLLOUT) && !read_replies(client, tally, outcome))
				return broken(outcome, "a connection broke");
		}
	}
}

bool kv_client_run(struct kv_client *clients, unsigned count, enum kv_phase phase, uint64_t until,
		   struct kv_tally *tally, struct kv_outcome *outcome)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	bool complete;

	if (epoll < 0)
		return broken(outcome, "no epoll");
	for (unsigned i = 0; i < count; i++) {
		event.data.ptr = &clients[i];
		clients[i].finished = false;
		clients[i].waits_to_write = false;
		kv_model_start(&clients[i].model);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event)) {
			close(epoll);
			return broken(outcome, "epoll refused a connection");
		}
	}
	complete = loop(clients, count, phase, until, epoll, tally, outcome);
	close(epoll);
	return complete;
}

bool kv_ask_over(int fd, const char *command, struct kv_buffer *reply)
{
	struct timeval limit = { .tv_sec = STALL_MS / 1000 };
	ssize_t nbytes = 1;
	long complete = 0;
	char *place;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (send(fd, command, strlen(command), MSG_NOSIGNAL) < 0 || send(fd, "\r\n", 2, MSG_NOSIGNAL) < 0)
		return false;
	while (nbytes > 0 && complete == 0) {
		place = kv_buffer_reserve(reply, READ_NBYTES);
		nbytes = place ? recv(fd, place, READ_NBYTES, 0) : -1;
		if (nbytes > 0)
			reply->end += (size_t)nbytes;
		complete = kv_reply_measure(kv_buffer_head(reply), kv_buffer_pending(reply));
	}
	return complete > 0;
}

bool kv_ask(unsigned port, const char *command, struct kv_buffer *reply)
{
	int fd = kv_client_connect(port);
	bool answered = fd >= 0 && kv_ask_over(fd, command, reply);

	if (fd >= 0)
		close(fd);
	return answered;
}
