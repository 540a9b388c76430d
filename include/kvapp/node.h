/*
 * A server that another program embeds: one member of a cluster, with its own loop, driven by one
 * thread. Several may live in one process.
 *
 *     struct kvapp_node_options options;
 *     kvapp_node_options_init(&options);
 *     options.bind = "127.0.0.1:8080";
 *     char error[512];
 *     struct kvapp_node *node;
 *     if (kvapp_node_new(&options, error, sizeof error, &node) != 0) { puts(error); return 1; }
 *     int err = kvapp_node_run(node);   // until kvapp_node_stop or a signal
 *     kvapp_node_free(node);
 */
#ifndef KVAPP_NODE_H
#define KVAPP_NODE_H

#include "kvapp/err.h"
#include "kvapp/raft.h"
#include "kvapp/reads.h"

struct kvapp_node;

/* ---- timing ---- */

struct kvapp_timing {
    const char *name; /* "fast", "debug", "demo" */
    uint32_t event_loop_ms;
    uint32_t heartbeat_ms;
    uint32_t election_min_ms;
    uint32_t election_max_ms;
    uint32_t network_delay_ms; /* added to every message between members */
    uint32_t client_delay_ms;  /* added to every reply to a client */
    bool paced; /* debug, demo: one batch of events per event_loop_ms, for people to watch;
                   fast: as events come, and event_loop_ms is only the timers' resolution */
};

/* The numbers of a mode. Returns 0, or KV_ERR_INVALID for a name that is no mode. */
int kvapp_timing_mode(const char *name, struct kvapp_timing *ret_timing);

/* ---- options ---- */

enum kvapp_io { KVAPP_IO_AUTO, KVAPP_IO_URING, KVAPP_IO_PORTABLE };
enum kvapp_log_level { KVAPP_LOG_ERROR, KVAPP_LOG_WARN, KVAPP_LOG_INFO, KVAPP_LOG_DEBUG };

/* What a server that does not lead does with the writes of Redis's clients. */
enum kvapp_redis_writes {
    KVAPP_REDIS_FORWARD, /* hands them to the leader */
    KVAPP_REDIS_MOVED,   /* answers MOVED with the leader's address, as a Redis Cluster does */
    KVAPP_REDIS_REFUSE,  /* answers READONLY, as a replica does */
};

struct kvapp_node_options {
    uint64_t node_id;     /* 0: the member whose address is `bind` */
    const char *bind;     /* raft address; NULL: node_id's in `cluster` */
    const char *cluster;  /* all members; NULL: a cluster of one, of id node_id or 1, at `bind` */
    const char *join;     /* the raft address of any member: an empty data directory is made for
                             that member's cluster; with node_id and bind, in place of `cluster` */
    const char *data_dir; /* "./data" */
    uint32_t client_port_offset; /* 1000 */
    struct kvapp_timing timing;  /* fast */
    enum kvapp_io io;
    uint64_t segment_size;     /* of the log, bytes */
    uint64_t cache_size;       /* newest entries in memory, bytes */
    uint64_t snapshot_entries; /* a snapshot is taken when so many were applied since the last, */
    uint64_t snapshot_bytes;   /* or so many bytes, and as many as the state has in memory */
    uint64_t snapshot_rate;    /* at which one is sent to a member, bytes a second */
    uint32_t priority;         /* 1; a leader hands over to a voter that has a higher one */
    /* How reads are answered that leave it to the server: leader [the default], linearizable or
     * lease. Lease also makes this server promise, as a voter, what the leaders' leases rest on:
     * each leader has one while a majority is so configured. All must have the same election
     * timeouts. */
    enum kvapp_reads reads;
    enum kvapp_redis_writes redis_writes; /* forward */
    bool handle_signals;                  /* SIGTERM and SIGINT end kvapp_node_run cleanly */
    /* The log; NULL: nobody listens. */
    void (*log)(void *context, enum kvapp_log_level level, const char *line);
    void *log_context;
    enum kvapp_log_level log_level;
};

/* Sets every option to its default. */
void kvapp_node_options_init(struct kvapp_node_options *ret_options);

/* ---- life ---- */

/*
 * Checks the options, binds both ports, and begins to recover the data directory; nothing is
 * served before kvapp_node_run or kvapp_node_step. The options are copied. Returns 0; or an error,
 * with a sentence for the user in `error`.
 */
int kvapp_node_new(const struct kvapp_node_options *options, char *error, size_t error_size,
                   struct kvapp_node **ret_node);

/*
 * Runs until kvapp_node_stop, a signal or a failure. Returns 0 after a clean end: everything
 * acknowledged is on the disk. Otherwise the error, with its sentence in kvapp_node_error.
 */
int kvapp_node_run(struct kvapp_node *node);

/* One turn: waits at most wait_ms for something to do, and does it. Returns 0 while the node runs,
 * KV_ERR_STOPPED after a clean end, or the error that ended it. */
int kvapp_node_step(struct kvapp_node *node, uint32_t wait_ms);

/* Begins a clean end; run or step until it has ended. Only from the node's own thread. */
void kvapp_node_stop(struct kvapp_node *node);

/* Frees a node; one that still runs is ended cleanly first. NULL is fine. */
void kvapp_node_free(struct kvapp_node *node);

/* The sentence of what ended the node; never NULL. */
const char *kvapp_node_error(const struct kvapp_node *node);

/* ---- looking in, and working on it ---- */

enum raft_role kvapp_node_role(const struct kvapp_node *node);
uint64_t kvapp_node_id(const struct kvapp_node *node);
uint64_t kvapp_node_term(const struct kvapp_node *node);
uint64_t kvapp_node_leader(const struct kvapp_node *node); /* 0: unknown */
uint64_t kvapp_node_commit_index(const struct kvapp_node *node);
uint64_t kvapp_node_applied_index(const struct kvapp_node *node);
uint64_t kvapp_node_last_index(const struct kvapp_node *node);
uint64_t kvapp_node_digest(const struct kvapp_node *node);
bool kvapp_node_is_committed(const struct kvapp_node *node, uint64_t index);

/* A log entry that is in memory. Bytes are borrowed until the next call with this node. Returns 0,
 * KV_ERR_NOT_FOUND or KV_ERR_NOT_CACHED. */
struct kvapp_entry {
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;
    const void *command; /* docs/PROTOCOL.md, "Commands" */
    size_t command_size; /* 0: a no-op */
};
int kvapp_node_entry(const struct kvapp_node *node, uint64_t index, struct kvapp_entry *ret_entry);

/*
 * Proposes a command (bytes as of a ClientRequest) on the leader. `done` is called from a later
 * step with the outcome: status 0 or KV_ERR_*, and the revision. Returns 0; or at once, and `done`
 * is not called, KV_ERR_NOT_LEADER, KV_ERR_BUSY, or what is wrong with the command.
 */
struct kvapp_proposal {
    void (*done)(struct kvapp_proposal *proposal, int status, uint64_t revision);
    void *context;
};
int kvapp_node_propose(struct kvapp_node *node, const void *command, size_t command_size,
                       struct kvapp_proposal *proposal);

#endif
