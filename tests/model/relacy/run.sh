#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Run the library's own source under Relacy, which explores schedules and what the memory orders let a thread see; then
# the same with one thing changed in the source, which must be caught: run.sh [MODEL...], by default all.
#
# QUARRY_MODEL_EXECUTIONS of each model as it is (200000), a fifth of that at most of each mutation. In Relacy a
# sequentially consistent load sees the newest value whatever came before it, so that the weakening of a single one of
# two such accesses is not always seen: the models for spin (tests/model/run.sh) have those orders as mutations.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
lib=$PWD/../../../lib

skip() {
	echo "skipped: $1"
	exit 77
}
[ -e /usr/include/relacy/relacy.hpp ] || skip "Relacy is not installed (Debian: relacy-dev)"
[ -n "${QUARRY_HAVE_CXX-yes}" ] || skip "no C++ compiler (Debian: g++)"
read -r -a compile <<<"${CXX:-g++}"
executions=${QUARRY_MODEL_EXECUTIONS:-200000}
models=(lock remote claim fork)
[ $# -eq 0 ] || models=("$@")

# A line each: model, file of lib/, what is changed (sed -E).
mutations='
lock|lock.h|s/&expected, 1, memory_order_acquire/\&expected, 1, memory_order_relaxed/
lock|lock.h|s/atomic_exchange\(&lock->word, 0\)/atomic_exchange_explicit(\&lock->word, 0, memory_order_relaxed)/
lock|lock.h|s/, 0\) == 2/, 0) == 3/
lock|lock.c|s/lock->word, 2, memory_order_acquire/lock->word, 2, memory_order_relaxed/
lock|lock.c|s/&expected, 1, memory_order_acquire/\&expected, 1, memory_order_relaxed/
lock|lock.c|s/os_wake\(.*\);//
remote|remote.c|s/(atomic_compare_exchange_weak)(\(.*), head\)\)/\1_explicit\2, head, relaxed, relaxed))/
remote|remote.c|s/(atomic_compare_exchange_weak)(\(.*), head\)\)/\1_explicit\2, head, memory_order_release, relaxed))/
remote|remote.c|s/inbox, NULL, memory_order_acquire/inbox, NULL, relaxed/
remote|remote.c|s/atomic_load\(&owner->inbox\)/atomic_load_explicit(\&owner->inbox, relaxed)/
remote|remote.c|s/^\trelieve\(heap\);//
remote|remote.c|s/word_owner\(word\) == heap->id/true/
claim|cache.h|/^static force_inline struct heap .cache_announce/,/^}/{s/^\tatomic_store_explicit.*/\tstruct heap *early = atomic_load_explicit(\&own_slot()->current, memory_order_relaxed);\n&/; s/return .*/return early;/}
claim|cache.h|/^static force_inline bool cache_push/,/^}/{s/^\tblock_set_next.*/\tstruct block *old = cache->head[szidx];/; s/^\tcache->head\[szidx\] = block;/&\n\tblock_set_next(block, old);/}
claim|claim.c|/^static bool finish/,/note_head/s/!os_barrier\(\)/false/
claim|claim.c|/each\(visit, step_note_head\)/,/note_link/s/!os_barrier\(\)/false/
claim|claim.c|/each\(visit, step_note_link\)/,/step_take/s/!os_barrier\(\)/false/
claim|shim.h|s/^.*atomic_thread_fence_seq_cst.*$/\t\t\t;/
claim|claim.c|s/!note_holds\(heap\)\)$/false)/
claim|claim.c|/^static void divert/,/^}/s/^\tatomic_store_explicit.*//
claim|claim.c|s/chain = heap->seen_next;/;/
claim|claim.c|s/block_set_next\(left\[n - 1\], NULL\);/;/
claim|claim.c|/^void claim_settle/,/^}/s/^\t\tsettle_taken\(heap\);/\t\t;/
fork|claim.c|s/^\tfor_doubtful\(divert\);/\t;/
fork|claim.c|/^void claim_prepare_fork/,/note_head/s/!os_barrier\(\)/false/
fork|claim.c|/for_doubtful\(note_head\)/,/note_link/s/!os_barrier\(\)/false/
fork|claim.c|/for_doubtful\(note_link\)/,/all_notes_hold/s/!os_barrier\(\)/false/
fork|claim.c|s/notes_are_good = all_notes_hold\(\);/notes_are_good = true;/
fork|claim.c|s/heap->taken \? NULL : heap->seen_next;/heap->seen_head;/
remote|remote.c|s/heap->pending = block_next\(block\);/;/
'

