/*
 * IDENTITY: which node of which cluster the directory belongs to. Made once, never changed.
 *
 *      0        8     12      16          24       32            40
 *      ├────────┼─────┼───────┼───────────┼────────┼─────────────┤
 *      │checksum│magic│version│cluster id │node id │ incarnation │
 *      └────────┴─────┴───────┴───────────┴────────┴─────────────┘
 *
 * The incarnation is drawn when the file is made: the same node with an empty directory is another
 * one, which does not know what the one before it acknowledged.
 */
#ifndef STORAGE_IDENTITY_H
#define STORAGE_IDENTITY_H

#include "base/bytes.h"

enum { IDENTITY_SIZE = 40 };

struct identity {
    uint64_t cluster_id;
    uint64_t node_id;
    uint64_t incarnation; /* not 0 */
};

void identity_encode(const struct identity *identity, uint8_t at[IDENTITY_SIZE]);

/* Returns 0, KV_ERR_DAMAGED or KV_ERR_VERSION. */
int identity_decode(struct slice bytes, struct identity *ret_identity);

#endif
