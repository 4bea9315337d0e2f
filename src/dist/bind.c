// From drafts to stages: write each stage's SQL once, find its leaves, and bind it in the
// driver over empty inputs of the right types. Binding gives the output schema, which is
// the schema of the exchange that the stage feeds, and finds an error before any task is
// sent.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

static shoal_status no_memory(struct planner *planner) {
    return shoal_fail(planner->err, SHOAL_NOMEM, "out of memory while planning");
}

// What the leaf has of its own goes over to the stage's.
static bool move_leaf(struct leaf_draft *from, struct stage_leaf *to) {
    to->scan_call = from->scan_call;
    to->source = from->source;
    to->schema = from->schema;
    to->files = from->files;
    to->file_count = from->file_count;
    from->scan_call = NULL;
    from->source = (struct scan_source){0};
    from->schema = (struct schema){0};
    from->files = NULL;
    from->file_count = 0;
    return true;
}

// Another stage reads the leaf too.
static bool share_leaf(const struct leaf_draft *from, struct stage_leaf *to) {
    if (from->scan_call == NULL) return true;
    to->scan_call = strdup(from->scan_call);
    to->files = calloc(from->file_count + 1, sizeof *to->files);
    if (to->scan_call == NULL || to->files == NULL ||
        !scan_source_copy(&to->source, &from->source) ||
        !schema_copy(&to->schema, &from->schema))
        return false;
    for (size_t i = 0; i < from->file_count; i++) {
        to->files[i] = from->files[i];
        to->files[i].path = strdup(from->files[i].path);
        to->file_count++;
        if (to->files[i].path == NULL) return false;
    }
    return true;
}

static shoal_status copy_leaf(struct planner *planner, size_t index, bool shared,
                              struct stage_leaf *to) {
    struct leaf_draft *from = &planner->leaves[index];
    char name[LEAF_NAME_SIZE];
    leaf_name(planner, index, name);
    *to = (struct stage_leaf){.kind = from->kind,
                              .exchange = from->exchange,
                              .placeholder = strdup(name),
                              .row_numbers = from->row_numbers,
                              .group_numbers = from->group_numbers,
                              .files_before = from->files_before,
                              .needed = from->needed,
                              .rows = from->rows};
    if (from->kind == LEAF_RANGE) {
        to->ranges = cluster_ranges(planner, from, &to->range_count);
        to->range_column = strdup(from->cut_column);
        to->cut = from->cut;
    }
    bool ok =
        (shared ? share_leaf(from, to) : move_leaf(from, to)) &&
        to->placeholder != NULL &&
        (from->kind != LEAF_RANGE || (to->ranges != NULL && to->range_column != NULL));
    return ok ? SHOAL_OK : no_memory(planner);
}

void scan_files_free(struct scan_file *files, size_t count) {
    for (size_t i = 0; i < count; i++) free(files[i].path);
    free(files);
}

uint64_t scan_files_rows(const struct scan_file *files, size_t count) {
    uint64_t rows = 0;
    for (size_t i = 0; i < count; i++) rows += files[i].rows;
    return rows;
}

void scan_split_free(struct scan_split *split) {
    free(split->options);
    free(split->where);
}

void scan_ranges_free(struct scan_range *ranges, size_t count) {
    for (size_t i = 0; ranges != NULL && i < count; i++) {
        free(ranges[i].where);
        free(ranges[i].files);
    }
    free(ranges);
}

struct leaves {
    struct planner *planner;
    struct stage *stage;
    bool shared;    // with a stage that comes later
    bool only_new;  // those that the stage has are passed over
    shoal_status status;
};

// Which of the stage's leaves the planner's is; leaf_count: none. One that there was no
// memory for has no name.
static size_t find_leaf(const struct planner *planner, const struct stage *stage,
                        size_t leaf) {
    char name[LEAF_NAME_SIZE];
    size_t found = 0;
    leaf_name(planner, leaf, name);
    for (; found < stage->leaf_count; found++) {
        const char *placeholder = stage->leaves[found].placeholder;
        if (placeholder != NULL && strcmp(placeholder, name) == 0) break;
    }
    return found;
}

