/*
 * The inside of a client. client.c is its public face; contact.c knows the servers; exchange.c
 * sends requests and takes what comes back; watch.c looks at the clock; status.c asks every member
 * how it is.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/members.h"
#include "client/connection.h"
#include "client/leader.h"
#include "client/loop.h"
#include "client/pending.h"
#include "client/session.h"
#include "kvapp/client.h"

enum {
    LEARNED_MAX = MEMBERS_MAX, /* addresses that only a redirect named */
    CONTACTS_MAX = MEMBERS_MAX + LEARNED_MAX,
    OUT_SIZE_MAX = 1024 * 1024, /* no further request is put into a send that is larger */
};

/* A server as a client knows it. */
struct contact {
    struct kvapp_client *client;
    struct connection connection;
    uint64_t id;      /* as the cluster's text says, or as the server said since */
    struct list sent; /* requests without an answer, oldest first */
    bool gave_up;     /* the client closed the connection, because nothing came */

    uint64_t watched; /* what is waited for: a request id, WATCHED_CONNECT, or 0: nothing */
    uint64_t watched_since_us;
    uint64_t unheard_since_us; /* asked then, it has said nothing since; 0: it owes nothing */

    bool status_wanted; /* to be asked with the next send */
    uint64_t status_id; /* of the request that has no answer yet; 0: none */
};

/* A call of kvapp_status that waits. */
struct status_call {
    struct kvapp_member *members;
    bool waiting[MEMBERS_MAX];
};

struct kvapp_client {
    struct loop *loop;
    struct loop_user user;
    struct io_timer alarm;
    uint64_t alarm_us; /* UINT64_MAX: not set */
    uint64_t timeout_us;
    uint32_t port_offset;
    bool no_session;
    bool stopping;
    struct members members;
    struct contact contacts[CONTACTS_MAX]; /* members in their order, then learned addresses */
    size_t contact_count;
    size_t learned_next; /* the learned one to be replaced next */

    enum kvapp_reads reads; /* of reads that do not say it */
    struct leader leader;
    struct leader reader; /* who is asked for what any server answers: one that can be reached */
    uint64_t resume_us[LANES]; /* nothing is sent before */
    struct session session;
    struct pending *opening; /* the request for a session; NULL: none */
    struct pool pool;
    struct list refused; /* submitted, but not valid */

    uint64_t status_ids;
    uint64_t probe_us; /* when the others may be asked again about a silent leader */
    struct status_call *status_call;

    struct buf reply; /* what the last call that waited returned */
    char error[512];
    char obstacle[512]; /* the last answer that was none: who said what */
};

/* ---- client.c ---- */

/* kvapp_client_new on an io that stays the caller's (the simulator's); NULL: one of its own. */
int client_new_on(struct io *io, const struct kvapp_client_options *options,
                  struct kvapp_client **ret_client);

/* Formats kvapp_client_error. */
__attribute__((format(printf, 2, 3))) void client_explain(struct kvapp_client *client,
                                                          const char *format, ...);

/* Sends a command, or else what an operator asks, and waits for the reply, whose data are borrowed
 * until the next call; of an operator's, they are the answer's payload. */
int client_call(struct kvapp_client *client, const struct command *command,
                const struct admin_request *admin, struct kvapp_reply *ret_reply);

/* Queues a read; as client_submit. */
struct pending *client_submit_read(struct kvapp_client *client, const struct command *command,
                                   enum kvapp_reads reads, pending_done_fn done, void *context);

/* Queues a command; `done` comes from a later turn. What it borrows stays until then. */
struct pending *client_submit(struct kvapp_client *client, const struct command *command,
                              pending_done_fn done, void *context);

/* ---- contact.c ---- */

/* The contact at `address`, which is made when it is new. NULL: the address cannot be used. */
struct contact *contact_at(struct kvapp_client *client, const char *address, uint64_t id);

/* Keeps what a server said in place of an answer, for when the time is up. */
void contact_note(struct contact *contact, const char *what, struct slice text);

/* Explains that nobody could be reached: each address, and what the system said. */
void contact_explain_unreachable(struct kvapp_client *client);

/* Explains that the time is up: who was asked last, and what came of it. */
void contact_explain_timeout(struct kvapp_client *client);

/* ---- exchange.c ---- */

void contact_init(struct contact *contact, struct kvapp_client *client, const char *address,
                  const struct io_address *resolved, uint64_t id);

static inline struct contact *client_target(struct kvapp_client *client)
{
    return &client->contacts[client->leader.target];
}

static inline struct leader *client_lane(struct kvapp_client *client, enum lane lane)
{
    return lane == LANE_ANY ? &client->reader : &client->leader;
}

/* Whom a lane's requests are sent to. */
static inline struct contact *client_lane_target(struct kvapp_client *client, enum lane lane)
{
    return &client->contacts[client_lane(client, lane)->target];
}

/* Does what leader.c decided for a lane. */
void client_follow(struct kvapp_client *client, enum lane lane, struct leader_verdict verdict);

/* Sends what can be sent. A loop_user's `send`. */
void client_send(struct loop_user *user);

/* True when client_send would find something to do. */
bool client_can_send(struct kvapp_client *client);

/* ---- finish.c ---- */

/* Ends a request: frees the pending, then calls its `done`. */
void client_finish(struct kvapp_client *client, struct pending *pending,
                   const struct kvapp_reply *reply);

/* Ends a request without an answer: `status`, or KV_ERR_OUTCOME_UNKNOWN for a write that a server
 * may have got. */
void client_fail(struct kvapp_client *client, struct pending *pending, int status);

/* Ends in this way every request that there is now. */
void client_fail_all(struct kvapp_client *client, int status);

/* Ends in this way what waits on the lane, for nobody takes it. What was sent is in the hands of a
 * server, however slow. */
void client_fail_waiting(struct kvapp_client *client, enum lane lane, int status);

/* A sending had no answer, and the server may have done it: queues it again, or ends it. */
void client_lose(struct kvapp_client *client, struct pending *pending);

/* ---- watch.c ---- */

/* Ends what is overdue, gives up on who is silent, sets the alarm. A loop_user's `look`. */
void client_look(struct loop_user *user);

/* The target has not answered for so long that another leader may be believed. */
bool client_target_is_silent(struct kvapp_client *client);

/* ---- admin.c ---- */

/* Queues what an operator asks; as client_submit. */
struct pending *client_submit_admin(struct kvapp_client *client,
                                    const struct admin_request *request, pending_done_fn done,
                                    void *context);

/* 0 or KV_ERR_MALFORMED. */
int admin_received(struct contact *contact, struct slice payload);

/* ---- status.c ---- */

/* Appends the request for status to the connection's `out`. */
void status_ask(struct contact *contact);
/* 0 or KV_ERR_MALFORMED. */
int status_received(struct contact *contact, struct slice payload);
/* The contact will not answer. */
void status_unreachable(struct contact *contact);

/* ---- backup.c ---- */

/* Queues a request of a backup, which stays in place until `done`. */
void client_submit_backup(struct kvapp_client *client, struct backup_exchange *exchange,
                          pending_done_fn done, void *context);

/* An answer came: 0 or KV_ERR_MALFORMED. */
int backup_received(struct contact *contact, struct slice payload);

#endif
