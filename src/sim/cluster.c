#include "sim/cluster.h"

#include "base/assert.h"
#include "base/memory.h"
#include "raft/membership.h"
#include "sim/ledger.h"
#include "sim/roster.h"
#include "sim/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    RAFT_PORT = 7000,
    LOOK_US = 1000 * 1000,
    RESTART_US = 1000 * 1000, /* after a server ended by itself */
    FIRST_START_US = 200 * 1000,
    RECOVERY_RUNS = 8,
};

/* ---- what servers log ---- */

/* Rare branches that only the log tells of. */
static void note_branch(struct simulation *simulation, const char *line)
{
    static const struct {
        const char *words;
        enum reached_branch branch;
    } branches[] = {
        {"pre-candidate -> follower", REACHED_PRE_VOTE_YIELDED},
        {"nobody won term", REACHED_SPLIT_VOTE},
        {"leader -> follower: server", REACHED_DEPOSED},
        {"leader -> follower: no majority", REACHED_QUORUM_LOST},
        {"leader -> follower: ticket", REACHED_DISK_LOST},
        {"it shall connect anew", REACHED_SILENT},
        {"hands over to", REACHED_TRANSFERRED},
        {"keys restored from the snapshot", REACHED_RESTORED},
        {"a crash had left an unfinished write", REACHED_TORN_TAIL},
        {"the disk is full", REACHED_DISK_FULL},
        {"log and snapshots were moved to", REACHED_SET_ASIDE},
        {"holds again what it had lost", REACHED_REPAIRED},
        {"has another data directory than the cluster knows", REACHED_WIPED_REFUSED},
        {"still leader: handing over", REACHED_TRANSFER_FAILED},
    };
    for (size_t i = 0; i < sizeof branches / sizeof branches[0]; i++) {
        if (strstr(line, branches[i].words) != NULL) {
            simulation_reached(simulation, branches[i].branch);
            return;
        }
    }
}

static void log_line(void *context, enum kvapp_log_level level, const char *line)
{
    struct server *server = context;
    struct simulation *simulation = server->cluster->simulation;
    if (server->muted) {
        return;
    }
    if (level <= KVAPP_LOG_INFO) {
        note_branch(simulation, line);
    }
    TELL(simulation, server->name, "%s", line);
}

/* ---- life ---- */

static void supervise(struct sim_event *event)
{
    cluster_start(CONTAINER_OF(event, struct server, supervisor));
}

static void restart_later(struct server *server, uint64_t down_us)
{
    struct sim_world *world = server->cluster->simulation->world;
    if (server->supervised && !server->refused && !server->retired) {
        sim_world_schedule(world, &server->supervisor, sim_world_now(world) + down_us);
    }
}

/* Takes a node that ended, or whose io was cut off, out of the world. */
static void bury(struct server *server)
{
    server->muted = true;
    kvapp_node_free(server->node);
    server->muted = false;
    io_free(server->io);
    server->node = NULL;
    server->io = NULL;
    server->stopping = false;
    server->paused_leading = false;
}

static uint64_t disk_errors(const struct simulation *simulation)
{
    const uint64_t *faults = sim_world_counters(simulation->world)->faults;
    return faults[SIM_FAULT_READ_ERROR] + faults[SIM_FAULT_WRITE_ERROR] +
           faults[SIM_FAULT_SYNC_ERROR];
}

/* One of the members, as who starts a server would look it up. */
static void draw_join(struct server *server)
{
    struct simulation *simulation = server->cluster->simulation;
    const struct raft_membership *members = simulation->ledger->membership->membership;
    size_t count = members->count;
    CHECK(count > 0);
    size_t drawn = simulation_draw(simulation, 0, count - 1);
    for (size_t i = 0; i < 2 * count; i++) {
        const struct raft_member *member = &members->members[(drawn + i) % count];
        const struct server *other = &server->cluster->servers[member->id - 1];
        /* One that has no log yet may itself wait to be told: only when there is no other. */
        bool can_tell = !other->joins || other->view.log_count > 0 || i >= count;
        if (other != server && server_is_sound(other) && can_tell) {
            (void)snprintf(server->join, sizeof server->join, "%s", member->address);
            return;
        }
    }
    /* The only member: its directory knows the cluster, and nobody is asked. */
    (void)snprintf(server->join, sizeof server->join, "%s", server->address);
}

