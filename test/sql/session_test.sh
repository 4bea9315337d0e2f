#!/usr/bin/env bash
# A session's state over workers: settings reach every slot of every worker, views, macros
# and tables of the session work beside distributed queries.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT i AS k, make_timestamptz(2024, 1, 1 + (i % 300)::INTEGER, 1, 0, 0.0, 'UTC') AS t
    FROM range(400000) r(i)) TO '$work/t.parquet'"

# both INIT QUERIES...: embedded and distributed, with the options more, print the same.
more=()
both() {
    local init=$1
    shift
    printf '%s\n' "$init" >"$work/init.sql"
    printf '%s;\n' "$@" >"$work/queries.sql"
    "$SHOAL" sql --init "$work/init.sql" -f "$work/queries.sql" --format csv >"$work/expected" &&
        "$SHOAL" sql --init "$work/init.sql" -f "$work/queries.sql" --format csv --workers 2 \
            --threads 4 --partitions 16 "${more[@]}" "${spools[@]}" >"$work/actual" &&
        diff "$work/expected" "$work/actual" && nothing_left
}
hours="SELECT hour(t) AS h, min(t::VARCHAR), count(*) FROM '$work/t.parquet' GROUP BY h ORDER BY h"
check "a setting, by statement" both "SELECT 1" "SET TimeZone = 'Asia/Tokyo'" "$hours" \
    "RESET TimeZone" "$hours"
check "a setting, by --init" both "SET TimeZone = 'America/New_York';" "$hours"
check "a macro and a view" both \
    "CREATE MACRO twice(x) AS x * 2; CREATE VIEW v AS SELECT twice(k) AS k FROM '$work/t.parquet';" \
    "SELECT k % 5 AS g, sum(twice(k)) FROM v GROUP BY g ORDER BY g"
printf 'SELECT 1;\n-- Of what is missing.\nSELECT count(*)\n  FROM nowhere;\nSELECT 3' >"$work/script.sql"
check "an error names the statement of a script" fails 1 'in statement 2 of 3: SELECT count(*) ...' sql -f "$work/script.sql"
disabled="SELECT current_setting('disabled_optimizers') AS d, current_setting('lock_configuration') AS l"
check "what the session disables stays disabled" both "SELECT 1" \
    "SET disabled_optimizers = 'filter_pushdown,late_materialization'" "$hours" "$disabled" \
    "RESET disabled_optimizers" "$hours" "$disabled"
# DuckDB 2.0 fails on this one if a worker optimizes as the session does.
"$reference" sql "COPY (SELECT {'id': k + 1000, 'ms': {'a': k + 200, 'b': k + 30, 'c': {'d': k}}} AS v FROM range(3) t(k)) TO '$work/nested.parquet'"
more=(--threads 1 --split-rows 1)
check "what workers disable does, too" both "SELECT 1" "SET disabled_optimizers = ''" \
    "SELECT (v.ms::STRUCT(b VARCHAR, a VARCHAR)).b FROM '$work/nested.parquet' ORDER BY v.id LIMIT 1"
more=()
check "settings of one process" both "SELECT 1" "SET enable_progress_bar = false" \
    "SET preserve_insertion_order = true" "$hours"
check "a setting of one connection, in a transaction" both "SELECT 1" "CREATE TABLE few AS SELECT 1 AS a" "BEGIN" \
    "INSERT INTO few VALUES (2)" "SET tracked_metrics = ['query.cpu_time']" "INSERT INTO few VALUES (3)" "COMMIT" \
    "SELECT count(*) FROM few"
check "a locked configuration" both "SELECT 1" "SET lock_configuration = true" "$hours" "$disabled"
check "locked by PRAGMA, but for one setting" both "SELECT 1" "SET allowed_configs = ['TimeZone']" \
    "PRAGMA lock_configuration = true" "SET TimeZone = 'Asia/Tokyo'" "$hours"
confined="SET allowed_directories = ['$work']; SET enable_external_access = false"
check "a confined session" both "SELECT 1" "$confined" "$hours"
confined_plan() {
    grep -q "Runs embedded, in one process: enable_external_access is off in this session: --allow-paths" \
        <<<"$("$SHOAL" explain --workers 2 "$confined; $hours")"
}
check "it uses no workers" confined_plan
check "no local files" fails 1 "File system LocalFileSystem has been disabled" \
    sql --workers 2 "SET disabled_filesystems = 'LocalFileSystem'; SELECT 1 AS a; $hours"
check "names in capitals" both "SELECT 1" "SET preserve_identifier_case = 'uppercase'" \
    "SELECT count(*) AS some, sum(k) FROM '$work/t.parquet'"
# A statement's time is bounded as a whole, not each of its tasks.
long="SELECT count(*) FROM '$work/t.parquet' a, '$work/t.parquet' b WHERE a.k * b.k % 7 = 3"
check "max_execution_time" fails 124 "Query exceeded maximum execution time" \
    sql --workers 2 --split-rows 1000 "SET max_execution_time = 700; $long"
check "max_execution_time, embedded" fails 124 "Query exceeded maximum execution time" \
    sql "SET max_execution_time = 700; $long"
