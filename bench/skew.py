"""Skewed keys beside uniform ones: a fact table joined, aggregated and windowed by two workers
of one thread, with the keys spread evenly, one key of half the rows, Zipf keys, a key that is
hot on both sides, and NULLs. Nothing is broadcast and nothing cut by clustered keys: shuffles
are what is measured. For each query and each distribution of keys: seconds, the best of the
runs, which are interleaved; their ratio to the uniform keys'; and of one run more, by
`explain --analyze`, the longest and the median task of the worst stage.

    ./dev bench skew [--rows 100M] [--keys 1M,20M] [--runs 2] [--off] [--peers]
    ./dev bench skew --rows 10M --queries join,group --only uniform,hot
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tpch import PLAIN, ROOT, SHOAL, finish, measure

# How the keys are spread, as options of `shoal gen skew`.
SPREADS = {
    "uniform": [],
    "hot": ["--hot-share", "0.5"],
    "zipf1.2": ["--zipf", "1.2"],
    "zipf1.5": ["--zipf", "1.5"],
    "both": ["--hot-share", "0.01", "--both-sides", "--hot-rows", "200"],
    "nulls": ["--null-share", "0.4"],
}
OTHER_SIZE = ("both",)  # their joins give more rows than those of uniform keys
MEANING = {
    "uniform": "every key alike",
    "hot": "one key of half the rows",
    "zipf1.2": "Zipf, exponent 1.2",
    "zipf1.5": "Zipf, exponent 1.5",
    "both": "a key of 1% of the fact table and 200 rows of the dimension",
    "nulls": "40% without a key",
}
# One row each, so that no time goes into results; all sums are exact in any order.
QUERIES = {
    "join": "SELECT count(*), sum(amount), sum(weight) FROM {fact} JOIN {dim} USING (key)",
    "left": "SELECT count(*), sum(amount), sum(weight) FROM {fact} LEFT JOIN {dim} USING (key)",
    "joingroup": "SELECT count(*), sum(s), max(s) FROM (SELECT name, sum(amount * weight) AS s "
    "FROM {fact} JOIN {dim} USING (key) GROUP BY name)",
    "group": "SELECT count(*), sum(s), max(n) FROM (SELECT key, sum(amount) AS s, count(*) AS n "
    "FROM {fact} GROUP BY key)",
    "distinct": "SELECT count(*), sum(n) FROM (SELECT key, count(DISTINCT ts) AS n "
    "FROM {fact} GROUP BY key)",
    "window": "SELECT sum(n), max(s), count(before) FROM (SELECT row_number() OVER w AS n, "
    "sum(amount) OVER w AS s, lag(ts) OVER w AS before "
    "FROM {fact} WINDOW w AS (PARTITION BY key ORDER BY ts))",
}
SHUFFLES = {"join": 2, "left": 2, "joingroup": 2, "group": 1, "distinct": 1, "window": 1}
PEER_QUERIES = ("join", "group", "window")
OPTIONS = ["--workers", "2", "--threads", "1", "--broadcast-rows", "-1", "--cluster-rows", "-1"]
OFF = "SET shoal.skew = off;\n"
MOST_TIME = 1.2  # of the uniform keys'
MOST_TASK = 1.5  # of the median task's, or a second


def make_data(folder, rows, keys, names):
    """The folder of each distribution; those that are there are kept."""
    folders = {}
    for name in names:
        folders[name] = folder / f"{keys}-{name}"
        if folders[name].exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        print(f"making {folders[name]}", file=sys.stderr, flush=True)
        command = [SHOAL, "gen", "skew", folders[name], "--rows", rows, "--keys", keys]
        finish(command + SPREADS[name])
    return folders


def text_of(query, folder):
    return QUERIES[query].format(
        fact=f"'{folder}/fact/*.parquet'", dim=f"'{folder}/dim/*.parquet'"
    )


def timed(text, options, folder):
    """Wall and CPU seconds of one run, and its row as CSV."""
    answer = folder.parent / "answer.csv"
    command = [SHOAL, "sql", "--format", "csv", "-o", answer, *options, text]
    wall, cpu = measure(command)
    rows = answer.read_text().splitlines()
    answer.unlink()
    return wall, cpu, rows[-1]


def analyzed(text, options, query):
    """What each stage took, as `explain --analyze` says it."""
    command = [SHOAL, "explain", "--analyze", "--format", "json", *options, text]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        sys.exit(f"failed: {text}\n{ran.stderr}")
    stages = json.loads(ran.stdout)["stages"]
    hashed = [s for s in stages if s.get("exchange", {}).get("kind") == "HashExchange"]
    if len(hashed) < SHUFFLES[query]:
        sys.exit(f"this plan has {len(hashed)} shuffles, and measures nothing:\n{ran.stdout}")
    return stages


def worst_stage(stages):
    """(stage, longest task, median task) where the longest task of a second or more is the most
    median ones; without such a task, that of the longest. None: no times are given."""
    found = []
    for stage in stages:
        ran = stage.get("ran", {})
        if ran.get("tasks", 0) > 1 and "max_task_seconds" in ran:
            longest, median = ran["max_task_seconds"], ran["median_task_seconds"]
            long = longest >= 1
            rank = longest / max(median, 1e-3) if long else longest
            found.append((long, rank, stage["stage"], longest, median, ran["tasks"]))
    return max(found)[2:] if found else None


def task_text(stages):
    """How long the worst stage's tasks took, and whether that is within the bound."""
    worst = worst_stage(stages)
    if worst is None:
        return "no task times in this shoal's explain", True
    stage, longest, median, tasks = worst
    ratio = longest / max(median, 1e-3)
    text = f"stage {stage}, {tasks} tasks: longest {longest:.2f} s, median {median:.2f} s"
    return f"{text} ({ratio:.1f}x)", longest < 1 or ratio <= MOST_TASK


