"""Delta Lake tables by Spark: `make` writes some, `read` copies one to Parquet files.

Usage: spark.py JARS make FOLDER | spark.py JARS append TABLE
    | spark.py JARS read TABLE OUT [TABLE OUT]...
"""

import pathlib
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f


def session(jars: str) -> SparkSession:
    """One thread, in UTC, with Delta."""
    files = ",".join(str(path) for path in sorted(pathlib.Path(jars).glob("*.jar")))
    return (
        SparkSession.builder.master("local[1]")
        .config("spark.jars", files)
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .getOrCreate()
    )


def rows(spark: SparkSession, first: int, count: int):
    """Rows of the types that Spark and Delta have; timestamps are INT96 in the files."""
    return spark.range(first, first + count).select(
        f.col("id").alias("i"),
        f.expr("element_at(array('plain', 'a b/c=%2F', 'it''s \"q\" é', null), int(1 + id % 4))").alias("g"),
        f.expr("cast(id / 3 as decimal(10,2))").alias("price"),
        f.expr("date_add(date '2024-01-01', int(id % 5))").alias("day"),
        f.expr("timestamp '2024-01-01 00:00:00.123456' + make_interval(0, 0, 0, 0, int(id))").alias("moment"),
        f.expr("array(id, null)").alias("list"),
        f.expr("named_struct('a', id, 'b', string(id))").alias("pair"),
        f.expr("map(string(id), id)").alias("map"),
        f.expr("if(id % 3 = 0, null, cast(id % 100 as tinyint))").alias("small"),
        f.expr("binary(string(id))").alias("raw"),
    )


def make(spark: SparkSession, folder: str) -> None:
    """Tables with what Spark does and others don't."""

    def write(name: str, frame, mode: str = "append", *partitions: str) -> None:
        writer = frame.write.format("delta").mode(mode).option("mergeSchema", "true")
        (writer.partitionBy(*partitions) if partitions else writer).save(f"{folder}/{name}")

    write("plain", rows(spark, 0, 100))
    write("plain", rows(spark, 100, 50), "overwrite")
    write("parts", rows(spark, 0, 100), "append", "g", "day")
    write("moments", rows(spark, 0, 20), "append", "moment")
    for version in range(12):  # Spark writes a checkpoint at version 10
        write("checkpoint", rows(spark, version * 10, 10), "append", "day")
    write("fewer", rows(spark, 0, 50))
    write("fewer", rows(spark, 50, 50).select("i", "price"))  # files without the columns
    write("wider", rows(spark, 0, 50).select("i", "g"))
    write("wider", rows(spark, 50, 50).select("i", "g", "moment", "pair"))
    spark.sql(f"DELETE FROM delta.`{folder}/parts` WHERE i % 3 = 0")


def read(spark: SparkSession, table: str, out: str) -> None:
    """All rows, with timestamps that are in UTC by their type."""
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    spark.read.format("delta").load(table).write.parquet(out)


def append(spark: SparkSession, table: str) -> None:
    """Writes to a table of shoal's: doubles its rows, then makes small ones negative."""
    spark.read.format("delta").load(table).write.format("delta").mode("append").save(table)
    spark.sql(f"UPDATE delta.`{table}` SET i = -i WHERE i < 10")


if __name__ == "__main__":
    spark = session(sys.argv[1])
    spark.sparkContext.setLogLevel("ERROR")
    if sys.argv[2] == "make":
        make(spark, sys.argv[3])
    elif sys.argv[2] == "append":
        append(spark, sys.argv[3])
    else:
        for table, out in zip(sys.argv[3::2], sys.argv[4::2]):
            read(spark, table, out)
