// A partition with much more than others is read by several tasks.
//
// Each sub-task reads, beside its slice of one input, all of the others: more slices are
// more work. The input is cut under which the longest sub-task is shortest.
#include "adapt/adapt.h"

#include <stdlib.h>
#include <string.h>

struct choice {
    uint32_t cut;  // ADAPT_WHOLE: none helps
    uint32_t slices;
    uint64_t task;  // rows of the longest
};

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Of what the pieces cost; 0 when there are none.
static bool find_median(const struct adapt_stage *stage,
                        const struct adapt_pieces *pieces, uint64_t *median) {
    uint64_t *costs = calloc(pieces->count + 1, sizeof *costs);
    if (costs == NULL) return false;
    for (size_t i = 0; i < pieces->count; i++) {
        const struct adapt_piece *piece = &pieces->list[i];
        costs[i] = adapt_cost(stage, piece->first);
        if (piece->cut == ADAPT_COMBINED) costs[i] /= piece->slices;
    }
    qsort(costs, pieces->count, sizeof *costs, by_value);
    *median = costs[pieces->count / 2];
    free(costs);
    return true;
}

// Slices of the cut's input for tasks of about `size` rows: fewer, where all that they
// repeat would be more than half of what the partition costs as it is.
static struct choice weigh(const struct adapt_stage *stage, uint32_t partition,
                           uint32_t cut, uint64_t size) {
    uint64_t all = adapt_cost(stage, partition);
    size_t input = stage->cuts[cut].input;
    uint64_t rows = stage->inputs[input].rows[partition];
    uint64_t made = adapt_made(stage, partition);
    uint64_t divided = adapt_work(stage, input, partition) + made, others = all - divided;
    uint64_t slice = size > 2 * others ? size - others : size / 2 + 1;
    uint64_t slices = (divided + slice - 1) / slice;
    if (others > 0 && slices > 1 + all / (2 * others)) slices = 1 + all / (2 * others);
    if (slices > rows) slices = rows;
    if (slices > ADAPT_SLICES_MOST) slices = ADAPT_SLICES_MOST;
    if (slices < 2) return (struct choice){ADAPT_WHOLE, 1, all};
    uint64_t task = divided / slices + others;
    // The rest reads what is cut only for its keys.
    uint64_t rest = others + divided / 2;
    if (stage->cuts[cut].rest && rest > task) task = rest;
    return (struct choice){cut, (uint32_t)slices, task};
}

static struct choice choose(const struct adapt_stage *stage, uint32_t partition,
                            uint64_t size) {
    uint64_t all = adapt_cost(stage, partition);
    struct choice best = {ADAPT_WHOLE, 1, all};
    for (uint32_t c = 0; c < stage->cut_count; c++) {
        struct choice other = weigh(stage, partition, c, size);
        if (other.cut != ADAPT_WHOLE && other.task < best.task) best = other;
    }
    return best;
}

// Any legal cut of at most five slices, or none.
static struct choice choose_any(const struct adapt_stage *stage,
                                struct adapt_pieces *pieces, uint32_t partition) {
    struct choice none = {ADAPT_WHOLE, 1, 0};
    bool always = stage->skew == ADAPT_ALWAYS;
    if (stage->cut_count == 0 || adapt_cost(stage, partition) == 0) return none;
    if (!always && adapt_random(pieces, 2) == 0) return none;
    uint32_t cut = (uint32_t)adapt_random(pieces, stage->cut_count);
    uint32_t slices = 2 + (uint32_t)adapt_random(pieces, always ? 2 : 4);
    return (struct choice){cut, slices, 0};
}

static bool add_slices(const struct adapt_stage *stage, struct adapt_pieces *to,
                       uint32_t partition, const struct choice *choice) {
    struct adapt_piece piece = {.first = partition,
                                .last = partition,
                                .cut = choice->cut,
                                .slices = choice->slices};
    for (; piece.slice < choice->slices; piece.slice++) {
        if (!adapt_add(to, piece)) return false;
    }
    if (!stage->cuts[choice->cut].rest) return true;
    return adapt_add(
        to, (struct adapt_piece){
                .first = partition, .last = partition, .cut = choice->cut, .rest = true});
}

