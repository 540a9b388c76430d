#include "sim/clocks.h"

#include "base/memory.h"
#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/ledger.h"
#include "sim/roster.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    ROUNDING_US = 2 * 1000,
    SETTLED_US = 1000 * 1000, /* heartbeats, and messages on their way */
    SLOWER_PARTS = 1000,      /* the time may go slower than a clock by one part of so many */
    CAMPAIGN_ELECTIONS = 12,  /* the longest pause of a process (faults.c), and a campaign */
};

struct clocks {
    struct simulation *simulation;
    int32_t ppm[SERVERS_MAX];
    uint64_t since_us; /* up to here they are counted: */
    uint64_t ahead_us;
    uint64_t behind_us;
    uint32_t jumped; /* servers whose wall clocks did, ever: a set */
    bool kept;       /* to a minority */
    bool given_up;   /* of some membership a majority has jumped */
};

struct clocks *clocks_new(struct simulation *simulation)
{
    struct clocks *clocks = memory_new(1, sizeof *clocks);
    clocks->simulation = simulation;
    clocks->kept = simulation_chance(simulation, 50);
    return clocks;
}

void clocks_free(struct clocks *clocks)
{
    free(clocks);
}

static void count(struct clocks *clocks)
{
    int32_t fastest = 0;
    int32_t slowest = 0;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        fastest = clocks->ppm[i] > fastest ? clocks->ppm[i] : fastest;
        slowest = clocks->ppm[i] < slowest ? clocks->ppm[i] : slowest;
    }
    uint64_t now_us = sim_world_now(clocks->simulation->world);
    uint64_t passed_us = now_us - clocks->since_us;
    clocks->ahead_us += passed_us * (uint64_t)fastest / SIM_PPM;
    clocks->behind_us += passed_us * (uint64_t)-slowest / SIM_PPM;
    clocks->since_us = now_us;
}

void clocks_rate(struct clocks *clocks, const struct server *server, int32_t ppm)
{
    count(clocks);
    clocks->ppm[server->number] = ppm;
    sim_clock_rate(server->host, ppm);
}

/* Whether these are a minority in every membership that is in force somewhere. */
static bool is_borne(const struct clocks *clocks, uint32_t servers)
{
    const struct ledger *ledger = clocks->simulation->ledger;
    const struct cluster *cluster = clocks->simulation->cluster;
    bool borne = roster_bears(ledger->membership->membership, servers);
    for (size_t i = 0; i < cluster->count; i++) {
        const struct record *newest = roster_newest(ledger, &cluster->servers[i]);
        borne = borne && (newest == NULL || roster_bears(newest->membership, servers));
    }
    return borne;
}

void clocks_jump(struct clocks *clocks, const struct server *server, int64_t ms)
{
    uint32_t jumped = clocks->jumped | 1u << server->number;
    bool borne = is_borne(clocks, jumped);
    if (clocks->kept && !borne) {
        return;
    }
    clocks->jumped = jumped;
    clocks->given_up = clocks->given_up || !borne;
    if (server == cluster_leader(clocks->simulation->cluster)) {
        simulation_reached(clocks->simulation, REACHED_LEADER_JUMPED);
    }
    sim_clock_jump(server->host, ms);
}

/* ---- the time ---- */

static struct stamp stamp_now(const struct clocks *clocks, uint64_t time_ms)
{
    return (struct stamp){
        .time_ms = time_ms,
        .right_us = sim_world_wall_us(clocks->simulation->world),
        .ahead_us = clocks->ahead_us,
        .behind_us = clocks->behind_us,
    };
}

static bool is_ahead(const struct stamp *stamp)
{
    return 1000 * stamp->time_ms > stamp->right_us + stamp->ahead_us + ROUNDING_US;
}

/* How much less a time may be than what was right, by the rates of all clocks, and because nobody
 * led for a while. */
static uint64_t less_us(const struct clocks *clocks, const struct stamp *stamp)
{
    uint64_t slower_us = sim_world_now(clocks->simulation->world) / SLOWER_PARTS;
    /* Voters told the leader their clocks in the campaign, which began before it won. */
    uint64_t campaign_us = CAMPAIGN_ELECTIONS * cluster_election_us(clocks->simulation->cluster);
    bool told = clocks->jumped == 0 && campaign_us < stamp->lost_us;
    return stamp->behind_us + slower_us + ROUNDING_US + (told ? campaign_us : stamp->lost_us);
}

