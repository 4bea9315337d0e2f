// Numbers in the place of sort keys, or before them.
//
// shoal_sort_head(group, ordered, descending, nulls_first): the most significant word of
// a sort key (PARTITION BY group ORDER BY ordered). DuckDB sorts rows by the first eight
// bytes of their keys with a radix sort, and what is equal in these by comparisons. Where
// a group has thousands of rows these bytes are those of its key, so nearly all is
// compared: 180 ns a row of 350,000, where a radix sort takes 50. This word has both in
// 32 bits, so that little is left to compare:
//
//   0 | number of the group: 11 | place in the order: 20
//   1 | hash of the group: 31
//
// The first groups that come get a number, and others a hash, which some may share: the
// group and its order have to follow in the ORDER BY, and decide wherever words are
// equal. A group that has many rows comes early. The places are monotone in the order:
// the distance from a row in the middle of the first ones, as a floating-point number of
// 13 bits' mantissa, which needs no bounds.
//
// Numbers and the middle are the statement's, shared by its threads.
//
// shoal_sort_place(ordered, tie, descending, nulls_first): all of a sort key (ORDER BY
// ordered, tie), as a HUGEINT, which are compared faster: a largest one is found in 20 ns
// a row, of sort keys in 45.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "duck/internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEAD "shoal_sort_head"
#define PLACE "shoal_sort_place"
#define NUMBER_BITS 11
#define GROUPS ((1u << NUMBER_BITS) - 1)  // that have a number
#define SLOTS 8192
#define KEY_BYTES 39  // groups of longer keys have none
#define PLACE_BITS 20
#define PLACES (1u << PLACE_BITS)
#define MANTISSA 13
#define HASHED (1u << 31)
#define NO_NUMBER UINT32_MAX
#define BATCH 1024
#define NULL_PLACE ((hugeint)1 << 100)  // behind what 64 bits and a tie have

struct group {
    uint64_t hash;
    uint8_t size;
    uint8_t key[KEY_BYTES];
};

struct heads {
    struct scalar_shared shared;  // its lock: of what is added
    atomic_bool centred;
    _Atomic int64_t middle;
    atomic_uint count;
    atomic_ushort slots[SLOTS];  // a group's number, plus one, and bits of its hash
    struct group groups[GROUPS];
};

// ---- groups

struct key {
    uint64_t hash;
    const void *bytes;
    uint32_t size;
};

static bool is_group(const struct group *group, const struct key *key) {
    return group->hash == key->hash && group->size == key->size &&
           memcmp(group->key, key->bytes, key->size) == 0;
}

// As many bits of the hash as a slot has beside the number.
static uint32_t tag_of(uint64_t hash) {
    return (uint32_t)(hash >> (64 - 16 + NUMBER_BITS)) << NUMBER_BITS;
}

// The group's number, or the slot where it would be.
static inline uint32_t find(struct heads *heads, const struct key *key, size_t *slot) {
    uint32_t tag = tag_of(key->hash);
    for (*slot = key->hash % SLOTS;; *slot = (*slot + 1) % SLOTS) {
        uint32_t at = atomic_load_explicit(&heads->slots[*slot], memory_order_acquire);
        if (at == 0) return NO_NUMBER;
        uint32_t number = (at & GROUPS) - 1;
        if ((at & ~GROUPS) == tag && is_group(&heads->groups[number], key)) return number;
    }
}

