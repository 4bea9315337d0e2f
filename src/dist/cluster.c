// Clustered scans. Where the row groups of a file hold ranges of a key that hardly
// overlap (a fact table in the order it was written, logs by day), the scan is cut into
// ranges of that key instead of ranges of rows: rows with equal keys are in one task, and
// a join or GROUP BY on the key needs no exchange. Both sides of a join are cut at the
// same bounds.
//
// Each task filters by its own range, so statistics that overlap or are missing cost
// time, not rows. NULLs are in the first range. Trusted, as DuckDB trusts them: that a
// file whose row groups are all outside a range has no row in it, and that no NULLs means
// none.
//
// Cutting inputs alike by known layout is old (Oracle's partition-wise joins; Spark calls
// it a storage-partitioned join, where a catalog says so). Here statistics say it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// Rows of the largest input in a range. Each range costs its task 4 to 8 ms for every
// scan of a file of 500 row groups, and filters that DuckDB sizes for the whole file.
// Groups in small hash tables pay for that; what a join streams past its table does not,
// unless a range has so few values that DuckDB finds a row by its key itself instead of
// by a hash (its perfect hash join, up to a million values): 30 ns for each row that gets
// there.
#define GROUP_ROWS 2000000
#define RUN_ROWS 4000000  // of groups that need no hash table (sorted_groups.c)
#define FALLS 0.05        // of row groups of files that are sorted, at most
#define JOIN_ROWS 8000000
#define PERFECT_KEPT 0.5  // of both sides' rows, from where on that pays
#define PERFECT_VALUES 1000000
#define PERFECT_ROWS 500000  // a range of as many values has at least as many rows
#define RANGES_A_SLOT 2      // at least, to level out uneven ranges
#define READ_AGAIN 1.25  // row groups that ranges share are read by each: at most this
#define FEW_VALUES 16    // rows a value from which a partial aggregate is as good

struct group {
    int64_t min, max;
    uint64_t rows;
};

// What a key of a fragment is.
struct origin {
    struct leaf_draft *leaf;  // a scan that drives the fragment, uncut
    const struct file_set *files;
    const char *name;
    const char *type;
    struct group *groups;  // sorted by min
    size_t group_count;
    uint64_t rows;
    bool no_nulls;
    uint32_t cut;  // of a fragment that is cut by this key already; else NO_CUT
};

// ---- what footers say

static int by_min(const void *a, const void *b) {
    const struct group *left = a, *right = b;
    return (left->min > right->min) - (left->min < right->min);
}

static bool is_date(const struct origin *origin) {
    return strcmp(origin->type, "DATE") == 0;
}

// The ranges of the column in all row groups; false when one doesn't say.
static bool find_groups(struct origin *origin) {
    const struct file_set *files = origin->files;
    size_t count = 0;
    for (size_t f = 0; f < files->file_count; f++) count += files->footers[f].group_count;
    origin->groups = calloc(count + 1, sizeof *origin->groups);
    origin->no_nulls = true;
    if (origin->groups == NULL) return false;
    for (size_t f = 0; f < files->file_count; f++) {
        const struct parquet_footer *footer = &files->footers[f];
        size_t column = footer_column(footer, origin->name);
        // In each file, since one of another type would be read by a cast.
        if (column == SIZE_MAX || footer->columns[column].date != is_date(origin))
            return false;
        for (size_t g = 0; g < footer->group_count; g++) {
            const struct parquet_range *range = footer_range(footer, g, column);
            if (footer->rows[g] == 0) continue;
            if (!range->known) return false;
            origin->groups[origin->group_count++] =
                (struct group){range->min, range->max, footer->rows[g]};
            origin->rows += footer->rows[g];
            origin->no_nulls = origin->no_nulls && range->no_nulls;
        }
    }
    qsort(origin->groups, origin->group_count, sizeof *origin->groups, by_min);
    return origin->group_count > 0;
}

