#!/usr/bin/env bash
# Delta Lake tables that shoal writes: others read them, two writers don't lose rows, and
# whatever is killed, readers see one version or the next. KILLS: how many.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
: "${KILLS:=4}"
python=$root/third_party/venv/bin/python
out=$work/table
log=$out/_delta_log
how=()
"$reference" sql "COPY (SELECT i, i % 4 AS k, ['plain', 'a b/c=%2F', 'é \"q\" ''', 'NULL'][1 + i % 5] AS g,
    DATE '2024-01-01' + (i % 3)::INTEGER AS day, i / 4 AS x, (i / 100)::DECIMAL(12, 2) AS price,
    CASE WHEN i % 7 > 0 THEN i::SMALLINT % 100::SMALLINT END AS small, i % 2 = 0 AS ok, 'n' || i AS name,
    TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_hours(i) AS moment, [i, NULL] AS list, {'a': i, 'b': 'x'} AS pair,
    MAP {'k': i} AS map, 'abc'::BLOB AS raw, i::FLOAT AS f
    FROM range(20000) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 4096)"
printf "CREATE VIEW t AS FROM '%s/t.parquet';\n" "$work" >"$work/init.sql"

shoal() { "$SHOAL" sql --init "$work/init.sql" "${how[@]}" --format csv "$@"; }
copy() { shoal "COPY ($1) TO '$out' (FORMAT delta${2:+, $2})" >"$work/answer"; } # QUERY OPTIONS
answer() { [ "$(tail -n 1 "$work/answer")" = "$1" ]; }
value() { "$SHOAL" sql --format csv "$1" | tail -n 1; }
holds() { # N SUM: so many rows, with this sum of i
    local is
    is=$(value "SELECT count(*) || ' ' || coalesce(sum(i), 0) FROM '$out'")
    [ "$is" = "$1 $2" ] || { echo "$is instead of $1 $2"; return 1; }
}
nothing_beside() { nothing_left && [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]; }
# Each file in the folder is one that the log names.
no_strays() {
    [ "$(find "$out" -name '*.parquet' | wc -l)" = "$(cat "$log"/*.json | grep -c '"add"')" ]
}
refused() { # WORDS QUERY OPTIONS: and nothing changes
    local before
    before=$(find "$out" | sort | cksum)
    fails "${code:-1}" "$1" sql --init "$work/init.sql" "${how[@]}" "COPY ($2) TO '$out' (FORMAT delta${3:+, $3})" &&
        [ "$(find "$out" | sort | cksum)" = "$before" ] && nothing_beside
}

