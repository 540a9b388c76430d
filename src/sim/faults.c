#include "sim/faults.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/callers.h"
#include "sim/clocks.h"
#include "sim/cluster.h"
#include "sim/ledger.h"
#include "sim/network_faults.h"
#include "sim/operator.h"
#include "sim/roster.h"
#include "sim/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SECOND_US = 1000 * 1000,
    FIRST_FAULT_US = SECOND_US,
    INTERVAL_US_MIN = 700 * 1000,
    INTERVAL_US_MAX = 24 * SECOND_US,
    ELECTIONS_PAUSED_MAX = 10,
    JUMP_MS_MAX = 3600 * 1000,
    RATE_PPM_MAX = 200 * 1000,
    CRASH_POINT_DOWN_US = SECOND_US / 5,
    ROT_SEGMENTS = 64,
    ROT_SNAPSHOT_BYTES = 4096,
    ROT_ENTRIES = 256, /* a log that has fewer is left alone */
};

/* One kind of fault: when it strikes next. */
struct plague {
    struct faults *faults;
    enum simulation_fault kind;
    struct sim_event strike;
    uint64_t interval_us; /* on average; 0: off */
};

/* A fault that lasts: what ends it. */
struct ailment {
    struct faults *faults;
    struct server *server;
    struct sim_event cure;
    struct sim_disk_faults healthy; /* of a disk */
};

struct faults {
    struct simulation *simulation;
    struct plague plagues[FAULT_COUNT];
    struct ailment disks[SERVERS_MAX];
    struct ailment clocks[SERVERS_MAX];
    uint32_t drawn;
    struct sim_event crash_point;
    struct network_faults *network;
};

static struct server *any_server(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct cluster *cluster = simulation->cluster;
    return &cluster->servers[simulation_draw(simulation, 0, cluster->count - 1)];
}

/* One of the few whose disks may be hurt; NULL: the budget is spent on others. */
static struct server *any_victim(struct faults *faults)
{
    struct server *server = any_server(faults);
    if (!server->may_be_hurt) {
        if (!roster_may_hurt(faults->simulation->cluster, server)) {
            return NULL;
        }
        server->may_be_hurt = true;
    }
    return server;
}

static uint64_t drawn_until(struct faults *faults, uint64_t low_us, uint64_t high_us)
{
    struct simulation *simulation = faults->simulation;
    return sim_world_now(simulation->world) + simulation_draw_wide(simulation, low_us, high_us);
}

/* Ends what is not over yet. */
static void cure_now(struct ailment *ailment)
{
    if (heap_holds(&ailment->cure.node)) {
        sim_world_cancel(ailment->faults->simulation->world, &ailment->cure);
        ailment->cure.run(&ailment->cure);
    }
}

/* ---- processes and machines ---- */

static void strike_crash(struct faults *faults, enum sim_crash crash)
{
    struct simulation *simulation = faults->simulation;
    struct cluster *cluster = simulation->cluster;
    uint64_t down_us = simulation_draw_wide(simulation, 1000, 8 * SECOND_US);
    if (!simulation_chance(simulation, 15)) {
        struct server *leader = cluster_leader(cluster);
        bool aimed = leader != NULL && simulation_chance(simulation, 50);
        cluster_crash(aimed ? leader : any_server(faults), crash, down_us);
        return;
    }
    for (size_t i = 0; i < cluster->count; i++) {
        if (simulation_chance(simulation, 80)) {
            cluster_crash(&cluster->servers[i], crash, down_us);
        }
    }
}

/* Crash points are counted through the servers, then through the events. */
static void strike_crash_point(struct sim_event *event)
{
    struct faults *faults = CONTAINER_OF(event, struct faults, crash_point);
    struct cluster *cluster = faults->simulation->cluster;
    uint64_t number = (faults->simulation->options->crash_point - 1) % cluster->first_count;
    cluster_crash(&cluster->servers[number], SIM_CRASH_POWER, CRASH_POINT_DOWN_US);
}

