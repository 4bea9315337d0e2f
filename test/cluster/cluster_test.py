"""shoal on a real Ray, Dask or Spark cluster of two nodes on 127.0.0.1: rows as embedded, with
block files that all see and with each node's own, while workers, nodes and the driver die.

Usage: cluster_test.py ray|dask|spark... [--smoke] [--scale N]. SHOAL is the program. The smoke
is a few queries and a kill. Everything else says how it went as it goes.
"""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

import clusters

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOAL = os.environ.get("SHOAL", str(ROOT / "build" / "shoal"))
LIMIT = 300.0  # seconds that one command may take
SHUFFLED = ["--broadcast-rows", "-1", "--cluster-rows", "-1"]
SLOW = (
    "SELECT count(*) FROM lineitem a, part b WHERE (a.l_partkey * 7919 + b.p_partkey) % 1000003 = 7"
)
SHORT = "SELECT l_returnflag, count(*), sum(l_quantity) FROM lineitem GROUP BY 1 ORDER BY 1"
CHAIN = """SELECT m, count(*) AS n, sum(q) AS s
    FROM (SELECT l_suppkey % 97 AS m, o_custkey, sum(l_quantity) AS q
          FROM lineitem JOIN orders ON l_orderkey = o_orderkey GROUP BY 1, 2)
    GROUP BY m ORDER BY m"""


class Failure(Exception):
    pass


class Data:
    """TPC-H's tables, the queries, and the embedded engine's answers."""

    def __init__(self, folder: pathlib.Path, scale: str) -> None:
        self.folder = folder
        self.init = folder / "init.sql"
        made = folder / "tpch"
        tool = ROOT / "third_party" / "venv" / "bin" / "tpchgen-cli"
        subprocess.run(
            [tool, "parquet", "-s", scale, "--output-dir", made], check=True, capture_output=True
        )
        self.init.write_text(
            "".join(
                f"CREATE VIEW {f.stem} AS FROM '{f}';\n" for f in sorted(made.glob("*.parquet"))
            )
        )
        queries = sorted((ROOT / "test" / "sql" / "tpch").glob("q*.sql"))
        self.all = ";\n".join(file.read_text() for file in queries)
        self.answers: dict[str, str] = {}

    def answer(self, sql: str) -> str:
        if sql not in self.answers:
            command = [SHOAL, "sql", "--init", str(self.init), "--format", "json", sql]
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
            if done.returncode != 0:
                raise Failure(done.stderr)
            self.answers[sql] = done.stdout
        return self.answers[sql]

    def compare(self, sql: str, rows: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            before, after = pathlib.Path(folder, "expected"), pathlib.Path(folder, "actual")
            before.write_text(self.answer(sql))
            after.write_text(rows)
            tool = ROOT / "test" / "support" / "same_answer.py"
            same = subprocess.run(
                [sys.executable, tool, before, after, "unordered"], capture_output=True, text=True
            )
            if same.returncode != 0:
                raise Failure(f"other rows:\n{same.stdout[-2000:]}{same.stderr[-2000:]}")


class Driver:
    """One command over the cluster, while it runs."""

    def __init__(self, test: "Test", sql: str, *options: str, **environment: str) -> None:
        self.test, self.sql = test, sql
        command = [SHOAL, "sql", "--init", str(test.data.init), "--format", "json", "--quiet"]
        command += ["--engine", test.cluster.url, "--python", clusters.PYTHON, "--workers", "2"]
        command += ["--temp-dir", str(test.spool), *options, sql]
        # Not the cluster's mark, by which its own processes are found.
        self.out = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdout=self.out,
            stderr=self.errors,
            env={**test.cluster.environment, **environment},
        )

    def wait(self, code: int = 0) -> str:
        try:
            got = self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"hangs: {self.said()[-3000:]}") from None
        if got != code:
            raise Failure(f"exit code {got}, not {code}: {self.said()[-3000:]}")
        self.out.seek(0)
        return self.out.read()

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def right(self) -> str:
        """Waits, compares the rows, returns what it said."""
        self.test.data.compare(self.sql, self.wait())
        return self.said()


