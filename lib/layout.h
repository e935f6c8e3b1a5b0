/* SPDX-License-Identifier: MIT */
/*
 * Layout: where another process finds what in this one. quarry stat and top, and a debugger, read heaps, arenas and
 * counters from outside, without the process's help and without stopping it.
 *
 * Owns one constant, quarry_layout, and an ELF note that leads to it: name "Quarry", type LAYOUT_NOTE, and as contents
 * the distance in bytes from the contents to the layout, as a signed 32-bit number. The note lies in a loaded segment,
 * so it is found in the memory of a shared library as of a static or stripped program, and in a core file.
 *
 * How to read it: compare magic, version and nbytes; another version is another struct. Then every size and place below
 * is data, so that builds with other tunables, of other architectures and with debug checks are read by one reader. Who
 * reads does so while the process goes on: each field is whole, but a sum may be a moment apart, and a list may change
 * under the reader. No record that is reached from here is ever unmapped but arenas themselves; still, nothing that is
 * read may be trusted, since a process that overran its blocks may have damaged it.
 *
 * What the reader must know beside the numbers, and what LAYOUT_VERSION therefore stands for:
 *   - heaps        heap_count of them, ids from 1; heap id is at heap_directory[id / heaps_per_chunk][id % ...]. Their
 *                  kinds are 0 attached, 1 parked, 2 shared. A list of the cache holds bound - room + excess blocks if its
 *                  head is not NULL; an outbox outbox_nbytes - room bytes if its head is not NULL
 *   - arenas       a circular list of links through arenas_head, each link arena_link bytes into its arena_object; bit n of
 *                  `free` is unit n, and of `dirty` that it was touched; the first head_units units hold the pools'
 *                  headers
 *   - units        the word of the unit at address a is words[(a >> pool_bits) - first_unit]: 0 nothing; else, with
 *                  WORD_NOT_A_POOL unset, owner's id << 12 | units behind the pool's start << 8 | size class; else as
 *                  lib/address_map.h says. The header of unit n of an arena is at arena + n * pool_header_nbytes
 *   - pools        count blocks of capacity are not in the pool: with the program, in a cache or on their way
 *   - profile      sample_nstacks stacks, numbered from 1, each at sample_stacks[number]: a record of sample_stack_nbytes,
 *                  then stack_nframes return addresses, innermost first. stack_kind is 0 for malloc's, 1 for a
 *                  typed cache's and 2 for a heap's, whose name or tag are the sample_label_nbytes from stack_label on.
 *                  Bytes are estimates, and so are blocks, in units of 2^-sample_block_bits. They begin anew when
 *                  sample_session grows. sample_rate is 0 while it is off
 *   - requested    bytes that were asked for in all live blocks, if counts is not 0. Else, while sample_rate is not 0, of
 *                  so many usable bytes (sample_usable) so many were asked for (sample_requested), by estimates
 *   - control      sample_wanted is the one word that may be written from outside: the mean in bytes between two chosen
 *                  allocations switches the profile on, all ones off; it is 0 again when the process has taken it, on a
 *                  thread's next slow path or at the purger's next tick, whichever comes first
 */
#ifndef QUARRY_LAYOUT_H
#define QUARRY_LAYOUT_H

#include <stdint.h>

#define LAYOUT_MAGIC "Quarry\r\n"
#define LAYOUT_NOTE 1
/* To be raised whenever the meaning of anything here changes, or a line is added or taken away. */
#define LAYOUT_VERSION 4

/* X(name, value): numbers. */
#define LAYOUT_NUMBERS(X)                                                                                              \
	X(arena_bits, QUARRY_ARENA_BITS)                                                                               \
	X(pool_bits, QUARRY_POOL_BITS)                                                                                 \
	X(nclasses, NB_SIZE_CLASSES)                                                                                   \
	X(head_units, ARENA_HEAD_UNITS)                                                                                \
	X(pool_header_nbytes, POOL_HEADER_NBYTES)                                                                      \
	X(noutboxes, OUTBOX_BUCKETS)                                                                                   \
	X(outbox_nbytes, OUTBOX_NBYTES)                                                                                \
	X(heaps_per_chunk, HEAPS_PER_CHUNK)                                                                            \
	X(size_class_nbytes, sizeof(struct size_class))                                                                \
	X(outbox_record_nbytes, sizeof(struct outbox))                                                                 \
	X(cache_class_nbytes, sizeof(struct cache_class))                                                              \
	X(heap_nbytes, sizeof(struct heap))                                                                            \
	X(arena_object_nbytes, sizeof(struct arena_object))                                                            \
	X(topology_node_nbytes, sizeof(struct topology_node))                                                          \
	X(sample_block_bits, SAMPLE_BLOCK_BITS)                                                                        \
	X(sample_stacks_most, SAMPLE_STACKS)                                                                           \
	X(sample_frames_most, SAMPLE_FRAMES)                                                                           \
	X(sample_label_nbytes, SAMPLE_LABEL_NBYTES)                                                                    \
	X(sample_stack_nbytes, sizeof(struct sample_stack))                                                            \
	X(counts, QUARRY_COUNTING)

/* X(name, object): addresses of static objects. */
#define LAYOUT_OBJECTS(X)                                                                                              \
	X(size_classes, size_classes)                                                                                  \
	X(address_map, address_map)                                                                                    \
	X(heap_directory, heap_directory)                                                                              \
	X(heap_count, heap_number)                                                                                     \
	X(arenas_head, arena_list_head)                                                                                \
	X(arena_counters, arena_list_counters)                                                                         \
	X(os_counters, os_counters)                                                                                    \
	X(records_nbytes, meta_mapped_nbytes)                                                                          \
	X(large_live, large_live_total)                                                                                \
	X(large_kept, large_kept_total)                                                                                \
	X(threads, thread_total)                                                                                       \
	X(bind_failures, node_bind_failure_total)                                                                      \
	X(topology, node_topology)                                                                                     \
	X(requested, counting_sum)                                                                                     \
	X(sample_control, sample_control)                                                                              \
	X(sample_stacks, sample_stack_table)

