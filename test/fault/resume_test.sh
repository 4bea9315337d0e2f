#!/usr/bin/env bash
# Jobs whose process is killed, at each record of their log and at random, and which go on:
# the rows are those of a run that lived, and sinks have each of them once. ALL=1: more.
# Checks are chains of && and ||, and options are optional:
# shellcheck disable=SC2015,SC2119,SC2120
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

step=31 # of the log's records, each so many is one to die at
kills=1
tries=1 # lives of about the same length, before longer ones
every=3 # of the windows, a line each
if under_asan; then step=127 kills=0; fi
if [ -n "${ALL:-}" ]; then step=1 kills=60 tries=3 every=1; fi
rows=300000
"$reference" sql "COPY (SELECT i AS k, i % 100 AS g, 'v' || i AS s, TIMESTAMP '2020-01-01' + to_seconds(i) AS ts
    FROM range($rows) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 20000)"
echo "CREATE VIEW t AS FROM '$work/t.parquet';" >"$work/init.sql"
skewed_init 40000
job=$work/job
shuffles=(--workers 2 --broadcast-rows -1 --cluster-rows -1 --partitions 4 --split-rows 20000 --quiet)
run_job() { "$SHOAL" sql "${spools[@]}" "${shuffles[@]}" --job "$job" --replace "$@"; }
resume() { "$SHOAL" sql "${spools[@]}" --resume "$job" "$@"; }
# In the background, as the process that is to be killed.
exec_job() { exec "$SHOAL" sql "${spools[@]}" "${shuffles[@]}" --job "$job" --replace "$@"; }
exec_resume() { exec "$SHOAL" sql "${spools[@]}" --resume "$job" "$@"; }
log_records() { "$SHOAL" jobs "$job" >/dev/null && python3 - "$job/job.log" <<'PY'
import struct, sys
data, at, count = open(sys.argv[1], "rb").read(), 0, 0
while at + 16 <= len(data):
    at += 16 + struct.unpack_from("<I", data, at)[0]
    count += 1
print(count)
PY
}

cat >"$work/plain.sql" <<'SQL'
SELECT g, count(*) AS n, sum(k) AS s, max(x) AS m
    FROM (SELECT a.g, a.k, b.s AS x FROM t a JOIN t b ON a.k = b.k + 1) GROUP BY g ORDER BY g;
CREATE TEMP TABLE few AS SELECT g, max(k) AS k FROM t GROUP BY g;
SELECT few.g, few.k, count(*) AS n FROM few JOIN t USING (g) GROUP BY ALL ORDER BY few.g;
SELECT count(*) AS n, count(DISTINCT r) AS d, max(r) AS m FROM (SELECT row_number() OVER () AS r FROM t);
SELECT count(*) AS n FROM (SELECT k FROM t WHERE ts < now() GROUP BY k);
SQL
cat >"$work/other.sql" <<'SQL'
WITH r AS MATERIALIZED (SELECT k, random() AS x FROM t)
    SELECT count(*) AS n, sum(abs(a.x - b.x)) AS apart FROM r a JOIN r b ON a.k = b.k AND a.k % 3 = b.k % 3;
WITH r AS MATERIALIZED (SELECT k, g FROM t LIMIT 100000)
    SELECT count(*) AS n FROM (SELECT k FROM r GROUP BY k) a FULL JOIN (SELECT k, max(g) AS g FROM r GROUP BY k) b USING (k);
SQL
"$SHOAL" sql --init "$work/init.sql" -f "$work/plain.sql" --format csv >"$work/plain.csv"
"$SHOAL" sql --init "$work/init.sql" -f "$work/other.sql" --format csv >"$work/other.csv"

