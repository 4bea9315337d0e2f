#!/usr/bin/env bash
# ORDER BY in parts over workers (--sort-rows 0) gives the embedded engine's order: every
# direction, NULLs, skew, few and no rows, types whose bytes do not sort by themselves.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT i AS id, CASE WHEN i % 11 = 5 THEN NULL ELSE (i * 7919) % 10007 - 5000 END AS k,
    CASE WHEN i % 5 > 0 THEN 7 ELSE i END AS skew, 's' || (i * 31) % 977 AS s,
    CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN 'NaN'::DOUBLE ELSE (i % 1000 - 500) / 7 END AS f,
    [i % 3, NULL, i % 7] AS l, {'a': i % 13, 'b': -i} AS st, repeat('x', 200) || i AS long,
    (i % 100 - 50)::DECIMAL(30, 3) AS d, TIMESTAMP '1969-12-31' + to_hours((i % 999)::INTEGER) AS t
    FROM range(60000) r(i)) TO '$work/t.parquet';
COPY (FROM '$work/t.parquet' WHERE id < 0) TO '$work/none.parquet'"
printf "CREATE VIEW t AS FROM '%s/t.parquet';\nCREATE VIEW none AS FROM '%s/none.parquet';\n" \
    "$work" "$work" >"$work/init.sql"
cat >"$work/order.sql" <<'SQL'
SELECT id FROM t ORDER BY k DESC NULLS FIRST, id;
SELECT k, id FROM t ORDER BY k NULLS LAST, id DESC;
SELECT (id - 70)::TINYINT AS x FROM t WHERE id < 190 ORDER BY x DESC NULLS FIRST;
SELECT id::SMALLINT - 700 AS x, id % 2 = 0 AS y FROM t WHERE id < 1400 ORDER BY y, x;
SELECT id::INTEGER AS x FROM t ORDER BY -id::INTEGER;
SELECT skew, id FROM t WHERE id % 3 = 0 ORDER BY skew, id;
SELECT s || '!', id FROM t ORDER BY s DESC, id;
SELECT f, id FROM t ORDER BY f, id;
SELECT l, st, id FROM t ORDER BY l DESC, st, id;
SELECT id FROM t ORDER BY long DESC;
SELECT d, t, id FROM t ORDER BY d DESC, t, id;
SELECT id + 1 AS x FROM t ORDER BY abs(k), id LIMIT 70000 OFFSET 100;
SELECT id FROM t ORDER BY id DESC LIMIT 10%;
SELECT k, count(*) AS n FROM t GROUP BY k ORDER BY n DESC, k;
SELECT id, k FROM none ORDER BY k, id;
SELECT t.id, n.id FROM t LEFT JOIN none n USING (id) WHERE t.id < 500 ORDER BY t.id DESC;
SELECT DISTINCT s FROM t ORDER BY s;
SELECT s COLLATE NOCASE AS c, id FROM t ORDER BY c, id;
SQL
configurations=("1 1 1" "4 1 64" "2 2 5")
if under_asan; then configurations=("2 2 5"); fi
for options in "${configurations[@]}"; do
    read -r workers threads partitions <<<"$options"
    check "workers=$workers threads=$threads partitions=$partitions" \
        same "$work/order.sql" "$work/init.sql" ordered --sort-rows 0 \
        --workers "$workers" --threads "$threads" --partitions "$partitions"
done
in_parts() {
    "$SHOAL" explain --init "$work/init.sql" "SELECT id FROM t ORDER BY k, id" --sort-rows 0 \
        >"$work/plan"
    grep -q 'RangeExchange keys=\[k ASC' "$work/plan"
}
check "explain shows the RangeExchange" in_parts
# From Parquet alone, the bounds come before the rows; from files of large row groups, from
# more than one scan, and where a column hides the rows' numbers, with them.
sampled_by() { # EXCHANGE QUERY
    "$SHOAL" explain --init "$work/init.sql" "$2" --sort-rows 0 --broadcast-rows -1 --cluster-rows -1 >"$work/plan"
    grep -q "Stage 0 -> exchange 0: $1" "$work/plan" || {
        cat "$work/plan"
        return 1
    }
}
"$reference" sql "COPY (SELECT i AS k FROM range(300000) r(i)) TO '$work/large.parquet' (ROW_GROUP_SIZE 200000);
    COPY (SELECT i AS k, i AS file_row_number FROM range(3000) r(i)) TO '$work/hidden.parquet'" >"$work/out"
