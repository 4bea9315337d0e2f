#include "base/sketch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"

#define BATCH_BITS 12
#define BATCH (1u << BATCH_BITS)  // keys that are counted at once
#define BATCH_SLOTS (2 * BATCH)
#define RARE 3  // with fewer in a full batch, a key is not counted
#define EVERY_MOST 32u
#define DEVIATIONS 3.0

static uint64_t spread(uint64_t key) {
    return key * 0x9e3779b97f4a7c15u;
}

void sketch_clear(struct sketch *sketch) {
    memset(sketch, 0, sizeof *sketch);
    sketch->every = 1;
    sketch->limit = UINT64_MAX;
}

// ---- counters

static uint64_t most_rows(const struct sketch_counter *counter) {
    return counter->count + counter->error;
}

// The value that would be at `place` were they sorted, the largest first (Hoare's FIND).
static uint64_t select_largest(uint64_t *values, size_t count, size_t place) {
    size_t low = 0, high = count - 1;
    while (low < high) {
        uint64_t pivot = values[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;; i++, j--) {
            while (values[i] > pivot) i++;
            while (values[j] < pivot) j--;
            if (i >= j) break;
            uint64_t value = values[i];
            values[i] = values[j];
            values[j] = value;
        }
        // None of [low, j] is smaller than one of [j + 1, high].
        if (place <= j) {
            high = j;
        } else {
            low = j + 1;
        }
    }
    return values[low];
}

// Keeps as many as there are counters, those with the most rows. Each that stays has at
// least as many as one that goes, and all together have about as many as there are rows:
// that bounds `missed`.
static void keep_most(struct sketch *sketch, const struct sketch_counter *all,
                      size_t count) {
    uint64_t least = 0;
    size_t ties = SKETCH_COUNTERS;
    if (count > SKETCH_COUNTERS) {
        uint64_t values[2 * SKETCH_COUNTERS];
        for (size_t i = 0; i < count; i++) values[i] = most_rows(&all[i]);
        least = select_largest(values, count, SKETCH_COUNTERS);
        if (least > sketch->missed) sketch->missed = least;
        for (size_t i = 0; i < count; i++) ties -= most_rows(&all[i]) > least;
    }
    sketch->count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t rows = most_rows(&all[i]);
        if (rows < least || (rows == least && ties == 0)) continue;
        ties -= rows == least;
        sketch->counters[sketch->count++] = all[i];
    }
}

#define INDEX_BITS 10

// The counters of both; a key that one of them has none for may have its `missed` there.
static void merge_counters(struct sketch *into, const struct sketch *from) {
    struct sketch_counter all[2 * SKETCH_COUNTERS];
    uint16_t index[1u << INDEX_BITS] = {0};  // place in all, from 1
    const uint64_t mask = (1u << INDEX_BITS) - 1;
    size_t count = into->count;
    for (size_t i = 0; i < count; i++) {
        all[i] = into->counters[i];
        all[i].error += from->missed;
        uint64_t at = spread(all[i].key) >> (64 - INDEX_BITS);
        while (index[at] != 0) at = (at + 1) & mask;
        index[at] = (uint16_t)(i + 1);
    }
    for (size_t i = 0; i < from->count; i++) {
        const struct sketch_counter *counter = &from->counters[i];
        uint64_t at = spread(counter->key) >> (64 - INDEX_BITS);
        while (index[at] != 0 && all[index[at] - 1].key != counter->key)
            at = (at + 1) & mask;
        if (index[at] == 0) {
            all[count] = *counter;
            all[count++].error += into->missed;
        } else {
            all[index[at] - 1].count += counter->count;
            all[index[at] - 1].error += counter->error - from->missed;
        }
    }
    into->missed += from->missed;
    keep_most(into, all, count);
}

// ---- hashes

static void merge_hashes(struct sketch *into, const struct sketch *from) {
    uint64_t all[2 * SKETCH_HASHES];
    size_t count = 0, i = 0, j = 0;
    while (i < into->hash_count || j < from->hash_count) {
        uint64_t a = i < into->hash_count ? into->hashes[i] : UINT64_MAX;
        uint64_t b = j < from->hash_count ? from->hashes[j] : UINT64_MAX;
        i += i < into->hash_count && a <= b;
        j += j < from->hash_count && b <= a;
        all[count++] = a < b ? a : b;
    }
    if (from->limit < into->limit) into->limit = from->limit;
    while (count > 0 && all[count - 1] > into->limit) count--;
    while (count > SKETCH_HASHES) {
        into->limit >>= 1;
        while (count > 0 && all[count - 1] > into->limit) count--;
    }
    memcpy(into->hashes, all, count * sizeof *all);
    into->hash_count = (uint32_t)count;
}

