#!/usr/bin/env bash
# CSV and JSON files over workers, whole and in parts: DuckDB's answer, or its error.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
options=(--workers 2 --split-rows 200 "${spools[@]}")
cd "$work"

sql() { "$SHOAL" sql --format csv "$@"; }
# answers QUERY [OPTION...]: over workers as embedded, as a multiset.
answers() {
    local query=$1
    shift
    "$reference" sql --format csv "$query" 2>&1 | LC_ALL=C sort >expected
    sql "${options[@]}" "$@" "$query" 2>err | LC_ALL=C sort >actual
    if cmp expected actual && nothing_left; then return; fi
    cat err
    return 1
}
# planned TEXT QUERY: its plan says so. tasks N QUERY: its first stage has so many or more.
planned() {
    local text
    text=$("$SHOAL" explain "${options[@]}" "$2")
    grep -qF -- "$1" <<<"$text" || { echo "$text"; return 1; }
}
tasks() {
    "$SHOAL" explain --analyze "${options[@]}" "$2" >plan
    local ran
    ran=$(sed -n 's/^  ran: \([0-9]*\) task.*/\1/p' plan | head -n 1)
    [ "$ran" -ge "$1" ] || { cat plan; return 1; }
}
both() {
    check "$1" answers "$2"
    under_asan || check "$1, in tasks" tasks "${3:-3}" "$2"
}

rows=3000
if under_asan; then rows=1500; fi
"$reference" sql "
CREATE TABLE t AS SELECT i, i % 7 AS g, DATE '2026-01-01' + (i % 90)::INTEGER AS d,
    CASE i % 5 WHEN 0 THEN 'one, two' WHEN 1 THEN 'a' || chr(10) || 'b' WHEN 2 THEN NULL
        WHEN 3 THEN 'say \"' || i || '\"' ELSE '00' || i END AS s, i * 1.5 AS f
    FROM range($rows) r(i);
COPY t TO 'plain.csv';
COPY t TO 'quoted.csv' (FORCE_QUOTE *);
COPY t TO 'semicolon.csv' (DELIMITER ';', HEADER false, NULLSTR 'none');
COPY (SELECT i, g, f FROM t) TO 'numbers.csv';
COPY (SELECT i, s AS a, {'x': g, 'y': [d]} AS n FROM t) TO 'lines.json';
COPY (SELECT i, s FROM t) TO 'array.json' (ARRAY true);
COPY t TO 'packed.csv.gz';
COPY (SELECT * FROM t) TO 'packed.json.zst' (COMPRESSION zstd);
COPY (SELECT i, d, i % 3 AS part FROM t) TO 'hive' (FORMAT csv, PARTITION_BY (part))"
sed 's/$/\r/' numbers.csv >crlf.csv

both "quoted newlines" "SELECT * FROM 'plain.csv'"
both "everything quoted" "SELECT i, s, d, count(*) OVER (PARTITION BY g) AS n FROM 'quoted.csv'"
both "no header, other signs" "FROM read_csv('semicolon.csv', nullstr = 'none')"
both "no quote" "SELECT g, sum(f), count(*) FROM 'numbers.csv' GROUP BY g"
both "CRLF" "FROM 'crlf.csv'"
both "JSON lines" "SELECT i, a, n.x, n.y FROM 'lines.json' WHERE n.x > 2"
both "named columns" "FROM read_csv('plain.csv', columns = {'i': 'HUGEINT', 'gg': 'VARCHAR', 'd': 'VARCHAR', 's': 'VARCHAR', 'f': 'FLOAT'})"
both "types" "FROM read_csv('plain.csv', types = {'i': 'VARCHAR', 'f': 'DECIMAL(12,1)'}, filename = true)"
both "all text" "FROM read_csv('plain.csv', all_varchar = true)"
both "the file's name" "SELECT count(*), filename FROM 'numbers.csv' GROUP BY filename"
both "dates by a format" "SELECT max(d), count(*) FROM read_csv('plain.csv', dateformat = '%Y-%m-%d')"
both "threads" "SELECT g, sum(i) FROM 'plain.csv' GROUP BY g" 3
check "two threads" answers "SELECT * FROM 'plain.csv'" --threads 2
both "two readers" "SELECT count(*), sum(a.i) FROM 'plain.csv' a JOIN 'lines.json' b USING (i)"
check "a limit" answers "SELECT count(*) FROM (FROM 'plain.csv' LIMIT 40)"
check "one thread a part" planned "narrow tasks" "SELECT g, count(*) FROM 'plain.csv' GROUP BY g"
check "about how many" planned "about" "SELECT g, count(*) FROM 'plain.csv' GROUP BY g"