class Cell:
    """One query over one distribution of keys, adaptive or not."""

    def __init__(self, name, off, query, folder, temp):
        self.name, self.off, self.folder = name, off, folder
        self.text = (OFF if off else "") + text_of(query, folder)
        self.options = OPTIONS + temp
        self.runs = []

    def run(self):
        self.runs.append(timed(self.text, self.options, self.folder))

    def wall(self):
        return min(wall for wall, _, _ in self.runs)

    def cpu(self):
        return min(cpu for _, cpu, _ in self.runs)

    def answers(self):
        return {answer for _, _, answer in self.runs}


def bench_query(query, keys, folders, args, totals):
    """Runs it over every distribution in turn, and prints a line for each."""
    modes = (False, True) if args.off else (False,)
    cells = [Cell(name, off, query, folders[name], args.temp) for name in folders for off in modes]
    for _ in range(args.runs):
        for cell in cells:
            cell.run()
    print(f"{query}, {keys} keys", flush=True)
    answers = {}
    for cell in cells:
        answers.setdefault(cell.name, set()).update(cell.answers())
        if len(answers[cell.name]) > 1:
            sys.exit(f"answers differ: {answers[cell.name]} of {cell.text}")
        base = next(c for c in cells if c.name == cells[0].name and c.off == cell.off)
        ratio = cell.wall() / base.wall()
        tasks, even = task_text(analyzed(cell.text, cell.options, query))
        bound = cell.name not in OTHER_SIZE
        slow = bound and ratio > MOST_TIME
        mark = ("" if not slow else " TIME") + ("" if even else " TASK")
        mode = " off" if cell.off else ""
        print(f"  {cell.name + mode:12}{cell.wall():8.2f} s ({ratio:.2f}x){cell.cpu():8.2f} CPU s "
              f"({cell.cpu() / base.cpu():.2f}x)  {tasks}{mark}", flush=True)  # fmt: skip
        totals.setdefault(cell.off, []).append((bound, ratio, even))
    return {name: answer.pop() for name, answer in answers.items()}


