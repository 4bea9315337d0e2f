#!/usr/bin/env bash
# COUNT random queries of each seed, distributed as embedded. ./dev test-all runs many more;
# under ASan, where a query takes several times as long, there are fewer.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
count=40 seeds="1 2"
if [ -n "${ASAN_OPTIONS:-}" ]; then count=10 seeds=1; fi
for seed in ${SEEDS:-$seeds}; do
    check "seed $seed" python3 "$root/test/random/random_queries.py" --shoal "$SHOAL" \
        --seed "$seed" --count "${COUNT:-$count}"
done
# Random CSV and JSON files, read in parts as one reader reads them.
for seed in ${SEEDS:-1 2}; do
    check "text files, seed $seed" python3 "$root/test/random/text_files.py" --shoal "$SHOAL" \
        --seed "$seed" --count "${COUNT:-$((count / 3))}"
done
# Random Parquet files, by ranges of their keys and by row groups.
for seed in ${SEEDS:-1}; do
    check "Parquet files, seed $seed" python3 "$root/test/random/parquet_files.py" --shoal "$SHOAL" \
        --seed "$seed" --count "${COUNT:-$((count / 8))}"
done
# Random sessions of statements that write files and tables, and read them again.
for seed in ${SEEDS:-1}; do
    check "sessions, seed $seed" python3 "$root/test/random/sessions.py" --shoal "$SHOAL" \
        --seed "$seed" --count "${COUNT:-$((count / 4))}"
done
finish
