// A scan cut into splits, one a task. Small files are put together; a large one is cut
// between its row groups, by their number: a filter on that is one comparison a vector,
// while one on row numbers makes and compares a number for each row. Where a file has few
// row groups, or its footer can't be read here, row numbers it is.
#include <stdlib.h>

#include "parquet/footer.h"
#include "query/run.h"

#define SPLIT_ROWS_MAX 20000000
// Of a scan that a hash exchange alone reads: its tasks repeat little, scattering takes
// longer than reading, and in smaller ones slots have less to wait for.
#define SCATTER_SPLIT_ROWS 4000000
#define FILES_MAX 1000    // small files packed into one task
#define UNEVEN_MOST 1.25  // times its share of the rows, for a part cut by row groups

// Hash tables of as many groups are better many and small.
#define GROUPS_MANY 10000000
#define GROUPS_SPLIT_ROWS 2000000
#define GROUPS_OF_ROWS 4  // one for so many rows: a partial aggregate saves little

// As many tasks as slots take in whole rounds: in a last round of fewer some would wait.
static uint64_t even_size(const struct session_options *options, bool wide, uint64_t rows,
                          uint64_t size) {
    uint64_t slots = (uint64_t)options->workers * (wide ? 1 : options->threads);
    uint64_t rounds = (rows / size + (rows % size > 0) + slots - 1) / slots;
    return rounds == 0 ? size : rows / (rounds * slots) + 1;
}

// Rows that a task reads of a scan that has so many.
static uint64_t split_size(const struct session_options *options,
                           const struct stage *stage, uint64_t rows) {
    uint32_t tasks =
        options->workers *
        (stage->wide ? SCAN_TASKS_A_WORKER : options->threads * TEXT_TASKS_A_THREAD);
    uint64_t size = rows / tasks + 1, most = SPLIT_ROWS_MAX;
    if (stage->scatter == BLOCK_HASH && stage->leaf_count == 1 && !stage->groups)
        most = (uint64_t)SCATTER_SPLIT_ROWS * options->threads;
    if (size > most) size = most;
    // And the first may tell that partial aggregates save nothing, for all others.
    bool judged = stage->early && stage->estimated_rows >= rows / GROUPS_OF_ROWS;
    if ((stage->groups && stage->estimated_rows >= GROUPS_MANY) || judged) {
        most = (uint64_t)GROUPS_SPLIT_ROWS * options->threads;
        if (size > most) size = most;
    }
    size = even_size(options, stage->wide, rows, size);
    return size < options->split_rows ? options->split_rows : size;
}

// What the stage's tasks share: one scan, or those of a UNION ALL.
struct shared {
    uint64_t rows;
    size_t files, scans;
};

static bool is_shared(const struct stage_leaf *leaf) {
    return leaf->kind == LEAF_SCAN || leaf->kind == LEAF_UNION;
}

static struct shared find_shared(const struct stage *stage) {
    struct shared shared = {0};
    for (size_t l = 0; l < stage->leaf_count; l++) {
        const struct stage_leaf *leaf = &stage->leaves[l];
        if (!is_shared(leaf)) continue;
        shared.rows += scan_files_rows(leaf->files, leaf->file_count);
        shared.files += leaf->file_count;
        shared.scans++;
    }
    return shared;
}

uint64_t session_scan_tasks(const struct session_options *options,
                            const struct stage *stage) {
    struct shared shared = find_shared(stage);
    if (shared.scans == 0) return 0;
    return shared.rows / split_size(options, stage, shared.rows) + shared.scans;
}

// How one file is cut: parts that end before ends[i]; NULL: by rows.
struct cutting {
    uint64_t parts;
    uint64_t *ends;  // row groups
};

// Each part ends with the row group that reaches its share of the rows. False when that
// leaves one with much more than its share.
static bool group_ends(const struct parquet_footer *footer, uint64_t rows, uint64_t parts,
                       uint64_t *ends) {
    uint64_t read = 0, before = 0, part = 0;
    for (uint64_t g = 0; g < footer->group_count; g++) {
        read += footer->rows[g];
        if (part + 1 < parts && read * parts < (part + 1) * rows) continue;
        if (part + 1 == parts && g + 1 < footer->group_count) continue;
        if (read == before ||
            (double)(read - before) * (double)parts > UNEVEN_MOST * (double)rows)
            return false;
        ends[part++] = g + 1;
        before = read;
        if (part == parts) return true;
    }
    return false;
}

