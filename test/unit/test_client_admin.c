/* What operators ask, by the client library: who is asked, what is repeated, what is learned. */
#include "client_world.h"

#include <stdio.h>

static const struct kvapp_edit removal = {.kind = KVAPP_REMOVE, .id = 3};

static int remove_3(struct world *world, bool dry_run, struct kvapp_change_result *ret_result)
{
    const struct kvapp_change change = {.edits = &removal, .edit_count = 1, .dry_run = dry_run};
    return kvapp_change(world->client, &change, ret_result);
}

static void the_members_are_those_that_the_leader_sees(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 3;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_peers peers;
    assert_int_equal(kvapp_members(world->client, &peers), 0);
    assert_int_equal(peers.answered, 3);
    assert_int_equal(peers.leader, 3);
    assert_int_equal(peers.index, 9);
    assert_int_equal(peers.count, 3);
    assert_int_equal(peers.at[1].id, 2);
    assert_int_equal(peers.at[1].match, 101);
    assert_true(peers.at[1].voter);
}

static void without_a_leader_whoever_answers_lists_the_members(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 0;
    stop_server(&world->servers[0]);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_peers peers;
    assert_int_equal(kvapp_members(world->client, &peers), 0);
    assert_int_equal(peers.answered, 2);
    assert_int_equal(peers.leader, 0);
}

static void a_change_finds_the_leader(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 2;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_change_result result;
    assert_int_equal(remove_3(world, false, &result), 0);
    assert_false(result.has_plan);
    assert_int_equal(result.peers.answered, 2);
    assert_int_equal(world->servers[1].admin_requests, 2);
    assert_int_equal(remove_3(world, true, &result), 0);
    assert_true(result.has_plan);
    assert_true(result.plan.joint);
    assert_int_equal(result.plan.before.ready, 1);
    assert_int_equal(result.plan.after.count, 2);
    assert_int_equal(result.plan.wanted.count, 3);
    assert_int_equal(result.plan.wanted.at[2].match, 102);
}

static enum fate break_changes(struct world *world, struct server *server,
                               const struct admin_request *request)
{
    (void)world;
    (void)server;
    return request->verb == ADMIN_LIST ? FATE_ANSWER : FATE_BREAK;
}

static enum fate break_the_first(struct world *world, struct server *server,
                                 const struct admin_request *request)
{
    (void)world;
    (void)request;
    return server->admin_requests == 1 ? FATE_BREAK : FATE_ANSWER;
}

static void a_change_whose_answer_was_lost_is_not_repeated(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->admin_fate = break_changes;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_change_result result;
    assert_int_equal(remove_3(world, false, &result), KV_ERR_OUTCOME_UNKNOWN);
    assert_mentions(kvapp_client_error(world->client), "got the request, then");
    uint64_t leader = 0;
    world->servers[0].admin_requests = 0;
    assert_int_equal(kvapp_transfer(world->client, 0, &leader), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(world->servers[0].admin_requests, 2); /* who leads, and the transfer */
}

static void what_changes_nothing_is_repeated(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->admin_fate = break_the_first;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_change_result result;
    struct kvapp_peers peers;
    assert_int_equal(remove_3(world, true, &result), 0);
    world->servers[0].admin_requests = 0;
    assert_int_equal(kvapp_members(world->client, &peers), 0);
    assert_int_equal(world->servers[0].admin_requests, 2);
}

static enum fate busy_at_first(struct world *world, struct server *server,
                               const struct admin_request *request)
{
    (void)world;
    return request->verb == ADMIN_CHANGE && server->admin_requests <= 3 ? FATE_BUSY : FATE_ANSWER;
}

static void a_change_waits_for_the_one_before_it(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->admin_fate = busy_at_first;
    start_client(world, &(struct kvapp_client_options){.backoff_ms = 10});
    struct kvapp_change_result result;
    assert_int_equal(remove_3(world, false, &result), 0);
    assert_int_equal(world->servers[0].admin_requests, 4); /* who leads, and three times */
    kvapp_client_free(world->client);
    world->client = NULL;
    world->servers[0].admin_requests = 0;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 50, .backoff_ms = 40});
    assert_int_equal(remove_3(world, false, &result), KV_ERR_TIMEOUT);
    assert_mentions(kvapp_client_error(world->client), "a change is under way");
}

