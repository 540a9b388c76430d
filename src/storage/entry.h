/*
 * The one encoding of a log entry: in memory, on disk and between peers.
 *
 *      0        8        16       24       32     36    37       40
 *      ├────────┼────────┼────────┼────────┼──────┼─────┼────────┼─────────────┐
 *      │checksum│ index  │ term   │time_ms │ size │kind │ zero   │ payload ... │
 *      └────────┴────────┴────────┴────────┴──────┴─────┴────────┴─────────────┘
 *
 * Little-endian. The checksum is XXH3-64 over everything behind it, header and payload; it is made
 * once, by the leader, and checked by every follower, by recovery and by every read from the disk.
 */
#ifndef STORAGE_ENTRY_H
#define STORAGE_ENTRY_H

#include "base/bytes.h"
#include "base/limits.h"

enum {
    ENTRY_HEADER_SIZE = 40,
    /* Where these fields stand, for who walks entries that were checked before. */
    ENTRY_INDEX_OFFSET = 8,
    ENTRY_TERM_OFFSET = 16,
    ENTRY_TIME_OFFSET = 24,
    ENTRY_SIZE_OFFSET = 32,
    ENTRY_KIND_OFFSET = 36,
};

enum entry_kind {
    ENTRY_NOOP = 0,       /* a new leader's first; payload empty */
    ENTRY_COMMAND = 1,    /* payload: a command of kv/command.h */
    ENTRY_MEMBERSHIP = 2, /* payload: a membership of wire/membership.h */
};

struct entry {
    uint64_t index;
    uint64_t term;
    uint64_t time_ms; /* the cluster's, when the leader made the entry; milliseconds since 1970 */
    enum entry_kind kind;
    struct slice payload; /* at most COMMAND_SIZE_MAX */
};

static inline size_t entry_encoded_size(size_t payload_size)
{
    return ENTRY_HEADER_SIZE + payload_size;
}

/* The size of the whole encoding at `at`, which has been checked with entry_decode before. */
static inline size_t entry_size_at(const uint8_t *at)
{
    return ENTRY_HEADER_SIZE + get_u32(at + ENTRY_SIZE_OFFSET);
}

/* Writes the entry's encoding to `at`, which has room for entry_encoded_size(payload.size). */
void entry_encode(const struct entry *entry, uint8_t *at);

/*
 * Decodes the entry at the front of `bytes`; the payload is borrowed from there. Returns 0 with the
 * encoding's size, KV_ERR_INCOMPLETE, KV_ERR_MALFORMED (a size, kind or reserved byte that cannot
 * be) or KV_ERR_CHECKSUM.
 */
int entry_decode(struct slice bytes, struct entry *ret_entry, size_t *ret_size);

#endif
