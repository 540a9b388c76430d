/*
 * One server, inside. A turn drains each stage once, in the order of the way of the data:
 *
 *   clients.c   bytes from clients ─► requests         ┐ queued by
 *   inbound.c   bytes from members ─► inbox            │ completions
 *   storage     stored tickets                         ┘
 *   ── node_turn (turn.c) ─────────────────────────────────────────────
 *   step.c      inbox, tickets, time ─► raft_step ─► effects
 *   stall.c     nothing was applied for too long ─► another leader
 *   admin.c     what operators ask; handover.c   is another server to lead?
 *   propose.c   all writes of the turn: staged, one RAFT_PROPOSED
 *   reads.c     all reads of the turn: one RAFT_READ_ASKED, or a request to the leader
 *   step.c      one storage_flush
 *   apply.c     committed entries ─► state machine ─► replies (tracker.c)
 *   digest.c    the state's digest ─► members; theirs was compared on the way
 *   backup.c    backups that wait for a snapshot
 *   snapshot.c  a chunk of the snapshot that is being taken
 *   reads.c     confirmed reads ─► replies
 *   outbox.c    one send per connection
 *
 * No stage calls an earlier one.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "base/list.h"
#include "base/trace.h"
#include "io/io.h"
#include "kv/kv.h"
#include "kvapp/node.h"
#include "node/admin.h"
#include "node/intake.h"
#include "node/options.h"
#include "node/outbox.h"
#include "node/reads.h"
#include "node/tracker.h"
#include "storage/snapshot.h"
#include "wire/backup.h"
#include "wire/peer.h"

enum node_state {
    NODE_STARTING, /* the data directory is being recovered */
    NODE_SERVING,
    NODE_DRAINING, /* asked to stop: no new requests; what is in flight ends, within a bound */
    NODE_CLOSING,  /* storage and connections are being closed */
    NODE_ENDED,
};

enum {
    CLIENTS_MAX = 10000,
    CLIENT_WAITING_MAX = 1024,           /* requests of one client not yet answered */
    CLIENT_OUT_MAX = 4 * 1024 * 1024,    /* bytes a client has not yet taken */
    NODE_WAITING_MAX = 64 * 1024 * 1024, /* bytes of requests not yet answered, of all clients */
    REQUEST_COST = 128,                  /* accounted for a request beside its bytes */
    REQUEST_TIMEOUT_MS = 30 * 1000,
    UNCOMMITTED_MAX = 16384, /* entries */
    TRACKER_CAPACITY = 2 * UNCOMMITTED_MAX,
    APPEND_BYTES = 512 * 1024,   /* of entries in one append, unless one entry is larger */
    APPEND_WINDOW = 32,          /* appends in flight to one member */
    LINKS_MAX = 2 * MEMBERS_MAX, /* those that are being closed included */
    INBOX_MAX = 32 * 1024 * 1024,
    APPLY_PER_TURN = 8192, /* entries */
    DRAIN_MS = 1000,
    RELEASE_NODES = 64,               /* of a tree, given back in one turn */
    SNAPSHOT_PIECE_SIZE = 256 * 1024, /* bytes of a snapshot's file in one frame */
    BACKUPS_MAX = 2,                  /* at a time */
    BACKUP_WAITING_MAX = 8,           /* requests of one backup not yet answered */
};

/* ---- a client's connection (clients.c) ---- */

struct client {
    struct list link;  /* in node->clients */
    struct list dirty; /* in node->dirty while bytes wait to be sent */
    struct list stuck; /* in node->stuck while the whole node has too much waiting */
    struct kvapp_node *node;
    struct io_stream *stream; /* NULL once closed */
    struct io_receive receive;
    struct io_close close;
    struct intake intake;
    struct outbox outbox;
    uint32_t waiting;     /* requests not yet answered; holds the struct alive */
    uint64_t write_index; /* newest entry proposed for it: its later reads see it */
    bool paused;          /* does not receive: back-pressure */
    bool ended;           /* the peer sends no more, or must not: close when all is answered */
    bool closing;
    struct buf held; /* reads that wait until the client takes its bytes (reads.c) */
};

/* ---- members: links.c (out), inbound.c (in) ---- */

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP, LINK_CLOSING };

