/*
 * The servers of a run: complete production servers, each on a simulated host, with what the
 * checkers know about it. A server that is down is started again by its supervisor after a while,
 * unless it is alone, its disk was damaged and it refuses to start; or it was removed.
 *
 *     down ──cluster_start──► up ──crash, clean end, failure──► down
 *                             up ──refuses its damaged log────► refused
 *                             up ──was removed────────────────► retired
 *
 * The first members found the cluster; further servers are enlisted one by one, join it, and may be
 * made members by the operator. A server that was removed never comes back: its id is not used
 * again.
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "node/node.h"
#include "sim/run.h"
#include "sim/state.h"

enum { SERVERS_MAX = 9 };

struct server {
    struct cluster *cluster;
    size_t number; /* 0, 1, ... */
    char name[32];
    char address[48];
    char join[48]; /* a member's, as it was when this server was started */
    struct sim_host *host;
    struct io *io;
    struct kvapp_node *node; /* NULL: down */
    struct sim_event supervisor;
    uint64_t disk_errors; /* that there were anywhere, when it was started */
    bool supervised;      /* is started again when it ends */
    bool stopping;        /* asked to end cleanly */
    bool joins;           /* is started with --join, not with the list of the first members */
    bool founder;         /* its directory names the first members */
    bool refused;         /* its log is damaged, and it said so */
    bool retired;         /* removed, and gone */
    bool wiped;           /* its disk was wiped when the others knew it */
    bool may_be_hurt;     /* its disk was made to fail or rot: within the budget */
    bool paused_leading;  /* it led when it was paused, and has had no turn since */
    bool muted;           /* what it logs is no part of the run any more */
    struct view view;
    struct view before_wipe; /* of a wiped one: what its disk had promised */
};

/* Whether what it says can be heard, and it takes what it is told. */
static inline bool server_is_sound(const struct server *server)
{
    return !server->refused && !server->wiped && !server->retired;
}

struct cluster {
    struct simulation *simulation;
    size_t first_count; /* the first members */
    size_t count;       /* and those who were enlisted since */
    struct server servers[SERVERS_MAX];
    char members[256]; /* the first ones */
    struct kvapp_timing timing;
    enum kvapp_reads reads; /* the servers' own way */
    enum kvapp_redis_writes redis_writes;
    bool steady; /* clocks may go wrong, but not stand still: leases count on that */
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

/* A server more, which has not been started; NULL: there is none left. */
struct server *cluster_enlist(struct cluster *cluster);

/* The membership of the new cluster; the caller's to free. */
struct raft_membership *cluster_initial(const struct cluster *cluster);

void cluster_start(struct server *server);
/* Starts it after a while. */
void cluster_start_later(struct server *server, uint64_t after_us);
/* The process dies; its supervisor starts it again after `down_us`. */
void cluster_crash(struct server *server, enum sim_crash crash, uint64_t down_us);
/* Asks it to end cleanly. */
void cluster_stop(struct server *server);
/* The machine loses power, and its disk is empty. */
void cluster_wipe(struct server *server, uint64_t down_us);
/* The process is killed, and starts again at this raft address after `down_us`. */
void cluster_move(struct server *server, const char *address, uint64_t down_us);
/* The process is killed for good. */
void cluster_retire(struct server *server);

/* One turn of the host's process, with all the checks that follow. False: no server's host. */
bool cluster_turn(struct cluster *cluster, const struct sim_host *host);

/* The serving leader of the highest term, or NULL. */
struct server *cluster_leader(struct cluster *cluster);
uint64_t cluster_election_us(const struct cluster *cluster);

#endif