static bool cuttable(const char *type) {
    static const char *const types[] = {"TINYINT",  "SMALLINT",  "INTEGER", "BIGINT",
                                        "UTINYINT", "USMALLINT", "DATE",    NULL};
    return text_one_of(type, types);
}

// The column under casts that keep every number: equal then means equal before.
static json_t *uncast(json_t *key) {
    static const char *const wide[] = {"INTEGER", "BIGINT", "HUGEINT", NULL};
    while (tree_is(key, "class", "CAST") &&
           !json_is_true(json_object_get(key, "try_cast")) &&
           text_one_of(tree_text(json_object_get(key, "type_expr"), "type_name"), wide)) {
        key = json_object_get(key, "child");
    }
    return key;
}

static bool in_sets(struct planner *planner, const struct fragment *from, json_t *key) {
    struct trees *trees = &planner->trees;
    json_t *set = json_array_get(from->key_sets, 0);
    return json_array_size(from->key_sets) == 1 &&
           (json_object_get(set, tree_key(trees, key)) != NULL ||
            json_object_get(set, tree_key(trees, uncast(key))) != NULL);
}

// Is the key a column that the fragment's scan is clustered on, as far as statistics say?
// Free with free_origin in any case.
static bool find_origin(struct planner *planner, const struct fragment *from, json_t *key,
                        struct origin *origin) {
    *origin = (struct origin){.cut = NO_CUT};
    if (from->cut != NO_CUT) {
        origin->cut = from->cut;
        return in_sets(planner, from, key);
    }
    if (from->dist != DIST_RANDOM || from->once) return false;
    json_t *at = planner_origin(planner, uncast(key));
    struct leaf_draft *leaf = driving_leaf(planner, from->tree);
    size_t index = (size_t)json_integer_value(json_array_get(at, 0));
    if (at == NULL || leaf == NULL || leaf->kind != LEAF_SCAN ||
        leaf != &planner->leaves[index]) {
        return false;
    }
    origin->leaf = leaf;
    origin->name = json_string_value(json_array_get(at, 1));
    origin->type = json_string_value(json_array_get(at, 2));
    struct file_set *set = &planner->file_sets[leaf->file_set];
    origin->files = set;
    return cuttable(origin->type) && read_footers(set) && find_groups(origin);
}

static void free_origin(struct origin *origin) {
    free(origin->groups);
}

// ---- where to cut

// The first range whose end is above the value.
static size_t range_with(const struct cut *cut, int64_t value) {
    size_t low = 0, high = cut->bound_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cut->bounds[middle] > value) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Takes a scan into the cut, unless too many row groups would be read by several ranges.
static bool join_cut(struct cut *cut, const struct origin *origin) {
    double read = 0;
    if (is_date(origin) != cut->dates) return false;
    for (size_t g = 0; g < origin->group_count; g++) {
        const struct group *group = &origin->groups[g];
        size_t ranges = range_with(cut, group->max) - range_with(cut, group->min) + 1;
        read += (double)group->rows * (double)ranges;
    }
    if (cut->read + read > READ_AGAIN * (cut->rows + (double)origin->rows)) return false;
    cut->read += read;
    cut->rows += (double)origin->rows;
    return true;
}

static uint64_t wanted_ranges(const struct planner *planner, uint64_t rows,
                              uint64_t range_rows) {
    const struct plan_options *options = planner->options;
    uint64_t slots = options->slots ? options->slots : 2;
    uint64_t ranges = rows / range_rows + 1;
    if (ranges < slots * RANGES_A_SLOT) ranges = slots * RANGES_A_SLOT;
    uint64_t most = rows / (options->split_rows + 1) + 1;
    return ranges < most ? ranges : most;
}

