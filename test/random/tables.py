"""The tables that random queries read.

All have the same columns, and `id` alone fixes the whole row in every one of them: rows
that agree in `id` agree in all, so `arg_max(v, id)` and `list(v ORDER BY id)` are fixed
even where a join or UNION ALL repeats rows. `k` is skewed (half its values are 7) with
NULLs, `id` and `t` are unique, the others repeat.
"""

from __future__ import annotations

from pathlib import Path

INT, TEXT, DATE, DECIMAL, STAMP = "int", "text", "date", "decimal", "timestamp"
UUID, BOOL, FLOAT, LIST, STRUCT, MAP = "uuid", "bool", "float", "list", "struct", "map"

COLUMNS = {
    "id": INT, "k": INT, "v": INT, "s": TEXT, "d": DATE, "x": DECIMAL, "t": STAMP,
    "u": UUID, "b": BOOL, "f": FLOAT, "l": LIST, "r": STRUCT, "m": MAP,
}  # fmt: skip

ROWS = """
SELECT i AS id,
       CASE WHEN i % 13 = 5 THEN NULL WHEN i % 2 = 0 THEN 7 ELSE (i * 31) % 97 END AS k,
       ((i * 17) % 1009)::INTEGER AS v,
       CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 's' || (i % 23) END AS s,
       DATE '2024-01-01' + (i % 60)::INTEGER AS d,
       ((i % 500) / 4)::DECIMAL(9, 2) AS x,
       TIMESTAMP '2024-01-01' + to_minutes(i) AS t,
       md5((i % 1000)::VARCHAR)::UUID AS u,
       CASE WHEN i % 5 = 4 THEN NULL ELSE i % 3 = 0 END AS b,
       (i % 64) / 4 AS f,
       CASE i % 5 WHEN 0 THEN []::BIGINT[] WHEN 1 THEN [i % 10] WHEN 2 THEN NULL
                  ELSE [i % 4, NULL, 3] END AS l,
       {'a': (i % 5)::INTEGER, 'b': CASE WHEN i % 4 = 1 THEN NULL ELSE 'b' || i % 3 END} AS r,
       MAP {'p': i % 3, 'q': i % 2} AS m
"""
# Files and rows of each. --split-rows cuts them into tasks, so that partial results meet.
FILES = {"big": (2, 6_000), "mid": (3, 1_000), "tiny": (2, 20), "none": (1, 0)}
SHEET_ROWS = 500
TABLE_ROWS = {name: files * rows for name, (files, rows) in FILES.items()}
TABLE_ROWS |= {"sheet": SHEET_ROWS, "kept": 1_000}


def make_sql(folder: Path) -> str:
    """What writes the files."""
    copies = [
        f"COPY ({ROWS} FROM range({part * rows}, {(part + 1) * rows}) z(i)) "
        f"TO '{folder}/{name}{part}.parquet' (ROW_GROUP_SIZE 2048)"
        for name, (files, rows) in FILES.items()
        for part in range(files)
    ]
    copies.append(f"COPY ({ROWS} FROM range({SHEET_ROWS}) z(i)) TO '{folder}/sheet.csv' (NULLSTR 'nil')")
    return ";\n".join(copies)


def init_sql(folder: Path) -> str:
    """What names them: views on Parquet and CSV files, and a table of the session."""
    views = "".join(
        f"CREATE VIEW {name} AS FROM '{folder}/{name}*.parquet';\n" for name in FILES
    )
    return views + (
        f"CREATE VIEW sheet AS FROM read_csv('{folder}/sheet.csv', header = true, nullstr = 'nil', columns = {{"
        "'id': 'BIGINT', 'k': 'BIGINT', 'v': 'INTEGER', 's': 'VARCHAR', 'd': 'DATE', "
        "'x': 'DECIMAL(9, 2)', 't': 'TIMESTAMP', 'u': 'UUID', 'b': 'BOOLEAN', 'f': 'DOUBLE', "
        "'l': 'BIGINT[]', 'r': 'STRUCT(a INTEGER, b VARCHAR)', 'm': 'MAP(VARCHAR, BIGINT)'"
        "});\n"
        f"CREATE TABLE kept AS SELECT * FROM mid WHERE id % 3 = 1;\n"
    )
