// Columns from DuckDB's types and vectors, and back.
#include "duck/vector.h"

#include <stdlib.h>
#include <string.h>

#include "base/copy.h"

static uint32_t fixed_width(duckdb_type type) {
    switch (type) {
        case DUCKDB_TYPE_BOOLEAN:
        case DUCKDB_TYPE_TINYINT:
        case DUCKDB_TYPE_UTINYINT:
        case DUCKDB_TYPE_SQLNULL:
            return 1;
        case DUCKDB_TYPE_SMALLINT:
        case DUCKDB_TYPE_USMALLINT:
            return 2;
        case DUCKDB_TYPE_INTEGER:
        case DUCKDB_TYPE_UINTEGER:
        case DUCKDB_TYPE_FLOAT:
        case DUCKDB_TYPE_DATE:
            return 4;
        case DUCKDB_TYPE_BIGINT:
        case DUCKDB_TYPE_UBIGINT:
        case DUCKDB_TYPE_DOUBLE:
        case DUCKDB_TYPE_TIMESTAMP:
        case DUCKDB_TYPE_TIMESTAMP_S:
        case DUCKDB_TYPE_TIMESTAMP_MS:
        case DUCKDB_TYPE_TIMESTAMP_NS:
        case DUCKDB_TYPE_TIMESTAMP_TZ:
        case DUCKDB_TYPE_TIMESTAMP_TZ_NS:
        case DUCKDB_TYPE_TIME:
        case DUCKDB_TYPE_TIME_NS:
        case DUCKDB_TYPE_TIME_TZ:
            return 8;
        case DUCKDB_TYPE_HUGEINT:
        case DUCKDB_TYPE_UHUGEINT:
        case DUCKDB_TYPE_UUID:
        case DUCKDB_TYPE_INTERVAL:
            return 16;
        default:
            return 0;
    }
}

static shoal_status add_child(struct column *shape, duckdb_logical_type type,
                              struct shoal_error *err) {
    struct column *children =
        realloc(shape->children, (shape->child_count + 1) * sizeof *children);
    shoal_status status = SHOAL_OK;
    if (children == NULL) {
        status = shoal_no_memory(err);
    } else {
        shape->children = children;
        status = vector_shape(type, &children[shape->child_count], err);
        if (status == SHOAL_OK) shape->child_count++;
    }
    duckdb_destroy_logical_type(&type);
    return status;
}

static duckdb_logical_type struct_type(duckdb_logical_type *types, idx_t count) {
    const char *names[4] = {"a", "b", "c", "d"};
    duckdb_logical_type made = duckdb_create_struct_type(types, names, count);
    for (idx_t i = 0; i < count; i++) duckdb_destroy_logical_type(&types[i]);
    return made;
}

static duckdb_logical_type list_of(duckdb_logical_type child) {
    duckdb_logical_type made = duckdb_create_list_type(child);
    duckdb_destroy_logical_type(&child);
    return made;
}

// How DuckDB stores a VARIANT: its keys, its tree, the kinds of its values, their bytes.
static duckdb_logical_type variant_type(void) {
    duckdb_logical_type child[2] = {duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER),
                                    duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER)};
    duckdb_logical_type value[2] = {duckdb_create_logical_type(DUCKDB_TYPE_UTINYINT),
                                    duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER)};
    duckdb_logical_type all[4] = {
        list_of(duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR)),
        list_of(struct_type(child, 2)), list_of(struct_type(value, 2)),
        duckdb_create_logical_type(DUCKDB_TYPE_BLOB)};
    return struct_type(all, 4);
}

