#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quarry doctor: on this system, and on the files of others where something is bad.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"

# --- this system: whatever it says, it ends with 0 or 1 and has looked at everything ---
status=0
"$quarry" doctor >"$scratch/out" 2>&1 || status=$?
[ "$status" -le 1 ] || complain "status $status"
said '^good  library  .*/libquarry_malloc\.so[.0-9]*, version [0-9.]+, serves malloc when it is preloaded$'
for subject in options kernel 'page size' 'huge pages' overcommit 'mapping limit' 'control group' nodes inspection \
	'address space' processors membarrier rseq; do
	said "^(good|note|bad ) +$subject "
done
if grep -q '^bad' "$scratch/out"; then wanted=1; else wanted=0; fi
[ "$status" -eq "$wanted" ] || complain "status $status does not fit what was said"

# --- the library and the options ---
expect 1 "$quarry" doctor --library=/nonexistent.so
said '^bad   library  +none at /nonexistent\.so$'
echo 'int nothing;' >"$scratch/other.c"
"${cc[@]}" -shared -fPIC -o "$scratch/other.so" "$scratch/other.c"
expect 1 "$quarry" doctor --library="$scratch/other.so"
said '^bad   library .*cannot be preloaded'
QUARRY_CONF=decay_ms:1,purge:never,colour:red expect 1 "$quarry" doctor
said '^bad   options  +QUARRY_CONF: purge:never is not valid'
said '^bad   options  +QUARRY_CONF: colour:red is not valid'
not_said 'decay_ms:1 is not valid'

# --- another system ---
root=$scratch/root
group=$root/sys/fs/cgroup/system.slice
mkdir -p "$root/proc/sys/kernel/yama" "$root/proc/sys/vm" "$root/proc/self" "$group/server" \
	"$root/sys/kernel/mm/transparent_hugepage"
healthy() {
	echo 6.1.0-1-amd64 >"$root/proc/sys/kernel/osrelease"
	echo 0 >"$root/proc/sys/kernel/yama/ptrace_scope"
	echo 0 >"$root/proc/sys/vm/overcommit_memory"
	echo 65530 >"$root/proc/sys/vm/max_map_count"
	printf 'CommitLimit:    4194304 kB\nCommitted_AS:   1048576 kB\n' >"$root/proc/meminfo"
	printf 'Mems_allowed:\t1\nMems_allowed_list:\t0-1,4\n' >"$root/proc/self/status"
	echo 0::/system.slice/server >"$root/proc/self/cgroup"
	echo 'always [madvise] never' >"$root/sys/kernel/mm/transparent_hugepage/enabled"
	rm -f "$group"/server/* "$group"/memory.* 2>/dev/null || true
}
# look STATUS PATTERN: what is said of the other system.
look() {
	expect "$1" "$quarry" doctor --root="$root"
	said "$2"
	healthy
}
healthy
look 0 '^good  nodes  +3 \(0-1,4\)'
look 0 '^good  control group  +no memory limit$'
echo 4.9.0 >"$root/proc/sys/kernel/osrelease"
look 1 '^bad   kernel  +Linux 4\.9\.0$'
echo 1000 >"$root/proc/sys/vm/max_map_count"
look 1 '^bad   mapping limit  +1000 mappings'
echo 2 >"$root/proc/sys/vm/overcommit_memory"
look 0 '^note  overcommit  +never \(2\), with 3\.0 GiB left'
echo 2 >"$root/proc/sys/vm/overcommit_memory"
printf 'CommitLimit:    4194304 kB\nCommitted_AS:   4194304 kB\n' >"$root/proc/meminfo"
look 1 '^bad   overcommit '
echo 3 >"$root/proc/sys/kernel/yama/ptrace_scope"
look 1 '^bad   inspection '
echo 1 >"$root/proc/sys/kernel/yama/ptrace_scope"
look 0 '^note  inspection '
# The limit of the group above counts.
echo max >"$group/server/memory.max"
echo 104857600 >"$group/memory.max"
echo 10485760 >"$group/memory.current"
look 0 '^good  control group  +10\.0 MiB of 100\.0 MiB in use$'
echo 104857600 >"$group/server/memory.max"
echo 104000000 >"$group/server/memory.current"
look 1 '^bad   control group '
echo 104857600 >"$group/server/memory.max"
echo 1048576 >"$group/server/memory.current"
echo 52428800 >"$group/server/memory.high"
look 0 '^note  control group .*memory\.high 50\.0 MiB'
finish
