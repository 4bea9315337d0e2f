#!/usr/bin/env bash
# COPY ... TO files over workers: the rows of a plain COPY, in files that appear at once.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
rows=400000
if under_asan; then rows=150000; fi

"$reference" sql "
COPY (SELECT i, i % 7 AS g, hash(i) % 1000 AS v, CASE WHEN i % 11 > 0 THEN 'it''s ' || i % 100 END AS s
    FROM range($rows) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 10000);
COPY (SELECT g, 'n' || g AS name FROM range(6) r(g)) TO '$work/d.parquet'"
printf "CREATE VIEW t AS FROM '%s/t.parquet';\nCREATE VIEW d AS FROM '%s/d.parquet';\n" "$work" "$work" >"$work/init.sql"
options=(--init "$work/init.sql" --workers 2 --split-rows 1000 --temp-dir "$spool")
out=$work/target

copy() { "$SHOAL" sql "${options[@]}" --format csv "COPY ($1) TO '$out' ($2)" >"$work/count"; }
read_back() { "$SHOAL" sql --format csv "$1" | LC_ALL=C sort >"$work/$2"; }
nothing_beside() {
    nothing_left && [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]
}

# writes QUERY OPTIONS READ [WORDS]: the files hold the query's rows; its plan has the words.
writes() {
    rm -rf "$out"
    "$SHOAL" explain "${options[@]}" "COPY ($1) TO '$out' ($2)" >"$work/plan" || return 1
    [ ! -e "$out" ] || { echo "explain wrote"; return 1; }
    copy "$1" "$2" && nothing_beside || return 1
    read_back "FROM $3" actual
    "$SHOAL" sql --init "$work/init.sql" --format csv "$1" | LC_ALL=C sort >"$work/expected"
    [ "$(tail -n 1 "$work/count")" = $(($(wc -l <"$work/expected") - 1)) ] || return 1
    cmp "$work/expected" "$work/actual" || return 1
    grep -qF -- "${4:-CopyTo}" "$work/plan" || { cat "$work/plan"; return 1; }
}
parts() { find "$out" -type f -name "$1" | wc -l; }

join="SELECT t.i, t.s, d.name, t.v FROM t JOIN d USING (g) WHERE v > 10"
check "a folder of Parquet" writes "$join" "FORMAT parquet, PER_THREAD_OUTPUT" "'$out/*.parquet'" "CopyTo '$out'"
check "in several files" test "$(parts 'part-0000?.parquet')" -gt 1
check "CSV" writes "SELECT i, s, v FROM t" "FORMAT csv, HEADER, PER_THREAD_OUTPUT true" "'$out/part-*.csv'"
check "JSON, packed" writes "SELECT i, s FROM t" "FORMAT json, COMPRESSION gzip, PER_THREAD_OUTPUT" \
    "read_json('$out/*.json.gz', columns = {i: 'BIGINT', s: 'VARCHAR'})"
check "hive partitions" writes "SELECT i, v, g FROM t" "FORMAT parquet, PARTITION_BY (g)" \
    "read_parquet('$out/*/*.parquet', hive_partitioning = true)"
check "in folders" test "$(find "$out" -mindepth 1 -maxdepth 1 -type d -name 'g=?' | wc -l)" = 7
check "files of a size" writes "SELECT i, hash(i) AS h FROM t" "FORMAT parquet, FILE_SIZE_BYTES '300KB', ROW_GROUP_SIZE 10000" "'$out/*.parquet'"
check "an aggregate" writes "SELECT g, count(*) AS n, max(s) AS m FROM t GROUP BY g" "FORMAT parquet, PER_THREAD_OUTPUT" "'$out/*.parquet'"
check "one row, from the driver" writes "SELECT count(*) AS n FROM t" "FORMAT parquet, PER_THREAD_OUTPUT" "'$out/*.parquet'" "in the driver"
check "no row, one file" writes "SELECT i, s FROM t WHERE i < 0" "FORMAT parquet, PER_THREAD_OUTPUT" "'$out/*.parquet'"
check "no more than one" test "$(parts '*')" = 1
by_name() {
    "$SHOAL" sql "${options[@]}" "COPY t (i, s) TO '$work/name' (FORMAT parquet, PER_THREAD_OUTPUT)" >/dev/null &&
        read_back "SELECT count(*) AS n, count(s) AS s FROM '$work/name/*.parquet'" actual &&
        grep -q "^$rows,$((rows - (rows + 10) / 11))$" "$work/actual"
}
check "a table's name" by_name