/* The way to another member: this server connects, greets and sends. */
struct link {
    struct kvapp_node *node;
    uint64_t id; /* 0: not in use */
    char address[ADDRESS_SIZE_MAX];
    bool leaving;              /* is not in use any more once it is closed */
    enum peer_purpose purpose; /* messages: connects again and again; a snapshot: once (ship.c);
                                  to join: until it was answered (join.c) */
    enum link_state state;
    bool reported_down; /* a failure was logged; the next one is not until it was up */
    uint64_t backoff_us;
    uint64_t up_us; /* since when it is up */
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
    struct outbox outbox;     /* for the answer to the greeting, and to a snapshot */
    struct io_timer deadline; /* of the greeting */
    bool greeted;             /* and was answered */
    uint64_t from;            /* 0: has not greeted yet, or was refused */
    uint64_t incarnation;     /* of its data directory */
    uint32_t priority;        /* of that member, for leading */
    enum peer_purpose purpose;
    uint64_t heard_us; /* when bytes came last */
    bool paused;
    bool closing;
};

/* ---- snapshots ---- */

/* One of the own state (snapshot.c). */
enum snapshot_taking_state {
    SNAPSHOT_IDLE,
    SNAPSHOT_WAITING, /* for the disk */
    SNAPSHOT_WRITING, /* the next chunk may come */
    SNAPSHOT_COMMITTING,
    SNAPSHOT_TAKEN,     /* and Raft has not heard of it yet */
    SNAPSHOT_ABANDONED, /* and the storage has not said so yet */
};

struct snapshot {
    enum snapshot_taking_state state;
    struct storage_snapshot_taking taking;
    struct kv_snapshot *frozen;
    struct kv_snapshot *releasing; /* its memory goes back piece by piece */
    struct buf chunk;
    uint64_t index;
    uint64_t ticket;    /* must be stored before it gets its name */
    uint64_t log_bytes; /* applied since the newest one */
    uint64_t wanted;    /* one of this index or a later one is to be taken as soon as possible */
    bool renew;         /* the newest one seems to be damaged: take another one, soon */
    uint64_t began_us;
    uint64_t retry_us;
};

/* One of the leader's (install.c). */
enum install_state {
    INSTALL_IDLE,
    INSTALL_BEGINNING,
    INSTALL_RECEIVING, /* the next piece may come */
    INSTALL_WRITING,
    INSTALL_ENDING,
    INSTALL_DURABLE, /* and Raft has not heard of it yet */
};

struct install {
    enum install_state state;
    struct inbound *inbound; /* NULL: the connection is gone */
    struct snapshot_offer offer;
    struct storage_receive receive;
    struct raft_membership membership; /* at its index, once it is durable */
};

/* The disk has no space for the log to go on for long (full.c). */
struct full {
    bool is;
    uint64_t hand_over_us; /* not before */
};

/* One for a client (backup.c). */
enum backup_state {
    BACKUP_IDLE,
    BACKUP_ASKED,
    BACKUP_CONFIRMING, /* that this server leads */
    BACKUP_TAKING,     /* waits for the snapshot */
    BACKUP_OPENING,
    BACKUP_READY,
};

struct backup {
    struct kvapp_node *node;
    struct client *client; /* NULL: nobody's, IDLE */
    enum backup_state state;
    uint64_t term;  /* in which this server is to lead */
    uint64_t tag;   /* of the round */
    uint64_t index; /* CONFIRMING: to be applied, 0: not known; TAKING: of the snapshot at least */
    struct storage_snapshot_source source;
    bool reading;                                       /* for the oldest request */
    struct backup_request requests[BACKUP_WAITING_MAX]; /* the oldest first; no ends */
    size_t request_count;
    uint64_t since_us; /* the oldest waits, or, without any, nothing was asked */
    struct io_timer timer;
};

/* A state machine in the making (restore.c). */
struct restore {
    struct kv_restore *kv; /* NULL: none */
    struct storage_snapshot_read read;
    void (*finished)(struct kvapp_node *node);
    uint64_t began_us;
    struct kv *replaced; /* its memory goes back piece by piece; NULL: none */
};

/* ---- digests (digest.c) ---- */

struct digests {
    uint64_t sent_index; /* as a leader: of the newest one */
    uint64_t sent_ms;
    struct state_digest held; /* of a leader, until the own state is there; index 0: none */
    uint64_t held_from;
};

