"""TPC-H, shoal beside plain DuckDB: each query runs in every configuration in turn, so
that what disturbs the machine disturbs all of them. Reports wall and CPU seconds (of the
process and all its workers) and their ratios to plain DuckDB.

    ./dev bench tpch --sf 1 [--runs 3] [--queries 1,5,21] [--only embedded,workers-2x1]
    ./dev bench tpch --sf 1 --session     all queries in one session, its workers warm
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = "customer lineitem nation orders part partsupp region supplier".split()
SHOAL = ROOT / "build/shoal"
PLAIN = ROOT / "build/plain"
CONFIGS = {
    "embedded": ["--threads", "2"],
    "workers-2x1": ["--workers", "2", "--threads", "1"],
    "workers-1x2": ["--workers", "1", "--threads", "2"],
    "shuffled-2x1": ["--workers", "2", "--threads", "1", "--cluster-rows", "-1"],
}


def make_data(scale):
    folder = ROOT / f"build/bench/tpch-{scale}"
    if not all((folder / f"{table}.parquet").exists() for table in TABLES):
        print(f"making TPC-H at scale {scale} in {folder}", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        tool = ROOT / "third_party/venv/bin/tpchgen-cli"
        subprocess.run([tool, "parquet", "-s", scale, "--output-dir", folder], check=True)
    init = folder / "init.sql"
    init.write_text(
        "".join(f"CREATE VIEW {t} AS FROM '{folder}/{t}.parquet';\n" for t in TABLES)
    )
    return init


def finish(command):
    """Runs a command; what it and its reaped children used, and its standard error."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        text = errors.read()
    if process.returncode != 0:
        sys.exit(f"failed with {process.returncode}: {' '.join(map(str, command))}\n{text}")
    return usage, text


def measure(command):
    """Wall and CPU seconds of one run, its reaped children included."""
    start = time.monotonic()
    usage, _ = finish(command)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime


def measure_session(command):
    """Seconds of each statement of one process, and its CPU seconds in all."""
    usage, text = finish(command)
    times = [float(seconds) for seconds in re.findall(r"^Time: ([\d.]+) s$", text, re.M)]
    return times, usage.ru_utime + usage.ru_stime


def session(init, numbers, names, runs, temp):
    queries = init.parent / "queries.sql"
    texts = [(ROOT / f"test/sql/tpch/q{number:02}.sql").read_text() for number in numbers]
    # The first statement starts the workers; its time is left out.
    queries.write_text(";\n".join(["SELECT count(*) FROM region", *texts]))
    commands = {"plain": [PLAIN, "2", init, queries]}
    for name in names:
        commands[name] = [SHOAL, "sql", "--timer", "--init", init, "-f", queries, *CONFIGS[name]]
        commands[name] += temp
    samples = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times, cpu = measure_session(command)
            samples[name].append((times[1:], cpu))
    walls = {
        name: [statistics.median(times) for times in zip(*(times for times, _ in taken))]
        for name, taken in samples.items()
    }
    print(f"{'':4}{'plain':>8}" + "".join(f"{name:>22}" for name in names))
    for row, number in enumerate(numbers):
        base = walls["plain"][row]
        line = f"q{number:<3}{base:8.2f}"
        for name in names:
            line += f"{walls[name][row]:14.2f} ({walls[name][row] / base:5.2f})"
        print(line)
    base = sum(walls["plain"])
    line = f"all {base:8.2f}"
    for name in names:
        line += f"{sum(walls[name]):14.2f} ({sum(walls[name]) / base:5.2f})"
    print(line)
    cpu = {name: statistics.median(cpu for _, cpu in taken) for name, taken in samples.items()}
    line = f"CPU {cpu['plain']:8.2f}"
    for name in names:
        line += f"{cpu[name]:14.2f} ({cpu[name] / cpu['plain']:5.2f})"
    print(line)


def planning_ms(init, query):
    command = [SHOAL, "explain", "--format", "json", "--workers", "2"]
    command += ["--init", init, "-f", query]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(text)["planning_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sf", default="1", help="scale factor (1)")
    parser.add_argument("--runs", type=int, default=3, help="of each query (3)")
    parser.add_argument("--queries", default=",".join(str(q) for q in range(1, 23)))
    parser.add_argument("--only", default=",".join(CONFIGS), help="configurations")
    parser.add_argument("--session", action="store_true", help="all queries in one process")
    parser.add_argument("--temp-dir", help="for shoal's block files")
    args = parser.parse_args()
    init = make_data(args.sf)
    names = args.only.split(",")
    for name in names:
        if name not in CONFIGS:
            parser.error(f"no configuration {name}: there are {', '.join(CONFIGS)}")
    temp = ["--temp-dir", args.temp_dir] if args.temp_dir else []
    if args.session:
        print(f"TPC-H scale {args.sf}, one session, median of {args.runs}; seconds (ratios)")
        session(init, list(map(int, args.queries.split(","))), names, args.runs, temp)
        return
    totals = {name: [0.0, 0.0] for name in ["plain", *names]}
    plans = []
    print(f"TPC-H scale {args.sf}, median of {args.runs}; seconds wall/CPU (ratios)")
    print(f"{'':4}{'plan ms':>8}{'plain':>14}" + "".join(f"{n:>28}" for n in names))
    for number in map(int, args.queries.split(",")):
        query = ROOT / f"test/sql/tpch/q{number:02}.sql"
        commands = {"plain": [PLAIN, "2", init, query]}
        for name in names:
            options = CONFIGS[name] + temp
            commands[name] = [SHOAL, "sql", "--init", init, "-f", query, *options]
        samples = {name: [] for name in commands}
        for _ in range(args.runs):
            for name, command in commands.items():
                samples[name].append(measure(command))
        plan = planning_ms(init, query)
        plans.append(plan)
        line = f"q{number:<3}{plan:8.1f}"
        base = None
        for name, runs in samples.items():
            wall, cpu = (statistics.median(column) for column in zip(*runs))
            totals[name][0] += wall
            totals[name][1] += cpu
            if base is None:
                base = wall, cpu
                line += f"{wall:7.2f}/{cpu:6.2f}"
            else:
                line += f"{wall:9.2f}/{cpu:6.2f} ({wall / base[0]:4.2f}/{cpu / base[1]:4.2f})"
        print(line, flush=True)
    base = totals["plain"]
    line = f"all {statistics.median(plans):8.1f}{base[0]:7.2f}/{base[1]:6.2f}"
    for name in names:
        wall, cpu = totals[name]
        line += f"{wall:9.2f}/{cpu:6.2f} ({wall / base[0]:4.2f}/{cpu / base[1]:4.2f})"
    print(line)
    starts = [measure([SHOAL, "sql", "select 1"])[0] * 1000 for _ in range(11)]
    print(f"cold start of \"select 1\": median {statistics.median(starts):.0f} ms")


if __name__ == "__main__":
    main()
