#!/usr/bin/env bash
# Bad input and lost workers: a clear message, the documented exit code, nothing left.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

"$reference" sql "
COPY (SELECT i AS k, 'v' || i AS s FROM range(300000) r(i)) TO '$work/t.parquet';
COPY (SELECT i AS k, CASE i WHEN 1234 THEN 'seven' ELSE '7' END AS s
    FROM range(200000) r(i)) TO '$work/bad.parquet'"
head -c 5000 "$work/t.parquet" >"$work/cut.parquet"
mkdir "$work/empty"

for where in "" "--workers 2 ${spools[*]}"; do
    read -ra options <<<"$where"
    check "syntax error $where" fails 1 'LINE 1' sql "SELEC 1" "${options[@]}"
    check "the line of the statement $where" fails 1 "LINE 2:   nocol" \
        sql $'SELECT 1 +\n  nocol' "${options[@]}"
    check "unknown table $where" fails 1 'nosuch' sql "FROM nosuch" "${options[@]}"
    check "unknown column $where" fails 1 'nocol' \
        sql "SELECT nocol FROM '$work/t.parquet'" "${options[@]}"
    check "missing file $where" fails 1 'none.parquet' \
        sql "FROM '$work/none.parquet'" "${options[@]}"
    check "no match $where" fails 1 'empty/*.parquet' \
        sql "FROM '$work/empty/*.parquet'" "${options[@]}"
    check "truncated file $where" fails 1 'cut.parquet' \
        sql "SELECT count(*) FROM '$work/cut.parquet'" "${options[@]}"
    check "a value that does not cast $where" fails 1 'seven' \
        sql "SELECT sum(s::INTEGER) FROM '$work/bad.parquet'" "${options[@]}"
done
# Without the extension that such paths need, whatever this machine has installed.
remote="SET autoinstall_known_extensions = false; SET extension_directory = '$work/none'; FROM"
for where in "" "--workers 2 ${spools[*]}"; do
    read -ra options <<<"$where"
    check "object storage $where" fails 1 'INSTALL httpfs' sql "$remote 's3://bucket/t.parquet'" "${options[@]}"
    check "without a network $where" fails 1 'on every machine that has workers' \
        sql "$remote read_csv('https://localhost/t.csv')" "${options[@]}"
done
check "the line of a value" fails 1 "LINE 2:   'a'::INT" sql $'SELECT 1,\n  \'a\'::INT'
check "the stage's SQL is named" fails 1 'in stage 0, task' \
    sql "SELECT sum(s::INTEGER) FROM '$work/bad.parquet'" --workers 2 "${spools[@]}"
check "workers 0" fails 2 '--workers 0' sql "SELECT 1" --workers 0
check "no number" fails 2 '--threads two' sql "SELECT 1" --threads two
check "unknown option" fails 2 '--frobnicate' sql "SELECT 1" --frobnicate
echo "SELEC 1" >"$work/init.sql"
check "a bad init file" fails 1 'in the statements of --init: Parser Error' \
    sql "SELECT 1" --init "$work/init.sql"
check "no query" fails 2 'no query' sql
check "no spool" fails 3 '/proc/nowhere' \
    sql "SELECT count(*) FROM '$work/t.parquet' GROUP BY k" --workers 2 --temp-dir /proc/nowhere
check "an output that can't be written" fails 3 '/proc/out' sql "SELECT 1" -o /proc/out

