#include "base/sizes.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"

#define STEP_BITS 3  // eight steps to a power of two
#define STEPS (1u << STEP_BITS)
#define SPARSE_BYTES (sizeof(uint32_t) + 1)  // of each size that is kept

// As a small floating-point number does: the exponent, then the bits below the first.
uint8_t sizes_code(uint64_t value) {
    if (value < STEPS) return (uint8_t)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - STEP_BITS;
    uint64_t code = ((uint64_t)shift << STEP_BITS) + (value >> shift);
    return code > UINT8_MAX ? UINT8_MAX : (uint8_t)code;
}

// The middle of what has the code.
uint64_t sizes_value(uint8_t code) {
    if (code < 2 * STEPS) return code;
    unsigned shift = (code >> STEP_BITS) - 1u;
    uint64_t first = (uint64_t)(code % STEPS + STEPS) << shift;
    return first + (UINT64_C(1) << shift) / 2;
}

// Room for so many; sparse: of fewer than count.
static bool reserve(struct sizes *sizes, uint32_t count, uint32_t kept, bool sparse) {
    *sizes = (struct sizes){.count = count, .kept = kept};
    sizes->codes = calloc((size_t)kept + 1, 1);
    if (sparse) sizes->at = calloc((size_t)kept + 1, sizeof *sizes->at);
    return sizes->codes != NULL && (!sparse || sizes->at != NULL);
}

bool sizes_make(struct sizes *sizes, const uint64_t *values, uint32_t count) {
    uint32_t kept = 0, next = 0;
    for (uint32_t i = 0; i < count; i++) kept += values[i] > 0;
    bool sparse = kept * SPARSE_BYTES < count;
    if (!reserve(sizes, count, sparse ? kept : count, sparse)) {
        sizes_free(sizes);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        sizes->total += values[i];
        if (sparse && values[i] == 0) continue;
        if (sparse) sizes->at[next] = i;
        sizes->codes[next++] = sizes_code(values[i]);
    }
    return true;
}

void sizes_free(struct sizes *sizes) {
    free(sizes->at);
    free(sizes->codes);
    *sizes = (struct sizes){0};
}

// The first that is kept at or behind index.
static uint32_t find(const struct sizes *sizes, uint32_t index) {
    uint32_t low = 0, high = sizes->kept;
    if (sizes->at == NULL) return index;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sizes->at[middle] < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t sizes_get(const struct sizes *sizes, uint32_t index) {
    uint32_t i = find(sizes, index);
    bool there = i < sizes->kept && (sizes->at == NULL || sizes->at[i] == index);
    return there ? sizes_value(sizes->codes[i]) : 0;
}

bool sizes_any(const struct sizes *sizes, uint32_t first, uint32_t last) {
    for (uint32_t i = find(sizes, first); i < sizes->kept; i++) {
        if ((sizes->at == NULL ? i : sizes->at[i]) > last) return false;
        if (sizes->codes[i] > 0) return true;
    }
    return false;
}

void sizes_add_to(const struct sizes *sizes, uint64_t *sums) {
    for (uint32_t i = 0; i < sizes->kept; i++)
        sums[sizes->at == NULL ? i : sizes->at[i]] += sizes_value(sizes->codes[i]);
}

// ---- JSON: {"total": n, "codes": base64}, and "at" when only some are kept

static json_t *bytes_to_json(const uint8_t *bytes, size_t size) {
    size_t length = 0;
    char *text = base64_encode(bytes, size, &length);
    json_t *json = text == NULL ? NULL : json_stringn_nocheck(text, length);
    free(text);
    return json;
}

json_t *sizes_to_json(const struct sizes *sizes) {
    json_t *codes = bytes_to_json(sizes->codes, sizes->kept);
    json_t *json =
        json_pack("{s:I, s:o}", "total", (json_int_t)sizes->total, "codes", codes);
    if (json == NULL || sizes->at == NULL) return json;
    json_t *at =
        bytes_to_json((const uint8_t *)sizes->at, sizes->kept * sizeof *sizes->at);
    if (json_object_set_new(json, "at", at) == 0) return json;
    json_decref(json);
    return NULL;
}

static shoal_status corrupt(struct shoal_error *err) {
    return shoal_fail(err, SHOAL_CORRUPT,
                      "a message's sizes are not what they should be");
}

// The bytes of a string, malloc'd.
static shoal_status bytes_from_json(const json_t *json, size_t most, uint8_t **bytes,
                                    size_t *size, struct shoal_error *err) {
    size_t length = json_string_length(json);
    if (!json_is_string(json) || length / 4 > most / 3 + 1) return corrupt(err);
    *bytes = malloc(length / 4 * 3 + 1);
    if (*bytes == NULL) return shoal_no_memory(err);
    *size = base64_decode(json_string_value(json), length, *bytes);
    return *size > most ? corrupt(err) : SHOAL_OK;
}

static bool is_sound(const struct sizes *sizes) {
    bool any = false;
    if (sizes->at == NULL && sizes->kept != sizes->count) return false;
    for (uint32_t i = 0; i < sizes->kept; i++) {
        any = any || sizes->codes[i] > 0;
        if (sizes->at == NULL) continue;
        if (sizes->codes[i] == 0 || sizes->at[i] >= sizes->count) return false;
        if (i > 0 && sizes->at[i] <= sizes->at[i - 1]) return false;
    }
    return any == (sizes->total > 0);
}

shoal_status sizes_from_json(const json_t *json, uint32_t count, struct sizes *sizes,
                             struct shoal_error *err) {
    uint8_t *at = NULL;
    size_t kept = 0, at_size = 0;
    const json_t *at_json = json_object_get(json, "at");
    *sizes = (struct sizes){.count = count};
    shoal_status status = json_get_count(json, "total", INT64_MAX, &sizes->total, err);
    if (status == SHOAL_OK) {
        status = bytes_from_json(json_object_get(json, "codes"), count, &sizes->codes,
                                 &kept, err);
    }
    if (status == SHOAL_OK && at_json != NULL) {
        status = bytes_from_json(at_json, kept * sizeof *sizes->at, &at, &at_size, err);
        sizes->at = (uint32_t *)(void *)at;
        if (status == SHOAL_OK && at_size != kept * sizeof *sizes->at)
            status = corrupt(err);
    }
    sizes->kept = (uint32_t)kept;
    if (status == SHOAL_OK && !is_sound(sizes)) status = corrupt(err);
    if (status != SHOAL_OK) sizes_free(sizes);
    return status;
}
