/*
 * Random worlds: a cluster under loss, replay, delay, reordering, cut links, pauses, slow and
 * stalled disks, crashes that lose what was not synced, disks of a minority that lose their log,
 * restarts, proposals and reads; snapshots
 * that are taken, sent, lost, and installed late, twice or just before a crash. cluster.c
 * checks safety after every step. Then the world calms down and must come to life: a leader within
 * ten election timeouts, and everything committed on every server within twenty. In worlds with
 * leases clocks are up to 20 % too fast or too slow, and whoever has a lease is looked at all the
 * time.
 *
 *     random [COUNT [FIRST_SEED]]     or RAFT_SEEDS, RAFT_SEED; RAFT_STORY=1 tells the story
 *
 * One seed decides everything. It is printed before its world begins.
 */
#include "base/assert.h"
#include "base/heap.h"
#include "base/memory.h"
#include "churn.h"
#include "cluster.h"
#include "core.h"
#include "kvapp/err.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CHAOS_MS = 10000,
    LEADER_WITHIN_MS = 3750, /* ten election timeouts of at most 300 ms, by the slowest clock */
    DRIFT_PERCENT = 20,
    COMMIT_WITHIN_MS = 3000, /* after that, so within twenty in all */
    SEEDS_DEFAULT = 600,
};

enum happening_type { DELIVERY, DISK_DONE, RECEIVED, SENT, CHAOS };

struct happening {
    struct heap_node node;
    enum happening_type type;
    uint64_t server;
    uint64_t generation;   /* DISK_DONE: void when the server's has moved on */
    uint64_t life;         /* RECEIVED, SENT: void when the server has started again */
    uint64_t snapshot;     /* RECEIVED, SENT: its last entry */
    uint64_t follower;     /* SENT */
    struct parcel *parcel; /* DELIVERY */
};

struct world {
    struct cluster cluster;
    struct prng prng;
    struct heap heap;
    bool calm;
    bool story;

    /* What this world is like. */
    uint64_t loss;   /* percent */
    uint64_t replay; /* percent */
    uint64_t delay_max_ms;
    uint64_t late; /* percent of messages that are very late */
    uint64_t disk_max_ms;
    uint64_t disk_slow; /* percent of writes that take very long */
    uint64_t chaos_max_ms;
    uint64_t compaction;  /* percent of chaos that is not violence */
    uint64_t churn;       /* percent of clients that change the membership */
    uint64_t violence;    /* percent of chaos that is not a client */
    uint64_t loss_of_log; /* percent of starts */

    bool cut[RAFT_MEMBERS_MAX + 1][RAFT_MEMBERS_MAX + 1];
    uint64_t paused_until_ms[RAFT_MEMBERS_MAX + 1];
    uint64_t disk_generation[RAFT_MEMBERS_MAX + 1];
    bool disk_busy[RAFT_MEMBERS_MAX + 1];

    uint64_t compactions;
    uint64_t installs;
    uint64_t losses;
};

static uint64_t draw(struct world *world, uint64_t low, uint64_t high)
{
    return prng_between(&world->prng, low, high);
}

static bool percent(struct world *world, uint64_t chance)
{
    return prng_chance(&world->prng, chance, 100);
}

static void schedule(struct world *world, uint64_t after_ms, struct happening what)
{
    struct happening *happening = memory_new(1, sizeof *happening);
    *happening = what;
    happening->node = (struct heap_node){.position = 0};
    heap_push(&world->heap, &happening->node, world->cluster.now_ms + after_ms);
}

/* ---- network ---- */

static void post(struct world *world, struct parcel *parcel)
{
    uint64_t delay_ms = draw(world, world->calm ? 1 : 0, world->calm ? 5 : world->delay_max_ms);
    if (!world->calm && percent(world, world->late)) {
        delay_ms = draw(world, 100, 2000);
    }
    schedule(world, delay_ms,
             (struct happening){.type = DELIVERY, .server = parcel->message.to, .parcel = parcel});
}

/* How long a snapshot takes, or its failure to be noticed. */
static uint64_t snapshot_ms(struct world *world)
{
    return world->calm ? draw(world, 5, 50) : draw(world, 0, 1000);
}

