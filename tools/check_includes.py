"""Fail when a folder of src/ includes one below it, lacks a README, or reaches for duckdb.h."""

import pathlib
import re
import sys

ORDER = (
    "base net adapt duck block parquet lines delta plan dist task sched worker engine query gen"
    " api adbc cli".split()
)
SOURCE = pathlib.Path(__file__).resolve().parent.parent / "src"


def problems() -> list[str]:
    found = []
    for folder in sorted(p for p in SOURCE.iterdir() if p.is_dir()):
        files = sorted(folder.glob("*.[ch]"))
        if files and not (folder / "README.md").exists():
            found.append(f"src/{folder.name}: no README.md")
        if files and folder.name not in ORDER:
            found.append(f"src/{folder.name}: not in the order of tools/check_includes.py")
            continue
        for file in files:
            for number, line in enumerate(file.read_text().splitlines(), 1):
                where = f"src/{folder.name}/{file.name}:{number}"
                match = re.match(r'#include "([a-z_]+)/', line)
                if match and match[1] in ORDER:
                    if ORDER.index(match[1]) > ORDER.index(folder.name):
                        found.append(f"{where}: {folder.name} may not include {match[1]}")
                if re.match(r"#include [<\"]duckdb\.h", line) and folder.name != "duck":
                    found.append(f"{where}: only src/duck includes duckdb.h")
    return found


if __name__ == "__main__":
    found = problems()
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(1 if found else 0)
