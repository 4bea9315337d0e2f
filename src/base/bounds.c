#include "base/bounds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define GOLDEN 2654435769u  // 2^32 divided by the golden ratio

static int by_key(const void *a, const void *b) {
    return key_compare(((const struct weighted_key *)a)->key,
                       ((const struct weighted_key *)b)->key);
}

static bool add(struct bounds *bounds, const struct key *key,
                const struct key_span *span) {
    size_t count = bounds->keys.count;
    struct key_span *grown = realloc(bounds->spans, (count + 1) * sizeof *grown);
    if (grown == NULL) return false;
    bounds->spans = grown;
    grown[count] = *span;
    return keys_add(&bounds->keys, key->data, key->size);
}

bool bounds_cut(struct weighted_key *samples, size_t count, uint32_t parts,
                double spread_share, struct bounds *bounds) {
    double total = 0, passed = 0;
    uint32_t cuts = 0;
    *bounds = (struct bounds){0};
    if (count > 0) qsort(samples, count, sizeof *samples, by_key);
    for (size_t i = 0; i < count; i++) total += samples[i].weight;
    for (size_t i = 0; i < count && cuts + 1 < parts;) {
        const struct key *key = samples[i].key;
        struct key_span span = {.from = passed / total * parts};
        for (; i < count && key_compare(samples[i].key, key) == 0; i++)
            passed += samples[i].weight;
        span.to = passed / total * parts;
        while (cuts + 1 < parts && span.to > cuts + 1) cuts++;
        if (cuts ==
            (bounds->keys.count ? bounds->spans[bounds->keys.count - 1].above : 0))
            continue;
        span.above = cuts;
        if (span.to - span.from < spread_share) span.from = span.to = cuts;
        if (!add(bounds, key, &span)) {
            bounds_free(bounds);
            return false;
        }
    }
    return true;
}

// ---- bounds between groups

struct group_cuts {
    struct weighted_key *samples;  // sorted
    double share;                  // weight of a part
    struct bounds *bounds;
};

// A bound whose rows are all on one side.
static bool add_cut(struct group_cuts *cuts, const struct key *key) {
    const struct keys *keys = &cuts->bounds->keys;
    uint32_t above = (uint32_t)keys->count + 1;
    if (keys->count > 0 && key_compare(&keys->list[keys->count - 1], key) >= 0)
        return true;
    return add(cuts->bounds, key, &(struct key_span){above, above, above});
}

static double weight_of(const struct weighted_key *samples, size_t count) {
    double weight = 0;
    for (size_t i = 0; i < count; i++) weight += samples[i].weight;
    return weight;
}

// As many parts as samples [first, end) have shares.
static bool cut_between(struct group_cuts *cuts, size_t first, size_t end) {
    double shares = weight_of(cuts->samples + first, end - first) / cuts->share;
    struct bounds inner;
    if (shares < 1.5) return true;
    bool ok = bounds_cut(cuts->samples + first, end - first, (uint32_t)lround(shares),
                         DBL_MAX, &inner);
    for (size_t i = 0; ok && i < inner.keys.count; i++)
        ok = add_cut(cuts, &inner.keys.list[i]);
    bounds_free(&inner);
    return ok;
}

// At the first key of a group of so many bytes, or behind its last.
static bool cut_at_group(struct group_cuts *cuts, const struct key *key, size_t bytes,
                         bool behind) {
    struct key edge = {malloc(bytes), bytes};
    if (edge.data == NULL) return false;
    memcpy(edge.data, key->data, bytes);
    while (behind && edge.size > 0 && ++edge.data[edge.size - 1] == 0) edge.size--;
    bool ok = edge.size == 0 || add_cut(cuts, &edge);
    free(edge.data);
    return ok;
}

static bool is_of(const struct key *key, const struct key *first, size_t bytes) {
    return key->size >= bytes && memcmp(key->data, first->data, bytes) == 0;
}

bool bounds_cut_groups(struct weighted_key *samples, size_t count, uint32_t parts,
                       bounds_group *group_bytes, const void *context,
                       struct bounds *bounds) {
    *bounds = (struct bounds){0};
    if (count == 0 || parts < 2) return true;
    qsort(samples, count, sizeof *samples, by_key);
    struct group_cuts cuts = {samples, weight_of(samples, count) / parts, bounds};
    size_t done = 0, end;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i = end) {
        const struct key *key = samples[i].key;
        size_t bytes = group_bytes(context, key);
        for (end = i + 1; bytes > 0 && end < count; end++) {
            if (!is_of(samples[end].key, key, bytes)) break;
        }
        if (bytes == 0 || weight_of(samples + i, end - i) < cuts.share) continue;
        ok = cut_between(&cuts, done, i) &&
             (i == done || cut_at_group(&cuts, key, bytes, false)) &&
             cut_between(&cuts, i, end) &&
             (end == count || cut_at_group(&cuts, key, bytes, true));
        done = end;
    }
    ok = ok && cut_between(&cuts, done, count);
    if (!ok) bounds_free(bounds);
    return ok;
}

