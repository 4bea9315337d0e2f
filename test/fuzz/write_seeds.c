// Writes seeds for the fuzzers of what shoal itself writes: messages, frames, block
// files.
//     write_seeds FOLDER
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/frame.h"
#include "block/format.h"
#include "block/registry.h"
#include "block/wire.h"
#include "fuzz/fuzz.h"
#include "support/examples.h"

static const char *folder;

static void put(const char *name, const void *data, size_t size) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    FUZZ_CHECK(file != NULL && fwrite(data, 1, size, file) == size);
    FUZZ_CHECK(fclose(file) == 0);
}

// ---- messages

static char *task_text(bool rich) {
    struct shoal_error err;
    char *text = NULL;
    FUZZ_CHECK(task_encode(example_task(rich), &text, &err) == SHOAL_OK);
    return text;
}

static char *output_text(bool rich) {
    struct shoal_error err;
    char *text = NULL;
    FUZZ_CHECK(task_output_encode(7, 1, example_output(rich), &text, &err) == SHOAL_OK);
    return text;
}

// ---- frames

struct bytes {
    uint8_t data[20000];
    size_t size;
};

static void add_frame(struct bytes *bytes, enum frame_type type, const char *payload) {
    size_t size = strlen(payload);
    // Their numbers are the fuzzer's to make.
    uint8_t header[FUZZ_HEADER] = {(uint8_t)size, (uint8_t)(size >> 8)};
    header[FUZZ_HEADER - 1] = (uint8_t)type;
    FUZZ_CHECK(bytes->size + sizeof header + size <= sizeof bytes->data);
    memcpy(bytes->data + bytes->size, header, sizeof header);
    memcpy(bytes->data + bytes->size + sizeof header, payload, size);
    bytes->size += sizeof header + size;
}

static void write_messages(void) {
    static struct bytes session, cancels, mixed;
    char *plain = task_text(false), *rich = task_text(true);
    char *output = output_text(false), *learned = output_text(true);
    put("task/plain", plain, strlen(plain));
    put("task/rich", rich, strlen(rich));
    put("task/output", output, strlen(output));
    put("task/learned", learned, strlen(learned));
    add_frame(
        &session, FRAME_HELLO,
        "{\"proof\":\"ppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp"
        "p\",\"threads\":2,\"memory\":1000,\"temp_limit\":0,\"temp_dir\":\"/\","
        "\"allowed\":[],\"init_sql\":\"SELECT 1\"}");
    add_frame(&session, FRAME_RUN, plain);
    add_frame(&session, FRAME_CANCEL, "{\"task\":7,\"attempt\":1}");
    add_frame(&session, FRAME_BYE, "");
    put("worker/session", session.data, session.size);
    cancels = session;
    cancels.size -= FUZZ_HEADER;  // without its end
    for (int i = 0; i < 40; i++)
        add_frame(&cancels, i % 8 == 0 ? FRAME_RUN : FRAME_CANCEL,
                  i % 8 == 0 ? plain : "{\"task\":7,\"attempt\":1}");
    put("worker/cancels", cancels.data, cancels.size);
    add_frame(&mixed, FRAME_HEARTBEAT, "");
    add_frame(&mixed, FRAME_DONE, learned);
    add_frame(&mixed, FRAME_FAILED, "{\"task\":7,\"attempt\":1,\"message\":\"no\"}");
    put("frame/mixed", mixed.data, mixed.size);
    put("frame/torn", mixed.data, mixed.size - 9);
    free(plain);
    free(rich);
    free(output);
    free(learned);
}

// ---- block files

struct columns {
    const struct column *shapes;
    size_t count;
};

static void write_block(const char *name, struct columns of, bool compress, size_t rows) {
    char path[4096];
    struct shoal_error err;
    struct block_writer *writer = NULL;
    struct block_storage storage = {.compress = compress};
    struct block_output_file learned = {0};
    struct block_output files;
    (void)snprintf(path, sizeof path, "%s/block/%s", folder, name);
    (void)unlink(path);
    FUZZ_CHECK(block_bind_output(path, &storage, 3, BLOCK_WHOLE, NULL, &err) == SHOAL_OK);
    FUZZ_CHECK(block_writer_open(registry_output(path), path, of.shapes, of.count,
                                 &writer, &err) == SHOAL_OK);
    for (uint32_t p = 0; rows > 0 && p < 2; p++) {
        struct column *columns = block_writer_columns(writer, p * 2);
        for (size_t c = 0; c < of.count; c++)
            FUZZ_CHECK(example_add_rows(&columns[c], 1000 * p, rows));
        block_writer_added(writer, p * 2, rows);
    }
    FUZZ_CHECK(block_writer_finish(writer, &learned, &err) == SHOAL_OK);
    block_writer_close(writer);
    block_take_output(path, &files);
    block_output_free(&files);
}

// ---- requests to a block server

static void add_request(struct bytes *bytes, enum wire_kind kind, const char *path,
                        uint64_t offset, uint64_t size) {
    struct wire_request request;
    wire_make_request(&request, kind, (uint16_t)strlen(path), offset, size);
    FUZZ_CHECK(bytes->size + sizeof request + strlen(path) <= sizeof bytes->data);
    memcpy(bytes->data + bytes->size, &request, sizeof request);
    memcpy(bytes->data + bytes->size + sizeof request, path, strlen(path));
    bytes->size += sizeof request + strlen(path);
}

static void write_requests(void) {
    static struct bytes sound, refused, ended;
    add_request(&sound, WIRE_TAIL, "/fuzz/file", 0, 1000);
    add_request(&sound, WIRE_READ, "/fuzz/file", 0, 70000);
    add_request(&sound, WIRE_READ, "/fuzz/file", 69999, 1);
    add_request(&sound, WIRE_TAIL, "/fuzz/none", 0, 9);
    put("server/sound", sound.data, sound.size);
    add_request(&refused, WIRE_READ, "/fuzz/file", 69999, 2);
    add_request(&refused, WIRE_READ, "/fuzz/link", 0, 1);
    add_request(&refused, WIRE_READ, "/fuzz/pipe", 0, 1);
    add_request(&refused, WIRE_READ, "/fuzz/../etc/passwd", 0, 1);
    add_request(&refused, WIRE_TAIL, "/etc/passwd", 0, 1);
    add_request(&refused, WIRE_TAIL, "/fuzz/other", 0, 1);
    put("server/refused", refused.data, refused.size);
    add_request(&ended, WIRE_READ, "/fuzz/file", 10, 65536);
    add_request(&ended, WIRE_READ, "/fuzz/file", UINT64_MAX, 1);
    add_request(&ended, WIRE_READ, "/fuzz/file", 0, 1);
    put("server/ended", ended.data, ended.size);
}

int main(int argc, char **argv) {
    FUZZ_CHECK(argc == 2);
    folder = argv[1];
    write_messages();
    write_requests();
    struct columns all = {example_shapes(), EXAMPLE_COLUMNS};
    struct columns offsets = {example_offset_shapes(), EXAMPLE_OFFSET_COLUMNS};
    write_block("few", all, false, 20);
    write_block("packed", all, true, 200);
    write_block("none", all, false, 0);
    write_block("offsets", offsets, false, 20);
    return 0;
}
