// A resumed job's plan is made anew, as it was made the first time: from the same texts,
// options and files. It must come out the same, or what its tasks made is of no use: a
// hash of its shape says so. What may differ is what stands in the SQL of its stages: a
// query of today's rows, resumed tomorrow, goes on with yesterday's texts.
//
// Then the log is gone through, stage by stage, in the order in which they read each
// other: each task that is done is accepted as if it had just reported, and each decision
// is taken as it was then. A file that is missing in the end was lost as any other may be
// (lineage.c).
#include "query/replay.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "parquet/footer.h"
#include "query/job.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

// ---- the plan's shape

struct hash {
    XXH3_state_t state;
};

static void hash_text(struct hash *hash, const char *text) {
    if (text == NULL) text = "\1";
    XXH3_64bits_update(&hash->state, text, strlen(text) + 1);
}

static void hash_number(struct hash *hash, uint64_t number) {
    XXH3_64bits_update(&hash->state, &number, sizeof number);
}

static void hash_schema(struct hash *hash, const struct schema *schema) {
    hash_number(hash, schema->count);
    for (size_t c = 0; c < schema->count; c++) {
        hash_text(hash, schema->columns[c].name);
        hash_text(hash, schema->columns[c].type);
    }
}

static void hash_leaf(struct hash *hash, const struct stage_leaf *leaf) {
    hash_number(hash, leaf->kind);
    hash_number(hash, leaf->exchange);
    hash_number(hash, leaf->slices);
    hash_text(hash, leaf->placeholder);
    hash_schema(hash, &leaf->schema);
    hash_number(hash, leaf->range_count);
    for (size_t r = 0; r < leaf->range_count; r++) hash_text(hash, leaf->ranges[r].where);
    hash_number(hash, leaf->file_count);
    for (size_t f = 0; f < leaf->file_count; f++) hash_text(hash, leaf->files[f].path);
}

static void hash_stage(struct hash *hash, const struct stage *stage,
                       const struct stage_run *state) {
    hash_number(hash, stage->exchange);
    hash_number(hash, stage->scatter);
    hash_number(hash, (uint64_t)stage->single | (uint64_t)stage->in_driver << 1 |
                          (uint64_t)stage->wide << 2 | (uint64_t)stage->ordered << 3 |
                          (uint64_t)stage->sink << 4 | (uint64_t)stage->combines << 5);
    hash_schema(hash, &stage->schema);
    hash_number(hash, stage->leaf_count);
    for (size_t l = 0; l < stage->leaf_count; l++) hash_leaf(hash, &stage->leaves[l]);
    hash_number(hash, stage->cut_count);
    hash_number(hash, state->tasks);
    for (uint32_t t = 0; state->splits != NULL && t < state->tasks; t++) {
        const struct scan_split *split = &state->splits[t];
        hash_text(hash, split->files[0].path);
        hash_number(hash, split->count);
        hash_number(hash, split->part);
        hash_number(hash, split->first);
        hash_number(hash, split->last);
        hash_text(hash, split->where == NULL ? "" : split->where);
    }
}

static void hash_plan(const struct run *run, char *text) {
    struct hash hash;
    XXH3_64bits_reset(&hash.state);
    hash_number(&hash, run->stages->count);
    for (size_t s = 0; s < run->stages->count; s++)
        hash_stage(&hash, &run->stages->stages[s], &run->runs[s]);
    for (size_t e = 0; e < run->stages->exchange_count; e++) {
        hash_number(&hash, run->stages->exchanges[e].kind);
        hash_number(&hash, run->partitions[e]);
    }
    (void)snprintf(text, 17, "%016llx",
                   (unsigned long long)XXH3_64bits_digest(&hash.state));
}

// ---- its texts

static json_t *optional(const char *text) {
    return text == NULL ? json_null() : json_string(text);
}

