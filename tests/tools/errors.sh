#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What goes wrong for the quarry command, by kind: a request that makes no sense, a process that is not there or may not
# be looked into, damaged memory, another version, a core file that is none. Each ends soon, with a status and one line
# that says what it was; the lines are the log of this test. What a reader makes of damaged records is in damaged.c.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"
command -v python3 >/dev/null || skip "python3 is missing; Debian package: python3"
subject=$build_dir/tests/tools/subject
cd "$scratch"

# --- subjects: start NAME COMMAND...; the number of the process is then in $pid, and it lives until this test ends ---
pid=
subjects=()
end_subjects() {
	local one
	for one in "${subjects[@]}"; do kill -KILL "$one" 2>/dev/null || true; done
	rm -rf "$scratch"
}
trap end_subjects EXIT
mkfifo in
exec 3<>in # never at its end
start() {
	"$@" <in >ready &
	pid=$!
	subjects+=("$pid")
	until grep -q ready ready; do
		kill -0 "$pid" || complain "the subject does not start: $*"
		sleep 0.05
	done
	: >ready
}

# fails KIND STATUS PATTERN COMMAND...: in one line, by whom it was said.
fails() {
	local kind=$1 status=$2 pattern=$3
	shift 3
	expect "$status" timeout 60 "$@"
	said "$pattern"
	not_said 'core dumped|Segmentation|AddressSanitizer|runtime error'
	printf '%-18s %3d  %s\n' "$kind" "$status" "$(grep -E -m 1 -- "$pattern" out | cut -c 1-200)"
}
# Each command that looks at a process, as plain text and within a moment.
looks=("stat" "stat --json" "top --batch --iterations=1" "prof --seconds=0")
# all_fail KIND STATUS PATTERN TARGET
all_fail() {
	local look words
	for look in "${looks[@]}"; do
		read -r -a words <<<"$look"
		fails "$1" "$2" "^quarry ${words[0]}: $3" "$quarry" "${words[@]}" "$4"
	done
}

# --- bad options ---
fails "no command" 125 '^quarry: no command nonsense' "$quarry" nonsense
for command in run stat top prof report doctor; do
	fails "no such option" 125 "^quarry $command: no option --colour(=red)?; quarry $command --help" "$quarry" $command \
		--colour=red 1
done
fails "bad value" 125 '^quarry run: --decay_ms=soon: .* takes 0\.\.600000$' "$quarry" run --decay_ms=soon true
fails "bad value" 125 '^quarry stat: --map=here: a hexadecimal address is needed$' "$quarry" stat --map=here 1
fails "bad value" 125 '^quarry top: --delay= takes 0\.1 to 3600$' "$quarry" top --delay=1s 1
fails "bad value" 125 '^quarry top: --iterations=all: a number from 1' "$quarry" top --batch --iterations=all 1
fails "bad value" 125 '^quarry top: --view=none: heaps, classes' "$quarry" top --view=none 1
fails "bad value" 125 '^quarry prof: --bytes=0: a number from 1' "$quarry" prof --bytes=0 1
fails "bad value" 125 '^quarry prof: --view=dead: live or allocated is needed$' "$quarry" prof --view=dead 1
if [ -x "$build_dir/tools/quarry-python" ]; then
	fails "bad value" 125 '^quarry-python: some: the domains are all, arena or none$' "$build_dir/tools/quarry-python" --domains=some -c 0
fi
fails "bad setting" 0 '^quarry: QUARRY_CONF: .*decay_ms:soon' env QUARRY_CONF=decay_ms:soon "$quarry" run true
fails "bad setting" 0 '^quarry: QUARRY_CONF: unknown key colour' env QUARRY_CONF=colour:red "$quarry" run true

# --- no such process ---
all_fail "dead" 1 'there is no process 2147483647$' 2147483647
sh -c 'sleep 0 & exec sleep 1000' &
parent=$!
subjects+=("$parent")
child=
until [ -n "$child" ] && grep -q '^State:.Z' "/proc/$child/status"; do
	child=$(cat "/proc/$parent/task/$parent/children" 2>/dev/null || true) child=${child%% *}
	sleep 0.05
