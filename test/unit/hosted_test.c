// The engine whose workers a cluster hosts, with a host program and workers that are this
// program: workers dial back, run tasks, die with the cluster's words, are replaced, and
// never stay. The URL says how the host program behaves.
#include "engine/engine.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/frame.h"
#include "net/channel.h"
#include "support/fake_executor.h"
#include "support/harness.h"
#include "worker/greeting.h"
#include "worker/worker.h"

// ---- the worker

// worker --connect ADDRESS --number N --node NODE --secret-fd FD
static int be_worker(char **argv) {
    struct worker_options options = {.number = (uint32_t)atoi(argv[5]), .node = argv[7]};
    struct channel *channel = NULL;
    struct shoal_error err;
    int code = 1;
    if (greeting_read_secret(atoi(argv[9]), options.secret, &err) == SHOAL_OK &&
        channel_connect(argv[3], options.secret, 5, &channel, &err) == SHOAL_OK &&
        channel_descriptor(channel, &options.fd, &err) == SHOAL_OK)
        code = worker_serve(&options, &fake_executor);
    channel_free(channel);
    return code;
}

// ---- the host program

#define HOSTED_MOST 32

struct hosted_worker {
    long number;
    pid_t pid;  // 0: it is over
};

static struct hosted_worker hosted[HOSTED_MOST];
static size_t hosted_count;
static uint8_t secret[PROOF_SECRET];
static const char *how;  // behind the URL's ://

static void say(json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(line);
}

static void say_gone(long number, const char *why) {
    say(json_pack("{s:s, s:I, s:s}", "event", "log", "worker", (json_int_t)number, "text",
                  "its last line\n"));
    say(json_pack("{s:s, s:I, s:s, s:b}", "event", "gone", "worker", (json_int_t)number,
                  "why", why, "preempted", strcmp(how, "preempts") == 0));
}

static pid_t spawn(const char *program, const char *number, const char *address) {
    int ends[2];
    char fd[16];
    if (pipe(ends) != 0) exit(1);
    uint8_t told[PROOF_SECRET];
    memcpy(told, secret, sizeof told);
    if (strcmp(how, "strangers") == 0) told[3] ^= 1;
    if (write(ends[1], told, sizeof told) != (ssize_t)sizeof told) exit(1);
    close(ends[1]);
    (void)snprintf(fd, sizeof fd, "%d", ends[0]);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(2, 1);
        execl(program, program, "worker", "--connect", address, "--number", number,
              "--node", "here", "--secret-fd", fd, NULL);
        _exit(127);
    }
    close(ends[0]);
    return pid;
}

static int dial(const char *address) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) exit(1);
    return fd;
}

// Strangers, as many as the driver takes at once.
static void dial_silently(const char *address) {
    for (int i = 0; i < 64; i++) (void)dial(address);
}

// A stranger whose first message is long. True: all of it was taken.
static bool flood(const char *address) {
    static char zeros[1 << 20] = {0};
    char header[9] = {0, 0, 0, 8, 0, 0, 0, 0, FRAME_PROOF};  // of 128 MiB
    int fd = dial(address);
    bool taken = send(fd, header, sizeof header, MSG_NOSIGNAL) > 0;
    for (int i = 0; taken && i < 64; i++)
        taken = send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) > 0;
    close(fd);
    return taken;
}

static void start_worker(const char *program, const json_t *order) {
    char number[24];
    long wanted = (long)json_integer_value(json_object_get(order, "worker"));
    (void)snprintf(number, sizeof number, "%ld", wanted);
    if (strcmp(how, "full") == 0) {
        say(json_pack("{s:s, s:I, s:s}", "event", "pending", "worker", (json_int_t)wanted,
                      "why", "no node has a free core (see `cluster status`)"));
        return;
    }
    if (strcmp(how, "broken") == 0) {
        say_gone(wanted, "there is no program on the node");
        return;
    }
    const char *address = json_string_value(json_object_get(order, "address"));
    if (strcmp(how, "crowds") == 0 && hosted_count == 0) dial_silently(address);
    if (strcmp(how, "floods") == 0 && flood(address)) {
        say_gone(wanted, "the driver took all that a stranger said");
        return;
    }
    pid_t pid = spawn(program, number, address);
    hosted[hosted_count++] = (struct hosted_worker){wanted, pid};
    say(json_pack("{s:s, s:I, s:s, s:s, s:i}", "event", "started", "worker",
                  (json_int_t)wanted, "node", "here", "host", "thishost", "pid",
                  (int)pid));
}

