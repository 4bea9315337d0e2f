// A growable string. Zero-initialise, append, and text_free(); out of memory is
// remembered in `failed` so that a run of appends is checked once at the end.
#ifndef SHOAL_BASE_TEXT_H
#define SHOAL_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data;  // NUL-terminated once anything was appended; NULL before
    size_t size;
    size_t capacity;
    bool failed;
};

void text_append(struct text *text, const char *string);
void text_append_bytes(struct text *text, const char *bytes, size_t size);
void text_printf(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// 'it''s', for SQL literals; "a""b" for identifiers.
void text_append_literal(struct text *text, const char *string);
void text_append_identifier(struct text *text, const char *string);
// Is the string one of the list, which NULL ends?
bool text_one_of(const char *string, const char *const *list);
// Hands the string to the caller (free() it); NULL if an append failed.
char *text_take(struct text *text);
void text_free(struct text *text);

#endif
