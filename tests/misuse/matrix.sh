#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The misuse matrix: of each misuse, the default and the hardened library catch what tests/misuse/matrix_cases.c states.
set -euo pipefail
lib=$QUARRY_BUILD_DIR/lib/.libs
command -v python3 >/dev/null || {
	echo "skipped: python3 is not installed (Debian: python3)"
	exit 77
}
chances=(--hardened "$lib/libquarry_malloc_hardened.so")
# Where everything is hardened there is no other library, and one without checks is held to nothing.
[ "${QUARRY_ALL_HARDENED:-no}" != no ] || [ "${QUARRY_CHECKS:-yes}" = no ] || chances+=(--default "$lib/libquarry_malloc.so")
exec "$QUARRY_SOURCE_DIR/tests/misuse/matrix" "${chances[@]}"
