#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make installcheck: a stranger's program finds everything through pkg-config alone. installed.sh PKGCONFIG-DIRECTORY
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"
export PKG_CONFIG_PATH=$1${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}

cat >"$scratch/use.c" <<'PROGRAM'
#include <quarry/quarry.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	(void)argv;
	void *volatile block = malloc(100);
	int owned = quarry_owns(block);
	free(block);
	return strcmp(quarry_version(), INSTALLED_VERSION) != 0 || owned != (argc > 1);
}
PROGRAM

# use MODULE ARGUMENTS PKG-CONFIG-OPTION...
use() {
	local module=$1 flags libdir
	read -r -a arguments <<<"$2"
	shift 2
	read -r -a flags < <(pkg-config "$@" --cflags --libs "$module")
	libdir=$(pkg-config --variable=libdir "$module")
	local static=()
	if [ "${1:-}" = --static ]; then
		[ -e "$libdir/$module.a" ] || return 0
		static=(-static)
	fi
	if ! "${cc[@]}" -fno-builtin "-DINSTALLED_VERSION=\"$(pkg-config --modversion "$module")\"" "${static[@]}" \
		-o "$scratch/use" "$scratch/use.c" "${flags[@]}" 2>"$scratch/said"; then
		cat "$scratch/said"
		complain "$module $* does not link"
	elif ! LD_LIBRARY_PATH=$libdir "$scratch/use" "${arguments[@]}"; then
		complain "$module $*: the program failed"
	fi
}

# Where a machine has several nodes the library opens its module by the name that was compiled in.
module_is_named() {
	local libdir path
	libdir=$(pkg-config --variable=libdir "$1")
	path=$libdir/quarry/libquarry_topology.so
	[ -e "$libdir/$1.so" ] || return 0
	[ -e "$path" ] || complain "$path is not installed"
	tr '\0' '\n' <"$libdir/$1.so" | grep -axF "$path" >/dev/null || complain "$1.so does not name $path"
}

module_is_named libquarry
module_is_named libquarry_malloc
use libquarry ""
use libquarry_malloc malloc
use libquarry "" --static
use libquarry_malloc malloc --static
finish
