#!/usr/bin/env bash
# Hints behind SELECT: what they ask for is done where it can be, else a note and a warning
# say why not; the answer is the same either way.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT i AS k, i % 100 AS g, 'n' || i AS s FROM range(40000) r(i)) TO '$work/big.parquet';
COPY (SELECT i * 2 AS k, i % 10 AS g FROM range(30000) r(i)) TO '$work/mid.parquet';
COPY (SELECT i AS k FROM range(60) r(i)) TO '$work/few.parquet'" >"$work/out"
cat >"$work/init.sql" <<SQL
CREATE VIEW big AS FROM '$work/big.parquet';
CREATE VIEW mid AS FROM '$work/mid.parquet';
CREATE VIEW few AS FROM '$work/few.parquet';
CREATE TABLE own AS SELECT i AS k, 'own ' || i AS name FROM range(5000) r(i);
SQL
# Without a hint nothing is broadcast here.
never=(--cluster-rows -1 --broadcast-rows -1)
plan() { "$SHOAL" explain --init "$work/init.sql" "${never[@]}" "$@" >"$work/plan"; }
# says TEXT QUERY OPTIONS...: EXPLAIN has the text.
says() {
    if plan "${@:2}" && grep -qF -- "$1" "$work/plan"; then return; fi
    cat "$work/plan"
    return 1
}
# broadcasts SIDE QUERY OPTIONS...: one join, that sends that side, and no warning.
broadcasts() {
    if plan "${@:2}" && ! grep -q Warning "$work/plan" &&
        [ "$(grep -c "broadcasts its $1 side.*by the hint" "$work/plan")" = 1 ]; then return; fi
    cat "$work/plan"
    return 1
}
two="FROM big b JOIN mid m USING (k)"
check "nothing is asked for" says "shuffles both sides" "SELECT count(*) $two"
check "an alias" broadcasts right "SELECT /*+ BROADCAST(m) */ count(*) $two"
check "the other" broadcasts left "SELECT /*+ BROADCAST(b) */ count(*) $two"
check "a view by its name, in other case" broadcasts right "SELECT /*+ mapjoin(MID) */ count(*) $two"
check "a file" broadcasts left "SELECT /*+ BROADCAST('$work/big.parquet') */ count(*)
    FROM '$work/big.parquet' JOIN mid m USING (k)"
check "a file, as DuckDB calls it" broadcasts left "SELECT /*+ BROADCAST(big) */ count(*)
    FROM '$work/big.parquet' JOIN mid m USING (k)"
check "a call" broadcasts left "SELECT /*+ BROADCAST(x) */ count(*)
    FROM read_parquet('$work/big.parquet') x JOIN mid m USING (k)"
check "a table of the session" broadcasts right "SELECT /*+ BROADCAST(o) */ count(*)
    FROM big b JOIN own o USING (k)"
check "a subquery" broadcasts right "SELECT /*+ BROADCAST(s) */ count(*)
    FROM big b JOIN (SELECT k, max(g) AS g FROM mid GROUP BY k) s USING (k)"
check "a CTE" broadcasts right "WITH c AS (SELECT k, max(g) AS g FROM mid GROUP BY k)
    SELECT /*+ BROADCAST(c) */ count(*) FROM big b JOIN c USING (k)"
check "a CTE that is read twice" says "about 51 rows against 26668, by the hint BROADCAST(c)" \
    "WITH c AS MATERIALIZED (SELECT k, g FROM mid) SELECT /*+ BROADCAST(c) */ count(*)
    FROM big b JOIN c USING (k) JOIN c d ON d.k = b.g"
check "in a block inside" broadcasts left "SELECT g, sum(n) FROM (SELECT /*+ BROADCAST(b) */
    b.g, count(*) AS n $two GROUP BY ALL) GROUP BY g"
check "behind IN" broadcasts right \
    "SELECT /*+ BROADCAST(mid) */ count(*) FROM big WHERE k IN (SELECT k FROM mid)"
check "LEFT JOIN" broadcasts right "SELECT /*+ BROADCAST(m) */ count(*)
    FROM big b LEFT JOIN mid m USING (k)"
check "against its name" says "is not followed: that side's rows are kept" \
    "SELECT /*+ BROADCAST(b) */ count(*) FROM big b LEFT JOIN mid m USING (k)"
check "FULL JOIN" says "Warning: hint BROADCAST(m) is not followed: that side's rows are kept" \
    "SELECT /*+ BROADCAST(m) */ count(*) FROM big b FULL JOIN mid m USING (k)"
check "no such relation" says "Warning: hint BROADCAST(x) is not followed: no relation" \
    "SELECT /*+ BROADCAST(x) */ count(*) $two"
check "one of two" says "hint BROADCAST(x) is not followed" \
    "SELECT /*+ BROADCAST(x, m) */ count(*) $two"
