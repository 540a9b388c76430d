#include "app/snapshot_reading.h"

#include "base/assert.h"
#include "base/memory.h"
#include "kvapp/err.h"
#include "storage/storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void walk_ready(struct snapshot_walk *walk)
{
    CONTAINER_OF(walk, struct snapshot_reading, walk)->ready = true;
}

void snapshot_reading_init(struct snapshot_reading *reading, struct io *io, const char *path,
                           uint64_t cluster_id)
{
    *reading = (struct snapshot_reading){.io = io};
    snapshot_walk_init(&reading->walk, io, memory_copy_string(path), cluster_id, walk_ready);
}

int snapshot_file_header(const char *path, struct snapshot_header *ret_header, char *error,
                         size_t error_size)
{
    uint8_t bytes[SNAPSHOT_HEADER_SIZE];
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        (void)snprintf(error, error_size, "%s: %s", path, strerror(errno));
        return KV_ERR_IO;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    int err = size < sizeof bytes ? KV_ERR_DAMAGED : snapshot_header_decode(bytes, ret_header);
    if (err != 0) {
        (void)snprintf(error, error_size, "%s: %s", path,
                       err == KV_ERR_VERSION
                           ? "was written in a format that this version does not know"
                           : "is no backup, or its header is damaged");
    }
    return err;
}

int snapshot_reading_init_any(struct snapshot_reading *reading, struct io *io, const char *path,
                              char *error, size_t error_size)
{
    struct snapshot_header header;
    int err = snapshot_file_header(path, &header, error, error_size);
    if (err == 0) {
        snapshot_reading_init(reading, io, path, header.cluster_id);
    }
    return err;
}

enum snapshot_step snapshot_reading_next(struct snapshot_reading *reading)
{
    enum snapshot_step step;
    do {
        reading->ready = false;
        step = snapshot_walk_step(&reading->walk);
        while (step == SNAPSHOT_WAIT && !reading->ready) {
            CHECK(io_run(reading->io, UINT64_MAX) == 0);
        }
    } while (step == SNAPSHOT_WAIT);
    return step;
}

static int verify_with(struct io *io, const char *path, char *error, size_t error_size)
{
    struct snapshot_reading reading;
    int err = snapshot_reading_init_any(&reading, io, path, error, error_size);
    if (err != 0) {
        return err;
    }
    const struct snapshot_walk *walk = &reading.walk;
    struct buf raw = {0};
    enum snapshot_step step = SNAPSHOT_CHUNK;
    while (step == SNAPSHOT_CHUNK && err == 0) {
        uint64_t offset = walk->offset;
        step = snapshot_reading_next(&reading);
        if (step == SNAPSHOT_BAD) {
            (void)snprintf(error, error_size, "%s: damaged at offset %" PRIu64 ": %s", path,
                           walk->offset, walk->what);
            err = walk->err;
        } else if (step == SNAPSHOT_CHUNK &&
                   !snapshot_decompress(walk->stored, walk->chunk.raw_size, &raw)) {
            (void)snprintf(error, error_size,
                           "%s: damaged at offset %" PRIu64 ": a chunk cannot be decompressed",
                           path, offset);
            err = KV_ERR_DAMAGED;
        }
    }
    buf_done(&raw);
    snapshot_walk_done(&reading.walk);
    return err;
}

int snapshot_file_verify(const char *path, char *error, size_t error_size)
{
    char reason[256];
    struct io *io = NULL;
    int err = io_new(IO_BACKEND_PORTABLE, reason, sizeof reason, &io);
    if (err != 0) {
        (void)snprintf(error, error_size, "%s: not verified: %s", path, reason);
        return err;
    }
    err = verify_with(io, path, error, error_size);
    io_free(io);
    return err;
}
