/* SPDX-License-Identifier: MIT */
/*
 * free_sized and free_aligned_sized with a wrong size or alignment: the heap stays sound, whatever was said.
 *
 * The given size is never trusted, so the default build accepts it; a debug build may end with a message instead.
 */
#include "misuse.h"

static const size_t sizes[] = { 1, 16, 17, 100, 129, 500, 513, 4000, 9000, 33000, 100000, 1000000, 5000000 };

/* A neighbourhood of blocks, every second one freed with a size or alignment that is not its own. */
static void free_wrongly(size_t nbytes, size_t claimed)
{
	struct piece pieces[20];
	uint64_t rng = test_seed(nbytes + claimed);

	for (size_t i = 0; i < COUNT(pieces); i++)
		pieces[i] = piece_make(&rng, nbytes, i);
	for (size_t i = 0; i < COUNT(pieces); i += 2)
		if (i % 4 == 0)
			quarry_free_sized(misuse_is_next(pieces[i].block), claimed);
		else
			quarry_free_aligned_sized(misuse_is_next(pieces[i].block), (size_t)64 << i / 2, claimed);
	for (size_t i = 1; i < COUNT(pieces); i += 2)
		piece_free(&rng, &pieces[i]);
}

/* In a child. */
static int run(size_t nbytes)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		free_wrongly(nbytes, sizes[i]);
		free_wrongly(nbytes, nbytes + 1);
		free_wrongly(nbytes, nbytes - 1);
		free_wrongly(nbytes, SIZE_MAX);
	}
	go_on_well();
	return 0;
}

int main(int argc, char **argv)
{
	static char said[1 << 20];
	int failed = 0;

	test_start(60);
	if (argc == 3)
		return run(sizes[atoi(argv[1])]);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		int status = misuse_process(i, "cold", "on_error:abort", said, sizeof said);
		int reported = debug_build && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
			       strstr(said, "\nquarry: ") != NULL;
		if (status != 0 && !reported) {
			size_t length = strlen(said);
			say("blocks of %zu bytes: status 0x%x; the end of what it said:\n%s", sizes[i], status,
			    said + (length > 300 ? length - 300 : 0));
			failed = 1;
		}
	}
	return failed;
}
