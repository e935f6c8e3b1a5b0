# SPDX-License-Identifier: MIT
"""A history for git fast-import: 600 commits over 150 files whose lines shift a little each time."""

import random
import sys

rng = random.Random(1)
files = {"dir%d/file%d" % (i % 12, i): [rng.random() for _ in range(rng.randrange(20, 900))] for i in range(150)}
out = sys.stdout.buffer
for commit in range(1, 601):
	out.write(b"commit refs/heads/main\nmark :%d\n" % commit)
	out.write(b"committer test <test@localhost> %d +0000\ndata 8\nchange\n\n" % (1700000000 + commit))
	for name in rng.sample(sorted(files), 150 if commit == 1 else 5):
		lines = files[name]
		for _ in range(8):
			lines.insert(rng.randrange(len(lines)), rng.random())
			del lines[rng.randrange(len(lines))]
		data = "\n".join(map(repr, lines)).encode()
		out.write(b"M 100644 inline %s\ndata %d\n%s\n" % (name.encode(), len(data), data))