done
all_fail "dead, not reaped" 1 "process $child has ended$" "$child"
all_fail "another program" 1 'sleep does not run on Quarry$' "$parent"

# --- no permission ---
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	start "$quarry" run "$subject"
	cp "$quarry" quarry
	chmod 755 . quarry
	quarry_here=$quarry quarry=$scratch/nobody
	printf '#!/bin/sh\nexec setpriv --reuid=65534 --clear-groups %q/quarry "$@"\n' "$scratch" >nobody
	chmod 755 nobody
	all_fail "no permission" 1 "process $pid may not be looked into; that needs the permission that a debugger needs" "$pid"
	: >secret
	chmod 600 secret
	fails "no permission" 1 "^quarry stat: $scratch/secret: Permission denied$" "$quarry" stat "$scratch/secret"
	quarry=$quarry_here
fi

# --- damaged: headers of pools, then the layout itself ---
start "$quarry" run --decay_ms=600000 "$subject"
"$quarry" stat --json "$pid" >whole.json
# overwrite ADDRESS BYTES: as a debugger would, read-only memory too.
overwrite() {
	python3 -c 'import sys
with open("/proc/%s/mem" % sys.argv[1], "r+b", buffering=0) as memory:
    memory.seek(int(sys.argv[2], 0))
    memory.write(b"\xff" * int(sys.argv[3]))' "$pid" "$1" "$2"
}
arena=$(python3 -c 'import json; print(json.load(open("whole.json"))["arenas"][0]["address"])')
overwrite $((arena + 8192)) 65536
looks=("stat" "stat --json")
all_fail "damaged records" 2 'damaged: ' "$pid"
fails "damaged records" 2 '^  damaged: ' "$quarry" top --batch --iterations=1 "$pid"
if command -v gcore >/dev/null; then
	gcore -o core "$pid" >log 2>&1 || complain "gcore: $(cat log)"
	all_fail "damaged core" 2 'damaged: ' "core.$pid"
	# Cut off in the middle of what is needed.
	truncate -s $(($(stat -c %s "core.$pid") / 2)) "core.$pid"
	fails "short core" 1 'damaged|cut off|cannot be read|not run on Quarry' "$quarry" stat "core.$pid"
fi

# --- another version, as a process and as a core ---
cp -L "$build_dir/lib/.libs/libquarry_malloc.so" newer.so
offset=$(grep -abo $'Quarry\r$' newer.so | head -n 1 | cut -d : -f 1)
printf '\377' | dd of=newer.so bs=1 seek=$((offset + 8)) conv=notrunc status=none
start "$quarry" run --library="$scratch/newer.so" "$subject"
version='/.*/newer\.so is of another version: its layout is 255 .*; use the quarry command that came with it$'
looks=("stat" "stat --json" "top --batch --iterations=1" "prof --seconds=0")
all_fail "another version" 1 "$version" "$pid"
if command -v gcore >/dev/null; then
	gcore -o core "$pid" >log 2>&1 || complain "gcore: $(cat log)"
	looks=("stat" "stat --json")
	all_fail "its core" 1 "$version" "core.$pid"
else
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "gcore is missing; Debian package: gdb"
fi

# --- no core file ---
fails "no file" 1 '^quarry stat: /nonexistent: No such file' "$quarry" stat /nonexistent
fails "no core" 1 "^quarry stat: $subject is no core file\$" "$quarry" stat "$subject"
fails "a folder" 1 "^quarry stat: / is no core file\$" "$quarry" stat /
fails "no process" 125 'is not the number of a process' "$quarry" top core
fails "no profile" 1 "is no heap profile of Quarry's\$" "$quarry" prof "$subject"
fails "no records" 125 'no line of it is a record' "$quarry" report "$subject"
finish
