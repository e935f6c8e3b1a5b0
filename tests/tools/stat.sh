#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quarry stat: a process that holds known memory, preloaded, linked and static, resting and busy, as a process and as a
# core; and what cannot be looked at, with which words.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"
command -v python3 >/dev/null || skip "python3 is missing; Debian package: python3"
subject=$build_dir/tests/tools/subject

# --- the subject: start COMMAND...; its number is then in $pid, what it said in $ready ---
pid=
start() {
	mkfifo "$scratch/in" "$scratch/ready"
	"$@" <"$scratch/in" >"$scratch/ready" &
	pid=$!
	exec 3>"$scratch/in" 4<"$scratch/ready"
	rm "$scratch/in" "$scratch/ready"
	read -r ready <&4
}
stop() {
	exec 3>&- 4<&-
	wait "$pid" || complain "the subject ended with $?"
}

# member PATH: of the JSON in $scratch/out.
member() {
	python3 -c "import json,sys; value = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {'it': value}))" \
		"$scratch/out" "$1"
}
# holds EXPRESSION: of the JSON object, as it.
holds() {
	[ "$(member "$1")" = True ] && return
	complain "not so: $1"
	cat "$scratch/out"
}
# What the subject holds: 5 threads with 5000 blocks of 1000 bytes, 10 spans of 100,000; 16 MiB.
known() {
	expect 0 "$quarry" stat --json "$pid"
	holds "any(c['bytes'] == 1024 and c['out'] >= 25000 for c in it['classes'])"
	holds "sum(a['spans'] for a in it['arenas']) >= 50"
	holds "it['large_live'] >= 16 << 20"
	holds "it['live'] >= 25000 * 1024 + 50 * 100000 + (16 << 20)"
	holds "it['heaps_attached'] >= 5 and len([h for h in it['heaps'] if h['state'] == 'thread']) >= 5"
	holds "{'subject-1', 'subject-2', 'subject-3', 'subject-4'} <= {h['name'] for h in it['heaps']}"
	holds "any(h['tid'] == $pid for h in it['heaps'])"
	holds "sum(a['units'] for a in it['arenas']) > 0 and len({a['address'] for a in it['arenas']}) == len(it['arenas'])"
	holds "it['damage'] == []"
}

# --- resting: what is seen from outside is what the process says of itself ---
start "$quarry" run --decay_ms=600000 "$subject"
read -r _ mapped live cached arenas <<<"$ready"
known
holds "abs(it['mapped'] - $mapped) <= 1 << 20 and len(it['arenas']) == $arenas"
holds "abs(it['live'] + it['cached'] - $live - $cached) <= 1 << 16"
holds "it['resident'] >= 25000 * 1000"
# Identity of lib/stats.h, within a pool.
holds "abs(it['mapped'] - it['live'] - it['cached'] - it['free_dirty'] - it['free_clean'] - it['metadata']) <= 65536"
# By classes and by heaps, the same blocks are out.
holds "abs(sum(c['out'] * c['bytes'] for c in it['classes']) + it['span_live'] + it['large_live']
	- it['live'] - it['cached']) <= 1 << 18"
expect 0 "$quarry" stat --map "$pid"
said '^subject, process [0-9]+, on Quarry [0-9.]+ \(/.*libquarry_malloc\.so[.0-9]*\)$'
said '^  live  '
said '^units of arena 0x[0-9a-f]+: '
said '^     0  H'
expect 0 "$quarry" stat --map=0x1000 "$pid"
said 'no arena at 0x1000'

# --- as a core file ---
if command -v gcore >/dev/null; then
	"$quarry" stat --json "$pid" >"$scratch/process"
	gcore -o "$scratch/core" "$pid" >"$scratch/said" 2>&1 || complain "gcore: $(cat "$scratch/said")"
	expect 0 "$quarry" stat --json "$scratch/core.$pid"
	for name in live cached mapped; do
		[ "$(member "it['$name']")" = "$(python3 -c "import json; print(json.load(open('$scratch/process'))['$name'])")" ] ||
			complain "$name of the core and of the process"
	done
	head -c 10000 "$scratch/core.$pid" >"$scratch/short"
	expect 1 "$quarry" stat "$scratch/short"
	said 'cut off|cannot be read|not run on Quarry'
	rm "$scratch/core.$pid"
else
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "gcore is missing; Debian package: gdb"
fi

# --- who may look ---
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	cp "$quarry" "$scratch/quarry"
	chmod 755 "$scratch" "$scratch/quarry"
	expect 1 setpriv --reuid=65534 --clear-groups "$scratch/quarry" stat "$pid"
	said "^quarry stat: process $pid may not be looked into; that needs the permission that a debugger needs"
fi
stop

# --- busy: looked at many times while blocks and arenas come and go ---
start "$quarry" run --decay_ms=20 "$subject" churn
for _ in {1..30}; do
	expect 0 "$quarry" stat "$pid"
done
known
stop
expect 1 "$quarry" stat "$pid"
said "^quarry stat: there is no process $pid$"

# --- linked, and static and stripped ---
libs=("$build_dir/lib/.libs/libquarry_malloc.so" "-Wl,-rpath,$build_dir/lib/.libs")
compile=("${cc[@]}" -D_GNU_SOURCE -fno-builtin -w -I "$source_dir/include" "$source_dir/tests/tools/subject.c")
"${compile[@]}" -o "$scratch/linked" "${libs[@]}" -pthread
start "$scratch/linked"
known
stop
read -r -a urcu <<<"$QUARRY_URCU_LIBS"
if [ -e "$build_dir/lib/libquarry_malloc.a" ] &&
	"${compile[@]}" -static -s -o "$scratch/static" "$build_dir/lib/libquarry_malloc.a" "${urcu[@]}" -pthread \
		2>"$scratch/said"; then
	start "$scratch/static"
	known
	holds "it['copy'].endswith('/static')"
	stop
fi

# --- what is not there ---
sleep 100 &
pid=$!
while [ "$(cat "/proc/$pid/comm")" != sleep ]; do sleep 0.01; done
expect 1 "$quarry" stat "$pid"
said "^quarry stat: sleep does not run on Quarry$"
kill "$pid"
expect 1 "$quarry" stat 2147483647
said '^quarry stat: there is no process 2147483647$'
expect 1 "$quarry" stat /nonexistent
said 'No such file'
expect 1 "$quarry" stat "$quarry"
said 'is no core file$'
expect 125 "$quarry" stat
said 'no process given'
expect 125 "$quarry" stat --colour 1
said 'no option --colour'

# --- another version of the library ---
cp -L "$build_dir/lib/.libs/libquarry_malloc.so" "$scratch/newer.so"
offset=$(grep -abo $'Quarry\r$' "$scratch/newer.so" | head -n 1 | cut -d : -f 1)
printf '\377' | dd of="$scratch/newer.so" bs=1 seek=$((offset + 8)) conv=notrunc status=none
start "$quarry" run --library="$scratch/newer.so" "$subject"
expect 1 "$quarry" stat "$pid"
said 'newer\.so is of another version: its layout is 255 .* use the quarry command that came with it$'
stop
finish
