#!/usr/bin/env bash
# Inputs that are clustered on a key are cut by it (--cluster-rows 0): the embedded engine's
# rows, whatever the row groups hold, and no exchange in the plan.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

# a: three files, row groups of 2,048 rows, keys twice, NULLs in two row groups. b: another
# width, gaps, row groups that overlap a little, NULLs. days: by date. narrow: the key is an
# INTEGER in one file and a BIGINT in the other. torn: a DECIMAL in the second. none: no rows.
"$SHOAL" sql --threads 1 "
CREATE VIEW av AS SELECT CASE WHEN i % 20011 < 7 THEN NULL ELSE i // 2 - 9000 END AS k, i % 7 AS v,
    's' || i % 5 AS s FROM range(36000) r(i);
COPY (FROM av LIMIT 12000) TO '$work/a1.parquet' (ROW_GROUP_SIZE 2048);
COPY (FROM av LIMIT 12000 OFFSET 12000) TO '$work/a2.parquet' (ROW_GROUP_SIZE 2048);
COPY (FROM av OFFSET 24000) TO '$work/a3.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT CASE WHEN i % 4000 = 5 THEN NULL ELSE i - 9000 + (i * 7) % 50 END::INTEGER AS k, i AS w
    FROM range(27000) r(i)) TO '$work/b.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT DATE '2019-06-01' + (i // 30)::INTEGER AS d, i AS n FROM range(20000) r(i))
    TO '$work/days.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i::INTEGER AS k, i AS n FROM range(6000) r(i)) TO '$work/narrow1.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i AS k, i AS n FROM range(6000, 12000) r(i)) TO '$work/narrow2.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i AS k, i AS n FROM range(6000) r(i)) TO '$work/torn1.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i::DECIMAL(18, 2) AS k, i AS n FROM range(3000, 9000) r(i)) TO '$work/torn2.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT (i * 7919) % 10007 AS k, i AS n FROM range(20000) r(i)) TO '$work/mixed.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT floor(50000 * pow((hash(i) % 1000003) / 1000003, 4))::BIGINT AS k, i AS n FROM range(60000) r(i))
    TO '$work/skewed.parquet' (ROW_GROUP_SIZE 2048);
COPY (SELECT i AS k FROM range(0) r(i)) TO '$work/none.parquet'"
for table in a b days narrow torn mixed skewed none; do
    printf "CREATE VIEW %s AS FROM '%s/%s*.parquet';\n" "$table" "$work" "$table"
done >"$work/init.sql"

for join in INNER LEFT RIGHT FULL; do
    echo "SELECT a.k, b.k, count(*), sum(v), sum(w) FROM a $join JOIN b ON a.k = b.k GROUP BY ALL;"
    echo "SELECT a.k, b.k, v, w FROM a $join JOIN b ON a.k = b.k AND v < w % 9 AND w % 5 < 2;"
    echo "SELECT x.k, y.n FROM narrow x $join JOIN torn y ON x.k = y.k WHERE x.n % 3 = 0 OR y.n % 5 = 0;"
    echo "SELECT count(*), count(a.k), count(n.k) FROM a $join JOIN none n ON a.k = n.k;"
done >"$work/q.sql"
# shellcheck disable=SC2129
for join in SEMI ANTI; do
    echo "SELECT k, v, s FROM a $join JOIN b ON a.k = b.k;"
    echo "SELECT k, w FROM b $join JOIN a ON a.k = b.k AND a.v = b.w % 7;"
done >>"$work/q.sql"
cat >>"$work/q.sql" <<'SQL'
SELECT k, count(*), sum(v), min(s), count(DISTINCT s) FROM a GROUP BY k;
SELECT k, s, list(v ORDER BY v) FROM a GROUP BY k, s;
SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, s), sum(v) OVER (PARTITION BY k, s) FROM a;
SELECT d, count(*), sum(n) FROM days GROUP BY d;
SELECT x.d, count(*) FROM days x JOIN days y ON x.d = y.d AND x.n < y.n GROUP BY x.d;
SELECT k, count(*) FROM narrow GROUP BY k HAVING k % 3 = 0;
SELECT k, count(*) FROM torn GROUP BY k;
SELECT k, count(*), sum(n) FROM mixed GROUP BY k;
SELECT k, count(*) FROM none GROUP BY k;
SELECT a.k, count(*) FROM a JOIN skewed s ON a.k = s.k GROUP BY a.k;
SELECT t.k, t.n, b.w FROM (SELECT k, count(*) AS n FROM a GROUP BY k) t JOIN b ON t.k = b.k;
SELECT t.n, count(*) FROM (SELECT k, count(*) AS n FROM a GROUP BY k) t JOIN b ON t.k = b.k
    JOIN a ON a.k = b.k GROUP BY t.n;
