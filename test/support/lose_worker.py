"""Takes all block files away that worker 1 has written, once a stage that reads what others
made has written some, until a file `stop` is there. Says how many.

lose_worker.py STOP STAGE FOLDER...
"""

import sys
import time
from pathlib import Path


def blocks(folders, pattern):
    found = []
    for folder in folders:
        try:
            found += [path for path in Path(folder).glob(f"shoal-*/q*/{pattern}") if path.is_file()]
        except OSError:
            pass  # a query's folder went while it was listed
    return found


def main(stop, stage, *folders):
    while not Path(stop).exists():
        if not blocks(folders, f"s{stage}.t*"):
            time.sleep(0.002)  # between looks
            continue
        lost = blocks(folders, "s*.w1*")
        for path in lost:
            path.unlink(missing_ok=True)
        print(len(lost))
        return
    print(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
