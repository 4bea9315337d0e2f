#include "task/rejects.h"

#include <stdlib.h>

#include "base/text.h"

shoal_status rejects_clear(struct duck_conn *conn, struct shoal_error *err) {
    return duck_run(conn,
                    "DROP TABLE IF EXISTS temp.shoal_rejects; "
                    "DROP TABLE IF EXISTS temp.shoal_reject_scans",
                    err);
}

static shoal_status count(struct duck_conn *conn, const char *sql, uint64_t *rows,
                          struct shoal_error *err) {
    char *value = NULL;
    shoal_status status = duck_scalar(conn, sql, &value, err);
    *rows = value == NULL ? 0 : strtoull(value, NULL, 10);
    free(value);
    return status;
}

shoal_status rejects_take(struct duck_conn *conn, const char *path, uint64_t *rows,
                          struct shoal_error *err) {
    struct text sql = {0};
    uint64_t tables = 0;
    *rows = 0;
    // A statement whose files were all pruned away, or that read none, has no table.
    shoal_status status = count(conn,
                                "SELECT count(*) FROM duckdb_tables() WHERE temporary "
                                "AND table_name = 'shoal_rejects'",
                                &tables, err);
    if (status != SHOAL_OK || tables == 0) return status;
    status = count(conn, "SELECT count(*) FROM temp.shoal_rejects", rows, err);
    if (status == SHOAL_OK && *rows > 0) {
        text_append(&sql,
                    "COPY (SELECT s.file_path AS file, e.line, e.byte_position, "
                    "e.column_name AS \"column\", e.error_type::VARCHAR AS error, "
                    "e.error_message AS reason, e.csv_line AS text "
                    "FROM temp.shoal_rejects e JOIN temp.shoal_reject_scans s "
                    "USING (scan_id, file_id)) TO ");
        text_append_literal(&sql, path);
        text_append(&sql, " (FORMAT parquet)");
        status = sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    }
    text_free(&sql);
    struct shoal_error ignored;
    (void)rejects_clear(conn, status == SHOAL_OK ? err : &ignored);
    return status;
}
