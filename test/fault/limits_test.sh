#!/usr/bin/env bash
# Statements that are large, nested, or oddly named, and data that does not fit: embedded
# and over two workers there is the same answer, or the same kind of message and its exit
# code, within PATIENCE seconds. LARGE=1 takes the sizes that are asked for at most.
# shellcheck source=test/support/lib.sh
source "$(dirname "$0")/../support/lib.sh"

large=${LARGE:-0}
patience=${PATIENCE:-$((large ? 120 : 60))}
# size SMALL LARGE
size() { if [ "$large" = 1 ]; then echo "$2"; else echo "$1"; fi; }

python3 - "$work" "$(size 500 2000)" "$(size 5000 100000)" "$(size 60 1000)" "$(size 60 300)" \
    "$(size 30 100)" <<'PY'
import sys

work, columns, elements, branches, ctes, joins = sys.argv[1], *map(int, sys.argv[2:])
files = f"{work}/t.parquet", f"{work}/wide.parquet"
t, wide = (f"'{file}'" for file in files)
aggregates = 200


def write(name: str, sql: str) -> None:
    with open(f"{work}/{name}.sql", "w", encoding="utf-8") as out:
        out.write(sql)


def many(number: int, form: str, between: str = ", ") -> str:
    return between.join(form.format(i=i, before=i - 1) for i in range(number))


write("make", f"""
COPY (SELECT i AS k, 'v' || i AS s, i % 10 AS g FROM range(20000) r(i)) TO {t};
COPY (SELECT {many(columns, "(i * ({i} + 1)) % 97 AS c{i}")} FROM range(200) r(i)) TO {wide};
""")
write("init", many(joins, f"CREATE VIEW v{{i}} AS SELECT k, k + {{i}} AS x FROM {t} "
                          "WHERE k < 9;\n", ""))
write("numbers", f"SELECT count(*) FROM {t} WHERE k IN ({many(elements, '{i}')})")
write("strings", f"SELECT count(*) FROM {t} WHERE s IN ({many(elements, chr(39) + 'v{i}' + chr(39))})")
write("comment", f"SELECT count(*) /* {'; x' * 1700000} */ FROM {t}")
write("comments", f"SELECT count(*) FROM {t}\n" + "-- a line; of 'comment'\n" * 200000)
write("literal", f"SELECT count(*) FROM {t} WHERE s <> '{'y' * 5000000}'")
write("all_columns", f"SELECT * FROM {wide} ORDER BY ALL")
write("all_groups", f"SELECT {many(columns // 2, 'c{i}')}, sum(c{columns - 1}) AS s FROM {wide} "
                    "GROUP BY ALL ORDER BY ALL")
write("distinct", f"SELECT DISTINCT * FROM {wide} ORDER BY ALL")
write("aggregates", f"SELECT g, {many(aggregates, 'sum(k + {i}) AS s{i}')} FROM {t} "
                    "GROUP BY ALL ORDER BY ALL")
write("union", "SELECT sum(k), count(*) FROM ("
      + many(branches, f"SELECT k + {{i}} AS k FROM {t} WHERE k < {{i}}", " UNION ALL ") + ")")
write("joins", f"SELECT count(*), sum(v0.x + v{joins - 1}.x) FROM v0"
      + "".join(f" JOIN v{i} ON v{i}.k = v{i - 1}.k" for i in range(1, joins)))
write("ctes", "WITH c0 AS (SELECT k, 1 AS n FROM " + t + "), "
      + ", ".join(f"c{i} AS (SELECT k, count(*) AS n FROM c{i - 1} GROUP BY k)"
                  for i in range(1, ctes)) + f" SELECT count(*), sum(n) FROM c{ctes - 1}")
write("scalars", "SELECT " + many(ctes, f"(SELECT count(*) FROM {t} WHERE k < {{i}})", " + ")
      + " AS n")