def peers():
    """The commands of those that are installed; what is missing is said."""
    script = ROOT / "bench/skew_peers.py"
    polars = ROOT / "third_party/venv/bin/python"
    spark = Path(os.environ.get("SPARK", ROOT / "third_party/spark")) / "venv/bin/python"
    found = {"DuckDB": None}
    for name, python, module in (("Polars", polars, "polars"), ("Spark", spark, "pyspark")):
        there = python.exists() and subprocess.run(
            [python, "-c", f"import {module}"], capture_output=True
        )
        if there and there.returncode == 0:
            found[name] = [python, script, module]
        else:
            print(f"{name} is not installed ({python}): left out", flush=True)
    return found


def peer_seconds(command, query, folder, runs):
    """Seconds of the best run in one process, its answer or None; or what went wrong."""
    if command is None:
        file = folder.parent / "query.sql"
        file.write_text(text_of(query, folder))
        return min(measure([PLAIN, "2", "/dev/null", file])[0] for _ in range(runs)), None
    ran = subprocess.run(
        [*command, folder, text_of(query, "{}"), query, str(runs)], capture_output=True, text=True
    )
    if ran.returncode != 0:
        lines = ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"]
        return lines[-1], None
    said = json.loads(ran.stdout.splitlines()[-1])
    return min(said["seconds"]), said["answer"]


def same_numbers(ours, theirs):
    return [float(number) for number in ours.split(",")] == [float(number) for number in theirs]


def bench_peers(query, folders, answers, args, commands):
    for peer, command in commands.items():
        line, times = f"  {peer:12}", {}
        for name, folder in folders.items():
            seconds, answer = peer_seconds(command, query, folder, args.runs)
            if isinstance(seconds, str):
                line += f"  {name} failed ({seconds[:60]})"
                continue
            if answer is not None and not same_numbers(answers[name], answer):
                sys.exit(f"{peer} says {answer}, not {answers[name]}: {text_of(query, folder)}")
            times[name] = seconds
            base = times.get(next(iter(folders)))
            line += f"  {name} {seconds:.2f} s" + (f" ({seconds / base:.2f}x)" if base else "")
        print(line, flush=True)


def chosen(parser, text, known, what):
    names = text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"no {what} {name}: there are {', '.join(known)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", default="100M", help="of the fact table (100M)")
    parser.add_argument("--keys", default="1M,20M", help="rows of the dimension (1M,20M)")
    parser.add_argument("--runs", type=int, default=2, help="of each query; the best counts (2)")
    parser.add_argument("--queries", default=",".join(QUERIES))
    parser.add_argument("--only", default=",".join(SPREADS), help="distributions; the first is "
                        "what the others are compared with")  # fmt: skip
    parser.add_argument("--off", action="store_true",
                        help="each also with SET shoal.skew = off")  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="and DuckDB, Polars and Spark: "
                        + ", ".join(PEER_QUERIES))  # fmt: skip
    parser.add_argument("--temp-dir", help="for shoal's block files")
    args = parser.parse_args()
    queries = chosen(parser, args.queries, QUERIES, "query")
    names = chosen(parser, args.only, SPREADS, "distribution")
    args.temp = ["--temp-dir", args.temp_dir] if args.temp_dir else []
    commands = peers() if args.peers else {}
    print(f"{args.rows} rows; two workers of one thread, {' '.join(OPTIONS[4:])}; "
          f"best of {args.runs}")  # fmt: skip
    for name in names:
        print(f"  {name}: {MEANING[name]}")
    totals = {}
    for keys in args.keys.split(","):
        folders = make_data(ROOT / "build/bench" / f"skew-{args.rows}", args.rows, keys, names)
        for query in queries:
            answers = bench_query(query, keys, folders, args, totals)
            if query in PEER_QUERIES:
                bench_peers(query, folders, answers, args, commands)
    for off, cells in totals.items():
        ratios = [ratio for bound, ratio, _ in cells if bound]
        print(f"skew {'off' if off else 'auto'}: {sum(r <= MOST_TIME for r in ratios)} of "
              f"{len(ratios)} within {MOST_TIME}x of {names[0]} keys' time (worst "
              f"{max(ratios):.2f}x); tasks within {MOST_TASK}x of the median, or a second, in "
              f"{sum(even for _, _, even in cells)} of {len(cells)}")  # fmt: skip


if __name__ == "__main__":
    main()
