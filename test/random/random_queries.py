"""Seeded random SELECTs, distributed against embedded: the same rows, or it is said.

    python3 test/random/random_queries.py --count 100 --seed 1 [--shoal build/shoal]
    python3 test/random/random_queries.py --seed 1 --only 17    that query alone, minimised

`tables.py` has the data, `generator.py` makes queries as the trees of `tree.py`,
`runner.py` runs them, and `minimise.py` drops parts of one that fails until none can go.
Queries run in chunks, each under a configuration of its own that the seed fixes. A
difference prints seed, number, configuration, query, the minimised query, and the command
that shows it again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from generator import Generator
from minimise import minimise, same_alone
from runner import Runner, difference, random_options
from tables import init_sql
from tree import Query

ROOT = Path(__file__).resolve().parent.parent.parent
CHUNK = 25
MINIMISED = 3  # failures of one run that are made small; all are printed

# What a batch must be to prove anything, in percent of its queries. Lower MOST_EMBEDDED
# as more is distributed.
MOST_EMBEDDED = 10
MOST_EMPTY = 50
MOST_ERRORS = 5


def chunks(seed: int, count: int) -> Iterator[tuple[range, list[str]]]:
    """Numbers of queries, and the options they run under."""
    for start in range(0, count, CHUNK):
        options = random_options(random.Random(f"{seed} {start}"))
        yield range(start, min(start + CHUNK, count)), options


def make(seed: int, number: int) -> Query:
    return Generator(seed * 1_000_003 + number).query()


class Report:
    """Counts what came and prints each failure."""

    def __init__(self, runner: Runner, seed: int) -> None:
        self.runner = runner
        self.seed = seed
        self.wrong = 0
        self.errors: list[str] = []
        self.empty = 0
        self.embedded: Counter[str] = Counter()

    def fail(self, number: int, query: Query, options: list[str], problem: str) -> None:
        self.wrong += 1
        print(f"\nseed {self.seed} query {number}, {' '.join(options)}: {problem}")
        print(f"  {query.sql()};")
        print(f"  again: {Path(__file__).name} --seed {self.seed} --only {number}")
        if not same_alone(self.runner, query):
            print("  a defect of the generator: embedded, its rows depend on the threads")
        elif self.wrong <= MINIMISED:
            small, problem = minimise(self.runner, query, options)
            print(f"minimised: {problem}\n  {small.sql()};")
        sys.stdout.flush()

    def chunk(self, numbers: range, options: list[str]) -> None:
        queries = [make(self.seed, number) for number in numbers]
        texts = [query.sql() for query in queries]
        expected = self.runner.run(texts)
        actual = self.runner.run(texts, options)
        for number, query, a, b in zip(numbers, queries, expected, actual):
            if a.rows is None:
                self.errors.append(f"query {number}: {a.error.strip()}\n  {query.sql()};")
            self.empty += a.rows == []
            problem = difference(a, b, query.total)
            if problem:
                self.fail(number, query, options, problem)
        good = [text for text, a, b in zip(texts, expected, actual) if a.rows is not None and b.rows is not None]
        self.embedded.update(self.runner.embedded_reasons(good, options))

    def weak(self, count: int) -> str | None:
        """What runs embedded, gives no rows or fails alike proves nothing."""
        shares = (
            ("run embedded", self.embedded.total(), MOST_EMBEDDED),
            ("give no rows", self.empty, MOST_EMPTY),
            ("are errors", len(self.errors), MOST_ERRORS),
        )
        wrong = [f"{n} of {count} {what}" for what, n, most in shares if 100 * n > most * count]
        return ", ".join(wrong) or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shoal", default=str(ROOT / "build/shoal"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", type=int, help="the number of one query")
    parser.add_argument("--keep", type=Path, help="write the tables and init.sql here")
    parser.add_argument("--verbose", action="store_true", help="errors, and why embedded")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shoal-random-test-") as work:
        folder = args.keep.resolve() if args.keep else Path(work)
        folder.mkdir(exist_ok=True)
        runner = Runner(args.shoal, folder)
        report = Report(runner, args.seed)
        if args.only is not None:
            numbers, options = list(chunks(args.seed, args.only + 1))[-1]
            print(f"{' '.join(options)}\n{init_sql(folder)}")
            report.chunk(range(args.only, args.only + 1), options)
        else:
            for numbers, options in chunks(args.seed, args.count):
                report.chunk(numbers, options)
    if args.verbose:
        print("\n".join([*report.errors, *(f"{n}: {why}" for why, n in report.embedded.most_common())]))
    if args.only is not None:
        return 1 if report.wrong else 0
    weak = report.weak(args.count)
    if weak:
        print(f"seed {args.seed}: too weak a test: {weak}")
        print("\n".join(report.errors[:5]))
    print(
        f"{args.count - report.wrong} of {args.count} queries are the same; "
        f"{report.embedded.total()} run embedded, {report.empty} give no rows, "
        f"{len(report.errors)} are errors"
    )
    return 1 if report.wrong or weak else 0


if __name__ == "__main__":
    sys.exit(main())
