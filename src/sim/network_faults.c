#include "sim/network_faults.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/callers.h"
#include "sim/cluster.h"
#include "sim/operator.h"
#include "sim/workload.h"

#include <stdlib.h>

enum {
    SECOND_US = 1000 * 1000,
    FIRST_CLIENT = SERVERS_MAX,
    HOSTS_MAX = SERVERS_MAX + ACTORS_MAX + 1 + CALLERS_MAX, /* and the operator */
    HOLD_US_MIN = 50 * 1000,
    HOLD_US_MAX = 12 * SECOND_US,
    FLAP_US = 300 * 1000,
    FLOOD_US_MIN = SECOND_US,
    FLOOD_US_MAX = 5 * SECOND_US,
    BREAK_US_MAX = 8 * SECOND_US,
};

struct network_faults {
    struct simulation *simulation;
    struct sim_host *hosts[HOSTS_MAX]; /* servers, then clients */
    size_t server_count;               /* those that were enlisted when the last fault struck */
    size_t count;
    size_t first_caller; /* of the hosts: a client of Redis, whose protocol has no checksums */
    struct sim_link healthy;
    struct sim_event rejoin;   /* the partition ends, or flaps */
    unsigned flaps;            /* left */
    size_t flapping;           /* the server that comes and goes */
    struct sim_event reattach; /* clients reach servers again */
    struct sim_event repair;   /* links are good again */
    struct sim_event accept;   /* connections are accepted again */
};

static uint64_t draw_hold(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    return sim_world_now(simulation->world) +
           simulation_draw_wide(simulation, HOLD_US_MIN, HOLD_US_MAX);
}

/* ---- partitions ---- */

static void block(struct network_faults *faults, size_t from, size_t to, bool blocked)
{
    if (from != to) {
        sim_link_block(faults->hosts[from], faults->hosts[to], blocked);
    }
}

static void block_both(struct network_faults *faults, size_t a, size_t b, bool blocked)
{
    block(faults, a, b, blocked);
    block(faults, b, a, blocked);
}

static void open_all(struct network_faults *faults)
{
    for (size_t i = 0; i < FIRST_CLIENT; i++) {
        for (size_t n = 0; n < FIRST_CLIENT; n++) {
            block(faults, i, n, false);
        }
    }
}

static void isolate(struct network_faults *faults, size_t server, bool blocked)
{
    for (size_t i = 0; i < faults->server_count; i++) {
        block_both(faults, server, i, blocked);
    }
}

/* Every server is on one side or the other; `bridge` (or none) is on both. */
static void split(struct network_faults *faults, size_t bridge)
{
    uint64_t sides = simulation_draw(faults->simulation, 1, (1u << faults->server_count) - 2);
    for (size_t i = 0; i < faults->server_count; i++) {
        for (size_t n = 0; n < i; n++) {
            bool apart = (sides >> i & 1) != (sides >> n & 1);
            if (apart && i != bridge && n != bridge) {
                block_both(faults, i, n, true);
            }
        }
    }
}

/* Each server reaches only its neighbours. */
static void chain(struct network_faults *faults)
{
    for (size_t i = 0; i < faults->server_count; i++) {
        for (size_t n = 0; n + 1 < i; n++) {
            block_both(faults, i, n, true);
        }
    }
}

/* Any graph of directed links. */
static void tangle(struct network_faults *faults)
{
    for (size_t i = 0; i < faults->server_count; i++) {
        for (size_t n = 0; n < faults->server_count; n++) {
            if (simulation_chance(faults->simulation, 30)) {
                block(faults, i, n, true);
            }
        }
    }
}

static void one_way(struct network_faults *faults, size_t server)
{
    bool in = simulation_chance(faults->simulation, 50);
    for (size_t i = 0; i < faults->server_count; i++) {
        block(faults, in ? i : server, in ? server : i, true);
    }
}

