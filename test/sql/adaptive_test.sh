#!/usr/bin/env bash
# What runs when heavy partitions are cut, small ones put together and empty ones left out
# gives the embedded engine's rows: by sizes, wherever it is legal, and by chance.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$SHOAL" sql "
COPY (SELECT CASE WHEN i % 10 = 7 THEN NULL WHEN i % 2 = 0 THEN 3 ELSE hash(i) % 2000 END AS k,
    i AS v FROM range(400000) r(i)) TO '$work/hot.parquet';
COPY (SELECT CASE WHEN i % 20 = 7 THEN NULL WHEN i % 100 = 1 THEN 5 ELSE i * 2 END AS k, i AS w
    FROM range(1500) r(i)) TO '$work/cold.parquet'"
printf "CREATE VIEW hot AS FROM '%s/hot.parquet';\nCREATE VIEW cold AS FROM '%s/cold.parquet';\n" \
    "$work" "$work" >"$work/skewed.sql"

joins() { # OPTIONS...
    same "$root/test/sql/joins_skew.sql" "$work/skewed.sql" ordered --broadcast-rows -1 \
        --cluster-rows -1 --workers 2 "$@"
}
seeds=(1 2 3 4 5 6)
if under_asan; then seeds=(1 2); fi
check "by sizes" joins
check "never" joins --skew off
check "wherever it is legal" joins --skew always
check "wherever it is legal, over many partitions" joins --skew always --partitions 13
for seed in ${SEEDS:-${seeds[@]}}; do
    check "joins, seed $seed" joins --skew "random:$seed" --threads 2
done
# TPC-H and TPC-DS, every rule on every query, and by chance.
tpch_init "${SCALE:-0.01}"
tpch_queries
for skew in always random:7; do
    check "TPC-H, $skew" same "$work/tpch.sql" "$work/init.sql" ordered --workers 2 \
        --broadcast-rows -1 --cluster-rows -1 --sort-rows 1000 --skew "$skew"
done
tpcds_init "${SCALE:-0.01}"
check "TPC-DS, always" same "$work/tpcds.sql" "$work/init.sql" ordered --workers 2 \
    --broadcast-rows -1 --skew always
if ! under_asan; then
    check "TPC-DS, by chance" same "$work/tpcds.sql" "$work/init.sql" ordered --workers 3 \
        --broadcast-rows -1 --skew random:11
fi
check "nothing is left" nothing_left
finish