check "there is time" both "SELECT 1" "SET max_execution_time = 100000" "$hours" "RESET max_execution_time" "$hours"
check "a table of the session" both \
    "CREATE TABLE few AS SELECT k FROM '$work/t.parquet' WHERE k < 10; CREATE VIEW w AS FROM few;" \
    "SELECT sum(k) FROM w" "SELECT count(*), sum(k) FROM '$work/t.parquet'" \
    "CREATE TEMP TABLE more AS FROM range(5)" "SELECT count(*) FROM more"
check "an enum type" both "CREATE TYPE odd AS ENUM ('even', 'odd');" \
    "SELECT (CASE k % 2 WHEN 0 THEN 'even' ELSE 'odd' END)::odd AS o, count(*)
        FROM '$work/t.parquet' GROUP BY o ORDER BY o"

check "an enum of what a table holds" both "CREATE TABLE labels AS SELECT 'l' || range AS l FROM range(4);
    CREATE TYPE label AS ENUM (SELECT l FROM labels);" \
    "SELECT ('l' || k % 4)::label AS l, count(*) FROM '$work/t.parquet' GROUP BY l ORDER BY l"
check "an enum whose name begins a word of SQL" both "CREATE TABLE labels AS SELECT 'l' || range AS l FROM range(4);
    CREATE TYPE e AS ENUM (SELECT l FROM labels);" \
    "SELECT ('l' || k % 4)::e AS l, count(*) FROM '$work/t.parquet' GROUP BY l ORDER BY l"
check "a prepared statement, a transaction" both "CREATE TABLE n AS SELECT 1 AS a;" \
    "PREPARE p AS SELECT count(*) FROM '$work/t.parquet' WHERE k < \$1" "EXECUTE p(7)" \
    "BEGIN" "INSERT INTO n VALUES (2)" "SELECT sum(a) FROM n JOIN '$work/t.parquet' t ON t.k = n.a" \
    "ROLLBACK" "SELECT sum(a) FROM n JOIN '$work/t.parquet' t ON t.k = n.a"

views_beside_db() {
    local db=$work/some.db
    "$SHOAL" sql "ATTACH '$db' AS d; CREATE TABLE d.names AS SELECT i AS k, 'n' || i AS name
        FROM range(10) r(i)" || return 1
    printf "CREATE VIEW t AS FROM '%s/t.parquet';" "$work" >"$work/init.sql"
    "$SHOAL" sql "SELECT name, sum(t.k) FROM t JOIN names n ON t.k % 10 = n.k GROUP BY ALL
        ORDER BY ALL" --db "$db" --init "$work/init.sql" --format csv >"$work/expected" || return 1
    "$SHOAL" sql "SELECT name, sum(t.k) FROM t JOIN names n ON t.k % 10 = n.k GROUP BY ALL
        ORDER BY ALL" --db "$db" --init "$work/init.sql" --format csv --workers 2 \
        "${spools[@]}" | diff "$work/expected" -
}
check "views beside --db" views_beside_db

# shoal's own settings: set, asked for, reset, and refused by name.
skew() {
    "$SHOAL" sql --format csv "${@:2}" >"$work/actual" && [ "$(grep -vc skew "$work/actual")" -gt 0 ] &&
        [ "$(grep -v skew "$work/actual" | tr '\n' ' ')" = "$1 " ]
}
now="SELECT current_setting('shoal.skew') AS skew"
check "skew is auto" skew auto "$now"
check "SET shoal.skew" skew "off auto off auto off auto off" "SET shoal.skew = 'off'; $now;
    SET shoal.skew TO AUTO; $now; set session Shoal.SKEW=off; $now; RESET shoal.skew; $now;
    SET GLOBAL \"shoal.skew\" = \"off\"; $now; SET shoal.skew = DEFAULT; $now;
    SET /* here */ shoal . skew = off -- there
    ; $now"
check "--skew is what RESET goes back to" skew "off auto off" \
    "$now; SET shoal.skew = auto; $now; RESET shoal.skew; $now" --skew off --workers 2
echo "SET shoal.skew = off" >"$work/init.sql"
check "SET shoal.skew in --init" skew off "$now" --init "$work/init.sql"
check "it is among the settings" skew off \
    "SET shoal.skew = off; SELECT value AS skew FROM duckdb_settings() WHERE name = 'shoal.skew'"
check "another value" fails 1 "SET shoal.skew = on: choose auto or off" sql "SET shoal.skew = on"
check "no value" fails 1 "choose auto or off" sql "SET shoal.skew"
check "two values" fails 1 "choose auto or off" sql "SET shoal.skew = off auto"
check "another setting" fails 1 "shoal.fast is no setting; those of shoal are: shoal.skew (auto or off)" \
    sql "SET shoal.fast = 1"
check "another is reset" fails 1 "shoal.skew (auto or off)" sql 'RESET "shoal.fast"'
check "another value of --skew" fails 2 "--skew takes auto or off" sql "SELECT 1" --skew on
# Files one after the other, whose last statements need no end.
printf 'CREATE VIEW first AS SELECT 5 AS a -- of the first' >"$work/1.sql"
printf 'FROM first; CREATE VIEW second AS SELECT a + 1 AS b FROM first' >"$work/2.sql"
printf 'FROM second\n' >"$work/3.sql"
check "several files" test "$("$SHOAL" sql --format csv -f "$work/1.sql" -f "$work/2.sql" --file "$work/3.sql" | paste -s -d ' ')" = "a 5 b 6"
check "one of them is missing" fails 2 "cannot open $work/4.sql" sql -f "$work/1.sql" -f "$work/4.sql"

finish
