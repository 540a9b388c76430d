/*
 * The log's write path: forms batches from the cache and writes each with one durable write.
 *
 *     idle ──writer_write/writer_seal──► writing ──done──► idle (storage_moved)
 *       └──no room──► waiting for the next segment ──writer_segment_ready──► writing
 *
 * Invariant: one write in flight. Batch N + 1 is written only after batch N was synced; recovery
 * draws its conclusions from that.
 */
#ifndef STORAGE_WRITER_H
#define STORAGE_WRITER_H

#include "io/io.h"
#include "storage/batch.h"
#include "storage/layout.h"
#include "storage/segment.h"

#include <stdbool.h>

/* Parts of one write: the header, spans of entries, the padding. */
enum { WRITER_PARTS_MAX = 64 };

struct storage;

struct writer {
    struct storage *storage;
    struct io_file *file; /* of the current segment */
    struct segment segment;
    uint64_t offset; /* where the next batch goes */
    uint64_t sequence;
    uint64_t synced_sequence;
    uint64_t synced_segment;   /* where the newest synced batch stands */
    struct io_file *next_file; /* of the prepared segment, or NULL */
    struct segment next_segment;

    bool busy;    /* writing, or waiting */
    bool waiting; /* for a segment */
    bool sealing; /* the batch is a seal */
    bool torn;    /* entries of the batch in flight were truncated: its blocks must stay */
    bool stale;   /* the whole log was reset behind the batch in flight */
    struct io_file_op op;
    struct iovec parts[WRITER_PARTS_MAX];
    size_t part_count;
    uint8_t header[BATCH_HEADER_SIZE];
    struct batch batch;
    uint64_t batch_last; /* its last index that still counts; lowered by truncation */
};

/* Writes the next batch: entries synced_last + 1 ... at most `last`, or a truncation alone. */
void writer_write(struct writer *writer, uint64_t last);

/* Writes an empty batch. */
void writer_seal(struct writer *writer);

/* The entries from `from` on were truncated. */
void writer_truncate(struct writer *writer, uint64_t from);

/* The whole log was forgotten; its last index is `last` now. */
void writer_reset(struct writer *writer, uint64_t last);

/* A prepared segment is there; takes the file. */
void writer_segment_ready(struct writer *writer, const struct segment *segment,
                          struct io_file *file);

#endif
