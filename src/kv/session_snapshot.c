/*
 * Sessions as they were at one moment, and back from bytes.
 *
 *     id u64 │ used u64 │ used_ms u64 │ floor u64 │ count u32 │ zero u32
 *     │ count × (sequence u64 │ revision u64 │ count u64 │ status i32 │ more u8 │ zero u8 ×3)
 *
 * A freezing has a number, and a session the number of the last one that has it. In the list by
 * time of use the sessions that were not taken keep their order, before those that were opened or
 * used since; so they are all at `at` or after it, mixed with others that only lost a reply:
 *
 *     recent    taken, unchanged │ at: not taken, or changed and saved │ used since: saved, or new
 *
 * A change of a session that was not taken moves a copy into `saved`; ending it moves itself.
 */
#include "base/limits.h"
#include "base/memory.h"
#include "kv/session_internal.h"

#include <stdlib.h>

enum { SESSION_SIZE = 40, REPLY_SIZE = 32 };

STATIC_CHECK(SESSION_SIZE + SESSION_WINDOW_MAX * REPLY_SIZE <= KV_CHUNK_SIZE_MAX - 8,
             "a session fits a chunk");

/* ---- while frozen ---- */

void sessions_freeze(struct sessions *sessions, struct sessions_frozen *frozen)
{
    CHECK(sessions->frozen == NULL);
    sessions->frozen = frozen;
    sessions->freezings++;
    frozen->sessions = sessions;
    frozen->at = sessions->recent.next;
    list_init(&frozen->saved);
}

static bool is_pending(const struct sessions *sessions, const struct session *session)
{
    return sessions->frozen != NULL && session->frozen != sessions->freezings;
}

void sessions_preserve(struct sessions *sessions, struct session *session)
{
    if (!is_pending(sessions, session)) {
        return;
    }
    session->frozen = sessions->freezings;
    struct session *copy = memory_new(1, sizeof *copy);
    *copy = *session;
    if (session->capacity > 0) {
        copy->ring = memory_grow(NULL, session->capacity * sizeof *copy->ring);
        memcpy(copy->ring, session->ring, session->capacity * sizeof *copy->ring);
    }
    list_init(&copy->recent);
    list_push(&sessions->frozen->saved, &copy->recent);
}

void sessions_unlink(struct sessions *sessions, struct session *session)
{
    if (sessions->frozen != NULL && sessions->frozen->at == &session->recent) {
        sessions->frozen->at = session->recent.next;
    }
    list_remove(&session->recent);
}

void sessions_dispose(struct sessions *sessions, struct session *session)
{
    if (is_pending(sessions, session)) {
        list_push(&sessions->frozen->saved, &session->recent);
    } else {
        session_free(session);
    }
}

/* ---- taking ---- */

static struct session *session_at(struct list *recent)
{
    return CONTAINER_OF(recent, struct session, recent);
}

/* The next session to be taken, where it is; NULL: there is none. */
static struct session *next_pending(struct sessions_frozen *frozen)
{
    struct sessions *sessions = frozen->sessions;
    CHECK(sessions->frozen == frozen);
    if (!list_empty(&frozen->saved)) {
        return session_at(frozen->saved.next);
    }
    while (frozen->at != &sessions->recent && !is_pending(sessions, session_at(frozen->at))) {
        frozen->at = frozen->at->next;
    }
    return frozen->at == &sessions->recent ? NULL : session_at(frozen->at);
}

size_t sessions_frozen_size(struct sessions_frozen *frozen)
{
    const struct session *session = next_pending(frozen);
    return session == NULL ? 0 : SESSION_SIZE + session->count * REPLY_SIZE;
}

static void put_session(const struct session *session, struct buf *out)
{
    buf_put_u64(out, session->id);
    buf_put_u64(out, session->used);
    buf_put_u64(out, session->used_ms);
    buf_put_u64(out, session->floor);
    buf_put_u32(out, (uint32_t)session->count);
    buf_put_u32(out, 0);
    for (size_t position = 0; position < session->count; position++) {
        const struct stored_reply *reply = session_reply(session, position);
        buf_put_u64(out, reply->sequence);
        buf_put_u64(out, reply->revision);
        buf_put_u64(out, reply->count);
        buf_put_u32(out, (uint32_t)reply->status);
        buf_put_u32(out, reply->more);
    }
}