refused() { # CODE TEXT ARGS...: what the dead process left stays, until one begins
    local code=$1 text=$2 got=0
    shift 2
    "$SHOAL" "$@" >"$work/rows" 2>"$work/said" || got=$?
    [ "$got" = "$code" ] && grep -qF -- "$text" "$work/said" && return
    printf 'exit code %s instead of %s, and the message was:\n' "$got" "$code"
    cat "$work/said"
    return 1
}
ended() { # the job has nothing but its log, and nothing runs
    [ "$(ls "$job")" = job.log ] && nothing_left && "$SHOAL" jobs "$job" | grep -q ': done'
}
# dies FAULT FILE: with it the job ends by SIGKILL, or lives to its end.
dies() {
    local code=0
    SHOAL_FAULT=$1 run_job --init "$work/init.sql" -f "$2" --format csv >"$work/rows" 2>"$work/said" || code=$?
    [ "$code" = 137 ] || [ "$code" = 0 ] || { cat "$work/said"; return 1; }
}

# ---- at each record
at_each_record() { # NAME OPTIONS...
    local name=$1 at code records
    shift
    run_job --init "$work/init.sql" -f "$work/$name.sql" --format csv >"$work/rows" && cmp "$work/rows" "$work/$name.csv" || return 1
    records=$(log_records)
    for ((at = 1; at <= records; at += step)); do
        dies "job.append@driver:$at:kill" "$work/$name.sql" || return 1
        [ -s "$job/job.log" ] || continue # it died before it had begun
        resume "$@" >"$work/rows" 2>"$work/said" && cmp "$work/rows" "$work/$name.csv" && ended || {
            echo "killed at record $at of $records"
            cat "$work/said"
            return 1
        }
    done
}
check "killed at each record" at_each_record plain
check "and resumed with other workers" at_each_record plain --workers 3 --threads 2
check "killed where attempts differ" at_each_record other --workers 1

# ---- at random, again and again
again_and_again() { # FILE INIT SECONDS OPTIONS...
    local file=$1 init=$2 span=$3 code=137 lives=0 i
    shift 3
    for ((i = 0; i < kills; i++)); do
        "$SHOAL" sql --init "$init" -f "$file" --format json >"$work/expected"
        rm -rf "$job" # one that is done before the first life replaces it would be resumed
        exec_job --init "$init" -f "$file" --format json "$@" >"$work/actual" 2>"$work/said" &
        local pid=$!
        code=137 lives=0
        while [ "$code" = 137 ]; do
            lives=$((lives + 1))
            # Each life is longer, so that there is a last.
            (sleep "$(printf '%d.%03d' $((lives / tries)) $((RANDOM % span)))" && kill -9 "$pid") 2>/dev/null &
            local killer=$!
            code=0
            wait "$pid" 2>/dev/null || code=$?
            kill "$killer" 2>/dev/null || true
            wait "$killer" 2>/dev/null || true
            [ "$code" = 137 ] || break
            if [ -s "$work/actual" ]; then cp "$work/actual" "$work/before"; fi
            if [ ! -s "$job/job.log" ]; then
                exec_job --init "$init" -f "$file" --format json "$@" >"$work/actual" 2>"$work/said" &
            else
                exec_resume >"$work/actual" 2>"$work/said" &
            fi
            pid=$!
        done
        [ "$code" = 0 ] || { cat "$work/said"; return 1; }
        # The life before had ended the job, if not itself.
        if grep -q 'nothing to do' "$work/said"; then mv "$work/before" "$work/actual"; fi
        python3 "$root/test/support/same_answer.py" "$work/expected" "$work/actual" unordered || return 1
        ended || return 1
    done
}
check "killed at random, with slices" again_and_again "$root/test/sql/joins_skew.sql" "$work/skewed.sql" 900 --skew always
grep -v '^--' "$root/test/sql/windows_skew.sql" | sed -n "1~${every}p" >"$work/windows.sql"
check "killed at random, with windows" again_and_again "$work/windows.sql" "$work/skewed.sql" 900 --skew always

