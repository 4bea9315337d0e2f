// The log of a job that died, whatever it says: listing it, opening it to go on, its
// options, the staging folder that its sink had, and its plan gone through once more.
// Nothing but that folder and the job's own is touched, and what is taken of the log fits
// the plan.
//
// An input that begins with { is a record a line, framed here as changes would else find
// checksums only; any other is a job.log as it is. In records @JOB stands for the job's
// folder, @HOME for the one that is in, @V for this version and @SHAPE for the hash of
// the plan below.
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "fuzz/fuzz.h"
#include "query/job_sink.h"
#include "query/replay.h"
#include "shoal/version.h"

// ---- stand-ins for what has DuckDB, workers or a scheduler behind it

const char *duck_version(void) {
    return SHOAL_VERSION;
}

char *sink_join(const char *folder, const char *name) {
    struct text path = {0};
    text_printf(&path, "%s/%s", folder, name);
    return text_take(&path);
}

shoal_status sink_io_failed(const char *what, const char *name, struct shoal_error *err) {
    return shoal_fail(err, SHOAL_IO, "cannot %s %s", what, name);
}

shoal_status sink_make_parents(const char *name, struct shoal_error *err) {
    return sink_io_failed("make the folders above", name, err);
}

char *sink_answer(const struct sink *sink) {
    (void)sink;
    return strdup("SELECT 1");
}

const struct sink_kind folder_kind = {.name = "folder"};

bool sched_task_restore(struct sched *sched, uint32_t stage, uint32_t task, double now) {
    (void)sched;
    (void)stage;
    (void)now;
    return task < 64;
}

bool sched_output_lost(struct sched *sched, uint32_t stage, uint32_t task, double now) {
    return sched_task_restore(sched, stage, task, now);
}

bool sched_output_removed(struct sched *sched, uint32_t stage, uint32_t task,
                          double now) {
    return sched_task_restore(sched, stage, task, now);
}

void sched_reset_stage(struct sched *sched, uint32_t stage, double now) {
    (void)sched;
    (void)stage;
    (void)now;
}

void run_drop(const struct run *run, const char *path) {
    (void)run;
    (void)path;
}

void run_parts_free(struct stage_run *stage) {
    (void)stage;
}

void stats_reset(struct stage_stats *stats) {
    (void)stats;
}

bool stage_reads(const struct stage *stage, uint32_t exchange) {
    for (size_t l = 0; l < stage->leaf_count; l++) {
        if (stage->leaves[l].scan_call == NULL && stage->leaves[l].exchange == exchange)
            return true;
    }
    return false;
}

uint32_t run_partitions(const struct run *run, const struct stage *stage) {
    return run->partitions[stage->exchange];
}

shoal_status run_retask(struct run *run, uint32_t stage, uint32_t tasks,
                        struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    free(state->progress);
    free(state->prints);
    state->tasks = tasks;
    state->progress = calloc((size_t)tasks + 1, sizeof *state->progress);
    state->prints = calloc((size_t)tasks + 1, sizeof *state->prints);
    return state->progress && state->prints ? SHOAL_OK : shoal_no_memory(err);
}

// ---- the plan: a scan in two tasks, files by partition with one cut, the result

#define PARTITIONS 4u
#define STAGES 3u
static char sql[] = "SELECT 1", call[] = "read_parquet('x')";
static struct stage_leaf leaves[] = {
    {.kind = LEAF_SCAN, .scan_call = call},
    {.kind = LEAF_PARTITION, .exchange = 0},
    {.kind = LEAF_ALL, .exchange = 1},
};
static struct stage_cut cut = {.rest_sql = NULL};
static const struct adapt_cut told_cut = {.rest = false};
static struct exchange exchanges[] = {{.id = 0}, {.id = 1, .kind = EXCHANGE_GATHER}};
static uint32_t partitions[] = {PARTITIONS, 1};