static void strike_pause(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct server *leader = cluster_leader(simulation->cluster);
    bool aimed = leader != NULL && simulation_chance(simulation, 50);
    struct server *server = aimed ? leader : any_server(faults);
    if (server->node == NULL) {
        return;
    }
    server->paused_leading = server == leader;
    uint64_t longest_us = ELECTIONS_PAUSED_MAX * cluster_election_us(simulation->cluster);
    sim_host_pause(server->host, drawn_until(faults, 1000, longest_us));
}

static void strike_clock(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct server *server = any_server(faults);
    struct ailment *ailment = &faults->clocks[server->number];
    bool frozen = !simulation->cluster->steady && simulation_chance(simulation, 10);
    int32_t rate =
        (int32_t)simulation_draw(simulation, 0, 2 * RATE_PPM_MAX) - (int32_t)RATE_PPM_MAX;
    clocks_rate(simulation->clocks, server, frozen ? -SIM_PPM : rate);
    sim_world_schedule(
        simulation->world, &ailment->cure,
        drawn_until(faults, SECOND_US / 10, frozen ? 3 * SECOND_US : 30 * SECOND_US));
}

static void cure_clock(struct sim_event *event)
{
    const struct ailment *ailment = CONTAINER_OF(event, struct ailment, cure);
    clocks_rate(ailment->faults->simulation->clocks, ailment->server, 0);
}

static void strike_jump(struct faults *faults)
{
    int64_t jump_ms = (int64_t)simulation_draw_wide(faults->simulation, 1, JUMP_MS_MAX);
    bool back = simulation_chance(faults->simulation, 50);
    clocks_jump(faults->simulation->clocks, any_server(faults), back ? -jump_ms : jump_ms);
}

/* ---- disks ---- */

static void cure_disk(struct sim_event *event)
{
    struct ailment *ailment = CONTAINER_OF(event, struct ailment, cure);
    sim_disk_set(ailment->server->host, &ailment->healthy);
}

static void ail(struct faults *faults, struct server *server, const struct sim_disk_faults *disk,
                uint64_t shortest_us, uint64_t longest_us)
{
    sim_disk_set(server->host, disk);
    sim_world_schedule(faults->simulation->world, &faults->disks[server->number].cure,
                       drawn_until(faults, shortest_us, longest_us));
}

static void strike_slow(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct server *server = any_server(faults);
    struct sim_disk_faults disk = *sim_disk_get(server->host);
    disk.device.mean_us = (uint32_t)simulation_draw_wide(simulation, 1000, 200 * 1000);
    disk.device.max_us = disk.device.mean_us * 5;
    disk.spike_ppm = (uint32_t)simulation_draw_wide(simulation, 1000, 200 * 1000);
    disk.spike_max_us = (uint32_t)simulation_draw_wide(simulation, 1000, 2 * SECOND_US);
    ail(faults, server, &disk, SECOND_US / 50, 10 * SECOND_US);
}

static void strike_stall(struct faults *faults)
{
    struct server *server = any_server(faults);
    if (server->node == NULL) {
        return;
    }
    const uint64_t until_us = drawn_until(faults, SECOND_US / 50, 12 * SECOND_US);
    if (simulation_chance(faults->simulation, 30)) {
        sim_disk_stall_reads(server->host, until_us);
    } else {
        sim_disk_stall(server->host, until_us);
    }
}

static void strike_io_error(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct server *server = any_victim(faults);
    if (server == NULL) {
        return;
    }
    struct sim_disk_faults disk = *sim_disk_get(server->host);
    uint32_t ppm = (uint32_t)simulation_draw_wide(simulation, 1000, SIM_PPM);
    switch (simulation_draw(simulation, 0, 2)) {
    case 0:
        disk.read_error_ppm = ppm;
        break;
    case 1:
        disk.write_error_ppm = ppm;
        break;
    default:
        disk.sync_error_ppm = ppm;
        break;
    }
    ail(faults, server, &disk, SECOND_US / 50, 5 * SECOND_US);
}

