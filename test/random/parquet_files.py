"""Random Parquet files: their rows over workers are those of the embedded engine. Keys that are
sorted, nearly so or not, runs of NULLs, row groups and files without rows, columns of every
type, files whose columns differ, folders that are partitions.

    python3 test/random/parquet_files.py --shoal build/shoal --seed 1 --count 100
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cases

# Of the number k of a row, and the row's number i.
KEYS = {
    "BIGINT": "k", "INTEGER": "k::INTEGER", "SMALLINT": "(k % 30000)::SMALLINT", "UBIGINT": "k::UBIGINT",
    "HUGEINT": "k::HUGEINT * 10000000000000000", "DECIMAL(9, 2)": "(k / 100.0)::DECIMAL(9, 2)",
    "DECIMAL(30, 4)": "(k / 7)::DECIMAL(30, 4)", "DATE": "DATE '1999-12-01' + (k % 9999)::INTEGER",
    "TIMESTAMP": "TIMESTAMP '2020-01-01' + to_seconds(k)", "TIMESTAMP_S": "make_timestamp(k * 1000000)::TIMESTAMP_S",
    "TIMESTAMP_NS": "make_timestamp_ns(k * 1000000007)", "TIMESTAMPTZ": "make_timestamp(k * 3600000000)::TIMESTAMPTZ",
    "TIME": "make_time(0, (k // 60 % 60)::BIGINT, (k % 60)::DOUBLE)", "BOOLEAN": "k % 2 = 0",
    "VARCHAR": "'key ' || lpad(k::VARCHAR, 9, '0')", "VARCHAR long": "repeat('x', 70) || lpad(k::VARCHAR, 9, '0')",
    "VARCHAR odd": "chr((33 + k % 900)::INTEGER) || k", "BLOB": "encode('b' || k)", "UUID": "md5((k // 2)::VARCHAR)::UUID",
    "DOUBLE": "k / 8", "DOUBLE odd": "[k / 4, 'NaN'::DOUBLE, 'inf'::DOUBLE, '-inf'::DOUBLE, 0, -0.0][1 + k % 6]",
    "FLOAT": "(k % 1000 / 4)::FLOAT", "ENUM": "(['a', 'b', 'c'][1 + k % 3])::ENUM('c', 'a', 'b')",
    "INTEGER[]": "[k % 3, NULL, k]", "STRUCT": "{'a': k % 50, 'b': 's' || k}",
    "MAP": "MAP {'m' || k % 2: k % 10}", "INTERVAL": "to_days((k % 100)::INTEGER)",
}  # fmt: skip
# A column's other types, which a file of several may have.
WIDER = {"INTEGER": "BIGINT", "SMALLINT": "INTEGER", "FLOAT": "DOUBLE", "DECIMAL(9, 2)": "DECIMAL(30, 4)",
         "DATE": "TIMESTAMP"}  # fmt: skip


def order_of_keys(choose: random.Random, first: int) -> str:
    """What number row i has."""
    span = choose.choice([2, 5, 300, 20000])
    return choose.choice([
        f"{first} + i", f"{first} + i // {span}", f"{first} + i // 20 + (hash(i) % {span})::BIGINT",
        f"(hash(i) % {span})::BIGINT", f"{first + 30000} - i", f"{span}", f"{first} + i % {span}",
        f"if(hash(i) % 2 = 0, 7, {first} + i)",
    ])  # fmt: skip


def nulls(choose: random.Random, rows: int) -> str:
    """When the key of row i is NULL."""
    return choose.choice(["false", "false", "false", "hash(i, 1) % 9 = 0", f"i < {rows // 3}", f"i > {rows // 2}",
                          "i // 2048 % 2 = 1", "true"])  # fmt: skip


@dataclass
class Case:
    setup: str
    call: str
    columns: dict[str, str]  # name -> type


def make_case(choose: random.Random) -> Case:
    kinds = choose.sample(sorted(KEYS), choose.randrange(1, 5))
    names = {f"c{n}": kind for n, kind in enumerate(kinds)}
    count = choose.choice([1, 1, 2, 3, 6])
    hive = choose.random() < 0.2
    differ = choose.random() < 0.25
    setup, first = "", 0
    for number in range(count):
        rows = choose.choice([0, 1, 100, 3000, 9000, 20000])
        shown = list(names)
        if differ and number > 0 and choose.random() < 0.5:
            choose.shuffle(shown)
            if len(shown) > 1 and choose.random() < 0.3:
                shown.pop()
        null = nulls(choose, rows)
        list_of = []
        for name in shown:
            kind = names[name]
            value = f"if({null if choose.random() < 0.8 else 'false'}, NULL, {KEYS[kind]})"
            if differ and kind in WIDER and choose.random() < 0.4:
                value = f"({value})::{WIDER[kind]}"
            list_of.append(f"{value} AS {name}")
        options = [f"ROW_GROUP_SIZE {choose.choice([2048, 2048, 4096, 100000])}", f"COMPRESSION {choose.choice(['snappy', 'zstd', 'uncompressed'])}"]
        if choose.random() < 0.3:
            options.append("PARQUET_VERSION v2")
        folder = f"h={choose.randrange(3)}/" if hive else ""
        setup += (f"COPY (SELECT {', '.join(list_of)}, i AS n FROM (SELECT i, ({order_of_keys(choose, first)})::BIGINT AS k "
                  f"FROM range({rows}) r(i) ORDER BY i)) TO '{folder}f{number}.parquet' (FORMAT parquet, {', '.join(options)});\n")  # fmt: skip
        first += rows if choose.random() < 0.7 else rows // 2
    options = ", union_by_name = true" if differ and choose.random() < 0.7 else ""
    columns = {**names, "n": "BIGINT"}
    if hive:
        options += ", hive_partitioning = true"
        columns["h"] = "BIGINT"
    if choose.random() < 0.15:
        options += ", filename = true"
        columns["filename"] = "VARCHAR"
    if choose.random() < 0.15:
        options += ", file_row_number = true"
        columns["file_row_number"] = "BIGINT"
    pattern = "'h=*/*.parquet'" if hive else choose.choice(["'*.parquet'", "'f*.parquet'", "[" + ", ".join(f"'f{n}.parquet'" for n in range(count)) + "]"])
    return Case(setup, f"read_parquet({pattern}{options})", columns)


def literal(choose: random.Random, kind: str) -> str:
    """A value of the column's type."""
    number = choose.choice([0, 1, 7, 100, 2047, 2048, 4096, 9000, 25000, choose.randrange(40000)])
    if kind == "BIGINT" or kind not in KEYS:
        return str(number)
    return f"(SELECT {KEYS[kind]} FROM (SELECT {number}::BIGINT AS k, {number} AS i))"


