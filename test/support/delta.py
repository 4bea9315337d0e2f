"""Delta Lake tables by other hands: `make` writes some, `read` copies one to Parquet.

Usage: delta.py make FOLDER | delta.py read TABLE deltalake|polars OUT.parquet
"""

import datetime as dt
import decimal
import pathlib
import sys

import polars as pl
from deltalake import DeltaTable, QueryBuilder, write_deltalake

UTC = dt.timezone.utc


def rows(first: int, count: int, groups: int = 5) -> pl.DataFrame:
    """Rows of many types, some NULL; column g has values that are awkward in a path."""
    names = ["plain", "with space", "a/b=c%2F", None, "it's \"q\" é"]
    n = range(first, first + count)
    return pl.DataFrame(
        {
            "i": list(n),
            "small": pl.Series([x % 100 if x % 7 else None for x in n], dtype=pl.Int16),
            "g": [names[x % groups] for x in n],
            "x": [x / 4 if x % 5 else None for x in n],
            "day": [dt.date(2024, 1, 1 + x % 28) for x in n],
            "at": [dt.datetime(2024, 1, 1, tzinfo=UTC) + dt.timedelta(hours=x) for x in n],
            "price": pl.Series([decimal.Decimal(x) / 100 for x in n], dtype=pl.Decimal(12, 2)),
            "list": [[x, None] if x % 3 else None for x in n],
            "pair": [{"a": x, "b": str(x)} for x in n],
            "ok": [x % 2 == 0 for x in n],
            "raw": [bytes([x % 256, 0, 255]) for x in n],
        }
    )


def make(folder: pathlib.Path) -> None:
    """One table for each thing that a log may have in it."""
    plain = str(folder / "plain")
    write_deltalake(plain, rows(0, 500))
    write_deltalake(plain, rows(500, 300), mode="append")
    write_deltalake(plain, rows(9000, 40), mode="overwrite")
    write_deltalake(plain, rows(800, 200), mode="append")

    parts = str(folder / "it's a (table)")
    write_deltalake(parts, rows(0, 400), partition_by=["g", "ok"])
    write_deltalake(parts, rows(400, 200, 4), mode="append")
    DeltaTable(parts).delete("i % 3 = 0")

    many = str(folder / "checkpoint")
    for version in range(12):
        write_deltalake(many, rows(version * 10, 10), mode="append", partition_by=["day"])
    DeltaTable(many).create_checkpoint()
    write_deltalake(many, rows(500, 10), mode="append")
    DeltaTable(many).delete("i < 20")

    wider = str(folder / "wider")
    write_deltalake(wider, rows(0, 50).select("i", "g", "pair"))
    write_deltalake(wider, rows(50, 50).select("i", "g", "pair", "x", "day"), mode="append", schema_mode="merge")
    write_deltalake(wider, rows(100, 50).select("i", "x"), mode="append", schema_mode="merge")

    fewer = str(folder / "fewer")  # a file without a column, and one schema
    write_deltalake(fewer, rows(0, 20).select("i", "x", "g"))
    write_deltalake(fewer, rows(20, 20).select("i", "x"), mode="append", schema_mode="merge")

    times = str(folder / "times")
    stamped = rows(0, 30).select("i", "x", (pl.col("at") + pl.duration(milliseconds=5)).alias("at"))
    write_deltalake(times, stamped, partition_by=["at"])

    naive = str(folder / "naive")
    write_deltalake(naive, rows(0, 30).select("i", pl.col("at").dt.replace_time_zone(None)))

    none = str(folder / "none")
    write_deltalake(none, rows(0, 30), partition_by=["g"])
    DeltaTable(none).delete()


def read(table: str, reader: str, out: str) -> None:
    """The rows as one Parquet file."""
    if reader == "polars":
        frame = pl.read_delta(table)
    else:
        rows_of = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT * FROM t")
        frame = pl.DataFrame(rows_of.read_all())
    frame.write_parquet(out)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]))
    else:
        read(*sys.argv[2:5])
