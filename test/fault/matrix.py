"""Each fault at each point of the program (src/base/fault.h), under each statement that gets there.

A run must give the right answer, or end in time with a documented exit code and a message. A
target is as it was or as it shall be, never between; nothing is left in the spools or beside the
target, at the latest once another run has swept what a killed driver left. A run whose fault
only waits must succeed, and one whose fault ends the process must show that it got there.

ALL=1 tries each statement, the first time and times by chance; without it each action of each
point has one statement, and with EVERY=N each N-th of these is tried. SHOAL is the program.
Usage: matrix.py [POINT[:ACTION]], those alone.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading

from faulty import ROOT, Failure, Places, Run, answer, difference, ends, rows

LIMIT = 60.0  # seconds that a run may take
HANG = 1.5  # a driver that hangs is given up then
ROWS = 4000
QUERIES = ("join", "group-by", "order-by")
FOLDERS = ("append", "overwrite", "partitions")
SINKS = (*FOLDERS, "delta")
EVERY = (*QUERIES, *SINKS)
KILLED = (-9, 99)  # by a fault
ERRORS = {3: "files or memory", 4: "lost workers", 124: "hung tasks"}

# Where a point is: D the driver, W the workers, and the statements that get there.
POINTS = {
    "spool.create": ("D", EVERY),
    "block.create": ("W", QUERIES),
    "block.write": ("W", QUERIES),
    "block.open": ("WD", QUERIES),
    "block.read": ("WD", QUERIES),
    "input.open": ("D", EVERY),
    "input.read": ("D", EVERY),
    "sink.move": ("D", SINKS),
    "sink.create": ("D", ("append", "partitions")),
    "sink.journal": ("D", ("append", "partitions")),
    "commit.rename": ("D", SINKS),
    "commit.swap": ("D", ("overwrite", "partitions")),
    "commit.log": ("D", ("delta",)),
    "commit.link": ("D", ("delta",)),
    "commit.checkpoint": ("D", ("delta",)),
    "commit.hint": ("D", ("delta",)),
    "undo.move": ("D", ("partitions",)),  # see AFTER
    "engine.spawn": ("D", EVERY),
    "driver.send": ("D", EVERY),
    "worker.hello": ("W", EVERY),
    "worker.send": ("W", EVERY),
    "worker.task": ("W", EVERY),
    "server.read": ("W", QUERIES),  # see HOSTED
    "remote.connect": ("DW", QUERIES),
    "remote.read": ("DW", QUERIES),
    "job.open": ("D", ("join", "append", "delta")),
    "job.append": ("D", ("join", "order-by", "append", "delta")),
    "job.read": ("D", ("join", "append")),  # see DIED
    "job.sync": ("D", ("join", "partitions", "delta")),
}
# Where workers keep block files on nodes of their own, as on a cluster.
HOSTED = ("server.", "remote.")
ON_NODES = ["--engine", "ray://local", "--python", str(ROOT / "test/support/local_host.py"), "--spool", "own"]
# What ends a run whose job then goes on.
DIED = "driver.send@driver:9:exit"
# Where something has happened already when it fails for the third time.
MIDDLE = {"commit.rename": "append", "commit.swap": "partitions"}
# Whose paths have the attempt's number: only the first ones hang, which takes less time.
ATTEMPTS = ("block.create", "block.write", "worker.task")
# A point that comes into play after another fault alone.
AFTER = {"undo.move": "commit.swap:3:EIO,"}


@dataclasses.dataclass
class Case:
    point: str
    action: str
    nth: str
    process: str  # driver or worker
    statement: str

    def fault(self) -> str:
        text = f"{AFTER.get(self.point, '')}{self.point}@{self.process}:{self.nth}:{self.action}"
        return text + (":.a0." if self.action == "hang" and self.point in ATTEMPTS else "")


class Matrix:
    def __init__(self, work: pathlib.Path) -> None:
        self.work = work
        self.data = Places(work, "data")
        self.idle: list[Places] = []
        self.all = [self.data]
        self.lock = threading.Lock()
        self.options = ["--workers", "2", "--split-rows", "1000", "--partitions", "4", "--broadcast-rows", "-1",
                        "--sort-rows", "1", "--format", "json"]
        self.make()

    # ---- statements

    def table(self, name: str) -> str:
        return f"'{self.data.work}/{name}.parquet'"

    def query(self, statement: str) -> str:
        t, u = self.table("t"), self.table("u")
        return {
            "join": f"SELECT u.w, count(*) AS n, sum(t.v) AS s FROM {t} t JOIN {u} u ON t.g = u.g GROUP BY u.w",
            "group-by": f"SELECT g, count(*) AS n, min(s) AS s FROM {t} GROUP BY g",
            "order-by": f"SELECT i, s FROM {t} WHERE i % 2 = 0 ORDER BY v, i DESC",
        }[statement]

    def copy(self, statement: str, target: pathlib.Path, step: int) -> str:
        rows_of = f"SELECT i, k, {step} AS step FROM {self.table('t')}"
        options = {
            "append": "FORMAT parquet, PARTITION_BY (k), APPEND",
            "overwrite": "FORMAT parquet, PARTITION_BY (k), OVERWRITE",
            "partitions": "FORMAT parquet, PARTITION_BY (k), OVERWRITE_PARTITIONS",
            "delta": "FORMAT delta, APPEND",
        }[statement]
        where = " WHERE k <> 1" if statement == "partitions" and step > 0 else ""
        return f"COPY ({rows_of}{where}) TO '{target}' ({options})"

    def content(self, statement: str, places: Places) -> str:
        if statement == "delta":
            source = f"'{places.target}'"
        else:
            source = f"read_parquet('{places.target}/**/*.parquet', hive_partitioning = true)"
        return answer(places, ["sql", "--format", "json", "--threads", "1",
                               f"SELECT step, k, count(*) AS n, sum(i) AS s FROM {source} GROUP BY ALL ORDER BY ALL"])

    # ---- what is right

    def make(self) -> None:
        answer(self.data, ["sql", f"""
            COPY (SELECT i, i % 97 AS g, i % 4 AS k, (i * 7919) % 1000 AS v, 'row ' || i AS s FROM range({ROWS}) r(i))
                TO {self.table('t')} (ROW_GROUP_SIZE 1000);
            COPY (SELECT i AS g, i % 5 AS w FROM range(97) r(i)) TO {self.table('u')}"""])
        self.expected = {s: rows(answer(self.data, ["sql", "--format", "json", self.query(s)])) for s in QUERIES}
        self.states: dict[str, tuple[str, str]] = {}
        for statement in SINKS:
            self.make_target(statement)

    def make_target(self, statement: str) -> None:
        """A target to start from, kept beside, and what is in it before and after."""
        places = Places(self.work, f"of-{statement}")
        # A Delta table's tenth version has a checkpoint.
        for _ in range(10 if statement == "delta" else 1):
            answer(places, ["sql", self.copy(statement, places.target, 0)])
        shutil.copytree(places.target, self.work / statement)
        before = self.content(statement, places)
        answer(places, ["sql", *self.options, *places.options(), self.copy(statement, places.target, 1)])
        self.states[statement] = before, self.content(statement, places)
        left = places.left()
        places.close()
        if left:
            raise Failure(f"without a fault there is left: {left}")

    # ---- one case

    def places(self) -> Places:
        with self.lock:
            if self.idle:
                return self.idle.pop()
            self.all.append(Places(self.work, f"run-{len(self.all)}"))
            return self.all[-1]

    def close(self) -> None:
        for places in self.all:
            places.close()

    def try_case(self, case: Case) -> str:
        """Returns how it ended; raises Failure."""
        places = self.places()
        if places.target.exists():
            shutil.rmtree(places.target)
        sink = case.statement in SINKS
        if sink:
            shutil.copytree(self.work / case.statement, places.target)
        sql = self.copy(case.statement, places.target, 1) if sink else self.query(case.statement)
        job = case.point.startswith("job.")
        run = self.start(case, places, sql, job)
        hangs = case.action == "hang" and case.process == "driver"
        in_time = run.wait(HANG if hangs else LIMIT)
        if not in_time:
            run.kill()
        if not in_time and not hangs:
            raise Failure(f"it hangs; it said: {run.message()}")
        left = places.wait_for_end()
        if left:
            raise Failure(f"processes {left} are left")
        self.check_end(case, run)
        if job and run.code != 0:
            run = self.resume(places, run)
        killed = run.code in KILLED
        if killed or ((job or case.point == "undo.move") and places.left()):
            self.sweep(places)
        if places.left():
            raise Failure(f"{ends(run.code)} left {places.left()}")
        if sink:
            self.check_target(case, places, run.code, killed)
        elif run.code == 0:
            wrong = difference(self.expected[case.statement], rows(run.text()), case.statement == "order-by")
            if wrong:
                raise Failure(f"another answer: {wrong}")
        with self.lock:
            self.idle.append(places)
        return "killed" if killed else ERRORS.get(run.code, "done")

    def start(self, case: Case, places: Places, sql: str, job: bool) -> Run:
        folder = places.work / "job"
        shutil.rmtree(folder, ignore_errors=True)
        arguments = ["sql", *self.options, "--task-timeout", "1", *places.options(), sql]
        if job:
            arguments += ["--job", str(folder)]
        if case.point.startswith(HOSTED):
            arguments += ON_NODES
        if case.point == "job.read":
            first = Run(places, arguments, {"SHOAL_FAULT": DIED})
            if not first.wait(LIMIT) or first.code != 99 or places.wait_for_end():
                raise Failure("the first run of the job did not die as it should")
            arguments = ["sql", "--resume", str(folder), *places.options()]
        return Run(places, arguments, {"SHOAL_FAULT": case.fault(), "SHOAL_FAULT_SEED": "1",
                                       "SHOAL_SILENT_SECONDS": "2"})

    def resume(self, places: Places, first: Run) -> Run:
        """Goes on with the job, if it began; the run whose rows and whose end count."""
        if not (places.work / "job/job.log").exists():
            return first
        run = Run(places, ["sql", "--resume", str(places.work / "job"), *places.options()])
        if not run.wait(LIMIT):
            run.kill()
            raise Failure(f"the job that goes on hangs; it said: {run.message()}")
        if run.code == 0:
            return first if "is done" in run.message() else run
        if run.code not in (2, 3) or "shoal: " not in run.message():
            raise Failure(f"the job that goes on: {ends(run.code)}; it said: {run.message()}")
        return first

    def check_end(self, case: Case, run: Run) -> None:
        killed_itself = run.code in KILLED
        if killed_itself and not (case.process == "driver" and case.action in ("kill", "exit", "hang")):
            raise Failure(f"the driver was {ends(run.code)}; it said: {run.message()}")
        if not killed_itself and run.code != 0 and run.code not in ERRORS:
            raise Failure(f"{ends(run.code)} is none that a fault gives; it said: {run.message()}")
        if run.code in ERRORS and "shoal: " not in run.message():
            raise Failure(f"{ends(run.code)} without a message")
        if run.code in ERRORS and case.action == "delay" and case.point not in AFTER:
            raise Failure(f"{ends(run.code)} after a delay; it said: {run.message()}")
        # The end of a hosted worker is told once its cluster has said why: the query may be done.
        told = not case.point.startswith(HOSTED)
        if told and case.nth in ("1", "3") and case.action == "exit" and run.code != 99 and not re.search("(exited|ended) with 99", run.message()):
            raise Failure(f"it did not get to this point: {ends(run.code)}")

    def sweep(self, places: Places) -> None:
        """Another run, which removes what a killed one left and undoes what it had begun."""
        answer(places, ["sql", *self.options, *places.options(),
                        f"COPY ({self.query('group-by')}) TO '{places.sinks}/other' "
                        "(FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE)"])

    def check_target(self, case: Case, places: Places, code: int, killed: bool) -> None:
        before, after = self.states[case.statement]
        now = self.content(case.statement, places)
        if now not in (before, after):
            raise Failure(f"after {ends(code)} the target is between: {now}")
        if not killed and (now == after) != (code == 0):
            raise Failure(f"after {ends(code)} the target is {'new' if now == after else 'old'}")
        if code > 0 and not killed and (strays := files(places.target) ^ files(self.work / case.statement)):
            raise Failure(f"after {ends(code)} files of the target are not as before: {sorted(strays)}")


def files(folder: pathlib.Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def all_points() -> dict[str, list[str]]:
    """What the program says that there is."""
    work = Places(pathlib.Path(tempfile.mkdtemp()), "list")
    run = Run(work, ["sql", "SELECT 1"], {"SHOAL_FAULT": "?"})
    run.wait(LIMIT)
    found = re.findall(r"^  ([a-z.]+): (.*)$", run.message(), re.M)
    work.close()
    work.work.parent.rmdir()
    return {point: actions.split(", ") for point, actions in found}


def cases(everything: bool, wanted: str) -> list[Case]:
    points = all_points()
    if unknown := set(points) ^ set(POINTS):
        raise Failure(f"points that either the program or this test does not know: {sorted(unknown)}")
    found = []
    for point, actions in points.items():
        where, statements = POINTS[point]
        for action in actions:
            for process in ("driver", "worker"):
                if process[0].upper() not in where or not f"{point}:{action}".startswith(wanted):
                    continue
                if point in MIDDLE:
                    found.append(Case(point, action, "3", process, MIDDLE[point]))
                if everything:
                    found += [Case(point, action, nth, process, s) for s in statements for nth in ("1", "~5")]
                    continue
                number = len(found)
                nth = "~5" if number % 3 == 2 and action != "exit" else "1"
                found.append(Case(point, action, nth, process, statements[number % len(statements)]))
    return found[:: 1 if everything else int(os.environ.get("EVERY", "1"))]


def main() -> int:
    everything = os.environ.get("ALL", "") == "1"
    work = pathlib.Path(tempfile.mkdtemp(prefix="shoal-matrix-"))
    counts: dict[str, int] = {}
    failures: list[str] = []
    matrix = None
    try:
        todo = cases(everything, sys.argv[1] if len(sys.argv) > 1 else "")
        matrix = Matrix(work)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            running = {pool.submit(matrix.try_case, case): case for case in todo}
            for future in concurrent.futures.as_completed(running):
                case = running[future]
                try:
                    counts[future.result()] = counts.get(future.result(), 0) + 1
                except Failure as why:
                    failures.append(f"FAILED: SHOAL_FAULT={case.fault()} {case.statement}: {why}")
                    print(failures[-1], flush=True)
    finally:
        if matrix is not None:
            matrix.close()
        shutil.rmtree(work, ignore_errors=True)
    print(", ".join(f"{count} {how}" for how, count in sorted(counts.items())))
    print(f"{len(todo) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
