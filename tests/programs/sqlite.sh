#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# sqlite3 under preload: a database is built, indexed, changed, vacuumed and queried; answers, dump and integrity are
# those of a run without preload.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need sqlite3 sqlite3

script=$QUARRY_SOURCE_DIR/bench/work/sales.sql
sqlite3 -batch "$work/plain.db" <"$script" >"$work/plain.txt"
traced sqlite3 -batch "$work/tested.db" <"$script" >"$work/tested.txt"
expect_ran_preloaded sqlite3

grep -qx ok "$work/tested.txt" || fail "integrity_check does not say ok"
cmp "$work/plain.txt" "$work/tested.txt" || fail "the answers differ"
cmp <(sqlite3 "$work/plain.db" .dump) <(preloaded sqlite3 "$work/tested.db" .dump) || fail "the dumps differ"
cmp <(sqlite3 "$work/tested.db" .dump) <(preloaded sqlite3 "$work/plain.db" .dump) || fail "the dumps differ"
