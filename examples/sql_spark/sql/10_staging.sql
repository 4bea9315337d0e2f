-- The logs as they are, one table for each kind; lines that can't be read are in rejects/.
COPY (
    FROM read_json('${LOGS}/app/*.jsonl*', format = 'newline_delimited', filename = true, columns = {
        id: 'VARCHAR', ts: 'TIMESTAMP', visitor: 'VARCHAR', user: 'BIGINT',
        request: 'STRUCT(method VARCHAR, path VARCHAR, status INTEGER, bytes BIGINT, ms BIGINT)',
        geo: 'STRUCT(country VARCHAR, city VARCHAR)',
        utm: 'STRUCT(source VARCHAR, medium VARCHAR)', agent: 'VARCHAR', received: 'TIMESTAMP'})
) TO '${OUT}/staging_app' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE, REJECTS '${OUT}/rejects');

COPY (
    FROM read_csv('${LOGS}/edge/*.csv*', header = true, delim = ',', quote = '"', escape = '"',
        filename = true, columns = {
        id: 'VARCHAR', ts: 'TIMESTAMP', visitor: 'VARCHAR', user: 'BIGINT', method: 'VARCHAR',
        url: 'VARCHAR', status: 'INTEGER', bytes: 'BIGINT', ms: 'BIGINT', country: 'VARCHAR',
        city: 'VARCHAR', agent: 'VARCHAR', received: 'TIMESTAMP'})
) TO '${OUT}/staging_edge' (FORMAT parquet, PER_THREAD_OUTPUT, OVERWRITE, REJECTS '${OUT}/rejects');

CREATE VIEW staging_app AS FROM '${OUT}/staging_app/*.parquet';
CREATE VIEW staging_edge AS FROM '${OUT}/staging_edge/*.parquet';

-- The dimensions are small: each task reads the files itself.
CREATE VIEW users AS FROM read_csv('${LOGS}/users.csv', header = true, delim = ',', quote = '"',
    columns = {user_id: 'BIGINT', plan: 'VARCHAR', signup: 'DATE'});
CREATE VIEW pages AS FROM read_json('${LOGS}/pages.jsonl',
    columns = {path: 'VARCHAR', section: 'VARCHAR', title: 'VARCHAR'});
