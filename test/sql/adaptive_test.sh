#!/usr/bin/env bash
# What runs when heavy partitions are cut, small ones put together and empty ones left out
# gives the embedded engine's rows: by sizes, wherever it is legal, and by chance.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

skewed_init 400000

joins() { # OPTIONS...
    same "$root/test/sql/joins_skew.sql" "$work/skewed.sql" ordered --broadcast-rows -1 \
        --cluster-rows -1 --workers 2 "$@"
}
seeds=(1)
if under_asan; then seeds=(); fi
if [ -n "${ALL:-}" ]; then seeds=(1 2 3 4 5 6 7 8 9); fi
check "wherever it is legal" joins --skew always
if ! under_asan; then
    check "by sizes" joins
    check "never" joins --skew off
fi
if [ -n "${ALL:-}" ]; then
    check "wherever it is legal, over many partitions" joins --skew always --partitions 13
fi
for seed in ${SEEDS:-${seeds[@]}}; do
    check "joins, seed $seed" joins --skew "random:$seed" --threads 2
done
# says QUERY OPTIONS... TEXT: what EXPLAIN ANALYZE says has the text, a pattern.
says() {
    "$SHOAL" explain --analyze --init "$work/skewed.sql" --workers 2 "${spools[@]}" \
        "${@:1:$#-1}" >"$work/plan" || return 1
    grep -qE -- "${!#}" "$work/plan" || { cat "$work/plan"; return 1; }
}
shuffled=(--broadcast-rows -1 --cluster-rows -1)
join="SELECT count(*), sum(v + w) FROM hot JOIN cold ON hot.k = cold.k"
check "a heavy key has a name and a share" says "$join" "${shuffled[@]}" \
    'heavy key: exchange [01], 3: 5[0-9]\.[0-9]% of the rows'
check "NULLs are heavy where they are kept" says \
    "SELECT count(*) FROM (SELECT CASE WHEN v % 2 = 0 THEN NULL ELSE k END AS j FROM hot) LEFT JOIN cold ON j = k" \
    "${shuffled[@]}" 'heavy key: exchange [01], NULL: [56][0-9]'
check "a heavy partition is cut" says "$join" "${shuffled[@]}" \
    'partition [0-9]+ has .* [0-9]+ tasks read slices of exchange'
check "an outer join is taken apart" says \
    "SELECT count(*), sum(v), count(w) FROM hot FULL JOIN cold ON hot.k = cold.k" \
    "${shuffled[@]}" 'tasks read slices of exchange [01], one what the outer join keeps'
check "groups of a heavy partition are combined" says \
    "SELECT hot.k, sum(w) FROM hot JOIN cold ON hot.k = cold.k GROUP BY hot.k" \
    "${shuffled[@]}" 'CombineExchange, of partitions that are cut'
check "what can't be cut says why" says "SELECT k, median(v) FROM hot GROUP BY k" \
    "${shuffled[@]}" 'one task reads it, as median\(\) takes whole groups: its state is'
check "partitions of which nothing comes have no task" says \
    "SELECT count(*), sum(v) FROM hot JOIN (FROM cold WHERE w % 700 = 3) c ON hot.k = c.k" \
    "${shuffled[@]}" 'partitions have no task: what must match'
check "a side that came out small is broadcast" says \
    "SELECT count(*), sum(v) FROM hot JOIN (SELECT k AS j FROM hot h WHERE v % 9999 + 1 > 9998) ON k = j" \
    --cluster-rows -1 --workers 6 'came with [0-9]+ rows: broadcast to the tasks of stage'
check "a partial aggregate that saves nothing stops" says \
    "SELECT count(*) FROM (SELECT v, k, count(*) FROM hot GROUP BY v, k)" --split-rows 40000 \
    --cluster-rows -1 'the partial aggregate saves too little'
check "and of rows that are computed" says "SELECT count(DISTINCT v * 2 + k) FROM hot WHERE v > 5" \
    --split-rows 40000 --cluster-rows -1 'the partial aggregate saves too little'
check "and one that only drops duplicates" says "SELECT count(*) FROM (SELECT DISTINCT v, k FROM hot)" \
    --split-rows 40000 --cluster-rows -1 'the partial aggregate saves too little'
check "and DISTINCT ON" says "SELECT count(d) FROM (SELECT DISTINCT ON (v, k) v, k, v + 1 AS d FROM hot)" \
    --split-rows 40000 --cluster-rows -1 'the partial aggregate saves too little'