void cluster_start(struct server *server)
{
    struct cluster *cluster = server->cluster;
    struct simulation *simulation = cluster->simulation;
    if (server->node != NULL || server->refused || server->retired) {
        return;
    }
    sim_world_cancel(simulation->world, &server->supervisor);
    sim_host_boot(server->host, &server->io);
    struct kvapp_node_options options;
    kvapp_node_options_init(&options);
    options.node_id = server->number + 1;
    options.bind = server->address;
    if (server->joins) {
        draw_join(server);
        options.join = server->join;
    } else {
        options.cluster = cluster->members;
    }
    options.data_dir = "/data";
    options.timing = cluster->timing;
    options.reads = cluster->reads;
    options.redis_writes = cluster->redis_writes;
    options.segment_size = cluster->segment_size;
    options.cache_size = cluster->cache_size;
    options.snapshot_entries = cluster->snapshot_entries;
    options.snapshot_rate = cluster->snapshot_rate;
    options.log = log_line;
    options.log_context = server;
    options.log_level =
        trace_wanted(simulation->options->trace, TRACE_DEBUG) ? KVAPP_LOG_DEBUG : KVAPP_LOG_INFO;
    char error[512];
    server->view.fresh = true;
    server->disk_errors = disk_errors(server->cluster->simulation);
    int err = node_new_on(server->io, &options, error, sizeof error, &server->node);
    if (err != 0) {
        simulation_fail(simulation, "start", "%s cannot be made: %s", server->name, error);
        server->node = NULL;
        io_free(server->io);
        server->io = NULL;
    }
}

void cluster_crash(struct server *server, enum sim_crash crash, uint64_t down_us)
{
    struct simulation *simulation = server->cluster->simulation;
    if (server->node == NULL) {
        return;
    }
    simulation->result->crashes++;
    sim_host_crash(server->host, crash);
    bury(server);
    restart_later(server, down_us);
}

void cluster_stop(struct server *server)
{
    if (server->node != NULL && !server->stopping) {
        server->stopping = true;
        kvapp_node_stop(server->node);
        sim_host_wake(server->host);
    }
}

void cluster_start_later(struct server *server, uint64_t after_us)
{
    if (server->node == NULL) {
        restart_later(server, after_us);
    }
}

void cluster_wipe(struct server *server, uint64_t down_us)
{
    cluster_crash(server, SIM_CRASH_POWER, down_us);
    TELL(server->cluster->simulation, server->name, "has its disk wiped");
    sim_disk_wipe(server->host);
    CHECK(sim_disk_make_path(server->host, "/data") == 0);
    server->before_wipe = server->view;
    server->view = (struct view){0};
    server->founder = !server->joins;
    server->wiped = true;
}

void cluster_move(struct server *server, const char *address, uint64_t down_us)
{
    TELL(server->cluster->simulation, server->name, "moves from %s to %s", server->address,
         address);
    cluster_crash(server, SIM_CRASH_KILL, down_us);
    (void)snprintf(server->address, sizeof server->address, "%s", address);
    server->joins = true;
}

void cluster_retire(struct server *server)
{
    cluster_crash(server, SIM_CRASH_KILL, RESTART_US);
    sim_world_cancel(server->cluster->simulation->world, &server->supervisor);
    server->retired = true;
}

/* A server that ends without being asked needs a good reason. `opened`: it had its directory. */
static bool may_end(struct simulation *simulation, const struct server *server, int err,
                    bool opened)
{
    const struct sim_counters *counters = sim_world_counters(simulation->world);
    switch (err) {
    case KV_ERR_IO:
        simulation_reached(simulation, REACHED_DISK_FAILED);
        return server->may_be_hurt && disk_errors(simulation) > server->disk_errors;
    case KV_ERR_FULL:
        return !opened && counters->faults[SIM_FAULT_NO_SPACE] > 0;
    case KV_ERR_DAMAGED:
        return server->may_be_hurt;
    case KV_ERR_REMOVED:
        simulation_reached(simulation, REACHED_REMOVED_ENDED);
        return membership_find(simulation->ledger->membership->membership, server->number + 1) ==
               NULL;
    default:
        return false;
    }
}

