#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What Quarry accounts for adds up, and is what the kernel has: every load of the bench frame, held still at moments.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need python3 python3
[ -x "$QUARRY_BUILD_DIR/bench/load/pair" ] || skip "no $QUARRY_BUILD_DIR/bench/load/pair"
QUARRY_BUILD_DIR=$QUARRY_BUILD_DIR "$QUARRY_SOURCE_DIR/bench/accounting"
