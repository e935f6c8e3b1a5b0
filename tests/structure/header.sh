#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each installed header is C99 to C17 and C++11 to C++20, clean under the strictest warnings, alone, first and twice.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"

warnings=(-Wall -Wextra -pedantic -Werror "-I$source_dir/include" -fsyntax-only)

for header in "$source_dir"/include/quarry/*.h; do
	printf '#include <quarry/%s>\n' "${header##*/}" >"$scratch/alone.c"
	"${cc[@]}" -std=c99 "${warnings[@]}" "$scratch/alone.c" || complain "${header##*/} alone"
done

# A program that takes the address of every function; each header comes twice.
{
	for header in "$source_dir"/include/quarry/*.h "$source_dir"/include/quarry/*.h; do
		echo "#include <quarry/${header##*/}>"
	done
	echo 'typedef void (*any_function)(void);'
	echo 'extern const any_function functions[];'
	echo 'const any_function functions[] = {'
	api_names | sed 's/.*/\t(any_function)&,/'
	echo '};'
} >"$scratch/use.c"
cp "$scratch/use.c" "$scratch/use.cc"

for standard in c99 c11 gnu11 c17; do
	"${cc[@]}" "-std=$standard" "${warnings[@]}" -Wno-cast-function-type "$scratch/use.c" ||
		complain "headers as $standard"
done
if [ -n "$QUARRY_HAVE_CXX" ]; then
	for standard in c++11 c++17 c++20; do
		"${cxx[@]}" "-std=$standard" "${warnings[@]}" -Wno-cast-function-type "$scratch/use.cc" ||
			complain "headers as $standard"
	done
elif [ "${QUARRY_TEST_REQUIRE:-0}" = 1 ]; then
	complain "no C++ compiler"
else
	echo "no C++ compiler: C only"
fi
finish
