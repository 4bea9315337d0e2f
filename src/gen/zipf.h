// Ranks of a Zipf distribution: rank r of 1..n has a probability proportional to
// r^-exponent.
//
// By rejection-inversion: the area under x^-exponent is inverted, which takes no table,
// and what rounding to a whole rank gets wrong is rejected, a few of a hundred draws at
// most. So ranks have their probabilities exactly, up to the rounding of doubles. W.
// Hörmann, G. Derflinger: Rejection-inversion to generate variates from monotone discrete
// distributions. ACM TOMACS 6(3), 1996.
#ifndef SHOAL_GEN_ZIPF_H
#define SHOAL_GEN_ZIPF_H

#include <stdbool.h>
#include <stdint.h>

// Constants of one distribution.
struct zipf {
    uint64_t n;
    double exponent;
    double first, last;  // the integral, where rank 1 and rank n begin and end
    double sure;         // a rank so near to its x needs no test
};

// n at least 1; exponent 0 is uniform.
void zipf_init(struct zipf *zipf, uint64_t n, double exponent);
// One try with u of [0, 1): false: rejected, try again with another u.
bool zipf_try(const struct zipf *zipf, double u, uint64_t *rank);
// The exact probability of a rank. Adds up n terms: for messages and tests.
double zipf_share(const struct zipf *zipf, uint64_t rank);

#endif
