// The rules in their order, from one piece a partition on.
#include "adapt/adapt.h"

#include <stdlib.h>

static bool (*const rules[])(const struct adapt_stage *, struct adapt_pieces *) = {
    adapt_drop_empty,
    adapt_split,
    adapt_coalesce,
};

bool adapt_add(struct adapt_pieces *pieces, struct adapt_piece piece) {
    if (pieces->count == pieces->capacity) {
        size_t capacity = pieces->capacity ? pieces->capacity * 2 : 64;
        struct adapt_piece *grown = realloc(pieces->list, capacity * sizeof *grown);
        if (grown == NULL) return false;
        pieces->list = grown;
        pieces->capacity = capacity;
    }
    pieces->list[pieces->count++] = piece;
    return true;
}

// splitmix64 (Steele, Lea, Flood, 2014).
uint64_t adapt_random(struct adapt_pieces *pieces, uint64_t below) {
    uint64_t z = pieces->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

// Half by rows, half by bytes: a join costs by the row, reading and copying by the byte.
uint64_t adapt_work(const struct adapt_stage *stage, size_t input, uint32_t partition) {
    const struct adapt_input *of = &stage->inputs[input];
    uint64_t rows = of->rows[partition];
    if (of->bytes == NULL || of->row_bytes <= 0) return rows;
    return rows / 2 + (uint64_t)((double)of->bytes[partition] / of->row_bytes / 2) +
           rows % 2;
}

uint64_t adapt_made(const struct adapt_stage *stage, uint32_t partition) {
    return stage->output == NULL ? 0 : stage->output[partition] / 2;
}

uint64_t adapt_cost(const struct adapt_stage *stage, uint32_t partition) {
    uint64_t rows = adapt_made(stage, partition);
    for (size_t i = 0; i < stage->input_count; i++)
        rows += adapt_work(stage, i, partition);
    return rows;
}

static uint64_t choose_target(const struct adapt_stage *stage) {
    uint64_t total = 0;
    for (uint32_t p = 0; p < stage->partitions; p++) total += adapt_cost(stage, p);
    uint64_t target = total / ((uint64_t)stage->slots * ADAPT_TASKS_A_SLOT + 1);
    if (target > ADAPT_TASK_ROWS) target = ADAPT_TASK_ROWS;
    return target < ADAPT_TASK_ROWS_LEAST ? ADAPT_TASK_ROWS_LEAST : target;
}

// The partition as one task reads it, or as those do that read what a stage before made.
static bool add_partition(const struct adapt_stage *stage, uint32_t partition,
                          struct adapt_pieces *pieces) {
    uint32_t combined = stage->combined == NULL ? 0 : stage->combined[partition];
    struct adapt_piece piece = {.first = partition,
                                .last = partition,
                                .cut = combined > 0 ? ADAPT_COMBINED : ADAPT_WHOLE,
                                .slices = combined};
    do {
        if (!adapt_add(pieces, piece)) return false;
    } while (++piece.slice < combined);
    return true;
}

static void say_parts(const struct adapt_stage *stage, struct adapt_pieces *pieces) {
    size_t partitions = 0, tasks = 0;
    for (uint32_t p = 0; stage->combined != NULL && p < stage->partitions; p++) {
        if (stage->combined[p] < 2) continue;
        partitions++;
        tasks += stage->combined[p];
    }
    if (partitions > 0)
        text_printf(&pieces->reasons,
                    "%zu heavy partition%s come%s in parts: %zu tasks\n", partitions,
                    partitions == 1 ? "" : "s", partitions == 1 ? "s" : "", tasks);
}

static void keep_slices(struct adapt_pieces *pieces) {
    size_t kept = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        if (pieces->list[i].cut != ADAPT_WHOLE) pieces->list[kept++] = pieces->list[i];
    }
    pieces->count = kept;
}

bool adapt_pieces(const struct adapt_stage *stage, struct adapt_pieces *pieces) {
    *pieces = (struct adapt_pieces){.random = stage->seed};
    pieces->target = choose_target(stage);
    for (uint32_t p = 0; p < stage->partitions; p++) {
        if (!add_partition(stage, p, pieces)) return false;
    }
    say_parts(stage, pieces);
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        if (!rules[r](stage, pieces)) return false;
    }
    if (stage->only_slices) keep_slices(pieces);
    return !pieces->reasons.failed;
}

void adapt_pieces_free(struct adapt_pieces *pieces) {
    free(pieces->list);
    text_free(&pieces->reasons);
    *pieces = (struct adapt_pieces){0};
}
