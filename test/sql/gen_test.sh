#!/usr/bin/env bash
# shoal gen skew: shares as asked for, columns as docs/skew.md says, the same rows from the
# same seed, and what it refuses.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"
out=$work/made
fact="'$out/fact/*.parquet'"
dim="'$out/dim/*.parquet'"
nothing_hidden() { [ -z "$(find "$work" -maxdepth 1 -name '.shoal-*')" ]; }
# make OPTIONS: 200,000 rows into a new $out; what it said is in said.
make() {
    rm -rf "$out"
    "$SHOAL" gen skew "$out" --rows 200k "$@" >"$work/said" && nothing_hidden
}
# is EXPECTED SQL: the first row.
is() {
    local got
    got=$("$SHOAL" sql --format csv "$2" | sed -n 2p)
    [ "$got" = "$1" ] || {
        printf '%s instead of %s\n' "$got" "$1"
        return 1
    }
}
columns() { is "\"$2\"" "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE FROM $1)"; }
hottest() { sed -n 's/^the hottest key is \([0-9]*\):.*/\1/p' "$work/said"; }
# share CONDITION LEAST MOST: of the fact table's rows.
share() { is true "SELECT avg(($1)::INTEGER) BETWEEN $2 AND $3 FROM $fact"; }

uniform() {
    make --keys 1000 || return 1
    columns "$fact" "key BIGINT, ts TIMESTAMP, quantity INTEGER, amount DOUBLE, note VARCHAR" &&
        columns "$dim" "key BIGINT, name VARCHAR, segment VARCHAR, weight INTEGER" &&
        is 200000,200000,0,999,1000 "SELECT count(*), count(key), min(key), max(key), count(DISTINCT key) FROM $fact" &&
        is 1000,1000,0,999 "SELECT count(*), count(DISTINCT key), min(key), max(key) FROM $dim" &&
        # 200 rows a key, give or take six standard deviations.
        is true "SELECT min(n) > 115 AND max(n) < 285 FROM (SELECT count(*) AS n FROM $fact GROUP BY key)" &&
        is true "SELECT chi < 1000 + 6 * sqrt(2 * 999) AND chi > 1000 - 6 * sqrt(2 * 999)
            FROM (SELECT sum((n - 200) ** 2 / 200) AS chi FROM (SELECT count(*) AS n FROM $fact GROUP BY key))" || return 1
    grep -q "/fact: 200000 rows in 8 files$" "$work/said" && ! grep -q hottest "$work/said" &&
        [ "$(find "$out" -type f | wc -l)" = 16 ]
}
# Every row has a time of its own, in no order; the other columns are spread evenly.
other_columns() {
    is "200000,true,true" "SELECT count(DISTINCT ts), min(ts) >= TIMESTAMP '2026-01-01', max(ts) < TIMESTAMP '2026-01-31' FROM $fact" &&
        is "100,1,100,10000,0.0,2499.75,1000" "SELECT count(DISTINCT quantity), min(quantity), max(quantity), count(DISTINCT amount), min(amount), max(amount), count(DISTINCT note) FROM $fact" &&
        is true "SELECT abs(avg(quantity) - 50.5) < 0.5 AND abs(avg(amount) - 1249.9) < 15 AND abs(corr(quantity, amount)) < 0.02 AND abs(corr(key, amount)) < 0.02 FROM $fact" &&
        is true "SELECT abs(corr(key, n)) < 0.02 AND abs(corr(epoch(ts), n)) < 0.02 FROM (SELECT *, row_number() OVER () AS n FROM $fact)" &&
        is "25,true" "SELECT count(DISTINCT segment), bool_and(name = 'name ' || key AND weight BETWEEN 1 AND 1000) FROM $dim"
}
# What reads the tables must shuffle: their files are not clustered on the key.
not_clustered() {
    "$SHOAL" explain --cluster-rows 0 --split-rows 1000 --broadcast-rows -1 "SELECT count(*) FROM $fact JOIN $dim USING (key)" >"$work/plan" &&
        [ "$(grep -c 'HashExchange keys=\["key"\]' "$work/plan")" = 2 ] && ! grep -q "ranges of" "$work/plan"
}
one_hot_key() {
    make --keys 1000 --hot-share 0.5 || return 1
    # And its part of the other half.
    share "key = $(hottest)" 0.4955 0.5055 && grep -q "about 50.05% of fact, 1 row of dim$" "$work/said" &&
        is true "SELECT max(n) < 200 FROM (SELECT count(*) AS n FROM $fact WHERE key <> $(hottest) GROUP BY key)"
}
some_hot_keys() {
    make --keys 1000 --hot-share 0.4 --hot-keys 4 || return 1
    is true "SELECT count(*) = 4 AND min(n) > 0.095 AND max(n) < 0.106 FROM (SELECT count(*) / 200000 AS n FROM $fact GROUP BY key HAVING n > 0.01)" &&
        # They are no neighbours.
        is true "SELECT min(gap) > 50 FROM (SELECT key - lag(key) OVER (ORDER BY key) AS gap FROM (SELECT key FROM $fact GROUP BY key HAVING count(*) > 2000))"
}
nulls() { make --keys 1000 --null-share 0.4 && share "key IS NULL" 0.394 0.406 && is 1000,0 "SELECT count(*), count(*) FILTER (key IS NULL) FROM $dim"; }
# zipf EXPONENT KEYS: shares of the first 50 ranks, and of all ranks behind them.
zipf() {
    make --keys "$2" --zipf "$1" || return 1
    is "true,true" "WITH exact AS (SELECT r, pow(r, -$1) / sum(pow(r, -$1)) OVER () AS share FROM range(1, $2 + 1) t(r)),
            counts AS (SELECT key, count(*) / 200000 AS share FROM $fact GROUP BY key),
            ranked AS (SELECT row_number() OVER (ORDER BY share DESC) AS r, share FROM counts)
        SELECT (SELECT max(abs(a.share - e.share)) < 0.005 FROM exact e JOIN ranked a USING (r) WHERE r <= 50),
            (SELECT abs(sum(a.share) - (SELECT sum(share) FROM exact WHERE r > 50)) < 0.01 FROM ranked a WHERE r > 50)" &&
        share "key = $(hottest)" "(SELECT 1 / sum(pow(r, -$1)) - 0.006 FROM range(1, $2 + 1) t(r))" "(SELECT 1 / sum(pow(r, -$1)) + 0.006 FROM range(1, $2 + 1) t(r))"
}
both_sides() {
    make --keys 1000 --hot-share 0.02 --hot-keys 2 --both-sides --hot-rows 50 --null-share 0.1 || return 1
    is 1098,1000 "SELECT count(*), count(DISTINCT key) FROM $dim" &&
        is "2,50,50,true" "SELECT count(*), min(n), max(n), bool_or(key = $(hottest)) FROM (SELECT key, count(*) AS n FROM $dim GROUP BY key HAVING n > 1)" &&
        is true "SELECT list_sort(list(key)) = (SELECT list_sort(list(key)) FROM (SELECT key FROM $dim GROUP BY key HAVING count(*) > 1))
            FROM (SELECT key FROM $fact WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1000)" &&
        is true "SELECT count(DISTINCT filename) = 8 FROM read_parquet($dim, filename = true) WHERE key = $(hottest)" &&
        grep -q ", 50 rows of dim$" "$work/said" && grep -q "files, 10% without a key$" "$work/said" || return 1
    # 200 is the number without --hot-rows; with --zipf the first ranks are hot.
    make --keys 1000 --zipf 1.5 --both-sides && is 1199 "SELECT count(*) FROM $dim" &&
        is 200 "SELECT count(*) FROM $dim WHERE key = $(hottest)"
}
rows_in_order() { "$SHOAL" sql --format csv "FROM $fact; FROM $dim" | md5sum; }
same_seed() {
    local rows
    make --keys 1000 --zipf 1.2 --hot-share 0.1 --null-share 0.1 --seed 7 --threads 1 && rows=$(rows_in_order) && mv "$out" "$work/kept" || return 1
    make --keys 1000 --zipf 1.2 --hot-share 0.1 --null-share 0.1 --seed 7 --threads 3 && diff -r "$out" "$work/kept" && rm -rf "$work/kept" || return 1
    make --keys 1000 --zipf 1.2 --hot-share 0.1 --null-share 0.1 --seed 7 --files 3 && [ "$(find "$out" -type f | wc -l)" = 6 ] && [ "$(rows_in_order)" = "$rows" ] || return 1
    make --keys 1000 --zipf 1.2 --hot-share 0.1 --null-share 0.1 --seed 8 && [ "$(rows_in_order)" != "$rows" ]
}
# The seed's rows stay what they are: numbers in documents would otherwise be of other data.
fingerprint() {
    make --keys 12345 --hot-share 0.25 --null-share 0.1 --seed 42 || return 1
    is "$1" "SELECT count(key), sum(key), sum(amount * quantity), sum(epoch_us(ts) % 1000003 * quantity), (SELECT sum(key * weight) FROM $dim) FROM $fact"
}
few_rows() {
    "$SHOAL" gen skew "$out" --overwrite --rows 3 --keys 1 --files 5 >"$work/said" &&
        is 3,0,0 "SELECT count(*), min(key), max(key) FROM $fact" && is 1 "SELECT count(*) FROM $dim" &&
        [ "$(find "$out/fact" -type f | wc -l)" = 3 ] && [ "$(find "$out/dim" -type f | wc -l)" = 1 ]
}
row_groups() { "$SHOAL" gen skew "$out" --overwrite --rows 1.2M --files 2 >/dev/null && is "2,5,5" "SELECT count(*), min(num_row_groups), max(num_row_groups) FROM parquet_file_metadata($fact)"; }

