#include "gen/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 2048  // rows that DuckDB takes at once
#define MOST_COLUMNS 5

static struct making *current;

void skew_source_set(struct making *making) {
    current = making;
}

// The columns that the functions below fill, in their order.
#define FACT_COLUMNS \
    "key BIGINT, ts TIMESTAMP, quantity INTEGER, amount DOUBLE, note INTEGER"
#define DIM_COLUMNS "key BIGINT, segment INTEGER, weight INTEGER"

void skew_source_select(struct text *sql, bool fact, uint32_t file) {
    if (fact) {
        text_printf(sql,
                    "SELECT key, ts, quantity, amount, 'note ' || note AS note FROM "
                    "shoal_skew('fact', %" PRIu32 ", CAST(NULL AS STRUCT(" FACT_COLUMNS
                    ")))",
                    file);
    } else {
        text_printf(sql,
                    "SELECT key, 'name ' || key AS name, 'segment ' || segment AS "
                    "segment, weight FROM shoal_skew('dim', %" PRIu32
                    ", CAST(NULL AS STRUCT(" DIM_COLUMNS ")))",
                    file);
    }
}

// The rows of one file, read by one thread.
struct part {
    const struct making *making;
    bool fact;
    uint64_t at, end;
    struct column columns[MOST_COLUMNS];
    size_t column_count;
};

static void part_close(void *state) {
    struct part *part = state;
    for (size_t c = 0; part != NULL && c < part->column_count; c++)
        column_free(&part->columns[c]);
    free(part);
}

static bool part_shape(struct part *part, const struct column *shapes, size_t columns) {
    for (size_t c = 0; c < columns; c++) {
        struct column *column = &part->columns[c];
        if (!column_copy_shape(column, &shapes[c])) return false;
        part->column_count++;
        column->rows = BATCH;
        if (!column_reserve(&column->data, (size_t)BATCH * column->width)) return false;
    }
    return column_reserve(&part->columns[0].validity, BATCH / 8);
}

static void *part_open(const char *key, size_t index, const struct column *shapes,
                       size_t columns, uint64_t *rows, struct shoal_error *err) {
    bool fact = strcmp(key, "fact") == 0;
    struct part *part = calloc(1, sizeof *part);
    if (part == NULL || current == NULL || columns > MOST_COLUMNS ||
        !part_shape(part, shapes, columns)) {
        part_close(part);
        (void)shoal_no_memory(err);
        return NULL;
    }
    uint64_t all = fact ? current->rows.options.rows : current->rows.dim_rows;
    uint64_t files = fact ? current->fact_files : current->dim_files;
    part->making = current;
    part->fact = fact;
    part->at = all * index / files;
    part->end = all * (index + 1) / files;
    *rows = part->end - part->at;
    return part;
}

static size_t part_parallel(const void *part) {
    (void)part;
    return 1;  // the rows of a file are in order
}

static void *part_begin(void *part) {
    return part;
}

static void part_end(void *part) {
    (void)part;
}

static void *values(struct part *part, size_t column) {
    return part->columns[column].data.data;
}

static void fill_fact(struct part *part, size_t count) {
    int64_t *keys = values(part, 0), *times = values(part, 1);
    int32_t *quantities = values(part, 2), *notes = values(part, 4);
    double *amounts = values(part, 3);
    struct column_buffer *validity = &part->columns[0].validity;
    memset(validity->data, 0xff, BATCH / 8);
    validity->size = 0;
    for (size_t i = 0; i < count; i++) {
        struct fact_row row = rows_fact(&part->making->rows, part->at + i);
        keys[i] = row.key;
        times[i] = row.ts;
        quantities[i] = row.quantity;
        amounts[i] = row.amount;
        notes[i] = row.note;
        if (row.has_key) continue;
        validity->data[i / 8] &= (uint8_t) ~(1u << i % 8);
        validity->size = BATCH / 8;
    }
}

static void fill_dim(struct part *part, size_t count) {
    int64_t *keys = values(part, 0);
    int32_t *segments = values(part, 1), *weights = values(part, 2);
    for (size_t i = 0; i < count; i++) {
        struct dim_row row = rows_dim(&part->making->rows, part->at + i);
        keys[i] = row.key;
        segments[i] = row.segment;
        weights[i] = row.weight;
    }
}

static shoal_status part_next(void *state, const struct column **columns, uint64_t *first,
                              size_t *count, struct shoal_error *err) {
    struct part *part = state;
    const volatile sig_atomic_t *cancelled = part->making->rows.options.cancelled;
    if ((cancelled != NULL && *cancelled) || part->making->failed)
        return shoal_fail(err, SHOAL_CANCELLED, "cancelled");
    *columns = part->columns;
    *first = 0;
    *count = part->end - part->at < BATCH ? (size_t)(part->end - part->at) : BATCH;
    if (part->fact) {
        fill_fact(part, *count);
    } else {
        fill_dim(part, *count);
    }
    part->at += *count;
    return SHOAL_OK;
}

const struct duck_source skew_source = {.name = "shoal_skew",
                                        .open = part_open,
                                        .close = part_close,
                                        .parallel = part_parallel,
                                        .begin = part_begin,
                                        .end = part_end,
                                        .next = part_next};
