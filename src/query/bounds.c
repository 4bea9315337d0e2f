// The bounds of a RANGE exchange, from the samples of the exchange before it.
#include <stdlib.h>

#include "query/run.h"

struct sampled {
    const struct key *key;
    double weight;  // rows that it stands for
};

static int by_key(const void *a, const void *b) {
    return key_compare(((const struct sampled *)a)->key,
                       ((const struct sampled *)b)->key);
}

// The keys at equal distances in weight; the same key may come more than once.
static bool cut(struct sampled *samples, size_t count, double total, uint32_t partitions,
                struct keys *bounds) {
    double passed = 0;
    if (count > 0) qsort(samples, count, sizeof *samples, by_key);
    for (size_t i = 0; i < count; i++) {
        passed += samples[i].weight;
        while (bounds->count + 1 < partitions &&
               passed > total * (double)(bounds->count + 1) / partitions) {
            const struct key *key = samples[i].key;
            if (!keys_add(bounds, key->data, key->size)) return false;
        }
    }
    return true;
}

shoal_status run_find_bounds(struct run *run, uint32_t stage, struct shoal_error *err) {
    struct stage_run *to = &run->runs[stage];
    uint32_t exchange = run->stages->stages[stage].exchange;
    uint32_t sampled = run->stages->exchanges[exchange].bounds_from;
    size_t count = 0, capacity = 0;
    double total = 0;
    struct sampled *samples = NULL;
    if (to->bounded) return SHOAL_OK;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != sampled) continue;
        for (size_t f = 0; f < run->runs[s].file_count; f++) {
            const struct task_file *file = &run->runs[s].files[f];
            capacity = count + file->sample.count;
            struct sampled *grown = realloc(samples, (capacity + 1) * sizeof *grown);
            if (grown == NULL) {
                free(samples);
                return shoal_no_memory(err);
            }
            samples = grown;
            for (size_t k = 0; k < file->sample.count; k++) {
                samples[count++] = (struct sampled){
                    &file->sample.list[k],
                    (double)file->sample_rows / (double)file->sample.count};
            }
            total += (double)file->sample_rows;
        }
    }
    to->bounded = cut(samples, count, total, run->partitions[exchange], &to->bounds);
    free(samples);
    return to->bounded ? SHOAL_OK : shoal_no_memory(err);
}
