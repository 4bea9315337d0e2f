"""What a cluster must be able to do for the host, and what all of them need for it."""

from __future__ import annotations

import abc
import dataclasses
import importlib
import os
import re
import socket
import sys
from collections.abc import Callable
from typing import Any

from shoal.host import pack
from shoal.host.node import Launch

Started = Callable[[dict[str, Any]], None]


# What the driver counts, and whether it only grows.
METRICS = {
    "workers": ("Workers that are up", False),
    "workers_lost": ("Workers that went without being asked to", True),
    "tasks_running": ("Tasks that run on workers", False),
    "tasks_waiting": ("Tasks that could run and wait for a slot", False),
    "tasks_done": ("Attempts of tasks that came to their end", True),
    "tasks_failed": ("Attempts of tasks that failed", True),
    "rows": ("Rows that tasks wrote to block files and targets", True),
    "bytes": ("Bytes that tasks wrote to block files and targets", True),
}


class Unavailable(Exception):
    """The cluster can't be used: what, where and what to do."""


@dataclasses.dataclass
class Order:
    """What the driver asks for when it opens the host."""

    url: str
    secret: bytes = dataclasses.field(repr=False)
    program: str
    name: str
    cpus: float = 1
    memory: int | None = None
    workers: int = 1  # how many there will be, about
    resources: dict[str, float] = dataclasses.field(default_factory=dict)
    options: dict[str, str] = dataclasses.field(default_factory=dict)
    start_timeout: float = 60
    ship: bool = True

    @property
    def place(self) -> str:
        """The URL without its scheme: HOST:PORT, a file, a word."""
        return self.url.partition("://")[2]


@dataclasses.dataclass
class Ended:
    """Why a worker is gone."""

    why: str
    log: str = ""
    clean: bool = False
    preempted: bool = False


class Cluster(abc.ABC):
    """One connection. `run` is called in a thread for each worker, `waits_for` in another one,
    all else in the main thread."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.archive: bytes | None = None
        self.digest = ""
        if order.ship:
            self.archive, self.digest = pack.pack(order.program)

    def launch(self, number: int, address: str) -> Launch:
        order = self.order
        return Launch(order.program, address, number, order.secret, self.digest)

    @abc.abstractmethod
    def open(self) -> tuple[str, str]:
        """Connects; returns what the cluster is, in words, and the host of its head."""

    @abc.abstractmethod
    def run(self, launch: Launch, started: Started) -> Ended:
        """Has the cluster run a worker, and waits for its end.

        `started` is told {"node", "host", "pid"}, None for what the cluster doesn't say.
        """

    @abc.abstractmethod
    def stop(self, number: int) -> None:
        """Ends a worker or takes back the request for it; `run` returns soon after."""

    @abc.abstractmethod
    def waits_for(self) -> str:
        """What a worker that has not started waits for, and where the user can see it."""

    @abc.abstractmethod
    def publish(self, values: dict[str, int]) -> None:
        """Says what METRICS have come to, by the cluster's own means; in a thread of its own."""

    @abc.abstractmethod
    def close(self) -> None:
        """Disconnects. What still runs there must end by that."""


def need(module: str, install: str) -> Any:
    """Imports a cluster's package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unavailable(
            f"the package {module} can't be imported by {sys.executable} ({error}): "
            f"{sys.executable} -m pip install '{install}', the version that the cluster runs"
        ) from error


def host_and_port(place: str, what: str) -> tuple[str, int]:
    found = re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d{1,5})", place)
    if not found or not 0 < int(found[2]) < 65536:
        raise Unavailable(f"{place!r} is no address of {what}: give HOST:PORT")
    return found[1], int(found[2])


def reach(host: str, port: int, what: str) -> None:
    """Fails at once where the cluster's own client would try for minutes."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise Unavailable(
            f"{what} does not answer at {host}:{port} ({error.strerror or error}): is it running"
            " there, is the port right, does a firewall stand between?"
        ) from error


def is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def prefer(name: str, value: str) -> None:
    """Sets a variable for the cluster's package unless the user has set it."""
    os.environ.setdefault(name, value)


def route_to(host: str) -> str:
    """The address of this machine from which a host is reached; nothing is sent."""
    family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
