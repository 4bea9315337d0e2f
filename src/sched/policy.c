// What a failure means for its task, and what the query's error says in the end.
//
// An error is of use when it tells a bad disk on one machine from a query that fails
// everywhere, so it lists where each attempt ran and why it failed. The list belongs to
// tasks that failed, which are few; when there is no memory for it the error is shorter.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sched/internal.h"

// Of a cause that is not the last, and of a task's causes.
#define CAUSE_BYTES 300
#define CAUSES_MAX 16
#define WORKER_DIED "the worker died"

struct cause {
    struct cause *next;
    uint32_t attempt, worker;
    char message[];
};

struct rule {
    enum policy policy;
    const char *advice;
};

static const char see_logs[] = "Look at the end of the workers' logs";
static const char more_memory[] =
    "Give more --memory, fewer --threads, or more --partitions so that a task is smaller";

static const struct rule rules[] = {
    [SHOAL_OK] = {POLICY_NEVER, see_logs},
    [SHOAL_USER] = {POLICY_NEVER, NULL},
    [SHOAL_USAGE] = {POLICY_NEVER, see_logs},
    [SHOAL_UNSUPPORTED] = {POLICY_NEVER, see_logs},
    [SHOAL_IO] = {POLICY_ELSEWHERE, see_logs},
    [SHOAL_NOMEM] = {POLICY_ALONE, more_memory},
    [SHOAL_CANCELLED] = {POLICY_UNCOUNTED, see_logs},
    [SHOAL_LOST] = {POLICY_ELSEWHERE, see_logs},
    [SHOAL_CORRUPT] = {POLICY_ELSEWHERE,
                       "Look at the workers' logs, and test the disks and the memory of "
                       "the machines that are named"},
    [SHOAL_DISK_FULL] = {POLICY_ELSEWHERE,
                         "Free space on those machines' disks, or give another "
                         "--temp-dir or --temp-limit"},
    [SHOAL_TIMEOUT] = {POLICY_ELSEWHERE,
                       "Look at the end of the workers' logs; allow more time, or use "
                       "more --partitions so that a task is shorter"},
    [SHOAL_INTERNAL] = {POLICY_NEVER, see_logs},
};

static const struct rule *rule_of(shoal_status status) {
    bool known = (unsigned)status < sizeof rules / sizeof *rules;
    return &rules[known ? status : SHOAL_INTERNAL];
}

enum policy policy_of(shoal_status status) {
    return rule_of(status)->policy;
}

// The bytes of the message's first `most` that end with a whole character of UTF-8.
static size_t clip(const char *message, size_t most) {
    size_t size = strnlen(message, most + 1);
    if (size <= most) return size;
    size = most;
    while (size > 0 && ((unsigned char)message[size] & 0xC0) == 0x80) size--;
    return size;
}

void cause_add(struct task *task, uint32_t attempt, uint32_t worker,
               const char *message) {
    size_t size = clip(message, CAUSE_BYTES);
    struct cause *cause = malloc(sizeof *cause + size + 1);
    if (cause == NULL) return;
    cause->next = task->causes;
    cause->attempt = attempt;
    cause->worker = worker;
    memcpy(cause->message, message, size);
    cause->message[size] = '\0';
    task->causes = cause;
    for (int kept = 1; cause != NULL; kept++, cause = cause->next) {
        if (kept < CAUSES_MAX) continue;
        free(cause->next);
        cause->next = NULL;
    }
}

void cause_free(struct task *task) {
    for (struct cause *cause = task->causes, *next; cause != NULL; cause = next) {
        next = cause->next;
        free(cause);
    }
    task->causes = NULL;
}

struct lines {
    char *data;
    size_t size, room;
};

