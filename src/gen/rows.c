// Each value is drawn by a hash of (seed, what it is for, row number): SplitMix64
// (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014),
// which can be entered at any row.
#include "gen/rows.h"

#define GOLDEN 0x9e3779b97f4a7c15
#define DAYS_30 2592000000000       // microseconds
#define FIRST_DAY 1767225600000000  // 2026-01-01

enum stream { STREAM_KIND, STREAM_RANK, STREAM_FACT, STREAM_DIM, STREAM_SPREAD };

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t draw(const struct rows *rows, enum stream stream, uint64_t i) {
    return mix(rows->starts[stream] + (i + 1) * GOLDEN);
}

// In [0, 1).
static double fraction(uint64_t bits) {
    return (double)(bits >> 11) * 0x1p-53;
}

// In 0..n-1, by the upper bits.
static uint64_t below(uint64_t bits, uint64_t n) {
    return (uint64_t)((unsigned __int128)bits * n >> 64);
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void spread_init(struct spread *spread, uint64_t n, double ratio, uint64_t start) {
    spread->n = n;
    spread->start = start % n;
    spread->step = (uint64_t)((double)n * ratio);
    if (spread->step == 0) spread->step = 1;
    while (greatest_divisor(spread->step, n) != 1) spread->step++;
}

uint64_t spread_at(const struct spread *spread, uint64_t i) {
    return (i * spread->step + spread->start) % spread->n;  // below 2^64: SKEW_MOST
}

void rows_init(struct rows *rows, const struct skew_options *options) {
    *rows = (struct rows){.options = *options};
    for (uint64_t s = 0; s < sizeof rows->starts / sizeof *rows->starts; s++)
        rows->starts[s] = mix(mix(options->seed + GOLDEN) + (s + 1) * GOLDEN);
    zipf_init(&rows->zipf, options->keys, options->zipf);
    rows->dim_rows = options->keys + options->hot_keys * (options->dim_rows - 1);
    rows->tick = DAYS_30 / options->rows > 0 ? DAYS_30 / options->rows : 1;
    // The golden ratio and two more irrational numbers: no permutation is like another.
    spread_init(&rows->keys, options->keys, 0.6180339887498949,
                draw(rows, STREAM_SPREAD, 0));
    spread_init(&rows->times, options->rows, 0.7320508075688772,
                draw(rows, STREAM_SPREAD, 1));
    spread_init(&rows->dims, rows->dim_rows, 0.4142135623730951,
                draw(rows, STREAM_SPREAD, 2));
}

uint64_t rows_key(const struct rows *rows, uint64_t rank) {
    return spread_at(&rows->keys, rank - 1);
}

static uint64_t draw_rank(const struct rows *rows, uint64_t i) {
    uint64_t bits = draw(rows, STREAM_RANK, i);
    uint64_t rank = 0;
    if (rows->options.zipf == 0) return below(bits, rows->options.keys) + 1;
    while (!zipf_try(&rows->zipf, fraction(bits), &rank)) bits = mix(bits + GOLDEN);
    return rank;
}

struct fact_row rows_fact(const struct rows *rows, uint64_t i) {
    const struct skew_options *options = &rows->options;
    uint64_t bits = draw(rows, STREAM_FACT, i);
    struct fact_row row = {.has_key = true};
    row.ts = FIRST_DAY + (int64_t)(spread_at(&rows->times, i) * rows->tick);
    row.quantity = 1 + (int32_t)(bits % 100);
    row.amount = (double)(bits / 100 % 10000) / 4;
    row.note = (int32_t)(bits / 1000000 % 1000);
    double kind = fraction(draw(rows, STREAM_KIND, i)) - options->null_share;
    if (kind < 0) {
        row.has_key = false;
    } else if (kind < options->hot_share) {
        uint64_t hot = (uint64_t)(kind / options->hot_share * (double)options->hot_keys);
        if (hot >= options->hot_keys) hot = options->hot_keys - 1;  // by rounding
        row.key = (int64_t)rows_key(rows, hot + 1);
    } else {
        row.key = (int64_t)rows_key(rows, draw_rank(rows, i));
    }
    return row;
}

// Its rows are those of one of each key, then what hot keys have more, put in another
// order.
struct dim_row rows_dim(const struct rows *rows, uint64_t i) {
    uint64_t bits = draw(rows, STREAM_DIM, i);
    uint64_t place = spread_at(&rows->dims, i);
    struct dim_row row = {.segment = (int32_t)(bits % 25)};
    row.weight = 1 + (int32_t)(bits / 25 % 1000);
    if (place >= rows->options.keys)
        place = rows_key(rows, (place - rows->options.keys) % rows->options.hot_keys + 1);
    row.key = (int64_t)place;
    return row;
}