check "uniform" uniform
check "other columns" other_columns
check "not clustered" not_clustered
check "one hot key" one_hot_key
check "some hot keys" some_hot_keys
check "NULLs" nulls
check "Zipf 1.2" zipf 1.2 100000
check "Zipf 1" zipf 1 1000
check "Zipf 0.5" zipf 0.5 1000
check "Zipf 3" zipf 3 1000000
check "both sides" both_sides
check "the same seed" same_seed
check "a fingerprint" fingerprint 179930,1162996452,12598472202.5,5053152279006,38243269274
check "few rows" few_rows
check "row groups" row_groups

bad() { # TEXT OPTIONS: refused before anything is written
    local text=$1
    shift
    rm -rf "$out"
    fails 2 "$text" gen skew "$out" "$@" && grep -q "see shoal gen --help" "$work/err" && [ ! -e "$out" ] && nothing_hidden
}
check "a bad unit" bad "--rows 10Q: give a whole number from 1 to 4G, as 500000, 10M or 1.5G" --rows 10Q
check "no rows" bad "--rows 0: give" --rows 0
check "too many" bad "--keys 5G: give" --keys 5G
check "a part of a row" bad "--rows 1.5: give" --rows 1.5
check "negative" bad "--keys -1: give" --keys -1
check "no number" bad "--keys : give" --keys ""
check "a share above 1" bad "--hot-share 1.5: give a share of the rows from 0 to 1" --hot-share 1.5
check "nan" bad "--null-share nan: give a share" --null-share nan
check "two points" bad "--zipf 1.2.3: give an exponent from 0 to 10" --zipf 1.2.3
check "an exponent below 0" bad "--zipf -1: give an exponent" --zipf -1
check "more than all rows" bad "--hot-share 0.7 and --null-share 0.4 are more than all rows" --hot-share 0.7 --null-share 0.4
check "more hot keys than keys" bad "--hot-keys 11: there are only 10 (--keys)" --keys 10 --hot-share 0.5 --hot-keys 11
check "--hot-rows alone" bad "--hot-rows goes with --both-sides" --hot-share 0.5 --hot-rows 3
check "--both-sides alone" bad "--both-sides, but no key is hot" --both-sides
check "--hot-keys alone" bad "--hot-keys goes with --hot-share or --both-sides" --hot-keys 3 --zipf 1
check "a dimension that is too large" bad "the dimension would have more than 4000000000 rows" --hot-share 0.5 --hot-keys 1M --both-sides --hot-rows 1M
check "an unknown option" bad "--hot: unknown option, or its value is missing" --hot
check "a seed below 0" bad "--seed -1: give a whole number" --seed -1
check "two folders" bad "give one folder" "$out.2"
check "no folder" fails 2 "give one folder" gen skew
check "another thing" fails 2 "gen tpch: shoal makes one thing: gen skew DIR" gen tpch
check "nothing" fails 2 "gen what" gen
# All of it is read: a grep that has seen enough would end the program by its closed pipe.
help() { grep -q -- "--hot-share P" <<<"$("$SHOAL" gen --help)" && grep -q "shoal gen skew DIR" <<<"$("$SHOAL" --help)"; }
check "--help" help

