#include "storage/snapshot_walk.h"

#include "base/assert.h"
#include "kvapp/err.h"
#include "storage/storage.h"

#include <stdlib.h>
#include <zstd.h>

enum { WINDOW_SIZE = 1024 * 1024 };

void snapshot_walk_init(struct snapshot_walk *walk, struct io *io, char *path, uint64_t cluster_id,
                        void (*ready)(struct snapshot_walk *walk))
{
    *walk = (struct snapshot_walk){
        .io = io,
        .path = path,
        .cluster_id = cluster_id,
        .ready = ready,
    };
}

void snapshot_walk_done(struct snapshot_walk *walk)
{
    CHECK(!walk->busy);
    if (walk->io != NULL) {
        io_file_close(walk->io, walk->file);
    }
    buf_done(&walk->window);
    buf_done(&walk->membership);
    free((void *)(uintptr_t)walk->path);
    *walk = (struct snapshot_walk){0};
}

static enum snapshot_step bad(struct snapshot_walk *walk, int err, const char *what)
{
    walk->err = err;
    walk->what = what;
    return SNAPSHOT_BAD;
}

/* ---- reading ---- */

static void fail_io(struct snapshot_walk *walk, int64_t result)
{
    walk->io_result = result;
    (void)bad(walk, KV_ERR_IO, io_error_sentence(result));
}

static void window_read(struct io_file_op *op, int64_t result)
{
    struct snapshot_walk *walk = CONTAINER_OF(op, struct snapshot_walk, op);
    walk->busy = false;
    if (result < 0) {
        fail_io(walk, result);
    } else if (result == 0) {
        (void)bad(walk, KV_ERR_DAMAGED, "the file ends before its size");
    } else {
        walk->window.size += (size_t)result;
    }
    walk->ready(walk);
}

static void sized(struct io_file_op *op, int64_t result)
{
    struct snapshot_walk *walk = CONTAINER_OF(op, struct snapshot_walk, op);
    walk->busy = false;
    if (result < 0) {
        fail_io(walk, result);
    } else {
        walk->size = (uint64_t)result;
    }
    walk->ready(walk);
}

static void opened(struct io_file_op *op, int64_t result)
{
    struct snapshot_walk *walk = CONTAINER_OF(op, struct snapshot_walk, op);
    if (result < 0) {
        walk->busy = false;
        fail_io(walk, result);
        walk->ready(walk);
        return;
    }
    walk->file = op->file;
    op->done = sized;
    io_size(walk->io, op, walk->file);
}

/*
 * The `size` bytes at the offset; NULL when they must be read first, or the file does not have
 * them, which walk->err tells apart.
 */
static const uint8_t *window(struct snapshot_walk *walk, uint64_t size)
{
    if (walk->size - walk->offset < size) {
        (void)bad(walk, KV_ERR_DAMAGED, "the file ends too early");
        return NULL;
    }
    uint64_t at = walk->offset - walk->window_offset;
    CHECK(at <= walk->window.size);
    if (at + size <= walk->window.size) {
        return walk->window.data + at;
    }
    buf_consume(&walk->window, (size_t)at);
    walk->window_offset = walk->offset;
    uint64_t have = walk->window.size;
    uint64_t left = walk->size - walk->offset - have;
    uint64_t more = size - have < WINDOW_SIZE ? WINDOW_SIZE : size - have;
    more = more < left ? more : left;
    uint8_t *bytes = buf_reserve(&walk->window, (size_t)more);
    walk->busy = true;
    walk->op = (struct io_file_op){.done = window_read};
    io_read(walk->io, &walk->op, walk->file, walk->offset + have, bytes, (size_t)more);
    return NULL;
}

static enum snapshot_step wait_or_bad(const struct snapshot_walk *walk)
{
    return walk->err != 0 ? SNAPSHOT_BAD : SNAPSHOT_WAIT;
}

/* ---- taking what stands there ---- */

/* SNAPSHOT_CHUNK: the header was taken. */
static enum snapshot_step take_header(struct snapshot_walk *walk)
{
    const uint8_t *at = window(walk, SNAPSHOT_HEADER_SIZE);
    if (at == NULL) {
        return wait_or_bad(walk);
    }
    int err = snapshot_header_decode(at, &walk->header);
    if (err == KV_ERR_VERSION) {
        return bad(walk, err, "was written in a format that this version does not know");
    }
    if (err != 0) {
        return bad(walk, err, "the header is not whole");
    }
    if (walk->header.cluster_id != walk->cluster_id) {
        return bad(walk, KV_ERR_MISMATCH, "it is a snapshot of another cluster");
    }
    walk->has_header = true;
    walk->offset = SNAPSHOT_HEADER_SIZE;
    return SNAPSHOT_CHUNK;
}

