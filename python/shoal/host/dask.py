"""Workers on a Dask cluster: one long task each, which takes one thread of a Dask worker.

dask://HOST:PORT is the scheduler's address, dask:///path/scheduler.json its file. Dask knows
no CPUs or memory of a task: what else a worker needs is asked for by resources that the Dask
workers were started with (`dask worker --resources "CPU=8"`).
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import uuid
from typing import Any

from shoal.host import node
from shoal.host.cluster import (
    Cluster,
    Ended,
    Order,
    Started,
    Unavailable,
    host_and_port,
    need,
    reach,
)
from shoal.host.node import Launch, node_name, run

Inbox = queue.SimpleQueue[tuple[str, Any]]


class Deliver:
    """A Dask plugin: each Dask worker, also a later one, has the archive in its own folder.

    As data that the task depends on it would draw all tasks to the Dask workers that have it.
    """

    def __init__(self, name: str, archive: bytes, digest: str) -> None:
        self.name = name
        self.archive: bytes | None = archive
        self.digest = digest

    def setup(self, worker: Any) -> None:
        if self.archive is not None:
            with open(delivered(worker.local_directory, self.digest), "wb") as file:
                file.write(self.archive)
        self.archive = None

    def teardown(self, worker: Any) -> None:
        pass  # the file goes with the Dask worker's folder; others may use it


def delivered(folder: str, digest: str) -> str:
    return os.path.join(folder, f"shoal-{digest[:16]}.tar.gz")


def live(launch: Launch, topic: str) -> dict[str, Any]:
    """The task, which travels by value. It tells the scheduler's log of events where it runs.

    Dask runs a task of a worker that died on another one, up to allowed_failures times, which
    isn't ours to set. Such a run finds in that log that it is not the first.
    """
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    key = worker.get_current_task()
    if sync(worker.loop, worker.scheduler.events, topic=topic):
        return {"why": "the Dask worker that ran it is gone", "log": "", "clean": False}
    worker.log_event(topic, {"begun": True})

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        ends = worker.status.name in ("closing", "closed", "failed")
        return not ends and task is not None and task.state == "executing"

    def load() -> bytes:
        with open(delivered(worker.local_directory, launch.digest), "rb") as file:
            return file.read()

    # Dask workers of one machine share the folder that theirs is in.
    name = node_name(os.path.dirname(os.path.abspath(worker.local_directory)))
    scratch = worker.local_directory
    event: dict[str, Any] = {}
    for event in run(launch, name, load if launch.digest else None, scratch, wanted):
        if "pid" in event:
            worker.log_event(topic, event)
    return event


class DaskCluster(Cluster):
    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.lock = threading.Lock()  # of what follows
        self.inboxes: dict[int, Inbox] = {}  # what happened to a worker, for its thread
        self.stopped: set[int] = set()
        self.prefix = f"shoal-{order.name}-{uuid.uuid4().hex[:8]}"

    def open(self) -> tuple[str, str]:
        if self.order.options:
            raise Unavailable("shoal has no options for Dask but resources")
        place = self.order.place
        if place.startswith("/"):
            if not os.path.exists(place):
                raise Unavailable(f"there is no scheduler file {place}: is the scheduler up?")
            where = {"scheduler_file": place}
        else:
            reach(*host_and_port(place, "a Dask scheduler"), "Dask's scheduler")
            where = {"address": f"tcp://{place}"}
        self.dask = need("distributed", "distributed")
        cloudpickle = need("cloudpickle", "cloudpickle")
        for module in (node, sys.modules[__name__]):
            cloudpickle.register_pickle_by_value(module)
        self.client = self.dask.Client(**where, name=self.prefix, timeout=10, set_as_default=False)
        self.check_python()
        if self.archive is not None:
            deliver = type("Deliver", (Deliver, self.dask.WorkerPlugin), {})
            self.client.register_plugin(deliver(self.prefix, self.archive, self.digest))
        self.client.subscribe_topic("all", self.see)
        workers = self.client.scheduler_info()["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers)
        words = f"Dask {self.dask.__version__}, {len(workers)} workers, {threads} threads"
        return words, self.client.scheduler.address.rpartition("://")[2].rpartition(":")[0]

    def check_python(self) -> None:
        """What travels by value is bytecode: Python must be the same."""
        versions = self.client.get_versions()
        here = ".".join(map(str, sys.version_info[:2]))
        for address, found in versions["workers"].items():
            there = found["host"]["python"]
            if not there.startswith(f"{here}."):
                raise Unavailable(
                    f"the Dask worker {address} has Python {there} and this is {sys.version}:"
                    " start shoal with the Python of the cluster"
                )

    def see(self, event: tuple[float, Any]) -> None:
        """An event of the whole cluster, in Dask's own thread."""
        what = event[1]
        if isinstance(what, dict) and what.get("action") == "remove-worker":
            for key in what.get("processing-tasks", ()):
                prefix, _, number = str(key).rpartition("-")
                if prefix == self.prefix:
                    self.tell(int(number), "lost", what)

    def tell(self, number: int, kind: str, what: Any = None) -> None:
        with self.lock:
            if number in self.inboxes:
                self.inboxes[number].put((kind, what))

    def run(self, launch: Launch, started: Started) -> Ended:
        number = launch.number
        topic = key = f"{self.prefix}-{number}"
        inbox: Inbox = queue.SimpleQueue()
        with self.lock:
            if number in self.stopped:
                return Ended("it was stopped before it was asked for")
            self.inboxes[number] = inbox
        self.client.subscribe_topic(topic, lambda event: inbox.put(("event", event[1])))
        task = self.client.submit(
            live,
            launch,
            topic,
            key=key,
            pure=False,
            retries=0,
            resources=self.order.resources or None,
        )
        task.add_done_callback(lambda _: inbox.put(("done", None)))
        try:
            return self.follow(task, inbox, started)
        finally:
            with self.lock:
                del self.inboxes[number]
            task.cancel()
            self.client.unsubscribe_topic(topic)

    def follow(self, task: Any, inbox: Inbox, started: Started) -> Ended:
        address = ""  # of the Dask worker
        while True:
            match inbox.get():
                case "event", {"begun": True, "worker": worker}:
                    address = worker  # Dask adds that
                case "event", {"node": name, "host": host, "pid": pid}:
                    started({"node": name, "host": host, "pid": pid})
                case "lost", {"worker": worker} as what if worker == address:
                    asked = bool(what.get("expected"))
                    how = "was retired" if asked else "died, or its connection broke"
                    return Ended(f"the Dask worker {address} that ran it {how}", preempted=asked)
                case "stop", _:
                    return Ended("it was stopped")
                case "done", _:
                    try:
                        return Ended(**task.result())
                    except Exception as error:
                        return Ended(f"{type(error).__name__} of Dask: {error}")

    def stop(self, number: int) -> None:
        with self.lock:
            self.stopped.add(number)
        self.tell(number, "stop")

    def waits_for(self) -> str:
        see = f"see Dask's dashboard, {self.client.dashboard_link}"
        if self.client.status != "running":
            return f"Dask's scheduler does not answer ({self.client.status}); {see}"
        workers = self.client.scheduler_info()["workers"]
        if not workers:
            return f"the Dask cluster has no workers; {see}"
        wants = self.order.resources
        words = ", ".join(f"{name}={amount:g}" for name, amount in wants.items())
        has = [worker.get("resources", {}) for worker in workers.values()]
        if not any(all(h.get(n, 0) >= a for n, a in wants.items()) for h in has):
            return (
                f"no Dask worker has the resource {words}: start some with"
                f' `dask worker --resources "{words}"`; {see}'
            )
        threads = sum(worker["nthreads"] for worker in workers.values())
        of = f" with {words} free" if wants else ""
        return (
            f"no Dask worker has a free thread{of}: {len(workers)} Dask workers with {threads}"
            f" threads; {see}"
        )

    def publish(self, values: dict[str, int]) -> None:
        """Dask has no counters for others, but a log of events for each topic."""
        self.client.log_event("shoal", {"run": self.order.name, **values})

    def close(self) -> None:
        if self.archive is not None:
            self.client.unregister_worker_plugin(self.prefix)
        self.client.close()


open_cluster = DaskCluster