write("sums", f"SELECT sum({'(' * 180}k{' + 1)' * 180}) FROM {t}")
write("cases", f"SELECT sum({many(300, 'CASE WHEN k = {i} THEN {i} ELSE ', '')}k{' END' * 300}) FROM {t}")
write("blocks", f"SELECT count(*) FROM {'(SELECT * FROM ' * 60}{t}{')' * 60}")
write("too_deep", f"SELECT sum({'(' * 5000}k{' + 1)' * 5000}) FROM {t}")
write("too_deep_blocks", f"SELECT count(*) FROM {'(SELECT * FROM ' * 5000}{t}{')' * 5000}")
write("unclosed", f"SELECT count(*) FROM {t} WHERE k IN " + "(" * 100000)
write("comments_only", "-- nothing\n/* here; /* either */ */ ;;\n")
write("empty", "")
with open(f"{work}/nul.sql", "wb") as out:
    out.write(b"SELECT 41 AS x;\0 SELECT 42 AS y")
with open(f"{work}/utf8.sql", "wb") as out:
    out.write(f"SELECT count(*) FROM {t} WHERE s = '".encode() + b"\xff\xfe" + b"'")
with open(f"{work}/broken.csv", "w", encoding="utf-8") as out:
    out.write("a,b\n" + "1,2\n" * 3000 + "7,seven\n" + "1,2\n" * 3000)
PY
"$SHOAL" sql -f "$work/make.sql"

distributed=(--workers 2 "${spools[@]}")

# answers NAME: the same rows both ways, in time.
answers() {
    local name=$1
    timeout -k 1 "$patience" "$SHOAL" sql --init "$work/init.sql" -f "$work/$name.sql" \
        --format csv >"$work/embedded" || return 1
    timeout -k 1 "$patience" "$SHOAL" sql --init "$work/init.sql" -f "$work/$name.sql" \
        --format csv "${distributed[@]}" >"$work/actual" || return 1
    [ -s "$work/embedded" ] && cmp "$work/embedded" "$work/actual" && nothing_left
}

# fails CODE TEXT ARGS...: the exit code and a part of the message, both ways.
fails() {
    local code=$1 text=$2 got
    local -a options
    shift 2
    for where in "" "${distributed[*]}"; do
        read -ra options <<<"$where"
        got=0
        timeout -k 1 "$patience" "$SHOAL" sql "$@" "${options[@]}" >"$work/out" 2>"$work/err" || got=$?
        [ "$got" = "$code" ] && grep -qF -- "$text" "$work/err" && nothing_left && continue
        printf '%s: exit code %s instead of %s, and the message was:\n' "${where:-embedded}" \
            "$got" "$code"
        head -c 2000 "$work/err"
        return 1
    done
}

# embedded TEXT NAME: EXPLAIN names the limit, at once.
embedded() {
    timeout -k 1 20 "$SHOAL" explain -f "$work/$2.sql" --workers 2 >"$work/plan" || return 1
    grep -qF -- "Runs embedded, in one process: the statement has" "$work/plan" &&
        grep -qF -- "$1" "$work/plan"
}

for name in numbers strings comment comments literal all_columns all_groups distinct \
    aggregates union joins ctes scalars sums cases blocks; do
    check "a large statement: $name" answers "$name"
done
# Deeper than DuckDB's parser goes: its message, and no stack runs over.
check "expressions too deep" fails 1 'max_expression_depth' -f "$work/too_deep.sql"
check "blocks too deep" fails 1 'Error' -f "$work/too_deep_blocks.sql"
check "parentheses never closed" fails 1 'parentheses of the statement are not closed' \
    -f "$work/unclosed.sql"

# Planning these would cost more than it gives; the limit has a name.
python3 - "$work" <<'PY'
import sys

