"""Hosts on real clusters: what `python -m shoal.host` promises its driver, on all three.

A program that stands in for `shoal worker` (fake_worker.py) keeps this apart from what is C.
`python3 test/cluster/hosts_test.py RayHosts.test_pending` runs one; ALL=1 adds what is long.
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
import unittest
import urllib.request
from typing import Any, ClassVar

import clusters
from clusters import alive, eventually, kill
from driver import FAKE, Driver

sys.path.insert(0, str(clusters.ROOT / "python"))
from shoal.host import node, pack
from shoal.host.cluster import METRICS

PROGRAM = os.environ.get("SHOAL", str(clusters.ROOT / "build" / "shoal"))
GONE = 15.0  # seconds after which nothing may be left


def parent(pid: int) -> int:
    return int(clusters.stat_of(pid)[1])


def metrics(so_far: int) -> dict[str, int]:
    return dict.fromkeys(METRICS, so_far) | {"tasks_done": 7 * so_far}


class OnCluster:
    """What holds on each of the clusters; they have two nodes of two slots."""

    cluster: ClassVar[Any]
    left: ClassVar[contextlib.ExitStack]
    free: ClassVar[str]  # a part of what is said when no slot is free
    lost: ClassVar[str]  # the cluster's own cause when its worker process dies
    test: Any

    @classmethod
    def start(cls, kind: Any) -> None:
        cls.left = contextlib.ExitStack()
        cls.cluster = cls.left.enter_context(kind())

    @classmethod
    def tearDownClass(cls) -> None:
        cls.left.close()

    def driver(self, **more: Any) -> Driver:
        return Driver(self.cluster, **more)

    def host_process(self, pid: int) -> int:
        """The cluster's own process that a worker is a child of."""
        return parent(pid)

    def test_life(self: Any) -> None:
        """Workers come up, where and as asked; each end of one is told with its reason."""
        with self.driver(ship=True) as d:
            opened = d.event("opened")
            self.assertEqual(opened["head"], "127.0.0.1")
            first, second = d.start(1, 2)
            self.assertNotEqual(first["node"], second["node"])
            self.assertNotEqual(first["path"], str(FAKE), "it came with the query")
            self.assertTrue(alive(first["pid"]) and alive(second["pid"]))
            for number in (1, 2):
                told = d.event("started", number)
                hello = d.workers[number][0]
                self.assertIn(told["pid"], (hello["pid"], None))
                self.assertIn(told["node"], (hello["node"], None))
            self.assert_secret_is_hidden(d, first["pid"])
            d.order(1, "exit 3")
            gone = d.event("gone", 1)
            self.assertIn("exited with 3", gone["why"])
            self.assertFalse(gone["preempted"])
            self.assertIn("told to exit", d.event("log", 1)["text"])
            kill([second["pid"]])
            self.assertIn("signal 9", d.event("gone", 2)["why"])
            (third,) = d.start(3)
            if second["node"] == third["node"]:
                self.assertEqual(second["path"], third["path"], "unpacked once a node")
            d.order(3, "stay")
            d.say("stop", worker=3)
            self.assertIn("stopped, as asked", d.event("gone", 3)["why"])
            eventually(lambda: not alive(third["pid"]), GONE, "a stopped worker is gone")

    def assert_secret_is_hidden(self: Any, d: Driver, pid: int) -> None:
        secrets = (d.secret, d.secret.hex().encode())
        while pid > 1:
            for file in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    shown = pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
                    self.assertFalse(any(s in shown for s in secrets), f"{file} of {pid}")
            pid = parent(pid)
        for folder, _, names in os.walk(self.cluster.folder):  # as folders go meanwhile
            for file in (pathlib.Path(folder) / name for name in names):
                if file.is_file() and file.suffix in (".log", ".out", ".err"):
                    shown = file.read_bytes()
                    self.assertFalse(any(s in shown for s in secrets), file)

    def test_pending(self: Any) -> None:
        """A worker that has no slot says so, and starts when there is one."""
        with self.driver(workers=4) as d:
            d.start(1, 2, 3, 4)
            d.ask(5)
            d.ask(6)
            self.assertIn(self.free, d.event("pending", 5, 10)["why"])
            d.say("stop", worker=6)
            d.event("gone", 6)
            d.say("stop", worker=2)
            d.hello(5)
            pids = [hello["pid"] for hello, _ in d.workers.values()]
        eventually(lambda: not any(map(alive, pids)), GONE, "no worker outlives its driver")

    def test_hung(self: Any) -> None:
        """Workers that do not react are gone too when the driver is, and their slots free."""
        with self.driver() as d:
            first, second = d.start(1, 2)
            os.kill(first["pid"], signal.SIGSTOP)
            d.order(2, "stay")
        pids = [first["pid"], second["pid"]]
        eventually(lambda: not any(map(alive, pids)), GONE, "hung workers are gone")

    def test_leaving(self: Any) -> None:
        """Workers leave when the driver does, and are not ended before they have tidied up."""
        tidied = self.cluster.folder / "tidied"
        with self.driver() as d:
            d.start(1)
            d.event("started", 1)
            d.order(1, f"tidy {tidied}")
            d.workers[1][1].shutdown(socket.SHUT_WR)
        self.assertTrue(tidied.exists())

    def test_host_killed(self: Any) -> None:
        """A host that is killed itself leaves nothing either."""
        with self.driver() as d:
            (first,) = d.start(1)
            d.order(1, "stay")
            d.host.kill()
            eventually(lambda: not alive(first["pid"]), GONE, "a host's workers die with it")

    def test_missing_program(self: Any) -> None:
        """It is told at once; and a host that is asked to end by SIGTERM does so."""
        with self.driver(program="/nowhere/shoal") as d:
            d.ask(1)
            why = d.event("gone", 1)["why"]
            self.assertIn("there is no program /nowhere/shoal on node", why)
            d.host.terminate()
            self.assertEqual(d.host.wait(GONE), 0)

    def test_worker_process_killed(self: Any) -> None:
        """The cluster's own process dies, and the worker with it."""
        with self.driver() as d:
            (first,) = d.start(1)
            d.order(1, "stay")
            kill([self.host_process(first["pid"])])
            self.assertIn(self.lost, d.event("gone", 1)["why"])
            eventually(lambda: not alive(first["pid"]), 5, "a worker dies with its host")
            d.start(2)

    def test_z_node_killed(self: Any) -> None:
        """Last, as it stays away: the other node goes on."""
        with self.driver() as d:
            d.start(1, 2)
            on_second = [
                number
                for number, (hello, _) in d.workers.items()
                if hello["pid"] in self.cluster.processes(self.killable)
            ]
            self.assertEqual(len(on_second), 1, "a worker on each node")
            self.cluster.kill_node(self.killable)
            why = d.event("gone", on_second[0], 60)["why"]
            self.assertIn(self.node_lost, why)
            d.start(3)
            self.assertIsNone(d.told("gone", 3 - on_second[0]))