void sketch_merge(struct sketch *into, const struct sketch *from) {
    into->rows += from->rows;
    if (from->every > into->every) into->every = from->every;
    merge_counters(into, from);
    merge_hashes(into, from);
}

// ---- queries

// How far a count is off by chance, when each row that was counted stands for `every`.
static uint64_t chance(uint64_t rows, uint32_t every) {
    double n = every, z = DEVIATIONS;
    if (every == 1) return 0;
    return (uint64_t)(z * sqrt(n * (double)rows + n * n * z * z / 4) + n * z * z / 2);
}

static int by_rows(const void *a, const void *b) {
    const struct sketch_key *x = a, *y = b;
    if (x->rows != y->rows) return x->rows < y->rows ? 1 : -1;
    return (x->key > y->key) - (x->key < y->key);
}

size_t sketch_heavy(const struct sketch *sketch, uint64_t at_least,
                    struct sketch_key keys[SKETCH_COUNTERS]) {
    size_t count = 0;
    for (size_t i = 0; i < sketch->count; i++) {
        const struct sketch_counter *counter = &sketch->counters[i];
        if (counter->count < at_least) continue;
        keys[count++] = (struct sketch_key){
            .key = counter->key,
            .rows = counter->count,
            .error = counter->error + chance(most_rows(counter), sketch->every)};
    }
    qsort(keys, count, sizeof *keys, by_rows);
    return count;
}

uint64_t sketch_unseen(const struct sketch *sketch) {
    return sketch->missed + chance(sketch->missed, sketch->every);
}

double sketch_distinct(const struct sketch *sketch) {
    double share = ((double)sketch->limit + 1) / 0x1p64;
    return sketch->hash_count / share;
}

// ---- while rows go by

#define SET_BITS 11            // slots of the set of hashes
#define LOW (UINT64_MAX >> 6)  // a limit below this is one that few rows are below
#define QUIET 16384            // rows without a new key, before most are passed over
#define QUIET_STEP 32
#define BLOCK 256

struct sketcher {
    struct sketch sketch;  // but for its hashes, and for the keys that wait
    uint64_t random;
    uint64_t next;    // of the rows to come, which one waits next
    uint32_t offset;  // its place among the `every` that it stands for
    uint32_t waiting;
    uint64_t keys[BATCH];         // that wait to be counted
    uint64_t slots[BATCH_SLOTS];  // of the keys that are counted
    uint16_t counts[BATCH_SLOTS];
    uint16_t used[BATCH];  // slots, in the order of their first keys
    uint32_t by_count[BATCH + 1];
    uint64_t set[1u << SET_BITS];  // the hashes; 0: none
    uint64_t quiet;                // rows since one brought a new key
};

// 31 bits (a linear congruential generator, Knuth's MMIX).
static uint32_t draw(struct sketcher *sketcher) {
    sketcher->random = sketcher->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(sketcher->random >> 33);
}

struct sketcher *sketcher_new(uint64_t seed) {
    struct sketcher *sketcher = calloc(1, sizeof *sketcher);
    if (sketcher == NULL) return NULL;
    sketch_clear(&sketcher->sketch);
    sketcher->random = spread(seed);
    return sketcher;
}

void sketcher_free(struct sketcher *sketcher) {
    free(sketcher);
}

static uint32_t slot_of(uint64_t key) {
    return (uint32_t)(spread(key) >> (64 - BATCH_BITS - 1));
}

// Drops keys that wait but are so rare that counting them is not worth its time: those of
// fewer than RARE rows go, without a branch, though some may stay. How many are left.
static uint32_t drop_rare(struct sketcher *sketcher) {
    uint16_t *counts = sketcher->counts;
    uint32_t left = 0;
    memset(counts, 0, sizeof sketcher->counts);
    for (uint32_t i = 0; i < sketcher->waiting; i++) counts[slot_of(sketcher->keys[i])]++;
    for (uint32_t i = 0; i < sketcher->waiting; i++) {
        uint64_t key = sketcher->keys[i];
        sketcher->keys[left] = key;
        left += counts[slot_of(key)] >= RARE;
    }
    return left;
}