bool bounds_copy(struct bounds *to, const struct bounds *from) {
    *to = (struct bounds){0};
    for (size_t i = 0; i < from->keys.count; i++) {
        if (add(to, &from->keys.list[i], &from->spans[i])) continue;
        bounds_free(to);
        return false;
    }
    return true;
}

void bounds_free(struct bounds *bounds) {
    keys_free(&bounds->keys);
    free(bounds->spans);
    *bounds = (struct bounds){0};
}

json_t *bounds_to_json(const struct bounds *bounds) {
    json_t *spans = json_array();
    for (size_t i = 0; i < bounds->keys.count; i++) {
        const struct key_span *span = &bounds->spans[i];
        json_t *json =
            json_pack("[f,f,I]", span->from, span->to, (json_int_t)span->above);
        if (json_array_append_new(spans, json) == 0) continue;
        json_decref(spans);
        return NULL;
    }
    return json_pack("{s:o, s:o}", "keys", keys_to_json(&bounds->keys), "spans", spans);
}

// Parts are in order if a key's rows lie behind what is below it, and not behind what is
// above.
static bool is_span(const struct key_span *span, json_int_t above, uint32_t before,
                    uint64_t parts) {
    return above > before && (uint64_t)above < parts && span->from >= before &&
           span->from <= span->to && span->to <= (double)parts + 1;
}

shoal_status bounds_from_json(const json_t *json, uint64_t parts, struct bounds *bounds,
                              struct shoal_error *err) {
    const json_t *spans = json_object_get(json, "spans");
    shoal_status status =
        keys_from_json(json_object_get(json, "keys"), &bounds->keys, err);
    if (status != SHOAL_OK) return status;
    size_t count = bounds->keys.count;
    if (!json_is_array(spans) || json_array_size(spans) != count)
        return shoal_fail(err, SHOAL_CORRUPT, "%zu bounds have no spans", count);
    bounds->spans = calloc(count + 1, sizeof *bounds->spans);
    if (bounds->spans == NULL) return shoal_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(spans, i);
        json_int_t above = json_integer_value(json_array_get(item, 2));
        struct key_span *span = &bounds->spans[i];
        span->from = json_number_value(json_array_get(item, 0));
        span->to = json_number_value(json_array_get(item, 1));
        bool ok =
            is_span(span, above, i == 0 ? 0 : bounds->spans[i - 1].above, parts) &&
            (i == 0 || key_compare(&bounds->keys.list[i - 1], &bounds->keys.list[i]) < 0);
        if (!ok)
            return shoal_fail(err, SHOAL_CORRUPT, "bound %zu is none of %llu parts", i,
                              (unsigned long long)parts);
        span->above = (uint32_t)above;
    }
    return SHOAL_OK;
}

bool placer_make(struct placer *placer, const struct bounds *bounds, uint64_t seed) {
    size_t count = bounds->keys.count;
    bool spreads = false;
    *placer = (struct placer){.bounds = bounds};
    placer->above = calloc(count + 1, sizeof *placer->above);
    bool ok = placer->above != NULL && key_index_make(&placer->index, &bounds->keys);
    for (size_t i = 0; ok && i < count; i++) {
        placer->above[i + 1] = bounds->spans[i].above;
        spreads = spreads || bounds->spans[i].to > bounds->spans[i].from;
    }
    if (ok && spreads) {
        placer->places = calloc(count, sizeof *placer->places);
        ok = placer->places != NULL;
        for (size_t i = 0; ok && i < count; i++) placer->places[i] = (uint32_t)seed;
    }
    if (!ok) placer_free(placer);
    return ok;
}

uint32_t placer_part(struct placer *placer, const uint8_t *data, size_t size) {
    size_t below = key_index_at_or_below(&placer->index, data, size);
    if (placer->places == NULL || below == 0) return placer->above[below];
    const struct key_span *span = &placer->bounds->spans[below - 1];
    const struct key *key = &placer->bounds->keys.list[below - 1];
    bool spread = span->to > span->from && key->size == size &&
                  (size == 0 || memcmp(key->data, data, size) == 0);
    if (!spread) return span->above;
    uint32_t place = placer->places[below - 1] += GOLDEN;
    double part = span->from + (span->to - span->from) * (place * 0x1p-32);
    return part < span->above ? (uint32_t)part : span->above;
}

void placer_free(struct placer *placer) {
    key_index_free(&placer->index);
    free(placer->above);
    free(placer->places);
    *placer = (struct placer){0};
}
