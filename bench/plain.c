// The yardstick: DuckDB alone, with nothing of shoal linked in. Runs an init file and one
// query and reads every chunk of the result.
//     plain THREADS INIT.sql QUERY.sql
#include <duckdb.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "plain THREADS INIT.sql QUERY.sql\n");
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
    char *query = read_file(argv[3]);
    duckdb_result result = run(conn, init);
    duckdb_destroy_result(&result);
    result = run(conn, query);
    unsigned long long rows = 0;
    for (duckdb_data_chunk chunk; (chunk = duckdb_fetch_chunk(result)) != NULL;) {
        rows += duckdb_data_chunk_get_size(chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    printf("%llu rows\n", rows);
    duckdb_destroy_result(&result);
    duckdb_disconnect(&conn);
    duckdb_close(&db);
    duckdb_destroy_config(&config);
    free(init);
    free(query);
    return 0;
}
