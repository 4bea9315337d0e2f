"""Seeded random SELECTs, distributed against embedded: the same rows, or the seed and the
query are printed.

    python3 test/random/random_queries.py --count 300 --seed 1 [--shoal build/shoal]

Queries are made so that SQL fixes their rows: LIMIT comes only after an order by every
column, windows are ordered by a unique column, floats are sums of exact numbers.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test/support"))
import same_answer  # noqa: E402

# Every table has these columns; id is unique, k skewed with NULLs, the others repeat.
COLUMNS = {"id": "number", "k": "number", "v": "number", "s": "text", "d": "date", "x": "decimal"}
TABLES = {"big": 150_000, "mid": 3_000, "tiny": 40, "none": 0}

MAKE = """
COPY (SELECT i AS id,
             CASE WHEN i % 13 = 5 THEN NULL WHEN i % 2 = 0 THEN 7 ELSE (i * 31) % 97 END AS k,
             (i * 17) % 1009 AS v,
             CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 's' || (i % 23) END AS s,
             DATE '2024-01-01' + (i % 60)::INTEGER AS d,
             ((i % 500) / 4)::DECIMAL(9, 2) AS x
      FROM range({rows}) r(i)) TO '{path}'
"""


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.aliases = 0

    def pick(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    def alias(self):
        self.aliases += 1
        return f"t{self.aliases}"

    def column(self, alias, kind=None):
        names = [name for name, of in COLUMNS.items() if kind in (None, of)]
        return f"{alias}.{self.random.choice(names)}"

    def predicate(self, alias):
        a = self.column
        return self.pick(
            lambda: f"{a(alias, 'number')} {self.pick('<', '>', '=', '<>', '>=')} {self.random.randrange(100)}",
            lambda: f"{alias}.s {self.pick('LIKE', 'NOT LIKE')} 's1%'",
            lambda: f"{a(alias)} IS {self.pick('', 'NOT ')}NULL",
            lambda: f"{alias}.d BETWEEN DATE '2024-01-05' AND DATE '2024-02-{self.random.randrange(10, 28)}'",
            lambda: f"{alias}.k IN ({', '.join(str(self.random.randrange(60)) for _ in range(4))}, 7)",
            lambda: f"({alias}.v % 3 = 1 OR {alias}.x > 50)",
            lambda: f"{alias}.k {self.pick('IN', 'NOT IN')} (SELECT k FROM {self.small()} WHERE {self.pick('true', 'k IS NOT NULL', 'v > 900')})",
            lambda: f"{self.pick('', 'NOT ')}EXISTS (SELECT 1 FROM {self.small()} e WHERE e.k = {alias}.k AND e.v {self.pick('>', '<')} 500)",
            lambda: f"{alias}.v > (SELECT avg(v) FROM {self.table()} WHERE k = {self.random.randrange(9)})",
            lambda: f"{alias}.v >= (SELECT max(m.v) - 900 FROM {self.small()} m WHERE m.k = {alias}.k)",
        )()

    def where(self, aliases):
        count = self.pick(0, 1, 1, 2)
        parts = [self.predicate(self.random.choice(aliases)) for _ in range(count)]
        return "WHERE " + " AND ".join(parts) if parts else ""

    def table(self):
        return self.pick("big", "big", "mid", "tiny", "none")

    def small(self):
        return self.pick("mid", "tiny", "tiny", "none")

    def item(self, name=None):
        """A FROM item with all the columns of a table, and its alias."""
        alias = self.alias()
        name = name or self.table()
        if self.chance(0.2):
            return f"(SELECT * FROM {name} i {self.where(['i'])}) AS {alias}", alias
        if self.chance(0.1):
            other = self.small()
            return (
                f"(SELECT * FROM {name} {self.pick('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT')} "
                f"SELECT * FROM {other}) AS {alias}"
            ), alias
        return f"{name} AS {alias}", alias

    def source(self):
        """FROM items joined, and the aliases that can be used after them."""
        text, alias = self.item()
        aliases = [alias]
        for _ in range(self.pick(0, 0, 1, 1, 2)):
            right, other = self.item(self.small())
            left = self.random.choice(aliases)
            kind = self.pick("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")
            # On id a row finds at most one: results stay small.
            on = self.pick(
                f"{left}.id = {other}.id",
                f"{left}.id = {other}.id AND {left}.d = {other}.d",
                f"{left}.id % 50 = {other}.id",
                f"{left}.v = {other}.id",
                f"{left}.id IS NOT DISTINCT FROM {other}.id",
            )
            if kind in ("JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN") and self.chance(0.3):
                on += f" AND {left}.v < {other}.v + {self.random.randrange(500)}"
            text += f" {kind} {right} ON {on}"
            if kind not in ("SEMI JOIN", "ANTI JOIN"):
                aliases.append(other)
        return text, aliases

    def aggregate(self, aliases):
        a = self.random.choice(aliases)
        call = self.pick(
            "count(*)", f"count({self.column(a)})", f"sum({self.column(a, 'number')})",
            f"sum({a}.x)", f"avg({self.column(a, 'number')})", f"min({self.column(a)})",
            f"max({self.column(a)})", f"count(DISTINCT {self.column(a)})",
            f"bool_or({a}.v > 500)", f"stddev({a}.v)", f"median({a}.v)", f"mode({a}.k) IS NULL",
            f"string_agg({a}.s, ',' ORDER BY {a}.s, {a}.id)[1:9]", f"corr({a}.v, {a}.id)",
            f"arg_max({a}.v, {a}.id)", f"quantile_disc({a}.v, 0.25)", f"bit_xor({a}.id)",
        )
        if call.endswith(")") and self.chance(0.2):
            call += f" FILTER ({a}.v % 2 = 0)"
        return call

    def grouped(self):
        source, aliases = self.source()
        keys = [
            self.pick(self.column(self.random.choice(aliases)), f"{aliases[0]}.v % 5", f"{aliases[0]}.s || '!'")
            for _ in range(self.pick(0, 1, 1, 2))
        ]
        keys = list(dict.fromkeys(keys))
        calls = [self.aggregate(aliases) for _ in range(self.pick(1, 2, 3))]
        query = f"SELECT {', '.join(keys + calls)} FROM {source} {self.where(aliases)}"
        if keys:
            how = self.pick("{}", "{}", "{}", "ROLLUP ({})", "CUBE ({})")
            query += " GROUP BY " + how.format(", ".join(keys))
            if self.chance(0.2):
                query += " HAVING count(*) > 2"
        return query

    def plain(self):
        source, aliases = self.source()
        columns = [self.column(self.random.choice(aliases)) for _ in range(self.pick(1, 2, 3))]
        if self.chance(0.2):
            return f"SELECT DISTINCT {', '.join(columns)} FROM {source} {self.where(aliases)}"
        query = f"SELECT {', '.join(columns)} FROM {source} {self.where(aliases)}"
        order = ", ".join(str(i + 1) + self.pick("", " DESC", " NULLS FIRST") for i in range(len(columns)))
        return f"{query} ORDER BY {order} LIMIT {self.pick(0, 5, 200)} OFFSET {self.pick(0, 0, 3)}"

    def windowed(self):
        alias = self.alias()
        partition = self.pick("", f"PARTITION BY {self.column(alias)} ", f"PARTITION BY {alias}.k, {alias}.s ")
        call = self.pick(
            "row_number()", "rank()", f"sum({alias}.v)", f"lag({alias}.v, 2)", f"count({alias}.s)",
            f"first_value({alias}.s)", "ntile(3)",
        )
        frame = ""
        if call.startswith(("sum", "count", "first")):
            frame = self.pick("", " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                              " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW")
        over = f"{call} OVER ({partition}ORDER BY {alias}.id{frame})"
        table = self.pick("mid", "tiny", "none")
        query = f"SELECT {alias}.id, {over} AS w FROM {table} {alias} {self.where([alias])}"
        return f"{query} QUALIFY w IS NOT NULL" if self.chance(0.2) else query

    def shared(self):
        cte = self.grouped()
        return (
            f"WITH c AS MATERIALIZED (SELECT k, sum(v) AS t, count(*) AS n FROM {self.table()} GROUP BY k) "
            f"SELECT a.k, a.t, b.n FROM c a {self.pick('JOIN', 'LEFT JOIN', 'FULL JOIN')} c b "
            f"ON a.k = b.k {self.pick('', 'WHERE a.t > (SELECT avg(t) FROM c)')}"
        ) if self.chance(0.7) else f"SELECT count(*) FROM ({cte}) q"

    def combined(self):
        parts = []
        for _ in range(self.pick(2, 3)):
            source, aliases = self.item()
            parts.append(f"SELECT {aliases}.k, {aliases}.s FROM {source} {self.where([aliases])}")
        return f" {self.pick('UNION', 'UNION ALL', 'EXCEPT', 'INTERSECT')} ".join(parts)

    def query(self):
        return self.pick(self.grouped, self.grouped, self.plain, self.windowed, self.shared, self.combined)()


def run(command, out):
    with open(out, "w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoal", default=str(ROOT / "build/shoal"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="shoal-random-test-"))
    make = ";".join(MAKE.format(rows=rows, path=work / f"{name}.parquet") for name, rows in TABLES.items())
    subprocess.run([args.shoal, "sql", make], check=True)
    init = work / "init.sql"
    init.write_text("".join(f"CREATE VIEW {n} AS FROM '{work}/{n}.parquet';\n" for n in TABLES))
    queries = [Maker(args.seed * 1_000_003 + i).query() for i in range(args.count)]
    batch = work / "queries.sql"
    batch.write_text("".join(query + ";\n" for query in queries))
    base = [args.shoal, "sql", "--init", str(init), "--format", "json"]
    wrong = 0
    code, message = run([*base, "-f", str(batch)], work / "expected")
    if code != 0:
        sys.exit(f"embedded: {message}")
    expected = same_answer.read_results(str(work / "expected"))
    choices = random.Random(args.seed)
    options = [
        "--workers", str(choices.choice([1, 2, 3])), "--threads", str(choices.choice([1, 2])),
        "--partitions", str(choices.choice([1, 5, 16])),
        "--broadcast-rows", str(choices.choice([-1, 2000, 10**9])),
    ]
    code, message = run([*base, "-f", str(batch), *options], work / "actual")
    text = (work / "actual").read_text()
    actual = same_answer.read_results(str(work / "actual")) if text.strip() else []
    for number, (a, b) in enumerate(zip(expected, actual)):
        problem = same_answer.difference(a, b, False)
        if problem:
            wrong += 1
            print(f"seed {args.seed} query {number}, {' '.join(options)}: {problem}\n  {queries[number]};")
    if code != 0:
        wrong += 1
        print(f"seed {args.seed} query {len(actual)}, {' '.join(options)}: {message}\n  {queries[len(actual)]};")
    # What runs embedded proves nothing: most must be planned, and most must give rows.
    run([*base[:1], "explain", *base[2:4], "-f", str(batch)], work / "plans")
    embedded = (work / "plans").read_text().count("Runs embedded")
    empty = sum(not rows for rows in expected)
    if embedded > args.count // 10 or empty > args.count // 2:
        wrong += 1
        print(f"too weak a test: {embedded} queries run embedded, {empty} give no rows")
    subprocess.run(["rm", "-rf", str(work)], check=True)
    print(
        f"{len(actual) - wrong} of {args.count} queries are the same, {embedded} of them embedded, "
        f"{empty} without rows; {' '.join(options)}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
