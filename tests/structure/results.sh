#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tests/RESULTS.md is what its command makes of the figures that are kept.
set -euo pipefail
command -v python3 >/dev/null || {
	echo "skipped: python3 is not installed (Debian: python3)"
	exit 77
}
exec "$QUARRY_SOURCE_DIR/tests/evidence" --check