// By row groups if that gives even parts; ends stays NULL when it doesn't.
static shoal_status find_ends(const struct scan_file *file, struct cutting *to,
                              struct shoal_error *err) {
    struct parquet_footer footer = {0};
    struct shoal_error ignored;
    uint64_t *ends = calloc(to->parts, sizeof *ends);
    if (ends == NULL) return shoal_no_memory(err);
    if (parquet_footer_read(file->path, &footer, &ignored) == SHOAL_OK &&
        group_ends(&footer, file->rows, to->parts, ends)) {
        to->ends = ends;
    } else {
        free(ends);
    }
    parquet_footer_free(&footer);
    return SHOAL_OK;
}

static shoal_status cut_file(const struct stage_leaf *leaf, const struct scan_file *file,
                             uint64_t size, struct cutting *to, struct shoal_error *err) {
    *to = (struct cutting){.parts = (file->rows + size - 1) / size};  // equal: no crumb
    shoal_status status = leaf->group_numbers ? find_ends(file, to, err) : SHOAL_OK;
    if (to->ends == NULL && !leaf->row_numbers) to->parts = 1;  // no way to cut it
    return status;
}

static shoal_status add_parts(const struct stage_leaf *leaf, const struct scan_file *file,
                              uint64_t size, struct stage_run *stage,
                              struct shoal_error *err) {
    struct cutting cut;
    shoal_status status = cut_file(leaf, file, size, &cut, err);
    if (status != SHOAL_OK) return status;
    for (uint64_t p = 0; p < cut.parts; p++) {
        struct scan_split split = {.files = file, .count = 1, .part = PART_ROWS};
        split.first = p * file->rows / cut.parts;
        split.last = (p + 1) * file->rows / cut.parts - 1;
        if (cut.ends != NULL) {
            split.part = PART_GROUPS;
            split.first = p == 0 ? 0 : cut.ends[p - 1];
            split.last = cut.ends[p] - 1;
        }
        if (p + 1 == cut.parts) split.last = SPLIT_TO_END;
        if (cut.parts == 1) split.part = PART_WHOLE;
        split.rows = file->rows / cut.parts;
        stage->splits[stage->tasks++] = split;
    }
    free(cut.ends);
    return SHOAL_OK;
}

static shoal_status cut_scan(struct run *run, const struct stage_leaf *leaf,
                             uint64_t size, struct stage_run *stage,
                             struct shoal_error *err) {
    for (size_t i = 0; i < leaf->file_count;) {
        const struct scan_file *file = &leaf->files[i];
        if (file->rows > size) {
            shoal_status status =
                leaf->source.kind == SCAN_PARQUET
                    ? add_parts(leaf, file, size, stage, err)
                    : run_cut_text(run, leaf, file, (file->rows + size - 1) / size, stage,
                                   err);
            if (status != SHOAL_OK) return status;
            i++;
            continue;
        }
        uint64_t packed = 0;
        size_t first = i;
        while (i < leaf->file_count && i - first < FILES_MAX &&
               (i == first || packed + leaf->files[i].rows <= size)) {
            packed += leaf->files[i++].rows;
        }
        stage->splits[stage->tasks++] =
            (struct scan_split){.files = file, .count = i - first, .rows = packed};
    }
    return SHOAL_OK;
}

shoal_status run_cut_scans(struct run *run, const struct stage *of,
                           struct stage_run *stage, struct shoal_error *err) {
    struct shared shared = find_shared(of);
    uint64_t size = split_size(&run->session->options, of, shared.rows);
    // Each file gives at most its parts, one of them begun in the task before.
    size_t most = shared.files + shared.scans + (size_t)(shared.rows / size);
    if (shared.files == 0 || most > UINT32_MAX / 8) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "a scan would be cut into %zu tasks",
                          most);
    }
    stage->splits = calloc(most, sizeof *stage->splits);
    if (stage->splits == NULL) return shoal_no_memory(err);
    shoal_status status = SHOAL_OK;
    for (size_t l = 0; status == SHOAL_OK && l < of->leaf_count; l++) {
        if (is_shared(&of->leaves[l]))
            status = cut_scan(run, &of->leaves[l], size, stage, err);
    }
    return status;
}
