#include "client/session.h"

#include "base/limits.h"

void session_init(struct session *session)
{
    *session = (struct session){.state = SESSION_NONE};
    list_init(&session->writes);
}

void session_opening(struct session *session)
{
    CHECK(session->state == SESSION_NONE);
    session->state = SESSION_OPENING;
}

void session_opened(struct session *session, uint64_t id)
{
    CHECK(session->state == SESSION_OPENING);
    CHECK(list_empty(&session->writes));
    session->state = SESSION_OPEN;
    session->id = id;
    session->last_sequence = 0;
}

void session_lost(struct session *session, uint64_t id)
{
    if (session->id != id) {
        return;
    }
    /* Its unanswered writes keep their numbers, but hold nothing back in the next session. */
    while (list_pop(&session->writes) != NULL) {
    }
    session->state = SESSION_NONE;
    session->id = 0;
    session->doubted = false;
}

void session_write_init(struct session_write *write)
{
    *write = (struct session_write){.session = 0};
    list_init(&write->link);
}

bool session_has_room(const struct session *session)
{
    return session->last_sequence - session_acknowledged(session) < SESSION_WINDOW_MAX;
}

void session_assign(struct session *session, struct session_write *write)
{
    CHECK(session->state == SESSION_OPEN);
    CHECK(session_has_room(session));
    CHECK(write->sequence == 0);
    session->last_sequence++;
    write->session = session->id;
    write->sequence = session->last_sequence;
    list_push(&session->writes, &write->link);
}

void session_release(struct session_write *write)
{
    list_remove(&write->link);
    write->session = 0;
    write->sequence = 0;
}

void session_doubt(struct session *session, const struct session_write *write)
{
    session->doubted = session->doubted || (write->sequence != 0 && write->session == session->id);
}

uint64_t session_acknowledged(const struct session *session)
{
    if (list_empty(&session->writes)) {
        return session->last_sequence;
    }
    struct session_write *oldest = CONTAINER_OF(session->writes.next, struct session_write, link);
    return oldest->sequence - 1;
}
