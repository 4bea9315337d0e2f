// What the fuzzers share. Each file *_fuzz.c is one fuzzer: libFuzzer's entry point, with
// checks that end the program when an answer is not what its header promises.
#ifndef SHOAL_TEST_FUZZ_H
#define SHOAL_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A promise that was broken; the sanitizer's report says which input did it.
#define FUZZ_CHECK(condition)                                                   \
    do {                                                                        \
        if (condition) break;                                                   \
        fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
        abort();                                                                \
    } while (0)

// The input as a text in memory of exactly its size, so that a read past its end shows.
static inline char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    FUZZ_CHECK(text != NULL);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

// A frame's header: length, number, type. The numbers of the frames that the bytes hold
// are made those that are due, but 255, which stays: changes would else find nothing
// behind the first frame.
#define FUZZ_HEADER 9
static inline uint32_t fuzz_number(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}
static inline void fuzz_number_frames(uint8_t *data, size_t size, uint32_t number) {
    for (size_t at = 0; size - at >= FUZZ_HEADER; number++) {
        if (data[at + 4] != 255) memcpy(data + at + 4, &number, sizeof number);
        uint32_t length = fuzz_number(data + at);
        if (length > size - at - FUZZ_HEADER) return;
        at += FUZZ_HEADER + length;
    }
}

// A new folder, in memory if that can be: a name of FUZZ_FOLDER bytes.
#define FUZZ_FOLDER 32
static inline void fuzz_make_folder(char *name) {
    static const char *const parents[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(name, FUZZ_FOLDER, "%s/shoal-fuzz-XXXXXX", parents[i]);
        if (mkdtemp(name) != NULL) return;
    }
    FUZZ_CHECK(!"a folder can be made");
}

#endif