static json_t *texts_to_json(const struct stage *stage) {
    json_t *list = json_array();
    json_array_append_new(list, optional(stage->sql));
    json_array_append_new(list, optional(stage->unfiltered_sql));
    json_array_append_new(list, optional(stage->plain_sql));
    json_array_append_new(list, optional(stage->combined_sql));
    json_array_append_new(list, optional(stage->of_one_sql));
    json_array_append_new(list, optional(stage->streamed_sql));
    for (size_t c = 0; c < stage->cut_count; c++) {
        json_array_append_new(list, optional(stage->cuts[c].sql));
        json_array_append_new(list, optional(stage->cuts[c].rest_sql));
    }
    return list;
}

// False: out of memory, or it has the text where the other has none.
static bool take_text(char **text, const json_t *list, size_t at) {
    const char *from = json_string_value(json_array_get(list, at));
    if ((from == NULL) != (*text == NULL)) return false;
    if (from == NULL || strcmp(from, *text) == 0) return true;
    free(*text);
    *text = strdup(from);
    return *text != NULL;
}

static bool take_texts(struct stage *stage, const json_t *list) {
    bool ok = json_array_size(list) == 6 + 2 * stage->cut_count &&
              take_text(&stage->sql, list, 0) &&
              take_text(&stage->unfiltered_sql, list, 1) &&
              take_text(&stage->plain_sql, list, 2) &&
              take_text(&stage->combined_sql, list, 3) &&
              take_text(&stage->of_one_sql, list, 4) &&
              take_text(&stage->streamed_sql, list, 5);
    for (size_t c = 0; ok && c < stage->cut_count; c++) {
        ok = take_text(&stage->cuts[c].sql, list, 6 + 2 * c) &&
             take_text(&stage->cuts[c].rest_sql, list, 7 + 2 * c);
    }
    return ok;
}

// ---- the files it reads

// Of a file that is no local one nothing is known but its name.
static json_t *file_to_json(const struct stage_leaf *leaf, const struct scan_file *file) {
    struct stat at;
    uint64_t footer = 0;
    struct shoal_error ignored;
    if (stat(file->path, &at) != 0) return json_pack("[s]", file->path);
    if (leaf->source.kind == SCAN_PARQUET)
        (void)parquet_footer_hash(file->path, &footer, &ignored);
    return json_pack("[s, I, I, I]", file->path, (json_int_t)at.st_size,
                     (json_int_t)at.st_mtim.tv_sec * 1000000000 + at.st_mtim.tv_nsec,
                     (json_int_t)footer);
}

static json_t *files_to_json(const struct run *run) {
    json_t *list = json_array();
    for (size_t s = 0; s < run->stages->count; s++) {
        const struct stage *stage = &run->stages->stages[s];
        for (size_t l = 0; l < stage->leaf_count; l++) {
            const struct stage_leaf *leaf = &stage->leaves[l];
            for (size_t f = 0; f < leaf->file_count; f++)
                json_array_append_new(list, file_to_json(leaf, &leaf->files[f]));
        }
    }
    return list;
}

static shoal_status check_files(const struct run *run, const json_t *then,
                                const json_t *now, struct shoal_error *err) {
    static const char *const what[] = {"size", "time of change", "footer"};
    for (size_t f = 0; f < json_array_size(then) && f < json_array_size(now); f++) {
        const json_t *before = json_array_get(then, f), *after = json_array_get(now, f);
        const char *path = json_string_value(json_array_get(before, 0));
        for (size_t i = 1; path != NULL && i < 4; i++) {
            if (json_equal(json_array_get(before, i), json_array_get(after, i))) continue;
            if (json_array_get(before, i) == NULL && json_array_get(after, i) == NULL)
                continue;
            return shoal_fail(err, SHOAL_USAGE,
                              "%s has changed since the job in %s read it (its %s is "
                              "another): what was made of it is of no use; begin anew "
                              "(--job %s --replace)",
                              path, run->job->folder, what[i - 1], run->job->folder);
        }
    }
    return SHOAL_OK;
}

static shoal_status is_other(const struct run *run, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_USAGE,
                      "the plan of statement %u of the job in %s is another now: other "
                      "files are read, or the tables of the session differ; begin anew "
                      "(--job %s --replace)",
                      run->job->statement + 1, run->job->folder, run->job->folder);
}

