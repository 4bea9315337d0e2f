// Which keys of an exchange are heavy, for EXPLAIN ANALYZE: a sketch has their hashes,
// and a row that has one says the key itself.
#include <stdlib.h>
#include <string.h>

#include "query/run.h"

#define NAMED_MOST 3
#define HEAVY_SHARE 100  // one of so many rows

// The key of this hash in words, from the partition where it is; NULL: not found.
static char *find_key(const struct run *run, const struct exchange *exchange,
                      uint64_t hash) {
    uint32_t partition = block_place(hash, run->partitions[exchange->id]);
    struct task_input input = {0};
    struct text sql = {0};
    struct shoal_error ignored;
    struct duck_result *result = NULL;
    char *found = NULL;
    const char *mark = strstr(exchange->lookup, LOOKUP_BLOCKS);
    char *blocks = block_input_sql("heavy", 0, &exchange->schema);
    if (mark == NULL || blocks == NULL ||
        !run_add_partition(run, exchange->id, partition, &input))
        goto out;
    bool quoted = mark > exchange->lookup && mark[-1] == '"';
    text_append(&sql, "SELECT k FROM (");
    text_append_bytes(&sql, exchange->lookup, (size_t)(mark - exchange->lookup) - quoted);
    text_printf(&sql, "%s%s) WHERE h = %llu LIMIT 1", blocks,
                mark + strlen(LOOKUP_BLOCKS) + quoted, (unsigned long long)hash);
    if (!sql.failed && task_bind_inputs(&input, 1, "heavy", &ignored) == SHOAL_OK &&
        duck_query_text(run->session->conn, sql.data, &result, &ignored) == SHOAL_OK &&
        duck_result_rows(result) > 0 && duck_result_text(result, 0, 0) != NULL)
        found = strdup(duck_result_text(result, 0, 0));
    block_release_inputs("heavy");
out:
    duck_result_free(result);
    task_input_free(&input);
    free(blocks);
    text_free(&sql);
    return found;
}

void run_name_heavy(const struct run *run, uint32_t index, struct text *out) {
    const struct exchange *exchange = &run->stages->exchanges[index];
    const struct sketch *keys = run->exchanges[index].keys;
    struct sketch_key *heavy = calloc(SKETCH_COUNTERS, sizeof *heavy);
    if (keys == NULL || heavy == NULL || exchange->lookup == NULL) {
        free(heavy);
        return;
    }
    uint64_t least = keys->rows / HEAVY_SHARE;
    if (least < ADAPT_TASK_ROWS_LEAST) least = ADAPT_TASK_ROWS_LEAST;
    size_t count = sketch_heavy(keys, least, heavy);
    for (size_t i = 0; i < count && i < NAMED_MOST; i++) {
        char *key = find_key(run, exchange, heavy[i].key);
        double rows = (double)keys->rows;
        text_printf(out, "exchange %u, %s: %.1f%% of the rows (+-%.1f%%)\n", index,
                    key != NULL ? key : "a key that is not found",
                    100 * (double)heavy[i].rows / rows,
                    100 * (double)heavy[i].error / rows);
        free(key);
    }
    if (count > NAMED_MOST)
        text_printf(out, "exchange %u, %zu keys more of one percent and over\n", index,
                    count - NAMED_MOST);
    free(heavy);
}
