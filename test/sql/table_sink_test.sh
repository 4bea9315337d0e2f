#!/usr/bin/env bash
# CREATE TABLE ... AS and INSERT INTO ... SELECT over workers, into the database of --db:
# the tables that DuckDB alone makes, all of a statement or nothing of it.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
rows=50000
"$reference" sql "COPY (SELECT i, i % 7 AS g, 'n' || (i % 100) AS s, i::DECIMAL(12, 2) / 4 AS d,
    CASE WHEN i % 3 > 0 THEN [i, NULL] END AS l, {'a': i, 'b': DATE '2026-01-01' + (i % 50)::INT} AS st,
    ['x', 'y'][1 + i % 2]::ENUM('x', 'y') AS e, i::HUGEINT * 1000000007 AS h
    FROM range($rows) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 5000)"
t="'$work/t.parquet'"
workers=("${spools[@]}" --workers 2 --split-rows 1000)

# both STATEMENTS READ: over workers and embedded, READ gives the same; explain shows the last.
both() {
    rm -f "$work/d.db" "$work/e.db"
    "$SHOAL" sql --db "$work/d.db" "${workers[@]}" --format csv "$1" >"$work/d.out" && "$SHOAL" sql --db "$work/e.db" --format csv "$1" >"$work/e.out" || return 1
    cmp "$work/d.out" "$work/e.out" || return 1
    "$SHOAL" sql --db "$work/d.db" --format csv "$2" >"$work/d.rows" && "$SHOAL" sql --db "$work/e.db" --format csv "$2" >"$work/e.rows" &&
        diff "$work/d.rows" "$work/e.rows" && [ "$(wc -l <"$work/d.rows")" -gt 1 ] && nothing_left
}
# distributes STATEMENTS: the last is not embedded, and its plan says where the rows go.
distributes() {
    "$SHOAL" explain "${workers[@]}" --db "$work/d.db" "$1" >"$work/plan" || return 1
    if grep -q "Stage 0 -> exchange" "$work/plan" && grep -qE "^Stage [1-9]: $2, in the driver" "$work/plan"; then return; fi
    cat "$work/plan"
    return 1
}
types="CREATE TABLE t AS SELECT *, i::TINYINT IS NULL AS b, s || 'ö' AS \"two words\" FROM $t WHERE i < 120"
check "all types, and names" both "$types" "DESCRIBE t; FROM t ORDER BY i"
check "is distributed" distributes "${types/TABLE t/TABLE t2}" "CREATE TABLE shoal_db.main.t2 AS"
grouped="SELECT g, count(*) AS n, sum(d) AS d, max(s) AS s FROM $t GROUP BY g"
check "an aggregate" both "CREATE OR REPLACE TABLE t AS $grouped" "DESCRIBE t; FROM t ORDER BY g"
check "in order" both "CREATE TABLE t AS SELECT i, s FROM $t ORDER BY hash(i), i LIMIT 5000" "SELECT i, s, rowid FROM t"
check "names for the columns" both "CREATE TABLE t (a, b) AS SELECT g, count(*) FROM $t GROUP BY g" "DESCRIBE t; FROM t ORDER BY a"
check "a column twice" both "CREATE TABLE t AS SELECT g, g FROM $t GROUP BY g" "DESCRIBE t; FROM t ORDER BY ALL"
check "no row" both "CREATE TABLE t AS SELECT * FROM $t WHERE i < 0" "DESCRIBE t; SELECT count(*) FROM t"
check "a CTE" both "CREATE TABLE t AS WITH data AS (SELECT g FROM $t), d2 AS (FROM data) SELECT g, count(*) AS n FROM d2 GROUP BY g" "FROM t ORDER BY g"
check "WITH NO DATA" both "CREATE TABLE t AS SELECT * FROM $t WITH NO DATA" "DESCRIBE t; SELECT count(*) FROM t"
check "a PIVOT" both "CREATE TABLE t AS PIVOT (SELECT g, e, i FROM $t) ON e USING sum(i) GROUP BY g" "FROM t ORDER BY g"
check "a quoted name, a schema" both "CREATE SCHEMA shoal_db.\"my s\"; CREATE TABLE shoal_db.\"my s\".\"as t\" AS $grouped" "FROM shoal_db.\"my s\".\"as t\" ORDER BY g"
check "OR REPLACE" both "CREATE TABLE t AS SELECT 1 AS a; CREATE OR REPLACE TABLE t AS $grouped" "FROM t ORDER BY g"
check "IF NOT EXISTS" both "CREATE TABLE IF NOT EXISTS t AS $grouped; CREATE TABLE IF NOT EXISTS t AS SELECT i FROM $t" "FROM t ORDER BY g"
check "a session's table hides one of the file" both "CREATE TABLE t AS SELECT 1 AS a; CREATE TABLE memory.t AS SELECT 2 AS a; CREATE TABLE u AS SELECT a, g FROM t JOIN $t x ON x.i = t.a; DROP TABLE memory.t" "FROM t; FROM u"
check "a table is the file's, a view the session's" both "CREATE VIEW v AS FROM $t; CREATE TEMP TABLE k AS SELECT 3 AS g; CREATE TABLE t AS SELECT v.i FROM v JOIN k USING (g) WHERE i < 100" \
    "FROM t ORDER BY i; SELECT database_name, table_name FROM duckdb_tables(); SELECT view_name FROM duckdb_views() WHERE NOT internal"

