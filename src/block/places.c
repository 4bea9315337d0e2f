#include "block/places.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "base/spool.h"

struct kept {
    char *logical, *folder;
};

struct served {
    uint32_t writer;
    struct places_addresses at;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // guards all below
static struct kept kept[PLACES_FOLDERS];
static size_t kept_count;
static struct served *served;  // in the order of their writers
static size_t served_count, served_capacity;

shoal_status places_keep(const char *logical, const char *folder,
                         struct shoal_error *err) {
    if (!path_is_plain(logical) || !path_is_plain(folder)) {
        return shoal_fail(
            err, SHOAL_USAGE,
            "cannot keep the files of %.1000s in %.1000s: both must be whole "
            "paths without . and ..",
            logical, folder);
    }
    struct kept new = {strdup(logical), strdup(folder)};
    shoal_status status =
        new.logical == NULL || new.folder == NULL ? shoal_no_memory(err) : SHOAL_OK;
    size_t at = 0;
    pthread_mutex_lock(&mutex);
    while (at < kept_count && strcmp(kept[at].logical, logical) != 0) at++;
    if (status == SHOAL_OK && at == PLACES_FOLDERS) {
        status = shoal_fail(err, SHOAL_USAGE,
                            "cannot keep the files of %.1000s elsewhere: those of %d "
                            "folders are already, which is the most",
                            logical, PLACES_FOLDERS);
    }
    if (status == SHOAL_OK) {
        struct kept old = kept[at];
        kept[at] = new;
        new = old;
        if (at == kept_count) kept_count++;
    }
    pthread_mutex_unlock(&mutex);
    free(new.logical);
    free(new.folder);
    return status;
}

// What comes behind the folder in a path to it or below it; NULL: it is neither.
static const char *rest_of(const char *path, const char *folder) {
    if (strcmp(path, folder) == 0) return "";
    return path_is_below(path, folder) ? path + strlen(folder) : NULL;
}

static char *join(const char *folder, const char *rest) {
    size_t size = strlen(folder), more = strlen(rest);
    char *path = malloc(size + more + 1);
    if (path == NULL) return NULL;
    memcpy(path, folder, size);
    memcpy(path + size, rest, more + 1);
    return path;
}

// The longest folder that holds the path counts. *found: there is one.
static char *translate(const char *path, bool to_local, size_t *root) {
    char *result = NULL;
    size_t longest = 0;
    bool found = false, failed = false;
    if (root != NULL) *root = 0;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < kept_count; i++) {
        const char *from = to_local ? kept[i].logical : kept[i].folder;
        const char *to = to_local ? kept[i].folder : kept[i].logical;
        const char *rest = rest_of(path, from);
        if (rest == NULL || (found && strlen(from) <= longest)) continue;
        free(result);
        result = join(to, rest);
        failed = result == NULL;
        found = true;
        longest = strlen(from);
        if (root != NULL) *root = strlen(to);
    }
    pthread_mutex_unlock(&mutex);
    return found || failed ? result : strdup(path);
}

char *places_local(const char *path) {
    return translate(path, true, NULL);
}

char *places_logical(const char *path) {
    return translate(path, false, NULL);
}

char *places_local_to_write(const char *path) {
    size_t root = 0;
    char *local = translate(path, true, &root);
    if (local == NULL || root == 0) return local;
    for (char *at = local + root; (at = strchr(at, '/')) != NULL; *at++ = '/') {
        *at = '\0';
        (void)mkdir(local, 0700);  // who writes there says why it could not be made
    }
    return local;
}

// Is the place in a name such as "s0.t1.a0.w7"? A folder of the user's may have the like.
static bool is_output(const char *path, size_t at) {
    while (at > 0 && path[at - 1] != '/') at--;
    return (path[at] == 's' || path[at] == 'm') && isdigit((unsigned char)path[at + 1]);
}

