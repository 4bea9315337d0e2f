// What share of the rows a WHERE lets through, and how many groups a GROUP BY has. Bounds
// on a column are set against the smallest and largest value of each row group, as if its
// values were spread evenly between (Selinger et al., 1979, with a row group for a
// table); all else is a guess, a tenth for an equality and three tenths for other
// conditions.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/planner.h"

#define EQUAL_SHARE 0.1
#define OTHER_SHARE 0.3
#define LEAST_SHARE 0.005  // of guesses, which are many and multiply

struct limits {
    const char *column;  // tree_key
    const json_t *origin;
    double low, high;  // both included
};

// Days since 1970-01-01 (Howard Hinnant's days_from_civil).
static bool parse_date(const char *text, double *days) {
    int year, month, day, end = 0;
    if (sscanf(text, "%d-%d-%d%n", &year, &month, &day, &end) != 3 || text[end] ||
        month < 1 || month > 12 || abs(year) > 10000)
        return false;
    year -= month <= 2;
    int era = (year >= 0 ? year : year - 399) / 400;
    int year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    *days = (double)era * 146097 + day_of_era - 719468;
    return true;
}

// A constant, in the unit of the footers' statistics.
static bool constant(const json_t *value, double *number) {
    bool date = false;
    while (tree_is(value, "class", "CAST")) {
        date = date || tree_is(json_object_get(value, "type_expr"), "type_name", "DATE");
        value = json_object_get(value, "child");
    }
    const json_t *literal = json_object_get(value, "literal");
    const char *text = tree_text(literal, "text");
    if (!tree_is(value, "class", "CONSTANT")) return false;
    if (date) return tree_is(literal, "kind", "STRING") && parse_date(text, number);
    if (!tree_is(literal, "kind", "INTEGER")) return false;
    *number = strtod(text, NULL);
    return true;
}

// "column <= constant" and the like, either way round, as bounds.
static bool comparison(struct planner *planner, json_t *conjunct, struct limits *out) {
    static const struct {
        const char *type;
        int side;  // of the constant: -1 from above, 1 from below
        double step;
    } types[] = {{"COMPARE_LESSTHAN", -1, 1},
                 {"COMPARE_LESSTHANOREQUALTO", -1, 0},
                 {"COMPARE_GREATERTHAN", 1, 1},
                 {"COMPARE_GREATERTHANOREQUALTO", 1, 0}};
    json_t *left = json_object_get(conjunct, "left");
    json_t *right = json_object_get(conjunct, "right");
    double value;
    bool swapped = !constant(right, &value);
    if (swapped && !constant(left, &value)) return false;
    json_t *column = swapped ? right : left;
    while (tree_is(column, "class", "CAST")) column = json_object_get(column, "child");
    *out = (struct limits){.column = tree_key(&planner->trees, column),
                           .origin = planner_origin(planner, column),
                           .low = -1e300,
                           .high = 1e300};
    if (out->origin == NULL) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (!tree_is(conjunct, "type", types[i].type)) continue;
        int side = swapped ? -types[i].side : types[i].side;
        if (side < 0) out->high = value - types[i].step;
        if (side > 0) out->low = value + types[i].step;
        return true;
    }
    return false;
}

// The row groups of a column's files, one after the other.
struct groups {
    const struct file_set *set;
    const char *column;
    size_t file, group;
    uint64_t rows;  // of the one at hand
    bool unknown;   // one doesn't say its range
};

static bool open_groups(struct planner *planner, const json_t *origin,
                        struct groups *groups) {
    size_t leaf = (size_t)json_integer_value(json_array_get(origin, 0));
    if (origin == NULL || planner->leaves[leaf].exchange != UINT32_MAX) return false;
    struct file_set *set = &planner->file_sets[planner->leaves[leaf].file_set];
    *groups = (struct groups){.set = set,
                              .column = json_string_value(json_array_get(origin, 1))};
    return read_footers(set);
}

// The range of the next that has rows; NULL at the end, or where it is unknown.
static const struct parquet_range *next_range(struct groups *groups) {
    for (; groups->file < groups->set->file_count; groups->file++, groups->group = 0) {
        const struct parquet_footer *footer = &groups->set->footers[groups->file];
        size_t column = footer_column(footer, groups->column);
        while (groups->group < footer->group_count) {
            size_t group = groups->group++;
            groups->rows = footer->rows[group];
            if (groups->rows == 0) continue;
            const struct parquet_range *range =
                column == SIZE_MAX ? NULL : footer_range(footer, group, column);
            if (range != NULL && range->known) return range;
            groups->unknown = true;
            return NULL;
        }
    }
    return NULL;
}

