#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Statistics written out: at exit, by the clock and on a signal, as text, JSON and for Prometheus; and their picture.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"
command -v python3 >/dev/null || skip "python3 is missing; Debian package: python3"
subject=$build_dir/tests/tools/subject

# records FILE LEAST STILL: so many lines of JSON in the order of time, of which the last STILL, written while nothing
# moved, have the right sums.
records() {
	python3 - "$@" <<'PROGRAM' || complain "the records of $1: $(head -c 2000 "$1")"
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
least, still = int(sys.argv[2]), int(sys.argv[3])
assert len(records) >= least, len(records)
for r in records:
    assert r["version"] == 2 and r["resident"] > 0 and r["pid"] > 0 and len(r["nodes"]) >= 1
assert records[-1]["large_live"] >= 16 << 20  # the first may be older than the block
for r in records[len(records) - still:]:
    assert r["mapped"] == sum(r[part] for part in ("live", "cached", "free_dirty", "free_clean", "metadata")), r
    for figure in "live", "cached", "large_live":
        assert r[figure] == sum(n[figure] for n in r["nodes"]), (figure, r)
    arenas, classes, threads = r["by_arena"], r["by_class"], r["by_thread"]
    assert len(arenas) == r["arenas"] and len(threads) == r["heaps"]
    assert all(a["mapped"] == a["head"] + a["used"] + a["free_dirty"] + a["free_clean"] for a in arenas), r
    assert r["live"] + r["cached"] == r["large_live"] + sum(a["out"] for a in arenas), r
    assert sum(c["pools"] for c in classes) == sum(a["pools"] for a in arenas), r
    assert sum(c["cached"] * c["size"] for c in classes) <= r["cached"] == sum(t["cached"] + t["waiting"] for t in threads), r
    assert sum(t["tid"] > 0 for t in threads) == r["heaps_attached"], r
assert [r["time_ms"] for r in records] == sorted(r["time_ms"] for r in records)
PROGRAM
}
# wait_for COMMAND...: until it holds, at most 20 s.
wait_for() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" 2>/dev/null && return
		sleep 0.1
	done
	complain "not in 20 seconds: $*"
}
lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }
# start WHAT OPTIONS...
start() {
	local what=$1
	shift
	mkfifo "$scratch/in" "$scratch/ready"
	"$quarry" run "$@" "$subject" "$what" <"$scratch/in" >"$scratch/ready" 2>"$scratch/err" &
	pid=$!
	exec 3>"$scratch/in" 4<"$scratch/ready"
	rm "$scratch/in" "$scratch/ready"
	read -r _ <&4
}
stop() {
	exec 3>&- 4<&-
	wait "$pid" || complain "the subject ended with $?"
}

# --- at exit ---
expect 0 "$quarry" run --stats=exit --stats_format=json --stats_file="$scratch/%p.json" "$subject" </dev/null
[ "$(wc -l <"$scratch/out")" -eq 1 ] || complain "something beside the subject's line was written"
file=("$scratch"/[0-9]*.json)
records "${file[0]}" 1 1
expect 0 "$quarry" run --stats=exit --stats_file="$scratch/text" "$subject" </dev/null
expect 0 "$quarry" run --stats=exit --stats_file="$scratch/text" "$subject" </dev/null
[ "$(grep -c '^Quarry' "$scratch/text")" -eq 2 ] || complain "the second summary is not behind the first"
expect 0 "$quarry" run --stats=exit --stats_format=tables --stats_file="$scratch/tables" "$subject" </dev/null
for column in 'block size +pools' 'arena +node' 'heap +thread'; do
	grep -qE "^ +$column " "$scratch/tables" || complain "no table with $column"
done
# Where the file cannot be written: a line, and the program is as it was.
expect 0 "$quarry" run --stats=exit --stats_file=/nonexistent/file "$subject" </dev/null
said '^quarry: stats_file:/nonexistent/file cannot be written'

