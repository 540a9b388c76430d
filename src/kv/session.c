/*
 * Sessions in a hash table with chains and in a list by time of use. Each keeps its replies in a
 * ring ordered by sequence: a write in order goes to the end, a late one is shifted into place, an
 * acknowledgement takes from the front, and a duplicate is found by bisection. The ring grows with
 * what is stored at once, up to the power of two above replies_max, and stays.
 */
#include "kv/session.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mutation.h"

#include <stdlib.h>

/* Seeds that keep the digests of different things apart. */
static const uint64_t seed_session = 0x73657373696f6e00;
static const uint64_t seed_reply = 0x7265706c79000000;

struct stored_reply {
    uint64_t sequence;
    uint64_t revision;
    uint64_t count;
    int32_t status;
};

struct session {
    struct list recent;
    struct session *next; /* in the bucket */
    uint64_t id;
    uint64_t used;  /* index of the last entry that named it */
    uint64_t floor; /* at or below it everything is stale */
    struct stored_reply *ring;
    size_t capacity; /* 0 or a power of two */
    size_t first;    /* the lowest sequence's place */
    size_t count;
    uint64_t replies_digest; /* the sum of the replies' digests */
};

/* ---- digest ---- */

static uint64_t reply_digest(const struct stored_reply *reply)
{
    uint8_t bytes[28];
    put_u64(bytes, reply->sequence);
    put_u64(bytes + 8, reply->revision);
    put_u64(bytes + 16, reply->count);
    put_u32(bytes + 24, (uint32_t)reply->status);
    return hash_bytes_seeded(bytes, sizeof bytes, seed_reply);
}

static uint64_t session_digest(const struct session *session)
{
    uint8_t bytes[40];
    put_u64(bytes, session->id);
    put_u64(bytes + 8, session->used);
    put_u64(bytes + 16, session->floor);
    put_u64(bytes + 24, session->count);
    put_u64(bytes + 32, session->replies_digest);
    return hash_bytes_seeded(bytes, sizeof bytes, seed_session);
}

/* ---- the ring of replies ---- */

static struct stored_reply *ring_at(const struct session *session, size_t position)
{
    return &session->ring[(session->first + position) & (session->capacity - 1)];
}

