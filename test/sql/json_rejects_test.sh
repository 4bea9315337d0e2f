#!/usr/bin/env bash
# Records of JSON files that can't be read are kept with file, line, column and reason, up
# to a limit; what read_json gives for the others is the answer.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
# shellcheck source=test/support/rejects.sh
source "$root/test/support/rejects.sh"
cd "$work"
sql() { "$SHOAL" sql --format csv "$@"; }
columns="columns = {'i': 'INTEGER', 's': 'VARCHAR', 'd': 'DATE'}"
read_all="read_json('logs/*', $columns)"

# Four files of 1,000 records, some compressed, with blank lines here and there; every
# hundredth record is bad, in one of seven ways.
mkdir logs
for file in 0 1 2 3; do
    awk -v file="$file" 'BEGIN {
        for (n = 1; n <= 1000; n++) {
            i = file * 1000 + n
            if (n % 350 == 0) print ""
            date = "2026-01-" sprintf("%02d", 1 + n % 28)
            if (n % 100 != 0) printf "{\"i\": %d, \"s\": \"x%d\", \"d\": \"%s\"}\n", i, n, date
            else if (n == 1000) printf "{\"i\": 1, \"s\": \"torn"
            else if (n % 500 == 0) print "{\"i\": \"many\", \"s\": \"x\"}"
            else if (n % 400 == 0) printf "{\"i\": %d, \"d\": \"2026-13-01\"}\n", i
            else if (n % 300 == 0) printf "{\"i\": %d} and more\n", i
            else if (n % 200 == 0) printf "{\"i\": %d, \"s\": 1, \"i\": 7}\n", i
            else if (n % 700 == 0) print "[1, 2]"
            else print "{\"i\": \"bad\", \"s\": \"\303\251\", \"d\": \"never\"}"
        } }' >logs/$file.json
done
gzip logs/1.json
sql "COPY (SELECT content FROM read_text('logs/3.json')) TO 'logs/3.json.zst' (FORMAT csv, QUOTE '', ESCAPE '', DELIMITER '', HEADER false)" >/dev/null
rm logs/3.json
printf '{"i": 1, "name": "one"}\n{"i": 2, "name": "two"}\n{"i": "three", "name": "three"}\n' >names.json

fault_columns='file, line, "column", error, reason, text'
check "embedded" keeps 40 --threads 2
cp faults expected
check "file, line, column and reason" has 'logs/2.json,501,i,CAST,"Could not convert ""many"" to INTEGER","{""i"": ""many"", ""s"": ""x""}"'
check "of a date" has 'logs/2.json,802,d,CAST,"Could not convert ""2026-13-01"" to DATE","{""i"": 2800, ""d"": ""2026-13-01""}"'
check "more than a record" has 'logs/0.json,300,,INVALID JSON,The record is not one JSON value,"{""i"": 300} and more"'
check "a key that is there twice" has 'logs/0.json,200,i,DUPLICATE KEY,The key is there twice,"{""i"": 200, ""s"": 1, ""i"": 7}"'
check "no object" has 'logs/0.json,702,,NOT AN OBJECT,"Expected an object, but got ARRAY","[1, 2]"'
check "the last, without its end" has 'logs/2.json,1002,,INVALID JSON,The record is not one JSON value,"{""i"": 1, ""s"": ""torn"'
check "both faults of a record" test "$(grep -c '^logs/0.json,100,' expected)" = 2
check "gzip" has 'logs/1.json.gz,501,i,CAST,"Could not convert ""many"" to INTEGER","{""i"": ""many"", ""s"": ""x""}"'
check "zstd" test "$(grep -c '^logs/3.json.zst,' expected)" = 11
for workers in "--workers 2" "--workers 2 --split-rows 100" "--workers 1 --threads 2"; do
    # shellcheck disable=SC2086
    check "over $workers" keeps 40 $workers "${spools[@]}"
    check "the same, over $workers" cmp expected faults
done
# Every first attempt of a task fails as it writes.
retried() {
    SHOAL_FAULT=block.write:1+:EIO:.a0. keeps 40 --workers 2 --split-rows 100 "${spools[@]}" && cmp expected faults
}
check "tasks that run again" retried