check "packed CSV" answers "FROM 'packed.csv.gz'"
check "packed JSON" answers "FROM read_json('packed.json.zst')"
check "a JSON array" answers "FROM 'array.json'"
for file in 1 2 3; do printf '{"d": "26-12-3%s"}\n{"d": null}\n' "$((file % 2))" >short$file.json; done
check "JSON dates in a detected format" answers "SELECT d, count(*) FROM 'short*.json' GROUP BY d"
check "and why" planned "its dates have a format that DuckDB detects" "FROM 'short*.json'"
check "hive partitions" answers "SELECT part, count(*), min(d) FROM read_csv('hive/*/*.csv') GROUP BY part"
check "their types" answers "SELECT typeof(part), * FROM read_csv('hive/*/*.csv', hive_types = {'part': 'TINYINT'}, filename = 'path')"
check "none wanted" answers "FROM read_csv('hive/*/*.csv', hive_partitioning = false)"
check "pruned" planned "1 file of 3" "SELECT i FROM read_csv('hive/*/*.csv') WHERE part = 1"
check "pruned, their rows" answers "SELECT i FROM read_csv('hive/*/*.csv') WHERE part + 1 IN (1, 3) AND i > 5"
check "pruned to none" answers "SELECT i FROM read_csv('hive/*/*.csv') WHERE part = 9"
check "in tasks of files" tasks 3 "SELECT part, count(*) FROM read_csv('hive/*/*.csv') GROUP BY part"
# Of a column that the files have too, what the folders say counts; one says more than its file.
"$reference" sql "
COPY (SELECT i, i % 2 AS part FROM range($rows) t(i)) TO 'twice' (FORMAT csv, PARTITION_BY (part), WRITE_PARTITION_COLUMNS);
COPY (SELECT i, i % 2 AS part FROM range($rows) t(i)) TO 'json_twice' (FORMAT json, PARTITION_BY (part), WRITE_PARTITION_COLUMNS);
COPY (SELECT i, i % 2 AS part FROM range($rows) t(i)) TO 'json_once' (FORMAT json, PARTITION_BY (part))" >/dev/null
mv twice/part=1 twice/part=5 && mv json_twice/part=1 json_twice/part=5
for call in "read_csv('twice/*/*.csv')" "read_json('json_twice/*/*.json')" \
    "read_csv('twice/*/*.csv', hive_partitioning = false)" "read_csv('twice/*/*.csv', filename = true)" \
    "read_csv('twice/*/*.csv', columns = {'i': 'INTEGER', 'PART': 'INTEGER'})" \
    "read_json('json_once/*/*.json', columns = {'i': 'INTEGER', 'part': 'VARCHAR'}, hive_partitioning = true)" \
    "read_json('json_once/*/*.json', columns = {'part': 'INTEGER', 'i': 'INTEGER'})"; do
    check "folders and files: $call" answers "FROM $call"
    check "folders and files, the other columns: $call" answers "SELECT count(*), sum(i), max(i) FROM $call"
done

cp numbers.csv numbers2.csv
told="read_csv(['numbers.csv', 'numbers2.csv'], auto_detect = false, delim = ',', quote = '\"', escape = '\"', header = true, columns = {'i': 'BIGINT', 'g': 'BIGINT', 'f': 'DOUBLE'})"
check "nothing to detect" answers "SELECT g, sum(i), max(f) FROM $told GROUP BY g"
check "is read by tasks" planned "numbers.csv' and 1 more, 2 files" "SELECT g, sum(i) FROM $told GROUP BY g"

