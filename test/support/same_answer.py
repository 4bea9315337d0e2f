"""Decide whether two results of the same query are the same answer.

Rows are lists of cells (text, or None for NULL) with the columns' types. Equal means
equal as a multiset, or in order where the query fixes it; floating-point cells are equal
within a relative 1e-9, since a sum's last digits depend on its order.
"""

import json
import math
import pathlib
import sys

Row = list[object]


def is_float(text: object) -> bool:
    return isinstance(text, float)


def same_cell(a: object, b: object) -> bool:
    if is_float(a) or is_float(b):
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))
    return type(a) is type(b) and a == b


def sort_key(row: Row) -> list[tuple[int, str]]:
    return [
        (0, "") if cell is None else (1, f"{cell:.6e}" if is_float(cell) else str(cell))
        for cell in row
    ]


def difference(expected: list[Row], actual: list[Row], ordered: bool) -> str | None:
    """Return None when the answers are the same, else the first difference in words."""
    if len(expected) != len(actual):
        return f"{len(expected)} rows expected, {len(actual)} came"
    if not ordered:
        expected = sorted(expected, key=sort_key)
        actual = sorted(actual, key=sort_key)
    for number, (a, b) in enumerate(zip(expected, actual), 1):
        if len(a) != len(b) or not all(map(same_cell, a, b)):
            return f"row {number}: expected {a}, came {b}"
    return None


def read_results(path: str) -> list[list[Row]]:
    """Read the JSON arrays that one program printed after another."""
    return parse_results(pathlib.Path(path).read_text())


def parse_results(text: str) -> list[list[Row]]:
    decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: [cell for _, cell in pairs])
    results = []
    at = 0
    while at < len(text):
        result, at = decoder.raw_decode(text, at)
        results.append(result)
        while at < len(text) and text[at].isspace():
            at += 1
    return results


def main() -> int:
    """same_answer.py EXPECTED ACTUAL [ordered]: files of JSON results, one a statement."""
    expected, actual = read_results(sys.argv[1]), read_results(sys.argv[2])
    ordered = sys.argv[3:] == ["ordered"]
    if len(expected) != len(actual):
        print(f"{len(expected)} results expected, {len(actual)} came")
        return 1
    wrong = 0
    for number, (a, b) in enumerate(zip(expected, actual), 1):
        problem = difference(a, b, ordered)
        if problem:
            wrong += 1
            print(f"statement {number}: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
