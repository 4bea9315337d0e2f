#include "base/fault.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

int (*fault_hook)(enum fault_point point, const char *path);

// ---- what there is

enum action {
    KILL = 1 << 0,
    EXIT = 1 << 1,
    HANG = 1 << 2,
    DELAY = 1 << 3,
    NO_SPACE = 1 << 4,
    BAD_DISK = 1 << 5,
    NO_ACCESS = 1 << 6,
    NOT_ABLE = 1 << 7,
    SHORT = 1 << 8,
    FLIP = 1 << 9,
    TRUNCATE = 1 << 10,
    DROP = 1 << 11,
    DUPLICATE = 1 << 12,
    REORDER = 1 << 13,
};

static const struct {
    const char *name;
    enum action action;
    int answer;  // of the point
} actions[] = {{"kill", KILL, 0},
               {"exit", EXIT, 0},
               {"hang", HANG, 0},
               {"delay", DELAY, 0},
               {"ENOSPC", NO_SPACE, ENOSPC},
               {"EIO", BAD_DISK, EIO},
               {"EACCES", NO_ACCESS, EACCES},
               {"EINVAL", NOT_ABLE, EINVAL},
               {"short", SHORT, FAULT_SHORT},
               {"flip", FLIP, FAULT_FLIP},
               {"truncate", TRUNCATE, FAULT_TRUNCATE},
               {"drop", DROP, FAULT_DROP},
               {"duplicate", DUPLICATE, FAULT_DUPLICATE},
               {"reorder", REORDER, FAULT_REORDER}};

#define ACTIONS (sizeof actions / sizeof *actions)
#define ANY (KILL | EXIT | HANG | DELAY)
#define FAILS (ANY | NO_SPACE | BAD_DISK | NO_ACCESS)
#define READS (ANY | BAD_DISK | NO_ACCESS)
#define SENDS (ANY | BAD_DISK | SHORT | DROP | DUPLICATE | REORDER)

// Only what has a checksum can flip a bit or lose its end: elsewhere nobody could tell.
static const struct {
    const char *name;
    unsigned can;
} points[FAULT_POINTS] = {
    [FAULT_SPOOL_CREATE] = {"spool.create", FAILS},
    [FAULT_BLOCK_CREATE] = {"block.create", FAILS},
    [FAULT_BLOCK_WRITE] = {"block.write", FAILS | SHORT | FLIP | TRUNCATE},
    [FAULT_BLOCK_OPEN] = {"block.open", READS},
    [FAULT_BLOCK_READ] = {"block.read", READS | FLIP},
    [FAULT_INPUT_OPEN] = {"input.open", READS},
    [FAULT_INPUT_READ] = {"input.read", READS},
    [FAULT_SINK_MOVE] = {"sink.move", FAILS},
    [FAULT_SINK_CREATE] = {"sink.create", FAILS},
    [FAULT_SINK_JOURNAL] = {"sink.journal", FAILS | SHORT},
    [FAULT_COMMIT_RENAME] = {"commit.rename", FAILS},
    [FAULT_COMMIT_SWAP] = {"commit.swap", FAILS | NOT_ABLE},
    [FAULT_COMMIT_LOG] = {"commit.log", FAILS | SHORT},
    [FAULT_COMMIT_LINK] = {"commit.link", FAILS | NOT_ABLE},
    [FAULT_COMMIT_CHECKPOINT] = {"commit.checkpoint", FAILS | SHORT},
    [FAULT_COMMIT_HINT] = {"commit.hint", FAILS},
    [FAULT_UNDO_MOVE] = {"undo.move", FAILS},
    [FAULT_ENGINE_SPAWN] = {"engine.spawn", FAILS},
    [FAULT_DRIVER_SEND] = {"driver.send", SENDS},
    [FAULT_WORKER_HELLO] = {"worker.hello", ANY},
    [FAULT_WORKER_SEND] = {"worker.send", SENDS},
    [FAULT_WORKER_TASK] = {"worker.task", FAILS},
    [FAULT_SERVER_READ] = {"server.read", READS | SHORT | FLIP},
    [FAULT_REMOTE_CONNECT] = {"remote.connect", ANY | BAD_DISK},
    [FAULT_REMOTE_READ] = {"remote.read", ANY | BAD_DISK | SHORT | FLIP},
    [FAULT_JOB_OPEN] = {"job.open", FAILS},
    [FAULT_JOB_APPEND] = {"job.append", FAILS | SHORT | FLIP | TRUNCATE},
    [FAULT_JOB_READ] = {"job.read", READS | FLIP},
    [FAULT_JOB_SYNC] = {"job.sync", FAILS},
};

