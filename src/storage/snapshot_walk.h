/*
 * Going through a snapshot file from its beginning, every byte checked.
 *
 *     step ─► open ─► size ─► read ──ready──► step ─► header, chunk 0 ─► chunk ─► chunk ─► end
 *       └───────────── needs more of the file: read ──ready──► step again
 *
 * A step either says what stands next, or that a read was begun, after which `ready` asks for the
 * step again. What is at hand is thus gone through without a turn of the loop for each chunk.
 */
#ifndef STORAGE_SNAPSHOT_WALK_H
#define STORAGE_SNAPSHOT_WALK_H

#include "io/io.h"
#include "storage/snapshot_format.h"

enum snapshot_step {
    SNAPSHOT_WAIT,  /* `ready` comes */
    SNAPSHOT_CHUNK, /* walk->chunk, walk->stored */
    SNAPSHOT_END,   /* the file was whole */
    SNAPSHOT_BAD,   /* walk->err, and walk->what at walk->offset */
};

struct snapshot_walk {
    struct io *io;
    const char *path;
    uint64_t cluster_id;
    void (*ready)(struct snapshot_walk *walk);
    bool busy;
    struct io_file_op op;
    struct io_file *file;
    uint64_t size;   /* of the file */
    uint64_t offset; /* everything before it is whole */
    struct buf window;
    uint64_t window_offset;

    int err; /* KV_ERR_DAMAGED, KV_ERR_VERSION, KV_ERR_MISMATCH (another cluster's), KV_ERR_IO */
    const char *what;
    int64_t io_result; /* of KV_ERR_IO */

    bool has_header;
    bool has_membership; /* and the header */
    struct snapshot_header header;
    struct buf membership;
    uint64_t sequence; /* of the next chunk */
    uint64_t raw_size; /* so far */
    struct snapshot_chunk chunk;
    struct slice stored; /* its bytes, until the next step */
};

/* `path` is taken over; the file is opened by the first step. */
void snapshot_walk_init(struct snapshot_walk *walk, struct io *io, char *path, uint64_t cluster_id,
                        void (*ready)(struct snapshot_walk *walk));
/* A zeroed one is fine; must not be busy. */
void snapshot_walk_done(struct snapshot_walk *walk);

enum snapshot_step snapshot_walk_step(struct snapshot_walk *walk);

/* Decompresses into `ret_raw`, which is cleared before; false when it does not become `raw_size`
 * bytes. */
bool snapshot_decompress(struct slice stored, uint64_t raw_size, struct buf *ret_raw);

#endif
