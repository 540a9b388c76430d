/*
 * IDENTITY: which node of which cluster the directory belongs to. Made once, never changed.
 *
 *      0        8     12      16          24       32            40
 *      ├────────┼─────┼───────┼───────────┼────────┼─────────────┼──────────┤
 *      │checksum│magic│version│cluster id │node id │ incarnation │ founders │
 *      └────────┴─────┴───────┴───────────┴────────┴─────────────┴──────────┘
 *
 * The incarnation is drawn when the file is made: the same node with an empty directory is another
 * one, which does not know what the one before it acknowledged.
 *
 * The founders are the members that the cluster began with, in an encoding that is not looked at:
 * who takes part, as long as the log does not say it. Of a server that joined there are none.
 */
#ifndef STORAGE_IDENTITY_H
#define STORAGE_IDENTITY_H

#include "base/bytes.h"
#include "storage/storage.h"

enum {
    IDENTITY_HEADER_SIZE = 40,
    IDENTITY_SIZE_MAX = IDENTITY_HEADER_SIZE + STORAGE_MEMBERSHIP_SIZE_MAX,
};

struct identity {
    uint64_t cluster_id;
    uint64_t node_id;
    uint64_t incarnation; /* not 0 */
};

/* Appends the file's bytes. */
void identity_encode(const struct identity *identity, struct slice founders, struct buf *out);

/* Returns 0, KV_ERR_DAMAGED or KV_ERR_VERSION. The founders lie in `bytes`. */
int identity_decode(struct slice bytes, struct identity *ret_identity, struct slice *ret_founders);

#endif