/* Whatever takes a new page fails: the making of the next segment. At times on all disks. */
static void strike_full(struct faults *faults)
{
    struct cluster *cluster = faults->simulation->cluster;
    const struct server *one =
        simulation_chance(faults->simulation, 75) ? any_server(faults) : NULL;
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        if (one == NULL || one == server) {
            struct sim_disk_faults disk = *sim_disk_get(server->host);
            disk.space = 1;
            ail(faults, server, &disk, 2 * SECOND_US, 60 * SECOND_US);
        }
    }
}

static void flip_snapshot(struct simulation *simulation, struct server *server)
{
    const struct storage *storage = server->node->storage;
    bool newest = simulation_chance(simulation, 50);
    uint64_t index = newest ? storage_snapshot_newest(storage) : storage_snapshot_oldest(storage);
    char path[64];
    (void)snprintf(path, sizeof path, "/data/snapshot-%016" PRIx64, index);
    uint64_t offset = simulation_draw(simulation, 0, ROT_SNAPSHOT_BYTES - 1);
    (void)sim_disk_flip(server->host, path, offset, (unsigned)simulation_draw(simulation, 0, 7));
}

/* The newest batches are spared: of damage there no start can tell whether it is a torn tail
 * (src/storage/README.md). */
static void flip_log(struct simulation *simulation, struct server *server)
{
    const struct view *view = &server->view;
    uint64_t base = raft_base_index(server->node->raft);
    if (view->durable < base + ROT_ENTRIES) {
        return;
    }
    uint64_t size = 0;
    for (uint64_t i = base; i < base + (view->durable - base) / 2; i++) {
        size += view->log[i]->encoded.size;
    }
    uint64_t segment_size = simulation->cluster->segment_size;
    uint64_t limit = size < segment_size ? size : segment_size;
    uint64_t offset = simulation_draw(simulation, 0, limit - 1);
    unsigned bit = (unsigned)simulation_draw(simulation, 0, 7);
    int err = -ENOENT;
    for (unsigned number = 1; number <= ROT_SEGMENTS && err == -ENOENT; number++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/data/log-%016x", number);
        err = sim_disk_flip(server->host, path, offset, bit);
    }
}

/* A bit at rest flips in the older half of what a server has of its log, or in a snapshot. */
static void strike_rot(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct server *server = any_victim(faults);
    if (server == NULL || server->node == NULL || server->node->state != NODE_SERVING) {
        return;
    }
    if (simulation_chance(simulation, 50)) {
        flip_snapshot(simulation, server);
    } else {
        flip_log(simulation, server);
    }
}

static void strike_wipe(struct faults *faults)
{
    struct server *server = any_server(faults);
    uint64_t down_us = simulation_draw_wide(faults->simulation, 1000, 8 * SECOND_US);
    if (roster_may_wipe(faults->simulation->cluster, server)) {
        cluster_wipe(server, down_us);
    }
}

/* ---- when ---- */

static void strike(struct sim_event *event)
{
    struct plague *plague = CONTAINER_OF(event, struct plague, strike);
    struct faults *faults = plague->faults;
    struct simulation *simulation = faults->simulation;
    switch (plague->kind) {
    case FAULT_POWER:
        strike_crash(faults, SIM_CRASH_POWER);
        break;
    case FAULT_KILL:
        strike_crash(faults, SIM_CRASH_KILL);
        break;
    case FAULT_STOP:
        cluster_stop(any_server(faults));
        break;
    case FAULT_PAUSE:
        strike_pause(faults);
        break;
    case FAULT_SLOW:
        strike_slow(faults);
        break;
    case FAULT_STALL:
        strike_stall(faults);
        break;
    case FAULT_IO_ERROR:
        strike_io_error(faults);
        break;
    case FAULT_FULL:
        strike_full(faults);
        break;
    case FAULT_ROT:
        strike_rot(faults);
        break;
    case FAULT_CLOCK:
        strike_clock(faults);
        break;
    case FAULT_JUMP:
        strike_jump(faults);
        break;
    case FAULT_CLIENT:
        workload_crash(simulation->workload,
                       simulation_draw(simulation, 0,
                                       simulation->workload->actor_count +
                                           callers_count(simulation->workload->callers) - 1));
        break;
    case FAULT_MEMBERSHIP:
    case FAULT_TRANSFER:
        operator_strike(simulation->operator, plague->kind);
        break;
    case FAULT_WIPE:
        strike_wipe(faults);
        break;
    case FAULT_PARTITION:
    case FAULT_CUT_OFF:
    case FAULT_LINK:
    case FAULT_RESET:
    case FAULT_ACCEPT:
        network_strike(faults->network, plague->kind);
        break;
    case FAULT_COUNT:
        UNREACHABLE();
    }
    uint64_t pause_us = simulation_draw(simulation, 1, 2 * plague->interval_us);
    sim_world_schedule(simulation->world, event, sim_world_now(simulation->world) + pause_us);
}

