#!/usr/bin/env bash
# COPY ... TO a folder that is there: each write mode over workers and embedded, what COPY
# answers, and a run that dies between two moves, which the next one undoes.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
rows=60000
"$reference" sql "COPY (SELECT i, i % 4 AS k, 'v' || i AS v FROM range($rows) r(i)) TO '$work/t.parquet' (ROW_GROUP_SIZE 10000)"
printf "CREATE VIEW t AS FROM '%s/t.parquet';\n" "$work" >"$work/init.sql"
out=$work/target
how=()

copy() { "$SHOAL" sql --init "$work/init.sql" "${how[@]}" --format csv "COPY ($1) TO '$out' (FORMAT ${3:-parquet}, $2)" >"$work/answer"; }
value() { "$SHOAL" sql --format csv "$1" | tail -n 1; }
# holds N SUM: so many rows, with this sum of i.
holds() {
    local is
    is=$(value "SELECT count(*) || ' ' || sum(i) FROM read_parquet('$out/**/*.parquet', hive_partitioning = true)")
    [ "$is" = "$1 $2" ] || { echo "$is instead of $1 $2"; return 1; }
}
nothing_staged() { [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]; }
nothing_beside() { nothing_left && nothing_staged; }

appends() {
    rm -rf "$out"
    copy "SELECT i FROM t WHERE i < 100" "PER_THREAD_OUTPUT, APPEND" && holds 100 4950 &&
        copy "SELECT i FROM t WHERE i < 10" "PER_THREAD_OUTPUT, APPEND" && holds 110 4995 &&
        copy "SELECT i FROM t WHERE i < 0" "PER_THREAD_OUTPUT, APPEND" && holds 110 4995 && nothing_beside
}
appends_partitions() {
    rm -rf "$out"
    copy "FROM t WHERE i < 100" "PARTITION_BY (k)" &&
        copy "FROM t WHERE i < 10 AND k < 2" "PARTITION_BY (k), APPEND" &&
        copy "SELECT i, 9 AS k FROM t WHERE i < 10" "PARTITION_BY (k), APPEND" &&
        holds 116 $((4950 + 0 + 1 + 4 + 5 + 8 + 9 + 45)) && [ -d "$out/k=9" ] && nothing_beside
}
in_order_by_name() {
    rm -rf "$out"
    copy "SELECT i FROM t WHERE i < 100 ORDER BY i" "PER_THREAD_OUTPUT" &&
        copy "SELECT i FROM t WHERE i >= 100 AND i < 200 ORDER BY i" "PER_THREAD_OUTPUT, APPEND" &&
        copy "SELECT i FROM t WHERE i >= 200 AND i < 300 ORDER BY i" "PER_THREAD_OUTPUT, APPEND" || return 1
    "$SHOAL" sql --format csv "SELECT i FROM '$out/*.parquet'" | tail -n +2 | cmp - <(seq 0 299)
}
replaces_partitions() {
    rm -rf "$out"
    copy "FROM t WHERE i < 100" "PARTITION_BY (k)" && touch "$out/k=1/stray" &&
        copy "FROM t WHERE i < 5 AND k IN (1, 3)" "PARTITION_BY (k), OVERWRITE_PARTITIONS" || return 1
    [ ! -e "$out/k=1/stray" ] && holds 52 $((1200 + 1250 + 1 + 3)) &&
        copy "FROM t WHERE i < 0" "PARTITION_BY (k), OVERWRITE_PARTITIONS" && holds 52 2454 &&
        copy "SELECT i, 7 AS k FROM t WHERE i < 10" "PARTITION_BY (k), OVERWRITE_PARTITIONS" &&
        holds 62 2499 && nothing_beside
}
replaces_nested_partitions() {
    rm -rf "$out"
    copy "SELECT *, i % 2 AS h FROM t WHERE i < 100" "PARTITION_BY (h, k)" &&
        copy "SELECT *, 0 AS h FROM t WHERE i < 5 AND k = 2" "PARTITION_BY (h, k), OVERWRITE_PARTITIONS" &&
        holds 76 $((4950 - 1250 + 2)) && nothing_beside
}
replaces_all() {
    rm -rf "$out"
    copy "FROM t WHERE i < 100" "PARTITION_BY (k)" &&
        copy "FROM t WHERE i < 5 AND k = 1" "PARTITION_BY (k), OVERWRITE" && holds 1 1 && nothing_beside
}
refuses() {
    rm -rf "$out"
    copy "FROM t WHERE i < 100" "PER_THREAD_OUTPUT" &&
        fails 1 "is not empty" sql --init "$work/init.sql" "${how[@]}" \
            "COPY (FROM t) TO '$out' (FORMAT parquet, PER_THREAD_OUTPUT, ERROR_IF_EXISTS)" && holds 100 4950
}
csv_too() {
    rm -rf "$out"
    copy "FROM t WHERE i < 100" "PARTITION_BY (k), HEADER" csv && copy "FROM t WHERE i = 1" "PARTITION_BY (k), HEADER, OVERWRITE_PARTITIONS, RETURN_FILES" csv || return 1
    [ "$(value "SELECT count(*) || ' ' || sum(i) FROM read_csv('$out/*/*.csv')")" = "76 3726" ] || return 1
    grep -q "^1,\"\?\['$out/k=1/part-[^']*-00000.csv'\]\"\?,not atomic for readers$" "$work/answer"
}

