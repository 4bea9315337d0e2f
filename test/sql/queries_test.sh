#!/usr/bin/env bash
# The shapes of queries.sql, distributed as embedded: one file and several, joins shuffled
# and broadcast.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT CASE WHEN i % 11 = 5 THEN NULL ELSE (i * i) % 37 END AS k, i AS v,
    's' || i % 5 AS s, DATE '2020-01-01' + (i % 400)::INTEGER AS d, i / 7 AS f,
    CASE WHEN i % 3 > 0 THEN [i % 4, NULL] END AS l, {'a': i % 3, 'b': ['x' || i % 2]} AS st
    FROM range(250000) r(i)) TO '$work/one.parquet';
COPY (FROM '$work/one.parquet' WHERE v < 120000) TO '$work/facts1.parquet';
COPY (FROM '$work/one.parquet' WHERE v >= 120000) TO '$work/facts2.parquet';
COPY (SELECT CASE WHEN i = 20 THEN NULL ELSE i * 2 END AS k, 'n' || i AS name
    FROM range(30) r(i)) TO '$work/dims.parquet'"
printf "CREATE VIEW facts AS FROM '%s/facts*.parquet';\nCREATE VIEW dims AS FROM '%s/dims.parquet';\n" \
    "$work" "$work" >"$work/init.sql"

configurations=("2 1 7" "4 1 64" "1 2 3")
if under_asan; then configurations=("2 2 7"); fi
for broadcast in -1 1000000000; do
    for options in "${configurations[@]}"; do
        read -r workers threads partitions <<<"$options"
        check "workers=$workers threads=$threads partitions=$partitions broadcast=$broadcast" \
            same "$root/test/sql/queries.sql" "$work/init.sql" unordered --workers "$workers" \
            --threads "$threads" --partitions "$partitions" --broadcast-rows "$broadcast"
    done
done
for broadcast in -1 1000000000; do
    check "partitions put together, broadcast=$broadcast" same "$root/test/sql/queries.sql" \
        "$work/init.sql" unordered --workers 2 --threads 2 --broadcast-rows "$broadcast"
done

# ran OPTIONS...: tasks and partitions of the second stage of a GROUP BY.
ran() {
    "$SHOAL" explain --analyze --init "$work/init.sql" --workers 2 "${spools[@]}" "$@" |
        sed -n '/^Stage 1/,/ran:/s/^  ran: \(.*\), .* rows.*/\1/p'
}
chosen() { # QUERY OPTIONS... EXPECTED
    local got
    got=$(ran "${@:1:$#-1}")
    [ "$got" = "${!#}" ] || { echo "ran $got, not ${!#}"; return 1; }
}
groups="SELECT v % 60000 AS g, count(*) FROM facts GROUP BY g"
check "few rows are one task" chosen "SELECT k, count(*) FROM facts GROUP BY k" "1 task of 8 partitions"
check "more rows are several tasks" chosen "$groups" --split-rows 10000 "4 tasks of 8 partitions"
check "the number that was given stays" chosen "$groups" --partitions 3 "3 tasks"

falls_back_rarely() {
    "$SHOAL" explain --init "$work/init.sql" -f "$root/test/sql/queries.sql" >"$work/plans"
    local count
    count=$(grep -c 'Runs embedded' "$work/plans" || true)
    grep 'Runs embedded' "$work/plans" || true
    [ "$count" -le 1 ]
}
check "at most one shape falls back" falls_back_rarely
check "nothing is left" nothing_left
finish
