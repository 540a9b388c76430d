#include "storage/segment.h"

#include "base/hash.h"
#include "base/memory.h"
#include "kvapp/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_NUMBER = 16,
    AT_SIZE = 24,
    AT_SALT = 32,
    AT_CLUSTER = 40,
    AT_NODE = 48,
    AT_FLAGS = 56,
    FLAG_RECYCLED = 1 << 0,
};

STATIC_CHECK(SEGMENT_HEADER_SIZE == AT_FLAGS + 8, "the flags end the header");

void segment_name(uint64_t number, char ret_name[SEGMENT_NAME_SIZE])
{
    (void)snprintf(ret_name, SEGMENT_NAME_SIZE, "log-%016" PRIx64, number);
}

uint64_t segment_number(const char *name)
{
    if (strncmp(name, "log-", 4) != 0 || strlen(name) != 4 + 16) {
        return 0;
    }
    uint64_t number = 0;
    for (const char *at = name + 4; *at != '\0'; at++) {
        const char *digits = "0123456789abcdef";
        const char *digit = strchr(digits, *at);
        if (digit == NULL) {
            return 0;
        }
        number = number * 16 + (uint64_t)(digit - digits);
    }
    return number;
}

void segment_encode(const struct segment *segment, const struct identity *identity,
                    uint8_t at[SECTOR_SIZE])
{
    CHECK(segment->number > 0);
    CHECK(segment->size % SECTOR_SIZE == 0);
    memset(at, 0, SECTOR_SIZE);
    put_u32(at + AT_MAGIC, SEGMENT_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u64(at + AT_NUMBER, segment->number);
    put_u64(at + AT_SIZE, segment->size);
    put_u64(at + AT_SALT, segment->salt);
    put_u64(at + AT_CLUSTER, identity->cluster_id);
    put_u64(at + AT_NODE, identity->node_id);
    put_u64(at + AT_FLAGS, segment->recycled ? FLAG_RECYCLED : 0);
    put_u64(at, hash_bytes(at + AT_MAGIC, SEGMENT_HEADER_SIZE - AT_MAGIC));
}

int segment_decode(const uint8_t at[SECTOR_SIZE], const struct identity *identity,
                   struct segment *ret_segment)
{
    if (get_u32(at + AT_MAGIC) != SEGMENT_MAGIC ||
        hash_bytes(at + AT_MAGIC, SEGMENT_HEADER_SIZE - AT_MAGIC) != get_u64(at)) {
        return KV_ERR_DAMAGED;
    }
    if (get_u32(at + AT_VERSION) != LAYOUT_VERSION) {
        return KV_ERR_VERSION;
    }
    if (identity != NULL && (get_u64(at + AT_CLUSTER) != identity->cluster_id ||
                             get_u64(at + AT_NODE) != identity->node_id)) {
        return KV_ERR_MISMATCH;
    }
    uint64_t size = get_u64(at + AT_SIZE);
    if (size % SECTOR_SIZE != 0 || size < SEGMENT_SIZE_MIN || size > INT64_MAX) {
        return KV_ERR_DAMAGED;
    }
    *ret_segment = (struct segment){
        .number = get_u64(at + AT_NUMBER),
        .size = size,
        .salt = get_u64(at + AT_SALT),
        .recycled = (get_u64(at + AT_FLAGS) & FLAG_RECYCLED) != 0,
    };
    return 0;
}

void segments_done(struct segments *segments)
{
    free(segments->at);
    *segments = (struct segments){0};
}

void segments_push(struct segments *segments, const struct segment *segment)
{
    if (segments->count > 0) {
        CHECK(segment->number == segments->at[segments->count - 1].number + 1);
    }
    if (segments->count == segments->capacity) {
        segments->capacity = segments->capacity == 0 ? 8 : segments->capacity * 2;
        segments->at = memory_grow(segments->at, segments->capacity * sizeof segments->at[0]);
    }
    segments->at[segments->count++] = *segment;
}

const struct segment *segments_find(const struct segments *segments, uint64_t number)
{
    if (segments->count == 0 || number < segments->at[0].number) {
        return NULL;
    }
    uint64_t position = number - segments->at[0].number;
    return position < segments->count ? &segments->at[position] : NULL;
}

void segments_trim(struct segments *segments, uint64_t number)
{
    size_t gone = 0;
    while (gone < segments->count && segments->at[gone].number < number) {
        gone++;
    }
    segments->count -= gone;
    memmove(segments->at, segments->at + gone, segments->count * sizeof segments->at[0]);
}
