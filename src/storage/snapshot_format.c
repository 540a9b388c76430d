#include "storage/snapshot_format.h"

#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/storage.h"

#include <inttypes.h>
#include <stdio.h>
#include <zstd.h>

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_SALT = 16,
    AT_CLUSTER = 24,
    AT_INDEX = 32,
    AT_TERM = 40,
    AT_DIGEST = 48,
    AT_END = 56,
    /* Of a chunk, and of the end. */
    AT_ZERO = 12,
    AT_SEQUENCE = 16,
    AT_RAW = 24,
    AT_STORED = 28,
};

STATIC_CHECK((int)SNAPSHOT_STORED_SIZE_MAX >= (int)ZSTD_COMPRESSBOUND(SNAPSHOT_CHUNK_SIZE_MAX),
             "what does not compress fits");
STATIC_CHECK((int)SNAPSHOT_CHUNK_HEADER_SIZE == AT_STORED + 4, "the stored size ends the header");

static const char prefix[] = "snapshot-";

void snapshot_name(uint64_t index, char ret_name[SNAPSHOT_NAME_SIZE])
{
    (void)snprintf(ret_name, SNAPSHOT_NAME_SIZE, "%s%016" PRIx64, prefix, index);
}

uint64_t snapshot_name_index(const char *name)
{
    const char *digits = "0123456789abcdef";
    size_t size = sizeof prefix - 1;
    if (strncmp(name, prefix, size) != 0 || strlen(name) != size + 16) {
        return 0;
    }
    uint64_t index = 0;
    for (const char *at = name + size; *at != '\0'; at++) {
        const char *digit = strchr(digits, *at);
        if (digit == NULL) {
            return 0;
        }
        index = index * 16 + (uint64_t)(digit - digits);
    }
    return index;
}

void snapshot_header_encode(const struct snapshot_header *header, uint8_t at[SNAPSHOT_HEADER_SIZE])
{
    CHECK(header->index > 0);
    memset(at, 0, SNAPSHOT_HEADER_SIZE);
    put_u32(at + AT_MAGIC, SNAPSHOT_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u64(at + AT_SALT, header->salt);
    put_u64(at + AT_CLUSTER, header->cluster_id);
    put_u64(at + AT_INDEX, header->index);
    put_u64(at + AT_TERM, header->term);
    put_u64(at + AT_DIGEST, header->digest);
    put_u64(at, hash_bytes(at + AT_MAGIC, SNAPSHOT_HEADER_SIZE - AT_MAGIC));
}

int snapshot_header_decode(const uint8_t at[SNAPSHOT_HEADER_SIZE],
                           struct snapshot_header *ret_header)
{
    if (get_u32(at + AT_MAGIC) != SNAPSHOT_MAGIC ||
        hash_bytes(at + AT_MAGIC, SNAPSHOT_HEADER_SIZE - AT_MAGIC) != get_u64(at)) {
        return KV_ERR_DAMAGED;
    }
    if (get_u32(at + AT_VERSION) != LAYOUT_VERSION) {
        return KV_ERR_VERSION;
    }
    if (get_u64(at + AT_INDEX) == 0 || get_u64(at + AT_INDEX) > INT64_MAX) {
        return KV_ERR_DAMAGED;
    }
    for (size_t i = AT_END; i < SNAPSHOT_HEADER_SIZE; i++) {
        if (at[i] != 0) {
            return KV_ERR_DAMAGED;
        }
    }
    *ret_header = (struct snapshot_header){
        .salt = get_u64(at + AT_SALT),
        .cluster_id = get_u64(at + AT_CLUSTER),
        .index = get_u64(at + AT_INDEX),
        .term = get_u64(at + AT_TERM),
        .digest = get_u64(at + AT_DIGEST),
    };
    return 0;
}

static uint64_t chunk_checksum(const uint8_t *at, uint32_t stored_size, struct snapshot_place place)
{
    return hash_bytes_seeded(at + AT_MAGIC, SNAPSHOT_CHUNK_HEADER_SIZE - AT_MAGIC + stored_size,
                             place.salt + place.offset);
}

void snapshot_chunk_encode(const struct snapshot_chunk *chunk, struct snapshot_place place,
                           uint8_t *at)
{
    put_u32(at + AT_MAGIC, chunk->end ? SNAPSHOT_END_MAGIC : SNAPSHOT_CHUNK_MAGIC);
    put_u32(at + AT_ZERO, 0);
    put_u64(at + AT_SEQUENCE, chunk->sequence);
    if (chunk->end) {
        CHECK(chunk->stored_size == 0);
        put_u64(at + AT_RAW, chunk->raw_size);
    } else {
        CHECK(chunk->raw_size <= SNAPSHOT_CHUNK_SIZE_MAX);
        CHECK(chunk->stored_size <= SNAPSHOT_STORED_SIZE_MAX);
        put_u32(at + AT_RAW, (uint32_t)chunk->raw_size);
        put_u32(at + AT_STORED, chunk->stored_size);
    }
    put_u64(at, chunk_checksum(at, chunk->stored_size, place));
}

int snapshot_chunk_decode(const uint8_t at[SNAPSHOT_CHUNK_HEADER_SIZE],
                          struct snapshot_chunk *ret_chunk)
{
    uint32_t magic = get_u32(at + AT_MAGIC);
    if ((magic != SNAPSHOT_CHUNK_MAGIC && magic != SNAPSHOT_END_MAGIC) ||
        get_u32(at + AT_ZERO) != 0) {
        return KV_ERR_MALFORMED;
    }
    struct snapshot_chunk chunk = {
        .end = magic == SNAPSHOT_END_MAGIC,
        .sequence = get_u64(at + AT_SEQUENCE),
    };
    if (chunk.end) {
        chunk.raw_size = get_u64(at + AT_RAW);
    } else {
        chunk.raw_size = get_u32(at + AT_RAW);
        chunk.stored_size = get_u32(at + AT_STORED);
        if (chunk.raw_size > SNAPSHOT_CHUNK_SIZE_MAX ||
            chunk.stored_size > SNAPSHOT_STORED_SIZE_MAX) {
            return KV_ERR_MALFORMED;
        }
    }
    *ret_chunk = chunk;
    return 0;
}

bool snapshot_chunk_check(const uint8_t *at, uint32_t stored_size, struct snapshot_place place)
{
    return chunk_checksum(at, stored_size, place) == get_u64(at);
}
