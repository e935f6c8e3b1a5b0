#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2016  # the protocol's dollars are meant
#
# The demo's key-value server on Quarry: replies to the letter, malformed requests, a load whose every reply is
# verified, expiry, the summary, and an orderly end by signal and by command. About ten seconds.
set -euo pipefail

directory=$QUARRY_BUILD_DIR/bench
for binary in kv_server_quarry kv_load; do
	if [ ! -x "$directory/$binary" ]; then
		echo "SKIP: no $directory/$binary"
		exit 77
	fi
done

scratch=$(mktemp -d)
log=$scratch/log
cpus=$(grep -m1 ^Cpus_allowed_list: /proc/self/status | grep -o '[0-9]*' | paste -s -d,) # the ends of its ranges
pid=
port=
failures=0

clean_up() {
	if [ -n "$pid" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
	rm -rf "$scratch"
}
trap clean_up EXIT

complain() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

die() {
	echo "FAIL: $*"
	exit 1
}

start() {
	local tries
	port=
	: >"$log"
	"$directory/kv_server_quarry" --port 0 --threads 4 --cpus "$cpus" --lifetime 60 --stats >"$log" 2>&1 &
	pid=$!
	for ((tries = 0; tries < 200; tries++)); do
		port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$log")
		if [ -n "$port" ]; then return; fi
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	die "the server does not start: $(cat "$log")"
}

# The server must end within five seconds, with status 0, and print its summary last.
expect_end() {
	local tries status=0
	for ((tries = 0; tries < 100; tries++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	((tries < 100)) || die "$1: the server still runs"
	wait "$pid" || status=$?
	pid=
	((status == 0)) || complain "$1: status $status"
	[ "$(wc -l <"$log")" -gt 1 ] || complain "$1: no summary"
}

# talk REQUEST [REST]: what the server answers until it closes. The rest is sent a little later.
talk() {
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	printf '%b' "$1" >&3
	if [ $# -gt 1 ]; then
		sleep 0.1
		printf '%b' "$2" >&3
	fi
	timeout 5 cat <&3 || complain "the server neither answers nor closes: $1"
	exec 3>&-
}

# expect REPLY REQUEST [REST]: \n stands for the line end in REPLY; QUIT is added, so that the server closes.
expect() {
	local wanted=$1 reply
	shift
	reply=$(talk "${@:1:$#-1}" "${!#}QUIT\r\n" | tr -d '\r')
	[ "$reply" = "$(printf '%b' "$wanted\n+OK")" ] || complain "'$*' was answered by '$reply'"
}

# refuse TEXT REQUEST: an error with this text, then the connection is closed without more input.
refuse() {
	local reply
	reply=$(talk "$2" | tr -d '\r')
	[[ $reply == "-ERR "*"$1"* ]] || complain "malformed '$2' was answered by '$reply'"
}

check_commands() {
	expect '+PONG' 'PING\r\n'
	expect '+PONG\n$2\nhi' '*1\r\n$4\r\nPING\r\nECHO hi\r\n'
	expect '$-1\n+OK\n$5\nhello\n:5' 'GET a\r\nSET a hello\r\nGET a\r\nSTRLEN a\r\n'
	expect ':8\n$8\nhello123' 'APPEND a 123\r\nGET a\r\n'
	expect '+OK\n*3\n$1\n1\n$-1\n$1\n2' 'MSET x 1 y 2\r\nMGET x nothing y\r\n'
	expect ':2\n:1\n:2\n:1' 'INCR x\r\nINCR new\r\nEXISTS x y gone\r\nDEL new gone\r\n'
	expect ':1\n:3\n*2\n$1\nc\n$1\nb\n$1\nc\n$1\na' \
		'LPUSH l a\r\nLPUSH l b c\r\nLRANGE l 0 1\r\nLPOP l\r\nRPOP l\r\n'
	expect '*1\n$1\nb\n*0\n$1\nb\n:0' 'LRANGE l -5 -1\r\nLRANGE l 1 0\r\nLPOP l\r\nEXISTS l\r\n'
	expect ':1\n:1\n:0\n$2\nv3\n:2\n$-1' \
		'HSET h f v1\r\nHSET h g v2\r\nHSET h f v3\r\nHGET h f\r\nHLEN h\r\nHGET h none\r\n'
	expect '*2\n$4\nsave\n$0\n\n*0' 'CONFIG GET save\r\nCOMMAND DOCS\r\n'
	expect '$0\n\n+OK\n$0\n\n:1' \
		'*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*3\r\n$3\r\nSET\r\n$1\r\ne\r\n$0\r\n\r\nGET e\r\nDEL e\r\n'
	[[ $(talk 'OBJECT NODE x\r\nOBJECT NODE gone\r\nQUIT\r\n' | tr -d '\r' | grep -v '^[$+]') =~ \
		^[0-9]+' '-?[0-9]+$'\n'[0-9]+' -1'$ ]] || complain "OBJECT NODE does not say two nodes"
	# A request in two pieces, cut inside an argument, and inside a header.
	expect '$10\n0123456789' '*2\r\n$4\r\nECHO\r\n$10\r\n01234' '56789\r\n'
	expect '$10\n0123456789' '*2\r\n$4\r\nECHO\r\n$1' '0\r\n0123456789\r\n'
	expect ':4\n+OK\n:0' 'DBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n'
}

check_errors() {
	local words='-WRONGTYPE Operation against a key holding the wrong kind of value'
	expect "+OK\n$words\n$words" 'SET s v\r\nLPUSH s a\r\nHGET s f\r\n'
	expect ":1\n$words\n$words\n$words" 'LPUSH q a\r\nGET q\r\nAPPEND q a\r\nINCR q\r\n'
	expect '-ERR value is not an integer or out of range' 'INCR s\r\n'
	expect "-ERR wrong number of arguments for 'get' command" 'GET\r\n'
	expect "-ERR unknown command 'NO?SUCH'" '*1\r\n$7\r\nNO\nSUCH\r\n'
	expect '-ERR syntax error' 'SET s v NX\r\n'
	expect "-ERR invalid expire time in 'set' command" 'SET s v EX 0\r\n'
	refuse 'invalid multibulk length' '*x\r\n'
	refuse 'invalid multibulk length' '*99999999999999999999\r\n'
	refuse "expected '\$'" '*2\r\n$3\r\nGET\r\n:1\r\n'
	refuse 'invalid bulk length' '*2\r\n$3\r\nGET\r\n$-5\r\n'
	refuse 'invalid bulk length' '*2\r\n$3\r\nGET\r\n$16777217\r\n'
	refuse 'bulk without its end' '*1\r\n$4\r\nPINGxx'
	refuse 'too big a line' "$(printf '%20000s' x)"
	# A client that goes away in mid-request leaves the server as it was.
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	printf '*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc' >&3
	exec 3>&-
	expect ':0' 'EXISTS k\r\n'
}

check_expiry() {
	expect '+OK\n+OK\n:2' 'SET short v EX 1\r\nSET long v EX 1000\r\nEXISTS short long\r\n'
	sleep 1.1
	expect ':1\n$-1\n$1\nv' 'EXISTS short long\r\nGET short\r\nGET long\r\n'
}

check_load() {
	"$directory/kv_load" --port "$port" --connections 24 --keys 30000 --milliseconds 3000 --limit 60 \
		--summary "$scratch/summary" || complain "the load failed"
	[ -s "$scratch/summary" ] || complain "QUARRY STATS gives no summary"
	kill -0 "$pid" || die "the server died: $(cat "$log")"
}

start
check_commands
check_errors
check_expiry
check_load
# The end must not depend on what clients do: one is silent in mid-request, others send all the time.
exec 4<>"/dev/tcp/127.0.0.1/$port"
printf '*2\r\n$3\r\nGE' >&4
"$directory/kv_load" --port "$port" --keys 1000 --milliseconds 5000 --limit 10 >/dev/null 2>&1 &
load=$!
sleep 0.5
kill -TERM "$pid"
expect_end "SIGTERM"
wait "$load" && complain "a load ended well without a server"
exec 4>&-
start
[ "$(talk 'SHUTDOWN\r\n')" = $'+OK\r' ] || complain "SHUTDOWN is not answered"
expect_end "SHUTDOWN"

((failures == 0)) || exit 1
echo "ok"
