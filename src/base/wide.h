// WIDE_VECTORS before a function: it is compiled for AVX-512 and AVX2 as well, and the
// loader takes the copy that the processor has. Its loops must be ones that the compiler
// makes vectors of (-O3, see CMakeLists.txt), and the function a static one: clang and
// gcc name what others would call differently. Nothing where that isn't to be had, nor
// under ThreadSanitizer: the loader chooses before that one is ready, and it would crash.
#ifndef SHOAL_WIDE_H
#define SHOAL_WIDE_H

#include <features.h>

#if defined(__SANITIZE_THREAD__)
#define NARROW_VECTORS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NARROW_VECTORS
#endif
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(NARROW_VECTORS)
#define WIDE_VECTORS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE_VECTORS
#endif

#endif