// Would no range have more than twice its part of the rows, if the values of each row
// group are spread evenly? Row groups that all hold every value begin at a few low
// values, and bounds there would leave one range with nearly all rows.
static bool even(const struct origin *origin, const struct cut *cut, uint64_t wanted) {
    uint64_t parts = origin->group_count < wanted ? origin->group_count : wanted;
    double most = 0;
    double *rows = calloc(cut->bound_count + 1, sizeof *rows);
    if (rows == NULL) return false;
    for (size_t g = 0; g < origin->group_count; g++) {
        const struct group *group = &origin->groups[g];
        double width = (double)group->max - (double)group->min + 1;
        for (size_t r = range_with(cut, group->min); r <= range_with(cut, group->max);
             r++) {
            double low = (double)group->min, past = (double)group->max + 1;
            if (r > 0 && (double)cut->bounds[r - 1] > low)
                low = (double)cut->bounds[r - 1];
            if (r < cut->bound_count && (double)cut->bounds[r] < past)
                past = (double)cut->bounds[r];
            rows[r] += (double)group->rows * (past - low) / width;
            if (rows[r] > most) most = rows[r];
        }
    }
    free(rows);
    // Of two ranges, of which neither can have more than twice a half, three quarters.
    double share = most / (double)origin->rows;
    return share * (double)parts <= 2 && share <= (1 + 1 / (double)parts) / 2;
}

static double values_of(const struct origin *origin) {
    int64_t highest = origin->groups[0].max;
    for (size_t g = 1; g < origin->group_count; g++) {
        if (origin->groups[g].max > highest) highest = origin->groups[g].max;
    }
    return (double)highest - (double)origin->groups[0].min + 1;
}

// Rows of a range for a join of which `kept` rows get there: where it pays, few enough
// that their keys are within PERFECT_VALUES. A range is up to a row group larger than it
// should be.
static uint64_t join_rows(const struct origin *origin, double kept) {
    if (kept < PERFECT_KEPT) return JOIN_ROWS;
    double rows_a_value = (double)origin->rows / values_of(origin);
    double group_rows = (double)origin->rows / (double)origin->group_count;
    double rows = PERFECT_VALUES * rows_a_value - group_rows;
    return rows >= PERFECT_ROWS && rows < JOIN_ROWS ? (uint64_t)rows : JOIN_ROWS;
}

// Bounds that give each range about as many of the origin's rows.
static bool choose_bounds(struct planner *planner, const struct origin *origin,
                          uint64_t range_rows, struct cut *cut) {
    uint64_t wanted = wanted_ranges(planner, origin->rows, range_rows);
    uint64_t before = 0;
    *cut = (struct cut){.dates = is_date(origin),
                        .bounds = calloc(wanted + 1, sizeof *cut->bounds)};
    if (cut->bounds == NULL) return false;
    for (size_t g = 0; g < origin->group_count && cut->bound_count + 1 < wanted; g++) {
        int64_t min = origin->groups[g].min;
        uint64_t due = (cut->bound_count + 1) * (origin->rows / wanted);
        if (before >= due &&
            (cut->bound_count == 0 || min > cut->bounds[cut->bound_count - 1])) {
            cut->bounds[cut->bound_count++] = min;
        }
        before += origin->groups[g].rows;
    }
    return cut->bound_count > 0 && even(origin, cut, wanted);
}

static uint32_t add_cut(struct planner *planner, const struct cut *cut) {
    struct cut *cuts = realloc(planner->cuts, (planner->cut_count + 1) * sizeof *cuts);
    if (cuts == NULL) {
        planner->trees.failed = true;
        free(cut->bounds);
        return NO_CUT;
    }
    planner->cuts = cuts;
    cuts[planner->cut_count] = *cut;
    return (uint32_t)planner->cut_count++;
}

static void apply(struct planner *planner, struct fragment *from, json_t *key,
                  const struct origin *origin, uint32_t cut) {
    if (origin->leaf == NULL) return;  // it is cut so already
    struct leaf_draft *leaf = origin->leaf;
    leaf->kind = LEAF_RANGE;
    leaf->cut = cut;
    leaf->cut_column = origin->name;
    leaf->no_nulls = origin->no_nulls;
    from->dist = DIST_HASH;
    from->cut = cut;
    from->key_sets = tree_own(&planner->trees,
                              json_pack("[{s:b, s:b}]", tree_key(&planner->trees, key), 1,
                                        tree_key(&planner->trees, uncast(key)), 1));
}

