#include "task/rejects.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "lines/faults.h"

shoal_status rejects_clear(struct duck_conn *conn, struct shoal_error *err) {
    return duck_run(conn,
                    "DROP TABLE IF EXISTS temp.shoal_rejects; "
                    "DROP TABLE IF EXISTS temp.shoal_reject_scans; "
                    "DROP TABLE IF EXISTS temp.shoal_json_rejects; "
                    "DROP TABLE IF EXISTS temp.shoal_json_found; "
                    "DROP TABLE IF EXISTS temp." FAULTS_TABLE
                    "; "
                    "DROP TABLE IF EXISTS temp.shoal_json_lines",
                    err);
}

// ---- of JSON files

// Records have numbers among all of a call's; the first and the last of each file tell
// which number of the file's they have.
static const char found[] =
    "CREATE TEMP TABLE IF NOT EXISTS " FAULTS_TABLE
    " (scan UBIGINT, n UBIGINT NOT NULL); "
    "CREATE TEMP TABLE IF NOT EXISTS shoal_json_rejects (file VARCHAR, line UBIGINT, "
    "byte_position UBIGINT, \"column\" VARCHAR, error VARCHAR, reason VARCHAR, "
    "text VARCHAR); "
    "CREATE OR REPLACE TEMP TABLE shoal_json_found AS "
    "SELECT scan, n, file, n - start + 1 AS record, stop - start + 1 AS records, text, "
    "unnest(faults) AS fault FROM (SELECT *, "
    "max(n) FILTER (\"first\") OVER (PARTITION BY scan ORDER BY n "
    "ROWS UNBOUNDED PRECEDING) AS start, "
    "min(n) FILTER (\"last\") OVER (PARTITION BY scan ORDER BY n "
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS stop FROM (";

// A file's lines, each byte a character, as a record that is no JSON may not be UTF-8
// either. Blank ones are no records. The file's name is behind each of the two.
static const char lines[] =
    "CREATE OR REPLACE TEMP TABLE shoal_json_lines AS SELECT * FROM (SELECT "
    "row_number() OVER () AS line, sum(filled::INTEGER) OVER (ROWS UNBOUNDED PRECEDING) "
    "AS record, filled, lead(1) OVER () IS NULL AS \"last\", text FROM (SELECT text, "
    "coalesce(trim(text, ' ' || chr(9) || chr(11) || chr(12) || chr(13)), '') <> '' "
    "AS filled FROM read_csv(";
static const char lines_wanted[] =
    ", columns = {'text': 'VARCHAR'}, delim = '', quote = '', escape = '', "
    "comment = '', header = false, auto_detect = false, strict_mode = false, "
    "encoding = 'latin-1', max_line_size = 16777216, buffer_size = 33554432))) "
    "WHERE \"last\" OR (filled AND record IN "
    "(SELECT record FROM shoal_json_found WHERE file = ";

// What line a record is in is known where each line is one: there are as many then.
static const char located[] =
    "INSERT INTO shoal_json_rejects SELECT DISTINCT f.file, coalesce(l.line, f.record), "
    "NULL, fault.\"column\", fault.error, fault.reason, coalesce(f.text, "
    "TRY(decode(unhex(array_to_string(list_transform(string_split(l.text, ''), "
    "lambda c: printf('%02x', unicode(c))), '')))), l.text) FROM shoal_json_found f "
    "LEFT JOIN (SELECT * FROM shoal_json_lines WHERE filled) l ON l.record = f.record "
    "AND f.records = (SELECT max(record) FROM shoal_json_lines) WHERE f.file = ";

static shoal_status locate(struct duck_conn *conn, const char *path,
                           struct shoal_error *err) {
    struct text sql = {0}, insert = {0};
    text_append(&sql, lines);
    text_append_literal(&sql, path);
    text_append(&sql, lines_wanted);
    text_append_literal(&sql, path);
    text_append(&sql, "))");
    text_append(&insert, located);
    text_append_literal(&insert, path);
    bool made = !sql.failed && !insert.failed;
    shoal_status status = made ? duck_run(conn, sql.data, err) : shoal_no_memory(err);
    // An array in one long line, for instance: its records are told by their numbers.
    if (status == SHOAL_USER)
        status = duck_run(conn,
                          "CREATE OR REPLACE TEMP TABLE shoal_json_lines (line UBIGINT, "
                          "record UBIGINT, filled BOOLEAN, text VARCHAR)",
                          err);
    if (status == SHOAL_OK) status = duck_run(conn, insert.data, err);
    text_free(&sql);
    text_free(&insert);
    return status;
}

static shoal_status count(struct duck_conn *conn, const char *sql, uint64_t *rows,
                          struct shoal_error *err) {
    char *value = NULL;
    shoal_status status = duck_scalar(conn, sql, &value, err);
    *rows = value == NULL ? 0 : strtoull(value, NULL, 10);
    free(value);
    return status;
}

shoal_status rejects_find(struct duck_conn *conn, const char *select, uint64_t *faults,
                          struct shoal_error *err) {
    struct text sql = {0};
    struct duck_result *files = NULL;
    text_printf(&sql,
                "%s%s)) WHERE faults IS NOT NULL; INSERT INTO temp." FAULTS_TABLE
                " SELECT DISTINCT scan, n FROM temp.shoal_json_found",
                found, select);
    shoal_status status =
        sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
    text_free(&sql);
    *faults = 0;
    if (status == SHOAL_OK)
        status = count(conn, "SELECT count(*) FROM temp.shoal_json_found", faults, err);
    if (status == SHOAL_OK)
        status = duck_query_text(conn, "SELECT DISTINCT file FROM shoal_json_found",
                                 &files, err);
    for (size_t i = 0; status == SHOAL_OK && i < duck_result_rows(files); i++)
        status = locate(conn, duck_result_text(files, 0, i), err);
    duck_result_free(files);
    return status;
}

bool rejects_explain(const struct shoal_error *err) {
    static const char *const words[] = {"Malformed JSON", "JSON transform error",
                                        "map keys cannot be NULL", NULL};
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strstr(err->message, words[i]) != NULL) return true;
    }
    return false;
}