/* X(name, type, member): where a member lies in its record, and its bytes. */
#define LAYOUT_FIELDS(X)                                                                                               \
	X(class_nbytes, struct size_class, nbytes)                                                                     \
	X(class_units, struct size_class, units)                                                                       \
	X(class_capacity, struct size_class, capacity)                                                                 \
	X(map_first_unit, struct address_map, first_unit)                                                              \
	X(map_nunits, struct address_map, nunits)                                                                      \
	X(map_words, struct address_map, words)                                                                        \
	X(heap_id, struct heap, id)                                                                                    \
	X(heap_kind, struct heap, kind)                                                                                \
	X(heap_node, struct heap, node)                                                                                \
	X(heap_tid, struct heap, tid)                                                                                  \
	X(heap_taken, struct heap, taken)                                                                              \
	X(heap_heads, struct heap, cache.head)                                                                         \
	X(heap_rooms, struct heap, cache.room)                                                                         \
	X(heap_bounds, struct heap, cache.bound)                                                                       \
	X(heap_classes, struct heap, classes)                                                                          \
	X(heap_outboxes, struct heap, outbox)                                                                          \
	X(heap_inbox_nbytes, struct heap, inbox_nbytes)                                                                \
	X(heap_refills, struct heap, counters.refills)                                                                 \
	X(heap_flushes, struct heap, counters.flushes)                                                                 \
	X(heap_visits, struct heap, counters.visits)                                                                   \
	X(heap_remote_frees, struct heap, counters.remote_frees)                                                       \
	X(heap_out_nbytes, struct heap, counters.out_nbytes)                                                           \
	X(class_excess, struct cache_class, excess)                                                                    \
	X(outbox_head, struct outbox, head)                                                                            \
	X(outbox_room, struct outbox, room)                                                                            \
	X(arena_link, struct arena_object, rcu_link)                                                                   \
	X(arena_address, struct arena_object, address)                                                                 \
	X(arena_node, struct arena_object, node)                                                                       \
	X(arena_ntotal, struct arena_object, ntotalpools)                                                              \
	X(arena_nfree, struct arena_object, nfreepools)                                                                \
	X(arena_ndirty, struct arena_object, ndirty)                                                                   \
	X(arena_free, struct arena_object, free)                                                                       \
	X(arena_dirty, struct arena_object, dirty)                                                                     \
	X(arenas_mapped, struct arena_list_counters, mapped)                                                           \
	X(arenas_retired, struct arena_list_counters, retired)                                                         \
	X(arenas_nbytes, struct arena_list_counters, mapped_nbytes)                                                    \
	X(pool_count, struct pool_header, count)                                                                       \
	X(pool_capacity, struct pool_header, capacity)                                                                 \
	X(pool_szidx, struct pool_header, szidx)                                                                       \
	X(pool_units, struct pool_header, units)                                                                       \
	X(span_nbytes, struct pool_header, nbytes)                                                                     \
	X(os_map_failures, struct os_counters, map_failures)                                                           \
	X(os_purge_calls, struct os_counters, purge_calls)                                                             \
	X(os_purged_nbytes, struct os_counters, purged_nbytes)                                                         \
	X(topology_nnodes, struct topology, nnodes)                                                                    \
	X(topology_nodes, struct topology, nodes)                                                                      \
	X(node_os_index, struct topology_node, os_index)                                                               \
	X(sample_wanted, struct sample_control, wanted)                                                                \
	X(sample_rate, struct sample_control, rate)                                                                    \
	X(sample_mean, struct sample_control, mean)                                                                    \
	X(sample_session, struct sample_control, session)                                                              \
	X(sample_nstacks, struct sample_control, nstacks)                                                              \
	X(sample_dropped, struct sample_control, dropped)                                                              \
	X(sample_requested, struct sample_control, requested)                                                          \
	X(sample_usable, struct sample_control, usable)                                                                \
	X(stack_nframes, struct sample_stack, nframes)                                                                 \
	X(stack_kind, struct sample_stack, kind)                                                                       \
	X(stack_label, struct sample_stack, label[0])                                                                  \
	X(stack_blocks, struct sample_stack, sums.blocks)                                                              \
	X(stack_nbytes, struct sample_stack, sums.nbytes)                                                              \
	X(stack_live_blocks, struct sample_stack, sums.live_blocks)                                                    \
	X(stack_live_nbytes, struct sample_stack, sums.live_nbytes)                                                    \
	X(stack_taken, struct sample_stack, sums.taken)

struct layout_field {
	uint32_t offset;
	uint32_t nbytes;
};

struct layout {
	char magic[8];    /* LAYOUT_MAGIC */
	uint32_t version; /* LAYOUT_VERSION */
	uint32_t nbytes;  /* of this struct */
	char library[32]; /* Quarry's version, MAJOR.MINOR.PATCH */
#define LAYOUT_NUMBER(name, value) uint64_t name;
	LAYOUT_NUMBERS(LAYOUT_NUMBER)
#undef LAYOUT_NUMBER
#define LAYOUT_OBJECT(name, object) const volatile void *name;
	LAYOUT_OBJECTS(LAYOUT_OBJECT)
#undef LAYOUT_OBJECT
#define LAYOUT_FIELD(name, type, member) struct layout_field name;
	LAYOUT_FIELDS(LAYOUT_FIELD)
#undef LAYOUT_FIELD
};

extern const struct layout quarry_layout;

#endif