# in_order: files by name, rows as they stand, are sorted.
in_order() {
    rm -rf "$out"
    "$SHOAL" sql "${options[@]}" --threads "$1" --sort-rows 1000 --partitions 5 \
        "COPY (FROM t ORDER BY v, i DESC) TO '$out' (FORMAT parquet, PER_THREAD_OUTPUT)" >/dev/null || return 1
    "$SHOAL" sql --init "$work/init.sql" --format csv "SELECT i, v FROM t ORDER BY v, i DESC" >"$work/expected"
    "$SHOAL" sql --format csv "SELECT i, v FROM '$out/*.parquet'" | cmp - "$work/expected" &&
        [ "$(parts '*.parquet')" -gt 2 ]
}
check "sorted parts in order" in_order 1
check "sorted parts in order, threads" in_order 2

single() {
    "$SHOAL" sql "${options[@]}" "COPY (SELECT g, sum(v)::BIGINT AS n FROM t GROUP BY g) TO '$work/one.parquet' (FORMAT parquet)" >/dev/null &&
        [ -f "$work/one.parquet" ] && read_back "FROM '$work/one.parquet'" actual &&
        "$SHOAL" sql --init "$work/init.sql" --format csv "SELECT g, sum(v)::BIGINT AS n FROM t GROUP BY g" | LC_ALL=C sort | cmp - "$work/actual"
}
check "one file" single

# What is there stays until it is replaced as a whole.
check "a folder that is not empty" fails 1 "replace it with OVERWRITE" sql "${options[@]}" \
    "COPY (FROM t) TO '$out' (FORMAT parquet, PER_THREAD_OUTPUT)"
check "a file in its place" fails 1 "is no folder" sql "${options[@]}" \
    "COPY (FROM t) TO '$work/one.parquet' (FORMAT parquet, PER_THREAD_OUTPUT)"
check "a folder above it that is not there" fails 3 "cannot write to the folder" sql "${options[@]}" \
    "COPY (FROM t) TO '$work/no/where' (FORMAT parquet, PER_THREAD_OUTPUT)"
