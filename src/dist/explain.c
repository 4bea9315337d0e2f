// The plan in words that a Spark user knows, and as JSON for tools.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "dist/stages.h"

static const char *const kinds[] = {
    "HashExchange",  "BroadcastExchange", "GatherExchange", "RoundRobinExchange",
    "RangeExchange", "CombineExchange",   "SampleExchange", "RangeExchange"};

bool stats_add_task(struct stage_stats *stats, double seconds) {
    double *grown =
        realloc(stats->task_seconds, (stats->tasks + 1) * sizeof *stats->task_seconds);
    if (grown == NULL) return false;
    stats->task_seconds = grown;
    grown[stats->tasks++] = seconds;
    stats->seconds += seconds;
    return true;
}

void stats_free(struct stage_stats *stats, size_t count) {
    for (size_t i = 0; stats != NULL && i < count; i++) {
        free(stats[i].task_seconds);
        free(stats[i].reasons);
        free(stats[i].heavy);
    }
    free(stats);
}

void stats_reset(struct stage_stats *stats) {
    free(stats->task_seconds);
    free(stats->reasons);
    free(stats->heavy);
    *stats = (struct stage_stats){.again = stats->again + stats->tasks};
}

static int by_seconds(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct task_times {
    double least, median, most;
};

static struct task_times find_times(const struct stage_stats *stats) {
    if (stats->tasks == 0) return (struct task_times){0};
    qsort(stats->task_seconds, stats->tasks, sizeof *stats->task_seconds, by_seconds);
    return (struct task_times){stats->task_seconds[0],
                               stats->task_seconds[stats->tasks / 2],
                               stats->task_seconds[stats->tasks - 1]};
}

static void write_times(const struct stage_stats *stats, struct text *out) {
    struct task_times times = find_times(stats);
    if (stats->tasks < 2) return;
    text_printf(out, " (%.3f the least, %.3f the median, %.3f the most)", times.least,
                times.median, times.most);
}

// Each of the lines behind its own head.
static void write_lines(const char *lines, const char *head, struct text *out) {
    while (lines != NULL && *lines != '\0') {
        size_t length = strcspn(lines, "\n");
        text_append(out, head);
        text_append_bytes(out, lines, length);
        text_append(out, "\n");
        lines += length + (lines[length] == '\n');
    }
}

static void write_stats(const struct stage_stats *stats, struct text *out) {
    if (stats->tasks == 0) {
        text_append(out, "  ran: no task\n");
        write_lines(stats->reasons, "  adapted: ", out);
        return;
    }
    text_printf(out, "  ran: %llu task%s", (unsigned long long)stats->tasks,
                stats->tasks == 1 ? "" : "s");
    if (stats->partitions > stats->tasks)
        text_printf(out, " of %u partitions", stats->partitions);
    text_printf(out, ", %llu rows", (unsigned long long)stats->rows);
    if (stats->bytes > 0) {
        text_printf(out, ", %llu bytes", (unsigned long long)stats->bytes);
        if (stats->disk_bytes > 0)
            text_printf(out, " (%llu on disk)", (unsigned long long)stats->disk_bytes);
    }
    text_printf(out, ", %.3f task seconds", stats->seconds);
    write_times(stats, out);
    text_append(out, "\n");
    if (stats->again > 0)
        text_printf(out, "  ran again: %llu task%s, as blocks were lost\n",
                    (unsigned long long)stats->again, stats->again == 1 ? "" : "s");
    if (stats->placed > 0)
        text_printf(
            out,
            "  locality: %llu of %llu tasks ran on the node with most of their blocks\n",
            (unsigned long long)stats->near, (unsigned long long)stats->placed);
    write_lines(stats->heavy, "  heavy key: ", out);
    write_lines(stats->reasons, "  adapted: ", out);
    if (stats->demoted)
        text_append(
            out,
            "  adapted: the partial aggregate saves too little, so tasks pass rows "
            "on as they are\n");
    if (stats->filter_rows > 0) {
        text_printf(out, "  runtime filter left out: %llu rows are too many for it\n",
                    (unsigned long long)stats->filter_rows);
    }
    if (stats->files_made > 0) {
        text_printf(out, "  then %llu files were put together into %llu of the size\n",
                    (unsigned long long)stats->files_merged,
                    (unsigned long long)stats->files_made);
    }
}

static void write_head(const struct stages *stages, const struct stage *stage,
                       bool writes, struct text *out) {
    const struct exchange *exchange =
        stage->exchange == UINT32_MAX ? NULL : &stages->exchanges[stage->exchange];
    text_printf(out, "Stage %u", stage->id);
    if (exchange != NULL && !writes) {
        text_printf(out, " -> exchange %u: %s", exchange->id, kinds[exchange->kind]);
        if (exchange->keys != NULL) text_printf(out, " keys=[%s]", exchange->keys);
    } else {
        text_printf(out, ": %s", writes ? stages->target : "result");
    }
    if (exchange == NULL) {
        text_append(out, ", in the driver\n");
        return;
    }
    if (stage->combines) {
        text_append(out, ", of partitions that are cut\n");
        return;
    }
    text_printf(out, ", %s, about %llu rows\n",
                stage->in_driver ? "in the driver"
                : stage->single  ? "one task"
                : stage->wide    ? "wide tasks"
                                 : "narrow tasks",
                (unsigned long long)stage->estimated_rows);
}

void stages_explain(const struct stages *stages, const struct stage_stats *stats,
                    struct text *out) {
    const struct stage *writer = stages->target ? stages_last(stages) : NULL;
    for (size_t i = 0; i < stages->count; i++) {
        const struct stage *stage = &stages->stages[i];
        if (i > 0 && stages->stages[i - 1].sink) break;  // it only stands for the result
        write_head(stages, stage, stage == writer, out);
        if (stats != NULL) write_stats(&stats[i], out);
        write_lines(stage->summary, "  ", out);
    }
    for (size_t i = 0; i < stages->note_count; i++) {
        text_printf(out, "Note: %s\n", stages->notes[i]);
    }
    for (size_t i = 0; i < stages->warning_count; i++) {
        text_printf(out, "Warning: %s\n", stages->warnings[i]);
    }
}

shoal_status stages_explain_json(const struct stages *stages,
                                 const struct stage_stats *stats, char **json,
                                 struct shoal_error *err) {
    json_t *list = json_array();
    for (size_t i = 0; i < stages->count; i++) {
        const struct stage *stage = &stages->stages[i];
        json_t *reads = json_array();
        for (size_t l = 0; l < stage->leaf_count; l++) {
            const struct stage_leaf *leaf = &stage->leaves[l];
            json_array_append_new(
                reads, leaf->scan_call
                           ? json_pack("{s:s}", "scan", leaf->scan_call)
                           : json_pack("{s:i}", "exchange", (int)leaf->exchange));
        }
        json_t *item =
            json_pack("{s:i, s:b, s:b, s:s, s:s, s:o}", "stage", (int)stage->id, "single",
                      stage->single, "wide", stage->wide, "operators", stage->summary,
                      "sql", stage->sql, "reads", reads);
        if (stage->exchange != UINT32_MAX) {
            const struct exchange *exchange = &stages->exchanges[stage->exchange];
            json_object_set_new(
                item, "exchange",
                json_pack("{s:i, s:s, s:s?}", "id", (int)exchange->id, "kind",
                          kinds[exchange->kind], "keys", exchange->keys));
        }
        json_object_set_new(item, "estimated_rows",
                            json_integer((json_int_t)stage->estimated_rows));
        if (stats != NULL) {
            struct task_times times = find_times(&stats[i]);
            json_object_set_new(
                item, "ran",
                json_pack(
                    "{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:s?, s:s?}",
                    "tasks", (json_int_t)stats[i].tasks, "tasks_again",
                    (json_int_t)stats[i].again, "partitions",
                    (json_int_t)stats[i].partitions, "rows", (json_int_t)stats[i].rows,
                    "bytes", (json_int_t)stats[i].bytes, "bytes_on_disk",
                    (json_int_t)stats[i].disk_bytes, "seconds", stats[i].seconds,
                    "min_task_seconds", times.least, "median_task_seconds", times.median,
                    "max_task_seconds", times.most, "adapted", stats[i].reasons,
                    "heavy_keys", stats[i].heavy));
            if (stats[i].placed > 0) {
                json_object_set_new(
                    json_object_get(item, "ran"), "locality",
                    json_pack("{s:I, s:I}", "tasks", (json_int_t)stats[i].placed, "local",
                              (json_int_t)stats[i].near));
            }
            if (stats[i].files_made > 0) {
                json_object_set_new(
                    item, "merged",
                    json_pack("{s:I, s:I}", "files", (json_int_t)stats[i].files_merged,
                              "into", (json_int_t)stats[i].files_made));
            }
            if (stage->unfiltered_sql != NULL) {
                json_object_set_new(json_object_get(item, "ran"), "runtime_filter",
                                    json_boolean(stats[i].filter_rows == 0));
            }
        }
        json_array_append_new(list, item);
    }
    json_t *notes = json_array();
    for (size_t i = 0; i < stages->note_count; i++) {
        json_array_append_new(notes, json_string(stages->notes[i]));
    }
    json_t *warnings = json_array();
    for (size_t i = 0; i < stages->warning_count; i++) {
        json_array_append_new(warnings, json_string(stages->warnings[i]));
    }
    json_t *root =
        json_pack("{s:o, s:o, s:o, s:f}", "stages", list, "notes", notes, "warnings",
                  warnings, "planning_ms", stages->plan_seconds * 1000);
    if (stages->target != NULL)
        json_object_set_new(root, "target", json_string(stages->target));
    *json = root ? json_text(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return *json ? SHOAL_OK : shoal_fail(err, SHOAL_NOMEM, "out of memory in EXPLAIN");
}
