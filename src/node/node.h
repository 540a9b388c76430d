/*
 * One server, inside. A turn drains each stage once, in the order of the way of the data:
 *
 *   clients.c   bytes from clients ─► requests         ┐ queued by
 *   inbound.c   bytes from members ─► inbox            │ completions
 *   storage     stored tickets                         ┘
 *   ── node_turn (turn.c) ─────────────────────────────────────────────
 *   step.c      inbox, tickets, time ─► raft_step ─► effects
 *   clock.c     what the voters say of the time
 *   stall.c     nothing was applied for too long ─► another leader
 *   admin.c     what operators ask; handover.c   is another server to lead?
 *   redis.c     what waited for a leader
 *   propose.c   all writes that have gathered: staged, one RAFT_PROPOSED
 *   reads.c     all reads of the turn: one RAFT_READ_ASKED, or a request to the leader
 *   step.c      one storage_flush
 *   apply.c     committed entries ─► state machine ─► replies (tracker.c)
 *   digest.c    the state's digest ─► members; theirs was compared on the way
 *   backup.c    backups that wait for a snapshot
 *   snapshot.c  a chunk of the snapshot that is being taken
 *   reads.c     confirmed reads ─► replies
 *   redis.c     what Redis's clients sent meanwhile
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
#include "node/clock.h"
#include "node/forward.h"
#include "node/gather.h"
#include "node/intake.h"
#include "node/options.h"
#include "node/outbox.h"
#include "node/peers.h"
#include "node/reads.h"
#include "node/redis.h"
#include "node/snapshots.h"
#include "node/tracker.h"

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
    APPEND_BYTES = 512 * 1024, /* of entries in one append, unless one entry is larger */
    APPEND_WINDOW = 32,        /* appends in flight to one member */
    INBOX_MAX = 32 * 1024 * 1024,
    DRAIN_MS = 1000,
    LAST_WORDS_MS = 200, /* to those who were not answered in that time */
    RELEASE_NODES = 64,  /* of a tree, given back in one turn */
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
    struct redis *redis; /* NULL: it speaks the native protocol, or has said nothing yet */
    bool native;
    struct outbox outbox;
    uint32_t waiting;     /* requests not yet answered; holds the struct alive */
    uint64_t write_index; /* newest entry proposed for it: its later reads see it */
    uint64_t write_round; /* see gather.h */
    struct read_asked read_asked;
    bool paused; /* does not receive: back-pressure */
    bool ended;  /* the peer sends no more, or must not: close when all is answered */
    bool closing;
    struct buf held; /* reads that wait until the client takes its bytes (reads.c) */
};

/* ---- the disk (full.c) ---- */

/* The disk has no space for the log to go on for long (full.c). */
struct full {
    bool is;
    uint64_t hand_over_us; /* not before */
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
    bool drained_late; /* that time was up, and who still waited was told */
    bool more_work;    /* something is left for another turn at once */

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
    uint64_t prefetched_index; /* entries up to here were looked at before (apply.c) */
    bool apply_more;           /* the last turn left committed entries to this one */
    struct snapshot snapshot;
    struct install install;
    struct restore restore;
    struct digests digests;
    struct stall stall;
    struct full full;
    struct clock clock;
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
    struct refusal refusals[MEMBERS_MAX]; /* that were said */
    size_t refusal_next;                  /* the one to be replaced next */
    struct buf inbox;                     /* records: from u64, type u8, size u32, payload */

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
    struct gather write_gather;
    struct tracker tracker;
    uint64_t purge_index; /* leader: of the entry that tells of the newest expiry (propose.c) */
    struct reads reads;
    struct forwards forwards;
    struct list redis_waiting;       /* struct redis: for a leader, or for followers */
    struct list redis_ready;         /* those that go on with what they have received */
    struct redis_unit redis_request; /* room for one request's commands */
    struct buf redis_text;           /* and for its answer, when it is there at once */
    uint64_t redis_ids;
    struct scans scans;
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
/* Lets another voter lead, 0: the most up to date; the error is the core's. */
int step_transfer(struct kvapp_node *node, uint64_t to);
/* The newest snapshot is durable: the log before the older one is given up. */
void step_compacted(struct kvapp_node *node);
/* The leader's snapshot is durable here. */
void step_installed(struct kvapp_node *node, const struct install *install);
/* The sending of a snapshot to a member has ended. */
void step_shipped(struct kvapp_node *node, uint64_t id, uint64_t index, bool ok);

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
/* Leader: asks the core for a round of its own, for all that was asked before; returns its tag. */
uint64_t reads_ask_round(struct kvapp_node *node);
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

/* forward.c: writes of Redis's clients, from a server that does not lead to the leader */
void forwards_start(struct forwards *forwards, uint64_t chance);
void forwards_done(struct forwards *forwards);
bool forwards_none(const struct forwards *forwards);
/* Whether there is a leader elsewhere that can be asked, and can answer. */
bool forward_has_way(struct kvapp_node *node);
/* Sends a client's command; false: it was not sent, since there is no such leader. */
bool forward_send(struct kvapp_node *node, const struct waiter *waiter, struct slice command);
int forward_frame(struct kvapp_node *node, uint64_t from, const struct frame *frame);
/* Leader: answers the server that sent the command. */
void forward_answer(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                    const char *sentence);
/* A connection from or to the member is lost: what is on its way there is in doubt, but for the
 * answers that have come and not been looked at. */
void forward_lost(struct kvapp_node *node, uint64_t id);
void forward_expire(struct kvapp_node *node);
/* The node ends. */
void forward_stop(struct kvapp_node *node);

/* membership.c: who takes part */
struct restored_memberships {
    struct raft_membership initial;  /* in force while the log has none; nobody: one that joins */
    struct raft_membership snapshot; /* when there is one */
    struct raft_logged_membership *logged; /* the caller's to free */
    size_t count;
};
/* The newest member of that id, NULL: there is none. */
const struct raft_member *node_member(const struct kvapp_node *node, uint64_t id);
/* Appends the encoded members that the cluster begins with; nothing when this server joins one. */
void membership_founders(const struct kvapp_node *node, struct buf *out);
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
/* No more is read from the client; it is closed once everything is answered and sent. */
void client_end(struct client *client);
void client_release(struct client *client, size_t cost);

#endif