shoal_status vector_shape(duckdb_logical_type type, struct column *shape,
                          struct shoal_error *err) {
    *shape = (struct column){.layout = COLUMN_FIXED};
    duckdb_type id = duckdb_get_type_id(type);
    shoal_status status = SHOAL_OK;
    switch (id) {
        case DUCKDB_TYPE_DECIMAL:
            shape->width = fixed_width(duckdb_decimal_internal_type(type));
            break;
        case DUCKDB_TYPE_ENUM:
            shape->width = fixed_width(duckdb_enum_internal_type(type));
            break;
        case DUCKDB_TYPE_VARCHAR:
        case DUCKDB_TYPE_BLOB:
        case DUCKDB_TYPE_BIT:
        case DUCKDB_TYPE_BIGNUM:
        case DUCKDB_TYPE_GEOMETRY:
            shape->layout = COLUMN_STRING;
            break;
        case DUCKDB_TYPE_LIST:
            shape->layout = COLUMN_LIST;
            status = add_child(shape, duckdb_list_type_child_type(type), err);
            break;
        case DUCKDB_TYPE_ARRAY:
            shape->layout = COLUMN_ARRAY;
            shape->width = (uint32_t)duckdb_array_type_array_size(type);
            status = add_child(shape, duckdb_array_type_child_type(type), err);
            break;
        case DUCKDB_TYPE_STRUCT:
            shape->layout = COLUMN_STRUCT;
            for (idx_t i = 0;
                 status == SHOAL_OK && i < duckdb_struct_type_child_count(type); i++) {
                status = add_child(shape, duckdb_struct_type_child_type(type, i), err);
            }
            break;
        case DUCKDB_TYPE_MAP: {
            // A LIST of STRUCT(key, value).
            shape->layout = COLUMN_LIST;
            shape->children = calloc(1, sizeof *shape->children);
            if (shape->children == NULL) {
                return shoal_no_memory(err);
            }
            shape->child_count = 1;
            shape->children[0].layout = COLUMN_STRUCT;
            status = add_child(&shape->children[0], duckdb_map_type_key_type(type), err);
            if (status == SHOAL_OK) {
                status =
                    add_child(&shape->children[0], duckdb_map_type_value_type(type), err);
            }
            break;
        }
        case DUCKDB_TYPE_UNION:
            // A STRUCT whose first child is the tag.
            shape->layout = COLUMN_STRUCT;
            status =
                add_child(shape, duckdb_create_logical_type(DUCKDB_TYPE_UTINYINT), err);
            for (idx_t i = 0;
                 status == SHOAL_OK && i < duckdb_union_type_member_count(type); i++) {
                status = add_child(shape, duckdb_union_type_member_type(type, i), err);
            }
            break;
        case DUCKDB_TYPE_VARIANT: {
            duckdb_logical_type physical = variant_type();
            status = vector_shape(physical, shape, err);
            duckdb_destroy_logical_type(&physical);
            break;
        }
        default:
            shape->width = fixed_width(id);
            break;
    }
    if (status == SHOAL_OK && shape->layout == COLUMN_FIXED && shape->width == 0) {
        status = shoal_fail(
            err, SHOAL_UNSUPPORTED,
            "a column's type (DuckDB type number %d) can't be exchanged yet", (int)id);
    }
    if (status != SHOAL_OK) column_free(shape);
    return status;
}

static bool row_valid(const uint64_t *valid, uint32_t row) {
    return valid == NULL || (valid[row / 64] >> (row % 64) & 1);
}

// Inline, unlike the API's functions: a string is touched in a few nanoseconds or not at
// all.
static uint32_t string_length(const duckdb_string_t *string) {
    return string->value.inlined.length;
}

static const char *string_bytes(const duckdb_string_t *string) {
    return string_length(string) <= sizeof string->value.inlined.inlined
               ? string->value.inlined.inlined
               : string->value.pointer.ptr;
}

static bool append_strings(const duckdb_string_t *strings, const uint64_t *valid,
                           const uint32_t *rows, size_t n, struct column *to) {
    uint32_t *offsets = column_reserve_offsets(to, n);
    uint64_t end = to->data.size;
    if (offsets == NULL) return false;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(valid, rows[i])) end += string_length(&strings[rows[i]]);
        offsets[i] = (uint32_t)end;
    }
    if (end > UINT32_MAX || !column_reserve(&to->data, end - to->data.size)) return false;
    uint8_t *at = to->data.data + to->data.size;
    for (size_t i = 0; i < n; i++) {
        if (!row_valid(valid, rows[i])) continue;
        const duckdb_string_t *string = &strings[rows[i]];
        copy_short(at, string_bytes(string), string_length(string));
        at += string_length(string);
    }
    to->data.size = end;
    to->offsets.size += n * sizeof(uint32_t);
    return true;
}