static bool is_behind(const struct clocks *clocks, const struct stamp *stamp)
{
    return 1000 * stamp->time_ms + less_us(clocks, stamp) < stamp->right_us;
}

/* Between two entries of one leader its monotonic clock went on. */
static bool stood_still(const struct stamp *before, const struct stamp *after)
{
    uint64_t passed_us = after->right_us - before->right_us;
    uint64_t less_us = after->behind_us - before->behind_us + passed_us / SLOWER_PARTS;
    return 1000 * (after->time_ms - before->time_ms) + less_us + ROUNDING_US < passed_us;
}

static uint64_t lost_before(const struct clocks *clocks, const struct record *record,
                            const struct record *previous)
{
    const struct stamp *stamp = &record->stamp;
    if (previous != NULL) {
        uint64_t passed_us = stamp->right_us - previous->stamp.right_us;
        return previous->stamp.lost_us + (previous->term != record->term ? passed_us : 0);
    }
    /* The beginning: there is no time to go on from, and of clocks that have jumped none is right.
     */
    uint64_t begun_us = sim_world_now(clocks->simulation->world);
    bool wrong = clocks->jumped != 0 && 1000 * stamp->time_ms + begun_us < stamp->right_us;
    return wrong ? stamp->right_us - 1000 * stamp->time_ms : begun_us;
}

void clocks_wrote(struct clocks *clocks, struct record *record, const struct record *previous,
                  uint64_t time_ms, const char *who)
{
    struct simulation *simulation = clocks->simulation;
    count(clocks);
    record->stamp = stamp_now(clocks, time_ms);
    record->stamp.lost_us = lost_before(clocks, record, previous);
    if (record->membership != NULL && !roster_bears(record->membership, clocks->jumped)) {
        clocks->given_up = true;
    }
    const char *wrong = NULL;
    if (previous != NULL && previous->stamp.time_ms > time_ms) {
        wrong = "which is before that of the entry before";
    } else if (previous != NULL && previous->term == record->term &&
               stood_still(&previous->stamp, &record->stamp)) {
        wrong = "but the same leader's clock went on for longer since the entry before";
    } else if (!clocks->given_up && is_ahead(&record->stamp)) {
        wrong = "which is ahead of all that the clocks' rates explain";
    }
    if (wrong != NULL) {
        const struct stamp *stamp = &record->stamp;
        simulation_fail(simulation, "time",
                        "%s writes entry %" PRIu64 ":%" PRIu64 " with the time %" PRIu64
                        ", %s; right is %" PRIu64 ", the entry before has %" PRIu64,
                        who, record->index, record->term, time_ms, wrong, stamp->right_us / 1000,
                        previous == NULL ? 0 : previous->stamp.time_ms);
    }
}

void clocks_committed(struct clocks *clocks, const struct record *record)
{
    const struct stamp *stamp = &record->stamp;
    if (is_behind(clocks, stamp)) {
        simulation_fail(clocks->simulation, "time",
                        "entry %" PRIu64 ":%" PRIu64 " has a time that was %" PRIu64
                        " ms behind; the clocks' rates, and that nobody led, explain %" PRIu64,
                        record->index, record->term, stamp->right_us / 1000 - stamp->time_ms,
                        less_us(clocks, stamp) / 1000);
    }
}

struct stamp clocks_now(struct clocks *clocks)
{
    count(clocks);
    return stamp_now(clocks, 0);
}

/* ---- keys that go by it ---- */

void clocks_expired(const struct clocks *clocks, const struct record *record,
                    const struct record *written, const struct model_expired *expired)
{
    uint64_t lived_us = record->stamp.right_us - written->stamp.right_us;
    uint64_t due_us = 1000 * (expired->before.expires_ms - written->stamp.time_ms);
    uint64_t more_us = record->stamp.ahead_us + ROUNDING_US + less_us(clocks, &written->stamp);
    simulation_reached(clocks->simulation, REACHED_EXPIRED);
    if (!clocks->given_up && lived_us + more_us < due_us) {
        simulation_fail(clocks->simulation, "expiry",
                        "entry %" PRIu64 ":%" PRIu64 " ends %.*s, which entry %" PRIu64
                        " wrote %" PRIu64 " ms before, to live for %" PRIu64 " ms",
                        record->index, record->term, (int)expired->key.size,
                        (const char *)expired->key.data, written->index, lived_us / 1000,
                        due_us / 1000);
    }
}

