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
 * The floor only rises: to what the client acknowledges, and to the lowest sequence whose reply is
 * stored, which is then dropped, when there would be more replies than are allowed: of this session
 * (replies_max), or of all together (replies_size_max); then it is the least recently used session
 * with replies that loses one. Whatever is at or below the floor is never applied, so nothing is
 * applied twice; a write that arrives for the first time below a floor that was raised so is
 * refused, and its client knows it from KV_ERR_SEQUENCE_STALE. A client never sees that when it
 * acknowledges what was answered and keeps at most replies_max writes, in sequence, from the oldest
 * unacknowledged one to the newest, unless the replies of all clients are too many.
 *
 * A session goes when it is closed, when it has expired, or, when there are too many, as the least
 * recently used one. Which of these it was is not remembered: its owner gets SESSION_UNKNOWN.
 *
 * Everything here follows from the log alone. The clock that sessions expire by is the log's time,
 * but no step of it counts for more than a minute: a leader whose clock is wrong by hours ends no
 * sessions. In a cluster that is idle for longer they live longer, which harms nobody.
 */
#ifndef KV_SESSION_H
#define KV_SESSION_H

#include "base/list.h"
#include "kv/kv.h"

struct session;
struct sessions_frozen;

/* Embedded by its owner, and stays where it is. */
struct sessions {
    struct session **buckets; /* by hash of the id */
    size_t bucket_count;      /* a power of two */
    struct list recent;       /* the least recently used first */
    struct list holders;      /* those of them that have replies, in the same order */
    size_t count;
    size_t reply_count; /* of all sessions */
    size_t sessions_max;
    size_t replies_max;
    size_t reply_count_max;
    uint64_t ttl_ms;
    uint64_t clock_ms;
    uint64_t digest;                /* the sum of the sessions' digests */
    struct sessions_frozen *frozen; /* while a snapshot is taken; else NULL */
    uint64_t freezings;
};

void sessions_init(struct sessions *sessions, const struct kv_options *options);

/* Nothing is frozen from it. */
void sessions_done(struct sessions *sessions);

/*
 * The log's time went on by so much: removes sessions that have expired, at most 16, the least
 * recently used first. Until it is removed a session is as good as any.
 */
void sessions_advance(struct sessions *sessions, uint64_t elapsed_ms);

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

/*
 * What became of a write: 0: applied, ret_reply is its reply; KV_ERR_NOT_FOUND: not applied so far;
 * KV_ERR_SEQUENCE_STALE and KV_ERR_SESSION_UNKNOWN: not known, but it will not be applied any more.
 */
int sessions_outcome(const struct sessions *sessions, uint64_t id, uint64_t sequence,
                     struct reply *ret_reply);

/* The digest computed anew from every session and reply. O(n). */
uint64_t sessions_digest(const struct sessions *sessions);

/* Asserts every invariant. O(n). */
void sessions_check(const struct sessions *sessions);

/*
 * All sessions as they were at one moment, to be taken one by one, in no particular order. Embedded
 * by its owner. Freezing takes constant time; afterwards a session that changes before it was taken
 * is copied first, once.
 */
struct sessions_frozen {
    struct sessions *sessions; /* NULL: being released */
    struct list *at;           /* in `recent`: this one and those after it were not looked at */
    struct list saved;         /* copies, and sessions that have ended, that were not taken */
};

/* One at a time. */
void sessions_freeze(struct sessions *sessions, struct sessions_frozen *frozen);

/* The bytes of the next one to be taken; 0: there is none. */
size_t sessions_frozen_size(struct sessions_frozen *frozen);

/* Takes the next one, which exists: appends its bytes. */
void sessions_frozen_take(struct sessions_frozen *frozen, struct buf *out);

/*
 * Ends it, whether all were taken or not, and frees up to *count of what it still holds, reducing
 * *count by as many. True: nothing is left.
 */
bool sessions_frozen_release(struct sessions_frozen *frozen, size_t *count);

/*
 * Reads a session's bytes into a table whose clock is set, as of an applied index. 0 or
 * KV_ERR_DAMAGED; of what is wrong with all sessions together, sessions_restore_end tells.
 */
int sessions_restore(struct sessions *sessions, struct reader *reader, uint64_t index);
int sessions_restore_end(struct sessions *sessions);

#endif