t = f"'{sys.argv[1]}/t.parquet'"
with open(f"{sys.argv[1]}/many_tokens.sql", "w", encoding="utf-8") as out:
    out.write(f"SELECT count(*) FROM {t} WHERE k IN ({', '.join(map(str, range(60000)))})")
with open(f"{sys.argv[1]}/many_joins.sql", "w", encoding="utf-8") as out:
    out.write(f"SELECT count(*) FROM {t} a0" + "".join(f", {t} a{i}" for i in range(1, 300)))
with open(f"{sys.argv[1]}/many_scalars.sql", "w", encoding="utf-8") as out:
    out.write("SELECT " + " + ".join([f"(SELECT count(*) FROM {t})"] * 300))
PY
check "a limit on tokens" embedded 'words, numbers and signs' many_tokens
check "a limit on depth" embedded 'inside each other' cases
check "a limit on subqueries" embedded 'subqueries' many_scalars
check "a limit on joins" embedded 'joins' many_joins

# DuckDB's optimizer takes minutes over these and looks for no interrupt: the first signal
# is not enough, another one ends the program.
python3 - "$work" <<'PY'
import sys

t = f"'{sys.argv[1]}/t.parquet'"
with open(f"{sys.argv[1]}/chain.sql", "w", encoding="utf-8") as out:
    out.write(f"SELECT count(*) FROM {t} a0"
              + "".join(f" JOIN {t} a{i} ON a{i}.k = a{i - 1}.k" for i in range(1, 400)))
PY
second_signal() {
    "$SHOAL" sql -f "$work/chain.sql" >/dev/null 2>&1 &
    local driver=$! got=0
    sleep 2
    kill -INT "$driver"
    sleep 1.5
    kill -INT "$driver" 2>/dev/null || true
    local tries=0
    while kill -0 "$driver" 2>/dev/null && [ "$tries" -lt 30 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    kill -9 "$driver" 2>/dev/null || true
    wait "$driver" || got=$?
    [ "$got" = 130 ]
}
check "a second signal ends what DuckDB does not" second_signal

check "an empty file" fails 2 'the query is empty' -f "$work/empty.sql"
check "only comments" fails 2 'the query is empty' -f "$work/comments_only.sql"
check "a NUL byte" fails 1 'nul.sql has a NUL byte at offset 15' -f "$work/nul.sql"
check "invalid UTF-8" fails 1 'Error' -f "$work/utf8.sql"
check "a NUL byte in --init" fails 1 'NUL byte' "SELECT 1" --init "$work/nul.sql"
check "no column" fails 1 'SELECT clause without selection list' "SELECT FROM '$work/t.parquet'"
check "an ambiguous name" fails 1 'mbiguous' \
    "SELECT k FROM '$work/t.parquet' a JOIN '$work/t.parquet' b ON a.k = b.k"
check "a broken row of a CSV file" fails 1 "broken.csv" \
    "SELECT sum(b) FROM read_csv('$work/broken.csv', types = {'a': 'INT', 'b': 'INT'})"
check "its line" grep -q 'Line: 3002' "$work/err"
check "its column" grep -q '"b"\|Column' "$work/err"

# The same error in each kind of stage.
t="'$work/t.parquet'"
check "overflow in a map" fails 1 'Overflow' "SELECT sum(k * 9223372036854775807) FROM $t"
check "a cast in a map" fails 1 '"v0"' "SELECT count(s::DATE) FROM $t"
check "a cast after a hash exchange" fails 1 "20000" \
    "SELECT g, (10 * count(*))::TINYINT AS n FROM $t GROUP BY g"
check "a cast in the last stage" fails 1 '199990000' "SELECT sum(k)::TINYINT FROM $t"
check "a cast over a window" fails 1 'INT8' \
    "SELECT count(*) FROM (SELECT (row_number() OVER (PARTITION BY g ORDER BY k))::TINYINT AS r
     FROM $t) WHERE r > 0"
