#!/usr/bin/env bash
# shoal gc: what killed runs left goes, what they had begun is taken back, what others use
# or own stays.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "COPY (SELECT i AS k FROM range(100000) r(i)) TO '$work/t.parquet'"
query="SELECT count(*) FROM '$work/t.parquet' a, '$work/t.parquet' b WHERE (a.k * 7919 + b.k) % 1000003 = 3"

# Waits until the spool is there.
start_query() {
    "$SHOAL" sql "$query" --workers 2 "${spools[@]}" 2>/dev/null &
    driver=$!
    for _ in {1..500}; do
        compgen -G "$spool/shoal-*/q*" >/dev/null && return
        sleep 0.01
    done
    return 1
}
gc() { "$SHOAL" gc "$@" >"$work/out"; }

of_a_killed_run() {
    local driver left
    start_query || return 1
    left=$(cd "$spool" && echo shoal-*/q*)
    left=${left%/*}
    gc "$spool" && grep -qF "kept $spool/$left: a running shoal uses it" "$work/out" && [ -d "$spool/$left" ] || return 1
    kill -9 "$driver"
    wait "$driver" 2>/dev/null || true
    gc "$spool" --dry-run && grep -qF "would remove $spool/$left" "$work/out" && [ -d "$spool/$left" ] || return 1
    gc "$spool" && gc "$memory" && nothing_left
}
check "a killed run's block files" of_a_killed_run

# What the driver itself spills, over no workers and over some.
spills() {
    local driver
    "$SHOAL" sql "SELECT range, hash(range) AS h FROM range(12000000) ORDER BY h" -o "$work/sorted" \
        --memory "$1" "${@:2}" "${spools[@]}" >/dev/null 2>&1 &
    driver=$!
    for _ in {1..1000}; do
        compgen -G "$spool/shoal-*/duckdb_temp_*" >/dev/null && break
        sleep 0.01
    done
    kill -9 "$driver"
    wait "$driver" 2>/dev/null || true
    compgen -G "$spool/shoal-*/duckdb_temp_*" >/dev/null && gc "$spool" && gc "$memory" && nothing_left
}
check "what a killed run spilled" spills 100MiB
check "what a killed driver spilled" spills 400MiB --workers 2

of_others() {
    mkdir "$spool/shoal-abcdef" "$spool/shoal-other"
    touch "$spool/shoal-abcdef/mine"
    gc "$spool" && grep -qF "kept $spool/shoal-abcdef: no shoal of this user made it" "$work/out" &&
        ! grep -q shoal-other "$work/out" && [ -f "$spool/shoal-abcdef/mine" ] && [ -d "$spool/shoal-other" ] || return 1
    rm -r "$spool"/shoal-*
}
check "what others made" of_others

# A COPY that was killed while it replaced partitions: after gc the folder is as before.
of_a_copy() {
    mkdir "$work/lake"
    "$SHOAL" sql "COPY (SELECT k, k % 3 AS p FROM '$work/t.parquet')
        TO '$work/lake/t' (FORMAT parquet, PARTITION_BY (p))" >/dev/null
    find "$work/lake/t" -type f -exec md5sum {} + | sort >"$work/before"
    SHOAL_FAULT=commit.swap:2:kill "$SHOAL" sql "COPY (SELECT k + 1 AS k, k % 3 AS p FROM '$work/t.parquet')
        TO '$work/lake/t' (FORMAT parquet, PARTITION_BY (p), OVERWRITE_PARTITIONS)" \
        --workers 2 "${spools[@]}" 2>/dev/null || true
    ls -d "$work/lake/".shoal-* >/dev/null || return 1
    find "$work/lake/t" -type f -exec md5sum {} + | sort | cmp -s - "$work/before" && return 1
    gc "$work/lake" --dry-run && grep -q 'would remove .*/.shoal-' "$work/out" || return 1
    gc "$work/lake" && grep -q '^removed .*/.shoal-' "$work/out" && [ "$(ls -A "$work/lake")" = t ] &&
        find "$work/lake/t" -type f -exec md5sum {} + | sort | cmp - "$work/before"
    gc "$spool"
    gc "$memory"
    nothing_left
}
check "a killed COPY" of_a_copy

check "no folder" fails 2 'gc takes one folder' gc
check "two folders" fails 2 'gc takes one folder' gc /tmp /tmp
check "a folder that is none" fails 2 'cannot read the folder' gc "$work/none"
check "an unknown option" fails 2 '--force: unknown option' gc "$work" --force
empty() { mkdir "$work/nothing" && gc "$work/nothing" && grep -q '0 removed, 0 kept' "$work/out"; }
check "nothing to do" empty
finish
