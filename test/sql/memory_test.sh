#!/usr/bin/env bash
# --memory holds for each process, and queries whose rows are many times as much are right;
# --temp-limit ends a query with a message. LARGE=1: a shuffle of twenty times the memory,
# and TPC-H at scale 10 in a gigabyte.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
rows=3000000
if [ -n "${LARGE:-}" ]; then rows=60000000; fi
if under_asan; then rows=200000; fi
all=480 # MiB: 96 for blocks, 153 for a worker, 76 here

"$reference" sql "
COPY (SELECT (i * 7919) % $rows AS k, 'a text of some length, as logs have them, ' || hash(i) || hash(i + 1) AS s,
    i % 1000 AS v FROM range($rows) r(i)) TO '$work/t.parquet' (COMPRESSION lz4)"
printf "CREATE VIEW t AS FROM '%s/t.parquet';\n" "$work" >"$work/init.sql"
cat >"$work/group.sql" <<'SQL'
SELECT count(*), sum(n), max(s), sum(d) FROM
    (SELECT k % 1000003 AS k, count(*) AS n, max(s) AS s, count(DISTINCT v) AS d FROM t GROUP BY ALL);
SQL
cat >"$work/join.sql" <<'SQL'
SELECT count(*), max(a.s || b.s), sum(a.v * b.v) FROM t a JOIN t b ON a.k = b.k AND a.v + b.v > 3;
SQL
cat >"$work/window.sql" <<'SQL'
SELECT count(*), max(l) FROM (SELECT lag(s) OVER (PARTITION BY k % 100000 ORDER BY v, s) AS l FROM t);
SQL

options=(--workers 2 --memory "${all}MiB" --partitions 16 --broadcast-rows -1 --cluster-rows -1)
for query in group join window; do
    check "$query is right in $all MiB" same "$work/$query.sql" "$work/init.sql" unordered "${options[@]}"
done

# fits QUERY: no process has more than its share and 15 percent, nor blocks more than theirs.
fits() {
    python3 "$root/test/support/peak_memory.py" "$memory" "$SHOAL" sql --init "$work/init.sql" -f "$work/$1.sql" \
        "${spools[@]}" "${options[@]}" >"$work/peaks" 2>"$work/err" || {
        tail "$work/err"
        return 1
    }
    awk -v all="$all" '
        BEGIN { most["blocks"] = all * 0.2; most["driver"] = all * 0.16 * 1.15; most["worker"] = all * 0.32 * 1.15 }
        $2 > most[$1] { print $1 " took " $2 " MiB of " most[$1]; over = 1 }
        { workers += $1 == "worker"; if ($1 == "blocks") blocks = $2 }
        END { exit over || workers < 2 || blocks < 20 }' "$work/peaks"
}
cat "$work"/{group,join,window,group}.sql >"$work/session.sql"
under_asan || check "a session of them stays in $all MiB" fits session

# spares of the session's dropped files are there after one query, and another one like it takes them.
reuses() {
    local shuffled="SELECT count(*), max(n) FROM (SELECT k, count(*) AS n, max(v) AS v FROM t GROUP BY k);"
    local spares="SELECT count(*), coalesce(sum(size), 0) FROM read_blob('$memory/shoal-*/spare*');"
    local twice="$work/twice.sql"
    echo "$shuffled $spares $shuffled $spares" >"$twice"
    "$SHOAL" sql --init "$work/init.sql" -f "$twice" --format csv "${spools[@]}" --workers 2 --memory 4GB --partitions 16 \
        --broadcast-rows -1 --cluster-rows -1 >"$work/out" || return 1
    mapfile -t lines < <(grep -E '^[0-9]+,[0-9]+$' "$work/out")
    cat "$work/out"
    local first=${lines[1]%,*} second=${lines[3]%,*}
    [ "${lines[0]}" = "$rows,1" ] && [ "${lines[2]}" = "$rows,1" ] || return 1
    [ "$first" -ge 2 ] && [ "$second" -ge "$first" ] && [ "$second" -le $((first + 1)) ]
}
check "files in memory are written over by the next query" reuses

program=(sql "${spools[@]}" --init "$work/init.sql")
check "block files past --temp-limit" fails 3 "raise it, or filter earlier" "${program[@]}" \
    -f "$work/join.sql" "${options[@]}" --memory-dir none --temp-limit 5MB
under_asan || check "spill past --temp-limit" fails 3 "raise it, or give more with --memory" "${program[@]}" \
    "FROM t ORDER BY s" --memory 100MB --temp-limit 20MB -o "$work/sorted"
check "too little for the workers" fails 2 "need 384 MiB at least" "${program[@]}" "SELECT 1" --workers 2 --memory 300MiB
check "an amount that is none" fails 2 "give an amount as 512MB" "${program[@]}" "SELECT 1" --memory lots

if [ -n "${LARGE:-}" ]; then
    tpch_init 10
    tpch_queries
    for cluster in 1000000 -1; do
        check "TPC-H, scale 10, in 1 GB, clustered from $cluster rows on" \
            same "$work/tpch.sql" "$work/init.sql" ordered --workers 2 --memory 1GB --cluster-rows "$cluster"
    done
fi
check "nothing is left" nothing_left
finish
