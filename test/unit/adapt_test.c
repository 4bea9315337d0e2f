// The rules of adaptive execution: whatever they decide, each row is read once; heavy
// partitions come apart evenly; and the case that they are for ends in time.
#include "adapt/adapt.h"

#include <stdlib.h>
#include <string.h>

#include "sched/sim.h"
#include "support/harness.h"

enum { INPUTS = 3, MOST = 400 };

struct made {
    uint64_t rows[INPUTS][MOST], output[MOST];
    uint32_t combined[MOST];
    struct adapt_input inputs[INPUTS];
    struct adapt_cut cuts[INPUTS];
    struct adapt_stage stage;
};

static uint64_t below(uint64_t *state, uint64_t limit) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % limit;
}

// Mostly small partitions, some empty, some of any size.
static uint64_t any_rows(uint64_t *state) {
    if (below(state, 5) == 0) return 0;
    return below(state, UINT64_C(1) << below(state, 26));
}

static void make_any(struct made *made, uint64_t seed) {
    uint64_t state = seed * 977 + 1;
    memset(made, 0, sizeof *made);
    struct adapt_stage *stage = &made->stage;
    stage->partitions = 1 + (uint32_t)below(&state, MOST);
    stage->input_count = 1 + below(&state, INPUTS);
    stage->slots = 1 + (uint32_t)below(&state, 100);
    stage->fixed = below(&state, 4) == 0;
    stage->skew = (enum adapt_skew)below(&state, 4);
    stage->seed = seed;
    stage->only_slices = below(&state, 8) == 0;
    for (size_t i = 0; i < stage->input_count; i++) {
        made->inputs[i] = (struct adapt_input){
            .rows = made->rows[i], .needed = below(&state, 2), .exchange = (uint32_t)i};
        if (below(&state, 2))
            made->cuts[stage->cut_count++] =
                (struct adapt_cut){.input = i, .rest = below(&state, 2)};
    }
    for (uint32_t p = 0; p < stage->partitions; p++) {
        for (size_t i = 0; i < stage->input_count; i++)
            made->rows[i][p] = any_rows(&state);
        made->output[p] = any_rows(&state);
        made->combined[p] = below(&state, 10) == 0 ? 1 + (uint32_t)below(&state, 3) : 0;
    }
    stage->inputs = made->inputs;
    stage->cuts = made->cuts;
    stage->output = below(&state, 2) ? made->output : NULL;
    stage->combined =
        below(&state, 3) == 0 && !stage->only_slices ? made->combined : NULL;
}

// How the pieces that read a partition read it.
struct seen {
    uint32_t whole, combined, slices, rests, of;
    uint32_t cut;
};

static void look(const struct adapt_stage *stage, const struct adapt_pieces *pieces,
                 struct seen *seen) {
    for (size_t i = 0; i < pieces->count; i++) {
        const struct adapt_piece *piece = &pieces->list[i];
        assert_true(piece->first <= piece->last && piece->last < stage->partitions);
        if (i > 0) assert_true(pieces->list[i - 1].last <= piece->first);
        if (piece->cut != ADAPT_WHOLE) assert_int_equal(piece->first, piece->last);
        for (uint32_t p = piece->first; p <= piece->last; p++) {
            seen[p].whole += piece->cut == ADAPT_WHOLE;
            if (piece->cut == ADAPT_COMBINED) {
                assert_int_equal(piece->slice, seen[p].combined);
                assert_int_equal(piece->slices, stage->combined[p]);
                seen[p].combined++;
            }
            if (piece->cut >= ADAPT_COMBINED) continue;
            assert_true(piece->cut < stage->cut_count);
            assert_true(seen[p].of == 0 || seen[p].cut == piece->cut);
            seen[p].cut = piece->cut;
            seen[p].rests += piece->rest;
            if (piece->rest) continue;
            // Slices come in their order, so none is there twice.
            assert_int_equal(piece->slice, seen[p].slices);
            assert_true(seen[p].slices == 0 || seen[p].of == piece->slices);
            seen[p].of = piece->slices;
            seen[p].slices++;
        }
    }
}

