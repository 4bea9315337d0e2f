#include "parquet/footer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TAIL 8  // length and magic
#define FOOTER_MOST (1 << 30)
#define DEPTH_MOST 32

enum wire_type {
    WIRE_STOP = 0,
    WIRE_TRUE = 1,
    WIRE_FALSE = 2,
    WIRE_BYTE = 3,
    WIRE_I16 = 4,
    WIRE_I32 = 5,
    WIRE_I64 = 6,
    WIRE_DOUBLE = 7,
    WIRE_BINARY = 8,
    WIRE_LIST = 9,
    WIRE_SET = 10,
    WIRE_MAP = 11,
    WIRE_STRUCT = 12,
    WIRE_UUID = 13,
};

// Once `bad`, every read gives 0 and nothing moves: checked where it matters.
struct wire {
    const uint8_t *at, *end;
    bool bad;
};

struct field {
    int id;
    unsigned type;
};

struct bytes {
    const uint8_t *data;
    size_t size;
};

static uint8_t read_byte(struct wire *wire) {
    if (wire->bad || wire->at == wire->end) {
        wire->bad = true;
        return 0;
    }
    return *wire->at++;
}

static uint64_t read_varint(struct wire *wire) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_byte(wire);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    wire->bad = true;
    return 0;
}

static int64_t read_integer(struct wire *wire) {
    uint64_t value = read_varint(wire);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static struct bytes read_binary(struct wire *wire) {
    uint64_t size = read_varint(wire);
    if (wire->bad || size > (uint64_t)(wire->end - wire->at)) {
        wire->bad = true;
        return (struct bytes){0};
    }
    struct bytes bytes = {wire->at, (size_t)size};
    wire->at += size;
    return bytes;
}

// The next field of a struct; false at its end.
static bool next_field(struct wire *wire, struct field *field) {
    uint8_t head = read_byte(wire);
    field->type = head & 0x0f;
    if (wire->bad || field->type == WIRE_STOP) return false;
    int64_t id = head >> 4 != 0 ? field->id + (head >> 4) : read_integer(wire);
    if (id < 0 || id > INT16_MAX) wire->bad = true;
    field->id = (int)id;
    return !wire->bad;
}

// The number of elements; each takes a byte at least, so that a count can't ask for more
// memory than the footer is long.
static size_t read_list(struct wire *wire, unsigned *type) {
    uint8_t head = read_byte(wire);
    uint64_t count = head >> 4;
    *type = head & 0x0f;
    if (count == 15) count = read_varint(wire);
    if (wire->bad || count > (uint64_t)(wire->end - wire->at)) {
        wire->bad = true;
        return 0;
    }
    return (size_t)count;
}

static void skip(struct wire *wire, unsigned type, bool element, int depth);

static void skip_struct(struct wire *wire, int depth) {
    struct field field = {0};
    while (next_field(wire, &field)) skip(wire, field.type, false, depth + 1);
}

static void skip_map(struct wire *wire, int depth) {
    uint64_t count = read_varint(wire);
    uint8_t types = count > 0 ? read_byte(wire) : 0;
    for (uint64_t i = 0; i < count && !wire->bad; i++) {
        skip(wire, types >> 4, true, depth + 1);
        skip(wire, types & 0x0f, true, depth + 1);
    }
}

// A boolean has its value in its type as a field, and a byte of its own in a list.
static void skip(struct wire *wire, unsigned type, bool element, int depth) {
    if (depth > DEPTH_MOST) wire->bad = true;
    if (wire->bad) return;
    unsigned of;
    size_t count;
    switch (type) {
        case WIRE_TRUE:
        case WIRE_FALSE:
            if (element) read_byte(wire);
            break;
        case WIRE_BYTE:
            read_byte(wire);
            break;
        case WIRE_I16:
        case WIRE_I32:
        case WIRE_I64:
            read_varint(wire);
            break;
        case WIRE_DOUBLE:
            for (int i = 0; i < 8; i++) read_byte(wire);
            break;
        case WIRE_UUID:
            for (int i = 0; i < 16; i++) read_byte(wire);
            break;
        case WIRE_BINARY:
            read_binary(wire);
            break;
        case WIRE_LIST:
        case WIRE_SET:
            count = read_list(wire, &of);
            for (size_t i = 0; i < count && !wire->bad; i++)
                skip(wire, of, true, depth + 1);
            break;
        case WIRE_MAP:
            skip_map(wire, depth);
            break;
        case WIRE_STRUCT:
            skip_struct(wire, depth);
            break;
        default:
            wire->bad = true;
            break;
    }
}

// ---- the schema: which leaf (a column chunk of a row group) is which top-level column

#define TYPE_INT32 1
#define TYPE_INT64 2

struct leaf {
    size_t column;  // SIZE_MAX: none of ours
    bool wide;
};

struct parser {
    struct wire wire;
    struct parquet_footer *footer;
    struct leaf *leaves;
    size_t leaf_count;
    bool no_memory;
};

// What an INT32 or INT64 stands for.
enum meaning { MEANS_INTEGER, MEANS_DATE, MEANS_OTHER };

struct element {
    int64_t type, repetition, children;
    enum meaning meaning;
    struct bytes name;
};

static enum meaning converted_meaning(int64_t converted) {
    if (converted == 6) return MEANS_DATE;
    bool small_unsigned = converted == 11 || converted == 12;
    bool is_signed = converted >= 15 && converted <= 18;
    return small_unsigned || is_signed ? MEANS_INTEGER : MEANS_OTHER;
}

static enum meaning integer_meaning(struct wire *wire) {
    struct field field = {0};
    unsigned width = 64;
    bool is_signed = false;
    while (next_field(wire, &field)) {
        if (field.id == 1 && field.type == WIRE_BYTE) {
            width = read_byte(wire);
        } else {
            is_signed = is_signed || (field.id == 2 && field.type == WIRE_TRUE);
            skip(wire, field.type, false, 0);
        }
    }
    return is_signed || width <= 16 ? MEANS_INTEGER : MEANS_OTHER;
}

// A union: one field, whose number says which.
static enum meaning logical_meaning(struct wire *wire) {
    struct field field = {0};
    enum meaning meaning = MEANS_OTHER;
    while (next_field(wire, &field)) {
        if (field.id == 10 && field.type == WIRE_STRUCT) {
            meaning = integer_meaning(wire);
        } else {
            if (field.id == 6) meaning = MEANS_DATE;
            skip(wire, field.type, false, 0);
        }
    }
    return meaning;
}

static struct element read_element(struct wire *wire) {
    struct element element = {.type = -1};
    struct field field = {0};
    while (next_field(wire, &field)) {
        if (field.id == 1 && field.type == WIRE_I32) {
            element.type = read_integer(wire);
        } else if (field.id == 3 && field.type == WIRE_I32) {
            element.repetition = read_integer(wire);
        } else if (field.id == 4 && field.type == WIRE_BINARY) {
            element.name = read_binary(wire);
        } else if (field.id == 5 && field.type == WIRE_I32) {
            element.children = read_integer(wire);
        } else if (field.id == 6 && field.type == WIRE_I32) {
            element.meaning = converted_meaning(read_integer(wire));
        } else if (field.id == 10 && field.type == WIRE_STRUCT) {
            element.meaning = logical_meaning(wire);
        } else {
            skip(wire, field.type, false, 0);
        }
    }
    return element;
}

static void add_leaf(struct parser *parser, const struct element *element, bool top) {
    struct parquet_footer *footer = parser->footer;
    bool ours = top && element->repetition != 2 && element->meaning != MEANS_OTHER &&
                (element->type == TYPE_INT32 || element->type == TYPE_INT64);
    struct leaf *leaf = &parser->leaves[parser->leaf_count++];
    *leaf = (struct leaf){.column = SIZE_MAX, .wide = element->type == TYPE_INT64};
    if (!ours) return;
    char *name = malloc(element->name.size + 1);
    if (name == NULL) {
        parser->no_memory = true;
        return;
    }
    if (element->name.size > 0) memcpy(name, element->name.data, element->name.size);
    name[element->name.size] = '\0';
    leaf->column = footer->column_count;
    footer->columns[footer->column_count++] =
        (struct parquet_column){.name = name, .date = element->meaning == MEANS_DATE};
}

// The elements are the schema's tree in preorder; open[] are the children that each node
// on the way down still waits for.
static void read_schema(struct parser *parser) {
    struct wire *wire = &parser->wire;
    unsigned type;
    size_t count = read_list(wire, &type);
    parser->leaves = calloc(count + 1, sizeof *parser->leaves);
    parser->footer->columns = calloc(count + 1, sizeof *parser->footer->columns);
    int64_t *open = calloc(count + 1, sizeof *open);
    size_t depth = 0;
    if (parser->leaves == NULL || parser->footer->columns == NULL || open == NULL) {
        parser->no_memory = true;
        free(open);
        return;
    }
    for (size_t i = 0; i < count && type == WIRE_STRUCT && !wire->bad; i++) {
        struct element element = read_element(wire);
        while (depth > 0 && open[depth - 1] == 0) depth--;
        if (depth > 0) open[depth - 1]--;
        if (element.children > 0) {
            open[depth++] = element.children;
        } else if (i > 0) {
            add_leaf(parser, &element, depth == 1);
        }
    }
    free(open);
}

// ---- row groups

static bool read_bound(struct bytes bytes, bool wide, int64_t *value) {
    int32_t narrow;
    if (bytes.size != (wide ? 8u : 4u)) return false;
    if (wide) {
        memcpy(value, bytes.data, 8);
    } else {
        memcpy(&narrow, bytes.data, 4);
        *value = narrow;
    }
    return true;
}

// min_value and max_value; else min and max, which older writers give and which are right
// for signed integers.
static struct parquet_range read_statistics(struct wire *wire, bool wide) {
    struct bytes bounds[7] = {{0}};
    struct field field = {0};
    struct parquet_range range = {0};
    while (next_field(wire, &field)) {
        bool bound = field.id == 1 || field.id == 2 || field.id == 5 || field.id == 6;
        if (bound && field.type == WIRE_BINARY) {
            bounds[field.id] = read_binary(wire);
        } else if (field.id == 3 && field.type == WIRE_I64) {
            range.no_nulls = read_integer(wire) == 0;
        } else {
            skip(wire, field.type, false, 0);
        }
    }
    struct bytes low = bounds[6].data ? bounds[6] : bounds[2];
    struct bytes high = bounds[5].data ? bounds[5] : bounds[1];
    range.known = !wire->bad && low.data != NULL && high.data != NULL &&
                  read_bound(low, wide, &range.min) &&
                  read_bound(high, wide, &range.max) && range.min <= range.max;
    return range;
}

static void read_chunk_metadata(struct wire *wire, bool wide,
                                struct parquet_range *range) {
    struct field field = {0};
    while (next_field(wire, &field)) {
        if (field.id == 12 && field.type == WIRE_STRUCT) {
            *range = read_statistics(wire, wide);
        } else {
            skip(wire, field.type, false, 0);
        }
    }
}

static void read_chunk(struct parser *parser, size_t leaf, struct parquet_range *ranges) {
    struct parquet_range range = {0};
    struct field field = {0};
    bool ours = leaf < parser->leaf_count && parser->leaves[leaf].column != SIZE_MAX;
    while (next_field(&parser->wire, &field)) {
        if (ours && field.id == 3 && field.type == WIRE_STRUCT) {
            read_chunk_metadata(&parser->wire, parser->leaves[leaf].wide, &range);
        } else {
            skip(&parser->wire, field.type, false, 0);
        }
    }
    if (ours) ranges[parser->leaves[leaf].column] = range;
}

static void read_group(struct parser *parser, uint64_t *rows,
                       struct parquet_range *ranges) {
    struct wire *wire = &parser->wire;
    struct field field = {0};
    unsigned type;
    while (next_field(wire, &field)) {
        if (field.id == 1 && field.type == WIRE_LIST) {
            size_t count = read_list(wire, &type);
            if (type != WIRE_STRUCT) wire->bad = true;
            for (size_t c = 0; c < count && !wire->bad; c++)
                read_chunk(parser, c, ranges);
        } else if (field.id == 3 && field.type == WIRE_I64) {
            int64_t value = read_integer(wire);
            *rows = value > 0 ? (uint64_t)value : 0;
        } else {
            skip(wire, field.type, false, 0);
        }
    }
}

static void read_groups(struct parser *parser) {
    struct parquet_footer *footer = parser->footer;
    unsigned type;
    size_t count = read_list(&parser->wire, &type);
    size_t columns = footer->column_count;
    // A group has a byte at least for each column: its chunk.
    size_t left = (size_t)(parser->wire.end - parser->wire.at);
    if (type != WIRE_STRUCT || footer->rows != NULL ||
        (columns > 0 && count > left / columns)) {
        parser->wire.bad = true;
        return;
    }
    footer->rows = calloc(count + 1, sizeof *footer->rows);
    footer->ranges = calloc(count * columns + 1, sizeof *footer->ranges);
    if (footer->rows == NULL || footer->ranges == NULL) {
        parser->no_memory = true;
        return;
    }
    for (size_t g = 0; g < count && !parser->wire.bad; g++) {
        read_group(parser, &footer->rows[g], &footer->ranges[g * columns]);
        footer->group_count++;
    }
}

shoal_status parquet_footer_parse(const uint8_t *data, size_t size,
                                  struct parquet_footer *footer,
                                  struct shoal_error *err) {
    *footer = (struct parquet_footer){0};
    struct parser parser = {.wire = {.at = data, .end = data + size}, .footer = footer};
    struct field field = {0};
    while (!parser.no_memory && next_field(&parser.wire, &field)) {
        if (field.id == 2 && field.type == WIRE_LIST && parser.leaves == NULL) {
            read_schema(&parser);
        } else if (field.id == 4 && field.type == WIRE_LIST && parser.leaves != NULL) {
            read_groups(&parser);
        } else {
            skip(&parser.wire, field.type, false, 0);
        }
    }
    free(parser.leaves);
    if (parser.no_memory) return shoal_no_memory(err);
    if (!parser.wire.bad) return SHOAL_OK;
    return shoal_fail(err, SHOAL_UNSUPPORTED, "a Parquet footer that is not understood");
}

static shoal_status read_tail(int fd, const char *path, uint8_t **data, size_t *size,
                              struct shoal_error *err) {
    uint8_t tail[TAIL];
    uint64_t length = 0;
    uint32_t footer = 0;
    shoal_status status = io_size(fd, path, &length, err);
    if (status == SHOAL_OK && length < TAIL)
        status = shoal_fail(err, SHOAL_UNSUPPORTED, "%s is too short", path);
    if (status == SHOAL_OK)
        status = io_read_at(FAULT_INPUT_READ, fd, path, tail, TAIL, length - TAIL, err);
    if (status != SHOAL_OK) return status;
    memcpy(&footer, tail, sizeof footer);
    if (memcmp(tail + 4, "PAR1", 4) != 0 || footer > length - TAIL ||
        footer > FOOTER_MOST) {
        return shoal_fail(err, SHOAL_UNSUPPORTED, "%s has no plain Parquet footer", path);
    }
    *size = footer;
    *data = malloc(*size + 1);
    if (*data == NULL) return shoal_no_memory(err);
    return io_read_at(FAULT_INPUT_READ, fd, path, *data, *size, length - TAIL - footer,
                      err);
}

// The footer's bytes; free() them.
static shoal_status read_bytes(const char *path, uint8_t **data, size_t *size,
                               struct shoal_error *err) {
    int fd = -1;
    shoal_status status = io_open(FAULT_INPUT_OPEN, path, &fd, err);
    if (status != SHOAL_OK) return status;
    status = read_tail(fd, path, data, size, err);
    close(fd);
    return status;
}

shoal_status parquet_footer_read(const char *path, struct parquet_footer *footer,
                                 struct shoal_error *err) {
    uint8_t *data = NULL;
    size_t size = 0;
    *footer = (struct parquet_footer){0};
    shoal_status status = read_bytes(path, &data, &size, err);
    if (status == SHOAL_OK) status = parquet_footer_parse(data, size, footer, err);
    free(data);
    return status;
}

shoal_status parquet_footer_hash(const char *path, uint64_t *hash,
                                 struct shoal_error *err) {
    uint8_t *data = NULL;
    size_t size = 0;
    shoal_status status = read_bytes(path, &data, &size, err);
    if (status == SHOAL_OK) *hash = XXH3_64bits(data, size);
    free(data);
    return status;
}

void parquet_footer_free(struct parquet_footer *footer) {
    for (size_t c = 0; c < footer->column_count; c++) free(footer->columns[c].name);
    free(footer->columns);
    free(footer->rows);
    free(footer->ranges);
    *footer = (struct parquet_footer){0};
}
