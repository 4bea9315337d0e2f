#!/usr/bin/env bash
# Each fault at each point: matrix.py says how. ALL=1: under each statement.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
every=1
if under_asan; then every=4; fi
EVERY=$every check "the matrix" python3 "$root/test/fault/matrix.py"
finish