// The object's leaf, if it is one, as the stage's next. True, which ends the search, when
// that fails.
static bool add_leaf(void *ctx, const json_t *object) {
    struct leaves *leaves = ctx;
    struct planner *planner = leaves->planner;
    struct stage *stage = leaves->stage;
    size_t leaf = leaf_index(planner, object);
    if (leaf == SIZE_MAX) return false;
    if (leaves->only_new && find_leaf(planner, stage, leaf) < stage->leaf_count)
        return false;
    leaves->status = stage->leaf_count == planner->leaf_count
                         ? shoal_fail(planner->err, SHOAL_INTERNAL,
                                      "a leaf is used twice in stage %u", stage->id)
                         : copy_leaf(planner, leaf, leaves->shared,
                                     &stage->leaves[stage->leaf_count++]);
    return leaves->status != SHOAL_OK;
}

// One thing cuts a stage into tasks: one scan or split, or the scans of a UNION ALL, or
// co-partitioned inputs, or nothing.
static shoal_status check_drivers(struct planner *planner, struct stage *stage) {
    size_t scans = 0, unions = 0, partitions = 0;
    uint32_t cut = NO_CUT;
    bool narrow = false;
    for (size_t i = 0; i < stage->leaf_count; i++) {
        const struct stage_leaf *leaf = &stage->leaves[i];
        if (!leaf_drives(leaf->kind)) continue;
        if (leaf->kind == LEAF_RANGE) {
            if (cut != NO_CUT && cut != leaf->cut) scans++;
            cut = leaf->cut;
        } else if (leaf->kind == LEAF_PARTITION || leaf->kind == LEAF_PART) {
            partitions++;
        } else if (leaf->kind == LEAF_UNION) {
            unions = 1;
        } else {
            scans++;
            narrow = leaf->kind == LEAF_SCAN_SOME ||
                     (leaf->kind == LEAF_SCAN && leaf->source.kind != SCAN_PARQUET);
        }
    }
    // One hash table of a broadcast side for all threads of a worker; partitions are many
    // and small, a thread each.
    // A part of a text file is read by one thread, and so are samples.
    stage->wide = partitions == 0 && cut == NO_CUT && !narrow;
    scans += unions;
    int drivers = (scans == 1) + (partitions > 0) + (cut != NO_CUT);
    bool ok = scans < 2 && drivers == !stage->single;
    if (ok) return SHOAL_OK;
    return shoal_fail(planner->err, SHOAL_UNSUPPORTED,
                      "stage %u would be cut by %zu scans and %zu partitioned inputs",
                      stage->id, scans, partitions);
}

static size_t stage_leaf(const struct planner *planner, const struct stage *stage,
                         size_t leaf) {
    size_t found = find_leaf(planner, stage, leaf);
    return found < stage->leaf_count ? found : 0;
}

// Texts of stages, taken in the order in which they were written.
struct texts {
    char **list;
    size_t count, next;
};

static char *take_text(struct texts *texts, const json_t *of) {
    if (of == NULL) return NULL;
    char *text = texts->list[texts->next];
    texts->list[texts->next++] = NULL;
    return text;
}

// Bits of the stage's leaves.
static uint64_t leaf_bits(const struct planner *planner, const struct stage *stage,
                          const json_t *leaves) {
    uint64_t bits = 0;
    size_t i;
    json_t *leaf;
    json_array_foreach((json_t *)(uintptr_t)leaves, i, leaf) {
        size_t at = stage_leaf(planner, stage, (size_t)json_integer_value(leaf));
        if (at < 64) bits |= UINT64_C(1) << at;
    }
    return bits;
}

static shoal_status write_cuts(struct planner *planner, const struct stage_draft *draft,
                               struct texts *texts, struct stage *stage) {
    stage->whole = draft->whole == NULL ? NULL : strdup(draft->whole);
    stage->cuts = calloc(draft->cut_count + 1, sizeof *stage->cuts);
    if (stage->cuts == NULL || (draft->whole != NULL && stage->whole == NULL))
        return no_memory(planner);
    for (size_t c = 0; c < draft->cut_count; c++) {
        const struct cut_draft *cut = &draft->cuts[c];
        stage->cuts[stage->cut_count++] =
            (struct stage_cut){.leaf = stage_leaf(planner, stage, cut->leaf),
                               .sql = take_text(texts, cut->node),
                               .rest_sql = take_text(texts, cut->rest),
                               .partners = leaf_bits(planner, stage, cut->partners)};
    }
    return SHOAL_OK;
}