/* ---- a state machine that stands still (stall.c) ---- */

struct stall {
    uint64_t limit_ms;
    uint64_t applied;  /* the index that was applied last, */
    uint64_t since_ms; /* when the leader was seen so first while more was committed */
    uint64_t asked_ms; /* when it was asked to hand over; 0: it was not */
};

/* ---- another leader (handover.c) ---- */

/* Who could lead in place of this server (handover.c); of the term in which it led last. */
struct handover {
    uint64_t term;
    uint64_t marked_ms; /* when this was the commit index: */
    uint64_t mark_index;
    uint64_t caught_up_index; /* the one before: who has it is up to date */
    uint64_t retry_ms;        /* for a priority: not before */
    bool begun;               /* since the node was told to stop */
};

/* ---- the node ---- */

struct kvapp_node {
    struct node_config config;
    struct kvapp_node_options options; /* strings inside are not kept */
    enum node_state state;
    int ended_err;
    char error[512];

    struct io *io;
    bool owns_io;
    struct trace trace;
    struct io_timer wake;
    struct io_signal signal;
    bool signal_started;
    uint64_t started_us;
    uint64_t next_turn_us; /* paced modes */
    uint64_t drain_until_us;
    bool more_work; /* something is left for another turn at once */

    struct storage *storage; /* NULL once closed */
    uint64_t stored_ticket;  /* reported by storage, not yet by raft */
    uint64_t staged_ticket;  /* newest of this turn, not yet flushed; 0: none */
    uint64_t newest_ticket;
    uint64_t reported_ticket; /* newest that raft knows to be stored */
    char stopped_by[512];     /* what storage reported: the node must stop */
    int stopped_err;

    struct raft *raft; /* NULL until recovered */
    struct raft_effects effects;
    uint64_t raft_wake_ms;
    uint64_t commit_index;
    enum raft_role role;
    uint64_t leader;

    struct kv *kv;
    struct storage_read apply_read;
    bool apply_reading;
    struct snapshot snapshot;
    struct install install;
    struct restore restore;
    struct digests digests;
    struct stall stall;
    struct full full;
    struct backup backups[BACKUPS_MAX];

    struct io_listener *raft_listener;
    struct io_accept raft_accept;
    struct io_listener *client_listener;
    struct io_accept client_accept;
    struct link links[LINKS_MAX];
    struct ship ships[LINKS_MAX]; /* to the same members */
    size_t link_count;            /* places that are or were in use */
    bool links_stale;             /* those who take part have changed */
    struct link join;
    bool joining; /* the storage is being closed, and then it joins */
    struct list inbound;
    size_t inbound_count;
    uint64_t refused_from; /* who greeted last in vain, and why */
    int refused_verdict;
    struct buf inbox; /* records: from u64, type u8, size u32, payload */

    uint64_t cluster_id;             /* 0: not yet known, for this server is to join one */
    uint64_t incarnation;            /* of the data directory */
    uint64_t own_membership_index;   /* of the newest one in which this server takes part */
    struct buf received_memberships; /* struct raft_logged_membership, of the append at hand */
    uint64_t led_since_ms;
    bool removed; /* from the cluster: it ends */

    struct list clients;
    size_t client_count;
    struct list dirty;
    struct list stuck;
    size_t waiting_bytes;
    struct buf writes;   /* records of writes not yet proposed: see propose.c */
    size_t writes_first; /* offset of the first one that is left */
    struct tracker tracker;
    struct reads reads;
    struct admin admin;
    struct handover handover;
};

/* life.c: kvapp_node_new on an io that stays the caller's (the simulator's); NULL: one of its own
 */
int node_new_on(struct io *io, const struct kvapp_node_options *options, char *error,
                size_t error_size, struct kvapp_node **ret_node);

/* life.c: for the cluster that is now known */
void node_open_storage(struct kvapp_node *node);

/* turn.c */
void node_turn(struct kvapp_node *node);
void node_fail(struct kvapp_node *node, int err, const char *sentence);
uint64_t node_now_ms(const struct kvapp_node *node);