there() {
    mkdir -p "$work/there/fact" && touch "$work/there/fact/part-00000.parquet" || return 1
    fails 1 "the folder $work/there is not empty: choose another, or replace it with --overwrite" gen skew "$work/there" --rows 10 --keys 10 &&
        "$SHOAL" gen skew "$work/there/" --rows 10 --keys 10 --overwrite >/dev/null && nothing_hidden &&
        is 10 "SELECT count(*) FROM '$work/there/fact/*.parquet'"
}
check "a folder that is there" there
# Nothing that gen did not make goes.
others() {
    touch "$work/there/thesis" &&
        fails 1 "holds thesis, which shoal gen did not make" gen skew "$work/there" --rows 10 --keys 10 --overwrite && [ -e "$work/there/thesis" ] &&
        rm "$work/there/thesis" && is 10 "SELECT count(*) FROM '$work/there/fact/*.parquet'"
}
check "other things in it" others
touch "$work/file"
check "a file" fails 1 "cannot write into $work/file: Not a directory" gen skew "$work/file" --overwrite
check "a folder in no folder" fails 3 "$work/none: No such file" gen skew "$work/none/out"
empty() { mkdir -p "$work/empty" && "$SHOAL" gen skew "$work/empty" --rows 10 --keys 10 >/dev/null; }
check "an empty folder" empty
# faulty FAULT CODE TEXT: the old folder stays.
faulty() {
    local got=0
    SHOAL_FAULT=$1 "$SHOAL" gen skew "$work/there" --rows 20 --keys 10 --overwrite >/dev/null 2>"$work/err" || got=$?
    [ "$got" = "$2" ] && grep -qF "$3" "$work/err" && nothing_hidden && is "$4" "SELECT count(*) FROM '$work/there/fact/*.parquet'"
}
check "a rename that fails" faulty commit.rename:1:EACCES 3 "cannot write the folder $work/there: Permission denied" 10
without_exchange() { SHOAL_FAULT=commit.swap:1:EINVAL "$SHOAL" gen skew "$work/there" --rows 30 --keys 10 --overwrite >/dev/null && nothing_hidden && is 30 "SELECT count(*) FROM '$work/there/fact/*.parquet'"; }
check "a file system without exchange" without_exchange
full_disk() { # the files of a run may take 64 KiB each
    (ulimit -f 64 && trap '' XFSZ && exec timeout -s KILL 60 "$SHOAL" gen skew "$work/full" --rows 1M) >/dev/null 2>"$work/err"
}
# More than once: DuckDB's writer must not wait for ever for what it still writes.
fills_the_disk() {
    local try
    for try in 1 2 3 4 5 6 7 8; do
        if full_disk; then return 1; fi
        if ! grep -q "File too large" "$work/err" || [ -e "$work/full" ] || ! nothing_hidden; then
            echo "try $try"
            return 1
        fi
    done
}
check "a file that can't be written" fills_the_disk
interrupted() {
    local pid got=0
    "$SHOAL" gen skew "$work/long" --rows 1G >/dev/null 2>"$work/err" &
    pid=$!
    until compgen -G "$work/.shoal-gen-*/ready/fact/part-*" >/dev/null || ! kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    kill -INT "$pid"
    wait "$pid" || got=$?
    [ "$got" = 130 ] && [ ! -e "$work/long" ] && nothing_hidden
}
check "Ctrl-C" interrupted
finish
