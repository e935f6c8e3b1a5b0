/* SPDX-License-Identifier: MIT */
/*
 * Walk: quarry_walk, quarry_owns and quarry_block_of. Owns nothing; the calls stand in quarry/quarry.h.
 *
 * A walk holds every cache (claim_hold), so that a block which lies in no pool is with the program or was freed since,
 * but for one block in doubt per thread, which is left out: it was free, or comes meanwhile. Arenas are pinned,
 * pools are read one at a time under their heap's lock into a buffer, and the callback runs with nothing held.
 */
