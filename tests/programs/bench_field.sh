#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The measuring side: a peak that is known beforehand, rows of bench/field whose ratios are right, a preload that does
# not take place is a failed run, a server that is watched, and bench/publish on a copy of the tree.
set -euo pipefail

bench=$QUARRY_SOURCE_DIR/bench
for binary in measure load/window load/pair kv_server_quarry kv_load; do
	if [ ! -x "$QUARRY_BUILD_DIR/bench/$binary" ]; then
		echo "SKIP: no $QUARRY_BUILD_DIR/bench/$binary"
		exit 77
	fi
done
for program in python3:python3 gnuplot:gnuplot-nox; do
	command -v "${program%:*}" >/dev/null || {
		echo "SKIP: ${program%:*} is missing; Debian package: ${program#*:}"
		exit 77
	}
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONDONTWRITEBYTECODE=1

fail() {
	echo "$*" >&2
	exit 1
}

# figure FILE EXPRESSION: of the JSON, as `r`
figure() {
	python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

"$QUARRY_BUILD_DIR/bench/measure" "$scratch/small" -- true
[ "$(figure "$scratch/small" 'r["peak_rss_kib"] < 4096 and r["end"] == 0')" = True ] || fail "true has a large peak"
"$QUARRY_BUILD_DIR/bench/measure" "$scratch/large" A=64M -- \
	sh -c "dd if=/dev/zero of=/dev/null bs=\$A count=1 2>/dev/null; exit 3"
[ "$(figure "$scratch/large" '65536 <= r["peak_rss_kib"] < 75000 and r["end"] == 3')" = True ] ||
	fail "a child's peak or the end is wrong: $(cat "$scratch/large")"

# Two names of one library: their ratio is about 1, and the best peer's is 1 by definition.
cd "$scratch"
"$bench/field" --quick --rounds 2 --rows 'sh-like*,python' --allocators glibc,quarry,twin --out samples.json \
	--peer twin="$QUARRY_BUILD_DIR/lib/.libs/libquarry_malloc.so" >printed
[ "$(figure samples.json 'sorted(r["workloads"])[0]')" = python ] || fail "no row of python"
[ "$(figure samples.json 'all(len(c["runs"]) == 2 for w in r["workloads"].values() for c in w["cells"].values())')" = \
	True ] || fail "runs are missing"
"$bench/field" --show samples.json | cmp - printed || fail "--show prints something else"
grep -q '^Quarry over 1.10 of the best peer in time' printed || fail "the rows beyond the limit are not named"

echo 'not a library' >"$scratch/none.so"
if "$bench/field" --quick --rows python --allocators quarry,none --peer none="$scratch/none.so" --threads 2 \
	--out none.json >/dev/null 2>&1; then
	fail "a library that cannot be loaded passes"
fi

# quarry top on a terminal of its own: it takes processor time, and its screen is drawn.
"$bench/watched" --rounds 1 --seconds 0.3 --keys 2000 --out watched.json >printed
[ "$(figure watched.json 'r["rounds"][0]["0.1"]["rate"] > 0 and sorted(r["rounds"][0]) == ["0", "0.1", "1"]')" = True ] ||
	fail "no throughput of the watched server: $(cat watched.json)"
"$bench/watched" --show watched.json | cmp - printed || fail "watched --show prints something else"
"$bench/watched" --pictures . --keys 2000
[ "$(python3 -c 'import sys, xml.dom.minidom as dom
for name in sys.argv[1:]:
    texts = [t.firstChild.data for t in dom.parse(name).getElementsByTagName("text")]
    print(any("on\u00a0Quarry" in t for t in texts), any("STATE" in t or "pool" in t for t in texts))' top.svg top-map.svg |
	sort -u)" = "True True" ] || fail "the pictures lack what is on the screen"

mkdir copy
cp -r "$bench" copy/bench
cp "$QUARRY_SOURCE_DIR/README.md" copy/README.md
chmod -R u+w copy
rm -rf copy/bench/results
copy/bench/publish samples.json watched.json >/dev/null
first=$(cat copy/README.md copy/bench/RESULTS.md)
copy/bench/publish >/dev/null
[ "$first" = "$(cat copy/README.md copy/bench/RESULTS.md)" ] || fail "published again, it differs"
grep -q '^| sh-like' copy/bench/RESULTS.md || fail "RESULTS.md lacks a row"
grep -q '^| throughput, of not watched' copy/bench/RESULTS.md || fail "RESULTS.md lacks the watched server"
grep -q '^| mimalloc-bench, 3 rows' copy/README.md || fail "README.md lacks the means"
[ "$(wc -c <copy/bench/results/field.json)" -lt 8000 ] || fail "what is kept is not small"
