#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quarry-python: where CPython's objects and arenas come from, the report, and what is passed on.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"

python=$build_dir/tools/quarry-python
[ -x "$python" ] || skip "quarry-python is not built; Debian package: python3-dev"
export PYTHONDONTWRITEBYTECODE=1
unset PYTHONMALLOC PYTHONDEVMODE QUARRY_PYTHON_DOMAINS

# The library tells whose an object is.
cat >"$scratch/owner.py" <<'PY'
import ctypes, os, subprocess, sys

owns = ctypes.CDLL(None).quarry_owns
owns.argtypes = [ctypes.c_void_p]
small, large = [object() for _ in range(1000)], bytearray(300000)
buffer = ctypes.addressof(ctypes.c_char.from_buffer(large))
raw = ctypes.pythonapi.PyMem_RawMalloc
raw.restype = ctypes.c_void_p
print("owns", sum(owns(id(o)) for o in small), owns(buffer), owns(raw(100)), *sys.argv[1:], flush=True)
if sys.argv[1:] == ["again"]:
    sys.exit(subprocess.run([sys.executable, __file__]).returncode)
PY

# shows STATUS DOMAINS SMALL LARGE RAW: where memory came from
shows() {
	expect 0 "$python" "$1" "$scratch/owner.py"
	said "^owns $2 $3 $4\$"
}
shows --domains=all 1000 1 1
shows --domains=arena 1000 0 0
shows --domains=none 0 0 0
expect 0 "$python" --domains=arena "$scratch/owner.py" again
[ "$(grep -c '^owns 1000 0 0' "$scratch/out")" -eq 2 ] || complain "a child by sys.executable differs"
PYTHONMALLOC=malloc expect 0 "$python" "$scratch/owner.py"
said '^owns 1000 1 1$'

# The debug hooks go over Quarry's allocators. Asked for otherwise, they are there once, too.
for hooks in "PYTHONMALLOC=debug" "PYTHONMALLOC=malloc_debug" "PYTHONDEVMODE=1"; do
	expect 0 env "$hooks" "$python" "$scratch/owner.py"
	said '^owns 1000 1 1$'
	expect 134 env "$hooks" "$python" -c 'import ctypes
raw = ctypes.pythonapi.PyMem_RawMalloc
raw.restype = ctypes.c_void_p
block = raw(100)
ctypes.memset(block + 100, 1, 1)
ctypes.pythonapi.PyMem_RawFree(ctypes.c_void_p(block))'
	said 'bad trailing pad byte'
done

# --- the report ---
cat >"$scratch/known.py" <<'PY'
import sys
kept = [bytes(100) for _ in range(20000)]
sys._debugmallocstats()
PY
expect 0 "$python" "$scratch/known.py"
said '^Quarry [0-9.]+: small block threshold = [0-9]+, in [0-9]+ size classes'
said 'free PyDictObjects'
# A bytes object of 100 has 133 bytes: all are in the class of 144.
blocks=$(awk '$2 == 144 && NF == 5 { print $4 }' "$scratch/out")
if [ "${blocks:-0}" -lt 20000 ] || [ "${blocks:-0}" -ge 22000 ]; then
	complain "20000 blocks of 144 bytes show as ${blocks:-none}"
fi
[ "$(grep -c '^Quarry' "$scratch/out")" -eq 1 ] || complain "the report came more than once"

# Its parts add up to the total.
awk '$1 == "#" || $1 == "Total" { gsub(",", "", $NF) }
	/^# bytes (in allocated|in thread|free,|given|of Quarry)/ { sum += $NF }
	$1 == "Total" && !total { total = $NF }
	END { exit !(total > 0 && sum == total) }' "$scratch/out" || complain "the parts of the report do not add up"

# At exit it comes after the program's own functions, and with the exit status that there was.
expect 3 "$python" --malloc-stats -c 'import atexit, sys
atexit.register(print, "own function", flush=True)
sys.exit(3)'
sed -n 1p "$scratch/out" | grep -qx 'own function' || complain "the report came before the program's own end"
said '^Quarry'
expect 0 "$python" --domains=arena --malloc-stats -c pass
said '^Small block threshold'
expect 0 "$python" --domains=none --malloc-stats -c pass
not_said '^Quarry'

# --- wrong requests, and python's own arguments ---
expect 125 "$python" --domains=some -c pass
said 'all, arena or none'
QUARRY_PYTHON_DOMAINS=some expect 125 "$python" -c pass
expect 0 "$python" --help
said '^usage: quarry-python'
mapfile -t switches < <(sed -n 's/^  \(--[a-z-]*\).*/\1/p' "$scratch/out")
for switch in "${switches[@]}"; do
	grep -q -- "Fl -${switch#--}" "$source_dir/man/quarry-python.1" || complain "quarry-python(1) lacks $switch"
	grep -q -- "$switch" "$source_dir/tools/completions/quarry-python" || complain "completion lacks $switch"
done
expect 0 "$python" --malloc-stats -c 'import sys; print(sys.argv, sys.flags.isolated)' --domains=none
said "\\['-c', '--domains=none'\\] 0"
expect 1 "$python" -c 'raise SystemExit("ended")'
said '^ended$'
echo 'print(6 * 7)' >"$scratch/stdin.py"
expect 0 "$python" - <"$scratch/stdin.py"
said '^42$'
finish