static void strike_partition(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    if (faults->server_count < 2) {
        return;
    }
    open_all(faults);
    size_t none = faults->server_count;
    size_t drawn = simulation_draw(simulation, 0, faults->server_count - 1);
    const struct server *leader = cluster_leader(simulation->cluster);
    size_t aimed = leader != NULL && simulation_chance(simulation, 50) ? leader->number : drawn;
    faults->flaps = 0;
    switch (simulation_draw(simulation, 0, 6)) {
    case 0:
        isolate(faults, aimed, true);
        break;
    case 1:
        split(faults, none);
        break;
    case 2:
        split(faults, drawn);
        break;
    case 3:
        chain(faults);
        break;
    case 4:
        tangle(faults);
        break;
    case 5:
        one_way(faults, aimed);
        break;
    default:
        faults->flapping = aimed;
        faults->flaps = (unsigned)simulation_draw(simulation, 2, 12);
        isolate(faults, aimed, true);
        break;
    }
    uint64_t until_us = faults->flaps > 0 ? sim_world_now(simulation->world) +
                                                simulation_draw(simulation, 1, FLAP_US)
                                          : draw_hold(faults);
    if (leader != NULL && aimed == leader->number && simulation_chance(simulation, 60)) {
        /* What this leader has, and nobody else gets, is long then; and stands where the others
         * have something else by the time when it hears of them. */
        workload_flood(simulation->workload,
                       simulation_draw(simulation, 1, cluster_election_us(simulation->cluster)));
        until_us = sim_world_now(simulation->world) +
                   simulation_draw(simulation, FLOOD_US_MIN, FLOOD_US_MAX);
    }
    sim_world_schedule(simulation->world, &faults->rejoin, until_us);
}

static void rejoin(struct sim_event *event)
{
    struct network_faults *faults = CONTAINER_OF(event, struct network_faults, rejoin);
    struct simulation *simulation = faults->simulation;
    if (faults->flaps == 0) {
        open_all(faults);
        return;
    }
    faults->flaps--;
    isolate(faults, faults->flapping, faults->flaps % 2 == 1);
    sim_world_schedule(simulation->world, event,
                       sim_world_now(simulation->world) + simulation_draw(simulation, 1, FLAP_US));
}

/* ---- clients ---- */

static void strike_cut_off(struct network_faults *faults)
{
    for (size_t i = FIRST_CLIENT; i < faults->count; i++) {
        for (size_t n = 0; n < faults->server_count; n++) {
            block(faults, i, n, simulation_chance(faults->simulation, 30));
            block(faults, n, i, simulation_chance(faults->simulation, 30));
        }
    }
    sim_world_schedule(faults->simulation->world, &faults->reattach, draw_hold(faults));
}

static void reattach(struct sim_event *event)
{
    struct network_faults *faults = CONTAINER_OF(event, struct network_faults, reattach);
    for (size_t i = FIRST_CLIENT; i < faults->count; i++) {
        for (size_t n = 0; n < FIRST_CLIENT; n++) {
            block_both(faults, i, n, false);
        }
    }
}

/* ---- links ---- */

static uint32_t draw_ppm(struct simulation *simulation, uint32_t percent_max)
{
    if (simulation_chance(simulation, 60)) {
        return 0;
    }
    return (uint32_t)simulation_draw_wide(simulation, 100, percent_max * (SIM_PPM / 100));
}

static struct sim_link draw_link(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    struct sim_link link = faults->healthy;
    if (simulation_chance(simulation, 50)) {
        link.delay_mean_us = (uint32_t)simulation_draw_wide(simulation, 100, 60 * 1000);
        link.delay_max_us = link.delay_mean_us * 10;
    }
    link.loss_ppm = draw_ppm(simulation, 30);
    link.clog_ppm = draw_ppm(simulation, 5);
    link.clog_max_us = (uint32_t)simulation_draw_wide(simulation, 1000, 3 * SECOND_US);
    link.fragment_ppm = draw_ppm(simulation, 50);
    link.corrupt_ppm = draw_ppm(simulation, 2);
    link.cut_ppm = draw_ppm(simulation, 2);
    link.refuse_ppm = draw_ppm(simulation, 50);
    return link;
}

static void set_link(struct network_faults *faults, size_t from, size_t to,
                     const struct sim_link *wanted)
{
    struct sim_link link = *wanted;
    bool is_checked = from < faults->first_caller && to < faults->first_caller;
    link.corrupt_ppm = is_checked ? link.corrupt_ppm : 0;
    link.blocked = sim_link_get(faults->hosts[from], faults->hosts[to])->blocked;
    sim_link_set(faults->hosts[from], faults->hosts[to], &link);
}

static bool is_used(const struct network_faults *faults, size_t host)
{
    return host < faults->server_count || host >= FIRST_CLIENT;
}

