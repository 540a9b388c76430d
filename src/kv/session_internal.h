/* What session.c and session_snapshot.c share: one session, and the table's inner workings. */
#ifndef KV_SESSION_INTERNAL_H
#define KV_SESSION_INTERNAL_H

#include "kv/session.h"

struct stored_reply {
    uint64_t sequence;
    uint64_t revision;
    uint64_t count;
    int32_t status;
    bool more;
};

STATIC_CHECK(sizeof(struct stored_reply) == KV_REPLY_SIZE, "the limit in bytes is about these");

struct session {
    struct list recent;
    struct list holder;   /* in no list while there are no replies */
    struct session *next; /* in the bucket */
    uint64_t id;
    uint64_t used;    /* index of the last entry that named it */
    uint64_t used_ms; /* the clock at that entry */
    uint64_t floor;   /* at or below it everything is stale */
    struct stored_reply *ring;
    size_t capacity; /* 0 or a power of two */
    size_t first;    /* the lowest sequence's place */
    size_t count;
    uint64_t replies_digest; /* the sum of the replies' digests */
    uint64_t frozen;         /* the last freezing that has it; see session_snapshot.c */
};

/* The stored reply with so many lower sequences. */
static inline struct stored_reply *session_reply(const struct session *session, size_t position)
{
    return &session->ring[(session->first + position) & (session->capacity - 1)];
}

/* Stores the reply to a sequence that has none, at its place. */
void session_insert_reply(struct session *session, const struct stored_reply *reply);

/* Frees a session that is in no list and no bucket. */
void session_free(struct session *session);

/* The link that points to the session of that id, or would: the end of its chain. */
struct session **sessions_find(const struct sessions *sessions, uint64_t id);

/* Makes the session that the link found missing. Its fields and sessions_change_end follow. */
struct session *sessions_add(struct sessions *sessions, struct session **link, uint64_t id);

/* A change of a session ends: what is counted over all of them is brought up to date. */
void sessions_change_end(struct sessions *sessions, struct session *session);

/*
 * What the table does for a frozen one that has not been taken to its end: before a session is
 * changed, before it leaves its place in the order of use, and instead of freeing it.
 */
void sessions_preserve(struct sessions *sessions, struct session *session);
void sessions_unlink(struct sessions *sessions, struct session *session);
void sessions_dispose(struct sessions *sessions, struct session *session);

#endif
