#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The script for gdb tells heap, arena, pool and block of addresses that a program knows, in a process and in its core.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"

command -v gdb >/dev/null || skip "gdb is missing; Debian package: gdb"

cat >"$scratch/known.c" <<'PROGRAM'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *small, *span, *large;
int foreign;

__attribute__((noinline)) void done(void)
{
	puts("done");
}

int main(void)
{
	for (int i = 0; i < 1000; i++) { /* pools of its own */
		small = malloc(1000);
		memset(small, 1, 1000);
	}
	span = malloc(300000);
	large = malloc(20 << 20);
	done();
	return 0;
}
PROGRAM
"${cc[@]}" -g -O0 -fno-builtin -o "$scratch/known" "$scratch/known.c"
# The library has no symbols: what is found is found by the layout.
strip -o "$scratch/library.so" "$build_dir/lib/.libs/libquarry_malloc.so"

cat >"$scratch/questions" <<'GDB'
printf "small %p span %p large %p\n", small, span, large
quarry-block small
quarry-block small + 999
quarry-block span + 200000
quarry-block large
quarry-block large + 5000000
quarry-block &foreign
quarry-arenas
quarry-heaps
GDB
script=$build_dir/tools/quarry-gdb.py

# answers WHERE: in $scratch/out
answers() {
	said '^heap [0-9]+, thread of thread [0-9]+, node 0, at 0x[0-9a-f]+$'
	said '^arena 0x[0-9a-f]+, node 0, unit [0-9]+$'
	said '^pool 0x[0-9a-f]+, size class [0-9]+, [0-9]+ of [0-9]+ blocks are out$'
	said "^block $small, 1024 bytes, number [0-9]+, the address is 0 bytes into it\$"
	said "^block $small, 1024 bytes, number [0-9]+, the address is 999 bytes into it\$"
	said "^span $span, [0-9]+ bytes, the address is 200000 bytes into it\$"
	said "^large block $large in a mapping of its own, the address is 0 bytes into it\$"
	said "^large block $large in a mapping of its own, the address is 5000000 bytes into it\$"
	said "^0x[0-9a-f]+ is not Quarry's\$"
	said '^Quarry [0-9.]+, units of [0-9]+ bytes$'
	said '^0x[0-9a-f]+ +0 +[0-9]+ +[0-9]+ +[0-9]+$'
	said '^ +[0-9]+  thread +0 +[0-9]+'
	not_said 'Python Exception|Error'
	[ "$failures" -eq 0 ] || complain "in $1"
}

gdb=(gdb --batch -nx -iex "set debuginfod enabled off")
"${gdb[@]}" -ex "set environment LD_PRELOAD $scratch/library.so" -ex "set startup-with-shell off" -ex "break done" -ex run \
	-ex "source $script" -x "$scratch/questions" -ex "generate-core-file $scratch/core" "$scratch/known" \
	>"$scratch/out" 2>&1 || { cat "$scratch/out" && complain "gdb fails"; }
if grep -qE 'ptrace: Operation not permitted|Could not trace' "$scratch/out"; then
	skip "this process may not trace others"
fi
read -r small span large < <(sed -n 's/^small \(0x[0-9a-f]*\) span \(0x[0-9a-f]*\) large \(0x[0-9a-f]*\)$/\1 \2 \3/p' \
	"$scratch/out") || complain "the program did not run"
answers "a process"

[ -e "$scratch/core" ] || complain "no core"
"${gdb[@]}" -ex "source $script" -x "$scratch/questions" "$scratch/known" "$scratch/core" >"$scratch/out" 2>&1 ||
	complain "gdb fails on a core"
answers "its core"

# Without Quarry: a message.
expect 1 "${gdb[@]}" -ex "break done" -ex run -ex "source $script" -ex "quarry-arenas" "$scratch/known"
said 'there is no Quarry in this process'
finish