check "and the other is" grep -q "by the hint BROADCAST(m)" "$work/plan"
check "no join" says "it is no side of a join" "SELECT /*+ BROADCAST(b) */ count(*) FROM big b"
check "no such hint" says "Warning: hint FAST(b) is not followed: there is no such hint" \
    "SELECT /*+ FAST(b) */ count(*) $two"
check "not behind SELECT" says "hints stand behind SELECT" "/*+ BROADCAST(m) */ SELECT count(*) $two"
check "what is small is shuffled if asked" says "as a hint asks" \
    "SELECT /*+ SHUFFLE_HASH(f) */ count(*) FROM big b JOIN few f USING (k)" --broadcast-rows 10000
check "or can't be" says "hint MERGE(f) is not followed: one side is small, or there is no key" \
    "SELECT /*+ MERGE(f) */ count(*) FROM big b JOIN few f ON b.k > f.k" --broadcast-rows 10000
check "a statement that is not distributed" says \
    "Warning: hint BROADCAST(m) is not followed: the statement runs in one process" \
    "SELECT /*+ BROADCAST(m) */ count(*) FROM big b POSITIONAL JOIN mid m"
json_says() {
    plan "$2" --format json && python3 -c "
import json, sys
plan = json.load(open(sys.argv[1]))
sys.exit(sum(sys.argv[2] in warning for warning in plan['warnings']) != 1)" "$work/plan" "$1"
}
check "JSON" json_says "BROADCAST(x)" "SELECT /*+ BROADCAST(x) */ count(*) $two"
check "JSON of what is not distributed" json_says "BROADCAST(m)" \
    "SELECT /*+ BROADCAST(m) */ count(*) FROM big b POSITIONAL JOIN mid m"

# A side that comes out small is broadcast while the query runs, but not then.
small="FROM big b JOIN (SELECT k AS j FROM big h WHERE k % 9999 + 1 > 9998) ON b.k = j"
ran_small() { # TEXT HINT
    "$SHOAL" explain --analyze --init "$work/init.sql" --workers 12 --cluster-rows -1 --split-rows 1000 \
        "${spools[@]}" "SELECT $2 count(*) $small" >"$work/plan" && grep -q -- "$1" "$work/plan" && return
    cat "$work/plan"
    return 1
}
check "SHUFFLE_HASH holds while it runs" ran_small ShuffledJoin "/*+ SHUFFLE_HASH(b) */"
check "and nothing is broadcast" bash -c "! grep -q 'broadcast to' '$work/plan'"

# REPARTITION: tasks of the stages behind a shuffle.
partitions() {
    plan "${@:2}" --analyze "${spools[@]}" --format json && python3 -c "
import json, sys
stages = json.load(open(sys.argv[1]))['stages']
after = [s['ran']['tasks'] for s in stages if any('exchange' in r for r in s['reads'])]
assert after[0] == int(sys.argv[2]), after" "$work/plan" "$1"
}
check "REPARTITION" partitions 13 "SELECT /*+ REPARTITION(13) */ g, count(*) FROM big GROUP BY g"
check "says so" says "shuffles have 13 partitions, by the hint REPARTITION(13)" \
    "SELECT /*+ REPARTITION(13) */ g, count(*) FROM big GROUP BY g"
check "goes before --partitions" partitions 3 \
    "SELECT /*+ REPARTITION(3) */ g, count(*) FROM big GROUP BY g" --partitions 7
check "its columns" says "only what COPY writes to a folder has several places" \
    "SELECT /*+ REPARTITION(13, g) */ g, count(*) FROM big GROUP BY g"
# Rows equal in g are in one of the four files, all of them.
placed() {
    "$SHOAL" sql --init "$work/init.sql" --workers 2 "${spools[@]}" \
        "COPY (SELECT /*+ REPARTITION(4, G) */ k, g FROM big) TO '$work/placed' (FORMAT parquet, PER_THREAD_OUTPUT)" \
        >"$work/out" 2>"$work/err" || return 1
    if [ -s "$work/err" ]; then cat "$work/err" && return 1; fi
    local got
    got=$("$SHOAL" sql --init "$work/init.sql" --format csv "SELECT
        (SELECT count(DISTINCT filename) > 1 FROM read_parquet('$work/placed/*', filename = true)),
        (SELECT max(n) FROM (SELECT count(DISTINCT filename) AS n
            FROM read_parquet('$work/placed/*', filename = true) GROUP BY g)),
        (SELECT count(*) FROM (FROM (SELECT k, g FROM big) EXCEPT ALL FROM '$work/placed/*.parquet'))" |
        tail -1)
    [ "$got" = true,1,0 ] || { echo "$got"; return 1; }
}
check "files by its columns" placed
check "a column that isn't there" says "the query selects no column of that name" \
    "COPY (SELECT /*+ REPARTITION(4, nope) */ k, g FROM big) TO '$work/other' (FORMAT parquet, PER_THREAD_OUTPUT)"
