#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Try the schedules of each scenario (scenarios.c) on the library's own source, one thread at a time and a switch at any
# access to shared memory, as a seed says; then on the source with one thing changed, which must be caught:
# run.sh [SCENARIO...], by default all. A line per scenario and per mutation; status 0 only if all is as it must be.
#
# QUARRY_SCHEDULES seeds of each scenario (1000; some a few times as many), from QUARRY_SCHEDULE_FIRST on (1), and four
# times as many at most of each mutation. QUARRY_SCHEDULE_SEED=N run.sh SCENARIO runs that schedule alone, shows where it switched if it fails, and
# leaves the mutations out. QUARRY_SCHEDULE_JOBS at a time (2).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD
lib=$(cd ../../lib && pwd)

skip() {
	echo "skipped: $1"
	exit 77
}
read -r -a compile <<<"${CC:-gcc}"
command -v "${compile[0]}" >/dev/null || skip "no C compiler: ${compile[0]}"
"${compile[@]}" -dM -E - </dev/null | grep -q __clang__ && skip "only gcc can instrument without a runtime (CC=gcc)"
jobs=${QUARRY_SCHEDULE_JOBS:-2}
seeds=${QUARRY_SCHEDULES:-1000}
first=${QUARRY_SCHEDULE_FIRST:-1}

# A line each: scenario, file of lib/, what is changed (sed -E). Four more are not found in so few schedules and are left
# to the models: ANNOUNCE_LATE, FORK_TRUST_HEAD, LATE_MAIL, NO_PINS.
mutations='
visit|claim.c|s/if \(!note_holds\(heap\)\)/if (false)/
visit|claim.c|s/chain = heap->seen_next;/;/
visit|claim.c|s/block_set_next\(left\[n - 1\], NULL\);/;/
visit|claim.c|s/return 0; .. H was popped ../;/
visit|claim.c|s/^\tatomic_store_explicit\(&heap->slot->current, &heap_empty.*$//
visit|cache.h|/^static force_inline bool cache_push/,/^}/{s/^\tblock_set_next\(block, cache->head.*$/\tstruct block *old = cache->head[szidx];/; s/^\tcache->head\[szidx\] = block;/&\n\tcompiler_barrier();\n\tblock_set_next(block, old);/}
visit|entry.c|/^static struct block .take_from_heap/,/^}/s/^\tclaim_settle\(heap\);//
visits|heap.h|/^static inline void heap_lock/,/^}/s/lock_take\(.*\);/if (!lock_try(\&heap->lock, heap_rank(heap))) heap->lock.word = 1;/
remote|remote.c|s/^\twhile \(!atomic_compare_exchange_weak\(&owner->inbox, &seen, head\)\);/\twhile (0);\n\tatomic_store(\&owner->inbox, head);/
remote|remote.c|s/word_owner\(word\) == heap->id/true/
remote|remote.c|s/heap->pending = block_next\(block\);/;/
remote|remote.c|s/^\trelieve\(heap\);//
remote|remote.c|s/atomic_exchange_explicit\(&heap->inbox, NULL, memory_order_acquire\);/atomic_load(\&heap->inbox);\n\tatomic_store(\&heap->inbox, NULL);/
takeover|heap.c|/^struct heap .heap_obtain/,/^}/s/lock_(take|drop)\(.*\);//
takeover|heap.c|/^void heap_park/,/^}/s/lock_(take|drop)\(.*\);//
takeover|heap.c|/^void heap_give_rings/,/^}/s/heap_(un)?lock\(shared\);//
takeover|heap.c|/^static bool borrow_pool/,/^}/s/heap_(un)?lock\(shared\);//
takeover|heap.c|/^static bool register_record/,/^}/s/bool mine = .*;/bool mine = true;/
takeover|thread.c|/^static void park/,/^}/s/^\tclaim_settle\(heap\);//
takeover|thread.c|/^static void park/,/^}/s/^\theap->kind = HEAP_PARKED;//
retire|arena_list.c|/^void arena_list_put/,/^}/s/lock_(take|drop)\(.*\);//
retire|arena_list.c|s/^\t\trcu_wait_for_readers\(\);/\t\t;/
retire|arena_list.c|s/^\t\trcu_list_del\(&arena->rcu_link\);/\t\t;/
retire|arena_list.c|/^static struct arena_object .take_empty/,/^}/s/^\t\tunlist\(on, arena\);//
retire|arena_list.c|s/npins == 0 && in_grace == NULL;/npins == 0;/
retire_lock|arena_list.c|/^static void wait_for_readers/,/^}/s/arena_list_reader_(un)?lock\(\);//
fork|claim.c|s/^\tfor_doubtful\(divert\);//
fork|claim.c|s/notes_are_good = all_notes_hold\(\);/notes_are_good = true;/
fork|fork.c|s/^\tclaim_prepare_fork\(\);//
fork|fork.c|s/^\tclaim_lock\(\);//; s/^\tclaim_unlock_after_fork\(in_child\);//
fork|fork.c|s/^\tarena_list_lock_for_fork\(\);//; s/^\tarena_list_unlock_after_fork\(in_child\);//
walk|claim.c|s/^\t\tcache_flush_all\(heap\); .. what was in doubt.*$/\t\t;/
walk|claim.c|s/^\t\tobey\(heap\);/\t\tset_visited(heap, true);/
walk|claim.c|/^bool claim_hold/,/^}/s/^\tatomic_store\(&cache_exact, true\);//
walk|walk.c|s/^\t\twalk->ndoubtful \+= claim_doubtful.*$//
purger|lock.h|s/, 0\) == 2/, 0) == 3/
purger|lock.c|s/os_wake\(.*\);//
'

