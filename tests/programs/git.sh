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

python3 "$QUARRY_SOURCE_DIR/bench/work/history.py" >"$work/stream"

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
