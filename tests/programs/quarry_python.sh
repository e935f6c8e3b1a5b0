#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# CPython with all its memory from Quarry, and with its arenas only: a part of its own test suite.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

python=$QUARRY_BUILD_DIR/tools/quarry-python
need "$python" python3-dev
"$python" -c 'import test.test_dict' 2>/dev/null ||
	skip "CPython's tests are missing; Debian package: libpython3.11-testsuite"

export PYTHONDONTWRITEBYTECODE=1
cd "$work"
# Containers, text, numbers, memory itself, threads, processes, embedding languages, garbage collection and extensions.
modules=(test_list test_dict test_set test_deque test_bytes test_long test_re test_json test_struct test_gc test_weakref
	test_thread test_threading_local test_queue test_array test_collections test_heapq test_sort test_memoryview
	test_zlib test_float test_fork1 test_generators test_ctypes)
"$python" -m test -q -j 2 --timeout 120 "${modules[@]}" >"$work/all.log" 2>&1 || fail "tests fail with --domains=all"
grep -E 'Tests result: SUCCESS|All [0-9]+ tests OK' "$work/all.log" || fail "no result"

# What is allocated differs little here: fewer modules.
"$python" --domains=arena -m test -q -j 2 --timeout 120 "${modules[@]:0:12}" >"$work/arena.log" 2>&1 ||
	fail "tests fail with --domains=arena"
grep -E 'Tests result: SUCCESS|All [0-9]+ tests OK' "$work/arena.log" || fail "no result"
