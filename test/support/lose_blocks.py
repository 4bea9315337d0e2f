"""Takes block files away from a query that runs: removes, cuts or changes a share of those
that appear in its spools, chosen by a seed, until a file `stop` is there. Says how many.
At most MOST, as what is made again could be lost again without an end.

lose_blocks.py STOP SEED SHARE FOLDER...
"""

import os
import random
import sys
import time
from pathlib import Path


MOST = 10


def damage(path, how):
    try:
        if how == 0:
            path.unlink()
        elif how == 1:
            os.truncate(path, path.stat().st_size * 2 // 3)
        else:
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-len(byte), 1)
                file.write(bytes([byte[0] ^ 1]) if byte else b"")
    except OSError:
        return 0  # it is gone already
    return 1


def block_files(folder):
    try:
        return list(Path(folder).glob("shoal-*/q*/s*.t*"))
    except OSError:
        return []  # a query's folder went while it was listed


def main(stop, seed, share, *folders):
    rng = random.Random(int(seed))
    seen, hit = set(), 0
    while not Path(stop).exists():
        for folder in folders:
            for path in block_files(folder):
                if path in seen or path.suffix in (".pipe", ".rejects") or path.is_dir():
                    continue
                seen.add(path)
                if hit < MOST and rng.random() < float(share):
                    hit += damage(path, rng.randrange(3))
        time.sleep(0.002)  # between looks: files live for longer
    print(f"{hit} of {len(seen)} block files were lost")


if __name__ == "__main__":
    main(*sys.argv[1:])
