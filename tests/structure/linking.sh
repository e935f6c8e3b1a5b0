#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A program links every library in every way: shared, archive in a dynamic and in a static executable, archive inside
# a shared library. Each time its memory is Quarry's where it should be, and libc's where that was promised.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"

cat >"$scratch/use.c" <<'PROGRAM'
#include <malloc.h>
#include <quarry/quarry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	int want_malloc = argc > 1 && strcmp(argv[1], "malloc") == 0;
	void *volatile theirs = malloc(100);
	void *volatile ours = quarry_malloc(100);
	int right = ours && quarry_owns(ours) && theirs && quarry_owns(theirs) == want_malloc;
	if (want_malloc)
		right = right && malloc_usable_size(theirs) == quarry_usable_size(theirs);
	quarry_free(ours);
	free(theirs);
	printf("%s\n", right ? "right" : "wrong");
	return !right;
}
PROGRAM
cat >"$scratch/calls.c" <<'PROGRAM'
int quarry_owns(const void *);
void *quarry_malloc(unsigned long);
int wrapped(void);
int wrapped(void) { return quarry_owns(quarry_malloc(1)); }
PROGRAM

lib=$build_dir/lib
compile=("${cc[@]}" -O1 -fno-builtin "-I$source_dir/include")
read -r -a urcu <<<"$QUARRY_URCU_LIBS"

# try NAME ARGUMENT LINK-ARGUMENT...
try() {
	local name=$1 argument=$2
	shift 2
	if ! "${compile[@]}" -o "$scratch/use" "$scratch/use.c" "$@"; then
		complain "$name does not link"
	elif ! LD_LIBRARY_PATH=$lib/.libs "$scratch/use" "$argument" >"$scratch/said"; then
		complain "$name: the program ran and said: $(cat "$scratch/said")"
	fi
}

try "shared libquarry" libc "-L$lib/.libs" -lquarry
try "shared libquarry_malloc" malloc "-L$lib/.libs" -lquarry_malloc
try "shared libquarry_malloc_hardened" malloc "-L$lib/.libs" -lquarry_malloc_hardened
if [ -e "$lib/libquarry.a" ]; then
	for form in -pie -no-pie; do
		try "libquarry.a, $form" libc "$form" "$lib/libquarry.a" "${urcu[@]}"
		try "libquarry_malloc.a, $form" malloc "$form" "$lib/libquarry_malloc.a" "${urcu[@]}"
		try "libquarry_malloc_hardened.a, $form" malloc "$form" "$lib/libquarry_malloc_hardened.a" "${urcu[@]}"
	done
	# The linker warns of dlopen, which a static program has no use for.
	try "libquarry.a, -static" libc -static "$lib/libquarry.a" "${urcu[@]}" 2>"$scratch/warnings"
	try "libquarry_malloc.a, -static" malloc -static "$lib/libquarry_malloc.a" "${urcu[@]}" 2>"$scratch/warnings"
	"${compile[@]}" -fPIC -shared -Wl,-z,defs -o "$scratch/libwrap.so" "$scratch/calls.c" "$lib/libquarry.a" \
		"${urcu[@]}" || complain "libquarry.a does not link into a shared library"
fi
finish
