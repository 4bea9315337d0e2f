# shellcheck shell=bash
# What the script tests share: a work folder that goes away, and counted checks.
# SHOAL is the program under test, set by CTest.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${SHOAL:=$root/build/shoal}"
# What gives the answers that are expected: without sanitizers, where there is such a one.
reference=${SHOAL_REFERENCE:-$SHOAL}
work=$(mktemp -d)
spool=$work/spool
mkdir "$spool"
memory=$(mktemp -d /dev/shm/shoal-test-XXXXXX 2>/dev/null || mktemp -d)
spools=(--temp-dir "$spool" --memory-dir "$memory")
trap 'rm -rf "$work" "$memory"' EXIT
failures=0
checks=0

# check NAME COMMAND...: the command must succeed.
check() {
    local name=$1
    shift
    checks=$((checks + 1))
    "$@" || {
        failures=$((failures + 1))
        printf 'FAILED: %s\n' "$name"
    }
}

finish() {
    printf '%d passed, %d failed\n' $((checks - failures)) "$failures"
    [ "$failures" -eq 0 ]
}

# tpch_init SCALE: makes TPC-H tables as Parquet and $work/init.sql with a view for each.
tpch_init() {
    local table
    "$root/third_party/venv/bin/tpchgen-cli" parquet -s "$1" --output-dir "$work/tpch" >/dev/null
    for table in customer lineitem nation orders part partsupp region supplier; do
        printf "CREATE VIEW %s AS FROM '%s/tpch/%s.parquet';\n" "$table" "$work" "$table"
    done >"$work/init.sql"
}

# tpch_queries: all 22 in one file, in order.
tpch_queries() {
    local file
    for file in "$root"/test/sql/tpch/q*.sql; do
        cat "$file"
        echo ';'
    done >"$work/tpch.sql"
}

# tpcds_init SCALE [NTH]: makes TPC-DS tables as Parquet and $work/init.sql with a view for
# each, and $work/tpcds.sql, all 99 queries in order, or each NTH.
tpcds_init() {
    local file number=0
    "$root/third_party/venv/bin/python" "$root/test/support/tpcds.py" "$1" "$work/tpcds"
    cp "$work/tpcds/init.sql" "$work/init.sql"
    for file in "$work"/tpcds/q*.sql; do
        if [ $((number++ % ${2:-1})) -gt 0 ]; then continue; fi
        cat "$file"
        echo ';'
    done >"$work/tpcds.sql"
}

# skewed_init ROWS: $work/skewed.sql with a view hot(k, v), whose key 3 has half of the rows
# and NULL a tenth, and a view cold(k, w) of few keys, of which 5 is frequent.
skewed_init() {
    "$reference" sql "
COPY (SELECT CASE WHEN i % 10 = 7 THEN NULL WHEN i % 2 = 0 THEN 3 ELSE (hash(i) % 2000)::BIGINT END AS k,
    i AS v FROM range($1) r(i)) TO '$work/hot.parquet';
COPY (SELECT CASE WHEN i % 20 = 7 THEN NULL WHEN i % 100 = 1 THEN 5 ELSE i * 2 END AS k, i AS w
    FROM range(1500) r(i)) TO '$work/cold.parquet'"
    printf "CREATE VIEW hot AS FROM '%s/hot.parquet';\nCREATE VIEW cold AS FROM '%s/cold.parquet';\n" \
        "$work" "$work" >"$work/skewed.sql"
}

# hosted_init ROWS: makes the program one of its own, whose workers are told from others', and
# $TMPDIR the folder where these keep what is theirs; a view t in $work/init.sql, and
# $work/joins.sql, which shuffles it.
hosted_init() {
    program=$work/shoal
    cp "$SHOAL" "$program"
    SHOAL=$program
    export TMPDIR=$work/own
    mkdir "$TMPDIR"
    "$reference" sql "COPY (SELECT i AS k, i % 1000 AS g, 'v' || i AS s FROM range($1) r(i))
        TO '$work/t.parquet' (ROW_GROUP_SIZE 20000)"
    echo "CREATE VIEW t AS FROM '$work/t.parquet';" >"$work/init.sql"
    cat >"$work/joins.sql" <<'SQL'
SELECT g, count(*) AS n, sum(k) AS s, max(x) AS m
    FROM (SELECT a.g, a.k, b.s AS x FROM t a JOIN t b ON a.k = b.k + 1) GROUP BY g ORDER BY g;
SELECT count(DISTINCT k % 5000) AS a, count(DISTINCT s) AS b FROM t;
SELECT k, s, rank() OVER (PARTITION BY g ORDER BY k DESC) AS r FROM t ORDER BY k LIMIT 50;
SQL
}

# Built with AddressSanitizer: slower by far.
under_asan() { grep -q __asan_init "$SHOAL"; }

# same FILE INIT ordered|unordered OPTIONS...: distributed as embedded.
same() {
    local file=$1 init=$2 order=$3
    shift 3
    if [ ! -f "$work/expected.$(basename "$file")" ]; then
        "$reference" sql --init "$init" -f "$file" --format json \
            >"$work/expected.$(basename "$file")"
    fi
    "$SHOAL" sql --init "$init" -f "$file" --format json "${spools[@]}" "$@" \
        >"$work/actual" || return 1
    python3 "$root/test/support/same_answer.py" "$work/expected.$(basename "$file")" \
        "$work/actual" "$order"
}

nothing_left() {
    [ -z "$(ls -A "$spool")$(ls -A "$memory")" ] || {
        ls -A "$spool" "$memory"
        return 1
    }
}

# fails CODE TEXT ARGS...: the program ends with this code and a part of the message,
# and leaves nothing in the spools.
fails() {
    local code=$1 text=$2 got=0
    shift 2
    "$SHOAL" "$@" >"$work/out" 2>"$work/err" || got=$?
    [ "$got" = "$code" ] && grep -qF -- "$text" "$work/err" && nothing_left && return
    printf 'exit code %s instead of %s, and the message was:\n' "$got" "$code"
    cat "$work/err"
    return 1
}
