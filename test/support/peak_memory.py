"""Run a command; print the most anonymous memory that it and each child of its had, in MiB.

    peak_memory.py FOLDER COMMAND...

Prints "driver 21", a line for each child, and "blocks 12": the most that the files in
FOLDER took. Exits with the command's code.
"""

import os
import pathlib
import re
import subprocess
import sys
import time


def anonymous(process: pathlib.Path) -> tuple[int, int] | None:
    """Parent and anonymous KiB of a process; None when it is gone."""
    try:
        status = (process / "status").read_text()
    except OSError:
        return None
    parent = re.search(r"^PPid:\s+(\d+)", status, re.M)
    memory = re.search(r"^RssAnon:\s+(\d+)", status, re.M)
    return (int(parent[1]), int(memory[1])) if parent and memory else None


def files(folder: pathlib.Path) -> int:
    """KiB that the files below a folder take."""
    blocks = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that go meanwhile
        for name in names:
            try:
                blocks += os.lstat(os.path.join(parent, name)).st_blocks
            except OSError:
                continue
    return blocks // 2


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    process = subprocess.Popen(sys.argv[2:], stdout=sys.stderr)
    peaks: dict[int, int] = {}
    most = 0
    try:
        while process.poll() is None:
            most = max(most, files(folder))
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                seen = anonymous(entry)
                pid = int(entry.name)
                if seen and process.pid in (pid, seen[0]):
                    peaks[pid] = max(peaks.get(pid, 0), seen[1])
            time.sleep(0.01)
    finally:
        process.kill()  # nothing once it has ended
    for pid, kib in sorted(peaks.items()):
        print("driver" if pid == process.pid else "worker", kib // 1024)
    print("blocks", most // 1024)
    return process.returncode


sys.exit(main())
