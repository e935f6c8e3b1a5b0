#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The manual pages of section 3 and the headers name the same functions.
set -euo pipefail
# shellcheck source=tests/structure/common.sh
. "$QUARRY_SOURCE_DIR/tests/structure/common.sh"

api_names | sort >"$scratch/header"
sed -n 's/^\.Fn "\{0,1\}\(quarry_[a-z_0-9]*\).*/\1/p' "$source_dir"/man/*.3 | sort -u >"$scratch/manual"
diff "$scratch/header" "$scratch/manual" || complain "only in the header (<) or in the manual pages (>)"
finish