// The share of the rows of the column's files that are within; below 0: no one knows.
static double share_within(struct planner *planner, const struct limits *bounds) {
    struct groups groups;
    double within = 0, all = 0;
    if (!open_groups(planner, bounds->origin, &groups)) return -1;
    for (const struct parquet_range *range; (range = next_range(&groups)) != NULL;) {
        double min = (double)range->min, max = (double)range->max;
        double low = bounds->low > min ? bounds->low : min;
        double high = bounds->high < max ? bounds->high : max;
        all += (double)groups.rows;
        if (high >= low)
            within += (double)groups.rows * (high - low + 1) / (max - min + 1);
    }
    return all > 0 && !groups.unknown ? within / all : -1;
}

static void add_bounds(struct limits *list, size_t *count, const struct limits *added) {
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(list[i].column, added->column) != 0) continue;
        if (added->low > list[i].low) list[i].low = added->low;
        if (added->high < list[i].high) list[i].high = added->high;
        return;
    }
    list[(*count)++] = *added;
}

// The share of one condition that says nothing about bounds, guessed from its form.
static double guess(const json_t *condition) {
    json_t *children = json_object_get(condition, "children");
    double share = 0;
    size_t i;
    json_t *child;
    if (tree_is(condition, "type", "COMPARE_EQUAL")) return EQUAL_SHARE;
    if (tree_is(condition, "type", "COMPARE_NOTEQUAL")) return 1 - EQUAL_SHARE;
    if (tree_is(condition, "type", "OPERATOR_NOT"))
        return 1 - guess(json_array_get(children, 0));
    if (tree_is(condition, "type", "CONJUNCTION_AND")) {
        share = 1;
        json_array_foreach(children, i, child) share *= guess(child);
    } else if (tree_is(condition, "type", "CONJUNCTION_OR")) {
        json_array_foreach(children, i, child) share += guess(child);
    } else {
        share = OTHER_SHARE;
    }
    return share < 1 ? share : 1;
}

double filter_share(struct planner *planner, json_t *where) {
    json_t *conjuncts = tree_own(&planner->trees, json_array());
    tree_conjuncts(where, conjuncts);
    struct limits *bounds = calloc(json_array_size(conjuncts) + 1, sizeof *bounds);
    size_t count = 0, i;
    double share = 1, known = 1;
    json_t *conjunct;
    json_array_foreach(conjuncts, i, conjunct) {
        struct limits found;
        if (bounds != NULL && comparison(planner, conjunct, &found)) {
            add_bounds(bounds, &count, &found);
        } else {
            share *= guess(conjunct);
        }
    }
    for (size_t b = 0; b < count; b++) {
        double within = share_within(planner, &bounds[b]);
        if (within < 0) {
            bool both = bounds[b].low > -1e300 && bounds[b].high < 1e300;
            share *= both ? OTHER_SHARE * OTHER_SHARE : OTHER_SHARE;
        } else {
            known *= within;
        }
    }
    free(bounds);
    return (share > LEAST_SHARE ? share : LEAST_SHARE) * (known > 1e-6 ? known : 1e-6);
}

// The smallest and largest value of the key in all row groups of its files.
static bool key_range(struct planner *planner, const json_t *key, double *min,
                      double *max) {
    struct groups groups;
    *min = 1e300;
    *max = -1e300;
    if (!open_groups(planner, planner_origin(planner, key), &groups)) return false;
    for (const struct parquet_range *range; (range = next_range(&groups)) != NULL;) {
        if ((double)range->min < *min) *min = (double)range->min;
        if ((double)range->max > *max) *max = (double)range->max;
    }
    return !groups.unknown;
}

double share_reached(struct planner *planner, const json_t *key, const json_t *from,
                     double *min, double *max) {
    if (!key_range(planner, from, min, max) || *min > *max) return -1;
    struct limits limits = {
        .origin = planner_origin(planner, key), .low = *min, .high = *max};
    return share_within(planner, &limits);
}

// How many values the key can have; below 0: no one knows.
static double values_most(struct planner *planner, const json_t *key) {
    double min, max;
    if (!key_range(planner, key, &min, &max)) return -1;
    return max >= min ? max - min + 2 : 1;  // NULL is one more
}

double groups_estimated(struct planner *planner, json_t *keys, uint64_t rows,
                        double *most_of_a_key) {
    double guess = (double)rows / 3 + 1, product = 1;
    size_t i;
    json_t *key;
    *most_of_a_key = -1;
    json_array_foreach(keys, i, key) {
        double values = values_most(planner, key);
        if (values > *most_of_a_key) *most_of_a_key = values;
        product *= values < 0 ? guess : values;
    }
    return product < guess ? product : guess;
}
