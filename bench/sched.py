"""The scheduler alone: a million tasks in five stages on 10,000 simulated workers that fail,
die with what they made, lose outputs and straggle. Seconds, microseconds of the scheduler for
each task, and its memory. The bars: under 20 seconds, under 10 microseconds.

    ./dev bench sched [--tasks 1000000] [--workers 10000] [--seed 1]
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="1000000", help="of all stages (1000000)")
    parser.add_argument("--workers", default="10000", help="of two slots each (10000)")
    parser.add_argument("--seed", default="1", help="of what happens (1)")
    args = parser.parse_args()
    subprocess.run(["cmake", "--build", ROOT / "build", "--target", "sched_bench"],
                   check=True, stdout=sys.stderr)  # fmt: skip
    subprocess.run([ROOT / "build/sched_bench", args.tasks, args.workers, args.seed], check=True)


if __name__ == "__main__":
    main()
