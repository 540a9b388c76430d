/*
 * Whole servers inside this process, driven in turn by one thread through the public header: what
 * a program that embeds kvapp sees. Real sockets on loopback, real files in a temporary directory.
 */
#include "base/bytes.h"
#include "kv/command.h"
#include "kvapp/node.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { NODES_MAX = 3, WAIT_MS = 20000 };

struct world {
    size_t count;
    char directory[64];
    char cluster[256];
    char data[NODES_MAX][96];
    struct kvapp_node *nodes[NODES_MAX];
    uint16_t port;
};

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_directory(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- the world ---- */

/* Below the ephemeral range, and another range for each process that runs at the same time. */
static uint16_t some_port(unsigned attempt)
{
    return (uint16_t)(20000 + ((unsigned)getpid() * 16 + attempt * 160) % 2000);
}

static void start_node(struct world *world, size_t i)
{
    char bind[64];
    (void)snprintf(bind, sizeof bind, "127.0.0.1:%u", world->port + (unsigned)i);
    struct kvapp_node_options options;
    kvapp_node_options_init(&options);
    options.bind = bind;
    options.cluster = world->cluster;
    options.data_dir = world->data[i];
    options.client_port_offset = 100;
    options.segment_size = 4 * 1024 * 1024;
    char error[512] = "";
    int err = kvapp_node_new(&options, error, sizeof error, &world->nodes[i]);
    if (err != 0) {
        fail_msg("%s", error);
    }
}

/* True when the ports from `port` on can be had: another program may own one of them. */
static bool ports_are_free(uint16_t port, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char bind[64];
        char directory[] = "/tmp/kvapp-probe-XXXXXX";
        (void)snprintf(bind, sizeof bind, "127.0.0.1:%u", port + (unsigned)i);
        assert_non_null(mkdtemp(directory));
        struct kvapp_node_options options;
        kvapp_node_options_init(&options);
        options.bind = bind;
        options.data_dir = directory;
        options.client_port_offset = 100;
        char error[512] = "";
        struct kvapp_node *node = NULL;
        int err = kvapp_node_new(&options, error, sizeof error, &node);
        kvapp_node_free(node);
        remove_directory(directory);
        if (err != 0) {
            return false;
        }
    }
    return true;
}

static void world_init(struct world *world, size_t count)
{
    *world = (struct world){.count = count, .directory = "/tmp/kvapp-embed-XXXXXX"};
    assert_non_null(mkdtemp(world->directory));
    for (unsigned attempt = 0; world->port == 0; attempt++) {
        uint16_t port = some_port(attempt);
        world->port = ports_are_free(port, count) ? port : 0;
    }
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(world->cluster + at, sizeof world->cluster - at, "%s127.0.0.1:%u",
                               i == 0 ? "" : ",", world->port + (unsigned)i);
        (void)snprintf(world->data[i], sizeof world->data[i], "%s/%zu", world->directory, i + 1);
    }
    for (size_t i = 0; i < count; i++) {
        start_node(world, i);
    }
}

static void step_all(struct world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        if (world->nodes[i] != NULL) {
            assert_int_equal(kvapp_node_step(world->nodes[i], 1), 0);
        }
    }
}

static void stop_node(struct world *world, size_t i)
{
    kvapp_node_free(world->nodes[i]);
    world->nodes[i] = NULL;
}

static void world_done(struct world *world)
{
    for (size_t i = 0; i < world->count; i++) {
        stop_node(world, i);
    }
    remove_directory(world->directory);
}

static struct kvapp_node *wait_for_leader(struct world *world)
{
    uint64_t end_ms = clock_ms() + WAIT_MS;
    while (clock_ms() < end_ms) {
        step_all(world);
        for (size_t i = 0; i < world->count; i++) {
            if (world->nodes[i] != NULL && kvapp_node_role(world->nodes[i]) == RAFT_LEADER) {
                return world->nodes[i];
            }
        }
    }
    fail_msg("no leader within %d ms", WAIT_MS);
    return NULL;
}

/* ---- proposals ---- */

struct proposal {
    struct kvapp_proposal base;
    bool done;
    int status;
    uint64_t revision;
};

