#include "task/segments.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define PATH_LONGEST 4096

// Whole characters that both begin with, in bytes: half a character is no JSON.
static size_t shared_size(const char *a, const char *b) {
    size_t size = 0;
    while (a[size] != '\0' && a[size] == b[size]) size++;
    while (size > 0 && ((unsigned char)b[size] & 0xc0) == 0x80) size--;
    return size;
}

json_t *segments_to_json(const struct task_input *input) {
    struct text text = {0};
    const struct task_segment none = {.path = (char[]){""}, .first = 1};
    const struct task_segment *before = &none;
    text_append(&text, "");
    for (size_t s = 0; s < input->count; s++) {
        const struct task_segment *segment = &input->segments[s];
        size_t shared = shared_size(before->path, segment->path);
        const char *rest = segment->path + shared;
        if (segment->first != before->first || segment->last != before->last)
            text_printf(&text, "%u-%u@", segment->first, segment->last);
        text_printf(&text, "%zu,%zu:", shared, strlen(rest));
        text_append(&text, rest);
        before = segment;
    }
    json_t *json = text.failed ? NULL : json_stringn(text.data, text.size);
    text_free(&text);
    return json;
}

struct reader {
    const char *at, *end;
};

// A number and the character behind it; '\0' when there is none.
static char take_number(struct reader *reader, uint64_t *number) {
    const char *from = reader->at;
    *number = 0;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9' &&
           *number <= UINT32_MAX) {
        *number = *number * 10 + (uint64_t)(*reader->at++ - '0');
    }
    bool ok = reader->at > from && reader->at < reader->end && *number <= UINT32_MAX;
    return ok ? *reader->at++ : '\0';
}

// False when it is no segment; a path that is NULL then is out of memory.
static bool take_segment(struct reader *reader, const struct task_segment *before,
                         struct task_segment *segment) {
    uint64_t first = before->first, last = before->last, shared, length;
    char mark = take_number(reader, &shared);
    if (mark == '-') {
        first = shared;
        if (take_number(reader, &last) != '@') return false;
        mark = take_number(reader, &shared);
    }
    if (mark != ',' || take_number(reader, &length) != ':') return false;
    if (first > last || shared > strlen(before->path) || shared + length == 0 ||
        shared + length > PATH_LONGEST || length > (size_t)(reader->end - reader->at))
        return false;
    *segment = (struct task_segment){malloc(shared + length + 1), (uint32_t)first,
                                     (uint32_t)last};
    if (segment->path == NULL) return true;
    memcpy(segment->path, before->path, shared);
    memcpy(segment->path + shared, reader->at, length);
    segment->path[shared + length] = '\0';
    reader->at += length;
    return true;
}

shoal_status segments_from_json(const json_t *json, struct task_input *input,
                                struct shoal_error *err) {
    const char *text = json_string_value(json);
    size_t capacity = 0;
    const struct task_segment none = {.path = (char[]){""}, .first = 1};
    if (text == NULL)
        return shoal_fail(err, SHOAL_CORRUPT, "a task's input has no segments");
    struct reader reader = {text, text + json_string_length(json)};
    while (reader.at < reader.end) {
        if (input->count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            struct task_segment *grown =
                realloc(input->segments, capacity * sizeof *grown);
            if (grown == NULL) return shoal_no_memory(err);
            input->segments = grown;
        }
        struct task_segment *segment = &input->segments[input->count];
        const struct task_segment *before = input->count > 0 ? segment - 1 : &none;
        if (!take_segment(&reader, before, segment)) {
            return shoal_fail(err, SHOAL_CORRUPT,
                              "segment %zu of a task's input is not what it should be",
                              input->count);
        }
        if (segment->path == NULL) return shoal_no_memory(err);
        input->count++;
    }
    return SHOAL_OK;
}
