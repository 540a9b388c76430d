/*
 * The other servers: the links on which this one sends, the connections on which they do, and
 * snapshots on their way to one of them.
 */
#ifndef NODE_PEERS_H
#define NODE_PEERS_H

#include "base/limits.h"
#include "base/list.h"
#include "io/io.h"
#include "node/intake.h"
#include "node/outbox.h"
#include "storage/snapshot.h"
#include "wire/peer.h"

struct kvapp_node;

enum { LINKS_MAX = 2 * MEMBERS_MAX /* those that are being closed included */ };

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_CLOSING };

/* The way to another member: this server connects, greets and sends. */
struct link {
    struct kvapp_node *node;
    uint64_t id;                    /* 0: not in use */
    char address[ADDRESS_SIZE_MAX]; /* where it is, or is looked for: one of these two */
    char listed[ADDRESS_SIZE_MAX];  /* in the newest membership */
    char told[ADDRESS_SIZE_MAX];    /* where it says that it is, when that is another one; or "" */
    bool leaving;                   /* is not in use any more once it is closed */
    enum peer_purpose purpose; /* messages: connects again and again; a snapshot: once (ship.c);
                                  to join: until it was answered (join.c) */
    enum link_state state;
    bool reported_down; /* a failure was logged; the next one is not until it was up */
    uint64_t backoff_us;
    uint64_t since_us;      /* since when it connects, greets or is up */
    uint64_t clock_told_us; /* when the member was told the wall clock */
    struct io_timer retry;
    struct io_connect connect;
    struct io_stream *stream;
    struct io_receive receive;
    struct io_close close;
    struct intake intake;
    struct outbox outbox;
    /* Appends whose entries must be read from the disk first wait here, in order (feed.c). */
    struct raft_message *waiting;
    size_t waiting_first;
    size_t waiting_count;
    struct buf gathered; /* entries of waiting[first] read so far */
    uint64_t gathered_count;
    bool reading;
    bool discard; /* the connection broke during the read */
    struct storage_read read;
};

/* A snapshot on its way to a member (ship.c). */
enum ship_state {
    SHIP_IDLE,
    SHIP_OPENING, /* the file */
    SHIP_CONNECTING,
    SHIP_OFFERED,
    SHIP_STREAMING,
    SHIP_ENDED, /* and Raft has not heard of it yet */
};

struct ship {
    struct link link;
    enum ship_state state;
    uint64_t term;  /* in which this server leads */
    uint64_t index; /* that Raft asked for; what is sent may be newer */
    struct storage_snapshot_source source;
    bool reading;
    uint64_t first_offset; /* where this transfer began */
    uint64_t offset;       /* of the next piece */
    uint64_t began_us;
    struct io_timer pace;
    bool ok;
    uint64_t report_us;
};

/* A connection from another member: it sends, this server listens. */
struct inbound {
    struct list link; /* in node->inbound */
    struct kvapp_node *node;
    struct io_stream *stream;
    struct io_receive receive;
    struct io_close close;
    struct intake intake;
    struct outbox outbox;      /* for the answer to the greeting, and to a snapshot */
    struct io_timer deadline;  /* of the greeting */
    bool greeted;              /* and was answered */
    uint64_t from;             /* 0: has not greeted yet, or was refused */
    uint64_t incarnation;      /* of its data directory */
    uint64_t membership_index; /* of the newest in which it knew to take part, when it greeted */
    uint32_t priority;         /* of that member, for leading */
    enum peer_purpose purpose;
    uint64_t heard_us; /* when bytes came last */
    bool paused;
    bool closing;
};

/* Who greeted in vain, and why. */
struct refusal {
    uint64_t from;
    int verdict;
};

/* links.c, feed.c, inbound.c */
void link_init(struct link *link, struct kvapp_node *node, uint64_t id, const char *address,
               enum peer_purpose purpose);
/* When links_stale: who became a member gets a link, who left loses it. */
void links_follow(struct kvapp_node *node);
/* A server has connected here: it can be reached again, or for the first time; or says that it has
 * no connection from this one. */
void links_greeted(struct kvapp_node *node, const struct peer_hello *hello, const char *address);
void links_send(struct kvapp_node *node, const struct raft_message *message);
void links_send_digest(struct kvapp_node *node, const struct state_digest *digest);
/* Where to encode a frame for a member; NULL: it is out of reach, or takes nothing. */
struct outbox *links_outbox(struct kvapp_node *node, uint64_t to);
/* The same for what was asked for, which is bounded by that. */
struct outbox *links_outbox_of_answer(struct kvapp_node *node, uint64_t to);
void link_connect(struct link *link);
/* Closes it, or gives up connecting. */
void link_close(struct link *link, const char *why);
/* Closes a link that is up, unless this is called again within `us`. */
void link_expect(struct link *link, uint64_t us);
/* Greets anew who has been without a connection to this server for so long. */
void links_renew(struct kvapp_node *node, uint64_t longest_us);
void links_flush(struct kvapp_node *node);
void links_stop(struct kvapp_node *node);
void links_done(struct kvapp_node *node);
/* The connection of a server that has greeted here, NULL: there is none; whether there is one; and
 * what it said of its directory. */
const struct inbound *inbound_of(const struct kvapp_node *node, uint64_t from);
bool inbound_is_connected(const struct kvapp_node *node, uint64_t from);
uint64_t inbound_incarnation(const struct kvapp_node *node, uint64_t from); /* 0: not known */
bool links_closed(const struct kvapp_node *node);
void feed_init(struct link *link);
void feed_append(struct link *link, const struct raft_message *message);
void feed_drop(struct link *link);
void feed_done(struct link *link);
int inbound_listen(struct kvapp_node *node, const struct io_address *address);
void inbound_resume(struct kvapp_node *node);
/* The members have changed: closes the connections of those that would not be let in any more. They
 * are told why when they greet again. */
void inbound_judge(struct kvapp_node *node);
void inbound_reject(struct kvapp_node *node, uint64_t from, const char *why);
/* Closes the connection of a server, so that it makes a new one. */
void inbound_renew(struct kvapp_node *node, uint64_t from);
void inbound_expire(struct kvapp_node *node);
void inbound_stop(struct kvapp_node *node);

/* ship.c */
void ship_init(struct ship *ship);
/* A member that is not reachable is not tried; Raft hears of that as of a failure. */
void ship_start(struct ship *ship, const struct raft_message *message, bool reachable);
void ship_up(struct link *link);
int ship_frame(struct link *link, const struct frame *frame);
void ship_sent(struct link *link);
void ship_down(struct link *link);
/* The member was away: what waits for its answer would wait in vain. */
void ship_renew(struct ship *ship);
/* The member has left the cluster. */
void ship_leave(struct ship *ship);
void ships_step(struct kvapp_node *node);
void ships_stop(struct kvapp_node *node);

/* join.c: the cluster's id is asked for, then the data directory is made */
void join_start(struct kvapp_node *node);
void join_welcomed(struct kvapp_node *node, const struct peer_welcome *welcome);

#endif
