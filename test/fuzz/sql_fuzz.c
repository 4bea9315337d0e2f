// What reads SQL before DuckDB does: statements, hints, COPY and its options, limits,
// amounts of memory, types.
#include "base/memory.h"
#include "delta/types.h"
#include "duck/duck.h"
#include "fuzz/fuzz.h"
#include "plan/hints.h"
#include "plan/limits.h"
#include "query/copy.h"

static void split(const char *sql) {
    struct shoal_error err;
    char **statements = NULL;
    size_t count = 0, bytes = 0;
    FUZZ_CHECK(duck_split(sql, &statements, &count, &err) == SHOAL_OK);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(strstr(sql, statements[i]) != NULL);
        bytes += strlen(statements[i]);
        (void)duck_first_word(statements[i]);
        FUZZ_CHECK(!duck_is_plain_select(statements[i]) || duck_is_select(statements[i]));
    }
    FUZZ_CHECK(bytes <= strlen(sql));
    duck_split_free(statements, count);
}

// Tokens go on, to the end and not past it.
static void walk(const char *sql) {
    const char *end = sql + strlen(sql);
    for (const char *at = sql; *at != '\0';) {
        const char *next = duck_token_end(at), *past = duck_token_past(at);
        FUZZ_CHECK(next > at && next <= end && (past == NULL || past <= end));
        at = next;
    }
}

static void read_hints(const char *sql) {
    struct hints hints;
    struct shoal_error err;
    FUZZ_CHECK(hints_read(sql, &hints, &err) == SHOAL_OK);
    for (size_t i = 0; i < hints.count; i++) {
        const struct hint *hint = &hints.list[i];
        FUZZ_CHECK(hint->text != NULL);
        FUZZ_CHECK((hint->kind == HINT_REFUSED) == (hint->why != NULL));
        FUZZ_CHECK(hint->kind != HINT_REPARTITION ||
                   (hint->partitions > 0 && hint->partitions <= HINT_PARTITIONS_MOST));
    }
    hints_free(&hints);
}

static void read_copy(const char *sql) {
    struct copy copy;
    struct shoal_error err = {0};
    json_t *names = NULL;
    shoal_status status = copy_parse(sql, &copy, &err);
    FUZZ_CHECK(status == SHOAL_OK || status == SHOAL_USER || status == SHOAL_UNSUPPORTED);
    if (status == SHOAL_OK) {
        struct text target = {0};
        FUZZ_CHECK(copy.query && copy.path && copy.options && copy.format);
        FUZZ_CHECK(copy.extension != NULL);
        copy_append_target(&target, &copy);
        (void)copy_mentions_order(&copy);
        text_free(&target);
    } else {
        FUZZ_CHECK(err.message[0] != '\0');
    }
    if (status == SHOAL_OK && copy.partition_by != NULL &&
        copy_partition_names(copy.partition_by, &names, &err) == SHOAL_OK)
        FUZZ_CHECK(json_array_size(names) > 0);
    json_decref(names);
    copy_free(&copy);
}

static void read_type(const char *sql) {
    struct shoal_error err;
    struct text duck = {0};
    json_t *type = NULL;
    bool ntz = false;
    shoal_status status = delta_type_from_duck(sql, "c", &type, &ntz, &err);
    FUZZ_CHECK((status == SHOAL_OK) == (type != NULL));
    if (status == SHOAL_OK) {
        FUZZ_CHECK(delta_type_same(type, type));
        (void)delta_type_to_duck(type, "c", &duck, &err);
    }
    text_free(&duck);
    json_decref(type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct shoal_error err;
    uint64_t bytes = 0;
    char *sql = fuzz_text(data, size);
    split(sql);
    if (size < 4096) walk(sql);  // it looks for each closing bracket
    read_hints(sql);
    read_copy(sql);
    read_type(sql);
    (void)limits_balanced(sql, &err);
    (void)limits_check(sql, &err);
    if (memory_parse(sql, &bytes)) FUZZ_CHECK(bytes > 0);
    free(sql);
    return 0;
}
