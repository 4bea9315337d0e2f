#!/usr/bin/env bash
# A task that has too little memory runs alone, with that of all workers; then the statement
# runs again with smaller tasks. What never fits is an error, and leaves nothing.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "COPY (SELECT i AS k, i % 1000 AS v,
    'a text of some length, as logs have them, ' || hash(i) || hash(i + 1) AS s
    FROM range(1000000) r(i)) TO '$work/t.parquet' (COMPRESSION lz4)"
options=(--workers 2 --memory 400MiB "${spools[@]}") # 66 MiB for DuckDB in a worker, 220 alone

# of GROUPS COPIES: as many groups, whose rows can't be spilled, and as many copies of them.
of() {
    local sum="len(list(s))" i
    for ((i = 1; i < $2; i++)); do sum+=" + len(string_agg(s, '$i'))"; done
    echo "SELECT count(*), sum(n) FROM (SELECT v % $1 AS g, $sum AS n FROM '$work/t.parquet' GROUP BY v % $1)"
}

# right TIMES GROUPS COPIES: the answer, after as many new plans.
right() {
    local query
    query=$(of "$2" "$3")
    "$SHOAL" sql "$query" >"$work/expected"
    "$SHOAL" sql "$query" "${options[@]}" >"$work/actual" 2>"$work/err" || {
        cat "$work/err"
        return 1
    }
    cmp "$work/actual" "$work/expected" && nothing_left &&
        [ "$(grep -c 'the statement runs again' "$work/err")" = "$1" ] && return
    cat "$work/err"
    return 1
}
check "alone there is enough" right 0 3 1
check "with more partitions there is enough" right 1 3 2
explained() {
    "$SHOAL" explain --analyze "$(of 3 2)" "${options[@]}" >"$work/out" 2>"$work/err" &&
        grep -q 'Note: shuffles have 4 times as many partitions' "$work/out" && nothing_left
}
check "EXPLAIN says so" explained

large=$(of 2 4)
nothing_written() {
    fails 3 "Even 16 times as many partitions did not help" \
        sql "COPY ($large) TO '$work/target' (FORMAT parquet, PER_THREAD_OUTPUT)" "${options[@]}" &&
        [ ! -e "$work/target" ] && [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]
}
check "what never fits" nothing_written
once() { ! grep -q 'runs again' "$work/err"; }
check "partitions that were given stay" fails 3 "or more --partitions" sql "$large" "${options[@]}" --partitions 8
check "that is tried once" once
check "those of a hint too" fails 3 "or more --partitions" sql "SELECT /*+ REPARTITION(8) */ ${large#SELECT}" "${options[@]}"
check "that is tried once" once
check "a job's stay" fails 3 "The plan of a job stays as it is" sql "$large" "${options[@]}" --job "$work/job"
check "that is tried once" once
finish
