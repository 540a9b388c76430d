/*
 * The entry's encoding; entry.h draws it. Every byte behind the checksum is covered by it, so a
 * decoder that has seen the right checksum only has to refuse what a sender should not have made.
 */
#include "storage/entry.h"

#include "base/hash.h"
#include "kvapp/err.h"

enum {
    AT_INDEX = ENTRY_INDEX_OFFSET,
    AT_TERM = ENTRY_TERM_OFFSET,
    AT_TIME = ENTRY_TIME_OFFSET,
    AT_SIZE = ENTRY_SIZE_OFFSET,
    AT_KIND = ENTRY_KIND_OFFSET,
    AT_ZERO = 37,
};

STATIC_CHECK(ENTRY_HEADER_SIZE == AT_ZERO + 3, "the reserved bytes end the header");

void entry_encode(const struct entry *entry, uint8_t *at)
{
    CHECK(entry->payload.size <= COMMAND_SIZE_MAX);
    CHECK(entry->kind <= ENTRY_MEMBERSHIP);
    put_u64(at + AT_INDEX, entry->index);
    put_u64(at + AT_TERM, entry->term);
    put_u64(at + AT_TIME, entry->time_ms);
    put_u32(at + AT_SIZE, (uint32_t)entry->payload.size);
    at[AT_KIND] = (uint8_t)entry->kind;
    memset(at + AT_ZERO, 0, ENTRY_HEADER_SIZE - AT_ZERO);
    if (entry->payload.size > 0) {
        memcpy(at + ENTRY_HEADER_SIZE, entry->payload.data, entry->payload.size);
    }
    size_t covered = entry_encoded_size(entry->payload.size) - AT_INDEX;
    put_u64(at, hash_bytes(at + AT_INDEX, covered));
}

int entry_decode(struct slice bytes, struct entry *ret_entry, size_t *ret_size)
{
    if (bytes.size < ENTRY_HEADER_SIZE) {
        return KV_ERR_INCOMPLETE;
    }
    const uint8_t *at = bytes.data;
    uint32_t payload_size = get_u32(at + AT_SIZE);
    uint8_t kind = at[AT_KIND];
    if (payload_size > COMMAND_SIZE_MAX || kind > ENTRY_MEMBERSHIP) {
        return KV_ERR_MALFORMED;
    }
    if (at[AT_ZERO] != 0 || at[AT_ZERO + 1] != 0 || at[AT_ZERO + 2] != 0) {
        return KV_ERR_MALFORMED;
    }
    if (kind == ENTRY_NOOP && payload_size != 0) {
        return KV_ERR_MALFORMED;
    }
    size_t size = entry_encoded_size(payload_size);
    if (bytes.size < size) {
        return KV_ERR_INCOMPLETE;
    }
    if (hash_bytes(at + AT_INDEX, size - AT_INDEX) != get_u64(at)) {
        return KV_ERR_CHECKSUM;
    }
    *ret_entry = (struct entry){
        .index = get_u64(at + AT_INDEX),
        .term = get_u64(at + AT_TERM),
        .time_ms = get_u64(at + AT_TIME),
        .kind = (enum entry_kind)kind,
        .payload = slice_of(at + ENTRY_HEADER_SIZE, payload_size),
    };
    *ret_size = size;
    return 0;
}
