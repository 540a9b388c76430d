#include "app/renewal.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "storage/segment.h"
#include "storage/snapshot_format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_NAME_SIZE = 64 };

/* The folders of a renewal, in DIR. */
struct folder_names {
    char making[FOLDER_NAME_SIZE];
    char whole[FOLDER_NAME_SIZE];
    char moving[FOLDER_NAME_SIZE];
    char before[FOLDER_NAME_SIZE];
};

static struct folder_names names_of(const struct renewal *renewal)
{
    struct folder_names names;
    (void)snprintf(names.making, sizeof names.making, "%s.making", renewal->name);
    (void)snprintf(names.whole, sizeof names.whole, "%s.whole", renewal->name);
    (void)snprintf(names.moving, sizeof names.moving, "%s.moving", renewal->name);
    (void)snprintf(names.before, sizeof names.before, "before-%s", renewal->name);
    return names;
}

static int fail(struct renewal *renewal, const char *what, const char *name)
{
    (void)snprintf(renewal->sentence, sizeof renewal->sentence, "%s%s%s: %s failed: %s",
                   renewal->path, name[0] == '\0' ? "" : "/", name, what, strerror(errno));
    return KV_ERR_IO;
}

int renewal_init(struct renewal *renewal, const char *path, const char *name, bool replaces)
{
    *renewal = (struct renewal){.path = path, .name = name, .replaces = replaces};
    int size = snprintf(renewal->making, sizeof renewal->making, "%s/%s.making", path, name);
    if (size < 0 || (size_t)size >= sizeof renewal->making) {
        (void)snprintf(renewal->sentence, sizeof renewal->sentence,
                       "the path of the data directory "
                       "is too long");
        return KV_ERR_INVALID;
    }
    return 0;
}

/* ---- names ---- */

/* DIR, or a folder in it; -1 when it is not there or cannot be opened, as errno says. */
static int open_folder(const struct renewal *renewal, const char *name)
{
    int folder = open(renewal->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || name[0] == '\0') {
        return folder;
    }
    int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    (void)close(folder);
    errno = error;
    return inner;
}

static bool has(int folder, const char *name)
{
    struct stat about;
    return fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A server's files, but for LOCK, which is nobody's. */
static bool is_servers(const char *name)
{
    static const char *const others[] = {"IDENTITY",
                                         "VOTE",
                                         "IDENTITY.tmp",
                                         "VOTE.tmp",
                                         "spare.tmp",
                                         SNAPSHOT_TAKING_NAME,
                                         SNAPSHOT_RECEIVING_NAME};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(name, others[i]) == 0) {
            return true;
        }
    }
    return segment_number(name) != 0 || strncmp(name, "snapshot-", strlen("snapshot-")) == 0;
}

static bool is_neither_vote_nor_identity(const char *name)
{
    return is_servers(name) && strcmp(name, "VOTE") != 0 && strcmp(name, "IDENTITY") != 0;
}

static bool is_something(const char *name)
{
    return strcmp(name, "LOCK") != 0 && strcmp(name, "lost+found") != 0;
}

static bool is_file(const char *name)
{
    (void)name;
    return true;
}

/* The first name in the folder that `wanted` wants, to be freed; NULL: there is none. */
static char *find(int folder, bool (*wanted)(const char *name))
{
    struct dirent **entries = NULL;
    int count = scandirat(folder, ".", &entries, NULL, alphasort);
    char *found = NULL;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (found == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && wanted(name)) {
            found = memory_copy_string(name);
        }
        free(entries[i]);
    }
    free(entries);
    return found;
}

/* ---- one thing at a time ---- */

static int move(struct renewal *renewal, int from, int to, const char *name)
{
    if (renameat(from, name, to, name) != 0) {
        return fail(renewal, "moving", name);
    }
    return fsync(from) != 0 || fsync(to) != 0 ? fail(renewal, "syncing the directory of", name) : 0;
}

static int rename_folder(struct renewal *renewal, int directory, const char *from, const char *to)
{
    if (renameat(directory, from, directory, to) != 0) {
        return fail(renewal, "renaming", from);
    }
    return fsync(directory) != 0 ? fail(renewal, "syncing", "") : 0;
}

/* Removes a folder with the files in it. */
static int remove_folder(struct renewal *renewal, int directory, const char *name)
{
    int folder = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) {
        return errno == ENOENT ? 0 : fail(renewal, "opening", name);
    }
    int err = 0;
    for (char *file = find(folder, is_file); file != NULL && err == 0;) {
        err = unlinkat(folder, file, 0) != 0 ? fail(renewal, "removing what was left in", name) : 0;
        free(file);
        file = err == 0 ? find(folder, is_file) : NULL;
    }
    (void)close(folder);
    if (err == 0 && unlinkat(directory, name, AT_REMOVEDIR) != 0) {
        err = fail(renewal, "removing", name);
    }
    return err != 0 ? err : fsync(directory) != 0 ? fail(renewal, "syncing", "") : 0;
}

