#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Nothing looks up: a file of lib/ includes only headers at or before its own place in the lists of lib/local.mk.
# Every file of lib/ has a place, and outside libraries stay behind the one room that is theirs.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"
cd "$source_dir"

# Files in the order of the *_rooms lists; one line of a list is one room and one place.
declare -A place=()
position=0
while read -r -a files; do
	position=$((position + 1))
	for file in "${files[@]}"; do
		place[$file]=$position
	done
done < <(awk '/^[a-z_]+_rooms [+]?=/ { inside = 1; sub(/^[^=]*=/, "") }
	inside { more = sub(/\\$/, ""); if (NF) print; inside = more }' lib/local.mk)
[ ${#place[@]} -gt 0 ] || complain "lib/local.mk lists no rooms"

for file in lib/*.[ch]; do
	[ -n "${place[$file]:-}" ] || complain "$file: not in the lists of lib/local.mk"
done

for file in "${!place[@]}"; do
	while read -r header; do
		if [[ $header == quarry/*.h ]]; then
			continue
		elif [ -z "${place[lib/$header]:-}" ]; then
			complain "$file includes \"$header\", which is no room"
		elif [ "${place[lib/$header]}" -gt "${place[$file]}" ]; then
			complain "$file (place ${place[$file]}) looks up to $header (place ${place[lib/$header]})"
		fi
	done < <(sed -n 's/^#[ \t]*include[ \t]*"\(.*\)".*/\1/p' "$file")
done

# only PATTERN FILE...: system headers matching PATTERN are included by these files alone.
only() {
	local pattern=$1 file
	shift
	while read -r file; do
		[[ " $* " == *" $file "* ]] || complain "$file includes <$pattern...>; only $* may"
	done < <(grep -lE "^#[ 	]*include[ 	]*[<\"]$pattern" lib/*.[ch])
}
only urcu lib/rcu.h lib/rcu_linked.c
only hwloc lib/topology.c
only sys/mman lib/os.c
finish
