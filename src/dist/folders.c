// Hive partitions: what folders named key=value say of the files in them, by DuckDB's
// rules.
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "dist/planner.h"

// The folder at *at in a path and behind, if its name is key=value; *at: behind it. As
// DuckDB reads them: the file's own name and one with a second sign are none.
static bool next_key(const char **at, const char **key, size_t *size) {
    for (const char *end = strchr(*at, '/'); end != NULL; end = strchr(*at, '/')) {
        const char *sign = memchr(*at, '=', (size_t)(end - *at));
        bool single = sign != NULL && memchr(sign + 1, '=', (size_t)(end - sign)) == NULL;
        *key = *at;
        *size = single ? (size_t)(sign - *at) : 0;
        *at = end + 1;
        if (*size > 0) return true;
    }
    return false;
}

const char *folder_gives(const char *path, const char *name, size_t size) {
    const char *key;
    size_t length;
    while (next_key(&path, &key, &length)) {
        if (length == size && strncasecmp(key, name, size) == 0) return key;
    }
    return NULL;
}

bool folders_count(const struct file_set *set) {
    if (source_given(set, "hive_partitioning")) return set->source.hive;
    for (size_t i = 1; i < set->file_count; i++) {
        const char *first = set->files[0].path, *other = set->files[i].path;
        const char *at = first, *key;
        size_t size;
        while (next_key(&at, &key, &size)) {
            if (folder_gives(other, key, size) == NULL) return false;
        }
        at = other;
        while (next_key(&at, &key, &size)) {
            if (folder_gives(first, key, size) == NULL) return false;
        }
    }
    return true;
}

// The key of the column's folders, as all of them spell it; NULL: none, or they differ.
static const char *spelled_alike(const struct file_set *set, const char *name) {
    size_t size = strlen(name);
    const char *first = folder_gives(set->files[0].path, name, size);
    for (size_t i = 1; first != NULL && i < set->file_count; i++) {
        const char *other = folder_gives(set->files[i].path, name, size);
        if (other == NULL || strncmp(first, other, size) != 0) return NULL;
    }
    return first;
}

void folders_append_types(const struct file_set *set, struct text *out) {
    bool any = false;
    text_append(out, ", hive_types_autocast = false");
    if (set->file_count == 0 || !folders_count(set)) return;
    for (size_t i = 0; i < set->schema.count; i++) {
        const struct schema_column *column = &set->schema.columns[i];
        const char *key = spelled_alike(set, column->name);
        char *name = key == NULL ? NULL : strndup(key, strlen(column->name));
        if (key == NULL) continue;
        text_append(out, any ? ", " : ", hive_types = {");
        text_append_identifier(out, name == NULL ? "" : name);
        text_append(out, ": ");
        text_append_literal(out, column->type);
        out->failed = out->failed || name == NULL;
        any = true;
        free(name);
    }
    text_append(out, any ? "}" : "");
}
