#!/usr/bin/env bash
# A minute of chaos.py, which says what it does. SEED and MINUTES choose others.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
minutes=1
if under_asan; then minutes=0.2; fi
check "chaos" python3 "$root/test/fault/chaos.py" --minutes "${MINUTES:-$minutes}" --seed "${SEED:-1}"
finish