/* The sender learns how it ended, rightly or not: the last answer may be lost. */
static void expect_end(struct world *world, const struct raft_message *message)
{
    schedule(world, snapshot_ms(world),
             (struct happening){
                 .type = SENT,
                 .server = message->from,
                 .life = cluster_server(&world->cluster, message->from)->starts,
                 .follower = message->to,
                 .snapshot = message->snapshot_request.index,
             });
}

static void on_effects(void *context, struct server *server, const struct raft_effects *effects)
{
    struct world *world = context;
    if (!effects->snapshot_wanted) {
        return;
    }
    /* At times it is handed over twice, the second time when much has happened since. */
    for (uint64_t i = 0; i <= percent(world, world->replay); i++) {
        schedule(world, snapshot_ms(world),
                 (struct happening){
                     .type = RECEIVED,
                     .server = server->id,
                     .life = server->starts,
                     .snapshot = effects->snapshot_index,
                 });
    }
}

static void on_send(void *context, struct parcel *parcel)
{
    struct world *world = context;
    if (parcel->message.type == RAFT_SNAPSHOT_REQUEST) {
        expect_end(world, &parcel->message);
    }
    if (!world->calm &&
        (world->cut[parcel->message.from][parcel->message.to] || percent(world, world->loss))) {
        parcel_free(parcel);
        return;
    }
    if (!world->calm && percent(world, world->replay)) {
        post(world, parcel_copy(parcel));
    }
    post(world, parcel);
}

static void on_trace(void *context, struct server *server, enum trace_level level, const char *line)
{
    const struct world *world = context;
    CHECK(level != TRACE_ERROR);
    if (world->story) {
        printf("# %6" PRIu64 "  %" PRIu64 ": %s\n", world->cluster.now_ms, server->id, line);
    }
}

/* ---- chaos ---- */

static void crash(struct world *world, struct server *server)
{
    size_t survives = 0;
    uint64_t entries = 0;
    if (server_writes(server) > 0 && percent(world, 50)) {
        survives = draw(world, 0, server_writes(server));
        entries = draw(world, 0, 8);
    }
    if (world->story) {
        printf("# %6" PRIu64 "  %" PRIu64 ": crashes, %zu of %zu writes survive\n",
               world->cluster.now_ms, server->id, survives, server_writes(server));
    }
    server_crash(server, survives, entries);
    world->disk_generation[server->id]++;
    world->disk_busy[server->id] = false;
    world->paused_until_ms[server->id] = 0;
}

static void cut_links(struct world *world)
{
    uint64_t kind = draw(world, 0, 3);
    size_t count = world->cluster.count;
    uint64_t alone = draw(world, 1, count);
    const struct server *leader = cluster_leader(&world->cluster);
    if (leader != NULL && percent(world, 50)) {
        alone = leader->id;
    }
    for (size_t a = 1; a <= count; a++) {
        for (size_t b = 1; b <= count; b++) {
            switch (kind) {
            case 0: /* healed */
                world->cut[a][b] = false;
                break;
            case 1: /* one server is isolated */
                world->cut[a][b] = a == alone || b == alone;
                break;
            case 2: /* one hears nothing, or is not heard */
                world->cut[a][b] = percent(world, 50) ? a == alone : false;
                break;
            default: /* any link graph, one-way and bridges */
                world->cut[a][b] = percent(world, 35);
                break;
            }
        }
    }
}

/* All that is committed, or less, and of that all or less leaves the log. */
static void compact(struct world *world)
{
    struct server *server = cluster_server(&world->cluster, draw(world, 1, world->cluster.count));
    if (server->raft == NULL || server_writes(server) > 0 || server->commit_seen == 0) {
        return;
    }
    uint64_t snapshot = draw(world, 1, server->commit_seen);
    if (percent(world, 50)) {
        snapshot = server->commit_seen;
    }
    struct raft_compacted compacted = {
        .snapshot_index = snapshot,
        .compacted_index = percent(world, 50) ? snapshot : draw(world, 0, snapshot),
    };
    CHECK(server_compact(server, compacted, percent(world, 70)) == 0);
    world->compactions++;
}