# What COPY answers is what DuckDB's own answer says of such files, and one column more.
answers() {
    local names
    rm -rf "$out" "$work/plain"
    copy "FROM t" "PARTITION_BY (k), RETURN_STATS" && mv "$work/answer" "$work/ours.csv" || return 1
    "$SHOAL" sql --init "$work/init.sql" "${how[@]}" --format table "COPY (FROM t) TO '$out' (FORMAT parquet, PARTITION_BY (k), RETURN_STATS, OVERWRITE)" >"$work/ours.txt" &&
        "$SHOAL" sql --init "$work/init.sql" --format table "COPY (FROM t) TO '$work/plain' (FORMAT parquet, PARTITION_BY (k), RETURN_STATS, OVERWRITE_OR_IGNORE)" >"$work/plain.txt" || return 1
    names=$(sed -n '2,3s/[│ ]\+/ /gp' "$work/plain.txt" | head -n 1)
    [ "$(sed -n '2,3s/[│ ]\+/ /gp' "$work/ours.txt" | head -n 1)" = "${names}atomicity " ] || { echo "$names"; return 1; }
    [ "$(sed -n '3s/[│ ]\+/ /gp' "$work/ours.txt")" = "$(sed -n '3s/[│ ]\+/ /gp' "$work/plain.txt")VARCHAR " ] || return 1
    python3 - "$work/ours.csv" "$rows" <<'PY'
import csv, os, re, sys
rows = list(csv.DictReader(open(sys.argv[1])))
total = 0
for row in rows:
    total += int(row["count"])
    key = re.search(r"/k=(\d)/part-\d+\.parquet$", row["filename"]).group(1)
    assert row["partition_keys"] == "{k=%s}" % key, row
    assert int(row["footer_size_bytes"]) > 0 and row["atomicity"] == "atomic", row
    assert row["extra_info"].startswith("{row_group_count="), row
    stats = dict(re.findall(r"'\"(\w+)\"'=\{([^}]*)\}", row["column_statistics"]))
    assert set(stats) == {"i", "v"}, stats
    values = dict(pair.split("=") for pair in stats["i"].split(", "))
    assert int(values["num_values"]) == int(row["count"]) and int(values["min"]) % 4 == int(key), values
assert total == int(sys.argv[2]), total
PY
}
sizes_are() { # of the files that the answer names; they are all there are
    rm -rf "$out"
    copy "FROM t" "PARTITION_BY (k), RETURN_STATS, APPEND" || return 1
    python3 - "$work/answer" "$out" <<'PY'
import csv, os, sys
rows = list(csv.DictReader(open(sys.argv[1])))
for row in rows:
    assert os.path.getsize(row["filename"]) == int(row["file_size_bytes"]), row
    assert row["atomicity"] == "not atomic for readers", row
there = {os.path.join(at, name) for at, _, names in os.walk(sys.argv[2]) for name in names}
assert there == {row["filename"] for row in rows}, there
PY
}

for name in workers embedded; do
    if [ "$name" = workers ]; then
        how=("${spools[@]}" --workers 2 --split-rows 1000)
    else
        how=("${spools[@]}" --threads 2)
    fi
    check "$name: APPEND" appends
    check "$name: APPEND to partitions" appends_partitions
    check "$name: what is appended comes later by name" in_order_by_name
    check "$name: OVERWRITE_PARTITIONS" replaces_partitions
    check "$name: OVERWRITE_PARTITIONS of two columns" replaces_nested_partitions
    check "$name: OVERWRITE" replaces_all
    check "$name: ERROR_IF_EXISTS" refuses
    check "$name: CSV" csv_too
    check "$name: RETURN_STATS" answers
    check "$name: the files' sizes" sizes_are
