# SPDX-License-Identifier: MIT
"""Requests for memcached, many in flight: memcached_load.py PORT REQUESTS. Ends the server (memcached -A)."""

import random
import socket
import sys

BATCH = 200


def batch(rng):
	"""Half sets, half gets, and how many lines of answer the sets have."""
	requests = []
	for _ in range(BATCH // 2):
		value = b"v" * int(2 ** rng.uniform(3, 12))
		requests.append(b"set key%d 0 0 %d\r\n%s\r\n" % (rng.randrange(50000), len(value), value))
		requests.append(b"get key%d\r\n" % rng.randrange(50000))
	return b"".join(requests)


def main():
	port, count = int(sys.argv[1]), int(sys.argv[2])
	rng = random.Random(1)
	batches = [batch(rng) for _ in range(200)]
	connections = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(8)]
	streams = [connection.makefile("rb") for connection in connections]
	for number in range(count // BATCH):
		at = number % len(connections)
		connections[at].sendall(batches[number % len(batches)])
		answers = 0
		while answers < BATCH:
			line = streams[at].readline()
			if line.startswith(b"VALUE"):
				streams[at].read(int(line.split()[3]) + 2)
			elif line in (b"STORED\r\n", b"END\r\n"):
				answers += 1
			else:
				raise SystemExit("memcached said %r" % line)
	connections[0].sendall(b"shutdown\r\n")


main()
