#!/usr/bin/env bash
# Ctrl-C, SIGTERM, --timeout and a reader that goes away, whatever the command is at: it ends
# soon, with the documented code, no worker and no file of it is left, and what it was to
# write is as before.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
program=$work/shoal # a program of its own: its workers are told from others'
cp "$SHOAL" "$program"
patience=2500 # milliseconds after which the end is late
under_asan && patience=6000

"$reference" sql "COPY (SELECT i AS k, 'v' || i AS s FROM range(300000) r(i)) TO '$work/t.parquet'"
table="'$work/t.parquet'"
printf '"%s"\n' {1..200000} >"$work/t.csv"
mkfifo "$work/pipe"

# Joins enough for DuckDB to be at their plan for minutes.
planning="SELECT count(*) FROM $table t0"
for i in {1..300}; do planning+=" JOIN $table t$i ON t$i.k = t0.k"; done
cross="$table a, $table b WHERE (a.k * 7919 + b.k) % 1000003 = 3"
scan="SELECT count(*) FROM $cross"
shuffle="SELECT a.k % 1000 AS m, count(*), max(b.s) FROM $cross GROUP BY 1"
sink="COPY (SELECT a.k, b.s FROM $cross) TO '$work/target'"
workers=(--workers 2 --broadcast-rows -1)

no_workers() {
    ! pgrep -f "^$program worker --fd" || {
        echo 'workers are left'
        return 1
    }
}
as_before() {
    nothing_left && no_workers && [ ! -e "$work/target" ] || return 1
    [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*' -o -maxdepth 1 -name 'tmp_*' -o -maxdepth 1 -name '*.part-*')" ] || {
        ls -A "$work"
        return 1
    }
}

# ended CODE TEXT START: the command that $driver is ends soon after START, as it should.
ended() {
    local got=0 took
    wait "$driver" || got=$?
    took=$((($(date +%s%N) - $3) / 1000000))
    [ -z "${TIMES:-}" ] || printf "%s ms: %s\n" "$took" "$(cat "$work/err")"
    [ "$got" = "$1" ] && [ "$took" -lt "$patience" ] && grep -qF -- "$2" "$work/err" && as_before && return
    printf 'code %s after %s ms\n' "$got" "$took"
    cat "$work/err"
    return 1
}

# stopped HOW ARGS...: HOW is a signal or a number of seconds.
stopped() {
    local how=$1 driver code=130 text=cancelled
    shift
    if [[ $how == [0-9]* ]]; then
        code=124 text="timeout: cancelled after $how s (--timeout)"
        set -- "$@" --timeout "$how"
    fi
    "$program" sql "$@" "${spools[@]}" >"${out:-/dev/null}" 2>"$work/err" &
    driver=$!
    sleep 0.7 # into the work, for which nothing waits
    [ "$code" = 130 ] && kill "-$how" "$driver"
    ended "$code" "$text" "$(date +%s%N)"
}

for how in INT 0.7; do
    check "planning, $how" stopped "$how" "$planning"
    check "planning for workers, $how" stopped "$how" "$planning" "${workers[@]}"
    check "a scan here, $how" stopped "$how" "$scan"
    check "scans, $how" stopped "$how" "$scan" "${workers[@]}"
    check "a shuffle, $how" stopped "$how" "$shuffle" "${workers[@]}"
    check "a sink here, $how" stopped "$how" "$sink (FORMAT parquet, PER_THREAD_OUTPUT)"
    check "a sink, $how" stopped "$how" "$sink (FORMAT parquet, PER_THREAD_OUTPUT)" "${workers[@]}"
    check "a file, $how" stopped "$how" "$sink (FORMAT parquet)" "${workers[@]}"
    check "an output file, $how" stopped "$how" "SELECT * FROM $cross" -o "$work/target"
    # A reader that reads nothing.
    # shellcheck disable=SC2217
    sleep 60 <"$work/pipe" &
    reader=$!
    for format in csv json; do
        out=$work/pipe check "a slow pipe, $format, $how" \
            stopped "$how" "SELECT range, 'text' FROM range(1000000)" --format "$format"
    done
    check "a slow pipe by its name, $how" stopped "$how" "SELECT range, 'text' FROM range(1000000)" -o "$work/pipe"
    kill "$reader"
    wait "$reader" 2>/dev/null || true
done
check "a pipe that nobody opens" stopped INT "SELECT 1" -o "$work/pipe"
check "SIGTERM here" stopped TERM "$scan"
check "SIGTERM, workers" stopped TERM "$shuffle" "${workers[@]}"