// The texts become the stage's.
static shoal_status write_stage(struct planner *planner, struct stages *stages,
                                size_t index, char *sql, struct texts *others) {
    struct stage_draft *draft = &planner->stages[index];
    struct stage *stage = &stages->stages[index];
    *stage = (struct stage){.id = (uint32_t)index,
                            .sql = sql,
                            .unfiltered_sql = take_text(others, draft->unfiltered),
                            .plain_sql = take_text(others, draft->plain),
                            .combined_sql = take_text(others, draft->combined),
                            .of_one_sql = take_text(others, draft->of_one),
                            .combines = draft->combines > 0,
                            .filter_most = draft->filter_most,
                            .single = draft->dist >= DIST_SINGLE,
                            .scatter = draft->scatter,
                            .groups = draft->groups,
                            .early = draft->early,
                            .hedged = draft->hedged,
                            .counts = draft->counts,
                            .ordered = draft->ordered,
                            .sink = draft->sink,
                            .in_driver = draft->in_driver,
                            .exchange = draft->exchange,
                            .estimated_rows = draft->rows};
    stage->streamed_sql = take_text(others, draft->streamed);
    stages->count = index + 1;
    stage->leaves = calloc(planner->leaf_count + 1, sizeof *stage->leaves);
    if (stage->leaves == NULL) return no_memory(planner);
    struct leaves leaves = {.planner = planner,
                            .stage = stage,
                            .shared = draft->combines > 0 || draft->some,
                            .status = SHOAL_OK};
    (void)tree_any(draft->node, add_leaf, &leaves);
    for (size_t i = 0; draft->some && i < stage->leaf_count; i++)
        stage->leaves[i].kind = LEAF_SCAN_SOME;
    stage->filter_leaf = stage_leaf(planner, stage, draft->filter_leaf);
    if (draft->combined != NULL && leaves.status == SHOAL_OK) {
        leaves.only_new = true;
        (void)tree_any(draft->combined, add_leaf, &leaves);
        if (draft->of_one != NULL) (void)tree_any(draft->of_one, add_leaf, &leaves);
        stage->combine_leaf = stage_leaf(planner, stage, draft->combine_leaf);
    }
    if (draft->samples && leaves.status == SHOAL_OK)
        leaves.status = copy_leaf(planner, draft->sampled_leaf, false,
                                  &stage->leaves[stage->leaf_count++]);
    shoal_status status = leaves.status;
    if (status == SHOAL_OK) status = write_cuts(planner, draft, others, stage);
    return status == SHOAL_OK ? check_drivers(planner, stage) : status;
}

// The CTE that stands for a stage while it is bound.
static void bound_name(const struct planner *planner, size_t stage, char *name) {
    (void)snprintf(name, LEAF_NAME_SIZE, "__leaf_%u_stage_%zu__", planner->salt, stage);
}

// "(SELECT ... FROM the stage that feeds the exchange)", without the columns that say
// where a row goes, and of how many it is.
static char *exchange_sql(const struct planner *planner, const struct stages *stages,
                          uint32_t exchange) {
    struct text out = {0};
    char name[LEAF_NAME_SIZE];
    for (size_t i = 0; i < stages->count; i++) {
        if (stages->stages[i].exchange != exchange) continue;
        bound_name(planner, i, name);
        text_append(&out, "(SELECT *");
        if (stages->stages[i].scatter != BLOCK_WHOLE) {
            const json_t *list = json_object_get(planner->stages[i].node, "select_list");
            text_append(&out, " EXCLUDE (");
            text_append_identifier(&out, tree_text(json_array_get(list, 0), "alias"));
            text_append(&out, stages->stages[i].counts ? ", " ROWS_COUNTED ")" : ")");
        }
        text_printf(&out, " FROM %s)", name);
        break;
    }
    return text_take(&out);
}

// sql, one of the stage's, over empty scans and the stages before it.
static char *bound_sql(const struct planner *planner, const struct stages *stages,
                       const struct stage *stage, const char *sql) {
    char **inputs = calloc(stage->leaf_count + 1, sizeof *inputs);
    for (size_t i = 0; inputs != NULL && i < stage->leaf_count; i++) {
        const struct stage_leaf *leaf = &stage->leaves[i];
        inputs[i] = leaf->scan_call ? stage_empty_sql(&leaf->schema)
                    : leaf->kind == LEAF_NUMBER
                        ? stage_number_sql(0)
                        : exchange_sql(planner, stages, leaf->exchange);
    }
    char *bound = inputs == NULL ? NULL : stage_substitute(stage, sql, inputs);
    for (size_t i = 0; inputs != NULL && i < stage->leaf_count; i++) free(inputs[i]);
    free(inputs);
    return bound;
}

