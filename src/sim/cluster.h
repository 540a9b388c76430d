/*
 * The servers of a run: complete production servers, each on a simulated host, with what the
 * checkers know about it. A server that is down is started again by its supervisor after a while,
 * unless it is alone, its disk was damaged and it refuses to start.
 *
 *     down ──cluster_start──► up ──crash, clean end, failure──► down
 *                             up ──refuses its damaged log────► refused
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "node/node.h"
#include "sim/run.h"
#include "sim/state.h"

enum { SERVERS_MAX = 5 };

struct server {
    struct cluster *cluster;
    size_t number; /* 0, 1, ... */
    char name[32];
    char address[48];
    struct sim_host *host;
    struct io *io;
    struct kvapp_node *node; /* NULL: down */
    struct sim_event supervisor;
    bool supervised;     /* is started again when it ends */
    bool stopping;       /* asked to end cleanly */
    bool refused;        /* its log is damaged, and it said so */
    bool may_be_hurt;    /* its disk was made to fail or rot: within the budget */
    bool paused_leading; /* it led when it was paused, and has had no turn since */
    bool muted;          /* what it logs is no part of the run any more */
    struct view view;
};

struct cluster {
    struct simulation *simulation;
    size_t count;
    struct server servers[SERVERS_MAX];
    char members[256];
    struct kvapp_timing timing;
    enum kvapp_reads reads; /* the servers' own way */
    bool steady;            /* clocks may go wrong, but not stand still: leases count on that */
    uint64_t segment_size;
    uint64_t cache_size;
    uint64_t snapshot_entries;
    uint64_t snapshot_rate;
    struct sim_event look; /* once a second */
    uint64_t leaderless;   /* looks in a row without a leader */
};

struct cluster *cluster_new(struct simulation *simulation);
void cluster_free(struct cluster *cluster);

/* Starts every server. */
void cluster_begin(struct cluster *cluster);

void cluster_start(struct server *server);
/* The process dies; its supervisor starts it again after `down_us`. */
void cluster_crash(struct server *server, enum sim_crash crash, uint64_t down_us);
/* Asks it to end cleanly. */
void cluster_stop(struct server *server);

/* One turn of the host's process, with all the checks that follow. False: no server's host. */
bool cluster_turn(struct cluster *cluster, const struct sim_host *host);

/* The serving leader of the highest term, or NULL. */
struct server *cluster_leader(struct cluster *cluster);
/* How many servers may be broken for good. */
size_t cluster_budget(const struct cluster *cluster);
uint64_t cluster_election_us(const struct cluster *cluster);

#endif
