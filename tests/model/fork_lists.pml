/* SPDX-License-Identifier: MIT */
/*
 * Fork: the lists that a child finds (claim_prepare_fork and claim_orphans in lib/claim.c, lib/fork.c).
 *
 * claim.pml with one action more for the visitor: with the heap's lock held it diverts the thread, notes head and
 * link of the list in doubt between barriers, twice at the most, and copies memory place by place while the thread
 * goes on with its operation; the child cuts the list in doubt as orphan() does. Steps, orders and memory are those
 * of claim.pml. The parent's thread goes on and settles.
 *
 * Checked besides all of claim.pml: the notes hold at the second try at the latest; the child's lists can be
 * followed, hold no block twice, none that the vanished thread may have got, none that it was freeing, none of a
 * pool; at most two blocks are lost (H and one pushed above it), none where the heap was in locked mode or parked.
 *
 * Bounds: 3 blocks, 3 operations, 2 actions: 2.8 M states, 3 s on an idle core, 247 MB.
 */
#define FORK
#include "claim.pml"