# Faults put into the workers' file calls, with and without blocks in memory: a full
# spool, a bad disk, a task that kills whoever runs it. One bad moment is survived.
faulty() {
    local fault=$1 tier
    shift
    for tier in "$memory" none; do
        SHOAL_FAULT=$fault fails "$@" sql "SELECT k, count(*) FROM '$work/t.parquet' GROUP BY k" \
            --workers 2 "${spools[@]}" --memory-dir "$tier" && nothing_left || return 1
    done
}
check "a full spool" faulty block.write:1+:ENOSPC 3 'No space left on device; free space there'
check "blocks that are always corrupt" faulty block.write:1+:flip 3 "checksum differs"
check "an unreadable block" faulty block.read:1+:EIO 3 'Input/output error'
check "a task that kills workers" faulty block.write:1:kill 4 'killed 3 workers'
check "a malformed fault" faulty nonsense 2 'SHOAL_FAULT=nonsense'
survives() {
    SHOAL_FAULT=block.write:2:ENOSPC "$SHOAL" sql "SELECT k % 7 AS k, count(*) FROM '$work/t.parquet'
        GROUP BY 1 ORDER BY 1" --format csv --workers 2 "${spools[@]}" --memory-dir "$1" >"$work/survived"
    "$SHOAL" sql "SELECT k % 7 AS k, count(*) FROM '$work/t.parquet' GROUP BY 1 ORDER BY 1" \
        --format csv | cmp - "$work/survived" && nothing_left
}
check "a write that fails once" survives none
check "a write to memory that fails once" survives "$memory"

# A worker that is killed is replaced, and the answer is still right.
killed_worker() {
    cat >"$work/slow.sql" <<SQL
SELECT count(*) FROM '$work/t.parquet' a JOIN '$work/t.parquet' b ON a.k % 2000 = b.k % 2000;
SQL
    "$SHOAL" sql -f "$work/slow.sql" --format csv --workers 2 "${spools[@]}" \
        >"$work/killed" 2>"$work/err" &
    local driver=$! worker="" tries=0
    while [ -z "$worker" ] && [ "$tries" -lt 500 ]; do
        worker=$(pgrep -P "$driver" -f 'worker --fd' | head -n 1 || true)
        tries=$((tries + 1))
        sleep 0.01
    done
    [ -n "$worker" ] && kill -9 "$worker"
    wait "$driver" || return 1
    grep -q '^45000000$' "$work/killed" && grep -q 'signal 9' "$work/err" && nothing_left
}
check "a killed worker" killed_worker

# Ctrl-C ends a distributed and an embedded query within a second, with code 130.
cancelled() {
    "$SHOAL" sql "SELECT count(*) FROM '$work/t.parquet' a, '$work/t.parquet' b
        WHERE (a.k * 7919 + b.k) % 1000003 = 3" "${spools[@]}" "$@" >/dev/null 2>"$work/err" &
    local driver=$! got=0 start end
    sleep 0.7
    start=$(date +%s%N)
    kill -INT "$driver"
    wait "$driver" || got=$?
    end=$(date +%s%N)
    [ "$got" = 130 ] && [ $(((end - start) / 1000000)) -lt 1500 ] && nothing_left && return
    printf 'code %s after %s ms\n' "$got" $(((end - start) / 1000000))
    cat "$work/err"
    return 1
}
check "cancel, embedded" cancelled
check "cancel, two workers" cancelled --workers 2 --broadcast-rows -1
no_workers() { ! pgrep -f "^$SHOAL worker --fd" >/dev/null; }
check "no worker is left" no_workers

# What a killed driver left is removed by the next run.
killed_driver() {
    "$SHOAL" sql "SELECT count(*) FROM '$work/t.parquet' a, '$work/t.parquet' b
        WHERE (a.k * 7919 + b.k) % 1000003 = 3" --workers 2 "${spools[@]}" 2>/dev/null &
    local driver=$!
    local tries=0
    while [ -z "$(ls -A "$memory")" ] && [ "$tries" -lt 500 ]; do
        tries=$((tries + 1))
        sleep 0.01
    done
    kill -9 "$driver"
    wait "$driver" || true
    [ -n "$(ls -A "$spool")" ] && [ -n "$(ls -A "$memory")" ] || return 1
    "$SHOAL" sql "SELECT count(*) FROM '$work/t.parquet'" --workers 2 "${spools[@]}" >/dev/null
    "$SHOAL" sql "SELECT k FROM '$work/t.parquet' LIMIT 1" --workers 2 "${spools[@]}" >/dev/null
    nothing_left
}
check "a killed driver's spool is swept" killed_driver
finish