static bool enough_rows(const struct planner *planner, const struct fragment *from,
                        uint64_t rows) {
    int64_t wanted = planner->options->cluster_rows;
    return wanted >= 0 && from->rows + rows >= (uint64_t)wanted;
}

static size_t ranges(const struct planner *planner, uint32_t cut) {
    return planner->cuts[cut].bound_count + 1;
}

// The bounds that both sides can be cut at, of which `kept` rows are joined; NO_CUT when
// there are none worth it.
static uint32_t common_cut(struct planner *planner, const struct origin *left,
                           const struct origin *right, double kept) {
    if (left->leaf == NULL && right->leaf == NULL)
        return left->cut == right->cut ? left->cut : NO_CUT;
    if (left->leaf == NULL || right->leaf == NULL) {
        const struct origin *added = left->leaf != NULL ? left : right;
        uint32_t cut = left->leaf != NULL ? right->cut : left->cut;
        return join_cut(&planner->cuts[cut], added) ? cut : NO_CUT;
    }
    const struct origin *large = left->rows >= right->rows ? left : right;
    const struct origin *small = large == left ? right : left;
    struct cut cut;
    if (choose_bounds(planner, large, join_rows(large, kept), &cut) &&
        join_cut(&cut, large) && join_cut(&cut, small))
        return add_cut(planner, &cut);
    free(cut.bounds);
    return NO_CUT;
}

// Cuts both sides at common bounds of this key.
static bool join_key(struct planner *planner, struct fragment *left, json_t *left_key,
                     struct fragment *right, json_t *right_key) {
    struct origin l, r = {0};
    uint32_t cut = NO_CUT;
    if (find_origin(planner, left, left_key, &l) &&
        find_origin(planner, right, right_key, &r)) {
        cut = common_cut(planner, &l, &r, left->kept * right->kept);
    }
    if (cut != NO_CUT) {
        apply(planner, left, left_key, &l, cut);
        apply(planner, right, right_key, &r, cut);
        planner_note(planner,
                     "join without a shuffle: both sides are %s on %s, in %zu ranges",
                     l.leaf || r.leaf ? "co-partitioned by statistics" : "cut alike",
                     l.name   ? l.name
                     : r.name ? r.name
                              : "its key",
                     ranges(planner, cut));
    }
    free_origin(&l);
    free_origin(&r);
    return cut != NO_CUT;
}

bool cluster_join(struct planner *planner, struct fragment *left, json_t *left_keys,
                  struct fragment *right, json_t *right_keys) {
    if (!enough_rows(planner, left, right->rows)) return false;
    for (size_t i = 0; i < json_array_size(left_keys); i++) {
        if (join_key(planner, left, json_array_get(left_keys, i), right,
                     json_array_get(right_keys, i))) {
            return true;
        }
    }
    return false;
}

// Does the key have so many values that a partial aggregate would send most rows on?
static bool many_values(const struct origin *origin) {
    return values_of(origin) * FEW_VALUES > (double)origin->rows;
}

// Few row groups begin below where another ends: of those before them in a file, and of
// all, in the order of their keys.
static bool groups_ascend(const struct origin *origin) {
    size_t falls = 0;
    for (size_t g = 1; g < origin->group_count; g++)
        falls += origin->groups[g].min < origin->groups[g - 1].max;
    for (size_t f = 0; f < origin->files->file_count; f++) {
        const struct parquet_footer *footer = &origin->files->footers[f];
        size_t column = footer_column(footer, origin->name);
        const struct parquet_range *before = NULL;
        for (size_t g = 0; g < footer->group_count; g++) {
            const struct parquet_range *range = footer_range(footer, g, column);
            if (footer->rows[g] == 0) continue;
            falls += before != NULL && range->min < before->max;
            before = range;
        }
    }
    return (double)falls <= FALLS * (double)origin->group_count;
}

