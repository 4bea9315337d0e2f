"""Queries and COPYs over four workers while things go wrong; each must end right.

TPC-H's queries and COPY to folders and a Delta table run one after another. Meanwhile, by the
seed: workers are killed and stopped, bits of block files flip, they lose their end or go, the
folders for them are full, frames are late, lost or repeated, the driver is terminated, or killed
and run again. Some are jobs, which go on where they were, on another number of workers, maybe
killed again and with blocks that were damaged meanwhile. After each step: the rows that embedded DuckDB gives, targets with each row once, as
they were before or as they shall be; no hang; no process, file in the spools or staging folder is
left. An error is legal only where a fault allows no success, and has its documented code.

Usage: chaos.py [--minutes N] [--seed S] [--step I]. A failure says how to repeat its step alone.
SHOAL is the program.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from faulty import ROOT, Failure, Places, Run, answer, difference, ends, rows

# A block that is lost or corrupt is made again by the tasks that made it.
LINEAGE = True
LIMIT = 120.0  # seconds that a run may take
SCALE = "0.1"
WORKERS = 4
FILES, LOST, CANCELLED = 3, 4, 130  # exit codes
BLOCK_FILE = re.compile(r"s\d+\.t\d+\.a\d+\.w\d+(?!.*\.(pipe|rejects)$)")
SINKS = {
    "append": "FORMAT parquet, PARTITION_BY (k), APPEND",
    "append files": "FORMAT parquet, PER_THREAD_OUTPUT, APPEND",
    "overwrite": "FORMAT parquet, PARTITION_BY (k), OVERWRITE",
    "partitions": "FORMAT parquet, PARTITION_BY (k), OVERWRITE_PARTITIONS",
    "new": "FORMAT parquet, PER_THREAD_OUTPUT",
    "delta": "FORMAT delta, APPEND",
}
State = dict[tuple[int, int], tuple[int, int]]  # (step, k) -> (rows, sum of keys)


def block_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """A task's output is a file, or a folder of some."""
    found = []
    for top, _, names in os.walk(folder):  # as folders go meanwhile
        inside = BLOCK_FILE.match(pathlib.Path(top).name) is not None
        found += [pathlib.Path(top) / name for name in names if inside or BLOCK_FILE.match(name)]
    return sorted(found)


# ---- what is done to a run


class Target:
    """What a fault acts on."""

    def __init__(self, run: Run, places: Places, memory: pathlib.Path | None, chance: random.Random) -> None:
        self.run, self.places, self.memory, self.chance = run, places, memory, chance

    def workers(self) -> list[int]:
        found = []
        for pid in self.places.processes():
            try:
                if b"worker" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2]:
                    found.append(pid)
            except OSError:
                continue
        return sorted(found)

    def blocks(self) -> list[pathlib.Path]:
        return block_files(self.places.spool) + block_files(self.memory or self.places.memory)


def signal_worker(number: int) -> Callable[[Target], bool]:
    def strike(target: Target) -> bool:
        workers = target.workers()
        if not workers:
            return False
        try:
            os.kill(target.chance.choice(workers), number)
        except ProcessLookupError:
            return False
        return True

    return strike


def damage(how: Callable[[pathlib.Path, random.Random], None]) -> Callable[[Target], bool]:
    def strike(target: Target) -> bool:
        blocks = target.blocks()
        if not blocks:
            return False
        try:
            how(target.chance.choice(blocks), target.chance)
        except (FileNotFoundError, ValueError):  # it is gone, or empty
            return False
        return True

    return strike


