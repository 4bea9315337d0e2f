"""Block files that are here beside the same from a block server, over loopback, plain and by TLS:
GB a second and for each second that the cores of both processes worked.

    ./dev bench remote [--gib 1]
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", default="1", help="of all files together (1)")
    parser.add_argument("--folder", default="/dev/shm", help="of the files (/dev/shm)")
    args = parser.parse_args()
    subprocess.run(["cmake", "--build", ROOT / "build", "--target", "remote_bench"],
                   check=True, stdout=sys.stderr)  # fmt: skip
    subprocess.run([ROOT / "build/remote_bench", args.folder, args.gib], check=True)


if __name__ == "__main__":
    main()
