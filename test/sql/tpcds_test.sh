#!/usr/bin/env bash
# TPC-DS's 99 queries over workers give what the embedded engine gives, row by row, and only
# so many fall back. SCALE: the scale factor, then in every configuration (./dev test takes
# 0.05 and one of them, under ASan 0.01). "Statement N" of a failure is query N.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
may_run_embedded=0
configurations=("4 7 -1")
scale=${SCALE:-0.05}
if [ -n "${SCALE:-}" ]; then
    configurations=({1,2,4}" "{1,7,64}" "{-1,1000000000})
elif under_asan; then
    configurations=("2 3 -1")
    scale=0.01
fi
tpcds_init "$scale"

for configuration in "${configurations[@]}"; do
    read -r workers partitions broadcast <<<"$configuration"
    check "workers=$workers partitions=$partitions broadcast=$broadcast" \
        same "$work/tpcds.sql" "$work/init.sql" ordered --workers "$workers" \
        --partitions "$partitions" --broadcast-rows "$broadcast"
done

# A plan has one of the two lines, so that the lines number the queries.
few_embedded() {
    "$SHOAL" explain --init "$work/init.sql" -f "$work/tpcds.sql" >"$work/plans"
    grep -E '^Runs embedded|^Stage [0-9]+: result, in the driver' "$work/plans" |
        awk -v bound="$may_run_embedded" '
            /^Runs embedded/ { embedded++; print "query " NR ": " $0 }
            END {
                print embedded + 0 " of " NR " run embedded, " bound " may"
                exit !(NR == 99 && embedded <= bound)
            }'
}
under_asan || check "at most $may_run_embedded run embedded" few_embedded
check "nothing is left" nothing_left
finish
