#!/usr/bin/env bash
# Files as users have them: thousands of small ones, hive folders, columns in another
# order, other types, no rows at all. What one task reads must bind as all files together.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

# like_embedded NAME QUERY: the same rows embedded and over workers, which must run it.
like_embedded() {
    local query=$1
    "$reference" sql "$query" --format csv >"$work/expected" || return 1
    "$SHOAL" sql "$query" --format csv --workers 2 "${spools[@]}" >"$work/actual" || return 1
    diff "$work/expected" "$work/actual" && nothing_left || return 1
    "$SHOAL" explain "$query" --workers 2 >"$work/plan"
    grep -q HashExchange "$work/plan"
}

"$reference" sql "
COPY (SELECT i AS k, i % 700 AS part, 'x' || i % 9 AS s FROM range(200000) r(i))
    TO '$work/small' (FORMAT parquet, PARTITION_BY (part));
COPY (SELECT i AS k, CASE i % 3 WHEN 0 THEN '007' WHEN 1 THEN '7' ELSE 'abc' END AS code
    FROM range(400000) r(i)) TO '$work/hive' (FORMAT parquet, PARTITION_BY (code));
COPY (SELECT i::INTEGER AS a, 'b' || i AS b FROM range(150000) r(i)) TO '$work/mixed1.parquet';
COPY (SELECT 'b' || i AS b, i::SMALLINT AS a FROM range(3000) r(i)) TO '$work/mixed2.parquet';
COPY (SELECT 'b' || i AS b, i::INTEGER AS a FROM range(0) r(i)) TO '$work/mixed3.parquet';
COPY (SELECT i, i % 3 AS g FROM range(100000) r(i)) TO '$work/groups.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i, i % 3 AS g, 'x' || i AS file_row_group_number FROM range(100000) r(i))
    TO '$work/numbers1.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i, i % 3 AS g, 7 AS FILE_ROW_NUMBER FROM range(100000) r(i))
    TO '$work/numbers2.parquet' (ROW_GROUP_SIZE 50000);
COPY (SELECT i, i % 3 AS g, 7 AS file_row_number, i AS file_row_group_number FROM range(100000) r(i))
    TO '$work/numbers3.parquet'"

check "many small files" like_embedded \
    "SELECT s, count(*), sum(k), sum(part) FROM '$work/small/*/*.parquet' GROUP BY s ORDER BY s"
few_tasks() {
    "$SHOAL" explain --analyze "SELECT s, count(*) FROM '$work/small/*/*.parquet' GROUP BY s" \
        --workers 2 "${spools[@]}" >"$work/plan"
    [ "$(sed -n 's/^  ran: \([0-9]*\) tasks.*/\1/p' "$work/plan" | head -n 1)" -le 8 ]
}
check "small files share tasks" few_tasks
check "hive folders whose values look like numbers" like_embedded \
    "SELECT code, typeof(code), count(*), sum(k) FROM '$work/hive/*/*.parquet' GROUP BY ALL ORDER BY ALL"
check "columns in another order and of another type" like_embedded \
    "SELECT a % 10 AS g, count(*), min(b), max(b), any_value(typeof(a)) FROM '$work/mixed*.parquet' GROUP BY g ORDER BY g"
check "a list of files" like_embedded \
    "SELECT a % 3 AS g, count(b) FROM read_parquet(['$work/mixed1.parquet', '$work/mixed3.parquet']) GROUP BY g ORDER BY g"
check "only files without rows" like_embedded \
    "SELECT a, count(b) FROM '$work/mixed3.parquet' GROUP BY a"
# pruned FILES WHERE: so many of the 700 folders are in tasks, and the answer stays.
pruned() {
    like_embedded "SELECT s, count(*), sum(k) FROM $2 GROUP BY s ORDER BY s" &&
        grep -qF "$1" "$work/plan"
}
small="'$work/small/*/*.parquet'"
check "pruned by folders" pruned "2 files of 700" "$small WHERE part IN (3, 699) AND k > 9"
check "pruned by an expression of them" pruned "70 files of 700" "$small WHERE part % 10 = 3"
check "pruned to none" pruned "1 file of 700" "$small WHERE part > 1000"
check "not by a column beside them" pruned ", 700 files" "$small WHERE part = 3 OR k = 7"
check "by name, pruned" pruned "1 file of 700" \
    "read_parquet($small, hive_partitioning = true, union_by_name = true) WHERE part = 17"
