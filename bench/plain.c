// The yardstick: DuckDB alone, with nothing of shoal linked in. Runs an init file and the
// queries of another, reads every chunk of each result, and says how long each took.
//     plain THREADS INIT.sql QUERIES.sql
#include <duckdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (file == NULL || text == NULL) {
        perror(path);
        exit(3);
    }
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    return text;
}

static duckdb_result run(duckdb_connection conn, const char *sql) {
    duckdb_result result;
    if (duckdb_query(conn, sql, &result) != DuckDBSuccess) {
        fprintf(stderr, "%s\n", duckdb_result_error(&result));
        exit(1);
    }
    return result;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// Rows of one of the statements.
static unsigned long long run_statement(duckdb_connection conn,
                                        duckdb_extracted_statements statements, idx_t i) {
    duckdb_prepared_statement statement;
    duckdb_result result;
    unsigned long long rows = 0;
    if (duckdb_prepare_extracted_statement(conn, statements, i, &statement) !=
            DuckDBSuccess ||
        duckdb_execute_prepared(statement, &result) != DuckDBSuccess) {
        fprintf(stderr, "statement %llu: %s\n", (unsigned long long)i + 1,
                duckdb_prepare_error(statement));
        exit(1);
    }
    for (duckdb_data_chunk chunk; (chunk = duckdb_fetch_chunk(result)) != NULL;) {
        rows += duckdb_data_chunk_get_size(chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
    return rows;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "plain THREADS INIT.sql QUERIES.sql\n");
        return 2;
    }
    duckdb_database db;
    duckdb_connection conn;
    duckdb_config config;
    char *error = NULL;
    duckdb_create_config(&config);
    duckdb_set_config(config, "threads", argv[1]);
    if (duckdb_open_ext(NULL, &db, config, &error) != DuckDBSuccess ||
        duckdb_connect(db, &conn) != DuckDBSuccess) {
        fprintf(stderr, "cannot open DuckDB: %s\n", error ? error : "?");
        return 3;
    }
    char *init = read_file(argv[2]);
    char *queries = read_file(argv[3]);
    duckdb_result result = run(conn, init);
    duckdb_destroy_result(&result);
    duckdb_extracted_statements statements;
    idx_t count = duckdb_extract_statements(conn, queries, &statements);
    if (count == 0) {
        fprintf(stderr, "%s\n", duckdb_extract_statements_error(statements));
        return 1;
    }
    for (idx_t i = 0; i < count; i++) {
        double start = seconds();
        printf("%llu rows\n", run_statement(conn, statements, i));
        fprintf(stderr, "Time: %.3f s\n", seconds() - start);
    }
    duckdb_destroy_extracted(&statements);
    duckdb_disconnect(&conn);
    duckdb_close(&db);
    duckdb_destroy_config(&config);
    free(init);
    free(queries);
    return 0;
}
