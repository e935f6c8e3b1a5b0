/* SPDX-License-Identifier: MIT */
/*
 * Which node a CPU or a page is on, asked of the kernel by system calls alone, so that neither libnuma nor an
 * allocator's own opinion is needed. Nothing here allocates. Any thread may call.
 */
#ifndef QUARRY_BENCH_NODE_OF_H
#define QUARRY_BENCH_NODE_OF_H

#include <sys/syscall.h>
#include <unistd.h>

/* The node that the calling thread runs on now; 0 where the kernel does not say. */
static inline int node_of_thread(void)
{
	unsigned node = 0;

	return syscall(SYS_getcpu, NULL, &node, NULL) ? 0 : (int)node;
}

/*
 * The nodes of count pages, by any address in each: a negative errno for a page that is not resident, and for all of
 * them where the kernel knows no nodes or a filter refuses the question.
 */
static inline void node_of_pages(void **addresses, int *nodes, unsigned long count)
{
	if (syscall(SYS_move_pages, 0, count, addresses, NULL, nodes, 0) < 0)
		for (unsigned long i = 0; i < count; i++)
			nodes[i] = -1;
}

#endif
