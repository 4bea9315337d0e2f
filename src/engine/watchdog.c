#include "engine/watchdog.h"

#include <stdio.h>
#include <stdlib.h>

#define CORE_SHARE 0.01  // of a core: less is what a process uses that only waits

bool watchdog_start(struct watchdog *dog, uint64_t task, uint32_t attempt) {
    if (dog->count == dog->capacity) {
        size_t capacity = dog->capacity ? dog->capacity * 2 : 8;
        struct watched *tasks = realloc(dog->tasks, capacity * sizeof *tasks);
        if (tasks == NULL) return false;
        dog->tasks = tasks;
        dog->capacity = capacity;
    }
    dog->tasks[dog->count++] =
        (struct watched){.task = task, .attempt = attempt, .progress = -1, .moved = -1};
    return true;
}

static struct watched *find(struct watchdog *dog, uint64_t task, uint32_t attempt) {
    for (size_t i = 0; i < dog->count; i++) {
        if (dog->tasks[i].task == task && dog->tasks[i].attempt == attempt)
            return &dog->tasks[i];
    }
    return NULL;
}

bool watchdog_end(struct watchdog *dog, uint64_t task, uint32_t attempt,
                  struct watched *was) {
    struct watched *found = find(dog, task, attempt);
    if (found == NULL) return false;
    *was = *found;
    *found = dog->tasks[--dog->count];
    return was->cancelled;
}

void watchdog_hear(struct watchdog *dog, const struct heartbeat *beat) {
    double passed = beat->time - dog->time;
    // The first one has nothing to be compared with.
    bool works = !dog->heard || passed < 0 || beat->io_bytes != dog->io_bytes ||
                 beat->cpu_seconds - dog->cpu_seconds >= CORE_SHARE * passed;
    dog->heard = true;
    dog->time = beat->time;
    dog->cpu_seconds = beat->cpu_seconds;
    dog->io_bytes = beat->io_bytes;
    for (size_t i = 0; i < beat->count; i++) {
        const struct heartbeat_task *said = &beat->tasks[i];
        struct watched *task = find(dog, said->task, said->attempt);
        if (task == NULL || task->cancelled) continue;
        bool moves = works || task->moved < 0 || said->progress != task->progress;
        if (moves) task->moved = beat->time;
        task->progress = said->progress;
        task->still = beat->time - task->moved;
    }
}

enum watchdog_verdict watchdog_next(struct watchdog *dog, double now,
                                    struct watched *which) {
    if (dog->options.hang_seconds <= 0) return WATCHDOG_FINE;
    for (size_t i = 0; i < dog->count; i++) {
        struct watched *task = &dog->tasks[i];
        if (task->cancelled) {
            if (now - task->cancelled_at < dog->options.grace_seconds) continue;
            *which = *task;
            return WATCHDOG_KILL;
        }
        if (task->still < dog->options.hang_seconds) continue;
        task->cancelled = true;
        task->cancelled_at = now;
        *which = *task;
        return WATCHDOG_CANCEL;
    }
    return WATCHDOG_FINE;
}

void watchdog_explain(const struct watchdog *dog, const struct watched *task,
                      uint32_t worker, bool killed, struct shoal_error *err) {
    char at[48] = "", then[96] = "was cancelled";
    if (task->progress >= 0)
        (void)snprintf(at, sizeof at, "stayed at %.0f%% and ", task->progress);
    if (killed)
        (void)snprintf(
            then, sizeof then,
            "was cancelled, did not answer for %g s, and its worker was killed",
            dog->options.grace_seconds);
    shoal_fail(
        err, SHOAL_TIMEOUT,
        "task %llu (attempt %u) hung on worker %u: for %.0f s it %sneither used the "
        "processor nor read or wrote files; it %s. If it only waits for something "
        "slow, allow more with --task-timeout (now %g s; 0: any time)",
        (unsigned long long)task->task, task->attempt, worker, task->still, at, then,
        dog->options.hang_seconds);
}

void watchdog_free(struct watchdog *dog) {
    free(dog->tasks);
    dog->tasks = NULL;
    dog->count = dog->capacity = 0;
}
