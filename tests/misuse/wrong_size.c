/* SPDX-License-Identifier: MIT */
/*
 * free_sized and free_aligned_sized with a wrong size or alignment. More bytes than the block has are reported;
 * hardened, any number but that which was asked for. Else the heap stays sound, whatever was said.
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

#define CLAIMS (COUNT(sizes) + 3)

/* Case number: what the blocks have, and what is claimed. */
static size_t nbytes_of(size_t number)
{
	return sizes[number / CLAIMS];
}

static size_t claim_of(size_t number)
{
	size_t claim = number % CLAIMS, nbytes = nbytes_of(number);

	return claim < COUNT(sizes) ? sizes[claim] : claim == COUNT(sizes) ? nbytes + 1 : claim == COUNT(sizes) + 1 ? nbytes - 1 : SIZE_MAX;
}

/* In a child. */
static int run(size_t number)
{
	free_wrongly(nbytes_of(number), claim_of(number));
	go_on_well();
	return 0;
}

int main(int argc, char **argv)
{
	static char said[1 << 20];
	int failed = 0;

	test_start(240); /* 208 processes */
	if (QUARRY_NO_CHECKS && !hardened_build)
		SKIP("configured with --disable-checks");
	if (argc == 3)
		return run((size_t)atoi(argv[1]));
	for (size_t i = 0; i < COUNT(sizes) * CLAIMS; i++) {
		size_t nbytes = nbytes_of(i), claim = claim_of(i);
		int wrong = hardened_build ? claim != nbytes && (claim != 0 || nbytes != 1) : claim > quarry_good_size(nbytes);
		int status = misuse_process(i, "cold", "on_error:abort", said, sizeof said);
		int reported = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
			       strstr(said, "quarry: free with a wrong size") != NULL;
		if (wrong ? !reported : status != 0) {
			say("blocks of %zu bytes freed as %zu: status 0x%x; it said:\n%.300s", nbytes, claim, status, said);
			failed = 1;
		}
		if (wrong && misuse_process(i, "cold", "on_error:report", said, sizeof said) != 0) {
			say("blocks of %zu bytes freed as %zu, on_error:report: did not go on well", nbytes, claim);
			failed = 1;
		}
	}
	return failed;
}
