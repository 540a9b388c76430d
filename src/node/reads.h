/* Reads that wait: reads.c, read_index.c. */
#ifndef NODE_READS_H
#define NODE_READS_H

#include "base/bytes.h"
#include "base/list.h"
#include "node/read_gather.h"

#include <stdbool.h>
#include <stdint.h>

/* What a read needs before it is served: see kvapp/reads.h. */
enum read_kind {
    READ_LEADER, /* this server leads, and a round has confirmed it */
    READ_HERE,   /* the leader, whoever it is, has said which index must be applied */
    READ_LEASE,  /* this server leads, and has a lease or goes through a round */
    READ_STALE,  /* nothing */
    READ_REMOTE, /* no read of a client: another server's question for an index */
    READ_KINDS,
};

/* Reads of one kind that were asked for together: one tag, released together. */
struct read_batch {
    struct list link;
    enum read_kind kind;
    uint64_t tag;
    uint64_t index;    /* may be served once this entry is applied; 0: not yet released */
    uint64_t time_ms;  /* leader: and no key that is still there was to go by this time */
    uint64_t asked_ms; /* the index is not older than this */
    uint64_t deadline_ms;
    bool redis_told;  /* those of them that are clients of Redis wait no more */
    struct buf bytes; /* records: see reads.c, read_index.c. Empty: only asked_ms matters. */
};

struct reads {
    struct buf asked[READ_KINDS]; /* records of this turn, or of a leader's while they gather */
    struct list waiting;          /* batches in the order of their tags */
    struct list spare;
    uint64_t first_tag; /* of this life: drawn, so that no answer to an earlier life fits */
    uint64_t next_tag;
    uint64_t core_tag;         /* the newest that the core was asked for */
    struct read_gather gather; /* as a leader */

    uint64_t fresh_ms; /* what is applied was the newest state then; UINT64_MAX: not known */
    uint64_t refresh_ms;
    bool stale_served; /* since fresh_ms was asked for last */

    /* The newest request to the leader (read_index.c). */
    uint64_t sent_tag;
    uint64_t sent_to;
    uint64_t retry_ms;
};

#endif
