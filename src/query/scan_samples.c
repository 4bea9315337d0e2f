// Rows from all over a Parquet scan, whose sort keys become the bounds of a RangeExchange
// (dist/sort.c). Every so many rows name the row group that they are in, of which a few
// rows far from each other are read: all bounds fall between rows that are known, whether
// or not the files are sorted by the keys already.
#include <stdlib.h>

#include "parquet/footer.h"
#include "query/run.h"

// Row groups of each part, at least: parts of files that are sorted already are even
// within a fifth then.
#define GROUPS_A_PART 5
#define GROUPS_LEAST 64  // of all parts, if there are so many
#define KEYS_A_PART 128
#define ROWS_A_KEY 8      // a WHERE may leave few
#define KEYS_A_TASK 1000  // that its file keeps (block/sink.c)

struct pick {
    size_t file;
    uint64_t group, rows;
    bool whole;  // no row group, but the file
};

// Into how many parts the rows are scattered that the samples are for.
static uint32_t count_parts(const struct run *run, uint32_t exchange) {
    uint32_t parts = 1;
    for (size_t e = 0; e < run->stages->exchange_count; e++) {
        if (run->stages->exchanges[e].bounds_from == exchange) parts = run->partitions[e];
    }
    return parts;
}

// The row group with that row of the file. A footer that the driver can't read has none.
static struct pick pick_at(const struct stage_leaf *leaf,
                           const struct parquet_footer *footer, size_t file,
                           uint64_t row) {
    struct pick pick = {.file = file, .rows = leaf->files[file].rows, .whole = true};
    uint64_t first = 0;
    for (uint64_t g = 0; g < footer->group_count; g++) {
        if (row < first + footer->rows[g])
            return (struct pick){.file = file, .group = g, .rows = footer->rows[g]};
        first += footer->rows[g];
    }
    return pick;
}

static bool same_pick(const struct pick *a, const struct pick *b) {
    return a->file == b->file && a->group == b->group && a->whole == b->whole;
}

// picks: room for `wanted`.
static size_t pick_groups(const struct stage_leaf *leaf, uint64_t rows, uint64_t wanted,
                          struct pick *picks) {
    size_t count = 0, file = 0, known = SIZE_MAX;
    uint64_t first = 0;  // row of the file, among all
    struct parquet_footer footer = {0};
    struct shoal_error ignored;
    for (uint64_t i = 0; i < wanted; i++) {
        uint64_t row = (uint64_t)(((double)i + 0.5) * (double)rows / (double)wanted);
        while (file + 1 < leaf->file_count && row >= first + leaf->files[file].rows)
            first += leaf->files[file++].rows;
        if (file != known) {
            parquet_footer_free(&footer);
            footer = (struct parquet_footer){0};
            if (parquet_footer_read(leaf->files[file].path, &footer, &ignored) !=
                SHOAL_OK)
                footer.group_count = 0;
            known = file;
        }
        struct pick pick = pick_at(leaf, &footer, file, row - first);
        if (count == 0 || !same_pick(&pick, &picks[count - 1])) picks[count++] = pick;
    }
    parquet_footer_free(&footer);
    return count;
}

// One file's, of row groups [first, first + count); every step-th row.
static char *write_where(const struct pick *picks, size_t count, uint64_t step) {
    struct text out = {0};
    for (size_t i = 0; i < count && !picks->whole; i++)
        text_printf(&out, "%s%llu", i == 0 ? "file_row_group_number IN (" : ", ",
                    (unsigned long long)picks[i].group);
    text_printf(&out, "%sfile_row_number %% %llu = 0", picks->whole ? "" : ") AND ",
                (unsigned long long)step);
    return text_take(&out);
}

static bool add_splits(const struct stage_leaf *leaf, const struct pick *picks,
                       size_t count, size_t most, uint64_t step,
                       struct stage_run *stage) {
    for (size_t i = 0, n = 0; i < count; i += n) {
        struct scan_split split = {
            .files = &leaf->files[picks[i].file], .count = 1, .part = PART_SOME};
        for (n = 0; i + n < count && n < most && picks[i + n].file == picks[i].file; n++)
            split.rows += picks[i + n].rows / step;
        split.where = write_where(&picks[i], n, step);
        if (split.where == NULL) return false;
        stage->splits[stage->tasks++] = split;
    }
    return true;
}

shoal_status run_cut_samples(struct run *run, const struct stage_leaf *leaf,
                             const struct stage *of, struct stage_run *stage,
                             struct shoal_error *err) {
    const struct session_options *options = &run->session->options;
    uint64_t parts = count_parts(run, of->exchange), seen = 0;
    uint64_t rows = scan_files_rows(leaf->files, leaf->file_count);
    uint64_t wanted = rows / (2 * SAMPLED_GROUP_ROWS);  // of many, at most about half
    if (wanted < GROUPS_LEAST) wanted = GROUPS_LEAST;
    if (wanted > parts * GROUPS_A_PART) wanted = parts * GROUPS_A_PART;
    struct pick *picks = calloc(wanted, sizeof *picks);
    if (picks == NULL) return shoal_no_memory(err);
    size_t count = leaf->file_count == 0 ? 0 : pick_groups(leaf, rows, wanted, picks);
    for (size_t i = 0; i < count; i++) seen += picks[i].rows;
    uint64_t step = seen / (parts * KEYS_A_PART * ROWS_A_KEY) | 1;  // odd: out of step
    uint64_t tasks = parts * KEYS_A_PART / KEYS_A_TASK + 1;
    uint64_t slots = (uint64_t)options->workers * options->threads;
    if (tasks < slots) tasks = slots;
    stage->splits = calloc(count + 1, sizeof *stage->splits);
    bool ok = stage->splits != NULL &&
              add_splits(leaf, picks, count, (count + tasks - 1) / tasks, step, stage);
    free(picks);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}
