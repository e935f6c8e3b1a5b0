#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Run the library's own source under Relacy, which explores schedules and what the memory orders let a thread see; then
# the same with one thing changed in the source, which must be caught: run.sh [MODEL...], by default all.
#
# QUARRY_MODEL_EXECUTIONS of each model as it is (200000; of retire and purger, which are longer, a tenth of that), a
# fifth of that at most of each mutation. In Relacy a sequentially consistent load sees the newest value whatever came
# before it, so that the weakening of a single one of two such accesses is not always seen: the models for spin
# (tests/model/run.sh) have those orders as mutations.
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
models=(lock remote claim fork retire purger)
[ $# -eq 0 ] || models=("$@")
declare -A parts=([retire]=10 [purger]=10) # of the executions, one

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
retire|arena_list.c|s/^\t\trcu_wait_for_readers\(\);/\t\t;/
retire|arena_list.c|/^void wait_for_readers/,/^}/s/^\tarena_list_reader_(un)?lock\(\);//
retire|arena_list.c|s/^\t\trcu_list_del\(&arena->rcu_link\);/\t\t;/
retire|arena_list.c|/ \*take_empty\(/,/^}/s/^\t\tunlist\(on, arena\);//
retire|arena_list.c|s/npins == 0 && in_grace/in_grace/
retire|arena_list.c|s/ && in_grace == NULL;/;/
retire|arena_list.c|/^void arena_list_pin/,/^}/s/lock_(take|drop)\(.*\);//
retire|arena_list.c|/^bool arena_list_retire/,/^}/{s/^\tbool by_rcu.*//; s/^\tbool barrier_works.*/&\n\tbool by_rcu = has_rcu_readers;/}
retire|thread.c|s/^\tarena_list_admit_rcu\(\);//
retire|purge.c|/^void retire/,/^}/s/claim_(un)?lock\(\);//
retire|rcu.c|s/calls, memory_order_release/calls, memory_order_relaxed/
retire|rcu.c|s/memory_order_acquire/memory_order_relaxed/
retire|rcu.h|s/rcu_dereference\(link->next\)/atomic_load_explicit(\&link->next, memory_order_relaxed)/
retire|arenas.h|s/link, memory_order_release/link, memory_order_relaxed/
retire|arenas.h|/call_synchronize/,/^\t}/s/os_barrier\(\);//
purger|purge.c|/^bool may_end/,/^}/s/^\tos_barrier\(\);//
purger|purge.c|s/^\tatomic_store\(&state, NONE\);/\tbool calm = dirty_nbytes() == 0;\n&/; s/return dirty_nbytes\(\) <= DIRTY_LEAST_NBYTES/return calm/
purger|purge.c|s/ .. !atomic_compare_exchange_strong\(&state, &none, RUNNING\)//
purger|purge.c|/^void start/,/^}/s/!atomic_compare_exchange_strong.*\)\)/atomic_load(\&state) != NONE)/
purger|purge.c|s/^\tif \(!make_thread\(\)\).*/\tbool made = make_thread();/; s/^\t\tatomic_store\(&state, REFUSED\);/\tatomic_store(\&state, made ? RUNNING : REFUSED);/
purger|purge.c|s/&allowed, true, memory_order_release/\&allowed, true, relaxed/
purger|purge.c|s/&allowed, memory_order_acquire/\&allowed, relaxed/
purger|purge.c|s/call, memory_order_release/call, relaxed/
purger|purge.c|s/&consulted, memory_order_acquire/\&consulted, relaxed/
purger|purge.c|/^void purge_wake/,/^}/s/^\tos_wake\(.*//
purger|purge.c|/^void purge_wake/,/^}/{s/^\tatomic_store.*//; s/^\tos_wake.*/&\n\tatomic_store(\&wake_word, 1);/}
purger|purge.c|s/^\t\twoken = atomic_exchange.*//; s/^\t\tpressure = limit_look.*/&\n\t\twoken = atomic_exchange(\&wake_word, 0) != 0;/
purger|arena_list.c|/^struct arena_run take_old/,/^}/s/lock_(take|drop)\(.*\);//
purger|arena_list.c|s/^\t\tclean = purge_run\(run\);/\t\tarena_list_put(run.address, run.nunits, true);\n&/; s/^\t\tarena_list_put.*clean\);//
purger|arena_list.c|s/run.nunits, clean\);/run.nunits, true);/
purger|arena_list.c|/^void arena_list_put/,/^}/{s/^\taddress_map_set.*//; s/^\tlock_drop.*/&\n\taddress_map_set(address, nunits, 0);/}
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
	for file in "${members[@]}"; do
		as_members "$file" >"$1/$file"
	done
	cp ./*.h ./*.cc "$1"
}

# What arenas.h and its models include in a struct, whose members static variables and functions become. Those of plain
# types must not be raced for.
members=(address_map.h address_map.c rcu.h rcu.c arena_list.h arena_list.c thread.c purge.c walk.c)
as_members() {
	local functions=
	case $1 in
	address_map.h) functions='address_map_word' ;;
	address_map.c) functions='address_map_set' ;;
	thread.c) functions='is_registered|thread_reader_enter|thread_reader_leave|thread_may_be_reading' ;;
	walk.c) functions='walk_arena|quarry_walk|is_in_an_arena' ;;
	esac
	sed -n -E "${functions:+/^struct walk \{/,/^\}/p; /^[a-z].*[ *]($functions)\(.*\)\$/,/^\}/}p" "$lib/$1" |
		sed -E -e 's/ TOUCHED_EARLY;/;/; /^#include/d; /^extern/d; /^static/!{/^[a-z].*\);$/d}' \
			-e '/ \*open_library\(|^static bool make_thread|^bool arena_list_take_at/,/^\}/d' \
			-e 's/&rcu_linked != NULL \? &rcu_linked : //; s/([^_])slot\./\1own_slot()->/g' \
			-e 's/__atomic_load_n\((.*), __ATOMIC_RELAXED\)/atomic_load_explicit(\1, memory_order_relaxed)/' \
			-e 's/^static struct arena_object \*in_grace, \*/zeroed<struct arena_object *> in_grace, /' \
			-e 's/^(static |\t)(struct arena_object \*|unsigned |bool |uint32_t )([a-z_]+(\[BUCKETS\])?);/\1zeroed<\2> \3;/' \
			-e 's/^(static |\t)(void|int) \(\*([a-z_]+)\)\(void\);/\1zeroed<\2 (*)(void)> \3;/' \
			-e 's/_Atomic (u?int[0-9]+_t|size_t|bool|int|unsigned)/shared<\1>/' \
			-e 's/^static (const struct rcu_calls \*|char \*)_Atomic /static shared<\1> /' \
			-e 's/^static void \(\*_Atomic ([a-z]+)\)\(bool all\)/static shared<void (*)(bool all)> \1/' \
			-e 's/\? NULL : on/? (struct arena_object *)NULL : on/; s/\(uintptr_t\)arena->/(uintptr_t)(char *)arena->/' \
			-e 's/^#define BUCKETS .*/#define BUCKETS 2/; s/^#define TICKS_PER_DECAY .*/#define TICKS_PER_DECAY 1/' \
			-e 's/^#define (DIRTY_LEAST_NBYTES|QUIET_MS) .*/#define \1 0/; s/^static (inline )?//'
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

# Relacy itself takes half the time of compiling a model.
flags=(-std=gnu++17 -w)
for optimisation in -O0 -O1; do
	mkdir "$work/$optimisation"
	echo '#include <relacy/relacy.hpp>' >"$work/$optimisation/relacy.h"
	"${compile[@]}" "${flags[@]}" "$optimisation" -x c++-header -o "$work/$optimisation/relacy.h.gch" \
		"$work/$optimisation/relacy.h" &
done
wait

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
mkdir "$work/source"
prepare "$work/source"
for model in "${models[@]}"; do
	cp -r "$work/source" "$work/$model"
	names+=("$model")
	in_background check "$model" "$((executions / ${parts[$model]:-1}))" -O1 "$work/$model"
	n=0
	while IFS='|' read -r of file change; do
		[ "$of" = "$model" ] || continue
		n=$((n + 1))
		name=$model:$n
		cp -r "$work/source" "$work/$name"
		sed -i -E "$change" "$work/$name/$file"
		echo "$file: $change" >"$work/$name/what"
		if cmp -s "$work/$name/$file" "$work/source/$file"; then
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
