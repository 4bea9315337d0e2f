// Internal to window_parts.c and window_values.c: the second form of a block of windows
// while it is put together.
#ifndef SHOAL_DIST_WINDOW_FORM_H
#define SHOAL_DIST_WINDOW_FORM_H

#include "base/text.h"
#include "dist/planner.h"

struct form {
    struct planner *planner;
    json_t *to_part;        // the query's columns -> those of a part's rows
    json_t *to_rows;        // and those of the rows with the windows over them
    json_t *types;          // columns of a part's rows -> their types, where files say
    json_t *keys, *orders;  // in the query's terms; no orders: there are none
    bool ties;              // a column t orders rows of one key
    bool peers;             // rows of one key must be in one part
    bool dense;             // parts count their keys
    bool placed;            // and keep rows by their places
    json_t *local;          // columns of the part's rows: c0, k0, l0, e0
    json_t *summed;         // columns of the rows as they are summed up: k0, v0, f0
    size_t locals;
    // Locals that several calls share, plus one; 0: none yet. A row's number, without and
    // with the ORDER BY, and its group's rows.
    size_t row[2], rows;
    struct text partial;  // of a part's group
    struct text before;   // of all parts before, from the partial results
    struct text after;    // of all parts behind
    struct text finals;   // the windows' values, in order
    bool adds_before, adds_after;
    size_t leaf;            // that reads the part's rows
    char *summary, *final;  // SELECTs over shoal_rows
    char *final_of_one;     // the same, where all rows are of one group
};

// window_values.c
// Why the block's windows have no values that are made of parts', and because of which
// function; NULL: they may have. Fills keys, orders, ties and peers.
const char *form_find_whole(struct form *form, json_t *windows, const char **name);
// Fills locals and texts; to_part must be known. False: *name has arguments for which it
// can't.
bool form_add_calls(struct form *form, json_t *windows, const char **name);
// The expression over a part's rows.
json_t *form_in_part(struct form *form, const json_t *expression);
// Appends it to list, as <prefix><number>.
void form_add_column(struct form *form, json_t *list, json_t *expression,
                     const char *prefix, size_t number);
// The expression as an ORDER BY has it.
json_t *form_order_by(struct form *form, json_t *expression);

// window_stream.c
// A SELECT of the locals over item, rows whose alias is p: of several groups, or all of
// one. NULL: one of the windows can't be streamed. *running: a running aggregate is among
// them; may be NULL.
json_t *window_stream(struct form *form, bool groups, json_t *item, bool *running);
#endif
