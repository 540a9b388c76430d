/*
 * A request from its submission to its `done`, and the pool that these come from. A pending is
 * always in the list of all (the first deadline first), and in one of: the queue `fresh` (never
 * sent), the queue `again` (to be sent once more, by age), or the list of what was sent to one
 * server.
 *
 *     pool_take ──► fresh ──► sent ──► pool_give
 *                     again ◄──┘ └◄── again
 *
 * While sent it has a slot, and its request id names slot and sending; so an answer finds it in
 * one step, and the answer to an earlier sending finds nothing.
 */
#ifndef CLIENT_PENDING_H
#define CLIENT_PENDING_H

#include "base/list.h"
#include "client/session.h"
#include "kvapp/client.h"
#include "wire/admin.h"
#include "wire/backup.h"
#include "wire/native.h"

enum { IN_FLIGHT_MAX = 4096 };

/* Where a request goes: what only a leader answers, and reads that any server does. */
enum lane { LANE_LEADER, LANE_ANY, LANES };

struct contact;

/* The pending is gone already; the reply is borrowed. */
typedef void (*pending_done_fn)(void *context, const struct kvapp_reply *reply);

/* A request of a backup and what came; its owner's. */
struct backup_exchange {
    struct backup_request request;   /* without its id */
    struct backup_response response; /* its bytes are borrowed */
    bool answered;                   /* by `response` */
};

struct pending {
    struct list age;
    struct list queue;
    struct session_write write;
    uint64_t order;          /* of submission */
    uint64_t deadline_us;    /* 0: not known yet, see loop.h */
    uint64_t request_id;     /* while sent; else 0 */
    struct contact *sent_to; /* while sent; else NULL */
    enum lane lane;
    enum kvapp_reads reads; /* of a read; DEFAULT: what the server does with a plain request */
    struct command command; /* borrows from whoever submitted it */
    const struct admin_request *admin; /* in place of a command, borrowed; NULL: a command */
    bool has_waited;                   /* for the session; its time began anew then */
    bool in_doubt;                  /* a write of which an earlier sending may have been applied */
    struct backup_exchange *backup; /* of a backup, in place of a command */
    pending_done_fn done;
    void *context;
};

/* What may do harm when it is done twice. A write that names its place in a session already
 * (kvapp_cancel) may be sent any number of times. */
bool pending_is_user_write(const struct pending *pending);

struct pool_chunk;

struct pool {
    struct pool_chunk *chunks;
    struct list free;
    struct list all;
    struct list fresh[LANES];
    struct list again[LANES];
    uint64_t orders;
    struct pending **slots; /* IN_FLIGHT_MAX; NULL: free */
    uint16_t *free_slots;   /* a stack */
    size_t free_slot_count;
    uint64_t sendings;
};

void pool_init(struct pool *pool);
void pool_done(struct pool *pool);

/* A new pending at the end of the `fresh` that fits how it wants to be read. */
struct pending *pool_take(struct pool *pool, const struct command *command, enum kvapp_reads reads,
                          pending_done_fn done, void *context);
/* Takes it out of every list and frees it. */
void pool_give(struct pool *pool, struct pending *pending);

/* The next of the lane to be sent, or NULL; it stays where it is. */
struct pending *pool_next(const struct pool *pool, enum lane lane);
/* The one whose deadline comes first, or NULL. */
struct pending *pool_oldest(const struct pool *pool);

static inline bool pool_has_slot(const struct pool *pool)
{
    return pool->free_slot_count > 0;
}

/* Moves it from its queue to the end of `sent`, with a new request id. There is a slot. */
void pool_send(struct pool *pool, struct pending *pending, struct contact *to, struct list *sent);
/* Back to `again`, at its place by age. */
void pool_return(struct pool *pool, struct pending *pending);
/* The one that was sent under this id and has not come back; else NULL. */
struct pending *pool_find(const struct pool *pool, uint64_t request_id);

#endif
