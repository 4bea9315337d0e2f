-- Web logs to tables by day. run.sh puts folders in the place of ${LOGS} and ${OUT}.

-- 1. Parse: both kinds of logs to one shape. All types are given, so a line that doesn't fit
-- is rejected and never changes what the others are taken for.
COPY (
    SELECT id, ts, visitor, "user" AS user_id, request.method AS method, request.path AS path,
        request.status AS status, request.bytes AS bytes, request.ms AS ms,
        geo.country AS country, geo.city AS city, utm.source AS source, agent, received
    FROM read_json('${LOGS}/app/*.jsonl*', format = 'newline_delimited', columns = {
        id: 'VARCHAR', ts: 'TIMESTAMP', visitor: 'VARCHAR', user: 'BIGINT',
        request: 'STRUCT(method VARCHAR, path VARCHAR, status INTEGER, bytes BIGINT, ms BIGINT)',
        geo: 'STRUCT(country VARCHAR, city VARCHAR)',
        utm: 'STRUCT(source VARCHAR, medium VARCHAR)', agent: 'VARCHAR', received: 'TIMESTAMP'})
    UNION ALL
    SELECT id, ts, visitor, "user", method, split_part(url, '?', 1), status, bytes, ms,
        country, city, nullif(regexp_extract(url, '[?&]utm_source=([^&]*)', 1), ''), agent,
        received
    FROM read_csv('${LOGS}/edge/*.csv*', header = true, delim = ',', quote = '"', escape = '"',
        columns = {
        id: 'VARCHAR', ts: 'TIMESTAMP', visitor: 'VARCHAR', user: 'BIGINT', method: 'VARCHAR',
        url: 'VARCHAR', status: 'INTEGER', bytes: 'BIGINT', ms: 'BIGINT', country: 'VARCHAR',
        city: 'VARCHAR', agent: 'VARCHAR', received: 'TIMESTAMP'})
) TO '${OUT}/staged' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE, REJECTS '${OUT}/rejects');

-- 2. Clean: what can be read and still can't be right has a reason; the copy of an event that
-- came first counts.
CREATE VIEW judged AS
SELECT *, CASE
        WHEN visitor IS NULL THEN 'no visitor'
        WHEN status NOT BETWEEN 100 AND 599 THEN 'bad status'
        WHEN ts > received + INTERVAL 5 MINUTES THEN 'future'
        WHEN ts < received - INTERVAL 1 DAY THEN 'late'
        WHEN row_number() OVER (PARTITION BY id ORDER BY received) > 1 THEN 'duplicate'
    END AS reason
FROM '${OUT}/staged/*.parquet';

COPY (FROM judged WHERE reason IS NOT NULL)
TO '${OUT}/quarantine' (FORMAT parquet, PARTITION_BY (reason), FILE_SIZE_BYTES '128MB', OVERWRITE);

-- 3. Join and sessionise: a visitor's session ends where nothing comes for over 30 minutes.
-- Days that the logs have no events of stay as they are.
COPY (
    WITH good AS (
        SELECT e.* EXCLUDE (reason), regexp_matches(agent, 'bot|crawl|spider', 'i') AS is_bot,
            coalesce(p.section, 'none') AS section, u.plan, u.signup
        FROM judged e
        LEFT JOIN read_json('${LOGS}/pages.jsonl', columns = {path: 'VARCHAR',
            section: 'VARCHAR', title: 'VARCHAR'}) p USING (path)
        LEFT JOIN read_csv('${LOGS}/users.csv', header = true, delim = ',', quote = '"',
            columns = {user_id: 'BIGINT', plan: 'VARCHAR', signup: 'DATE'}) u USING (user_id)
        WHERE reason IS NULL),
    gaps AS (
        SELECT *, ts - lag(ts) OVER (PARTITION BY visitor ORDER BY ts, id) AS gap FROM good)
    SELECT *, ts::DATE AS day, max(CASE WHEN gap IS NULL OR gap > INTERVAL 30 MINUTES THEN ts END)
        OVER (PARTITION BY visitor ORDER BY ts, id ROWS UNBOUNDED PRECEDING) AS session_start
    FROM gaps
) TO '${OUT}/events' (FORMAT parquet, PARTITION_BY (day), FILE_SIZE_BYTES '128MB', OVERWRITE_PARTITIONS);

-- 4. Aggregate.
CREATE VIEW events AS FROM read_parquet('${OUT}/events/*/*.parquet', hive_types = {day: 'DATE'});

COPY (
    SELECT session_start::DATE AS day, visitor, session_start, max(ts) AS session_end, is_bot,
        count(*) AS hits, sum(bytes)::BIGINT AS bytes, max(user_id) AS user_id,
        first(path ORDER BY ts, id) AS landing_page, first(source ORDER BY ts, id) AS source,
        bool_or(section = 'checkout' AND status = 200) AS has_bought
    FROM events GROUP BY visitor, session_start, is_bot
) TO '${OUT}/sessions' (FORMAT parquet, PARTITION_BY (day), FILE_SIZE_BYTES '128MB', OVERWRITE);

COPY (
    SELECT day, country, section, coalesce(plan, 'none') AS plan, count(*) AS hits,
        count(DISTINCT visitor) AS visitors, count(*) FILTER (status >= 500) AS errors,
        sum(bytes)::BIGINT AS bytes, quantile_disc(ms, 0.95) AS p95_ms
    FROM events WHERE NOT is_bot GROUP BY ALL
) TO '${OUT}/daily' (FORMAT parquet, PARTITION_BY (day), FILE_SIZE_BYTES '128MB', OVERWRITE);

SELECT day, count(*) AS sessions, count(*) FILTER (is_bot) AS of_bots, sum(hits) AS hits,
    count(*) FILTER (has_bought) AS bought
FROM read_parquet('${OUT}/sessions/*/*.parquet', hive_types = {day: 'DATE'})
GROUP BY day ORDER BY day;
