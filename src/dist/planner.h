// Internal to src/dist: the state of planning one query, and the fragment, the one
// structure that carries everything about a piece of plan while it is being put together.
#ifndef SHOAL_DIST_PLANNER_H
#define SHOAL_DIST_PLANNER_H

#include "dist/stages.h"
#include "parquet/footer.h"
#include "plan/tree.h"

enum distribution {
    DIST_RANDOM,      // each row is in one task, no one knows which
    DIST_HASH,        // rows with equal keys are in the same task
    DIST_SINGLE,      // everything in one task
    DIST_REPLICATED,  // every task has (or can compute) all of it
};

// tree is a FROM item over this stage's leaves. columns maps the query's own column keys
// to where they are now ([alias, column]); absent means unchanged. aliases are the
// query's aliases inside. key_sets (HASH): one set of equivalent expression keys for each
// hash key; empty: co-partitioned, but by nothing that still has a name.
struct fragment {
    json_t *tree;
    json_t *aliases;
    json_t *columns;
    enum distribution dist;
    json_t *key_sets;
    uint64_t rows;          // estimated
    double kept;            // of the rows there would be without any filter below
    json_t *partner;        // of a join that may drop most rows of its larger side: a key
                            // of the other side, as it is in tree; else NULL
    uint32_t cut;           // HASH by the ranges of this cut, not by hash(); else NO_CUT
    bool once;              // volatile inside: must not be computed by each reader again
    json_t *unfiltered;     // tree without the runtime filter that it ends in; else NULL
    size_t filter_leaf;     // what that reads
    uint64_t filter_most;   // rows in there, up to which it pays
    double filter_kept;     // of the fragment's rows, estimated
    struct fragment *next;  // all of one planner's, to free them
};

// Ranges of a key, at whose bounds scans are cut: range i ends below bounds[i].
#define NO_CUT UINT32_MAX
struct cut {
    int64_t *bounds;
    size_t bound_count;
    bool dates;         // days since 1970, not numbers
    double rows, read;  // of all scans that are cut so: in their files, and read by tasks
};

struct leaf_draft {
    enum leaf_kind kind;
    uint32_t exchange;
    size_t file_set;  // of a scan
    uint32_t cut;     // of a LEAF_RANGE
    const char *cut_column;
    bool no_nulls;  // in that column
    bool sorted;    // by it, as it seems, and grouped in runs
    char *scan_call;
    struct scan_source source;
    struct schema schema;  // the columns that the query mentions
    bool row_numbers, group_numbers;
    struct scan_file *files;
    size_t file_count;
    size_t files_before;  // some were left out; 0: none were
    bool needed;          // of a LEAF_PARTITION: without its rows the stage has none
    bool rows;            // of a LEAF_PARTITION: joins see its rows, not groups of them
};

// What one scan call reads.
struct file_set {
    char *argument;   // of the call, as SQL: which files
    char *scan_call;  // the call
    struct scan_source source;
    char *refused;             // why the driver reads it alone; NULL: tasks read it
    uint64_t given;            // which options the call has, a bit each (source.c)
    bool lines;                // of JSON: the function says so
    bool paths;                // columns of the schema may come from the files' paths
    struct text path_options;  // of the call: which
    struct text layout;        // of the call: a text file's format, if it says
    struct text columns;       // of the call: a text file's columns, if it gives them
    struct scan_file *files;
    size_t file_count;
    struct schema schema;
    struct parquet_footer *footers;  // [file_count], once read_footers was asked
    bool looked;
};

// How the stage's partitions may be cut along one leaf (cuts.c).
struct cut_draft {
    size_t leaf;
    json_t *node;      // of the sub-tasks; NULL: the stage's
    json_t *rest;      // of what an outer join keeps beside; NULL: nothing
    json_t *partners;  // numbers of leaves with whose rows the leaf's multiply
};

