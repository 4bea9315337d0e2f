#!/usr/bin/env python3
"""Run both example pipelines on engines, and check that their tables are right.

    check.py [--rows N] [--shoal PROGRAM] ENGINE...

An ENGINE is what follows `run.sh`, options and all, in one word: 'dask://127.0.0.1:8786',
'local --workers 2', 'spark://127.0.0.1:7077 --workers 2 --python /venv/bin/python'. The embedded
run comes first: it must have what a reading of the logs in plain Python gives, and set aside
exactly the lines that make_logs.py made bad. Then each engine must give the same tables, also
when a pipeline runs again. Exit code 0: all of it holds.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gzip
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
BY_DAY, FILES, DELTA = "read_parquet('{}/*/*.parquet')", "read_parquet('{}/*.parquet')", "'{}'"
# Each pipeline's tables, and how each is read.
TABLES = {
    "etl_dask": {
        "staged": FILES,
        "quarantine": BY_DAY,
        "events": BY_DAY,
        "sessions": BY_DAY,
        "daily": BY_DAY,
    },
    "sql_spark": {
        "staging_app": FILES,
        "staging_edge": FILES,
        "judged": FILES,
        "quarantine": BY_DAY,
        "events": FILES,
        "sessions": FILES,
        "daily_traffic": DELTA,
        "top_pages": DELTA,
        "sources": DELTA,
        "retention": DELTA,
    },
}
Row = tuple[str, ...]


class Logs:
    """A folder of make_logs.py, and what must come of it."""

    def __init__(self, folder: pathlib.Path, rows: int, seed: int, first: str, days: int) -> None:
        self.folder = folder
        maker = HERE / "weblogs" / "make_logs.py"
        command = [sys.executable, str(maker), str(folder), "--rows", str(rows)]
        command += ["--seed", str(seed), "--first", first, "--days", str(days)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.rejects = Counter((bad["file"], str(bad["line"])) for bad in self.manifest["rejects"])
        self.quarantine = Counter(
            (reason, name) for reason, names in self.manifest["quarantine"].items() for name in names
        )
        self.events = Counter(self.sessionised())
        self.sessions: Counter[Row] = Counter(
            (visitor, start, is_bot, str(hits))
            for (visitor, start, is_bot), hits in Counter(
                (visitor, start, is_bot) for _, visitor, _, start, is_bot in self.events
            ).items()
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each line that is not one of the manifest's rejects."""
        for path in sorted(self.folder.glob("*/*")):
            name = str(path.relative_to(self.folder))
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            header = "id,ts,visitor,user,method,url,status,bytes,ms,country,city,agent,received"
            for number, line in enumerate(text.splitlines(), 1):
                if (name, str(number)) in self.rejects or line == header:
                    continue
                if ".json" in name:
                    event = json.loads(line)
                    yield {**event, "status": event["request"]["status"]}
                else:
                    fields = next(csv.reader([line]))
                    yield dict(zip(header.split(","), fields, strict=True))

    def good(self) -> Iterator[dict[str, Any]]:
        first: dict[str, dict[str, Any]] = {}
        for event in self.lines():
            for key in ("ts", "received"):
                event[key] = datetime.datetime.fromisoformat(event[key])
            ahead = event["ts"] - event["received"]
            in_time = datetime.timedelta(days=-1) <= ahead <= datetime.timedelta(minutes=5)
            if not (event["visitor"] and 100 <= int(event["status"]) <= 599 and in_time):
                continue
            known = first.get(event["id"])
            if known is None or event["received"] < known["received"]:
                first[event["id"]] = event
        yield from first.values()

    def sessionised(self) -> Iterator[Row]:
        """Id, visitor, arrival, start of session, and whether it is a bot's, of each good event."""
        last: dict[str, datetime.datetime] = {}
        start: dict[str, datetime.datetime] = {}
        for event in sorted(self.good(), key=lambda event: (event["ts"], event["id"])):
            visitor, at = event["visitor"], event["ts"]
            if visitor not in last or at - last[visitor] > datetime.timedelta(minutes=30):
                start[visitor] = at
            last[visitor] = at
            is_bot = re.search("bot|crawl|spider", event["agent"], re.IGNORECASE) is not None
            times = (event["received"], start[visitor])
            texts = (time.isoformat(sep=" ", timespec="milliseconds") for time in times)
            yield (event["id"], visitor, *texts, str(is_bot).lower())


def text_of(column: str) -> str:
    return f"strftime({column}, '%Y-%m-%d %H:%M:%S.%g')"


