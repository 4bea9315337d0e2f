// How many rows a join makes of each partition, beyond those that it reads: two keys that
// are each 1% of both sides meet in rows that are many times either side.
//
// A key with a count in a side's sketch has that many rows there; any other as many as
// the side's keys have on average. Frequencies multiply, key by key: for heavy keys as
// counted, for the rest as if the side with the fewest keys found all of them in the
// others, evenly over the partitions.
#include "adapt/adapt.h"

#include <stdlib.h>

#include "base/sketch.h"

struct side {
    const struct adapt_input *input;
    double rows, average;  // of a key
    struct sketch_key *heavy;
    size_t heavy_count;
};

#define SIDES_MOST 8

static int by_key(const void *a, const void *b) {
    uint64_t x = ((const struct sketch_key *)a)->key;
    uint64_t y = ((const struct sketch_key *)b)->key;
    return (x > y) - (x < y);
}

static double frequency(const struct side *side, uint64_t key) {
    struct sketch_key wanted = {.key = key};
    const struct sketch_key *found =
        bsearch(&wanted, side->heavy, side->heavy_count, sizeof *side->heavy, by_key);
    return found == NULL ? side->average : (double)found->rows;
}

static bool open_side(const struct adapt_input *input, struct side *side) {
    *side = (struct side){.input = input, .rows = (double)input->keys->rows};
    side->heavy = calloc(SKETCH_COUNTERS, sizeof *side->heavy);
    if (side->heavy == NULL) return false;
    double others = side->rows, keys = sketch_distinct(input->keys);
    size_t known = sketch_heavy(input->keys, 1, side->heavy);
    for (size_t i = 0; i < known; i++) {
        // Most counters of even keys hold nothing but their error.
        if (side->heavy[i].rows <= side->heavy[i].error) continue;
        others -= (double)side->heavy[i].rows;
        side->heavy[side->heavy_count++] = side->heavy[i];
    }
    keys -= (double)side->heavy_count;
    side->average = others > keys && keys >= 1 ? others / keys : 1;
    qsort(side->heavy, side->heavy_count, sizeof *side->heavy, by_key);
    return true;
}

// The inputs that the stage joins, by the cut that has most; none if a sketch lacks.
static bool open_sides(const struct adapt_stage *stage, struct side *sides,
                       size_t *count) {
    uint64_t members = 0;
    for (size_t c = 0; c < stage->cut_count; c++) {
        if (stage->cuts[c].input >= 64) continue;
        uint64_t all = stage->cuts[c].partners | UINT64_C(1) << stage->cuts[c].input;
        if (__builtin_popcountll(all) > __builtin_popcountll(members)) members = all;
    }
    for (size_t i = 0; i < stage->input_count && i < 64; i++) {
        if ((members >> i & 1) == 0) continue;
        const struct adapt_input *input = &stage->inputs[i];
        if (input->keys == NULL || input->keys->rows == 0 || *count == SIDES_MOST) {
            while (*count > 0) free(sides[--*count].heavy);
            return true;
        }
        (*count)++;
        if (!open_side(input, &sides[*count - 1])) return false;
    }
    return true;
}

static double product(const struct side *sides, size_t count, uint64_t key) {
    double rows = 1, read = 0;
    for (size_t i = 0; i < count; i++) {
        double own = frequency(&sides[i], key);
        rows *= own;
        read += own;
    }
    return rows > read ? rows - read : 0;
}

// Each heavy key once, by the first side that has it.
static void add_heavy(const struct adapt_stage *stage, const struct side *sides,
                      size_t count, double *output) {
    for (size_t s = 0; s < count; s++) {
        for (size_t i = 0; i < sides[s].heavy_count; i++) {
            uint64_t key = sides[s].heavy[i].key;
            bool seen = false;
            struct sketch_key wanted = {.key = key};
            for (size_t before = 0; before < s && !seen; before++)
                seen = bsearch(&wanted, sides[before].heavy, sides[before].heavy_count,
                               sizeof wanted, by_key) != NULL;
            if (!seen)
                output[stage->place(key, stage->partitions)] +=
                    product(sides, count, key);
        }
    }
}

static double rest_of_keys(const struct side *sides, size_t count) {
    double rows = 1, read = 0, keys = -1;
    for (size_t i = 0; i < count; i++) {
        double own = sketch_distinct(sides[i].input->keys);
        if (keys < 0 || own < keys) keys = own;
        rows *= sides[i].average;
        read += sides[i].average;
    }
    return rows > read ? keys * (rows - read) : 0;
}

bool adapt_output(const struct adapt_stage *stage, uint64_t *output) {
    struct side sides[SIDES_MOST];
    size_t count = 0;
    bool ok = open_sides(stage, sides, &count);
    double *made = calloc((size_t)stage->partitions + 1, sizeof *made);
    if (ok && made != NULL && count > 1) {
        double each = rest_of_keys(sides, count) / stage->partitions;
        add_heavy(stage, sides, count, made);
        for (uint32_t p = 0; p < stage->partitions; p++) {
            double rows = made[p] + each;
            output[p] = rows < 1e15 ? (uint64_t)rows : (uint64_t)1e15;
        }
    }
    for (size_t i = 0; i < count; i++) free(sides[i].heavy);
    free(made);
    return ok && made != NULL;
}
