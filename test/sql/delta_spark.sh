#!/usr/bin/env bash
# Delta Lake tables of Spark read by shoal, and the other way round: a long run, of test-all.
# SPARK: the folder with Spark that ./dev makes.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
: "${SPARK:=$root/third_party/spark}"
tables=$work/tables
options=(--workers 2 --split-rows 20 "${spools[@]}")
mkdir "$tables"

spark() {
    "$SPARK/venv/bin/python" "$root/test/support/spark.py" "$SPARK/jars" "$@" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log"
        return 1
    }
}
equal() { # TABLE, whose rows Spark has read into read/
    local both="SELECT (SELECT count(*) FROM (FROM '$tables/$1' EXCEPT ALL FROM '$work/read/$1/*.parquet')) +
        (SELECT count(*) FROM (FROM '$work/read/$1/*.parquet' EXCEPT ALL FROM '$tables/$1')) AS n" zone
    "$SHOAL" sql --format csv "DESCRIBE FROM '$work/read/$1/*.parquet'" >"$work/types"
    "$SHOAL" sql --format csv "DESCRIBE '$tables/$1'" | cmp - "$work/types" || return 1
    for zone in UTC America/New_York; do
        [ "$("$SHOAL" sql --format csv "SET TimeZone = '$zone'; $both" | tail -n 1)" = 0 ] &&
            [ "$("$SHOAL" sql --format csv "${options[@]}" "SET TimeZone = '$zone'; $both" | tail -n 1)" = 0 ] || return 1
    done
}

check "Spark writes" spark make "$tables"
ours="SELECT i, ['plain', 'a b/c=%2F', 'é \"q\" ''', 'NULL'][1 + i % 5] AS g, DATE '2024-01-01' + (i % 3)::INTEGER AS day,
    (i / 3)::DECIMAL(12, 2) AS price, i % 2 = 0 AS ok, i::TINYINT AS small, TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_hours(i) AS moment,
    TIMESTAMP '2024-01-01' + to_hours(i) AS tick, [i, NULL] AS list, {'a': i, 'b': 'x'} AS pair, MAP {'k': i} AS map, 'abc'::BLOB AS raw
    FROM range(100) r(i)"
"$SHOAL" sql "${options[@]}" "COPY ($ours) TO '$tables/ours' (FORMAT delta, PARTITION_BY (g, day));
    COPY ($ours) TO '$tables/flat' (FORMAT delta); COPY ($ours) TO '$tables/flat' (FORMAT delta, APPEND, JOB_ID 'x');
    COPY ($ours LIMIT 7) TO '$tables/flat' (FORMAT delta, OVERWRITE);
    $(for i in 1 2 3 4 5 6 7 8 9; do echo "COPY ($ours LIMIT $i) TO '$tables/flat' (FORMAT delta, APPEND, JOB_ID 'job $i');"; done)
    COPY ($ours) TO '$tables/both' (FORMAT delta, PARTITION_BY (g, ok))" >/dev/null
check "a checkpoint" test -e "$tables/flat/_delta_log/00000000000000000010.checkpoint.parquet"
rm "$tables/flat/_delta_log"/0000000000000000000?.json
check "Spark writes to it" spark append "$tables/both"
check "and shoal again" "$SHOAL" sql "${options[@]}" "COPY (FROM '$tables/both' WHERE i > 50) TO '$tables/both' (FORMAT delta, APPEND)" >/dev/null
both_rows() { [ "$("$SHOAL" sql --format csv "SELECT count(*), sum(i) FROM '$tables/both'" | tail -n 1)" = 298,$((2 * (4950 - 90) + 2 * (4950 - 1275))) ]; }
check "all of it" both_rows

names=(plain parts moments checkpoint fewer wider ours flat both)
arguments=()
for name in "${names[@]}"; do arguments+=("$tables/$name" "$work/read/$name"); done
check "Spark reads" spark read "${arguments[@]}"
for name in "${names[@]}"; do check "$name" equal "$name"; done
check "nothing is left" nothing_left
finish