static json_t *plan_to_json(const struct run *run) {
    char shape[17];
    json_t *stages = json_array();
    hash_plan(run, shape);
    for (size_t s = 0; s < run->stages->count; s++)
        json_array_append_new(stages, texts_to_json(&run->stages->stages[s]));
    return json_pack("{s:s, s:s, s:o, s:o}", "r", "plan", "shape", shape, "stages",
                     stages, "files", files_to_json(run));
}

// ---- into the log

shoal_status record_done(struct run *run, uint32_t stage, uint32_t task, bool other,
                         const struct task_output *output, struct shoal_error *err) {
    char *text = NULL;
    if (run->job == NULL || run->past != NULL) return SHOAL_OK;
    shoal_status status = task_output_encode(0, 0, output, &text, err);
    if (status != SHOAL_OK) return status;
    json_t *record = json_pack("{s:s, s:i, s:i, s:b, s:s}", "r", "done", "s", (int)stage,
                               "t", (int)task, "x", other, "o", text);
    free(text);
    return job_append(run->job, record, false, err);
}

shoal_status record_pieces(struct run *run, uint32_t stage, struct shoal_error *err) {
    if (run->job == NULL || run->past != NULL) return SHOAL_OK;
    const struct adapt_pieces *pieces = &run->runs[stage].pieces;
    json_t *list = json_array();
    for (size_t i = 0; i < pieces->count; i++) {
        const struct adapt_piece *piece = &pieces->list[i];
        json_array_append_new(
            list, json_pack("[I, I, I, b, I, I]", (json_int_t)piece->first,
                            (json_int_t)piece->last, (json_int_t)piece->cut, piece->rest,
                            (json_int_t)piece->slice, (json_int_t)piece->slices));
    }
    return job_append(
        run->job, json_pack("{s:s, s:i, s:o}", "r", "pieces", "s", (int)stage, "l", list),
        false, err);
}

shoal_status record_broadcast(struct run *run, uint32_t over, uint32_t reader, bool first,
                              struct shoal_error *err) {
    if (run->job == NULL || run->past != NULL) return SHOAL_OK;
    return job_append(run->job,
                      json_pack("{s:s, s:i, s:i, s:b}", "r", "broadcast", "over",
                                (int)over, "reader", (int)reader, "first", first),
                      false, err);
}

// ---- and back

static shoal_status is_wrong(const struct run *run, const char *kind, uint32_t stage,
                             struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "%s/job.log says of stage %u what can't be (%.20s): restore the "
                      "file, or begin anew (--job %s --replace)",
                      run->job->folder, stage, kind, run->job->folder);
}

static bool read_number(const json_t *value, uint32_t *number) {
    json_int_t read = json_integer_value(value);
    *number = (uint32_t)read;
    return json_is_integer(value) && read >= 0 && read <= UINT32_MAX;
}

static void key_of(uint32_t stage, uint32_t task, char *key) {
    (void)snprintf(key, 32, "%u/%u", stage, task);
}

// The readers of what the stage makes start over, and theirs.
static void forget_readers(const struct run *run, json_t *past, uint32_t stage) {
    uint32_t exchange = run->stages->stages[stage].exchange;
    char prefix[32];
    for (uint32_t s = stage + 1; s + 1 < run->stages->count; s++) {
        const char *key;
        json_t *value;
        void *next;
        if (!stage_reads(&run->stages->stages[s], exchange)) continue;
        int length = snprintf(prefix, sizeof prefix, "%u/", s);
        json_object_foreach_safe(past, next, key, value) {
            if (strncmp(key, prefix, (size_t)length) == 0) json_object_del(past, key);
        }
        forget_readers(run, past, s);
    }
}

