// The local engine with real worker processes whose executor is a stand-in: this program
// is its own worker. Workers run tasks, die, are replaced, are cancelled, and never stay.
#include "engine/engine.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/frame.h"
#include "shoal/version.h"
#include "support/fake_executor.h"
#include "support/harness.h"
#include "worker/greeting.h"
#include "worker/worker.h"

// ---- workers that are none

static struct frame_writer writer = {.fd = 3, .point = FAULT_WORKER_SEND};

static void say(enum frame_type type, const char *text) {
    struct shoal_error err;
    if (frame_send(&writer, type, text, strlen(text), &err) != SHOAL_OK) exit(1);
}

// Waits for a message of the kind; what it says comes back.
static char *hear(struct frame_reader *reader, enum frame_type wanted) {
    struct shoal_error err;
    for (;;) {
        bool found = false, closed = false;
        enum frame_type type;
        const char *payload = NULL;
        size_t size = 0;
        if (frame_next(reader, &found, &type, &payload, &size, &err) != SHOAL_OK) exit(1);
        if (found && type == wanted) return strndup(payload, size);
        if (found) continue;
        struct pollfd poller = {.fd = 3, .events = POLLIN};
        poll(&poller, 1, -1);
        if (frame_receive(reader, 3, &closed, &err) != SHOAL_OK || closed) exit(1);
    }
}

static void prove(struct frame_reader *reader, struct greeting *greeting) {
    struct shoal_error err;
    char *challenge = hear(reader, FRAME_CHALLENGE), *proof = NULL;
    if (greeting_answer(greeting, "v1", challenge, strlen(challenge), &proof, &err) !=
        SHOAL_OK)
        exit(1);
    say(FRAME_PROOF, proof);
    free(challenge);
    free(proof);
}

static void say_done(const char *path) {
    struct shoal_error err;
    struct task_file file = {.path = strdup(path), .bytes = 1};
    struct task_output output = {.files = &file, .count = 1, .partitions = 1};
    uint64_t rows = 1;
    char *text = NULL;
    if (!sizes_make(&file.rows, &rows, 1) ||
        task_output_encode(1, 7, &output, &text, &err) != SHOAL_OK)
        exit(1);
    say(FRAME_DONE, text);
}

static int rogue(const char *how) {
    struct frame_reader reader = {0};
    struct greeting greeting = {0};
    struct shoal_error err;
    if (greeting_read_secret(4, greeting.secret, &err) != SHOAL_OK) return 1;
    if (strcmp(how, "no proof") == 0) say(FRAME_HELLO, "{}");
    if (strcmp(how, "empty proof") == 0)
        say(FRAME_PROOF,
            "{\"protocol\":4,\"shoal\":\"" SHOAL_VERSION "\",\"engine\":\"v1\"}");
    if (strcmp(how, "wrong proof") == 0) greeting.secret[7] ^= 1;
    prove(&reader, &greeting);
    free(hear(&reader, FRAME_HELLO));
    say(FRAME_HELLO, "{}");
    if (strcmp(how, "bad heartbeat") == 0) say(FRAME_HEARTBEAT, "{\"time\":1}");
    if (strcmp(how, "elsewhere") == 0) {
        free(hear(&reader, FRAME_RUN));
        say_done("/etc/passwd");
    }
    if (strcmp(how, "not asked") == 0)
        say(FRAME_FAILED,
            "{\"task\":9,\"attempt\":0,\"status\":4,\"retriable\":true,"
            "\"message\":\"so\"}");
    free(hear(&reader, FRAME_BYE));
    return 0;
}

// ---- the tests

static char program[4096];

static struct engine *open_engine(uint32_t workers, uint32_t threads,
                                  const char *init_sql) {
    struct shoal_error err;
    struct engine *engine = NULL;
    struct engine_options options = {
        .workers = workers,
        .program = program,
        .engine_version = "v1",
        .worker = {.threads = threads, .temp_dir = "/nowhere", .init_sql = init_sql}};
    if (engine_local_open(&options, &engine, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return engine;
}

static struct engine_event wait_for(struct engine *engine, enum engine_event_kind kind) {
    struct engine_event event;
    struct shoal_error err;
    for (int i = 0; i < 1000; i++) {
        if (engine->ops->poll(engine, 20, &event, &err) != SHOAL_OK)
            fail_msg("%s", err.message);
        if (event.kind == kind) return event;
        if (event.kind != ENGINE_NOTHING && event.kind != ENGINE_UP) break;
    }
    fail_msg("event %d came instead of %d: %s", (int)event.kind, (int)kind,
             event.error.message);
    return event;
}

static void run_task(struct engine *engine, uint32_t worker, uint64_t id,
                     const char *sql) {
    struct shoal_error err;
    char sql_copy[16];
    char output[] = "/nowhere/out";
    (void)snprintf(sql_copy, sizeof sql_copy, "%s", sql);
    struct task task = {
        .id = id, .attempt = 7, .sql = sql_copy, .output = output, .partitions = 4};
    assert_int_equal(engine->ops->run(engine, worker, &task, &err), SHOAL_OK);
}

static size_t open_files(void) {
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != NULL) count++;
    closedir(folder);
    return count;
}

static void nothing_is_left(size_t files_before) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(open_files(), files_before);
}

