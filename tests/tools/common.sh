# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# What the tests of the quarry command share.

# shellcheck source=tests/common.sh
. "$QUARRY_SOURCE_DIR/tests/common.sh"
quarry=$build_dir/tools/quarry
unset QUARRY_CONF LD_PRELOAD

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