static void end(struct server *server)
{
    struct simulation *simulation = server->cluster->simulation;
    int err = server->node->ended_err;
    bool opened = server->node->raft != NULL;
    char sentence[300];
    (void)snprintf(sentence, sizeof sentence, "%.299s", kvapp_node_error(server->node));
    TELL(simulation, server->name, "has ended: %s", err == 0 ? "as asked" : sentence);
    bool asked = server->stopping && err == 0;
    bury(server);
    if (!asked && !may_end(simulation, server, err, opened)) {
        simulation_fail(simulation, "stays-up", "%s ended by itself: %s", server->name, sentence);
        return;
    }
    /* With others a damaged log is set aside at the next start; a list of one says that there are
     * none. */
    server->refused = err == KV_ERR_DAMAGED && !server->joins && server->cluster->first_count == 1;
    /* A supervisor may try once more. */
    server->retired = err == KV_ERR_REMOVED && !simulation_chance(simulation, 25);
    restart_later(server, RESTART_US);
}

bool cluster_turn(struct cluster *cluster, const struct sim_host *host)
{
    size_t number = sim_host_number(host);
    if (number >= SERVERS_MAX) {
        return false;
    }
    struct server *server = &cluster->servers[number];
    struct kvapp_node *node = server->node;
    CHECK(node != NULL);
    if (server->view.fresh) {
        /* What was recovered is looked at before the turn can change it. One completion may bring
         * the next at once. */
        for (int i = 0; i < RECOVERY_RUNS && node->raft == NULL; i++) {
            CHECK(io_run(server->io, 0) == 0);
        }
        state_look_recovered(cluster->simulation, server);
    }
    if (server->paused_leading) {
        server->paused_leading = false;
        if (cluster->simulation->ledger->term_max > server->view.term) {
            simulation_reached(cluster->simulation, REACHED_LEADER_PAUSED);
        }
    }
    (void)kvapp_node_step(node, 0);
    state_look(cluster->simulation, server);
    if (node->state == NODE_ENDED) {
        end(server);
    } else if (node->more_work) {
        sim_host_wake(server->host);
    }
    return true;
}

/* ---- all of them ---- */

struct server *cluster_leader(struct cluster *cluster)
{
    struct server *leader = NULL;
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        if (server->node != NULL && server->node->state == NODE_SERVING &&
            kvapp_node_role(server->node) == RAFT_LEADER &&
            (leader == NULL || kvapp_node_term(server->node) > kvapp_node_term(leader->node))) {
            leader = server;
        }
    }
    return leader;
}

static void look(struct sim_event *event)
{
    struct cluster *cluster = CONTAINER_OF(event, struct cluster, look);
    struct simulation *simulation = cluster->simulation;
    size_t leaders = 0;
    size_t up = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        const struct kvapp_node *node = cluster->servers[i].node;
        leaders += node != NULL && kvapp_node_role(node) == RAFT_LEADER;
        up += node != NULL;
    }
    if (leaders > 1) {
        simulation_reached(simulation, REACHED_TWO_LEADERS);
    }
    cluster->leaderless = leaders == 0 ? cluster->leaderless + 1 : 0;
    if (cluster->leaderless == 2) {
        simulation_reached(simulation, REACHED_NO_LEADER);
    }
    if (up == 0) {
        simulation_reached(simulation, REACHED_ALL_DOWN);
    }
    sim_world_schedule(simulation->world, event, sim_world_now(simulation->world) + LOOK_US);
}

uint64_t cluster_election_us(const struct cluster *cluster)
{
    return (uint64_t)cluster->timing.election_max_ms * 1000;
}