static void tasks_run_on_all_workers(void **state) {
    (void)state;
    size_t files = open_files();
    struct engine *engine = open_engine(3, 2, NULL);
    uint32_t workers[3];
    for (int i = 0; i < 3; i++) workers[i] = wait_for(engine, ENGINE_UP).worker;
    bool seen[60] = {false};
    for (uint64_t id = 0; id < 60; id += 6) {
        for (uint64_t k = 0; k < 6; k++) run_task(engine, workers[k % 3], id + k, "ok");
        for (uint64_t k = 0; k < 6; k++) {
            struct engine_event event = wait_for(engine, ENGINE_DONE);
            assert_int_equal(event.attempt, 7);
            assert_true(event.task < 60 && !seen[event.task]);
            seen[event.task] = true;
            const struct task_file *file = &event.output.files[0];
            assert_int_equal(file->rows.total, event.task);
            assert_true(event.task == 0 ||
                        sizes_any(&file->rows, event.task % 4, event.task % 4));
            assert_int_equal(file->bytes, 100);
            task_output_free(&event.output);
        }
    }
    engine->ops->close(engine);
    nothing_is_left(files);
}

static void a_failure_brings_its_message(void **state) {
    (void)state;
    struct engine *engine = open_engine(1, 1, NULL);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 42, "fail");
    struct engine_event event = wait_for(engine, ENGINE_FAILED);
    assert_int_equal(event.task, 42);
    assert_int_equal(event.error.status, SHOAL_USER);
    assert_false(event.error.retriable);
    assert_string_equal(event.error.message, "task 42 failed as told");
    engine->ops->close(engine);
}

static void a_dead_worker_is_replaced(void **state) {
    (void)state;
    size_t files = open_files();
    struct engine *engine = open_engine(1, 1, NULL);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 1, "die");
    struct engine_event event = wait_for(engine, ENGINE_DOWN);
    assert_int_equal(event.worker, worker);
    assert_non_null(strstr(event.error.message, "signal 9"));
    assert_non_null(strstr(event.error.message, "last words"));
    uint32_t next = wait_for(engine, ENGINE_UP).worker;
    assert_int_not_equal(next, worker);
    run_task(engine, next, 2, "ok");
    event = wait_for(engine, ENGINE_DONE);
    task_output_free(&event.output);
    engine->ops->close(engine);
    nothing_is_left(files);
}

static void replacements_end(void **state) {
    (void)state;
    struct engine *engine = open_engine(1, 1, NULL);
    struct engine_event event;
    struct shoal_error err;
    shoal_status status = SHOAL_OK;
    int deaths = 0;
    while (deaths < 20) {
        status = engine->ops->poll(engine, 1000, &event, &err);
        if (status != SHOAL_OK) break;
        if (event.kind == ENGINE_UP) run_task(engine, event.worker, 1, "die");
        if (event.kind == ENGINE_DOWN) deaths++;
    }
    assert_int_equal(status, SHOAL_LOST);
    assert_int_equal(deaths, 5);
    assert_non_null(strstr(err.message, "no worker is left"));
    engine->ops->close(engine);
}

