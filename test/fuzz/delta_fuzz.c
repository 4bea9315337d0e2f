// Delta logs of any content: each is a snapshot, or an error that says what is wrong. The
// input is the log's files, each behind a line "== NAME". A checkpoint in Parquet, which
// DuckDB would read, is JSON lines here.
#include <ctype.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "delta/internal.h"
#include "delta/types.h"
#include "fuzz/fuzz.h"

static char dir[FUZZ_FOLDER];

// ---- in place of src/duck: the rows of a checkpoint are the lines of its file

struct duck_result {
    FILE *file;
    char line[65536];
};

shoal_status duck_query_batches(struct duck_conn *conn, const char *sql,
                                struct duck_result **result, struct shoal_error *err) {
    (void)conn;
    const char *name = strrchr(sql, '/');
    char path[512];
    size_t length = name == NULL ? 0 : strcspn(name, "'");
    if (length == 0 || length > 200)
        return shoal_fail(err, SHOAL_USER, "no such checkpoint");
    (void)snprintf(path, sizeof path, "%s/_delta_log%.*s", dir, (int)length, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) return shoal_fail(err, SHOAL_USER, "no such checkpoint");
    *result = calloc(1, sizeof **result);
    FUZZ_CHECK(*result != NULL);
    (*result)->file = file;
    return SHOAL_OK;
}

shoal_status duck_result_next(struct duck_result *result, bool *more,
                              struct shoal_error *err) {
    (void)err;
    *more = fgets(result->line, sizeof result->line, result->file) != NULL;
    return SHOAL_OK;
}

size_t duck_result_rows(const struct duck_result *result) {
    return !feof(result->file) || result->line[0] != '\0';
}

const char *duck_result_text(const struct duck_result *result, size_t column,
                             size_t row) {
    FUZZ_CHECK(column == 0 && row == 0);
    return result->line;
}

void duck_result_free(struct duck_result *result) {
    if (result == NULL) return;
    (void)fclose(result->file);
    free(result);
}

// ----

// A name that stays in the log's folder.
static bool is_name(const char *name) {
    if (*name == '\0' || *name == '.' || strlen(name) > 100) return false;
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && strchr(".-_", *name) == NULL) return false;
    }
    return true;
}

static void write_log(char *text) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/_delta_log", dir);
    FUZZ_CHECK(mkdir(path, 0700) == 0);
    for (char *at = strstr(text, "== "), *next; at != NULL; at = next) {
        char *name = at + 3, *body = strchr(name, '\n');
        if (body == NULL) return;
        *body++ = '\0';
        next = strstr(body, "\n== ");
        size_t size = next == NULL ? strlen(body) : (size_t)(++next - body);
        if (!is_name(name)) continue;
        (void)snprintf(path, sizeof path, "%s/_delta_log/%s", dir, name);
        FILE *file = fopen(path, "we");
        FUZZ_CHECK(file != NULL && fwrite(body, 1, size, file) == size);
        FUZZ_CHECK(fclose(file) == 0);
    }
}

static void use_types(const struct delta_snapshot *snapshot) {
    const json_t *field;
    size_t i;
    json_array_foreach(snapshot->fields, i, field) {
        const char *name = json_string_value(json_object_get(field, "name"));
        const json_t *type = json_object_get(field, "type");
        struct text duck = {0};
        struct shoal_error err = {0};
        json_t *back = NULL;
        bool ntz = false;
        FUZZ_CHECK(name != NULL && *name != '\0' && type != NULL);
        FUZZ_CHECK(delta_field(snapshot, name) != NULL);
        shoal_status status = delta_type_to_duck(type, name, &duck, &err);
        FUZZ_CHECK(status == SHOAL_OK || status == SHOAL_USER);
        // A type that is read is DuckDB's too, and comes back.
        if (status == SHOAL_OK &&
            delta_type_from_duck(duck.data, name, &back, &ntz, &err) == SHOAL_OK)
            (void)delta_type_same(back, type);
        (void)delta_type_has(type, "binary");
        json_decref(back);
        text_free(&duck);
    }
}

static void use(const struct delta_snapshot *snapshot) {
    const char *key;
    json_t *add;
    size_t i;
    const json_t *partition;
    use_types(snapshot);
    json_object_foreach(snapshot->files, key, add) {
        struct shoal_error err = {0};
        char *path = NULL;
        shoal_status status = delta_file_path(snapshot, add, &path, &err);
        FUZZ_CHECK((status == SHOAL_OK) == (path != NULL));
        FUZZ_CHECK(path == NULL || *path == '/');
        json_array_foreach(snapshot->partitions, i, partition)(void)
            delta_partition_value(add, json_string_value(partition));
        free(path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct delta_snapshot *snapshot = NULL;
    struct shoal_error err = {0};
    char *text = fuzz_text(data, size);
    fuzz_make_folder(dir);
    write_log(text);
    shoal_status status = delta_snapshot_open(NULL, dir, DELTA_LATEST, &snapshot, &err);
    FUZZ_CHECK((status == SHOAL_OK) == (snapshot != NULL));
    FUZZ_CHECK(status == SHOAL_OK || err.message[0] != '\0');
    if (status == SHOAL_OK) use(snapshot);
    delta_snapshot_free(snapshot);
    spool_remove_tree(dir);
    free(text);
    return 0;
}
