"""Text files in, a partitioned table out: web logs in CSV files of 240 MB, ten gigabytes by
default, to Parquet partitioned by day, by plain DuckDB with two threads and by two workers of
one thread; and one large CSV file aggregated by one worker and by two. Seconds and ratios of
one run.

    ./dev bench etl [--gb 10] [--single-gb 3] [--runs 1]
"""

import argparse
import shutil
import statistics
import subprocess
import sys

from tpch import PLAIN, ROOT, SHOAL, finish, measure

FILE_ROWS = 2_200_000
FILE_BYTES = 239e6  # of so many rows
DAYS = 30
LOG = """SELECT TIMESTAMP '2026-01-01' + to_milliseconds((i * {step})::BIGINT) AS ts,
    '10.' || h % 200 || '.' || h // 200 % 250 || '.' || h // 50000 % 250 AS ip,
    (h // 7 % 1000000)::BIGINT AS user_id,
    CASE WHEN h % 10 < 8 THEN 'GET' ELSE 'POST' END AS method,
    '/shop/item/' || h // 11 % 50000 || '?ref=' || h // 13 % 100 AS url,
    CASE WHEN h // 17 % 50 = 0 THEN 500 WHEN h // 17 % 20 = 0 THEN 404 ELSE 200 END AS status,
    (h // 19 % 100000)::BIGINT AS bytes, (h // 23 % 100000) / 1000.0 AS ms,
    CASE WHEN h // 29 % 4 = 0 THEN 'Mozilla/5.0 (X11; Linux x86_64), "Gecko" like'
        ELSE 'curl/8.5.0' END AS agent
FROM (SELECT i, hash(i) AS h FROM range({first}, {last}) r(i))"""
ETL = """COPY (SELECT ts, ts::DATE AS day, ip, user_id, method, split_part(url, '?', 1) AS path,
    split_part(url, '=', 2)::INTEGER AS ref, status::SMALLINT AS status, bytes, ms, agent
FROM read_csv('{logs}/*.csv') WHERE status <> 404) TO '{out}' (FORMAT parquet, PARTITION_BY (day))"""
SCAN = """SELECT status, count(*), sum(bytes), avg(ms), max(url), max(agent), min(ts)
FROM read_csv('{file}') GROUP BY status"""


def make_logs(folder, gb):
    """Files in time order, as a server rotates them; those that are there are kept."""
    files = max(1, round(gb * 1e9 / FILE_BYTES))
    folder.mkdir(parents=True, exist_ok=True)
    step = DAYS * 86_400_000 // (files * FILE_ROWS)
    for number in range(files):
        target = folder / f"{number:05d}.csv"
        if target.exists():
            continue
        part, sql = folder / "part", folder / "make.sql"
        first = number * FILE_ROWS
        rows = LOG.format(step=step, first=first, last=first + FILE_ROWS)
        sql.write_text(f"COPY ({rows}) TO '{part}' (FORMAT csv)")
        finish([PLAIN, "2", "/dev/null", sql])
        part.rename(target)
        sql.unlink()
    return sum(file.stat().st_size for file in folder.glob("*.csv"))


def to_partitions(folder, runs):
    size = make_logs(folder / "logs", ARGS.gb)
    samples = {"plain": [], "shoal": []}
    for _ in range(runs):
        for name in samples:
            out, query = folder / f"out-{name}", folder / f"{name}.sql"
            shutil.rmtree(out, ignore_errors=True)
            query.write_text(ETL.format(logs=folder / "logs", out=out))
            command = {
                "plain": [PLAIN, "2", "/dev/null", query],
                "shoal": [SHOAL, "sql", "-f", query, "--workers", "2", "--threads", "1"],
            }[name]
            samples[name].append(measure(command)[0])
    base, ours = (statistics.median(samples[name]) for name in ("plain", "shoal"))
    check = f"SELECT count(*), sum(bytes), count(DISTINCT day) FROM '{folder}/out-{{}}/*/*.parquet'"
    counts = [
        subprocess.run(
            [SHOAL, "sql", "--format", "csv", check.format(name)], check=True, capture_output=True
        ).stdout
        for name in samples
    ]
    if counts[0] != counts[1]:
        sys.exit(f"the tables differ: {counts}")
    for name in samples:
        shutil.rmtree(folder / f"out-{name}")
    print(f"{size / 1e9:.1f} GB of CSV to Parquet by day  plain {base:.1f} s (1.00x)  "
          f"shoal {ours:.1f} s ({ours / base:.2f}x)", flush=True)  # fmt: skip


def single_file(folder, runs):
    folder.mkdir(parents=True, exist_ok=True)
    file, query = folder / "single.csv", folder / "single.sql"
    rows = round(ARGS.single_gb * 1e9 / FILE_BYTES * FILE_ROWS)
    if not file.exists():
        query.write_text(f"COPY ({LOG.format(step=20, first=0, last=rows)}) TO '{file}'")
        finish([PLAIN, "2", "/dev/null", query])
    query.write_text(SCAN.format(file=file))
    commands = {"plain, 2 threads": [PLAIN, "2", "/dev/null", query]}
    for workers in ("1", "2"):
        commands[f"workers {workers}"] = [SHOAL, "sql", "-f", query, "--workers", workers]
    samples = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            samples[name].append(measure(command)[0])
    times = {name: statistics.median(samples[name]) for name in samples}
    print(f"one CSV file of {file.stat().st_size / 1e9:.1f} GB  "
          + "  ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items())
          + f"; two workers {times['workers 1'] / times['workers 2']:.2f}x faster than one")  # fmt: skip


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    PARSER.add_argument("--gb", type=float, default=10)
    PARSER.add_argument("--single-gb", type=float, default=3)
    PARSER.add_argument("--runs", type=int, default=1)
    PARSER.add_argument("--only", choices=("partitions", "single"))
    ARGS = PARSER.parse_args()
    DATA = ROOT / "build" / "bench" / f"etl-{ARGS.gb:g}-{ARGS.single_gb:g}"
    if ARGS.only != "single":
        to_partitions(DATA, ARGS.runs)
    if ARGS.only != "partitions":
        single_file(DATA, ARGS.runs)
