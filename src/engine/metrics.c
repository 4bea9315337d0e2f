#include "engine/metrics.h"

#include <string.h>

#define EVERY_SECONDS 1

void metrics_count(struct metrics *metrics, const struct engine_event *event) {
    switch (event->kind) {
        case ENGINE_DONE:
            metrics->tasks_done++;
            for (size_t i = 0; i < event->output.count; i++) {
                metrics->rows += event->output.files[i].rows.total;
                metrics->bytes += event->output.files[i].bytes;
            }
            break;
        case ENGINE_FAILED:
            metrics->tasks_failed++;
            break;
        case ENGINE_DOWN:
            metrics->workers_lost += event->error.status == SHOAL_LOST;
            break;
        case ENGINE_UP:
        case ENGINE_NOTE:
        case ENGINE_NOTHING:
            break;
    }
}

json_t *metrics_line(struct metrics *metrics, struct metrics *before, double now,
                     bool last) {
    if (!last && now - metrics->told < EVERY_SECONDS) return NULL;
    before->told = metrics->told;
    if (memcmp(metrics, before, sizeof *metrics) == 0) return NULL;
    metrics->told = now;
    *before = *metrics;
    return json_pack("{s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "op", "metrics",
                     "values", "workers", (json_int_t)metrics->workers, "workers_lost",
                     (json_int_t)metrics->workers_lost, "tasks_running",
                     (json_int_t)metrics->tasks_running, "tasks_waiting",
                     (json_int_t)metrics->tasks_waiting, "tasks_done",
                     (json_int_t)metrics->tasks_done, "tasks_failed",
                     (json_int_t)metrics->tasks_failed, "rows", (json_int_t)metrics->rows,
                     "bytes", (json_int_t)metrics->bytes);
}
