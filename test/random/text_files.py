"""Random CSV and JSON files, read over workers in parts as one reader reads them: the same
rows, or the same kind of error. Dialects, quoted newlines, odd line ends, rows that are too
short, files that differ from each other.

    python3 test/random/text_files.py --shoal build/shoal --seed 1 --count 100
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import cases

WORDS = ["", "a", "007", "12", "-3.5", "2026-01-31", "x y", " lead", "trail ", "NULL", "ä€", "true",
         "2026-01-31 10:00:00", "1e5", "0x1F", "'", "a;b", "a|b", "a\tb", "#no", "{}", "[1]"]  # fmt: skip
NASTY = ["a,b", 'say "x"', "two\nlines", "\n", '"', '","', "\n,\n", '"\n"', ",", "a\r\nb", '";"\n']


@dataclass
class Case:
    files: dict[str, str]
    call: str


def quoted(value: str, quote: str, always: bool, special: str) -> str:
    if always or any(sign in value for sign in special):
        return quote + value.replace(quote, quote * 2) + quote
    return value


def csv_text(choose: random.Random, rows: int, columns: int, dirty: bool) -> str:
    delimiter = choose.choice([",", ",", ";", "|", "\t"])
    end = choose.choice(["\n", "\n", "\n", "\r\n"])
    nasty = choose.choice([0, 0, 0.05, 0.3, 0.9])
    always = choose.random() < 0.2
    kinds = [choose.choice(["int", "word", "float", "date", "text"]) for _ in range(columns)]
    special = delimiter + '"\n\r'

    def cell(kind: str) -> str:
        if choose.random() < 0.05:
            return ""
        if kind == "int":
            return str(choose.randrange(-1000, 100000))
        if kind == "float":
            return f"{choose.uniform(-5, 500):.2f}"
        if kind == "date":
            return f"20{choose.randrange(10, 30)}-{choose.randrange(1, 13):02}-{choose.randrange(1, 29):02}"
        if kind == "word":
            return choose.choice(WORDS)
        return choose.choice(NASTY) if choose.random() < nasty else choose.choice(WORDS)

    lines = []
    if choose.random() < 0.8:
        lines.append(delimiter.join(f"col{i}" for i in range(columns)))
    for _ in range(rows):
        cells = [quoted(cell(kind), '"', always, special) for kind in kinds]
        if dirty and choose.random() < 0.002:
            fault = choose.randrange(4)
            if fault == 0:
                cells.pop()
            elif fault == 1:
                cells.append("more")
            elif fault == 2:
                cells[0] = '"open'
            else:
                cells[0] = 'mid"dle'
        lines.append(delimiter.join(cells))
    text = end.join(lines)
    return text if choose.random() < 0.2 else text + end


def json_text(choose: random.Random, rows: int) -> str:
    def value(depth: int) -> object:
        kind = choose.randrange(8 if depth < 2 else 6)
        if kind == 6:
            return [value(depth + 1) for _ in range(choose.randrange(3))]
        if kind == 7:
            return {f"n{i}": value(depth + 1) for i in range(choose.randrange(3))}
        return [None, 7, -2.5, choose.choice(WORDS + NASTY), True, choose.randrange(10**6)][kind]

    keys = [f"k{i}" for i in range(choose.randrange(1, 5))]
    steady = {key: choose.choice([None, 1, "w"]) for key in keys}

    def record() -> dict[str, object]:
        made: dict[str, object] = {}
        for key in keys:
            if choose.random() < 0.1:
                continue
            kind = steady[key]
            made[key] = choose.randrange(99) if kind == 1 else choose.choice(WORDS) if kind else value(0)
        return made

    style = choose.choice(["lines", "lines", "lines", "array", "pretty"])
    records = [record() for _ in range(rows)]
    if style == "array":
        return json.dumps(records)
    if style == "pretty":
        return "\n".join(json.dumps(r, indent=1) for r in records)
    end = choose.choice(["\n", "\n", "\r\n", "\n\n"])
    return end.join(json.dumps(r, ensure_ascii=choose.random() < 0.5) for r in records) + end


def make_case(choose: random.Random) -> Case:
    count = choose.choice([1, 1, 1, 2, 3])
    rows = choose.choice([0, 3, 200, 800])
    if choose.random() < 0.3:
        files = {f"f{i}.json": json_text(choose, rows) for i in range(count)}
        options = choose.choice(["", "", ", union_by_name = true", ", filename = true", ", format = 'newline_delimited'"])
        return Case(files, f"read_json([{{}}]{options})")
    columns = choose.randrange(1, 6)
    dirty = choose.random() < 0.25
    shape = choose.getrandbits(60)
    alike = choose.random() < 0.6
    files = {}
    for i in range(count):
        seeded = random.Random(shape if alike else choose.getrandbits(60))
        files[f"f{i}.csv"] = csv_text(seeded, rows, columns, dirty)
    options = choose.choice(
        ["", "", "", ", filename = true", ", all_varchar = true", ", header = true", ", nullstr = 'NULL'",
         ", union_by_name = true", ", quote = '\"'", ", ignore_errors = true",
         ", strict_mode = false"]  # fmt: skip
    )
    return Case(files, f"read_csv([{{}}]{options})")


def check(shoal: str, folder: Path, choose: random.Random) -> str | None:
    case = make_case(choose)
    for name, text in case.files.items():
        (folder / name).write_bytes(text.encode())
    call = case.call.format(", ".join(f"'{name}'" for name in case.files))
    query = choose.choice([f"FROM {call}", f"FROM {call}", f"SELECT count(*) AS n FROM {call}"])
    over = ["--workers", str(choose.choice([1, 2, 3])), "--threads", str(choose.choice([1, 2])),
            "--split-rows", str(choose.choice([1, 20, 100, 1000])), "--temp-dir", str(folder)]  # fmt: skip
    return cases.difference(shoal, folder, query, over)


if __name__ == "__main__":
    cases.main((__doc__ or "").split("\n\n")[0], check)