# as_others QUERY: the table has the query's rows and types, whoever reads it.
as_others() {
    local reader
    "$SHOAL" sql --init "$work/init.sql" --format csv "DESCRIBE $1" >"$work/types"
    "$SHOAL" sql --format csv "DESCRIBE '$out'" | cmp - "$work/types" || return 1
    for reader in deltalake polars; do
        [ "$reader" = polars ] && [ -n "${no_polars:-}" ] && continue
        "$python" "$root/test/support/delta.py" read "$out" "$reader" "$work/$reader.parquet" || return 1
        [ "$(value "$(cat "$work/init.sql") SELECT (SELECT count(*) FROM (FROM '$work/$reader.parquet' EXCEPT ALL ($1))) +
            (SELECT count(*) FROM (($1) EXCEPT ALL FROM '$work/$reader.parquet')) AS n")" = 0 ] || {
            echo "$reader reads other rows"
            return 1
        }
    done
}
whole() { # QUERY OPTIONS
    rm -rf "$out"
    copy "$1" "${2:-}" && answer 20000 && nothing_beside && no_strays && as_others "$1"
}
# Polars 2.1.0 gives a map another type, and decodes paths twice
without_polars() { no_polars=1 whole "$@"; }
flat="SELECT * EXCLUDE (map) FROM t"
naive() {
    rm -rf "$out"
    copy "SELECT i, TIMESTAMP '2024-01-01' + to_hours(i) AS tick FROM t WHERE i < 100" &&
        as_others "SELECT i, TIMESTAMP '2024-01-01' + to_hours(i) AS tick FROM t WHERE i < 100" &&
        grep -q '"readerFeatures":\["timestampNtz"\]' "$log"/*0.json
}
empty() {
    rm -rf "$out"
    copy "SELECT i, name FROM t WHERE i < 0" && answer 0 && no_strays && holds 0 0 &&
        copy "SELECT i, name FROM t WHERE i < 3" APPEND && holds 3 3
}
in_order() {
    rm -rf "$out"
    copy "SELECT i FROM t ORDER BY i DESC" "FILE_SIZE_BYTES '20KB', ROW_GROUP_SIZE 2048" &&
        holds 20000 199990000 && no_strays
}
statistics() {
    rm -rf "$out"
    copy "SELECT i, small, day FROM t" || return 1
    grep -h '"add"' "$log"/*.json >"$work/adds"
    value "SELECT (sum((s->>'\$.numRecords')::INT), min((s->'\$.minValues'->>'i')::INT),
        max((s->'\$.maxValues'->>'i')::INT), sum((s->'\$.nullCount'->>'small')::INT), max(s->'\$.maxValues'->>'day'))
        FROM (SELECT add.stats::JSON AS s FROM read_json('$work/adds', columns = {add: 'STRUCT(stats VARCHAR)'}))" >"$work/is"
    grep -qF "(20000, 0, 19999, 2858, 2024-01-03)" "$work/is" || { cat "$work/is"; return 1; }
}

appends() {
    rm -rf "$out"
    copy "SELECT i, name, day FROM t WHERE i < 100" "PARTITION_BY (day)" &&
        copy "SELECT DAY, name, i FROM t WHERE i < 10" "APPEND" && holds 110 4995 &&
        copy "SELECT i, day FROM t WHERE i < 10" "APPEND, PARTITION_BY (day)" && holds 120 5040 &&
        [ "$(value "SELECT count(*) FILTER (name IS NULL) FROM '$out'")" = 10 ] && no_strays &&
        [ "$(value "SELECT count(*) FROM delta_scan('$out', version := 1)")" = 110 ]
}
replaces() {
    copy "SELECT i, name, day FROM t WHERE i < 50" OVERWRITE && holds 50 1225 && nothing_beside &&
        copy "FROM '$out' WHERE i < 20" OVERWRITE && holds 20 190 &&
        [ "$(value "SELECT count(*) FROM delta_scan('$out', version := 2)")" = 120 ]
}
replaces_partitions() {
    rm -rf "$out"
    copy "SELECT i, g, k FROM t WHERE i < 100" "PARTITION_BY (g, k)" &&
        copy "SELECT i, g, k FROM t WHERE i < 5 AND g IS NULL" OVERWRITE_PARTITIONS &&
        holds 96 4734 && # of 4, 24, 44, 64 and 84, where g is NULL and k is 0, only 4 stays
        copy "SELECT i, g, k FROM t WHERE i < 0" OVERWRITE_PARTITIONS && holds 96 4734 &&
        copy "SELECT i, 'new' AS g, 7::BIGINT AS k FROM t WHERE i < 10" OVERWRITE_PARTITIONS && holds 106 4779
}
once() {
    rm -rf "$out"
    copy "SELECT i FROM t WHERE i < 10" "JOB_ID 'load 1'" && answer 10 &&
        copy "SELECT i FROM t WHERE i < 10" "JOB_ID 'load 1'" 2>"$work/err" && answer 0 &&
        grep -qF "the job load 1 was already committed as version 0" "$work/err" &&
        copy "SELECT i FROM t WHERE i < 10" "APPEND, JOB_ID 'load 2'" && answer 10 &&
        copy "SELECT i, 1 AS other FROM t" "OVERWRITE, JOB_ID 'load 2'" 2>"$work/err" && answer 0 &&
        grep -qF "as version 1" "$work/err" && holds 20 90 && nothing_beside
}

errors() {
    rm -rf "$out"
    code=1
    for type in HUGEINT UBIGINT UINTEGER TIME INTERVAL UUID BIT TIMESTAMP_NS "ENUM('a')" "UUID[]"; do
        fails 1 "a Delta table can't hold the column c" sql "${how[@]}" "COPY (SELECT CAST(NULL AS $type) AS c) TO '$out' (FORMAT delta)" ||
            return 1
        [ ! -e "$out" ] || return 1
    done
    fails 1 "can't be partitioned by x here" sql --init "$work/init.sql" "COPY (SELECT i, x FROM t) TO '$out' (FORMAT delta, PARTITION_BY x)" &&
        fails 1 "which is no column of the query" sql "COPY (SELECT 1 AS a) TO '$out' (FORMAT delta, PARTITION_BY (b))" &&
        fails 1 "its name, or one inside" sql "COPY (SELECT 1 AS \"a b\") TO '$out' (FORMAT delta)" &&
        fails 1 "the query has two columns" sql "COPY (SELECT 1 AS a, 2 AS A) TO '$out' (FORMAT delta)" &&
        fails 1 "JOB_ID is for FORMAT delta" sql "COPY (SELECT 1 AS a) TO '$out' (FORMAT parquet, JOB_ID 'x')" &&
        fails 1 "FORMAT delta has no write_partition_columns" sql "COPY (SELECT 1 AS a) TO '$out' (FORMAT delta, WRITE_PARTITION_COLUMNS)" &&
        fails 1 "FORMAT delta needs shoal, but" sql "COPY (SELECT 1 AS a) TO 's3://b/t' (FORMAT delta)" &&
        fails 1 "is not empty, and is no Delta table" sql "COPY (SELECT 1 AS a) TO '$work' (FORMAT delta, APPEND)" || return 1
    copy "SELECT i, name, k FROM t WHERE i < 10" "PARTITION_BY k" &&
        refused "is a Delta table already, at version 0" "SELECT i FROM t" &&
        refused "the column name is INTEGER, and the Delta table" "SELECT i, 1 AS name, k FROM t" APPEND &&
        refused "has the column z, which the Delta table" "SELECT i, k, 1 AS z FROM t" APPEND &&
        refused "is partitioned by [\"k\"]" "SELECT i, name, k FROM t" "APPEND, PARTITION_BY (name)" &&
        refused "Conversion Error" "SELECT CASE WHEN i < 19000 THEN i ELSE name::BIGINT END AS i, k FROM t" OVERWRITE && holds 10 45
}
empty_text() {
    rm -rf "$out"
    copy "SELECT i, 'x' AS g FROM t WHERE i < 10" "PARTITION_BY g" &&
        fails 1 "the partition column g has an empty text" sql --init "$work/init.sql" "COPY (SELECT i, '' AS g FROM t) TO '$out' (FORMAT delta, APPEND)" &&
        no_strays && holds 10 45
}

checkpoint() { # of version 10, which others can read without the commits before
    local i
    rm -rf "$out"
    copy "SELECT i, g, small FROM t WHERE i < 10" "PARTITION_BY g" || return 1
    for i in 1 2 3 4 5 6 7 8 9; do copy "SELECT i, g FROM t WHERE i < 10" "APPEND, JOB_ID 'job $i'" || return 1; done
    SHOAL_FAULT=commit.hint:1:EIO copy "SELECT i, g, small FROM t WHERE i < 30" OVERWRITE 2>"$work/err" &&
        grep -qF "version 10 is committed, but: its checkpoint was not written" "$work/err" && answer 30 &&
        [ -e "$log/00000000000000000010.checkpoint.parquet" ] && rm "$log"/0000000000000000000?.json &&
        copy "SELECT i, g, small FROM t WHERE i = 30" APPEND && no_polars=1 as_others "SELECT i, g, small FROM t WHERE i < 31" &&
        copy "FROM t" "APPEND, JOB_ID 'job 9'" 2>"$work/err" && answer 0 && grep -qF "as version 9" "$work/err"
}

# What others ask of writers: a table with something that shoal does not honour.
asks() { # SETTING WORDS OPTIONS
    rm -rf "$out"
    "$python" -c "
import polars as pl, sys
from deltalake import DeltaTable, write_deltalake
setting = sys.argv[2]
write_deltalake(sys.argv[1], pl.DataFrame({'i': [1, 2]}), configuration={setting: 'true'} if setting.startswith('delta.') else None)
if not setting.startswith('delta.'): DeltaTable(sys.argv[1]).alter.add_constraint({'positive': setting})" "$out" "$1" &&
        refused "$2" "SELECT 7::BIGINT AS i" "$3"
}
appends_to_append_only() {
    asks delta.appendOnly "is append-only" OVERWRITE && copy "SELECT 7::BIGINT AS i" APPEND && holds 3 10
}
adds_to_others() { # and its column that must not be NULL
    rm -rf "$out"
    "$python" -c "
import sys
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType
DeltaTable.create(sys.argv[1], Schema([Field('i', PrimitiveType('long'), nullable=False), Field('g', PrimitiveType('string'))]), partition_by=['g'])" "$out"
    copy "SELECT 'a' AS g, i FROM t WHERE i < 10" APPEND && holds 10 45 && as_others "SELECT i, 'a' AS g FROM t WHERE i < 10" &&
        refused "the column i of the Delta table" "SELECT nullif(i, 5) AS i FROM t" APPEND &&
        refused "the query has no column i" "SELECT 'x' AS g FROM t" APPEND
}

ways=(embedded workers)
if under_asan; then ways=(workers); fi
for way in "${ways[@]}"; do
    how=()
    [ "$way" = embedded ] || how=(--workers 2 --split-rows 1000 "${spools[@]}")
    check "$way: a table" without_polars "FROM t"
    check "$way: partitions" without_polars "FROM t" "PARTITION_BY (g, day, ok, k)"
    check "$way: without a time zone" naive
    check "$way: no rows" empty
    check "$way: files of a size" in_order
    check "$way: APPEND" appends
    check "$way: OVERWRITE" replaces
    check "$way: OVERWRITE_PARTITIONS" replaces_partitions
    check "$way: a job once" once
done
check "statistics" statistics
check "refused" errors
check "an empty text" empty_text
how=()
check "partitions, as Polars reads them" whole "$flat" "PARTITION_BY (day, ok)"
check "rows, as Polars reads them" whole "$flat"
check "a checkpoint" checkpoint
check "append-only" appends_to_append_only
check "a constraint" asks "i > 0" "the constraint positive" APPEND
check "a change feed" asks delta.enableChangeDataFeed "has the setting delta.enableChangeDataFeed" APPEND
check "a table of another writer" adds_to_others

# Two at once.
start_table() {
    rm -rf "$out"
    copy "SELECT i, k FROM t WHERE i < 4" "PARTITION_BY (k)"
}
writers() { # NAME OPTIONS: four runs at once, whose exit codes are in codes
    local pids=() i
    codes=()
    for i in 1 2 3 4; do
        "$SHOAL" sql --init "$work/init.sql" "COPY (SELECT i, k FROM t WHERE i < $((i * 1000))) TO '$out' (FORMAT delta, $1)" \
            >/dev/null 2>"$work/err.$i" &
        pids+=($!)
    done
    for i in 0 1 2 3; do
        codes[i]=0
        wait "${pids[i]}" || codes[i]=$?
    done
}
both_appended() {
    start_table && writers APPEND && [ "${codes[*]}" = "0 0 0 0" ] &&
        holds 10004 $((6 + 499500 + 1999000 + 4498500 + 7998000)) && no_strays && [ -e "$log/00000000000000000004.json" ]
}
one_replaced() { # each says that it wrote, or that another was first; a winner's rows are there
    local i winners=0
    start_table && writers OVERWRITE || return 1
    for i in 1 2 3 4; do
        if [ "${codes[i - 1]}" = 0 ]; then
            winners=$((winners + 1))
        else
            grep -qF "changed what this replaces: nothing was written; run again" "$work/err.$i" || return 1
        fi
    done
    [ "$(find "$log" -name '*.json' | wc -l)" = $((winners + 1)) ] && [ "$winners" -ge 1 ] && no_strays &&
        [ "$(value "SELECT count(*) % 1000 = 0 AND count(*) = max(i) + 1 FROM '$out'")" = true ]
}
one_job() {
    start_table && writers "APPEND, JOB_ID 'x'" && [ "${codes[*]}" = "0 0 0 0" ] && no_strays &&
        [ "$(find "$log" -name '*.json' | wc -l)" = 2 ]
}
one_made_it() {
    local i made=0
    rm -rf "$out"
    writers "ERROR_IF_EXISTS"
    for i in 1 2 3 4; do
        [ "${codes[i - 1]}" = 0 ] && made=$((made + 1))
    done
    [ "$made" = 1 ] && no_strays && [ "$(find "$log" -name '*.json' | wc -l)" = 1 ]
}
beside_others() { # deltalake appends ten times meanwhile
    local python_pid pids=() i failed=0
    start_table
    "$python" -c "
import polars as pl, sys
from deltalake import write_deltalake
for n in range(10): write_deltalake(sys.argv[1], pl.DataFrame({'i': [100 + n], 'k': [n % 3]}), mode='append')" "$out" &
    python_pid=$!
    for i in 1 2 3 4; do
        "$SHOAL" sql --init "$work/init.sql" "COPY (SELECT i, k FROM t WHERE i < 1000) TO '$out' (FORMAT delta, APPEND);
            COPY (SELECT i, k FROM t WHERE i < 1000) TO '$out' (FORMAT delta, APPEND)" >/dev/null &
        pids+=($!)
    done
    for i in "$python_pid" "${pids[@]}"; do wait "$i" || failed=1; done
    [ "$failed" = 0 ] && holds 8014 $((6 + 1045 + 8 * 499500)) && [ -e "$log/00000000000000000018.json" ]
}
check "appends beside those of another engine" beside_others

times=2
if under_asan; then times=1; fi
for ((i = 0; i < times; i++)); do
    check "appends at once" both_appended
    check "overwrites at once" one_replaced
    check "one job at once" one_job
    check "new tables at once" one_made_it
done

# A call that fails, or where the process dies: before the commit nothing has happened,
# after it all has.
fault() { SHOAL_FAULT=$1 "$SHOAL" sql --init "$work/init.sql" "${how[@]}" "COPY (SELECT i, k FROM t WHERE i < 100) TO '$out' (FORMAT delta, OVERWRITE)" >/dev/null 2>&1; }
failed_rename() { start_table && ! fault commit.rename:2:EIO && holds 4 6 && no_strays; }
failed_link() { start_table && ! fault commit.link:1:EIO && holds 4 6 && no_strays; }
no_links() { start_table && fault commit.link:1+:EINVAL && holds 100 4950 && copy "SELECT i, k FROM t WHERE i < 1" APPEND && holds 101 4950; }
died() { start_table && ! fault "commit.$1:1:kill" && holds 4 6 && copy "SELECT i, k FROM t WHERE i < 100" OVERWRITE && holds 100 4950 && nothing_beside; }
check "a file can't be moved" failed_rename
check "a commit can't be written" failed_link
check "no hard links" no_links
check "killed at a move" died rename
check "killed at the commit" died link

# Appends of 1,000 rows, killed at any time, beside a reader.
reading() {
    local is
    while [ ! -e "$work/stop" ]; do
        is=$("$SHOAL" sql --format csv "SELECT count(*) % 1000 FROM '$out'" | tail -n 1)
        [ "$is" = 4 ] || { echo "$is rows over" >"$work/torn"; return; }
    done
}
killed() {
    local pid reader i
    start_table
    rm -f "$work/stop" "$work/torn"
    reading &
    reader=$!
    for ((i = 0; i < KILLS; i++)); do
        copy "SELECT i, k FROM t WHERE i < 1000" APPEND 2>/dev/null &
        pid=$!
        sleep "0.$((RANDOM % 40 + 5))"
        pkill -9 -P "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    touch "$work/stop"
    wait "$reader"
    [ ! -e "$work/torn" ] || { cat "$work/torn"; return 1; }
    "$python" "$root/test/support/delta.py" read "$out" deltalake "$work/last.parquet" &&
        [ "$(value "SELECT count(*) % 1000 FROM '$work/last.parquet'")" = 4 ]
}
how=(--workers 2 --split-rows 1000 "${spools[@]}")
check "killed beside a reader" killed
check "the next run cleans up" copy "SELECT i, k FROM t WHERE i < 1" APPEND
check "nothing is left beside it" nothing_beside
finish
