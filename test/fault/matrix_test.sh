#!/usr/bin/env bash
# Each fault at each point: matrix.py says how. Every sixth; ALL=1: all, under each
# statement.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
every=6
if under_asan; then every=12; fi
if [ -n "${ALL:-}" ]; then every=1; fi
EVERY=$every check "the matrix" python3 "$root/test/fault/matrix.py"
finish