struct stage_draft {
    json_t *node;
    uint32_t exchange;
    enum distribution dist;
    enum block_scatter scatter;
    bool groups;
    json_t *plain;  // node that passes rows on as groups of one; NULL: there is none
    bool early;     // that is likely to be better: the first tasks are to tell soon
    bool hedged;    // whether it is isn't known: see struct stage
    bool counts;    // the last column, ROWS_COUNTED, says how many rows each is of
    bool ordered;
    bool in_driver;
    bool sink;
    uint64_t rows;
    json_t *unfiltered;  // node without its runtime filter, else NULL
    size_t filter_leaf;
    uint64_t filter_most;
    struct cut_draft *cuts;
    size_t cut_count;
    const char *whole;  // why some leaf has no cut; else NULL
    // It runs only for partitions of another that are cut: all with the same number
    // serve one block of that, the first of them says which. 0: it is no such stage.
    uint32_t combines;
    json_t *combined;     // node that reads what such a stage wrote; else NULL
    size_t combine_leaf;  // through this leaf
    json_t *of_one;       // the same for a part of one group; else NULL
    uint32_t combine_group;
    json_t *streamed;     // node whose windows are streamed; else NULL
    bool some;            // of its scan it reads rows from all over, a later stage all
    bool samples;         // its bounds come from samples of another stage before it,
    size_t sampled_leaf;  // to which this leaf says so
};

struct exchange_draft {
    enum exchange_kind kind;
    json_t *keys;          // expressions, of RANGE the orders; NULL: none
    json_t *lookup;        // of HASH: see struct exchange; NULL: none
    uint32_t bounds_from;  // RANGE, PARTS: the exchange that was sampled
    bool spread;           // PARTS: rows of one key may be in several
    uint32_t group_keys;   // PARTS: so many of its first keys are a PARTITION BY
    uint32_t like;         // must bind to the same types as this one; UINT32_MAX: none
};

struct planner {
    struct trees trees;
    const struct plan_options *options;
    struct shoal_error *err;
    const json_t *query;  // the whole of it
    json_t *references;   // column key -> number of references in the query
    json_t *names;        // column key -> [the file's name for it], for EXPLAIN
    json_t *origins;      // column key -> [leaf, the file's name for it, its type]
    struct cut *cuts;
    size_t cut_count;
    struct file_set *file_sets;
    size_t file_set_count;
    struct leaf_draft *leaves;
    size_t leaf_count;
    struct stage_draft *stages;
    size_t stage_count;
    struct exchange_draft *exchanges;
    size_t exchange_count;
    char **notes;
    size_t note_count;
    char **warnings;  // notes that the user should see without asking
    size_t warning_count;
    struct hint_state *hints;  // [hint_count], of the statement
    uint32_t placed;           // the exchange that a hint asks for; UINT32_MAX: none
    size_t hint_count;
    struct fragment *fragments;
    bool collated;  // a column with a collation is read, which an exchange forgets
    uint32_t combine_groups;  // of stages for partitions that are cut
    unsigned next_name;
    unsigned salt;  // of the leaves' names
};

// Every function below returns NULL (or false) with planner->err filled when it refuses.

struct fragment *fragment_new(struct planner *planner, json_t *tree,
                              enum distribution dist, uint64_t rows);
