"""Real Ray, Dask and Spark clusters of two nodes, on 127.0.0.1 only, for tests.

Each is a context manager that starts the cluster from its own package, in a folder of its
own, and ends with every process of it gone, whatever happened in between::

    with clusters.dask() as cluster:
        cluster.url              # what follows --engine
        cluster.kill_node(1)     # one of its two nodes dies, with all that runs there

Every process that a cluster starts carries a mark in its environment, by which it is found
and ended: a daemon that left its group is no exception.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "third_party" / "clusters"
PYTHON = str(VENV / "bin" / "python")
MARK = "SHOAL_TEST_CLUSTER"
PATIENCE = 60.0  # seconds for a cluster to be up


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(holds: Callable[[], object], seconds: float, what: str) -> object:
    """What `holds` returns once that is true; fails after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        got = holds()
        if got:
            return got
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stat_of(pid: int) -> list[str]:
    """What /proc says of a process, from its state on (field 3 of proc(5)); of none, nothing."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return stat.rpartition(")")[2].split()


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped doesn't."""
    return stat_of(pid)[:1] not in ([], ["Z"])


def cpu_seconds(pid: int) -> float:
    """What a process has used; 0 of none."""
    return sum(map(int, stat_of(pid)[11:13])) / os.sysconf("SC_CLK_TCK")


def memory() -> tuple[int, int]:
    """Of this machine, in bytes: all, and what is available."""
    lines = dict(
        line.split(":", 1) for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
    )
    total, available = (int(lines[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    return total, available


def command_line(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def marked(mark: str) -> list[int]:
    """The processes that have MARK=mark in their environment."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return [pid for pid in found if alive(pid)]


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Cluster:
    """A cluster of two nodes.

    `url` is its address for shoal, `environment` what a program that talks to it needs, and
    `folder` where all its files are. A node's processes carry the mark "ID.NUMBER".
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.identity = uuid.uuid4().hex[:12]
        self.url = ""
        self.started: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "python"),
            "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(folder),
            "NO_PROXY": "127.0.0.1",
        }

    def open(self) -> None:
        """Starts it; returns once both nodes are there."""
        raise NotImplementedError

    def mark(self, node: int) -> str:
        return f"{self.identity}.{node}"

    def processes(self, node: int) -> list[int]:
        return marked(self.mark(node))

    def start(self, node: int, *command: str, **more: str) -> subprocess.Popen[bytes]:
        """One process of a node, in the background; its log is a file of the folder."""
        log = self.folder / f"node{node}-{len(self.started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                env={**self.environment, **more, MARK: self.mark(node)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )
        self.started.append(process)
        return process

    def kill_node(self, node: int) -> None:
        """All of a node's processes at once, as when its power fails."""
        pids = self.processes(node)
        assert pids, f"node {node} has no process"
        kill(pids, signal.SIGSTOP)  # none of them sees another one die and acts on it
        kill(pids)

    def crowd(self, pids: list[int]) -> None:
        """Something else fills memory until the cluster's own monitor ends one of them."""
        raise NotImplementedError

    def logs(self) -> str:
        return "".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}\n"
            for file in sorted(self.folder.glob("node*.log"))
        )

    def end(self) -> None:
        def all_ended() -> bool:
            pids = [pid for node in range(3) for pid in self.processes(node)]
            kill(pids)
            for process in self.started:
                process.poll()
            return not pids

        eventually(all_ended, 20, "the cluster's processes are gone")
        for process in self.started:
            process.wait()


Kind = TypeVar("Kind", bound=Cluster)


@contextlib.contextmanager
def running(kind: type[Kind]) -> Iterator[Kind]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test-cluster-", dir="/tmp"))
    cluster = kind(folder)
    try:
        try:
            cluster.open()
        except BaseException:
            sys.stderr.write(cluster.logs())
            raise
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


# `ray start` for a node that joins. Ray stays on 127.0.0.1 only where it takes clusters for
# unsupported, and refuses to join one there; so that refusal is taken out here.
RAY_JOIN = """
import ray._private.ray_constants, ray._private.services
ray._private.services.get_node_ip_address = lambda address=None: "127.0.0.1"
ray._private.ray_constants.ENABLE_RAY_CLUSTER = True
from ray.scripts.scripts import main
main()
"""


# What fills memory: so many bytes, all of them touched, for a minute.
HOG = "import sys, time; kept = b'x' * int(sys.argv[1]); time.sleep(60)"
# The same, by a Dask worker's own process: the one that runs a task of shoal's.
DASK_HOG = """
import distributed, sys, time
address, pid, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = distributed.Client(address)
def child(pid):
    import os
    return os.getpid() == int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
(worker,) = [a for a, mine in client.run(child, pid).items() if mine]
def hog(size):
    import time
    kept = b"x" * size
    time.sleep(60)
    return len(kept)
task = client.submit(hog, size, workers=[worker], retries=0, pure=False)
while worker in client.scheduler_info()["workers"]:
    time.sleep(0.1)
"""


