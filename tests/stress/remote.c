/* SPDX-License-Identifier: MIT */
/*
 * Remote storms: blocks flow from many producers to one consumer, from one to many, and through a ring in which each
 * thread frees what its neighbour made; producers and consumers end and are replaced in mid-flow.
 */
#include "stress.h"

#define QUEUE 512
#define MOST_THREADS 4
#define BATCH 3000 /* blocks that a thread passes before it ends */

static struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t first, count;
	int closed;
	struct piece pieces[QUEUE];
} queues[MOST_THREADS];

static void push(struct queue *queue, struct piece piece)
{
	pthread_mutex_lock(&queue->lock);
	while (queue->count == QUEUE)
		pthread_cond_wait(&queue->changed, &queue->lock);
	queue->pieces[(queue->first + queue->count++) % QUEUE] = piece;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

/* Up to 64 pieces at once, so that frees come in bursts; 0 when the queue is closed and empty. */
static size_t pull(struct queue *queue, struct piece *pieces)
{
	size_t count = 0;

	pthread_mutex_lock(&queue->lock);
	while (queue->count == 0 && !queue->closed)
		pthread_cond_wait(&queue->changed, &queue->lock);
	for (; queue->count > 0 && count < 64; queue->count--) {
		pieces[count++] = queue->pieces[queue->first];
		queue->first = (queue->first + 1) % QUEUE;
	}
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
	return count;
}

static void close_queue(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->closed = 1;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

/* What one thread does in its life. */
struct job {
	struct queue *queue;
	uint64_t seed;
	int same_size;
};

static size_t job_size(const struct job *job, uint64_t *rng)
{
	if (job->same_size)
		return 48;
	return rng_size(rng, rng_below(rng, 400) == 0 ? 19 : 11);
}

static void *produce(void *arg)
{
	struct job job = *(struct job *)arg;
	uint64_t rng = job.seed;

	for (int i = 0; i < BATCH; i++)
		push(job.queue, piece_make(&rng, job_size(&job, &rng), job.seed % 1000));
	return NULL;
}

static void *consume(void *arg)
{
	struct job job = *(struct job *)arg;
	struct piece pieces[64];
	uint64_t rng = job.seed;
	size_t count;

	for (size_t passed = 0; passed < BATCH && (count = pull(job.queue, pieces)) > 0; passed += count)
		for (size_t i = 0; i < count; i++)
			piece_free(&rng, &pieces[i]);
	return NULL;
}

/* A consumer that is started again until nothing is left. */
static void *consume_all(void *arg)
{
	struct job job = *(struct job *)arg;
	int left = 1;

	while (left) {
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, consume, &job) == 0 && pthread_join(thread, NULL) == 0);
		job.seed++;
		pthread_mutex_lock(&job.queue->lock);
		left = job.queue->count > 0 || !job.queue->closed;
		pthread_mutex_unlock(&job.queue->lock);
	}
	return NULL;
}

/* Producer p feeds queue p % consumers; a ring where both counts are the same. */
static void storm(size_t producers, size_t consumers, double seconds, int same_size)
{
	static struct job jobs[2][MOST_THREADS];
	pthread_t producing[MOST_THREADS], consuming[MOST_THREADS];
	size_t started = 0;

	for (size_t i = 0; i < consumers; i++) {
		queues[i] = (struct queue){ .first = 0 };
		pthread_mutex_init(&queues[i].lock, NULL);
		pthread_cond_init(&queues[i].changed, NULL);
		jobs[1][i] = (struct job){ &queues[i], test_seed(100 + i), same_size };
		CHECK(pthread_create(&consuming[i], NULL, consume_all, &jobs[1][i]) == 0);
	}
	for (double end = now() + seconds; now() < end || started < 2 * producers; started++) {
		size_t i = started % producers;
		if (started >= producers)
			CHECK(pthread_join(producing[i], NULL) == 0);
		jobs[0][i] = (struct job){ &queues[started % consumers], test_seed(1000 + started), same_size };
		CHECK(pthread_create(&producing[i], NULL, produce, &jobs[0][i]) == 0);
	}
	for (size_t i = 0; i < producers; i++)
		CHECK(pthread_join(producing[i], NULL) == 0);
	for (size_t i = 0; i < consumers; i++) {
		close_queue(&queues[i]);
		CHECK(pthread_join(consuming[i], NULL) == 0);
	}
	say("%zu producers, %zu consumers: %zu blocks%s", producers, consumers, started * BATCH,
	    same_size ? " of one size" : "");
}

int main(void)
{
	static const size_t shapes[][2] = { { 1, 1 }, { 4, 1 }, { 1, 4 }, { 4, 4 } };
	double seconds = test_seconds(3) / (2 * COUNT(shapes));
	uint64_t live_before;

	test_start(60);
	test_seed(0);
	live_before = stats_live();
	for (size_t i = 0; i < COUNT(shapes); i++) {
		storm(shapes[i][0], shapes[i][1], seconds, 0);
		storm(shapes[i][0], shapes[i][1], seconds, 1);
	}
	quarry_trim(0);
	CHECKF(stats_live() == live_before, "  live before %llu bytes, after %llu", (unsigned long long)live_before,
	       (unsigned long long)stats_live());
	return 0;
}
