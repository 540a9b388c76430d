/*
 * Sessions in a hash table with chains and in a list by time of use. Each keeps its replies in a
 * ring ordered by sequence: a write in order goes to the end, a late one is shifted into place, an
 * acknowledgement takes from the front, and a duplicate is found by bisection. The ring grows and
 * shrinks with what is stored, so that it takes at most four times that.
 */
#include "kv/session_internal.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/mutation.h"

#include <stdlib.h>

/* Seeds that keep the digests of different things apart. */
static const uint64_t seed_session = 0x73657373696f6e00;
static const uint64_t seed_reply = 0x7265706c79000000;

enum {
    RING_CAPACITY_MIN = 4,
    EXPIRED_PER_ENTRY = 16,
    CLOCK_STEP_MS_MAX = 60 * 1000,
};

/* ---- digest ---- */

static uint64_t reply_digest(const struct stored_reply *reply)
{
    uint8_t bytes[29];
    put_u64(bytes, reply->sequence);
    put_u64(bytes + 8, reply->revision);
    put_u64(bytes + 16, reply->count);
    put_u32(bytes + 24, (uint32_t)reply->status);
    bytes[28] = reply->more;
    return hash_bytes_seeded(bytes, sizeof bytes, seed_reply);
}

static uint64_t session_digest(const struct session *session)
{
    uint8_t bytes[48];
    put_u64(bytes, session->id);
    put_u64(bytes + 8, session->used);
    put_u64(bytes + 16, session->used_ms);
    put_u64(bytes + 24, session->floor);
    put_u64(bytes + 32, session->count);
    put_u64(bytes + 40, session->replies_digest);
    return hash_bytes_seeded(bytes, sizeof bytes, seed_session);
}

/* ---- the ring of replies ---- */

