// What a worker takes from a driver, and what it refuses: from one that proves nothing
// everything, from its own each path that it was not told. And what an engine takes back
// from a worker that was sent a task.
#include "worker/greeting.h"
#include "worker/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/proof.h"
#include "base/spool.h"
#include "engine/assigned.h"
#include "engine/handshake.h"
#include "support/harness.h"
#include "worker/paths.h"

static char folder[] = "/tmp/worker_test_XXXXXX";

struct executor {
    int unused;
};

static shoal_status fake_open(const struct executor_options *options,
                              struct executor **executor, struct shoal_error *err) {
    (void)options;
    *executor = calloc(1, sizeof **executor);
    return *executor == NULL ? shoal_no_memory(err) : SHOAL_OK;
}

static shoal_status fake_run(struct executor *executor, uint32_t slot,
                             const struct task *task, struct task_output *output,
                             struct shoal_error *err) {
    (void)executor;
    (void)slot;
    (void)task;
    (void)output;
    return shoal_fail(err, SHOAL_USER, "it ran");
}

static void fake_interrupt(struct executor *executor, uint32_t slot) {
    (void)executor;
    (void)slot;
}

static double fake_progress(struct executor *executor, uint32_t slot) {
    (void)executor;
    (void)slot;
    return -1;
}

static void fake_close(struct executor *executor) {
    free(executor);
}

static const char *fake_version(void) {
    return "v1";
}

static const struct executor_ops fake = {.open = fake_open,
                                         .run = fake_run,
                                         .interrupt = fake_interrupt,
                                         .progress = fake_progress,
                                         .close = fake_close,
                                         .version = fake_version};

// ---- a driver of the test's own

static uint8_t secret[PROOF_SECRET];
static pid_t worker;
static int to_worker;
static char log_path[64];
static struct frame_writer writer;
static struct frame_reader reader;
static struct handshake handshake;

static void start_worker(void) {
    int sockets[2], pipes[2];
    struct shoal_error err;
    assert_int_equal(proof_make_secret(secret, &err), SHOAL_OK);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], secret, sizeof secret), sizeof secret);
    close(pipes[1]);
    (void)snprintf(log_path, sizeof log_path, "%s/log", folder);
    worker = fork();
    assert_true(worker >= 0);
    if (worker == 0) {
        int log = open(log_path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(log, 2);
        close(sockets[0]);
        struct worker_options options = {.fd = sockets[1]};
        if (greeting_read_secret(pipes[0], options.secret, &err) != SHOAL_OK) _exit(2);
        _exit(worker_serve(&options, &fake));
    }
    close(sockets[1]);
    close(pipes[0]);
    to_worker = sockets[0];
    writer = (struct frame_writer){.fd = to_worker, .point = FAULT_DRIVER_SEND};
    reader = (struct frame_reader){0};
    handshake = (struct handshake){.secret = secret, .engine_version = "v1"};
}

static void say(enum frame_type type, const char *text) {
    struct shoal_error err;
    assert_int_equal(frame_send(&writer, type, text, strlen(text), &err), SHOAL_OK);
}

// The next message but heartbeats; NULL: the worker has left.
static char *hear(enum frame_type *type) {
    struct shoal_error err;
    for (;;) {
        bool found = false, closed = false;
        const char *payload = NULL;
        size_t size = 0;
        assert_int_equal(frame_next(&reader, &found, type, &payload, &size, &err),
                         SHOAL_OK);
        if (found && *type != FRAME_HEARTBEAT) return strndup(payload, size);
        if (found) continue;
        struct pollfd poller = {.fd = to_worker, .events = POLLIN};
        assert_int_equal(poll(&poller, 1, 20000), 1);
        assert_int_equal(frame_receive(&reader, to_worker, &closed, &err), SHOAL_OK);
        if (closed && reader.size == reader.consumed) return NULL;
    }
}

