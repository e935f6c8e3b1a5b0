#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# memcached with four worker threads under preload: eight clients that verify each answer.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need memcached memcached
need python3 python3

port=$(free_port)
user=()
if [ "$(id -u)" = 0 ]; then
	user=(-u root)
fi
# 1 GiB, so that nothing is evicted. Slabs come by malloc as they are needed, connections by malloc and free.
start_server "$port" memcached -l 127.0.0.1 -p "$port" -U 0 -t 4 -m 1024 "${user[@]}"
for round in 1 2 3; do
	python3 "$(dirname "$0")/memcached_client.py" "$port" "${QUARRY_TEST_SECONDS:-4}" 8 "$round"
	printf 'flush_all\r\nquit\r\n' >"/dev/tcp/127.0.0.1/$port"
done
expect_preloaded "$server"
