/* Reads that any server answers: to whom they go, and what their answers tell. */
#include "client_world.h"

#include <string.h>

static void write_and_forget(struct world *world)
{
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "value", &reply), 0);
    for (size_t i = 0; i < world->server_count; i++) {
        world->servers[i].requests = 0;
    }
}

static void get_the_value(struct world *world, struct kvapp_reply *ret_reply)
{
    assert_int_equal(get(world, "k", ret_reply), 0);
    assert_int_equal(ret_reply->size, 5);
    assert_memory_equal(ret_reply->data, "value", 5);
}

static void reads_that_any_server_answers_go_to_the_nearest_one(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    start_client(world,
                 &(struct kvapp_client_options){.reads = KVAPP_READS_LINEARIZABLE, .nearest = 5});
    write_and_forget(world);
    struct kvapp_reply reply;
    for (unsigned i = 0; i < 10; i++) {
        get_the_value(world, &reply);
    }
    assert_int_equal(world->servers[0].requests, 0);
    assert_int_equal(world->servers[1].requests, 0);
    assert_int_equal(world->servers[2].requests, 10);
    assert_int_equal(reply.age_ms, 0);
    assert_int_equal(reply.applied_index, 0);
    /* Writes still find the leader. */
    assert_int_equal(put(world, "k", "other", &reply), 0);
    assert_int_equal(world->servers[0].requests, 1);
}

static void reads_of_the_leader_go_there(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 2;
    start_client(world, &(struct kvapp_client_options){.reads = KVAPP_READS_LEASE, .nearest = 2});
    write_and_forget(world);
    struct kvapp_reply reply;
    get_the_value(world, &reply);
    assert_int_equal(world->servers[1].requests, 1);
}

static void a_stale_read_tells_how_old_it_may_be(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    start_client(world, &(struct kvapp_client_options){.reads = KVAPP_READS_STALE, .nearest = 1});
    write_and_forget(world);
    struct kvapp_reply reply;
    get_the_value(world, &reply);
    assert_int_equal(reply.age_ms, STALE_AGE_MS);
    assert_int_equal(reply.applied_index, world->log_index);
    assert_int_equal(world->servers[1].requests, 1);
}

static void a_nearest_server_that_is_gone_is_left_for_the_next(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    start_client(world, &(struct kvapp_client_options){.reads = KVAPP_READS_STALE, .nearest = 1});
    write_and_forget(world);
    struct kvapp_reply reply;
    get_the_value(world, &reply);
    stop_server(&world->servers[1]);
    get_the_value(world, &reply);
    get_the_value(world, &reply);
    assert_int_equal(world->servers[1].requests, 1);
    assert_int_equal(world->servers[2].requests, 2);
}

static void a_nearest_server_that_is_silent_is_left_in_time(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->servers[1].stopped = true;
    start_client(world, &(struct kvapp_client_options){
                            .reads = KVAPP_READS_LINEARIZABLE, .nearest = 1, .timeout_ms = 2000});
    write_and_forget(world);
    struct kvapp_reply reply;
    get_the_value(world, &reply);
    assert_int_equal(world->servers[2].requests, 1);
}

static void reads_of_a_dead_cluster_end(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    start_client(world,
                 &(struct kvapp_client_options){.reads = KVAPP_READS_STALE, .backoff_ms = 10});
    stop_server(&world->servers[0]);
    stop_server(&world->servers[1]);
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_CONNECTION);
}

static void a_single_get_may_be_read_in_its_own_way(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    start_client(world, &(struct kvapp_client_options){.nearest = 1});
    write_and_forget(world);
    struct tracked here;
    struct tracked there;
    track(world, &there, KVAPP_GET, 1);
    memset(&here, 0, sizeof here);
    track(world, &here, KVAPP_GET, 2);
    turn_for_ms(world, 100);
    assert_int_equal(here.done + there.done, 2);
    assert_int_equal(world->servers[1].requests, 0);
    here.request.reads = KVAPP_READS_STALE;
    kvapp_submit(world->client, &here.request);
    turn_for_ms(world, 100);
    assert_int_equal(here.done, 2);
    assert_int_equal(world->servers[1].requests, 1);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(reads_that_any_server_answers_go_to_the_nearest_one),
        cmocka_unit_test(reads_of_the_leader_go_there),
        cmocka_unit_test(a_stale_read_tells_how_old_it_may_be),
        cmocka_unit_test(a_nearest_server_that_is_gone_is_left_for_the_next),
        cmocka_unit_test(a_nearest_server_that_is_silent_is_left_in_time),
        cmocka_unit_test(reads_of_a_dead_cluster_end),
        cmocka_unit_test(a_single_get_may_be_read_in_its_own_way),
    };
    return run_client_cases("client_reads", cases, sizeof cases / sizeof cases[0]);
}
