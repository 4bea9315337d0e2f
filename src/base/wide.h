// WIDE_VECTORS before a function: it is compiled for AVX-512 and AVX2 as well, and the
// loader takes the copy that the processor has. Its loops must be ones that the compiler
// makes vectors of (-O3, see CMakeLists.txt); nothing where that isn't to be had.
#ifndef SHOAL_WIDE_H
#define SHOAL_WIDE_H

#include <features.h>

#if defined(__x86_64__) && defined(__GLIBC__)
#define WIDE_VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE_VECTORS
#endif

#endif