insert="CREATE TABLE t (g INTEGER NOT NULL, n DOUBLE DEFAULT 4, s VARCHAR); INSERT INTO t (s, g) SELECT max(s), g FROM $t GROUP BY g"
check "INSERT" both "$insert" "DESCRIBE t; FROM t ORDER BY g"
check "its plan" distributes "INSERT INTO t (s, g) SELECT max(s), g FROM $t GROUP BY g" "INSERT INTO t \(s, g\)"
check "INSERT BY NAME" both "${insert%%; *}; INSERT INTO t BY NAME SELECT max(s) AS s, g FROM $t GROUP BY g" "FROM t ORDER BY g"
check "INSERT of itself" both "$insert; INSERT INTO t SELECT a.g + 10, b.i, a.s FROM t a JOIN $t b ON a.g = b.i" "FROM t ORDER BY ALL"
check "INSERT in parentheses" both "${insert%%; *}; INSERT INTO t (SELECT g, i, s FROM $t WHERE i < 50)" "FROM t ORDER BY ALL"
check "RETURNING" both "${insert%%; *}; INSERT INTO t SELECT g, 1, s FROM $t WHERE i < 5 ORDER BY i RETURNING g, s" "FROM t ORDER BY ALL"
check "ON CONFLICT" both "CREATE TABLE t (g BIGINT PRIMARY KEY, n BIGINT); INSERT INTO t SELECT 1, 1; INSERT INTO t SELECT g, count(*) FROM $t GROUP BY g ON CONFLICT DO UPDATE SET n = 77" "FROM t ORDER BY g"
check "a temporary table" both "CREATE TABLE t AS SELECT 1::BIGINT AS g; CREATE TEMP TABLE tt AS $grouped; INSERT INTO t SELECT n FROM tt" "FROM t ORDER BY g"
check "a temporary table is distributed" distributes "CREATE TEMP TABLE tt AS $grouped" "CREATE TEMP TABLE tt AS"
check "OR IGNORE" both "CREATE TABLE t (g BIGINT PRIMARY KEY); INSERT INTO t SELECT 3; INSERT OR IGNORE INTO t SELECT g FROM $t GROUP BY g" "FROM t ORDER BY g"
check "WITH before it" both "${insert%%; *}; WITH insert AS (FROM $t WHERE i < 9), x(a) AS (SELECT i FROM insert) INSERT INTO t (g) FROM x; WITH d AS (SELECT 3 AS g) DELETE FROM t WHERE g IN (FROM d); WITH update AS (SELECT count(*) AS n FROM t) FROM update" "FROM t ORDER BY g"
check "VALUES" both "${insert%%; *}; INSERT INTO t VALUES (1, DEFAULT, 'a'); INSERT INTO t (g) VALUES ((SELECT max(g) FROM $t))" "FROM t ORDER BY g"
check "in a transaction" both "CREATE TABLE t AS SELECT 1::BIGINT AS g; BEGIN; INSERT INTO t SELECT g FROM $t GROUP BY g; SELECT sum(g) FROM t; ROLLBACK;
    BEGIN; INSERT INTO t SELECT g + 100 FROM $t GROUP BY g; COMMIT" "FROM t ORDER BY g"