# What is kept is what read_json takes alone, record by record.
cat >forms <<'EOF'
{"l": [1, "x"], "t": {"a": 1, "b": "q"}, "m": {"k": 2}}
{"l": [1, 2], "t": {"a": "z"}}
{"l": [1.5, null], "t": {"a": null}, "m": {"k": null}, "more": [1]}
{"l": 7}
{"l": {"a": 1}}
{"l": [[1]]}
{"t": [1]}
{"t": {"a": 1, "a": 2}}
{"t": {"a": 1, "c": 2, "c": 3}}
{"t": {"b": {"c": 1}}}
{"m": {"k": "x"}}
{"m": [1]}
{"m": {"k": 1, "k": 2}}
{"m": {}}
{"n": [{"a": [1, 2]}, {"a": ["x"]}]}
{"n": [{"a": [1, 2]}, {"a": null}, null]}
{"n": [{"a": 3}]}
{"x/y": "never"}
{"x/y": "2026-01-02"}
{"x/y": 17}
{"h": 300}
{"h": 100}
{"h": "5"}
{"h": true}
{"o": "yes"}
{"o": true}
{"j": [1, {"a": 2}]}
{"j": null, "l": null}
{"r": [1, 2]}
{"r": [1, 2, 3]}
{"r": [1, "x"]}
{"ts": "2026-01-02 03:04:05"}
{"ts": "2026-01-02T03:04:05Z"}
{"ts": "noon"}
{"p": 1.25}
{"p": 12345678.9}
null
[]
17
"text"
{}
{"l": [1]
{"l": [1]} {"l": [2]}
{'l': [1]}
EOF
types="columns = {'l': 'INTEGER[]', 't': 'STRUCT(a INTEGER, b VARCHAR)', 'm': 'MAP(VARCHAR, INTEGER)', 'n': 'STRUCT(a INTEGER[])[]', 'x/y': 'DATE', 'h': 'TINYINT', 'o': 'BOOLEAN', 'j': 'JSON', 'r': 'INTEGER[2]', 'ts': 'TIMESTAMP', 'p': 'DECIMAL(6,2)'}, format = 'newline_delimited', records = true"
one_by_one() {
    local line=0 record
    : >good
    while IFS= read -r record; do
        line=$((line + 1))
        printf '%s\n' "$record" >one.json
        if sql "FROM read_json('one.json', $types)" >row 2>/dev/null </dev/null; then
            tail -n +2 row >>good
        else
            echo $line
        fi
    done <forms >bad
    [ "$(wc -l <good)" -gt 10 ] && [ "$(wc -l <bad)" -gt 10 ]
}
forms() {
    rm -rf kept
    cp forms forms.json
    sql "$@" --rejects kept "FROM read_json('forms.json', ${types%, records*})" 2>err | tail -n +2 >rows || { cat err; return 1; }
    # Forms in order: one task.
    diff good rows && sql "SELECT DISTINCT line FROM 'kept/*.csv' ORDER BY line" | tail -n +2 | diff bad -
}
check "what read_json takes" one_by_one
check "is what is kept" forms
check "is what is kept, over workers" forms --workers 2 "${spools[@]}"

named() { [ "$(sql --rejects kept "SELECT $2 FROM $1 WHERE length(name) = 3 ORDER BY 1 LIMIT 1" 2>/dev/null | tail -n 1)" = one ]; }
check "by its name" named names.json names.name
check "in quotes, with an alias" named "'names.json' n" n.name
cp names.json lines.jsonl
check "another ending" named lines.jsonl lines.name
check "the function's name" named "read_json('names.json')" read_json.name
# Each task would read it for itself: it is sent.
small_file() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(l.d), count(n.name) FROM $read_all l LEFT JOIN read_json('names.json', columns = {'i': 'INTEGER', 'name': 'VARCHAR'}) n USING (i)" 2>err | tail -n 1)" = "3960,2" ] &&
        grep -q "rejected rows: 41," err && [ "$(grep -c names.json kept/*.csv)" = 1 ]
}
check "a small file beside" small_file
check "a small file beside, over workers" small_file --workers 2 --split-rows 100 "${spools[@]}"
mkdir -p parts/p=1 parts/p=2
printf '{"i": 1, "s": "1"}\n{"i": "x", "s": "y"}\n' >parts/p=1/a.json
printf '{"i": 2, "s": "2"}\n{"i": 3, "s": "3"}\n{"i": 4' >parts/p=2/b.json
# What is rejected comes to no condition, where it could fail.
paths() {
    local column=$1 given=$2
    shift 2
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT p, $column, sum(i) FROM read_json('parts/*/*.json', columns = {'i': 'INTEGER', 's': 'VARCHAR'}, hive_types = {'p': 'INTEGER'}$given) WHERE s::INTEGER > 0 GROUP BY ALL ORDER BY p" 2>err | tail -n +2 | tr '\n' ' ')" = "1,parts/p=1/a.json,1 2,parts/p=2/b.json,5 " ] ||
        { cat err; return 1; }
    [ "$(cut -d, -f1,2 kept/*.csv | tail -n +2 | tr '\n' ' ')" = "parts/p=1/a.json,2 parts/p=2/b.json,3 " ]
}
for how in "" "--workers 2"; do
    # shellcheck disable=SC2086
    check "columns of the paths $how" paths path ", filename = 'path'" $how
