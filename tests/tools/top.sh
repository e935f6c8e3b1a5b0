#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# quarry top: its views as plain text, the list of processes, and a terminal with keys, the process's end included.
set -euo pipefail
# shellcheck source=tests/tools/common.sh
. "$QUARRY_SOURCE_DIR/tests/tools/common.sh"
command -v python3 >/dev/null || skip "python3 is missing; Debian package: python3"

mkfifo "$scratch/in" "$scratch/ready"
"$quarry" run "$build_dir/tests/tools/subject" churn <"$scratch/in" >"$scratch/ready" &
pid=$!
exec 3>"$scratch/in" 4<"$scratch/ready"
read -r _ <&4

# --- plain text ---
top=("$quarry" top --batch --delay=0.1)
expect 0 "${top[@]}" --iterations=3 "$pid"
[ "$(grep -c "^subject ($pid) on Quarry" "$scratch/out")" -eq 3 ] || complain "not three looks"
said 'subject-1'
said '  a second: [1-9][0-9]* refills'
for view in heaps:CACHED classes:OUT arenas:USED% nodes:DIRTY; do
	expect 0 "${top[@]}" --iterations=1 --view="${view%:*}" "$pid"
	said "${view#*:}"
done
expect 0 "${top[@]}" --iterations=1 --view=map "$pid"
said '^     0  HH'
# By bytes out, the class of what the subject holds comes first.
expect 0 "${top[@]}" --iterations=1 --view=classes --sort=out "$pid"
[ "$(sed -n '/CLASS/{n;p}' "$scratch/out" | awk '{ print $2 }')" = 1024 ] || complain "not sorted"

# --- which processes ---
expect 0 "$quarry" top
said "^ *$pid  subject "

# --- wrong requests ---
expect 125 "$quarry" top --view=colour "$pid"
said 'heaps, classes, arenas, nodes or map'
expect 125 "$quarry" top --sort=colour "$pid"
said 'no column of heaps'
expect 125 "$quarry" top --delay=0 "$pid"
said 'takes 0\.1 to 3600'
expect 125 "$quarry" top core
said 'not the number of a process'
expect 1 "$quarry" top --batch 2147483647
said 'there is no process 2147483647'

# --- a terminal: each key, then what must be on the screen ---
cat >"$scratch/keys.py" <<'PROGRAM'
import fcntl, os, pty, select, struct, sys, termios, time

quarry, pid = sys.argv[1:3]
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "xterm-256color"
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))  # before anybody asks for it
    os.execl(quarry, "quarry", "top", "--delay=0.2", pid)
screen = b""

def wait_for(wanted):
    global screen
    end = time.time() + 20
    while wanted not in screen:
        if not select.select([terminal], [], [], max(0, end - time.time()))[0]:
            sys.exit("not on the screen: %r, but %r" % (wanted, screen[-3000:]))
        try:
            screen += os.read(terminal, 65536)
        except OSError:
            sys.exit("ended before %r: %r" % (wanted, screen[-3000:]))
    screen = b""

wait_for(b"STATE")
for key, wanted in ((b"c", b"CLASS"), (b"a", b"BLOCKS OUT"), (b"n", b"DIRTY"), (b"m", b"tenths full"), (b"?", b"sort by the"),
                    (b"t", b"REMOTE/s"), (b" ", b"paused")):
    os.write(terminal, key)
    wait_for(wanted)
for key in (b">", b"<", b"r", b"\x1b[B", b"\x1b[A", b"\x1b[C", b"+", b"-", b" "):
    os.write(terminal, key)
os.kill(int(pid), 15)
wait_for(b"has ended")
os.write(terminal, b"q")
try:
    while os.read(terminal, 65536):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PROGRAM
if "$quarry" top "$pid" </dev/null 2>&1 | grep -q 'without ncurses'; then
	[ "${QUARRY_TEST_REQUIRE:-0}" != 1 ] || complain "built without ncurses; Debian package: libncurses-dev"
else
	expect 125 "$quarry" top "$pid" </dev/null
	said 'this is no terminal; --batch'
	expect 0 timeout 120 python3 "$scratch/keys.py" "$quarry" "$pid" 3>&-
	cat "$scratch/out"
fi
exec 3>&- 4<&-
wait "$pid" || true # killed there
finish
