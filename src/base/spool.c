#include "base/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/text.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define MARK ".shoal-spool"  // in each folder: it is one of these

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

// ---- those that are open

struct open_spool {
    struct open_spool *next;
    char path[];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct open_spool *open_spools;

static bool remember(const char *path) {
    size_t size = strlen(path) + 1;
    struct open_spool *spool = malloc(sizeof *spool + size);
    if (spool == NULL) return false;
    memcpy(spool->path, path, size);
    pthread_mutex_lock(&mutex);
    spool->next = open_spools;
    open_spools = spool;
    pthread_mutex_unlock(&mutex);
    return true;
}

static void forget(const char *path) {
    pthread_mutex_lock(&mutex);
    struct open_spool **link = &open_spools;
    while (*link != NULL && strcmp((*link)->path, path) != 0) link = &(*link)->next;
    struct open_spool *found = *link;
    if (found != NULL) *link = found->next;
    pthread_mutex_unlock(&mutex);
    free(found);
}

void spool_spare(const struct spool *spool) {
    forget(spool->path);
}

void spool_hold(void) {
    pthread_mutex_lock(&mutex);
}

void spool_release(void) {
    pthread_mutex_unlock(&mutex);
}

// ---- removing

static bool is_dot(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// Removes the folder, its mark last: a worker that outlives its driver by a moment may
// still make files in there, and then the next sweep must know the folder again.
static void remove_marked(const char *path) {
    struct text inside = {0}, mark = {0};
    bool empty = true;
    DIR *folder = opendir(path);
    if (folder == NULL) return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (is_dot(entry->d_name) || strcmp(entry->d_name, MARK) == 0) continue;
        text_free(&inside);
        text_printf(&inside, "%s/%s", path, entry->d_name);
        if (!inside.failed) spool_remove_tree(inside.data);
        empty = empty && !inside.failed && access(inside.data, F_OK) != 0;
    }
    closedir(folder);
    text_printf(&mark, "%s/" MARK, path);
    bool unmarked = empty && !mark.failed && (unlink(mark.data) == 0 || errno == ENOENT);
    if (unmarked && rmdir(path) != 0) {
        int fd = open(mark.data, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0) close(fd);
    }
    text_free(&inside);
    text_free(&mark);
}

void spool_abandon_all(void) {
    pthread_mutex_lock(&mutex);
    for (struct open_spool *at = open_spools; at != NULL; at = at->next)
        remove_marked(at->path);
}

// Is this folder what the name says? One that was open and is removed can be locked by
// anybody, while another of the same name has been made and is lived in.
static bool is_named(int fd, const char *path) {
    struct stat locked, named;
    return fstat(fd, &locked) == 0 && lstat(path, &named) == 0 &&
           locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

// The lock of a folder, or -1 when someone lives in it.
static int take_lock(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_named(fd, path)) return fd;
    close(fd);
    return -1;
}

bool spool_is_named(const char *name, const char *prefix) {
    size_t size = strlen(prefix);
    return strncmp(name, prefix, size) == 0 && strlen(name) == size + 6;
}

bool spool_stays_below(const char *path) {
    while (true) {
        size_t size = strcspn(path, "/");
        if (size == 0 || (size == 1 && path[0] == '.') ||
            (size == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        if (path[size] == '\0') return true;
        path += size + 1;
    }
}

bool spool_is_marked(const char *path) {
    struct text mark = {0};
    struct stat at;
    text_printf(&mark, "%s/" MARK, path);
    bool marked = !mark.failed && lstat(mark.data, &at) == 0 && at.st_uid == geteuid();
    text_free(&mark);
    return marked;
}

// Did a process that is dead make this folder? Without a mark, it is empty and as mkdtemp
// makes it: its maker died before the mark was there, or just after.
static bool is_left(const char *path) {
    struct stat at;
    if (spool_is_marked(path)) return true;
    return lstat(path, &at) == 0 && at.st_uid == geteuid() &&
           at.st_mode == (S_IFDIR | 0700);
}

static enum spool_fate remove_left(const char *path, bool (*undo)(const char *path),
                                   bool only_look) {
    if (!is_left(path)) return SPOOL_FOREIGN;
    int lock = take_lock(path);
    if (lock < 0) return SPOOL_ALIVE;
    enum spool_fate fate = SPOOL_REMOVED;
    // One that is empty goes at once, one without a mark in no other way.
    if (only_look) {
        fate = SPOOL_REMOVED;
    } else if (!spool_is_marked(path)) {
        fate = rmdir(path) == 0 ? SPOOL_REMOVED : SPOOL_FOREIGN;
    } else if (undo != NULL && !undo(path)) {
        fate = SPOOL_NEEDED;
    } else {
        remove_marked(path);
        fate = access(path, F_OK) == 0 ? SPOOL_STUCK : SPOOL_REMOVED;
    }
    close(lock);
    return fate;
}

bool spool_sweep(const char *parent, const char *prefix, bool (*undo)(const char *path),
                 bool only_look,
                 void (*tell)(void *context, const char *path, enum spool_fate fate),
                 void *context) {
    DIR *folder = opendir(parent);
    if (folder == NULL) return false;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        // Exactly what mkdtemp made here, not what a user called shoal-something.
        if (!spool_is_named(entry->d_name, prefix)) continue;
        struct text path = {0};
        text_printf(&path, "%s/%s", parent, entry->d_name);
        if (!path.failed) {
            enum spool_fate fate = remove_left(path.data, undo, only_look);
            if (tell != NULL) tell(context, path.data, fate);
        }
        text_free(&path);
    }
    closedir(folder);
    return true;
}

static shoal_status mark_folder(const char *path, struct shoal_error *err) {
    struct text mark = {0};
    text_printf(&mark, "%s/" MARK, path);
    int fd =
        mark.failed ? -1 : open(mark.data, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    text_free(&mark);
    if (fd < 0)
        return shoal_fail(err, SHOAL_IO, "cannot write to %s: %s", path, strerror(errno));
    close(fd);
    return SHOAL_OK;
}

// *gone: another process took the folder for a dead one's, before it was locked.
static shoal_status make_folder(struct spool *spool, const char *parent,
                                const char *prefix, bool *gone, struct shoal_error *err) {
    struct text path = {0};
    *gone = false;
    text_printf(&path, "%s/%sXXXXXX", parent, prefix);
    spool->path = text_take(&path);
    if (spool->path == NULL) return shoal_no_memory(err);
    if (fault_fails(FAULT_SPOOL_CREATE, parent) || mkdtemp(spool->path) == NULL) {
        shoal_status status = shoal_fail(
            err, SHOAL_IO, "cannot make a folder for temporary files in %s: %s", parent,
            strerror(errno));
        free(spool->path);
        spool->path = NULL;
        return status;
    }
    char *whole = realpath(spool->path, NULL);  // workers are told no others
    if (whole != NULL) {
        free(spool->path);
        spool->path = whole;
    }
    spool->lock = take_lock(spool->path);
    shoal_status status =
        remember(spool->path) ? mark_folder(spool->path, err) : shoal_no_memory(err);
    if (status != SHOAL_OK) {
        *gone = access(spool->path, F_OK) != 0;
        spool_close(spool);
    }
    return status;
}

#define TRIES 10

shoal_status spool_open_as(struct spool *spool, const char *parent, const char *prefix,
                           bool (*undo)(const char *path), struct shoal_error *err) {
    bool gone = true;
    shoal_status status = SHOAL_OK;
    *spool = (struct spool){.lock = -1};
    (void)spool_sweep(parent, prefix, undo, false, NULL, NULL);
    for (int i = 0; gone && i < TRIES; i++)
        status = make_folder(spool, parent, prefix, &gone, err);
    return status;
}

static const char *parent_of_all(const char *parent) {
    if (parent == NULL) parent = getenv("TMPDIR");
    return parent == NULL || *parent == '\0' ? "/tmp" : parent;
}

shoal_status spool_open(struct spool *spool, const char *parent, const char *option,
                        struct shoal_error *err) {
    parent = parent_of_all(parent);
    shoal_status status = spool_open_as(spool, parent, SPOOL_PREFIX, NULL, err);
    if (status == SHOAL_IO && spool->path == NULL) {
        size_t length = strlen(err->message);
        (void)snprintf(err->message + length, sizeof err->message - length,
                       "; choose another with %s", option);
    }
    return status;
}

// Six characters, as mkdtemp chooses them.
static void name_by_tag(const char *tag, char name[7]) {
    static const char digits[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t hash = XXH3_64bits(tag, strlen(tag));
    for (size_t i = 0; i < 6; i++) {
        name[i] = digits[hash % (sizeof digits - 1)];
        hash /= sizeof digits - 1;
    }
    name[6] = '\0';
}

// Locks the folder with those that share it. *again: it was just being removed.
static int share_lock(const char *path, bool *again) {
    struct stat locked;
    *again = false;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        *again = errno == ENOENT;
        return -1;
    }
    // Who has it alone is removing it, and soon done.
    bool mine = flock(fd, LOCK_SH) == 0 && fstat(fd, &locked) == 0;
    *again = mine && !is_named(fd, path);
    mine = mine && !*again && locked.st_uid == geteuid();
    if (mine) return fd;
    if (!*again) errno = EPERM;
    close(fd);
    return -1;
}

shoal_status spool_join(struct spool *spool, const char *parent, const char *tag,
                        struct shoal_error *err) {
    struct text path = {0}, mark = {0};
    char name[7];
    bool again = true;
    *spool = (struct spool){.lock = -1, .shared = true};
    parent = parent_of_all(parent);
    name_by_tag(tag, name);
    (void)spool_sweep(parent, SPOOL_PREFIX, NULL, false, NULL, NULL);
    text_printf(&path, "%s/" SPOOL_PREFIX "%s", parent, name);
    text_printf(&mark, "%s/" SPOOL_PREFIX "%s/" MARK, parent, name);
    int fd = -1;
    while (again && !path.failed && !mark.failed) {
        bool made = mkdir(path.data, 0700) == 0 || errno == EEXIST;
        again = false;
        spool->lock = made ? share_lock(path.data, &again) : -1;
        if (spool->lock >= 0)
            fd = open(mark.data, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    shoal_status status = SHOAL_OK;
    if (path.failed || mark.failed) {
        status = shoal_no_memory(err);
    } else if (fd < 0) {
        status =
            shoal_fail(err, SHOAL_IO, "cannot make a folder for temporary files, %s: %s",
                       path.data, strerror(errno));
    } else {
        spool->path = realpath(path.data, NULL);
        if (spool->path == NULL) status = shoal_no_memory(err);
    }
    if (fd >= 0) close(fd);
    text_free(&path);
    text_free(&mark);
    if (status != SHOAL_OK) spool_leave(spool);
    return status;
}

bool spool_adopt(struct spool *spool, const char *prefix, const char *path) {
    const char *end = strrchr(path, '/');
    bool named = spool_is_named(end == NULL ? path : end + 1, prefix);
    *spool = (struct spool){.lock = -1};
    // Its name came from a file: any other folder, empty or not, is someone else's.
    int lock = named && spool_is_marked(path) ? take_lock(path) : -1;
    if (lock < 0) return false;
    *spool = (struct spool){.path = strdup(path), .lock = lock};
    if (spool->path == NULL) close(lock);
    return spool->path != NULL;
}

void spool_close(struct spool *spool) {
    // Giving up the shared lock for the other is two steps: another may have come
    // between.
    bool mine = spool->path != NULL &&
                (!spool->shared || (flock(spool->lock, LOCK_EX | LOCK_NB) == 0 &&
                                    is_named(spool->lock, spool->path)));
    if (mine) remove_marked(spool->path);
    spool_leave(spool);
}

void spool_leave(struct spool *spool) {
    if (spool->path != NULL) forget(spool->path);
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
