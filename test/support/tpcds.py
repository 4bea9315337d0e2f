"""TPC-DS as files: 24 Parquet tables, init.sql with a view for each, q01.sql to q99.sql.

    third_party/venv/bin/python test/support/tpcds.py SCALE FOLDER

Data and query texts come from DuckDB's tpcds extension; neither is kept in this
repository. Many of the queries cut rows that tie in their ORDER BY, so that more than one
answer is right. Here every ORDER BY goes on with all output columns: rows that still tie
are equal, the answer is one, LIMIT stays, and the order can be compared too.
"""

import importlib.util
import pathlib
import re
import sys

import duckdb


def load_tpcds(connection: duckdb.DuckDBPyConnection) -> None:
    """Load the extension from its own package, which is built for one DuckDB version."""
    spec = importlib.util.find_spec("duckdb_extension_tpcds")
    if spec is None or spec.origin is None:
        sys.exit("no duckdb-extension-tpcds in this Python: run ./dev setup")
    folder = pathlib.Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}"
    connection.load_extension(str(folder / "tpcds.duckdb_extension"))


def orders_rows(query: str) -> bool:
    """Tell whether there is an ORDER BY outside all parentheses."""
    depth = 0
    for token in re.findall(r"'[^']*'|[()]|\border\s+by\b", query, re.IGNORECASE):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if depth == 0 and token[0] in "oO":
            return True
    return False


def with_total_order(query: str, columns: int) -> str:
    """Append all output columns to the final ORDER BY, ahead of LIMIT."""
    parts = re.fullmatch(r"(.*?)(\s+LIMIT\s+\d+)?[\s;]*", query, re.IGNORECASE | re.DOTALL)
    assert parts
    body, limit = parts[1], parts[2] or ""
    if orders_rows(body):
        body += ", " + ", ".join(str(number) for number in range(1, columns + 1))
    return f"{body}{limit}\n"


def main() -> None:
    scale, folder = float(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    load_tpcds(connection)
    connection.execute(f"CALL dsdgen(sf = {scale})")
    views = []
    for (table,) in connection.sql("SELECT table_name FROM duckdb_tables()").fetchall():
        connection.execute(f"COPY {table} TO '{folder}/{table}.parquet'")
        views.append(f"CREATE VIEW {table} AS FROM '{folder}/{table}.parquet';\n")
    (folder / "init.sql").write_text("".join(views))
    for number, query in connection.sql("FROM tpcds_queries()").fetchall():
        text = with_total_order(query, len(connection.sql(query).columns))
        connection.execute(f"EXPLAIN {text}")
        (folder / f"q{number:02}.sql").write_text(text)


if __name__ == "__main__":
    main()