# ---- sinks
cat >"$work/sinks.sql" <<SQL
COPY (SELECT g, k, s FROM t WHERE k < 1000) TO '$work/new' (FORMAT parquet, PER_THREAD_OUTPUT);
COPY (SELECT a.g, a.k, b.s FROM t a JOIN t b USING (k) WHERE a.k < 50000) TO '$work/added' (FORMAT parquet, PER_THREAD_OUTPUT, APPEND);
COPY (SELECT g % 3 AS p, k FROM t WHERE g < 9) TO '$work/parts' (FORMAT parquet, PARTITION_BY (p), OVERWRITE);
COPY (SELECT k, s FROM t WHERE k < 40000) TO '$work/table' (FORMAT delta, APPEND);
COPY (SELECT g % 2 AS p, k FROM t WHERE g < 4) TO '$work/parts' (FORMAT parquet, PARTITION_BY (p), OVERWRITE_PARTITIONS);
COPY (SELECT g, count(*) AS n FROM t GROUP BY g) TO '$work/one.csv';
SQL
read_sinks() {
    "$SHOAL" sql --format csv --threads 1 "SELECT count(*), count(DISTINCT k), sum(k) FROM '$work/new/*.parquet';
        SELECT count(*), count(DISTINCT k), sum(k) FROM '$work/added/*.parquet';
        SELECT p, count(*), sum(k) FROM read_parquet('$work/parts/**/*.parquet', hive_partitioning = true) GROUP BY p ORDER BY p;
        SELECT count(*), count(DISTINCT k), sum(k) FROM delta_scan('$work/table'); SELECT count(*), sum(n) FROM '$work/one.csv'"
}
clear_sinks() { rm -rf "$work/new" "$work/added" "$work/parts" "$work/table" "$work/one.csv"; }
no_staging() { [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ] || { ls -A "$work"; return 1; }; }
sinks_die() { # FAULT
    clear_sinks
    dies "$1" "$work/sinks.sql" || return 1
    if [ -s "$job/job.log" ] && ! "$SHOAL" jobs "$job" | grep -q ': done'; then
        resume >"$work/rows" 2>"$work/said" || { cat "$work/said"; return 1; }
    elif [ ! -s "$job/job.log" ]; then
        run_job --init "$work/init.sql" -f "$work/sinks.sql" --format csv >"$work/rows"
    fi
    cmp "$work/rows" "$work/sinks.out" && read_sinks >"$work/read" && cmp "$work/read" "$work/sinks.csv" && ended && no_staging || {
        echo "with $1"
        cat "$work/said" "$work/read"
        return 1
    }
}
sinks_at_each() {
    local at records
    clear_sinks
    run_job --init "$work/init.sql" -f "$work/sinks.sql" --format csv >"$work/sinks.out" && read_sinks >"$work/sinks.csv" || return 1
    records=$(log_records)
    for ((at = 1; at <= records; at += step)); do sinks_die "job.append@driver:$at:kill" || return 1; done
    # The records about commits, and the commits themselves.
    for point in job.sync commit.rename commit.swap commit.log commit.link sink.journal sink.move; do
        for ((at = 1 + step % 3; at <= 12; at += (step + 2) / 3)); do sinks_die "$point@driver:$at:kill" || return 1; done
    done
}
check "sinks have each row once, whenever the job dies" sinks_at_each

# What can't be read is kept once, by whichever process.
printf 'k,s\n1,a\nx,b\n3,c\n' >"$work/bad.csv"
cat >"$work/rejects.sql" <<SQL
SELECT sum(k) FROM read_csv('$work/bad.csv', types = {'k': 'BIGINT'});
COPY (SELECT k FROM read_csv('$work/bad.csv', types = {'k': 'BIGINT'})) TO '$work/good' (FORMAT parquet, PER_THREAD_OUTPUT);
SQL
rejects_once() {
    local at
    for at in 1 2 3; do
        rm -rf "$work/rejected" "$work/good"
        SHOAL_FAULT=job.sync@driver:$((at + 1)):kill run_job --rejects "$work/rejected" -f "$work/rejects.sql" >/dev/null 2>&1 && return 1
        resume >/dev/null 2>"$work/said" || { cat "$work/said"; return 1; }
        [ "$(cat "$work"/rejected/rejects-*.csv | grep -c ',x,\|"x,b"')" = 2 ] || { ls "$work/rejected"; return 1; }
    done
}
check "rejected rows are kept once" rejects_once

