#include "support/examples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                 \
    do {                                                                \
        if (condition) break;                                           \
        fprintf(stderr, "%s:%d: " #condition "\n", __FILE__, __LINE__); \
        abort();                                                        \
    } while (0)

const struct column *example_shapes(void) {
    static struct column number[] = {{.layout = COLUMN_FIXED, .width = 4}};
    static struct column small[] = {{.layout = COLUMN_FIXED, .width = 2}};
    static struct column pair[] = {{.layout = COLUMN_FIXED, .width = 16},
                                   {.layout = COLUMN_STRING}};
    static struct column shapes[EXAMPLE_COLUMNS] = {
        {.layout = COLUMN_FIXED, .width = 8},
        {.layout = COLUMN_STRING},
        {.layout = COLUMN_LIST, .children = number, .child_count = 1},
        {.layout = COLUMN_ARRAY, .width = 2, .children = small, .child_count = 1},
        {.layout = COLUMN_STRUCT, .children = pair, .child_count = 2},
        {.layout = COLUMN_FIXED, .width = 1}};
    return shapes;
}

// ---- rows

static bool add_strings(struct column *column, uint32_t first, size_t rows) {
    uint32_t *offsets = column_reserve_offsets(column, rows);
    if (offsets == NULL || !column_reserve(&column->data, 8 * rows)) return false;
    for (size_t r = 0; r < rows; r++) {
        size_t size = (first + r) % 4;
        memcpy(column->data.data + column->data.size, "text", size);
        column->data.size += size;
        offsets[r] = (uint32_t)column->data.size;
    }
    column->offsets.size += rows * sizeof *offsets;
    return true;
}

bool example_add_rows(struct column *column, uint32_t first, size_t rows) {
    static uint64_t values[2000];
    uint32_t picked[500], *offsets;
    const uint8_t valid[] = {0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    size_t below = rows;
    MUST(rows <= 500);
    for (uint32_t r = 0; r < rows; r++) picked[r] = r;
    for (size_t r = 0; r < 2000; r++) values[r] = column->width < 16 ? first + r % 90 : 0;
    bool ok = rows > 64 || column_add_validity(column, valid, picked, rows);
    if (column->layout == COLUMN_FIXED)
        ok = ok && column_add_fixed(column, values, picked, rows);
    if (column->layout == COLUMN_STRING) ok = ok && add_strings(column, first, rows);
    if (column->layout == COLUMN_ARRAY) below = rows * column->width;
    if (column->layout == COLUMN_LIST) {
        offsets = column_reserve_offsets(column, rows);
        if (offsets == NULL) return false;
        uint64_t end = column->children[0].rows;
        for (size_t r = 0; r < rows; r++) offsets[r] = (uint32_t)(end + (r + 1) / 2);
        column->offsets.size += rows * sizeof *offsets;
        below = rows / 2;
    }
    for (uint32_t i = 0; ok && i < column->child_count; i++)
        ok = example_add_rows(&column->children[i], first, below);
    column->rows += rows;
    return ok;
}

// ---- messages

static struct key one_key[] = {{(uint8_t[]){0x80, 1, 2}, 3}};
static struct key_span one_span[] = {{0.5, 1.5, 1}};

const struct task *example_task(bool rich) {
    static char sql[] =
        "SELECT c0 FROM shoal_input('7.0', 0, CAST(NULL AS STRUCT(c0 BIGINT)))";
    static char a[] = "/tmp/spool/s0.t1/data_0", b[] = "/tmp/spool/s0.t2/data_0",
                out[] = "/out", pipe[] = "/tmp/p", csv[] = "/data/a.csv",
                options[] = "FORMAT parquet";
    static struct task_segment segments[] = {{a, 0, 3}, {b, 0, 3}, {b, 5, BLOCK_LAST}};
    static struct task_input inputs[] = {{segments, 3, {.ordered = true}},
                                         {segments, 1, {.slice = 1, .slices = 3}}};
    static struct task_source source = {csv, {true, 1000, 1}};
    static struct task task;
    task = (struct task){.id = 7,
                         .attempt = 1,
                         .stage = 2,
                         .sql = sql,
                         .inputs = inputs,
                         .input_count = rich ? 2 : 0,
                         .output = out,
                         .partitions = 4,
                         .scatter = rich ? BLOCK_RANGE : BLOCK_HASH};
    if (!rich) return &task;
    task.range = (struct task_range){pipe, csv, 10, 900};
    task.sources = &source;
    task.source_count = 1;
    task.bounds = (struct bounds){{one_key, 1}, one_span};
    task.memory_output = out;
    task.memory_bytes = 1 << 20;
    task.rejects = out;
    task.good_sql = task.faults_sql = sql;
    task.copy_options = options;
    task.copy_statistics = true;
    return &task;
}

static struct sketch *learn_keys(void) {
    static struct sketch sketch;
    uint64_t keys[64];
    struct sketcher *sketcher = sketcher_new(1);
    MUST(sketcher != NULL);
    for (size_t i = 0; i < 64; i++) keys[i] = i % 5 * 0x9e3779b97f4a7c15u + 1;
    sketcher_add(sketcher, keys, keys, 64);
    sketcher_take(sketcher, &sketch);
    sketcher_free(sketcher);
    return &sketch;
}

static struct task_file files[2];

static void free_sizes(void) {
    for (size_t i = 0; i < 2; i++) {
        sizes_free(&files[i].rows);
        sizes_free(&files[i].odd_bytes);
    }
}

const struct task_output *example_output(bool rich) {
    static char path[] = "/tmp/spool/s0.t1/data_0", name[] = "k=1/data_0.parquet",
                statistics[] = "{\"k\":{\"min\":\"1\"}}";
    static struct written_file written[] = {
        {name, 10, 999, 77, 1, statistics, statistics}};
    static struct task_output output;
    const uint64_t few[] = {0, 0, 70000, 0, 0, 0, 0, 0},
                   all[] = {1, 2, 3, 4, 5, 6, 7, 900},
                   bytes[] = {9, 20, 30, 40, 50, 60, 70, 90000};
    free_sizes();
    files[0] = files[1] = (struct task_file){.path = path};
    output = (struct task_output){.files = files, .count = 2, .partitions = 8};
    MUST(sizes_make(&files[0].rows, few, 8));
    MUST(task_file_count(&files[1], all, bytes, 8));
    if (!rich) return &output;
    files[0].keys = learn_keys();
    files[0].sample = (struct keys){one_key, 1};
    files[0].sample_rows = 90;
    files[1].written = written;
    files[1].written_count = 1;
    output.rejects = path;
    output.seconds = 0.25;
    return &output;
}