class RayHosts(OnCluster, unittest.TestCase):
    free = "no node has 1 CPU free"
    lost = "ActorDiedError"
    node_lost = "of Ray: "
    killable = 1

    @classmethod
    def setUpClass(cls) -> None:
        cls.start(clusters.ray)

    def test_resources(self) -> None:
        with self.driver(resources={"big": 1}) as d:
            d.start(1)
            d.ask(2)
            self.assertIn("1 CPU and 1 big free", d.event("pending", 2, 10)["why"])
        with self.driver(resources={"huge": 1}) as d:
            d.ask(1)
            why = d.event("pending", 1)["why"]
            self.assertIn("no node of the Ray cluster has 1 CPU and 1 huge", why)


class DaskHosts(OnCluster, unittest.TestCase):
    free = "no Dask worker has a free thread"
    lost = "died, or its connection broke"
    node_lost = "died, or its connection broke"
    killable = 2

    @classmethod
    def setUpClass(cls) -> None:
        cls.start(clusters.dask)

    def test_resources(self) -> None:
        with self.driver(resources={"big": 1}) as d:
            d.start(1)
            d.ask(2)
            self.assertIn("with big=1 free", d.event("pending", 2, 10)["why"])
        with self.driver(resources={"huge": 1}) as d:
            d.ask(1)
            why = d.event("pending", 1)["why"]
            self.assertIn("no Dask worker has the resource huge=1", why)

    def test_retired(self) -> None:
        """What a cluster takes away by intent is told apart from what died."""
        with self.driver() as d:
            (first,) = d.start(1)
            node = next(n for n in (1, 2) if first["pid"] in self.cluster.processes(n))
            address = self.cluster.url.replace("dask", "tcp")
            script = (
                f"import distributed; c = distributed.Client('{address}');"
                f" w, = [a for a, w in c.scheduler_info()['workers'].items()"
                f" if w['name'] == 'node{node}']; c.retire_workers([w])"
            )
            retire = self.cluster.start(0, clusters.PYTHON, "-c", script)
            gone = d.event("gone", 1)
            self.assertIn("was retired", gone["why"])
            self.assertTrue(gone["preempted"])
            eventually(lambda: not alive(first["pid"]), GONE, "a retired worker is gone")
            self.assertEqual(retire.wait(), 0)
        self.cluster.start_node(node)

    def test_metrics(self) -> None:
        address = self.cluster.url.replace("dask", "tcp")
        script = (
            f"import distributed, json; c = distributed.Client('{address}');"
            f" print(json.dumps([event for _, event in c.get_events('shoal')]))"
        )

        def last() -> dict[str, object]:
            told = subprocess.check_output(
                [clusters.PYTHON, "-c", script], env=self.cluster.environment
            )
            events: list[dict[str, object]] = json.loads(told)
            return events[-1] if events else {}

        with self.driver(name="counting") as d:
            d.event("opened")
            d.say("metrics", values=metrics(1))
            d.say("metrics", values=metrics(2))
            eventually(lambda: last().get("tasks_done") == 14, 10, "Dask has the metrics")
            self.assertEqual(last(), {"run": "counting", **metrics(2)})

    def test_scheduler_file(self) -> None:
        with self.driver(url=f"dask://{self.cluster.file}") as d:
            d.start(1)
        with self.driver(url="dask:///nowhere/scheduler.json") as d:
            self.assertIn("no scheduler file", d.event("failed")["why"])


