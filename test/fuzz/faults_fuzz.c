// What is wrong with JSON records, as SQL, for columns of any types: lines "name type". A
// text that is no type may fail, as one without memory does.
#include "fuzz/fuzz.h"
#include "lines/faults.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct schema schema = {0};
    char *text = fuzz_text(data, size < 2000 ? size : 2000), *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *space = strchr(line, ' ');
        if (space == NULL) continue;
        *space = '\0';
        FUZZ_CHECK(schema_add(&schema, line, space + 1));
    }
    struct faults_calls calls = {"read_json('a')", "read_json_objects('a')", &schema};
    struct text sql = {0};
    faults_append_select(&sql, &calls, 1);
    faults_append_good(&sql, "*", "read_json('a')", 1);
    faults_append_read_all(&sql, &schema);
    text_free(&sql);
    schema_free(&schema);
    free(text);
    return 0;
}
