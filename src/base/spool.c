#include "base/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/text.h"

#define PREFIX "shoal-"

static int remove_one(const char *path, const struct stat *stat, int kind,
                      struct FTW *place) {
    (void)stat;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

void spool_remove_tree(const char *path) {
    nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

// The lock of a folder, or -1 when someone lives in it.
static int take_lock(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    close(fd);
    return -1;
}

// Under another name first: a worker of the dead run that is still writing no longer
// finds the folder, and can't put files into it while it is removed.
static void remove_dead(const char *parent, const char *prefix, const char *path) {
    struct text other = {0};
    text_printf(&other, "%s/%sXXXXXX", parent, prefix);
    bool moved = !other.failed && mkdtemp(other.data) != NULL;
    if (moved && rename(path, other.data) == 0) {
        spool_remove_tree(other.data);
    } else {
        if (moved) (void)rmdir(other.data);
        spool_remove_tree(path);
    }
    text_free(&other);
}

static void sweep(const char *parent, const char *prefix,
                  bool (*undo)(const char *path)) {
    DIR *folder = opendir(parent);
    if (folder == NULL) return;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        // Exactly what mkdtemp made here, not what a user called shoal-something.
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
            strlen(entry->d_name) != strlen(prefix) + 6) {
            continue;
        }
        struct text path = {0};
        struct text mark = {0};
        struct stat stat_of;
        text_printf(&path, "%s/%s", parent, entry->d_name);
        text_printf(&mark, "%s/.shoal-spool", path.data ? path.data : "");
        if (!path.failed && !mark.failed && lstat(mark.data, &stat_of) == 0 &&
            stat_of.st_uid == geteuid()) {
            int lock = take_lock(path.data);
            if (lock >= 0) {
                if (undo == NULL || undo(path.data))
                    remove_dead(parent, prefix, path.data);
                close(lock);
            }
        }
        text_free(&path);
        text_free(&mark);
    }
    closedir(folder);
}

static shoal_status mark_folder(const char *path, struct shoal_error *err) {
    struct text mark = {0};
    text_printf(&mark, "%s/.shoal-spool", path);
    int fd =
        mark.failed ? -1 : open(mark.data, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    text_free(&mark);
    if (fd < 0)
        return shoal_fail(err, SHOAL_IO, "cannot write to %s: %s", path, strerror(errno));
    close(fd);
    return SHOAL_OK;
}

shoal_status spool_open_as(struct spool *spool, const char *parent, const char *prefix,
                           bool (*undo)(const char *path), struct shoal_error *err) {
    struct text path = {0};
    *spool = (struct spool){.lock = -1};
    sweep(parent, prefix, undo);
    text_printf(&path, "%s/%sXXXXXX", parent, prefix);
    spool->path = text_take(&path);
    if (spool->path == NULL) return shoal_no_memory(err);
    if (mkdtemp(spool->path) == NULL) {
        shoal_status status = shoal_fail(
            err, SHOAL_IO, "cannot make a folder for temporary files in %s: %s", parent,
            strerror(errno));
        free(spool->path);
        spool->path = NULL;
        return status;
    }
    spool->lock = take_lock(spool->path);
    shoal_status status = mark_folder(spool->path, err);
    if (status != SHOAL_OK) spool_close(spool);
    return status;
}

shoal_status spool_open(struct spool *spool, const char *parent, const char *option,
                        struct shoal_error *err) {
    if (parent == NULL) parent = getenv("TMPDIR");
    if (parent == NULL || *parent == '\0') parent = "/tmp";
    shoal_status status = spool_open_as(spool, parent, PREFIX, NULL, err);
    if (status == SHOAL_IO && spool->path == NULL) {
        size_t length = strlen(err->message);
        (void)snprintf(err->message + length, sizeof err->message - length,
                       "; choose another with %s", option);
    }
    return status;
}

void spool_close(struct spool *spool) {
    if (spool->path != NULL) spool_remove_tree(spool->path);
    spool_leave(spool);
}

void spool_leave(struct spool *spool) {
    if (spool->lock >= 0) close(spool->lock);
    free(spool->path);
    *spool = (struct spool){.lock = -1};
}

// Those that linux/magic.h does not have.
#define LUSTRE_MAGIC 0x0bd00bd0u
#define GPFS_MAGIC 0x47504653u
#define BEEGFS_MAGIC 0x19830326u

static bool is_remote(uint32_t type) {
    static const uint32_t types[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,
                                     SMB2_SUPER_MAGIC, CEPH_SUPER_MAGIC, V9FS_MAGIC,
                                     FUSE_SUPER_MAGIC, AFS_SUPER_MAGIC,  LUSTRE_MAGIC,
                                     GPFS_MAGIC,       BEEGFS_MAGIC};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i] == type) return true;
    }
    return false;
}

bool spool_space(const char *folder, struct spool_space *space) {
    struct statfs system;
    if (access(folder, W_OK | X_OK) != 0 || statfs(folder, &system) != 0) return false;
    space->in_memory = (uint32_t)system.f_type == TMPFS_MAGIC;
    space->remote = is_remote((uint32_t)system.f_type);
    space->free = (uint64_t)system.f_bavail * (uint64_t)system.f_bsize;
    return true;
}
