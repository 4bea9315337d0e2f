// Whatever allocation fails, the first or any other, one alone or all from there on: the
// answer is "out of memory" or the right one, and nothing leaks (the ASan build sees
// that). Each scenario runs with its N-th allocation failing, for each N that it has.
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/json.h"
#include "base/proof.h"
#include "base/spool.h"
#include "block/format.h"
#include "block/registry.h"
#include "delta/log.h"
#include "delta/types.h"
#include "dist/stages.h"
#include "lines/faults.h"
#include "net/channel.h"
#include "net/listener.h"
#include "parquet/footer.h"
#include "plan/hints.h"
#include "query/copy.h"
#include "query/journal.h"
#include "sched/sim.h"
#include "support/examples.h"
#include "support/fail_alloc.h"
#include "support/harness.h"

#define NEVER 1000000  // a scenario that still fails then has no end

// In a loop over N nothing may stop in the middle: what a scenario finds wrong is said
// here, and the test fails when the seam is off again.
static const char *wrong;
static bool holds(bool condition, const char *what) {
    if (!condition) wrong = what;
    return condition;
}
#define HOLDS(condition) holds(condition, #condition)

static bool is_no_memory(shoal_status status, const struct shoal_error *err) {
    if (status == SHOAL_NOMEM) return true;
    return status == SHOAL_IO && strstr(err->message, strerror(ENOMEM)) != NULL;
}

typedef shoal_status scenario(struct shoal_error *err);

#define SHOWN_MOST 10
static unsigned wrongs;  // of the scenario
static void say(uint64_t n, bool on, const char *what, const char *more) {
    if (++wrongs <= SHOWN_MOST)
        print_error("allocation %d%s: %s%s\n", (int)n, on ? "+" : "", what, more);
}

// One N; false: it is past the last.
static bool try_one(scenario *run, uint64_t n, bool on) {
    struct shoal_error err = {0};
    wrong = NULL;
    fail_alloc_at(n, on);
    shoal_status status = run(&err);
    bool failed = fail_alloc_end();
    if (wrong != NULL) {
        say(n, on, "not so: ", wrong);
    } else if (!failed && status != SHOAL_OK) {
        say(n, on, "it fails without a cause: ", err.message);
    } else if (status != SHOAL_OK && !is_no_memory(status, &err)) {
        say(n, on, "no word of memory: ", err.message);
    } else if (status != SHOAL_OK && (err.message[0] == '\0' || err.status != status)) {
        say(n, on, "no message", "");
    }
    return failed;
}

// step: which numbers fail; 1: each.
static void try_some(scenario *run, uint64_t step) {
    uint64_t n = 1;
    wrongs = 0;
    for (; n < NEVER && try_one(run, n, false); n += step) (void)try_one(run, n, true);
    assert_in_range(n, 2, NEVER - 1);
    assert_int_equal(wrongs, 0);
}

static void try_each(scenario *run) {
    try_some(run, 1);
}

// ---- messages

