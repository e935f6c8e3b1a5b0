/* SPDX-License-Identifier: MIT */
/*
 * Fork: claim.cc, where the other thread forks (claim_prepare_fork and claim_orphans in lib/claim.c, in the order of
 * lib/fork.c): under the heap's lock it diverts and notes, and then the child's memory is read place by place, each by
 * a relaxed load, while the thread may be in the midst of its operation.
 *
 * Checked: the child's lists can be followed, and hold no block twice, none that is in a pool, none that the vanished
 * thread has; at most two blocks of its lists are lost. The parent goes on, and claim.cc's own checks hold.
 */
#define OTHER_THREAD fork_once()
#define MORE_MEMORY                                                                        \
	struct heap child;                                                                 \
	struct block childs[NB_SIZE_CLASSES * BLOCKS];                                     \
	struct block *in_child(struct block *at)                                           \
	{                                                                                  \
		return at == NULL || at == junk ? at : &childs[at - block];                \
	}                                                                                  \
	void copy_memory()                                                                 \
	{                                                                                  \
		for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)                 \
			child.cache.head[szidx] = in_child(heap.cache.head[szidx]);        \
		for (unsigned i = 0; i < NB_SIZE_CLASSES * BLOCKS; i++)                    \
			childs[i].next = in_child(block[i].next);                          \
		child.kind = heap.kind;                                                    \
		child.slot = heap.slot;                                                    \
		child.diverted = heap.diverted;                                            \
		child.poked = heap.poked;                                                  \
		child.taken = heap.taken;                                                  \
		child.locked = heap.locked;                                                \
		child.seen_list = heap.seen_list;                                          \
		child.seen_head = in_child(heap.seen_head);                                \
		child.seen_next = in_child(heap.seen_next);                                \
	}                                                                                  \
	void check_child()                                                                 \
	{                                                                                  \
		bool found[NB_SIZE_CLASSES * BLOCKS] = {false};                            \
		unsigned listed = 0, lists = 0;                                            \
		for (unsigned szidx = 0; szidx < NB_SIZE_CLASSES; szidx++)                 \
			for (struct block *at = child.cache.head[szidx]; at != NULL; at = at->next) { \
				RL_ASSERT(at != junk && !found[at - childs]);              \
				found[at - childs] = true;                                 \
				RL_ASSERT(block[at - childs].place == IN_LIST);            \
				listed++;                                                  \
			}                                                                  \
		for (unsigned i = 0; i < NB_SIZE_CLASSES * BLOCKS; i++)                    \
			lists += block[i].place == IN_LIST;                                \
		RL_ASSERT(listed <= lists && lists - listed <= 2);                         \
	}                                                                                  \
	void fork_once()                                                                   \
	{                                                                                  \
		heap_lock(&heap);                                                          \
		claim_prepare_fork();                                                      \
		copy_memory();                                                             \
		only = &child;                                                             \
		claim_orphans(NULL);                                                       \
		only = &heap;                                                              \
		check_child();                                                             \
		heap_unlock(&heap);                                                        \
	}
#include "claim.cc"