// What is described: the stages' SQL, then that of the forms that cut stages have.
struct described {
    const struct stage *stage;
    const char *sql;
};

static size_t list_described(const struct stages *stages, struct described *list) {
    size_t count = 0;
    for (size_t s = 0; s < stages->count; s++, count++) {
        const struct stage *stage = &stages->stages[s];
        if (list != NULL) list[count] = (struct described){stage, stage->sql};
    }
    for (size_t s = 0; s < stages->count; s++) {
        const struct stage *stage = &stages->stages[s];
        const char *wholes[] = {stage->combined_sql, stage->of_one_sql,
                                stage->streamed_sql};
        for (size_t f = 0; f < sizeof wholes / sizeof *wholes; f++) {
            if (wholes[f] == NULL) continue;
            if (list != NULL) list[count] = (struct described){stage, wholes[f]};
            count++;
        }
        for (size_t c = 0; c < stage->cut_count; c++) {
            const char *forms[] = {stage->cuts[c].sql, stage->cuts[c].rest_sql};
            for (size_t f = 0; f < 2; f++) {
                if (forms[f] == NULL) continue;
                if (list != NULL) list[count] = (struct described){stage, forms[f]};
                count++;
            }
        }
    }
    return count;
}

static bool same_types(const struct schema *a, const struct schema *b) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        if (strcmp(a->columns[i].type, b->columns[i].type) != 0) return false;
    }
    return a->count == b->count;
}

// The described things as CTEs, each of which may read those before it.
static bool write_with(const struct planner *planner, const struct stages *stages,
                       const struct described *list, size_t count, struct text *with,
                       char **items) {
    char name[LEAF_NAME_SIZE];
    for (size_t i = 0; i < count; i++) {
        char *sql = bound_sql(planner, stages, list[i].stage, list[i].sql);
        bound_name(planner, i, name);
        items[i] = strdup(name);
        text_printf(with, "%s%s AS (%s\n)", i ? ", " : "WITH ", name, sql ? sql : "");
        bool ok = sql != NULL && items[i] != NULL;
        free(sql);
        if (!ok) return false;
    }
    text_append(with, " ");
    return !with->failed;
}

static bool has_parts(const struct planner *planner) {
    for (size_t i = 0; i < planner->exchange_count; i++) {
        if (planner->exchanges[i].kind == EXCHANGE_PARTS) return true;
    }
    return false;
}

// Fills the schema of every stage.
static shoal_status describe_stages(struct planner *planner, struct stages *stages) {
    struct text with = {0};
    size_t count = list_described(stages, NULL);
    struct described *list = calloc(count, sizeof *list);
    struct schema *schemas = calloc(count, sizeof *schemas);
    char **items = calloc(count, sizeof *items);
    shoal_status status = no_memory(planner);
    if (list != NULL && schemas != NULL && items != NULL) {
        list_described(stages, list);
        if (write_with(planner, stages, list, count, &with, items))
            status = describe_items(planner, with.data, items, count, schemas);
    }
    for (size_t i = 0; schemas != NULL && i < count; i++) {
        if (i < stages->count) {
            stages->stages[i].schema = schemas[i];
            continue;
        }
        // Of windows in parts it is tried without them (planner.c).
        bool parts = has_parts(planner);
        if (status == SHOAL_OK && !same_types(&schemas[i], &list[i].stage->schema))
            status = shoal_fail(planner->err, parts ? SHOAL_UNSUPPORTED : SHOAL_INTERNAL,
                                "a form of stage %u has other types", list[i].stage->id);
        schema_free(&schemas[i]);
    }
    for (size_t i = 0; items != NULL && i < count; i++) free(items[i]);
    free(list);
    free(items);
    free(schemas);
    text_free(&with);
    // The query itself binds: the rewrite is at fault.
    if (status == SHOAL_USER) planner->err->status = status = SHOAL_UNSUPPORTED;
    return status;
}