static void lay_plan(struct stage *stages, struct stages *plan, struct run *run) {
    for (uint32_t s = 0; s < STAGES; s++) {
        stages[s] = (struct stage){.id = s,
                                   .sql = strdup(sql),
                                   .leaves = &leaves[s],
                                   .leaf_count = 1,
                                   .sink = s == 1,
                                   .exchange = s + 1 < STAGES ? s : UINT32_MAX};
        FUZZ_CHECK(stages[s].sql != NULL);
    }
    stages[0].plain_sql = strdup(sql);
    FUZZ_CHECK(stages[0].plain_sql != NULL);
    stages[1].cuts = &cut;
    stages[1].cut_count = 1;
    plan->stages = stages;
    plan->count = STAGES;
    plan->exchanges = exchanges;
    plan->exchange_count = STAGES - 1;
    run->stages = plan;
    run->partitions = partitions;
    run->runs = calloc(STAGES, sizeof *run->runs);
    run->exchanges = calloc(STAGES, sizeof *run->exchanges);
    FUZZ_CHECK(run->runs != NULL && run->exchanges != NULL);
    for (uint32_t s = 0; s < STAGES; s++) {
        struct shoal_error err;
        FUZZ_CHECK(run_retask(run, s, s == 0 ? 2 : 1, &err) == SHOAL_OK);
    }
}

static void free_plan(struct run *run) {
    for (uint32_t s = 0; s < STAGES; s++) {
        struct stage_run *state = &run->runs[s];
        struct task_output files = {.files = state->files, .count = state->file_count};
        task_output_free(&files);
        free(state->file_tasks);
        free(state->progress);
        free(state->prints);
        adapt_pieces_free(&state->pieces);
        exchange_stats_free(&run->exchanges[s]);
        free(run->stages->stages[s].sql);
        free(run->stages->stages[s].unfiltered_sql);
        free(run->stages->stages[s].plain_sql);
        free(run->stages->stages[s].combined_sql);
        free(run->stages->stages[s].of_one_sql);
    }
    free(cut.sql);
    cut.sql = NULL;
    free(run->runs);
    free(run->exchanges);
}

static shoal_status take_pieces(struct run *run, struct shoal_error *err) {
    const struct adapt_stage told = {
        .partitions = PARTITIONS, .cuts = &told_cut, .cut_count = 1};
    struct adapt_pieces *pieces = &run->runs[1].pieces;
    size_t at = 0;
    uint32_t reader = 0;
    bool first = false;
    for (size_t visits = 0; replay_broadcast(run, 0, &at, &reader, &first); visits++)
        FUZZ_CHECK(visits < 100000);
    shoal_status status = replay_pieces(run, 1, &told, pieces, err);
    if (status != SHOAL_OK) return status;
    for (size_t i = 0; i < pieces->count; i++) {
        const struct adapt_piece *piece = &pieces->list[i];
        FUZZ_CHECK(piece->first <= piece->last && piece->last < PARTITIONS);
        FUZZ_CHECK(piece->cut == ADAPT_WHOLE ||
                   (piece->cut == 0 && piece->slice < piece->slices));
    }
    return run_retask(run, 1, (uint32_t)pieces->count, err);
}

// What run.c does, as far as it matters here.
shoal_status run_accept(struct run *run, uint32_t stage, uint32_t task,
                        struct task_output *output, struct shoal_error *err) {
    struct stage_run *state = &run->runs[stage];
    FUZZ_CHECK(task < state->tasks && !(state->progress[task] & TASK_IS_DONE));
    FUZZ_CHECK(output->partitions == partitions[stage]);
    for (size_t f = 0; f < output->count; f++) {
        for (size_t i = 0; i < output->files[f].written_count; i++)
            FUZZ_CHECK(spool_stays_below(output->files[f].written[i].path));
    }
    (void)run_is_other(run, stage, task, output);
    run_learn_keys(run, stage, output);
    shoal_status status = run_keep_files(state, task, output, err);
    if (status != SHOAL_OK) return status;
    state->progress[task] |= TASK_IS_DONE | TASK_WAS_DONE;
    if (++state->done < state->tasks) return SHOAL_OK;
    run_drop_inputs(run, stage);
    return stage == 0 ? take_pieces(run, err) : SHOAL_OK;
}

// ---- the folder: a job, and what is not its own

static char home[FUZZ_FOLDER];
static char folder[FUZZ_FOLDER + 8], path[FUZZ_FOLDER + 16];
static char shape[32];

// A folder that is as mkdtemp makes one, of a name as a staging folder has; a name of
// another; and what a log may only wish to have.
static const char *const others[] = {"private/key", ".shoal-secret/key",
                                     "target/part-r1-0", "shoal-marked/.shoal-spool"};
#define OTHERS (sizeof others / sizeof *others)
#define STAGING ".shoal-abcdef"
static const char *const own[] = {
    STAGING "/.shoal-spool", STAGING "/s1.t0.a0.w0.r0/data_0.parquet",
    "job/blocks/q1.0/s0.t0.a0.w0.r0", "job/blocks/q1.0/s0.t1.a0.w0.r0"};