/* step.c: events into the core, effects out */
void step_start(struct kvapp_node *node);
void step_inbox(struct kvapp_node *node);
void step_stored(struct kvapp_node *node);
void step_time(struct kvapp_node *node);
int step_event(struct kvapp_node *node, const struct raft_event *event, struct slice entries);
void step_flush(struct kvapp_node *node);
/* The newest snapshot is durable: the log before the older one is given up. */
void step_compacted(struct kvapp_node *node);
/* The leader's snapshot is durable here. */
void step_installed(struct kvapp_node *node, const struct install *install);
/* The sending of a snapshot to a member has ended. */
void step_shipped(struct kvapp_node *node, uint64_t id, uint64_t index, bool ok);

/* snapshot.c */
void snapshot_take(struct kvapp_node *node);
/*
 * Has one taken as soon as possible, even if none is due. Returns the applied index, 0 when nothing
 * was applied yet: the wish is met once storage_snapshot_newest has reached it. A disk without room
 * is tried again every ten seconds.
 */
uint64_t snapshot_ask(struct kvapp_node *node);
void snapshot_compact(struct kvapp_node *node);
void snapshot_stop(struct kvapp_node *node);
void snapshot_done(struct snapshot *snapshot);

/* restore.c: node->kv is replaced by what the newest snapshot holds, then `finished`; what was
 * replaced is given back bit by bit, in turns */
void restore_step(struct kvapp_node *node);
void restore_begin(struct kvapp_node *node, void (*finished)(struct kvapp_node *node));
void restore_done(struct restore *restore);

/* install.c */
void install_offer(struct kvapp_node *node, const struct snapshot_offer *offer, bool wanted);
int install_frame(struct inbound *inbound, const struct frame *frame);
/* Whether what came on this connection is being dealt with, so that no more has to come now. */
bool install_is_busy(const struct kvapp_node *node, const struct inbound *inbound);
void install_step(struct kvapp_node *node);
void install_lost(struct kvapp_node *node, const struct inbound *inbound);
void install_stop(struct kvapp_node *node);

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

/* propose.c */
void propose_queue(struct kvapp_node *node, const struct waiter *waiter, struct slice command);
void propose_all(struct kvapp_node *node);
/* The node ends: what is still queued is answered so. */
void propose_stop(struct kvapp_node *node);

/* full.c */
void full_step(struct kvapp_node *node);
/* Answers a write that would take space which is not there; false: it may go on. */
bool full_refuses(struct kvapp_node *node, const struct waiter *waiter, struct slice bytes);

/* reads.c */
void reads_init(struct reads *reads);
/* Reads may come: tags begin where chance says. */
void reads_start(struct reads *reads, uint64_t chance);
void reads_done(struct reads *reads);
void reads_queue(struct kvapp_node *node, const struct waiter *waiter, enum kvapp_reads how,
                 struct slice command);
void reads_ask(struct kvapp_node *node);
/* What waits, up to the tag, may be served once the index is applied: so says the own core; or the
 * leader that this server asked. */
void reads_release(struct kvapp_node *node, uint64_t tag, uint64_t index);
void reads_release_here(struct kvapp_node *node, uint64_t tag, uint64_t index);
void reads_serve(struct kvapp_node *node);
void reads_serve_held(struct client *client);
void reads_fail(struct kvapp_node *node);
/* The node ends: no read is served any more, not even a confirmed one. */
void reads_stop(struct kvapp_node *node);
void reads_expire(struct kvapp_node *node);
bool reads_none(const struct kvapp_node *node);

/* read_index.c: between servers */
int read_index_frame(struct kvapp_node *node, uint64_t from, const struct frame *frame);
/* Asks the leader for all reads up to the tag, unless it was asked already. */
void read_index_ask(struct kvapp_node *node, uint64_t tag);
/* Answers the questions in a batch's bytes; 0: refused. */
void read_index_answer(struct kvapp_node *node, const struct buf *questions, uint64_t index);

/* membership.c: who takes part */
struct restored_memberships {
    struct raft_membership initial;  /* in force while the log has none; nobody: one that joins */
    struct raft_membership snapshot; /* when there is one */
    struct raft_logged_membership *logged; /* the caller's to free */
    size_t count;
};
/* The newest member of that id, NULL: there is none. */
const struct raft_member *node_member(const struct kvapp_node *node, uint64_t id);
/* What storage found, decoded. An error is told with node_fail. */
int membership_restore(struct kvapp_node *node, const struct storage_restored *restored,
                       struct restored_memberships *ret_memberships);
void membership_start(struct kvapp_node *node, const struct restored_memberships *memberships,
                      uint64_t snapshot_index);