void sessions_frozen_take(struct sessions_frozen *frozen, struct buf *out)
{
    struct session *session = next_pending(frozen);
    CHECK(session != NULL);
    put_session(session, out);
    if (list_empty(&frozen->saved)) {
        session->frozen = frozen->sessions->freezings;
    } else {
        list_remove(&session->recent);
        session_free(session);
    }
}

bool sessions_frozen_release(struct sessions_frozen *frozen, size_t *count)
{
    if (frozen->sessions != NULL) {
        frozen->sessions->frozen = NULL;
        frozen->sessions = NULL;
    }
    while (*count > 0 && !list_empty(&frozen->saved)) {
        session_free(session_at(list_pop(&frozen->saved)));
        (*count)--;
    }
    return list_empty(&frozen->saved);
}

/* ---- the way back ---- */

static bool read_reply(struct reader *reader, uint64_t index, struct stored_reply *reply)
{
    reply->sequence = reader_u64(reader);
    reply->revision = reader_u64(reader);
    reply->count = reader_u64(reader);
    reply->status = (int32_t)reader_u32(reader);
    uint32_t more = reader_u32(reader);
    reply->more = more == 1;
    return !reader->failed && reply->revision <= index && reply->status <= 0 && more <= 1;
}

static bool read_replies(struct reader *reader, uint64_t index, size_t count,
                         struct session *session)
{
    uint64_t below = session->floor;
    for (size_t i = 0; i < count; i++) {
        struct stored_reply reply;
        if (!read_reply(reader, index, &reply) || reply.sequence <= below) {
            return false;
        }
        below = reply.sequence;
        session_insert_reply(session, &reply);
    }
    return true;
}

int sessions_restore(struct sessions *sessions, struct reader *reader, uint64_t index)
{
    uint64_t id = reader_u64(reader);
    uint64_t used = reader_u64(reader);
    uint64_t used_ms = reader_u64(reader);
    uint64_t floor = reader_u64(reader);
    size_t count = reader_u32(reader);
    uint32_t zero = reader_u32(reader);
    bool sound = !reader->failed && zero == 0 && id >= 1 && id <= used && used <= index &&
                 used_ms <= sessions->clock_ms;
    bool fits = sessions->count < sessions->sessions_max && count <= sessions->replies_max &&
                count <= sessions->reply_count_max - sessions->reply_count;
    if (!sound || !fits) {
        return KV_ERR_DAMAGED;
    }
    struct session **link = sessions_find(sessions, id);
    if (*link != NULL) {
        return KV_ERR_DAMAGED;
    }
    struct session *session = sessions_add(sessions, link, id);
    session->used = used;
    session->used_ms = used_ms;
    session->floor = floor;
    list_push(&sessions->recent, &session->recent);
    bool complete = read_replies(reader, index, count, session);
    sessions_change_end(sessions, session);
    return complete ? 0 : KV_ERR_DAMAGED;
}

static int by_use(const void *a, const void *b)
{
    const struct session *one = *(struct session *const *)a;
    const struct session *two = *(struct session *const *)b;
    return (one->used > two->used) - (one->used < two->used);
}

/* Puts the sessions, and the holders among them, into the order of use. */
int sessions_restore_end(struct sessions *sessions)
{
    struct session **all = memory_new(sessions->count + 1, sizeof(struct session *));
    size_t count = 0;
    for (struct list *at = list_pop(&sessions->recent); at != NULL;
         at = list_pop(&sessions->recent)) {
        all[count] = session_at(at);
        list_remove(&all[count]->holder);
        count++;
    }
    CHECK(count == sessions->count);
    qsort(all, count, sizeof(struct session *), by_use);
    bool sound = true;
    for (size_t i = 0; i < count; i++) {
        sound =
            sound &&
            (i == 0 || (all[i - 1]->used < all[i]->used && all[i - 1]->used_ms <= all[i]->used_ms));
        list_push(&sessions->recent, &all[i]->recent);
        if (all[i]->count > 0) {
            list_push(&sessions->holders, &all[i]->holder);
        }
    }
    free(all);
    return sound ? 0 : KV_ERR_DAMAGED;
}
