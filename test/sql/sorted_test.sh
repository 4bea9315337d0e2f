#!/usr/bin/env bash
# Files that are sorted by what they are grouped by: groups are runs of rows (SortAggregate),
# and the embedded engine's rows come out, whatever the files hold where the planner has not
# looked.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

columns="i % 7 AS v, nullif(i % 5, 2)::TINYINT AS t, (i % 100)::USMALLINT AS us, (i * 3000000000)::UBIGINT AS ub,
    (i % 1000 / 10)::DECIMAL(9, 1) AS m, (i % 90 / 8)::DOUBLE AS f, (i % 50)::FLOAT AS r, -i * 1000000007 AS n,
    DATE '2020-01-01' + (i % 900)::INTEGER AS d, make_timestamp(i * 1000003) AS ts, 's' || i % 11 AS s, i % 13 AS \"odd name\""
# three: a key three times; one: once; many: 5,000 times, more than a chunk has; holes: NULLs
# between and behind; halves: two files by turns; two: two files, one behind the other, given
# in the other order. falls: sorted in the row group that the planner looks at, in others not.
# below: a file's last row is of its first key.
"$SHOAL" sql --threads 1 "
COPY (SELECT (i // 3 - 5000)::INTEGER AS k, $columns FROM range(60000) r(i)) TO '$work/three.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT i * 2 AS k, $columns FROM range(30000) r(i)) TO '$work/one.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT i // 5000 * 3 AS k, $columns FROM range(60000) r(i)) TO '$work/many.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT if(i % 4001 < 3 OR i > 39000, NULL, i // 2) AS k, $columns FROM range(40000) r(i))
    TO '$work/holes.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT i // 2 AS k, $columns FROM range(40000) r(i) WHERE i // 3000 % 2 = 0) TO '$work/halves1.parquet' (ROW_GROUP_SIZE 3000);
COPY (SELECT i // 2 AS k, $columns FROM range(40000) r(i) WHERE i // 3000 % 2 = 1) TO '$work/halves2.parquet' (ROW_GROUP_SIZE 3000);
COPY (SELECT i // 2 AS k, $columns FROM range(20001, 40000) r(i)) TO '$work/two1.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT i // 2 AS k, $columns FROM range(20001) r(i)) TO '$work/two2.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT (if(i // 4096 = 5, i, i // 4096 * 4096 + hash(i) % 4096) // 3)::BIGINT AS k, $columns FROM range(45056) r(i))
    TO '$work/falls.parquet' (ROW_GROUP_SIZE 4096);
COPY (SELECT if(i = 40959, 0, i // 4) AS k, $columns FROM range(40960) r(i)) TO '$work/below.parquet' (ROW_GROUP_SIZE 2048)"
tables=(three one many holes halves two falls below)
for table in "${tables[@]}"; do
    printf "CREATE VIEW %s AS FROM '%s/%s*.parquet';\n" "$table" "$work" "$table"
done >"$work/init.sql"
# all COUNT SELECT: one row of the query's, in which each value counts.
all() {
    local names
    names=$(seq -s, -f 'c%.0f' "$1")
    echo "SELECT count(*), sum(hash($names) % 1000003) FROM ($2) q($names);"
}
for table in "${tables[@]}"; do
    all 11 "SELECT k, count(*), count(t), sum(v), sum(t), sum(us), sum(ub), sum(m), sum(n), sum(f), sum(r) FROM $table GROUP BY k"
    all 11 "SELECT k, min(v), max(v), min(t), max(t), min(us), max(n), min(d), max(d), min(ts), max(ts) FROM $table GROUP BY k"
    all 3 "SELECT k + 1, sum(v + us * 2) / count(*), sum(v) FROM $table WHERE n % 5 <> 2 GROUP BY k HAVING sum(v) > 2 AND k % 2 = 0"
    all 2 "SELECT k, sum(\"odd name\" + us) FROM $table WHERE v > 5 AND s = 's3' GROUP BY k"
    all 5 "SELECT k, sum(DISTINCT v), sum(v) FILTER (WHERE us > 50), max(s), max(f) FROM $table GROUP BY k"
    all 2 "SELECT c, sum(d) FROM (SELECT k AS c, v * 2 AS d, us FROM $table WHERE us % 3 > 0) WHERE us > 3 GROUP BY c"
    all 1 "SELECT DISTINCT k FROM $table WHERE v <> 3"
    echo "SELECT typeof(any_value(c)), typeof(any_value(a)), typeof(any_value(m)), typeof(any_value(t)), count(*) FROM
        (SELECT count(t) AS c, sum(us) AS a, sum(m) AS m, max(t) AS t FROM $table GROUP BY k);"
    all 3 "SELECT x.k, x.n, y.v FROM (SELECT k, sum(v) AS n FROM $table GROUP BY k) x JOIN $table y ON x.k = y.k WHERE y.us = 7"
done >"$work/q.sql"
configurations=("2 1" "1 2")
if under_asan; then configurations=("2 2"); fi
for options in "${configurations[@]}"; do
    read -r workers threads <<<"$options"
    check "workers=$workers threads=$threads" same "$work/q.sql" "$work/init.sql" unordered --cluster-rows 0 \
        --split-rows 500 --partitions 3 --workers "$workers" --threads "$threads"
done

# plan QUERY PATTERN: EXPLAIN of the query has it.
plan() {
    "$SHOAL" explain --init "$work/init.sql" "$1" --workers 2 --split-rows 500 --cluster-rows 0 >"$work/plan"
    grep -qE -- "$2" "$work/plan" || { cat "$work/plan"; return 1; }
}
check "a SortAggregate" plan "SELECT k, sum(v), count(*) FROM three WHERE us > 3 GROUP BY k" \
    'SortAggregate keys=\[k\] functions=\[sum\(v\).*count_star\(\)'
check "over the scan" bash -c "grep -A2 SortAggregate '$work/plan' | tail -1 | grep -q 'Scan .* in .* ranges of k'"
check "of expressions" plan "SELECT k, sum(us * 2 + \"odd name\") AS s FROM three \"a t\" GROUP BY k" 'SortAggregate keys=\[k\]'
check "of keys alone" plan "SELECT DISTINCT k FROM one" 'SortAggregate keys=\[k\]'
check "of what is made of a scan" plan "SELECT c, sum(d) FROM (SELECT k AS c, v AS d, us % 9 AS e FROM one) WHERE e > 3 GROUP BY c" \
    'SortAggregate keys=\[k\] functions=\[sum'
check "where the planner has not looked" plan "SELECT k, sum(v) FROM falls GROUP BY k" 'SortAggregate'
hashed() { plan "$1" 'HashAggregate .*keys' && ! grep -q SortAggregate "$work/plan"; }
check "not of a call that needs more" hashed "SELECT k, median(v) FROM three GROUP BY k"
check "of FILTER" hashed "SELECT k, sum(v) FILTER (WHERE v > 2) FROM three GROUP BY k"
check "of two keys" hashed "SELECT k, s, sum(v) FROM three GROUP BY k, s"
check "of an expression" hashed "SELECT k + 1, sum(v) FROM three GROUP BY k + 1"
"$SHOAL" sql "COPY (SELECT i // 4096 * 4096 + (hash(i) % 4096)::BIGINT AS k, i % 7 AS v FROM range(60000) r(i))
    TO '$work/mixed.parquet' (ROW_GROUP_SIZE 4096)" >/dev/null
echo "CREATE VIEW mixed AS FROM '$work/mixed.parquet';" >>"$work/init.sql"
check "of rows that don't come sorted" hashed "SELECT k, sum(v) FROM mixed GROUP BY k"
finish
