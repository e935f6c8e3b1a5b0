/* SPDX-License-Identifier: MIT */
/*
 * Memory bandwidth and latency of what the allocator handed out: every thread allocates and writes `mib` in blocks of
 * `size`, frees all of it and allocates again, so that it holds memory that has been used. Then, for every pair of
 * nodes, the threads of the one read the blocks of the other's threads: all of them line by line for bandwidth, the
 * first one along a random chain for latency. The caches' share is in the figures unless mib is well above them. One
 * op is one line read.
 */
#include "../placement.h"

enum { CHAIN_STEPS = 300000 };

static struct holder {
	void **blocks;
	long count;
	int node, rank;	/* rank among the threads of its node */
} holders[PLACEMENT_THREADS];

static struct {
	int id, threads;
	void **chain;	/* through the blocks of its first thread */
} nodes[PLACEMENT_NODES];

static int nthreads, nnodes;
static size_t mib, nbytes, passes;
static pthread_barrier_t phase;
static double ids[PLACEMENT_NODES];
static double gbps[PLACEMENT_NODES * PLACEMENT_NODES], latency_ns[PLACEMENT_NODES * PLACEMENT_NODES];
static double share;

static void allocate(struct holder *holder, struct placement_thread *thread)
{
	for (long i = 0; i < holder->count; i++)
		holder->blocks[i] = placement_make(nbytes, thread);
}

static void setup(int id)
{
	struct placement_thread filling = {0};
	struct holder *holder = &holders[id];

	holder->count = (long)((mib << 20) / nbytes);
	holder->blocks = bench_table((size_t)holder->count * sizeof *holder->blocks);
	holder->node = node_of_thread();
	allocate(holder, &filling);
	for (long i = 0; i < holder->count; i++)
		bench_drop(holder->blocks[i]);
	allocate(holder, &filling);
	if (id == 0)
		placement_begin();
}

/* Once all are set up: which nodes there are, and each thread's rank on its own. */
static void number_nodes(void)
{
	for (int id = 0; id < nthreads; id++) {
		int at = 0;

		while (at < nnodes && nodes[at].id != holders[id].node)
			at++;
		if (at == PLACEMENT_NODES)
			bench_die("too many nodes");
		if (at == nnodes) {
			ids[nnodes] = holders[id].node;
			nodes[nnodes++].id = holders[id].node;
		}
		holders[id].rank = nodes[at].threads++;
	}
}

/* The calling thread's part of the blocks of one node: lines read. */
static uint64_t read_part(const struct holder *reader, int from_node, int readers)
{
	uint64_t lines = 0;

	for (int id = 0; id < nthreads; id++) {
		if (holders[id].node != from_node)
			continue;
		for (long i = reader->rank; i < holders[id].count; i += readers)
			lines += placement_read(holders[id].blocks[i]);
	}
	return lines;
}

static void measure_bandwidth(int id, int reader_at, int from_at)
{
	struct holder *reader = &holders[id];
	struct placement_thread *thread = &placement_threads[id];
	bool reads = reader->node == nodes[reader_at].id;
	uint64_t lines = 0, all = 0;
	double from;

	pthread_barrier_wait(&phase);
	from = bench_now();
	for (size_t pass = 0; reads && pass < passes; pass++)
		lines += read_part(reader, nodes[from_at].id, nodes[reader_at].threads);
	pthread_barrier_wait(&phase);
	if (id == 0) {
		for (int i = 0; i < nthreads; i++)
			if (holders[i].node == nodes[from_at].id)
				all += (uint64_t)holders[i].count * placement_lines(nbytes) * passes;
		gbps[reader_at * nnodes + from_at] = (double)all * PLACEMENT_LINE / (bench_now() - from) / 1e9;
	}
	thread->ops += (double)lines;
	thread->seconds += bench_now() - from;
	if (reader_at == from_at)
		thread->own_lines += lines;
	else
		thread->other_lines += lines;
}

/* Links one line of each block into a random cycle. Stamps at the start of a block stay: the link follows them. */
static void **make_chain(const struct holder *holder)
{
	struct bench_rng rng;
	long count = holder->count;
	size_t lines = placement_lines(nbytes);
	void **first, **last;

	bench_seed(&rng, 7);
	for (long i = count - 1; i > 0; i--) {
		uint32_t j = bench_below((uint32_t)(bench_random(&rng) >> 32), (uint32_t)i);
		void *other = holder->blocks[j];

		holder->blocks[j] = holder->blocks[i];
		holder->blocks[i] = other;
	}
	first = last = (void **)((char *)holder->blocks[0] + 16);
	for (size_t round = 0; round < lines; round++)
		for (long i = round ? 0 : 1; i < count; i++) {
			size_t line = (round * 37 + (size_t)i * 11) % lines;
			void **next = (void **)((char *)holder->blocks[i] + line * PLACEMENT_LINE + 16);

			if (next != first) {
				*last = next;
				last = next;
			}
		}
	*last = first;
	return first;
}

static void measure_latency(int id, int reader_at, int from_at)
{
	void **at;
	double start;

	pthread_barrier_wait(&phase);
	if (holders[id].node == nodes[reader_at].id && holders[id].rank == 0) {
		at = nodes[from_at].chain;
		start = bench_now();
		for (int step = 0; step < CHAIN_STEPS; step++)
			at = *(void **volatile *)at;
		latency_ns[reader_at * nnodes + from_at] = (bench_now() - start) * 1e9 / CHAIN_STEPS;
		bench_check_add(at == NULL);
	}
	pthread_barrier_wait(&phase);
}

static void work(int id)
{
	if (id == 0)
		number_nodes();
	pthread_barrier_wait(&phase);
	for (int at = 0; at < nnodes; at++)
		if (nodes[at].id == holders[id].node && holders[id].rank == 0)
			nodes[at].chain = make_chain(&holders[id]);
	for (int reader = 0; reader < nnodes; reader++)
		for (int from = 0; from < nnodes; from++) {
			measure_bandwidth(id, reader, from);
			measure_latency(id, reader, from);
		}
	placement_threads[id].node = holders[id].node;
}

static void measure(void)
{
	for (int id = 0; id < nthreads; id++)
		for (long i = 0; i < holders[id].count; i++)
			placement_note(holders[id].blocks[i], nbytes, holders[id].node);
	share = placement_ask();
}

int main(int argc, char **argv)
{
	struct bench_job job = {.setup = setup, .work = work, .measure = measure};
	double ops;

	bench_init(argc, argv, "numa_bandwidth");
	nthreads = (int)bench_arg("threads", 1);
	mib = (size_t)bench_arg("mib", 64);
	nbytes = (size_t)bench_arg("size", 65536);
	passes = (size_t)bench_arg("passes", 2);
	bench_args_done();
	if (nthreads > PLACEMENT_THREADS || nbytes < 64 || nbytes > mib << 20)
		bench_die("too many threads, or a size that cannot be");
	pthread_barrier_init(&phase, NULL, (unsigned)nthreads);
	bench_threads(nthreads, &job);
	ops = placement_report(nthreads);
	bench_metric("local_share", share);
	bench_metric_list("bandwidth_nodes", ids, nnodes);
	bench_metric_list("gb_per_s", gbps, nnodes * nnodes);
	bench_metric_list("latency_ns", latency_ns, nnodes * nnodes);
	bench_report(ops);
}