done
check "the file's name, over workers" paths filename "" --workers 2
printf 'i,t\n1,a\ntwo,b\n' >rows.csv
mixed() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(*) FROM read_csv('rows.csv', types = {'i': 'INTEGER'}) c JOIN read_json('names.json', columns = {'i': 'INTEGER'}) j USING (i)" 2>err | tail -n 1)" = 1 ] &&
        grep -q "rejected rows: 2," err && [ "$(cut -d, -f1,2 kept/*.csv | tail -n +2 | tr '\n' ' ')" = "names.json,3 rows.csv,3 " ]
}
check "beside a CSV file" mixed
check "beside a CSV file, over workers" mixed --workers 2 "${spools[@]}"
all_columns() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(name) FROM read_json('names.json', columns = {'i': 'INTEGER', 'name': 'VARCHAR'})" 2>/dev/null | tail -n 1)" = 2 ]
}
check "columns that are not read are checked" all_columns
check "over workers too" all_columns --workers 2 "${spools[@]}"
printf '{"i": 1}\n17\n{"i": "x"}\n{"i": 2}\n' >single.json
single() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(*), sum(i) FROM read_json('single.json', columns = {'i': 'INTEGER'})" 2>/dev/null | tail -n 1)" = 2,3 ] &&
        [ "$(cut -d, -f2,5 kept/*.csv | tail -n +2 | tr '\n' ' ')" = "2,NOT AN OBJECT 3,CAST " ]
}
check "one column, and a record that is its value" single
check "one column, over workers" single --workers 2 "${spools[@]}"
nothing() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(*), count(i) FROM read_json('names.json')" 2>&1 | tail -n 1)" = 3,3 ] && [ -z "$(find kept -name '*.csv')" ]
}
check "nothing to reject, nothing kept" nothing
check "nothing, over workers" nothing --workers 2 "${spools[@]}"

# A file that begins with a fault is one of lines all the same.
mkdir first
{ echo '{"i": 1'; for i in $(seq 30); do echo "{\"i\": $i}"; done; } >first/0.json
for i in $(seq 30); do echo "{\"i\": $i}"; done >first/1.json
gzip -c first/0.json >first.json.gz
first() {
    local files=$1 options=$2 rows=$3
    shift 3
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(*), sum(i) FROM read_json('$files'$options)" 2>err | tail -n 1)" = "$rows" ] ||
        { cat err; return 1; }
    grep -q "rejected rows: 1," err && [ "$(cut -d, -f2 kept/*.csv | tail -n 1)" = 1 ]
}
for how in "" "--workers 2"; do
    # shellcheck disable=SC2086
    check "a first line $how" first 'first/*.json' "" 60,930 $how
    # shellcheck disable=SC2086
    check "a first line, with types $how" first 'first/*.json' ", columns = {'i': 'INTEGER'}" 60,930 $how
    # shellcheck disable=SC2086
    check "a first line, gzip $how" first first.json.gz ", columns = {'i': 'INTEGER'}" 30,465 $how