# The sources that the models compile, as C++: atomics are types of the shim, and lists are short.
prepare() {
	local file
	for file in lock.h lock.c slot.h remote.h remote.c cache.h claim.h claim.c; do
		sed -E -e 's/_Atomic (u?int[0-9]+_t)/shared<\1>/g; s/struct block \*\*(link|chain)/block_link *\1/g' \
			-e 's/struct heap \*_Atomic/shared<struct heap *>/; /^extern (thread_local_ie struct slot|_Atomic bool)/d' \
			-e '/^static (struct lock visit_lock|_Atomic unsigned holders)/d; s/([^_])slot\./\1own_slot()->/g' \
			-e 's/&slot([^_a-z])/own_slot()\1/g; s/struct block \*\*head_of/block_link *head_of/' \
			-e 's/struct block \*\*head = (.*), \*chain = /block_link *head = \1; struct block *chain = /' \
			-e 's/struct block \*\*head/block_link *head/; s/struct block \*const \*place/const block_link *place/' \
			-e 's/\*\(struct block \*const volatile \*\)place/*place/; s/(head->next|tail) = NULL;/\1 = (struct block *)NULL;/' \
			-e 's/^#define SPINS .*/#define SPINS 1/; s/static thread_local_ie volatile/static thread_local/' \
			"$lib/$file" >"$1/$file"
	done
	cp shim.h ./*.cc "$1"
}

# check MODEL EXECUTIONS OPTIMISATION DIRECTORY: its report is DIRECTORY/report, with its status at the end.
check() {
	local status=0
	{
		"${compile[@]}" -std=gnu++17 "$3" -w -iquote "$lib" -o "$4/model" "$4/$1.cc" &&
			timeout 300 "$4/model" "$2"
	} >"$4/report" 2>&1 || status=$?
	echo "status $status" >>"$4/report"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

running=0
in_background() {
	if [ "$running" -ge "${QUARRY_MODEL_JOBS:-2}" ]; then
		wait -n
		running=$((running - 1))
	fi
	"$@" &
	running=$((running + 1))
}

# --- all -------------------------------------------------------------------------------------------------------------

failed=0
names=()
for model in "${models[@]}"; do
	mkdir "$work/$model"
	prepare "$work/$model"
	names+=("$model")
	in_background check "$model" "$executions" -O1 "$work/$model"
	n=0
	while IFS='|' read -r of file change; do
		[ "$of" = "$model" ] || continue
		n=$((n + 1))
		name=$model:$n
		mkdir "$work/$name"
		prepare "$work/$name"
		sed -i -E "$change" "$work/$name/$file"
		echo "$file: $change" >"$work/$name/what"
		if cmp -s "$work/$name/$file" "$work/$model/$file"; then
			echo "$name: $file: $change: changes nothing"
			failed=$((failed + 1))
			continue
		fi
		names+=("$name")
		in_background check "$model" "$((executions / 5))" -O0 "$work/$name"
	done <<<"$mutations"
done
wait

caught=0 tried=0
for name in "${names[@]}"; do
	report=$work/$name/report
	figures=$(grep -a ' executions, ' "$report" | tail -n 1) || figures="no result"
	if [[ $name != *:* ]]; then
		echo "$name: $figures"
		[[ $figures = *"no error" ]] || { tail -n 60 "$report" | tr -cd '[:print:]\n'; failed=$((failed + 1)); }
		continue
	fi
	tried=$((tried + 1))
	case $figures in
	*"DATA RACE" | *DEADLOCK | *"ASSERT FAILED")
		caught=$((caught + 1))
		echo "$name: $(<"$work/$name/what"): caught, $figures"
		;;
	*)
		failed=$((failed + 1))
		echo "$name: $(<"$work/$name/what"): $figures, but it must be caught"
		tail -n 5 "$report" | tr -cd '[:print:]\n'
		;;
	esac
done
echo "${#models[@]} models; $caught of $tried mutations caught; failed: $failed"
[ "$failed" -eq 0 ]