static void say(const struct adapt_stage *stage, struct adapt_pieces *pieces,
                uint32_t partition, uint64_t median, const struct choice *choice) {
    uint64_t rows = 0, bytes = 0;
    uint64_t made = stage->output == NULL ? 0 : stage->output[partition];
    for (size_t i = 0; i < stage->input_count; i++) {
        rows += stage->inputs[i].rows[partition];
        if (stage->inputs[i].bytes != NULL) bytes += stage->inputs[i].bytes[partition];
    }
    text_printf(&pieces->reasons, "partition %u has %llu rows", partition,
                (unsigned long long)rows);
    if (bytes > 0)
        text_printf(&pieces->reasons, " of %llu bytes", (unsigned long long)bytes);
    if (made > rows / 4)
        text_printf(&pieces->reasons, ", and makes about %llu more",
                    (unsigned long long)made);
    text_printf(&pieces->reasons,
                "; the median counts as %llu rows: ", (unsigned long long)median);
    if (choice->cut != ADAPT_WHOLE) {
        const struct adapt_cut *cut = &stage->cuts[choice->cut];
        text_printf(&pieces->reasons, "%u tasks read slices of exchange %u%s\n",
                    choice->slices, stage->inputs[cut->input].exchange,
                    cut->rest ? ", one what the outer join keeps" : "");
    } else {
        text_printf(
            &pieces->reasons, "one task reads it, as %s\n",
            stage->whole != NULL ? stage->whole : "what each slice repeats costs more");
    }
}

// What is passed over again costs as much again, which on few slots no one waits less
// for: a partition may have a part of what each slot has to do, and so may its slices, up
// to about half a second's rows.
#define PASSED_ROWS 1000000
#define PASSED_A_SLOT 4

struct sizes {
    uint64_t slice;  // about as many rows as one should have
    uint64_t most;   // that a partition may have, but for ADAPT_UNEVEN
};

static struct sizes find_sizes(const struct adapt_stage *stage,
                               const struct adapt_pieces *pieces, uint64_t median) {
    uint64_t size = median > pieces->target ? median : pieces->target, all = 0;
    struct sizes sizes = {size, size * (stage->passes + 1)};
    if (stage->passes == 0) return sizes;
    for (size_t i = 0; i < pieces->count; i++)
        all += adapt_cost(stage, pieces->list[i].first);
    uint64_t share = all / PASSED_A_SLOT / (stage->slots > 0 ? stage->slots : 1);
    if (share > PASSED_ROWS) share = PASSED_ROWS;
    if (share > sizes.slice) sizes.slice = share;
    if (share > sizes.most) sizes.most = share;
    return sizes;
}

#define SAID_MOST 10

bool adapt_split(const struct adapt_stage *stage, struct adapt_pieces *pieces) {
    uint64_t median = 0;
    bool any = stage->skew == ADAPT_ALWAYS || stage->skew == ADAPT_RANDOM;
    if (stage->skew == ADAPT_OFF || pieces->count == 0) return true;
    if (!find_median(stage, pieces, &median)) return false;
    struct sizes sizes = find_sizes(stage, pieces, median);
    struct adapt_pieces to = *pieces;
    size_t said = 0, heavy = 0;
    to.list = NULL;
    to.count = to.capacity = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < pieces->count; i++) {
        uint32_t partition = pieces->list[i].first;
        if (pieces->list[i].cut != ADAPT_WHOLE) {
            ok = adapt_add(&to, pieces->list[i]);
            continue;
        }
        bool large =
            (double)adapt_cost(stage, partition) > ADAPT_UNEVEN * (double)sizes.most;
        struct choice choice = any     ? choose_any(stage, &to, partition)
                               : large ? choose(stage, partition, sizes.slice)
                                       : (struct choice){.cut = ADAPT_WHOLE};
        heavy += large && !any;
        bool tells = choice.cut != ADAPT_WHOLE || !stage->only_slices;
        if (large && !any && tells && said++ < SAID_MOST)
            say(stage, &to, partition, median, &choice);
        ok = choice.cut == ADAPT_WHOLE ? adapt_add(&to, pieces->list[i])
                                       : add_slices(stage, &to, partition, &choice);
    }
    if (heavy > SAID_MOST)
        text_printf(&to.reasons, "and so on, %zu heavy partitions in all\n", heavy);
    free(pieces->list);
    *pieces = to;
    return ok;
}
