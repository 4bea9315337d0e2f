"""Runs of shoal that something is done to, and what they leave: for matrix.py and chaos.py."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from same_answer import Row, difference, parse_results  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHOAL = os.environ.get("SHOAL", str(ROOT / "build/shoal"))
MARK = "SHOAL_TEST_RUN"  # in the environment of a run, by which its processes are found

__all__ = ["Failure", "Places", "ROOT", "Row", "Run", "SHOAL", "answer", "difference", "ends", "rows"]


class Failure(Exception):
    """Something that must not be: the message says what."""


class Places:
    """The folders of one run at a time: spools, and a target with its neighbours."""

    def __init__(self, parent: pathlib.Path, name: str) -> None:
        self.work = parent / name
        self.spool = self.work / "spool"
        self.sinks = self.work / "sinks"
        self.target = self.sinks / "target"
        self.spool.mkdir(parents=True)
        self.sinks.mkdir()
        shm = pathlib.Path("/dev/shm")
        self.memory = pathlib.Path(tempfile.mkdtemp(prefix="shoal-test-", dir=shm if shm.is_dir() else None))
        self.mark = f"{os.getpid()}.{name}"
        self.runs = 0

    def options(self) -> list[str]:
        return ["--temp-dir", str(self.spool), "--memory-dir", str(self.memory)]

    def processes(self) -> list[int]:
        """Those of the runs here that still live; a zombie does not."""
        mark, found = f"{MARK}={self.mark}".encode(), []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        """Files and folders that no run should leave."""
        spools = [str(path) for folder in (self.spool, self.memory) for path in folder.iterdir()]
        return spools + [str(path) for path in self.sinks.iterdir() if path.name.startswith(".")]

    def wait_for_end(self, seconds: float = 10) -> list[int]:
        """Waits until the processes have ended; the ones that have not."""
        end = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > end:
                return left
            time.sleep(0.02)
        return []

    def close(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.memory, ignore_errors=True)


class Run:
    """One run of the program; its answer and errors go to files, so that it never waits for us."""

    def __init__(self, places: Places, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        places.runs += 1
        number = places.runs % 8  # some runs before it are still of use
        self.out, self.err = places.work / f"out{number}", places.work / f"err{number}"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [SHOAL, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, MARK: places.mark, **(environment or {})})

    def wait(self, seconds: float) -> bool:
        """True when it ended by itself in time."""
        try:
            self.process.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def code(self) -> int:
        return self.process.returncode

    def text(self) -> str:
        return self.out.read_text(errors="replace")

    def message(self) -> str:
        return self.err.read_text(errors="replace").strip()


def answer(places: Places, arguments: list[str], seconds: float = 120) -> str:
    """What a run prints that nothing is done to."""
    run = Run(places, arguments)
    if not run.wait(seconds):
        run.kill()
        raise Failure(f"without a fault it takes more than {seconds} s: {arguments}")
    if run.code != 0:
        raise Failure(f"without a fault, exit code {run.code}: {run.message()}")
    return run.text()


def rows(text: str) -> list[Row]:
    """The rows that --format json printed."""
    try:
        results = parse_results(text)
    except ValueError:
        raise Failure(f"this is no answer: {text[:1000]}") from None
    if len(results) != 1:
        raise Failure(f"{len(results)} results instead of one")
    return results[0]


def ends(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
