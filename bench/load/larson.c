/* SPDX-License-Identifier: MIT */
/*
 * Server threads that hand their blocks on: each thread replaces blocks in its slots at random, then starts a
 * successor that inherits slots and blocks, and ends. The first blocks of all are the main thread's. So most blocks
 * are freed by another thread than the one that allocated them, which no longer exists.
 */
#include "../harness.h"

#include <semaphore.h>

struct chain {
	struct bench_rng rng;
	void **slots;
	long lives;		/* threads still to come in this chain */
	int id;
};

static struct chain *chains;
static int nthreads;
static long nslots, life;
static uint32_t least, span;
static sem_t ended;

static void *make(uint64_t x)
{
	return bench_make(least + bench_below((uint32_t)x, span));
}

static void *serve(void *arg)
{
	struct chain *chain = arg;
	pthread_t successor;

	bench_pin(chain->id, nthreads);
	for (long i = 0; i < life; i++) {
		uint64_t x = bench_random(&chain->rng);
		void **slot = &chain->slots[bench_below((uint32_t)(x >> 32), (uint32_t)nslots)];

		bench_drop(*slot);
		*slot = make(x);
	}
	if (--chain->lives == 0) {
		sem_post(&ended);
		return NULL;
	}
	if (pthread_create(&successor, NULL, serve, chain))
		bench_die("cannot create a thread");
	pthread_detach(successor);
	return NULL;
}

static void start_chains(long lives)
{
	pthread_t first;

	for (int i = 0; i < nthreads; i++) {
		chains[i].lives = lives;
		if (pthread_create(&first, NULL, serve, &chains[i]))
			bench_die("cannot create a thread");
		pthread_detach(first);
	}
	for (int i = 0; i < nthreads; i++)
		while (sem_wait(&ended))
			;
}

static void fill_chain(int id)
{
	chains[id].id = id;
	bench_seed(&chains[id].rng, (uint64_t)id);
	chains[id].slots = bench_table((size_t)nslots * sizeof(void *));
	for (long i = 0; i < nslots; i++)
		chains[id].slots[i] = make(bench_random(&chains[id].rng));
}

int main(int argc, char **argv)
{
	long ops, lives;

	bench_init(argc, argv, "larson");
	nthreads = (int)bench_arg("threads", 2);
	ops = bench_ops("ops", 30000000);
	nslots = bench_arg("slots", 5000);
	life = bench_arg("life", 250000);
	least = (uint32_t)bench_arg("min", 16);
	span = (uint32_t)bench_arg("max", 1000) - least + 1;
	bench_args_done();
	lives = ops / nthreads / life > 0 ? ops / nthreads / life : 1;
	chains = bench_table((size_t)nthreads * sizeof *chains);
	sem_init(&ended, 0, 0);
	for (int i = 0; i < nthreads; i++)
		fill_chain(i);
	bench_start();
	start_chains(lives);
	bench_stop();
	for (int i = 0; i < nthreads; i++)
		for (long k = 0; k < nslots; k++)
			bench_check_add(bench_drop(chains[i].slots[k]));
	bench_report((double)lives * (double)life * nthreads);
}
