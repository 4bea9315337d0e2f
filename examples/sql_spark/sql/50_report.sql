SELECT source, sessions, bought, round(100.0 * bought / sessions, 1) AS percent
FROM '${OUT}/sources' WHERE day IS NULL ORDER BY source;

SELECT reason, count(*) AS events, min(filename) AS for_instance_in
FROM read_parquet('${OUT}/quarantine/*/*.parquet', hive_partitioning = true)
GROUP BY reason ORDER BY reason;