static void proposal_done(struct kvapp_proposal *base, int status, uint64_t revision)
{
    struct proposal *proposal = (struct proposal *)base;
    assert_false(proposal->done);
    proposal->done = true;
    proposal->status = status;
    proposal->revision = revision;
}

static int propose(struct kvapp_node *node, struct proposal *proposal, enum operation operation,
                   unsigned key)
{
    char text[32];
    (void)snprintf(text, sizeof text, "key-%u", key);
    const struct command command = {
        .operation = operation,
        .key = slice_of_string(text),
        .value = operation == OPERATION_PUT ? slice_of_string("value") : slice_of(NULL, 0),
    };
    struct buf bytes = {0};
    command_encode(&command, &bytes);
    *proposal = (struct proposal){.base.done = proposal_done};
    int err = kvapp_node_propose(node, bytes.data, bytes.size, &proposal->base);
    buf_done(&bytes);
    return err;
}

static void wait_for(struct world *world, const struct proposal *proposals, size_t count)
{
    uint64_t end_ms = clock_ms() + WAIT_MS;
    for (size_t i = 0; i < count; i++) {
        while (!proposals[i].done && clock_ms() < end_ms) {
            step_all(world);
        }
        assert_true(proposals[i].done);
        assert_int_equal(proposals[i].status, 0);
    }
}

/* All have applied the whole log; the leader may still be adding to it by itself. */
static bool are_equal(struct world *world)
{
    uint64_t last = kvapp_node_last_index(wait_for_leader(world));
    for (size_t i = 0; i < world->count; i++) {
        if (kvapp_node_last_index(world->nodes[i]) != last ||
            kvapp_node_applied_index(world->nodes[i]) != last) {
            return false;
        }
    }
    return true;
}

static void wait_until_equal(struct world *world)
{
    uint64_t end_ms = clock_ms() + WAIT_MS;
    while (!are_equal(world)) {
        assert_true(clock_ms() < end_ms);
        step_all(world);
    }
    for (size_t i = 0; i < world->count; i++) {
        assert_int_equal(kvapp_node_digest(world->nodes[i]), kvapp_node_digest(world->nodes[0]));
    }
}

/* ---- tests ---- */

static void one_node_commits_alone(void **state)
{
    (void)state;
    struct world world;
    struct proposal proposal;
    world_init(&world, 1);
    struct kvapp_node *leader = wait_for_leader(&world);
    assert_int_equal(propose(leader, &proposal, OPERATION_PUT, 1), 0);
    wait_for(&world, &proposal, 1);
    assert_true(kvapp_node_is_committed(leader, proposal.revision));
    assert_false(kvapp_node_is_committed(leader, proposal.revision + 1));
    world_done(&world);
}

static void ten_commands_take_less_than_a_second(void **state)
{
    (void)state;
    struct world world;
    struct proposal proposals[10];
    world_init(&world, 3);
    struct kvapp_node *leader = wait_for_leader(&world);
    uint64_t start_ms = clock_ms();
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(propose(leader, &proposals[i], OPERATION_PUT, i), 0);
        wait_for(&world, &proposals[i], 1);
    }
    assert_in_range(clock_ms() - start_ms, 0, 1000);
    world_done(&world);
}

static void fifty_at_once_come_in_order_and_all_nodes_agree(void **state)
{
    (void)state;
    struct world world;
    static struct proposal proposals[50];
    world_init(&world, 3);
    struct kvapp_node *leader = wait_for_leader(&world);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(propose(leader, &proposals[i], OPERATION_PUT, i % 20), 0);
    }
    wait_for(&world, proposals, 50);
    for (unsigned i = 1; i < 50; i++) {
        assert_int_equal(proposals[i].revision, proposals[i - 1].revision + 1);
    }
    assert_int_equal(propose(leader, &proposals[0], OPERATION_DELETE, 3), 0);
    wait_for(&world, proposals, 1);
    wait_until_equal(&world);
    /* The same entries stand in every log. */
    for (uint64_t index = 1; index <= proposals[0].revision; index++) {
        struct kvapp_entry entries[3];
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(kvapp_node_entry(world.nodes[i], index, &entries[i]), 0);
            assert_int_equal(entries[i].term, entries[0].term);
            assert_int_equal(entries[i].command_size, entries[0].command_size);
        }
    }
    world_done(&world);
}