/* The position of the first reply whose sequence is not below; count: none. */
static size_t ring_search(const struct session *session, uint64_t sequence)
{
    size_t low = 0;
    size_t high = session->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring_at(session, middle)->sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void ring_grow(struct session *session)
{
    size_t capacity = session->capacity == 0 ? 4 : session->capacity * 2;
    struct stored_reply *ring = memory_new(capacity, sizeof *ring);
    for (size_t position = 0; position < session->count; position++) {
        ring[position] = *ring_at(session, position);
    }
    free(session->ring);
    session->ring = ring;
    session->capacity = capacity;
    session->first = 0;
}

static void ring_drop_first(struct session *session)
{
    CHECK(session->count > 0);
    session->replies_digest -= reply_digest(ring_at(session, 0));
    session->first = (session->first + 1) & (session->capacity - 1);
    session->count--;
}

static void ring_insert(struct session *session, const struct stored_reply *reply)
{
    if (session->count == session->capacity) {
        ring_grow(session);
    }
    size_t position = ring_search(session, reply->sequence);
    CHECK(position == session->count || ring_at(session, position)->sequence > reply->sequence);
    for (size_t to = session->count; to > position; to--) {
        *ring_at(session, to) = *ring_at(session, to - 1);
    }
    *ring_at(session, position) = *reply;
    session->count++;
    session->replies_digest += reply_digest(reply);
}

/* Raises the floor, if it is higher, and forgets the replies that are then below it. */
static void raise_floor(struct session *session, uint64_t floor)
{
    if (floor > session->floor) {
        session->floor = floor;
    }
    while (session->count > 0 && ring_at(session, 0)->sequence <= session->floor) {
        ring_drop_first(session);
    }
}

/* ---- the table ---- */

void sessions_init(struct sessions *sessions, size_t sessions_max, size_t replies_max)
{
    CHECK(sessions_max >= 1);
    CHECK(replies_max >= 1);
    *sessions = (struct sessions){.sessions_max = sessions_max, .replies_max = replies_max};
    sessions->bucket_count = 1;
    while (sessions->bucket_count < sessions_max) {
        sessions->bucket_count *= 2;
    }
    sessions->buckets = memory_new(sessions->bucket_count, sizeof(struct session *));
    list_init(&sessions->recent);
}

/* The link that points to the session of that id, or would: the end of its chain. */
static struct session **find(const struct sessions *sessions, uint64_t id)
{
    uint8_t bytes[8];
    put_u64(bytes, id);
    uint64_t hash = hash_bytes(bytes, sizeof bytes);
    struct session **link = &sessions->buckets[hash & (sessions->bucket_count - 1)];
    while (*link != NULL && (*link)->id != id) {
        link = &(*link)->next;
    }
    return link;
}

/* Takes the session that the link points to out of everything. */
static void discard(struct sessions *sessions, struct session **link)
{
    struct session *session = *link;
    CHECK(session != NULL);
    CHECK(sessions->count > 0);
    sessions->digest -= session_digest(session);
    sessions->count--;
    *link = session->next;
    list_remove(&session->recent);
    free(session->ring);
    free(session);
}

static struct session *least_recent(const struct sessions *sessions)
{
    CHECK(!list_empty(&sessions->recent));
    return CONTAINER_OF(sessions->recent.next, struct session, recent);
}

void sessions_done(struct sessions *sessions)
{
    while (!list_empty(&sessions->recent)) {
        discard(sessions, find(sessions, least_recent(sessions)->id));
    }
    free(sessions->buckets);
    *sessions = (struct sessions){0};
}

void sessions_open(struct sessions *sessions, uint64_t id)
{
    CHECK(id != 0);
    if (sessions->count == sessions->sessions_max) {
        discard(sessions, find(sessions, least_recent(sessions)->id));
    }
    struct session **link = find(sessions, id);
    CHECK(*link == NULL);
    struct session *session = memory_new(1, sizeof *session);
    session->id = id;
    session->used = id;
    *link = session;
    list_init(&session->recent);
    list_push(&sessions->recent, &session->recent);
    sessions->count++;
    sessions->digest += session_digest(session);
}

int sessions_close(struct sessions *sessions, uint64_t id)
{
    struct session **link = find(sessions, id);
    if (*link == NULL) {
        return KV_ERR_SESSION_UNKNOWN;
    }
    discard(sessions, link);
    return 0;
}

bool sessions_admit(struct sessions *sessions, const struct command *command, uint64_t index,
                    struct reply *ret_reply)
{
    struct session *session = *find(sessions, command->session);
    if (session == NULL) {
        *ret_reply = (struct reply){.status = KV_ERR_SESSION_UNKNOWN};
        return false;
    }
    sessions->digest -= session_digest(session);
    session->used = index;
    list_remove(&session->recent);
    list_push(&sessions->recent, &session->recent);
    raise_floor(session, command->acknowledged);
    sessions->digest += session_digest(session);

    if (command->sequence <= session->floor) {
        *ret_reply = (struct reply){.status = KV_ERR_SEQUENCE_STALE};
        return false;
    }
    size_t position = ring_search(session, command->sequence);
    if (position < session->count && ring_at(session, position)->sequence == command->sequence) {
        const struct stored_reply *stored = ring_at(session, position);
        *ret_reply = (struct reply){
            .status = stored->status, .revision = stored->revision, .count = stored->count};
        return false;
    }
    return true;
}

void sessions_store(struct sessions *sessions, const struct command *command,
                    const struct reply *reply)
{
    CHECK(reply->data.size == 0 && !reply->more);
    if (MUTATION(skip_duplicate_check)) {
        return; /* What is not remembered is not recognised. */
    }
    struct session *session = *find(sessions, command->session);
    CHECK(session != NULL);
    CHECK(command->sequence > session->floor);
    struct stored_reply stored = {.sequence = command->sequence,
                                  .revision = reply->revision,
                                  .count = reply->count,
                                  .status = reply->status};
    sessions->digest -= session_digest(session);
    if (session->count == sessions->replies_max) {
        uint64_t oldest = ring_at(session, 0)->sequence;
        raise_floor(session, oldest < stored.sequence ? oldest : stored.sequence);
    }
    if (stored.sequence > session->floor) {
        ring_insert(session, &stored);
    }
    sessions->digest += session_digest(session);
}

/* ---- checks ---- */

uint64_t sessions_digest(const struct sessions *sessions)
{
    uint64_t digest = 0;
    for (const struct list *at = sessions->recent.next; at != &sessions->recent; at = at->next) {
        struct session copy = *CONTAINER_OF(at, struct session, recent);
        copy.replies_digest = 0;
        for (size_t position = 0; position < copy.count; position++) {
            copy.replies_digest += reply_digest(ring_at(&copy, position));
        }
        digest += session_digest(&copy);
    }
    return digest;
}

void sessions_check(const struct sessions *sessions)
{
    size_t count = 0;
    uint64_t used = 0;
    for (struct list *at = sessions->recent.next; at != &sessions->recent; at = at->next) {
        const struct session *session = CONTAINER_OF(at, struct session, recent);
        CHECK(*find(sessions, session->id) == session);
        CHECK(session->used > used);
        CHECK(session->used >= session->id);
        CHECK(session->count <= sessions->replies_max);
        CHECK(session->count <= session->capacity);
        uint64_t sequence = session->floor;
        for (size_t position = 0; position < session->count; position++) {
            CHECK(ring_at(session, position)->sequence > sequence);
            sequence = ring_at(session, position)->sequence;
        }
        used = session->used;
        count++;
    }
    CHECK(count == sessions->count);
    CHECK(count <= sessions->sessions_max);
    CHECK(sessions->digest == sessions_digest(sessions));
}
