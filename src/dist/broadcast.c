// Whether one side of a join goes to every task of the other. A shuffle writes and reads
// each row of both sides once; a broadcast side is written once, then read and built into
// a hash table by each task. That is counted in rows. In bytes there is a limit, since a
// hash table must fit into a part of a worker's memory.

#include "adapt/adapt.h"
#include "dist/planner.h"

#define BROADCAST_ALWAYS 50000   // too few rows to think about
#define FILTERS 0.5              // kept of a side, from where down its keys filter a scan
#define SCANNED_A_BUILT 8        // rows, for which that pays
#define TINY_SCANNED_A_BUILT 32  // rows, for which it pays more than common bounds do

double tasks_estimated(struct planner *planner, const struct fragment *from) {
    uint32_t workers = planner->options->workers;
    double tasks = SCAN_TASKS_A_WORKER * (double)(workers ? workers : 2);
    const struct leaf_draft *leaf = driving_leaf(planner, from->tree);
    bool text =
        leaf != NULL && leaf->kind == LEAF_SCAN && leaf->source.kind != SCAN_PARQUET;
    if (text)
        tasks = TEXT_TASKS_A_THREAD *
                (double)(planner->options->slots ? planner->options->slots : 2);
    if (from->cut != NO_CUT) return (double)(planner->cuts[from->cut].bound_count + 1);
    double partitions = (double)from->rows / from->kept / PARTITION_ROWS;
    return from->dist == DIST_HASH && partitions > tasks ? partitions : tasks;
}

static bool filters_scan(struct planner *planner, const struct fragment *side,
                         const struct fragment *other, double scanned_a_built) {
    double builds = (double)side->rows * tasks_estimated(planner, other);
    const struct leaf_draft *leaf = driving_leaf(planner, other->tree);
    bool scans = leaf != NULL && (leaf->kind == LEAF_SCAN || leaf->kind == LEAF_RANGE);
    double scanned = (double)other->rows / other->kept;
    return scans && side->kept <= FILTERS && builds * scanned_a_built <= scanned;
}

bool broadcast_filters(struct planner *planner, const struct fragment *side,
                       const struct fragment *other) {
    return filters_scan(planner, side, other, SCANNED_A_BUILT);
}

bool broadcast_tiny(struct planner *planner, const struct fragment *side,
                    const struct fragment *other) {
    return side->rows <= BROADCAST_ALWAYS ||
           filters_scan(planner, side, other, TINY_SCANNED_A_BUILT);
}

#define VARIES_WIDTH 32   // a guess of what has no one width
#define UNKNOWN_WIDTH 16  // of what is computed

static double table_bytes(const struct planner *planner, const struct fragment *side,
                          json_t *columns) {
    double width = ADAPT_BUILD_BYTES;
    const char *key;
    json_t *unused;
    json_object_foreach(columns, key, unused) {
        json_t *origin = json_object_get(planner->origins, key);
        const char *type = json_string_value(json_array_get(origin, 2));
        size_t bytes = type == NULL ? UNKNOWN_WIDTH : type_bytes(type);
        width += bytes > 0 ? (double)bytes : VARIES_WIDTH;
    }
    return width * (double)side->rows;
}

bool broadcast_pays(struct planner *planner, const struct fragment *side, json_t *columns,
                    const struct fragment *other) {
    const struct plan_options *options = planner->options;
    uint64_t most = options->broadcast_bytes;
    if (options->broadcast_rows >= 0)
        return side->rows <= (uint64_t)options->broadcast_rows;
    if (options->broadcast_rows == BROADCAST_NEVER || side->rows > ADAPT_BROADCAST_MOST)
        return false;
    if (most > 0 && table_bytes(planner, side, columns) > (double)most) return false;
    double builds = (double)side->rows * tasks_estimated(planner, other);
    double shuffle = 2.0 * ((double)side->rows + (double)other->rows);
    return side->rows <= BROADCAST_ALWAYS || builds <= ADAPT_BUILDS_ALWAYS ||
           (double)side->rows + 3 * builds < shuffle ||
           broadcast_filters(planner, side, other);
}
