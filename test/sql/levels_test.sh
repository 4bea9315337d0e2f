#!/usr/bin/env bash
# Exchanges in two levels: the same answers, whatever the numbers of groups, slices and
# partitions; and only where segments are many and small.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT CASE WHEN i % 11 = 5 THEN NULL ELSE (i * i) % 37 END AS k, i AS v,
    's' || i % 5 AS s, DATE '2020-01-01' + (i % 400)::INTEGER AS d, i / 7 AS f,
    CASE WHEN i % 3 > 0 THEN [i % 4, NULL] END AS l, {'a': i % 3, 'b': ['x' || i % 2]} AS st
    FROM range(20000) r(i)) TO '$work/facts.parquet' (ROW_GROUP_SIZE 5000);
COPY (SELECT CASE WHEN i = 20 THEN NULL ELSE i * 2 END AS k, 'n' || i AS name
    FROM range(30) r(i)) TO '$work/dims.parquet'"
printf "CREATE VIEW facts AS FROM '%s/facts.parquet';\nCREATE VIEW dims AS FROM '%s/dims.parquet';\n" \
    "$work" "$work" >"$work/init.sql"

configurations=("2 1 7" "2 2 64")
for options in "${configurations[@]}"; do
    read -r workers threads partitions <<<"$options"
    check "workers=$workers threads=$threads partitions=$partitions" \
        same "$root/test/sql/queries.sql" "$work/init.sql" unordered --merge-segments 0 \
        --workers "$workers" --threads "$threads" --partitions "$partitions" \
        --broadcast-rows -1 --split-rows 5000
done
check "partitions put together" same "$root/test/sql/queries.sql" "$work/init.sql" unordered \
    --merge-segments 0 --workers 2 --threads 2 --broadcast-rows -1 --split-rows 5000

join="SELECT s, count(*), sum(v), count(name), sum(hash(name) % 1000) FROM facts LEFT JOIN dims USING (k)
    GROUP BY s ORDER BY s"
options=(--init "$work/init.sql" --workers 2 --temp-dir "$spool" --broadcast-rows -1 --cluster-rows -1)
"$SHOAL" sql --init "$work/init.sql" --format csv "$join" >"$work/expected"

# merged YES|NO OPTIONS...: the right answer, with exchanges in two levels or without.
merged() {
    local wanted=$1 got=no
    shift
    "$SHOAL" sql "${options[@]}" --format csv "$@" "$join" >"$work/actual" || return 1
    diff "$work/expected" "$work/actual" && nothing_left || return 1
    "$SHOAL" explain --analyze "${options[@]}" "$@" "$join" >"$work/plan" || return 1
    grep -q 'Merge exchange' "$work/plan" && got=yes
    [ "$got" = "$wanted" ] || { cat "$work/plan"; return 1; }
}
check "many small segments" merged yes --partitions 512 --merge-segments 1000
check "not so many" merged no --partitions 200
check "never" merged no --partitions 512 --merge-segments -1
ran() { merged yes --partitions 50 --merge-segments 0 && grep -q "$1" "$work/plan"; }
check "groups and slices" ran 'Merge exchange 4: 8 groups, [0-9]* slices'
check "the partitions stay" ran 'ran: 50 tasks'
few_files() { # what reads 300 files and more may have 200 open
    ulimit -Sn 200
    merged no --partitions 300 --merge-segments -1
}
check "more files than may be open" few_files
check "no number" fails 2 "--merge-segments few" sql --merge-segments few "SELECT 1"
finish