static void draw_shape(struct cluster *cluster)
{
    struct simulation *simulation = cluster->simulation;
    static const uint32_t counts[] = {1, 3, 3, 3, 3, 3, 5, 5};
    uint64_t drawn = simulation_draw(simulation, 0, sizeof counts / sizeof counts[0] - 1);
    uint32_t wanted = simulation->options->servers;
    cluster->count = wanted != 0 ? wanted : counts[drawn];
    CHECK(cluster->count <= SERVERS_MAX);
    cluster->first_count = cluster->count;
    uint32_t heartbeat_ms = (uint32_t)simulation_draw(simulation, 5, 15) * 10;
    uint32_t min_ms = heartbeat_ms * (uint32_t)simulation_draw(simulation, 3, 5);
    cluster->timing = (struct kvapp_timing){
        .name = "simulated",
        .event_loop_ms = 10,
        .heartbeat_ms = heartbeat_ms,
        .election_min_ms = min_ms,
        .election_max_ms = min_ms * 2,
    };
    /* Small segments, so that they change; not so small that a full disk or a large value has no
     * room to be interesting. */
    cluster->segment_size = simulation_draw_wide(simulation, 160 * 1024, 1024 * 1024);
    bool snapshots = simulation_chance(simulation, 75);
    uint64_t longest = simulation_chance(simulation, 30) ? 20 : 1000;
    cluster->snapshot_entries =
        snapshots ? simulation_draw_wide(simulation, 10, longest) : UINT32_MAX;
    cluster->snapshot_rate = simulation_draw_wide(simulation, 300, 300 * 1000);
    cluster->cache_size = simulation_draw_wide(simulation, 4096, 1024 * 1024);
    cluster->steady = simulation_chance(simulation, 60);
    if (simulation_chance(simulation, 20)) {
        cluster->redis_writes =
            simulation_chance(simulation, 50) ? KVAPP_REDIS_MOVED : KVAPP_REDIS_REFUSE;
    }
    cluster->reads = (enum kvapp_reads)simulation_draw(simulation, KVAPP_READS_LEADER,
                                                       cluster->steady ? KVAPP_READS_LEASE
                                                                       : KVAPP_READS_LINEARIZABLE);
}

static void make_server(struct cluster *cluster, size_t number)
{
    struct simulation *simulation = cluster->simulation;
    struct server *server = &cluster->servers[number];
    char host[32];
    (void)snprintf(host, sizeof host, "10.0.0.%zu", number + 1);
    (void)snprintf(server->address, sizeof server->address, "%s:%d", host, RAFT_PORT);
    (void)snprintf(server->name, sizeof server->name, "server %zu", number + 1);
    server->cluster = cluster;
    server->number = number;
    server->host = sim_host_new(simulation->world, host);
    server->supervisor.run = supervise;
    server->supervised = true;
    server->joins = number >= cluster->first_count;
    server->founder = !server->joins;
    CHECK(sim_host_number(server->host) == number);
    CHECK(sim_disk_make_path(server->host, "/data") == 0);
}

struct cluster *cluster_new(struct simulation *simulation)
{
    struct cluster *cluster = memory_new(1, sizeof *cluster);
    cluster->simulation = simulation;
    draw_shape(cluster);
    size_t size = 0;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        make_server(cluster, i);
    }
    for (size_t i = 0; i < cluster->first_count; i++) {
        size += (size_t)snprintf(cluster->members + size, sizeof cluster->members - size,
                                 "%s%zu=%s", i == 0 ? "" : ",", i + 1, cluster->servers[i].address);
    }
    cluster->look.run = look;
    return cluster;
}

struct server *cluster_enlist(struct cluster *cluster)
{
    return cluster->count == SERVERS_MAX ? NULL : &cluster->servers[cluster->count++];
}

struct raft_membership *cluster_initial(const struct cluster *cluster)
{
    struct raft_membership *membership = memory_new(1, sizeof *membership);
    membership->count = cluster->first_count;
    for (size_t i = 0; i < cluster->first_count; i++) {
        struct raft_member *member = &membership->members[i];
        member->id = i + 1;
        member->voter = true;
        (void)snprintf(member->address, sizeof member->address, "%s", cluster->servers[i].address);
    }
    return membership;
}

void cluster_begin(struct cluster *cluster)
{
    struct simulation *simulation = cluster->simulation;
    for (size_t i = 0; i < cluster->count; i++) {
        sim_world_schedule(simulation->world, &cluster->servers[i].supervisor,
                           simulation_draw(simulation, 0, FIRST_START_US));
    }
    sim_world_schedule(simulation->world, &cluster->look, LOOK_US);
}

void cluster_free(struct cluster *cluster)
{
    if (cluster == NULL) {
        return;
    }
    sim_world_cancel(cluster->simulation->world, &cluster->look);
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        struct server *server = &cluster->servers[i];
        sim_world_cancel(cluster->simulation->world, &server->supervisor);
        if (server->node != NULL) {
            sim_host_crash(server->host, SIM_CRASH_KILL);
            bury(server);
        }
        view_done(&server->view);
        view_done(&server->before_wipe);
    }
    free(cluster);
}