static bool may_be_left_out(const struct adapt_stage *stage, uint32_t partition) {
    for (size_t i = 0; i < stage->input_count; i++) {
        if (stage->inputs[i].needed && stage->inputs[i].rows[partition] == 0) return true;
    }
    return stage->only_slices;
}

static void each_row_is_read_once(void **state) {
    (void)state;
    struct made *made = malloc(sizeof *made);
    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct adapt_pieces pieces;
        struct seen seen[MOST] = {{0}};
        make_any(made, seed);
        const struct adapt_stage *stage = &made->stage;
        assert_true(adapt_pieces(stage, &pieces));
        assert_true(pieces.count > 0 || stage->only_slices);
        look(stage, &pieces, seen);
        for (uint32_t p = 0; p < stage->partitions; p++) {
            const struct seen *s = &seen[p];
            uint32_t combined = stage->combined != NULL ? stage->combined[p] : 0;
            assert_int_equal(s->combined, combined);
            if (s->of > 0) {
                assert_int_equal(s->slices, s->of);
                assert_int_equal(s->rests, stage->cuts[s->cut].rest);
                assert_int_equal(s->whole + s->combined, 0);
                assert_true(stage->skew != ADAPT_OFF);
            } else {
                assert_true(s->whole <= 1 && s->rests == 0);
                assert_true(s->whole == 0 || s->combined == 0);
                if (s->whole + s->combined == 0) assert_true(may_be_left_out(stage, p));
            }
        }
        adapt_pieces_free(&pieces);
    }
    free(made);
}

// The rows that a piece reads and makes.
static uint64_t piece_rows(const struct adapt_stage *stage,
                           const struct adapt_piece *piece) {
    uint64_t rows = 0;
    for (uint32_t p = piece->first; p <= piece->last; p++) rows += adapt_cost(stage, p);
    if (piece->cut >= ADAPT_COMBINED || piece->rest) return rows;
    uint64_t cut = adapt_work(stage, stage->cuts[piece->cut].input, piece->first);
    cut += adapt_made(stage, piece->first);
    return rows - cut + cut / piece->slices;
}

static int by_rows(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// The longest of the tasks, over their median.
static double unevenness(const struct adapt_stage *stage,
                         const struct adapt_pieces *pieces) {
    uint64_t *rows = calloc(pieces->count, sizeof *rows);
    for (size_t i = 0; i < pieces->count; i++)
        rows[i] = piece_rows(stage, &pieces->list[i]);
    qsort(rows, pieces->count, sizeof *rows, by_rows);
    double uneven = (double)rows[pieces->count - 1] / (double)rows[pieces->count / 2];
    free(rows);
    return uneven;
}

// A join of a large and a small side, in 285 partitions, of which some are heavy.
static void make_join(struct made *made, const uint64_t *heavy, size_t heavy_count) {
    memset(made, 0, sizeof *made);
    made->inputs[0] = (struct adapt_input){.rows = made->rows[0], .needed = true};
    made->inputs[1] =
        (struct adapt_input){.rows = made->rows[1], .needed = true, .exchange = 1};
    made->cuts[0] = (struct adapt_cut){.input = 0, .partners = 2};
    made->stage = (struct adapt_stage){.partitions = 285,
                                       .inputs = made->inputs,
                                       .input_count = 2,
                                       .cuts = made->cuts,
                                       .cut_count = 1,
                                       .slots = 2};
    for (uint32_t p = 0; p < 285; p++) {
        made->rows[0][p] = p * 7 % 285 < heavy_count ? heavy[p * 7 % 285] : 350000;
        made->rows[1][p] = 3500;
    }
}

static void heavy_partitions_come_apart_evenly(void **state) {
    (void)state;
    static const uint64_t shapes[][3] = {
        {50000000, 0, 0}, {700000, 900000, 20000000}, {600000, 600000, 600000}};
    struct made *made = malloc(sizeof *made);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct adapt_pieces pieces;
        make_join(made, shapes[s], shapes[s][1] == 0 ? 1 : 3);
        assert_true(adapt_pieces(&made->stage, &pieces));
        assert_true(unevenness(&made->stage, &pieces) <= 1.5);
        assert_non_null(strstr(pieces.reasons.data, "tasks read slices of exchange 0"));
        adapt_pieces_free(&pieces);
        made->stage.skew = ADAPT_OFF;
        assert_true(adapt_pieces(&made->stage, &pieces));
        assert_true(unevenness(&made->stage, &pieces) > 1.5);
        adapt_pieces_free(&pieces);
    }
    free(made);
}

