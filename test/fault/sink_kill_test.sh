#!/usr/bin/env bash
# COPY ... TO a folder, killed -9 at random moments beside a reader that reads the folder
# again and again. KILLS=100: so many in each write mode, not a few.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
kills=6
if under_asan; then kills=2; fi
kills=${KILLS:-$kills}
out=$work/target
"$reference" sql "COPY (SELECT i, i % 4 AS k FROM range(4000) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 500)"

# What round R writes: $1 rows of each of four partitions, at least some of them.
rows_of() { echo "SELECT i, k, $1 AS round FROM '$work/t.parquet' WHERE i < $2${3:+ AND $3}"; }
run() { # QUERY OPTIONS
    exec "$SHOAL" sql "${spools[@]}" --workers 2 --split-rows 500 --format csv "COPY ($1) TO '$out' (FORMAT parquet, $2)" >"$work/answer" 2>"$work/errors"
}
read_rounds() { # rows by round and partition, one line: "round:k:rows ..."
    "$SHOAL" sql --threads 1 --format csv "
        SELECT coalesce(string_agg(round || ':' || k || ':' || n, ' ' ORDER BY round, k), '') AS all_rounds
        FROM (SELECT round, k, count(*) AS n FROM read_parquet('$out/**/*.parquet', hive_partitioning = true) GROUP BY round, k)"
}
# Each line of the log is what one read saw, or why it failed. A file that is gone since
# the reader listed it is an error that a reader sees; anything else is not.
reader() {
    while [ ! -e "$work/stop" ]; do
        if read_rounds >"$work/seen" 2>"$work/why"; then
            tail -n 1 "$work/seen" | tr -d '"' >>"$work/log"
        elif grep -qE 'No such file or directory|'"$1" "$work/why"; then
            echo missed >>"$work/log"
        else
            { printf 'error: ' && tr '\n' ' ' <"$work/why" && echo; } >>"$work/log"
        fi
    done
}
start_reader() {
    rm -f "$work/stop"
    : >"$work/log"
    reader "$1" &
    reader_pid=$!
}
stop_reader() {
    touch "$work/stop"
    wait "$reader_pid"
}
# A run, killed at a random moment of the time that one takes. 0: it ended before.
killed_run() { # QUERY OPTIONS
    local code=0
    : >"$work/answer"
    (run "$1" "$2") &
    local pid=$!
    sleep "$(printf '0.%03d' $((RANDOM % span + 1)))"
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || code=$?
    [ "$code" = 0 ] || [ "$code" = 137 ] || { cat "$work/errors"; return 1; }
}
whole_run() { (run "$1" "$2") || { cat "$work/errors"; return 1; }; }
acknowledged() { grep -q '^[0-9]' "$work/answer"; }
# Another run to the same parent takes back what a dead one had begun.
sweep() { "$SHOAL" sql "COPY (SELECT 1 AS a) TO '$work/other' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)" >/dev/null; }
now() { read_rounds | tail -n 1 | tr -d '"'; }
# Workers outlive a killed driver by a moment: what they still write goes with the next run.
nothing_staged() {
    local left
    sweep
    left=$(find "$work" -maxdepth 1 -name '.shoal-*')
    [ -z "$left" ] || { find "$left"; return 1; }
}

# How long one takes, in milliseconds, is where kills fall.
measure() {
    local start
    rm -rf "$out"
    whole_run "$(rows_of 0 400)" "PARTITION_BY (k)" || return 1
    start=$(date +%s%N)
    whole_run "$(rows_of 0 400)" "PARTITION_BY (k), OVERWRITE" || return 1
    span=$((($(date +%s%N) - start) / 1000000 + 20))
    if [ "$span" -gt 999 ]; then span=999; fi
}
check "without a kill" measure

# saw MODE: what the reader may have seen, by round.
saw() {
    python3 - "$work/log" "$1" <<'PY'
import sys
reads = 0
last = 0
for line in open(sys.argv[1]):
    line = line.strip()
    if line == "missed":
        continue
    if line.startswith("error"):
        sys.exit(line)
    reads += 1
    seen = [tuple(map(int, part.split(":"))) for part in line.split()]
    rounds = sorted({r for r, _, _ in seen})
    if sys.argv[2] == "whole":  # one round, all of it, and never an older one again
        ok = len(rounds) == 1 and rounds[0] >= last and all(n == 100 + rounds[0] for _, _, n in seen) and len(seen) == 4
        last = rounds[-1] if rounds else last
    elif sys.argv[2] == "added":  # of each round all, but for one
        ok = all(n <= 50 for _, _, n in seen) and sum(1 for r in rounds if sorted(n for q, _, n in seen if q == r) != [50] * 4) <= 1
    else:  # each partition as one round left it
        ok = [k for _, k, _ in sorted(seen, key=lambda s: s[1])] == [0, 1, 2, 3] and all(n == 50 for _, _, n in seen)
    if not ok:
        sys.exit(f"a reader saw: {line}")
if reads == 0:
    sys.exit("the reader read nothing")
PY
}