static void cancel_stops_a_task_within_a_second(void **state) {
    (void)state;
    struct engine *engine = open_engine(1, 2, NULL);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 5, "sleep");
    struct engine_event event;
    struct shoal_error err;
    struct timespec start, end;
    assert_int_equal(engine->ops->poll(engine, 100, &event, &err), SHOAL_OK);
    clock_gettime(CLOCK_MONOTONIC, &start);
    engine->ops->cancel(engine, worker, 5, 7);
    event = wait_for(engine, ENGINE_FAILED);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(event.error.status, SHOAL_CANCELLED);
    assert_true(end.tv_sec - start.tv_sec <= 1);
    // A running task does not keep close from ending the worker.
    run_task(engine, worker, 6, "sleep");
    engine->ops->close(engine);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void expect_refusal(const char *init_sql, const char *part) {
    struct engine *engine = open_engine(1, 1, init_sql);
    struct engine_event event;
    struct shoal_error err;
    shoal_status status = SHOAL_OK;
    for (int i = 0; i < 500 && status == SHOAL_OK; i++) {
        status = engine->ops->poll(engine, 20, &event, &err);
    }
    assert_int_not_equal(status, SHOAL_OK);
    if (strstr(err.message, part) == NULL) fail_msg("%s", err.message);
    engine->ops->close(engine);
}

static void another_version_is_refused(void **state) {
    (void)state;
    setenv("FAKE_VERSION", "v2", 1);
    expect_refusal(NULL, "DuckDB v2");
    unsetenv("FAKE_VERSION");
    expect_refusal("bad", "the init file is bad");
}

// Runs a task whose frame, or whose answer, is lost or repeated: with the frame that
// comes next, a heartbeat if no other, it shows, and the worker is replaced.
static void a_bad_frame_loses_the_worker(const char *fault, const char *sql,
                                         const char *part) {
    struct shoal_error err;
    struct engine *engine = NULL;
    uint32_t worker = UINT32_MAX;
    setenv("SHOAL_FAULT", fault, 1);
    // Where the machine is busy, heartbeats are among the first frames, and the worker
    // may be lost before it is up: then another engine is tried.
    for (int i = 0; i < 10 && worker != 0; i++) {
        if (engine != NULL) engine->ops->close(engine);
        if (fault_from_environment(false, &err) != SHOAL_OK) fail_msg("%s", err.message);
        engine = open_engine(1, 1, NULL);
        worker = wait_for(engine, ENGINE_UP).worker;
    }
    assert_int_equal(worker, 0);
    unsetenv("SHOAL_FAULT");
    run_task(engine, worker, 1, sql);
    struct engine_event event = {0};
    for (int i = 0; i < 1000 && event.kind != ENGINE_DOWN; i++) {
        task_output_free(&event.output);
        if (engine->ops->poll(engine, 20, &event, &err) != SHOAL_OK)
            fail_msg("%s", err.message);
        // The worker interrupts its task: that is no failure of the task.
        assert_int_not_equal(event.kind, ENGINE_FAILED);
    }
    assert_int_equal(event.kind, ENGINE_DOWN);
    assert_int_equal(event.worker, worker);
    if (strstr(event.error.message, part) == NULL) fail_msg("%s", event.error.message);
    fault_hook = NULL;
    run_task(engine, wait_for(engine, ENGINE_UP).worker, 2, "ok");
    event = wait_for(engine, ENGINE_DONE);
    assert_int_equal(event.task, 2);
    task_output_free(&event.output);
    engine->ops->close(engine);
}

static void a_frame_to_a_worker_is_lost(void **state) {
    (void)state;
    a_bad_frame_loses_the_worker("driver.send:3:drop", "ok",
                                 "frame 3 came where frame 2");
}

static void a_frame_to_a_worker_comes_twice(void **state) {
    (void)state;
    a_bad_frame_loses_the_worker("driver.send:3:duplicate", "sleep",
                                 "frame 2 came where frame 3");
}

static void a_frame_of_a_worker_is_lost(void **state) {
    (void)state;
    a_bad_frame_loses_the_worker("worker.send:3:drop", "ok",
                                 "frame 3 came where frame 2");
}

static void a_frame_of_a_worker_is_overtaken(void **state) {
    (void)state;
    a_bad_frame_loses_the_worker("worker.send:3:reorder", "ok",
                                 "frame 3 came where frame 2");
}

static void a_frame_of_a_worker_breaks_off(void **state) {
    (void)state;
    a_bad_frame_loses_the_worker("worker.send:3:short", "ok", "was lost");
}

