"""What a lost worker costs, and what it costs to be ready for one. TPC-H queries over four
workers of one thread: undisturbed, and with one of them killed half way and every block
file gone that it had written, so that the tasks that made them run again. The answers are
those of one process. Then the same queries with and without `--job`, in turn: CPU seconds of
all processes, bytes of the log, seconds in fdatasync (by strace), and the share of all CPU
time that checksums of blocks take (by perf); - where these programs are not there.

    ./dev bench recovery [--sf 10] [--queries 9,21] [--memory 2GB] [--runs 1] [--cores N]
                         [--shuffled]

The bar is for queries of half a minute and more. Where two cores need less for them, one core
(--cores 1) and joins that all shuffle (--shuffled) make them as long.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tpch import ROOT, SHOAL, make_data

WORKERS = 4
RATIO_MOST = 1.5  # of a query that loses a worker, to one that doesn't
JOB_MOST = 1.03  # CPU seconds with --job, to those without


class Run:
    """One process of shoal with its workers: seconds, CPU seconds, what it said."""

    def __init__(self, command, disturb=None):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=out, stderr=errors, text=True)
            helper = threading.Thread(target=disturb, args=(process.pid,)) if disturb else None
            if helper:
                helper.start()
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds = time.monotonic() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if helper:
                helper.join()
            out.seek(0)
            errors.seek(0)
            self.rows, self.said = out.read(), errors.read()
        # Of the driver and of all children that it waited for.
        self.cpu = usage.ru_utime + usage.ru_stime
        if process.returncode != 0:
            words = " ".join(map(str, command))
            sys.exit(f"failed with {process.returncode}: {words}\n{self.said}")


class Loss:
    """Kills a worker at a time, and takes away what it had written."""

    def __init__(self, at, folders, number=1):
        self.at, self.folders, self.number = at, folders, number
        self.files = self.bytes = 0
        self.hit = False

    def worker(self, driver):
        """Workers have numbers in the order in which they were started."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it is gone
            if int(fields[1]) == driver and b"worker" in words[1:2]:
                found.append((int(fields[19]), int(entry.name)))
        found.sort()
        return found[self.number][1] if len(found) == WORKERS else None

    def take_blocks(self):
        for folder in self.folders:
            for path in Path(folder).glob(f"shoal-*/q*/s*.w{self.number}*"):
                # w1 is not w10; a block may have more behind its name.
                if not re.search(rf"\.w{self.number}($|\.)", path.name):
                    continue
                if path.suffix in (".pipe", ".rejects") or path.is_dir():
                    continue
                try:
                    size = path.stat().st_size
                    path.unlink()
                except OSError:
                    continue
                self.files += 1
                self.bytes += size

    def __call__(self, driver):
        time.sleep(self.at)  # the point of time is what is measured
        pid = self.worker(driver)
        if pid is None:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.hit = True
        self.take_blocks()


class Bench:
    def __init__(self, args, init, folder):
        self.args, self.init, self.folder = args, init, Path(folder)
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.memory = Path(tempfile.mkdtemp(prefix="shoal-bench-", dir="/dev/shm"))

    def command(self, number, *options):
        query = ROOT / f"test/sql/tpch/q{number:02}.sql"
        common = ["--init", self.init, "-f", query, "--format", "json", "--quiet"]
        if self.args.shuffled:
            common += ["--broadcast-rows", "-1", "--cluster-rows", "-1"]
        return [SHOAL, "sql", *common, "--memory", self.args.memory, *options]

    def workers(self, number, *options):
        spools = ["--temp-dir", self.disk, "--memory-dir", self.memory]
        return self.command(
            number, "--workers", str(WORKERS), "--threads", "1", *spools, *options
        )

    def compare(self, number, expected, run):
        before, after = self.folder / "expected", self.folder / "actual"
        before.write_text(expected.rows)
        after.write_text(run.rows)
        tool = ROOT / "test/support/same_answer.py"
        same = subprocess.run(
            [sys.executable, tool, before, after, "unordered"], capture_output=True, text=True
        )
        if same.returncode != 0:
            sys.exit(f"q{number}: another answer after the loss\n{same.stdout}{same.stderr}")

    def lose(self, number):
        """Seconds undisturbed and disturbed, and what was lost."""
        expected = Run(self.command(number, "--threads", "2"))
        samples = []
        for _ in range(self.args.runs):
            calm = Run(self.workers(number))
            self.compare(number, expected, calm)
            loss = Loss(calm.seconds / 2, [self.disk, self.memory])
            hurt = Run(self.workers(number), loss)
            self.compare(number, expected, hurt)
            if not loss.hit:
                sys.exit(f"q{number}: no worker was there to be killed: take a larger --sf")
            again = hurt.said.count("runs again")
            samples.append((calm.seconds, hurt.seconds, again, loss.files, loss.bytes))
        return [statistics.median(column) for column in zip(*samples)]

    def job(self, number):
        """CPU seconds with block files in memory, on disk, and of a job; the log's bytes."""
        job = self.folder / "job"
        disk = ["--memory-dir", "none"]
        ways = {"memory": [], "disk": disk, "job": [*disk, "--job", job, "--replace"]}
        samples = {way: [] for way in ways}
        for _ in range(self.args.runs):
            for way, options in ways.items():
                samples[way].append(Run(self.workers(number, *options)).cpu)
        cpu = {way: statistics.median(taken) for way, taken in samples.items()}
        return cpu, (job / "job.log").stat().st_size

    def syncs(self, number):
        """How often the log waited for its disk, and for how long; None: strace is not there."""
        if shutil.which("strace") is None:
            return None
        trace, job = self.folder / "trace", self.folder / "job"
        command = ["strace", "-T", "-e", "trace=fdatasync,fsync", "-o", trace]
        Run([*command, *self.workers(number, "--job", job, "--replace")])
        seconds = re.findall(r"sync\(.*<([\d.]+)>$", trace.read_text(), re.M)
        return len(seconds), sum(map(float, seconds))

    def checksums(self, number):
        """The share of all samples that xxh3 has; None: perf is not there, or not allowed."""
        data = self.folder / "perf.data"
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-o", data, "--"]
        report = ["perf", "report", "-i", data, "--stdio", "--sort", "symbol", "--percent-limit", "0"]
        if shutil.which("perf") is None:
            return None
        ran = subprocess.run([*record, *self.workers(number)], capture_output=True)
        told = subprocess.run(report, capture_output=True, text=True)
        if ran.returncode != 0 or told.returncode != 0:
            return None
        shares = re.findall(r"^\s+([\d.]+)%.*\bXXH", told.stdout, re.M)
        return sum(map(float, shares))

    def close(self):
        shutil.rmtree(self.memory)


