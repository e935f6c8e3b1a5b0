/* SPDX-License-Identifier: MIT */
/*
 * The worker threads: an epoll loop each. All of them wait on the one listening socket (EPOLLEXCLUSIVE); whichever
 * accepts a connection hands it to the workers in turn, so that load spreads evenly. From then on only that worker
 * touches the connection, which another worker may have allocated.
 */
#ifndef KV_WORKER_H
#define KV_WORKER_H

#include "kv_command.h"

struct kv_workers;

/** Start service->threads workers on a listening socket that does not block; NULL with errno where that fails. */
struct kv_workers *kv_workers_start(struct kv_service *service, int listener);

/** Stop and join the workers, close every connection, free everything. */
void kv_workers_stop(struct kv_workers *workers);

#endif
