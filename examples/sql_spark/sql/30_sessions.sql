-- A visitor's session ends where nothing comes for more than 30 minutes.
CREATE VIEW gaps AS
SELECT *, ts - lag(ts) OVER (PARTITION BY visitor ORDER BY ts, id) AS gap FROM clean;

COPY (
    SELECT * EXCLUDE (gap), max(CASE WHEN gap IS NULL OR gap > INTERVAL 30 MINUTES THEN ts END)
        OVER (PARTITION BY visitor ORDER BY ts, id ROWS UNBOUNDED PRECEDING) AS session_start
    FROM gaps
) TO '${OUT}/events' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE);
CREATE VIEW events AS FROM '${OUT}/events/*.parquet';

COPY (
    SELECT session_start::DATE AS day, visitor, session_start, max(ts) AS session_end, is_bot,
        count(*) AS hits, sum(bytes)::BIGINT AS bytes, max(user_id) AS user_id,
        first(path ORDER BY ts, id) AS landing_page, first(source ORDER BY ts, id) AS source,
        bool_or(section = 'checkout' AND status = 200) AS has_bought
    FROM events GROUP BY visitor, session_start, is_bot
) TO '${OUT}/sessions' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE);
CREATE VIEW sessions AS FROM '${OUT}/sessions/*.parquet';
