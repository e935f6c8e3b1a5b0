#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What loading the libraries costs and promises: few dependencies, bound at start, never unloaded, static TLS; and a
# preloaded process on a one-node machine maps neither hwloc nor what comes with it.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"
export LC_ALL=C

for library in libquarry libquarry_malloc libquarry_malloc_hardened; do
	file=$build_dir/lib/.libs/$library.so
	readelf -dW "$file" >"$scratch/dynamic"
	while read -r needed; do
		case $needed in
		libc.so.6 | ld-linux*) ;;
		*) complain "$library needs $needed" ;;
		esac
	done < <(sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' "$scratch/dynamic")
	grep -q 'FLAGS_1.*\bNOW\b' "$scratch/dynamic" || complain "$library is bound lazily"
	grep -q 'FLAGS_1.*\bNODELETE\b' "$scratch/dynamic" || complain "$library may be unloaded"
	if grep -q '(TEXTREL)' "$scratch/dynamic"; then complain "$library relocates its code"; fi
	ldd "$file" >"$scratch/ldd"
	if grep -E 'hwloc|udev|not found' "$scratch/ldd"; then complain "$library: the libraries above"; fi
	if "${nm[@]}" -D "$file" | grep -w __tls_get_addr; then complain "$library has TLS that calls __tls_get_addr"; fi
done

LD_PRELOAD=$QUARRY_PRELOAD cat /proc/self/maps >"$scratch/maps"
grep -q libquarry_malloc "$scratch/maps" || complain "the library is not mapped under preload"
if [ "$(find /sys/devices/system/node -maxdepth 1 -name 'node[0-9]*' | wc -l)" -le 1 ]; then
	if grep -E 'hwloc|udev|libquarry_topology' "$scratch/maps"; then complain "mapped on a one-node machine"; fi
fi
if grep -E 'liburcu' "$scratch/maps"; then complain "mapped in a process that never asks whose a pointer is"; fi

# The name by which it is opened is that of the library that the headers belong to.
soname=$(sed -n 's/^#define SONAME "\(.*\)"/\1/p' "$source_dir/lib/rcu.c")
ldconfig=$(PATH=$PATH:/sbin:/usr/sbin command -v ldconfig)
"$ldconfig" -p >"$scratch/installed"
grep -qw "$soname" "$scratch/installed" || complain "lib/rcu.c opens $soname, which is not installed"
finish
