"""Workers on a Spark cluster: one job of one task each, in an application of shoal's own.

spark://HOST:PORT is a standalone master; what else Spark takes as a master comes after the
two slashes: spark://local[4], spark://local-cluster[2,1,1024], spark://yarn,
spark://k8s://https://HOST:PORT. Options are Spark's own (spark.*) and win over what is set
here. Each worker has an executor of its own, which Spark adds and gives back as jobs come and
go (dynamic allocation), so an executor that is lost takes one worker along.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from shoal.host import node
from shoal.host.cluster import (
    METRICS,
    Cluster,
    Ended,
    Order,
    Started,
    host_and_port,
    is_loopback,
    need,
    prefer,
    reach,
    route_to,
)
from shoal.host.node import Launch, node_name, run

LIGHT_JVM = "-XX:TieredStopAtLevel=1"
STANDALONE = re.compile(r"([^\[\],]+:\d+)(,[^\[\],]+:\d+)*")


class Task:
    """What a partition does; it travels by value. Its result is how the worker ended."""

    def __init__(self, launch: Launch, archive: str) -> None:
        self.launch = launch
        self.archive = archive  # the name of a file that Spark brings, if one comes

    def __call__(self, _: Iterable[object]) -> Iterator[dict[str, Any]]:
        from pyspark import SparkFiles, TaskContext

        context = TaskContext.get()
        if context is None or context.attemptNumber():
            return  # Spark's second try of a worker that the driver knows is gone

        def load() -> bytes:
            with open(SparkFiles.get(self.archive), "rb") as file:
                return file.read()

        # An executor runs in WORK/application/executor of its Spark worker.
        name = node_name(os.path.dirname(os.path.dirname(os.getcwd())))
        for event in run(
            self.launch, name, load if self.archive else None, SparkFiles.getRootDirectory()
        ):
            if "pid" not in event:
                yield event


class SparkCluster(Cluster):
    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.stopped: set[int] = set()
        self.prefix = f"shoal-{uuid.uuid4().hex[:8]}"
        self.file = ""  # the archive's name, as Spark knows it
        self.published = dict.fromkeys(METRICS, 0)

    def open(self) -> tuple[str, str]:
        place = self.order.place
        master, head = place, ""
        if STANDALONE.fullmatch(place):
            master = self.order.url
            for each in place.split(","):
                head, port = host_and_port(each, "a Spark master")
            reach(head, port, "Spark's master")
            if is_loopback(head):
                prefer("PYSPARK_PYTHON", sys.executable)
                prefer("SPARK_LOCAL_IP", "127.0.0.1")
        elif place.startswith("local"):
            prefer("PYSPARK_PYTHON", sys.executable)
            prefer("SPARK_LOCAL_IP", "127.0.0.1")
            head = "127.0.0.1"
        self.spark = need("pyspark", "pyspark")
        import pyspark.cloudpickle as cloudpickle

        for module in (node, sys.modules[__name__]):
            cloudpickle.register_pickle_by_value(module)
        conf = self.spark.SparkConf().setMaster(master).setAppName(f"shoal {self.order.name}")
        for key, value in {**self.settings(head), **self.order.options}.items():
            conf.set(key, value)
        self.context = self.spark.SparkContext(conf=conf)
        if self.archive is not None:
            self.deliver(self.archive)
        words = f"Spark {self.context.version}, {master}, application {self.context.applicationId}"
        return words, head or str(self.context.getConf().get("spark.driver.host"))

    def settings(self, head: str) -> dict[str, str]:
        order = self.order
        cpus = str(max(1, round(order.cpus)))
        settings = {
            "spark.task.cpus": cpus,
            "spark.task.maxFailures": "1",
            "spark.python.task.killTimeout": "200ms",
            "spark.ui.showConsoleProgress": "false",
            "spark.executor.cores": cpus,
            "spark.executor.memory": "512m",  # of the JVM, which does nothing
            "spark.driver.memory": "512m",
            # These JVMs pass on what others do: code that is compiled once, and no more, is
            # fast enough. What the user's extraJavaOptions say comes behind.
            "spark.executor.defaultJavaOptions": LIGHT_JVM,
            "spark.driver.defaultJavaOptions": LIGHT_JVM,
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.initialExecutors": str(order.workers),
            "spark.dynamicAllocation.executorIdleTimeout": "10s",
            "spark.dynamicAllocation.schedulerBacklogTimeout": "1s",
        }
        if head:  # executors fetch from this process by the way that it reaches them
            listen = route_to(head)
            settings |= {"spark.driver.host": listen, "spark.driver.bindAddress": listen}
        if order.memory:  # of the container around the JVM, where there is one
            settings["spark.executor.memoryOverhead"] = f"{order.memory >> 20}m"
        for name, amount in order.resources.items():
            settings[f"spark.executor.resource.{name}.amount"] = f"{amount:g}"
            settings[f"spark.task.resource.{name}.amount"] = f"{amount:g}"
        return settings

    def deliver(self, archive: bytes) -> None:
        """Executors fetch it from this application when their first task comes."""
        self.file = f"shoal-{self.digest[:16]}.tar.gz"
        self.folder = tempfile.TemporaryDirectory(prefix="shoal-")
        path = os.path.join(self.folder.name, self.file)
        with open(path, "wb") as file:
            file.write(archive)
        self.context.addFile(path)

    def group(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def run(self, launch: Launch, started: Started) -> Ended:
        number = launch.number
        results: list[Ended] = []
        job = self.spark.InheritableThread(target=self.job, args=(launch, results), daemon=True)
        job.start()
        told = False
        while not results:
            job.join(0.5)
            if number in self.stopped:
                self.context.cancelJobGroup(self.group(number))
            status, host, error = self.look(number)
            if status == "RUNNING" and not told:
                told = True
                started({"node": None, "host": host, "pid": None})
            elif status in ("FAILED", "KILLED") and not results:
                results.append(cause(error))  # before Spark tries again
        if job.is_alive():
            self.context.cancelJobGroup(self.group(number))
        return results[0]

    def job(self, launch: Launch, results: list[Ended]) -> None:
        """The job of a worker, in a thread of its own, until the worker ends."""
        number = launch.number
        words = f"shoal {self.order.name} worker {number}"
        self.context.setJobGroup(self.group(number), words, interruptOnCancel=True)
        task = Task(launch, self.file)
        try:
            found = self.context.parallelize([number], 1).mapPartitions(task).collect()
            results.append(Ended(**found[0]) if found else Ended("its Spark executor was lost"))
        except Exception as error:  # a Py4JJavaError, whatever it was
            results.append(cause(str(error)))

    def look(self, number: int) -> tuple[str, str, str]:
        """Status, host and error of a worker's task; empty before there is one.

        A task that runs can't tell its driver anything. Spark's own book of tasks says where
        it is; the worker that dials back says the rest.
        """
        tracker = self.context.statusTracker()
        store = self.context._jsc.sc().statusStore()
        for identity in tracker.getJobIdsForGroup(self.group(number)):
            job = tracker.getJobInfo(identity)
            for stage in job.stageIds if job else ():
                tasks = store.taskList(stage, 0, 1)
                if tasks.size():
                    task = tasks.apply(0)
                    error = task.errorMessage()
                    words = error.get() if error.isDefined() else ""
                    return str(task.status()), str(task.host()), str(words)
        return "", "", ""

    def stop(self, number: int) -> None:
        self.stopped.add(number)

    def waits_for(self) -> str:
        store = self.context._jsc.sc().statusStore()
        every = store.executorList(True)
        executors = [every.apply(i) for i in range(every.size())]
        executors = [e for e in executors if e.id() != "driver"]  # that is this process
        see = (
            f"see application {self.context.applicationId} on the master's page (usually its"
            f" port 8080), and {self.context.uiWebUrl}"
        )
        if any(not e.activeTasks() for e in executors):
            return f"an executor of Spark is up and begins with it; {see}"
        settings = self.context.getConf()
        cores, memory = (settings.get(f"spark.executor.{what}") for what in ("cores", "memory"))
        return (
            f"Spark has given this application {len(executors)} executors and it needs one more:"
            f" {cores} cores and {memory} that are free on one node; {see}"
        )

    def publish(self, values: dict[str, int]) -> None:
        """Beside the scheduler's own in Spark's registry, which its sinks read."""
        registry = self.context._jsc.sc().dagScheduler().metricsSource().metricRegistry()
        for name in METRICS:
            registry.counter(f"shoal.{name}").inc(values[name] - self.published[name])
        self.published = values

    def close(self) -> None:
        self.context.stop()
        if self.file:
            self.folder.cleanup()


def cause(text: str) -> Ended:
    """What Spark says of a task that failed, without what its own code was at."""
    _, _, recent = text.rpartition("most recent failure: ")
    lines = [
        line for line in recent.splitlines() if not re.match(r"\s+at |\s*$|Driver stack", line)
    ]
    words = " ".join(lines[:3] + lines[3:][-2:])[:1500]
    preempted = bool(re.search("preempt|decommission|evict", words, re.IGNORECASE))
    return Ended(f"Spark lost it: {words}", preempted=preempted)


open_cluster = SparkCluster