static enum fate lose_leadership(struct world *world, struct server *server,
                                 const struct admin_request *request)
{
    (void)world;
    (void)server;
    return request->verb == ADMIN_CHANGE ? FATE_UNKNOWN : FATE_ANSWER;
}

static void the_servers_own_words_are_kept(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->admin_fate = lose_leadership;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_change_result result;
    assert_int_equal(remove_3(world, false, &result), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(world->servers[0].admin_requests, 2);
    assert_mentions(kvapp_client_error(world->client), "answered: leadership was lost");
    assert_int_equal(result.peers.count, 1);
}

static void edits_that_cannot_be_are_not_sent(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    static const struct kvapp_edit wrong[] = {
        {.kind = KVAPP_REMOVE},
        {.kind = KVAPP_REMOVE, .id = 3, .address = "h:1"},
        {.kind = KVAPP_ADD_KEPT, .id = 3},
        {.kind = KVAPP_MOVE, .id = 3, .address = "h"},
    };
    struct kvapp_change_result result;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct kvapp_change change = {.edits = &wrong[i], .edit_count = 1};
        assert_int_equal(kvapp_change(world->client, &change, &result), KV_ERR_INVALID);
    }
    const struct kvapp_change empty = {.edits = wrong, .edit_count = 0};
    assert_int_equal(kvapp_change(world->client, &empty, &result), KV_ERR_INVALID);
    assert_int_equal(world->servers[0].admin_requests, 0);
}

static void a_member_that_a_list_named_is_turned_to(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->server_count = 1;
    start_client(world, &(struct kvapp_client_options){0});
    world->server_count = 3;
    struct kvapp_peers peers;
    assert_int_equal(kvapp_members(world->client, &peers), 0);
    /* The only server of its list, and another one, are gone. */
    stop_server(&world->servers[0]);
    stop_server(&world->servers[1]);
    world->leader = 3;
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(kvapp_client_leader(world->client), 3);
}

static void a_change_is_not_given_to_a_server_that_is_silent(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 2;
    world->servers[0].stopped = true;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 2000});
    struct kvapp_change_result result;
    assert_int_equal(remove_3(world, false, &result), 0);
    assert_int_equal(result.peers.answered, 2);
}

static void leadership_is_transferred(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    start_client(world, &(struct kvapp_client_options){0});
    uint64_t leader = 0;
    assert_int_equal(kvapp_transfer(world->client, 2, &leader), 0);
    assert_int_equal(leader, 2);
}

static void a_snapshot_is_asked_of_the_server_that_was_named(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 500});
    char address[64];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", world->servers[1].port - 1000U);
    uint64_t index = 0;
    assert_int_equal(kvapp_snapshot(world->client, address, &index), 0);
    assert_int_equal(index, 9);
    assert_int_equal(world->servers[1].admin_requests, 1);
    assert_int_equal(world->servers[0].admin_requests + world->servers[2].admin_requests, 0);
    stop_server(&world->servers[1]);
    assert_int_equal(kvapp_snapshot(world->client, address, &index), KV_ERR_CONNECTION);
    assert_mentions(kvapp_client_error(world->client), world->servers[1].address);
    assert_int_equal(world->servers[0].admin_requests + world->servers[2].admin_requests, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(the_members_are_those_that_the_leader_sees),
        cmocka_unit_test(without_a_leader_whoever_answers_lists_the_members),
        cmocka_unit_test(a_change_finds_the_leader),
        cmocka_unit_test(a_change_whose_answer_was_lost_is_not_repeated),
        cmocka_unit_test(what_changes_nothing_is_repeated),
        cmocka_unit_test(a_change_waits_for_the_one_before_it),
        cmocka_unit_test(the_servers_own_words_are_kept),
        cmocka_unit_test(edits_that_cannot_be_are_not_sent),
        cmocka_unit_test(a_member_that_a_list_named_is_turned_to),
        cmocka_unit_test(a_change_is_not_given_to_a_server_that_is_silent),
        cmocka_unit_test(leadership_is_transferred),
        cmocka_unit_test(a_snapshot_is_asked_of_the_server_that_was_named),
    };
    return run_client_cases("client_admin", cases, sizeof cases / sizeof cases[0]);
}
