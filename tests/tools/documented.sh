#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Keys, values and commands are the same in the library, quarry.conf(5), README, quarry(1) and the completion.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"

# compare WHERE FILE: against the keys and values of the table.
compare() {
	sort "$2" | diff "$scratch/keys" - >"$scratch/diff" && return
	complain "$1: keys (< of the library, > of $1)"
	cat "$scratch/diff"
}

"$quarry" run --list | cut -f 1,2 | sort >"$scratch/keys"
[ -s "$scratch/keys" ] || complain "no keys"
sed -n 's/^\.It Cm \([a-z_]*\) : Ns \(Brq Cm\|Ar\) \(.*\)$/\1\t\3/p' "$source_dir/man/quarry.conf.5" | sed 's/ | /|/g' \
	>"$scratch/manual"
compare "quarry.conf(5)" "$scratch/manual"
# shellcheck disable=SC2016
sed -n 's/^| `\([a-z_]*\)` *| \([^|]*[^| ]\) *|.*/\1\t\2/p' "$source_dir/README.md" |
	sed 's/`, `/|/g; s/`//g; s/ to /../' | grep -P '^[a-z_]+\t[a-z0-9|._:]+$' >"$scratch/readme"
compare README "$scratch/readme"

commands=$("$quarry" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
[ -n "$commands" ] || complain "no commands"
for command in $commands; do
	grep -q "^\.Ss quarry $command\$" "$source_dir/man/quarry.1" || complain "quarry(1) does not describe $command"
	expect 0 "$quarry" "$command" --help
	said "^usage: quarry $command"
	mapfile -t switches < <(sed -n 's/^  \(--[a-z_]*\).*/\1/p' "$scratch/out")
	for switch in "${switches[@]}"; do
		grep -q -- "Fl -${switch#--}" "$source_dir/man/quarry.1" "$source_dir/man/quarry.conf.5" ||
			grep -q "^${switch#--}	" "$scratch/keys" || complain "quarry(1) lacks $switch of $command"
	done
done

# --- completion ---
# complete LINE: what bash would offer, one a line.
complete_line() {
	bash -c '
		. "$1"
		compopt() { :; }
		COMP_LINE=$2 COMP_POINT=${#2}
		_quarry "$3"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$source_dir/tools/completions/quarry" "$1" "$quarry"
}
# offers LINE WORD
offers() {
	complete_line "$1" >"$scratch/offers"
	grep -qx -- "$2" "$scratch/offers" || complain "completion of \"$1\" lacks $2"
}
for command in $commands; do
	offers "quarry ${command:0:2}" "$command"
	for switch in $("$quarry" "$command" --help | sed -n 's/^  \(--[a-z_]*=\{0,1\}\).*/\1/p'); do
		offers "quarry $command --" "$switch"
	done
done
[ "$(complete_line "quarry run --purge=i")" = inline ] || complain "completion of a value"
offers "quarry run --purge=" thread
offers "quarry run sor" sort
finish