#define OWN (sizeof own / sizeof *own)

static void leave(void) {
    spool_remove_tree(home);
}

static void make(const char *name) {
    char whole[FUZZ_FOLDER + 64];
    (void)snprintf(whole, sizeof whole, "%s/%s", home, name);
    for (char *at = whole + strlen(home); (at = strchr(at + 1, '/')) != NULL; *at = '/') {
        *at = '\0';
        (void)mkdir(whole, 0700);
    }
    FILE *file = fopen(whole, "we");
    FUZZ_CHECK(file != NULL && fclose(file) == 0);
}

static void lay_out(void) {
    if (*home == '\0') {
        fuzz_make_folder(home);
        (void)snprintf(folder, sizeof folder, "%s/job", home);
        (void)snprintf(path, sizeof path, "%s/job.log", folder);
        FUZZ_CHECK(atexit(leave) == 0 && mkdir(folder, 0700) == 0);
        for (size_t i = 0; i < OTHERS; i++) make(others[i]);
    }
    FUZZ_CHECK(chdir(home) == 0);
    for (size_t i = 0; i < OWN; i++) make(own[i]);
}

static void check_others(void) {
    FUZZ_CHECK(chdir(home) == 0);
    for (size_t i = 0; i < OTHERS; i++) FUZZ_CHECK(access(others[i], F_OK) == 0);
}

// ---- the log

static void append_line(struct text *out, const char *line, size_t size) {
    const struct {
        const char *name, *value;
    } names[] = {
        {"@JOB", folder}, {"@HOME", home}, {"@V", SHOAL_VERSION}, {"@SHAPE", shape}};
    for (size_t i = 0; i < size; i++) {
        size_t n = 0, length = 0;
        for (; n < 4; n++) {
            length = strlen(names[n].name);
            if (length <= size - i && memcmp(line + i, names[n].name, length) == 0) break;
        }
        if (n < 4) {
            text_append(out, names[n].value);
            i += length - 1;
        } else {
            text_append_bytes(out, line + i, 1);
        }
    }
}

static void write_records(const char *data, size_t size) {
    struct record_log log;
    struct shoal_error err;
    FUZZ_CHECK(record_log_create(&log, path, &err) == SHOAL_OK);
    for (size_t at = 0; at < size;) {
        struct text line = {0};
        const char *end = memchr(data + at, '\n', size - at);
        size_t length = end == NULL ? size - at : (size_t)(end - data) - at;
        append_line(&line, data + at, length);
        FUZZ_CHECK(record_log_append(&log, line.data ? line.data : "", line.size, &err) ==
                   SHOAL_OK);
        text_free(&line);
        at += length + 1;
    }
    record_log_close(&log);
}

