#!/usr/bin/env bash
# COUNT random queries of each seed, distributed as embedded. ./dev test-all runs many more.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
for seed in ${SEEDS:-1 2 3}; do
    check "seed $seed" python3 "$root/test/random/random_queries.py" --shoal "$SHOAL" \
        --seed "$seed" --count "${COUNT:-100}"
done
finish
