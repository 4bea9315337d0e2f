// The undo journal of a COPY that died, whatever it says: nothing is touched but its
// staging folder and the target beside it. An inode below 16 in the journal stands for
// that of one of the files here, whose numbers nobody could guess.
#include <dirent.h>
#include <ftw.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "fuzz/fuzz.h"
#include "query/journal.h"

#define STAGING ".shoal-abcdef"

static const char *const folders[] = {"other",
                                      "other/empty",
                                      "other/k=1",
                                      "target",
                                      "target/k=1",
                                      "target/k=2",
                                      STAGING,
                                      STAGING "/ready",
                                      STAGING "/ready/k=1",
                                      STAGING "/ready/k=2",
                                      STAGING "/replaced",
                                      STAGING "/replaced/0"};
static const char *const files[] = {"secret",
                                    "other/a",
                                    "other/k=1/a",
                                    "target/k=1/a",
                                    "target/k=1/new-1",
                                    "target/k=2/new-1",
                                    STAGING "/ready/k=1/new-2"};
#define FOLDERS (sizeof folders / sizeof *folders)
#define FILES (sizeof files / sizeof *files)

static ino_t inode_of(size_t number) {
    struct stat at;
    const char *path = number < FILES             ? files[number]
                       : number < FILES + FOLDERS ? folders[number - FILES]
                                                  : "target";
    return stat(path, &at) == 0 ? at.st_ino : 0;
}

// A folder of its own for this process, so that several can run.
static char home[FUZZ_FOLDER];
static void leave(void) {
    spool_remove_tree(home);
}

static void enter(void) {
    if (*home != '\0') return;
    fuzz_make_folder(home);
    FUZZ_CHECK(chdir(home) == 0 && atexit(leave) == 0);
}

static void clear(void) {
    DIR *folder = opendir(".");
    FUZZ_CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) spool_remove_tree(name);
    }
    closedir(folder);
}

static void lay_out(void) {
    for (size_t i = 0; i < FOLDERS; i++) FUZZ_CHECK(mkdir(folders[i], 0700) == 0);
    for (size_t i = 0; i < FILES; i++) {
        FILE *file = fopen(files[i], "we");
        FUZZ_CHECK(file != NULL && fputs(files[i], file) >= 0 && fclose(file) == 0);
    }
}

static char target[256];  // that the journal names
static bool is_ours(const char *path) {
    size_t name = strcspn(path, "/");
    return (strlen(STAGING) == name && strncmp(path, STAGING, name) == 0) ||
           (strlen(target) == name && strncmp(path, target, name) == 0);
}

static void write_journal(const uint8_t *data, size_t size) {
    json_t *root = json_loadb((const char *)data, size, 0, NULL), *entry;
    size_t i;
    json_array_foreach(json_object_get(root, "entries"), i, entry) {
        json_int_t inode = json_integer_value(json_object_get(entry, "inode"));
        if (inode >= 0 && inode < 16)
            json_object_set_new(entry, "inode",
                                json_integer((json_int_t)inode_of((size_t)inode)));
    }
    const char *named = json_string_value(json_object_get(root, "target"));
    (void)snprintf(target, sizeof target, "%s", named != NULL ? named : "");
    FILE *file = fopen(STAGING "/journal.json", "we");
    FUZZ_CHECK(file != NULL);
    if (root != NULL) {
        FUZZ_CHECK(json_dumpf(root, file, JSON_ENCODE_ANY) == 0);
    } else {
        FUZZ_CHECK(fwrite(data, 1, size, file) == size);
    }
    FUZZ_CHECK(fclose(file) == 0);
    json_decref(root);
}

// What is neither in the staging folder nor in the target.
static size_t others;
static int count_other(const char *path, const struct stat *at, int kind,
                       struct FTW *place) {
    (void)at;
    (void)kind;
    (void)place;
    others += strlen(path) > 1 && !is_ours(path + 2);
    return 0;
}

static size_t count_others(void) {
    others = 0;
    FUZZ_CHECK(nftw(".", count_other, 16, FTW_PHYS) == 0);
    return others;
}

static bool is_whole(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    return size == strlen(path) && strcmp(text, path) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enter();
    lay_out();
    write_journal(data, size);
    size_t before = count_others();
    bool done = journal_undo(STAGING);
    FUZZ_CHECK(count_others() == before);
    for (size_t i = 0; i < 3; i++) FUZZ_CHECK(is_ours(files[i]) || is_whole(files[i]));
    FUZZ_CHECK(is_ours("other") || access("other/empty", F_OK) == 0);
    // What can't be taken back stays as it is, to be looked at.
    FUZZ_CHECK(done == (access(STAGING "/journal.json", F_OK) != 0));
    FUZZ_CHECK(access(STAGING, F_OK) == 0);
    clear();
    return 0;
}
