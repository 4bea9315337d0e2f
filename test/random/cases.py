"""What random cases of files have in common: each makes its files in a folder, and a query of
them over workers has the rows that the embedded engine gives, or the same kind of error."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS = 60


def run(command: Sequence[str], folder: Path) -> tuple[list[str] | None, str]:
    """Sorted lines of the rows as JSON, or None and the error."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"not done in {SECONDS} s"
    if done.returncode == 0:
        return sorted(json.dumps(row) for row in json.loads(done.stdout or "[]")), ""
    if done.returncode != 1:
        return None, f"exit code {done.returncode}: {done.stderr}"
    return None, done.stderr


def kind_of(error: str) -> str:
    """The error's first two lines: what it is and on which line of the file."""
    return "\n".join(error.splitlines()[:2])


def difference(shoal: str, folder: Path, query: str, over: Sequence[str]) -> str | None:
    base = [shoal, "sql", "--format", "json", query]
    expected, error = run([*base, "--threads", "1"], folder)
    actual, other = run([*base, *over], folder)
    if "INTERNAL Error" in error:  # of DuckDB alone
        return None
    if expected == actual and (expected is not None or kind_of(error) == kind_of(other)):
        return None
    # With several threads DuckDB names one of several faults.
    if expected is None and actual is None and "exit code" not in other and "not done" not in other:
        return None if error.split(":")[0] == other.split(":")[0] else f"{query}\n{error}\n{other}"
    missing = len(set(expected or []) ^ set(actual or []))
    return f"{query}\n{' '.join(over)}\n{missing} rows differ\nembedded: {error}\nworkers: {other}"


def main(about: str, check: Callable[[str, Path, random.Random], str | None]) -> None:
    """Runs cases; `check` makes one in the folder and says what is wrong with it."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--shoal", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--keep", type=Path, help="a folder for the files of what fails")
    given = parser.parse_args()
    shoal = str(Path(given.shoal).resolve())
    failed = 0
    for number in range(given.count):
        choose = random.Random(given.seed * 1_000_003 + number)
        with tempfile.TemporaryDirectory() as folder:
            fault = check(shoal, Path(folder), choose)
            if fault is None:
                continue
            failed += 1
            print(f"seed {given.seed}, number {number}: {fault}\n", flush=True)
            if given.keep:
                shutil.copytree(folder, given.keep / f"{given.seed}-{number}", dirs_exist_ok=True)
    print(f"{given.count} cases, {failed} failed")
    sys.exit(failed > 0)
