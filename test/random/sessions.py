"""Random sessions of several statements: files and folders that COPY writes and the next
statements read, tables that are made, filled, changed and rolled back. What they print and
leave over workers is what they do embedded, and what session tables beside them hold.

    python3 test/random/sessions.py --shoal build/shoal --seed 1 --count 100
"""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import cases
import parquet_files

# What names a folder of a partition.
PARTITIONS = {
    "k % 3": "BIGINT", "(k % 5)::INTEGER": "INTEGER", "'p' || k % 4": "VARCHAR", "if(k % 4 = 0, NULL, k % 4)": "BIGINT",
    "DATE '2024-01-01' + (k % 3)::INTEGER": "DATE", "k % 2 = 0": "BOOLEAN", "'a b/=%' || k % 2": "VARCHAR",
}  # fmt: skip
WRITERS = {
    "parquet": ["ROW_GROUP_SIZE 2048", "COMPRESSION zstd", "PARQUET_VERSION v2", "COMPRESSION uncompressed"],
    "csv": ["HEADER", "DELIMITER '|'", "NULLSTR 'nil'", "QUOTE ''''", "FORCE_QUOTE *"],
    "json": ["COMPRESSION gzip", "ARRAY true"],
    "delta": ["ROW_GROUP_SIZE 2048"],
}  # fmt: skip
# Types that Delta and text files give back as they were.
PLAIN = {"BIGINT", "INTEGER", "SMALLINT", "DATE", "VARCHAR", "VARCHAR odd", "BOOLEAN"}

# What a script may run into: a target that is there, an empty folder that is read.
EXPECTED = ["already", "not empty", "No files found", "schema mismatch"]


@dataclass
class Target:
    """What a COPY has written: where it is, and the table that should hold the same."""

    name: str
    kind: str
    parts: list[str]
    types: list[str]
    options: list[str]
    folder: bool
    value: str = ""  # the column of t that x is
    kind_of_x: str = ""

    def shadow(self) -> str:
        return f"shadow_{self.name.partition('.')[0]}"

    def call(self) -> str:
        if self.kind == "delta":
            return f"delta_scan('{self.name}')"
        end = "**/*" if self.folder else ""
        path = f"'{self.name}{'/' + end if end else ''}'"
        hive = ""
        if self.parts:
            kinds = ", ".join(f"{name}: {kind}" for name, kind in zip(self.parts, self.types, strict=True))
            hive = f", hive_partitioning = true, hive_types = {{{kinds}}}"
        if self.kind == "csv":
            delim = "|" if "DELIMITER '|'" in self.options else ","
            quote = "''" if "QUOTE ''''" in self.options else '"'
            null = "nil" if "NULLSTR 'nil'" in self.options else ""
            hive += f", delim = '{delim}', quote = '{quote}', escape = '{quote}', nullstr = '{null}', header = true"
            return f"read_csv({path}{hive}, all_varchar = true)"
        if self.kind == "json":
            kinds = {"x": self.kind_of_x, "n": "BIGINT", "k": "BIGINT", **dict(zip(self.parts, self.types, strict=True))}
            hive += f", columns = {kinds}"
        return f"read_{self.kind}({path}{hive})"


