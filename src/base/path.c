#include "base/path.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool path_is_plain(const char *path) {
    if (*path != '/') return false;
    while (*path != '\0') {
        size_t size = strcspn(path + 1, "/");
        if (size == 0 || (size == 1 && path[1] == '.') ||
            (size == 2 && path[1] == '.' && path[2] == '.'))
            return false;
        path += size + 1;
    }
    return true;
}

bool path_is_below(const char *path, const char *folder) {
    size_t size = folder == NULL ? 0 : strlen(folder);
    if (size == 1) return *folder == '/';
    return size > 0 && strncmp(path, folder, size) == 0 && path[size] == '/';
}

bool path_has_no_link(const char *path, size_t from) {
    char *part = strdup(path);
    bool ok = part != NULL;
    for (size_t at = from; ok && path[at] == '/';) {
        at += 1 + strcspn(path + at + 1, "/");
        struct stat is;
        part[at] = '\0';
        if (lstat(part, &is) == 0) ok = !S_ISLNK(is.st_mode);
        part[at] = path[at];
    }
    free(part);
    return ok;
}