static shoal_status send_task(struct shoal_error *err) {
    char *once = NULL, *twice = NULL;
    struct task *task = NULL;
    shoal_status status = task_encode(example_task(true), &once, err);
    if (status == SHOAL_OK) status = task_decode(once, strlen(once), &task, err);
    if (status == SHOAL_OK) status = task_encode(task, &twice, err);
    if (status == SHOAL_OK) HOLDS(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    task_free(task);
    return status;
}

static const struct task_output *answer;
static shoal_status send_output(struct shoal_error *err) {
    char *once = NULL, *twice = NULL;
    struct task_output output = {0};
    uint64_t id;
    uint32_t attempt;
    shoal_status status = task_output_encode(7, 1, answer, &once, err);
    if (status == SHOAL_OK)
        status = task_output_decode(once, strlen(once), &id, &attempt, &output, err);
    if (status == SHOAL_OK)
        status = task_output_encode(id, attempt, &output, &twice, err);
    if (status == SHOAL_OK)
        HOLDS(strlen(once) == strlen(twice));  // keys come back sorted
    free(once);
    free(twice);
    task_output_free(&output);
    return status;
}

static shoal_status send_frames(struct shoal_error *err) {
    static char large[100000];
    int sockets[2];
    struct frame_writer writer = {0};
    struct frame_reader reader = {0};
    bool closed = false, found = true;
    size_t got = 0;
    memset(large, 'x', sizeof large);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return shoal_fail(err, SHOAL_IO, "no sockets");
    writer.fd = sockets[0];
    shoal_status status = frame_send(&writer, FRAME_RUN, large, sizeof large, err);
    if (status == SHOAL_OK) status = frame_send(&writer, FRAME_BYE, "", 0, err);
    if (status == SHOAL_OK) status = frame_receive(&reader, sockets[1], &closed, err);
    for (; status == SHOAL_OK && found; got += found) {
        enum frame_type type;
        const char *payload;
        size_t size;
        status = frame_next(&reader, &found, &type, &payload, &size, err);
    }
    if (status == SHOAL_OK) HOLDS(got == 2 && !closed);
    frame_writer_free(&writer);
    frame_reader_free(&reader);
    close(sockets[0]);
    close(sockets[1]);
    return status;
}

static void messages(void **state) {
    (void)state;
    try_each(send_task);
    answer = example_output(true);
    try_each(send_output);
    try_each(send_frames);
}

// ---- connections

// Someone who says that it speaks TLS and goes: all that can be had of our own memory is
// had by then.
static void *say_tls_and_go(void *ctx) {
    struct listener *listener = ctx;
    struct pollfd one = {.fd = listener->fd, .events = POLLIN};
    (void)poll(&one, 1, -1);
    int fd = accept(listener->fd, NULL, NULL);
    (void)send(fd, "shoal-t\n", 8, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static const uint8_t run_secret[PROOF_SECRET] = {1};

static shoal_status connect_and_fail(struct shoal_error *err) {
    struct listener listener;
    struct channel *channel = NULL;
    pthread_t thread;
    shoal_status status = net_listen("127.0.0.1", 0, 0, &listener, err);
    if (status != SHOAL_OK) return status;
    if (pthread_create(&thread, NULL, say_tls_and_go, &listener) != 0)
        return shoal_fail(err, SHOAL_IO, "no thread");
    status = channel_connect(listener.address, run_secret, 60, &channel, err);
    pthread_join(thread, NULL);
    listener_close(&listener);
    HOLDS(status != SHOAL_OK && channel == NULL);
    return status == SHOAL_LOST ? SHOAL_OK : status;
}

static shoal_status accept_and_relay(struct shoal_error *err) {
    struct channel *channel = NULL;
    int fds[2], descriptor = -1;
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return shoal_fail(err, SHOAL_IO, "no sockets");
    (void)shutdown(fds[1], SHUT_WR);
    shoal_status status =
        channel_accept_descriptor(fds[0], run_secret, 60, &channel, &descriptor, err);
    HOLDS((status == SHOAL_OK) == (channel != NULL));
    if (status == SHOAL_OK) HOLDS(recv(descriptor, &byte, 1, 0) == 0);
    channel_free(channel);
    close(fds[1]);
    return status;
}

static void connections(void **state) {
    (void)state;
    (void)setenv("SHOAL_TLS", "always", 1);
    try_each(connect_and_fail);
    try_each(accept_and_relay);
    (void)unsetenv("SHOAL_TLS");
}

// ---- blocks

static char folder[] = "/tmp/shoal-alloc-XXXXXX";
static char path[128];

static shoal_status fill_block(struct block_writer *writer, struct shoal_error *err) {
    for (uint32_t p = 0; p < 3; p += 2) {
        struct column *columns = block_writer_columns(writer, p);
        bool ok = columns != NULL;
        for (size_t c = 0; ok && c < EXAMPLE_COLUMNS; c++)
            ok = example_add_rows(&columns[c], p, 100);
        if (!ok) return shoal_no_memory(err);
        block_writer_added(writer, p, 100);
    }
    return SHOAL_OK;
}

static shoal_status write_block(struct block_output *files, bool compress,
                                struct shoal_error *err) {
    struct block_storage storage = {.compress = compress};
    struct block_writer *writer = NULL;
    struct block_output_file learned = {0};
    shoal_status status = block_bind_output(path, &storage, 3, BLOCK_WHOLE, NULL, err);
    if (status != SHOAL_OK) return status;
    status = block_writer_open(registry_output(path), path, example_shapes(),
                               EXAMPLE_COLUMNS, &writer, err);
    if (status == SHOAL_OK) status = fill_block(writer, err);
    if (status == SHOAL_OK) status = block_writer_finish(writer, &learned, err);
    block_writer_close(writer);
    block_take_output(path, files);
    return status;
}

static shoal_status read_block(struct shoal_error *err) {
    struct block_file file;
    struct block_chunk chunk;
    uint64_t rows = 0;
    shoal_status status =
        block_file_open(&file, path, example_shapes(), EXAMPLE_COLUMNS, err);
    if (status != SHOAL_OK) return status;
    status = block_chunk_init(&chunk, example_shapes(), EXAMPLE_COLUMNS, err);
    for (size_t i = 0; status == SHOAL_OK && i < file.chunks; i++) {
        status = block_chunk_read(&chunk, &file, &file.index[i], err);
        if (status == SHOAL_OK) rows += chunk.rows;
    }
    if (status == SHOAL_OK) HOLDS(rows == 200);
    block_chunk_free(&chunk);
    block_file_close(&file);
    return status;
}

static bool compresses;
static shoal_status write_and_read(struct shoal_error *err) {
    struct block_output files = {0};
    shoal_status status = write_block(&files, compresses, err);
    if (status == SHOAL_OK) status = read_block(err);
    for (size_t i = 0; i < files.count; i++) (void)unlink(files.files[i].path);
    block_output_free(&files);
    HOLDS(access(path, F_OK) != 0);  // each file that there is, is listed
    return status;
}

static struct duck *duck;
static struct duck_conn *conn;

static shoal_status copy_blocks(struct block_output *files, struct shoal_error *err) {
    char sql[512];
    shoal_status status = block_bind_output(path, NULL, 3, BLOCK_HASH, NULL, err);
    if (status != SHOAL_OK) return status;
    (void)snprintf(
        sql, sizeof sql,
        "COPY (SELECT hash(i) AS h, i AS c0, [i] AS c1 FROM range(90) r(i)) TO "
        "'%s' (FORMAT shoal)",
        path);
    status = duck_run(conn, sql, err);
    block_take_output(path, files);
    return status;
}

static shoal_status select_blocks(const struct block_output *files,
                                  struct shoal_error *err) {
    struct block_segment segments[4];
    struct block_read how = {0};
    char *value = NULL;
    size_t count = 0;
    for (; count < files->count && count < 4; count++)
        segments[count] = (struct block_segment){files->files[count].path, 0, BLOCK_LAST};
    shoal_status status = block_bind_input("alloc", 0, segments, count, &how, err);
    if (status == SHOAL_OK)
        status =
            duck_scalar(conn,
                        "SELECT sum(c0 + c1[1])::VARCHAR FROM shoal_input('alloc', 0, "
                        "CAST(NULL AS STRUCT(c0 BIGINT, c1 BIGINT[])))",
                        &value, err);
    block_release_inputs("alloc");
    if (status == SHOAL_OK) HOLDS(value != NULL && strcmp(value, "8010") == 0);
    free(value);
    return status;
}

static shoal_status through_duckdb(struct shoal_error *err) {
    struct block_output files = {0};
    shoal_status status = copy_blocks(&files, err);
    if (status == SHOAL_OK) status = select_blocks(&files, err);
    for (size_t i = 0; i < files.count; i++) (void)unlink(files.files[i].path);
    block_output_free(&files);
    return status;
}

static void blocks(void **state) {
    (void)state;
    (void)snprintf(path, sizeof path, "%s/block", folder);
    try_each(write_and_read);
    compresses = true;
    try_each(write_and_read);
    try_each(through_duckdb);
}

// ---- tokens of JSON

// Numbers and words about as long as the parser's buffers: their last characters, or what
// comes behind them, are what it has no room for.
static shoal_status read_tokens(struct shoal_error *err) {
    static const char *const numbers[] = {
        "12345678901234",  "123456789012345", "1234567890123456", "-123456789012345678",
        "1.2345678901234", "123456789.12345", "1.23456789012e+10"};
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < sizeof numbers / sizeof *numbers; i++) {
        char text[96];
        json_t *object = NULL;
        int size = snprintf(text, sizeof text, "{\"a\":%s,\"b\":[%s],\"c\":true}",
                            numbers[i], numbers[i]);
        status = json_parse_object(text, (size_t)size, &object, err);
        if (status != SHOAL_OK) break;
        HOLDS(json_object_size(object) == 3);
        HOLDS(json_equal(json_object_get(object, "a"),
                         json_array_get(json_object_get(object, "b"), 0)));
        json_decref(object);
    }
    return status;
}

// A word that no message has is one error, and running out of memory over it another.
static shoal_status read_garbage(struct shoal_error *err) {
    static const char text[] = "{\"a\":[nonsensenonsense,1]}";
    json_t *object = NULL;
    shoal_status status = json_parse_object(text, strlen(text), &object, err);
    HOLDS(status != SHOAL_OK && object == NULL);
    return status == SHOAL_CORRUPT ? SHOAL_OK : status;
}

static void tokens(void **state) {
    (void)state;
    try_each(read_tokens);
    try_each(read_garbage);
}

// ---- what is learned of keys and sizes

static shoal_status learn(struct shoal_error *err) {
    static struct sketch sketch, back;
    const uint64_t keys[] = {1, 2, 3, 1, 1};
    struct sketcher *sketcher = sketcher_new(3);
    if (sketcher == NULL) return shoal_no_memory(err);
    sketcher_add(sketcher, keys, keys, 5);
    sketcher_take(sketcher, &sketch);
    sketcher_free(sketcher);
    json_t *json = sketch_to_json(&sketch);
    shoal_status status =
        json == NULL ? shoal_no_memory(err) : sketch_from_json(json, &back, err);
    json_decref(json);
    if (status == SHOAL_OK) HOLDS(back.rows == 5);
    return status;
}

static shoal_status cut_bounds(struct shoal_error *err) {
    static uint8_t bytes[4][2] = {{1, 0}, {2, 0}, {2, 1}, {9, 9}};
    struct key keys[4];
    struct weighted_key samples[4];
    struct bounds bounds = {0}, copy = {0}, back = {0};
    struct placer placer = {0};
    for (size_t i = 0; i < 4; i++) {
        keys[i] = (struct key){bytes[i], 2};
        samples[i] = (struct weighted_key){&keys[i], i == 1 ? 10 : 1};
    }
    bool ok =
        bounds_cut(samples, 4, 3, SPREAD_SHARE, &bounds) && bounds_copy(&copy, &bounds);
    json_t *json = ok ? bounds_to_json(&copy) : NULL;
    shoal_status status =
        json == NULL ? shoal_no_memory(err) : bounds_from_json(json, 3, &back, err);
    json_decref(json);
    if (status == SHOAL_OK && !placer_make(&placer, &back, 1))
        status = shoal_no_memory(err);
    if (status == SHOAL_OK) {
        HOLDS(back.keys.count == bounds.keys.count && back.keys.count > 0);
        HOLDS(placer_part(&placer, bytes[3], 2) == 2);
    }
    placer_free(&placer);
    bounds_free(&bounds);
    bounds_free(&copy);
    bounds_free(&back);
    return status;
}

static void sketches_and_bounds(void **state) {
    (void)state;
    try_each(learn);
    try_each(cut_bounds);
}

// ---- texts

static shoal_status read_hints(struct shoal_error *err) {
    struct hints hints;
    shoal_status status =
        hints_read("SELECT /*+ BROADCAST(a, \"my t\"), REPARTITION(8, k) REBALANCE */ 1",
                   &hints, err);
    if (status == SHOAL_OK) {
        HOLDS(hints.count == 5);
        HOLDS(hints.count == 5 && strcmp(hints.list[1].name, "my t") == 0);
    }
    hints_free(&hints);
    return status;
}

static shoal_status read_copy(struct shoal_error *err) {
    struct copy copy;
    json_t *names = NULL;
    shoal_status status = copy_parse(
        "COPY t(a, b) TO 'dir' (FORMAT 'parquet', COMPRESSION zstd, PARTITION_BY (\"a\", "
        "b), "
        "FILE_SIZE_BYTES '1MB', REJECTS 'bad', SORT_BY (b))",
        &copy, err);
    if (status == SHOAL_OK) status = copy_partition_names(copy.partition_by, &names, err);
    if (status == SHOAL_OK) {
        HOLDS(strcmp(copy.path, "dir") == 0 && copy.file_bytes == 1000000);
        HOLDS(strcmp(copy.query, "SELECT a, b FROM t") == 0);
        HOLDS(strcmp(copy.rejects, "bad") == 0 && strcmp(copy.format, "parquet") == 0);
        HOLDS(json_array_size(names) == 2);
    }
    json_decref(names);
    copy_free(&copy);
    return status;
}

static shoal_status split(struct shoal_error *err) {
    char **statements = NULL;
    size_t count = 0;
    shoal_status status =
        duck_split("SELECT 1; SELECT ';'; -- end", &statements, &count, err);
    if (status == SHOAL_OK) HOLDS(count == 2);
    duck_split_free(statements, count);
    return status;
}

static shoal_status write_faults(struct shoal_error *err) {
    struct schema schema = {0};
    struct text sql = {0};
    static size_t whole;  // bytes without a failure
    bool ok =
        schema_add(&schema, "s", "STRUCT(\"a b\" INTEGER, m MAP(VARCHAR, DATE)[])") &&
        schema_add(&schema, "n", "BIGINT[3]");
    struct faults_calls calls = {"read_json('a')", "read_json_objects('a')", &schema};
    faults_append_select(&sql, &calls, 1);
    ok = ok && !sql.failed;
    if (whole == 0) whole = sql.size;
    if (ok) HOLDS(sql.size >= whole);
    text_free(&sql);
    schema_free(&schema);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

static void texts(void **state) {
    struct shoal_error err;
    (void)state;
    try_each(read_hints);
    try_each(read_copy);
    try_each(split);
    assert_int_equal(write_faults(&err), SHOAL_OK);
    try_each(write_faults);
}

// ---- files of others

static void put(const char *name, const char *text) {
    char file[256];
    (void)snprintf(file, sizeof file, "%s/%s", folder, name);
    FILE *out = fopen(file, "we");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void make_folder(const char *name) {
    char file[256];
    (void)snprintf(file, sizeof file, "%s/%s", folder, name);
    assert_int_equal(mkdir(file, 0700), 0);
}

static shoal_status read_footer(struct shoal_error *err) {
    // SchemaElements: a root of one child, an INT64 called a; no row group.
    static const uint8_t bytes[] = {0x29, 0x2c, 0x48, 1,    'r',  0x15, 2,   0,
                                    0x15, 4,    0x25, 2,    0x18, 1,    'a', 0x25,
                                    36,   0,    0x29, 0x1c, 0,    0};
    struct parquet_footer footer;
    shoal_status status = parquet_footer_parse(bytes, sizeof bytes, &footer, err);
    if (status == SHOAL_OK) HOLDS(footer.column_count == 1 && footer.group_count == 1);
    parquet_footer_free(&footer);
    return status;
}

static shoal_status open_delta(struct shoal_error *err) {
    struct delta_snapshot *snapshot = NULL;
    struct text type = {0};
    json_t *back = NULL;
    bool ntz = false;
    (void)snprintf(path, sizeof path, "%s/table", folder);
    shoal_status status = delta_snapshot_open(NULL, path, DELTA_LATEST, &snapshot, err);
    if (status == SHOAL_OK) {
        const json_t *field = delta_field(snapshot, "s");
        HOLDS(snapshot->version == 1 && json_object_size(snapshot->files) == 2);
        HOLDS(json_object_size(snapshot->txns) == 1);
        status = delta_type_to_duck(json_object_get(field, "type"), "s", &type, err);
    }
    if (status == SHOAL_OK && type.failed) status = shoal_no_memory(err);
    if (status == SHOAL_OK) {
        HOLDS(strcmp(type.data,
                     "STRUCT(\"x\" DECIMAL(9,2), \"m\" MAP(VARCHAR, BIGINT)[])") == 0);
        status = delta_type_from_duck(type.data, "s", &back, &ntz, err);
    }
    text_free(&type);
    json_decref(back);
    delta_snapshot_free(snapshot);
    return status;
}

static void footers_and_logs(void **state) {
    (void)state;
    make_folder("table");
    make_folder("table/_delta_log");
    put("table/_delta_log/00000000000000000000.json",
        "{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"
        "{\"metaData\":{\"id\":\"1\",\"format\":{\"provider\":\"parquet\"},"
        "\"schemaString\":\"{\\\"fields\\\":[{\\\"name\\\":\\\"a\\\",\\\"type\\\":"
        "\\\"long\\\"},"
        "{\\\"name\\\":\\\"s\\\",\\\"type\\\":{\\\"type\\\":\\\"struct\\\","
        "\\\"fields\\\":[{"
        "\\\"name\\\":\\\"x\\\",\\\"type\\\":\\\"decimal(9,2)\\\"},{\\\"name\\\":"
        "\\\"m\\\","
        "\\\"type\\\":{\\\"type\\\":\\\"array\\\",\\\"elementType\\\":{\\\"type\\\":"
        "\\\"map\\\","
        "\\\"keyType\\\":\\\"string\\\",\\\"valueType\\\":\\\"long\\\"}}}]}}]}\","
        "\"partitionColumns\":[\"a\"],\"configuration\":{}}}\n"
        "{\"add\":{\"path\":\"one\",\"partitionValues\":{\"a\":\"1\"}}}\n");
    put("table/_delta_log/00000000000000000001.json",
        "{\"txn\":{\"appId\":\"j\",\"version\":1}}\n"
        "{\"add\":{\"path\":\"two\",\"partitionValues\":{\"a\":\"2\"}}}\n"
        "{\"add\":{\"path\":\"three\",\"partitionValues\":{\"a\":\"2\"}}}\n"
        "{\"remove\":{\"path\":\"two\"}}\n");
    try_each(read_footer);
    try_each(open_delta);
}

// ---- the journal of a COPY

static bool is_there(const char *name) {
    char file[256];
    (void)snprintf(file, sizeof file, "%s/%s", folder, name);
    return access(file, F_OK) == 0;
}

static void move(const char *from, const char *to) {
    char one[256], other[256];
    (void)snprintf(one, sizeof one, "%s/%s", folder, from);
    (void)snprintf(other, sizeof other, "%s/%s", folder, to);
    HOLDS(rename(one, other) == 0);
}

// A run that dies behind its first move; an undo that fails can be done again.
static shoal_status undo_a_run(struct shoal_error *err) {
    static const struct journal_entry entries[] = {{"k=1", true}, {"k=2/new-1", false}};
    char staging[128], target[128];
    (void)snprintf(staging, sizeof staging, "%s/staging", folder);
    (void)snprintf(target, sizeof target, "%s/target", folder);
    shoal_status status = journal_write(staging, target, "new-", entries, 2, err);
    if (status != SHOAL_OK) {
        HOLDS(!is_there("staging/journal.json"));
        move("staging", "staging-");  // without the part that may be there
        (void)snprintf(path, sizeof path, "%s/staging-/journal.json.part", folder);
        (void)unlink(path);
        move("staging-", "staging");
        return status;
    }
    move("target/k=1", "staging/replaced/0");
    move("staging/ready/k=1", "target/k=1");
    move("staging/ready/k=2/new-1", "target/k=2/new-1");
    if (!journal_undo(staging)) {
        HOLDS(is_there("staging/journal.json"));
        status = shoal_no_memory(err);
        (void)fail_alloc_end();
        HOLDS(journal_undo(staging));
    }
    HOLDS(is_there("target/k=1/old") && is_there("staging/ready/k=1/new-1"));
    HOLDS(!is_there("target/k=2/new-1"));
    (void)snprintf(path, sizeof path, "%s/staging/ready/k=2/new-1", folder);
    int again = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    HOLDS(again >= 0 && close(again) == 0);
    return status;
}

static void journals(void **state) {
    static const char *const folders[] = {
        "target",        "target/k=1",        "target/k=2",        "staging",
        "staging/ready", "staging/ready/k=1", "staging/ready/k=2", "staging/replaced"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) make_folder(folders[i]);
    put("target/k=1/old", "");
    put("target/k=2/old", "");
    put("staging/ready/k=1/new-1", "");
    put("staging/ready/k=2/new-1", "");
    try_each(undo_a_run);
}

// ---- the scheduler

static shoal_status schedule(struct shoal_error *err) {
    static const struct sim_stage stages[] = {{.tasks = 3},
                                              {.tasks = 2, .wide = true},
                                              {.tasks = 4, .deps = {0, 1}, .ndeps = 2}};
    const struct sim_options options = {.seed = 5,
                                        .workers = 2,
                                        .slots = 2,
                                        .stages = stages,
                                        .stages_size = 3,
                                        .death_rate = 0.1,
                                        .failure_rate = 0.1};
    struct sim_result result = {0};
    if (!sim_run(&options, &result)) return shoal_no_memory(err);
    HOLDS(result.violation[0] == '\0' && result.end != SCHED_NONE);
    if (result.end == SCHED_SUCCEEDED) return SHOAL_OK;
    *err = result.error;
    return err->status;
}

static void the_scheduler(void **state) {
    (void)state;
    try_each(schedule);
}

// ---- plans: some twenty thousand allocations each, of which some; ALL=1: each

#if defined(__SANITIZE_ADDRESS__)
#define PLAN_STEP 1499
#else
#define PLAN_STEP 197
#endif

static const char *query;
static size_t stages_wanted;

static shoal_status plan(struct shoal_error *err) {
    struct plan_options options = {
        .broadcast_rows = -1, .sort_rows = SORT_ROWS, .summaries = true};
    struct stages *stages = NULL;
    shoal_status status = stages_plan(conn, query, &options, &stages, err);
    if (status == SHOAL_OK) HOLDS(stages->count == stages_wanted || stages_wanted == 0);
    if (status == SHOAL_OK) stages_wanted = stages->count;
    stages_free(stages);
    return status;
}

static void plans(void **state) {
    static const char *const queries[] = {
        "SELECT a, sum(b), count(DISTINCT b) FROM t JOIN u USING (a) WHERE b > 1 GROUP "
        "BY a",
        "SELECT /*+ BROADCAST(u) */ rank() OVER (PARTITION BY a ORDER BY b) FROM t SEMI "
        "JOIN "
        "u USING (a) UNION SELECT a FROM u ORDER BY 1 LIMIT 3"};
    struct shoal_error err;
    (void)state;
    for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
        query = queries[q];
        stages_wanted = 0;
        assert_int_equal(plan(&err), SHOAL_OK);
        try_some(plan, getenv("ALL") != NULL ? 1 : PLAN_STEP);
    }
}

static int set_up(void **state) {
    struct duck_options options = {.threads = 1};
    struct shoal_error err;
    char sql[512];
    (void)state;
    if (mkdtemp(folder) == NULL || duck_open(&duck, &options, &err) != SHOAL_OK ||
        duck_connect(duck, &conn, &err) != SHOAL_OK ||
        block_register(conn, &err) != SHOAL_OK)
        return -1;
    (void)snprintf(
        sql, sizeof sql,
        "COPY (SELECT i AS a, i %% 7 AS b FROM range(50) r(i)) TO "
        "'%s/t.parquet'; CREATE VIEW t AS FROM '%s/t.parquet'; CREATE VIEW u AS "
        "SELECT a, b AS c FROM '%s/t.parquet'",
        folder, folder, folder);
    return duck_run(conn, sql, &err) == SHOAL_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    duck_disconnect(conn);
    duck_close(duck);
    spool_remove_tree(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tokens),
                                       cmocka_unit_test(messages),
                                       cmocka_unit_test(connections),
                                       cmocka_unit_test(blocks),
                                       cmocka_unit_test(sketches_and_bounds),
                                       cmocka_unit_test(texts),
                                       cmocka_unit_test(footers_and_logs),
                                       cmocka_unit_test(journals),
                                       cmocka_unit_test(the_scheduler),
                                       cmocka_unit_test(plans)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