touch "$out/stray"
replaced() {
    copy "SELECT i FROM t WHERE i < 5000" "FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE" && nothing_beside &&
        [ ! -e "$out/stray" ] && read_back "SELECT count(*) AS n FROM '$out/*.parquet'" actual && grep -qx 5000 "$work/actual"
}
check "OVERWRITE replaces all of it" replaced
before=$(cat "$out"/* | cksum)
unchanged() { [ "$(cat "$out"/* | cksum)" = "$before" ]; }
check "an error in a task" fails 1 "division by zero" sql "${options[@]}" \
    "COPY (SELECT error('division by zero') FROM t WHERE i = $((rows - 1))) TO '$out' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)"
check "leaves what was there" unchanged
check "an option that is none" fails 1 "nonsense" sql "${options[@]}" \
    "COPY (FROM t) TO '$work/never' (FORMAT parquet, PER_THREAD_OUTPUT, NONSENSE 3)"
check "leaves nothing" test ! -e "$work/never"

# Whatever dies, readers see the old rows or the new.
sizes() { "$SHOAL" sql --format csv "SELECT count(*) FROM '$out/*.parquet'" | tail -n 1; }
killed() { # SIGNAL's target: driver or worker
    local pid rows_now
    for i in 1 2 3 4 5 6; do
        copy "SELECT i FROM t WHERE i < $((1000 + i))" "FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE" 2>/dev/null &
        pid=$!
        sleep "0.$((RANDOM % 40 + 5))"
        if [ "$1" = driver ]; then
            pkill -9 -P "$pid" 2>/dev/null || true
        else
            # by name: at its end a program under LeakSanitizer waits for a child of its own
            pkill -9 -P "$(pgrep -P "$pid" | head -n 1)" -f ' worker ' 2>/dev/null || true
        fi
        wait "$pid" 2>/dev/null || true
        rows_now=$(sizes)
        [ "$rows_now" = $((1000 + i)) ] || { [ "$1" = driver ] && [ "$rows_now" = "${last:-5000}" ]; } || {
            echo "$rows_now rows after kill $i of a $1, before it ${last:-5000}"
            return 1
        }
        last=$rows_now
    done
}
check "kill -9 of a worker" killed worker
check "kill -9 of the driver" killed driver
check "the next run cleans up" replaced
check "nothing is left beside it" nothing_beside
check "no such partition" fails 1 "PARTITION_BY nocol: the query has no column of that name" sql "${options[@]}" \
    "COPY (FROM t) TO '$work/none' (FORMAT parquet, PARTITION_BY (g, nocol))"
# By the name of one file, its format and compression: byte for byte as embedded.
named() {
    local name copy
    mkdir "$work/embedded.d" "$work/workers.d"
    for name in a.csv a.csv.gz a.tsv a.json a.json.gz a.json.zst a.ndjson a.jsonl a.JSONL.GZ a.txt a. a.7 a; do
        copy="COPY (SELECT i, 'x' AS s FROM range(3) t(i) ORDER BY i) TO"
        "$SHOAL" sql "$copy '$work/embedded.d/$name'" && "$SHOAL" sql "${options[@]}" "$copy '$work/workers.d/$name'" || return 1
    done >/dev/null
    diff -r "$work/embedded.d" "$work/workers.d"
}
check "the format by the name" named
check "row groups a file" writes "FROM range(20000) t(i)" "FORMAT parquet, ROW_GROUP_SIZE 2048, ROW_GROUPS_PER_FILE 2, PER_THREAD_OUTPUT" "'$out/*.parquet'"
check "row groups a file, of a Delta table" writes "FROM range(20000) t(i)" "FORMAT delta, ROW_GROUP_SIZE 2048, ROW_GROUPS_PER_FILE 2" "'$out'"
check "TRUE in capitals" writes "SELECT 1 AS a" "FORMAT parquet, PER_THREAD_OUTPUT TRUE" "'$out/*.parquet'"
check "files of lines" test "$("$SHOAL" sql "COPY (SELECT 1 AS a) TO '$work/lines' (FORMAT jsonl, PER_THREAD_OUTPUT)" >/dev/null &&
    cat "$work/lines/part-00000.jsonl")" = '{"a":1}'
# before TEXT SQL: the same error embedded as over workers, and before any task runs.
before() {
    fails 1 "$1" sql "$2" && cp "$work/err" "$work/embedded" && fails 1 "$1" sql "${options[@]}" "$2" &&
        diff "$work/embedded" "$work/err" && nothing_beside
}
files="FORMAT parquet, PER_THREAD_OUTPUT"
view="'$work/early.parquet'"
"$reference" sql "COPY (SELECT i AS g, i AS h FROM range(1000) r(i)) TO $view"
check "an unknown option" before 'Unrecognized option "nope"' "COPY (SELECT g FROM $view) TO '$work/none' ($files, NOPE)"
check "an unknown option of one file" before 'Unrecognized option "nope"' "COPY (SELECT g FROM $view) TO '$work/none.csv' (NOPE)"
check "an option's value" before "could not be cast" "COPY (SELECT g FROM $view) TO '$work/none' ($files, ROW_GROUP_SIZE 'x')"
check "partitions alone" before "No column to write" "COPY (SELECT g FROM $view) TO '$work/none' (FORMAT parquet, PARTITION_BY (g))"
check "JSON has no order" before "SORT_BY is of Parquet and CSV" "COPY (SELECT g FROM $view) TO '$work/none' (FORMAT json, PER_THREAD_OUTPUT, SORT_BY (g))"
check "a name in the query" before "LINE 1: SELECT nope FROM" "COPY (SELECT nope FROM $view) TO '$work/none' ($files)"
finish