@dataclass
class Session:
    choose: random.Random
    columns: dict[str, str]
    statements: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    made: int = 0

    def say(self, statement: str) -> None:
        self.statements.append(statement)

    def rows(self, parts: list[str], value: str) -> str:
        """A query of t, with columns x, n, k and those of the partitions."""
        choose = self.choose
        added = "".join(f", {expression} AS p{at}" for at, expression in enumerate(parts))
        where = choose.choice(["", "", " WHERE n % 7 < 3", " WHERE n < 100", " WHERE false", " WHERE n >= 2048"])
        return choose.choice([
            f"SELECT {value} AS x, n, k{added} FROM (SELECT *, n * 7 AS k FROM t){where}",
            f"SELECT {value} AS x, count(*) AS n, k{added} FROM (SELECT *, n % 11 AS k FROM t){where} GROUP BY ALL",
            f"SELECT max({value}) AS x, sum(n)::BIGINT AS n, k{added} FROM (SELECT *, n % 301 AS k FROM t){where} GROUP BY ALL",
            f"SELECT a.{value} AS x, a.n, k{added} FROM (SELECT *, n % 50 AS k FROM t{where}) a WHERE n IN (SELECT n // 3 FROM t)",
        ])  # fmt: skip

    def copy(self) -> None:
        choose = self.choose
        if self.targets and choose.random() < 0.5:
            self.copy_again(choose.choice(self.targets))
            return
        kind = choose.choice(["parquet", "parquet", "parquet", "csv", "json", "delta"])
        parts = choose.sample(sorted(PARTITIONS), choose.choice([0, 0, 1, 1, 2]))
        if kind == "delta":
            parts = [part for part in parts if "%'" not in part]
        options = choose.sample(WRITERS[kind], choose.randrange(0, 2))
        target = Target(f"out{self.made}", kind, [f"p{at}" for at in range(len(parts))], [PARTITIONS[part] for part in parts], options, True)
        self.made += 1
        if not parts and kind != "delta":
            target.folder = choose.random() < 0.6
            target.name += "" if target.folder else f".{kind}" + ".gz" * ("COMPRESSION gzip" in options)
            if target.folder:
                options.append(choose.choice(["PER_THREAD_OUTPUT", "FILE_SIZE_BYTES '40kb'", *["SORT_BY (n)"] * (kind != "json")]))
        elif choose.random() < 0.3:
            options.append(choose.choice(["FILE_SIZE_BYTES '40kb'", *["SORT_BY (n, k)"] * (kind != "json")]))
        names = [name for name, type_of in self.columns.items() if type_of in PLAIN or kind == "parquet"]
        target.value = choose.choice(names)
        target.kind_of_x = self.columns[target.value].split()[0]
        query = self.rows(parts, target.value)
        self.write(target, query, choose.choice(["", "", "OVERWRITE", "APPEND"]) if target.folder else "")
        self.targets.append(target)

    def copy_again(self, target: Target) -> None:
        modes = ["OVERWRITE", "APPEND", "APPEND"] + ["OVERWRITE_PARTITIONS"] * bool(target.parts)
        names = {kind: name for name, kind in reversed(PARTITIONS.items())}
        parts = [names[kind] for kind in target.types]
        query = self.rows(parts, target.value)
        if self.choose.random() < 0.4 and target.kind != "csv":
            query = f"SELECT * REPLACE (n + 1 AS n) FROM {target.call()}"
        self.write(target, query, self.choose.choice(modes) if target.folder else "")

    def write(self, target: Target, query: str, mode: str) -> None:
        options = [f"FORMAT {target.kind}", *target.options, *([mode] if mode else [])]
        if target.parts:
            options.append(f"PARTITION_BY ({', '.join(target.parts)})")
        shadow = target.shadow()
        known = any(target is other for other in self.targets)
        self.say(f"CREATE OR REPLACE TEMP TABLE new AS {query}")
        self.say(f"COPY ({query}) TO '{target.name}' ({', '.join(options)})")
        if not known:
            self.say(f"CREATE TABLE {shadow} AS FROM new")
        else:
            if mode == "OVERWRITE_PARTITIONS":
                same = " AND ".join(f"s.{name} IS NOT DISTINCT FROM q.{name}" for name in target.parts)
                self.say(f"DELETE FROM {shadow} s WHERE EXISTS (FROM new q WHERE {same})")
            elif mode != "APPEND":
                self.say(f"DELETE FROM {shadow}")
            self.say(f"INSERT INTO {shadow} BY NAME FROM new")

    def look(self) -> None:
        choose = self.choose
        sources = [target.call() for target in self.targets] + self.tables
        source = choose.choice(sources or ["(SELECT n, n AS x FROM t)"])
        self.say(choose.choice([
            f"SELECT count(*) AS c, sum(n::BIGINT) AS s, count(x) AS x FROM {source}",
            f"SELECT n::BIGINT % 10 AS g, count(*) AS c, max(n::BIGINT) AS m FROM {source} GROUP BY 1",
            f"SELECT count(*) AS c FROM {source} a JOIN t b ON a.n::BIGINT = b.n",
            f"SELECT a.n::BIGINT AS n FROM {source} a ORDER BY 1 DESC LIMIT 20",
            f"SELECT sum(r) AS s FROM (SELECT rank() OVER (PARTITION BY n::BIGINT % 3 ORDER BY n::BIGINT) AS r FROM {source})",
        ]))  # fmt: skip

    def table(self, old: bool = False) -> None:
        choose = self.choose
        if old or (self.tables and choose.random() < 0.7):
            name = choose.choice(self.tables)
            self.say(choose.choice([
                f"INSERT INTO {name} SELECT n + 1 AS n, x FROM (SELECT n, x FROM {name}) WHERE n % 2 = 0",
                f"INSERT INTO {name} BY NAME SELECT NULL AS x, n FROM t WHERE n % 5 = 0",
                f"INSERT INTO {name} (n) SELECT n * 2 FROM t WHERE n < 500",
                f"DELETE FROM {name} WHERE n % 3 = 0", f"UPDATE {name} SET n = n + 1 WHERE n % 4 = 0",
                f"CREATE OR REPLACE TABLE {name} AS SELECT n * 3 AS n, x FROM {name}", f"TRUNCATE {name}",
            ]))  # fmt: skip
            return
        name = f"made{self.made}"
        self.made += 1
        temp = choose.choice(["", "TEMP "])
        value = choose.choice(list(self.columns))
        self.say(choose.choice([
            f"CREATE {temp}TABLE {name} AS SELECT n, {value} AS x FROM t WHERE n % 3 < 2",
            f"CREATE {temp}TABLE {name} AS SELECT n % 100 AS n, max({value}) AS x FROM t GROUP BY 1 ORDER BY 1",
            f"CREATE OR REPLACE {temp}TABLE {name}(n, x) AS SELECT n, {value} FROM t WHERE n IN (SELECT n // 2 FROM t)",
        ]))  # fmt: skip
        self.tables.append(name)

    def other(self) -> None:
        choose = self.choose
        self.made += 1
        kind = choose.randrange(5)
        if kind == 0:
            self.say(f"PREPARE q{self.made} AS SELECT count(*) AS c, sum(n) AS s FROM t WHERE n % $1 = 0")
            self.say(f"EXECUTE q{self.made}({choose.randrange(1, 9)})")
        elif kind == 1:
            self.say(f"CREATE MACRO m{self.made}(a) AS a % 7; SELECT m{self.made}(n) AS m, count(*) AS c FROM t GROUP BY 1")
        elif kind == 2:
            self.say(choose.choice(["SET TimeZone = 'Asia/Tokyo'", "SET preserve_insertion_order = false", "SET default_null_order = 'nulls_first'", "RESET TimeZone"]))
        elif kind == 3:
            self.say(f"SET VARIABLE v = (SELECT max(n) FROM t); SELECT count(*) AS c FROM t WHERE n = getvariable('v')")
        elif self.tables:
            # Files are of no transaction.
            self.say("BEGIN")
            self.table(old=True)
            self.table(old=True)
            self.say(choose.choice(["COMMIT", "ROLLBACK"]))

    def step(self) -> None:
        self.choose.choice([self.copy, self.copy, self.look, self.look, self.table, self.other])()