done
printf '[{"i": 1},\n{"i": "x"}, {"i": 2},\n{"i": 3}]' >array.json
printf '[{"i": 1},\n{"i": 2 zz},\n{"i": 3}]' >torn.json
array() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(*), sum(i) FROM read_json('array.json', columns = {'i': 'INTEGER'})" 2>/dev/null | tail -n 1)" = 3,6 ] &&
        [ "$(cut -d, -f1,2,4,5 kept/*.csv | tail -n 1)" = array.json,2,i,CAST ]
}
check "an array: the record's number" array
check "an array, over workers" array --workers 2 "${spools[@]}"
check "a torn array is an error" fails 1 "Parse errors cannot be ignored" sql --rejects kept "SELECT sum(i) FROM read_json('torn.json', columns = {'i': 'INTEGER'})"
check "over workers too" fails 1 "Parse errors cannot be ignored" sql --workers 2 "${spools[@]}" --rejects kept "SELECT sum(i) FROM read_json('torn.json', columns = {'i': 'INTEGER'})"
printf '{"d": "12-31-2026"}\n{"d": "12-30-2026"}\n{"d": "never"}\n' >dates.json
dates() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT max(d) FROM read_json('dates.json', sample_size = 2)" 2>/dev/null | tail -n 1)" = 2026-12-31 ] &&
        [ "$(cut -d, -f1,2,4,5 kept/*.csv | tail -n 1)" = dates.json,3,d,CAST ]
}
check "dates in a detected format" dates
check "dates in a detected format, over workers" dates --workers 2 "${spools[@]}"
check "a date format" test "$(sql --workers 2 "${spools[@]}" --rejects kept "SELECT max(d) FROM read_json('dates.json', columns = {'d': 'DATE'}, dateformat = '%m-%d-%Y')" 2>/dev/null | tail -n 1)" = 2026-12-31
printf '{"i": 1}\n{"i": 2, "k": 3}\n' >later.json
later() { [ "$(sql "$@" --rejects kept "SELECT count(*), sum(i) FROM read_json('later.json', sample_size = 1)" | tail -n 1)" = 2,3 ]; }
check "a key that detection has not seen" later
check "a key that detection has not seen, over workers" later --workers 2 "${spools[@]}"
transaction() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "BEGIN; CREATE TABLE t AS SELECT i FROM $read_all; INSERT INTO t SELECT i FROM read_json('first/*.json'); COMMIT; SELECT count(*) FROM t" 2>/dev/null | tail -n 1)" = 4020 ] &&
        [ "$(find kept -name '*.csv' | wc -l)" = 2 ]
}
check "in a transaction" transaction
check "in a transaction, over workers" transaction --workers 2 "${spools[@]}"
piped() { printf '{"i": 1}\n{"i": 2}\n' | sql --rejects kept "SELECT sum(i) FROM read_json('/dev/stdin', columns = {'i': 'INTEGER'})" | cat; }
check "from a pipe" test "$(piped | tail -n 1)" = 3
check "ignore_errors gives NULLs" test "$(sql --rejects kept "SELECT count(*), count(i) FROM read_json('names.json', columns = {'i': 'INTEGER'}, ignore_errors = true)" 2>/dev/null | tail -n 1)" = 3,2
check "views stay as they are" fails 1 "Failed to cast value" sql --rejects kept "CREATE VIEW v AS FROM read_json('names.json', columns = {'i': 'INTEGER'}); FROM v"
check "without it, the first is an error" fails 1 "JSON" sql --workers 2 "${spools[@]}" "SELECT sum(i) FROM $read_all"

check "COPY, embedded" written
check "COPY over workers" written --workers 2 --split-rows 100 "${spools[@]}"
tables() {
    [ "$(sql "$@" --rejects kept --rejects-limit 5 "CREATE TABLE t (i INTEGER, d DATE); INSERT INTO t SELECT i, d FROM $read_all" 2>&1 >/dev/null | grep -c 'more than REJECTS_LIMIT 5')" = 1 ] &&
        [ "$(sql "$@" --rejects kept --rejects-limit 50 "CREATE TABLE t AS FROM $read_all; SELECT count(*) FROM t" 2>/dev/null | tail -n 1)" = 3960 ]
}
check "tables" tables
check "tables, over workers" tables --workers 2 "${spools[@]}"
finish