static uint32_t add(struct heads *heads, const struct key *key) {
    size_t slot;
    pthread_mutex_lock(&heads->shared.lock);
    uint32_t number = find(heads, key, &slot);
    uint32_t count = atomic_load_explicit(&heads->count, memory_order_relaxed);
    if (number == NO_NUMBER && count < GROUPS) {
        struct group *group = &heads->groups[count];
        group->hash = key->hash;
        group->size = (uint8_t)key->size;
        memcpy(group->key, key->bytes, key->size);
        number = count;
        atomic_store_explicit(&heads->slots[slot],
                              (unsigned short)(tag_of(key->hash) | (count + 1)),
                              memory_order_release);
        atomic_store_explicit(&heads->count, count + 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&heads->shared.lock);
    return number;
}

static inline uint32_t number_of(struct heads *heads, const struct key *key) {
    size_t slot;
    if (key->size > KEY_BYTES) return NO_NUMBER;
    uint32_t number = find(heads, key, &slot);
    bool room = atomic_load_explicit(&heads->count, memory_order_relaxed) < GROUPS;
    return number == NO_NUMBER && room ? add(heads, key) : number;
}

// ---- places

static int compare(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

// values: of the rows that have one; sorted.
static void find_middle(struct heads *heads, int64_t *values, size_t count) {
    pthread_mutex_lock(&heads->shared.lock);
    if (!atomic_load_explicit(&heads->centred, memory_order_relaxed)) {
        qsort(values, count, sizeof *values, compare);
        atomic_store_explicit(&heads->middle, values[count / 2], memory_order_relaxed);
        atomic_store_explicit(&heads->centred, true, memory_order_release);
    }
    pthread_mutex_unlock(&heads->shared.lock);
}

// Monotone, below 2^19.
static inline uint32_t distance_code(uint64_t distance) {
    if (distance >> MANTISSA == 0) return (uint32_t)distance;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(distance) - MANTISSA;
    return (shift << MANTISSA) + (uint32_t)(distance >> shift);
}

// Above 0 and below PLACES - 1, which are the NULLs'. Without a branch on the side of the
// middle, which would be guessed wrong every other time.
static inline uint32_t place_of(int64_t middle, int64_t value) {
    uint64_t below = value < middle ? UINT64_MAX : 0;
    uint64_t distance = (((uint64_t)value - (uint64_t)middle) ^ below) - below;
    return PLACES / 2 + ((distance_code(distance) ^ (uint32_t)below) - (uint32_t)below);
}

// ---- calls

// Order as the values' own.
static int64_t order_of_double(double value) {
    int64_t bits;
    if (isnan(value)) return INT64_MAX;
    if (value == 0) return 0;  // whose sign says nothing
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

struct column {
    const void *data;
    uint64_t *valid;
};

static struct column column_of(duckdb_data_chunk input, size_t number) {
    duckdb_vector vector = duckdb_data_chunk_get_vector(input, number);
    return (struct column){duckdb_vector_get_data(vector),
                           duckdb_vector_get_validity(vector)};
}

static bool has_value(const struct column *column, size_t row) {
    return scalar_is_valid(column->valid, row);
}

static void read_numbers(const struct column *groups, size_t first, size_t n,
                         struct key *keys) {
    const int64_t *numbers = groups->data;
    for (size_t i = 0; i < n; i++) {
        const int64_t *number = numbers + first + i;
        keys[i] =
            (struct key){XXH3_64bits(number, sizeof *number), number, sizeof *number};
        if (!has_value(groups, first + i)) keys[i] = (struct key){0, number, 0};
    }
}

static void read_bytes(const struct column *groups, size_t first, size_t n,
                       struct key *keys) {
    duckdb_string_t *strings = (duckdb_string_t *)(uintptr_t)groups->data;
    for (size_t i = 0; i < n; i++) {
        duckdb_string_t *string = strings + first + i;
        keys[i] = (struct key){0, "", 0};
        if (!has_value(groups, first + i)) continue;
        keys[i].bytes = duckdb_string_t_data(string);
        keys[i].size = duckdb_string_t_length(*string);
        keys[i].hash = XXH3_64bits(keys[i].bytes, keys[i].size);
    }
}

static void read_doubles(const struct column *ordered, size_t first, size_t n,
                         int64_t *values) {
    const double *doubles = ordered->data;
    for (size_t i = 0; i < n; i++) values[i] = order_of_double(doubles[first + i]);
}

static void read_64(const struct column *ordered, size_t first, size_t n,
                    int64_t *values) {
    memcpy(values, (const int64_t *)ordered->data + first, n * sizeof *values);
}

static void read_32(const struct column *ordered, size_t first, size_t n,
                    int64_t *values) {
    const int32_t *numbers = ordered->data;
    for (size_t i = 0; i < n; i++) values[i] = numbers[first + i];
}

struct ordered_kind {
    duckdb_type type;
    void (*read)(const struct column *ordered, size_t first, size_t n, int64_t *values);
};

// Of groups that are a number, and of such as have a sort key.
#define BOTH(type, read)                                \
    {{type, read}, DUCKDB_TYPE_BIGINT, read_numbers}, { \
        {type, read}, DUCKDB_TYPE_BLOB, read_bytes      \
    }
static const struct head_kind {
    struct ordered_kind order;
    duckdb_type group;
    void (*read_groups)(const struct column *groups, size_t first, size_t n,
                        struct key *keys);
} kinds[] = {
    BOTH(DUCKDB_TYPE_BIGINT, read_64),       BOTH(DUCKDB_TYPE_DOUBLE, read_doubles),
    BOTH(DUCKDB_TYPE_DATE, read_32),         BOTH(DUCKDB_TYPE_TIME, read_64),
    BOTH(DUCKDB_TYPE_TIMESTAMP, read_64),    BOTH(DUCKDB_TYPE_TIMESTAMP_S, read_64),
    BOTH(DUCKDB_TYPE_TIMESTAMP_MS, read_64), BOTH(DUCKDB_TYPE_TIMESTAMP_NS, read_64),
    BOTH(DUCKDB_TYPE_TIMESTAMP_TZ, read_64),
};

// Rows of a call, so many at a time.
struct batch {
    size_t first, rows;
    struct key keys[BATCH];
    int64_t values[BATCH];
};

static void centre(struct heads *heads, const struct column *ordered,
                   const struct batch *batch) {
    int64_t values[BATCH];
    size_t count = 0;
    if (atomic_load_explicit(&heads->centred, memory_order_acquire)) return;
    for (size_t i = 0; i < batch->rows; i++) {
        if (has_value(ordered, batch->first + i)) values[count++] = batch->values[i];
    }
    if (count > 0) find_middle(heads, values, count);
}

// What NULLs have, and is the order turned round?
struct direction {
    bool descending, nulls_first;
};

static struct direction direction_of(duckdb_data_chunk input) {
    return (struct direction){*(const bool *)column_of(input, 2).data,
                              *(const bool *)column_of(input, 3).data};
}

static void make_heads(struct heads *heads, const struct column *ordered,
                       const struct batch *batch, struct direction direction,
                       uint32_t *words) {
    // Set by now, if a row has a value.
    int64_t middle = atomic_load_explicit(&heads->middle, memory_order_relaxed);
    uint32_t turned = direction.descending ? PLACES - 1 : 0;
    for (size_t i = 0; i < batch->rows; i++) {
        uint32_t number = number_of(heads, &batch->keys[i]);
        uint32_t place = place_of(middle, batch->values[i]) ^ turned;
        if (!has_value(ordered, batch->first + i))
            place = direction.nulls_first ? 0 : PLACES - 1;
        words[i] = number == NO_NUMBER ? HASHED | (uint32_t)batch->keys[i].hash
                                       : number << PLACE_BITS | place;
    }
}

static void on_heads(duckdb_function_info info, duckdb_data_chunk input,
                     duckdb_vector result) {
    const struct head_kind *kind = duckdb_scalar_function_get_extra_info(info);
    struct heads *heads = duckdb_scalar_function_get_bind_data(info);
    size_t rows = duckdb_data_chunk_get_size(input);
    struct column groups = column_of(input, 0), ordered = column_of(input, 1);
    uint32_t *words = duckdb_vector_get_data(result);
    struct batch batch;
    for (batch.first = 0; batch.first < rows; batch.first += batch.rows) {
        batch.rows = rows - batch.first < BATCH ? rows - batch.first : BATCH;
        kind->read_groups(&groups, batch.first, batch.rows, batch.keys);
        kind->order.read(&ordered, batch.first, batch.rows, batch.values);
        centre(heads, &ordered, &batch);
        make_heads(heads, &ordered, &batch, direction_of(input), words + batch.first);
    }
}

static void on_places(duckdb_function_info info, duckdb_data_chunk input,
                      duckdb_vector result) {
    const struct ordered_kind *kind = duckdb_scalar_function_get_extra_info(info);
    size_t rows = duckdb_data_chunk_get_size(input);
    struct column ordered = column_of(input, 0);
    const uint32_t *ties = column_of(input, 1).data;
    hugeint *places = duckdb_vector_get_data(result);
    int64_t values[BATCH];
    for (size_t first = 0, n; first < rows; first += n) {
        struct direction direction = direction_of(input);
        n = rows - first < BATCH ? rows - first : BATCH;
        kind->read(&ordered, first, n, values);
        for (size_t i = 0; i < n; i++) {
            int64_t value = direction.descending ? ~values[i] : values[i];
            hugeint place = (hugeint)value * ((hugeint)1 << 32);
            if (!has_value(&ordered, first + i))
                place = direction.nulls_first ? -NULL_PLACE : NULL_PLACE;
            places[first + i] = place + ties[first + i];
        }
    }
}

static void on_bind(duckdb_bind_info info) {
    scalar_bind_shared(info, sizeof(struct heads), NULL);
}

static duckdb_scalar_function make_function(duckdb_type first, duckdb_type second,
                                            duckdb_type result) {
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_logical_type type = scalar_type(result, 0, 0);
    scalar_add_parameter(function, scalar_type(first, 0, 0));
    scalar_add_parameter(function, scalar_type(second, 0, 0));
    scalar_add_parameter(function, scalar_type(DUCKDB_TYPE_BOOLEAN, 0, 0));
    scalar_add_parameter(function, scalar_type(DUCKDB_TYPE_BOOLEAN, 0, 0));
    duckdb_scalar_function_set_return_type(function, type);
    duckdb_scalar_function_set_special_handling(function);  // of NULLs: it sees them
    duckdb_destroy_logical_type(&type);
    return function;
}

static duckdb_scalar_function make_head(size_t i, const char *name, int scale) {
    const struct head_kind *kind = &kinds[i];
    (void)name;
    (void)scale;
    duckdb_scalar_function function =
        make_function(kind->group, kind->order.type, DUCKDB_TYPE_UINTEGER);
    duckdb_scalar_function_set_volatile(function);
    duckdb_scalar_function_set_extra_info(function, (void *)(uintptr_t)kind, NULL);
    duckdb_scalar_function_set_bind(function, on_bind);
    duckdb_scalar_function_set_function(function, on_heads);
    return function;
}

static duckdb_scalar_function make_place(size_t i, const char *name, int scale) {
    const struct ordered_kind *kind = &kinds[i].order;
    (void)name;
    (void)scale;
    // One of each type; the two zeros are no place for a tie.
    if (kinds[i].group != DUCKDB_TYPE_BIGINT || kind->read == read_doubles) return NULL;
    duckdb_scalar_function function =
        make_function(kind->type, DUCKDB_TYPE_UINTEGER, DUCKDB_TYPE_HUGEINT);
    duckdb_scalar_function_set_extra_info(function, (void *)(uintptr_t)kind, NULL);
    duckdb_scalar_function_set_function(function, on_places);
    return function;
}

shoal_status sort_words_register(struct duck_conn *conn, struct shoal_error *err) {
    size_t count = sizeof kinds / sizeof *kinds;
    if (scalar_register_set(conn, HEAD, -1, make_head, count) &&
        scalar_register_set(conn, PLACE, -1, make_place, count))
        return SHOAL_OK;
    return shoal_fail(err, SHOAL_INTERNAL, "cannot register the words of sort keys");
}