void planner_note(struct planner *planner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void planner_warn(struct planner *planner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// A new name, prefix plus a number. Borrowed.
const char *planner_name(struct planner *planner, const char *prefix);
json_t *planner_column_names(struct planner *planner, size_t count);  // ["c0", "c1", ...]
// For EXPLAIN: alias.column is what expression is, when that is a column with a name.
void planner_named(struct planner *planner, const char *alias, const char *column,
                   const json_t *expression);
struct fragment *refuse(struct planner *planner, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Where the rows of a scan bring the key from: an entry of planner->origins, or NULL.
json_t *planner_origin(struct planner *planner, const json_t *key);

// A fragment that is one FROM item, under its own alias.
struct fragment *fragment_named(struct planner *planner, json_t *item,
                                enum distribution dist, uint64_t rows);

// describe.c
// The columns of each FROM item (SQL text); with is "" or "WITH ... ". schemas, [count],
// are zeroed and the caller's to free, also after an error.
shoal_status describe_items(struct planner *planner, const char *with, char *const *items,
                            size_t count, struct schema *schemas);

// files.c
// Is it a call that reads Parquet, CSV or JSON files?
bool is_file_scan(const json_t *item);
// Looks at the files of every such scan in node.
bool find_files(struct planner *planner, const json_t *node);
// What find_files saw of this scan; NULL with the error set.
struct file_set *scan_files(struct planner *planner, const json_t *item);
// Fills set->footers, once; false when one can't be read or there are too many files.
bool read_footers(struct file_set *set);
size_t footer_column(const struct parquet_footer *footer, const char *name);  // SIZE_MAX
const struct parquet_range *footer_range(const struct parquet_footer *footer,
                                         size_t group, size_t column);
void file_sets_free(struct planner *planner);

// source.c
// What the function's options mean for a call that reads some of the files. False with
// planner->err set, when out of memory; what is not understood sets set->refused.
bool source_options(struct planner *planner, const json_t *item, struct file_set *set);
// Which kind of files the function reads; false: none.
bool source_kind(const char *function, enum scan_kind *kind);
// The call without what paths give, whose schema is that of the files alone; NULL when
// out of memory.
char *source_bare_call(const struct file_set *set);
// The schema is known, and that of the files alone: pins it for calls that read some.
bool source_pin(struct planner *planner, struct file_set *set, const struct schema *bare);
// Does the call have the option?
bool source_given(const struct file_set *set, const char *name);

// ---- folders.c

// The key of the folder of the path that gives a column of this name; NULL: none does.
const char *folder_gives(const char *path, const char *name, size_t size);
// Do folders give columns of this set? If the call doesn't say, where those of all files
// have the same keys.
bool folders_count(const struct file_set *set);
// Options of a call: values of partitions have the types that they were found to have in
// all files; where DuckDB can't be told them they stay text until a cast.
void folders_append_types(const struct file_set *set, struct text *out);

// Rows that a text file of so many bytes is taken to have, by the beginning of `path`.
double source_rows_a_byte(const char *path);

// dialect.c
// Pins what several CSV files have in common, if they do; else why a task can't read some
// of them alone.
const char *dialect_pin(struct planner *planner, struct file_set *set);

// prune.c
// Leaves out files of a scan, which from is, whose folders the WHERE doesn't keep.
bool prune_files(struct planner *planner, struct fragment *from, json_t *where);

// selectivity.c
// The share of the rows that a WHERE lets through, estimated.
double filter_share(struct planner *planner, json_t *where);
// The groups of so many rows by these keys, and how many values the key of most has, as
// far as statistics say; below 0: they say of none.
double groups_estimated(struct planner *planner, json_t *keys, uint64_t rows,
                        double *most_of_a_key);
// The share of the rows of the key's files whose values are in the range of those of
// from, which is min to max; below 0: no one knows.
double share_reached(struct planner *planner, const json_t *key, const json_t *from,
                     double *min, double *max);

// counted.c
// Where the side of a join is a small filtered file, which item is, and the other side is
// much larger: what is left of it is counted, of rows that the other's keys may find.
void count_filtered(struct planner *planner, struct fragment *side, const json_t *item,
                    json_t *keys, const struct fragment *other, json_t *other_keys);

// cluster.c
// Cuts both sides of a join at common bounds of one of its keys, by statistics.
bool cluster_join(struct planner *planner, struct fragment *left, json_t *left_keys,
                  struct fragment *right, json_t *right_keys);
// Cuts the fragment by one of the keys, so that rows equal in all are together. grouped:
// the block that groups by them, in runs of rows if the files are sorted; else NULL.
bool cluster_keys(struct planner *planner, struct fragment *from, json_t *keys,
                  json_t *grouped);
// What each range of a LEAF_RANGE reads; NULL when out of memory.
struct scan_range *cluster_ranges(const struct planner *planner,
                                  const struct leaf_draft *leaf, size_t *count);

// scan.c
// A table function of another item's columns: unnest(t.list).
bool is_lateral(const json_t *item);
struct fragment *plan_function(struct planner *planner, json_t *item);
struct fragment *plan_table(struct planner *planner, json_t *item, json_t *ctes);

// planner.c
struct fragment *plan_from(struct planner *planner, json_t *item, json_t *ctes);
struct fragment *plan_node(struct planner *planner, json_t *node, const char *alias,
                           json_t *columns, json_t *ctes);
size_t node_width(const json_t *node);
// What is below an item that makes each of its rows of one of that; NULL: it does more.
// *filtered: not of all of them.
const json_t *item_below(struct planner *planner, const json_t *item, bool *filtered);

// exchange.c
// A WHERE and, for top-n, modifiers that the producing stage applies before it sends.
struct before_exchange {
    json_t *where;
    json_t *modifiers;
    bool sampled;  // keys are orders: ROUND_ROBIN, their sort keys sampled
    bool ordered;  // GATHER, read in the producers' order
};
// The set of the query's columns of the fragment that are referenced outside item.
json_t *columns_needed(struct planner *planner, const json_t *item,
                       const struct fragment *from);
// The set of columns of fragment that expressions mention.
json_t *columns_mentioned(struct planner *planner, const json_t *expressions,
                          const struct fragment *from);
// Appends the columns to list, as c0, c1, ...; returns where they are then, a map of the
// query's columns to [alias, column].
json_t *exchange_columns(struct planner *planner, const struct fragment *from,
                         json_t *columns, const char *alias, json_t *list);
struct fragment *exchange_place(struct planner *planner, struct fragment *from,
                                json_t *columns, enum exchange_kind kind, json_t *keys,
                                const struct before_exchange *before);
// The leaf that cuts the fragment into tasks; NULL when it is not a scan or a CTE's
// split.
struct leaf_draft *driving_leaf(struct planner *planner, const json_t *node);
// The leaf whose rows the fragment is made of, one by one; NULL when there are several.
struct leaf_draft *only_leaf(struct planner *planner, const json_t *node);
// Is it known of a task how many rows it read, and are those the fragment's, less what is
// filtered? What a join makes of them isn't.
bool counts_rows(struct planner *planner, const struct fragment *from);
uint32_t exchange_new(struct planner *planner, enum exchange_kind kind, json_t *keys);
bool exchange_feed(struct planner *planner, uint32_t exchange, json_t *node,
                   const struct fragment *from, enum block_scatter scatter);
// The last exchange, which the last stage feeds, has its bounds from samples of another,
// `sampled`, which that stage doesn't read.
void exchange_bounds(struct planner *planner, uint32_t sampled);
// A FROM item that reads the exchange.
json_t *exchange_read(struct planner *planner, uint32_t exchange, enum leaf_kind kind,
                      const char *alias);
// The number of the leaf that a FROM item is; SIZE_MAX when it is none.
size_t leaf_index(const struct planner *planner, const json_t *item);
// The table name that stands for a leaf: one that the query's text does not contain.
#define LEAF_NAME_SIZE 64
void leaf_name(const struct planner *planner, size_t index, char *name);
struct fragment *to_replicated(struct planner *planner, struct fragment *from,
                               const json_t *item);
struct fragment *to_single(struct planner *planner, struct fragment *from,
                           const json_t *item);
// hash(keys), renamed to the fragment's columns.
json_t *hash_expression(struct planner *planner, json_t *keys, const json_t *columns);
char *keys_text(struct planner *planner, json_t *keys);
// Does the fragment's hashing put rows equal in `keys` (array of expressions) together?
bool hash_satisfies(struct planner *planner, const struct fragment *from, json_t *keys);

// hints.c
// Before planning: finds what the hints of the options name in the statement. False: out
// of memory.
bool hints_open(struct planner *planner, const char *select);
// What a part of the query reads, a set, by which hints know it; NULL: there are none.
json_t *hint_scans(struct planner *planner, const json_t *node, const json_t *ctes);
// The hint of this kind, as it was given, that means a side of a join; NULL: none.
const char *hint_asks(const struct planner *planner, enum hint_kind kind,
                      const json_t *scans);
// Each hint that means the side is followed in this join, or not: why.
void hint_answer(struct planner *planner, enum hint_kind kind, const json_t *scans,
                 const char *why_not);
// The columns, of the root's, that the rows which are written are to be placed by; an
// array, empty when no hint says so.
json_t *hint_keys(struct planner *planner, const struct fragment *root,
                  const struct schema *names, json_t *columns);
// Does one ask that a join is not broadcast?
bool hints_shuffle(const struct planner *planner);
// After planning: warns of each that is followed nowhere. The partitions that shuffles
// are to have; 0: none are asked for.
uint32_t hints_close(struct planner *planner);

// filter.c
// A join whose large side is filtered: its equality keys on both sides, and the type of
// each comparison.
struct filter_keys {
    json_t *large, *small, *types;
};
// Does it pay, as estimated, to filter the large side by the small one's keys?
bool filter_wanted(struct planner *planner, const struct fragment *large,
                   const struct fragment *small);
// Filters large by the keys of an exchange that small reads, if one holds them.
void filter_place(struct planner *planner, struct fragment *large,
                  const struct filter_keys *keys, const struct fragment *small);
#define RUNTIME_FILTER "shoal_filter"  // in the tree: this semi-join is one

// sort.c
// "true, false": is the order descending, are its NULLs first? As the words of sort keys
// (duck/sort_words.c) take it.
const char *sort_flags(const json_t *order);
// create_sort_key(orders), renamed to the fragment's columns.
json_t *sort_key_expression(struct planner *planner, json_t *orders,
                            const json_t *columns);
// The same for enough of so many rows to sample, NULL for the others.
json_t *sampled_key_expression(struct planner *planner, json_t *orders,
                               const json_t *columns, uint64_t rows);
// Does the ORDER BY expression compare otherwise than a sort key's bytes do?
bool sort_collates(const json_t *expression);
// Are there rows enough for a RANGE exchange, and can these modifiers use one?
bool sort_wanted(const struct planner *planner, const struct fragment *from,
                 json_t *modifiers);
struct fragment *sort_place(struct planner *planner, struct fragment *from,
                            json_t *columns, json_t *modifiers, json_t *where);
// The modifiers that are left after sort_place.
json_t *sort_rest(struct planner *planner, json_t *modifiers);

// sink.c
// Ends the plan with the stage that writes; list are the query's columns under their
// names.
bool sink_place(struct planner *planner, struct fragment *root, json_t *list);

// recursive.c
struct fragment *plan_recursive(struct planner *planner, json_t *entry, const char *alias,
                                json_t *columns);

// window.c
// The PARTITION BY keys that all windows (calls) have in common.
json_t *window_common_keys(struct planner *planner, json_t *windows);
// node as two blocks, the inner with the windows of one PARTITION BY; NULL when none has
// one.
json_t *window_split(struct planner *planner, json_t *node, json_t *windows);

// types.c
// The type of an expression over columns of alias, whose types (column name -> type) are
// known where the files say them; into a buffer. "": it is not known.
void type_find(struct planner *planner, const char *alias, const json_t *types,
               const json_t *expression, char *type, size_t size);
// Are values of the type equal if and only if their sort keys are?
bool type_has_sort_key(const char *type);
// The type as which the words of sort keys (duck/sort_words.c) take values to order by;
// NULL: they take none. *exact, if it is not NULL: values that differ do there too.
const char *type_ordered_as(const char *type, bool *exact);
// May functions of shoal's own add the values up? *scale: of DECIMALs; -1 of others.
bool type_summed(const char *type, int *scale);

// sorted_groups.c
// Can the groups of node, whose rows are from's, be made of runs of rows if these come
// sorted?
bool sorted_groups_possible(struct planner *planner, json_t *node,
                            const struct fragment *from);
// Do the first rows of one row group ascend, in the middle of a file in the middle?
bool rows_ascend(struct planner *planner, const struct file_set *set, const char *column);
// block, which groups a scan of from, makes them so if the scan is marked sorted.
void sorted_groups(struct planner *planner, const struct fragment *from,
                   struct fragment *block);

// window_parts.c
// block, of the node's windows, gets a second form, for parts of a partition of too many
// rows; columns are those of from that it uses.
void window_combines(struct planner *planner, json_t *node, const struct fragment *from,
                     json_t *windows, json_t *columns, struct fragment *block);

// broadcast.c
// Tasks that the fragment's stage will have.
double tasks_estimated(struct planner *planner, const struct fragment *from);
// Is side better sent to every task of the other than both shuffled? columns are the keys
// of those that are sent.
bool broadcast_pays(struct planner *planner, const struct fragment *side, json_t *columns,
                    const struct fragment *other);
// Is it so small, against what the other scans, that nothing is better?
bool broadcast_tiny(struct planner *planner, const struct fragment *side,
                    const struct fragment *other);
// Is it a filtered side whose keys DuckDB hands down into the other's scan?
bool broadcast_filters(struct planner *planner, const struct fragment *side,
                       const struct fragment *other);

// join.c, aggregate.c, select.c
struct fragment *plan_join(struct planner *planner, json_t *item, json_t *ctes);
struct fragment *plan_aggregate(struct planner *planner, json_t *node,
                                struct fragment *from, json_t *aggregates,
                                const char *alias, json_t *columns);
// regroup.c: a GROUP BY by some of the keys of the one below.
// Marks the block below the node, if it is such a one; before it is planned.
void regroup_mark(struct planner *planner, json_t *node);
// Numbers of the node's groups to hash its rows by, so that the block above it has whole
// groups too; NULL: by all of them.
json_t *regroup_keys(struct planner *planner, const json_t *node,
                     const struct fragment *from);
// block, of the node's groups, each whole in one task, gets a second form, which reads
// partial results of a stage before it: for a partition of too many rows.
void aggregate_combines(struct planner *planner, json_t *node,
                        const struct fragment *from, json_t *aggregates,
                        struct fragment *block);
// On a SELECT node: why its groups can't be aggregated, or its windows computed, in
// parts.
#define WHOLE_GROUPS "shoal_whole"
// The name of a partial aggregate's last column where its rows are counted.
#define ROWS_COUNTED "shoal_rows"
// On a SELECT node: its second form, {node, leaf through which that reads what was made
// before, group of the stages that do so, parts: several tasks have it, one: of those the
// ones whose part has one group, or none, streamed: the block itself with streamed
// windows, or none}.
#define COMBINED_FORM "shoal_combined"
// A constant number of rows, 0 for none; false when it is something else.
bool constant_number(const json_t *node, uint64_t *value);
bool constant_null(const json_t *node);  // of any type
struct fragment *plan_select(struct planner *planner, json_t *node, const char *alias,
                             json_t *columns, json_t *ctes);
// node as (node) AS alias(columns), with its distribution seen through the select list.
struct fragment *wrap_block(struct planner *planner, json_t *node, const char *alias,
                            json_t *columns, const struct fragment *input, uint64_t rows);

// summary.c: each stage's operators, one a line.
shoal_status summarise_stages(struct planner *planner, struct stages *stages);
// On a SELECT node, "partial" (an aggregate, DISTINCT or LIMIT that another repeats) or
// "final"; DuckDB ignores what it doesn't know.
#define AGGREGATE_STEP "shoal_step"
// On one that aggregates for another operator: that, in words.
#define STANDS_FOR "shoal_stands_for"
// On one that aggregates runs: what it groups by and the calls; and on the SELECT of its
// rows that it is that (sorted_groups.c).
#define SORTED_GROUPS "shoal_sorted_groups"
#define SORTED_CALLS "shoal_sorted_calls"
#define SORTED_ROWS "shoal_sorted_rows"

// combine.c
// Gives each stage at most one combined form, and leaves out the stages that serve none.
// Those that do have their cuts then.
bool find_combined(struct planner *planner);
// A copy of node in which the object `from` is `to`; what doesn't hold it is shared.
json_t *tree_with(struct trees *trees, json_t *node, const json_t *from, json_t *to);

// cuts.c
// Fills the draft's cuts, and `needed` of its leaves. False when out of memory.
bool find_cuts(struct planner *planner, struct stage_draft *draft);
// Why the draft's rows are not those of the block's parts together, each taken through
// what is above the block; NULL: they are.
const char *why_not_in_parts(struct planner *planner, struct stage_draft *draft,
                             const json_t *block);

// bind.c: drafts to stages, each bound in the driver.
shoal_status bind_stages(struct planner *planner, struct stages *stages);

#endif