check "a scan is sampled first" sampled_by SampleExchange "SELECT id FROM t ORDER BY k, id"
check "and what is filtered and computed" sampled_by SampleExchange \
    "SELECT x * 2 FROM (SELECT k + 1 AS x FROM t WHERE id % 3 = 1) WHERE x > 0 ORDER BY x DESC"
check "not of large row groups" sampled_by RoundRobinExchange "SELECT k FROM '$work/large.parquet' ORDER BY k"
check "not with a column of that name" sampled_by RoundRobinExchange "SELECT k FROM '$work/hidden.parquet' ORDER BY k"
check "not random numbers" sampled_by RoundRobinExchange "SELECT x FROM (SELECT random() AS x FROM t) ORDER BY x"

text_in_parts() {
    "$SHOAL" explain --init "$work/init.sql" "SELECT id FROM t ORDER BY s DESC, id" \
        --sort-rows 0 | grep -q 'RangeExchange keys=\[s COLLATE C DESC'
}
check "text is sorted in parts" text_in_parts
with_a_collation() {
    ! "$SHOAL" explain --init "$work/init.sql" "SELECT s COLLATE NOCASE AS c FROM t ORDER BY c" \
        --sort-rows 0 | grep -q RangeExchange
}
check "text with a collation is not" with_a_collation

# Keys of many rows: parts stay even, and in order. Each part is a file here.
"$reference" sql "COPY (SELECT i AS id, i * 7919 % 10007 AS k,
    CASE WHEN i % 2 > 0 THEN 7 ELSE k END AS half, CASE WHEN i % 10 > 0 THEN 7 ELSE k END AS most,
    1 AS one, CASE WHEN i % 5 > 2 THEN NULL ELSE k END AS nulls,
    CASE i % 20 WHEN 0 THEN k WHEN 1 THEN 9 WHEN 2 THEN 9 ELSE i % 3 + 5000 END AS few,
    CASE WHEN i % 2 > 0 THEN repeat('x', 3000) ELSE repeat('y', 200) || k END AS long
    FROM range(60000) r(i)) TO '$work/skew.parquet' (ROW_GROUP_SIZE 10000)" >"$work/out"