static void expect_down(const char *how, const char *task, const char *part) {
    struct engine_event event;
    struct shoal_error err;
    setenv("FAKE_PEER", how, 1);
    struct engine *engine = open_engine(1, 1, NULL);
    if (task != NULL) run_task(engine, wait_for(engine, ENGINE_UP).worker, 1, task);
    event = wait_for(engine, ENGINE_DOWN);
    if (strstr(event.error.message, part) == NULL)
        fail_msg("%s: %s", how, event.error.message);
    assert_int_equal(event.error.status, SHOAL_LOST);
    // All others do the same.
    shoal_status status = SHOAL_OK;
    while (status == SHOAL_OK) {
        status = engine->ops->poll(engine, 1000, &event, &err);
        if (status == SHOAL_OK && event.kind == ENGINE_UP && task != NULL)
            run_task(engine, event.worker, 1, task);
    }
    assert_int_equal(status, SHOAL_LOST);
    engine->ops->close(engine);
    unsetenv("FAKE_PEER");
}

static void who_proves_nothing_is_refused(void **state) {
    (void)state;
    expect_down("wrong proof", NULL, "proof of the run's secret is wrong");
    expect_down("empty proof", NULL, "proof of the run's secret is missing");
    expect_down("no proof", NULL, "before the worker proved itself");
}

static void what_breaks_the_protocol_is_refused(void **state) {
    (void)state;
    expect_down("bad heartbeat", NULL, "a heartbeat's cpu is missing");
    expect_down("not asked", NULL, "it answers task 9, attempt 0, which it was not sent");
    expect_down("elsewhere", "ok",
                "names the file /etc/passwd, but was to write /nowhere/out");
}

static struct engine *open_watched(double hang_seconds, double grace_seconds) {
    struct shoal_error err;
    struct engine *engine = NULL;
    struct engine_options options = {.workers = 1,
                                     .program = program,
                                     .engine_version = "v1",
                                     .watchdog = {hang_seconds, grace_seconds},
                                     .worker = {.threads = 2, .temp_dir = "/nowhere"}};
    if (engine_local_open(&options, &engine, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return engine;
}

static void a_hung_task_is_cancelled(void **state) {
    (void)state;
    struct engine *engine = open_watched(2, 60);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 5, "sleep");
    struct engine_event event = wait_for(engine, ENGINE_FAILED);
    assert_int_equal(event.task, 5);
    assert_int_equal(event.error.status, SHOAL_TIMEOUT);
    assert_true(event.error.retriable);
    assert_non_null(strstr(event.error.message, "it stayed at 50%"));
    assert_non_null(strstr(event.error.message, "--task-timeout"));
    // The worker is as good as before.
    run_task(engine, worker, 6, "ok");
    event = wait_for(engine, ENGINE_DONE);
    assert_int_equal(event.worker, worker);
    task_output_free(&event.output);
    engine->ops->close(engine);
}

static void one_that_can_not_be_cancelled_dies_with_its_worker(void **state) {
    (void)state;
    struct engine *engine = open_watched(1, 1);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 5, "deaf");
    struct engine_event event = wait_for(engine, ENGINE_FAILED);
    assert_int_equal(event.task, 5);
    assert_int_equal(event.error.status, SHOAL_TIMEOUT);
    assert_non_null(strstr(event.error.message, "did not answer for 1 s"));
    event = wait_for(engine, ENGINE_DOWN);
    assert_int_equal(event.worker, worker);
    assert_non_null(strstr(event.error.message, "a task of it hung"));
    assert_int_not_equal(wait_for(engine, ENGINE_UP).worker, worker);
    engine->ops->close(engine);
}

static void one_that_works_is_left_alone(void **state) {
    (void)state;
    struct engine *engine = open_watched(1, 1);
    struct engine_event event;
    struct shoal_error err;
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 5, "busy");
    double start = clock_seconds();
    while (clock_seconds() - start < 2.5) {
        assert_int_equal(engine->ops->poll(engine, 100, &event, &err), SHOAL_OK);
        assert_int_equal(event.kind, ENGINE_NOTHING);
    }
    engine->ops->cancel(engine, worker, 5, 7);
    event = wait_for(engine, ENGINE_DONE);
    task_output_free(&event.output);
    engine->ops->close(engine);
}

static void a_silent_worker_is_lost(void **state) {
    (void)state;
    setenv("SHOAL_SILENT_SECONDS", "2", 1);
    struct engine *engine = open_engine(1, 1, NULL);
    unsetenv("SHOAL_SILENT_SECONDS");
    run_task(engine, wait_for(engine, ENGINE_UP).worker, 5, "stop");
    struct engine_event event = wait_for(engine, ENGINE_DOWN);
    assert_non_null(strstr(event.error.message, "it was silent for 2 s"));
    wait_for(engine, ENGINE_UP);
    engine->ops->close(engine);
}

