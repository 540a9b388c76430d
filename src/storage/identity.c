#include "storage/identity.h"

#include "base/hash.h"
#include "kvapp/err.h"
#include "storage/layout.h"

enum {
    AT_MAGIC = 8,
    AT_VERSION = 12,
    AT_CLUSTER = 16,
    AT_NODE = 24,
    AT_INCARNATION = 32,
};

STATIC_CHECK(IDENTITY_SIZE == AT_INCARNATION + 8, "the incarnation ends the identity");

void identity_encode(const struct identity *identity, uint8_t at[IDENTITY_SIZE])
{
    put_u32(at + AT_MAGIC, IDENTITY_MAGIC);
    put_u32(at + AT_VERSION, LAYOUT_VERSION);
    put_u64(at + AT_CLUSTER, identity->cluster_id);
    put_u64(at + AT_NODE, identity->node_id);
    put_u64(at + AT_INCARNATION, identity->incarnation);
    put_u64(at, hash_bytes(at + AT_MAGIC, IDENTITY_SIZE - AT_MAGIC));
}

int identity_decode(struct slice bytes, struct identity *ret_identity)
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
    if (bytes.size != IDENTITY_SIZE || get_u64(at + AT_INCARNATION) == 0) {
        return KV_ERR_DAMAGED;
    }
    *ret_identity = (struct identity){
        .cluster_id = get_u64(at + AT_CLUSTER),
        .node_id = get_u64(at + AT_NODE),
        .incarnation = get_u64(at + AT_INCARNATION),
    };
    return 0;
}