// One row's values have other types than their sums: the stage's are known now.
static shoal_status cast_plain(struct planner *planner, struct stage *stage) {
    struct text sql = {0};
    if (stage->plain_sql == NULL) return SHOAL_OK;
    text_append(&sql, "SELECT ");
    for (size_t i = 0; i < stage->schema.count; i++) {
        text_append(&sql, i ? ", CAST(" : "CAST(");
        text_append_identifier(&sql, stage->schema.columns[i].name);
        text_printf(&sql, " AS %s) AS ", stage->schema.columns[i].type);
        text_append_identifier(&sql, stage->schema.columns[i].name);
    }
    text_printf(&sql, " FROM (%s)", stage->plain_sql);
    free(stage->plain_sql);
    stage->plain_sql = text_take(&sql);
    return stage->plain_sql == NULL ? no_memory(planner) : SHOAL_OK;
}

// The exchange's schema is that of the stages that feed it.
static shoal_status bind_exchange(struct planner *planner, struct stages *stages,
                                  struct stage *stage) {
    if (stage->scatter != BLOCK_WHOLE) {
        free(stage->schema.columns[0].name);
        free(stage->schema.columns[0].type);
        stage->schema.count--;
        memmove(stage->schema.columns, stage->schema.columns + 1,
                stage->schema.count * sizeof *stage->schema.columns);
    }
    if (stage->counts) {
        stage->schema.count--;
        free(stage->schema.columns[stage->schema.count].name);
        free(stage->schema.columns[stage->schema.count].type);
    }
    if (stage->exchange == UINT32_MAX) return SHOAL_OK;
    if (schema_has_nameless(&stage->schema))
        return shoal_fail(
            planner->err, SHOAL_UNSUPPORTED,
            "a column of a type that no cast can name (AGGREGATE_STATE, TUPLE)");
    struct exchange *exchange = &stages->exchanges[stage->exchange];
    // '30 days' equals '1 month', but is another key.
    for (size_t i = 0; exchange->kind == EXCHANGE_SAMPLE && i < stage->schema.count;
         i++) {
        if (strstr(stage->schema.columns[i].type, "INTERVAL") != NULL)
            return shoal_fail(planner->err, SHOAL_UNSUPPORTED,
                              "intervals that are equal differ in their sort keys");
    }
    uint32_t like = planner->exchanges[stage->exchange].like;
    if (exchange->schema.count == 0 && !schema_copy(&exchange->schema, &stage->schema)) {
        return no_memory(planner);
    }
    for (size_t i = 0; i < exchange->schema.count; i++) {
        const char *type = exchange->schema.columns[i].type;
        const char *other =
            like == UINT32_MAX ? type : stages->exchanges[like].schema.columns[i].type;
        if (strcmp(type, stage->schema.columns[i].type) != 0 ||
            strcmp(type, other) != 0) {
            return shoal_fail(planner->err, SHOAL_UNSUPPORTED,
                              "the branches of a set operation differ in type (%s)",
                              type);
        }
    }
    return SHOAL_OK;
}

// Other forms of a stage, in the order in which write_stage takes them.
static void append_forms(const struct stage_draft *draft, json_t *nodes) {
    if (draft->unfiltered != NULL) json_array_append(nodes, draft->unfiltered);
    if (draft->plain != NULL) json_array_append(nodes, draft->plain);
    if (draft->combined != NULL) json_array_append(nodes, draft->combined);
    if (draft->of_one != NULL) json_array_append(nodes, draft->of_one);
    if (draft->streamed != NULL) json_array_append(nodes, draft->streamed);
    for (size_t c = 0; c < draft->cut_count; c++) {
        if (draft->cuts[c].node != NULL) json_array_append(nodes, draft->cuts[c].node);
        if (draft->cuts[c].rest != NULL) json_array_append(nodes, draft->cuts[c].rest);
    }
}

