// The bounds of a RANGE exchange, from the samples of the exchange before it.
#include <float.h>
#include <stdlib.h>

#include "query/run.h"

// The samples of one file stand for all rows that it was sampled from.
bool run_add_samples(const struct task_file *file, struct weighted_key **samples,
                     size_t *count) {
    size_t added = file->sample.count;
    struct weighted_key *grown = realloc(*samples, (*count + added + 1) * sizeof *grown);
    if (grown == NULL) return false;
    *samples = grown;
    for (size_t k = 0; k < added; k++) {
        grown[(*count)++] = (struct weighted_key){
            &file->sample.list[k], (double)file->sample_rows / (double)added};
    }
    return true;
}

shoal_status run_find_bounds(struct run *run, uint32_t stage, struct shoal_error *err) {
    struct stage_run *to = &run->runs[stage];
    uint32_t exchange = run->stages->stages[stage].exchange;
    uint32_t sampled = run->stages->exchanges[exchange].bounds_from;
    enum adapt_skew skew = run->session->options.skew;
    size_t count = 0;
    bool ok = true;
    struct weighted_key *samples = NULL;
    if (to->bounded) return SHOAL_OK;
    for (size_t s = 0; s + 1 < run->stages->count; s++) {
        if (run->stages->stages[s].exchange != sampled) continue;
        for (size_t f = 0; ok && f < run->runs[s].file_count; f++)
            ok = run_add_samples(&run->runs[s].files[f], &samples, &count);
    }
    double share = skew == ADAPT_OFF ? DBL_MAX : skew == ADAPT_ALWAYS ? 0 : SPREAD_SHARE;
    to->bounded =
        ok && bounds_cut(samples, count, run->partitions[exchange], share, &to->bounds);
    free(samples);
    return to->bounded ? SHOAL_OK : shoal_no_memory(err);
}
