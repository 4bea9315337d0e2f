#!/usr/bin/env bash
# ORDER BY in parts over workers (--sort-rows 0) gives the embedded engine's order: every
# direction, NULLs, skew, few and no rows, types whose bytes do not sort by themselves.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$SHOAL" sql "
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
for options in "1 1 1" "2 1 7" "4 1 64" "2 2 5"; do
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
check "nothing is left" nothing_left
finish