overwritten() { # PARTITION_BY or another way to several files
    local round before=0
    rm -rf "$out"
    whole_run "$(rows_of 0 400)" "$1" || return 1
    start_reader nothing_else
    for ((round = 1; round <= kills; round++)); do
        killed_run "$(rows_of "$round" $((400 + 4 * round)))" "$1, OVERWRITE" || return 1
        case $(now) in
            "$round:"*) before=$round ;;
            "$before:"*) if acknowledged; then echo "round $round was said to be there"; return 1; fi ;;
            *) echo "after kill $round: $(now)"; return 1 ;;
        esac
    done
    stop_reader && whole_run "$(rows_of "$round" $((400 + 4 * round)))" "$1, OVERWRITE" && saw whole && nothing_staged
}
made_new() {
    local round
    rm -rf "$out"
    start_reader 'No files found'
    for ((round = 1; round <= kills; round++)); do
        killed_run "$(rows_of "$round" $((400 + 4 * round)))" "PER_THREAD_OUTPUT, ERROR_IF_EXISTS" || return 1
        if [ -e "$out" ]; then mv "$out" "$work/gone.$round"; elif acknowledged; then echo "round $round is not there"; return 1; fi
    done
    whole_run "$(rows_of "$round" $((400 + 4 * round)))" "PER_THREAD_OUTPUT" || return 1
    sleep 0.3
    stop_reader && saw whole && nothing_staged
}
# done_or_not ROUND ROWS: after a kill and another run's sweep, all rows of the round are
# there or none; whether, says the exit code.
done_or_not() {
    sweep || exit 1
    local state
    state=$(now | tr ' ' '\n' | grep "^$1:" | cut -d: -f3 | sort -u | tr '\n' ' ')
    if [ "$state" = "50 " ]; then return 0; fi
    if [ -n "$state" ]; then echo "a part of round $1: $(now)"; return 2; fi
    if acknowledged; then echo "round $1 is not there"; return 2; fi
    return 1
}
appended() {
    local round code
    rm -rf "$out"
    whole_run "$(rows_of 0 200)" "$1" || return 1
    start_reader nothing_else
    for ((round = 1; round <= kills; round++)); do
        killed_run "$(rows_of "$round" 200)" "$1, APPEND" || return 1
        code=0
        done_or_not "$round" || code=$?
        if [ "$code" = 1 ]; then whole_run "$(rows_of "$round" 200)" "$1, APPEND" || return 1; fi
        [ "$code" -lt 2 ] && done_or_not "$round" || return 1
    done
    stop_reader && saw added || return 1
    [ "$(now | tr ' ' '\n' | grep -c ':50$')" = $((4 * (kills + 1))) ] && [ "$(now | wc -w)" = $((4 * (kills + 1))) ] && nothing_staged
}
partitions_overwritten() {
    local round code
    rm -rf "$out"
    whole_run "$(rows_of 0 200)" "PARTITION_BY (k)" || return 1
    start_reader nothing_else
    for ((round = 1; round <= kills; round++)); do
        local query
        query=$(rows_of "$round" 200 "k <> $((round % 4))")
        killed_run "$query" "PARTITION_BY (k), OVERWRITE_PARTITIONS" || return 1
        code=0
        done_or_not "$round" || code=$?
        [ "$code" -lt 2 ] || return 1
        # All three, or none of them.
        [ "$(now | tr ' ' '\n' | grep -c "^$round:")" = $(((1 - code) * 3)) ] || { now; return 1; }
        if [ "$code" = 1 ]; then whole_run "$query" "PARTITION_BY (k), OVERWRITE_PARTITIONS" || return 1; fi
        if [ "$(now | tr ' ' '\n' | grep -c "^$round:.:50$")" != 3 ] || [ "$(now | wc -w)" != 4 ]; then
            now
            return 1
        fi
    done
    stop_reader && saw partitions && nothing_staged
}
worker_killed() {
    local round pid
    rm -rf "$out"
    whole_run "$(rows_of 0 200)" "PARTITION_BY (k)" || return 1
    for ((round = 1; round <= kills; round++)); do
        (run "$(rows_of "$round" 200)" "PARTITION_BY (k), $1") &
        pid=$!
        sleep "$(printf '0.%03d' $((RANDOM % span + 1)))"
        # by name: at its end a program under LeakSanitizer waits for a child of its own
        pkill -9 -P "$pid" -n -f ' worker ' 2>/dev/null || true
        wait "$pid" || { cat "$work/errors"; return 1; }
        if ! acknowledged || [ "$(now | tr ' ' '\n' | grep -c "^$round:.:50$")" != 4 ]; then
            now
            return 1
        fi
    done
    nothing_staged
}

check "OVERWRITE" overwritten PER_THREAD_OUTPUT
check "OVERWRITE of partitions as a whole" overwritten "PARTITION_BY (k)"
check "ERROR_IF_EXISTS" made_new
check "APPEND" appended PER_THREAD_OUTPUT
check "APPEND to partitions" appended "PARTITION_BY (k)"
check "OVERWRITE_PARTITIONS" partitions_overwritten
check "a worker, OVERWRITE" worker_killed OVERWRITE
check "a worker, APPEND" worker_killed APPEND
check "nothing is left" nothing_staged
finish
