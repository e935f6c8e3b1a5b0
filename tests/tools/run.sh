#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quarry run: the preload, the switches, the exit status, and what is refused with which words.
# shellcheck disable=SC2016
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"

# --- what the program sees ---
expect 0 "$quarry" run sh -c 'echo "preload $LD_PRELOAD"; echo "conf ${QUARRY_CONF-none}"; grep -c libquarry_malloc /proc/$$/maps'
said '^preload /.*/libquarry_malloc\.so[.0-9]*$'
said '^conf none$'
said '^[1-9]'
LD_PRELOAD=/nonexistent/other.so expect 0 "$quarry" run --decay_ms=250 --purge=inline sh -c 'echo "$LD_PRELOAD $QUARRY_CONF"'
said '/libquarry_malloc\.so[.0-9]*:/nonexistent/other\.so decay_ms:250,purge:inline$'
QUARRY_CONF=decay_ms:9,stats:exit expect 0 "$quarry" run --stats=none sh -c 'echo "$QUARRY_CONF"'
said '^decay_ms:9,stats:exit,stats:none$'
not_said '^Quarry'

expect 0 "$quarry" run --hardened sh -c 'echo "preload $LD_PRELOAD"; grep -c libquarry_malloc_hardened /proc/$$/maps'
said '^preload /.*/libquarry_malloc_hardened\.so[.0-9]*$'
said '^[1-9]'

# --- summary ---
expect 0 "$quarry" run --summary -- true
said '^Quarry [0-9.]+, [0-9]+ node'
[ "$(wc -l <"$scratch/out")" -le 24 ] || complain "the summary is longer than a screen"

# --- a limit is met, and is told ---
expect 1 "$quarry" run --limit_mib=64 perl -e '$text = "a" x shift; print length $text' 200000000
said '^Out of memory'
expect 0 "$quarry" run --limit_mib=1000 --summary perl -e '$text = "a" x shift; print length $text' 200000000
said '^200000000'
said '^  limit +1000\.0 MiB'

# --- status, names and arguments ---
expect 7 "$quarry" run sh -c 'exit 7'
expect 127 "$quarry" run /nonexistent/program
said '^quarry run: /nonexistent/program: No such file'
expect 126 "$quarry" run /
said 'Permission denied'
expect 0 "$quarry" run -- echo --summary "two words"
said '^--summary two words$'
(
	cd "$scratch"
	printf '#!/bin/sh\necho script "$@"\n' >script
	chmod +x script
)
expect 0 env PATH="$scratch:$PATH" "$quarry" run script 1 2
said '^script 1 2$'

# --- wrong requests ---
expect 125 "$quarry"
said '^usage:'
expect 125 "$quarry" nonsense
said '^quarry: no command nonsense'
expect 125 "$quarry" run
said 'no program given'
expect 125 "$quarry" run --decay_ms=soon true
said '^quarry run: --decay_ms=soon: --decay_ms= takes 0\.\.600000$'
expect 125 "$quarry" run --purge true
said 'takes thread\|inline\|off'
expect 125 "$quarry" run --decay=1 true
said '^quarry run: no option --decay=1'
expect 125 "$quarry" run --library=/nonexistent.so true
said 'no library at /nonexistent\.so'
mkdir "$scratch/a b"
cp -L "$build_dir/lib/.libs/libquarry_malloc.so" "$scratch/a b/lib.so"
expect 125 "$quarry" run "--library=$scratch/a b/lib.so" true
said 'blanks or colons'

# --- programs that a preload would not reach ---
echo 'int main(void) { return 0; }' >"$scratch/main.c"
if "${cc[@]}" -static -o "$scratch/static" "$scratch/main.c" 2>"$scratch/said"; then
	expect 125 "$quarry" run "$scratch/static"
	said 'is linked statically'
fi
# The header of a 32-bit program is enough.
printf '\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0' >"$scratch/small"
head -c 100 /dev/zero >>"$scratch/small"
chmod +x "$scratch/small"
expect 125 "$quarry" run "$scratch/small"
said 'another machine or word size'
cp "$(type -P true)" "$scratch/privileged"
if [ "$(id -u)" -eq 0 ]; then
	chown 1:1 "$scratch/privileged"
	chmod u+s "$scratch/privileged"
	expect 125 "$quarry" run "$scratch/privileged"
	said 'other privileges'
fi

# --- a command that was moved finds the library beside it ---
mkdir -p "$scratch/prefix/bin" "$scratch/prefix/lib"
cp "$quarry" "$scratch/prefix/bin/"
cp -L "$build_dir/lib/.libs/libquarry_malloc.so" "$scratch/prefix/lib/libquarry_malloc.so.0"
expect 0 "$scratch/prefix/bin/quarry" run sh -c 'echo "$LD_PRELOAD"'
said "^$(realpath "$scratch")/prefix/lib/libquarry_malloc\.so\.0$"
finish