static void receive_snapshot(struct world *world, struct server *server, uint64_t snapshot)
{
    server_save_received(server, snapshot);
    if (!world->calm && percent(world, 10)) {
        crash(world, server);
        return;
    }
    uint64_t commit = server->commit_seen;
    CHECK(server_installed(server, snapshot) == 0);
    world->installs += server->commit_seen > commit;
}

static void end_snapshot(struct world *world, struct server *server,
                         const struct happening *happening)
{
    const struct server *follower = cluster_server(&world->cluster, happening->follower);
    bool installed =
        follower->raft != NULL && raft_commit_index(follower->raft) >= happening->snapshot;
    struct raft_snapshot_ended ended = {
        .id = happening->follower,
        .index = happening->snapshot,
        .ok = installed && (world->calm || percent(world, 80)),
    };
    CHECK(server_snapshot_ended(server, ended) == 0);
}

/* A minority of the disks may have lost their logs at the same time. */
static bool may_lose_log(const struct world *world, const struct server *server)
{
    const struct cluster *cluster = &world->cluster;
    size_t lost = 1;
    for (size_t i = 0; i < cluster->count; i++) {
        lost += cluster->servers[i].lost.until != 0;
    }
    return server->lost.until == 0 && lost <= (cluster->count - 1) / 2;
}

static void start(struct world *world, struct server *server)
{
    if (percent(world, world->loss_of_log) && may_lose_log(world, server)) {
        server_lose_log(server, percent(world, 80));
        world->losses += server->lost.until != 0;
        if (world->story) {
            printf("# %6" PRIu64 "  %" PRIu64 ": lost its log up to %" PRIu64 " in term %" PRIu64
                   "\n",
                   world->cluster.now_ms, server->id, server->lost.until, server->lost.term);
        }
    }
    server_start(server);
}

static void violence(struct world *world)
{
    struct server *server = cluster_server(&world->cluster, draw(world, 1, world->cluster.count));
    struct server *leader = cluster_leader(&world->cluster);
    if (leader != NULL && percent(world, 40)) {
        server = leader;
    }
    switch (draw(world, 0, 3)) {
    case 0:
        if (server->raft != NULL) {
            crash(world, server);
            if (world->cluster.config.lease && percent(world, 50)) {
                server_start(server); /* at once, while a lease may still count on it */
            }
        } else {
            start(world, server);
        }
        break;
    case 1:
        if (server->raft == NULL) {
            start(world, server);
        }
        break;
    case 2:
        cut_links(world);
        break;
    default:
        world->paused_until_ms[server->id] = world->cluster.now_ms + draw(world, 1, 900);
        break;
    }
}

/* Every server that is awake is asked, so that one that wrongly believes to lead is asked too. */
static void client(struct world *world)
{
    bool change = percent(world, world->churn);
    bool read = percent(world, 50);
    bool transfer = world->cluster.config.lease && percent(world, 3);
    uint64_t count = draw(world, 1, 6);
    for (uint64_t id = 1; id <= world->cluster.count; id++) {
        struct server *server = cluster_server(&world->cluster, id);
        if (server->raft == NULL || world->paused_until_ms[id] > world->cluster.now_ms) {
            continue;
        }
        if (change) {
            churn(&world->prng, server);
            continue;
        }
        int err = read ? server_read(server) : server_propose(server, count);
        if (transfer) {
            err = server_transfer(server, 0);
        }
        CHECK(err == 0 || (transfer && err == KV_ERR_INVALID) || err == KV_ERR_NOT_LEADER ||
              err == KV_ERR_BUSY);
    }
}

/* A lease is right at every moment, or it is not a lease. */
static void look_at_leases(struct world *world)
{
    for (uint64_t id = 1; id <= world->cluster.count && world->cluster.config.lease; id++) {
        if (world->paused_until_ms[id] <= world->cluster.now_ms) {
            (void)server_lease(cluster_server(&world->cluster, id));
        }
    }
}

/* ---- the run of a world ---- */

static uint64_t pure_fit(void *context, uint64_t first, uint64_t last)
{
    (void)context;
    uint64_t fitting = first + first % 3;
    return fitting < last ? fitting : last;
}

