/* A leader whose state machine stands still: three whole servers in the simulated world. */
#include "io/sim.h"
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SERVERS = 3, SECOND_US = 1000 * 1000, VALUE_SIZE = 8 * 1024 };

struct server {
    struct sim_host *host;
    struct io *io;
    struct kvapp_node *node;
};

struct scene {
    struct sim_world *world;
    struct server servers[SERVERS];
    bool stall_reads;    /* of every server, as soon as it has recovered */
    bool drop_transfers; /* the target of one does not hear the leader any more */
    unsigned handed_over;
    unsigned stepped_down;
};

static void log_line(void *context, enum kvapp_log_level level, const char *line)
{
    struct scene *scene = context;
    (void)level;
    scene->handed_over += strstr(line, "another server shall lead") != NULL;
    scene->stepped_down += strstr(line, "was asked to step down") != NULL;
}

static void boot(struct scene *scene, size_t number)
{
    struct server *server = &scene->servers[number];
    struct kvapp_node_options options;
    kvapp_node_options_init(&options);
    options.node_id = number + 1;
    options.cluster = "10.0.0.1:7000,10.0.0.2:7000,10.0.0.3:7000";
    options.data_dir = "/data";
    options.cache_size = 1; /* All but the newest entry must be read before it can be applied. */
    options.log = log_line;
    options.log_context = scene;
    options.log_level = KVAPP_LOG_INFO;
    sim_host_boot(server->host, &server->io);
    char error[256];
    assert_int_equal(node_new_on(server->io, &options, error, sizeof error, &server->node), 0);
}

static void crash(struct server *server)
{
    sim_host_crash(server->host, SIM_CRASH_KILL);
    kvapp_node_free(server->node);
    io_free(server->io);
    server->node = NULL;
}

static struct server *leader_of(struct scene *scene)
{
    struct server *leader = NULL;
    for (size_t i = 0; i < SERVERS; i++) {
        struct server *server = &scene->servers[i];
        if (kvapp_node_role(server->node) == RAFT_LEADER &&
            (leader == NULL || kvapp_node_term(server->node) > kvapp_node_term(leader->node))) {
            leader = server;
        }
    }
    return leader;
}

static void interfere(struct scene *scene, struct server *server)
{
    if (scene->stall_reads && server->node->state == NODE_SERVING &&
        kvapp_node_commit_index(server->node) == 0) {
        sim_disk_stall_reads(server->host, UINT64_MAX);
    }
    uint64_t target = server->node->raft == NULL ? 0 : raft_transfer_target(server->node->raft);
    if (scene->drop_transfers && target != 0) {
        sim_link_block(server->host, scene->servers[target - 1].host, true);
    }
}

typedef bool (*scene_fn)(struct scene *scene);

/* Until it is so, for at most ten seconds. */
static bool run_until(struct scene *scene, scene_fn is_so)
{
    uint64_t until_us = sim_world_now(scene->world) + (uint64_t)10 * SECOND_US;
    const struct sim_host *host = NULL;
    while (!is_so(scene) && (host = sim_world_step(scene->world, until_us)) != NULL) {
        struct server *server = &scene->servers[sim_host_number(host)];
        assert_int_equal(kvapp_node_step(server->node, 0), 0);
        interfere(scene, server);
        if (server->node->more_work) {
            sim_host_wake(server->host);
        }
    }
    return is_so(scene);
}

/* The no-op of the first leader and the entry behind it. */
static bool all_have_applied(struct scene *scene)
{
    bool all = true;
    for (size_t i = 0; i < SERVERS; i++) {
        all = all && kvapp_node_applied_index(scene->servers[i].node) >= 2;
    }
    return all;
}

static bool leader_has_committed(struct scene *scene)
{
    const struct server *leader = leader_of(scene);
    return leader != NULL && kvapp_node_commit_index(leader->node) > 0;
}

static bool leader_has_applied(struct scene *scene)
{
    const struct server *leader = leader_of(scene);
    return leader != NULL && kvapp_node_applied_index(leader->node) > 0;
}

static void on_proposed(struct kvapp_proposal *proposal, int status, uint64_t revision)
{
    (void)revision;
    *(int *)proposal->context = status;
}

static void put_something(struct scene *scene)
{
    static const uint8_t value[VALUE_SIZE];
    int status = 1;
    struct kvapp_proposal proposal = {.done = on_proposed, .context = &status};
    const struct command command = {
        .operation = OPERATION_PUT,
        .key = slice_of("k", 1),
        .value = slice_of(value, sizeof value),
    };
    struct buf bytes = {0};
    command_encode(&command, &bytes);
    struct server *leader = leader_of(scene);
    assert_int_equal(kvapp_node_propose(leader->node, bytes.data, bytes.size, &proposal), 0);
    sim_host_wake(leader->host);
    assert_true(run_until(scene, all_have_applied));
    assert_int_equal(status, 0);
    buf_done(&bytes);
}

/* A leader that can commit but not apply, whose followers could do both. */
static struct server *stalled_leader(struct scene *scene)
{
    scene->world = sim_world_new(7);
    for (size_t i = 0; i < SERVERS; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.0.0.%zu", i + 1);
        scene->servers[i].host = sim_host_new(scene->world, address);
        assert_int_equal(sim_disk_make_path(scene->servers[i].host, "/data"), 0);
        boot(scene, i);
    }
    assert_true(run_until(scene, leader_has_applied));
    put_something(scene);
    for (size_t i = 0; i < SERVERS; i++) {
        crash(&scene->servers[i]);
        boot(scene, i);
    }
    scene->stall_reads = true;
    assert_true(run_until(scene, leader_has_committed));
    scene->stall_reads = false;
    struct server *leader = leader_of(scene);
    for (size_t i = 0; i < SERVERS; i++) {
        if (&scene->servers[i] != leader) {
            sim_disk_stall(scene->servers[i].host, 0);
        }
    }
    return leader;
}

static void scene_done(struct scene *scene)
{
    for (size_t i = 0; i < SERVERS; i++) {
        crash(&scene->servers[i]);
    }
    sim_world_free(scene->world);
}

static void a_leader_that_applies_nothing_hands_over(void **state)
{
    (void)state;
    struct scene scene = {.world = NULL};
    struct server *stalled = stalled_leader(&scene);
    assert_true(run_until(&scene, leader_has_applied));
    assert_ptr_not_equal(leader_of(&scene), stalled);
    assert_int_equal(kvapp_node_applied_index(stalled->node), 0);
    assert_int_equal(scene.handed_over, 1);
    assert_int_equal(scene.stepped_down, 0);
    sim_disk_stall(stalled->host, 0);
    assert_true(run_until(&scene, all_have_applied));
    scene_done(&scene);
}

static void it_steps_down_when_handing_over_fails(void **state)
{
    (void)state;
    struct scene scene = {.drop_transfers = true};
    struct server *stalled = stalled_leader(&scene);
    assert_true(run_until(&scene, leader_has_applied));
    assert_ptr_not_equal(leader_of(&scene), stalled);
    assert_int_equal(scene.handed_over, 1);
    assert_int_equal(scene.stepped_down, 1);
    scene_done(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_that_applies_nothing_hands_over),
        cmocka_unit_test(it_steps_down_when_handing_over_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
