#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# make installcheck: a stranger's program finds everything through pkg-config alone, and through CMake where that is
# there. installed.sh PKGCONFIG-DIRECTORY
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
module_is_named libquarry_malloc_hardened
use libquarry ""
use libquarry_malloc malloc
use libquarry "" --static
use libquarry_malloc malloc --static
use libquarry_malloc_hardened malloc
use libquarry_malloc_hardened malloc --static

# --- CMake ---
# With DESTDIR the installed paths are not where the files are, and there is nothing to find.
find_by_cmake() {
	local libdir
	libdir=$(pkg-config --variable=libdir libquarry)
	[ "$libdir/pkgconfig" -ef "$1" ] || return 0
	mkdir -p "$scratch/cmake/build"
	cat >"$scratch/cmake/CMakeLists.txt" <<-'CMAKE'
		cmake_minimum_required(VERSION 3.16)
		project(use C)
		find_package(quarry 0.1 REQUIRED)
		foreach(target quarry malloc malloc_hardened quarry_static malloc_static malloc_hardened_static)
			if(TARGET quarry::${target})
				add_executable(use_${target} ../use.c)
				target_compile_options(use_${target} PRIVATE -fno-builtin "-DINSTALLED_VERSION=\"${quarry_VERSION}\"")
				target_link_libraries(use_${target} PRIVATE quarry::${target})
			endif()
		endforeach()
	CMAKE
	if ! (cd "$scratch/cmake/build" && cmake "-Dquarry_DIR=$libdir/cmake/quarry" .. && cmake --build .) >"$scratch/said" 2>&1; then
		cat "$scratch/said"
		complain "CMake does not find and build"
		return
	fi
	local kind target
	for kind in "" _static; do
		[ -z "$kind" ] || [ -e "$libdir/libquarry.a" ] || continue
		for target in quarry malloc malloc_hardened; do
			case $target in
			malloc*) arguments=(malloc) ;;
			*) arguments=() ;;
			esac
			if [ ! -e "$scratch/cmake/build/use_$target$kind" ]; then
				complain "by CMake: no target quarry::$target$kind"
			elif ! "$scratch/cmake/build/use_$target$kind" "${arguments[@]}"; then
				complain "by CMake: a program with quarry::$target$kind failed"
			fi
		done
	done
	ldd "$scratch/cmake/build/use_malloc_hardened" | grep -q libquarry_malloc_hardened ||
		complain "by CMake: quarry::malloc_hardened is another library"
}
if command -v cmake >/dev/null; then
	find_by_cmake "$1"
else
	echo "no cmake (Debian package: cmake): its configuration was not tried"
fi
finish
