"""A query of `./dev bench skew` by Polars or Spark, each on two cores: skew.py starts this with
the Python that has them.

Usage: skew_peers.py polars|pyspark FOLDER SQL QUERY RUNS

Prints the seconds of each run and the one row that came, as JSON.
"""

import json
import os
import resource
import sys
import time


def polars_query(folder, name):
    os.environ["POLARS_MAX_THREADS"] = "2"
    import polars as pl

    fact = pl.scan_parquet(f"{folder}/fact/*.parquet")
    dim = pl.scan_parquet(f"{folder}/dim/*.parquet")
    by_time = {"partition_by": "key", "order_by": "ts"}
    plans = {
        "join": lambda: fact.join(dim, on="key").select(
            pl.len(), pl.col("amount").sum(), pl.col("weight").cast(pl.Int64).sum()
        ),
        "group": lambda: fact.group_by("key")
        .agg(s=pl.col("amount").sum(), n=pl.len())
        .select(pl.len(), pl.col("s").sum(), pl.col("n").max()),
        "window": lambda: fact.select(
            n=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over(**by_time),
            s=pl.col("amount").cum_sum().over(**by_time),
            before=pl.col("ts").shift(1).over(**by_time),
        ).select(pl.col("n").sum(), pl.col("s").max(), pl.col("before").count()),
    }
    plan = plans[name]()
    return lambda: plan.collect(engine="streaming").row(0)


def spark_query(folder, sql):
    """Adaptive execution as it comes; no broadcast, as in shoal's runs."""
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.adaptive.enabled", "true")
        .config("spark.sql.adaptive.skewJoin.enabled", "true")
        .config("spark.sql.autoBroadcastJoinThreshold", "-1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "8g")
        .config("spark.local.dir", os.path.dirname(folder))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    for table in ("fact", "dim"):
        spark.read.parquet(f"{folder}/{table}").createOrReplaceTempView(table)
    sql = sql.replace("'{}/fact/*.parquet'", "fact").replace("'{}/dim/*.parquet'", "dim")
    return lambda: tuple(spark.sql(sql).collect()[0])


def main():
    peer, folder, sql, name, runs = sys.argv[1:]
    if peer == "polars":
        # It may want more memory than there is: an error is better than a killed machine.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (memory * 4 // 5,) * 2)
    run = polars_query(folder, name) if peer == "polars" else spark_query(folder, sql)
    seconds = []
    for _ in range(int(runs)):
        start = time.monotonic()
        answer = run()
        seconds.append(time.monotonic() - start)
    print(json.dumps({"seconds": seconds, "answer": [float(number) for number in answer]}))


if __name__ == "__main__":
    main()