check "a cast after a join" fails 1 'INT8' \
    "SELECT max(CAST(a.k + b.k AS TINYINT)) FROM $t a JOIN $t b USING (k)"
check "error() says what it was given" fails 1 'my words' \
    "SELECT g, CASE WHEN count(*) > 1 THEN error('my words') END FROM $t GROUP BY g"

# Names that could be taken for shoal's own, or that need quotes.
"$reference" sql "
COPY (SELECT i AS \"select\", i % 7 AS \"a b\", 'x' || i AS \"qu\"\"ote\", i % 3 AS \"größe, 列\",
             i AS \"c0\", i % 5 AS \"shoal_hash\", i AS \"__leaf_1_0__\", i AS \"'\", i AS \"%s;\"
      FROM range(3000) r(i)) TO '$work/odd.parquet'"
cat >"$work/odd.sql" <<SQL
SELECT * FROM '$work/odd.parquet' ORDER BY "select" LIMIT 5;
SELECT "a b", "größe, 列", count(*) AS "group", sum("select") AS "or""der", max("qu""ote") AS ";"
FROM '$work/odd.parquet' GROUP BY "a b", "größe, 列" ORDER BY "a b", "größe, 列";
SELECT "shoal_hash", sum("__leaf_1_0__") AS "__leaf_1_1__", max("'") AS "'", min("%s;") AS "%d"
FROM '$work/odd.parquet' AS "__leaf_1_0__" GROUP BY 1 ORDER BY 1;
SELECT x0.c0, root.c0 AS "root" FROM '$work/odd.parquet' x0 JOIN '$work/odd.parquet' root
ON x0."select" = root."shoal_hash" ORDER BY ALL LIMIT 9;
WITH root AS MATERIALIZED (SELECT c0, "a b" AS c1 FROM '$work/odd.parquet'),
     "__leaf_1_0__" AS MATERIALIZED (SELECT c1, count(*) AS shoal_hash FROM root GROUP BY c1),
     t0 AS (SELECT max(shoal_hash) AS c0 FROM "__leaf_1_0__"),
     x0 AS (SELECT c1 AS c0, c0 AS c1 FROM root)
SELECT x0.c0, count(*) AS c1, sum(x0.c1) AS c0, any_value(t0.c0) AS g0 FROM x0, t0, root
WHERE root.c0 = x0.c1 GROUP BY x0.c0 ORDER BY 1;
SELECT c0 AS a, c0 + 1 AS a, "a b" AS a FROM '$work/odd.parquet' ORDER BY c0 LIMIT 3;
SELECT '__leaf_1_0__' AS "__leaf_1_0__", '"__leaf_1_0__"' AS q, count(*) AS n
FROM '$work/odd.parquet';
SELECT 'a;b' AS s, \$\$c;'d\$\$ AS t, \$x\$ \$\$; \$x\$ AS u, "a b" AS "e;f" -- g;h
FROM '$work/odd.parquet' /* i;j */ WHERE "qu""ote" <> ';--' ORDER BY c0 LIMIT 2;
CREATE VIEW shade AS SELECT 1 AS one FROM '$work/odd.parquet';
WITH shade AS (SELECT c0 AS two FROM '$work/odd.parquet')
SELECT sum(two) AS s FROM shade WHERE two > (SELECT count(*) FROM memory.main.shade) - 9;
SQL
check "odd names" answers odd
# Columns that differ in case only; DuckDB writes no such file, so its bytes are patched.
"$reference" sql "COPY (SELECT i AS caseless, i + 1 AS casexxxx FROM range(300) r(i))
    TO '$work/case.parquet'"
LC_ALL=C sed -i 's/casexxxx/CASELESS/g' "$work/case.parquet"
echo "SELECT * FROM '$work/case.parquet' ORDER BY ALL;
SELECT sum(CaseLess) AS s, max(caseless_1) AS m FROM '$work/case.parquet'" >"$work/case.sql"
check "names that differ in case" answers case
finish
