// Cutting text files between records, and reading a range of one through a pipe.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lines/cut.h"
#include "lines/feed.h"

static const struct lines_format csv = {
    .delimiter = ',', .quote = '"', .fields = 3, .record_most = 4000};

static size_t certain(const struct lines_format *format, const char *data) {
    return lines_certain_end(format, data, strlen(data));
}

static void test_newline_outside_quotes(void **state) {
    (void)state;
    assert_int_equal(certain(&csv, "xx,y\n1,\"a\",b\n2,c,d\n"), 5);
}

static void test_newline_inside_quotes(void **state) {
    (void)state;
    // From inside a field: what looks like a record of three fields is none.
    assert_int_equal(certain(&csv, "text, more\nof, it\",2,x\n5,\"a\",b\n"), 23);
}

static void test_no_quote_says_nothing_unless_long(void **state) {
    (void)state;
    char data[9001];
    assert_int_equal(certain(&csv, "1,2,3\n4,5,6\n"), 0);
    for (size_t i = 0; i + 6 < sizeof data; i += 6) memcpy(data + i, "1,2,3\n", 6);
    assert_int_equal(lines_certain_end(&csv, data, sizeof data - 1), 6);
}

static void test_lines_end_at_newlines(void **state) {
    (void)state;
    const struct lines_format json = {.record_most = 4000};
    assert_int_equal(certain(&json, "\"a\": 1}\n{\"a\": 2}\n"), 8);
    assert_int_equal(certain(&json, "\"a\": 1}"), 0);
}

static void test_two_readings_left(void **state) {
    (void)state;
    // Until the last byte, all of it may be inside quotes, or none.
    assert_int_equal(certain(&csv, "ab,c\nd,e,\""), 0);
    assert_int_equal(certain(&csv, "ab,c\nd,e,\"f"), 5);
}

// ---- every end that is certain is one

#define TEXT_MOST 20000

struct made {
    char text[TEXT_MOST];
    size_t size;
    bool ends[TEXT_MOST + 1];
};

static void put(struct made *made, const char *bytes) {
    size_t size = strlen(bytes);
    memcpy(made->text + made->size, bytes, size);
    made->size += size;
}

static void put_field(struct made *made, unsigned style) {
    static const char *const plain[] = {"", "7", "abc", "5\" wide", " x ", "a b"};
    static const char *const quoted[] = {
        "\"\"",       "\"a,b\"", "\"x\ny\"", "\"\"\"\"", "\"l\n1,2,3\n4,5,6\"",
        "\"q\"\",\"", "\",\"",   "\"\n\""};
    if (rand() % 10 < (int)style) {
        put(made, quoted[(size_t)rand() % (sizeof quoted / sizeof *quoted)]);
    } else {
        put(made, plain[(size_t)rand() % (sizeof plain / sizeof *plain)]);
    }
}

static void make_text(struct made *made, unsigned style, bool crlf) {
    memset(made->ends, 0, sizeof made->ends);
    made->size = 0;
    while (made->size < TEXT_MOST - 200) {
        for (int f = 0; f < 3; f++) {
            if (f > 0) put(made, ",");
            put_field(made, style);
        }
        put(made, crlf ? "\r\n" : "\n");
        made->ends[made->size] = true;
    }
}

static void test_random_windows(void **state) {
    (void)state;
    static struct made made;
    size_t asked = 0, found = 0;
    srand(7);
    for (unsigned round = 0; round < 60; round++) {
        make_text(&made, round % 10, round % 3 == 0);
        for (unsigned w = 0; w < 100; w++) {
            size_t at = (size_t)rand() % (made.size - 6000);
            size_t end = lines_certain_end(&csv, made.text + at, 6000);
            asked++;
            if (end == 0) continue;
            found++;
            assert_true(made.ends[at + end]);
        }
    }
    assert_true(found > asked / 2);
}

// ---- files

static char *temp_path(const char *name) {
    static char path[2][200];
    static unsigned next;
    char *to = path[next++ % 2];
    (void)snprintf(to, 200, "/tmp/shoal-lines-%d-%s", getpid(), name);
    return to;
}

static void write_file(const char *path, const char *data, size_t size) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void test_cut_file(void **state) {
    (void)state;
    static struct made made;
    uint64_t ends[8];
    size_t count = 0;
    struct shoal_error err;
    char *path = temp_path("cut");
    srand(3);
    make_text(&made, 3, false);
    write_file(path, made.text, made.size);
    assert_int_equal(lines_cut(path, &csv, made.size, 8, ends, &count, &err), SHOAL_OK);
    assert_true(count > 4 && count <= 8);
    for (size_t i = 0; i < count; i++) {
        assert_true(made.ends[ends[i]]);
        assert_true(i == 0 || ends[i] > ends[i - 1]);
    }
    assert_int_equal(ends[count - 1], made.size);
    unlink(path);
    assert_int_equal(lines_cut(path, &csv, made.size, 8, ends, &count, &err), SHOAL_IO);
}

