"""What clusters.py compares shoal with, one at a time, on a cluster that runs. Prints seconds.

Usage: clusters_peers.py spark URL FOLDER
       clusters_peers.py dask|ray URL FOLDER "group by"|join|sort OUT
"""

import os
import sys
import time
from pathlib import Path


def spark(url, folder):
    """All of TPC-H's queries, after a first one that starts executors."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master(url)
        .config("spark.cores.max", "2")
        .config("spark.executor.cores", "1")
        .config("spark.executor.memory", "5g")
        .config("spark.driver.memory", "3g")
        .config("spark.sql.shuffle.partitions", "8")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    for file in Path(folder).glob("*.parquet"):
        session.read.parquet(str(file)).createOrReplaceTempView(file.stem)
    session.sql("SELECT count(*) FROM region").collect()
    queries = sorted((Path(__file__).resolve().parent.parent / "test/sql/tpch").glob("q*.sql"))
    start = time.monotonic()
    for query in queries:
        session.sql(query.read_text()).collect()
    return time.monotonic() - start


def dask(url, folder, name, out):
    import dask
    import dask.dataframe as frames
    from distributed import Client

    # Arrow's strings and its threads would fight over the two cores.
    dask.config.set({"dataframe.convert-string": False})
    with Client(url.replace("dask://", "tcp://")):
        read = frames.read_parquet
        start = time.monotonic()
        if name == "group by":
            lines = read(f"{folder}/lineitem.parquet", columns=["l_orderkey", "l_quantity"])
            sums = lines.groupby("l_orderkey", sort=False).l_quantity.sum(split_out=16)
            print(sums.size.compute(), sums.sum().compute())
        elif name == "join":
            # Shuffled, as shoal does it here: of itself Dask reads all orders into one
            # partition, and has nothing to shuffle.
            columns = ["l_orderkey", "l_extendedprice"], ["o_orderkey", "o_totalprice"]
            lines = read(f"{folder}/lineitem.parquet", columns=columns[0], split_row_groups=32)
            orders = read(f"{folder}/orders.parquet", columns=columns[1], split_row_groups=16)
            both = lines.merge(orders, left_on="l_orderkey", right_on="o_orderkey", broadcast=False)
            print(both[["l_extendedprice", "o_totalprice"]].sum().compute())
        else:
            columns = ["l_extendedprice", "l_orderkey", "l_linenumber", "l_shipdate"]
            lines = read(f"{folder}/lineitem.parquet", columns=columns)
            lines.sort_values(columns[:3]).to_parquet(out)
        return time.monotonic() - start


def ray(url, folder, name, out):
    import ray as package
    from ray import data

    package.init(address=url.replace("ray://", ""), log_to_driver=False)
    data.DataContext.get_current().enable_progress_bars = False
    start = time.monotonic()
    if name == "group by":
        lines = data.read_parquet(
            f"{folder}/lineitem.parquet", columns=["l_orderkey", "l_quantity"]
        )
        print(lines.groupby("l_orderkey").sum("l_quantity").count())
    elif name == "join":
        lines = data.read_parquet(
            f"{folder}/lineitem.parquet", columns=["l_orderkey", "l_extendedprice"]
        )
        orders = data.read_parquet(
            f"{folder}/orders.parquet", columns=["o_orderkey", "o_totalprice"]
        )
        both = lines.join(
            orders, "inner", num_partitions=16, on=("l_orderkey",), right_on=("o_orderkey",)
        )
        print(both.count())
    else:
        columns = ["l_extendedprice", "l_orderkey", "l_linenumber", "l_shipdate"]
        lines = data.read_parquet(f"{folder}/lineitem.parquet", columns=columns)
        lines.sort(columns[:3]).write_parquet(out)
    return time.monotonic() - start


def main():
    kind, *rest = sys.argv[1:]
    seconds = {"spark": spark, "dask": dask, "ray": ray}[kind](*rest)
    print(f"{seconds:.3f}", flush=True)
    os._exit(0)  # a cluster's threads are no reason to wait


if __name__ == "__main__":
    main()