// One record of the plan.
static shoal_status gather(const struct run *run, json_t *record, json_t *past,
                           struct shoal_error *err) {
    const char *kind = json_string_value(json_object_get(record, "r"));
    bool done = kind != NULL && strcmp(kind, "done") == 0;
    bool pieces = kind != NULL && strcmp(kind, "pieces") == 0;
    uint32_t stage = 0, task = 0;
    char key[32];
    if (kind != NULL && !done && !pieces) return SHOAL_OK;
    if (!read_number(json_object_get(record, "s"), &stage) ||
        stage + 1 >= run->stages->count || stage == UINT32_MAX ||
        (done && !read_number(json_object_get(record, "t"), &task)) ||
        (pieces && !json_is_array(json_object_get(record, "l"))))
        return is_wrong(run, kind == NULL ? "record" : kind, stage, err);
    if (pieces) {
        (void)snprintf(key, sizeof key, "%u/", stage);
        return json_object_set(past, key, json_object_get(record, "l")) == 0
                   ? SHOAL_OK
                   : shoal_no_memory(err);
    }
    key_of(stage, task, key);
    if (json_object_set(past, key, record) != 0) return shoal_no_memory(err);
    if (json_is_true(json_object_get(record, "x"))) forget_readers(run, past, stage);
    return SHOAL_OK;
}

// "s/t": what the task made last; "s/": the stage's pieces.
static shoal_status gather_past(struct run *run, struct shoal_error *err) {
    run->past = json_object();
    shoal_status status = run->past == NULL ? shoal_no_memory(err) : SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < json_array_size(run->job->past); i++) {
        json_t *record = json_array_get(run->job->past, i);
        if (job_is_current(run->job, record))
            status = gather(run, record, run->past, err);
    }
    return status;
}

static bool read_piece(const json_t *item, struct adapt_piece *piece) {
    const json_t *rest = json_array_get(item, 3);
    piece->rest = json_is_true(rest);
    return json_array_size(item) == 6 && json_is_boolean(rest) &&
           read_number(json_array_get(item, 0), &piece->first) &&
           read_number(json_array_get(item, 1), &piece->last) &&
           read_number(json_array_get(item, 2), &piece->cut) &&
           read_number(json_array_get(item, 4), &piece->slice) &&
           read_number(json_array_get(item, 5), &piece->slices);
}

// Could the rules have decided so?
static bool piece_fits(const struct adapt_stage *told, const struct adapt_piece *piece) {
    if (piece->first > piece->last || piece->last >= told->partitions) return false;
    if (piece->cut == ADAPT_WHOLE) return !piece->rest && !told->only_slices;
    if (piece->first != piece->last) return false;
    if (piece->cut == ADAPT_COMBINED)
        return !piece->rest && told->combined != NULL && piece->slice < piece->slices &&
               piece->slices == told->combined[piece->first];
    if (piece->cut >= told->cut_count) return false;
    if (piece->rest) return told->cuts[piece->cut].rest;
    return piece->slice < piece->slices && piece->slices <= ADAPT_SLICES_MOST;
}

shoal_status replay_pieces(const struct run *run, uint32_t stage,
                           const struct adapt_stage *told, struct adapt_pieces *pieces,
                           struct shoal_error *err) {
    char key[32];
    (void)snprintf(key, sizeof key, "%u/", stage);
    const json_t *list = run->past == NULL ? NULL : json_object_get(run->past, key);
    if (list == NULL) return SHOAL_OK;
    pieces->count = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct adapt_piece piece;
        if (!read_piece(json_array_get(list, i), &piece) || !piece_fits(told, &piece))
            return is_wrong(run, "pieces", stage, err);
        if (!adapt_add(pieces, piece)) return shoal_no_memory(err);
    }
    return SHOAL_OK;
}

bool replay_broadcast(struct run *run, uint32_t over, size_t *at, uint32_t *reader,
                      bool *first) {
    for (const json_t *record; (record = job_next(run->job, "broadcast", at)) != NULL;) {
        if (json_integer_value(json_object_get(record, "over")) != (json_int_t)over)
            continue;
        *reader = (uint32_t)json_integer_value(json_object_get(record, "reader"));
        *first = json_is_true(json_object_get(record, "first"));
        return true;
    }
    return false;
}