// The SQL of every stage, and behind them all, in order, that of their other forms;
// *count texts for duck_split_free.
static shoal_status write_stages(struct planner *planner, char ***sql, size_t *count) {
    json_t *nodes = tree_own(&planner->trees, json_array());
    for (size_t i = 0; i < planner->stage_count; i++)
        json_array_append(nodes, planner->stages[i].node);
    for (size_t i = 0; i < planner->stage_count; i++)
        append_forms(&planner->stages[i], nodes);
    char *all = tree_deparse_all(&planner->trees, nodes, planner->err);
    if (all == NULL) return planner->err->status;
    shoal_status status = duck_split(all, sql, count, planner->err);
    free(all);
    if (status == SHOAL_OK && *count != json_array_size(nodes)) {
        duck_split_free(*sql, *count);
        *sql = NULL;
        status = shoal_fail(planner->err, SHOAL_INTERNAL,
                            "%zu stages were written as %zu statements",
                            json_array_size(nodes), *count);
    }
    return status;
}

// What else each stage may be, when its inputs are there.
static bool find_forms(struct planner *planner) {
    bool ok = find_combined(planner);
    for (size_t i = 0; ok && i < planner->stage_count; i++) {
        if (!planner->stages[i].combines) ok = find_cuts(planner, &planner->stages[i]);
    }
    return ok;
}

shoal_status bind_stages(struct planner *planner, struct stages *stages) {
    if (!find_forms(planner)) return no_memory(planner);
    stages->stages = calloc(planner->stage_count, sizeof *stages->stages);
    stages->exchanges = calloc(planner->exchange_count + 1, sizeof *stages->exchanges);
    if (stages->stages == NULL || stages->exchanges == NULL) return no_memory(planner);
    for (size_t i = 0; i < planner->exchange_count; i++) {
        struct exchange_draft *draft = &planner->exchanges[i];
        stages->exchanges[i] = (struct exchange){.id = (uint32_t)i,
                                                 .kind = draft->kind,
                                                 .bounds_from = draft->bounds_from,
                                                 .spread = draft->spread,
                                                 .group_keys = draft->group_keys};
        stages->exchange_count++;
    }
    struct texts texts = {.next = planner->stage_count};
    shoal_status status = write_stages(planner, &texts.list, &texts.count);
    for (size_t i = 0; status == SHOAL_OK && i < planner->stage_count; i++) {
        char *own = texts.list[i];
        texts.list[i] = NULL;
        status = write_stage(planner, stages, i, own, &texts);
    }
    if (status == SHOAL_OK) status = describe_stages(planner, stages);
    for (size_t i = 0; status == SHOAL_OK && i < stages->count; i++) {
        status = cast_plain(planner, &stages->stages[i]);
        if (status == SHOAL_OK)
            status = bind_exchange(planner, stages, &stages->stages[i]);
    }
    for (size_t i = 0; status == SHOAL_OK && i < stages->count; i++)
        stages->stages[i].repeatable = stage_is_repeatable(stages, &stages->stages[i]);
    if (texts.list != NULL) duck_split_free(texts.list, texts.count);
    return status;
}

void stages_free(struct stages *stages) {
    if (stages == NULL) return;
    for (size_t i = 0; i < stages->count; i++) {
        struct stage *stage = &stages->stages[i];
        for (size_t l = 0; l < stage->leaf_count; l++) {
            struct stage_leaf *leaf = &stage->leaves[l];
            scan_files_free(leaf->files, leaf->file_count);
            scan_ranges_free(leaf->ranges, leaf->range_count);
            free(leaf->range_column);
            free(leaf->scan_call);
            scan_source_free(&leaf->source);
            free(leaf->placeholder);
            schema_free(&leaf->schema);
        }
        for (size_t c = 0; c < stage->cut_count; c++) {
            free(stage->cuts[c].sql);
            free(stage->cuts[c].rest_sql);
        }
        free(stage->cuts);
        free(stage->leaves);
        free(stage->sql);
        free(stage->unfiltered_sql);
        free(stage->plain_sql);
        free(stage->whole);
        free(stage->combined_sql);
        free(stage->of_one_sql);
        free(stage->streamed_sql);
        free(stage->summary);
        schema_free(&stage->schema);
    }
    for (size_t i = 0; i < stages->exchange_count; i++) {
        free(stages->exchanges[i].keys);
        free(stages->exchanges[i].lookup);
        schema_free(&stages->exchanges[i].schema);
    }
    for (size_t i = 0; i < stages->note_count; i++) free(stages->notes[i]);
    free(stages->notes);
    for (size_t i = 0; i < stages->warning_count; i++) free(stages->warnings[i]);
    free(stages->warnings);
    free(stages->target);
    free(stages->exchanges);
    free(stages->stages);
    free(stages);
}
