"""What runs on a node: the shoal program as a child of the cluster's own Python worker.

The module travels by value (pickled with what is sent to a cluster), so a node needs nothing
of shoal installed, and so it imports the standard library alone. The program is there by its
path, or comes as an archive (pack.py) that is unpacked once a node.

The child must not outlive its host, even one killed by SIGKILL. The kernel does that
(PR_SET_PDEATHSIG), but counts the thread that started the child as its parent: the thread
that starts it waits for it. The setting is made by a process of its own that then becomes the
program; code between fork and exec of a process with threads (gRPC's, the JVM's) can hang.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

TAIL_LINES = 50
TAIL_LINE = 1000  # bytes of a line that are kept
BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)  # it died before it was asked for
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
"""


@dataclasses.dataclass
class Launch:
    """What a node must know to start worker `number`."""

    program: str  # its path, if no archive comes
    address: str  # HOST:PORT of the driver
    number: int
    secret: bytes = dataclasses.field(repr=False)  # in no log that shows arguments
    digest: str = ""  # of the archive that comes, if one does


def node_name(folder: str) -> str:
    """Equal for workers that can read each other's files: this machine, and a folder of it."""
    return f"{socket.gethostname()}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}"


def unpack(load: Callable[[], bytes], digest: str, scratch: str) -> str:
    """The program in an archive, unpacked in `scratch` unless another worker has done so."""
    folder = os.path.join(scratch, f"shoal-{os.getuid()}-{digest[:16]}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.lstat(folder).st_uid != os.getuid() or os.path.islink(folder):
        raise OSError(f"{folder} belongs to somebody else: remove it")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = os.path.join(folder, "ready")
        if not os.path.isdir(ready):
            archive = load()
            if hashlib.sha256(archive).hexdigest() != digest:
                raise OSError("the program arrived damaged")
            half = tempfile.mkdtemp(dir=folder)
            try:
                with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                    tar.extractall(half)
                os.rename(half, ready)
            finally:
                shutil.rmtree(half, ignore_errors=True)
    return os.path.join(ready, "shoal")


def start(launch: Launch, program: str, node: str) -> subprocess.Popen[bytes]:
    """The child, which reads the secret from a pipe: arguments and variables are no secrets."""
    reader, writer = os.pipe()
    try:
        os.write(writer, launch.secret)
    finally:
        os.close(writer)
    environment = dict(os.environ)
    if launch.digest:  # the libraries beside the program are before the node's
        known = environment.get("LD_LIBRARY_PATH")
        folder = os.path.dirname(program)
        environment["LD_LIBRARY_PATH"] = f"{folder}:{known}" if known else folder
    arguments = [program, "worker", "--connect", launch.address, "--number", str(launch.number)]
    arguments += ["--node", node, "--secret-fd", str(reader)]
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BECOME, str(os.getpid()), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[reader],
            start_new_session=True,
        )
    finally:
        os.close(reader)


class Tail:
    """The last lines of what a child writes."""

    def __init__(self) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self.rest = b""

    def add(self, data: bytes) -> None:
        *lines, rest = (self.rest + data).split(b"\n")
        self.lines.extend(line[:TAIL_LINE].decode(errors="replace") for line in lines)
        self.rest = rest[:TAIL_LINE]

    def text(self) -> str:
        rest = self.rest.decode(errors="replace")
        return "\n".join([*self.lines, rest] if rest else self.lines)


def supervise(child: subprocess.Popen[bytes], wanted: Callable[[], bool]) -> str:
    """Reads what the child writes until it ends, or ends it; returns the last lines."""
    assert child.stdout is not None
    tail = Tail()
    with child.stdout, selectors.DefaultSelector() as ready:
        os.set_blocking(child.stdout.fileno(), False)
        ready.register(child.stdout, selectors.EVENT_READ)
        open_still = True
        while child.poll() is None:
            if not wanted():
                child.kill()
            if not open_still:
                time.sleep(0.1)
            elif ready.select(timeout=0.2):
                data = os.read(child.stdout.fileno(), 65536)
                tail.add(data)
                if not data:
                    ready.unregister(child.stdout)
                    open_still = False
        with contextlib.suppress(BlockingIOError):
            while open_still and (data := os.read(child.stdout.fileno(), 65536)):
                tail.add(data)
    return tail.text()


def how(status: int) -> str:
    """How a child ended, of Popen.returncode."""
    if status >= 0:
        return f"exited with {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by signal {-status} ({signal.strsignal(-status)})"
    return f"was killed by signal {-status}"


def run(
    launch: Launch,
    node: str,
    load: Callable[[], bytes] | None,
    scratch: str,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[dict[str, Any]]:
    """Runs a worker to its end, in this thread: where it is ("pid" is in that), then why it ended.

    `load` reads the archive, where the program comes by one; `scratch` is where it is unpacked.
    The child is killed once `wanted` says no, which is asked several times a second, and when
    the generator is left in any way. What goes wrong is yielded too, never raised, as a cluster
    may log the arguments of a call that raises.
    """
    host = socket.gethostname()
    try:
        program = unpack(load, launch.digest, scratch) if load else launch.program
        if not os.access(program, os.X_OK):
            yield ended(
                f"there is no program {program} on node {host}: install shoal there, or let it"
                " travel with the query"
            )
            return
        child = start(launch, program, node)
    except OSError as error:
        yield ended(f"cannot start a worker on node {host}: {error}")
        return
    try:
        yield {"node": node, "host": host, "pid": child.pid}
        log = supervise(child, wanted)
    finally:
        child.kill()
        child.wait()
    yield ended(f"the worker {how(child.returncode)} on node {host}", log, child.returncode == 0)


def ended(why: str, log: str = "", clean: bool = False) -> dict[str, Any]:
    return {"why": why, "log": log, "clean": clean}