bool places_writer(const char *path, uint32_t *writer) {
    size_t size = strlen(path);
    for (size_t at = size; at-- > 0;) {
        if (path[at] != '.' || path[at + 1] != 'w') continue;
        const char *digit = path + at + 2;
        uint64_t number = 0;
        size_t digits = strspn(digit, "0123456789");
        char after = digit[digits];
        if (digits == 0 || digits > 10 || (after != '\0' && after != '.' && after != '/'))
            continue;
        if (!is_output(path, at)) continue;
        for (size_t i = 0; i < digits; i++)
            number = number * 10 + (uint64_t)(digit[i] - '0');
        if (number > UINT32_MAX) continue;
        *writer = (uint32_t)number;
        return true;
    }
    return false;
}

void places_addresses_free(struct places_addresses *addresses) {
    for (size_t i = 0; i < addresses->count; i++) free(addresses->list[i]);
    *addresses = (struct places_addresses){0};
}

static bool copy_addresses(struct places_addresses *to, const char *const *from,
                           size_t count) {
    *to = (struct places_addresses){0};
    for (size_t i = 0; i < count; i++) {
        to->list[i] = strdup(from[i]);
        if (to->list[i] == NULL) {
            places_addresses_free(to);
            return false;
        }
        to->count++;
    }
    return true;
}

// The place of the writer among those that are known, or where it would be.
static size_t find(uint32_t writer) {
    size_t first = 0, end = served_count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (served[middle].writer < writer) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

static bool insert(size_t at, struct served new) {
    if (served_count == served_capacity) {
        size_t capacity = served_capacity ? served_capacity * 2 : 16;
        struct served *grown = realloc(served, capacity * sizeof *grown);
        if (grown == NULL) return false;
        served = grown;
        served_capacity = capacity;
    }
    memmove(served + at + 1, served + at, (served_count - at) * sizeof *served);
    served[at] = new;
    served_count++;
    return true;
}

shoal_status places_served(uint32_t writer, const char *const *addresses, size_t count,
                           struct shoal_error *err) {
    struct served new = {.writer = writer};
    if (count > PLACES_ADDRESSES) {
        return shoal_fail(err, SHOAL_USAGE,
                          "worker %u is served at %zu addresses: %d are the most", writer,
                          count, PLACES_ADDRESSES);
    }
    if (!copy_addresses(&new.at, addresses, count)) return shoal_no_memory(err);
    bool ok = true;
    pthread_mutex_lock(&mutex);
    size_t at = find(writer);
    if (at < served_count && served[at].writer == writer) {
        struct places_addresses old = served[at].at;
        served[at].at = new.at;
        new.at = old;
    } else if (count > 0) {
        ok = insert(at, new);
        if (ok) new.at = (struct places_addresses){0};
    }
    pthread_mutex_unlock(&mutex);
    places_addresses_free(&new.at);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

shoal_status places_find(const char *path, struct places_addresses *addresses,
                         struct shoal_error *err) {
    uint32_t writer = 0;
    bool ok = true;
    *addresses = (struct places_addresses){0};
    if (!places_writer(path, &writer)) return SHOAL_OK;
    pthread_mutex_lock(&mutex);
    size_t at = find(writer);
    if (at < served_count && served[at].writer == writer) {
        ok = copy_addresses(addresses, (const char *const *)served[at].at.list,
                            served[at].at.count);
    }
    pthread_mutex_unlock(&mutex);
    return ok ? SHOAL_OK : shoal_no_memory(err);
}

void places_remove(const char *path) {
    size_t root = 0;
    if (!path_is_plain(path)) return;
    char *local = translate(path, true, &root);
    if (local != NULL && root > 0 && path_has_no_link(local, root) &&
        strlen(local) > root) {
        spool_remove_tree(local);
        // Its task's own folder goes with its last file; the query's is others' too.
        char *slash = strrchr(local, '/');
        uint32_t writer;
        *slash = '\0';
        if (strlen(local) > root && places_writer(local + root, &writer))
            (void)rmdir(local);
    }
    free(local);
}

void places_forget(void) {
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < kept_count; i++) {
        free(kept[i].logical);
        free(kept[i].folder);
        kept[i] = (struct kept){0};
    }
    for (size_t i = 0; i < served_count; i++) places_addresses_free(&served[i].at);
    free(served);
    served = NULL;
    kept_count = served_count = served_capacity = 0;
    pthread_mutex_unlock(&mutex);
}