/* All links are bad in one way, or each in its own, or only some. */
static void strike_link(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    bool alike = simulation_chance(simulation, 40);
    uint32_t percent = (uint32_t)simulation_draw(simulation, 10, 100);
    struct sim_link link = draw_link(faults);
    for (size_t i = 0; i < faults->count; i++) {
        for (size_t n = 0; n < faults->count; n++) {
            bool between_clients = i >= FIRST_CLIENT && n >= FIRST_CLIENT;
            if (i != n && !between_clients && is_used(faults, i) && is_used(faults, n) &&
                simulation_chance(simulation, percent)) {
                if (!alike) {
                    link = draw_link(faults);
                }
                set_link(faults, i, n, &link);
            }
        }
    }
    sim_world_schedule(simulation->world, &faults->repair, draw_hold(faults));
}

static void repair(struct sim_event *event)
{
    struct network_faults *faults = CONTAINER_OF(event, struct network_faults, repair);
    for (size_t i = 0; i < faults->count; i++) {
        for (size_t n = 0; n < faults->count; n++) {
            if (i != n) {
                set_link(faults, i, n, &faults->healthy);
            }
        }
    }
}

static void strike_reset(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    size_t a = simulation_draw(simulation, 0, faults->server_count - 1);
    size_t b = simulation_draw(simulation, 0, faults->count - 1);
    if (a != b && is_used(faults, b)) {
        sim_link_reset(faults->hosts[a], faults->hosts[b]);
    }
}

static void set_accept_errors(struct network_faults *faults, size_t server, uint32_t ppm)
{
    sim_host_accept_errors(faults->hosts[server], ppm);
}

static void strike_accept(struct network_faults *faults)
{
    struct simulation *simulation = faults->simulation;
    size_t server = simulation_draw(simulation, 0, faults->server_count - 1);
    uint32_t ppm = (uint32_t)simulation_draw_wide(simulation, 1000, SIM_PPM);
    set_accept_errors(faults, server, ppm);
    sim_world_schedule(simulation->world, &faults->accept, draw_hold(faults));
}

static void accept_again(struct sim_event *event)
{
    struct network_faults *faults = CONTAINER_OF(event, struct network_faults, accept);
    for (size_t i = 0; i < FIRST_CLIENT; i++) {
        set_accept_errors(faults, i, 0);
    }
}

void network_strike(struct network_faults *faults, enum simulation_fault kind)
{
    faults->server_count = faults->simulation->cluster->count;
    switch (kind) {
    case FAULT_PARTITION:
        strike_partition(faults);
        break;
    case FAULT_CUT_OFF:
        strike_cut_off(faults);
        break;
    case FAULT_LINK:
        strike_link(faults);
        break;
    case FAULT_RESET:
        strike_reset(faults);
        break;
    case FAULT_ACCEPT:
        strike_accept(faults);
        break;
    default:
        UNREACHABLE();
    }
}

/* ---- life ---- */

struct network_faults *network_faults_new(struct simulation *simulation)
{
    struct network_faults *faults = memory_new(1, sizeof *faults);
    faults->simulation = simulation;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        faults->hosts[faults->count++] = simulation->cluster->servers[i].host;
    }
    for (size_t i = 0; i < simulation->workload->actor_count; i++) {
        faults->hosts[faults->count++] = workload_host(simulation->workload, i);
    }
    faults->hosts[faults->count++] = operator_host(simulation->operator);
    faults->first_caller = faults->count;
    for (size_t i = 0; i < callers_count(simulation->workload->callers); i++) {
        faults->hosts[faults->count++] = callers_host(simulation->workload->callers, i);
    }
    faults->healthy = *sim_link_get(faults->hosts[0], faults->hosts[1]);
    faults->healthy.break_max_us =
        (uint32_t)simulation_draw_wide(simulation, SECOND_US / 4, BREAK_US_MAX);
    faults->rejoin.run = rejoin;
    faults->reattach.run = reattach;
    faults->repair.run = repair;
    faults->accept.run = accept_again;
    repair(&faults->repair);
    return faults;
}

static void cancel_all(struct network_faults *faults)
{
    struct sim_world *world = faults->simulation->world;
    sim_world_cancel(world, &faults->rejoin);
    sim_world_cancel(world, &faults->reattach);
    sim_world_cancel(world, &faults->repair);
    sim_world_cancel(world, &faults->accept);
}

void network_faults_free(struct network_faults *faults)
{
    cancel_all(faults);
    free(faults);
}

void network_heal(struct network_faults *faults)
{
    cancel_all(faults);
    open_all(faults);
    reattach(&faults->reattach);
    repair(&faults->repair);
    accept_again(&faults->accept);
}