check "pruned by their types" pruned "11 files of 700" \
    "read_parquet($small, hive_types = {'part': 'VARCHAR'}) WHERE part LIKE '17%'"
check "folders that give no column" like_embedded \
    "SELECT filename LIKE '%007%' AS f, count(*), sum(k) FROM read_parquet('$work/hive/*/*.parquet', hive_partitioning = false, filename = true) GROUP BY f ORDER BY f"

# The first file lacks what others have; each is read with the names of all.
"$reference" sql "
COPY (SELECT i AS a, i % 5 AS g FROM range(90000) r(i)) TO '$work/name1.parquet';
COPY (SELECT i % 5 AS g, 'b' || i AS b FROM range(80000) r(i)) TO '$work/name2.parquet';
COPY (SELECT (i % 5)::INTEGER AS g, [i] AS c, i AS a FROM range(70000) r(i)) TO '$work/name3.parquet'"
named="read_parquet('$work/name*.parquet', union_by_name = true, filename = 'path')"
check "columns by name" like_embedded \
    "SELECT g, parse_filename(path) AS f, count(*), sum(a), max(b), max(c) FROM $named GROUP BY ALL ORDER BY ALL"
check "by name, the virtual name" like_embedded \
    "SELECT g, parse_filename(filename) AS f, count(a) FROM read_parquet('$work/name*.parquet', union_by_name = true) GROUP BY ALL ORDER BY ALL"
check "without it a column is missing" fails 1 "schema mismatch" sql --workers 2 "${spools[@]}" \
    "SELECT g, max(a) FROM '$work/name*.parquet' GROUP BY g"

# cut FILE TASKS WHERE: how its splits are cut, and that nothing is read twice or not at all.
cut() {
    local query="SELECT g, count(*), sum(i), min(i), max(i) FROM '$work/$1.parquet' GROUP BY g ORDER BY g"
    like_embedded "$query" || return 1
    "$SHOAL" explain --analyze "$query" --workers 2 --split-rows 1000 "${spools[@]}" >"$work/plan"
    [ "$(sed -n 's/^  ran: \([0-9]*\) tasks\?,.*/\1/p' "$work/plan" | head -n 1)" -eq "$2" ] || return 1
    "$SHOAL" sql "$query" --format csv --workers 2 --split-rows 1000 "${spools[@]}" |
        diff "$work/expected" -
}
check "a file is cut between its row groups" cut groups 4

# few FILE: a few rows of several columns, which DuckDB would read late.
few() {
    local query
    for query in "FROM '$work/$1.parquet' ORDER BY i % 1000, i LIMIT 7" \
        "SELECT count(*), count(DISTINCT i) FROM (FROM '$work/$1.parquet' USING SAMPLE 9 ROWS)" \
        "SELECT count(*), count(DISTINCT i) FROM (FROM '$work/$1.parquet' LIMIT 9 OFFSET 5000)" \
        "SELECT * FROM '$work/$1.parquet' QUALIFY row_number() OVER (PARTITION BY g ORDER BY i DESC) < 3 ORDER BY i"; do
        "$SHOAL" sql "$query" --format csv >"$work/expected" || return 1
        "$SHOAL" sql "$query" --format csv --workers 2 --split-rows 1000 "${spools[@]}" |
            diff "$work/expected" - || return 1
    done
}
check "few rows of many columns, cut between row groups" few groups
check "few rows of many columns, cut by rows" few numbers1
check "a column named like the number of row groups" cut numbers1 4
check "a column named like the number of rows, and few row groups" cut numbers2 1
check "columns named like both" cut numbers3 1
finish