class Test:
    def __init__(self, cluster: clusters.Cluster, data: Data) -> None:
        self.cluster, self.data = cluster, data
        self.kind = cluster.url.partition(":")[0]
        self.spool = cluster.folder / "spool"
        self.spool.mkdir()
        self.nodes = (0, 1) if self.kind == "ray" else (1, 2)

    def run(self, sql: str, *options: str, **environment: str) -> Driver:
        return Driver(self, sql, *options, **environment)

    def workers(self) -> list[int]:
        """Processes of shoal's workers, on either node."""
        return [
            pid
            for node in self.nodes
            for pid in self.cluster.processes(node)
            if f"{pathlib.Path(SHOAL).name} worker --connect" in clusters.command_line(pid)
        ]

    def busy(
        self, sql: str, *options: str, times: int = 8, **environment: str
    ) -> tuple[Driver, list[int]]:
        """A query that runs, again and again, on two workers that have had tasks; and the workers.

        A cluster may take its time over the second one, and the first doesn't wait for it: a
        query that ended before is run again, more often. Of a worker that never dialled the
        driver knows nothing, and need not say what became of it.
        """
        while times <= 800:
            driver = self.run(";\n".join([sql] * times), *options, **environment)
            while driver.process.poll() is None:
                found = self.workers()
                if len(found) >= 2 and all(clusters.cpu_seconds(pid) > 0.15 for pid in found):
                    return driver, found
                time.sleep(0.02)
            driver.right()
            times *= 5
        raise Failure("two workers were never up at once")

    def clean(self, seconds: float = 15) -> None:
        clusters.eventually(lambda: not self.workers(), seconds, "shoal's workers are gone")
        left = [path.name for path in self.spool.iterdir()]
        if left:
            raise Failure(f"left in the spool: {left}")

    # ---- what is tested

    def short(self) -> None:
        self.run(SHORT).right()
        self.clean()

    def first(self) -> None:
        self.run(f"{SHORT};\n{CHAIN}", *SHUFFLED).right()
        self.clean()

    def chain(self) -> None:
        for spool in ("auto", "own"):
            self.run(CHAIN, *SHUFFLED, "--spool", spool).right()
            self.clean()

    def tpch(self) -> None:
        for spool in ("auto", "own"):
            self.run(self.data.all, "--spool", spool).right()
            self.run(self.data.all, *SHUFFLED, "--spool", spool).right()
            self.clean()

    def at_once(self) -> None:
        drivers = [self.run(CHAIN, *SHUFFLED, "--workers", "1") for _ in range(3)]
        for driver in drivers:
            driver.right()
        self.clean()

    def in_a_row(self) -> None:
        sql = ";\n".join([SHORT] * 20)
        self.run(sql).right()
        self.clean()

    def killed_worker(self, *spools: str) -> None:
        for spool in spools or ("auto", "own"):
            for times in (8, 40, 200):
                driver, workers = self.busy(CHAIN, *SHUFFLED, "--spool", spool, times=times)
                os.kill(workers[0], signal.SIGKILL)
                killed = time.monotonic()
                said = driver.right()
                if "was lost" in said and "signal 9" in said:
                    break
                # The last query may have ended before the driver saw it.
                if time.monotonic() - killed > 2:
                    raise Failure(f"the report doesn't say what became of the worker: {said}")
            else:
                raise Failure("no query was still running when a worker was killed")
            self.clean()

    def killed_worker_own(self) -> None:
        self.killed_worker("own")

    def hung_worker(self) -> None:
        driver, workers = self.busy(CHAIN, *SHUFFLED, SHOAL_SILENT_SECONDS="2")
        os.kill(workers[1], signal.SIGSTOP)
        said = driver.right()
        if "it was silent for 2 s" not in said:
            raise Failure(f"nothing of the silence: {said}")
        self.clean()

    def killed_driver(self) -> None:
        driver, _ = self.busy(SLOW, *SHUFFLED, "--spool", "own")
        driver.process.kill()
        driver.process.wait()
        clusters.eventually(lambda: not self.workers(), 15, "workers are gone after the driver")
        # What the driver left goes with the next run, and the cluster lets that in.
        self.run(SHORT).right()
        self.clean()

    def interrupted(self) -> None:
        driver, _ = self.busy(SLOW, *SHUFFLED)
        driver.process.send_signal(signal.SIGINT)
        driver.wait(130)
        self.clean()

    def resumed(self) -> None:
        job = self.cluster.folder / "job"
        sql = ";\n".join([CHAIN] * 3)
        driver = self.run(sql, *SHUFFLED, "--job", str(job))
        clusters.eventually(lambda: list(job.glob("blocks/*/s1.t*")), 60, "the job is on its way")
        driver.process.kill()
        driver.process.wait()
        done = subprocess.run(
            [SHOAL, "sql", "--resume", str(job), "--workers", "2", "--temp-dir", str(self.spool)],
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        if done.returncode != 0:
            raise Failure(done.stderr)
        self.data.compare(sql, done.stdout)
        self.clean()

    def shipped(self) -> None:
        self.run(SHORT, "--ship").right()
        self.clean()

    def pipelines(self) -> None:
        """The examples: the same tables as embedded, also when they run again."""
        engine = f"{self.cluster.url} --workers 2 --python {clusters.PYTHON}"
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / "check.py", "--shoal", SHOAL, engine],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env=self.cluster.environment,
        )
        if done.returncode != 0:
            raise Failure(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        self.clean()

    def out_of_memory(self) -> None:
        """The cluster's own monitor ends a worker as something else took its memory."""
        if self.kind == "spark":
            print("  spark: a standalone worker watches over no memory: nothing to test")
            return
        with clusters.short_ray() if self.kind == "ray" else contextlib.nullcontext() as short:
            test = Test(short, self.data) if short else self
            began = time.monotonic()
            test.run(CHAIN, *SHUFFLED).right()
            # It is to last until the memory is full and the monitor has seen it.
            times = 4 + int(30 / (time.monotonic() - began))
            driver, workers = test.busy(";\n".join([CHAIN] * times), *SHUFFLED, "--spool", "own")
            test.cluster.crowd(workers)
            said = driver.right()
            lost = re.findall("worker .* was lost.*", said)
            print(f"  {self.kind} said: {lost[:1]}")
            if not lost or (short and "memory" not in lost[0]):
                raise Failure(f"nothing of a worker that memory was short for: {said}")
            test.clean()

    def killed_node(self) -> None:
        """The last one, as the cluster has one node less from then on."""
        driver, _ = self.busy(CHAIN, *SHUFFLED, "--spool", "own")
        self.cluster.kill_node(self.nodes[1])
        said = driver.right()
        # Both may have been on the other node.
        print(f"  {self.kind} said: {re.findall('worker .* was lost.*', said)[:2]}")
        self.clean()

    def smoke(self) -> list[Callable[[], None]]:
        return [self.first, self.killed_worker_own]

    def whole(self) -> list[Callable[[], None]]:
        return [
            self.short, self.chain, self.in_a_row, self.at_once, self.tpch, self.killed_worker,
            self.hung_worker, self.interrupted, self.killed_driver, self.resumed, self.shipped,
            self.pipelines, self.out_of_memory, self.killed_node,
        ]  # fmt: skip


def check(kind: str, data: Data, smoke: bool) -> int:
    failed = 0
    with getattr(clusters, kind)() as cluster:
        test = Test(cluster, data)
        for part in test.smoke() if smoke else test.whole():
            began = time.monotonic()
            try:
                part()
                how = "ok"
            except (Failure, AssertionError) as why:
                failed += 1
                how = f"FAILED: {why}"
            print(f"{kind}: {part.__name__}: {time.monotonic() - began:.1f} s: {how}", flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="+", choices=["ray", "dask", "spark"])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--scale", default=None, help="of TPC-H (1; 0.05 for the smoke)")
    parser.add_argument("--only", help="parts, by name, with commas")
    args = parser.parse_args()
    scale = args.scale or ("0.05" if args.smoke else "1")
    # So that whoever hangs for ever shows where.
    threading.current_thread().name = "test"
    failed = 0
    with tempfile.TemporaryDirectory(prefix="test-data-") as folder:
        data = Data(pathlib.Path(folder), scale)
        if args.only:
            names = args.only.split(",")
            Test.whole = lambda self: [getattr(self, name) for name in names]  # type: ignore
        for kind in args.kinds:
            failed += check(kind, data, args.smoke)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