uint64_t vector_string_bytes(duckdb_vector vector, size_t n) {
    const uint64_t *valid = duckdb_vector_get_validity(vector);
    const duckdb_string_t *strings = duckdb_vector_get_data(vector);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (row_valid(valid, i)) bytes += string_length(&strings[i]);
    }
    return bytes;
}

static bool append_children(duckdb_vector child, const uint32_t *picked, size_t count,
                            struct column *to) {
    // In slices, so that no intermediate grows with the lists.
    for (size_t at = 0; at < count; at += 2048) {
        size_t n = count - at < 2048 ? count - at : 2048;
        if (!vector_append(child, picked + at, n, to)) return false;
    }
    return true;
}

static bool append_lists(duckdb_vector vector, const uint64_t *valid,
                         const uint32_t *rows, size_t n, struct column *to) {
    const duckdb_list_entry *entries = duckdb_vector_get_data(vector);
    uint32_t *offsets = column_reserve_offsets(to, n);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(valid, rows[i])) total += entries[rows[i]].length;
    }
    uint64_t end = to->children[0].rows;
    if (offsets == NULL || end + total > UINT32_MAX) return false;
    uint32_t *picked = malloc((total + 1) * sizeof *picked);
    if (picked == NULL) return false;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (row_valid(valid, rows[i])) {
            for (uint64_t k = 0; k < entries[rows[i]].length; k++) {
                picked[count++] = (uint32_t)(entries[rows[i]].offset + k);
            }
        }
        offsets[i] = (uint32_t)(end + count);
    }
    to->offsets.size += n * sizeof(uint32_t);
    bool ok = append_children(duckdb_list_vector_get_child(vector), picked, count,
                              &to->children[0]);
    free(picked);
    return ok;
}

static bool append_arrays(duckdb_vector vector, const uint32_t *rows, size_t n,
                          struct column *to) {
    uint32_t *picked = malloc((n * to->width + 1) * sizeof *picked);
    if (picked == NULL) return false;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < to->width; k++) {
            picked[i * to->width + k] = rows[i] * to->width + k;
        }
    }
    bool ok = append_children(duckdb_array_vector_get_child(vector), picked,
                              n * to->width, &to->children[0]);
    free(picked);
    return ok;
}

bool vector_append(duckdb_vector vector, const uint32_t *rows, size_t n,
                   struct column *to) {
    if (n == 0) return true;
    const uint64_t *valid = duckdb_vector_get_validity(vector);
    // DuckDB's words are these bits, on a little-endian machine.
    if (!column_add_validity(to, (const uint8_t *)valid, rows, n)) return false;
    bool ok = true;
    switch (to->layout) {
        case COLUMN_FIXED:
            ok = column_add_fixed(to, duckdb_vector_get_data(vector), rows, n);
            break;
        case COLUMN_STRING:
            ok = append_strings(duckdb_vector_get_data(vector), valid, rows, n, to);
            break;
        case COLUMN_LIST:
            ok = append_lists(vector, valid, rows, n, to);
            break;
        case COLUMN_ARRAY:
            ok = append_arrays(vector, rows, n, to);
            break;
        case COLUMN_STRUCT:
            for (uint32_t c = 0; ok && c < to->child_count; c++) {
                ok = vector_append(duckdb_struct_vector_get_child(vector, c), rows, n,
                                   &to->children[c]);
            }
            break;
    }
    if (ok) to->rows += n;
    return ok;
}

bool vector_append_all(duckdb_vector vector, const uint32_t *rows, size_t n,
                       struct column *to) {
    if (to->layout != COLUMN_FIXED || n == 0) return vector_append(vector, rows, n, to);
    const uint64_t *valid = duckdb_vector_get_validity(vector);
    size_t size = n * to->width;
    if (!column_add_validity(to, (const uint8_t *)valid, rows, n) ||
        !column_reserve(&to->data, size))
        return false;
    memcpy(to->data.data + to->data.size, duckdb_vector_get_data(vector), size);
    to->data.size += size;
    to->rows += n;
    return true;
}

