#!/usr/bin/env bash
# FILE_SIZE_BYTES: files within 30% of it, whatever the partitions' sizes; the rows, their
# order and what the files are sorted by stay.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
rows=600000
"$reference" sql "
COPY (SELECT i, hash(i) AS h, 'text ' || i AS s,
    CASE WHEN i % 10 > 2 THEN 99 WHEN i % 100 = 0 THEN (i // 100) % 30 ELSE i // 100000 END AS k
    FROM range($rows) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 10000);
COPY (SELECT i, repeat(hash(i)::VARCHAR || hash(i + 1)::VARCHAR, 1 + (i % 7 * 60)::INT) AS wide FROM range(15000) r(i)) TO '$work/wide.parquet' (ROW_GROUP_SIZE 2500)"
t="'$work/t.parquet'"
out=$work/target
how=()
copy() {
    rm -rf "$out"
    "$SHOAL" sql "${how[@]}" --format csv "COPY ($1) TO '$out' (FORMAT parquet, $2)" >"$work/answer" && nothing_left &&
        [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]
}
# sizes TARGET: each file within 30% of it; a folder with less than 70% is one file.
sizes() {
    python3 - "$out" "$1" <<'PY'
import os, sys
target = int(sys.argv[2])
bad = []
for at, _, names in os.walk(sys.argv[1]):
    sizes = sorted(os.path.getsize(os.path.join(at, name)) for name in names)
    if not sizes:
        continue
    total = sum(sizes)
    numbers = sorted(names)
    if [name.rsplit("part-", 1)[1].split("-")[-1] for name in numbers] != [f"{i:05d}.parquet" for i in range(len(names))]:
        bad.append(f"{at}: {numbers}")
    if total < 0.7 * target:
        ok = len(sizes) == 1
    elif 1.3 * target < total < 1.4 * target:
        ok = len(sizes) <= 2
    else:
        ok = sizes[0] >= 0.7 * target and sizes[-1] <= 1.3 * target
    if not ok:
        bad.append(f"{at}: {[round(size / target, 2) for size in sizes]}")
sys.exit("\n".join(bad) if bad else 0)
PY
}
# same_rows QUERY: as a multiset, by their hashes.
same_rows() {
    local sum="SELECT count(*), sum(hash(COLUMNS(*))::HUGEINT) FROM"
    "$SHOAL" sql --format csv "$sum ($1)" | tail -n 1 >"$work/expected" &&
        "$SHOAL" sql --format csv "$sum (SELECT ${2:-*} FROM read_parquet('$out/**/*.parquet', hive_partitioning = true))" | tail -n 1 | cmp - "$work/expected"
}
files() { find "$out" -type f | wc -l; }
skewed() { copy "FROM $t" "PARTITION_BY (k), FILE_SIZE_BYTES '400KB'" && sizes 400000 && same_rows "SELECT i, h, s, k FROM $t" "i, h, s, k" && [ "$(files)" -gt 40 ]; }
flat() { copy "SELECT * FROM $t WHERE i % 3 > 0" "FILE_SIZE_BYTES 400000" && sizes 400000 && same_rows "FROM $t WHERE i % 3 > 0" && [ "$(files)" -gt 10 ]; }
large_target() { copy "FROM $t" "FILE_SIZE_BYTES '1GB'" && [ "$(files)" = 1 ] && same_rows "FROM $t"; }
large_groups() { copy "FROM $t" "FILE_SIZE_BYTES '400KB', ROW_GROUP_SIZE 122880" && sizes 400000 && same_rows "FROM $t"; }
wide_rows() { copy "FROM '$work/wide.parquet'" "FILE_SIZE_BYTES '500KB', COMPRESSION uncompressed" && sizes 500000 && same_rows "FROM '$work/wide.parquet'"; }
in_order() {
    copy "SELECT i, h FROM $t ORDER BY h DESC" "FILE_SIZE_BYTES '300KB'" && sizes 300000 || return 1
    "$SHOAL" sql --format csv "SELECT i FROM $t ORDER BY h DESC" >"$work/expected"
    "$SHOAL" sql --format csv "SELECT i FROM '$out/*.parquet'" | cmp - "$work/expected"
}
sorted() { # in each file
    copy "FROM $t" "PARTITION_BY (k), FILE_SIZE_BYTES '400KB', SORT_BY (s DESC, i)" && sizes 400000 && same_rows "SELECT i, h, s, k FROM $t" "i, h, s, k" || return 1
    [ "$("$SHOAL" sql --format csv "SELECT count(*) FROM (SELECT s, lag(s) OVER (PARTITION BY filename ORDER BY n) AS before
        FROM (SELECT s, file_row_number AS n, filename FROM read_parquet('$out/*/*.parquet'))) WHERE before < s" | tail -n 1)" = 0 ]
}
sorted_alone() {
    copy "FROM $t" "SORT_BY (h)" && same_rows "FROM $t" && [ "$("$SHOAL" sql --format csv "SELECT count(*) FROM (SELECT h, lag(h) OVER (PARTITION BY filename ORDER BY n) AS before
        FROM (SELECT h, file_row_number AS n, filename FROM read_parquet('$out/*.parquet'))) WHERE before > h" | tail -n 1)" = 0 ]
}
# What RETURN_STATS says of files that were put together is what is in them.
statistics() {
    copy "FROM $t" "PARTITION_BY (k), FILE_SIZE_BYTES '400KB', RETURN_STATS" || return 1
    "$SHOAL" sql --format csv "SELECT file_name, sum(row_group_num_rows)::BIGINT AS n, min(stats_min::BIGINT) AS least, max(stats_max::BIGINT) AS most
        FROM parquet_metadata('$out/*/*.parquet') WHERE path_in_schema = 'i' GROUP BY ALL" >"$work/metadata"
    python3 - "$work/answer" "$work/metadata" <<'PY'
import csv, os, re, sys
said = {row["filename"]: row for row in csv.DictReader(open(sys.argv[1]))}
there = {row["file_name"]: row for row in csv.DictReader(open(sys.argv[2]))}
assert set(said) == set(there), set(said) ^ set(there)
for name, row in said.items():
    is_ = there[name]
    stats = dict(pair.split("=") for pair in re.search(r"'\"i\"'=\{([^}]*)\}", row["column_statistics"]).group(1).split(", "))
    assert (row["count"], stats["min"], stats["max"]) == (is_["n"], is_["least"], is_["most"]), (row, is_)
    assert int(row["file_size_bytes"]) == os.path.getsize(name)
    assert row["partition_keys"] == "{k=%s}" % re.search(r"/k=(\d+)/", name).group(1)
PY
}
append() {
    copy "FROM $t WHERE i < 300000" "PARTITION_BY (k), FILE_SIZE_BYTES '400KB'" && mv "$out" "$work/kept" && copy "FROM $t WHERE i >= 300000" "PARTITION_BY (k), FILE_SIZE_BYTES '400KB', APPEND" && sizes 400000 || return 1
    rm -rf "$out"
    mv "$work/kept" "$out"
    "$SHOAL" sql "${how[@]}" "COPY (FROM $t WHERE i >= 300000) TO '$out' (FORMAT parquet, PARTITION_BY (k), FILE_SIZE_BYTES '400KB', APPEND)" >/dev/null && same_rows "SELECT i, h, s, k FROM $t" "i, h, s, k"
}
# Files that can't be cut by the numbers of their rows stay as tasks wrote them.
left_alone() { copy "SELECT i AS file_row_number, s FROM $t" "FILE_SIZE_BYTES '400KB'" && same_rows "SELECT i, s FROM $t" && [ "$(files)" -gt 4 ]; }

ways=(workers threads embedded)
if under_asan; then ways=(workers); fi
for name in "${ways[@]}"; do
    case $name in
        workers) how=("${spools[@]}" --workers 2 --split-rows 1000) ;;
        threads) how=("${spools[@]}" --workers 1 --threads 2 --split-rows 1000 --sort-rows 1000) ;;
        embedded) how=("${spools[@]}" --threads 2) ;;
    esac
    check "$name: skewed partitions" skewed
    check "$name: in order" in_order
    check "$name: SORT_BY" sorted
    [ "$name" != threads ] || continue
    check "$name: without partitions" flat
    check "$name: a size that is never reached" large_target
    check "$name: row groups that are too large" large_groups
    check "$name: wide rows" wide_rows
    check "$name: SORT_BY alone" sorted_alone
    check "$name: RETURN_STATS" statistics
    check "$name: APPEND" append
    check "$name: a column of a reserved name" left_alone