// Counts the first of what waits: how many keys; slots, counts and `used` say which.
static uint32_t count_keys(struct sketcher *sketcher, uint32_t waiting) {
    uint32_t distinct = 0;
    memset(sketcher->counts, 0, sizeof sketcher->counts);
    for (uint32_t i = 0; i < waiting; i++) {
        uint64_t key = sketcher->keys[i];
        uint32_t at = slot_of(key);
        while (sketcher->counts[at] != 0 && sketcher->slots[at] != key)
            at = (at + 1) % BATCH_SLOTS;
        if (sketcher->counts[at]++ == 0) {
            sketcher->slots[at] = key;
            sketcher->used[distinct++] = (uint16_t)at;
        }
    }
    return distinct;
}

// The keys that wait go into the sketch: the most frequent of them as one that is merged.
static void count_batch(struct sketcher *sketcher, struct sketch *sketch) {
    struct sketch part;
    uint32_t left = sketcher->waiting == BATCH ? drop_rare(sketcher) : sketcher->waiting;
    uint32_t distinct = count_keys(sketcher, left), least = 0;
    uint32_t ties = SKETCH_COUNTERS, every = sketch->every;
    part.count = 0;
    if (distinct > SKETCH_COUNTERS) {
        memset(sketcher->by_count, 0, sizeof sketcher->by_count);
        for (uint32_t i = 0; i < distinct; i++)
            sketcher->by_count[sketcher->counts[sketcher->used[i]]]++;
        for (least = BATCH; sketcher->by_count[least] <= ties; least--)
            ties -= sketcher->by_count[least];
    }
    for (uint32_t i = 0; i < distinct && part.count < SKETCH_COUNTERS; i++) {
        uint32_t at = sketcher->used[i], count = sketcher->counts[at];
        if (count < least || (count == least && ties == 0)) continue;
        ties -= count == least;
        part.counters[part.count++] = (struct sketch_counter){
            .key = sketcher->slots[at], .count = (uint64_t)count * every};
    }
    if (left < sketcher->waiting && least < RARE - 1) least = RARE - 1;
    part.missed = (uint64_t)least * every;
    merge_counters(sketch, &part);
}

// Each key from now on stands for twice as many rows, and so do those that wait: one of
// two goes.
static void halve_waiting(struct sketcher *sketcher) {
    for (uint32_t i = 0; i < BATCH / 2; i++)
        sketcher->keys[i] = sketcher->keys[2 * i + (draw(sketcher) & 1)];
    sketcher->waiting = BATCH / 2;
    sketcher->sketch.every *= 2;
}

static void draw_offset(struct sketcher *sketcher) {
    sketcher->offset = draw(sketcher) & (sketcher->sketch.every - 1);
}

// All of them, until so many wait that each has to stand for two.
static void take_all(struct sketcher *sketcher, const uint64_t *keys, size_t n) {
    size_t room = BATCH - sketcher->waiting, taken = n < room ? n : room;
    memcpy(sketcher->keys + sketcher->waiting, keys, taken * sizeof *keys);
    sketcher->waiting += (uint32_t)taken;
    if (sketcher->waiting < BATCH) return;
    halve_waiting(sketcher);
    draw_offset(sketcher);
    sketcher->next = taken + sketcher->offset;
}

static void sample_keys(struct sketcher *sketcher, const uint64_t *keys, size_t n) {
    if (sketcher->sketch.every == 1) take_all(sketcher, keys, n);
    if (sketcher->sketch.every == 1) return;
    uint64_t at = sketcher->next;
    while (at < n) {
        uint32_t left = sketcher->sketch.every - sketcher->offset;
        sketcher->keys[sketcher->waiting++] = keys[at];
        if (sketcher->waiting == BATCH && sketcher->sketch.every < EVERY_MOST) {
            halve_waiting(sketcher);
        } else if (sketcher->waiting == BATCH) {
            count_batch(sketcher, &sketcher->sketch);
            sketcher->waiting = 0;
        }
        draw_offset(sketcher);
        at += left + sketcher->offset;
    }
    sketcher->next = at - n;
}

static bool put_hash(struct sketcher *sketcher, uint64_t hash) {
    uint64_t at = spread(hash) >> (64 - SET_BITS);
    while (sketcher->set[at] != 0) {
        if (sketcher->set[at] == hash) return false;
        at = (at + 1) & ((1u << SET_BITS) - 1);
    }
    sketcher->set[at] = hash;
    return true;
}

static void halve_limit(struct sketcher *sketcher) {
    uint64_t all[SKETCH_HASHES + 1];
    uint32_t count = 0;
    sketcher->sketch.limit >>= 1;
    for (size_t i = 0; i < 1u << SET_BITS; i++) {
        uint64_t hash = sketcher->set[i];
        if (hash != 0 && hash <= sketcher->sketch.limit) all[count++] = hash;
        sketcher->set[i] = 0;
    }
    for (uint32_t i = 0; i < count; i++) put_hash(sketcher, all[i]);
    sketcher->sketch.hash_count = count;
}

