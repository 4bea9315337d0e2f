#include "block/ahead.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define AHEAD_BYTES (16u << 20)
#define AHEAD_MOST 256  // chunks of one reader: small ones take requests, not bytes

struct ahead {
    ahead_at at;
    const void *context;
    pthread_mutex_t mutex;           // guards all below
    struct remote_answer **answers;  // [count], of those that are asked for
    size_t count;
    size_t next;     // not looked at yet
    size_t asked;    // and not taken
    uint64_t bytes;  // of them
};

static _Atomic uint64_t limit = AHEAD_BYTES;
static _Atomic uint64_t used;

void block_limit_ahead(uint64_t bytes) {
    limit = bytes;
}

// False when all readers together have as many bytes ahead as they may.
static bool use(uint64_t bytes) {
    uint64_t now = atomic_load(&used);
    do {
        if (now + bytes > limit) return false;
    } while (!atomic_compare_exchange_weak(&used, &now, now + bytes));
    return true;
}

shoal_status ahead_open(struct ahead **out, size_t count, ahead_at at,
                        const void *context, struct shoal_error *err) {
    struct ahead *ahead = calloc(1, sizeof *ahead);
    *out = NULL;
    if (ahead != NULL) ahead->answers = calloc(count + 1, sizeof(struct remote_answer *));
    if (ahead == NULL || ahead->answers == NULL) {
        free(ahead);
        return shoal_no_memory(err);
    }
    ahead->at = at;
    ahead->context = context;
    ahead->count = count;
    pthread_mutex_init(&ahead->mutex, NULL);
    *out = ahead;
    return SHOAL_OK;
}

static uint64_t size_of(const struct ahead *ahead, size_t n) {
    const struct block_file *file;
    const struct block_index_entry *entry;
    ahead->at(ahead->context, n, &file, &entry);
    return entry->size;
}

// Asks for what comes next, while that may be.
static void fill(struct ahead *ahead) {
    for (; ahead->next < ahead->count && ahead->asked < AHEAD_MOST; ahead->next++) {
        const struct block_file *file;
        const struct block_index_entry *entry;
        ahead->at(ahead->context, ahead->next, &file, &entry);
        if (file->remote == NULL) continue;
        if (!use(entry->size)) {
            if (ahead->asked > 0) return;
            atomic_fetch_add(&used, entry->size);
        }
        struct remote_answer *answer =
            remote_ask(file->remote, entry->offset, entry->size);
        if (answer == NULL) {  // who needs it asks again, and says what is wrong
            atomic_fetch_sub(&used, entry->size);
            return;
        }
        ahead->answers[ahead->next] = answer;
        ahead->asked++;
        ahead->bytes += entry->size;
    }
}

static void count_taken(struct ahead *ahead, size_t n) {
    uint64_t size = size_of(ahead, n);
    atomic_fetch_sub(&used, size);
    ahead->bytes -= size;
    ahead->asked--;
}

struct remote_answer *ahead_take(struct ahead *ahead, size_t n) {
    if (ahead == NULL) return NULL;
    pthread_mutex_lock(&ahead->mutex);
    if (ahead->next < n) ahead->next = n;
    if (ahead->next == n) fill(ahead);
    struct remote_answer *answer = ahead->answers[n];
    ahead->answers[n] = NULL;
    if (answer != NULL) {
        count_taken(ahead, n);
        fill(ahead);
    } else if (ahead->next <= n) {
        ahead->next = n + 1;
    }
    pthread_mutex_unlock(&ahead->mutex);
    return answer;
}

void ahead_close(struct ahead *ahead) {
    if (ahead == NULL) return;
    for (size_t n = 0; n < ahead->next; n++) remote_answer_free(ahead->answers[n]);
    atomic_fetch_sub(&used, ahead->bytes);
    pthread_mutex_destroy(&ahead->mutex);
    free(ahead->answers);
    free(ahead);
}
