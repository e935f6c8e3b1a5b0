# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# What the tests of the quarry command share.

quarry=$QUARRY_BUILD_DIR/tools/quarry
source_dir=$QUARRY_SOURCE_DIR
build_dir=$QUARRY_BUILD_DIR
read -r -a cc <<<"$CC"
unset QUARRY_CONF LD_PRELOAD

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failures=0
complain() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# Last line of a test.
finish() {
	[ "$failures" -eq 0 ] || exit 1
	echo "ok"
}

skip() {
	echo "SKIP: $*"
	exit 77
}

# expect STATUS COMMAND...: its output, both kinds, is then in $scratch/out.
expect() {
	local wanted=$1 status=0
	shift
	"$@" >"$scratch/out" 2>&1 || status=$?
	if [ "$status" -ne "$wanted" ]; then
		complain "status $status, not $wanted: $*"
		cat "$scratch/out"
	fi
}

# said PATTERN: the last command wrote a line like this.
said() {
	grep -qE -- "$1" "$scratch/out" && return
	complain "nothing like: $1"
	cat "$scratch/out"
}

not_said() {
	if grep -E -- "$1" "$scratch/out"; then complain "not expected: $1"; fi
}