SELECT a.k, count(*) FROM a JOIN (SELECT k FROM b UNION ALL SELECT k FROM narrow) u ON a.k = u.k GROUP BY a.k;
SELECT a.k, n.n FROM a JOIN mixed n ON a.k = n.k JOIN b ON b.k = a.k WHERE v = 3;
SELECT k FROM a WHERE k NOT IN (SELECT k FROM b WHERE k IS NOT NULL);
SELECT k, w FROM b WHERE EXISTS (SELECT 1 FROM a WHERE a.k = b.k AND a.v = 2);
SELECT k, w, (SELECT max(v) FROM a WHERE a.k = b.k) AS m FROM b;
SELECT DISTINCT k FROM a;
SELECT k FROM a INTERSECT SELECT k FROM b;
SELECT k + 1 AS k1, count(*) FROM a GROUP BY k1;
SQL
echo "SELECT filename LIKE '%a2%' AS second, k, count(*) FROM '$work/a*.parquet' GROUP BY ALL;" >>"$work/q.sql"
configurations=("1 1 1 -1" "2 1 7 -1" "4 1 64 -1" "2 2 5 1000000000")
if under_asan; then configurations=("2 2 5 -1"); fi
for options in "${configurations[@]}"; do
    read -r workers threads partitions broadcast <<<"$options"
    check "workers=$workers threads=$threads partitions=$partitions broadcast=$broadcast" \
        same "$work/q.sql" "$work/init.sql" unordered --cluster-rows 0 --split-rows 500 \
        --workers "$workers" --threads "$threads" --partitions "$partitions" \
        --broadcast-rows "$broadcast"
done

# plan QUERY PATTERN [OPTIONS]: EXPLAIN of the query has it.
plan() {
    "$SHOAL" explain --init "$work/init.sql" "$1" --workers 2 --broadcast-rows -1 \
        --split-rows 500 --cluster-rows "${3:-0}" >"$work/plan"
    grep -qE "$2" "$work/plan" || {
        cat "$work/plan"
        return 1
    }
}
no_shuffle() {
    plan "$1" "co-partitioned by statistics on $2" && ! grep -q HashExchange "$work/plan"
}
check "a join" no_shuffle "SELECT a.v, b.w FROM a JOIN b ON a.k = b.k" k
check "a full join of widths" no_shuffle "SELECT a.v, n.n FROM a FULL JOIN narrow n ON a.k = n.k" k
check "a group by" no_shuffle "SELECT k, count(*) FROM a GROUP BY k" k
check "a window" no_shuffle "SELECT k, rank() OVER (PARTITION BY k ORDER BY v) FROM a" k
check "three at once" no_shuffle \
    "SELECT a.v, b.w, n FROM a JOIN b ON a.k = b.k JOIN (SELECT k, count(*) AS n FROM a GROUP BY k) g ON g.k = a.k" k
check "a join says so" plan "SELECT a.v, b.w FROM a JOIN b ON a.k = b.k" 'CoPartitionedJoin INNER'
check "keys in no order are shuffled" plan "SELECT k, count(*) FROM mixed GROUP BY k" HashExchange
check "row groups that begin alike are shuffled" plan "SELECT a.v, n FROM a JOIN skewed s ON a.k = s.k" HashExchange
check "a DECIMAL among numbers is shuffled" plan "SELECT k, count(*) FROM torn GROUP BY k" HashExchange
check "few values are aggregated in parts" plan "SELECT d, count(*) FROM days GROUP BY d" HashExchange
check "--cluster-rows -1 shuffles" plan "SELECT k, count(*) FROM a GROUP BY k" HashExchange -1
check "nothing is left" nothing_left
finish
