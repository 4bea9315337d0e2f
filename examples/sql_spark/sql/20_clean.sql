-- One shape for both kinds, and a verdict on each event; the first copy of one counts.
CREATE VIEW hits AS
SELECT id, ts, visitor, "user" AS user_id, request.path AS path, request.status AS status,
    request.bytes AS bytes, request.ms AS ms, geo.country AS country, utm.source AS source,
    agent, received, filename
FROM staging_app
UNION ALL
SELECT id, ts, visitor, "user", split_part(url, '?', 1), status, bytes, ms, country,
    nullif(regexp_extract(url, '[?&]utm_source=([^&]*)', 1), ''), agent, received, filename
FROM staging_edge;

COPY (
    SELECT *, CASE
            WHEN visitor IS NULL THEN 'no visitor'
            WHEN status NOT BETWEEN 100 AND 599 THEN 'bad status'
            WHEN ts > received + INTERVAL 5 MINUTES THEN 'future'
            WHEN ts < received - INTERVAL 1 DAY THEN 'late'
            WHEN row_number() OVER (PARTITION BY id ORDER BY received) > 1 THEN 'duplicate'
        END AS reason
    FROM hits
) TO '${OUT}/judged' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE);
CREATE VIEW judged AS FROM '${OUT}/judged/*.parquet';

COPY (FROM judged WHERE reason IS NOT NULL)
TO '${OUT}/quarantine' (FORMAT parquet, PARTITION_BY (reason), FILE_SIZE_BYTES '128MB', OVERWRITE);

CREATE VIEW clean AS
SELECT e.* EXCLUDE (reason), regexp_matches(agent, 'bot|crawl|spider', 'i') AS is_bot,
    coalesce(p.section, 'none') AS section, coalesce(u.plan, 'none') AS plan
FROM judged e LEFT JOIN pages p USING (path) LEFT JOIN users u USING (user_id)
WHERE reason IS NULL;
