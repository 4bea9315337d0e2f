#include "gen/zipf.h"

#include <math.h>

// log1p(x) / x and expm1(x) / x, which are 1 at 0: so an exponent of 1 needs no case of
// its own.
static double log1p_by(double x) {
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

static double expm1_by(double x) {
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

static double density(const struct zipf *zipf, double x) {
    return exp(-zipf->exponent * log(x));
}

// The integral of the density from 1 to x, and its inverse.
static double integral(const struct zipf *zipf, double x) {
    double log_x = log(x);
    return expm1_by((1 - zipf->exponent) * log_x) * log_x;
}

static double inverse(const struct zipf *zipf, double area) {
    double t = area * (1 - zipf->exponent);
    if (t < -1) t = -1;  // by rounding alone
    return exp(log1p_by(t) * area);
}

void zipf_init(struct zipf *zipf, uint64_t n, double exponent) {
    *zipf = (struct zipf){.n = n, .exponent = exponent};
    zipf->first = integral(zipf, 1.5) - 1;
    zipf->last = integral(zipf, (double)n + 0.5);
    zipf->sure = 2 - inverse(zipf, integral(zipf, 2.5) - density(zipf, 2));
}

bool zipf_try(const struct zipf *zipf, double u, uint64_t *rank) {
    double area = zipf->last + u * (zipf->first - zipf->last);
    double x = inverse(zipf, area);
    double k = floor(x + 0.5);
    if (!(k >= 1)) k = 1;
    if (k > (double)zipf->n) k = (double)zipf->n;
    *rank = (uint64_t)k;
    return k - x <= zipf->sure || area >= integral(zipf, k + 0.5) - density(zipf, k);
}

double zipf_share(const struct zipf *zipf, uint64_t rank) {
    // The smallest terms first, so that they are not lost. Past some millions of ranks
    // the sum of the rest is its integral, to more digits than are of interest (Euler and
    // Maclaurin).
    const uint64_t exact = 4000000;
    uint64_t last = zipf->n < exact ? zipf->n : exact;
    double sum = 0;
    if (last < zipf->n) {
        sum = integral(zipf, (double)zipf->n) - integral(zipf, (double)last) +
              (density(zipf, (double)zipf->n) - density(zipf, (double)last)) / 2;
    }
    for (uint64_t r = last; r > 0; r--) sum += density(zipf, (double)r);
    return density(zipf, (double)rank) / sum;
}
