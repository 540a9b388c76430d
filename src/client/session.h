/*
 * The session that makes writes exactly-once (thesis 6.3): each write has a place in one sequence,
 * and the server answers a repetition from memory. What the server may forget is told with each
 * write: `acknowledged`, below which everything is answered.
 *
 *     NONE ──session_opening──► OPENING ──session_opened──► OPEN
 *       ▲                          │                          │
 *       └────── session_lost ──────┴──────────────────────────┘
 *
 * A write keeps its session and its sequence when the session is lost: repeating it as it was is
 * safe, and the answer tells whether it can be made anew.
 */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

enum session_state {
    SESSION_NONE,
    SESSION_OPENING,
    SESSION_OPEN,
};

struct session {
    enum session_state state;
    uint64_t id;
    uint64_t last_sequence;
    bool doubted;       /* what became of one of its writes is not known */
    struct list writes; /* of this session, not answered, in order of their sequence */
};

/* A write's place. Zero-initialised by session_write_init, it has none. */
struct session_write {
    struct list link;
    uint64_t session;
    uint64_t sequence;
};

void session_init(struct session *session);
void session_opening(struct session *session);
void session_opened(struct session *session, uint64_t id);

/* The server does not know session `id`, or it could not be opened (0). One that is not the
 * present one changes nothing. */
void session_lost(struct session *session, uint64_t id);

void session_write_init(struct session_write *write);
/* An OPEN session has a place to give: the server keeps no more than SESSION_WINDOW_MAX replies. */
bool session_has_room(const struct session *session);
/* Gives the write the next place of an OPEN session, which has room. */
void session_assign(struct session *session, struct session_write *write);
/* The write was answered, or will not be repeated: it has no place any more. */
void session_release(struct session_write *write);

/* The write ends without an answer, though it may have been applied. */
void session_doubt(struct session *session, const struct session_write *write);

/* Every sequence up to this one was answered, or is not asked for any more: what is still on its
 * way then comes too late to be applied. */
uint64_t session_acknowledged(const struct session *session);

#endif