/* The position of the first reply whose sequence is not below; count: none. */
static size_t ring_search(const struct session *session, uint64_t sequence)
{
    size_t low = 0;
    size_t high = session->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (session_reply(session, middle)->sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void ring_resize(struct session *session, size_t capacity)
{
    CHECK(capacity >= session->count);
    struct stored_reply *ring = memory_new(capacity, sizeof *ring);
    for (size_t position = 0; position < session->count; position++) {
        ring[position] = *session_reply(session, position);
    }
    free(session->ring);
    session->ring = ring;
    session->capacity = capacity;
    session->first = 0;
}

static void ring_drop_first(struct session *session)
{
    CHECK(session->count > 0);
    session->replies_digest -= reply_digest(session_reply(session, 0));
    session->first = (session->first + 1) & (session->capacity - 1);
    session->count--;
}

void session_insert_reply(struct session *session, const struct stored_reply *reply)
{
    if (session->count == session->capacity) {
        ring_resize(session, session->count == 0 ? RING_CAPACITY_MIN : session->count * 2);
    }
    size_t position = ring_search(session, reply->sequence);
    CHECK(position == session->count ||
          session_reply(session, position)->sequence > reply->sequence);
    for (size_t to = session->count; to > position; to--) {
        *session_reply(session, to) = *session_reply(session, to - 1);
    }
    *session_reply(session, position) = *reply;
    session->count++;
    session->replies_digest += reply_digest(reply);
}

/* Gives back what the ring has too much. */
static void ring_shrink(struct session *session)
{
    size_t capacity = session->capacity;
    while (capacity > RING_CAPACITY_MIN && session->count * 4 < capacity) {
        capacity /= 2;
    }
    if (capacity < session->capacity) {
        ring_resize(session, capacity);
    }
}

/* ---- the table ---- */

void sessions_init(struct sessions *sessions, const struct kv_options *options)
{
    CHECK(options->sessions_max >= 1);
    CHECK(options->replies_max >= 1);
    CHECK(options->replies_max <= SESSION_WINDOW_MAX);
    CHECK(options->replies_size_max >= KV_REPLY_SIZE);
    CHECK(options->session_ttl_ms >= 1);
    *sessions = (struct sessions){
        .bucket_count = 1,
        .sessions_max = options->sessions_max,
        .replies_max = options->replies_max,
        .reply_count_max = options->replies_size_max / KV_REPLY_SIZE,
        .ttl_ms = options->session_ttl_ms,
    };
    while (sessions->bucket_count < sessions->sessions_max) {
        sessions->bucket_count *= 2;
    }
    sessions->buckets = memory_new(sessions->bucket_count, sizeof(struct session *));
    list_init(&sessions->recent);
    list_init(&sessions->holders);
}

struct session **sessions_find(const struct sessions *sessions, uint64_t id)
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

/* Everything that changes a session is between these two. */
static void change_begin(struct sessions *sessions, struct session *session)
{
    sessions_preserve(sessions, session);
    sessions->digest -= session_digest(session);
    sessions->reply_count -= session->count;
}

void sessions_change_end(struct sessions *sessions, struct session *session)
{
    sessions->digest += session_digest(session);
    sessions->reply_count += session->count;
    if (session->count == 0) {
        list_remove(&session->holder);
    } else if (list_empty(&session->holder)) {
        list_push(&sessions->holders, &session->holder);
    }
}

/* Makes it the most recently used session. */
static void use(struct sessions *sessions, struct session *session, uint64_t index)
{
    session->used = index;
    session->used_ms = sessions->clock_ms;
    sessions_unlink(sessions, session);
    list_push(&sessions->recent, &session->recent);
    list_remove(&session->holder); /* sessions_change_end puts it back, at the end */
}

/* Raises the floor, if it is higher, and forgets the replies that are then below it. */
static void raise_floor(struct session *session, uint64_t floor)
{
    if (floor > session->floor) {
        session->floor = floor;
    }
    while (session->count > 0 && session_reply(session, 0)->sequence <= session->floor) {
        ring_drop_first(session);
    }
    ring_shrink(session);
}

void session_free(struct session *session)
{
    free(session->ring);
    free(session);
}

/* Takes the session that the link points to out of everything. */
static void discard(struct sessions *sessions, struct session **link)
{
    struct session *session = *link;
    CHECK(session != NULL);
    CHECK(sessions->count > 0);
    sessions->digest -= session_digest(session);
    sessions->reply_count -= session->count;
    sessions->count--;
    *link = session->next;
    sessions_unlink(sessions, session);
    list_remove(&session->holder);
    sessions_dispose(sessions, session);
}

struct session *sessions_add(struct sessions *sessions, struct session **link, uint64_t id)
{
    CHECK(*link == NULL);
    struct session *session = memory_new(1, sizeof *session);
    session->id = id;
    session->frozen = sessions->freezings;
    *link = session;
    list_init(&session->recent);
    list_init(&session->holder);
    sessions->count++;
    return session;
}

static struct session *least_recent(const struct sessions *sessions)
{
    CHECK(!list_empty(&sessions->recent));
    return CONTAINER_OF(sessions->recent.next, struct session, recent);
}

static void discard_least_recent(struct sessions *sessions)
{
    discard(sessions, sessions_find(sessions, least_recent(sessions)->id));
}

void sessions_done(struct sessions *sessions)
{
    CHECK(sessions->frozen == NULL);
    while (!list_empty(&sessions->recent)) {
        discard_least_recent(sessions);
    }
    CHECK(sessions->reply_count == 0);
    free(sessions->buckets);
    *sessions = (struct sessions){0};
}

void sessions_advance(struct sessions *sessions, uint64_t elapsed_ms)
{
    sessions->clock_ms += elapsed_ms < CLOCK_STEP_MS_MAX ? elapsed_ms : CLOCK_STEP_MS_MAX;
    for (unsigned expired = 0; expired < EXPIRED_PER_ENTRY && sessions->count > 0; expired++) {
        if (sessions->clock_ms - least_recent(sessions)->used_ms < sessions->ttl_ms) {
            break;
        }
        discard_least_recent(sessions);
    }
}

void sessions_open(struct sessions *sessions, uint64_t id)
{
    CHECK(id != 0);
    if (sessions->count == sessions->sessions_max) {
        discard_least_recent(sessions);
    }
    struct session *session = sessions_add(sessions, sessions_find(sessions, id), id);
    use(sessions, session, id);
    sessions_change_end(sessions, session);
}

int sessions_close(struct sessions *sessions, uint64_t id)
{
    struct session **link = sessions_find(sessions, id);
    if (*link == NULL) {
        return KV_ERR_SESSION_UNKNOWN;
    }
    discard(sessions, link);
    return 0;
}

/* ---- writes ---- */

int sessions_outcome(const struct sessions *sessions, uint64_t id, uint64_t sequence,
                     struct reply *ret_reply)
{
    const struct session *session = *sessions_find(sessions, id);
    if (session == NULL) {
        return KV_ERR_SESSION_UNKNOWN;
    }
    if (sequence <= session->floor) {
        return KV_ERR_SEQUENCE_STALE;
    }
    size_t position = ring_search(session, sequence);
    if (position == session->count || session_reply(session, position)->sequence != sequence) {
        return KV_ERR_NOT_FOUND;
    }
    const struct stored_reply *stored = session_reply(session, position);
    *ret_reply = (struct reply){.status = stored->status,
                                .more = stored->more,
                                .revision = stored->revision,
                                .count = stored->count};
    return 0;
}

bool sessions_admit(struct sessions *sessions, const struct command *command, uint64_t index,
                    struct reply *ret_reply)
{
    struct session *session = *sessions_find(sessions, command->session);
    if (session != NULL) {
        change_begin(sessions, session);
        use(sessions, session, index);
        raise_floor(session, command->acknowledged);
        sessions_change_end(sessions, session);
    }
    int outcome = sessions_outcome(sessions, command->session, command->sequence, ret_reply);
    if (outcome == KV_ERR_NOT_FOUND) {
        return true;
    }
    if (outcome != 0) {
        *ret_reply = (struct reply){.status = outcome};
    }
    return false;
}

/* Drops the oldest of the stored replies if one more would be too many. */
static void make_room(struct sessions *sessions, struct session *session, uint64_t sequence)
{
    struct session *loser = session;
    if (session->count < sessions->replies_max) {
        if (sessions->reply_count < sessions->reply_count_max) {
            return;
        }
        loser = CONTAINER_OF(sessions->holders.next, struct session, holder);
    }
    CHECK(loser->count > 0);
    uint64_t oldest = session_reply(loser, 0)->sequence;
    change_begin(sessions, loser);
    raise_floor(loser, loser == session && sequence < oldest ? sequence : oldest);
    sessions_change_end(sessions, loser);
}

void sessions_store(struct sessions *sessions, const struct command *command,
                    const struct reply *reply)
{
    CHECK(reply->data.size == 0);
    if (MUTATION(skip_duplicate_check)) {
        return; /* What is not remembered is not recognised. */
    }
    struct session *session = *sessions_find(sessions, command->session);
    CHECK(session != NULL);
    CHECK(command->sequence > session->floor);
    make_room(sessions, session, command->sequence);
    struct stored_reply stored = {.sequence = command->sequence,
                                  .revision = reply->revision,
                                  .count = reply->count,
                                  .status = reply->status,
                                  .more = reply->more};
    if (stored.sequence > session->floor) {
        change_begin(sessions, session);
        session_insert_reply(session, &stored);
        sessions_change_end(sessions, session);
    }
}

/* ---- checks ---- */

uint64_t sessions_digest(const struct sessions *sessions)
{
    uint64_t digest = 0;
    for (const struct list *at = sessions->recent.next; at != &sessions->recent; at = at->next) {
        struct session copy = *CONTAINER_OF(at, struct session, recent);
        copy.replies_digest = 0;
        for (size_t position = 0; position < copy.count; position++) {
            copy.replies_digest += reply_digest(session_reply(&copy, position));
        }
        digest += session_digest(&copy);
    }
    return digest;
}

/* The order of use, on the way from one session to the next. */
struct walk {
    const struct list *holder; /* the next one in the list of holders */
    size_t count;
    size_t reply_count;
    uint64_t used;
    uint64_t used_ms;
};

static void check_session(const struct sessions *sessions, const struct session *session,
                          struct walk *walk)
{
    CHECK(*sessions_find(sessions, session->id) == session);
    CHECK(session->used > walk->used);
    CHECK(session->used >= session->id);
    CHECK(session->used_ms >= walk->used_ms);
    CHECK(session->used_ms <= sessions->clock_ms);
    CHECK(session->count <= sessions->replies_max);
    CHECK(session->count <= session->capacity);
    uint64_t sequence = session->floor;
    for (size_t position = 0; position < session->count; position++) {
        CHECK(session_reply(session, position)->sequence > sequence);
        sequence = session_reply(session, position)->sequence;
    }
    if (session->count > 0) {
        CHECK(walk->holder == &session->holder);
        walk->holder = walk->holder->next;
    }
    walk->count++;
    walk->reply_count += session->count;
    walk->used = session->used;
    walk->used_ms = session->used_ms;
}

void sessions_check(const struct sessions *sessions)
{
    struct walk walk = {.holder = sessions->holders.next};
    for (struct list *at = sessions->recent.next; at != &sessions->recent; at = at->next) {
        check_session(sessions, CONTAINER_OF(at, struct session, recent), &walk);
    }
    CHECK(walk.holder == &sessions->holders);
    CHECK(walk.count == sessions->count);
    CHECK(walk.count <= sessions->sessions_max);
    CHECK(walk.reply_count == sessions->reply_count);
    CHECK(walk.reply_count <= sessions->reply_count_max);
    CHECK(sessions->digest == sessions_digest(sessions));
}