static uint64_t most_rows(const struct adapt_stage *stage,
                          const struct adapt_pieces *pieces) {
    uint64_t most = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        uint64_t rows = piece_rows(stage, &pieces->list[i]);
        if (rows > most) most = rows;
    }
    return most;
}

// What is read several times if it comes apart does so only when it is as many times
// heavier, or has more than each of few slots should; but then into tasks like the
// others, or of half a second's rows.
static void passes_ask_for_weight(void **state) {
    (void)state;
    static const struct {
        uint64_t rows;
        uint32_t passes;
        uint32_t slots;
        uint64_t most;  // of any task
    } cases[] = {{900000, 0, 2, 500000},    {900000, 2, 2, 910000},
                 {50000000, 2, 2, 1010000}, {50000000, 2, 200, 500000},
                 {1400000, 1, 2, 1410000},  // on two slots nobody waits for it
                 {1400000, 1, 100, 500000}};
    struct made *made = malloc(sizeof *made);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct adapt_pieces pieces;
        make_join(made, &cases[i].rows, 1);
        made->stage.passes = cases[i].passes;
        made->stage.slots = cases[i].slots;
        assert_true(adapt_pieces(&made->stage, &pieces));
        assert_in_range(most_rows(&made->stage, &pieces), cases[i].most * 2 / 3,
                        cases[i].most);
        adapt_pieces_free(&pieces);
    }
    free(made);
}

// Few rows on both sides, of one key: the join makes of them what takes long.
static void what_a_join_makes_counts(void **state) {
    (void)state;
    struct made *made = malloc(sizeof *made);
    struct adapt_pieces pieces;
    make_join(made, NULL, 0);
    made->stage.output = made->output;
    made->output[100] = 40000000;
    assert_true(adapt_pieces(&made->stage, &pieces));
    assert_true(unevenness(&made->stage, &pieces) <= 1.5);
    adapt_pieces_free(&pieces);
    free(made);
}

static uint32_t by_low_bits(uint64_t key, uint32_t partitions) {
    return (uint32_t)(key % partitions);
}

// A sketch of so many rows of key 17 among others, one row each.
static struct sketch *sketch_of(uint64_t hot, uint64_t others) {
    struct sketcher *sketcher = sketcher_new(1);
    struct sketch *sketch = malloc(sizeof *sketch);
    uint64_t state = 5;
    for (uint64_t i = 0; i < hot + others; i++) {
        uint64_t key = i < hot ? 17 : 1000 + i;
        uint64_t hash = (key ^ state) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
        hash *= 0xbf58476d1ce4e5b9u;
        hash ^= hash >> 32;
        sketcher_add(sketcher, &key, &hash, 1);
    }
    sketcher_take(sketcher, sketch);
    sketcher_free(sketcher);
    return sketch;
}

// One percent of each side is one key: ten thousand rows times two thousand.
static void frequencies_multiply(void **state) {
    (void)state;
    struct made *made = malloc(sizeof *made);
    uint64_t output[285] = {0};
    make_join(made, NULL, 0);
    struct sketch *large = sketch_of(10000, 990000), *small = sketch_of(2000, 198000);
    made->inputs[0].keys = large;
    made->inputs[1].keys = small;
    made->stage.place = by_low_bits;
    assert_true(adapt_output(&made->stage, output));
    assert_in_range(output[17], 15000000, 26000000);
    for (uint32_t p = 0; p < 285; p++) assert_true(p == 17 || output[p] < 100000);
    // An input without a sketch, or a cut that joins nothing: nothing is known.
    memset(output, 0, sizeof output);
    made->inputs[1].keys = NULL;
    assert_true(adapt_output(&made->stage, output));
    made->inputs[1].keys = small;
    made->cuts[0].partners = 0;
    assert_true(adapt_output(&made->stage, output));
    for (uint32_t p = 0; p < 285; p++) assert_int_equal(output[p], 0);
    free(large);
    free(small);
    free(made);
}

