// The last stage, in the driver. What it reads may be lost as what any task reads: it is
// looked at before a row is given out, as no row can be taken back afterwards.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "block/block.h"
#include "query/run.h"

#define VERIFY_BYTES (256u << 20)  // all together: that costs some hundredths of a second

// The last stage's SQL as the statement that takes its rows: a COPY into one file, which
// DuckDB writes beside it and renames, or into a table.
static char *wrap_select(const struct statement *statement, char *select) {
    struct text sql = {0};
    if (statement->copy.path != NULL) {
        text_printf(&sql, "COPY (%s) TO ", select);
        copy_append_target(&sql, &statement->copy);
    } else if (statement->insert.head != NULL) {
        text_printf(&sql, "%s %s", statement->insert.head, select);
    } else {
        return select;
    }
    free(select);
    return text_take(&sql);
}

static bool feeds_driver(const struct run *run, size_t stage) {
    return stage_reads(&run->stages->stages[run->stages->count - 1],
                       run->stages->stages[stage].exchange);
}

bool run_verify(struct run *run) {
    bool whole = true;
    uint64_t bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t s = 0; s + 1 < run->stages->count; s++) {
            const struct stage_run *state = &run->runs[s];
            if (!feeds_driver(run, s) || run->stages->stages[s].sink) continue;
            for (size_t f = 0; pass == 0 && f < state->file_count; f++)
                bytes += state->files[f].bytes;
            for (size_t f = state->file_count; pass == 1 && f-- > 0;) {
                struct shoal_error ignored;
                bool rows = bytes <= VERIFY_BYTES;
                shoal_status status = block_verify(state->files[f].path, rows, &ignored);
                // Without memory it can't be told; who reads it says so.
                if (status == SHOAL_OK || status == SHOAL_NOMEM) continue;
                whole = false;
                (void)run_lose_file(run, state->files[f].path);
                // Its task's other files are forgotten too.
                if (f > state->file_count) f = state->file_count;
            }
        }
    }
    return whole;
}

// Files that this stage reads itself must be those that tasks have read.
static shoal_status check_files(const struct stage *stage, struct shoal_error *err) {
    shoal_status status = SHOAL_OK;
    for (size_t l = 0; l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        for (size_t f = 0; status == SHOAL_OK && f < leaf->file_count; f++)
            status = file_state_check(leaf->files[f].path, &leaf->files[f].state, err);
    }
    return status;
}

shoal_status run_result(struct run *run, struct duck_result **result, bool *again,
                        struct shoal_error *err) {
    struct session *session = run->session;
    size_t last = run->stages->count - 1;
    const struct stage *stage = &run->stages->stages[last];
    *again = !run_verify(run);
    if (*again) return SHOAL_OK;
    struct task_input *inputs = calloc(stage->leaf_count + 1, sizeof *inputs);
    size_t count = 0;
    char key[SESSION_KEY];
    shoal_status status = SHOAL_OK;
    session_result_key(session, key);
    if (inputs == NULL) return shoal_no_memory(err);
    char *sql = run_task_sql(run, last, 0, key, NULL, inputs, &count);
    if (sql != NULL) sql = wrap_select(run->statement, sql);
    if (sql == NULL) status = shoal_no_memory(err);
    if (status == SHOAL_OK) status = check_files(stage, err);
    if (status == SHOAL_OK) status = task_bind_inputs(inputs, count, key, err);
    for (size_t i = 0; i < count; i++) task_input_free(&inputs[i]);
    double start = clock_seconds();
    if (status == SHOAL_OK) {
        status = duck_query_batches(session->conn, sql, result, err);
        // The place is one in the stage's SQL, which the user has not seen.
        char *place = status == SHOAL_OK ? NULL : strstr(err->message, "\n\nLINE ");
        if (place != NULL) *place = '\0';
        if (status == SHOAL_OK) status = check_files(stage, err);
    }
    if (status == SHOAL_OK && run->stats != NULL) {
        if (!stats_add_task(&run->stats[last], clock_seconds() - start))
            status = shoal_no_memory(err);
    }
    char *lost = status == SHOAL_OK ? NULL : block_take_lost(key);
    *again = lost != NULL && run_lose_file(run, lost);
    block_release_inputs(key);
    free(lost);
    free(sql);
    free(inputs);
    return *again ? SHOAL_OK : status;
}
