/* SPDX-License-Identifier: MIT */
/*
 * Growth by realloc. A few or many buffers start at `min` bytes; a random one grows to `grow` percent of its size,
 * its new part is touched, and beyond `max` it is freed and starts anew. One op is one realloc. buffers=1 with a
 * large max is the one big array that keeps growing.
 */
#include "../harness.h"

struct buffer {
	unsigned char *bytes;
	size_t nbytes;
};

static struct buffer *buffers;
static long ops, nbuffers;
static size_t least, most, grow;

/* Touches a byte in each cache line of the new part, as filling it would, and checks that the old part came along. */
static void grow_to(struct buffer *buffer, size_t nbytes)
{
	size_t old = buffer->nbytes;

	buffer->bytes = realloc(buffer->bytes, nbytes);
	if (!buffer->bytes)
		bench_die("out of memory");
	if (old && (buffer->bytes[0] != (unsigned char)least || buffer->bytes[old - 1] != (unsigned char)old))
		bench_die("realloc lost the contents");
	for (size_t at = old; at < nbytes; at += 64)
		buffer->bytes[at] = (unsigned char)least;
	buffer->bytes[nbytes - 1] = (unsigned char)nbytes;
	buffer->nbytes = nbytes;
}

static void work(int id)
{
	struct bench_rng rng;

	bench_seed(&rng, (uint64_t)id);
	for (long i = 0; i < ops; i++) {
		uint32_t k = bench_below((uint32_t)(bench_random(&rng) >> 32), (uint32_t)nbuffers);
		struct buffer *buffer = &buffers[k];
		size_t next = buffer->nbytes * grow / 100;

		if (!buffer->nbytes) {
			next = least;
		} else if (next > most) {
			free(buffer->bytes);
			*buffer = (struct buffer){NULL, 0};
			next = least;
		}
		grow_to(buffer, next);
	}
}

static void finish(int id)
{
	for (long i = 0; i < nbuffers; i++) {
		bench_check_add(buffers[i].nbytes + (uint64_t)id);
		free(buffers[i].bytes);
	}
}

int main(int argc, char **argv)
{
	struct bench_job job = {.work = work, .finish = finish};

	bench_init(argc, argv, "realloc");
	ops = bench_ops("ops", 6000000);
	nbuffers = bench_arg("buffers", 1000);
	least = (size_t)bench_arg("min", 16);
	most = (size_t)bench_arg("max", 32768);
	grow = (size_t)bench_arg("grow", 200);
	bench_args_done();
	if (least * grow / 100 <= least)
		bench_die("buffers would not grow");
	buffers = bench_table((size_t)nbuffers * sizeof *buffers);
	bench_threads(1, &job);
	bench_report((double)ops);
}