static void reap_workers(void) {
    for (size_t i = 0; i < hosted_count; i++) {
        int status = 0;
        if (hosted[i].pid == 0 || waitpid(hosted[i].pid, &status, WNOHANG) <= 0) continue;
        hosted[i].pid = 0;
        say_gone(hosted[i].number,
                 WIFSIGNALED(status) ? "the cluster killed it" : "it ended by itself");
    }
}

static void open_cluster(const json_t *order) {
    const char *text = json_string_value(json_object_get(order, "secret"));
    for (size_t i = 0; i < PROOF_SECRET; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};
        secret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    if (strcmp(how, "refuses") == 0) {
        say(json_pack("{s:s, s:s}", "event", "failed", "why", "nobody answers there"));
        exit(1);
    }
    if (strcmp(how, "babbles") == 0) printf("hello\n");
    if (strcmp(how, "dies") == 0) {
        fprintf(stderr, "ImportError: no such package\n");
        exit(7);
    }
    say(json_pack("{s:s, s:s, s:s}", "event", "opened", "cluster", "fake", "head",
                  "127.0.0.1"));
}

// Reads the driver's lines until it closes or is gone; then all workers end.
static int be_host(const char *program, const char *url) {
    char line[8192];
    size_t size = 0;
    how = strstr(url, "://") + 3;
    for (;;) {
        struct pollfd poller = {.fd = 0, .events = POLLIN};
        reap_workers();
        if (poll(&poller, 1, 10) <= 0) continue;
        ssize_t got = read(0, line + size, sizeof line - size - 1);
        if (got <= 0) break;
        size += (size_t)got;
        line[size] = '\0';
        for (char *end = strchr(line, '\n'); end != NULL; end = strchr(line, '\n')) {
            json_t *order = json_loadb(line, (size_t)(end - line), 0, NULL);
            const char *op = json_string_value(json_object_get(order, "op"));
            if (strcmp(op, "open") == 0) open_cluster(order);
            if (strcmp(op, "start") == 0) start_worker(program, order);
            bool over = strcmp(op, "close") == 0;
            json_decref(order);
            size -= (size_t)(end + 1 - line);
            memmove(line, end + 1, size + 1);
            if (over) goto closed;
        }
    }
closed:
    for (size_t i = 0; i < hosted_count; i++) {
        if (hosted[i].pid > 0) kill(hosted[i].pid, SIGKILL);
        if (hosted[i].pid > 0) waitpid(hosted[i].pid, NULL, 0);
    }
    return 0;
}

// ---- the tests

static char program[4096], folder[] = "/tmp/shoal_hosted_XXXXXX";