static void make_world(struct world *world, uint64_t seed, size_t count)
{
    prng_init(&world->prng, seed);
    world->loss = draw(world, 0, 2) == 0 ? 0 : draw(world, 0, 30);
    world->replay = draw(world, 0, 1) == 0 ? 0 : draw(world, 0, 50);
    world->delay_max_ms = draw(world, 0, 1) == 0 ? 5 : draw(world, 5, 120);
    world->late = draw(world, 0, 1) == 0 ? 0 : draw(world, 0, 15);
    world->disk_max_ms = draw(world, 1, 40);
    world->disk_slow = draw(world, 0, 1) == 0 ? 0 : draw(world, 1, 20);
    world->chaos_max_ms = draw(world, 5, 80);
    world->violence = draw(world, 0, 25);
    world->compaction = draw(world, 0, 2) == 0 ? 0 : draw(world, 1, 30);
    world->cluster.config = core_config(count);
    world->cluster.config.window_appends = draw(world, 1, 6);
    world->cluster.config.append_entries_max = draw(world, 1, 8);
    world->cluster.config.uncommitted_max = draw(world, 4, 64);
    world->cluster.config.fit = percent(world, 50) ? pure_fit : NULL;
    world->cluster.on_send = on_send;
    world->cluster.on_effects = on_effects;
    world->cluster.on_trace = on_trace;
    world->cluster.trace_level = world->story ? TRACE_DEBUG : TRACE_WARN;
    world->cluster.context = world;
    cluster_init(&world->cluster, count, seed);
    for (uint64_t id = 1; id <= count; id++) {
        cluster_server(&world->cluster, id)->ahead_ms = draw(world, 0, 10000);
    }
}

static void give_leases(struct world *world)
{
    world->cluster.config.lease = true;
    /* Elections come as early as they may, and are over soon. */
    world->delay_max_ms = draw(world, 1, 10);
    world->disk_max_ms = draw(world, 1, 5);
    world->disk_slow = 0;
    world->violence = draw(world, 5, 40);
    world->cluster.config.election_max_ms =
        world->cluster.config.election_min_ms + draw(world, 1, 30);
    for (uint64_t id = 1; id <= world->cluster.count; id++) {
        cluster_server(&world->cluster, id)->faster =
            DRIFT_PERCENT * ((int64_t)draw(world, 0, 2) - 1);
    }
}

static void start_disks(struct world *world)
{
    for (uint64_t id = 1; id <= world->cluster.count; id++) {
        struct server *server = cluster_server(&world->cluster, id);
        if (server->raft == NULL || world->disk_busy[id] || server_writes(server) == 0) {
            continue;
        }
        world->disk_busy[id] = true;
        uint64_t delay_ms = draw(world, 1, world->calm ? 5 : world->disk_max_ms);
        if (!world->calm && percent(world, world->disk_slow)) {
            delay_ms = draw(world, 100, 2000);
        }
        schedule(world, delay_ms,
                 (struct happening){
                     .type = DISK_DONE, .server = id, .generation = world->disk_generation[id]});
    }
}

static void happen(struct world *world, struct happening *happening)
{
    struct server *server = NULL;
    switch (happening->type) {
    case DELIVERY:
        server = cluster_server(&world->cluster, happening->server);
        (void)server_receive(server, happening->parcel);
        parcel_free(happening->parcel);
        break;
    case DISK_DONE:
        server = cluster_server(&world->cluster, happening->server);
        if (happening->generation == world->disk_generation[server->id]) {
            world->disk_busy[server->id] = false;
            (void)server_store(server, draw(world, 1, server_writes(server)));
        }
        break;
    case RECEIVED:
        server = cluster_server(&world->cluster, happening->server);
        if (server->raft != NULL && server->starts == happening->life) {
            receive_snapshot(world, server, happening->snapshot);
        }
        break;
    case SENT:
        server = cluster_server(&world->cluster, happening->server);
        if (server->raft != NULL && server->starts == happening->life) {
            end_snapshot(world, server, happening);
        }
        break;
    case CHAOS:
        if (!world->calm && percent(world, world->violence)) {
            violence(world);
        } else if (!world->calm && percent(world, world->compaction)) {
            compact(world);
        } else if (!world->calm) {
            client(world);
        }
        if (!world->calm) {
            schedule(world, draw(world, 1, world->chaos_max_ms), (struct happening){.type = CHAOS});
        }
        break;
    }
    free(happening);
}