# An application of Spark and its executors are up in ten seconds or more.
longer = unittest.skipUnless(os.environ.get("ALL"), "it is long: ALL=1 runs it")


class SparkHosts(OnCluster, unittest.TestCase):
    free = "that are free on one node"
    lost = "Spark lost it"
    node_lost = "Spark lost it"
    killable = 2

    @classmethod
    def setUpClass(cls) -> None:
        cls.start(clusters.spark)

    test_host_killed = longer(OnCluster.test_host_killed)
    test_hung = longer(OnCluster.test_hung)
    test_missing_program = longer(OnCluster.test_missing_program)
    test_worker_process_killed = longer(OnCluster.test_worker_process_killed)

    @longer
    def test_metrics(self) -> None:
        port = clusters.free_port()
        with self.driver(options={"spark.ui.port": str(port)}) as d:
            d.event("opened")
            d.say("metrics", values=metrics(1))
            d.say("metrics", values=metrics(2))

            def shown() -> dict[str, int]:
                page = f"http://127.0.0.1:{port}/metrics/json/"
                with urllib.request.urlopen(page, timeout=5) as answer:
                    counters = json.load(answer)["counters"]
                names = {name.partition("shoal.")[2]: name for name in counters}
                return {name: counters[long]["count"] for name, long in names.items() if name}

            eventually(lambda: shown() == metrics(2), 10, "Spark has the metrics")

    @longer
    def test_options(self) -> None:
        with self.driver(options={"spark.executor.memory": "600m"}) as d:
            d.start(1)
            (application,) = self.cluster.state()["activeapps"]
            self.assertEqual(application["memoryperslave"], 600)
            self.assertEqual(application["name"], "shoal test")


class NoCluster(unittest.TestCase):
    """What goes wrong before there is any worker."""

    def setUp(self) -> None:
        self.cluster = clusters.Cluster(pathlib.Path(tempfile.mkdtemp(prefix="test-cluster-")))
        self.addCleanup(shutil.rmtree, self.cluster.folder)

    def fails(self, url: str, *words: str) -> None:
        with Driver(self.cluster, url=url) as d:
            why = d.event("failed", seconds=10)["why"]
            for word in words:
                self.assertIn(word, why)
            self.assertEqual(d.host.wait(10), 1)

    def test_nobody_there(self) -> None:
        port = clusters.free_port()
        for url, name in (
            (f"ray://127.0.0.1:{port}", "Ray's head"),
            (f"dask://127.0.0.1:{port}", "Dask's scheduler"),
            (f"spark://127.0.0.1:{port}", "Spark's master"),
        ):
            with self.subTest(url):
                self.fails(url, f"{name} does not answer", str(port))

    def test_wrong_urls(self) -> None:
        self.fails("ray://127.0.0.1", "'127.0.0.1' is no address of a Ray cluster")
        self.fails("dask://127.0.0.1:99999", "give HOST:PORT")
        self.fails("mesos://127.0.0.1:1", "the clusters are ray, dask, spark")

    def test_packed_program(self) -> None:
        """The real program runs from what travels, and what it says comes back."""
        archive, digest = pack.pack(PROGRAM)
        self.assertEqual(digest, pack.pack(PROGRAM)[1], "the same files, the same name")
        address = f"127.0.0.1:{clusters.free_port()}"
        launch = node.Launch("/nowhere", address, 1, bytes(32), digest)
        scratch = str(self.cluster.folder)
        begun, ended = node.run(launch, "here", lambda: archive, scratch)
        self.assertIn("pid", begun)
        self.assertIn("the worker exited with", ended["why"])
        self.assertIn(address, ended["log"])
        libraries = sorted(p.name for p in self.cluster.folder.glob("*/ready/*"))
        self.assertIn("libduckdb.so", libraries)
        self.assertNotIn("libc.so.6", libraries)
        (damaged,) = node.run(launch, "here", lambda: archive[:-1], scratch + "/other")
        self.assertIn("arrived damaged", damaged["why"])

    def test_tail(self) -> None:
        tail = node.Tail()
        for number in range(70):
            tail.add(f"line {number}\nli".encode())
            tail.add(b"ne\n" if number % 2 else b"nes\n" + b"x" * 5000 + b"\n")
        lines = tail.text().splitlines()
        self.assertEqual(len(lines), node.TAIL_LINES)
        self.assertEqual(lines[-2:], ["line 69", "line"])
        self.assertTrue(all(len(line) <= node.TAIL_LINE for line in lines))

    def test_missing_package(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"dask://127.0.0.1:{listener.getsockname()[1]}"
            self.cluster.environment["PYTHONPATH"] += f":{self.cluster.folder}"
            (self.cluster.folder / "distributed.py").write_text("raise ImportError('not here')")
            self.fails(url, "distributed can't be imported", "pip install 'distributed'")


def main() -> None:
    if not pathlib.Path(clusters.PYTHON).exists():
        sys.exit("no clusters are installed: ./dev cluster-test installs them")
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
