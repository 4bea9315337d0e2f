-- Tables for people, without bots; Delta Lake, so that Spark and others read what is current.
COPY (
    SELECT ts::DATE AS day, country, section, plan, count(*) AS hits,
        count(DISTINCT visitor) AS visitors, count(*) FILTER (status >= 500) AS errors,
        sum(bytes)::BIGINT AS bytes, quantile_disc(ms, 0.95) AS p95_ms
    FROM events WHERE NOT is_bot GROUP BY ALL
) TO '${OUT}/daily_traffic' (FORMAT delta, OVERWRITE);

COPY (
    SELECT ts::DATE AS day, path, count(*) AS hits, count(DISTINCT visitor) AS visitors
    FROM events WHERE NOT is_bot AND status = 200 GROUP BY 1, 2
    QUALIFY row_number() OVER (PARTITION BY day ORDER BY hits DESC, path) <= 10
) TO '${OUT}/top_pages' (FORMAT delta, OVERWRITE);

-- Which source brings buyers: each day, and of all days (day is NULL).
COPY (
    SELECT day, coalesce(source, 'direct') AS source, count(*) AS sessions,
        count(*) FILTER (has_bought) AS bought, count(*) FILTER (hits = 1) AS bounced
    FROM sessions WHERE NOT is_bot
    GROUP BY GROUPING SETS ((day, coalesce(source, 'direct')), (coalesce(source, 'direct')))
) TO '${OUT}/sources' (FORMAT delta, OVERWRITE);

-- Of the visitors first seen on a day, how many came back so many days later.
COPY (
    WITH days AS (SELECT DISTINCT visitor, day FROM sessions WHERE NOT is_bot),
    cohorts AS (SELECT visitor, min(day) AS cohort FROM days GROUP BY visitor)
    SELECT cohort, (day - cohort)::INTEGER AS later, count(*) AS visitors
    FROM days JOIN cohorts USING (visitor) GROUP BY ALL
) TO '${OUT}/retention' (FORMAT delta, OVERWRITE);
