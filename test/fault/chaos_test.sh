#!/usr/bin/env bash
# Half a minute of chaos.py, which says what it does. SEED and MINUTES choose others;
# ./dev test-all has ten.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
minutes=0.5
if under_asan; then minutes=0.2; fi
check "chaos" python3 "$root/test/fault/chaos.py" --minutes "${MINUTES:-$minutes}" --seed "${SEED:-1}"
finish
