#!/usr/bin/env bash
# TPC-H's 22 queries over workers give what the embedded engine gives, in every
# configuration if there is a SCALE (0.02 in ./dev test), and none falls back.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
tpch_init "${SCALE:-0.02}"
tpch_queries

worker_counts=(1 2 4) partition_counts=(1 7 64)
under_asan && worker_counts=(2) partition_counts=(7)
for broadcast in -1 1000000000; do
    for workers in "${worker_counts[@]}"; do
        for partitions in "${partition_counts[@]}"; do
            if [ -z "${SCALE:-}" ]; then
                [ "$partitions" != 7 ] && [ "$workers" != 2 ] && continue
                # What is broadcast is in no partition.
                [ "$broadcast" != -1 ] && [ "$workers$partitions" != 27 ] && continue
            fi
            check "workers=$workers partitions=$partitions broadcast=$broadcast" \
                same "$work/tpch.sql" "$work/init.sql" ordered --workers "$workers" \
                --partitions "$partitions" --broadcast-rows "$broadcast"
        done
    done
done
check "two threads a worker" same "$work/tpch.sql" "$work/init.sql" ordered \
    --workers 2 --threads 2
none_embedded() {
    "$SHOAL" explain --init "$work/init.sql" -f "$work/tpch.sql" >"$work/plans"
    ! grep -i embedded "$work/plans" && [ "$(grep -c 'result, in the driver' "$work/plans")" = 22 ]
}
check "all 22 are distributed" none_embedded
check "nothing is left" nothing_left
finish
