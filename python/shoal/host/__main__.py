"""`python -m shoal.host URL`: see README.md for what is read and written."""

from __future__ import annotations

import dataclasses
import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from typing import Any

from shoal.host.cluster import Cluster, Ended, Order, Unavailable
from shoal.host.lines import Lines

PATIENCE = 3.0  # seconds until a worker that hasn't started is told to be pending
CLOSING = 8.0  # seconds that workers have to end when the host closes
LEAVING = 3.0  # of them, in which they leave by themselves and remove what they keep
PUBLISHING = 1.0  # seconds in which the last metrics are passed on
LAST = 13.0  # seconds after which the host ends, even if the cluster's package hangs
Events = queue.SimpleQueue[dict[str, Any]]  # what a signal handler may put into
KINDS = ("ray", "dask", "spark")


@dataclasses.dataclass
class Worker:
    number: int
    asked: float
    thread: threading.Thread | None = None
    started: bool = False
    stopped: bool = False


class Host:
    """Workers of one cluster. One thread acts; each worker's own only waits for its end."""

    def __init__(self, lines: Lines, cluster: Cluster, events: Events) -> None:
        self.lines = lines
        self.cluster = cluster
        self.workers: dict[int, Worker] = {}  # changed by the one thread
        self.events = events
        self.values: queue.SimpleQueue[dict[str, int] | None] = (
            queue.SimpleQueue()
        )  # None: the last
        self.published = threading.Event()  # all of them, after which nothing comes

    def live(self, worker: Worker, address: str) -> None:
        """A worker's thread."""

        def started(where: dict[str, Any]) -> None:
            self.events.put({"op": "started", "worker": worker.number, **where})

        try:
            ended = self.cluster.run(self.cluster.launch(worker.number, address), started)
        except Exception as error:  # of the cluster's package, of any kind
            traceback.print_exc()
            ended = Ended(f"{type(error).__name__}: {error}")
        self.events.put({"op": "ended", "worker": worker.number, "ended": ended})

    def act(self, order: dict[str, Any]) -> bool:
        """Does what the driver asks or a worker's thread reports; False to close."""
        number = order.get("worker")
        match order["op"]:
            case "close":
                return False
            case "start" if isinstance(number, int) and number not in self.workers:
                self.start(number, str(order["address"]))
            case "stop" if number in self.workers:
                self.workers[number].stopped = True
                self.cluster.stop(number)
            case "stop":
                pass  # it is gone already
            case "metrics":
                self.values.put(order["values"])
            case "started":
                self.started(order)
            case "ended":
                self.ended(self.workers.pop(order["worker"]), order["ended"])
            case _:
                raise ValueError(f"the host doesn't know what to do with {order}")
        return True

    def start(self, number: int, address: str) -> None:
        worker = Worker(number, time.monotonic())
        worker.thread = threading.Thread(target=self.live, args=(worker, address), daemon=True)
        self.workers[number] = worker
        worker.thread.start()

    def started(self, order: dict[str, Any]) -> None:
        worker = self.workers.get(order.pop("worker"))
        del order["op"]
        if worker is not None and not worker.started:
            worker.started = True
            self.lines.send("started", worker=worker.number, **order)

    def ended(self, worker: Worker, ended: Ended) -> None:
        why = "it was stopped, as asked" if worker.stopped else ended.why
        if ended.log and not ended.clean and not worker.stopped:
            self.lines.send("log", worker=worker.number, text=ended.log)
        self.lines.send("gone", worker=worker.number, why=why, preempted=ended.preempted)

    def explain(self) -> None:
        """Says what workers wait for; in a thread, as a cluster may answer late or never."""
        said: dict[int, str] = {}
        while True:
            time.sleep(1)
            late = time.monotonic() - PATIENCE
            waiting = [w for w in list(self.workers.values()) if not w.started and w.asked < late]
            try:
                why = self.cluster.waits_for() if waiting else ""
            except Exception as error:  # of the cluster's package, of any kind
                why = f"the cluster does not say ({type(error).__name__}: {error})"
            for worker in waiting:
                if said.get(worker.number) != why and not worker.started:
                    said[worker.number] = why
                    self.lines.send("pending", worker=worker.number, why=why)

    def publish(self) -> None:
        """Passes metrics on; in a thread, as a cluster may answer late or never."""
        closing = False
        try:
            while not closing:
                came = [self.values.get()]
                while not self.values.empty():
                    came.append(self.values.get())
                closing = None in came
                if news := [values for values in came if values]:
                    self.cluster.publish(news[-1])
        except Exception:  # of the cluster's package, of any kind
            traceback.print_exc()
        self.published.set()

    def serve(self) -> None:
        """Until the driver closes or is gone."""
        threading.Thread(target=self.publish, daemon=True).start()
        threading.Thread(target=self.explain, daemon=True).start()
        while self.act(self.events.get()):
            pass

    def close(self) -> None:
        begun, told = time.monotonic(), False
        for worker in self.workers.values():
            worker.stopped = True
            if not worker.started:
                self.cluster.stop(worker.number)
        while self.workers and time.monotonic() < begun + CLOSING:
            if not told and time.monotonic() > begun + LEAVING:
                told = True
                for number in self.workers:
                    self.cluster.stop(number)
            try:
                event = self.events.get(timeout=0.2)
            except queue.Empty:
                continue
            if event["op"] in ("started", "ended"):
                self.act(event)
        self.values.put(None)
        self.published.wait(PUBLISHING)
        self.cluster.close()