done
how=("${spools[@]}" --workers 2 --split-rows 1000)
in_parts() { how+=(--sort-rows 1000 --partitions 5) && in_order; }
check "sorted parts, in order" in_parts
explained() {
    rm -rf "$out"
    "$SHOAL" explain --analyze "${how[@]}" "COPY (FROM $t) TO '$out' (FORMAT parquet, PARTITION_BY (k), FILE_SIZE_BYTES '400KB')" >"$work/plan" && sizes 400000 &&
        grep -qE "^  then [0-9]{2,} files were put together into [0-9]+ of the size" "$work/plan"
}
check "explain --analyze" explained
check "SORT_BY that is no list" fails 1 "one list of columns in parentheses" sql "COPY (FROM $t) TO '$out.2' (FORMAT parquet, SORT_BY h)"
check "SORT_BY of no column" fails 1 "nil" sql "${how[@]}" "COPY (FROM $t) TO '$out.2' (FORMAT parquet, SORT_BY (nil))"
killed_worker() {
    local pid
    rm -rf "$out"
    "$SHOAL" sql "${how[@]}" "COPY (FROM $t) TO '$out' (FORMAT parquet, PARTITION_BY (k), FILE_SIZE_BYTES '400KB')" >/dev/null 2>&1 &
    pid=$!
    # Once the second wave writes.
    until find "$work" -path "*/.shoal-*/m0.*" | grep -q . || ! kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
    pkill -9 -P "$pid" -n -f ' worker ' 2>/dev/null || true
    wait "$pid" && sizes 400000 && same_rows "SELECT i, h, s, k FROM $t" "i, h, s, k"
}
check "a worker that dies while files are put together" killed_worker
finish