class Checker:
    def __init__(self, shoal: str, work: pathlib.Path) -> None:
        self.shoal = shoal
        self.work = work
        self.problems = 0
        self.good: dict[tuple[str, str], Counter[Row]] = {}  # the embedded run's tables

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.problems += 1
            print(f"WRONG: {what}")

    def same(self, expected: Counter[Row], actual: Counter[Row], what: str) -> None:
        missing, more = expected - actual, actual - expected
        self.expect(
            not missing and not more,
            f"{what}: {missing.total()} rows are missing, such as {sorted(missing)[:1]}, and "
            f"{more.total()} are too many, such as {sorted(more)[:1]}",
        )

    def rows(self, query: str) -> Counter[Row]:
        command = [self.shoal, "sql", "--format", "csv", query]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        reader = csv.reader(io.StringIO(answer))
        next(reader)
        return Counter(map(tuple, reader))

    def table(self, pipeline: str, table: str, out: pathlib.Path, what: str = "*") -> Counter[Row]:
        source = TABLES[pipeline][table].format(out / table)
        return self.rows(f"SELECT {what} FROM {source}")

    def run(self, pipeline: str, engine: str, logs: Logs, out: pathlib.Path) -> None:
        """One run, and what it set aside."""
        rejects = set(out.glob("rejects/*.csv"))
        url, *options = shlex.split(engine)
        program = [str(HERE / pipeline / "run.sh"), url, str(logs.folder), str(out), *options]
        ended = subprocess.run(
            program,
            env={**os.environ, "SHOAL": self.shoal},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if ended.returncode != 0:
            sys.exit(f"{shlex.join(program)} ended with {ended.returncode}:\n{ended.stdout}")
        kept: Counter[Row] = Counter()
        for file in set(out.glob("rejects/*.csv")) - rejects:
            # A line that is cut off is there for each column that it lacks.
            for name, line in self.rows(f"SELECT DISTINCT file, line FROM read_csv('{file}')"):
                kept[str(pathlib.Path(name).relative_to(logs.folder)), line] += 1
        self.same(Counter(logs.rejects), kept, f"{pipeline} on {engine}: rejected lines")
        bad = self.table(pipeline, "quarantine", out, "reason, id")
        self.same(Counter(logs.quarantine), bad, f"{pipeline} on {engine}: quarantined events")

    def events(self, pipeline: str, out: pathlib.Path, expected: Counter[Row], what: str) -> None:
        columns = f"id, visitor, {text_of('received')}, {text_of('session_start')}, is_bot"
        got = self.table(pipeline, "events", out, columns)
        self.same(expected, got, what)

    def embedded(self, pipeline: str, logs: Logs) -> None:
        out = self.work / f"{pipeline}-embedded"
        for time in ("once", "again"):
            self.run(pipeline, "local", logs, out)
            what = f"{pipeline}, embedded, {time}: events beside those that Python finds"
            self.events(pipeline, out, logs.events, what)
        columns = f"visitor, {text_of('session_start')}, is_bot, hits"
        got = self.table(pipeline, "sessions", out, columns)
        self.same(logs.sessions, got, f"{pipeline}, embedded: sessions beside Python's")
        for table in TABLES[pipeline]:
            self.good[pipeline, table] = self.table(pipeline, table, out)

    def engine(self, number: int, pipeline: str, engine: str, logs: Logs) -> None:
        out = self.work / f"{pipeline}-{number}"
        self.run(pipeline, engine, logs, out)
        if pipeline == "sql_spark":
            self.run(pipeline, engine, logs, out)
        total = 0
        for table in TABLES[pipeline]:
            expected = self.good[pipeline, table]
            total += expected.total()
            what = f"{pipeline} on {engine}: table {table}"
            self.expect(expected.total() > 0, f"{what} is empty")
            self.same(expected, self.table(pipeline, table, out), what)
        print(f"{pipeline} on {engine}: {len(TABLES[pipeline])} tables, {total} rows, compared")

    def next_day(self, engine: str, out: pathlib.Path, logs: Logs, later: Logs) -> None:
        """A day more of logs: its partition comes to those that are there."""
        before = set(out.glob("events/*/*.parquet"))
        self.run("etl_dask", engine, later, out)
        after = set(out.glob("events/*/*.parquet"))
        new = {file.parent.name for file in after - before}
        self.expect(before < after, f"on {engine}: files of days before are as they were")
        self.expect(new == {"day=2026-03-04"}, f"on {engine}: one day is new, but it is {new}")
        what = f"etl_dask on {engine}: events with a day more"
        self.events("etl_dask", out, logs.events + later.events, what)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engines", nargs="*", metavar="ENGINE", default=["local --workers 2"])
    parser.add_argument("--rows", type=int, default=4000, help="of logs (4000)")
    build = HERE.parent / "build" / "shoal"
    parser.add_argument("--shoal", default=os.environ.get("SHOAL", str(build)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-examples-") as folder:
        work = pathlib.Path(folder)
        logs = Logs(work / "logs", options.rows, 1, "2026-03-01", 3)
        if not logs.rejects or not all(logs.manifest["quarantine"].values()):
            sys.exit("too few rows for every kind of bad line: raise --rows")
        later = Logs(work / "later", options.rows // 3, 2, "2026-03-04", 1)
        checker = Checker(options.shoal, work)
        for pipeline in TABLES:
            checker.embedded(pipeline, logs)
            for number, engine in enumerate(options.engines):
                checker.engine(number, pipeline, engine, logs)
        for number, engine in enumerate(options.engines):
            checker.next_day(engine, work / f"etl_dask-{number}", logs, later)
        print("all of it holds" if checker.problems == 0 else f"{checker.problems} are wrong")
        return 1 if checker.problems else 0


if __name__ == "__main__":
    sys.exit(main())