check "nothing to repartition" says "the query shuffles nothing" \
    "SELECT /*+ REPARTITION(13) */ k FROM big WHERE g = 7"
check "no number" says "it begins with a number of partitions, from 1 to 65536" \
    "SELECT /*+ REPARTITION(s) */ g, count(*) FROM big GROUP BY g"

# When it runs, warnings go to standard error, and are no error.
warns() {
    if "$SHOAL" sql --init "$work/init.sql" "${@:2}" >"$work/out" 2>"$work/err" &&
        [ "$(grep -cF -- "$1" "$work/err")" = 1 ]; then return; fi
    cat "$work/err"
    return 1
}
silent() {
    "$SHOAL" sql --init "$work/init.sql" "$@" --quiet >"$work/out" 2>"$work/err" && ! [ -s "$work/err" ]
}
over=(--workers 2 "${spools[@]}" --format csv "${never[@]}")
check "a warning" warns "shoal: hint BROADCAST(x) is not followed: no relation" "${over[@]}" \
    "SELECT /*+ BROADCAST(x) */ count(*) $two"
check "of COPY" warns "hint FAST is not followed" "${over[@]}" \
    "COPY (SELECT /*+ FAST */ * FROM few) TO '$work/copy.csv'"
check "of CREATE TABLE" warns "hint FAST is not followed" "${over[@]}" \
    "CREATE TABLE t AS SELECT /*+ FAST */ * FROM few"
check "of a view, which forgets it" warns "hint BROADCAST(b) is not followed" "${over[@]}" \
    "CREATE VIEW v AS SELECT /*+ BROADCAST(b) */ b.* $two"
check "in one process" warns "hint BROADCAST(m) is not followed: the statement runs in one process" \
    "SELECT /*+ BROADCAST(m) */ count(*) $two"
check "none where it is followed" silent "${over[@]}" "SELECT /*+ BROADCAST(m), REPARTITION(5) */ b.g,
    count(*) $two GROUP BY b.g"
check "none for other comments" silent "${over[@]}" \
    "SELECT /* BROADCAST(x) */ '/*+ BROADCAST(x) */' -- /*+ FAST */
    FROM few"

cat >"$work/answers.sql" <<'SQL'
SELECT /*+ BROADCAST(m) */ b.g, count(*), sum(m.k) FROM big b JOIN mid m USING (k) GROUP BY b.g;
SELECT /*+ BROADCAST(b), REPARTITION(5) */ b.g, count(*) FROM big b JOIN mid m USING (k) GROUP BY b.g;
SELECT /*+ BROADCAST(m) */ b.k, m.g FROM big b LEFT JOIN mid m USING (k) WHERE b.k < 500;
SELECT /*+ BROADCAST(b) */ b.k, m.k FROM big b LEFT JOIN mid m USING (k) WHERE b.k < 500;
SELECT /*+ BROADCAST(b) */ b.k, m.k FROM big b RIGHT JOIN mid m USING (k) WHERE m.k < 500;
SELECT /*+ BROADCAST(b, m) */ count(b.k), count(m.k), count(*) FROM big b FULL JOIN mid m USING (k);
SELECT /*+ BROADCAST(mid) */ count(*) FROM big WHERE k IN (SELECT k FROM mid);
SELECT /*+ BROADCAST(mid) */ count(*) FROM big WHERE k NOT IN (SELECT k FROM mid);
SELECT /*+ BROADCAST(b) */ count(*) FROM big b JOIN big c ON b.k = c.g;
SELECT /*+ BROADCAST(b) */ count(*), sum(o.k) FROM big b JOIN own o USING (k) JOIN mid m USING (k);
SELECT /*+ BROADCAST(f) */ count(*), sum(b.k) FROM big b JOIN few f ON b.g > f.k;
SELECT /*+ SHUFFLE_HASH(f), REPARTITION(3) */ f.k, count(*) FROM big b JOIN few f ON b.g = f.k GROUP BY f.k;
WITH c AS MATERIALIZED (SELECT k, g FROM mid) SELECT /*+ BROADCAST(c) */ count(*), sum(d.g)
    FROM big b JOIN c USING (k) JOIN c d ON d.k = b.g;
SELECT /*+ REPARTITION(9) */ k, s FROM big ORDER BY s LIMIT 5;
SQL
for options in "2 1" "1 4" "4 1"; do
    read -r workers threads <<<"$options"
    check "the same answers, $workers workers" same "$work/answers.sql" "$work/init.sql" unordered \
        --workers "$workers" --threads "$threads" "${never[@]}" 2>"$work/err"
done
check "nothing is left" nothing_left
finish
