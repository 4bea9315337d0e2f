// Twins: a second attempt of a task whose first one takes much longer than the stage's
// others did. The first that is done counts.
//
// A task that is slow because its rows are many is slow everywhere, so a twin uses only
// slots that nothing else wants, only once half of the stage is done and says how long a
// task takes, and only past 1.5 times the 75th percentile and two seconds (Spark's
// spark.speculation is alike). The percentile comes from counts of durations in classes
// of an eighth of a doubling: at most an eighth too long, never too short. A task may
// have two attempts, on different workers.
//
// The attempts of a stage are listed in the order they started, so that the candidates
// are first; few of them are looked at for each decision. When one of two attempts ends
// badly the other goes back into the list, to its front when it belongs there, else to
// its end: the order is a help, not a promise.
#include <math.h>
#include <string.h>

#include "sched/internal.h"

#define LOOK_MOST 16
#define LONGER 1.5
#define SECONDS_LEAST 2.0

// A double's exponent and the first three bits of its mantissa, from 1.0 on.
#define CLASS_SHIFT 49
#define CLASS_OF_ONE (UINT64_C(0x3ff0000000000000) >> CLASS_SHIFT)

void duration_add(struct stage *stage, double seconds) {
    uint64_t bits = 0, class = 0;
    if (seconds >= 1) {
        memcpy(&bits, &seconds, sizeof bits);
        class = (bits >> CLASS_SHIFT) - CLASS_OF_ONE + 1;
        if (class >= DURATION_CLASSES) class = DURATION_CLASSES - 1;
    }
    stage->durations[class]++;
}

// Where the class ends.
static double class_end(uint64_t class) {
    if (class == DURATION_CLASSES - 1) return INFINITY;
    uint64_t bits = (class + CLASS_OF_ONE) << CLASS_SHIFT;
    double seconds;
    memcpy(&seconds, &bits, sizeof seconds);
    return seconds;
}

// How old an attempt must be to get a twin.
static double age_least(const struct stage *stage) {
    uint64_t all = 0, below = 0, class = 0;
    for (size_t i = 0; i < DURATION_CLASSES; i++) all += stage->durations[i];
    if (all == 0) return INFINITY;  // those that are done ran in an earlier process
    while ((below += stage->durations[class]) * 4 < all * 3) class ++;
    double seconds = LONGER * class_end(class);
    return seconds > SECONDS_LEAST ? seconds : SECONDS_LEAST;
}

// The stage's first attempt that may have a twin now.
static uint32_t look_at(const struct sched *sched, const struct stage *stage, double now,
                        int *looked, uint32_t *worker) {
    double least = age_least(stage);
    for (uint32_t at = stage->lone.head; at != NIL && *looked < LOOK_MOST;
         at = sched->attempts[at].newer) {
        const struct attempt *attempt = &sched->attempts[at];
        const struct task *task = stage_task(sched, attempt->stage, attempt->task);
        (*looked)++;
        if (!(now - attempt->since > least)) return NIL;
        if (task->alone || task->failures >= sched->options.max_attempts) continue;
        *worker =
            worker_least(sched, sched->workers[attempt->worker].number, task->avoid);
        if (*worker == NIL) continue;
        if (stage->wide && sched->workers[*worker].used > 0) continue;
        return at;
    }
    return NIL;
}

uint32_t speculate(const struct sched *sched, double now, uint32_t *worker) {
    if (sched->options.no_speculation) return NIL;
    size_t words = (sched->stages_size + 63) / 64;
    int looked = 0;
    for (size_t w = 0; w < words; w++) {
        for (uint64_t bits = sched->active[w]; bits != 0; bits &= bits - 1) {
            const struct stage *stage =
                &sched->stages[w * 64 + (size_t)__builtin_ctzll(bits)];
            if (stage->undone_deps > 0 || stage->done < (stage->tasks + 1) / 2) continue;
            // Most often the oldest is young.
            double since = sched->attempts[stage->lone.head].since;
            if (!(now - since > SECONDS_LEAST)) continue;
            uint32_t at = look_at(sched, stage, now, &looked, worker);
            if (at != NIL) return at;
        }
    }
    return NIL;
}