static void keep_hash(struct sketcher *sketcher, uint64_t hash) {
    if (hash > sketcher->sketch.limit || !put_hash(sketcher, hash)) return;
    sketcher->quiet = 0;
    sketcher->sketch.hash_count++;
    while (sketcher->sketch.hash_count > SKETCH_HASHES) halve_limit(sketcher);
}

// What is compared with the limit. Rows are scattered by the high bits of the hash, and a
// task may see those of one partition alone: the low ones come first here.
static uint64_t value_of(uint64_t hash) {
    hash = hash << 32 | hash >> 32;
    return hash + (hash == 0);
}

// Many rows are below the limit, so none of them may cost a wrong guess of a branch: they
// are collected first.
static void look_at_each(struct sketcher *sketcher, const uint64_t *hashes, size_t n,
                         size_t first, size_t step) {
    uint64_t below[BLOCK];
    for (size_t i = first; i < n;) {
        size_t end = n - i > BLOCK * step ? i + BLOCK * step : n, count = 0;
        for (; i < end; i += step) {
            uint64_t value = value_of(hashes[i]);
            below[count] = value;
            count += value <= sketcher->sketch.limit;
        }
        for (size_t k = 0; k < count; k++) keep_hash(sketcher, below[k]);
    }
}

static void look_at_many(struct sketcher *sketcher, const uint64_t *hashes, size_t n) {
    sketcher->quiet += n;
    if (sketcher->quiet - n >= QUIET) {
        look_at_each(sketcher, hashes, n, draw(sketcher) & (QUIET_STEP - 1), QUIET_STEP);
        if (sketcher->quiet >= QUIET) return;
    }
    look_at_each(sketcher, hashes, n, 0, 1);
}

// Hardly any row is below the limit, which the half of a hash that counts most tells. The
// loop is unrolled: it is all that most rows cost.
static void look_at_few(struct sketcher *sketcher, const uint64_t *hashes, size_t n) {
    uint32_t limit = (uint32_t)(sketcher->sketch.limit >> 32);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint64_t *four = hashes + i;
        if ((uint32_t)four[0] > limit && (uint32_t)four[1] > limit &&
            (uint32_t)four[2] > limit && (uint32_t)four[3] > limit)
            continue;
        for (size_t k = 0; k < 4; k++) keep_hash(sketcher, value_of(four[k]));
        limit = (uint32_t)(sketcher->sketch.limit >> 32);
    }
    for (; i < n; i++) keep_hash(sketcher, value_of(hashes[i]));
}

void sketcher_add(struct sketcher *sketcher, const uint64_t *keys, const uint64_t *hashes,
                  size_t n) {
    sketcher->sketch.rows += n;
    sample_keys(sketcher, keys, n);
    if (sketcher->sketch.limit < LOW) {
        look_at_few(sketcher, hashes, n);
    } else {
        look_at_many(sketcher, hashes, n);
    }
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void sketcher_take(struct sketcher *sketcher, struct sketch *sketch) {
    uint32_t count = 0;
    *sketch = sketcher->sketch;
    if (sketcher->waiting > 0) count_batch(sketcher, sketch);
    for (size_t i = 0; i < 1u << SET_BITS; i++)
        if (sketcher->set[i] != 0) sketch->hashes[count++] = sketcher->set[i];
    qsort(sketch->hashes, count, sizeof *sketch->hashes, by_value);
}

// ---- JSON: {"rows": n, "missed": n, "every": n, "counters": base64, "hashes": base64};
// counters of three numbers each, the limit before the hashes. Numbers are little-endian.

#define SENT_HASHES 256
#define SENT_LEAST 4
#define ROWS_MOST (INT64_C(1) << 48)  // so that sums over many files fit 64 bits

static json_t *numbers_to_json(const uint64_t *numbers, size_t count) {
    size_t length = 0;
    char *text =
        base64_encode((const uint8_t *)numbers, count * sizeof *numbers, &length);
    json_t *json = text == NULL ? NULL : json_stringn_nocheck(text, length);
    free(text);
    return json;
}

// A key that came a few times says nothing, nor do those with few of the rows.
static bool is_worth_sending(const struct sketch *sketch,
                             const struct sketch_counter *counter) {
    return counter->count >= SENT_LEAST &&
           counter->count >= sketch->rows / SKETCH_COUNTERS;
}

json_t *sketch_to_json(const struct sketch *sketch) {
    uint64_t numbers[3 * SKETCH_COUNTERS], hashes[SENT_HASHES + 1] = {sketch->limit};
    uint64_t missed = sketch->missed;
    size_t count = 0, hash_count = sketch->hash_count;
    for (size_t i = 0; i < sketch->count; i++) {
        const struct sketch_counter *counter = &sketch->counters[i];
        if (is_worth_sending(sketch, counter)) {
            memcpy(&numbers[3 * count++], counter, sizeof *counter);
        } else if (most_rows(counter) > missed) {
            missed = most_rows(counter);
        }
    }
    if (hash_count > SENT_HASHES) {
        hash_count = SENT_HASHES;
        hashes[0] = sketch->hashes[SENT_HASHES] - 1;
    }
    memcpy(hashes + 1, sketch->hashes, hash_count * sizeof *hashes);
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "rows", (json_int_t)sketch->rows,
                     "missed", (json_int_t)missed, "every", (json_int_t)sketch->every,
                     "counters", numbers_to_json(numbers, 3 * count), "hashes",
                     numbers_to_json(hashes, hash_count + 1));
}

