#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Load for memcached that verifies each answer: memcached_client.py PORT SECONDS [CLIENTS [SEED]]

Each client is a process with keys of its own and a dictionary that says what the server must answer. The server must
be large enough to evict nothing.
"""

import multiprocessing
import random
import socket
import sys
import time


class Client:
    def __init__(self, port, number, seed):
        self.random = random.Random(seed * 1000 + number)
        self.prefix = b"client%d:" % number
        self.expected = {}
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.stream = self.socket.makefile("rb")
        self.done = 0

    def key(self):
        return self.prefix + b"%d" % self.random.randrange(2000)

    def value(self):
        nbytes = int(2 ** self.random.uniform(0, 17 if self.random.random() < 0.05 else 12))
        start = self.random.randrange(256)
        return bytes((start + i) % 251 for i in range(min(nbytes, 251))) * (nbytes // 251 + 1)

    def ask(self, request):
        self.socket.sendall(request)
        return self.stream.readline().rstrip(b"\r\n")

    def expect(self, what, answer, right):
        if answer != right:
            raise SystemExit("%s: answered %r, expected %r" % (what, answer[:80], right[:80]))

    def store(self):
        key, value = self.key(), self.value()
        answer = self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        self.expect("set", answer, b"STORED")
        self.expected[key] = value

    def append(self):
        key, value = self.key(), self.value()[:300]
        answer = self.ask(b"append %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
        self.expect("append", answer, b"STORED" if key in self.expected else b"NOT_STORED")
        if key in self.expected:
            self.expected[key] += value

    def delete(self):
        key = self.key()
        answer = self.ask(b"delete %s\r\n" % key)
        self.expect("delete", answer, b"DELETED" if key in self.expected else b"NOT_FOUND")
        self.expected.pop(key, None)

    def get_many(self):
        """Several keys at once: the server builds its answer of many parts."""
        keys = sorted({self.key() for _ in range(self.random.choice((1, 1, 5, 40)))})
        self.socket.sendall(b"get " + b" ".join(keys) + b"\r\n")
        answers = {}
        while True:
            line = self.stream.readline().rstrip(b"\r\n")
            if line == b"END":
                break
            word, key, _, nbytes = line.split()
            self.expect("get", word, b"VALUE")
            answers[key] = self.stream.read(int(nbytes))
            self.stream.read(2)
        for key in keys:
            self.expect("get", answers.get(key, b"(none)"), self.expected.get(key, b"(none)"))

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step = self.random.choices((self.store, self.get_many, self.delete, self.append), (5, 6, 2, 1))[0]
            step()
            self.done += 1
        for key, value in self.expected.items():
            self.expect("final get", self.ask(b"get %s\r\n" % key).split(b" ")[0], b"VALUE")
            self.expect("final get", self.stream.read(len(value)), value)
            self.expect("final get", self.stream.readline() + self.stream.readline(), b"\r\nEND\r\n")
        return self.done


def run_client(arguments):
    port, number, seed, seconds = arguments
    return Client(port, number, seed).run(seconds)


def main():
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    clients = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    with multiprocessing.Pool(clients) as pool:
        done = pool.map(run_client, [(port, number, seed, seconds) for number in range(clients)], 1)
    print("%d clients, %d requests verified, seed %d" % (clients, sum(done), seed))


if __name__ == "__main__":
    main()