static bool cluster_key(struct planner *planner, struct fragment *from, json_t *key,
                        json_t *grouped) {
    struct origin origin;
    struct cut cut = {0};
    bool found = find_origin(planner, from, key, &origin) && many_values(&origin);
    bool sorted = found && grouped != NULL && groups_ascend(&origin) &&
                  sorted_groups_possible(planner, grouped, from) &&
                  rows_ascend(planner, origin.files, origin.name);
    found = found &&
            choose_bounds(planner, &origin, sorted ? RUN_ROWS : GROUP_ROWS, &cut) &&
            join_cut(&cut, &origin);
    uint32_t added = found ? add_cut(planner, &cut) : NO_CUT;
    if (!found) free(cut.bounds);
    if (added != NO_CUT) {
        apply(planner, from, key, &origin, added);
        origin.leaf->sorted = sorted;
        planner_note(planner,
                     "grouped without a shuffle: co-partitioned by statistics on %s, in "
                     "%zu ranges",
                     origin.name, ranges(planner, added));
    }
    free_origin(&origin);
    return added != NO_CUT;
}

bool cluster_keys(struct planner *planner, struct fragment *from, json_t *keys,
                  json_t *grouped) {
    size_t i;
    json_t *key;
    if (from->cut != NO_CUT || !enough_rows(planner, from, 0)) return false;
    json_array_foreach(keys, i, key) {
        if (cluster_key(planner, from, key, grouped)) return true;
    }
    return false;
}

// ---- what a range reads

static void append_bound(struct text *out, const struct cut *cut, size_t bound) {
    text_printf(out, cut->dates ? "DATE '1970-01-01' + (%lld)" : "%lld",
                (long long)cut->bounds[bound]);
}

static char *condition(const struct leaf_draft *leaf, const struct cut *cut,
                       size_t range) {
    struct text out = {0};
    if (range == 0 && !leaf->no_nulls) {
        text_append_identifier(&out, leaf->cut_column);
        text_append(&out, " IS NULL OR ");
    }
    if (range > 0) {
        text_append_identifier(&out, leaf->cut_column);
        text_append(&out, " >= ");
        append_bound(&out, cut, range - 1);
    }
    if (range < cut->bound_count) {
        if (range > 0) text_append(&out, " AND ");
        text_append_identifier(&out, leaf->cut_column);
        text_append(&out, " < ");
        append_bound(&out, cut, range);
    }
    return text_take(&out);
}

// Files of which a row group may have rows in the range; the first when none has.
static bool pick_files(const struct planner *planner, const struct leaf_draft *leaf,
                       const struct cut *cut, size_t range, struct scan_range *to) {
    const struct file_set *set = &planner->file_sets[leaf->file_set];
    to->files = calloc(set->file_count + 1, sizeof *to->files);
    if (to->files == NULL) return false;
    for (size_t f = 0; f < set->file_count; f++) {
        const struct parquet_footer *footer = &set->footers[f];
        size_t column = footer_column(footer, leaf->cut_column);
        bool wanted = range == 0 && !leaf->no_nulls;
        for (size_t g = 0; g < footer->group_count && !wanted; g++) {
            const struct parquet_range *bounds = footer_range(footer, g, column);
            wanted = footer->rows[g] > 0 && range_with(cut, bounds->min) <= range &&
                     range_with(cut, bounds->max) >= range;
        }
        if (wanted) to->files[to->file_count++] = &leaf->files[f];
    }
    if (to->file_count == 0) to->files[to->file_count++] = &leaf->files[0];
    return true;
}

struct scan_range *cluster_ranges(const struct planner *planner,
                                  const struct leaf_draft *leaf, size_t *count) {
    const struct cut *cut = &planner->cuts[leaf->cut];
    struct scan_range *list = calloc(cut->bound_count + 2, sizeof *list);
    *count = 0;
    for (size_t r = 0; list != NULL && r <= cut->bound_count; r++) {
        list[r].where = condition(leaf, cut, r);
        (*count)++;
        if (list[r].where != NULL && pick_files(planner, leaf, cut, r, &list[r]))
            continue;
        scan_ranges_free(list, *count);
        return NULL;
    }
    return list;
}
