#include "query/memory_tier.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/spool.h"
#include "base/text.h"
#include "block/block.h"

#define FOLDER "/dev/shm"
#define GRANT_LEAST (64u << 10)  // a task that has less writes to disk
#define SPARES_SHARE 4           // of what is left, at most

const char *memory_tier_parent(const char *asked, uint64_t *bytes) {
    const char *parent = asked != NULL ? asked : FOLDER;
    struct spool_space space;
    *bytes = 0;
    if (strcmp(parent, "none") == 0) return NULL;
    // A folder that was asked for and is none is an error once a spool is opened there.
    bool usable = spool_space(parent, &space);
    if (asked == NULL && !(usable && space.in_memory)) return NULL;
    if (usable) *bytes = space.free / 2;
    return parent;
}

shoal_status memory_tier_open(struct memory_tier *tier, const char *spool, uint32_t query,
                              uint64_t bytes, struct spares *spares,
                              struct shoal_error *err) {
    struct text folder = {0};
    text_printf(&folder, "%s/q%u", spool, query);
    *tier = (struct memory_tier){
        .folder = text_take(&folder), .left = bytes, .spool = spool, .spares = spares};
    if (tier->folder == NULL) return shoal_no_memory(err);
    if (mkdir(tier->folder, 0700) != 0) {  // full: the disk will do
        free(tier->folder);
        tier->folder = NULL;
    }
    return SHOAL_OK;
}

void memory_tier_close(struct memory_tier *tier) {
    if (tier->folder != NULL) spool_remove_tree(tier->folder);
    for (size_t i = 0; i < tier->count; i++) free(tier->grants[i].path);
    free(tier->grants);
    free(tier->folder);
    *tier = (struct memory_tier){0};
}

// Spares that a worker may find beside the task's files, each within the grant. The
// worker takes them by their names (block/target.c), so no message speaks of them.
static void lend_spares(struct memory_tier *tier, struct memory_grant *grant,
                        const struct memory_need *need) {
    uint64_t most = grant->bytes / need->files;
    while (need->bytes >= GRANT_LEAST && grant->lent < need->files) {
        struct text path = {0};
        text_printf(&path, BLOCK_SPARE, grant->path, grant->lent);
        uint64_t lent =
            path.failed ? 0 : spares_lend(tier->spares, need->bytes, most, path.data);
        text_free(&path);
        if (lent == 0) return;
        grant->bytes += lent;
        grant->lent++;
    }
}

// Those that the task had no use for, or nobody took.
static void take_spares(struct memory_tier *tier, const struct memory_grant *grant) {
    for (uint32_t i = 0; i < grant->lent; i++) {
        struct text path = {0};
        struct stat info;
        text_printf(&path, BLOCK_SPARE, grant->path, i);
        if (!path.failed && stat(path.data, &info) == 0 &&
            !spares_keep(tier->spares, tier->spool, path.data, (uint64_t)info.st_size))
            (void)unlink(path.data);
        text_free(&path);
    }
}

shoal_status memory_tier_grant(struct memory_tier *tier, struct task *task,
                               uint32_t worker, const struct memory_need *need,
                               struct shoal_error *err) {
    if (tier->folder == NULL) return SHOAL_OK;
    spares_shrink(tier->spares, tier->left / SPARES_SHARE);
    // Places that are taken have had their part: those that are free share what is left.
    uint64_t free_places = need->places > tier->count ? need->places - tier->count : 1;
    uint64_t bytes = (tier->left - tier->spares->bytes) / free_places;
    if (bytes < GRANT_LEAST) return SHOAL_OK;
    if (tier->count == tier->capacity) {
        size_t capacity = tier->capacity ? tier->capacity * 2 : 16;
        struct memory_grant *grants = realloc(tier->grants, capacity * sizeof *grants);
        if (grants == NULL) return shoal_no_memory(err);
        tier->grants = grants;
        tier->capacity = capacity;
    }
    struct text path = {0};
    const char *name = strrchr(task->output, '/');
    text_printf(&path, "%s%s", tier->folder, name != NULL ? name : "/");
    struct memory_grant grant = {.task = task->id,
                                 .attempt = task->attempt,
                                 .worker = worker,
                                 .bytes = bytes,
                                 .path = text_take(&path)};
    free(task->memory_output);
    task->memory_output = grant.path == NULL ? NULL : strdup(grant.path);
    if (task->memory_output == NULL) {
        free(grant.path);
        return shoal_no_memory(err);
    }
    lend_spares(tier, &grant, need);
    task->memory_bytes = grant.bytes;
    tier->left -= grant.bytes;
    tier->grants[tier->count++] = grant;
    return SHOAL_OK;
}

static void give_back(struct memory_tier *tier, struct memory_grant *grant) {
    tier->left += grant->bytes;
    free(grant->path);
    *grant = tier->grants[--tier->count];
}

void memory_tier_settle(struct memory_tier *tier, uint64_t task, uint32_t attempt,
                        const struct task_output *output, bool counts) {
    for (size_t i = 0; i < tier->count; i++) {
        if (tier->grants[i].task != task || tier->grants[i].attempt != attempt) continue;
        take_spares(tier, &tier->grants[i]);
        give_back(tier, &tier->grants[i]);
        break;
    }
    for (size_t f = 0; output != NULL && f < output->count; f++) {
        const struct task_file *file = &output->files[f];
        if (file->memory == 0) continue;
        // More than was granted would be a worker's defect: the account stays sane.
        if (counts) tier->left -= file->memory < tier->left ? file->memory : tier->left;
        if (!counts) unlink(file->path);
    }
}

// Files of one attempt: "<its path>", or that and ".something".
static void remove_files(const struct memory_tier *tier, const char *path) {
    const char *name = path + strlen(tier->folder) + 1;
    size_t size = strlen(name);
    DIR *folder = opendir(tier->folder);
    if (folder == NULL) return;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char after = strncmp(entry->d_name, name, size) == 0 ? entry->d_name[size] : 'x';
        if (after == '\0' || after == '.')
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

void memory_tier_lose(struct memory_tier *tier, uint32_t worker) {
    for (size_t i = tier->count; i-- > 0;) {
        if (tier->grants[i].worker != worker) continue;
        remove_files(tier, tier->grants[i].path);
        give_back(tier, &tier->grants[i]);
    }
}

bool memory_tier_keep(struct memory_tier *tier, const struct task_file *file) {
    return file->memory > 0 && tier->folder != NULL &&
           spares_keep(tier->spares, tier->spool, file->path, file->memory);
}

void memory_tier_return(struct memory_tier *tier, const struct task_file *file) {
    tier->left += file->memory;
}
