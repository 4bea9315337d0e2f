#!/usr/bin/env bash
# Delta Lake tables of other writers, read by shoal; delta_write_test.sh is the other way.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
python=$root/third_party/venv/bin/python
others=$work/others
options=(--workers 2 --split-rows 20 "${spools[@]}")
mkdir "$others"
"$python" "$root/test/support/delta.py" make "$others"

quoted() { printf "'%s'" "${1//\'/\'\'}"; }
embedded() { "$SHOAL" sql --format csv "$1"; }
distributed() { "$SHOAL" sql --format csv "${options[@]}" "$1"; }
answers() { # WAY SQL EXPECTED, of one row
    [ "$("$1" "$2" | tail -n 1)" = "$3" ] || {
        "$1" "$2"
        return 1
    }
}

# equal TABLE READER: rows and types are those that another reader sees.
equal() {
    local table expected=$work/expected.parquet way
    table=$(quoted "$1")
    "$python" "$root/test/support/delta.py" read "$1" "$2" "$expected" || return 1
    for way in embedded distributed; do
        answers "$way" "SELECT (SELECT count(*) FROM (FROM $table EXCEPT ALL FROM '$expected')) +
            (SELECT count(*) FROM (FROM '$expected' EXCEPT ALL FROM $table)) AS n" 0 || return 1
    done
    embedded "DESCRIBE $table" >"$work/types"
    embedded "DESCRIBE '$expected'" | cmp - "$work/types"
}

for table in plain checkpoint wider fewer times naive none "it's a (table)"; do
    check "$table, as deltalake reads it" equal "$others/$table" deltalake
    # Polars 2.1.0 decodes the paths of this one twice
    [ "$table" = "it's a (table)" ] || check "$table, as Polars reads it" equal "$others/$table" polars
done

# Where a table may stand.
plain=$others/plain
check "a call" answers distributed "SELECT count(*), min(i), max(i) FROM delta_scan('$plain')" 240,800,9039
check "an older version" answers distributed "SELECT count(*) FROM delta_scan('$plain', version := 1)" 800
check "two versions" answers distributed \
    "SELECT count(*) FROM delta_scan('$plain', version := 2) JOIN delta_scan('$plain', version => 3) USING (i)" 40
check "a relative folder" answers embedded "SELECT count(*) FROM '$(realpath --relative-to=. "$plain")'" 240
check "a table from one" answers embedded \
    "CREATE TABLE t AS FROM \"$plain\"; INSERT INTO t FROM '$plain'; SELECT count(*) FROM t" 480
view() {
    printf "CREATE VIEW v AS FROM '%s'" "$plain" >"$work/init.sql"
    [ "$("$SHOAL" sql --format csv --init "$work/init.sql" "${options[@]}" "SELECT count(*) FROM v" | tail -n 1)" = 240 ]
}
check "a view" view
check "a copy" answers embedded \
    "COPY (FROM '$plain') TO '$work/copy.parquet'; SELECT count(*) FROM '$work/copy.parquet'" 240
plans() { "$SHOAL" explain "${options[@]}" "$1" | grep -qF -- "$2"; }
check "files are cut over workers" plans "SELECT count(*) FROM '$plain'" ".parquet' and "
check "partitions that no row is asked of" answers distributed \
    "SELECT count(*), count(DISTINCT g) FROM delta_scan('$others/it''s a (table)') WHERE g IN ('with space', 'a/b=c%2F')" 173,2
check "in a time zone" answers embedded "SET TimeZone = 'America/New_York'; SELECT min(\"at\") = TIMESTAMPTZ '2024-01-01 00:00:00.005+00' FROM '$others/times'" true

# What is refused.
check "no table" fails 1 "there is no Delta table in $work" sql "FROM delta_scan('$work')"
check "no such version" fails 1 "has no version 9: its log goes from 0 to 3" sql "FROM delta_scan('$plain', version := 9)"
check "not on this machine" fails 1 "delta_scan reads local folders" sql "FROM delta_scan('s3://bucket/table')"
broken() { # WORDS, of the first table after something was done to it
    fails 1 "$1" sql "${options[@]}" "FROM '$plain'"
}
log=$plain/_delta_log/0000000000000000000
mv "${log}2.json" "$work/two.json"
check "a gap" broken "${log}2.json is missing"
head -c 300 "$work/two.json" >"${log}2.json"
check "a commit cut short" broken "line 1 of ${log}2.json is no JSON object"
cp "$work/two.json" "${log}2.json"
check "whole again" answers distributed "SELECT count(*) FROM '$plain'" 240
check "nothing is left" nothing_left
finish