def printed(text: str) -> list[list[str]]:
    """The rows of each statement, as JSON, sorted."""
    decoder, answers, at = json.JSONDecoder(), [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        rows, at = decoder.raw_decode(text, at)
        answers.append(sorted(json.dumps(row, sort_keys=True) for row in rows))
    return answers


def run(shoal: str, folder: Path, options: list[str]) -> tuple[list[list[str]], str]:
    command = [shoal, "sql", "--format", "json", "-f", "session.sql", *options]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=cases.SECONDS)
    except subprocess.TimeoutExpired:
        return [], f"not done in {cases.SECONDS} s"
    return printed(done.stdout), "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr}"


def shadow_differs(answers: list[list[str]], targets: list[Target]) -> str | None:
    """The last answers are each target's and its shadow's."""
    for at, target in enumerate(targets):
        rows, shadow = answers[2 * (at - len(targets)) :][:2]
        if rows != shadow:
            odd = sorted(set(rows) ^ set(shadow))[:4]
            return f"{target.name} has {len(rows)} rows, its table {len(shadow)}; of one: {odd}"
    return None


def check(shoal: str, folder: Path, choose: random.Random) -> str | None:
    case = parquet_files.make_case(choose)
    for place in ("embedded", "workers"):
        (folder / place).mkdir()
        for part in range(3):
            (folder / place / f"h={part}").mkdir()
        subprocess.run([shoal, "sql", "--threads", "1", case.setup], cwd=folder / place, check=True, stdout=subprocess.DEVNULL)
    columns = {name: kind for name, kind in case.columns.items() if name not in ("filename",)}
    session = Session(choose, columns)
    session.say(f"CREATE VIEW t AS FROM {case.call}")
    for _ in range(choose.randrange(2, 9)):
        session.step()
    for name in session.tables:
        session.say(f"SELECT count(*) AS c, sum(n) AS s, count(x) AS x, min(x) AS l FROM {name}")
    for target in session.targets:
        names = "x::VARCHAR AS x, n::BIGINT AS n, k::BIGINT AS k" + "".join(f", {name}::VARCHAR AS {name}" for name in target.parts)
        if target.kind == "csv":  # whose NULLs may be empty
            names = names.replace("x::VARCHAR AS x", "nullif(x::VARCHAR, '') AS x")
        session.say(f"SELECT {names} FROM {target.call()}")
        session.say(f"SELECT {names} FROM {target.shadow()}")
    for place in ("embedded", "workers"):
        (folder / place / "session.sql").write_text(";\n".join(session.statements) + ";\n")
    over = ["--workers", str(choose.choice([1, 2, 2, 3])), "--threads", str(choose.choice([1, 2])),
            "--split-rows", str(choose.choice([1, 500, 5000, 100000])), "--partitions", str(choose.choice([1, 5, 16])),
            "--broadcast-rows", str(choose.choice([-1, 2000, 10**9])), "--cluster-rows", str(choose.choice([-1, 0])),
            "--sort-rows", choose.choice(["0", "1000", "10000000"]),
            "--skew", choose.choice(["auto", "off", "always", f"random:{choose.randrange(99)}"])]  # fmt: skip
    expected, error = run(shoal, folder / "embedded", ["--threads", str(choose.choice([1, 2]))])
    actual, other = run(shoal, folder / "workers", [*over, "--temp-dir", str(folder)])
    told = f"{' '.join(over)}\nembedded: {error}\nworkers: {other}"
    if "INTERNAL Error" in error:  # of DuckDB alone
        return None
    if cases.kind_of(error) != cases.kind_of(other):
        return told
    if expected != actual:
        at = next((at for at, (a, b) in enumerate(zip(expected, actual)) if a != b), -1)
        odd = sorted(set(expected[at]) ^ set(actual[at]))[:4] if at >= 0 else ""
        return f"answer {at} of {len(expected)}, {len(actual)} differs: {odd}\n{told}"
    if error:
        return None if any(said in error for said in EXPECTED) else f"failed\n{told}"
    return shadow_differs(expected, session.targets)


if __name__ == "__main__":
    cases.main((__doc__ or "").split("\n\n")[0], check)