static void expect_left(const char *part) {
    enum frame_type type;
    char *text = hear(&type);
    int status = 0;
    char log[4096] = "";
    if (text != NULL) fail_msg("it answered %s", text);
    assert_int_equal(waitpid(worker, &status, 0), worker);
    assert_true(WIFEXITED(status));
    int fd = open(log_path, O_RDONLY);
    assert_true(read(fd, log, sizeof log - 1) >= 0);
    close(fd);
    if (strstr(log, part) == NULL) fail_msg("the log has: %s", log);
    close(to_worker);
    frame_reader_free(&reader);
}

static void greet(const struct executor_options *options) {
    struct shoal_error err;
    enum frame_type type;
    char *text = NULL;
    assert_int_equal(handshake_challenge(&handshake, &text, &err), SHOAL_OK);
    say(FRAME_CHALLENGE, text);
    free(text);
    text = hear(&type);
    assert_int_equal(type, FRAME_PROOF);
    assert_int_equal(handshake_check(&handshake, text, strlen(text), &err), SHOAL_OK);
    free(text);
    if (options == NULL) return;
    assert_int_equal(handshake_hello(&handshake, options, &text, &err), SHOAL_OK);
    say(FRAME_HELLO, text);
    free(text);
    text = hear(&type);
    assert_int_equal(type, FRAME_HELLO);
    assert_int_equal(handshake_end(&handshake, text, strlen(text), &err), SHOAL_OK);
    free(text);
}

// ---- tests

static void nothing_is_taken_before_a_proof(void **state) {
    (void)state;
    struct executor_options options = {.threads = 1};
    struct shoal_error err;
    char *hello = NULL;
    start_worker();
    say(FRAME_RUN, "{}");
    expect_left("that has not proved itself");
    // A hello before its turn.
    start_worker();
    say(FRAME_HELLO, "{\"threads\":1,\"memory\":0,\"temp_limit\":0,\"allowed\":[]}");
    expect_left("proof of the run's secret is missing");
    // Of a driver that doesn't know the secret.
    start_worker();
    greet(NULL);
    secret[0] ^= 1;
    assert_int_equal(handshake_hello(&handshake, &options, &hello, &err), SHOAL_OK);
    say(FRAME_HELLO, hello);
    free(hello);
    expect_left("proof of the run's secret is wrong");
    // One proof is for one worker: another can't be greeted with it.
    start_worker();
    greet(NULL);
    char last[PROOF_TEXT];
    memcpy(last, handshake.nonces.worker, sizeof last);
    last[0] = last[0] == '0' ? '1' : '0';
    memcpy(handshake.nonces.worker, last, sizeof last);
    assert_int_equal(handshake_hello(&handshake, &options, &hello, &err), SHOAL_OK);
    say(FRAME_HELLO, hello);
    free(hello);
    expect_left("proof of the run's secret is wrong");
    start_worker();
    say(FRAME_CHALLENGE, "{\"nonce\":\"12\"}");
    expect_left("without a nonce");
}

static char *task_text(const char *output) {
    char sql[] = "SELECT 1";
    struct task task = {
        .id = 5, .sql = sql, .output = (char *)(uintptr_t)output, .partitions = 1};
    struct shoal_error err;
    char *text = NULL;
    assert_int_equal(task_encode(&task, &text, &err), SHOAL_OK);
    return text;
}

static void a_path_that_was_not_told_ends_the_worker(void **state) {
    (void)state;
    struct executor_options options = {.threads = 1, .temp_dir = folder};
    enum frame_type type;
    char output[128];
    start_worker();
    greet(&options);
    (void)snprintf(output, sizeof output, "%s/out", folder);
    char *text = task_text(output);
    say(FRAME_RUN, text);
    free(text);
    text = hear(&type);
    assert_int_equal(type, FRAME_FAILED);
    assert_non_null(strstr(text, "it ran"));
    free(text);
    text = task_text("/tmp/elsewhere");
    say(FRAME_RUN, text);
    free(text);
    expect_left("task 5's output is /tmp/elsewhere, which is in no folder");
}

// ---- paths

static struct paths paths;

