#include "storage/identity.h"

#include "base/assert.h"
#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/layout.h"

#include <string.h>

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_CLUSTER = 16,
    AT_NODE = 24,
    AT_INCARNATION = 32,
};

STATIC_CHECK(IDENTITY_HEADER_SIZE == AT_INCARNATION + 8, "the founders follow the incarnation");

void identity_encode(const struct identity *identity, struct slice founders, struct buf *out)
{
    CHECK(founders.size <= STORAGE_MEMBERSHIP_SIZE_MAX);
    size_t size = IDENTITY_HEADER_SIZE + founders.size;
    uint8_t *at = buf_extend(out, size);
    put_u32(at + AT_MAGIC, IDENTITY_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u64(at + AT_CLUSTER, identity->cluster_id);
    put_u64(at + AT_NODE, identity->node_id);
    put_u64(at + AT_INCARNATION, identity->incarnation);
    if (founders.size > 0) {
        memcpy(at + IDENTITY_HEADER_SIZE, founders.data, founders.size);
    }
    put_u64(at, hash_bytes(at + AT_MAGIC, size - AT_MAGIC));
}

int identity_decode(struct slice bytes, struct identity *ret_identity, struct slice *ret_founders)
{
    const uint8_t *at = bytes.data;
    /* Of another version, it may be shorter. */
    if (bytes.size < AT_CLUSTER || get_u32(at + AT_MAGIC) != IDENTITY_MAGIC ||
        hash_bytes(at + AT_MAGIC, bytes.size - AT_MAGIC) != get_u64(at)) {
        return KV_ERR_DAMAGED;
    }
    if (get_u32(at + AT_VERSION) != LAYOUT_VERSION) {
        return KV_ERR_VERSION;
    }
    if (bytes.size < IDENTITY_HEADER_SIZE || bytes.size > IDENTITY_SIZE_MAX ||
        get_u64(at + AT_INCARNATION) == 0) {
        return KV_ERR_DAMAGED;
    }
    *ret_identity = (struct identity){
        .cluster_id = get_u64(at + AT_CLUSTER),
        .node_id = get_u64(at + AT_NODE),
        .incarnation = get_u64(at + AT_INCARNATION),
    };
    *ret_founders = slice_of(at + IDENTITY_HEADER_SIZE, bytes.size - IDENTITY_HEADER_SIZE);
    return 0;
}
