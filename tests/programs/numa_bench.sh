#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# bench/numa: plans for machines that are only described, a quick run on this one, its JSON, its report and the model.
# About half a minute.
set -euo pipefail

directory=$QUARRY_BUILD_DIR/bench
for binary in kv_server kv_load load/numa_local load/numa_handoff load/numa_shared load/numa_migrate \
	load/numa_bandwidth; do
	if [ ! -x "$directory/$binary" ]; then
		echo "SKIP: no $directory/$binary"
		exit 77
	fi
done
command -v python3 >/dev/null || {
	echo "SKIP: python3 is missing; Debian package: python3"
	exit 77
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
numa=$QUARRY_SOURCE_DIR/bench/numa

# node NUMBER CPUS DISTANCES [KIB]
node() {
	mkdir -p "$here/node/node$1"
	echo "$2" >"$here/node/node$1/cpulist"
	echo "$3" >"$here/node/node$1/distance"
	printf 'Node %s MemTotal:       %s kB\n' "$1" "${4-1048576}" >"$here/node/node$1/meminfo"
}

# Four nodes with four CPUs each, in a ring: two hyperthreads a core, and a last-level cache.
here=$scratch/ring/devices/system
mkdir -p "$here/cpu"
echo 0-15 >"$here/cpu/online"
node 0 0-1,8-9 "10 16 28 16"
node 1 2-3,10-11 "16 10 16 28"
node 2 4-5,12-13 "28 16 10 16"
node 3 6-7,14-15 "16 28 16 10"
for cpu in {0..15}; do
	mkdir -p "$here/cpu/cpu$cpu/topology" "$here/cpu/cpu$cpu/cache/index3"
	echo "$((cpu % 8)),$((cpu % 8 + 8))" >"$here/cpu/cpu$cpu/topology/thread_siblings_list"
	echo 16384K >"$here/cpu/cpu$cpu/cache/index3/size"
done

# Sparse numbers, a node without CPUs, one without memory, one CPU that is not online.
here=$scratch/odd/devices/system
mkdir -p "$here/cpu"
echo 0-4 >"$here/cpu/online"
node 0 0-1 "10 20 30"
node 4 "" "20 10 20"
node 9 2-5 "30 20 10" 0

for machine in ring odd; do
	"$numa" --plan --sysfs "$scratch/$machine" >"$scratch/$machine.json"
done
"$numa" --plan --quick >"$scratch/here.json"

"$numa" --quick --build "$QUARRY_BUILD_DIR" --out "$scratch/run.json" >"$scratch/tables"
"$numa" --model "$scratch/run.json" >"$scratch/model"
"$numa" --show "$scratch/run.json" >"$scratch/again"
diff "$scratch/tables" "$scratch/again"
PYTHONDONTWRITEBYTECODE=1 python3 "$QUARRY_SOURCE_DIR/tests/programs/numa_bench.py" "$scratch"
echo "ok"
