#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# nginx under preload, two worker processes with thread pools: files of all sizes, plain, compressed and in ranges, are
# fetched by several clients at once and compared; a reload in between replaces the workers.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

PATH=$PATH:/usr/sbin:/sbin
need nginx nginx
need curl curl

port=$(free_port)
url=http://127.0.0.1:$port
user=""
if [ "$(id -u)" = 0 ]; then
	user="user root;"
fi
mkdir "$work/files" "$work/temporary" "$work/fetched"

# Text that compresses, 1 byte to 3 MB.
for i in {1..60}; do
	head -c "$((i * i * 800 + i - 800))" < <(seq "$i" "$((i * i * 200 + i))") >"$work/files/$i.txt"
done

cat >"$work/nginx.conf" <<CONF
$user
worker_processes 2;
daemon off;
pid $work/nginx.pid;
error_log $work/error.log warn;
events { worker_connections 512; }
http {
	access_log off;
	default_type text/plain;
	client_body_temp_path $work/temporary/body;
	proxy_temp_path $work/temporary/proxy;
	fastcgi_temp_path $work/temporary/fastcgi;
	uwsgi_temp_path $work/temporary/uwsgi;
	scgi_temp_path $work/temporary/scgi;
	aio threads;
	sendfile off;
	gzip on;
	gzip_min_length 1;
	gzip_types text/plain;
	server {
		listen 127.0.0.1:$port;
		root $work/files;
		location /through/ { proxy_pass http://127.0.0.1:$port/; }
	}
}
CONF

# Workers that a reload replaced end by and by: what is asked of each is asked of those that are still there.
expect_preloaded_workers() {
	local pid seen=0
	for pid in $(pgrep -P "$server"); do
		if (expect_preloaded "$pid") 2>"$work/said"; then
			seen=$((seen + 1))
		elif grep -q . "/proc/$pid/maps" 2>/dev/null; then
			fail "a worker: $(<"$work/said")"
		fi
	done
	[ "$seen" -gt 0 ] || fail "the workers are gone"
}

# fetch_all LABEL CURL-OPTION...: 60 files by 6 clients, each over one connection, directly and through the proxy.
fetch_all() {
	local label=$1 client i clients=()
	shift
	for client in {0..5}; do
		(
			list=()
			for i in {1..60}; do
				if [ $((i % 6)) = "$client" ]; then
					list+=(-o "$work/fetched/$label.$i" "$url/$i.txt")
					list+=(-o "$work/fetched/$label.through.$i" "$url/through/$i.txt")
				fi
			done
			curl -sS --fail --max-time 60 "$@" "${list[@]}"
		) &
		clients+=("$!")
	done
	for client in "${clients[@]}"; do
		wait "$client" || fail "curl has failed ($label)"
	done
	for i in {1..60}; do
		cmp "$work/files/$i.txt" "$work/fetched/$label.$i" || fail "$i.txt differs ($label)"
		cmp "$work/files/$i.txt" "$work/fetched/$label.through.$i" || fail "$i.txt differs ($label, proxy)"
	done
}

start_server "$port" nginx -p "$work/" -c "$work/nginx.conf" -e "$work/error.log"
expect_preloaded_workers
end=$((SECONDS + ${QUARRY_TEST_SECONDS:-8}))
rounds=0
while [ "$SECONDS" -lt "$end" ] || [ "$rounds" -lt 2 ]; do
	fetch_all plain
	fetch_all compressed --compressed
	curl -sS --fail -r 1000-40999 -o "$work/fetched/range" "http://127.0.0.1:$port/50.txt"
	cmp <(head -c 41000 "$work/files/50.txt" | tail -c 40000) "$work/fetched/range" || fail "a range differs"
	kill -HUP "$server"
	rounds=$((rounds + 1))
done
expect_preloaded_workers
if grep -E 'exited on signal|alert|emerg' "$work/error.log"; then
	fail "workers have failed"
fi
echo "$rounds rounds of 240 files"