/* ---- life ---- */

/* What a power loss leaves of what was not synced is a property of the machine. */
static void draw_disk(struct simulation *simulation, struct server *server)
{
    struct sim_disk_faults disk = *sim_disk_get(server->host);
    disk.torn_ppm = (uint32_t)simulation_draw(simulation, 0, SIM_PPM / 4);
    disk.keep_ppm = (uint32_t)simulation_draw(simulation, 0, SIM_PPM - disk.torn_ppm);
    disk.any_names = simulation_chance(simulation, 50);
    sim_disk_set(server->host, &disk);
}

struct faults *faults_new(struct simulation *simulation)
{
    struct faults *faults = memory_new(1, sizeof *faults);
    faults->simulation = simulation;
    faults->network = network_faults_new(simulation);
    struct cluster *cluster = simulation->cluster;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        struct server *server = &cluster->servers[i];
        draw_disk(simulation, server);
        faults->disks[i] =
            (struct ailment){faults, server, {.run = cure_disk}, *sim_disk_get(server->host)};
        faults->clocks[i] =
            (struct ailment){faults, server, {.run = cure_clock}, faults->disks[i].healthy};
    }
    CHECK(cluster->first_count > 0);
    if (simulation->options->crash_point != 0) {
        faults->crash_point.run = strike_crash_point;
        sim_world_trap(simulation->world, &faults->crash_point,
                       (simulation->options->crash_point - 1) / cluster->first_count);
    }
    uint64_t percent = simulation_draw(simulation, 5, 70); /* of the kinds are on */
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        struct plague *plague = &faults->plagues[i];
        *plague = (struct plague){
            .faults = faults, .kind = (enum simulation_fault)i, .strike = {.run = strike}};
        bool on = simulation_chance(simulation, (uint32_t)percent);
        uint64_t interval_us = simulation_draw_wide(simulation, INTERVAL_US_MIN, INTERVAL_US_MAX);
        uint64_t first_us = FIRST_FAULT_US + simulation_draw(simulation, 0, interval_us);
        if (on && (simulation->options->faults & 1u << i) != 0) {
            faults->drawn |= 1u << i;
            plague->interval_us = interval_us;
            sim_world_schedule(simulation->world, &plague->strike, first_us);
        }
    }
    return faults;
}

void faults_free(struct faults *faults)
{
    if (faults == NULL) {
        return;
    }
    struct sim_world *world = faults->simulation->world;
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        sim_world_cancel(world, &faults->plagues[i].strike);
    }
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        sim_world_cancel(world, &faults->disks[i].cure);
        sim_world_cancel(world, &faults->clocks[i].cure);
    }
    network_faults_free(faults->network);
    free(faults);
}

uint32_t faults_drawn(const struct faults *faults)
{
    return faults->drawn;
}

void faults_heal(struct faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct cluster *cluster = simulation->cluster;
    TELL(simulation, "faults", "end; everything heals");
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        sim_world_cancel(simulation->world, &faults->plagues[i].strike);
    }
    network_heal(faults->network);
    operator_heal(simulation->operator);
    for (size_t i = 0; i < cluster->count; i++) {
        struct server *server = &cluster->servers[i];
        cure_now(&faults->disks[i]);
        cure_now(&faults->clocks[i]);
        sim_disk_stall(server->host, 0);
        sim_host_resume(server->host);
        cluster_start(server);
    }
    workload_heal(simulation->workload);
}
