#!/usr/bin/env bash
# Whole statements over two workers, with one allocation of shoal's own failing, or all from
# one on, in the driver or in one worker: the right answer, or "out of memory" and exit code
# 3; nothing left, no crash. A sample of the allocations, drawn by SEED.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
: "${SHOAL_ALLOC:=$root/build/shoal_alloc}" "${SEED:=1}"
: "${SAMPLES:=$(if under_asan; then echo 2; else echo 8; fi)}" # of each statement

"$reference" sql "
COPY (SELECT i % 50 AS k, i AS v, 's' || i % 9 AS s FROM range(4000) r(i)) TO '$work/t.parquet';
COPY (SELECT i AS k, 'n' || i AS name FROM range(50) r(i)) TO '$work/u.parquet';
COPY (SELECT i % 50 AS k, i AS v FROM range(500) r(i)) TO '$work/t.csv';
COPY (SELECT i % 50 AS k, {x: i, y: [i]} AS n FROM range(500) r(i)) TO '$work/t.json'"
t="'$work/t.parquet'" u="'$work/u.parquet'"
statements=(
    "SELECT name, sum(v) AS s FROM $t JOIN $u USING (k) GROUP BY name ORDER BY name"
    "SELECT s, count(*), avg(v), count(DISTINCT k) FROM $t GROUP BY s ORDER BY s"
    "SELECT k, v FROM $t ORDER BY v DESC"
    "SELECT k, v, rank() OVER (PARTITION BY k ORDER BY v) AS r FROM $t ORDER BY v LIMIT 100"
    "COPY (FROM $t) TO 'TARGET' (FORMAT parquet, PARTITION_BY (s), OVERWRITE)"
    "COPY (FROM $t) TO 'TARGET' (FORMAT delta, PARTITION_BY (s))"
    "SELECT k, sum(n.x) AS x FROM '$work/t.json' GROUP BY k ORDER BY k"
    "SELECT k, sum(v) AS v FROM '$work/t.csv' GROUP BY k ORDER BY k"
    "(SELECT k FROM $t WHERE v % 3 = 0 UNION SELECT k FROM $u) EXCEPT SELECT 7 ORDER BY 1"
    "SELECT /*+ SHUFFLE_HASH(u), REPARTITION(3) */ u.k, count(*) FROM $t t JOIN $u u USING (k) GROUP BY u.k ORDER BY 1"
)
export SHOAL_ALLOC work

# run NAME STATEMENT: in folders of its own, so that two may run at once.
run() {
    local name=$1 statement=$2 dir=$work/$1
    mkdir -p "$dir/spool" "$dir/memory" "$dir/out" "$dir/counts"
    SHOAL_COUNT_ALLOC=$dir/counts timeout 30 "$SHOAL_ALLOC" sql "${statement//TARGET/$dir/out/table}" \
        --workers 2 --threads 1 --partitions 3 --temp-dir "$dir/spool" --memory-dir "$dir/memory" \
        --memory 500MB --format csv >"$dir/answer" 2>"$dir/err"
}

# What a statement gave: its rows, or those of the table that it wrote.
answer() {
    local dir=$work/$1
    if [ -d "$dir/out/table" ]; then
        local from="'$dir/out/table/**/*.parquet'"
        [ -d "$dir/out/table/_delta_log" ] && from="delta_scan('$dir/out/table')"
        "$SHOAL" sql "SELECT count(*), sum(k), sum(v), max(s) FROM $from" --format csv
    else
        cat "$dir/answer"
    fi
}

# left DIR: folders of the run that are still there.
left() { find "$1/spool" "$1/memory" "$1/out" -maxdepth 1 -name '*shoal-*'; }

# A run without any memory can't look for what to remove: the next one to these places does.
sweep() {
    "$SHOAL" sql "FROM $u LIMIT 1; COPY (FROM $u) TO '$1/out/next' (FORMAT parquet, PER_THREAD_OUTPUT)" \
        --workers 1 --threads 1 --temp-dir "$1/spool" --memory-dir "$1/memory" >/dev/null 2>&1
}

# try NUMBER FAIL: one run of a statement with SHOAL_FAIL_ALLOC; says what is wrong.
try() {
    local number=$1 fail=$2 name=run.$1.${2//[:+]/.} code=0 wrong=
    local dir=$work/$name
    SHOAL_FAIL_ALLOC=$fail:$dir.once run "$name" "${statements[$number]}" || code=$?
    if [ $code -eq 0 ]; then
        [ "$(answer "$name")" = "$(cat "$work/right.$number")" ] || wrong="another answer"
    elif [ $code -ne 3 ] || ! grep -qi 'memory' "$dir/err"; then
        wrong="exit code $code"
    elif [ -n "$(find "$dir/out" -path '*/table/*' -type f)" ]; then
        # All or nothing: it may fail behind the moment from which its files count.
        [ "$(answer "$name")" = "$(cat "$work/right.$number")" ] || wrong="a part of a target"
    fi
    compgen -G "$dir/counts/crash.*" >/dev/null && wrong="a crash"
    if [ -n "$(left "$dir")" ] && [ "${fail%+}" != "$fail" ]; then sweep "$dir" || true; fi
    [ -z "$(left "$dir")" ] || wrong="$wrong, left: $(left "$dir")"
    if [ -n "$wrong" ]; then
        printf 'SHOAL_FAIL_ALLOC=%s: %s: %s\n%s\n' "$fail" "$wrong" "${statements[$number]}" \
            "$(head -c 600 "$dir/err")"
        return 1
    fi
    rm -rf "$dir" "$dir.once"
}

# count NUMBER PROCESS: the most allocations that one made.
count() { sort -n "$work/plain.$1/counts/$2".* 2>/dev/null | tail -1; }

plan=()
for number in "${!statements[@]}"; do
    check "statement $number" run "plain.$number" "${statements[$number]}"
    answer "plain.$number" >"$work/right.$number"
    check "an answer of statement $number" test -s "$work/right.$number"
    mapfile -t -O "${#plan[@]}" plan < <(python3 -c '
import random, sys
number, seed, samples, driver, worker = map(int, sys.argv[1:])
chance = random.Random(seed * 100 + number)
for i in range(samples):
    process, most = ("driver", driver) if i % 3 else ("worker", worker)
    on = "+" if i % 4 == 3 else ""
    print(f"{number} {process}:{chance.randint(1, most)}{on}")' \
        "$number" "$SEED" "$SAMPLES" "$(count "$number" driver)" "$(count "$number" worker)")
done
for entry in "${plan[@]}"; do
    read -r number fail <<<"$entry"
    check "SEED=$SEED, statement $number" try "$number" "$fail"
done
finish
