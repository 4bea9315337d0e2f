#include "support/fail_alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_ullong made;      // allocations so far
static atomic_ullong fails_at;  // 0: none
static atomic_bool goes_on, failed;
static const char *once;  // the file that says that it has failed somewhere
static const char *count_folder;
static const char *process = "driver";

// Where it failed, under ASan, if SHOAL_TRACE_ALLOC is set.
void __sanitizer_print_stack_trace(void) __attribute__((weak));

static bool is_first(void) {
    if (once == NULL) return true;
    int fd = open(once, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static bool fails(void) {
    unsigned long long number = atomic_fetch_add(&made, 1) + 1, at = fails_at;
    if (at == 0 || (goes_on ? number < at : number != at)) return false;
    if (!failed && !is_first()) {
        fails_at = 0;
        return false;
    }
    failed = true;
    if (getenv("SHOAL_TRACE_ALLOC") != NULL && __sanitizer_print_stack_trace != NULL)
        __sanitizer_print_stack_trace();
    errno = ENOMEM;
    return true;
}

void fail_alloc_at(uint64_t at, bool on) {
    made = 0;
    failed = false;
    goes_on = on;
    fails_at = at;
}

bool fail_alloc_end(void) {
    fails_at = 0;
    return failed;
}

// ---- what is wrapped: the names are the linker's

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *data, size_t size);
void *__wrap_realloc(void *data, size_t size);
void *__wrap_realloc(void *data, size_t size) {
    return fails() ? NULL : __real_realloc(data, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}

char *__real_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size);
char *__wrap_strndup(const char *text, size_t size) {
    return fails() ? NULL : __real_strndup(text, size);
}

int __real_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args);
int __wrap_vasprintf(char **text, const char *format, va_list args) {
    if (!fails()) return __real_vasprintf(text, format, args);
    *text = NULL;
    return -1;
}

ssize_t __real_getline(char **line, size_t *size, FILE *file);
ssize_t __wrap_getline(char **line, size_t *size, FILE *file);
ssize_t __wrap_getline(char **line, size_t *size, FILE *file) {
    return fails() ? -1 : __real_getline(line, size, file);
}

char *__real_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved) {
    return fails() ? NULL : __real_realpath(path, resolved);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
DIR *__wrap_opendir(const char *path) {
    return fails() ? NULL : __real_opendir(path);
}

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode) {
    return fails() ? NULL : __real_fopen(path, mode);
}

// ---- a program that is told by its environment

static bool is_worker(void) {
    char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (size <= 0) return false;
    text[size] = '\0';
    size_t first = strlen(text) + 1;
    return first < (size_t)size && strcmp(text + first, "worker") == 0;
}

static void write_count(void) {
    char path[4096];
    fails_at = 0;
    (void)snprintf(path, sizeof path, "%s/%s.%d", count_folder, process, (int)getpid());
    FILE *file = __real_fopen(path, "we");
    if (file == NULL) return;
    fprintf(file, "%llu\n", (unsigned long long)made);
    (void)fclose(file);
}

static void note_crash(int number) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/crash.%d", count_folder, (int)getpid());
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    (void)raise(number);
}

static void watch_crashes(void) {
    static const int signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = note_crash, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        (void)sigaction(signals[i], &action, NULL);
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("SHOAL_FAIL_ALLOC");
    if (is_worker()) process = "worker";
    count_folder = getenv("SHOAL_COUNT_ALLOC");
    if (count_folder != NULL) {
        (void)atexit(write_count);
        watch_crashes();
    }
    size_t length = strlen(process);
    if (text == NULL || strncmp(text, process, length) != 0 || text[length] != ':')
        return;
    char *end = NULL;
    unsigned long long at = strtoull(text + length + 1, &end, 10);
    goes_on = *end == '+';
    end += *end == '+';
    if (*end == ':') once = end + 1;
    fails_at = at;
}
