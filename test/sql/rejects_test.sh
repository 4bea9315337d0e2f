#!/usr/bin/env bash
# Rows of CSV files that can't be read are kept with file, line, column and reason, up to a
# limit; the others are the answer.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
# shellcheck source=test/support/rejects.sh
source "$root/test/support/rejects.sh"
cd "$work"
sql() { "$SHOAL" sql --format csv "$@"; }
read_all="read_csv('logs/*.csv', header = true, quote = '\"', columns = {'i': 'INTEGER', 's': 'VARCHAR', 'd': 'DATE'})"

# Four files of 1,000 rows; every hundredth is bad, in one of five ways.
mkdir logs
for file in 0 1 2 3; do
    awk -v file="$file" 'BEGIN { print "i,s,d"
        for (n = 1; n <= 1000; n++) {
            i = file * 1000 + n
            if (n % 100 != 0) print i ",x" n ",2026-01-" sprintf("%02d", 1 + n % 28)
            else if (n % 500 == 0) print "many,x,2026-01-01"
            else if (n % 400 == 0) print i ",x,2026-13-01"
            else if (n % 300 == 0) print i ",x"
            else if (n % 200 == 0) print i ",x,2026-01-01,more"
            else print "bad,x,never"
        } }' >"logs/$file.csv"
done
printf 'i,name\n1,one\n2,two\nthree,three\n' >names.csv

fault_columns='file, line, "column", error, text'
check "embedded" keeps 40 --threads 2
cp faults expected
check "file, line, column and reason" has 'logs/2.csv,501,i,CAST,"many,x,2026-01-01"'
check "of a date" has 'logs/1.csv,801,d,CAST,"1800,x,2026-13-01"'
check "too few" has 'logs/0.csv,301,d,MISSING COLUMNS,"300,x"'
check "too many" has 'logs/3.csv,201,,TOO MANY COLUMNS,"3200,x,2026-01-01,more"'
check "both faults of a row" test "$(grep -c '^logs/0.csv,101,' expected)" = 2
for workers in "--workers 2" "--workers 2 --split-rows 100" "--workers 1 --threads 2"; do
    # shellcheck disable=SC2086
    check "over $workers" keeps 40 $workers "${spools[@]}"
    check "the same, over $workers" cmp expected faults
done

same_rows() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(l.d), count(n.name) FROM $read_all l LEFT JOIN read_csv('names.csv', types = {'i': 'INTEGER'}) n USING (i)" 2>err | tail -n 1)" = "3960,2" ] &&
        grep -q "rejected rows: 41," err && [ "$(grep -c names.csv kept/*.csv)" = 1 ]
}
check "a small file that each task reads" same_rows --workers 2 --split-rows 100 "${spools[@]}"
check "a file by its name" test "$(sql --rejects kept "SELECT names.name FROM 'names.csv' ORDER BY names.name DESC LIMIT 1" | tail -n 1)" = two
named() { [ "$(sql --rejects kept "SELECT $2 FROM $1 WHERE length(name) = 3 ORDER BY 1 LIMIT 1" | tail -n 1)" = one ]; }
check "by its name, without quotes" named names.csv names.name
check "in double quotes, with an alias" named '"names.csv" n' n.name
check "with a path" named "'$work/names.csv'" names.name
check "a file in a join" test "$(sql --rejects kept "SELECT count(*) FROM names.csv a JOIN names.csv b USING (name)" | tail -n 1)" = 3
check "columns that are not read are not checked" test "$(sql --rejects kept "SELECT count(*), count(i) FROM $read_all" 2>/dev/null | tail -n 1)" = 3968,3968
two() { rm -rf kept && sql --rejects kept "SELECT max(i) FROM $read_all; SELECT max(d) FROM $read_all" >/dev/null 2>&1 && [ "$(find kept -name '*.csv' | wc -l)" = 2 ]; }
check "two statements in a second keep theirs" two
check "nothing to reject" test "$(rm -rf kept && sql --rejects kept "SELECT count(*) FROM 'names.csv'" 2>&1 | tail -n 1)" = 3
check "and nothing kept" test -z "$(find kept -name '*.csv')"

# A later file is not as the first: the tasks' rejects are forgotten, one reader has its own.
mkdir unlike
for file in 0 1 2 3 4; do { printf 'i,s\nbad,x\n'; seq 2000 | sed 's/$/,y/'; } >unlike/$file.csv; done
{ printf 'i;s\n'; seq 2000 | sed 's/$/;y/'; } >unlike/5.csv
unlike() {
    rm -rf kept
    [ "$(sql "$@" --rejects kept "SELECT count(i), count(s) FROM read_csv('unlike/*.csv', types = {'i': 'INTEGER'})" 2>err | tail -n 1)" = 12000,12000 ] ||
        { cat err; return 1; }
    grep -q "rejected rows: 5," err && nothing_left
}
check "files that differ" unlike
check "files that differ, over workers" unlike --workers 2 --split-rows 1 "${spools[@]}"

check "COPY, embedded" written
check "COPY over workers" written --workers 2 --split-rows 100 "${spools[@]}"
one_file() {
    rm -rf kept one.parquet
    sql "$@" "COPY (FROM $read_all) TO 'one.parquet' (REJECTS 'kept')" >/dev/null 2>&1 &&
        [ "$(sql "SELECT count(*) FROM 'one.parquet'" | tail -n 1)" = 3960 ]
}
check "to one file" one_file
check "to one file, over workers" one_file --workers 2 "${spools[@]}"
check "which a limit can't guard" fails 1 "REJECTS_LIMIT can't keep one.parquet" sql \
    "COPY (FROM $read_all) TO 'one.parquet' (REJECTS 'kept', REJECTS_LIMIT 3)"
check "over workers it can" fails 1 "more than REJECTS_LIMIT 3" sql --workers 2 "${spools[@]}" \
    "COPY (FROM $read_all) TO 'one.parquet' (REJECTS 'kept', REJECTS_LIMIT 3)"
tables() {
    [ "$(sql --rejects kept --rejects-limit 5 "CREATE TABLE t (i INTEGER, d DATE); INSERT INTO t SELECT i, d FROM $read_all" 2>&1 >/dev/null | grep -c 'more than REJECTS_LIMIT 5')" = 1 ] &&
        [ "$(sql --rejects kept --rejects-limit 50 "CREATE TABLE t AS FROM $read_all; SELECT count(*) FROM t" 2>/dev/null | tail -n 1)" = 3960 ]
}
check "tables" tables
check "without it, the first is an error" fails 1 "Error when sniffing file" sql --workers 2 "${spools[@]}" "SELECT sum(i), max(d) FROM $read_all"
check "a limit without a folder" fails 2 "goes with --rejects DIR" sql --rejects-limit 3 "SELECT 1"
check "a limit without a folder, in COPY" fails 1 "goes with REJECTS" sql "COPY (SELECT 1) TO 'x.csv' (REJECTS_LIMIT 3)"
check "a folder that can't be made" fails 1 "cannot make the folder for rejects names.csv/kept" sql --rejects names.csv/kept "SELECT max(i) FROM 'names.csv'"
finish