static enum snapshot_step take_end(struct snapshot_walk *walk)
{
    const struct snapshot_chunk *end = &walk->chunk;
    if (end->sequence != walk->sequence || end->raw_size != walk->raw_size) {
        return bad(walk, KV_ERR_DAMAGED, "chunks are missing before the end");
    }
    if (walk->offset + SNAPSHOT_CHUNK_HEADER_SIZE != walk->size) {
        return bad(walk, KV_ERR_DAMAGED, "bytes stand behind the end");
    }
    walk->offset = walk->size;
    return SNAPSHOT_END;
}

static enum snapshot_step take_chunk(struct snapshot_walk *walk)
{
    const uint8_t *at = window(walk, SNAPSHOT_CHUNK_HEADER_SIZE);
    if (at == NULL) {
        return wait_or_bad(walk);
    }
    if (snapshot_chunk_decode(at, &walk->chunk) != 0) {
        return bad(walk, KV_ERR_DAMAGED, "no chunk stands there");
    }
    const struct snapshot_chunk *chunk = &walk->chunk;
    at = window(walk, SNAPSHOT_CHUNK_HEADER_SIZE + (uint64_t)chunk->stored_size);
    if (at == NULL) {
        return wait_or_bad(walk);
    }
    struct snapshot_place place = {.salt = walk->header.salt, .offset = walk->offset};
    if (!snapshot_chunk_check(at, chunk->stored_size, place)) {
        return bad(walk, KV_ERR_DAMAGED, "the checksum of a chunk does not match");
    }
    if (chunk->end) {
        return take_end(walk);
    }
    /* Only the membership may be empty: an empty chunk means the end to who reads back. */
    if (chunk->sequence != walk->sequence || (chunk->raw_size == 0 && chunk->sequence > 0)) {
        return bad(walk, KV_ERR_DAMAGED, "the chunk does not follow what is before it");
    }
    walk->stored = slice_of(at + SNAPSHOT_CHUNK_HEADER_SIZE, chunk->stored_size);
    return SNAPSHOT_CHUNK;
}

static void step_over_chunk(struct snapshot_walk *walk)
{
    walk->offset += SNAPSHOT_CHUNK_HEADER_SIZE + (uint64_t)walk->chunk.stored_size;
    walk->sequence++;
    walk->raw_size += walk->chunk.raw_size;
}

static enum snapshot_step take_membership(struct snapshot_walk *walk)
{
    enum snapshot_step step = take_chunk(walk);
    if (step == SNAPSHOT_END) {
        return bad(walk, KV_ERR_DAMAGED, "the membership is missing");
    }
    if (step != SNAPSHOT_CHUNK) {
        return step;
    }
    if (walk->chunk.raw_size > STORAGE_MEMBERSHIP_SIZE_MAX ||
        !snapshot_decompress(walk->stored, walk->chunk.raw_size, &walk->membership)) {
        return bad(walk, KV_ERR_DAMAGED, "the membership cannot be decompressed");
    }
    step_over_chunk(walk);
    walk->has_membership = true;
    return SNAPSHOT_CHUNK;
}

enum snapshot_step snapshot_walk_step(struct snapshot_walk *walk)
{
    CHECK(!walk->busy);
    if (walk->err != 0) {
        return SNAPSHOT_BAD;
    }
    if (walk->file == NULL) {
        walk->busy = true;
        walk->op = (struct io_file_op){.done = opened};
        io_open(walk->io, &walk->op, walk->path, IO_OPEN_READ_ONLY);
        return SNAPSHOT_WAIT;
    }
    if (!walk->has_header) {
        enum snapshot_step step = take_header(walk);
        if (step != SNAPSHOT_CHUNK) {
            return step;
        }
    }
    if (!walk->has_membership) {
        enum snapshot_step step = take_membership(walk);
        if (step != SNAPSHOT_CHUNK) {
            return step;
        }
    }
    enum snapshot_step step = take_chunk(walk);
    if (step == SNAPSHOT_CHUNK) {
        step_over_chunk(walk);
    }
    return step;
}

bool snapshot_decompress(struct slice stored, uint64_t raw_size, struct buf *ret_raw)
{
    CHECK(raw_size <= SNAPSHOT_CHUNK_SIZE_MAX);
    buf_clear(ret_raw);
    uint8_t *at = buf_reserve(ret_raw, raw_size == 0 ? 1 : (size_t)raw_size);
    size_t size = ZSTD_decompress(at, (size_t)raw_size, stored.data, stored.size);
    if (ZSTD_isError(size) != 0 || size != raw_size) {
        return false;
    }
    ret_raw->size = (size_t)raw_size;
    return true;
}