/* The next of the old files out of the way; when none is left, the new ones may come. */
static int step_out(struct renewal *renewal, int directory, const struct folder_names *names)
{
    if (!renewal->replaces) {
        return rename_folder(renewal, directory, names->whole, names->moving);
    }
    if (mkdirat(directory, names->before, 0700) != 0 && errno != EEXIST) {
        return fail(renewal, "making", names->before);
    }
    int before = open_folder(renewal, names->before);
    if (before < 0) {
        return fail(renewal, "opening", names->before);
    }
    int err;
    char *name = find(directory, is_neither_vote_nor_identity);
    if (has(directory, "IDENTITY")) {
        err = move(renewal, directory, before, "IDENTITY");
    } else if (name != NULL) {
        err = move(renewal, directory, before, name);
    } else {
        err = rename_folder(renewal, directory, names->whole, names->moving);
    }
    free(name);
    (void)close(before);
    return err;
}

/* The old VOTE goes when the new log is there. Returns whether it is in the way. */
static bool has_old_vote(const struct renewal *renewal, int directory, int before)
{
    return renewal->replaces && has(directory, "VOTE") && !has(before, "VOTE");
}

static int step_vote(struct renewal *renewal, int directory, int moving,
                     const struct folder_names *names)
{
    int before = renewal->replaces ? open_folder(renewal, names->before) : -1;
    if (renewal->replaces && before < 0) {
        return fail(renewal, "opening", names->before);
    }
    int err = has_old_vote(renewal, directory, before) ? move(renewal, directory, before, "VOTE")
                                                       : move(renewal, moving, directory, "VOTE");
    if (before >= 0) {
        (void)close(before);
    }
    return err;
}

/* The next of the new files into its place. */
static int step_in(struct renewal *renewal, int directory, const struct folder_names *names)
{
    int moving = open_folder(renewal, names->moving);
    if (moving < 0) {
        return fail(renewal, "opening", names->moving);
    }
    int err;
    char *name = find(moving, is_neither_vote_nor_identity);
    if (name != NULL) {
        err = move(renewal, moving, directory, name);
    } else if (has(moving, "VOTE")) {
        err = step_vote(renewal, directory, moving, names);
    } else if (has(moving, "IDENTITY")) {
        err = move(renewal, moving, directory, "IDENTITY");
    } else {
        err = remove_folder(renewal, directory, names->moving);
    }
    free(name);
    (void)close(moving);
    return err;
}

/* ---- the whole ---- */

int renewal_is_unfinished(struct renewal *renewal, bool *ret_unfinished)
{
    const struct folder_names names = names_of(renewal);
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return fail(renewal, "opening", "");
    }
    *ret_unfinished = has(directory, names.moving) ||
                      (has(directory, names.whole) && !has(directory, "IDENTITY"));
    (void)close(directory);
    return 0;
}

int renewal_begin(struct renewal *renewal)
{
    const struct folder_names names = names_of(renewal);
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return fail(renewal, "opening", "");
    }
    int err = 0;
    if (renewal->replaces && has(directory, names.before)) {
        (void)snprintf(renewal->sentence, sizeof renewal->sentence,
                       "%s/%s holds what was there before an earlier %s; move it away first",
                       renewal->path, names.before, renewal->name);
        err = KV_ERR_REFUSED;
    }
    err = err != 0 ? err : remove_folder(renewal, directory, names.whole);
    err = err != 0 ? err : remove_folder(renewal, directory, names.making);
    (void)close(directory);
    return err;
}

int renewal_find_name(struct renewal *renewal, char **ret_name)
{
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return fail(renewal, "opening", "");
    }
    *ret_name = find(directory, is_something);
    (void)close(directory);
    return 0;
}

int renewal_made(struct renewal *renewal)
{
    const struct folder_names names = names_of(renewal);
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return fail(renewal, "opening", "");
    }
    int err = rename_folder(renewal, directory, names.making, names.whole);
    (void)close(directory);
    return err;
}

int renewal_step(struct renewal *renewal, bool *ret_done)
{
    const struct folder_names names = names_of(renewal);
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return fail(renewal, "opening", "");
    }
    int err = 0;
    bool done = false;
    if (has(directory, names.whole)) {
        err = step_out(renewal, directory, &names);
    } else if (has(directory, names.moving)) {
        err = step_in(renewal, directory, &names);
    } else {
        done = true;
    }
    (void)close(directory);
    if (err == 0) {
        *ret_done = done;
    }
    return err;
}

/* A server that runs holds it; so does this, until the file is closed. -1: as errno says. */
static int lock(const struct renewal *renewal)
{
    int directory = open_folder(renewal, "");
    if (directory < 0) {
        return -1;
    }
    int file = openat(directory, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int error = errno;
    if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) != 0) {
        error = errno;
        (void)close(file);
        file = -1;
    }
    (void)close(directory);
    errno = error;
    return file;
}

int renewal_finish(struct renewal *renewal)
{
    int locked = lock(renewal);
    if (locked < 0 && errno == EWOULDBLOCK) {
        (void)snprintf(renewal->sentence, sizeof renewal->sentence,
                       "%s: a server is running on it; stop it first", renewal->path);
        return KV_ERR_LOCKED;
    }
    if (locked < 0) {
        return fail(renewal, "locking", "LOCK");
    }
    int err = 0;
    for (bool done = false; err == 0 && !done;) {
        err = renewal_step(renewal, &done);
    }
    (void)close(locked);
    return err;
}
