"""shoal on a Ray, Dask and Spark cluster of two nodes on this machine, beside the same on worker
processes of the machine alone: seconds until the first rows from nothing; a warm query of three
stages and 128 tasks over next to no rows; TPC-H in one session, two workers of one thread. Then
what the clusters' own engines take: Spark SQL for TPC-H, and with --peers Dask and Ray Data for
a GROUP BY, a join and a sort of lineitem. Ratios of one run.

    ./dev bench clusters [--sf 10] [--kinds ray,dask,spark] [--runs 3] [--peers]

--peers needs pandas, pyarrow and polars beside ray and dask: pip install them into
third_party/clusters.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tpch import ROOT, SHOAL, make_data

sys.path.insert(0, str(ROOT / "test/cluster"))
import clusters

WORKERS = ["--workers", "2", "--threads", "1"]
EMPTY = "SELECT count(*) FROM (SELECT n, count(*) AS m FROM (SELECT k, count(*) AS n FROM '{}' GROUP BY k) GROUP BY n)"
EMPTY_BAR, TPCH_BAR, SPARK_BAR = 3.0, 1.15, 8.0
PEER_BARS = {"group by": 8.0, "join": 8.0, "sort": 4.0}
SHOAL_PEERS = {
    "group by": "SELECT count(*), sum(s) FROM (SELECT l_orderkey, sum(l_quantity) AS s "
    "FROM lineitem GROUP BY l_orderkey)",
    "join": "SELECT count(*), sum(o_totalprice), sum(l_extendedprice) "
    "FROM orders JOIN lineitem ON o_orderkey = l_orderkey",
    "sort": "COPY (SELECT l_extendedprice, l_orderkey, l_linenumber, l_shipdate FROM lineitem "
    "ORDER BY l_extendedprice, l_orderkey, l_linenumber) TO '{}' (FORMAT parquet, PER_THREAD_OUTPUT)",
}


def run(command, environment=None):
    """Seconds in all, and of each statement."""
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"failed with {done.returncode}: {' '.join(map(str, command))}\n{done.stderr}")
    times = [float(t) for t in re.findall(r"^Time: ([\d.]+) s$", done.stderr, re.M)]
    return time.monotonic() - start, times


class Bench:
    def __init__(self, args, init, folder):
        self.args, self.init, self.folder = args, init, Path(folder)
        self.tiny = self.folder / "tiny.parquet"
        run([SHOAL, "sql", f"COPY (SELECT i AS k FROM range(1000) r(i)) TO '{self.tiny}'"])
        files = sorted((ROOT / "test/sql/tpch").glob("q*.sql"))
        self.queries = [file.read_text() for file in files]
        self.peers_init = None  # of the tables that the peers read too

    def shoal(self, statements, cluster=None, *options, init=None):
        """The first statement starts the workers; its time is left out of those returned."""
        script = self.folder / "statements.sql"
        script.write_text(";\n".join(statements))
        command = [SHOAL, "sql", "--timer", "--quiet", "--format", "csv"]
        command += ["--init", init or self.init]
        command += ["-f", script, "--temp-dir", self.folder, *WORKERS, *options]
        if cluster is not None:
            command += ["--engine", cluster.url, "--python", clusters.PYTHON]
        whole, times = run(command, cluster.environment if cluster else None)
        return whole, times[1:]

    def measure(self, cluster=None):
        """Start, an empty query, TPC-H: seconds, medians of the runs."""
        empty = EMPTY.format(self.tiny)
        spread = ["--partitions", "64", "--skew", "off", "--cluster-rows", "-1"]
        starts, empties, totals = [], [], []
        for _ in range(self.args.runs):
            starts.append(self.shoal([empty], cluster, "--cluster-rows", "-1")[0])
            _, times = self.shoal([empty] * 11, cluster, *spread)
            empties.append(statistics.median(times))
            # Twice: a cluster may bring the second worker in the midst of the first round.
            _, times = self.shoal([*self.queries, *self.queries], cluster)
            totals.append(sum(times[-len(self.queries) :]))
        return [statistics.median(column) for column in (starts, empties, totals)]

    def sorted_by(self, name):
        return SHOAL_PEERS[name].format(self.folder / "sorted")

    def peers_of_shoal(self, cluster):
        seconds = {}
        if self.peers_init is None:
            self.peers_init = plain_tables(self.init, self.folder)
        for name in SHOAL_PEERS:
            warm = ["SELECT count(*) FROM orders", self.sorted_by(name)]
            _, times = self.shoal(warm, cluster, "--broadcast-rows", "-1", init=self.peers_init)
            seconds[name] = times[0]
            subprocess.run(["rm", "-rf", self.folder / "sorted"], check=True)
        return seconds


def judge(ratio, bar, at_most):
    met = ratio <= bar if at_most else ratio >= bar
    return f"{ratio:.2f}x; the bar is {'at most' if at_most else 'at least'} {bar:g}x: {'met' if met else 'missed'}"


def spark_sql(cluster, init):
    """Seconds of TPC-H by Spark itself on the same cluster."""
    script = Path(__file__).with_name("clusters_peers.py")
    done = subprocess.run(
        [clusters.PYTHON, script, "spark", cluster.url, init.parent],
        capture_output=True,
        text=True,
        env=cluster.environment,
    )
    if done.returncode != 0:
        sys.exit(f"Spark failed:\n{done.stderr[-3000:]}")
    return float(done.stdout.split()[-1])


def plain_tables(init, folder):
    """What is read beside the peers: pandas makes a Python object of each decimal and date."""
    lines = "l_extendedprice::DOUBLE AS l_extendedprice, l_quantity::DOUBLE AS l_quantity"
    tables = {
        "lineitem": f"l_orderkey, l_linenumber, l_shipdate::TIMESTAMP AS l_shipdate, {lines}",
        "orders": "o_orderkey, o_totalprice::DOUBLE AS o_totalprice",
    }
    views = folder / "init.sql"
    with views.open("w") as file:
        for table, columns in tables.items():
            path = folder / f"{table}.parquet"
            copy = f"COPY (SELECT {columns} FROM {table}) TO '{path}'"
            run([SHOAL, "sql", "--init", init, "--quiet", copy])
            file.write(f"CREATE VIEW {table} AS FROM '{path}';\n")
    return views


def other(kind, cluster, name, folder):
    script = Path(__file__).with_name("clusters_peers.py")
    done = subprocess.run(
        [clusters.PYTHON, script, kind, cluster.url, folder, name, folder / "peer"],
        capture_output=True,
        text=True,
        env=cluster.environment,
    )
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[-1:]
    return float(done.stdout.split()[-1]), None


def on_cluster(bench, kind, local):
    # As the clusters' own engines want it: memory, and a JVM with all its compilers.
    clusters.Spark.memory, clusters.Spark.java = "7g", ""
    clusters.Dask.memory = "9GB"
    with getattr(clusters, kind)() as cluster:
        start, empty, total = bench.measure(cluster)
        print(f"{kind:8}{start:9.2f}{empty * 1000:11.1f}{total:11.2f}", flush=True)
        print(f"  empty tasks: {judge(empty / local[1], EMPTY_BAR, True)}")
        print(f"  TPC-H: {judge(total / local[2], TPCH_BAR, True)}", flush=True)
        if kind == "spark":
            theirs = spark_sql(cluster, bench.init)
            print(f"  Spark SQL, the same queries on the same cluster: {theirs:.1f} s, "
                  f"{judge(theirs / total, SPARK_BAR, False)}", flush=True)  # fmt: skip
        elif bench.args.peers:
            ours = bench.peers_of_shoal(cluster)
            for name, seconds in ours.items():
                theirs, why = other(kind, cluster, name, bench.folder)
                if theirs is None:
                    print(f"  {name}: shoal {seconds:.2f} s; {kind} failed: {why}")
                    continue
                print(f"  {name}: shoal {seconds:.2f} s, {kind} {theirs:.1f} s: "
                      f"{judge(theirs / seconds, PEER_BARS[name], False)}", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sf", default="10", help="scale factor (10)")
    parser.add_argument("--kinds", default="ray,dask,spark", help="of clusters (all three)")
    parser.add_argument("--runs", type=int, default=1, help="of each (1)")
    parser.add_argument("--peers", action="store_true", help="Dask and Ray Data too")
    args = parser.parse_args()
    init = make_data(args.sf)
    with tempfile.TemporaryDirectory(dir=ROOT / "build/bench") as folder:
        bench = Bench(args, init, folder)
        local = bench.measure()
        print("engine   start s  empty ms   TPC-H s")
        print(f"local   {local[0]:9.2f}{local[1] * 1000:11.1f}{local[2]:11.2f}", flush=True)
        for kind in args.kinds.split(","):
            on_cluster(bench, kind, local)


if __name__ == "__main__":
    main()
