// Draws have the probabilities of their definition, and permutations are ones.
#include <math.h>
#include <stdlib.h>

#include "gen/rows.h"
#include "gen/zipf.h"
#include "support/harness.h"

#define DRAWS 1000000

static uint64_t seed = 5;

static double draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) * 0x1p-53;
}

// Pearson's chi-squared over ranks that are expected five times or more, and the others
// together, is at most six standard deviations above its mean.
static void check_fit(const uint64_t *counts, const double *shares, uint64_t n) {
    double chi = 0, rest = DRAWS;
    uint64_t bins = 0, drawn = DRAWS;
    for (uint64_t r = 0; r < n && shares[r] * DRAWS >= 5; r++, bins++) {
        double off = (double)counts[r] - shares[r] * DRAWS;
        chi += off * off / (shares[r] * DRAWS);
        rest -= shares[r] * DRAWS;
        drawn -= counts[r];
    }
    if (rest >= 5) {
        chi += ((double)drawn - rest) * ((double)drawn - rest) / rest;
        bins++;
    }
    double most = (double)bins + 6 * sqrt(2 * (double)bins) + 6;
    if (chi > most)
        fail_msg("n = %llu: chi-squared is %g, more than %g", (unsigned long long)n, chi,
                 most);
}

static void fits(uint64_t n, double exponent) {
    uint64_t *counts = calloc(n, sizeof *counts);
    double *shares = calloc(n, sizeof *shares);
    double sum = 0;
    struct zipf zipf;
    assert_non_null(counts);
    assert_non_null(shares);
    for (uint64_t r = 0; r < n; r++) sum += pow((double)r + 1, -exponent);
    for (uint64_t r = 0; r < n; r++) shares[r] = pow((double)r + 1, -exponent) / sum;
    zipf_init(&zipf, n, exponent);
    assert_true(fabs(zipf_share(&zipf, 1) - shares[0]) < 1e-12);
    assert_true(fabs(zipf_share(&zipf, n) - shares[n - 1]) < 1e-12);
    uint64_t tries = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t rank = 0;
        do tries++;
        while (!zipf_try(&zipf, draw(), &rank));
        assert_true(rank >= 1 && rank <= n);
        counts[rank - 1]++;
    }
    assert_true(tries < DRAWS + DRAWS / 8);
    check_fit(counts, shares, n);
    free(counts);
    free(shares);
}

static void ranks_have_their_shares(void **state) {
    static const uint64_t sizes[] = {1, 2, 10, 1000, 100000};
    static const double exponents[] = {0.1, 0.5, 1, 1.000001, 1.2, 1.5, 2, 4, 10};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++)
            fits(sizes[s], exponents[e]);
}

// The ends of [0, 1) give ranks too.
static void the_ends_are_ranks(void **state) {
    (void)state;
    for (double exponent = 0.1; exponent <= 10; exponent += 0.1) {
        struct zipf zipf;
        uint64_t rank = 0;
        zipf_init(&zipf, SKEW_MOST, exponent);
        (void)zipf_try(&zipf, 0, &rank);
        assert_true(rank >= 1 && rank <= SKEW_MOST);
        assert_true(zipf_try(&zipf, 1 - 0x1p-53, &rank));
        assert_int_equal(rank, 1);
    }
}

// Of many keys the share is an integral, to nine digits and more.
static void shares_of_many_keys(void **state) {
    (void)state;
    for (double exponent = 0.5; exponent < 2; exponent += 0.5) {
        struct zipf zipf;
        double sum = 0;
        zipf_init(&zipf, 6000000, exponent);
        for (uint64_t r = 6000000; r > 0; r--) sum += pow((double)r, -exponent);
        assert_true(fabs(zipf_share(&zipf, 1) * sum - 1) < 1e-9);
    }
}

static void a_spread_is_a_permutation(void **state) {
    (void)state;
    for (uint64_t n = 1; n < 400; n++) {
        struct spread spread;
        uint8_t *seen = calloc(n, 1);
        assert_non_null(seen);
        spread_init(&spread, n, 0.618, n * 7 + 3);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t at = spread_at(&spread, i);
            assert_true(at < n && !seen[at]);
            seen[at] = 1;
        }
        free(seen);
    }
}

static uint64_t distance(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

// The hottest keys are far apart, whatever the number of keys and the seed, and the
// largest tables are within 64 bits.
static void hot_keys_are_no_neighbours(void **state) {
    static const uint64_t sizes[] = {1000, 1024, 999983, 1000000, 20000000, SKEW_MOST};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct skew_options options = {
            .rows = SKEW_MOST, .keys = sizes[s], .hot_keys = 1, .dim_rows = 1, .seed = s};
        struct rows rows;
        rows_init(&rows, &options);
        for (uint64_t a = 1; a <= 10; a++) {
            assert_true(rows_key(&rows, a) < sizes[s]);
            for (uint64_t b = 1; b < a; b++)
                assert_true(distance(rows_key(&rows, a), rows_key(&rows, b)) >
                            sizes[s] / 40);
        }
        assert_true(rows_key(&rows, sizes[s]) < sizes[s]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_have_their_shares),
        cmocka_unit_test(the_ends_are_ranks),
        cmocka_unit_test(shares_of_many_keys),
        cmocka_unit_test(a_spread_is_a_permutation),
        cmocka_unit_test(hot_keys_are_no_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