static struct engine *open_engine(const char *url, uint32_t workers, double seconds) {
    struct shoal_error err;
    struct engine *engine = NULL;
    struct engine_options options = {
        .workers = workers,
        .program = program,
        .engine_version = "v1",
        .worker = {.threads = 1, .temp_dir = folder},
        .cluster = {.url = url, .python = program, .start_seconds = seconds}};
    if (engine_hosted_open(&options, &engine, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
    return engine;
}

// Until an event of the kind or an error; the error's status, or SHOAL_OK.
static shoal_status wait_for(struct engine *engine, enum engine_event_kind kind,
                             struct engine_event *event, struct shoal_error *err) {
    for (int i = 0; i < 1000; i++) {
        shoal_status status = engine->ops->poll(engine, 20, event, err);
        if (status != SHOAL_OK || event->kind == kind) return status;
        if (event->kind == ENGINE_DONE) task_output_free(&event->output);
    }
    fail_msg("nothing of kind %d came", (int)kind);
    return SHOAL_OK;
}

static struct engine_event expect(struct engine *engine, enum engine_event_kind kind) {
    struct engine_event event;
    struct shoal_error err;
    if (wait_for(engine, kind, &event, &err) != SHOAL_OK) fail_msg("%s", err.message);
    return event;
}

static void run_task(struct engine *engine, uint32_t worker, uint64_t id,
                     const char *sql) {
    struct shoal_error err;
    char text[16], output[64];
    (void)snprintf(output, sizeof output, "%s/out", folder);
    (void)snprintf(text, sizeof text, "%s", sql);
    struct task task = {.id = id, .sql = text, .output = output, .partitions = 4};
    if (engine->ops->run(engine, worker, &task, &err) != SHOAL_OK)
        fail_msg("%s", err.message);
}

static size_t files_left(void) {
    size_t count = 0;
    DIR *open = opendir(folder);
    while (readdir(open) != NULL) count++;
    closedir(open);
    return count - 2;  // "." and ".."
}

static void finish(struct engine *engine) {
    engine->ops->close(engine);
    assert_int_equal(files_left(), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void workers_dial_back_and_run(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://runs", 3, 10);
    bool seen[3] = {false};
    for (int i = 0; i < 3; i++) {
        struct engine_event up = expect(engine, ENGINE_UP);
        assert_true(up.worker < 3 && !seen[up.worker]);
        seen[up.worker] = true;
    }
    for (uint64_t id = 1; id <= 30; id++) {
        run_task(engine, (uint32_t)(id % 3), id, "ok");
        struct engine_event done = expect(engine, ENGINE_DONE);
        assert_int_equal(done.task, id);
        assert_int_equal(done.worker, id % 3);
        assert_int_equal(done.output.files[0].rows.total, id);
        task_output_free(&done.output);
    }
    finish(engine);
}

static void a_cancel_reaches_it(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://runs", 1, 10);
    expect(engine, ENGINE_UP);
    run_task(engine, 0, 5, "sleep");
    engine->ops->cancel(engine, 0, 5, 0);
    struct engine_event failed = expect(engine, ENGINE_FAILED);
    assert_int_equal(failed.task, 5);
    assert_int_equal(failed.error.status, SHOAL_CANCELLED);
    finish(engine);
}

// Says what the cluster says of it, and the end of its log.
static void a_dead_one_is_replaced(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://runs", 1, 10);
    expect(engine, ENGINE_UP);
    run_task(engine, 0, 1, "die");
    struct engine_event down = expect(engine, ENGINE_DOWN);
    assert_int_equal(down.worker, 0);
    assert_non_null(strstr(down.error.message, "on thishost"));
    assert_non_null(strstr(down.error.message, "the cluster killed it"));
    assert_non_null(strstr(down.error.message, "its last line"));
    struct engine_event up = expect(engine, ENGINE_UP);
    assert_int_equal(up.worker, 1);
    run_task(engine, 1, 2, "ok");
    struct engine_event done = expect(engine, ENGINE_DONE);
    task_output_free(&done.output);
    finish(engine);
}

static void replacements_end(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://broken", 1, 10);
    struct engine_event event;
    struct shoal_error err = {0};
    assert_int_equal(wait_for(engine, ENGINE_UP, &event, &err), SHOAL_LOST);
    assert_non_null(strstr(err.message, "there is no program on the node"));
    assert_non_null(strstr(err.message, "replacements are used up"));
    finish(engine);
}

// It takes no data any more: the driver waits for a while, and then goes on without it.
static void one_that_reads_nothing_is_lost(void **state) {
    (void)state;
    setenv("SHOAL_SILENT_SECONDS", "2", 1);
    struct engine *engine = open_engine("fake://runs", 1, 10);
    unsetenv("SHOAL_SILENT_SECONDS");
    struct shoal_error err = {0};
    char output[64], *sql = calloc(1, 32 << 20);
    expect(engine, ENGINE_UP);
    run_task(engine, 0, 1, "stop");
    memset(sql, 'x', (32 << 20) - 1);
    (void)snprintf(output, sizeof output, "%s/out", folder);
    struct task task = {.id = 2, .sql = sql, .output = output, .partitions = 4};
    assert_int_equal(engine->ops->run(engine, 0, &task, &err), SHOAL_LOST);
    free(sql);
    struct engine_event down = expect(engine, ENGINE_DOWN);
    assert_int_equal(down.worker, 0);
    assert_int_equal(expect(engine, ENGINE_UP).worker, 1);
    finish(engine);
}

// What the cluster takes away is no fault: more often than replacements would last.
static void a_preempted_one_costs_no_replacement(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://preempts", 1, 10);
    for (uint32_t i = 0; i < 8; i++) {
        struct engine_event up = expect(engine, ENGINE_UP);
        assert_int_equal(up.worker, i);
        run_task(engine, i, i, "die");
        expect(engine, ENGINE_DOWN);
    }
    finish(engine);
}

// It begins with the least, asks for more when tasks have waited for a while, and gives
// back those that have none.
static void workers_come_and_go_with_the_tasks(void **state) {
    (void)state;
    struct shoal_error err;
    struct engine *engine = NULL;
    struct engine_options options = {.workers = 3,
                                     .program = program,
                                     .engine_version = "v1",
                                     .worker = {.threads = 2, .temp_dir = folder},
                                     .cluster = {.url = "fake://runs",
                                                 .python = program,
                                                 .least = 1,
                                                 .idle_seconds = 0.3,
                                                 .start_seconds = 10}};
    assert_int_equal(engine_hosted_open(&options, &engine, &err), SHOAL_OK);
    expect(engine, ENGINE_UP);
    struct engine_event event = {0};
    bool up[3] = {true, false, false};
    for (int i = 0; i < 1000 && !(up[1] && up[2]); i++) {
        engine->ops->wish(engine, 5);  // of which two fit a worker
        assert_int_equal(engine->ops->poll(engine, 10, &event, &err), SHOAL_OK);
        if (event.kind == ENGINE_UP) up[event.worker] = true;
    }
    assert_true(up[1] && up[2]);
    run_task(engine, 1, 4, "sleep");
    unsigned given_back = 0;
    for (int i = 0; i < 100; i++) {
        engine->ops->wish(engine, 1);
        assert_int_equal(engine->ops->poll(engine, 10, &event, &err), SHOAL_OK);
        if (event.kind != ENGINE_DOWN) continue;
        assert_non_null(strstr(event.error.message, "given back"));
        assert_int_not_equal(event.worker, 1);
        given_back++;
    }
    assert_int_equal(given_back, 2);
    finish(engine);
}

static void what_is_waited_for_is_said(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://full", 2, 0.5);
    struct engine_event event = expect(engine, ENGINE_NOTE);
    struct shoal_error err = {0};
    assert_non_null(
        strstr(event.error.message, "waiting for a worker: no node has a free core"));
    assert_int_equal(wait_for(engine, ENGINE_UP, &event, &err), SHOAL_TIMEOUT);
    assert_non_null(strstr(err.message, "--start-timeout"));
    assert_non_null(strstr(err.message, "no node has a free core"));
    finish(engine);
}

static double cpu_seconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

// Where this process may open no more files, workers wait to be let in, which is said
// once; and nobody turns in circles meanwhile.
static void no_file_is_left_for_it(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://runs", 1, 10);
    struct engine_event event;
    struct shoal_error err;
    struct rlimit limit;
    expect(engine, ENGINE_UP);
    run_task(engine, 0, 1, "die");
    expect(engine, ENGINE_DOWN);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(STDIN_FILENO);
    close(next);
    struct rlimit full = {(rlim_t)next, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
    event = expect(engine, ENGINE_NOTE);
    assert_non_null(strstr(event.error.message, "raise the limit (ulimit -n)"));
    double before = cpu_seconds(), until = clock_seconds() + 1.5;
    while (clock_seconds() < until) {
        assert_int_equal(engine->ops->poll(engine, 100, &event, &err), SHOAL_OK);
        assert_int_not_equal(event.kind, ENGINE_UP);
        if (event.kind == ENGINE_NOTE) fail_msg("again: %s", event.error.message);
    }
    assert_true(cpu_seconds() - before < 0.3);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    expect(engine, ENGINE_UP);
    finish(engine);
}

static void the_end(const char *url, shoal_status status, const char *words) {
    struct engine *engine = open_engine(url, 1, 3);
    struct engine_event event;
    struct shoal_error err = {0};
    assert_int_equal(wait_for(engine, ENGINE_UP, &event, &err), status);
    if (strstr(err.message, words) == NULL) fail_msg("%s", err.message);
    finish(engine);
}

static void a_cluster_that_is_not_there(void **state) {
    (void)state;
    the_end("fake://refuses", SHOAL_USAGE, "nobody answers there");
}

static void a_host_program_that_ends(void **state) {
    (void)state;
    the_end("fake://dies", SHOAL_LOST, "exited with 7");
    the_end("fake://dies", SHOAL_LOST, "ImportError: no such package");
}

static void a_host_program_that_babbles(void **state) {
    (void)state;
    the_end("fake://babbles", SHOAL_CORRUPT, "no JSON object: hello");
}

// They are turned away, end, and are replaced until the budget is spent.
static void who_does_not_know_the_secret(void **state) {
    (void)state;
    the_end("fake://strangers", SHOAL_LOST, "replacements are used up");
}

// They hold up no worker, and cost none.
static void strangers_who_say_nothing(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://crowds", 1, 15);
    struct engine_event up = expect(engine, ENGINE_UP);
    assert_int_equal(up.worker, 0);
    finish(engine);
}

static void a_stranger_who_says_much(void **state) {
    (void)state;
    struct engine *engine = open_engine("fake://floods", 1, 15);
    struct engine_event up = expect(engine, ENGINE_UP);
    assert_int_equal(up.worker, 0);
    finish(engine);
}

static void there_is_no_python(void **state) {
    (void)state;
    struct shoal_error err = {0};
    struct engine *engine = NULL;
    struct engine_options options = {
        .workers = 1,
        .program = program,
        .engine_version = "v1",
        .worker = {.temp_dir = folder},
        .cluster = {.url = "fake://runs", .python = "/nowhere/python"}};
    assert_int_equal(engine_hosted_open(&options, &engine, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "--python"));
    assert_null(engine);
}

// Of a worker of another version the message says so, and the run ends.
static void another_version_is_refused(void **state) {
    (void)state;
    setenv("FAKE_VERSION", "v2", 1);
    the_end("fake://runs", SHOAL_USAGE, "another version");
    unsetenv("FAKE_VERSION");
}

int main(int argc, char **argv) {
    if (argc == 10 && strcmp(argv[1], "worker") == 0) return be_worker(argv);
    if (argc == 4 && strcmp(argv[2], "shoal.host") == 0) return be_host(argv[0], argv[3]);
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size <= 0) return 1;
    program[size] = '\0';
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_dial_back_and_run),
        cmocka_unit_test(a_cancel_reaches_it),
        cmocka_unit_test(a_dead_one_is_replaced),
        cmocka_unit_test(replacements_end),
        cmocka_unit_test(one_that_reads_nothing_is_lost),
        cmocka_unit_test(a_preempted_one_costs_no_replacement),
        cmocka_unit_test(workers_come_and_go_with_the_tasks),
        cmocka_unit_test(what_is_waited_for_is_said),
        cmocka_unit_test(no_file_is_left_for_it),
        cmocka_unit_test(a_cluster_that_is_not_there),
        cmocka_unit_test(a_host_program_that_ends),
        cmocka_unit_test(a_host_program_that_babbles),
        cmocka_unit_test(who_does_not_know_the_secret),
        cmocka_unit_test(strangers_who_say_nothing),
        cmocka_unit_test(a_stranger_who_says_much),
        cmocka_unit_test(there_is_no_python),
        cmocka_unit_test(another_version_is_refused),
    };
    if (mkdtemp(folder) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return rmdir(folder) == 0 ? failed : 1;
}
