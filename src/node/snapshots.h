/*
 * Snapshots inside a node: taken of the own state, received from a leader, made a state machine
 * again, and given to clients as backups.
 */
#ifndef NODE_SNAPSHOTS_H
#define NODE_SNAPSHOTS_H

#include "kv/kv.h"
#include "node/peers.h"
#include "wire/backup.h"

struct client;

enum {
    SNAPSHOT_PIECE_SIZE = 256 * 1024, /* bytes of a snapshot's file in one frame */
    BACKUPS_MAX = 2,                  /* at a time */
    BACKUP_WAITING_MAX = 8,           /* requests of one backup not yet answered */
};

/* One of the own state (snapshot.c). */
enum snapshot_taking_state {
    SNAPSHOT_IDLE,
    SNAPSHOT_WAITING, /* for the disk */
    SNAPSHOT_PAUSING, /* before the next chunk */
    SNAPSHOT_WRITING, /* it may come */
    SNAPSHOT_COMMITTING,
    SNAPSHOT_TAKEN,     /* and Raft has not heard of it yet */
    SNAPSHOT_ABANDONED, /* and the storage has not said so yet */
};

struct snapshot {
    enum snapshot_taking_state state;
    struct storage_snapshot_taking taking;
    struct kv_snapshot *frozen;
    struct io_timer pause;
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

/* snapshot.c */
void snapshot_init(struct kvapp_node *node);
void snapshot_take(struct kvapp_node *node);
/*
 * Has one taken as soon as possible, even if none is due. Returns the applied index, 0 when nothing
 * was applied yet: the wish is met once storage_snapshot_newest has reached it. A disk without room
 * is tried again every ten seconds.
 */
uint64_t snapshot_ask(struct kvapp_node *node);
/* The newest one seems to be damaged: has another one taken at once, and tried again when asked
 * again. */
void snapshot_renew(struct kvapp_node *node);
void snapshot_compact(struct kvapp_node *node);
void snapshot_stop(struct kvapp_node *node);
void snapshot_done(struct kvapp_node *node);

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

#endif