/* The server whose tick is due first, if before `limit_ms`. */
static struct server *next_tick(struct world *world, uint64_t limit_ms, uint64_t *ret_ms)
{
    struct server *next = NULL;
    for (uint64_t id = 1; id <= world->cluster.count; id++) {
        struct server *server = cluster_server(&world->cluster, id);
        if (server->raft == NULL) {
            continue;
        }
        uint64_t due_ms = server->wake_ms;
        if (due_ms < world->paused_until_ms[id]) {
            due_ms = world->paused_until_ms[id];
        }
        if (due_ms < world->cluster.now_ms) {
            due_ms = world->cluster.now_ms;
        }
        if (due_ms < limit_ms) {
            next = server;
            limit_ms = due_ms;
        }
    }
    *ret_ms = limit_ms;
    return next;
}

static void run_until(struct world *world, uint64_t end_ms)
{
    while (true) {
        start_disks(world);
        struct heap_node *top = heap_top(&world->heap);
        uint64_t at_ms = top != NULL && top->key < end_ms ? top->key : end_ms;
        struct server *server = next_tick(world, at_ms, &at_ms);
        if (server != NULL) {
            world->cluster.now_ms = at_ms;
            CHECK(server_tick(server) == 0);
            CHECK(server->wake_ms > at_ms);
            continue;
        }
        if (top == NULL || top->key >= end_ms) {
            break;
        }
        heap_remove(&world->heap, top);
        if (top->key > world->cluster.now_ms) {
            world->cluster.now_ms = top->key;
        }
        struct happening *happening = CONTAINER_OF(top, struct happening, node);
        if (happening->type != CHAOS &&
            world->paused_until_ms[happening->server] > world->cluster.now_ms) {
            heap_push(&world->heap, top, world->paused_until_ms[happening->server]);
            continue;
        }
        happen(world, happening);
        look_at_leases(world);
    }
    world->cluster.now_ms = end_ms;
}

static void check_repaired(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        CHECK(!raft_is_repairing(cluster->servers[i].raft));
        CHECK(cluster->servers[i].lost.until == 0);
    }
}

static void calm_down(struct world *world)
{
    world->calm = true;
    for (uint64_t id = 1; id <= world->cluster.count; id++) {
        struct server *server = cluster_server(&world->cluster, id);
        world->paused_until_ms[id] = 0;
        world->disk_generation[id]++;
        world->disk_busy[id] = false;
        if (server->raft == NULL) {
            server_start(server);
        }
    }
}

static void check_alive(struct world *world)
{
    struct cluster *cluster = &world->cluster;
    run_until(world, CHAOS_MS + LEADER_WITHIN_MS);
    struct server *leader = cluster_leader(cluster);
    CHECK(leader != NULL);
    uint64_t served = cluster->reads_served;
    CHECK(server_propose(leader, 1) == 0);
    CHECK(server_read(leader) == 0);
    run_until(world, CHAOS_MS + LEADER_WITHIN_MS + COMMIT_WITHIN_MS);
    CHECK(cluster_leader(cluster) == leader);
    CHECK(cluster->reads_served > served);
    churn_check_calm(cluster, leader);
    check_repaired(cluster);
}

struct totals {
    uint64_t changes;
    uint64_t committed;
    uint64_t compactions;
    uint64_t installs;
    uint64_t losses;
    uint64_t leases;
    uint64_t reads;
    uint64_t terms;
};

/* Worlds of one kind, one for each seed. */
struct worlds {
    const char *name;
    uint64_t first;
    uint64_t count;
    size_t servers;
    bool changing; /* members come and go */
    bool leases;
};