# Several files, each with an order, a dialect and a few types of its own.
mkdir many
printf 'a,b,c\n1,x,2026-01-01\n2,y,2026-01-02\n' >many/1.csv
printf 'c,b,a\n2026-02-01,007,3\n2026-02-02,z,4\n' >many/2.csv
printf 'a;b;c;more\n5;8;2026-03-01;1\n' >many/3.csv
printf '{"a": 1, "b": "x"}\n{"a": 2.5}\n' >many/1.json
printf '{"b": 7, "a": 3}\n{"c": [1, 2]}\n' >many/2.json
small=(--split-rows 1)
check "files with an order of their own" answers "FROM read_csv('many/*.csv')" "${small[@]}"
# The later files' quotes are text, as the first has none.
{ echo v; seq -f 'x%.0f' 2000; } >bare.csv
{ echo v; seq -f '"x%.0f"' 2000; } >marked.csv
check "the first one's quotes" answers "FROM read_csv(['bare.csv', 'marked.csv'])" --split-rows 500
check "and the other way" answers "FROM read_csv(['marked.csv', 'bare.csv'])" --split-rows 500
# A file whose lines end otherwise has its own.
sed 's/$/\r/' marked.csv >crlf.csv
check "another line end" answers "FROM read_csv(['bare.csv', 'crlf.csv'])" --split-rows 500
check "which the plan says" planned "its files' lines end in different ways" "FROM read_csv(['bare.csv', 'crlf.csv'])"
gzip -k bare.csv crlf.csv
check "in packed files" answers "FROM read_csv(['bare.csv.gz', 'crlf.csv.gz'])" --split-rows 500
# Lines before the header are of the first part, however short parts are.
{ seq -f 'note %.0f' 1000; echo; echo 'a;b'; seq -f '%.0f;x' 3000; } >late.csv
check "lines before the header" answers "FROM read_csv('late.csv', skip = 1001, quote = '')" --split-rows 20
check "a cut behind them" tasks 2 "FROM read_csv('late.csv', skip = 1001, quote = '')"
printf 'col0\r\na|b\r\n\303\244\342\202\254,\r\na;b\r\n' >four.csv
check "lines that the sniffer skips" answers "FROM read_csv('four.csv', all_varchar = true)" "${small[@]}"
check "text that looks like a number" answers "SELECT b || '!' FROM read_csv(['many/1.csv', 'many/2.csv'])" "${small[@]}"
check "by name" answers "FROM read_csv('many/*.csv', union_by_name = true)" "${small[@]}"
check "JSON with keys of their own" answers "FROM read_json('many/*.json')" "${small[@]}"
check "JSON by name" answers "FROM read_json('many/*.json', union_by_name = true)" "${small[@]}"
printf 'a,b\n1,x\n' >lacks.csv
check "a column is missing" fails 1 "Schema mismatch between globbed files" sql "${options[@]}" "FROM read_csv(['many/1.csv', 'lacks.csv'])"

# Errors name the file's own lines; what one reader reads, another way does too.
awk -v n=$((rows / 2)) 'NR == n { print "x,y" } { print }' numbers.csv >wide.csv
same_error() {
    sql "$1" >/dev/null 2>expected && return 1
    sql "${options[@]}" "$1" >/dev/null 2>actual && return 1
    diff <(head -n 3 expected) <(head -n 3 actual) && nothing_left
}
check "too few columns" same_error "SELECT count(*), sum(f) FROM read_csv('wide.csv')"
check "a value of another type" same_error "SELECT sum(i), max(s) FROM read_csv('plain.csv', types = {'s': 'INTEGER'})"
check "ignored errors" answers "SELECT count(*) FROM read_csv('wide.csv', ignore_errors = true)"
printf '{"a": 1}\n{"a": 2}\n{"a": \n' >torn.json
check "torn JSON" same_error "SELECT sum(a) FROM read_json('torn.json', columns = {'a': 'INTEGER'})"
{ for i in $(seq 400); do printf '{"a": %s,\n "b": "x"}\n' "$i"; done; } >pretty.json
check "objects over lines" answers "SELECT sum(a), count(b) FROM 'pretty.json'"
check "one reader for an option" planned "Note: the driver reads 'plain.csv': one reader is needed for its option store_rejects" \
    "SELECT g, count(*) FROM read_csv('plain.csv', store_rejects = true) GROUP BY g"
check "no file" fails 1 "No files found" sql "${options[@]}" "FROM 'none/*.csv'"
: >empty.csv
printf 'a,b\n' >header.csv
check "an empty file" answers "FROM 'empty.csv'"
check "a header alone" answers "SELECT a, b, count(*) FROM 'header.csv' GROUP BY ALL"

