#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Check the models of the protocols exhaustively with spin, then each of their mutations, which must be caught:
# run.sh [MODEL...], by default all. A line per run, and one per model at the end; status 0 only if all is as it must be.
#
# The table below says what is run. A mutation leaves out or misplaces one step of a protocol; where the model finds no
# error then, it checks nothing. QUARRY_MODEL_JOBS runs at a time (2), each below 60 s and 2 GB on one idle core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

skip() {
	echo "skipped: $1"
	exit 77
}
command -v spin >/dev/null || skip "spin is not installed (Debian: spin)"
compiler=${CC:-gcc}
read -r -a compile <<<"$compiler"
command -v "${compile[0]}" >/dev/null || skip "no C compiler: ${compile[0]}"

# --- what is run -----------------------------------------------------------------------------------------------------

models=(claim fork_lists remote park retire fork_locks)

# runs: each word a run, its switches joined by commas; "-" stands for none. mutations: as runs.
declare -A runs mutations
runs[claim]="BLOCKS=3,OPS=3 ACTIONS=3 WITHDRAW,OPS=3"
mutations[claim]="NO_BARRIER_1 NO_BARRIER_2 NO_BARRIER_3 NO_RECHECK ANNOUNCE_LATE SINK_HEAD LINK_LATE TAKE_HEAD RETAKE
	IGNORE_LOCKED KEEP_POPPED NO_CUT NO_OBEY NOT_EXACT NO_DOUBT HIDE_POPPED LATE_MAIL"
runs[fork_lists]="BLOCKS=3,OPS=3"
mutations[fork_lists]="FORK_NO_DIVERT FORK_NO_BARRIER_2 FORK_TRUST_HEAD"
runs[remote]="- THIRD=0,ACTIONS_A=1,ACTIONS_B=2 DORMANT=A,ACTIONS_A=1"
mutations[remote]="NO_LOOK LEAVE_EARLY EARLY_LOOK NO_FORWARD FORGET_PENDING LINK_LATE ADD_LATE THIRD=0,LOOSE_MOVE"
runs[park]="- LIVES=1,OPS=2"
mutations[park]="OBTAIN_UNLOCKED ATTACH_UNLOCKED OFFER_EARLY KEEP_CURRENT KEEP_KIND RINGS_FIRST SKIP_PARKED
	WARM=0,KEEP_ALL"
runs[retire]="- ARENAS=2,PURGERS=2"
mutations[retire]="NO_GRACE NO_PASS NO_VISIT NO_PINS PINS_OUTSIDE NOT_EMPTY UNLIST_LATE DELETE_LATE
	ADMIT_LATE ASK_EARLY
	ARENAS=2,PURGERS=2,ANY_TIME"
runs[fork_locks]="-"
mutations[fork_locks]="URCU_LAST SHARED_FIRST NO_TRY GRACE_IN_VISIT PURGE_OUTSIDE_VISIT NO_REBUILD
	RETIRE_WHILE_REGISTERING"

# --- one run ---------------------------------------------------------------------------------------------------------

# check MODEL SWITCHES OUTPUT OPTIMISATION: leaves the checker's report in OUTPUT, and its status in OUTPUT.status.
check() {
	local source=$PWD/$1.pml output=$3 directory=$3.d switches=() word status=0
	for word in ${2//,/ }; do
		[ "$word" = - ] || switches+=("-D$word")
	done
	mkdir "$directory"
	cd "$directory"
	{
		spin -a "${switches[@]}" "$source" &&
			"${compile[@]}" -w "$4" -DSAFETY -DCOLLAPSE -DMEMLIM=2000 -o checker pan.c &&
			timeout 300 ./checker -m100000 -w24 -n
	} >"$output" 2>&1 || status=$?
	echo "$status" >"$output.status"
	rm -rf "$directory"
}

# What a report says: clean (all states seen, no error), caught (an assertion or a deadlock) or broken.
verdict() {
	local output=$1
	if [ "$(<"$output.status")" -ne 0 ] || ! grep -q 'errors: ' "$output"; then
		echo broken
	elif grep -q 'errors: 0' "$output"; then
		grep -Eq 'Search not completed|max search depth too small' "$output" && echo broken || echo clean
	elif grep -Eq 'assertion violated|invalid end state \(' "$output"; then
		echo caught
	else
		echo broken
	fi
}

# Figures of a report.
states_of() { awk '/states, stored/ { print $1 }' "$1"; }
seconds_of() { awk '/elapsed time/ { print $4 }' "$1"; }
megabytes_of() { awk '/total actual memory usage/ { printf "%d\n", $1 + 1 }' "$1"; }

# --- all -------------------------------------------------------------------------------------------------------------

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -eq 0 ] || models=("$@")

running=0
for model in "${models[@]}"; do
	[ -n "${runs[$model]:-}" ] || {
		echo "no such model: $model"
		exit 2
	}
	optimisation=-O1
	for switches in ${runs[$model]} -- ${mutations[$model]}; do
		if [ "$switches" = -- ]; then
			optimisation=-O0 # short runs: compiling takes longer
			continue
		fi
		if [ "$running" -ge "${QUARRY_MODEL_JOBS:-2}" ]; then
			wait -n
			running=$((running - 1))
		fi
		(check "$model" "$switches" "$work/$model:$switches" "$optimisation") &
		running=$((running + 1))
	done
done
wait

failed=0
summary=()

# complain OUTPUT MODEL SWITCHES WHAT
complain() {
	failed=$((failed + 1))
	echo "$2 $3: $4"
	tail -n 40 "$1"
}

for model in "${models[@]}"; do
	states=0 seconds=0 megabytes=0 nruns=0 caught=0 nmutations=0
	for switches in ${runs[$model]}; do
		output=$work/$model:$switches
		nruns=$((nruns + 1))
		result=$(verdict "$output")
		if [ "$result" != clean ]; then
			complain "$output" "$model" "$switches" "$result"
			continue
		fi
		n=$(states_of "$output") s=$(seconds_of "$output") mb=$(megabytes_of "$output")
		echo "$model $switches: $n states, $s s, $mb MB, no error"
		states=$((states + n))
		seconds=$(awk -v a="$seconds" -v b="$s" 'BEGIN { print a + b }')
		[ "$megabytes" -ge "$mb" ] || megabytes=$mb
	done
	for switches in ${mutations[$model]}; do
		output=$work/$model:$switches
		nmutations=$((nmutations + 1))
		result=$(verdict "$output")
		if [ "$result" != caught ]; then
			complain "$output" "$model" "$switches" "$result, but it must be caught"
			continue
		fi
		caught=$((caught + 1))
		error=$(grep -Eo -m 1 'assertion violated|invalid end state' "$output")
		echo "$model $switches: caught after $(seconds_of "$output") s, $error"
	done
	figures="$nruns runs, $states states, $seconds s, at most $megabytes MB"
	summary+=("$model: $figures; $caught of $nmutations mutations caught")
done
printf '%s\n' "${summary[@]}"
[ "$failed" -eq 0 ] || echo "failed: $failed"
[ "$failed" -eq 0 ]
