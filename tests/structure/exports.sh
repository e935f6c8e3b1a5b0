#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The shared libraries, the module and the archives show the intended symbols and no other; only quarry_* have a version.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"
export LC_ALL=C

# same_names WHERE EXPECTED ACTUAL
same_names() {
	[ -s "$2" ] || complain "$1: no names are expected"
	diff "$2" "$3" >"$scratch/diff" && return
	complain "$1: symbols (< missing, > not intended)"
	grep '^[<>]' "$scratch/diff"
}

shared_symbols() { "${nm[@]}" -D --defined-only "$1" | awk '$2 != "A" { print $3 }' | sort; }
archive_symbols() { "${nm[@]}" -g --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort; }

api_names | sort >"$scratch/api"
{ api_names && surface_names; } | sort >"$scratch/all"
sed 's/$/@@QUARRY_0.1/' "$scratch/api" >"$scratch/api.versioned"
{ cat "$scratch/api.versioned" && surface_names; } | sort >"$scratch/all.versioned"

shared_symbols "$build_dir/lib/.libs/libquarry.so" >"$scratch/actual"
same_names libquarry.so "$scratch/api.versioned" "$scratch/actual"
shared_symbols "$build_dir/lib/.libs/libquarry_malloc.so" >"$scratch/actual"
same_names libquarry_malloc.so "$scratch/all.versioned" "$scratch/actual"

shared_symbols "$build_dir/lib/.libs/libquarry_malloc_hardened.so" >"$scratch/actual"
same_names libquarry_malloc_hardened.so "$scratch/all.versioned" "$scratch/actual"

echo quarry_topology_open >"$scratch/topology"
shared_symbols "$build_dir/lib/.libs/libquarry_topology.so" >"$scratch/actual"
same_names libquarry_topology.so "$scratch/topology" "$scratch/actual"

for archive in "libquarry.a api" "libquarry_malloc.a all" "libquarry_malloc_hardened.a all"; do
	read -r name expected <<<"$archive"
	[ -e "$build_dir/lib/$name" ] || continue
	archive_symbols "$build_dir/lib/$name" >"$scratch/actual"
	same_names "$name" "$scratch/$expected" "$scratch/actual"
done
finish
