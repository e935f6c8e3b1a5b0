# SPDX-License-Identifier: MIT
"""Work for bench/python, one kind a run: python.py KIND TIMES. Each prints what it computed, the same everywhere."""

import json
import re
import sys
import threading


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y


def numbers(count, seed):
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        yield seed >> 4


def churn(count=400000, window=50000):
    """Objects, tuples and lists that come and go in no order."""
    kept = [None] * window
    for at, number in enumerate(numbers(count, 1)):
        kept[number % window] = (Point(at, number), [at] * (number % 30), str(number))
    return sum(len(entry[1]) for entry in kept if entry)


def json_text(records=30000):
    """A document of many small objects, written and read."""
    document = [{"id": n, "name": "name %d" % n, "tags": ["a%d" % n, "b%d" % (n % 7)], "at": {"x": n / 3, "y": -n}}
        for n in range(records)]
    text = json.dumps(document)
    again = json.loads(text)
    return len(text) + len(json.dumps(again, indent=1, sort_keys=True))


def dictionary(keys=60000, changes=400000):
    """A table that grows, changes and shrinks, with tables as its values."""
    table = {}
    for number in numbers(changes, 2):
        key = "key%d" % (number % keys)
        if number % 3:
            table[key] = {"count": number, key: (number, key)}
        else:
            table.pop(key, None)
    return sum(len(value) for value in table.values())


def floats(bodies=40, steps=300):
    """Arithmetic whose every result is a new object."""
    places = [[n * 0.37 % 1.0, n * 0.71 % 1.0, 0.0, 0.0] for n in range(bodies)]
    for _ in range(steps):
        for one in places:
            ax = ay = 0.0
            for other in places:
                dx, dy = other[0] - one[0], other[1] - one[1]
                pull = 1.0 / (dx * dx + dy * dy + 0.01) ** 1.5
                ax += dx * pull
                ay += dy * pull
            one[2] += ax * 1e-5
            one[3] += ay * 1e-5
        for one in places:
            one[0] += one[2]
            one[1] += one[3]
    return "%.9f" % sum(one[0] for one in places)


def expressions(lines=40000):
    """Regular expressions over log lines: matches, groups, splits, substitutions."""
    line = re.compile(r"(?P<host>[a-z]+\d*)\.(\w+) \[(\d+):(\d+)\] \"(GET|PUT) /([^ ]*)\" (\d{3})")
    total = 0
    for number in numbers(lines, 3):
        text = 'web%d.site [%d:%d] "GET /item/%d?a=%d" 200 and more' % (number % 90, number % 24, number % 60, number,
            number % 7)
        found = line.match(text)
        total += len(found.groupdict()["host"]) + len(re.split(r"[/?= ]", text)) + len(re.sub(r"\d", "##", text))
        total += len(re.findall(r"\w+", text))
    return total


def threads(count=4):
    """Threads that each make what the next one drops."""
    results = [0] * count
    slots = [[None] * 4000 for _ in range(count)]

    def work(which):
        mine, theirs = slots[which], slots[(which + 1) % count]
        for number in numbers(60000, which):
            mine[number % 4000] = [number, "x" * (number % 200), {"n": number}]
            theirs[(number >> 5) % 4000] = None
            results[which] += number % 3

    started = [threading.Thread(target=work, args=(which,)) for which in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return results


KINDS = {"objects": churn, "json": json_text, "dict": dictionary, "float": floats, "re": expressions, "threads": threads}
for _ in range(int(sys.argv[2])):
    print(KINDS[sys.argv[1]]())