static void add(struct lines *lines, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// All of it or nothing.
static void add(struct lines *lines, const char *format, ...) {
    size_t left = lines->room - lines->size;
    va_list args;
    va_start(args, format);
    int size = vsnprintf(lines->data + lines->size, left, format, args);
    va_end(args);
    if (size > 0 && (size_t)size < left) lines->size += (size_t)size;
    lines->data[lines->size] = '\0';
}

// "title", a line for each attempt, the newest that fit, and the advice. The last
// attempt's message is cut only where it does not fit beside title and advice.
static void fail(struct sched *sched, shoal_status status, const struct task *task,
                 const char *title, uint32_t attempt, uint32_t worker,
                 const char *message) {
    const struct cause *causes[CAUSES_MAX];
    const char *advice = rule_of(status)->advice;
    char last[sizeof sched->error.message];
    struct lines lines = {sched->error.message, 0, sizeof sched->error.message};
    size_t fixed =
        strlen(title) + strlen(advice) + sizeof "\nattempt on worker : \n" + 20;
    size_t most = lines.room - fixed;
    int size = snprintf(last, sizeof last, "\nattempt %u on worker %u: %.*s\n", attempt,
                        worker, (int)clip(message, most), message);
    size_t used = strlen(title) + (size_t)size + strlen(advice) + 1;
    int count = 0;
    for (const struct cause *cause = task->causes; cause != NULL; cause = cause->next) {
        used += strlen(cause->message) + sizeof "\nattempt on worker : " + 20;
        if (used > lines.room) break;
        causes[count++] = cause;
    }
    sched->failed = true;
    sched->error.status = status;
    sched->error.retriable = false;
    add(&lines, "%s", title);
    while (count-- > 0) {
        add(&lines, "\nattempt %u on worker %u: %s", causes[count]->attempt,
            causes[count]->worker, causes[count]->message);
    }
    add(&lines, "%s", last);
    add(&lines, "%s", advice);
}

void fail_task(struct sched *sched, const struct attempt *attempt, uint32_t worker,
               const struct shoal_error *why) {
    if (why->status == SHOAL_USER) {
        sched->failed = true;
        sched->error = *why;  // the user's own mistake, in the words the user knows
        sched->error.retriable = false;
        return;
    }
    const struct task *task = stage_task(sched, attempt->stage, attempt->task);
    shoal_status status = why->status == SHOAL_OK ? SHOAL_INTERNAL : why->status;
    char title[160];
    int at =
        snprintf(title, sizeof title, "stage %u task %u ", attempt->stage, attempt->task);
    if (status == SHOAL_NOMEM && attempt->alone) {
        snprintf(title + at, sizeof title - (size_t)at,
                 "is out of memory even where nothing else runs");
    } else if (policy_of(status) == POLICY_NEVER) {
        snprintf(title + at, sizeof title - (size_t)at,
                 "failed, and a retry cannot help");
    } else {
        snprintf(title + at, sizeof title - (size_t)at, "failed %u times",
                 task->failures);
    }
    fail(sched, status, task, title, attempt->number, worker, why->message);
}

void fail_poison(struct sched *sched, const struct attempt *attempt, uint32_t worker) {
    if (sched->failed) return;
    const struct task *task = stage_task(sched, attempt->stage, attempt->task);
    char title[320];
    snprintf(title, sizeof title,
             "stage %u task %u killed %u workers: each died while running it, likely out "
             "of memory or by a crash. Give workers more memory or fewer --threads, or "
             "use more --partitions so that a task is smaller",
             attempt->stage, attempt->task, task->deaths);
    fail(sched, SHOAL_LOST, task, title, attempt->number, worker, WORKER_DIED);
}

void fail_losses(struct sched *sched, uint32_t stage, uint32_t task) {
    sched->failed = true;
    shoal_fail(
        &sched->error, SHOAL_CORRUPT,
        "what stage %u task %u made was lost %u times, and it ran again each time. "
        "Look at the workers' logs for what becomes of block files: workers that "
        "die, disks that fail, or another program that removes files from the "
        "--temp-dir or --memory-dir folder",
        stage, task, stage_task(sched, stage, task)->losses);
    sched->error.retriable = false;
}