static void write_log(const uint8_t *data, size_t size) {
    (void)unlink(path);
    if (size > 0 && data[0] == '{') {
        write_records((const char *)data, size);
        return;
    }
    FILE *file = fopen(path, "we");
    FUZZ_CHECK(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

static shoal_status count(void *context, const char *payload, size_t size,
                          struct shoal_error *err) {
    (void)err;
    FUZZ_CHECK(payload[size] == '\0');
    ++*(size_t *)context;
    return SHOAL_OK;
}

static void try_log(void) {
    struct record_log log;
    struct shoal_error err = {0};
    size_t read = 0, opened = 0, again = 0;
    shoal_status status = record_log_read(path, count, &read, &err);
    FUZZ_CHECK(status == SHOAL_OK || (status == SHOAL_CORRUPT && err.message[0] != '\0'));
    FUZZ_CHECK(record_log_open(&log, path, count, &opened, &err) == status);
    FUZZ_CHECK(opened == read);
    if (status != SHOAL_OK) return;
    FUZZ_CHECK(record_log_append(&log, "{}", 2, &err) == SHOAL_OK);
    record_log_close(&log);
    FUZZ_CHECK(record_log_read(path, count, &again, &err) == SHOAL_OK);
    FUZZ_CHECK(again == read + 1);
}

static void tell(void *context, const char *job, enum job_fate fate) {
    (void)context;
    FUZZ_CHECK(strncmp(job, folder, strlen(folder)) == 0 && fate <= JOB_DAMAGED);
}

static void try_list(void) {
    struct shoal_error err = {0};
    FILE *out = fopen("/dev/null", "we");
    FUZZ_CHECK(out != NULL);
    shoal_status status = jobs_list(home, out, &err);
    FUZZ_CHECK(status == SHOAL_OK || status == SHOAL_CORRUPT);
    (void)fclose(out);
    FUZZ_CHECK(jobs_clean(home, true, tell, NULL, &err) == SHOAL_OK);
    for (size_t i = 2; i < OWN; i++) FUZZ_CHECK(access(own[i], F_OK) == 0);
    FUZZ_CHECK(jobs_clean(home, false, tell, NULL, &err) == SHOAL_OK);
    check_others();
}

// ---- going on

static void try_options(const struct job *job) {
    struct session_options options = {0};
    struct shoal_error err;
    FUZZ_CHECK(job_sql(job) != NULL && strchr(job_id(job), '/') == NULL);
    FUZZ_CHECK(job_began(job) >= 0 && job_began(job) < INT64_C(1) << 40);
    if (job_options(job, &options, &err) != SHOAL_OK) return;
    FUZZ_CHECK(options.workers >= 1 && options.workers <= 1024);
    FUZZ_CHECK(options.threads <= 1024 && options.partitions <= 65536);
    FUZZ_CHECK(options.skew <= ADAPT_RANDOM && options.split_rows < UINT64_MAX / 2);
}

static void try_plan(struct job *job, struct sink *sink) {
    struct stage stages[STAGES];
    struct stages plan = {0};
    struct run run = {.job = job, .sink = sink};
    struct shoal_error err = {0};
    lay_plan(stages, &plan, &run);
    shoal_status status = replay_plan(&run, &err);
    FUZZ_CHECK(status == SHOAL_OK || err.message[0] != '\0');
    FUZZ_CHECK(run.past == NULL);
    for (uint32_t s = 0; status == SHOAL_OK && s + 1 < STAGES; s++) {
        for (size_t f = 0; f < run.runs[s].file_count; f++) {
            FUZZ_CHECK(run.runs[s].file_tasks[f] < run.runs[s].tasks);
            FUZZ_CHECK(run.runs[s].dropped ||
                       run_owns(&run, s, run.runs[s].files[f].path));
        }
    }
    free_plan(&run);
}

static void try_job(uint32_t statement) {
    struct job *job = NULL;
    struct shoal_error err = {0};
    bool done = false, adopted = false;
    shoal_status status = job_resume(folder, &job, &done, &err);
    FUZZ_CHECK(status == SHOAL_OK || (job == NULL && err.message[0] != '\0'));
    FUZZ_CHECK(chdir(home) == 0);
    if (job == NULL) return;
    char target[] = "target";
    struct sink sink = {
        .job = job, .target = target, .kind = &folder_kind, .staging = {.lock = -1}};
    try_options(job);
    job_begin_statement(job, statement);
    status = done ? SHOAL_USAGE : job_sink_adopt(&sink, &adopted, &err);
    if (status == SHOAL_OK && !sink.committed) try_plan(job, &sink);
    if (sink.committed) FUZZ_CHECK(sink.answer != NULL);
    spool_leave(&sink.staging);
    free(sink.answer);
    free(sink.run);
    check_others();
    job_sink_clean(job);
    job_close(job, SHOAL_OK, done ? NULL : &err);
    check_others();
}

// The plan's own hash, from the record that is made of it.
static void find_shape(void) {
    static const char head[] =
        "{\"r\":\"job\",\"shoal\":\"@V\",\"duckdb\":\"@V\","
        "\"id\":\"0123456789abcdef\","
        "\"began\":1,\"sql\":\"\"}";
    struct job *job = NULL;
    struct shoal_error err;
    bool done = false;
    struct sink sink = {.staging = {.lock = -1}};
    write_records(head, sizeof head - 1);
    FUZZ_CHECK(job_resume(folder, &job, &done, &err) == SHOAL_OK);
    try_plan(job, &sink);
    job_close(job, SHOAL_IO, NULL);
    FILE *file = fopen(path, "re");
    static char text[4096];
    FUZZ_CHECK(file != NULL);
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    const char *at = memmem(text, size, "\"shape\":\"", 9);
    FUZZ_CHECK(at != NULL);
    (void)snprintf(shape, sizeof shape, "%.16s", at + 9);
    FUZZ_CHECK(unlink(path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lay_out();
    if (*shape == '\0') find_shape();
    write_log(data, size);
    try_list();
    for (uint32_t statement = 0; statement < 2; statement++) {
        lay_out();
        write_log(data, size);
        try_job(statement);
    }
    write_log(data, size);
    try_log();
    (void)unlink(path);
    return 0;
}
