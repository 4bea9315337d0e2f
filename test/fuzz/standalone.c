// Runs a fuzzer without libFuzzer, for every build with AddressSanitizer: each seed, then
// for some seconds seeds that were changed at random. It is blind, so it finds little
// that is new; it keeps what `./dev fuzz` has found from coming back.
//     NAME_fuzz [-max_total_time=SECONDS] [FILE or FOLDER]...
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#define SEEDS_MOST 1000
#define INPUT_MOST (1u << 16)

static struct {
    uint8_t *data;
    size_t size;
} seeds[SEEDS_MOST];
static size_t seed_count;
static uint8_t input[INPUT_MOST];
static size_t input_size;
static char crash_path[4096];
static uint64_t state = 88172645463325252u;

static uint64_t chance(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below == 0 ? 0 : state % below;
}

// The input that ends the program goes to a file, for a seed.
static void keep_input(int number) {
    FILE *file = fopen(crash_path, "we");
    if (file != NULL) {
        (void)fwrite(input, 1, input_size, file);
        (void)fclose(file);
        fprintf(stderr, "the input is in %s\n", crash_path);
    }
    if (number != 0) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
}

static void keep_at_death(void) {
    keep_input(0);
}

#if defined(__SANITIZE_ADDRESS__)
void __sanitizer_set_death_callback(void (*callback)(void));
#define WATCH_DEATH() __sanitizer_set_death_callback(keep_at_death)
#else
#define WATCH_DEATH() (void)keep_at_death
#endif

static void run(void) {
    uint8_t *copy = malloc(input_size + (input_size == 0));
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, input, input_size);
    (void)LLVMFuzzerTestOneInput(copy, input_size);
    free(copy);
}

static void add_seed(const char *path) {
    FILE *file = fopen(path, "re");
    FUZZ_CHECK(file != NULL && seed_count < SEEDS_MOST);
    input_size = fread(input, 1, sizeof input, file);
    (void)fclose(file);
    seeds[seed_count].data = malloc(input_size + 1);
    FUZZ_CHECK(seeds[seed_count].data != NULL);
    memcpy(seeds[seed_count].data, input, input_size);
    seeds[seed_count++].size = input_size;
}

static void add_seeds(const char *path) {
    struct stat at;
    char inside[4096];
    FUZZ_CHECK(stat(path, &at) == 0);
    if (!S_ISDIR(at.st_mode)) {
        add_seed(path);
        return;
    }
    DIR *folder = opendir(path);
    FUZZ_CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        (void)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        if (*entry->d_name != '.') add_seed(inside);
    }
    closedir(folder);
}

static void take(size_t seed) {
    input_size = seeds[seed].size;
    memcpy(input, seeds[seed].data, input_size);
}

// Some bytes of another seed come in at `at`.
static void splice(size_t at) {
    size_t other = chance(seed_count), from = chance(seeds[other].size);
    size_t size = chance(seeds[other].size - from + 1);
    if (size > sizeof input - input_size) size = sizeof input - input_size;
    memmove(input + at + size, input + at, input_size - at);
    memcpy(input + at, seeds[other].data + from, size);
    input_size += size;
}

static void change(void) {
    size_t at = chance(input_size);
    switch (chance(6)) {
        case 0:
            if (input_size > 0) input[at] ^= (uint8_t)(1u << chance(8));
            break;
        case 1:
            if (input_size > 0) input[at] = (uint8_t)chance(256);
            break;
        case 2:
            input_size = chance(20) == 0 ? at : input_size;
            break;
        case 3:  // a number at its ends
            if (input_size - at >= 8) memset(input + at, chance(2) ? 0xff : 0, 8);
            break;
        case 4: {
            size_t size = chance(input_size - at + 1);
            if (size > 16) size = chance(16);
            memmove(input + at, input + at + size, input_size - at - size);
            input_size -= size;
            break;
        }
        default:
            splice(at);
            break;
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    double limit = 0;
    unsigned long runs = 0;
    // Whole: a fuzzer may go to a folder of its own.
    FUZZ_CHECK(getcwd(crash_path, sizeof crash_path - 16) != NULL);
    strncat(crash_path, "/crash-input", 15);
    WATCH_DEATH();
    (void)signal(SIGABRT, keep_input);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-max_total_time=", 16) == 0) {
            limit = strtod(argv[i] + 16, NULL);
        } else {
            add_seeds(argv[i]);
        }
    }
    if (seed_count == 0) {
        fprintf(stderr, "%s: no seeds: give files or folders of them\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < seed_count; i++, runs++) {
        take(i);
        run();
    }
    for (double end = seconds() + limit; limit > 0 && seconds() < end; runs++) {
        take(chance(seed_count));
        for (size_t changes = 1 + chance(6); changes > 0; changes--) change();
        run();
    }
    printf("%lu runs of %zu seeds\n", runs, seed_count);
    for (size_t i = 0; i < seed_count; i++) free(seeds[i].data);
    return 0;
}
