"""Run a command; print the most anonymous memory that it and each child of its had, in MiB.

    peak_memory.py COMMAND...     "driver 21" and a line for each child; its exit code
"""

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


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            seen = anonymous(folder)
            pid = int(folder.name)
            if seen and process.pid in (pid, seen[0]):
                peaks[pid] = max(peaks.get(pid, 0), seen[1])
        time.sleep(0.01)
    for pid, kib in sorted(peaks.items()):
        print("driver" if pid == process.pid else "worker", kib // 1024)
    return process.returncode


sys.exit(main())