static void run_seed(const struct worlds *worlds, uint64_t seed, struct totals *totals)
{
    const size_t count = worlds->servers;
    printf("# seed %" PRIu64 ", %zu servers", seed, count);
    (void)fflush(stdout);
    struct world *world = memory_new(1, sizeof *world);
    world->story = getenv("RAFT_STORY") != NULL;
    if (world->story) {
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        printf("\n");
    }
    make_world(world, seed, count);
    if (worlds->changing) {
        world->churn = draw(world, 1, 30);
        world->cluster.config.membership.count = draw(world, 1, count);
    } else {
        world->loss_of_log = draw(world, 0, 1) == 0 ? 0 : draw(world, 1, 80);
    }
    if (worlds->leases) {
        give_leases(world);
    }
    for (uint64_t id = 1; id <= count; id++) {
        server_start(cluster_server(&world->cluster, id));
    }
    schedule(world, 1, (struct happening){.type = CHAOS});
    run_until(world, CHAOS_MS);
    uint64_t committed = world->cluster.committed.last;
    calm_down(world);
    check_alive(world);
    uint64_t terms = raft_term(cluster_leader(&world->cluster)->raft);
    printf(": %" PRIu64 " entries, %" PRIu64 " reads, term %" PRIu64 ", %" PRIu64
           " snapshots, %" PRIu64 " installed, %" PRIu64 " logs lost\n",
           committed, world->cluster.reads_served, terms, world->compactions, world->installs,
           world->losses);
    totals->compactions += world->compactions;
    totals->installs += world->installs;
    totals->losses += world->losses;
    totals->changes += churn_changes(&world->cluster);
    totals->committed += committed;
    totals->reads += world->cluster.reads_served;
    totals->terms += terms;
    totals->leases += world->cluster.leases_seen;
    while (heap_top(&world->heap) != NULL) {
        struct heap_node *node = heap_top(&world->heap);
        struct happening *happening = CONTAINER_OF(node, struct happening, node);
        heap_remove(&world->heap, node);
        if (happening->type == DELIVERY) {
            parcel_free(happening->parcel);
        }
        free(happening);
    }
    heap_done(&world->heap);
    cluster_done(&world->cluster);
    free(world);
}

static void random_worlds_are_safe_and_come_to_life(void **state)
{
    const struct worlds *worlds = *state;
    struct totals totals = {.committed = 0};
    for (uint64_t i = 0; i < worlds->count; i++) {
        run_seed(worlds, worlds->first + i, &totals);
    }
    /* Worlds in which nothing happens would prove nothing. */
    assert_true(totals.committed >= worlds->count);
    assert_true(totals.reads >= worlds->count);
    assert_true(totals.terms >= worlds->count);
    assert_true(totals.compactions >= worlds->count);
    assert_true(worlds->servers == 1 || totals.installs >= worlds->count / 4);
    assert_true(!worlds->changing || totals.changes >= worlds->count);
    assert_true(worlds->changing || worlds->servers == 1 || totals.losses >= worlds->count / 4);
    assert_true(!worlds->leases || totals.leases >= 100 * worlds->count);
}

static uint64_t number(const char *text, uint64_t otherwise)
{
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
    uint64_t first = number(argc > 2 ? argv[2] : getenv("RAFT_SEED"), 1);
    uint64_t count = number(argc > 1 ? argv[1] : getenv("RAFT_SEEDS"), SEEDS_DEFAULT);
    struct worlds worlds[] = {
        {"random_worlds_of_one_server_are_safe_and_come_to_life", first, count / 8 + 1, 1, false,
         false},
        {"random_worlds_of_three_servers_are_safe_and_come_to_life", first, count, 3, false, false},
        {"random_worlds_of_five_servers_are_safe_and_come_to_life", first, count / 2 + 1, 5, false,
         false},
        {"random_worlds_of_changing_members_are_safe_and_come_to_life", first, count / 2 + 1, 6,
         true, false},
        {"random_worlds_with_leases_are_safe_and_come_to_life", first, count, 3, false, true},
        {"random_worlds_with_leases_and_changing_members_are_safe_and_come_to_life", first,
         count / 2 + 1, 5, true, true},
    };
    struct CMUnitTest tests[sizeof worlds / sizeof worlds[0]];
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        tests[i] = (struct CMUnitTest){.name = worlds[i].name,
                                       .test_func = random_worlds_are_safe_and_come_to_life,
                                       .initial_state = &worlds[i]};
    }
    return cmocka_run_group_tests_name("random worlds of raft", tests, NULL, NULL);
}
