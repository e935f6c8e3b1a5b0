# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the tests of real programs share. To be sourced after `set -euo pipefail`.
#
# QUARRY_PRELOAD names the library. A program under test is started by `preloaded` or `start_server`; the tools that
# drive and check it run on libc's malloc. Everything lives in $work and on 127.0.0.1, and is gone when the test ends.

: "${QUARRY_PRELOAD:?is to name the library to preload}"

name=$(basename "$0" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/quarry-$name-XXXXXX")
servers=()

clean_up() {
	local status=$? pid
	trap - EXIT
	for pid in "${servers[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	for pid in "${servers[@]}"; do
		for _ in {1..50}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null || true
	done
	if [ "$status" != 0 ] && [ "$status" != 77 ]; then
		tail -n 30 "$work"/*.log >&2 2>/dev/null || true
	fi
	rm -rf "$work"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

fail() {
	echo "$name: $*" >&2
	exit 1
}

skip() {
	echo "skipped: $*" >&2
	if [ "${QUARRY_TEST_REQUIRE:-0}" = 1 ]; then
		exit 1
	fi
	exit 77
}

# need PROGRAM PACKAGE
need() {
	command -v "$1" >/dev/null || skip "$1 is missing; Debian package: $2"
}

preloaded() {
	env LD_PRELOAD="$QUARRY_PRELOAD" "$@"
}

# Whether a running process has the library mapped: a preload that cannot be loaded is otherwise only a warning.
expect_preloaded() {
	grep -qF "$(realpath "$QUARRY_PRELOAD")" "/proc/$1/maps" || fail "process $1 runs without $QUARRY_PRELOAD"
}

# expect_ran_preloaded PROGRAM: the same for short-lived programs that ran under `traced`.
traced() {
	preloaded env LD_DEBUG=files LD_DEBUG_OUTPUT="$work/loader" "$@"
}

expect_ran_preloaded() {
	local trace
	for trace in "$work"/loader.*; do
		if grep -q "initialize program: .*$1\$" "$trace"; then
			grep -qF "calling init: $QUARRY_PRELOAD" "$trace" || fail "$1 ran without $QUARRY_PRELOAD"
			return
		fi
	done
	fail "$1 never ran"
}

# A port that nobody listens on, below the range that the kernel gives out itself.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
}

# start_server PORT COMMAND...: in the background, preloaded; returns when it listens. Its process is $server.
start_server() {
	local port=$1
	shift
	env LD_PRELOAD="$QUARRY_PRELOAD" "$@" >"$work/server.log" 2>&1 &
	server=$!
	servers+=("$server")
	for _ in {1..100}; do
		if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			expect_preloaded "$server"
			return
		fi
		kill -0 "$server" 2>/dev/null || fail "$1 has ended"
		sleep 0.1
	done
	fail "$1 does not listen on port $port"
}

# expect_same WHAT ONE OTHER
expect_same() {
	[ "$2" = "$3" ] || fail "$1 differs: $2, $3"
}
