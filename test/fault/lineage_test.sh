#!/usr/bin/env bash
# Block files are removed, cut and changed while queries run: what made them runs again, and
# the rows are right. ALL=1: more seeds.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

seeds=(1 2)
if under_asan; then seeds=(1); fi
if [ -n "${ALL:-}" ]; then mapfile -t seeds < <(seq 1 40); fi
rows=1000000
if under_asan; then rows=200000; fi
"$reference" sql "COPY (SELECT i AS k, i % 1000 AS g, 'v' || i AS s FROM range($rows) r(i))
    TO '$work/t.parquet' (ROW_GROUP_SIZE 50000)"
echo "CREATE VIEW t AS FROM '$work/t.parquet';" >"$work/init.sql"
skewed_init 60000
shuffles=(--workers 3 --broadcast-rows -1 --cluster-rows -1 --partitions 8 --split-rows 20000)

cat >"$work/plain.sql" <<'SQL'
SELECT g, count(*) AS n, sum(k) AS s, max(x) AS m
    FROM (SELECT a.g, a.k, b.s AS x FROM t a JOIN t b ON a.k = b.k + 1) GROUP BY g ORDER BY g;
SELECT count(DISTINCT k % 5000), count(DISTINCT s) FROM t;
SQL
# Both readers of r see one of its attempts, or they are at odds.
cat >"$work/other.sql" <<'SQL'
WITH r AS MATERIALIZED (SELECT k, random() AS x FROM t)
    SELECT count(*) AS n, sum(abs(a.x - b.x)) AS apart FROM r a JOIN r b ON a.k = b.k AND a.k % 3 = b.k % 3;
WITH r AS MATERIALIZED (SELECT k, g FROM t LIMIT 100000)
    SELECT count(*) AS n FROM (SELECT k FROM r GROUP BY k) a FULL JOIN (SELECT k, max(g) AS g FROM r GROUP BY k) b USING (k);
WITH s AS MATERIALIZED (SELECT g, sum(sqrt(k)) AS x FROM t GROUP BY g) SELECT count(*) AS n FROM s a JOIN s b ON a.x = b.x;
SELECT count(*) AS n, count(DISTINCT r) AS d, max(r) AS m FROM (SELECT row_number() OVER () AS r, g FROM t);
SQL

lossy() { # FILE INIT SEED SHARE OPTIONS...: distributed as embedded, whatever is lost
    local file=$1 init=$2 seed=$3 share=$4 code=0
    shift 4
    rm -f "$work/stop"
    python3 "$root/test/support/lose_blocks.py" "$work/stop" "$seed" "$share" "$spool" "$memory" >"$work/lost" &
    local pid=$!
    same "$file" "$init" unordered "$@" 2>"$work/said" || code=$?
    touch "$work/stop"
    wait "$pid"
    again=$((again + $(grep -c 'runs again' "$work/said" || true)))
    nothing_left || return 1
    [ "$code" = 0 ] && return
    printf 'seed %s: ' "$seed"
    cat "$work/lost"
    tail -3 "$work/said"
    return 1
}
again=0
for seed in "${seeds[@]}"; do
    check "lost blocks are made again, seed $seed" lossy "$work/plain.sql" "$work/init.sql" "$seed" 0.1 "${shuffles[@]}"
    check "readers agree on what is made again, seed $seed" lossy "$work/other.sql" "$work/init.sql" "$seed" 0.1 "${shuffles[@]}"
    check "slices of what is made again, seed $seed" lossy "$root/test/sql/joins_skew.sql" "$work/skewed.sql" "$seed" 0.03 \
        "${shuffles[@]}" --skew always
done
some_again() { [ "$again" -gt "${#seeds[@]}" ] || { echo "$again tasks ran again"; return 1; }; }
check "some was lost" some_again

# The rows that a sink writes, with blocks lost on their way.
sinks() {
    rm -rf "$work/stop" "$work/target"
    python3 "$root/test/support/lose_blocks.py" "$work/stop" 5 0.1 "$spool" "$memory" >"$work/lost" &
    local pid=$! code=0
    "$SHOAL" sql "${spools[@]}" "${shuffles[@]}" --init "$work/init.sql" "COPY (SELECT a.g, a.k, b.s FROM t a JOIN t b ON a.k = b.k + 1)
        TO '$work/target' (FORMAT parquet, PER_THREAD_OUTPUT)" >/dev/null 2>"$work/said" || code=$?
    touch "$work/stop"
    wait "$pid"
    [ "$code" = 0 ] || { cat "$work/said"; return 1; }
    [ "$("$SHOAL" sql --format csv "SELECT count(*), count(DISTINCT k), min(k) FROM '$work/target/*.parquet'" | tail -1)" = \
        "$((rows - 1)),$((rows - 1)),1" ] && nothing_left
}
check "a sink has each row once" sinks

