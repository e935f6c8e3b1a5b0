# SPDX-License-Identifier: MIT
"""Work for a Python interpreter whose objects come from malloc: a tree, a table that changes, JSON, strings."""

import json
import sys


class Node:
    def __init__(self, key):
        self.key = key
        self.left = self.right = None


def numbers(count, seed):
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        yield seed >> 4


def tree(count):
    root = Node(1 << 25)
    for key in numbers(count, 1):
        at = root
        while at.key != key:
            side = "left" if key < at.key else "right"
            below = getattr(at, side)
            if below is None:
                below = Node(key)
                setattr(at, side, below)
            at = below
    depth, level = 0, [root]
    while level:
        depth += 1
        level = [below for node in level for below in (node.left, node.right) if below]
    return depth


def table(keys, changes):
    values = {"key%d" % key: ["value%d" % key, key] for key in range(keys)}
    for number in numbers(changes, 2):
        values["key%d" % (number % keys)] = ("x" * (number % 150), number)
    text = json.dumps(values)
    return len(json.loads(text)) + len(text)


def strings(count):
    total = 0
    for number in numbers(count, 3):
        words = ("%d,%x,%o" % (number, number, number)).split(",")
        total += len("-".join(reversed(words)).upper().replace("A", "aa"))
    return total


for _ in range(int(sys.argv[1])):
    print(tree(60000), table(70000, 300000), strings(200000))