def condition(choose: random.Random, columns: dict[str, str]) -> str:
    name = choose.choice([name for name in columns if name != "filename"])
    kind = columns[name]
    value, other = literal(choose, kind), literal(choose, kind)
    return choose.choice([
        f"{name} = {value}", f"{name} < {value}", f"{name} >= {value}", f"{name} BETWEEN {value} AND {other}",
        f"{name} IN ({value}, {other})", f"{name} IS NULL", f"{name} IS NOT NULL", f"{name} <> {value}",
        f"{name} IS DISTINCT FROM {value}", f"{name} = (SELECT min({name}) FROM t)",
    ])  # fmt: skip


def windows(choose: random.Random, key: str, other: str, where: str) -> str:
    """Over groups that may come in parts. What tells rows of one n apart is not asked together
    with what doesn't: they may take each other's."""
    order = choose.choice(["", " DESC", " NULLS FIRST", " DESC NULLS FIRST"])
    over = f"(PARTITION BY {key} ORDER BY {other}{order})"
    by_row = f"(PARTITION BY {key} ORDER BY n{order}"
    of_keys = [
        f"rank() OVER {over}", f"dense_rank() OVER {over}", f"percent_rank() OVER {over}", f"cume_dist() OVER {over}",
        f"sum(n) OVER {over}", f"count({other}) OVER {over}", f"max(n) OVER {over}", f"min({other}) OVER {over}",
        f"sum(n) FILTER (n % 3 = 0) OVER {over}", f"first_value({other}) OVER {over}", f"last_value({other}) OVER {over}",
        f"sum(n) OVER (PARTITION BY {key})", f"avg(n) OVER {over}",
    ]  # fmt: skip
    of_rows = [
        f"lag(n, 2) OVER {by_row})", f"lead(n, 1, -1) OVER {by_row})", f"row_number() OVER {by_row})",
        f"sum(n) OVER {by_row} ROWS UNBOUNDED PRECEDING)", f"count(*) OVER {by_row})", f"ntile(7) OVER {by_row})",
        f"count(*) OVER {by_row} RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)",
        f"sum(n) OVER {by_row} ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    ]  # fmt: skip
    calls = choose.sample(choose.choice([of_keys, of_rows]), choose.randrange(1, 5))
    named = ", ".join(f"{call} AS w{at}" for at, call in enumerate(calls))
    return f"SELECT {key} AS k, n, {named} FROM t{where}"


def make_query(choose: random.Random, case: Case) -> str:
    columns = case.columns
    names = list(columns)
    key, other = choose.choice(names), choose.choice(names)
    where = ""
    if choose.random() < 0.5:
        where = " WHERE " + choose.choice([" AND ", " OR "]).join(condition(choose, columns) for _ in range(choose.choice([1, 1, 2])))
    query = choose.choice([
        f"SELECT * FROM t{where}",
        f"SELECT {key}, {other} FROM t{where}",
        f"SELECT count(*) AS c, min({key}) AS lo, max({other}) AS hi, count({key}) AS f FROM t{where}",
        f"SELECT count(DISTINCT {key}) AS d, sum(n) AS s FROM t{where}",
        f"SELECT {key} AS k, count(*) AS c, sum(n) AS s, max({other}) AS m FROM t{where} GROUP BY 1",
        f"SELECT {key} AS k, {other} AS o, count(*) AS c FROM t{where} GROUP BY ALL HAVING count(*) > 1",
        f"SELECT DISTINCT {key} AS k FROM t{where}",
        f"SELECT count(*) AS c, sum(a.n) AS s, sum(b.n) AS u FROM t a JOIN t b ON a.{key} = b.{key} AND a.n = b.n",
        f"SELECT count(*) AS c, sum(a.n) AS s, count(b.n) AS u FROM t a LEFT JOIN (FROM t{where}) b ON a.{key} = b.{key} AND a.n < b.n AND b.n < a.n + 3",
        f"SELECT count(*) AS c, sum(n) AS s FROM t WHERE {key} IN (SELECT {key} FROM t{where})",
        f"SELECT count(*) AS c, sum(n) AS s FROM t a WHERE NOT EXISTS (SELECT 1 FROM (FROM t{where}) b WHERE a.{key} = b.{key})",
        f"SELECT {key} AS k, n, row_number() OVER (PARTITION BY {key} ORDER BY n, {other}) > 2 AS r, "
        f"sum(n) OVER (PARTITION BY {key} ORDER BY n) AS s FROM t{where}",
        windows(choose, key, other, where),
        windows(choose, key, other, where),
        f"SELECT {key} AS k, n FROM t{where} ORDER BY {key}, n, {other} LIMIT {choose.choice([1, 10, 3000])}",
        f"SELECT sum(p * n) AS s FROM (SELECT n, row_number() OVER () AS p FROM (SELECT {key}, n FROM t{where} ORDER BY {key}, n))",
    ])  # fmt: skip
    return f"CREATE VIEW t AS FROM {case.call}; {query}"


def check(shoal: str, folder: Path, choose: random.Random) -> str | None:
    case = make_case(choose)
    for part in range(3):
        (folder / f"h={part}").mkdir()
    subprocess.run([shoal, "sql", "--threads", "1", case.setup], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (folder / "setup.sql").write_text(case.setup)
    over = ["--workers", str(choose.choice([1, 2, 2, 3])), "--threads", str(choose.choice([1, 2])),
            "--split-rows", str(choose.choice([1, 500, 5000, 100000])),
            "--partitions", str(choose.choice([1, 5, 16])),
            "--broadcast-rows", str(choose.choice([-1, 2000, 10**9])),
            "--cluster-rows", str(choose.choice([-1, 0, 0, 0])),
            "--skew", choose.choice(["auto", "off", "always", f"random:{choose.randrange(99)}"]), "--temp-dir", str(folder)]  # fmt: skip
    if choose.random() < 0.5:
        over += ["--sort-rows", choose.choice(["0", "1000"])]
    for _ in range(4):
        fault = cases.difference(shoal, folder, make_query(choose, case), over)
        if fault is not None:
            return fault
    return None


if __name__ == "__main__":
    cases.main((__doc__ or "").split("\n\n")[0], check)