// What comes before the records is in the first part, whole.
static void test_cut_behind_the_header(void **state) {
    (void)state;
    static char text[4096];
    uint64_t ends[64];
    size_t size = 0, head, count = 0;
    struct shoal_error err;
    char *path = temp_path("late");
    struct lines_format format = csv;
    for (int i = 0; i < 50; i++)
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 i % 7 ? "note %d\r\n" : "\r\n", i);
    head = size += (size_t)snprintf(text + size, sizeof text - size, "a,b,c\r\n");
    for (int i = 0; i < 90; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%d,\"x\",\r\n", i);
    write_file(path, text, size);
    format.fields = 3;
    format.before = 43;  // and the lines without anything
    assert_int_equal(lines_cut(path, &format, size, 64, ends, &count, &err), SHOAL_OK);
    assert_true(count > 10 && ends[0] >= head);
    format.before = 10000;
    assert_int_equal(lines_cut(path, &format, size, 64, ends, &count, &err), SHOAL_OK);
    assert_true(count == 1 && ends[0] == size);
    text[3] = '"';
    write_file(path, text, size);
    format.before = 43;
    assert_int_equal(lines_cut(path, &format, size, 64, ends, &count, &err), SHOAL_OK);
    assert_true(count == 1 && ends[0] == size);
    unlink(path);
}

// Reads the pipe to its end; *size bytes of it at most.
static void read_pipe(const char *path, char *data, size_t *size) {
    int fd = open(path, O_RDONLY);
    size_t done = 0;
    ssize_t got = 1;
    assert_true(fd >= 0);
    while (done < *size && (got = read(fd, data + done, *size - done)) > 0)
        done += (size_t)got;
    close(fd);
    *size = done;
}

static void test_feed(void **state) {
    (void)state;
    struct lines_feed *feed = NULL;
    struct shoal_error err;
    size_t all = 3u << 20;
    char *data = malloc(all), *seen = malloc(all + 1);
    for (size_t i = 0; i < all; i++) data[i] = (char)(i * 7 + i / 1000);
    char *path = temp_path("data"), *pipe = temp_path("pipe");
    write_file(path, data, all);

    // More than a pipe holds, and less: it is over before the reader opens it.
    size_t sizes[] = {all - 10, 100};
    for (int i = 0; i < 2; i++) {
        size_t size = sizes[i];
        assert_int_equal(lines_feed_start(pipe, path, 5, 5 + size, &feed, &err),
                         SHOAL_OK);
        size_t got = all;
        read_pipe(pipe, seen, &got);
        assert_int_equal(lines_feed_end(feed, &err), SHOAL_OK);
        assert_int_equal(got, size);
        assert_memory_equal(seen, data + 5, size);
        assert_int_equal(access(pipe, F_OK), -1);
    }
    // A reader that opens it twice before it reads.
    assert_int_equal(lines_feed_start(pipe, path, 0, 100, &feed, &err), SHOAL_OK);
    int first = open(pipe, O_RDONLY);
    assert_true(first >= 0);
    size_t twice = all;
    read_pipe(pipe, seen, &twice);
    close(first);
    assert_int_equal(twice, 100);
    assert_int_equal(lines_feed_end(feed, &err), SHOAL_OK);
    // A reader that stops early, and none at all.
    assert_int_equal(lines_feed_start(pipe, path, 0, all, &feed, &err), SHOAL_OK);
    size_t some = 1000;
    read_pipe(pipe, seen, &some);
    assert_int_equal(lines_feed_end(feed, &err), SHOAL_OK);
    assert_int_equal(lines_feed_start(pipe, path, 0, 100, &feed, &err), SHOAL_OK);
    assert_int_equal(lines_feed_end(feed, &err), SHOAL_OK);
    assert_int_equal(lines_feed_start(pipe, path, 0, all, &feed, &err), SHOAL_OK);
    assert_int_equal(lines_feed_end(feed, &err), SHOAL_OK);
    // A file that is shorter than it was.
    assert_int_equal(lines_feed_start(pipe, path, 0, all + 1, &feed, &err), SHOAL_OK);
    size_t got = all + 1;
    read_pipe(pipe, seen, &got);
    assert_int_equal(lines_feed_end(feed, &err), SHOAL_IO);
    assert_non_null(strstr(err.message, "shorter than it was"));
    unlink(path);
    assert_int_equal(lines_feed_start(pipe, path, 0, 1, &feed, &err), SHOAL_IO);
    free(data);
    free(seen);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newline_outside_quotes),
        cmocka_unit_test(test_newline_inside_quotes),
        cmocka_unit_test(test_no_quote_says_nothing_unless_long),
        cmocka_unit_test(test_lines_end_at_newlines),
        cmocka_unit_test(test_two_readings_left),
        cmocka_unit_test(test_random_windows),
        cmocka_unit_test(test_cut_file),
        cmocka_unit_test(test_cut_behind_the_header),
        cmocka_unit_test(test_feed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