/* Into node->received_memberships. */
int membership_note_received(struct kvapp_node *node, const struct entry *entry);
void membership_changed(struct kvapp_node *node);
/* This server was removed: what is in flight ends, and then it does. */
void membership_end(struct kvapp_node *node);
/* Whether it is known to have gone, though it knows of a membership in which it takes part. */
bool membership_is_removed(const struct kvapp_node *node, uint64_t id, uint64_t its_index);
/* A leader logs the incarnations of members that it has met. */
void membership_record(struct kvapp_node *node);

/* join.c: the cluster's id is asked for, then the data directory is made */
void join_start(struct kvapp_node *node);
void join_welcomed(struct kvapp_node *node, const struct peer_welcome *welcome);
/* backup.c */
void backups_init(struct kvapp_node *node);
/* Takes in a request: 0, or the error of its bytes. */
int backup_take(struct client *client, struct slice payload);
/* Begins the rounds for those that were asked for in this turn. */
void backups_ask(struct kvapp_node *node);
void backups_release(struct kvapp_node *node, uint64_t tag, uint64_t index);
void backups_step(struct kvapp_node *node);
/* The client's connection is being closed. */
void backup_lost(struct client *client);

/* admin.c */
/* Takes in a request: 0, or the error of its bytes. */
int admin_take(struct client *client, struct slice payload);
void admin_step(struct kvapp_node *node);
void admin_snapshot_failed(struct kvapp_node *node, int err, const char *sentence);
bool admin_none(const struct kvapp_node *node);
/* The node ends: what still waits is answered so. */
void admin_stop(struct kvapp_node *node);

/* handover.c */
void handover_step(struct kvapp_node *node);
/* A node that stops need not wait any longer for another server to lead. */
bool handover_is_over(const struct kvapp_node *node);
/* As this server sees it; itself it sees too. */
bool peer_is_reachable(const struct kvapp_node *node, uint64_t id);
uint32_t peer_priority(const struct kvapp_node *node, uint64_t id);
/* Leader: the member has stored what was committed a heartbeat ago. */
bool handover_is_caught_up(const struct kvapp_node *node, uint64_t id);

/* apply.c */
void apply_committed(struct kvapp_node *node);

/* digest.c */
void digest_send(struct kvapp_node *node);
int digest_received(struct kvapp_node *node, uint64_t from, struct slice payload);
/* Called wherever the state stands between two entries. False: it differs from that of a leader,
 * and the node ends. */
bool digest_agrees(struct kvapp_node *node);

/* stall.c */
void stall_watch(struct kvapp_node *node);

/* reply.c: answers into a client's outbox; each ends one waiting request */
void reply_send(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                const char *sentence);
void reply_error(struct kvapp_node *node, const struct waiter *waiter, int err);
void reply_redirect(struct kvapp_node *node, const struct waiter *waiter);
void reply_admin(const struct waiter *waiter, const struct admin_response *response);
void reply_lost(struct kvapp_node *node);
void reply_expire(struct kvapp_node *node);
void reply_stale(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                 uint64_t age_ms);
void reply_status(struct client *client, uint64_t request_id);

/* clients.c */
int clients_listen(struct kvapp_node *node, const struct io_address *address);
void clients_start(struct kvapp_node *node);
void clients_flush(struct kvapp_node *node);
void clients_resume(struct kvapp_node *node);
void clients_stop(struct kvapp_node *node);
void client_mark_dirty(struct client *client);
void client_release(struct client *client, size_t cost);

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
/* Whether the server has greeted here and is connected; and what it said of its directory. */
bool inbound_is_connected(const struct kvapp_node *node, uint64_t from);
uint64_t inbound_incarnation(const struct kvapp_node *node, uint64_t from); /* 0: not known */
bool links_closed(const struct kvapp_node *node);
void feed_init(struct link *link);
void feed_append(struct link *link, const struct raft_message *message);
void feed_drop(struct link *link);
void feed_done(struct link *link);
int inbound_listen(struct kvapp_node *node, const struct io_address *address);
void inbound_resume(struct kvapp_node *node);
void inbound_reject(struct kvapp_node *node, uint64_t from, const char *why);
void inbound_expire(struct kvapp_node *node);
void inbound_stop(struct kvapp_node *node);

#endif