# --- building --------------------------------------------------------------------------------------------------------

# obmalloc's sizes: arenas that fill, and few lists.
flags=(-std=gnu11 -g -w -D_GNU_SOURCE -DQUARRY_ARENA_BITS=18 -DQUARRY_POOL_BITS=12 -DQUARRY_SMALL_REQUEST_THRESHOLD=256
	'-DQUARRY_TOPOLOGY_PATH="."' "-I$lib/../include")
read -r -a urcu <<<"${QUARRY_URCU_CFLAGS:-}"
# Calls before each access, whose runtime is scheduler.c; to the sources it is no sanitizer.
instrumented=(-O1 -fsanitize=thread -U__SANITIZE_THREAD__ -MMD)
wrapped=(os_wait os_wake os_barrier os_barrier_ready os_milliseconds getcpu pthread_create)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The rooms; not the constructor, libc's names, nor what stands by itself.
rooms() {
	local file
	for file in "$work"/source/*.c; do
		case ${file##*/} in
		init.c | layout.c | malloc.c | operators.c | rcu_linked.c | topology.c) ;;
		*) echo "${file##*/}" ;;
		esac
	done
}

# link DIRECTORY: its objects, and those of the base that it has none of.
link() {
	local objects=() room object wraps=("${wrapped[@]/#/-Wl,--wrap=}")
	for room in $(rooms); do
		object=$1/${room%.c}.o
		[ -e "$object" ] || object=$work/base/${room%.c}.o
		objects+=("$object")
	done
	"${compile[@]}" -no-pie -o "$1/scenarios" "$work"/harness/*.o "${objects[@]}" "${wraps[@]}" -pthread -ldl
}

running=0
in_background() {
	if [ "$running" -ge "$jobs" ]; then
		wait -n || exit 1
		running=$((running - 1))
	fi
	"$@" &
	running=$((running + 1))
}
all_done() {
	while [ "$running" -gt 0 ]; do
		wait -n || exit 1
		running=$((running - 1))
	done
}

compile_room() { "${compile[@]}" "${flags[@]}" "${urcu[@]}" "${instrumented[@]}" -iquote "$1" -c -o "$3" "$1/$2"; }

build_base() {
	local room file
	mkdir "$work/base" "$work/harness" "$work/source"
	cp "$lib"/*.[ch] "$work/source"
	for room in $(rooms); do
		in_background compile_room "$work/source" "$room" "$work/base/${room%.c}.o"
	done
	for file in scheduler system scenarios; do
		in_background "${compile[@]}" "${flags[@]}" "${urcu[@]}" -O2 -iquote "$lib" -c -o "$work/harness/$file.o" \
			"$here/$file.c"
	done
	all_done
	link "$work/base"
}

# mutate DIRECTORY FILE CHANGE: false if that changes nothing.
mutate() {
	local room
	mkdir -p "$1/source"
	cp "$work"/source/* "$1/source"
	sed -i -E "$3" "$1/source/$2"
	cmp -s "$work/source/$2" "$1/source/$2" && return 1
	for room in $(rooms); do
		grep -Eq "/${2//./\\.}( |\$)" "$work/base/${room%.c}.d" || continue
		compile_room "$1/source" "$room" "$1/${room%.c}.o"
	done
	link "$1"
}

# --- running ---------------------------------------------------------------------------------------------------------

# try SCENARIO DIRECTORY SEEDS: its report is DIRECTORY/SCENARIO. The last schedule once more must be the same again.
try() {
	local status=0 report=$2/$1 seed sum
	timeout 300 "$2/scenarios" "$1" "$first" "$3" >"$report" 2>&1 || status=$?
	if seed=$(grep -Eo 'seed [0-9]+ sums up to [0-9a-f]+' "$report"); then
		sum=${seed##* } seed=${seed#seed }
		QUARRY_SCHEDULE_SEED=${seed%% *} "$2/scenarios" "$1" 0 1 2>&1 | grep -q "sums up to $sum" ||
			sed -i 's/ no error/ but it does not repeat itself/' "$report"
	elif seed=$(grep -Eo 'QUARRY_SCHEDULE_SEED=[0-9]+' "$report"); then
		! env "$seed" "$2/scenarios" "$1" 0 1 &>/dev/null ||
			sed -i 's/ FAILED/ failed, but does not repeat itself/' "$report"
	fi
	echo "status $status" >>"$report"
}

try_mutation() {
	local directory=$1 scenario=$2
	shift
	if mutate "$directory" "$2" "$3" 2>"$directory.log"; then
		try "$scenario" "$directory" "$((4 * seeds))"
	else
		mkdir -p "$directory"
		{
			echo "cannot be built, or is no change"
			cat "$directory.log"
		} >"$directory/$scenario"
	fi
}

build_base
scenarios=("$@")
[ $# -gt 0 ] || mapfile -t scenarios < <("$work/base/scenarios")
if [ -n "${QUARRY_SCHEDULE_SEED:-}" ]; then
	for scenario in "${scenarios[@]}"; do
		status=0
		"$work/base/scenarios" "$scenario" 0 1 >"$work/report" 2>&1 || status=$?
		while read -r line; do
			[[ $line =~ ^step.*\ at\ (0x[0-9a-f]+)$ ]] &&
				line+=" $(addr2line -s -e "$work/base/scenarios" "${BASH_REMATCH[1]}" 2>/dev/null || true)"
			echo "$line"
		done <"$work/report"
	done
	exit "$status"
fi

for scenario in "${scenarios[@]}"; do
	in_background try "$scenario" "$work/base" "$seeds"
done
names=()
while IFS='|' read -r scenario file change; do
	if [ -z "$file" ] || [[ " ${scenarios[*]} " != *" $scenario "* ]]; then continue; fi
	names+=("${#names[@]}|$scenario|$file|$change")
	in_background try_mutation "$work/$((${#names[@]} - 1))" "$scenario" "$file" "$change"
done <<<"$mutations"
all_done

failed=0
for scenario in "${scenarios[@]}"; do
	grep -v '^status' "$work/base/$scenario"
	grep -q ' no error' "$work/base/$scenario" || failed=$((failed + 1))
done
caught=0
for name in "${names[@]}"; do
	IFS='|' read -r number scenario file change <<<"$name"
	if grep -q FAILED "$work/$number/$scenario"; then
		caught=$((caught + 1))
		echo "$scenario: $file: $change: caught, $(grep -o 'after [0-9]* schedules' "$work/$number/$scenario"):" \
			"$(head -n 1 "$work/$number/$scenario" | sed 's/^thread.*: //')"
	else
		failed=$((failed + 1))
		echo "$scenario: $file: $change: must be caught:"
		tail -n 5 "$work/$number/$scenario"
	fi
done
echo "${#scenarios[@]} scenarios of $seeds schedules; $caught of ${#names[@]} mutations caught; failed: $failed"
[ "$failed" -eq 0 ]