// Are its files named as a task's are? They are where the process had them that wrote
// the record.
static bool names_fit(const struct task_output *output) {
    for (size_t f = 0; f < output->count; f++) {
        const struct task_file *file = &output->files[f];
        if (file->memory > 0) return false;
        for (size_t i = 0; i < file->written_count; i++) {
            if (!spool_stays_below(file->written[i].path)) return false;
        }
    }
    return true;
}

static shoal_status restore(struct run *run, uint32_t stage, uint32_t task,
                            const json_t *record, struct shoal_error *err) {
    const char *text = json_string_value(json_object_get(record, "o"));
    struct task_output output = {0};
    uint64_t id = 0;
    uint32_t attempt = 0;
    if (text == NULL)
        return shoal_fail(err, SHOAL_CORRUPT, "%s/job.log has a task without an output",
                          run->job->folder);
    shoal_status status =
        task_output_decode(text, strlen(text), &id, &attempt, &output, err);
    if (status != SHOAL_OK) return status;
    if (!names_fit(&output)) {
        task_output_free(&output);
        return is_wrong(run, "output", stage, err);
    }
    bool fits = output.partitions == run_partitions(run, &run->stages->stages[stage]);
    bool fresh = run->stages->stages[stage].in_driver ||
                 (fits && sched_task_restore(run->sched, run->runs[stage].in_sched, task,
                                             clock_seconds()));
    if (!fits || !fresh) {
        task_output_free(&output);
        return is_other(run, err);
    }
    run->runs[stage].begun = true;
    run->job->reused++;
    status = run_accept(run, stage, task, &output, err);
    task_output_free(&output);
    return status;
}

static bool is_missing(const struct run *run, uint32_t stage,
                       const struct task_file *file) {
    struct stat at;
    if (!run_owns(run, stage, file->path) || stat(file->path, &at) != 0) return true;
    if (!run->stages->stages[stage].sink) return false;
    for (size_t i = 0; i < file->written_count; i++) {
        char *path = sink_join(file->path, file->written[i].path);
        bool missing = path == NULL || access(path, F_OK) != 0;
        free(path);
        if (missing) return true;
    }
    return false;
}

static void lose_missing(struct run *run) {
    for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
        const struct stage_run *state = &run->runs[s];
        for (size_t f = state->file_count; !state->dropped && f-- > 0;) {
            if (!is_missing(run, s, &state->files[f])) continue;
            run_lose(run, s, state->file_tasks[f]);
            if (f > state->file_count) f = state->file_count;
        }
    }
}

static shoal_status replay(struct run *run, struct shoal_error *err) {
    char key[32];
    shoal_status status = gather_past(run, err);
    for (uint32_t s = 0; status == SHOAL_OK && s + 1 < run->stages->count; s++) {
        for (uint32_t t = 0; status == SHOAL_OK && t < run->runs[s].tasks; t++) {
            key_of(s, t, key);
            const json_t *record = json_object_get(run->past, key);
            if (record != NULL && run_is_ready(run, s))
                status = restore(run, s, t, record, err);
        }
    }
    json_decref(run->past);
    run->past = NULL;
    if (status == SHOAL_OK) lose_missing(run);
    return status;
}

shoal_status replay_plan(struct run *run, struct shoal_error *err) {
    size_t at = 0;
    if (run->job == NULL) return SHOAL_OK;
    run->job->plan++;
    json_t *plan = plan_to_json(run);
    if (plan == NULL) return shoal_no_memory(err);
    const json_t *then = job_next(run->job, "plan", &at);
    if (then == NULL) return job_append(run->job, plan, false, err);
    shoal_status status = check_files(run, json_object_get(then, "files"),
                                      json_object_get(plan, "files"), err);
    bool same =
        json_equal(json_object_get(then, "shape"), json_object_get(plan, "shape"));
    if (status == SHOAL_OK && !same) status = is_other(run, err);
    const json_t *texts = json_object_get(then, "stages");
    for (size_t s = 0; status == SHOAL_OK && s < run->stages->count; s++) {
        if (!take_texts(&run->stages->stages[s], json_array_get(texts, s)))
            status = is_other(run, err);
    }
    json_decref(plan);
    return status == SHOAL_OK ? replay(run, err) : status;
}
