#!/usr/bin/env bash
# The files of test/slt, embedded and over workers: every number of workers and
# partitions, broadcast always and never. ALL=1 runs the whole cross product.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
: "${SLT_RUNNER:=$root/build/slt_runner}"
export TMPDIR=$work
cd "$root"

# runs OPTIONS...: every file. Their folders are gone afterwards, and so are the blocks.
# Small scans are cut into several tasks, so that partial results meet.
runs() {
    "$SLT_RUNNER" --program "$SHOAL" --temp-dir "$spool" --split-rows 400 "$@" || return 1
    nothing_left && [ -z "$(find "$work" -mindepth 1 ! -path "$spool" ! -name '*.test')" ]
}

# A runner that can't fail would hide everything else.
printf 'query I\nSELECT 1\n----\n2\n\nstatement ok\nSELECT nothing\n\nstatement error\nSELECT 1\n----\n' \
    >"$work/wrong.test"
goes_red() {
    local output
    output=$("$SLT_RUNNER" --program "$SHOAL" "$work/wrong.test") && return 1
    grep -q "wrong.test:1: row 1, column 1: expected 2, came 1" <<<"$output" &&
        grep -q "^0 passed, 3 failed, 0 skipped$" <<<"$output"
}
check "wrong answers are found" goes_red
printf 'distributed\nquery I\nSELECT count(*) FROM (SELECT 1 AS a FROM range(3)) a POSITIONAL JOIN (SELECT 1 AS b FROM range(3)) b\n----\n3\n' \
    >"$work/placed.test"
falls_back() {
    local output
    output=$("$SLT_RUNNER" --program "$SHOAL" --workers 1 "$work/placed.test") && return 1
    grep -q "not distributed: Runs embedded" <<<"$output"
}
check "a query that falls back is found" falls_back

# Where a query runs doesn't depend on the numbers, so one configuration checks it: that
# plans each query twice. A task for each of 64 partitions takes long: ALL=1 has them.
files=("$root"/test/slt/*.test)
if under_asan; then # each third one: what is instrumented is the same code for all
    for i in "${!files[@]}"; do [ $((i % 3)) = 0 ] || unset "files[$i]"; done
fi
under_asan || check embedded runs "${files[@]}"
placement=()
under_asan && placement=(--skip-placement)
check "workers=2 partitions=7 broadcast=-1" \
    runs "${placement[@]}" --workers 2 --partitions 7 --broadcast-rows -1 --sort-rows 0 "${files[@]}"
if [ "${ALL:-}" = 1 ]; then
    for workers in 1 2 4; do
        for partitions in 1 7 64; do
            for broadcast in -1 1000000000; do
                check "workers=$workers partitions=$partitions broadcast=$broadcast" \
                    runs --skip-placement --workers "$workers" --partitions "$partitions" \
                    --broadcast-rows "$broadcast" "${files[@]}"
            done
        done
    done
elif ! under_asan; then
    check "workers=4 partitions=1 broadcast=1000000000" runs --skip-placement --workers 4 \
        --partitions 1 --broadcast-rows 1000000000 "$root"/test/slt/{aggregates,joins,ctes}.test
fi
finish
