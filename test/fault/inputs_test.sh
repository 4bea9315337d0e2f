#!/usr/bin/env bash
# A file that changes while a query reads it ends the query, by name: no answer is made of
# two states of it. What does not change is no obstacle.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

make() { # FILE FIRST
    "$SHOAL" sql "COPY (SELECT i AS k, i % 10 AS g FROM range($2, $2 + 200000) r(i)) TO '$1' (ROW_GROUP_SIZE 20000)"
}
make "$work/new.parquet" 7000000
make "$work/a.parquet" 0
cp "$work/a.parquet" "$work/b.parquet"
"$reference" sql "COPY (FROM '$work/a.parquet') TO '$work/a.csv';
    COPY (FROM '$work/a.parquet') TO '$work/a.json';
    COPY (SELECT i AS g, 'name' || i AS name FROM range(10) r(i)) TO '$work/d0.parquet'"
for kind in csv json; do cp "$work/a.$kind" "$work/b.$kind"; done

# changed TEXT QUERY COMMAND...: while the query's second task waits in each worker, the
# command runs; the query then fails with the text.
changed() {
    local text=$1 query=$2 code=0 driver
    shift 2
    rm -f "$work/out" "$work/err"
    SHOAL_FAULT=worker.task@worker:2:delay=0.7 "$SHOAL" sql "$query" --workers 2 --split-rows 20000 \
        --cluster-rows -1 "${spools[@]}" "${options[@]}" >"$work/out" 2>"$work/err" &
    driver=$!
    # The first tasks have written: what is planned is planned.
    for _ in {1..500}; do
        [ -z "$(find "$spool" "$memory" "$work" \( -path '*/q1/*' -o -path '*/.shoal-*/s*' \) -print -quit 2>/dev/null)" ] || break
        sleep 0.01
    done
    "$@"
    wait "$driver" || code=$?
    [ "$code" = 1 ] && grep -qF -- "$text" "$work/err" && [ ! -s "$work/out" ] && nothing_left &&
        ! grep -q 'attempt' "$work/err" && return
    printf 'code %s\n' "$code"
    cat "$work/out" "$work/err"
    return 1
}
options=()
group() { echo "SELECT g, count(*), sum(k) FROM '$1' GROUP BY g"; }
b() { echo "$work/b.$1 changed while the query ran"; }

check "replaced" changed "$(b parquet)" "$(group "$work/b.parquet")" mv "$work/new.parquet" "$work/b.parquet"
cp "$work/a.parquet" "$work/b.parquet"
check "touched" changed "its size is the same, its time of change another" "$(group "$work/b.parquet")" touch "$work/b.parquet"
check "removed" changed "$work/b.parquet was removed while the query ran" "$(group "$work/b.parquet")" rm "$work/b.parquet"
append() { printf '%s\n' "$2" >>"$1"; }
check "CSV, appended to" changed "$(b csv)" "$(group "$work/b.csv")" append "$work/b.csv" 1,1
check "JSON, appended to" changed "$(b json)" "$(group "$work/b.json")" append "$work/b.json" '{"k":1,"g":1}'
# What no longer can be read: the change is the reason, not the syntax.
check "CSV, broken" changed "$(b csv)" "$(group "$work/b.csv")" append "$work/b.csv" 'x,"'
ranges() {
    options=(--cluster-rows 1000)
    cp "$work/a.parquet" "$work/b.parquet"
    changed "$(b parquet)" "SELECT k, count(*), max(g) FROM '$work/b.parquet' GROUP BY k ORDER BY k LIMIT 3" touch "$work/b.parquet"
}
check "ranges of a key" ranges
options=()
small="SELECT name, count(*), sum(k) FROM '$work/a.parquet' JOIN '$work/d*.parquet' USING (g) GROUP BY name"
check "a file that each task reads whole" changed "$work/d0.parquet changed" "$small" touch "$work/d0.parquet"
sink() {
    changed "$(b parquet)" "COPY (FROM '$work/b.parquet') TO '$work/target' (FORMAT parquet, PER_THREAD_OUTPUT)" \
        touch "$work/b.parquet" && [ ! -e "$work/target" ] && [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]
}
check "a COPY" sink

# A file that comes while the query runs is not of it.
added() {
    local driver
    SHOAL_FAULT=worker.task@worker:2:delay=0.7 "$SHOAL" sql "$small ORDER BY name" --workers 2 --split-rows 20000 \
        --cluster-rows -1 "${spools[@]}" >"$work/got" &
    driver=$!
    sleep 0.5 # either way there is one answer
    "$SHOAL" sql "COPY (SELECT 3 AS g, 'more' AS name) TO '$work/d1.parquet'"
    wait "$driver" && rm "$work/d1.parquet" && "$SHOAL" sql "$small ORDER BY name" >"$work/expected" &&
        cmp "$work/got" "$work/expected"
}
check "a file more" added
check "a file of the next statement" "$SHOAL" sql "COPY (FROM '$work/a.parquet' LIMIT 100000) TO '$work/c.parquet';
    SELECT count(*) FROM '$work/c.parquet'; COPY (FROM '$work/a.parquet') TO '$work/c.parquet';
    SELECT count(*) FROM '$work/c.parquet'" --workers 2 "${spools[@]}" -o "$work/out"
check "it reads that" test "$(grep -c '100000\|200000' "$work/out")" = 2
finish
