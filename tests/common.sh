# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# What the tests in shell share: places, and how to fail and skip.

source_dir=$QUARRY_SOURCE_DIR
build_dir=$QUARRY_BUILD_DIR
read -r -a cc <<<"$CC"

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
