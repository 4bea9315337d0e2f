#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static bool reserve(struct text *text, size_t more) {
    if (text->failed) return false;
    size_t need = text->size + more + 1;
    if (need <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity * 2 : 64;
    while (capacity < need) capacity *= 2;
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        memory_failed();
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_append_bytes(struct text *text, const char *bytes, size_t size) {
    if (!reserve(text, size)) return;
    if (size) memcpy(text->data + text->size, bytes, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void text_append(struct text *text, const char *string) {
    text_append_bytes(text, string, strlen(string));
}

void text_printf(struct text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)size)) {
        (void)vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
        text->size += (size_t)size;
    }
    va_end(again);
}

static void append_quoted(struct text *text, const char *string, char quote) {
    text_append_bytes(text, &quote, 1);
    for (const char *c = string; *c; c++) {
        if (*c == quote) text_append_bytes(text, &quote, 1);
        text_append_bytes(text, c, 1);
    }
    text_append_bytes(text, &quote, 1);
}

void text_append_literal(struct text *text, const char *string) {
    append_quoted(text, string, '\'');
}

void text_append_identifier(struct text *text, const char *string) {
    append_quoted(text, string, '"');
}

bool text_one_of(const char *string, const char *const *list) {
    for (; *list != NULL; list++) {
        if (strcmp(string, *list) == 0) return true;
    }
    return false;
}

char *text_take(struct text *text) {
    char *data = text->failed ? NULL : text->data;
    if (data == NULL && !text->failed) {
        data = calloc(1, 1);
        if (data == NULL) memory_failed();
    }
    if (text->failed) free(text->data);
    *text = (struct text){0};
    return data;
}

void text_free(struct text *text) {
    free(text->data);
    *text = (struct text){0};
}