# What fails leaves the table as it was, with DuckDB's own words.
rm -f "$work/d.db"
into=(sql --db "$work/d.db" "${workers[@]}")
"$SHOAL" "${into[@]}" "CREATE TABLE k (i BIGINT PRIMARY KEY, g INTEGER NOT NULL, CHECK (g < 9)); INSERT INTO k SELECT i, g FROM $t WHERE i < 10"
unchanged() { [ "$("$SHOAL" sql --db "$work/d.db" --format csv "SELECT count(*), sum(i) FROM k" | tail -n 1)" = "10,45" ]; }
check "a key that is there" fails 1 "Constraint Error: Duplicate key \"i: 9\"" "${into[@]}" "INSERT INTO k SELECT 49999 - i + 9, g FROM $t"
check "leaves it" unchanged
check "a NULL" fails 1 "NOT NULL constraint failed: k.g" "${into[@]}" "INSERT INTO k SELECT i + 100, CASE WHEN i < 49990 THEN g END FROM $t"
check "leaves it" unchanged
check "a CHECK" fails 1 "CHECK constraint failed" "${into[@]}" "INSERT INTO k SELECT i + 100, CASE WHEN i < 49990 THEN g ELSE 9 END FROM $t"
check "an error in a task" fails 1 "Could not convert string 'n" "${into[@]}" "INSERT INTO k SELECT i + 100, s::INTEGER FROM $t"
check "too many columns" fails 1 "has 2 columns but 3 values were supplied" "${into[@]}" "INSERT INTO k SELECT i + 100, g, 1 FROM $t"
check "a table that is there" fails 1 "Table with name \"k\" already exists" "${into[@]}" "CREATE TABLE k AS SELECT i FROM $t"
check "a table that is not" fails 1 "Table with name nil does not exist" "${into[@]}" "INSERT INTO nil SELECT i FROM $t"
check "leaves it" unchanged
killed() {
    local pid
    for _ in 1 2 3 4; do
        "$SHOAL" "${into[@]}" "INSERT INTO k SELECT i + 100, g FROM $t" 2>/dev/null &
        pid=$!
        sleep "0.$((RANDOM % 30 + 10))"
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
        # All of it, if it was quicker.
        unchanged || "$SHOAL" sql --db "$work/d.db" "DELETE FROM k WHERE i >= 100; SELECT error('a part') FROM k HAVING count(*) <> 10" >/dev/null || return 1
    done
    unchanged
}
check "kill -9" killed
rm -rf "${spool:?}"/* "${memory:?}"/*

# The file: read by several, written when it must be, and made only by CREATE TABLE.
check "a database that is not there" fails 1 "is not there" sql --db "$work/no.db" "SELECT 1"
check "is not made by explain" "$SHOAL" explain --db "$work/no.db" "CREATE TABLE t AS SELECT i FROM $t" -o "$work/plan"
check "nor by a mistake" test ! -e "$work/no.db"
read_meanwhile() {
    "$SHOAL" sql --threads 1 --db "$work/d.db" "SELECT count(*) FROM k, range(1000000000000)" >/dev/null &
    local pid=$! code=0
    until find "/proc/$pid/fd" -lname "$work/d.db" | grep -q .; do sleep 0.05; done
    "$SHOAL" sql --db "$work/d.db" --format csv "SELECT count(*) FROM k" | grep -qx 10 || code=1
    fails 1 "cannot write to the database" "${into[@]}" "INSERT INTO k SELECT i + 100, g FROM $t" || code=1
    kill "$pid"
    wait "$pid"
    return "$code"
}
check "readers side by side, and no writer beside them" read_meanwhile
check "UPDATE, DELETE, DROP" "$SHOAL" "${into[@]}" "UPDATE k SET g = 8 WHERE i = 3; DELETE FROM k WHERE i > 3; SELECT error('no') FROM k HAVING sum(g) <> 11; DROP TABLE k"
# DuckDB reads a CSV file as the types of the table that it goes into.
{ echo a,b; for i in $(seq 3000); do echo "$i,$i.50"; done; } >"$work/typed.csv"
into_texts() {
    local sql="CREATE TABLE t (a INTEGER, b VARCHAR); INSERT INTO t SELECT * FROM read_csv('$work/typed.csv');
        INSERT INTO t (b, a) SELECT b, a FROM read_csv('$work/typed.csv');
        INSERT INTO t SELECT max(a), b FROM read_csv('$work/typed.csv') GROUP BY b; SELECT * FROM t ORDER BY ALL"
    "$SHOAL" sql --format csv "$sql" >"$work/embedded"
    "$SHOAL" sql --format csv --workers 2 --split-rows 100 "$sql" >"$work/workers"
    cmp "$work/embedded" "$work/workers"
}
check "values of CSV files as the table's types" into_texts
check "words as names" test "$("$SHOAL" sql --format csv --workers 1 "CREATE SCHEMA schema; CREATE TABLE schema.table (a INTEGER);
    INSERT INTO schema.table VALUES (1); INSERT INTO schema.table SELECT 2; INSERT INTO memory.schema.table AS t FROM (SELECT 3);
    INSERT INTO schema.table (a) TABLE schema.table; SELECT sum(a) AS s FROM schema.table" | tail -n 1)" = 12
finish