def losses(bench, numbers):
    print(f"{'':4}{'calm s':>9}{'lost s':>9}{'ratio':>7}{'ran again':>11}{'files':>7}{'MB':>8}")
    worst = 0.0
    for number in numbers:
        calm, hurt, again, files, size = bench.lose(number)
        worst = max(worst, hurt / calm)
        print(f"q{number:<3}{calm:9.2f}{hurt:9.2f}{hurt / calm:7.2f}{again:11.0f}{files:7.0f}"
              f"{size / 1e6:8.1f}", flush=True)  # fmt: skip
    print(f"a worker and its blocks lost half way: {worst:.2f}x at most; the bar is {RATIO_MOST}x: "
          f"{'met' if worst <= RATIO_MOST else 'missed'}", flush=True)  # fmt: skip


def jobs(bench, numbers):
    print(f"{'':4}{'memory':>9}{'disk':>9}{'--job':>9}{'to disk':>9}{'to mem.':>9}"
          f"{'log KB':>8}{'syncs':>7}{'s':>7}{'xxh3 %':>8}   CPU seconds")  # fmt: skip
    sums = {"memory": 0.0, "disk": 0.0, "job": 0.0}
    for number in numbers:
        cpu, log = bench.job(number)
        for way, seconds in cpu.items():
            sums[way] += seconds
        syncs, share = bench.syncs(number), bench.checksums(number)
        line = f"q{number:<3}{cpu['memory']:9.2f}{cpu['disk']:9.2f}{cpu['job']:9.2f}"
        line += f"{cpu['job'] / cpu['disk']:9.3f}{cpu['job'] / cpu['memory']:9.3f}{log / 1e3:8.1f}"
        line += f"{'-':>7}{'-':>7}" if syncs is None else f"{syncs[0]:7}{syncs[1]:7.3f}"
        line += f"{'-':>8}" if share is None else f"{share:8.2f}"
        print(line, flush=True)
    ratio = sums["job"] / sums["disk"]
    print(f"--job, block files on disk in both: {ratio:.3f}x the CPU seconds; the bar is {JOB_MOST}x: "
          f"{'met' if ratio <= JOB_MOST else 'missed'}")  # fmt: skip
    print("syncs by strace, checksums by perf (its samples of all processes, DuckDB's too)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sf", default="10", help="scale factor (10)")
    parser.add_argument("--queries", default="9,21", help="numbers of TPC-H queries (9,21)")
    parser.add_argument("--memory", default="2GB", help="of all processes together (2GB)")
    parser.add_argument("--runs", type=int, default=1, help="of each query (1)")
    parser.add_argument("--cores", type=int, help="that all processes share (each of the machine)")
    parser.add_argument("--shuffled", action="store_true", help="no broadcast, no clustered scan")
    args = parser.parse_args()
    if args.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    numbers = [int(number) for number in args.queries.split(",")]
    init = make_data(args.sf)
    print(f"TPC-H scale {args.sf}, {WORKERS} workers of one thread, median of {args.runs}")
    with tempfile.TemporaryDirectory(dir=ROOT / "build/bench") as folder:
        bench = Bench(args, init, folder)
        try:
            losses(bench, numbers)
            jobs(bench, numbers)
        finally:
            bench.close()


if __name__ == "__main__":
    main()