// ---- what is asked for

#define MOST 16
#define EXIT_CODE 99
#define DELAY_MOST 0.3

struct fault {
    enum fault_point point;
    enum action action;
    int answer;
    double seconds;     // of a delay; negative: by chance
    unsigned at;        // the N-th time
    bool on;            // and whenever later
    unsigned one_in;    // by chance; 0: counted
    const char *path;   // with this in it; NULL: any
    atomic_uint count;  // how often it was there
};

static struct fault faults[MOST];
static size_t fault_count;
static uint64_t seed;

// The number-th of a stream of random numbers (splitmix64): threads need no lock.
static uint64_t chance(const struct fault *fault, unsigned number) {
    uint64_t x = seed + (uint64_t)(fault - faults) * 0x5851f42d4c957f2dULL +
                 number * 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static bool is_due(const struct fault *fault, unsigned number) {
    if (fault->one_in > 0) return chance(fault, number) % fault->one_in == 0;
    return fault->on ? number >= fault->at : number == fault->at;
}

static void wait_for(double seconds) {
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)(fmod(seconds, 1) * 1e9)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static int act(const struct fault *fault, unsigned number) {
    double part = (double)(chance(fault, ~number) >> 11) * 0x1p-53;
    switch (fault->action) {
        case KILL:
            raise(SIGKILL);
            break;
        case EXIT:
            _exit(EXIT_CODE);
        case HANG:
            for (;;) pause();
        case DELAY:
            wait_for(fault->seconds < 0 ? part * DELAY_MOST : fault->seconds);
            break;
        default:
            break;
    }
    return fault->answer;
}

static int inject(enum fault_point point, const char *path) {
    int answer = FAULT_NONE;
    for (size_t i = 0; i < fault_count && answer == FAULT_NONE; i++) {
        struct fault *fault = &faults[i];
        if (fault->point != point) continue;
        if (fault->path != NULL && strstr(path, fault->path) == NULL) continue;
        unsigned number = atomic_fetch_add(&fault->count, 1) + 1;
        if (is_due(fault, number)) answer = act(fault, number);
    }
    return answer;
}

bool fault_fails(enum fault_point point, const char *path) {
    int fault = fault_at(point, path);
    if (fault > 0) errno = fault;
    return fault > 0;
}

// ---- reading it

static void list_actions(unsigned can, struct text *out) {
    for (size_t i = 0; i < ACTIONS; i++) {
        if ((can & actions[i].action) == 0) continue;
        text_printf(out, "%s%s", can & (actions[i].action - 1u) ? ", " : "",
                    actions[i].name);
    }
}

static shoal_status refuse(const char *all, const char *why, struct shoal_error *err) {
    struct text list = {0};
    for (size_t i = 0; i < FAULT_POINTS; i++) {
        text_printf(&list, "\n  %s: ", points[i].name);
        list_actions(points[i].can, &list);
    }
    shoal_status status =
        list.failed ? shoal_no_memory(err)
                    : shoal_fail(err, SHOAL_USAGE,
                                 "SHOAL_FAULT=%.200s: %s; give POINT:NTH:ACTION, as in "
                                 "base/fault.h, of the points%s",
                                 all, why, list.data);
    text_free(&list);
    return status;
}

static const char *read_point(struct fault *fault, char *text, bool worker, bool *here) {
    char *at = strchr(text, '@');
    *here = true;
    if (at != NULL) {
        *at++ = '\0';
        if (strcmp(at, "driver") != 0 && strcmp(at, "worker") != 0)
            return "after @ comes driver or worker";
        *here = (strcmp(at, "worker") == 0) == worker;
    }
    for (size_t i = 0; i < FAULT_POINTS; i++) {
        if (strcmp(points[i].name, text) != 0) continue;
        fault->point = (enum fault_point)i;
        return NULL;
    }
    return "there is no such point";
}

static bool read_number(const char *text, unsigned *number, char **end) {
    if (*text < '0' || *text > '9') return false;
    unsigned long value = strtoul(text, end, 10);
    *number = (unsigned)value;
    return value > 0 && value <= 1000000000;
}

static const char *read_nth(struct fault *fault, const char *text) {
    char *end = NULL;
    bool by_chance = *text == '~';
    unsigned *number = by_chance ? &fault->one_in : &fault->at;
    if (!read_number(text + by_chance, number, &end)) return "NTH is N, N+ or ~P";
    fault->on = !by_chance && *end == '+';
    return end[fault->on] == '\0' ? NULL : "NTH is N, N+ or ~P";
}

static const char *read_action(struct fault *fault, char *text) {
    char *value = strchr(text, '='), *end = NULL;
    fault->seconds = -1;
    if (value != NULL) {
        *value++ = '\0';
        fault->seconds = strtod(value, &end);
        if (strcmp(text, "delay") != 0 || end == value || *end != '\0' ||
            !(fault->seconds >= 0 && fault->seconds <= 3600))
            return "only delay=SECONDS has a number, up to 3600";
    }
    for (size_t i = 0; i < ACTIONS; i++) {
        if (strcmp(actions[i].name, text) != 0) continue;
        fault->action = actions[i].action;
        fault->answer = actions[i].answer;
        return points[fault->point].can & actions[i].action ? NULL
                                                            : "the point can't do that";
    }
    return "there is no such action";
}

// One fault, whose text is cut in pieces. NULL, or what is wrong with it.
static const char *read_fault(char *text, bool worker) {
    struct fault *fault = &faults[fault_count];
    bool here = true;
    char *nth = strchr(text, ':');
    char *action = nth == NULL ? NULL : strchr(nth + 1, ':');
    if (action == NULL) return "it has not three parts";
    if (fault_count == MOST) return "there are more than 16";
    *nth++ = *action++ = '\0';
    char *path = strchr(action, ':');
    if (path != NULL) *path++ = '\0';
    fault->path = path;
    const char *wrong = read_point(fault, text, worker, &here);
    if (wrong == NULL) wrong = read_nth(fault, nth);
    if (wrong == NULL) wrong = read_action(fault, action);
    fault_count += here;
    return wrong;
}

// A worker draws other numbers than the driver and, by its place among the driver's
// children, than another worker.
static bool read_seed(bool worker) {
    const char *text = getenv("SHOAL_FAULT_SEED");
    char *end = NULL;
    if (text != NULL && *text != '\0') {
        errno = 0;
        seed = strtoull(text, &end, 10);
        if (errno != 0 || *end != '\0' || *text < '0' || *text > '9') return false;
    }
    seed *= 0xd1342543de82ef95ULL;
    if (worker) seed += (uint64_t)(getpid() - getppid());
    return true;
}

shoal_status fault_from_environment(bool worker, struct shoal_error *err) {
    static char text[4096];  // the faults' paths are in it
    const char *all = getenv("SHOAL_FAULT"), *wrong = NULL;
    if (all == NULL || *all == '\0') return SHOAL_OK;
    fault_count = 0;
    memset(faults, 0, sizeof faults);
    seed = 0;
    if (strlen(all) >= sizeof text) return refuse(all, "it is too long", err);
    memcpy(text, all, strlen(all) + 1);
    for (char *at = text, *next; wrong == NULL && at != NULL; at = next) {
        next = strchr(at, ',');
        if (next != NULL) *next++ = '\0';
        wrong = read_fault(at, worker);
    }
    if (wrong == NULL && !read_seed(worker)) wrong = "SHOAL_FAULT_SEED is no number";
    if (wrong != NULL) return refuse(all, wrong, err);
    if (fault_count > 0) fault_hook = inject;
    return SHOAL_OK;
}