done

# Runs side by side add their rows, each all of them.
side_by_side() {
    local i pids=()
    rm -rf "$out"
    for i in 1 2 3 4; do
        "$SHOAL" sql --init "$work/init.sql" "${spools[@]}" --workers 1 "COPY (SELECT i + $i * 1000 AS i, k FROM t WHERE i < 1000) TO '$out' (FORMAT parquet, PARTITION_BY (k), APPEND)" >/dev/null &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || return 1; done
    holds 4000 $((4 * 499500 + 10 * 1000 * 1000)) && nothing_beside
}
check "four that append at once" side_by_side

# killed FAULT OPTIONS QUERY: a run that kills itself there; then the target is as it was
# once another run to the same parent has begun.
how=("${spools[@]}" --workers 2 --split-rows 1000)
listing() { (cd "$out" && find . -type f -exec cksum {} + | LC_ALL=C sort); }
sweep() { "$SHOAL" sql "COPY (SELECT 1 AS a) TO '$work/other' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)" >/dev/null; }
killed() {
    local code=0
    rm -rf "$out"
    copy "FROM t WHERE i < 1000" "PARTITION_BY (k)" || return 1
    listing >"$work/before"
    SHOAL_FAULT=$1 copy "$3" "PARTITION_BY (k), $2" 2>/dev/null || code=$?
    [ "$code" = 137 ] || { echo "exit code $code"; return 1; }
    listing >"$work/between"
    if [ "${4:-moved}" = moved ] && cmp -s "$work/before" "$work/between"; then echo "it was killed too early"; return 1; fi
    sweep && listing | cmp - "$work/before" && nothing_staged
}
new="SELECT i, i % 6 AS k, v FROM t WHERE i < 5000"
check "APPEND killed before the first file" killed "commit.rename:1:kill:$out/k" APPEND "$new" not
check "APPEND killed between two" killed "commit.rename:4:kill:$out/k" APPEND "$new"
check "OVERWRITE_PARTITIONS killed before the first" killed "commit.rename:1:kill:$out/k" OVERWRITE_PARTITIONS "$new" not
check "OVERWRITE_PARTITIONS killed between two" killed "commit.swap:3:kill:$out/k" OVERWRITE_PARTITIONS "$new"
check "OVERWRITE_PARTITIONS killed at a new one" killed "commit.rename:6:kill:$out/k" OVERWRITE_PARTITIONS "$new"
spools_clean() { rm -rf "${spool:?}"/* "${memory:?}"/*; }
spools_clean

# A disk that says no: the run fails, and has put back what it had moved.
failing() {
    rm -rf "$out"
    copy "FROM t WHERE i < 1000" "PARTITION_BY (k)" || return 1
    listing >"$work/before"
    SHOAL_FAULT=$1 fails 3 "Input/output error" sql --init "$work/init.sql" "${how[@]}" \
        "COPY ($new) TO '$out' (FORMAT parquet, PARTITION_BY (k), $2)" && listing | cmp - "$work/before" && nothing_beside
}
check "APPEND that fails" failing "commit.rename:3:EIO:$out/k" APPEND
check "OVERWRITE_PARTITIONS that fails" failing "commit.swap:3:EIO:$out/k" OVERWRITE_PARTITIONS

# A file that others add to a new partition before it is undone is theirs.
foreign() {
    rm -rf "$out"
    copy "FROM t WHERE i < 1000" "PARTITION_BY (k)" || return 1
    SHOAL_FAULT="commit.swap:3:kill:$out/k" copy "$new" "PARTITION_BY (k), OVERWRITE_PARTITIONS" 2>/dev/null && return 1
    echo theirs >"$out/k=0/foreign" && sweep && [ "$(cat "$out/k=0/foreign")" = theirs ] && holds 1000 499500 && nothing_staged
}
check "a file of another program" foreign
spools_clean

# A file system that can't exchange folders.
no_exchange() {
    rm -rf "$out"
    copy "FROM t WHERE i < 1000" "PARTITION_BY (k)" &&
        SHOAL_FAULT=commit.swap:1+:EINVAL copy "FROM t WHERE i < 10 AND k = 1" "PARTITION_BY (k), $1, RETURN_FILES" &&
        holds "$2" "$3" && grep -q "not atomic for readers" "$work/answer" && nothing_beside
}
check "OVERWRITE_PARTITIONS without the exchange" no_exchange OVERWRITE_PARTITIONS 753 $((499500 - 124750 + 15))
check "OVERWRITE without the exchange" no_exchange OVERWRITE 3 15
finish