static shoal_status check_output(const char *output, const char *copy_options) {
    struct task task = {.output = (char *)(uintptr_t)output,
                        .copy_options = (char *)(uintptr_t)copy_options};
    struct shoal_error err;
    return paths_check(&paths, &task, &err);
}

static void open_paths(const char *const *allowed, size_t count) {
    struct executor_options options = {
        .temp_dir = folder, .allowed = allowed, .allowed_count = count};
    struct shoal_error err;
    assert_int_equal(paths_open(&paths, &options, &err), SHOAL_OK);
}

static void only_told_folders_are_written_to(void **state) {
    (void)state;
    static const struct {
        const char *path;  // behind the folder's
        bool fine;
    } cases[] = {{"/a", true},       {"/q1/a", true},      {"", false},
                 {"x/a", false},     {"/../a", false},     {"/q1/../../etc/a", false},
                 {"/./a", false},    {"//a", false},       {"/a/", false},
                 {"/link/a", false}, {"/file-link", false}};
    char path[128];
    open_paths(NULL, 0);
    (void)snprintf(path, sizeof path, "%s/link", folder);
    assert_int_equal(symlink("/etc", path), 0);
    (void)snprintf(path, sizeof path, "%s/file-link", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(path, sizeof path, "%s%s", folder, cases[i].path);
        shoal_status wanted = cases[i].fine ? SHOAL_OK : SHOAL_CORRUPT;
        if (check_output(path, NULL) != wanted) fail_msg("%s", path);
    }
    assert_int_equal(check_output("relative", NULL), SHOAL_CORRUPT);
    paths_close(&paths);
}

