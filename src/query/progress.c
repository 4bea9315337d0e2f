#include <stdio.h>

#include "query/session.h"

void progress_start(struct progress *progress, bool enabled, double now) {
    *progress = (struct progress){.enabled = enabled, .started = now, .last = now};
}

static void draw_bar(uint64_t done, uint64_t all) {
    enum { WIDTH = 20 };
    int full = all ? (int)(done * WIDTH / all) : 0;
    fputc('[', stderr);
    for (int i = 0; i < WIDTH; i++) fputc(i < full ? '#' : '.', stderr);
    fputc(']', stderr);
}

void progress_draw(struct progress *progress, const struct sched *sched, double now) {
    struct sched_progress at;
    if (!progress->enabled || now - progress->last < 0.1) return;
    progress->last = now;
    progress->drawn = true;
    sched_progress(sched, &at);
    double elapsed = now - progress->started;
    fputc('\r', stderr);
    draw_bar(at.tasks_done, at.tasks);
    fprintf(stderr, " stages %u/%u  tasks %llu/%llu  %.2f M rows  %.1f MB  %.1f s",
            at.stages_done, at.stages, (unsigned long long)at.tasks_done,
            (unsigned long long)at.tasks, (double)progress->rows / 1e6,
            (double)progress->bytes / 1e6, elapsed);
    if (at.tasks_done > 0) {
        double left =
            elapsed * (double)(at.tasks - at.tasks_done) / (double)at.tasks_done;
        fprintf(stderr, "  ETA %.0f s", left);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
}

void progress_end(struct progress *progress) {
    if (progress->drawn) fputs("\r\033[K", stderr);
}