def flip(path: pathlib.Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        for _ in range(20):  # as most bits are of rows that few look at
            at = chance.randrange(size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def cut(path: pathlib.Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def remove(path: pathlib.Path, _: random.Random) -> None:
    path.unlink()


def signal_driver(number: int) -> Callable[[Target], bool]:
    def strike(target: Target) -> bool:
        if target.run.process.poll() is not None:
            return False
        target.run.process.send_signal(number)
        return True

    return strike


def fill(target: Target) -> bool:
    """Takes what is left of the small tmpfs for blocks in memory."""
    with (target.memory / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass
    return True


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    strike: Callable[[Target], bool] | None = None  # False: there was nothing to strike yet
    fault: str = ""  # for SHOAL_FAULT
    options: tuple[str, ...] = ()
    legal: tuple[int, ...] = ()  # exit codes beside 0
    needs_tmpfs: bool = False
    weight: int = 2


KILL, TERMINATE = signal_driver(signal.SIGKILL), signal_driver(signal.SIGTERM)
RESUMED, REUSED = "jobs went on", "of their tasks were not run again"
KILLED_AGAIN, DAMAGED = "killed again", "with a damaged block"
LOSS = () if LINEAGE else (FILES,)
FAULTS = (
    Fault("a worker is killed", signal_worker(signal.SIGKILL), weight=5),
    Fault("a worker is stopped", signal_worker(signal.SIGSTOP), weight=1),
    Fault("bits of a block flip", damage(flip), legal=LOSS, weight=4),
    Fault("a block file is cut", damage(cut), legal=LOSS, weight=4),
    Fault("a block file is removed", damage(remove), legal=LOSS, weight=4),
    Fault("the memory is full", fill, needs_tmpfs=True),
    Fault("the disk is full", fault="block.write:~40:ENOSPC", legal=(FILES,)),
    Fault("the limit of the disk is low", options=("--temp-limit", "1MB", "--memory-dir", "none"), legal=(FILES,)),
    Fault("writes fail", fault="block.write:~60:EIO", legal=(FILES,)),
    Fault("writes lose their end", fault="block.write:~100:truncate", legal=(FILES,), weight=1),
    Fault("frames are late", fault="worker.send:~4:delay,driver.send:~8:delay"),
    Fault("a frame of a worker is lost", fault="worker.send:~25:drop", legal=(LOST,)),
    Fault("a frame to a worker is lost", fault="driver.send:~40:drop", legal=(LOST,)),
    Fault("frames come twice", fault="worker.send:~40:duplicate,driver.send:~40:duplicate", legal=(LOST,)),
    Fault("frames are overtaken", fault="worker.send:~40:reorder", legal=(LOST,), weight=1),
    Fault("tasks are late", fault="worker.task:~3:delay"),
    Fault("tasks end their worker", fault="worker.task:~30:exit", legal=(LOST,)),
    Fault("the driver is killed", KILL, weight=5),
    Fault("the driver is terminated", TERMINATE, legal=(CANCELLED,), weight=2),
)


# ---- the steps


@dataclasses.dataclass
class Plan:
    """What one step does, by the seed and its number alone."""

    step: int
    kind: str  # query or sink
    name: str
    options: list[str]
    faults: list[tuple[float, Fault]]  # at this part of the run's usual time
    chance: random.Random
    small_memory: bool = False
    job: bool = False

    def words(self) -> str:
        what = ", ".join(f"{fault.name} at {at:.2f}" for at, fault in self.faults)
        return f"{self.name}{' as a job' if self.job else ''} {' '.join(self.options)}: {what or 'nothing'}"


class Chaos:
    def __init__(self, work: pathlib.Path, seed: int) -> None:
        self.seed = seed
        self.places = Places(work, "chaos")
        self.data = work / "tpch"
        self.tmpfs = self.mount(work / "small")
        self.job = work / "job"
        self.has_jobs = "--resume" in answer(self.places, ["--help"])
        self.usual: dict[str, float] = {}
        self.expected: dict[str, list] = {}
        self.written: dict[int, dict[int, tuple[int, int]]] = {}
        self.states: dict[str, State | None] = {}
        self.counts = collections.Counter()
        self.errors = collections.Counter()
        self.make_tables()

    def mount(self, folder: pathlib.Path) -> pathlib.Path | None:
        """A tmpfs of 2 MB, where this user may have one."""
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True)
        return folder if mounted.returncode == 0 else None

    def close(self) -> None:
        if self.tmpfs:
            subprocess.run(["umount", self.tmpfs], check=False)
        self.places.close()

    def make_tables(self) -> None:
        subprocess.run([ROOT / "third_party/venv/bin/tpchgen-cli", "parquet", "-s", SCALE, "--output-dir", self.data],
                       check=True, stdout=subprocess.DEVNULL)
        self.init = self.data / "init.sql"
        self.init.write_text("".join(f"CREATE VIEW {path.stem} AS FROM '{path}';\n" for path in sorted(self.data.glob("*.parquet"))))

    # ---- what is asked and what is right

    def query(self, name: str) -> str:
        return (ROOT / f"test/sql/tpch/{name}.sql").read_text()

    def rows_of_step(self, step: int) -> str:
        where = f"o_orderkey % 7 <> {step % 7}"
        if step % 3 == 1:
            where += " AND o_orderkey % 4 <> 2"  # a partition that stays
        return f"SELECT o_orderkey AS i, o_orderkey % 4 AS k, {step} AS step, o_orderdate AS d FROM orders WHERE {where}"

    def embedded(self, sql: str) -> list:
        return rows(answer(self.places, ["sql", "--init", str(self.init), "--format", "json", sql], LIMIT))

    def rows_written(self, step: int) -> State:
        if step % 21 not in self.written:
            counted = self.embedded(f"SELECT k, count(*) AS n, sum(i)::BIGINT AS s FROM ({self.rows_of_step(step)}) GROUP BY k")
            self.written[step % 21] = {k: (n, s) for k, n, s in counted}
        return {(step, k): counts for k, counts in self.written[step % 21].items()}

    def target(self, name: str) -> pathlib.Path:
        return self.places.sinks / name.replace(" ", "-")

    def content(self, name: str) -> State | None:
        target = self.target(name)
        if not target.exists():
            return None
        source = f"'{target}'" if name == "delta" else f"read_parquet('{target}/**/*.parquet', hive_partitioning = true)"
        counted = self.embedded(f"SELECT step, k, count(*) AS n, sum(i)::BIGINT AS s FROM {source} GROUP BY ALL")
        return {(step, k): (n, s) for step, k, n, s in counted}

    def after(self, plan: Plan, before: State | None) -> State:
        new = self.rows_written(plan.step)
        if plan.name == "partitions":
            replaced = {k for _, k in new}
            return {key: value for key, value in (before or {}).items() if key[1] not in replaced} | new
        return new if plan.name in ("overwrite", "new") else (before or {}) | new

    def start_target(self, name: str) -> None:
        """A target that grew is made anew; one that must not be there is removed."""
        grown = len({step for step, _ in self.states.get(name) or {}}) > (13 if name == "delta" else 6)
        if name == "new" or grown or name not in self.states:
            shutil.rmtree(self.target(name), ignore_errors=True)
            self.states[name] = None
        if name != "new" and self.states[name] is None:
            answer(self.places, ["sql", "--init", str(self.init), "--threads", "2", self.copy(name, 0)], LIMIT)
            self.states[name] = self.rows_written(0)

    def copy(self, name: str, step: int) -> str:
        return f"COPY ({self.rows_of_step(step)}) TO '{self.target(name)}' ({SINKS[name]})"

    # ---- a step

    def plan(self, step: int) -> Plan:
        chance = random.Random(f"{self.seed}.{step}")
        sink = chance.random() < 0.4
        name = chance.choice(sorted(SINKS)) if sink else f"q{chance.randint(1, 22):02}"
        options = ["--threads", chance.choice("112"), "--split-rows", chance.choice(("20000", "50000"))]
        if chance.random() < 0.7:
            options += ["--broadcast-rows", "-1"]
        if chance.random() < 0.6:
            options += ["--partitions", chance.choice(("3", "8", "32"))]
        if chance.random() < 0.5:
            options += ["--sort-rows", "1"]
        if chance.random() < 0.2:
            options += ["--spool-compression", "on"]
        if chance.random() < 0.3:
            options += ["--memory-dir", "none"]
        able = [fault for fault in FAULTS if self.tmpfs or not fault.needs_tmpfs]
        weights = [fault.weight for fault in able]
        number = chance.choice((0, 1, 1, 1, 1, 1, 1, 2, 2))
        faults = [(chance.random() * 1.1, fault) for fault in chance.choices(able, weights, k=number)]
        small = any(fault.needs_tmpfs for _, fault in faults)
        ends_it = any(fault.strike in (KILL, TERMINATE) for _, fault in faults)
        job = self.has_jobs and chance.random() < (0.6 if ends_it else 0.25)
        return Plan(step, "sink" if sink else "query", name, options, sorted(faults, key=lambda f: f[0]), chance, small, job)

    def arguments(self, plan: Plan, faulty: bool) -> list[str]:
        sql = self.copy(plan.name, plan.step) if plan.kind == "sink" else self.query(plan.name)
        extra = [option for _, fault in plan.faults if faulty for option in fault.options]
        memory = self.tmpfs if faulty and plan.small_memory else self.places.memory
        tier = [] if "none" in plan.options + extra and not plan.small_memory else ["--memory-dir", str(memory)]
        if faulty and plan.job:
            extra += ["--job", str(self.job)]
        kept = [o for o in plan.options if o not in ("--memory-dir", "none")] if plan.small_memory else plan.options
        return ["sql", "--init", str(self.init), "--format", "json", "--workers", str(WORKERS), "--temp-dir",
                str(self.places.spool), *tier, *kept, *extra, sql]

    def strike(self, plan: Plan, run: Run) -> list[Fault]:
        """Does each fault at its time; those that struck."""
        usual = self.usual.get(plan.name, 0.7)
        start = time.monotonic()
        target = Target(run, self.places, self.tmpfs if plan.small_memory else None, plan.chance)
        struck = [fault for _, fault in plan.faults if fault.strike is None]
        for at, fault in plan.faults:
            while fault.strike is not None and run.process.poll() is None:
                if time.monotonic() - start > LIMIT:
                    break
                if time.monotonic() - start >= at * usual and fault.strike(target):
                    struck.append(fault)
                    break
                time.sleep(0.003)
        return struck

    def run(self, plan: Plan) -> tuple[Run, list[Fault]]:
        environment = {"SHOAL_SILENT_SECONDS": "3", "SHOAL_FAULT_SEED": str(plan.chance.randrange(1 << 32))}
        texts = [fault.fault for _, fault in plan.faults if fault.fault]
        if texts:
            environment["SHOAL_FAULT"] = ",".join(texts)
        shutil.rmtree(self.job, ignore_errors=True)
        start = time.monotonic()
        run = Run(self.places, self.arguments(plan, True), environment)
        struck = self.strike(plan, run)
        in_time = run.wait(LIMIT)
        if not in_time:
            run.kill()
        if left := self.places.wait_for_end():
            raise Failure(f"processes {left} are left")
        if not in_time:
            raise Failure(f"it hangs; it said: {run.message()}")
        if run.code == 0 and not plan.faults:
            self.usual[plan.name] = time.monotonic() - start
        if self.tmpfs:
            (self.tmpfs / "filler").unlink(missing_ok=True)
        return run, struck

    def nothing_left(self, when: str) -> None:
        left = self.places.left() + [str(path) for path in (self.tmpfs.iterdir() if self.tmpfs else ())]
        if left:
            raise Failure(f"{when} left {left}")

    def right_answer(self, plan: Plan, text: str) -> None:
        if plan.name not in self.expected:
            self.expected[plan.name] = self.embedded(self.query(plan.name))
        wrong = difference(self.expected[plan.name], rows(text), True)
        if wrong:
            raise Failure(f"another answer: {wrong}")

    def right_target(self, plan: Plan, code: int, before: State | None, after: State) -> bool:
        """Is what was written there? Only a run that was killed may have done either."""
        now = self.content(plan.name)
        if now not in (before, after):
            raise Failure(f"after {ends(code)} rows are lost, doubled or between: {now}; before it was {before}")
        if code >= 0 and (now == after) != (code == 0):
            raise Failure(f"after {ends(code)} the target is {'new' if now == after else 'old'}")
        return now == after

    def again(self, plan: Plan) -> Run:
        """The second run, after a driver was killed: nothing is done to it, and it must be right."""
        run = Run(self.places, self.arguments(plan, False))
        if not run.wait(LIMIT):
            run.kill()
            raise Failure(f"the run after a killed one hangs; it said: {run.message()}")
        if run.code != 0:
            raise Failure(f"the run after a killed one: {ends(run.code)}; it said: {run.message()}")
        return run

    def resume(self, plan: Plan, first: Run) -> Run:
        """Goes on with a job until it is done, killed again at times; the run that gave the answer."""
        chance, kept = plan.chance, first
        for last in [False] * chance.choice((0, 0, 1, 2)) + [True]:
            if not (self.job / "job.log").exists():  # it was killed before there was a job
                return self.again(plan)
            blocks = [path for path in block_files(self.job) if path.stat().st_size > 0]
            if blocks and LINEAGE and chance.random() < 0.5:
                chance.choice((flip, cut, remove))(chance.choice(blocks), chance)
                self.counts[DAMAGED] += 1
            arguments = ["sql", "--resume", str(self.job), "--workers", str(chance.randint(1, WORKERS)), "--temp-dir",
                         str(self.places.spool), "--memory-dir", str(self.places.memory)]
            run = Run(self.places, arguments)
            if not last:
                run.wait(chance.random() * self.usual.get(plan.name, 0.7))
                run.process.kill()
                self.counts[KILLED_AGAIN] += 1
            if not run.wait(LIMIT):
                run.kill()
                raise Failure(f"the job that goes on hangs; it said: {run.message()}")
            if self.places.wait_for_end():
                raise Failure("processes of the job that goes on are left")
            if run.code != 0 and last:
                raise Failure(f"the job that goes on: {ends(run.code)}; it said: {run.message()}")
            found = re.search(r"(\d+) tasks had been done before", run.message())
            self.counts[REUSED] += int(found[1]) if found else 0
            if run.code == 0:
                return kept if "is done" in run.message() else run
            kept = run
        return kept

    def sweep(self) -> None:
        """Another run to the same folders, which undoes and removes what a killed one left."""
        folders = [self.places.memory] + ([self.tmpfs] if self.tmpfs else [])
        for memory in folders:
            answer(self.places, ["sql", "--init", str(self.init), "--workers", "1", "--temp-dir", str(self.places.spool),
                                 "--memory-dir", str(memory), "--broadcast-rows", "-1",
                                 "COPY (SELECT n_regionkey, count(*) AS n FROM nation GROUP BY 1) TO "
                                 f"'{self.places.sinks}/other' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)"], LIMIT)

    def try_step(self, plan: Plan) -> None:
        sink = plan.kind == "sink"
        before = after = None
        if sink:
            self.start_target(plan.name)
            before = self.states[plan.name]
            after = self.after(plan, before)
        run, struck = self.run(plan)
        legal = {code for fault in struck for code in fault.legal}
        killed = any(fault.strike is KILL for fault in struck) and run.code == -signal.SIGKILL
        # Terminated before it was so far that it could hear of it, it dies of it.
        early = any(fault.strike is TERMINATE for fault in struck) and run.code == -signal.SIGTERM
        killed = killed or (early and not run.message())
        if run.code != 0 and run.code not in legal and not killed:
            raise Failure(f"{ends(run.code)}; it said: {run.message()}")
        if run.code > 0 and "shoal: " not in run.message():
            raise Failure(f"{ends(run.code)} without a message")
        if plan.job and run.code != 0:
            code, run = run.code, self.resume(plan, run)
            self.sweep()
            self.nothing_left("a job that went on")
            if sink:
                self.right_target(plan, 0, before, after)
                self.states[plan.name] = after
            else:
                self.right_answer(plan, run.text())
            self.counts[RESUMED] += 1
            self.count(plan, struck, code)
            return
        if killed:
            self.sweep()
        self.nothing_left(ends(run.code))
        written = sink and self.right_target(plan, run.code, before, after)
        if killed and not written:
            run = self.again(plan)
            written = sink and self.right_target(plan, run.code, before, after)
            self.nothing_left("the second run")
        if run.code == 0 and not sink:
            self.right_answer(plan, run.text())
        if written:
            self.states[plan.name] = after
        self.count(plan, struck, run.code)

    def count(self, plan: Plan, struck: list[Fault], code: int) -> None:
        self.counts[plan.kind] += 1
        for fault in struck:
            self.counts[fault.name] += 1
            self.errors[fault.name] += code != 0

    def summary(self) -> str:
        lines = [f"{self.counts['query']} queries, {self.counts['sink']} COPYs"
                 + ("" if self.tmpfs else "; no tmpfs could be mounted: memory was never full")]
        for fault in FAULTS:
            number, errors = self.counts[fault.name], self.errors[fault.name]
            if number:
                lines.append(f"  {fault.name}: {number} times, {number - errors} survived"
                             + (f", {errors} legal errors" if errors else ""))
        if self.counts[RESUMED]:
            lines.append("  " + ", ".join(f"{self.counts[what]} {what}" for what in (RESUMED, KILLED_AGAIN, DAMAGED, REUSED)))
        return "\n".join(lines)


def enter_namespace() -> None:
    """Mounts of this process alone, which end with it, where this user may have them."""
    if "SHOAL_CHAOS" in os.environ:
        return
    os.environ["SHOAL_CHAOS"] = "1"
    for flags in ("-m", "-rm"):
        if subprocess.run(["unshare", flags, "true"], capture_output=True).returncode == 0:
            os.execvp("unshare", ["unshare", flags, sys.executable, *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--step", type=int, help="only this one")
    given = parser.parse_args()
    enter_namespace()
    work = pathlib.Path(tempfile.mkdtemp(prefix="shoal-chaos-"))
    chaos = Chaos(work, given.seed)
    end = time.monotonic() + given.minutes * 60
    step = given.step or 1
    try:
        while given.step is not None or time.monotonic() < end:
            plan = chaos.plan(step)
            try:
                chaos.try_step(plan)
            except Failure as why:
                print(chaos.summary())
                print(f"FAILED: seed {given.seed}, step {step}, {plan.words()}\n{why}\n"
                      f"Again: test/fault/chaos.py --seed {given.seed} --step {step}")
                return 1
            if given.step is not None:
                break
            step += 1
    finally:
        chaos.close()
        shutil.rmtree(work, ignore_errors=True)
    print(f"seed {given.seed}: {chaos.summary()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
