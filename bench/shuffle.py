"""Shuffles: block files beside memcpy; map tasks that scatter four columns of a Parquet file
beside DuckDB's COPY ... (PARTITION_BY); then a GROUP BY of 15 million groups and a join of 60
by 15 million rows (at --sf 10), each with plain DuckDB, shuffled, and cut by the key that the
files are clustered on; last, four columns sorted by three of them into Parquet. Seconds and
ratios of one run.

    ./dev bench shuffle [--sf 10] [--runs 3] [--folder /dev/shm]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile

from tpch import PLAIN, ROOT, SHOAL, make_data, measure

QUERIES = {
    "group by": "SELECT count(*), sum(s) FROM (SELECT l_orderkey, sum(l_quantity) AS s "
    "FROM lineitem GROUP BY l_orderkey)",
    "join": "SELECT count(*), sum(o_totalprice), sum(l_extendedprice) "
    "FROM orders JOIN lineitem ON o_orderkey = l_orderkey",
}
WAYS = {
    "shuffled": ["--cluster-rows", "-1", "--broadcast-rows", "-1"],
    "clustered": ["--cluster-rows", "0", "--broadcast-rows", "-1"],
}


COLUMNS = "l_orderkey, l_partkey, l_suppkey, l_quantity"


def map_tasks(init, folder):
    """Rows a second and core: shoal's map tasks, and COPY into 16 partitions."""
    query = f"SELECT count(*) FROM (SELECT DISTINCT {COLUMNS} FROM lineitem)"
    command = [SHOAL, "explain", "--analyze", "--format", "json", "--init", init, "--workers", "1"]
    command += ["--cluster-rows", "-1", "--partitions", "16", "--temp-dir", folder, query]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    ran = plan["stages"][0]["ran"]
    ours = ran["rows"] / ran["seconds"]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        copy = init.parent / "copy.sql"
        copy.write_text(
            f"COPY (SELECT {COLUMNS}, (hash(l_orderkey) % 16)::INTEGER AS p FROM lineitem) "
            f"TO '{out}/parts' (PARTITION_BY (p))"
        )
        _, cpu = measure([PLAIN, "1", init, copy])
        shutil.rmtree(f"{out}/parts")
    theirs = ran["rows"] / cpu
    print(f"map tasks, 4 columns into 16 partitions: {ours / 1e6:.1f} million rows a second and "
          f"core; COPY (PARTITION_BY) {theirs / 1e6:.1f} ({ours / theirs:.1f}x)", flush=True)  # fmt: skip


SORT = (
    "COPY (SELECT l_extendedprice, l_orderkey, l_linenumber, l_shipdate FROM lineitem "
    "ORDER BY l_extendedprice, l_orderkey, l_linenumber) TO '{}' (FORMAT parquet{})"
)


def sort_into_parquet(init, folder, runs):
    """DuckDB into one file, shoal into a folder of parts in order; both in `folder`."""
    samples = {"plain": [], "shoal": []}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        queries = {name: init.parent / f"sort_{name}.sql" for name in samples}
        queries["plain"].write_text(SORT.format(f"{out}/plain.parquet", ""))
        queries["shoal"].write_text(SORT.format(f"{out}/parts", ", PER_THREAD_OUTPUT, OVERWRITE"))
        commands = {
            "plain": [PLAIN, "2", init, queries["plain"]],
            "shoal": [SHOAL, "sql", "--init", init, "-f", queries["shoal"], "--workers", "2"]
            + ["--temp-dir", folder],
        }
        for _ in range(runs):
            for name, command in commands.items():
                samples[name].append(measure(command)[0])
    base, ours = (statistics.median(samples[name]) for name in ("plain", "shoal"))
    print(f"sort into Parquet  plain {base:.2f} s (1.00x)  shoal {ours:.2f} s ({ours / base:.2f}x)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sf", default="10", help="TPC-H scale factor (10)")
    parser.add_argument("--runs", type=int, default=3, help="of each query (3)")
    parser.add_argument("--folder", default="/dev/shm", help="for block files")
    args = parser.parse_args()
    init = make_data(args.sf)
    subprocess.run(["cmake", "--build", ROOT / "build", "--target", "block_bench"],
                   check=True, stdout=sys.stderr)  # fmt: skip
    print("one thread", flush=True)
    subprocess.run([ROOT / "build/block_bench", args.folder], check=True)
    map_tasks(init, args.folder)
    print("two cores: plain DuckDB with two threads, shoal with two workers of one")
    for name, sql in QUERIES.items():
        query = init.parent / "shuffle.sql"
        query.write_text(sql)
        commands = {"plain": [PLAIN, "2", init, query]}
        for way, options in WAYS.items():
            commands[way] = [SHOAL, "sql", "--init", init, "-f", query, "--workers", "2"]
            commands[way] += ["--temp-dir", args.folder, *options]
        samples = {way: [] for way in commands}
        for _ in range(args.runs):
            for way, command in commands.items():
                samples[way].append(measure(command)[0])
        base = statistics.median(samples["plain"])
        line = f"{name:10}"
        for way, seconds in samples.items():
            wall = statistics.median(seconds)
            line += f"  {way} {wall:.2f} s ({wall / base:.2f}x)"
        print(line, flush=True)
    sort_into_parquet(init, args.folder, args.runs)


if __name__ == "__main__":
    main()
