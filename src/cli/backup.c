#include "cli/backup.h"

#include "base/list.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

enum { SENTENCE_SIZE = 1024 };

/* The file in the making. */
struct backup_file {
    struct kvapp_backup backup;
    const struct cli *cli;
    const char *path;
    char *temporary; /* its name until it is whole */
    int file;
    uint64_t written;
    bool shows; /* progress, on a terminal */
    bool interrupted;
    char sentence[SENTENCE_SIZE]; /* what went wrong with the file; empty: nothing */
};

/* Remembers what the system said. */
static void fail(struct backup_file *file, const char *what, const char *path)
{
    (void)snprintf(file->sentence, sizeof file->sentence, "%s: %s failed: %s", path, what,
                   strerror(errno));
}

/* ---- the bytes ---- */

static bool begin_file(struct kvapp_backup *backup)
{
    struct backup_file *file = CONTAINER_OF(backup, struct backup_file, backup);
    file->written = 0;
    if (ftruncate(file->file, 0) != 0) {
        fail(file, "emptying it", file->temporary);
        return false;
    }
    return true;
}

static void show_progress(const struct backup_file *file)
{
    (void)fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " MiB ", file->written >> 20,
                  file->backup.size >> 20);
    (void)fflush(stderr);
}

static bool write_piece(struct kvapp_backup *backup, const void *bytes, size_t size)
{
    struct backup_file *file = CONTAINER_OF(backup, struct backup_file, backup);
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t done = pwrite(file->file, at, size, (off_t)file->written);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            fail(file, "writing", file->temporary);
            return false;
        }
        at += done;
        size -= (size_t)done;
        file->written += (uint64_t)done;
    }
    if (file->shows) {
        show_progress(file);
    }
    file->interrupted = file->cli->interrupted != NULL && file->cli->interrupted();
    return !file->interrupted;
}

/* ---- the file ---- */

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Makes the file's name durable. */
static int sync_folder(struct backup_file *file)
{
    int err = 0;
    char *path = memory_copy_string(file->path);
    int folder = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder) != 0) {
        fail(file, "syncing its directory", file->path);
        err = KV_ERR_IO;
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    free(path);
    return err;
}

/* Everything came: makes it durable, verifies it, gives it its name. 0, or why not. */
static int keep(struct backup_file *file, bool replace)
{
    if (fsync(file->file) != 0) {
        fail(file, "syncing", file->temporary);
        return KV_ERR_IO;
    }
    int err = file->cli->verify_backup(file->temporary, file->sentence, sizeof file->sentence);
    if (err != 0) {
        return err;
    }
    if (!replace && is_there(file->path)) {
        (void)snprintf(file->sentence, sizeof file->sentence,
                       "%s: was made by somebody else meanwhile", file->path);
        return KV_ERR_IO;
    }
    if (rename(file->temporary, file->path) != 0) {
        fail(file, "renaming", file->temporary);
        return KV_ERR_IO;
    }
    return sync_folder(file);
}

static int fetch(struct backup_file *file, struct kvapp_client *client, bool replace)
{
    file->file = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->file < 0) {
        fail(file, "making it", file->temporary);
        return KV_ERR_IO;
    }
    int err = kvapp_backup(client, &file->backup);
    if (file->sentence[0] != '\0') {
        err = KV_ERR_IO;
    }
    if (file->shows) {
        (void)fputs("\r\033[K", stderr);
    }
    err = err == 0 ? keep(file, replace) : err;
    if (err != 0) {
        (void)unlink(file->temporary);
    }
    (void)close(file->file);
    return err;
}

enum exit_status backup_run(struct cli *cli, const struct verb_call *call)
{
    const char *path = (const char *)call->words[0].data;
    bool replace = options_number(call->options, OPTION_FORCE) != 0;
    char sentence[SENTENCE_SIZE];
    if (!replace && is_there(path)) {
        (void)snprintf(sentence, sizeof sentence, "Error: %s is there already; --force replaces it",
                       path);
        output_usage(&cli->output, sentence);
        return EXIT_USAGE;
    }
    size_t size = strlen(path) + sizeof ".tmp";
    struct backup_file file = {
        .backup = {.begin = begin_file, .piece = write_piece},
        .cli = cli,
        .path = path,
        .temporary = memory_new(1, size),
        .shows = isatty(STDERR_FILENO) == 1 && !cli->output.json,
    };
    (void)snprintf(file.temporary, size, "%s.tmp", path);
    struct kvapp_reply reply = {.status = fetch(&file, cli->client, replace)};
    if (reply.status == 0) {
        output_backup(&cli->output, path, file.backup.size, file.backup.index);
    } else {
        const char *detail =
            file.sentence[0] != '\0' ? file.sentence : kvapp_client_error(cli->client);
        output_failure(&cli->output, slice_of(NULL, 0), &reply,
                       file.interrupted ? "interrupted" : detail);
    }
    free(file.temporary);
    return output_exit_status(reply.status);
}
