#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The libraries have the probes that quarry-probes(7) lists, with as many arguments, and no other.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"
export LC_ALL=C

echo '#include <sys/sdt.h>' | "${cc[@]}" -E - >/dev/null 2>&1 ||
	skip "sys/sdt.h is missing; Debian package: systemtap-sdt-dev"

# NAME and number of arguments, a line each.
sed -n 's/^\.It Cm \([a-z_]*\) Ns Pq Ar \(.*\)$/\1 \2/p' "$source_dir/man/quarry-probes.7" |
	awk '{ print $1, gsub(",", "") + 1 }' | sort >"$scratch/manual"
[ -s "$scratch/manual" ] || complain "the manual lists no probes"

for library in "$build_dir"/lib/.libs/libquarry.so "$build_dir"/lib/.libs/libquarry_malloc.so \
	"$build_dir"/lib/libquarry_malloc.a; do
	[ -e "$library" ] || continue
	readelf -nW "$library" >"$scratch/notes"
	awk '/Provider: / { ours = $NF == "quarry" }
		$1 == "Name:" { name = $2 }
		$1 == "Arguments:" && ours { print name, NF - 1 }' "$scratch/notes" | sort -u >"$scratch/probes"
	diff "$scratch/manual" "$scratch/probes" ||
		complain "${library##*/}: probes (< of quarry-probes(7), > of the library)"
done
finish
