#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# git under preload: import of a history, gc with a threaded delta search, clone, repack and fsck; the history reads the
# same without preload.
set -euo pipefail
# shellcheck source=tests/programs/common.sh
. "$(dirname "$0")/common.sh"

need git git
need python3 python3

export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost

# 600 commits over 150 files whose lines shift a little each time.
cat >"$work/history.py" <<'PY'
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
PY
python3 "$work/history.py" >"$work/stream"

digest() {
	git -C "$1" log --format='%H %T %s' --stat main | sha256sum
}

git init -q -b main "$work/plain"
git -C "$work/plain" fast-import --quiet <"$work/stream"
git init -q -b main "$work/tested"
preloaded git -C "$work/tested" fast-import --quiet <"$work/stream"
history=$(digest "$work/plain")
expect_same "the imported history" "$history" "$(digest "$work/tested")"

traced git -C "$work/tested" -c pack.threads=4 -c pack.window=20 gc -q --prune=now
expect_ran_preloaded git
preloaded git -C "$work/tested" -c pack.threads=4 repack -q -a -d -f --depth=30
preloaded git -C "$work/tested" fsck --full --strict --no-progress || fail "fsck finds faults"
git -C "$work/tested" fsck --full --strict --no-progress || fail "fsck without preload finds faults"
expect_same "the packed history" "$history" "$(digest "$work/tested")"

preloaded git clone -q --no-local "$work/tested" "$work/clone"
cloned=$(preloaded git -C "$work/clone" log --format='%H %T %s' --stat main | sha256sum)
expect_same "the cloned history" "$history" "$cloned"
preloaded git -C "$work/clone" diff --stat HEAD~300 HEAD >"$work/diff.tested"
git -C "$work/plain" diff --stat main~300 main >"$work/diff.plain"
cmp "$work/diff.plain" "$work/diff.tested" || fail "a diff differs"
preloaded git -C "$work/clone" checkout -q HEAD~400
[ -z "$(git -C "$work/clone" status --porcelain)" ] || fail "the checkout is not clean"