check "and above a join" says "SELECT count(*), sum(n) FROM (SELECT v, hot.k, count(*) AS n FROM hot LEFT JOIN cold USING (k) GROUP BY v, hot.k)" \
    --split-rows 40000 --cluster-rows -1 'the partial aggregate saves too little'
check "and DISTINCT above one" says "SELECT count(*) FROM (SELECT DISTINCT v, hot.k FROM hot LEFT JOIN cold USING (k))" \
    --split-rows 40000 --cluster-rows -1 'the partial aggregate saves too little'
check "not where few are left" says "SELECT count(*) FROM (SELECT DISTINCT v % 3, w % 3 FROM hot LEFT JOIN cold USING (k))" \
    --split-rows 40000 --cluster-rows -1 'HashAggregate partial'
check "as the other tasks tell" bash -c "! grep -q 'saves too little' '$work/plan'"
check "of what the join makes" says "SELECT count(*), sum(n) FROM (SELECT h.v, h.k, count(*) AS n FROM hot h JOIN cold c
    ON h.k = c.k AND c.w % 1000000 = 3 GROUP BY ALL)" --split-rows 40000 --cluster-rows -1 'HashAggregate partial'
check "which may be little" bash -c "! grep -q 'saves too little' '$work/plan'"
check "off means off" says "$join" "${shuffled[@]}" --skew off 'ran: [0-9]+ tasks? of'
check "and cuts nothing" bash -c "! grep -q slices '$work/plan'"
# What several tasks compute again must come out the same: first(), any_value(), ties.
repeats=(
    "SELECT count(*), count(DISTINCT q.k) FROM (SELECT k, any_value(v) r FROM dim GROUP BY k) q
        LEFT JOIN hot h ON h.k = q.k AND h.v % 1000000 = q.r"
    "SELECT count(*), 0 FROM (SELECT h.k * 2 AS kk FROM hot h JOIN (SELECT * FROM (SELECT k, v AS r,
        row_number() OVER (PARTITION BY k ORDER BY d) AS rn FROM dim) WHERE rn = 1) q ON h.k = q.k
        GROUP BY kk HAVING min(r) <> max(r))"
    "SELECT count(DISTINCT r) - count(DISTINCT k), 0 FROM (SELECT q.k, q.r FROM hot h JOIN
        (SELECT k, sum(v) + random() AS r FROM dim GROUP BY k) q ON h.k = q.k)"
)
"$reference" sql "COPY (SELECT (hash(i) % 2000)::BIGINT AS k, i AS v, DATE '2024-01-01' + (i % 3)::INTEGER AS d
    FROM range(300000) r(i)) TO '$work/dim.parquet' (ROW_GROUP_SIZE 20480)"
printf "CREATE VIEW dim AS FROM '%s/dim.parquet';\n" "$work" >>"$work/skewed.sql"
skews=(auto always always random:2 random:3)
under_asan && skews=(always random:2)
repeated() { # QUERY EXPECTED
    local skew got
    for skew in "${skews[@]}"; do
        got=$("$SHOAL" sql --init "$work/skewed.sql" --format csv --workers 2 --threads 4 \
            "${shuffled[@]}" "${spools[@]}" --skew "$skew" "$1" | tail -1)
        [ "$got" = "$2" ] || { echo "--skew $skew gives $got, not $2: $1"; return 1; }
    done
}
check "any_value() beside an outer join that is taken apart" repeated "${repeats[0]}" 2000,2000
check "row_number() with ties beside slices" repeated "${repeats[1]}" 0,0
check "random() beside slices" repeated "${repeats[2]}" 0,0
# TPC-H and TPC-DS, every rule on every query, and by chance.
tpch_init "${SCALE:-0.01}"
tpch_queries
decisions=(always)
if [ -n "${ALL:-}" ]; then decisions+=(random:7); fi
for skew in "${decisions[@]}"; do
    check "TPC-H, $skew" same "$work/tpch.sql" "$work/init.sql" ordered --workers 2 \
        --broadcast-rows -1 --cluster-rows -1 --sort-rows 1000 --skew "$skew"
done
if ! under_asan; then # script/tpcds_test has all of them
    nth=3
    if [ -n "${ALL:-}" ]; then nth=1; fi
    tpcds_init "${SCALE:-0.01}" "$nth"
    check "TPC-DS, always" same "$work/tpcds.sql" "$work/init.sql" ordered --workers 2 \
        --broadcast-rows -1 --skew always
fi
if [ -n "${ALL:-}" ]; then
    check "TPC-DS, by chance" same "$work/tpcds.sql" "$work/init.sql" ordered --workers 3 \
        --broadcast-rows -1 --skew random:11
fi
check "nothing is left" nothing_left
finish
