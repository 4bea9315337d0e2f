# shellcheck shell=bash
# What the tests of rejects share; sql() and nothing_left() are theirs.

# keeps ROWS OPTIONS...: the rows of $read_all that can be read, in $work, and what was kept
# of the others: `faults` has their $fault_columns.
keeps() {
    local rows=$1
    shift
    : "${read_all:?what is read}" "${fault_columns:?of what is kept}"
    rm -rf kept
    sql "$@" --rejects kept "SELECT count(*), sum(i), count(DISTINCT d) FROM $read_all" >actual 2>err || { cat err; return 1; }
    [ "$(tail -n 1 actual)" = "3960,7920000,28" ] || { cat actual; return 1; }
    nothing_left || return 1
    [ "$(find kept -name 'rejects-*.csv' | wc -l),$(find kept | wc -l)" = 1,2 ] || { find kept; return 1; }
    grep -q "rejected rows: $rows, kept in kept/rejects-" err || { cat err; return 1; }
    sql "SELECT $fault_columns FROM 'kept/*.csv' ORDER BY ALL" >faults
}
# has LINE: it is one of the file `expected`.
has() { grep -qxF -- "$1" expected || { grep -F "${1%%,*}" expected | head -n 20; return 1; }; }

# written OPTIONS... -- COPY's: the limit holds before the target is changed.
copy() { sql "$@" "COPY (FROM $read_all) TO 'table' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE, REJECTS 'kept', REJECTS_LIMIT $limit)"; }
written() {
    rm -rf table kept
    local limit=40
    copy "$@" >/dev/null 2>&1 || return 1
    [ "$(sql "SELECT count(*) FROM 'table/*.parquet'" | tail -n 1)" = 3960 ] || return 1
    touch -d 2020-01-01 table/*.parquet
    limit=39
    if copy "$@" >/dev/null 2>err; then return 1; fi
    grep -q "40 rows are rejected, more than REJECTS_LIMIT 39: they are kept in kept" err || { cat err; return 1; }
    [ "$(find table -type f -newermt 2021-01-01 | wc -l)" = 0 ] && [ "$(find kept -name 'rejects-*.csv' | wc -l)" = 2 ] &&
        nothing_left && [ -z "$(find . -name '.shoal-*')" ]
}
