// Internal to src/task: the segments of an input, as one string of a message.
//
// A late task reads a file of each of thousands that came before, whose paths are nearly
// the same: each is written as how much of the path before it stays, and the rest (front
// coding). 20,000 of them take 0.6 MB, not 1.5, and a quarter of the time.
//   segment = [first "-" last "@"] shared "," length ":" rest
// where the partitions are those of the segment before unless they are given.
#ifndef SHOAL_TASK_SEGMENTS_H
#define SHOAL_TASK_SEGMENTS_H

#include <jansson.h>

#include "task/task.h"

json_t *segments_to_json(const struct task_input *input);  // NULL: out of memory
// Fills input->segments; SHOAL_CORRUPT for what is no such string.
shoal_status segments_from_json(const json_t *json, struct task_input *input,
                                struct shoal_error *err);

#endif
