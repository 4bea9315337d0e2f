"""Make a failing query small: take the first simpler one that still fails, again and again.

A candidate fails when it still gives another answer than the embedded engine (any other:
the smallest query is worth more than the same symptom), the embedded engine runs it, and
gives one answer whatever its threads, so that what is reported is never a query whose rows
SQL leaves open.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from runner import Runner, difference
from tree import Query

SECONDS = 120


def same_alone(runner: Runner, query: Query) -> bool:
    """The embedded engine gives rows, the same with one thread as with several."""
    [one] = runner.run([query.sql()], ["--threads", "1"])
    [more] = runner.run([query.sql()], ["--threads", "4"])
    return one.rows is not None and difference(one, more, query.total) is None


def fails(runner: Runner, query: Query, options: Sequence[str]) -> str | None:
    [expected] = runner.run([query.sql()])
    if expected.rows is None:
        return None
    [actual] = runner.run([query.sql()], options)
    return difference(expected, actual, query.total)


def minimise(
    runner: Runner, query: Query, options: Sequence[str], seconds: float = SECONDS
) -> tuple[Query, str]:
    """The smallest query found in the time, and how its answer differs."""
    end = time.monotonic() + seconds
    problem = fails(runner, query, options)
    if problem is None:
        return query, "not again when it runs alone"
    tried = {query.sql()}
    found = True
    while found and time.monotonic() < end:
        found = False
        candidates = sorted(query.smaller(), key=lambda candidate: len(candidate.sql()))
        for candidate in candidates:
            sql = candidate.sql()
            if sql in tried or len(sql) >= len(query.sql()) or time.monotonic() > end:
                continue
            tried.add(sql)
            again = fails(runner, candidate, options)
            if again is not None and same_alone(runner, candidate):
                query, problem, found = candidate, again, True
                break
    return query, problem