class Opening:
    """Reads the driver's lines, from the first on; ends the host if it is gone while opening."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.events: Events = queue.SimpleQueue()
        self.over = False
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        try:
            for order in self.lines.read():
                if order["op"] == "close" and not self.over:
                    break
                self.events.put(order)
        except ValueError as error:
            traceback.print_exception(error)
        if not self.over:
            os._exit(1)
        end_after(LAST, self.lines, "the cluster did not let us go")
        self.events.put({"op": "close"})

    def connect(self, url: str) -> Cluster:
        """Opens the cluster, or says why it can't be opened and ends."""
        kind = url.partition("://")[0]
        try:
            if kind not in KINDS:
                raise Unavailable(f"{url}: the clusters are {', '.join(KINDS)}")
            order = order_of(self.events.get(), url)
            end_after(order.start_timeout, self.lines, f"{url} did not let us in")
            module = importlib.import_module(f"shoal.host.{kind}")
            cluster: Cluster = module.open_cluster(order)
            words, head = cluster.open()
        except Exception as error:
            if not isinstance(error, Unavailable):
                traceback.print_exc()
                error = Unavailable(f"cannot use {url}: {type(error).__name__}: {error}")
            self.lines.send("failed", why=str(error))
            os._exit(1)
        end_not()
        self.over = True
        self.lines.send("opened", cluster=words, head=head)
        return cluster


def order_of(line: dict[str, Any], url: str) -> Order:
    known = {field.name for field in dataclasses.fields(Order)}
    given = {key: value for key, value in line.items() if key in known and value is not None}
    if line["op"] != "open" or given.setdefault("url", url) != url:
        raise Unavailable(f"the driver's first line must open {url}")
    given["secret"] = bytes.fromhex(given["secret"])
    return Order(**given)


timers: list[threading.Timer] = []


def end_after(seconds: float, lines: Lines, what: str) -> None:
    """Ends the host if it is not told otherwise in time."""

    def late() -> None:
        lines.send("failed", why=f"{what} within {seconds:g} s: see the host's log")
        os._exit(1)

    timers.append(threading.Timer(seconds, late))
    timers[-1].daemon = True
    timers[-1].start()


def end_not() -> None:
    while timers:
        timers.pop().cancel()


def main() -> None:
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # a folder "dask" where the user happens to be is not the package
    if len(sys.argv) != 2:
        sys.exit("usage: python -m shoal.host ray://...|dask://...|spark://...")
    lines = Lines()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver to handle
    opening = Opening(lines)
    host = Host(lines, opening.connect(sys.argv[1]), opening.events)
    signal.signal(signal.SIGTERM, lambda *_: opening.events.put({"op": "close"}))
    try:
        host.serve()
    except Exception as error:
        lines.send("failed", why=f"{type(error).__name__}: {error}")
        traceback.print_exc()
    host.close()
    sys.stderr.flush()
    os._exit(0)  # threads of the cluster's package are none of ours


main()
