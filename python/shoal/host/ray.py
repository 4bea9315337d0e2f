"""Workers on a Ray cluster: one actor each.

ray://HOST:PORT is where the cluster's GCS listens (`ray start --head` prints it; not Ray
Client's port, which is usually 10001), and ray://auto the cluster of this machine. Ray wants
one of its nodes on the machine that connects.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from shoal.host import node
from shoal.host.cluster import (
    METRICS,
    Cluster,
    Ended,
    Order,
    Started,
    Unavailable,
    host_and_port,
    is_loopback,
    need,
    prefer,
    reach,
)
from shoal.host.node import Launch, run

CAUSE = 1.5  # seconds that Ray has to find out why an actor is gone: the driver waits little more


class ShoalWorker:
    """The actor, which travels by value, as `node` does."""

    def live(self, launch: Launch, archive: bytes | None) -> Iterator[dict[str, Any]]:
        import ray

        load = (lambda: archive) if archive is not None else None
        name = f"ray-{ray.get_runtime_context().get_node_id()[:16]}"
        yield from run(launch, name, load, tempfile.gettempdir())

    def ask(self) -> None:
        """Never returns while `live` runs; fails once Ray knows why the actor is gone."""


class RayCluster(Cluster):
    OPTIONS = ("scheduling_strategy", "accelerator_type")

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.lock = threading.Lock()  # of the two that follow
        self.actors: dict[int, Any] = {}
        self.stopped: set[int] = set()
        self.shipped: Any = None  # the archive in Ray's object store, one copy a node
        self.metrics: dict[str, Any] = {}
        self.published = dict.fromkeys(METRICS, 0)

    def open(self) -> tuple[str, str]:
        address = self.order.place
        if unknown := set(self.order.options) - set(self.OPTIONS):
            raise Unavailable(
                f"Ray's actors are not given {', '.join(sorted(unknown))} by shoal, only"
                f" {' and '.join(self.OPTIONS)}"
            )
        if address != "auto":
            host, port = host_and_port(address, "a Ray cluster")
            reach(host, port, "Ray's head")
            if is_loopback(host):  # else Ray takes another address of this machine
                prefer("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        self.ray = need("ray", "ray")
        for module in (node, sys.modules[__name__]):
            self.ray.cloudpickle.register_pickle_by_value(module)
        space = f"shoal-{uuid.uuid4()}"
        self.ray.init(address=address, namespace=space, log_to_driver=False)
        head = self.ray.get_runtime_context().gcs_address.rpartition(":")[0].strip("[]")
        if self.archive is not None:
            self.shipped = self.ray.put(self.archive)
        nodes, cpus = self.alive(), self.ray.cluster_resources().get("CPU", 0)
        return f"Ray {self.ray.__version__}, {len(nodes)} nodes, {cpus:g} CPUs", head

    def alive(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]

    def wants(self) -> dict[str, float]:
        """What one worker asks of a node, as Ray names it."""
        memory = {"memory": float(self.order.memory)} if self.order.memory else {}
        return {"CPU": self.order.cpus, **memory, **self.order.resources}

    def actor(self, number: int) -> Any:
        others = self.wants()
        options: dict[str, Any] = {"scheduling_strategy": "SPREAD", **self.order.options}
        for name, ray_name in (("CPU", "num_cpus"), ("GPU", "num_gpus"), ("memory", "memory")):
            if name in others:
                options[ray_name] = others.pop(name)
        return self.ray.remote(ShoalWorker).options(
            name=f"shoal {self.order.name} worker {number}",
            max_restarts=0,
            resources=others,
            **options,
        )

    def run(self, launch: Launch, started: Started) -> Ended:
        number = launch.number
        with self.lock:
            if number in self.stopped:
                return Ended("it was stopped before it was asked for")
            actor = self.actors[number] = self.actor(number).remote()
        try:
            life = actor.live.options(num_returns="streaming")
            for event in life.remote(launch, self.shipped):
                told = self.ray.get(event)
                if "pid" in told:
                    started(told)
                else:
                    return Ended(**told)
            return Ended("Ray's actor ended without a word")
        except self.ray.exceptions.RayError as error:
            return self.cause(number, error)
        finally:
            self.ray.kill(actor)  # its place is free at once, not when nobody knows of it
            with self.lock:
                del self.actors[number]

    def cause(self, number: int, error: Exception) -> Ended:
        """Why an actor is gone. That its connection broke is told first, what broke it later."""
        until = time.monotonic() + CAUSE
        while isinstance(error, self.ray.exceptions.ActorUnavailableError):
            if number in self.stopped or time.monotonic() > until:
                break
            time.sleep(0.5)
            with contextlib.suppress(self.ray.exceptions.GetTimeoutError):
                try:
                    self.ray.get(self.actors[number].ask.remote(), timeout=1)
                except self.ray.exceptions.RayActorError as later:
                    error = later
        preempted = bool(getattr(error, "preempted", False))
        return Ended(f"{type(error).__name__} of Ray: {error}", preempted=preempted)

    def stop(self, number: int) -> None:
        with self.lock:
            self.stopped.add(number)
            if number in self.actors:
                self.ray.kill(self.actors[number])

    def waits_for(self) -> str:
        wants = self.wants()
        words = " and ".join(f"{amount:g} {name}" for name, amount in wants.items())
        see = f"see `ray status --address {self.ray.get_runtime_context().gcs_address}`"
        totals = [node["Resources"] for node in self.alive()]
        if not any(all(t.get(n, 0) >= a for n, a in wants.items()) for t in totals):
            return f"no node of the Ray cluster has {words}, unless its autoscaler adds one; {see}"
        have, free = self.ray.cluster_resources(), self.ray.available_resources()
        use = ", ".join(f"{free.get(n, 0):g} of {have.get(n, 0):g} {n}" for n in wants)
        return f"no node has {words} free for a worker (free in all: {use}); {see}"

    def publish(self, values: dict[str, int]) -> None:
        """Ray adds "ray_" to the names, and gives them to Prometheus with its own."""
        from ray.util.metrics import Counter, Gauge

        for name, (words, grows) in METRICS.items():
            if name not in self.metrics:
                kind = Counter if grows else Gauge
                self.metrics[name] = kind(f"shoal_{name}", words, ("run",))
                self.metrics[name].set_default_tags({"run": self.order.name})
            more = values[name] - self.published[name]
            if not grows:
                self.metrics[name].set(values[name])
            elif more > 0:
                self.metrics[name].inc(more)
        self.published = values

    def close(self) -> None:
        self.ray.shutdown()


open_cluster = RayCluster