// As many rows as elsewhere, but each a hundred times as wide.
static void bytes_count_too(void **state) {
    (void)state;
    struct made *made = malloc(sizeof *made);
    uint64_t bytes[285];
    struct adapt_pieces pieces;
    make_join(made, NULL, 0);
    for (uint32_t p = 0; p < 285; p++) bytes[p] = made->rows[0][p] * (p == 9 ? 2000 : 20);
    made->inputs[0].bytes = bytes;
    made->inputs[0].row_bytes = 27;
    assert_true(adapt_pieces(&made->stage, &pieces));
    assert_true(pieces.count > 285 + 30);
    assert_non_null(strstr(pieces.reasons.data,
                           "partition 9 has 353500 rows of 700000000 "
                           "bytes"));
    adapt_pieces_free(&pieces);
    free(made);
}

// The other side is large too: with many slices each would read it again.
static void repeated_work_is_weighed(void **state) {
    (void)state;
    static const uint64_t heavy[] = {3000000};
    struct made *made = malloc(sizeof *made);
    struct adapt_pieces pieces;
    make_join(made, heavy, 1);
    made->rows[1][0] = 30000000;
    assert_true(adapt_pieces(&made->stage, &pieces));
    uint64_t work = 0, once = 0;
    for (size_t i = 0; i < pieces.count; i++)
        work += piece_rows(&made->stage, &pieces.list[i]);
    for (uint32_t p = 0; p < 285; p++) once += adapt_cost(&made->stage, p);
    assert_true(work < 2 * once);
    adapt_pieces_free(&pieces);
    // Cut along that other side, it comes apart.
    made->cuts[1] = (struct adapt_cut){.input = 1, .partners = 1};
    made->stage.cut_count = 2;
    assert_true(adapt_pieces(&made->stage, &pieces));
    work = 0;
    for (size_t i = 0; i < pieces.count; i++)
        work += piece_rows(&made->stage, &pieces.list[i]);
    assert_true(work < 2 * once);
    assert_true(unevenness(&made->stage, &pieces) < 25);
    adapt_pieces_free(&pieces);
    free(made);
}

static void a_reason_says_why_not(void **state) {
    (void)state;
    static const uint64_t heavy[] = {50000000};
    struct made *made = malloc(sizeof *made);
    struct adapt_pieces pieces;
    make_join(made, heavy, 1);
    made->stage.cut_count = 0;
    made->stage.whole = "a window sees whole groups";
    assert_true(adapt_pieces(&made->stage, &pieces));
    assert_non_null(strstr(pieces.reasons.data,
                           "partition 0 has 50003500 rows; the median counts as 353500 "
                           "rows: one task reads it, as a window sees whole groups"));
    adapt_pieces_free(&pieces);
    free(made);
}

static void a_small_side_is_broadcast(void **state) {
    (void)state;
    struct adapt_sides sides = {.built_rows = 4000,
                                .built_bytes = 40000,
                                .other_rows = 100000000,
                                .tasks = 4,
                                .rows_most = 10000000};
    assert_true(adapt_broadcast(&sides));
    sides.built_rows = 10000000;  // 120 M built against 220 M written and read
    assert_true(adapt_broadcast(&sides));
    sides.tasks = 40;
    assert_false(adapt_broadcast(&sides));
    sides.tasks = 4;
    sides.bytes_most = 100u << 20;  // of a hash table of 160 MB and more
    assert_false(adapt_broadcast(&sides));
    sides.bytes_most = 0;
    sides.rows_most = 9000000;
    assert_false(adapt_broadcast(&sides));
    // Few against few: as many rows would be built as a shuffle moves.
    sides.built_rows = 2000000;
    sides.other_rows = 3000000;
    assert_false(adapt_broadcast(&sides));
}