// ----

// The rows of all tables that are there: a statement whose files were all pruned away, or
// that read none, has none.
static shoal_status select_all(struct duck_conn *conn, struct text *sql,
                               struct shoal_error *err) {
    static const char csv[] =
        "SELECT s.file_path AS file, e.line, e.byte_position, e.column_name AS "
        "\"column\", e.error_type::VARCHAR AS error, e.error_message AS reason, "
        "e.csv_line AS text FROM temp.shoal_rejects e JOIN temp.shoal_reject_scans s "
        "USING (scan_id, file_id)";
    static const char json[] =
        "SELECT file, line, byte_position, \"column\", error, reason, text "
        "FROM temp.shoal_json_rejects";
    static const char *const tables[] = {"shoal_rejects", csv, "shoal_json_rejects",
                                         json};
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < sizeof tables / sizeof *tables; i += 2) {
        struct text there = {0};
        uint64_t known = 0;
        text_append(&there,
                    "SELECT count(*) FROM duckdb_tables() WHERE temporary AND "
                    "table_name = ");
        text_append_literal(&there, tables[i]);
        status =
            there.failed ? shoal_no_memory(err) : count(conn, there.data, &known, err);
        if (known > 0)
            text_printf(sql, "%s%s", sql->size > 0 ? " UNION ALL " : "", tables[i + 1]);
        text_free(&there);
    }
    return status == SHOAL_OK && sql->failed ? shoal_no_memory(err) : status;
}

shoal_status rejects_take(struct duck_conn *conn, const char *path, uint64_t *rows,
                          struct shoal_error *err) {
    struct text all = {0}, counted = {0}, sql = {0};
    *rows = 0;
    shoal_status status = select_all(conn, &all, err);
    if (status != SHOAL_OK || all.size == 0) {
        text_free(&all);
        return status;
    }
    text_printf(&counted, "SELECT count(*) FROM (%s)", all.data);
    status = counted.failed ? shoal_no_memory(err) : count(conn, counted.data, rows, err);
    if (status == SHOAL_OK && *rows > 0) {
        text_printf(&sql, "COPY (%s) TO ", all.data);
        text_append_literal(&sql, path);
        text_append(&sql, " (FORMAT parquet)");
        status = sql.failed ? shoal_no_memory(err) : duck_run(conn, sql.data, err);
        if (status == SHOAL_OK) (void)chmod(path, 0600);  // rows are nobody else's
    }
    text_free(&all);
    text_free(&counted);
    text_free(&sql);
    struct shoal_error ignored;
    (void)rejects_clear(conn, status == SHOAL_OK ? err : &ignored);
    return status;
}
