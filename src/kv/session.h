/*
 * Sessions: exactly-once writes (Ongaro's thesis, section 6.3). A write names its session and a
 * sequence number; the session keeps the reply until the client acknowledges it, and a write whose
 * reply is kept is answered with that reply and not applied again.
 *
 * Writes of one session may arrive out of order, since clients pipeline and retry. So a duplicate
 * is known by its stored reply, and by nothing else:
 *
 *     sequence <= floor     stale: answered and acknowledged, or too old to be known; not applied
 *     reply stored          a duplicate: the stored reply; not applied
 *     otherwise             new: applied, its reply stored
 *
 * The floor only rises: to what the client acknowledges, and, when more than replies_max replies
 * would be kept, to the lowest sequence among them, whose reply is dropped. Whatever is at or below
 * the floor is never applied, so nothing is applied twice; a write that arrives for the first time
 * below a floor that was raised so is refused, and its client knows it from KV_ERR_SEQUENCE_STALE.
 * A client never sees that when it acknowledges what was answered and keeps at most replies_max
 * writes, in sequence, from the oldest unacknowledged one to the newest.
 *
 * Everything here follows from the log alone, the order of use included, by which the least
 * recently used session is evicted when there are too many.
 */
#ifndef KV_SESSION_H
#define KV_SESSION_H

#include "base/list.h"
#include "kv/command.h"

struct session;

/* Embedded by its owner. */
struct sessions {
    struct session **buckets; /* by hash of the id */
    size_t bucket_count;      /* a power of two */
    struct list recent;       /* the least recently used first */
    size_t count;
    size_t sessions_max;
    size_t replies_max;
    uint64_t digest; /* the sum of the sessions' digests */
};

/* Both at least 1. */
void sessions_init(struct sessions *sessions, size_t sessions_max, size_t replies_max);
void sessions_done(struct sessions *sessions);

/* Opens the session with that id, the index of the entry that asks for it; evicts if it must. */
void sessions_open(struct sessions *sessions, uint64_t id);

/* 0 or KV_ERR_SESSION_UNKNOWN. */
int sessions_close(struct sessions *sessions, uint64_t id);

/*
 * A write with a session arrives in entry `index`: notes the use and what is acknowledged. True
 * when it is to be applied and sessions_store to follow; otherwise ret_reply is the answer.
 */
bool sessions_admit(struct sessions *sessions, const struct command *command, uint64_t index,
                    struct reply *ret_reply);

/* Keeps the reply of a write that was admitted. It has no data. */
void sessions_store(struct sessions *sessions, const struct command *command,
                    const struct reply *reply);

/* The digest computed anew from every session and reply. O(n). */
uint64_t sessions_digest(const struct sessions *sessions);

/* Asserts every invariant. O(n). */
void sessions_check(const struct sessions *sessions);

#endif