static shoal_status corrupt(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "a message's sketch of keys is not what it should be");
}

// At most `most` numbers.
static shoal_status numbers_from_json(const json_t *json, size_t most, uint64_t *numbers,
                                      size_t *count, struct shoal_error *err) {
    size_t length = json_string_length(json), size = 0;
    if (!json_is_string(json) || length / 4 > most * sizeof *numbers / 3 + 1)
        return corrupt(err);
    uint8_t *bytes = malloc(length / 4 * 3 + 1);
    if (bytes == NULL) return shoal_no_memory(err);
    size = base64_decode(json_string_value(json), length, bytes);
    bool ok = size <= most * sizeof *numbers && size % sizeof *numbers == 0;
    if (ok) memcpy(numbers, bytes, size);
    free(bytes);
    *count = size / sizeof *numbers;
    return ok ? SHOAL_OK : corrupt(err);
}

static int by_key(const void *a, const void *b) {
    const struct sketch_counter *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

// Counts that rows can have, no key twice, ascending hashes up to the limit.
static bool is_sound(struct sketch *sketch) {
    uint64_t most = sketch->rows + EVERY_MOST;
    if (sketch->every == 0 || sketch->missed > most || sketch->limit == 0) return false;
    if (sketch->count + sketch->hash_count > 0 && sketch->rows == 0) return false;
    qsort(sketch->counters, sketch->count, sizeof *sketch->counters, by_key);
    for (size_t i = 0; i < sketch->count; i++) {
        const struct sketch_counter *counter = &sketch->counters[i];
        if (counter->count == 0 || counter->count > most || counter->error > most)
            return false;
        if (i > 0 && counter->key == counter[-1].key) return false;
    }
    for (size_t i = 0; i < sketch->hash_count; i++) {
        uint64_t hash = sketch->hashes[i];
        if (hash == 0 || hash > sketch->limit) return false;
        if (i > 0 && hash <= sketch->hashes[i - 1]) return false;
    }
    return true;
}

shoal_status sketch_from_json(const json_t *json, struct sketch *sketch,
                              struct shoal_error *err) {
    uint64_t numbers[3 * SKETCH_COUNTERS], hashes[SENT_HASHES + 1];
    uint64_t every = 0;
    size_t count = 0, hash_count = 0;
    sketch_clear(sketch);
    shoal_status status = json_get_count(json, "rows", ROWS_MOST, &sketch->rows, err);
    if (status == SHOAL_OK)
        status = json_get_count(json, "missed", ROWS_MOST, &sketch->missed, err);
    if (status == SHOAL_OK)
        status = json_get_count(json, "every", EVERY_MOST, &every, err);
    if (status == SHOAL_OK)
        status = numbers_from_json(json_object_get(json, "counters"), 3 * SKETCH_COUNTERS,
                                   numbers, &count, err);
    if (status == SHOAL_OK)
        status = numbers_from_json(json_object_get(json, "hashes"), SENT_HASHES + 1,
                                   hashes, &hash_count, err);
    if (status == SHOAL_OK && (count % 3 != 0 || hash_count == 0)) status = corrupt(err);
    if (status != SHOAL_OK) return status;
    sketch->every = (uint32_t)every;
    sketch->count = (uint32_t)(count / 3);
    memcpy(sketch->counters, numbers, count * sizeof *numbers);
    sketch->limit = hashes[0];
    sketch->hash_count = (uint32_t)(hash_count - 1);
    memcpy(sketch->hashes, hashes + 1, sketch->hash_count * sizeof *hashes);
    return is_sound(sketch) ? SHOAL_OK : corrupt(err);
}
