"""Run queries in few processes, and say for each what came: rows, an error, or a death."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
import same_answer
from tables import init_sql, make_sql

BATCH_SECONDS = 300
QUERY_SECONDS = 60


@dataclass
class Outcome:
    """What a query gave: rows, else an error's text. `died`: killed, crashed, or too slow."""

    rows: list[same_answer.Row] | None = None
    error: str = ""
    died: bool = False


def first_line(error: str) -> str:
    """What two runs of the same mistake have in common: the kind of error and its start."""
    return next((line for line in error.splitlines() if line.strip()), "").strip()


def difference(expected: Outcome, actual: Outcome, ordered: bool) -> str | None:
    """None when both gave the same rows, or the same error."""
    if expected.rows is not None and actual.rows is not None:
        return same_answer.difference(expected.rows, actual.rows, ordered)
    alike = first_line(expected.error) == first_line(actual.error)
    if expected.rows is None and actual.rows is None and alike and not actual.died:
        return None
    return f"expected {expected.error or 'rows'}, came {actual.error or 'rows'}"


def random_options(choose: random.Random) -> list[str]:
    options = [
        "--workers", str(choose.choice([1, 2, 2, 3])), "--threads", str(choose.choice([1, 2])),
        "--partitions", str(choose.choice([1, 5, 16])),
        "--broadcast-rows", str(choose.choice([-1, 2000, 10**9])),
        "--cluster-rows", str(choose.choice([-1, 0, 0])),
        "--split-rows", str(choose.choice([500, 5000, 100000])),
    ]  # fmt: skip
    skew = choose.choice(["auto", "off", "always", f"random:{choose.randrange(1000)}"])
    options += ["--skew", skew]
    sort_rows = choose.choice([None, "0", "0", "1000"])
    return options if sort_rows is None else [*options, "--sort-rows", sort_rows]


class Runner:
    def __init__(self, shoal: str, folder: Path) -> None:
        self.shoal = shoal
        self.folder = folder
        self.init = folder / "init.sql"
        subprocess.run([shoal, "sql", make_sql(folder)], check=True, stdout=subprocess.DEVNULL)
        self.init.write_text(init_sql(folder))

    def process(
        self, command: str, queries: Sequence[str], options: Sequence[str], seconds: int
    ) -> tuple[str, str, bool]:
        """Standard output, the error, and whether the process died of it."""
        batch = self.folder / "batch.sql"
        batch.write_text("".join(query + ";\n" for query in queries))
        full = [
            self.shoal, command, "--init", str(self.init), "--format", "json", "-f", str(batch),
            *options,
        ]  # fmt: skip
        with (
            open(self.folder / "out", "w") as out,
            open(self.folder / "err", "w") as err,
            subprocess.Popen(full, stdout=out, stderr=err) as running,
        ):
            try:
                code = running.wait(seconds)
            except subprocess.TimeoutExpired:
                running.kill()
                code = -1
                print(f"no end after {seconds} s", file=err)
        error = (self.folder / "err").read_text(errors="replace") if code else ""
        died = code not in (0, 1)
        if died:
            error = f"exit code {code}: {error[-2000:]}"
        return (self.folder / "out").read_text(errors="replace"), error, died

    def run(self, queries: Sequence[str], options: Sequence[str] = ()) -> list[Outcome]:
        """One process, which ends at the first error: the rest goes into another one.

        What a process that dies had printed is lost in part, so its queries run again in
        two halves, down to the one that kills it.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(queries):
            left = queries[len(outcomes) :]
            seconds = QUERY_SECONDS if len(left) == 1 else BATCH_SECONDS
            text, error, died = self.process("sql", left, options, seconds)
            if died and len(left) > 1:
                half = len(left) // 2
                return [
                    *outcomes, *self.run(left[:half], options), *self.run(left[half:], options),
                ]  # fmt: skip
            outcomes += [Outcome(rows) for rows in same_answer.parse_results(text)] if not died else []
            if error:
                outcomes.append(Outcome(None, error, died))
            elif len(outcomes) < len(queries):
                outcomes.append(Outcome(None, "rows are missing and nothing was said", True))
        return outcomes

    def embedded_reasons(self, queries: Sequence[str], options: Sequence[str]) -> list[str]:
        """Why the queries that are not distributed are not. All must be known to run."""
        text, _, _ = self.process("explain", queries, options, BATCH_SECONDS)
        decoder, at, reasons = json.JSONDecoder(), 0, []
        while at < len(text):
            plan, at = decoder.raw_decode(text, at)
            if plan.get("embedded"):
                reasons.append(plan["reason"])
            while at < len(text) and text[at].isspace():
                at += 1
        return reasons
