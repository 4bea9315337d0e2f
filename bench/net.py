"""Connections alone, over loopback: GB a second and for each second of a core, plain, by TLS and
by TLS through a relay.

    ./dev bench net [--gib 4]
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", default="4", help="that each case moves (4)")
    args = parser.parse_args()
    subprocess.run(["cmake", "--build", ROOT / "build", "--target", "net_bench"],
                   check=True, stdout=sys.stderr)  # fmt: skip
    subprocess.run([ROOT / "build/net_bench", args.gib], check=True)


if __name__ == "__main__":
    main()