static void only_the_leader_takes_proposals(void **state)
{
    (void)state;
    struct world world;
    struct proposal proposal;
    world_init(&world, 3);
    struct kvapp_node *leader = wait_for_leader(&world);
    for (size_t i = 0; i < 3; i++) {
        if (world.nodes[i] != leader) {
            assert_int_equal(propose(world.nodes[i], &proposal, OPERATION_PUT, 1),
                             KV_ERR_NOT_LEADER);
        }
    }
    proposal = (struct proposal){.base.done = proposal_done};
    assert_int_equal(kvapp_node_propose(leader, "nonsense", 8, &proposal.base),
                     KV_ERR_COMMAND_UNKNOWN);
    assert_int_equal(propose(leader, &proposal, OPERATION_GET, 1), KV_ERR_INVALID);
    world_done(&world);
}

static void a_node_that_was_away_catches_up_and_a_restart_keeps_everything(void **state)
{
    (void)state;
    struct world world;
    static struct proposal proposals[200];
    world_init(&world, 3);
    struct kvapp_node *leader = wait_for_leader(&world);
    size_t away = world.nodes[0] == leader ? 1 : 0;
    stop_node(&world, away);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(propose(leader, &proposals[i], OPERATION_PUT, i), 0);
    }
    wait_for(&world, proposals, 200);
    start_node(&world, away);
    wait_until_equal(&world);
    uint64_t digest = kvapp_node_digest(leader);
    uint64_t applied = kvapp_node_applied_index(leader);
    for (size_t i = 0; i < 3; i++) {
        stop_node(&world, i);
    }
    for (size_t i = 0; i < 3; i++) {
        start_node(&world, i);
    }
    wait_until_equal(&world);
    leader = wait_for_leader(&world);
    assert_true(kvapp_node_applied_index(leader) > applied);
    struct kvapp_entry entry;
    assert_int_equal(kvapp_node_entry(leader, applied + 1, &entry), 0);
    assert_int_equal(entry.command_size, 0); /* the new leader's no-op, and nothing else */
    assert_int_not_equal(digest, 0);
    world_done(&world);
}

static void a_second_server_on_the_same_port_or_directory_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 1);
    (void)wait_for_leader(&world);
    char error[512] = "";
    char bind[64];
    struct kvapp_node *second = NULL;
    struct kvapp_node_options options;
    kvapp_node_options_init(&options);
    options.client_port_offset = 100;
    options.bind = world.cluster;
    options.data_dir = "/tmp/kvapp-not-made";
    options.segment_size = 4096;
    assert_int_equal(kvapp_node_new(&options, error, sizeof error, &second), KV_ERR_INVALID);
    assert_non_null(strstr(error, "at least 4194304 bytes, not 4096"));
    options.segment_size = 4 * 1024 * 1024;
    assert_int_equal(kvapp_node_new(&options, error, sizeof error, &second), KV_ERR_ADDRESS);
    assert_non_null(strstr(error, "cannot listen on the raft address"));
    assert_int_not_equal(access(options.data_dir, F_OK), 0);
    (void)snprintf(bind, sizeof bind, "127.0.0.1:%u", world.port + 50U);
    options.bind = bind;
    options.data_dir = world.data[0];
    assert_int_equal(kvapp_node_new(&options, error, sizeof error, &second), 0);
    assert_int_equal(kvapp_node_run(second), KV_ERR_LOCKED);
    assert_non_null(strstr(kvapp_node_error(second), world.data[0]));
    kvapp_node_free(second);
    world_done(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node_commits_alone),
        cmocka_unit_test(ten_commands_take_less_than_a_second),
        cmocka_unit_test(fifty_at_once_come_in_order_and_all_nodes_agree),
        cmocka_unit_test(only_the_leader_takes_proposals),
        cmocka_unit_test(a_node_that_was_away_catches_up_and_a_restart_keeps_everything),
        cmocka_unit_test(a_second_server_on_the_same_port_or_directory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
