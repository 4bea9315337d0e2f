#!/usr/bin/env bash
# DuckDB's own suite, where it is checked out, over workers: which of its files pass embedded
# and not there. Thresholds are so low that all is cut, shuffled and sorted in parts.
#   test/slt/duckdb_suite.sh CHECKOUT [AREA...]     an area is a folder of its test/sql
# What is known to differ, and why, is in duckdb_suite.txt. Exit code 1: something else does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
: "${SHOAL:=$root/build/shoal}" "${SLT_RUNNER:=$root/build/slt_runner}"
checkout=${1:?where DuckDB is checked out}
shift
known=$here/duckdb_suite.txt
workers=(--workers 2 --threads 1 --partitions 3 --broadcast-rows 5 --sort-rows 0 --split-rows 1 --cluster-rows 0)
areas=("$@")
[ ${#areas[@]} -gt 0 ] || areas=(aggregate binder cast collate copy cte error filter function insert
    join json limit order overflow pivot prepared projection select settings setops subquery
    table_function timezone topn types window)

cd "$checkout"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
run() {
    timeout 120 "$SLT_RUNNER" --program "$SHOAL" --skip-placement --tolerance 0.01 "$@" \
        >"$output" 2>&1 </dev/null
}
passed=0 differ=0 skipped=0
while read -r file; do
    if run "${workers[@]}" "$file"; then
        passed=$((passed + 1))
        continue
    fi
    cp "$output" "$output.workers"
    if grep -qxF "$file" "$known" || ! run "$file"; then
        skipped=$((skipped + 1))
    else
        differ=$((differ + 1))
        printf '== %s\n' "$file"
        head -n 20 "$output.workers" | cut -c1-300
    fi
    rm -f "$output.workers"
done < <(for area in "${areas[@]}"; do find "test/sql/$area" -name '*.test' | LC_ALL=C sort; done)
echo "$passed files passed, $differ differ over workers, $skipped known or not passing embedded either"
[ "$differ" = 0 ]