# The same rows, but in other files: tasks that read every n-th file must not mix the two.
cat >"$work/driver.sql" <<SQL
CREATE TABLE d AS SELECT i AS k FROM range($rows) r(i);
SELECT count(*) AS n, sum(k) AS s, count(DISTINCT k) AS c FROM d;
SQL
echo "SELECT count(*) AS n, sum(k) AS s, sum(c) AS c FROM (SELECT k, count(*) AS c FROM t GROUP BY k)" >"$work/levels.sql"
mixed() { # NAME INIT PROCESS NTH OPTIONS...: a block is damaged as it is written for the NTH time
    local name=$1 init=$2 fault=block.write@$3:$4:flip
    shift 4
    "$SHOAL" sql --init "$init" -f "$work/$name.sql" --format csv >"$work/expected"
    SHOAL_FAULT=$fault "$SHOAL" sql --init "$init" -f "$work/$name.sql" --format csv "${spools[@]}" --threads 2 "$@" \
        >"$work/actual" 2>"$work/said" && grep -q 'runs again' "$work/said" && cmp "$work/expected" "$work/actual" && nothing_left && return
    echo "with $fault"
    cat "$work/said" "$work/actual"
    return 1
}
nths=(5 12)  # of 200,000 rows the driver writes 17 blocks or a few more
if [ -n "${ALL:-}" ]; then nths=(1 2 3 5 8 13 20 30); fi
for nth in "${nths[@]}"; do
    check "what the driver sends, damaged at $nth" mixed driver "$work/init.sql" driver "$nth" --workers 3
    check "two levels, damaged at $nth" mixed levels "$work/init.sql" worker "$nth" "${shuffles[@]}" --partitions 16 --merge-segments 1
done

# EXPLAIN ANALYZE says what ran again.
explained() {
    rm -f "$work/stop"
    python3 "$root/test/support/lose_blocks.py" "$work/stop" 2 0.5 "$spool" "$memory" >"$work/lost" &
    local pid=$!
    "$SHOAL" explain --analyze "${spools[@]}" "${shuffles[@]}" --init "$work/init.sql" \
        "SELECT g, count(DISTINCT k) FROM t GROUP BY g" >"$work/plan" 2>"$work/said" || true
    touch "$work/stop"
    wait "$pid"
    grep -q 'runs again' "$work/said" || return 0 # nothing was
    grep -q 'ran again: [0-9]* task' "$work/plan" || grep -q 'made was lost' "$work/said" || { cat "$work/plan" "$work/said"; return 1; }
}
check "EXPLAIN ANALYZE says what ran again" explained

# All blocks of one worker are gone, and what they were made of is no longer there: each task
# runs again once, not once for each block that is missed (three times on average), but for
# those of a stage that had begun and starts over a second time.
all_of_one() {
    local i again tasks
    for ((i = 0; i < 5; i++)); do
        rm -f "$work/stop"
        python3 "$root/test/support/lose_worker.py" "$work/stop" 5 "$spool" "$memory" >"$work/lost" &
        local pid=$!
        "$SHOAL" explain --analyze --format json "${spools[@]}" "${shuffles[@]}" --partitions 16 --init "$work/init.sql" \
            "SELECT m, sum(n) FROM (SELECT k % 1000 AS m, g, sum(x) AS n FROM (SELECT a.k, b.g, count(*) AS x
             FROM t a JOIN t b ON a.k = b.k + 1 GROUP BY a.k, b.g) GROUP BY ALL) GROUP BY m ORDER BY m" >"$work/plan" 2>"$work/said"
        touch "$work/stop"
        wait "$pid"
        read -r again tasks < <(python3 -c '
import json, sys
stages = json.load(sys.stdin)["stages"]
ran = [s["ran"] for s in stages if "ran" in s]
print(sum(r["tasks_again"] for r in ran), sum(r["tasks"] for r in ran))' <"$work/plan")
        [ "$again" -gt 4 ] || continue
        [ $((2 * again)) -le $((3 * (tasks - again))) ] || { echo "$tasks runs of tasks, $again of them again"; return 1; }
        return 0
    done
    echo "nothing was lost: $tasks runs of tasks, $again of them again; $(cat "$work/lost") files"
    return 1
}
check "what one worker made is made again once" all_of_one

# Tasks that share the files of an exchange out by number: another attempt's second file has
# other rows than the first one's.
shares() {
    local i times=4
    if under_asan; then times=1; fi
    # With a column of that name the scan isn't sampled first, and its rows are written.
    "$SHOAL" sql "COPY (SELECT i, (i * 7919) % 100003 AS v, i AS file_row_number FROM range(600000) r(i))
        TO '$work/many.parquet' (ROW_GROUP_SIZE 20000)"
    echo "SELECT i, v FROM '$work/many.parquet' WHERE i % 3 > 0 ORDER BY v, i" >"$work/shares.sql"
    for ((i = 0; i < times; i++)); do
        SHOAL_FAULT=block.write:1:flip:s0.t0.a0.w0.data_1 same "$work/shares.sql" /dev/null ordered --workers 2 \
            --threads 2 --sort-rows 1 --partitions 8 2>"$work/said" && nothing_left && continue
        cat "$work/said"
        return 1
    done
}
check "shares of files that are made again" shares
finish
