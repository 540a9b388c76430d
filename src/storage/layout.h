/*
 * What the files of a data directory have in common: the unit in which a disk writes or loses
 * bytes, the marks at their beginnings, the sizes that batches and segments keep to.
 */
#ifndef STORAGE_LAYOUT_H
#define STORAGE_LAYOUT_H

#include "base/limits.h"
#include "storage/entry.h"

#include <stdint.h>

enum {
    SECTOR_SIZE = 512,                  /* what a disk writes whole, or not at all */
    BATCH_SIZE_MAX = 4 * 1024 * 1024,   /* bytes of one batch, header and padding included */
    SEGMENT_SIZE_MIN = 4 * SECTOR_SIZE, /* the segment's header and something behind it */
    LAYOUT_VERSION = 5,
    SENTENCE_SIZE = 1024, /* bytes of what is said about one of the files */
};

/* "KVid", "KVvo", "KVsg", "KVba", "KVsn", "KVsc", "KVse" as little-endian numbers. */
#define IDENTITY_MAGIC UINT32_C(0x6469564b)
#define VOTE_MAGIC UINT32_C(0x6f76564b)
#define SEGMENT_MAGIC UINT32_C(0x6773564b)
#define BATCH_MAGIC UINT32_C(0x6162564b)
#define SNAPSHOT_MAGIC UINT32_C(0x6e73564b)
#define SNAPSHOT_CHUNK_MAGIC UINT32_C(0x6373564b)
#define SNAPSHOT_END_MAGIC UINT32_C(0x6573564b)

STATIC_CHECK(BATCH_SIZE_MAX % SECTOR_SIZE == 0, "batches fill sectors");
STATIC_CHECK(BATCH_SIZE_MAX > COMMAND_SIZE_MAX + ENTRY_HEADER_SIZE + 2 * SECTOR_SIZE,
             "the largest entry fits a batch");

static inline uint64_t sector_round_up(uint64_t size)
{
    return (size + SECTOR_SIZE - 1) / SECTOR_SIZE * SECTOR_SIZE;
}

static inline uint64_t sector_round_down(uint64_t size)
{
    return size / SECTOR_SIZE * SECTOR_SIZE;
}

#endif
