#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The heap profile of a program that knows what belongs to its call sites: live, from outside, at exit, in threads and a
# forked child, linked statically; what is written in each form; and what cannot be profiled, with which words.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"
command -v python3 >/dev/null || skip "python3 is missing; Debian package: python3"
profiled=$build_dir/tests/tools/profiled
check=("$source_dir/tests/tools/profile.py")
sites=(site_small site_medium site_span site_object site_tenant site_dropped)
mean=16384
cd "$scratch"

# --- the program: start COMMAND...; its number is then in $pid, what it knows in truth ---
pid=
start() {
	local line
	mkfifo in out.pipe
	"$@" <in >out.pipe &
	pid=$!
	exec 3>in 4<out.pipe
	rm in out.pipe
	: >truth
	while read -r line <&4 && [ "$line" != ready ]; do echo "$line" >>truth; done
}
stop() {
	exec 3>&- 4<&-
	wait "$pid" || complain "the program ended with $?"
}
checked() {
	"${check[@]}" "$@" >checked 2>&1 && return
	complain "${*}"
	cat checked
}

# Names need libdw; what a build without it writes is sound all the same.
named() { grep -q site_small "$1.folded"; }

# --- on from the start: estimates against the truth, and every form ---
start "$quarry" run --profile=on --profile_bytes=$mean "$profiled" hold
expect 0 "$quarry" prof --seconds=0 --out=held "$pid"
said 'the profile is on already'
said '^live [0-9.]+ MiB, profiled:$'
if ! named held; then
	stop
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "no names: libdw-dev was missing when quarry was built"
	echo "no names: what is left of this test needs libdw-dev"
	checked sound held live
	finish
	exit
fi
checked truth held $mean truth labelled
cat checked
checked sound held live "${sites[@]:0:5}"
expect 0 "$quarry" prof --seconds=0 --view=allocated --out=all "$pid"
checked sound all allocated "${sites[@]}"
if command -v google-pprof >/dev/null; then
	google-pprof --text --inuse_space "$profiled" held.heap >text 2>said || complain "google-pprof: $(cat said)"
	grep -q site_medium text || complain "google-pprof finds no site: $(cat text)"
else
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "google-pprof is missing; Debian package: google-perftools"
fi
stop

# --- switched on from outside, for a while ---
start "$quarry" run "$profiled" churn
for view in live allocated; do
	expect 0 "$quarry" prof --seconds=1 --bytes=1000 --view=$view --out=churn "$pid"
	not_said 'already'
	checked sound churn $view "${sites[@]}"
done
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	cp "$quarry" quarry
	chmod 755 "$scratch" quarry
	expect 1 setpriv --reuid=65534 --clear-groups ./quarry prof --seconds=0 "$pid"
	said "^quarry prof: process $pid may not be looked into; that needs the permission that a debugger needs"
fi
"$quarry" prof --seconds=1000 --bytes=1000 --out=short "$pid" >said 2>&1 &
tool=$!
while kill -0 "$tool" && ! grep -q 'is profiled for 1000 s' said; do sleep 0.05; done
sleep 0.2
kill -INT "$tool"
wait "$tool" || complain "an interrupted profile: $(cat said)"
checked sound short live site_small
stop
expect 1 "$quarry" prof "$pid"
said "^quarry prof: there is no process $pid$"

# --- at exit: what is live then; the child's goes to a file of its own or nowhere ---
QUARRY_CONF=profile_bytes:$mean "$quarry" run --profile=leaks.heap "$profiled" exit >truth
expect 0 "$quarry" prof leaks.heap
checked truth leaks.heap $mean truth
checked sound leaks.heap live "${sites[@]:0:5}"
QUARRY_CONF=profile_bytes:$mean "$quarry" run --profile=leaks.%p "$profiled" exit >truth
[ "$(find . -name 'leaks.[0-9]*' | wc -l)" -eq 2 ] || complain "files of a process and its child: $(echo leaks.*)"
expect 0 "$quarry" run --profile=/nonexistent/file "$profiled" exit
said '^quarry: profile_file:/nonexistent/file cannot be written, error 2$'

# --- a static program, with an index of its tables: the allocator's frames are its own, and are left out ---
read -r -a urcu <<<"$QUARRY_URCU_LIBS"
if [ -e "$build_dir/lib/libquarry_malloc.a" ] &&
	"${cc[@]}" -g -D_GNU_SOURCE -DLINKED -I"$source_dir/include" -fno-builtin -w -static -Wl,--eh-frame-hdr -o static \
		"$source_dir/tests/tools/profiled.c" "$build_dir/lib/libquarry_malloc.a" "${urcu[@]}" -pthread 2>said; then
	start env QUARRY_CONF=profile:on,profile_bytes:$mean ./static hold
	expect 0 "$quarry" prof --seconds=0 --out=static.out "$pid"
	checked truth static.out $mean truth labelled
	stop
fi

# --- what cannot be profiled ---
start "$quarry" run --purge=off "$profiled" idle
expect 1 "$quarry" prof --seconds=0 "$pid"
said "^quarry prof: process $pid has not taken it up within 5 s; it allocates nothing at the moment, it seems$"
stop
start "$quarry" run --profile=on bash -c 'echo ready; read -r _; exec sleep 1000'
"$quarry" prof --seconds=1000 "$pid" >said 2>&1 &
tool=$!
while kill -0 "$tool" && ! grep -q 'is profiled for 1000 s' said; do sleep 0.05; done
echo >&3
status=0
wait "$tool" || status=$?
cp said "$scratch/out"
said "^quarry prof: process $pid runs another program now$"
[ "$status" -eq 1 ] || complain "a process that runs another program: $status"
kill "$pid"
wait "$pid" || true
exec 3>&- 4<&-
sleep 100 &
pid=$!
while [ "$(cat "/proc/$pid/comm")" != sleep ]; do sleep 0.01; done
expect 1 "$quarry" prof "$pid"
said "^quarry prof: sleep does not run on Quarry$"
kill "$pid"
expect 1 "$quarry" prof /nonexistent
said '^quarry prof: /nonexistent: No such file'
expect 1 "$quarry" prof "$profiled"
said "is no heap profile of Quarry's$"
expect 125 "$quarry" prof
said 'no process given'
expect 125 "$quarry" prof --seconds=x 1
said '^quarry prof: --seconds=x: a number from 0 to 86400 is needed$'
expect 125 "$quarry" prof --view=dead 1
said 'live or allocated is needed'
cp -L "$build_dir/lib/.libs/libquarry_malloc.so" newer.so
{
	printf 'heap profile: 1: 1 [1: 1] @ heapprofile\n1: 512 [1: 512] @ 0x1\n1: 1 [1: 1] @'
	printf ' 0x%x' {1..200000}
	printf '\n\nMAPPED_LIBRARIES:\n0-1000 r-xp 00000000 00:00 0 /\033[1m\xc3\xa4\xff\x80<\n'
} >deep.heap
expect 2 "$quarry" prof deep.heap
said '^quarry prof: damaged: 1 stacks could not be read$'
said "100%  \\?\\[1mä\\?\\?<\\+0x1$"
checked sound deep.heap live
offset=$(grep -abo $'Quarry\r$' newer.so | head -n 1 | cut -d : -f 1)
printf '\377' | dd of=newer.so bs=1 seek=$((offset + 8)) conv=notrunc status=none
start "$quarry" run --library="$scratch/newer.so" "$profiled" hold
expect 1 "$quarry" prof "$pid"
said 'newer\.so is of another version'
stop
finish
