#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The example of a Rust program on Quarry is built and runs.
set -euo pipefail
# shellcheck source=tests/common.sh
. "$QUARRY_SOURCE_DIR/tests/common.sh"

command -v rustc >/dev/null || skip "rustc is missing; Debian package: rustc"
rustc --edition 2018 -O -D warnings -L "native=$build_dir/lib/.libs" -o "$scratch/example" \
	"$source_dir/tests/examples/global_alloc.rs" || complain "the example is not compiled"
LD_LIBRARY_PATH=$build_dir/lib/.libs "$scratch/example" || complain "the example fails"
finish
