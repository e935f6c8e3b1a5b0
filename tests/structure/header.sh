#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The installed header is C99 to C17 and C++11 to C++20, clean under the strictest warnings, alone and first.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"

warnings=(-Wall -Wextra -pedantic -Werror "-I$source_dir/include" -fsyntax-only)

# A program that takes the address of every function, included twice.
{
	echo '#include <quarry/quarry.h>'
	echo '#include <quarry/quarry.h>'
	echo 'typedef void (*any_function)(void);'
	echo 'extern const any_function functions[];'
	echo 'const any_function functions[] = {'
	api_names | sed 's/.*/\t(any_function)&,/'
	echo '};'
} >"$scratch/use.c"
cp "$scratch/use.c" "$scratch/use.cc"

for standard in c99 c11 gnu11 c17; do
	"${cc[@]}" "-std=$standard" "${warnings[@]}" -Wno-cast-function-type "$scratch/use.c" ||
		complain "quarry.h as $standard"
done
if [ -n "$QUARRY_HAVE_CXX" ]; then
	for standard in c++11 c++17 c++20; do
		"${cxx[@]}" "-std=$standard" "${warnings[@]}" -Wno-cast-function-type "$scratch/use.cc" ||
			complain "quarry.h as $standard"
	done
elif [ "${QUARRY_TEST_REQUIRE:-0}" = 1 ]; then
	complain "no C++ compiler"
else
	echo "no C++ compiler: C only"
fi
finish
