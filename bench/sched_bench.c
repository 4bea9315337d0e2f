// The scheduler at its full size: a million tasks in five stages on 10,000 simulated
// workers that fail, die with what they made, lose outputs and straggle. The time in the
// scheduler's calls is measured apart from the simulator's, by a clock around each; the
// clock's own cost is in it. `sched_bench [TASKS [WORKERS [SEED]]]`.
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "sched/sim.h"

#define SLOTS 2

static double monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double clock_cost(void) {
    double from = monotonic();
    for (int i = 0; i < 1000000; i++) (void)monotonic();
    return (monotonic() - from) / 1e6;
}

static void print_result(const struct sim_result *result, double tasks, double wall,
                         double cpu) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf(
        "%.0f tasks were done %.2f million times: %.1f million decisions, %.0f virtual "
        "seconds\n",
        tasks, (double)result->accepted / 1e6, (double)result->decisions / 1e6,
        result->seconds);
    printf(
        "%llu failures, %llu deaths, %llu outputs lost, %llu blocked, %llu twins, %llu "
        "cancels, %llu late reports\n",
        (unsigned long long)result->failures, (unsigned long long)result->deaths,
        (unsigned long long)result->losses, (unsigned long long)result->blocked,
        (unsigned long long)result->twins, (unsigned long long)result->cancels,
        (unsigned long long)result->refused);
    printf(
        "wall %.2f s, CPU %.2f s, of them in the scheduler %.2f s: %.2f us a task, %.2f "
        "us a run of one (a look at the clock: %.3f us)\n",
        wall, cpu, result->sched_seconds, result->sched_seconds / tasks * 1e6,
        result->sched_seconds / (double)result->accepted * 1e6, clock_cost() * 1e6);
    printf("memory: scheduler %.1f MB, %.0f bytes a task; peak of the process %.1f MB\n",
           (double)result->sched_bytes / 1e6, (double)result->sched_bytes / tasks,
           (double)usage.ru_maxrss * 1024 / 1e6);
}

int main(int argc, char **argv) {
    uint32_t tasks = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    uint32_t workers = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (tasks < 100 || workers == 0) {
        fprintf(stderr, "usage: sched_bench [TASKS (100 and more) [WORKERS [SEED]]]\n");
        return 2;
    }
    uint32_t tenth = tasks / 10;
    const struct sim_stage stages[] = {
        {.tasks = 3 * tenth},
        {.tasks = 2 * tenth},
        {.tasks = 3 * tenth, .deps = {0, 1}, .ndeps = 2},
        {.tasks = tenth, .deps = {2}, .ndeps = 1, .wide = true},
        {.tasks = tasks - 9 * tenth, .deps = {2, 3}, .ndeps = 2}};
    const struct sim_options options = {
        .seed = seed,
        .workers = workers,
        .slots = SLOTS,
        .stages = stages,
        .stages_size = 5,
        .death_rate = 0.0005,
        .failure_rate = 0.005,
        .late_rate = 0.5,
        .straggler_rate = 0.01,
        .straggler_factor = 20,
        .loss_rate = 0.0005,
        .local_blocks = true,
        .sched = {.max_attempts = 20, .poison_worker_deaths = 100, .max_losses = 1000},
        .clock = monotonic};
    struct sim_result result;
    double wall = monotonic(), cpu = cpu_seconds();
    if (!sim_run(&options, &result)) {
        fprintf(stderr, "sched_bench: out of memory\n");
        return 1;
    }
    wall = monotonic() - wall;
    cpu = cpu_seconds() - cpu;
    if (result.end != SCHED_SUCCEEDED || result.violation[0] != '\0') {
        fprintf(stderr, "sched_bench: %s%s\n", result.violation, result.error.message);
        return 1;
    }
    print_result(&result, tasks, wall, cpu);
    return 0;
}