# --- by the clock ---
start hold --stats_ms=50 --stats_format=json --stats_file="$scratch/still.json"
wait_for test -s "$scratch/still.json"
wait_for lines "$scratch/still.json" $(($(wc -l <"$scratch/still.json") + 6)) # one may have been begun while it moved
stop
records "$scratch/still.json" 6 5
start churn --stats_ms=100 --stats_format=json --stats_file="$scratch/clock.json"
wait_for lines "$scratch/clock.json" 10
stop
records "$scratch/clock.json" 10 0
[ ! -s "$scratch/err" ] || complain "said: $(cat "$scratch/err")"
start churn --stats_ms=100 --stats_format=prometheus --stats_file="$scratch/metrics"
wait_for test -s "$scratch/metrics"
for _ in {1..50}; do # whole at any time
	grep -q '^quarry_map_failures_total [0-9]*$' "$scratch/metrics" || complain "not whole"
done
stop
[ ! -e "$scratch/metrics.new" ] || complain "the file that becomes the new one stayed"
python3 - "$scratch/metrics" <<'PROGRAM' || complain "not in Prometheus's format: $(cat "$scratch/metrics")"
import re, sys
typed = {}
for line in open(sys.argv[1]):
    if line.startswith("# HELP "):
        name = line.split()[2]
        assert name not in typed and len(line.split()) > 3, line
    elif line.startswith("# TYPE "):
        assert line.split()[2] == name, line
        typed[name] = line.split()[3]
        assert typed[name] == ("counter" if name.endswith("_total") else "gauge"), line
        seen = set()
    else: # the lines of a metric stand together, and no two have the same labels
        found = re.fullmatch(r'(quarry_[a-z_]+)((?:\{(?:[a-z_]+="[^"\\\n]*",?)+\})?) \d+\n', line)
        assert found and found[1] == name and found[2] not in seen, line
        seen.add(found[2])
for name in "live_bytes", "refills_total", "class_out_bytes", "node_arenas", "thread_cached_bytes":
    assert "quarry_" + name in typed, name
PROGRAM

# --- on a signal, to standard error; nothing else wakes the writer ---
start churn --stats_signal=12 --decay_ms=600000
kill -USR2 "$pid"
wait_for grep -q '^Quarry' "$scratch/err"
stop
[ "$(grep -c '^Quarry' "$scratch/err")" -eq 1 ] || complain "more than was asked for"
QUARRY_CONF=purge:off,stats_ms:100 expect 0 "$quarry" run true
said 'stats_ms and stats_signal do nothing without purge:thread'
expect 125 "$quarry" run --stats_file=a,b true
said 'takes path'

# --- the picture ---
if command -v gnuplot >/dev/null; then
	expect 0 "$quarry" report "$scratch/clock.json"
	for curve in resident live cached free; do
		grep -q "$curve" "$scratch/clock.json.svg" || complain "no curve of $curve"
	done
	python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$scratch/clock.json.svg" ||
		complain "no SVG"
	# Two nodes, and a line that is cut off.
	sed 's/"nodes":\[\({[^}]*}\)\]/"nodes":[\1,\1]/; $s/.\{50\}$//' "$scratch/clock.json" >"$scratch/nodes.json"
	expect 0 "$quarry" report --out="$scratch/it's.svg" "$scratch/nodes.json"
	said '1 lines are no records'
	grep -q 'live, by node' "$scratch/it's.svg" || complain "no picture by node"
	expect 125 "$quarry" report --out=/nonexistent/out.svg "$scratch/clock.json"
	said 'gnuplot failed; is /nonexistent/out\.svg writable'
else
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "gnuplot is missing; Debian package: gnuplot-nox"
fi
expect 125 "$quarry" report "$scratch/text"
said 'no line of it is a record'
expect 125 "$quarry" report /nonexistent
said 'No such file'
expect 125 "$quarry" report
said 'no records given'
expect 125 env PATH=/nonexistent "$quarry" report "$scratch/clock.json"
said 'gnuplot is missing|gnuplot cannot be started'
finish