class Ray(Cluster):
    """A head and a second node, two CPUs each; the second has the resource "big"."""

    spare = 0  # bytes more than are in use now, which its monitor lets be used; 0: its own limit

    def open(self) -> None:
        port = free_port()
        self.url = f"ray://127.0.0.1:{port}"
        self.environment |= {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # A dead node is seen in 2 s instead of 20.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        if self.spare:
            total, available = memory()
            self.environment |= {
                "RAY_memory_usage_threshold": f"{(total - available + self.spare) / total:.4f}",
                "RAY_memory_monitor_refresh_ms": "50",
            }
        common = [
            "start", "--block", "--num-cpus=2", "--disable-usage-stats",
            "--node-ip-address=127.0.0.1", "--include-log-monitor=false",
            f"--object-store-memory={256 << 20}",
        ]  # fmt: skip
        self.start(
            0, str(VENV / "bin" / "ray"), *common, "--head", f"--port={port}",
            "--include-dashboard=false", f"--temp-dir={self.folder}",
        )  # fmt: skip
        log = self.folder / "node0-0.log"
        eventually(lambda: "Ray runtime started" in log.read_text(), PATIENCE, "Ray's head is up")
        self.start(
            1, PYTHON, "-c", RAY_JOIN, *common, f"--address=127.0.0.1:{port}",
            '--resources={"big": 1}',
        )  # fmt: skip
        script = (
            f"import ray, time; ray.init(address='127.0.0.1:{port}', log_to_driver=False)\n"
            "while sum(node['Alive'] for node in ray.nodes()) != 2: time.sleep(0.1)"
        )
        self.start(0, PYTHON, "-c", script)
        asked = self.started[-1]
        eventually(lambda: asked.poll() is not None, PATIENCE, "Ray has two nodes")
        assert asked.returncode == 0, "the new Ray cluster lets nobody in"

    def crowd(self, pids: list[int]) -> None:
        hog = self.start(0, PYTHON, "-c", HOG, str(self.spare + (1 << 30)))
        try:
            eventually(lambda: not all(map(alive, pids)), 30, "Ray ends a worker")
        finally:
            hog.kill()
            hog.wait()


class ShortRay(Ray):
    """One whose monitor sees an end to memory soon."""

    spare = 3 << 30


class Dask(Cluster):
    """A scheduler and two workers with nannies, two threads each; the second has "big"."""

    memory = "2GB"  # of each worker

    def open(self) -> None:
        port = free_port()
        self.url = f"dask://127.0.0.1:{port}"
        self.file = self.folder / "scheduler.json"
        dask = str(VENV / "bin" / "dask")
        self.start(
            0, dask, "scheduler", "--host", "127.0.0.1", "--port", str(port),
            "--dashboard-address", f"127.0.0.1:{free_port()}",
            "--scheduler-file", str(self.file),
        )  # fmt: skip
        eventually(lambda: listens(port), PATIENCE, "Dask's scheduler listens")
        for node in (1, 2):
            self.start_node(node)

    def start_node(self, node: int) -> None:
        log = self.folder / f"node{node}-{len(self.started)}.log"
        self.start(
            node, str(VENV / "bin" / "dask"), "worker", self.url.replace("dask", "tcp"),
            "--host", "127.0.0.1", "--nanny", "--nthreads", "2", "--memory-limit", self.memory,
            "--no-dashboard", "--name", f"node{node}",
            "--local-directory", str(self.folder / f"node{node}"),
            *(("--resources", "big=1") if node == 2 else ()),
        )  # fmt: skip
        eventually(
            lambda: "Starting established connection" in log.read_text(),
            PATIENCE,
            f"Dask has worker {node}",
        )

    def crowd(self, pids: list[int]) -> None:
        address = self.url.replace("dask", "tcp")
        self.start(0, PYTHON, "-c", DASK_HOG, address, str(pids[0]), str(1970000000))
        eventually(lambda: not alive(pids[0]), 30, "a Dask worker with no memory left is ended")


class Spark(Cluster):
    """A standalone master and two workers of two cores."""

    memory = "2g"  # of each worker
    java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # short lives, and many of them

    def open(self) -> None:
        port = free_port()
        self.url = f"spark://127.0.0.1:{port}"
        home = next((VENV / "lib").glob("python3*")) / "site-packages" / "pyspark"
        self.environment |= {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "PYSPARK_PYTHON": PYTHON,
            "SPARK_NO_DAEMONIZE": "1",
            "JAVA_TOOL_OPTIONS": self.java,
            "SPARK_DAEMON_MEMORY": "256m",
        }
        spark = str(home / "bin" / "spark-class")
        page = free_port()
        self.page = f"http://127.0.0.1:{page}/json/"
        self.start(
            0, spark, "org.apache.spark.deploy.master.Master", "--host", "127.0.0.1",
            "--port", str(port), "--webui-port", str(page),
        )  # fmt: skip
        eventually(lambda: listens(port), PATIENCE, "Spark's master listens")
        for node in (1, 2):
            self.start(
                node, spark, "org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1",
                "--cores", "2", "--memory", self.memory, "--webui-port", str(free_port()),
                self.url, SPARK_WORKER_DIR=str(self.folder / f"node{node}"),
            )  # fmt: skip
        eventually(
            lambda: sum(w["state"] == "ALIVE" for w in self.state()["workers"]) == 2,
            PATIENCE,
            "Spark has two workers",
        )

    def state(self) -> dict[str, list[dict[str, object]]]:
        """What the master says of itself.

        Its pages are hung up one by one after it listens, "/" before "/json/": until then a
        page that is no JSON answers.
        """
        import urllib.request

        with contextlib.suppress(OSError, json.JSONDecodeError):
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self.page, timeout=5) as answer:
                return dict(json.load(answer))
        return {"workers": []}


def ray() -> contextlib.AbstractContextManager[Ray]:
    return running(Ray)


def short_ray() -> contextlib.AbstractContextManager[ShortRay]:
    return running(ShortRay)


def dask() -> contextlib.AbstractContextManager[Dask]:
    return running(Dask)


def spark() -> contextlib.AbstractContextManager[Spark]:
    return running(Spark)
