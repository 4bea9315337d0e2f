// An exchange in two levels. F block files of P partitions each are F * P segments, one
// read each; when those are many they are small, and reading them costs more than what is
// in them. So what feeds the exchange scatters into a few groups first. A stage in
// between reads one group of some of the files in each of its tasks and scatters it into
// the P partitions, of which its rows reach only few. It is the grid of Lambada's
// exchange (Mueller et al., SIGMOD 2020).
//
// Both levels place a row by the same hash, which the first stores as a column: so the
// second needs no keys, and what reads the exchange sees the partitions that it would
// have seen. A group need not hold whole partitions.
#include <stdlib.h>
#include <string.h>

#include "dist/stages.h"

// "SELECT hash AS where it goes, hash, columns FROM (stage)"; frees sql. NULL: out of
// memory.
static char *keep_hash(char *sql) {
    struct text out = {0};
    text_printf(&out, "SELECT x.shoal_hash AS shoal_group, x.* FROM (%s) AS x", sql);
    free(sql);
    return text_take(&out);
}

// The schema behind a column of hashes.
static bool add_hash(struct schema *to, const struct schema *from) {
    if (!schema_add(to, "shoal_hash", "UBIGINT")) return false;
    for (size_t i = 0; i < from->count; i++) {
        if (!schema_add(to, from->columns[i].name, from->columns[i].type)) return false;
    }
    return true;
}

static bool keep_in(char **sql) {
    if (*sql == NULL) return true;
    *sql = keep_hash(*sql);
    return *sql != NULL;
}

// The stage feeds the first level instead of the exchange.
static bool redirect(struct stage *stage, uint32_t level) {
    struct schema schema = {0};
    bool ok = add_hash(&schema, &stage->schema);
    schema_free(&stage->schema);
    stage->schema = schema;
    stage->exchange = level;
    char **forms[] = {&stage->sql,          &stage->unfiltered_sql, &stage->plain_sql,
                      &stage->combined_sql, &stage->of_one_sql,     &stage->streamed_sql};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        ok = keep_in(forms[i]) && ok;
    for (size_t c = 0; c < stage->cut_count; c++) {
        ok = keep_in(&stage->cuts[c].sql) && ok;
        ok = keep_in(&stage->cuts[c].rest_sql) && ok;
    }
    return ok;
}

static bool make_merge(struct stage *stage, uint32_t exchange, uint32_t level,
                       uint32_t groups, uint32_t slices, const struct schema *schema) {
    struct text summary = {0};
    *stage = (struct stage){.scatter = BLOCK_HASH,
                            .ordered = true,  // one file a task
                            .exchange = exchange,
                            .sql = strdup("SELECT x.* FROM __leaf_merge__ AS x"),
                            .leaves = calloc(1, sizeof *stage->leaves),
                            .leaf_count = 1};
    text_printf(&summary, "Merge exchange %u: %u groups, %u slices\n", level, groups,
                slices);
    stage->summary = text_take(&summary);
    if (stage->leaves == NULL) return false;
    stage->leaves[0] = (struct stage_leaf){.kind = LEAF_MERGE,
                                           .exchange = level,
                                           .slices = slices,
                                           .placeholder = strdup("__leaf_merge__")};
    return stage->sql != NULL && stage->summary != NULL &&
           stage->leaves[0].placeholder != NULL && schema_copy(&stage->schema, schema);
}

static bool add_exchange(struct stages *stages, uint32_t like, uint32_t groups) {
    struct exchange *exchanges =
        realloc(stages->exchanges, (stages->exchange_count + 1) * sizeof *exchanges);
    if (exchanges == NULL) return false;
    stages->exchanges = exchanges;
    struct exchange *to = &exchanges[stages->exchange_count];
    *to = (struct exchange){.id = (uint32_t)stages->exchange_count++,
                            .kind = EXCHANGE_HASH,
                            .bounds_from = UINT32_MAX,
                            .groups = groups};
    const char *keys = exchanges[like].keys;
    if (keys != NULL) to->keys = strdup(keys);
    return (keys == NULL || to->keys != NULL) &&
           add_hash(&to->schema, &exchanges[like].schema);
}

shoal_status stages_add_level(struct stages *stages, uint32_t exchange, uint32_t groups,
                              uint32_t slices, struct shoal_error *err) {
    uint32_t level = (uint32_t)stages->exchange_count;
    size_t at = 0;
    uint64_t rows = 0;
    struct stage *grown =
        realloc(stages->stages, (stages->count + 1) * sizeof *stages->stages);
    if (grown == NULL) return shoal_no_memory(err);
    stages->stages = grown;
    bool ok = add_exchange(stages, exchange, groups);
    for (size_t s = 0; ok && s < stages->count; s++) {
        if (grown[s].exchange != exchange) continue;
        at = s + 1;
        rows += grown[s].estimated_rows;
        ok = redirect(&grown[s], level);
    }
    if (!ok) return shoal_no_memory(err);
    // Behind the last that feeds it, and so before the first that reads it.
    memmove(&grown[at + 1], &grown[at], (stages->count - at) * sizeof *grown);
    stages->count++;
    ok = make_merge(&grown[at], exchange, level, groups, slices,
                    &stages->exchanges[exchange].schema);
    grown[at].estimated_rows = rows;
    for (size_t s = 0; s < stages->count; s++) grown[s].id = (uint32_t)s;
    return ok ? SHOAL_OK : shoal_no_memory(err);
}