# A statement that is planned again, as a part of a file has rows that can't be read, writes
# beside what its first plan wrote.
python3 - "$work" <<'PY'
import sys
for n in range(3):
    with open(f"{sys.argv[1]}/j{n}.json", "w") as file:
        for i in range(60000):
            file.write('{"k": %d, "s": "v%d"}\n' % (i, i))
        if n == 2:
            file.write('{"k": "zz", "s": "bad"}\n')
PY
planned_again() {
    local code=0
    rm -rf "$work/good"
    SHOAL_FAULT=job.append@driver:5:kill run_job "COPY (SELECT k, s FROM read_json('$work/j*.json', columns = {'k': 'BIGINT', 's': 'VARCHAR'}))
        TO '$work/good' (FORMAT parquet, PER_THREAD_OUTPUT, REJECTS '$work/rejected')" --workers 1 >/dev/null 2>&1 || code=$?
    [ "$code" = 137 ] && resume >/dev/null 2>"$work/said" && ended || { cat "$work/said"; return 1; }
    # None had to be tried again.
    [ "$("$SHOAL" sql --format csv "SELECT count(*) FROM '$work/good/*.parquet'" | tail -1)" = 180000 ] && ! grep -aoE 's0\.t[0-9]+\.a1\.' "$job/job.log"
}
check "a statement that is planned again" planned_again

# What one statement wrote into a file, and another reads, is written once.
chained() {
    rm -rf "$work/good"
    SHOAL_FAULT=job.sync@driver:3:kill run_job "COPY (SELECT k, s FROM '$work/t.parquet') TO '$work/chain.parquet';
        COPY (SELECT a.k, b.s FROM '$work/chain.parquet' a JOIN '$work/chain.parquet' b ON a.k = b.k + 1)
            TO '$work/good' (FORMAT parquet, PER_THREAD_OUTPUT)" --format csv >/dev/null 2>&1 && return 1
    resume >"$work/rows" 2>"$work/said" || { cat "$work/said"; return 1; }
    [ "$(tr '\n' ' ' <"$work/rows")" = "Count $rows Count $((rows - 1)) " ] && ended && no_staging
}
check "a file between two statements is written once" chained

# A SELECT that is done is in the way of nobody, if a statement behind it changed its files.
shown() {
    rm -rf "$work/grows" "$work/good"
    "$SHOAL" sql "COPY (SELECT k FROM '$work/t.parquet') TO '$work/grows' (FORMAT parquet, PER_THREAD_OUTPUT)" >/dev/null
    SHOAL_FAULT=job.sync@driver:4:kill run_job "SELECT count(*) AS n FROM '$work/grows/*.parquet' WHERE k % 2 = 0;
        COPY (SELECT k FROM '$work/grows/*.parquet') TO '$work/grows' (FORMAT parquet, PER_THREAD_OUTPUT, APPEND);
        COPY (SELECT k FROM '$work/grows/*.parquet') TO '$work/good' (FORMAT parquet, PER_THREAD_OUTPUT)" --format csv >"$work/rows" 2>&1 && return 1
    resume >"$work/rows" 2>"$work/said" && grep -q 'statement 1 of the job was done, and what it reads has changed' "$work/said" || { cat "$work/said"; return 1; }
    [ "$(tr '\n' ' ' <"$work/rows")" = "Count $rows Count $((rows * 2)) " ] && ended && no_staging
}
check "a SELECT whose files a later statement changed" shown