static void a_partial_aggregate_is_judged(void **state) {
    (void)state;
    assert_true(adapt_demote(1000000, 900000, ADAPT_AUTO, 0));
    assert_false(adapt_demote(1000000, 500000, ADAPT_AUTO, 0));
    assert_false(adapt_demote(1000, 1000, ADAPT_AUTO, 0));  // too few to say
    assert_true(adapt_demote(10, 1, ADAPT_ALWAYS, 0));
}

// ---- 99 partitions of one unit and one of a hundred, on more and more slots

#define UNIT_ROWS 1000000
// Measured over two workers, a join of integers: a task of 350,000 rows takes 28 ms, one
// of none 4 ms.
#define ROW_SECONDS 68e-9
#define TASK_SECONDS 0.004

struct seed_case {
    const struct adapt_stage *stage;
    const struct adapt_pieces *pieces;
};

static double seconds_of(const void *context, uint32_t stage, uint32_t task) {
    const struct seed_case *seed = context;
    (void)stage;
    return TASK_SECONDS +
           ROW_SECONDS * (double)piece_rows(seed->stage, &seed->pieces->list[task]);
}

// The time that all takes, over all work divided by the slots.
static double makespan(uint32_t slots, enum adapt_skew skew) {
    struct made *made = calloc(1, sizeof *made);
    struct adapt_pieces pieces;
    struct sim_result result;
    make_join(made, NULL, 0);
    made->stage.partitions = 100;
    made->stage.slots = slots;
    made->stage.skew = skew;
    for (uint32_t p = 0; p < 100; p++) {
        made->rows[0][p] = p == 17 ? 100 * UNIT_ROWS : UNIT_ROWS;
        made->rows[1][p] = 1000;
    }
    assert_true(adapt_pieces(&made->stage, &pieces));
    struct sim_stage stage = {.tasks = (uint32_t)pieces.count};
    struct seed_case seed = {&made->stage, &pieces};
    struct sim_options options = {.seed = 1,
                                  .workers = slots,
                                  .slots = 1,
                                  .stages = &stage,
                                  .stages_size = 1,
                                  .task_seconds = seconds_of,
                                  .task_context = &seed};
    assert_true(sim_run(&options, &result));
    assert_int_equal(result.end, SCHED_SUCCEEDED);
    double work = 0;
    for (uint32_t p = 0; p < 100; p++)
        work += TASK_SECONDS + ROW_SECONDS * (double)adapt_cost(&made->stage, p);
    adapt_pieces_free(&pieces);
    free(made);
    return result.seconds / (work / slots);
}

static void the_seed_case_ends_in_time(void **state) {
    (void)state;
    static const uint32_t slots[] = {4, 20, 100};
    static const double without[] = {2, 10, 50};
    for (size_t s = 0; s < 3; s++) {
        double with = makespan(slots[s], ADAPT_AUTO);
        double off = makespan(slots[s], ADAPT_OFF);
        print_message(
            "%u slots: %.2f of all work divided by the slots; without cuts %.2f\n",
            slots[s], with, off);
        assert_true(with <= 1.3);
        assert_true(off >= 0.9 * without[s]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_is_read_once),
        cmocka_unit_test(heavy_partitions_come_apart_evenly),
        cmocka_unit_test(passes_ask_for_weight),
        cmocka_unit_test(what_a_join_makes_counts),
        cmocka_unit_test(frequencies_multiply),
        cmocka_unit_test(bytes_count_too),
        cmocka_unit_test(repeated_work_is_weighed),
        cmocka_unit_test(a_reason_says_why_not),
        cmocka_unit_test(a_small_side_is_broadcast),
        cmocka_unit_test(a_partial_aggregate_is_judged),
        cmocka_unit_test(the_seed_case_ends_in_time),
    };
    return cmocka_run_group_tests_name("adapt", tests, NULL, NULL);
}
