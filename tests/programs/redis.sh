#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# redis-server under preload: load, a save forked under load, reload, deletion; the data keep their digest throughout,
# and a server without preload reads the same from the file.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need redis-server redis-server
need redis-benchmark redis-tools
need redis-cli redis-tools

port=$(free_port)
options=(--bind 127.0.0.1 --dir "$work" --save '' --enable-debug-command yes --loglevel warning)

cli() {
	redis-cli -p "$port" "$@"
}

# Strings, lists, hashes, sets and sorted sets of all sizes, the same on each run.
fill='
	local function text(i, n) return string.rep(string.char(97 + i % 26), n) .. i end
	for i = 1, 4000 do
		redis.call("SET", "string:" .. i, text(i, (i * 7919) % 3000))
		redis.call("HSET", "hash:" .. i % 200, "field:" .. i, text(i, i % 500))
		redis.call("RPUSH", "list:" .. i % 50, text(i, i % 200))
		redis.call("SADD", "set:" .. i % 20, i * 31)
		redis.call("ZADD", "sorted:" .. i % 10, i % 97, text(i, i % 60))
	end
	for i = 1, 20 do redis.call("SET", "large:" .. i, text(i, i * 100000)) end
	return redis.call("DBSIZE")'

digest() {
	redis-cli -p "${1:-$port}" DEBUG DIGEST
}

wait_for_save() {
	for _ in {1..200}; do
		if cli INFO persistence | grep -q '^rdb_bgsave_in_progress:0'; then
			cli INFO persistence | grep -q '^rdb_last_bgsave_status:ok' || fail "BGSAVE failed"
			return
		fi
		sleep 0.1
	done
	fail "BGSAVE does not end"
}

start_server "$port" redis-server --port "$port" --io-threads 2 "${options[@]}"
expect_same "number of keys" 4300 "$(cli EVAL "$fill" 0)"
filled=$(digest)

# The load runs in another database; the child of BGSAVE writes the file meanwhile.
redis-benchmark -p "$port" --dbnum 1 -q -n 30000 -c 20 -P 4 -d 300 -r 20000 \
	-t set,get,incr,lpush,rpop,sadd,hset,spop,zadd,mset >"$work/benchmark.log" 2>&1 &
load=$!
for _ in 1 2 3; do
	sleep 0.3
	cli BGSAVE >/dev/null
	wait_for_save
done
wait "$load" || fail "redis-benchmark failed"
tr '\r' '\n' <"$work/benchmark.log" | grep 'requests per second' || fail "redis-benchmark says nothing"
cli -n 1 FLUSHDB >/dev/null
expect_same "digest after the load" "$filled" "$(digest)"

expect_same "DEBUG RELOAD" OK "$(cli DEBUG RELOAD)"
expect_same "digest after DEBUG RELOAD" "$filled" "$(digest)"

# Holes everywhere, then the same data again.
cli EVAL 'for i = 1, 4000, 2 do redis.call("DEL", "string:" .. i) end' 0 >/dev/null
cli MEMORY PURGE >/dev/null
cli FLUSHALL >/dev/null
cli EVAL "$fill" 0 >/dev/null
expect_same "digest when filled again" "$filled" "$(digest)"
cli BGSAVE >/dev/null
wait_for_save

plain=$(free_port)
redis-server --port "$plain" "${options[@]}" >"$work/plain.log" 2>&1 &
servers+=("$!")
for _ in {1..100}; do
	[ "$(redis-cli -p "$plain" PING 2>/dev/null || true)" = PONG ] && break
	sleep 0.1
done
expect_same "digest in a server without preload" "$filled" "$(digest "$plain")"
expect_preloaded "$server"
