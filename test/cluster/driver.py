"""A driver for tests: opens a host on a cluster and listens for the workers that dial back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import clusters

FAKE = pathlib.Path(__file__).resolve().parent / "fake_worker.py"


class Driver:
    """One host. Events and workers' connections come in by threads; all else is the test's."""

    def __init__(self, cluster: clusters.Cluster, url: str = "", **more: Any) -> None:
        self.changed = threading.Condition()
        self.events: list[dict[str, Any]] = []
        self.workers: dict[int, tuple[dict[str, Any], socket.socket]] = {}
        self.secret = secrets.token_bytes(32)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = url or cluster.url
        self.log = cluster.folder / f"host-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.host = subprocess.Popen(
                [clusters.PYTHON, "-m", "shoal.host", self.url],
                env=cluster.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        threading.Thread(target=self.accept, daemon=True).start()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        order: dict[str, Any] = {
            "url": self.url, "secret": self.secret.hex(), "program": str(FAKE), "name": "test",
            "cpus": 1, "memory": None, "resources": {}, "options": {},
            "start_timeout": 60, "ship": False,
        }  # fmt: skip
        self.say("open", **{**order, **more})

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: object, *more: object) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.host.stdin.close()  # type: ignore[union-attr]
        try:
            self.host.wait(20)
        except subprocess.TimeoutExpired:
            self.host.kill()
            self.host.wait()
            raise AssertionError("the host does not end") from None
        finally:
            self.reader.join(5)
            self.listener.close()
            for _, connection in self.workers.values():
                connection.close()
            if kind is not None:
                print(f"{self.events}\n{self.log.read_text(errors='replace')[-5000:]}", flush=True)

    def say(self, op: str, **fields: object) -> None:
        assert self.host.stdin is not None
        self.host.stdin.write((json.dumps({"op": op, **fields}) + "\n").encode())
        self.host.stdin.flush()

    def read(self) -> None:
        assert self.host.stdout is not None
        for line in self.host.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.greet, args=(connection,), daemon=True).start()

    def greet(self, connection: socket.socket) -> None:
        hello = json.loads(connection.makefile().readline())
        proof = hashlib.sha256(self.secret + str(hello["number"]).encode()).hexdigest()
        assert hello["proof"] == proof, "a worker does not know the secret"
        with self.changed:
            self.workers[hello["number"]] = hello, connection
            self.changed.notify_all()

    def wait(self, found: Callable[[], Any], seconds: float, what: str) -> Any:
        until = time.monotonic() + seconds
        with self.changed:
            while not (got := found()):
                left = until - time.monotonic()
                if left <= 0 or not (self.changed.wait(left) or time.monotonic() < until):
                    raise AssertionError(f"not within {seconds:g} s: {what}")
        return got

    def told(self, event: str, worker: int | None = None) -> dict[str, Any] | None:
        return next(
            (e for e in self.events if e["event"] == event and e.get("worker") == worker), None
        )

    def event(self, event: str, worker: int | None = None, seconds: float = 30) -> dict[str, Any]:
        what = f"{event} of {'the host' if worker is None else f'worker {worker}'}"
        got: dict[str, Any] = self.wait(lambda: self.told(event, worker), seconds, what)
        return got

    def ask(self, number: int) -> None:
        self.say("start", worker=number, address=self.address)

    def start(self, *numbers: int) -> list[dict[str, Any]]:
        """Workers that are up, by what they say of themselves."""
        for number in numbers:
            self.ask(number)
        return [self.hello(number) for number in numbers]

    def hello(self, number: int) -> dict[str, Any]:
        """What a worker says of itself when it dials."""
        self.wait(lambda: number in self.workers, 45, f"worker {number} dials")
        return self.workers[number][0]

    def order(self, worker: int, text: str) -> None:
        self.workers[worker][1].sendall(text.encode() + b"\n")