# even_parts KEYS FILES: the largest of the files has at most 1.3 times its share of the rows.
even_parts() {
    local keys=$1 files=$2
    rm -rf "$work/parts"
    "$SHOAL" sql "COPY (SELECT * FROM '$work/skew.parquet' ORDER BY $keys) TO '$work/parts'
        (FORMAT parquet, PER_THREAD_OUTPUT)" --sort-rows 0 --workers 2 --threads 2 \
        --partitions "$files" "${spools[@]}" "${@:3}" >"$work/out" || return 1
    "$SHOAL" sql --format csv >"$work/uneven" "
        WITH f AS (SELECT filename, count(*) AS n FROM read_parquet('$work/parts/*', filename = true)
            GROUP BY ALL)
        SELECT sum(n), count(*), max(n) * $files <= 1.3 * sum(n) FROM f"
    [ "$(tail -n 1 "$work/uneven")" = "60000,$files,true" ] || {
        cat "$work/uneven"
        return 1
    }
    "$SHOAL" sql --format csv "SELECT id FROM '$work/parts/*.parquet' ORDER BY ALL" | cmp - "$work/ids"
}
"$SHOAL" sql --format csv "SELECT id FROM '$work/skew.parquet' ORDER BY ALL" >"$work/ids"
# The keys of the sorted rows, in order; no row is there twice.
same_keys() {
    local keys=$1 columns=${1// NULLS FIRST/} query
    query="SELECT ${columns// DESC/} FROM '$work/skew.parquet' ORDER BY $keys"
    "$SHOAL" sql --format csv "$query" >"$work/expected"
    "$SHOAL" sql --format csv "$query" --sort-rows 0 --workers 2 --partitions 7 "${spools[@]}" |
        cmp - "$work/expected"
}
for keys in half most one nulls 'nulls DESC NULLS FIRST' few long 'one, half DESC' id; do
    check "parts of $keys are even" even_parts "$keys" 8
    check "$keys in order" same_keys "$keys"
done
check "three parts" even_parts half 3
check "with decisions for tests" even_parts half 8 --skew always
largest_part() {
    rm -rf "$work/parts"
    "$SHOAL" sql "${1:+$1;} COPY (SELECT * FROM '$work/skew.parquet' ORDER BY half) TO '$work/parts'
        (FORMAT parquet, PER_THREAD_OUTPUT)" --sort-rows 0 --workers 2 --partitions 8 \
        "${spools[@]}" "${@:2}" >"$work/out" || return 1
    "$SHOAL" sql --format csv "SELECT max(n) > 30000 FROM (SELECT count(*) AS n
        FROM read_parquet('$work/parts/*.parquet', filename = true) GROUP BY filename)" | tail -n 1
}
# One file of many row groups that are sorted already, and many files of one.
"$reference" sql "COPY (SELECT i AS k, 's' || i AS s FROM range(600000) r(i)) TO '$work/sorted.parquet' (ROW_GROUP_SIZE 2048);
    CREATE TABLE f AS SELECT i AS k, 's' || i AS s, i // 10000 AS f FROM range(600000) r(i);
    COPY f TO '$work/files' (FORMAT parquet, PARTITION_BY (f))" >"$work/out"
sorted_parts() { # FILES WHERE ROWS
    rm -rf "$work/parts"
    "$SHOAL" sql "COPY (SELECT k, s FROM '$1' WHERE $2 ORDER BY k DESC) TO '$work/parts'
        (FORMAT parquet, PER_THREAD_OUTPUT)" --sort-rows 0 --workers 2 --threads 2 \
        --partitions 8 "${spools[@]}" >"$work/out" || return 1
    "$SHOAL" sql --format csv >"$work/uneven" "
        WITH f AS (SELECT filename, count(*) AS n, min(k) AS a, max(k) AS z, bool_and(s = 's' || k) AS same
            FROM read_parquet('$work/parts/*', filename = true) GROUP BY ALL)
        SELECT sum(n), max(n) * 8 <= 1.3 * sum(n) + 8, bool_and(same), bool_and(coalesce(lower, z + 1) > z)
        FROM (SELECT *, lag(a) OVER (ORDER BY filename) AS lower FROM f)"
    [ "$(tail -n 1 "$work/uneven")" = "$3,true,true,true" ] || {
        cat "$work/uneven"
        return 1
    }
}
check "a sorted file" sorted_parts "$work/sorted.parquet" true 600000
check "many files" sorted_parts "$work/files/*/*.parquet" true 600000
check "half of it" sorted_parts "$work/sorted.parquet" 'k % 2 = 0' 300000
check "its end" sorted_parts "$work/sorted.parquet" 'k >= 300000' 300000
check "few rows of it" sorted_parts "$work/sorted.parquet" 'k = 77' 1
not_spread() { [ "$(largest_part "$@")" = true ]; }
spread() { [ "$(largest_part "$@")" = false ]; }
check "all rows of a key meet with SET shoal.skew = off" not_spread "SET shoal.skew = off"
check "and with --skew off" not_spread "" --skew off
check "not after RESET" spread "SET shoal.skew = off; RESET shoal.skew"
check "nothing is left" nothing_left
finish