# Where the call gives the columns, they say whether the first record is a header.
"$reference" sql "
COPY (SELECT CASE i % 3 WHEN 0 THEN 'Y' WHEN 1 THEN 'N' END AS y, i FROM range($rows) t(i)) TO 'bare.csv' (HEADER false);
COPY (SELECT CASE i % 3 WHEN 0 THEN 'Y' WHEN 1 THEN 'N' END AS y, i::VARCHAR AS i FROM range($rows) t(i)) TO 'named.csv' (HEADER)" >/dev/null
for columns in "{'y': 'VARCHAR', 'i': 'INTEGER'}" "{'y': 'VARCHAR', 'i': 'VARCHAR'}" "{'y': 'ENUM(''Y'', ''N'')', 'i': 'INTEGER'}" "{'a': 'VARCHAR', 'b': 'VARCHAR'}"; do
    for file in bare named; do
        check "columns $columns of $file.csv" answers "FROM read_csv('$file.csv', columns = $columns)"
    done
done
check "no header, in tasks" tasks 3 "SELECT count(*) FROM read_csv('bare.csv', columns = {'y': 'VARCHAR', 'i': 'INTEGER'})"
yes_no="CREATE TYPE yes_no AS ENUM ('Y', 'N')"
check "a type of the session's" answers "$yes_no; SELECT y, count(*) FROM read_csv('bare.csv', columns = {'y': 'yes_no', 'i': 'INTEGER'}) GROUP BY y"
check "one of JSON" answers "$yes_no; COPY (SELECT 'Y' AS y) TO 'yes.json'; SELECT y, typeof(y) FROM read_json('yes.json', columns = {'y': 'yes_no'})"
# NULL is NULL in a number's folder, a word in a text's.
"$reference" sql "COPY (SELECT i, CASE WHEN i % 3 > 0 THEN (i % 3)::VARCHAR ELSE 'NULL' END AS n FROM range($rows) t(i))
    TO 'nulls' (FORMAT csv, PARTITION_BY (n))" >/dev/null
check "a folder of NULLs" answers "SELECT n, typeof(n), count(*) FROM read_csv('nulls/n=*/*.csv', hive_types = {'n': INT}) GROUP BY ALL"
check "a folder of NULLs, its type found" answers "SELECT n, typeof(n), count(*) FROM read_csv('nulls/n=*/*.csv') GROUP BY ALL"
check "of text" answers "SELECT n, count(*) FROM read_csv('nulls/*/*.csv', hive_types = {'n': VARCHAR}, hive_partitioning = true) GROUP BY ALL"
# A folder stands for its files.
check "a folder" answers "SELECT part, count(*) FROM read_csv('hive') GROUP BY part"
check "a folder among files" answers "SELECT count(*), sum(i) FROM read_csv(['twice/', 'numbers.csv'], union_by_name = true)"
check "a folder of JSON" answers "SELECT part, count(*) FROM read_json('json_once') GROUP BY part"
check "a folder, in tasks" tasks 3 "SELECT count(*) FROM read_csv('hive')"
# Columns of JSON that are not its keys.
for i in $(seq 300); do echo "{\"id\": $i, \"Id\": 2, \"ID_1\": 4, \"iD\": \"x\"}"; done >alike.json
check "keys that differ in case alone" answers "FROM 'alike.json'"
for i in $(seq 300); do
    echo "{\"type\": \"Feature\", \"geometry\": {\"type\": \"Point\", \"coordinates\": [$i, 2]}, \"properties\": {\"name\": \"n$i\"}}"
done >places.geojsonl
check "GeoJSON" answers "SELECT name, geometry::VARCHAR FROM read_json('places.geojsonl')"
# What is printed is the column's value, not what the file has for it.
typed() { [ "$(sql "$@" "FROM read_csv('typed.csv', columns = {'i': 'INTEGER', 'f': 'DOUBLE'})" | tail -n 1)" = 7,1.5 ]; }
printf 'i,f\n007,1.50\n' >typed.csv
check "values of their types" typed
check "values of their types, over workers" typed "${options[@]}"
printf 'i,f\nseven,1.50\n' >typed.csv
check "or an error" fails 1 "Could not convert string" sql "FROM read_csv('typed.csv', columns = {'i': 'INTEGER', 'f': 'DOUBLE'})"

# Through a pipe a file is read once, by whoever asks first.
piped() {
    local sum
    sum=$(tail -n +1 numbers.csv | sql "${options[@]}" "SELECT sum(i) AS n FROM read_csv('/dev/stdin')" | tail -n 1)
    [ "$sum" = $((rows * (rows - 1) / 2)) ]
}
check "a pipe" piped
finish