static void fill_validity(duckdb_vector vector, const struct column *column,
                          uint64_t first, size_t n) {
    if (column->validity.size == 0) return;
    duckdb_vector_ensure_validity_writable(vector);
    uint64_t *valid = duckdb_vector_get_validity(vector);
    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = n - i < 64 ? UINT64_MAX << (n - i) : 0;
        for (size_t bit = 0; bit < 64 && i + bit < n; bit++)
            word |= (uint64_t)column_valid(column, first + i + bit) << bit;
        valid[i / 64] &= word;
    }
}

// Bytes in the vector's own heap, as it keeps those of a string; of more than a string_t
// has room for. They are taken there as element i, which is then to be set.
static char *keep_bytes(duckdb_vector vector, size_t i, const uint8_t *bytes,
                        uint32_t size) {
    const duckdb_string_t *strings = duckdb_vector_get_data(vector);
    duckdb_unsafe_vector_assign_string_element_len(vector, i, (const char *)bytes, size);
    return strings[i].value.pointer.ptr;
}

// Short ones are in their string_t; the others' bytes are copied at once, those of the
// short ones between them too, as a call for each would cost ten times as much.
static void fill_strings(duckdb_vector vector, const struct column *column,
                         uint64_t first, size_t n) {
    duckdb_string_t *strings = duckdb_vector_get_data(vector);
    const uint32_t *offsets = column_offsets(column) + first;
    char *kept = NULL;  // of offsets[from] to offsets[n]
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = column->data.data + offsets[i];
        uint32_t length = offsets[i + 1] - offsets[i];
        if (!column_valid(column, first + i)) continue;
        if (length <= sizeof strings->value.inlined.inlined) {
            strings[i] = (duckdb_string_t){.value.inlined = {.length = length}};
            copy_short((uint8_t *)strings[i].value.inlined.inlined, bytes, length);
            continue;
        }
        if (kept == NULL) {
            from = i;
            kept = keep_bytes(vector, i, bytes, offsets[n] - offsets[i]);
        }
        strings[i].value.pointer.length = length;
        memcpy(strings[i].value.pointer.prefix, bytes,
               sizeof strings->value.pointer.prefix);
        strings[i].value.pointer.ptr = kept + (offsets[i] - offsets[from]);
    }
}

bool vector_fill(duckdb_vector vector, const struct column *column, uint64_t first,
                 size_t n) {
    if (n == 0) {
        return column->layout != COLUMN_LIST ||
               duckdb_list_vector_set_size(vector, 0) == DuckDBSuccess;
    }
    fill_validity(vector, column, first, n);
    const uint32_t *offsets = column_offsets(column);
    switch (column->layout) {
        case COLUMN_FIXED:
            if (column->packing.width > 0) {
                pack_read(column->data.data + first * column->packing.width,
                          column->packing, column->width, n,
                          duckdb_vector_get_data(vector));
            } else {
                memcpy(duckdb_vector_get_data(vector),
                       column->data.data + first * column->width, n * column->width);
            }
            return true;
        case COLUMN_STRING:
            fill_strings(vector, column, first, n);
            return true;
        case COLUMN_LIST: {
            duckdb_list_entry *entries = duckdb_vector_get_data(vector);
            uint64_t base = offsets[first];
            for (size_t i = 0; i < n; i++) {
                entries[i].offset = offsets[first + i] - base;
                entries[i].length = offsets[first + i + 1] - offsets[first + i];
            }
            size_t total = offsets[first + n] - base;
            if (duckdb_list_vector_reserve(vector, total) != DuckDBSuccess) return false;
            if (duckdb_list_vector_set_size(vector, total) != DuckDBSuccess) return false;
            return vector_fill(duckdb_list_vector_get_child(vector), &column->children[0],
                               base, total);
        }
        case COLUMN_ARRAY:
            return vector_fill(duckdb_array_vector_get_child(vector),
                               &column->children[0], first * column->width,
                               n * column->width);
        case COLUMN_STRUCT:
            for (uint32_t c = 0; c < column->child_count; c++) {
                if (!vector_fill(duckdb_struct_vector_get_child(vector, c),
                                 &column->children[c], first, n)) {
                    return false;
                }
            }
            return true;
    }
    return false;
}