static void each_path_of_a_task_is_looked_at(void **state) {
    (void)state;
    char good[128], bad[] = "/etc/passwd", above[] = "../x";
    struct shoal_error err;
    struct task_segment segment = {.path = bad};
    struct task_input input = {.segments = &segment, .count = 1};
    (void)snprintf(good, sizeof good, "%s/a", folder);
    open_paths(NULL, 0);
    const struct task wrong[] = {{.output = good, .memory_output = bad},
                                 {.output = good, .rejects = bad},
                                 {.output = good, .range = {.pipe = bad, .path = good}},
                                 {.output = good, .inputs = &input, .input_count = 1},
                                 {.output = good, .copy_file = above}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(paths_check(&paths, &wrong[i], &err), SHOAL_CORRUPT);
    // A text file may be anywhere, unless some folders alone are allowed.
    struct task text = {.output = good, .range = {.pipe = good, .path = bad}};
    assert_int_equal(paths_check(&paths, &text, &err), SHOAL_OK);
    paths_close(&paths);
    static const char *const allowed[] = {"/usr", "/etc"};
    open_paths(allowed, 1);
    assert_int_equal(paths_check(&paths, &text, &err), SHOAL_USAGE);
    paths_close(&paths);
    open_paths(allowed, 2);
    assert_int_equal(paths_check(&paths, &text, &err), SHOAL_OK);
    paths_close(&paths);
}

static void a_staging_folder_is_known_by_its_mark(void **state) {
    (void)state;
    struct spool staging;
    struct shoal_error err;
    char path[256], other[256];
    const char *const allowed[] = {"/usr"};
    char above[] = "/tmp/worker_test_XXXXXX";
    assert_non_null(mkdtemp(above));
    assert_int_equal(spool_open_as(&staging, above, SPOOL_STAGING, NULL, &err), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/s0", staging.path);
    open_paths(NULL, 0);
    assert_int_equal(check_output(path, "FORMAT parquet"), SHOAL_OK);
    assert_int_equal(check_output(path, NULL), SHOAL_CORRUPT);
    (void)snprintf(other, sizeof other, "%s/.shoal-123456", above);
    assert_int_equal(mkdir(other, 0700), 0);
    (void)snprintf(other, sizeof other, "%s/.shoal-123456/s0", above);
    assert_int_equal(check_output(other, "FORMAT parquet"), SHOAL_CORRUPT);
    assert_int_equal(check_output("/s0", "FORMAT parquet"), SHOAL_CORRUPT);
    paths_close(&paths);
    open_paths(allowed, 1);
    assert_int_equal(check_output(path, "FORMAT parquet"), SHOAL_USAGE);
    paths_close(&paths);
    spool_close(&staging);
    spool_remove_tree(above);
}

// ---- what comes back

static shoal_status answer(const struct task *task, char *path, char *written,
                           char *rejects) {
    struct assigned assigned = {0};
    struct shoal_error err;
    struct written_file copied = {.path = written};
    struct task_file file = {
        .path = path, .written = &copied, .written_count = written == NULL ? 0 : 1};
    struct task_output output = {.files = &file, .count = 1, .rejects = rejects};
    assert_true(assigned_add(&assigned, task));
    assert_int_equal(assigned_end(&assigned, task->id, task->attempt + 1, &output, &err),
                     SHOAL_CORRUPT);
    shoal_status status = assigned_end(&assigned, task->id, task->attempt, &output, &err);
    assert_int_equal(assigned_end(&assigned, task->id, task->attempt, NULL, &err),
                     SHOAL_CORRUPT);
    assigned_free(&assigned);
    return status;
}

static void only_what_was_asked_for_comes_back(void **state) {
    (void)state;
    char output[] = "/spool/q1/s0.t1", memory[] = "/shm/q1/s0.t1",
         good[] = "k=1/a.parquet";
    char rejects[] = "/spool/q1/r", options[] = "FORMAT parquet";
    static char blocks[][40] = {"/spool/q1/s0.t1", "/spool/q1/s0.t1/data_0.shoal",
                                "/shm/q1/s0.t1", "/shm/q1/s0.t1.data_0.shoal"};
    static char wrong[][40] = {"/spool/q1/s0.t10",     "/spool/q1/s0.t1.data",
                               "/spool/q1/s0.t1/",     "/spool/q1/s0.t1/..",
                               "/spool/q1/s0.t1/../x", "/spool/q1/s0.t1/a/b",
                               "/shm/q1/s0.t1/x",      "/shm/q1/s0.t1./x",
                               "/etc/passwd",          ""};
    static char outside[][24] = {"/etc/passwd", "../a", "a/../../b", "./a", "", "a//b"};
    struct task task = {.id = 3,
                        .attempt = 1,
                        .output = output,
                        .memory_output = memory,
                        .rejects = rejects};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        assert_int_equal(answer(&task, blocks[i], NULL, NULL), SHOAL_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(answer(&task, wrong[i], NULL, NULL), SHOAL_CORRUPT);
    assert_int_equal(answer(&task, output, good, NULL), SHOAL_CORRUPT);
    assert_int_equal(answer(&task, output, NULL, rejects), SHOAL_OK);
    assert_int_equal(answer(&task, output, NULL, output), SHOAL_CORRUPT);
    task.rejects = NULL;
    assert_int_equal(answer(&task, output, NULL, rejects), SHOAL_CORRUPT);
    task.memory_output = NULL;
    assert_int_equal(answer(&task, blocks[2], NULL, NULL), SHOAL_CORRUPT);
    task.copy_options = options;
    assert_int_equal(answer(&task, output, good, NULL), SHOAL_OK);
    assert_int_equal(answer(&task, blocks[1], good, NULL), SHOAL_CORRUPT);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_int_equal(answer(&task, output, outside[i], NULL), SHOAL_CORRUPT);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state) {
    (void)state;
    spool_remove_tree(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_taken_before_a_proof),
        cmocka_unit_test(a_path_that_was_not_told_ends_the_worker),
        cmocka_unit_test(only_told_folders_are_written_to),
        cmocka_unit_test(each_path_of_a_task_is_looked_at),
        cmocka_unit_test(a_staging_folder_is_known_by_its_mark),
        cmocka_unit_test(only_what_was_asked_for_comes_back),
    };
    return cmocka_run_group_tests_name("worker", tests, make_folder, remove_folder);
}
