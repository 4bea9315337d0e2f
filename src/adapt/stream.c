// Windows over large groups are streamed: a running aggregate costs DuckDB a tree over
// each group, so that a row of a group of 10,000 takes four times as long as one of a
// group of 5, where a stream takes as long for any. For small groups the stream takes a
// tenth longer.
//
// Groups are small on average where few are large, and yet most rows may be in large
// ones. The sketch knows only the largest; where several are just large enough for it,
// as in a Zipf distribution, many more are a little smaller. One that is alone says
// nothing of the others, and is a heavy partition's.
#include "adapt/adapt.h"

#define MANY_ROWS 16  // a group, on average
#define TAIL_LEAST 200
#define TAIL_MOST \
    50  // keys of more than one of TAIL_LEAST rows, and up to one of so many,
#define TAIL_KEYS 4  // of which there are as many

// The input that has the most rows.
static const struct sketch *keys_of(const struct adapt_stage *stage) {
    const struct sketch *most = NULL;
    for (size_t i = 0; i < stage->input_count; i++) {
        const struct sketch *keys = stage->inputs[i].keys;
        if (keys != NULL && (most == NULL || keys->rows > most->rows)) most = keys;
    }
    return most;
}

static size_t count_tail(const struct sketch *keys) {
    struct sketch_key heavy[SKETCH_COUNTERS];
    size_t count = sketch_heavy(keys, keys->rows / TAIL_LEAST + 1, heavy), tail = 0;
    for (size_t i = 0; i < count; i++) tail += heavy[i].rows <= keys->rows / TAIL_MOST;
    return tail;
}

bool adapt_stream(const struct adapt_stage *stage, struct text *reasons) {
    const struct sketch *keys = keys_of(stage);
    if (stage->skew == ADAPT_OFF || keys == NULL || keys->rows == 0) return false;
    double mean = (double)keys->rows / sketch_distinct(keys);
    size_t tail = count_tail(keys);
    bool streams = mean >= MANY_ROWS || tail >= TAIL_KEYS;
    if (stage->skew == ADAPT_ALWAYS) streams = true;
    if (stage->skew == ADAPT_RANDOM) streams = (stage->seed + keys->rows) % 2 == 0;
    if (!streams) return false;
    text_printf(reasons,
                "windows are streamed: groups have %.0f rows on average, and %zu"
                " have a 50th to a 200th of all\n",
                mean, tail);
    return true;
}
