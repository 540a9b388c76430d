/*
 * Going through a snapshot's file from its beginning, every byte checked, for a program that waits:
 * storage/snapshot_walk.h with a loop of its own.
 */
#ifndef APP_SNAPSHOT_READING_H
#define APP_SNAPSHOT_READING_H

#include "storage/snapshot_walk.h"

struct snapshot_reading {
    struct snapshot_walk walk;
    struct io *io;
    bool ready;
};

/* The file must be of this cluster. Ends with snapshot_walk_done(&reading->walk). */
void snapshot_reading_init(struct snapshot_reading *reading, struct io *io, const char *path,
                           uint64_t cluster_id);

/* What a file says of itself, which may be a backup: 0; or KV_ERR_IO, KV_ERR_DAMAGED,
 * KV_ERR_VERSION with a sentence that names the file. */
int snapshot_file_header(const char *path, struct snapshot_header *ret_header, char *error,
                         size_t error_size);

/* As snapshot_reading_init, with the cluster that the file says it is of. 0, or an error of
 * snapshot_file_header and nothing to end. */
int snapshot_reading_init_any(struct snapshot_reading *reading, struct io *io, const char *path,
                              char *error, size_t error_size);

/* Never SNAPSHOT_WAIT. */
enum snapshot_step snapshot_reading_next(struct snapshot_reading *reading);

/*
 * A backup's file, from its first byte to its last: 0, or KV_ERR_IO, KV_ERR_DAMAGED,
 * KV_ERR_VERSION with a sentence that names the file.
 */
int snapshot_file_verify(const char *path, char *error, size_t error_size);

#endif