# The optimizer hears no interrupt: the process ends where it stands, and cleans up all the
# same. Its workers wait for it.
stuck() {
    local driver
    "$program" sql "$planning" "$@" --timeout 3 "${spools[@]}" 2>"$work/err" &
    driver=$!
    ended 124 'timeout: cancelled after 3 s (--timeout)' $(($(date +%s%N) + 3000000000))
}
check "what hears no interrupt" stuck --workers 2
waits_for_input() {
    local driver
    "$program" sql - --timeout 0.5 "${spools[@]}" 2>"$work/err" < <(exec sleep 8) &
    driver=$!
    ended 124 'timeout: cancelled after 0.5 s (--timeout)' "$(date +%s%N)"
}
check "a wait for standard input" waits_for_input

# Time that is enough changes nothing; what is no time is refused.
enough() {
    [ "$("$program" sql "SELECT 42 AS n" --format csv --timeout 60 "${spools[@]}")" = $'n\n42' ]
}
check "enough time" enough
check "no time" fails 2 '--timeout 0: give seconds' sql "SELECT 1" --timeout 0
check "no number" fails 2 '--timeout 1s: give seconds' sql "SELECT 1" --timeout 1s
check "a negative number" fails 2 '--task-timeout -1: give seconds' sql "SELECT 1" --task-timeout -1
timed_explain() {
    local got=0
    "$program" explain "$scan" --analyze --workers 2 --timeout 0.7 "${spools[@]}" >"$work/out" 2>"$work/err" || got=$?
    [ "$got" = 124 ] && [ ! -s "$work/out" ] && as_before
}
check "explain --analyze" timed_explain

# Nobody reads the rows any more.
reader_gone() {
    local driver
    "$program" sql "$@" "${spools[@]}" 2>"$work/err" > >(true) &
    driver=$!
    ended 3 'closed it' "$(date +%s%N)"
}
check "a reader that went, here" reader_gone "$scan"
check "a reader that went, workers" reader_gone "$scan" "${workers[@]}"
reader_of_pipe_gone() {
    local driver
    "$program" sql "$scan" -o "$work/pipe" "${spools[@]}" 2>"$work/err" &
    driver=$!
    : <"$work/pipe"
    ended 3 'closed it' "$(date +%s%N)"
}
check "a reader of a named pipe that went" reader_of_pipe_gone
one_line() {
    local driver
    "$program" sql "SELECT range, 'text' FROM range(1000000)" --format csv "${spools[@]}" 2>"$work/err" \
        > >(head -n 2 >"$work/out") &
    driver=$!
    ended 3 'closed it' "$(date +%s%N)" && grep -q '^0,text$' "$work/out"
}
check "head" one_line
# A COPY gives no rows: it goes on.
goes_on() {
    "$program" sql "COPY (FROM $table) TO '$work/copied.parquet'; SET threads = 1" --workers 2 "${spools[@]}" | true
    [ "${PIPESTATUS[0]}" = 0 ] && [ -s "$work/copied.parquet" ] && nothing_left
}
check "COPY needs no reader" goes_on
full_output() {
    local got=0
    "$program" "$@" >/dev/full 2>"$work/err" || got=$?
    [ "$got" = 3 ] && grep -q 'No space left' "$work/err"
}
check "a full disk behind the output" full_output sql "SELECT 1"
check "a full disk behind the plan" full_output explain "SELECT 1"

# A worker that says nothing is lost, and the answer is right all the same.
silent() {
    SHOAL_SILENT_SECONDS=1 "$program" sql "SELECT count(*) FROM $table a JOIN $table b ON a.k % 2000 = b.k % 2000" \
        --format csv --workers 2 "${spools[@]}" >"$work/out" 2>"$work/err" &
    local driver=$! worker="" tries=0
    while [ -z "$worker" ] && [ "$tries" -lt 500 ]; do
        worker=$(pgrep -P "$driver" -f ' worker ' | head -n 1 || true)
        tries=$((tries + 1))
        sleep 0.01
    done
    kill -STOP "$worker"
    wait "$driver" || return 1
    grep -q '^45000000$' "$work/out" && nothing_left && no_workers
}
check "a worker that was stopped" silent

# A signal that comes once a COPY's commit has begun is too late: all is written, and it says so.
too_late() {
    local got=0
    "$program" sql "COPY (SELECT k % 4 AS p, k FROM $table WHERE k < 100) TO '$work/late' (FORMAT parquet, PARTITION_BY (p))" >/dev/null
    SHOAL_FAULT=commit.rename:3:delay=0.5 "$program" sql "COPY (SELECT k % 4 AS p, k FROM $table WHERE k < 300)
        TO '$work/late' (FORMAT parquet, PARTITION_BY (p), APPEND)" "${workers[@]}" "${spools[@]}" --format csv >"$work/out" 2>"$work/err" &
    local driver=$!
    until [ "$(find "$work/late" -name '*.parquet' | wc -l)" -gt 4 ]; do
        kill -0 "$driver" || return 1
        sleep 0.01
    done
    kill -TERM "$driver"
    wait "$driver" || got=$?
    [ "$got" = 0 ] && grep -qx 300 "$work/out" && nothing_left && no_workers && rm -r "$work/late"
}
check "a signal that comes too late" too_late
finish