/* How much the time of the leader that made this entry lacked later on, when it led still. */
static uint64_t lacked_us(const struct stamp *made, const struct stamp *later)
{
    uint64_t time_us = 1000 * made->time_ms;
    uint64_t lacked_us = made->right_us > time_us ? made->right_us - time_us : 0;
    if (later->right_us > made->right_us) {
        lacked_us += later->behind_us - made->behind_us;
        lacked_us += (later->right_us - made->right_us) / SLOWER_PARTS;
    }
    return lacked_us;
}

/* Whoever confirmed the read had made one of the entries from the newest that was committed when it
 * was asked to the newest that is by now. A server that does not lead may have served it from later
 * entries than the leader knew to be applied. */
void clocks_found(const struct clocks *clocks, const struct stamp *asked, struct slice key,
                  const struct version *version, bool anywhere)
{
    const struct ledger *ledger = clocks->simulation->ledger;
    uint64_t began_us = asked->right_us - sim_world_wall_us(clocks->simulation->world) +
                        sim_world_now(clocks->simulation->world);
    uint64_t explained_us = 0;
    uint64_t index = ledger_committed_at(ledger, began_us);
    const uint64_t expires_ms = version->expires_ms;
    bool meanwhile = anywhere && version->index > index;
    if (expires_ms == MODEL_NEVER || index == 0 || meanwhile) {
        return;
    }
    for (; index <= ledger->committed_count; index++) {
        uint64_t us = lacked_us(&ledger->committed[index].record->stamp, asked);
        explained_us = us > explained_us ? us : explained_us;
    }
    if (1000 * expires_ms + explained_us + ROUNDING_US < asked->right_us) {
        simulation_fail(clocks->simulation, "expiry",
                        "a read finds %.*s, whose time had come %" PRIu64
                        " ms before it was asked; its leader lacked %" PRIu64 " ms at most",
                        (int)key.size, (const char *)key.data, asked->right_us / 1000 - expires_ms,
                        explained_us / 1000);
    }
}

uint64_t clocks_earliest(const struct clocks *clocks, uint64_t us, uint64_t ms)
{
    uint64_t campaign_us = CAMPAIGN_ELECTIONS * cluster_election_us(clocks->simulation->cluster);
    uint64_t slower_us = sim_world_now(clocks->simulation->world) / SLOWER_PARTS;
    uint64_t sooner_us =
        clocks->ahead_us + clocks->behind_us + slower_us + campaign_us + 2 * (uint64_t)ROUNDING_US;
    bool known = clocks->jumped == 0 && 1000 * ms > sooner_us;
    return known ? us + 1000 * ms - sooner_us : us;
}

void clocks_settled(struct clocks *clocks, const struct server *leader)
{
    struct simulation *simulation = clocks->simulation;
    const struct kvapp_node *node = leader->node;
    const uint64_t time_us = clock_time_us(&node->clock, io_now_us(node->io));
    uint32_t silent = roster_broken(simulation->cluster);
    count(clocks);
    struct stamp stamp = stamp_now(clocks, time_us / 1000);
    stamp.lost_us = SETTLED_US;
    if (clocks->given_up || !is_borne(clocks, clocks->jumped | silent)) {
        return;
    }
    simulation_reached(simulation, REACHED_TIME_JUDGED);
    if (is_ahead(&stamp) || is_behind(clocks, &stamp)) {
        simulation_fail(simulation, "time",
                        "at the end %s takes %" PRIu64 " for the time, and right is %" PRIu64
                        ", of which the clocks' rates explain %" PRIu64 " ms less or %" PRIu64
                        " ms more",
                        leader->name, stamp.time_ms, stamp.right_us / 1000, stamp.behind_us / 1000,
                        stamp.ahead_us / 1000);
    }
}
