#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# CPython under preload with PYTHONMALLOC=malloc, so that each object is a malloc: a part of its own test suite.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

python=/usr/bin/python3.11
need "$python" python3.11
"$python" -c 'import test.test_dict' 2>/dev/null ||
	skip "CPython's tests are missing; Debian package: libpython3.11-testsuite"

export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
cd "$work"
cat >maps.py <<'PY'
import os, sys

sys.exit(os.path.realpath(os.environ["LD_PRELOAD"]) not in open("/proc/self/maps").read())
PY
preloaded "$python" maps.py ||
	fail "python runs without $QUARRY_PRELOAD"

# Containers, text, numbers, regular expressions, compression, threads, processes, garbage collection and extensions.
modules=(test_list test_dict test_set test_deque test_bytes test_long test_re test_json test_zlib test_struct test_gc
	test_weakref test_thread test_queue test_array test_collections test_heapq test_sort)
preloaded "$python" -m test -q -j 2 --timeout 120 "${modules[@]}" >"$work/tests.log" 2>&1 ||
	fail "CPython's tests fail"
grep -E 'Tests result: SUCCESS|All [0-9]+ tests OK' "$work/tests.log" || fail "no result"

# The same answer from a program of many small objects in threads, with preload and without.
cat >"$work/program.py" <<'PY'
import hashlib, json, random, threading

results = [None] * 4

def work(number):
    rng = random.Random(number)
    table = {}
    for step in range(30000):
        key = "key%d" % rng.randrange(3000)
        if rng.random() < 0.6:
            table[key] = [rng.random(), "x" * rng.randrange(400), {str(step): step}]
        else:
            table.pop(key, None)
    results[number] = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results)
PY
expect_same "the program's answer" "$("$python" "$work/program.py")" "$(preloaded "$python" "$work/program.py")"