# ---- what is damaged, changed, or not for this job
half_done() { dies "job.append@driver:${1:-14}:kill" "$work/plain.sql" && ! "$SHOAL" jobs "$job" | grep -q ': done'; }
same_again() { resume "$@" >"$work/rows" 2>"$work/said" && cmp "$work/rows" "$work/plain.csv" && ended; }
torn() { half_done && truncate -s -7 "$job/job.log" && same_again; }
check "a torn record is dropped" torn
without_blocks() { half_done && find "$job/blocks" -type f | head -3 | xargs rm && same_again; }
check "blocks that are gone are made again" without_blocks
reused() { half_done 20 && same_again && grep -qE '[1-9][0-9]* tasks had been done before' "$work/said"; }
check "what is done is not done again" reused
damaged() {
    half_done && printf 'x' | dd of="$job/job.log" bs=1 seek=100 conv=notrunc 2>/dev/null && refused 3 'is damaged at byte' sql --resume "$job"
}
check "a damaged log is refused" damaged
changed() {
    half_done && cp -p "$work/t.parquet" "$work/kept" && touch "$work/t.parquet" &&
        refused 2 'has changed since the job' sql --resume "$job" "${spools[@]}" && cp -p "$work/kept" "$work/t.parquet" && same_again
}
check "a changed file is refused" changed
running() {
    half_done && exec 9<"$job" && flock -n 9 && refused 2 'runs: wait for it' sql --resume "$job" && flock -u 9 && exec 9<&-
}
check "a job that runs is left alone" running
twice() { same_again && resume 2>"$work/said" >"$work/rows" && grep -q 'nothing to do' "$work/said" && [ ! -s "$work/rows" ]; }
check "a job that is done is done" twice
check "a job is not replaced unasked" refused 2 'add --replace' sql "SELECT 1" --workers 2 --job "$job"
check "other options are refused" refused 2 "can't be given with --resume" sql --resume "$job" --partitions 3
check "other statements are refused" refused 2 'give no others' sql --resume "$job" "SELECT 1"
check "a job needs workers" refused 2 '--job goes with --workers' sql "SELECT 1" --job "$work/none"
check "no job" refused 2 'there is no job' sql --resume "$work/none"
mkdir "$work/full" && touch "$work/full/x"
check "a folder of something else" refused 2 'something else' sql "SELECT 1" --workers 2 --job "$work/full"
check "a database is refused" refused 1 "a job can't write to the database" sql "CREATE TABLE x AS SELECT 1 AS a" --db "$work/x.db" \
    --workers 2 --job "$work/job2" "${spools[@]}"
"$SHOAL" sql "ATTACH '$work/y.db' AS y; CREATE TABLE y.t (k BIGINT)"
echo "ATTACH '$work/y.db' AS y" >"$work/attach.sql"
check "so is one that is attached" refused 1 "a job can't write to an attached database (y)" sql "ATTACH '$work/y.db' AS y;
    INSERT INTO y.t SELECT 1" --workers 2 --job "$work/job3" "${spools[@]}"
check "or was before" refused 1 "a job can't write to an attached database (y)" sql "INSERT INTO y.t SELECT 1" \
    --init "$work/attach.sql" --workers 2 --job "$work/job4" "${spools[@]}"
read_only() { "$SHOAL" sql "ATTACH '$work/y.db' AS y (READ_ONLY); SELECT count(*) FROM y.t" --workers 2 --job "$work/job4" "${spools[@]}" >/dev/null; }
check "but to be read" read_only
# Paths of the command line are from where it is typed, those of the job from where it began.
elsewhere() (
    mkdir -p "$work/here/temp" "$work/there" && cd "$work/there" || return 1
    half_done && cd "$work/here" && "$SHOAL" sql --resume ../job --temp-dir temp --memory-dir temp -o rows.csv 2>"$work/said" &&
        cmp rows.csv "$work/plain.csv" && [ -z "$(find temp "$work/there" -mindepth 1)" ] && return
    cat "$work/said"
    return 1
)
check "resumed from elsewhere" elsewhere
listed() { "$SHOAL" jobs "$work" >"$work/jobs" && grep -q 'job: done' "$work/jobs" && grep -q 'job2: failed' "$work/jobs" && grep -q "go on: " "$work/jobs"; }
check "jobs are listed" listed
collected() {
    mkdir "$job/blocks" && touch "$job/blocks/left" && "$SHOAL" gc "$work" --dry-run >"$work/gc" && [ -e "$job/blocks/left" ] &&
        grep -qF "would remove $job/blocks: blocks of a job that is done" "$work/gc" && "$SHOAL" gc "$work" >"$work/gc" &&
        [ ! -e "$job/blocks" ] && [ -e "$job/job.log" ] && grep -qF "kept $work/job2: a job that can go on" "$work/gc"
}
check "gc knows jobs" collected
finish
