// XXH3 of many bytes, by the widest vectors that the processor has where the library
// chooses them as it runs (on x86-64: AVX-512, AVX2 or SSE2; the values are the same).
// Short keys are better hashed inline: include xxhash.h with XXH_INLINE_ALL for those.
//
// Include it in place of xxhash.h, and use XXH3_64bits and its streaming functions.
#ifndef SHOAL_CHECKSUM_H
#define SHOAL_CHECKSUM_H

#ifdef SHOAL_XXHASH_DISPATCH
#define XXH_STATIC_LINKING_ONLY  // for states on the stack
#include <xxh_x86dispatch.h>
#else
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

#endif