static void a_failure_brings_the_log(void **state) {
    (void)state;
    struct engine *engine = open_engine(1, 1, NULL);
    uint32_t worker = wait_for(engine, ENGINE_UP).worker;
    run_task(engine, worker, 1, "disk");
    struct engine_event event = wait_for(engine, ENGINE_FAILED);
    assert_int_equal(event.error.status, SHOAL_DISK_FULL);
    assert_true(event.error.retriable);
    assert_non_null(strstr(event.error.message,
                           "no space\nThe end of its log:\nwhat the "
                           "log says"));
    run_task(engine, worker, 2, "memory");
    event = wait_for(engine, ENGINE_FAILED);
    assert_int_equal(event.error.status, SHOAL_NOMEM);
    assert_true(event.error.retriable);
    // The user's own mistake is explained by its message alone.
    run_task(engine, worker, 3, "fail");
    event = wait_for(engine, ENGINE_FAILED);
    assert_string_equal(event.error.message, "task 3 failed as told");
    engine->ops->close(engine);
}

// Workers end together: many that hear nothing don't add up.
static void closing_takes_no_longer_for_more(void **state) {
    (void)state;
    struct engine *engine = open_engine(6, 1, NULL);
    for (uint64_t i = 0; i < 6; i++)
        run_task(engine, wait_for(engine, ENGINE_UP).worker, i, "deaf");
    double start = clock_seconds();
    engine->ops->close(engine);
    assert_true(clock_seconds() - start < 1.5);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void secrets_are_in_no_argument(void **state) {
    (void)state;
    struct engine *engine = open_engine(1, 1, NULL);
    wait_for(engine, ENGINE_UP);
    char command[64], path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    int child = 0;
    if (children == NULL) skip();
    assert_int_equal(fscanf(children, "%d", &child), 1);
    fclose(children);
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", child);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    static char line[8192];
    size_t size = fread(line, 1, sizeof line, file);
    fclose(file);
    (void)snprintf(command, sizeof command, "worker%c--fd%c3%c--secret-fd%c4", 0, 0, 0,
                   0);
    size_t length = sizeof "worker --fd 3 --secret-fd 4";
    assert_true(size > length);
    assert_memory_equal(line + size - length, command, length);
    // The pipe that brought it is closed.
    (void)snprintf(path, sizeof path, "/proc/%d/fd/4", child);
    char target[64] = "";
    ssize_t got = readlink(path, target, sizeof target - 1);
    assert_true(got < 0 || strncmp(target, "pipe", 4) != 0);
    engine->ops->close(engine);
}

int main(int argc, char **argv) {
    const char *peer = getenv("FAKE_PEER");
    if (argc > 1 && strcmp(argv[1], "worker") == 0 && peer != NULL) return rogue(peer);
    if (argc > 1 && strcmp(argv[1], "worker") == 0) {
        struct worker_options options = {.fd = 3};
        struct shoal_error err;
        bool ready = fault_from_environment(true, NULL) == SHOAL_OK &&
                     greeting_read_secret(4, options.secret, &err) == SHOAL_OK;
        return ready ? worker_serve(&options, &fake_executor) : 2;
    }
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size > 0 ? size : 0] = '\0';
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_run_on_all_workers),
        cmocka_unit_test(a_failure_brings_its_message),
        cmocka_unit_test(a_dead_worker_is_replaced),
        cmocka_unit_test(replacements_end),
        cmocka_unit_test(cancel_stops_a_task_within_a_second),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(a_frame_to_a_worker_is_lost),
        cmocka_unit_test(a_frame_to_a_worker_comes_twice),
        cmocka_unit_test(a_frame_of_a_worker_is_lost),
        cmocka_unit_test(a_frame_of_a_worker_is_overtaken),
        cmocka_unit_test(a_frame_of_a_worker_breaks_off),
        cmocka_unit_test(who_proves_nothing_is_refused),
        cmocka_unit_test(what_breaks_the_protocol_is_refused),
        cmocka_unit_test(a_hung_task_is_cancelled),
        cmocka_unit_test(one_that_can_not_be_cancelled_dies_with_its_worker),
        cmocka_unit_test(one_that_works_is_left_alone),
        cmocka_unit_test(a_silent_worker_is_lost),
        cmocka_unit_test(a_failure_brings_the_log),
        cmocka_unit_test(closing_takes_no_longer_for_more),
        cmocka_unit_test(secrets_are_in_no_argument),
    };
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
