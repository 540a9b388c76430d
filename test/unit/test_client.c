/* The client library against servers that do what they should. */
#include "client_world.h"

#include "client/client.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void a_value_put_is_got_back(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(put(world, "k", "value", &reply), 0);
    uint64_t revision = reply.revision;
    assert_int_equal(revision, world->log_index);
    assert_int_equal(get(world, "k", &reply), 0);
    assert_int_equal(reply.size, 5);
    assert_memory_equal(reply.data, "value", 5);
    assert_int_equal(reply.revision, revision);
    assert_int_equal(kvapp_delete(world->client, "k", 1, &reply), 0);
    assert_int_equal(kvapp_delete(world->client, "k", 1, &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(world->servers[0].accepted, 1);
}

static void conditions_reach_the_server_and_come_back(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(kvapp_put_if(world->client, "k", 1, "a", 1, 0, &reply), 0);
    uint64_t revision = reply.revision;
    assert_int_equal(kvapp_put_if(world->client, "k", 1, "b", 1, 0, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, revision);
    assert_int_equal(kvapp_delete_if(world->client, "k", 1, revision + 1, &reply),
                     KV_ERR_CONDITION);
    assert_int_equal(kvapp_delete_if(world->client, "k", 1, revision, &reply), 0);
}

static void lists_and_scans_walk_their_pages(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    put(world, "a/1", "x", &reply);
    put(world, "a/2", "yy", &reply);
    put(world, "b", "z", &reply);

    struct kvapp_range range = {.prefix = "a/", .prefix_size = 2};
    assert_int_equal(kvapp_list(world->client, &range, &reply), 0);
    assert_int_equal(reply.count, 2);
    assert_false(reply.more);
    size_t cursor = 0;
    struct kvapp_item item;
    assert_true(kvapp_reply_next(&reply, false, &cursor, &item));
    assert_int_equal(item.key_size, 3);
    assert_memory_equal(item.key, "a/1", 3);
    assert_int_equal(item.value_size, 0);
    assert_true(kvapp_reply_next(&reply, false, &cursor, &item));
    assert_false(kvapp_reply_next(&reply, false, &cursor, &item));

    range = (struct kvapp_range){.start = "a/2", .start_size = 3, .limit = 1, .values = true};
    assert_int_equal(kvapp_list(world->client, &range, &reply), 0);
    assert_true(reply.more);
    cursor = 0;
    assert_true(kvapp_reply_next(&reply, true, &cursor, &item));
    assert_memory_equal(item.key, "a/2", 3);
    assert_int_equal(item.value_size, 2);
    assert_memory_equal(item.value, "yy", 2);
    assert_true(item.revision > 0);
    assert_false(kvapp_reply_next(&reply, true, &cursor, &item));

    range = (struct kvapp_range){.start = "a", .start_size = 1, .end = "b", .end_size = 1};
    assert_int_equal(kvapp_delete_range(world->client, &range, &reply), 0);
    assert_int_equal(reply.count, 2);
    assert_int_equal(kv_key_count(world->kv), 1);
}

static void a_large_range_is_deleted_in_several_writes(void **state)
{
    enum { COUNT = 2 * DELETE_LIMIT_MAX + 1 };
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct buf bytes = {0};
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        buf_clear(&bytes);
        command_encode(&(struct command){.operation = OPERATION_PUT, .key = slice_of_string(key)},
                       &bytes);
        struct reply unused;
        world->log_index++;
        kv_apply(world->kv, world->log_index, 1, buf_slice(&bytes), &unused);
    }
    buf_done(&bytes);
    struct kvapp_range range = {.prefix = "k", .prefix_size = 1};
    struct kvapp_reply reply;
    assert_int_equal(kvapp_delete_range(world->client, &range, &reply), 0);
    assert_int_equal(reply.count, COUNT);
    assert_false(reply.more);
    assert_int_equal(kv_key_count(world->kv), 0);
}

static void a_page_with_damaged_items_ends_the_walk(void **state)
{
    (void)state;
    struct kvapp_reply reply = {.data = "\2\0\0\0ab\xff\0\0\0c", .size = 11};
    size_t cursor = 0;
    struct kvapp_item item;
    assert_true(kvapp_reply_next(&reply, false, &cursor, &item));
    assert_false(kvapp_reply_next(&reply, false, &cursor, &item));
    cursor = 0;
    assert_false(kvapp_reply_next(&reply, true, &cursor, &item));
}

static void a_redirect_is_followed_and_remembered(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 3;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(kvapp_client_leader(world->client), 3);
    unsigned redirects = world->servers[0].requests;
    assert_int_equal(redirects, 1);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(get(world, "k", &reply), 0);
    }
    assert_int_equal(world->servers[0].requests, redirects);
    assert_int_equal(world->servers[1].requests, 0);
    assert_int_equal(world->servers[2].accepted, 1);
}

static void a_redirect_may_name_a_server_beyond_the_list(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    world->leader = 2;
    world->server_count = 1; /* the client is told of the first only */
    start_client(world, &(struct kvapp_client_options){0});
    world->server_count = 2;
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(kvapp_client_leader(world->client), 2);
    stop_server(&world->servers[1]);
    world->leader = 1;
    assert_int_equal(put(world, "k", "w", &reply), 0);
    assert_int_equal(world->puts_applied, 2);
}

/* Simulated seed 124121: the place of who named it was the next to be taken, for ever. */
static void a_server_that_has_moved_many_times_is_found_by_one_that_has_not(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->server_count = 1; /* the client is told of the first only */
    start_client(world, &(struct kvapp_client_options){0});
    world->server_count = 3;
    struct kvapp_reply reply;
    world->leader = 2;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    stop_server(&world->servers[0]);
    world->leader = 3;
    for (unsigned moves = 0; moves < 3 * MEMBERS_MAX; moves++) {
        assert_int_equal(put(world, "k", "v", &reply), 0);
        assert_int_equal(kvapp_client_leader(world->client), 3);
        move_server(&world->servers[2]);
    }
}

static void a_session_is_opened_once_and_numbers_the_writes(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    get(world, "k", &reply);
    assert_int_equal(world->sighting_count, 1); /* a read needs no session */
    for (int i = 0; i < 3; i++) {
        put(world, "k", "v", &reply);
    }
    assert_int_equal(world->sighting_count, 5);
    assert_int_equal(world->sightings[1].command.operation, OPERATION_OPEN_SESSION);
    for (size_t i = 0; i < 3; i++) {
        const struct command *command = &world->sightings[2 + i].command;
        assert_int_equal(command->session, 1);
        assert_int_equal(command->sequence, i + 1);
        assert_int_equal(command->acknowledged, i);
    }
}

static void without_sessions_none_is_opened(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(world->sighting_count, 1);
    assert_int_equal(world->sightings[0].command.session, 0);
}

static void the_end_of_a_client_closes_its_session(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    put(world, "k", "v", &reply);
    assert_int_equal(kv_session_count(world->kv), 1);
    kvapp_client_free(world->client);
    world->client = NULL;
    assert_int_equal(kv_session_count(world->kv), 0);
}

static void the_end_of_a_client_does_not_wait_long_for_a_silent_server(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    put(world, "k", "v", &reply);
    world->servers[0].delay_us = 60 * 1000 * 1000;
    uint64_t before = now_ms(world);
    kvapp_client_free(world->client);
    world->client = NULL;
    assert_in_range(now_ms(world) - before, 0, 400);
}

static void commands_beyond_the_limits_are_answered_without_a_server(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    stop_server(&world->servers[0]);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    static char large[VALUE_SIZE_MAX + 1];
    assert_int_equal(kvapp_get(world->client, "", 0, &reply), KV_ERR_KEY_EMPTY);
    assert_mentions(kvapp_client_error(world->client), "the get was not sent");
    assert_int_equal(kvapp_get(world->client, large, KEY_SIZE_MAX + 1, &reply),
                     KV_ERR_KEY_TOO_LARGE);
    assert_int_equal(kvapp_put(world->client, "k", 1, large, sizeof large, &reply),
                     KV_ERR_VALUE_TOO_LARGE);
    struct kvapp_range everything = {0};
    assert_int_equal(kvapp_delete_range(world->client, &everything, &reply), KV_ERR_INVALID);
}

static void the_largest_key_and_value_pass_both_ways(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    static char key[KEY_SIZE_MAX];
    static char value[VALUE_SIZE_MAX];
    memset(key, 'k', sizeof key);
    memset(value, 'v', sizeof value);
    struct kvapp_reply reply;
    assert_int_equal(kvapp_put(world->client, key, sizeof key, value, sizeof value, &reply), 0);
    assert_int_equal(kvapp_get(world->client, key, sizeof key, &reply), 0);
    assert_int_equal(reply.size, sizeof value);
    assert_memory_equal(reply.data, value, sizeof value);
    assert_int_equal(kvapp_get(world->client, "other", 5, &reply), KV_ERR_NOT_FOUND);
}

/* ---- many in flight ---- */

struct counted {
    struct kvapp_request request;
    char key[16];
    int status;
    unsigned done;
};

static void on_counted(struct kvapp_request *request, const struct kvapp_reply *reply)
{
    struct counted *counted = request->context;
    counted->status = reply->status;
    counted->done++;
}

static void submit(struct kvapp_client *client, struct counted *counted,
                   enum kvapp_request_kind kind, unsigned number)
{
    (void)snprintf(counted->key, sizeof counted->key, "key-%u", number);
    counted->request = (struct kvapp_request){
        .kind = kind,
        .key = counted->key,
        .key_size = strlen(counted->key),
        .value = "value",
        .value_size = 5,
        .done = on_counted,
        .context = counted,
    };
    kvapp_submit(client, &counted->request);
}

static void a_thousand_requests_share_one_connection_and_few_sends(void **state)
{
    struct world *world = *state;
    enum { COUNT = 1000 };
    static struct counted requests[COUNT];
    memset(requests, 0, sizeof requests);
    start_servers(world, 3);
    world->leader = 2;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "warm", "up", &reply), 0);
    unsigned receives = world->servers[1].receives;
    for (unsigned i = 0; i < COUNT; i++) {
        submit(world->client, &requests[i], i % 2 == 0 ? KVAPP_PUT : KVAPP_GET, i);
        assert_int_equal(requests[i].done, 0);
    }
    for (int turn = 0; turn < 100 && requests[COUNT - 1].done == 0; turn++) {
        assert_int_equal(kvapp_client_run(world->client, 20), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(requests[i].done, 1);
        assert_int_equal(requests[i].status, i % 2 == 0 ? 0 : KV_ERR_NOT_FOUND);
    }
    assert_int_equal(world->puts_applied, COUNT / 2 + 1);
    assert_int_equal(world->servers[1].accepted, 1);
    /* 70 KiB of requests, one send; the receiver takes it in pieces of what its buffers hold. */
    assert_in_range(world->servers[1].receives - receives, 1, 20);
}

static void more_requests_than_may_be_in_flight_wait_their_turn(void **state)
{
    struct world *world = *state;
    enum { COUNT = 10000 };
    static struct counted requests[COUNT];
    memset(requests, 0, sizeof requests);
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    for (unsigned i = 0; i < COUNT; i++) {
        submit(world->client, &requests[i], KVAPP_PUT, i);
    }
    for (int turn = 0; turn < 1000 && requests[COUNT - 1].done == 0; turn++) {
        assert_int_equal(kvapp_client_run(world->client, 20), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(requests[i].done, 1);
        assert_int_equal(requests[i].status, 0);
    }
    assert_int_equal(world->puts_applied, COUNT);
}

static enum fate ignore_all(struct world *world, struct server *server,
                            const struct command *command)
{
    (void)world;
    (void)server;
    (void)command;
    return FATE_IGNORE;
}

static void the_flight_is_bounded(void **state)
{
    struct world *world = *state;
    enum { COUNT = 2 * IN_FLIGHT_MAX };
    static struct counted requests[COUNT];
    memset(requests, 0, sizeof requests);
    start_servers(world, 1);
    world->fate = ignore_all;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 400});
    for (unsigned i = 0; i < COUNT; i++) {
        submit(world->client, &requests[i], KVAPP_GET, i);
    }
    turn_for_ms(world, 200);
    assert_int_equal(world->servers[0].requests, IN_FLIGHT_MAX);
    turn_for_ms(world, 300);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(requests[i].done, 1);
        assert_int_equal(requests[i].status, KV_ERR_TIMEOUT);
    }
}

static void the_end_of_a_client_ends_its_requests_once(void **state)
{
    struct world *world = *state;
    static struct counted requests[20];
    memset(requests, 0, sizeof requests);
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    world->fate = ignore_all;
    for (unsigned i = 0; i < 10; i++) {
        submit(world->client, &requests[i], i < 5 ? KVAPP_GET : KVAPP_PUT, i);
    }
    turn_for_ms(world, 50);
    for (unsigned i = 10; i < 20; i++) {
        submit(world->client, &requests[i], KVAPP_PUT, i);
    }
    kvapp_client_free(world->client);
    world->client = NULL;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(requests[i].done, 1);
        /* Those that were sent may have been applied. */
        bool sent_write = i >= 5 && i < 10;
        assert_int_equal(requests[i].status, sent_write ? KV_ERR_OUTCOME_UNKNOWN : KV_ERR_STOPPED);
    }
}

static void clients_share_a_loop(void **state)
{
    struct world *world = *state;
    enum { CLIENTS = 20, EACH = 20 };
    static struct counted requests[CLIENTS][EACH];
    memset(requests, 0, sizeof requests);
    start_servers(world, 3);
    struct kvapp_client *clients[CLIENTS];
    for (unsigned c = 0; c < CLIENTS; c++) {
        clients[c] = make_client(world, &(struct kvapp_client_options){0});
        for (unsigned i = 0; i < EACH; i++) {
            submit(clients[c], &requests[c][i], KVAPP_PUT, c * EACH + i);
        }
    }
    turn_for_ms(world, 200);
    for (unsigned c = 0; c < CLIENTS; c++) {
        for (unsigned i = 0; i < EACH; i++) {
            assert_int_equal(requests[c][i].done, 1);
            assert_int_equal(requests[c][i].status, 0);
        }
        kvapp_client_free(clients[c]);
    }
    assert_int_equal(world->puts_applied, CLIENTS * EACH);
    assert_int_equal(kv_session_count(world->kv), 0);
}

/* ---- bytes ---- */

static void answers_may_come_byte_by_byte(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    world->leader = 2;
    world->servers[0].piecemeal = true;
    world->servers[1].piecemeal = true;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "a somewhat longer value", &reply), 0);
    assert_int_equal(get(world, "k", &reply), 0);
    assert_int_equal(reply.size, 23);
    assert_memory_equal(reply.data, "a somewhat longer value", 23);
}

/* ---- status ---- */

static void status_asks_every_member(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 2;
    stop_server(&world->servers[2]);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    struct kvapp_member members[9];
    size_t count = 0;
    uint64_t before = now_ms(world);
    assert_int_equal(kvapp_status(world->client, 2000, members, &count), 0);
    assert_in_range(now_ms(world) - before, 0, 1000); /* a refused connection is no wait */
    assert_int_equal(count, 3);
    assert_true(members[0].reachable);
    assert_string_equal(members[0].role, "follower");
    assert_true(members[1].reachable);
    assert_string_equal(members[1].role, "leader");
    assert_int_equal(members[1].term, 7);
    assert_int_equal(members[1].leader, 2);
    assert_int_equal(members[1].commit_index, world->log_index);
    assert_int_equal(members[1].digest, kv_digest(world->kv));
    assert_int_equal(members[1].key_count, 1);
    assert_string_equal(members[1].io_backend, world->portable_io ? "portable" : "io_uring");
    assert_string_equal(members[1].version, "a version that "); /* cut to its field */
    assert_false(members[2].reachable);
    assert_int_equal(members[2].id, 3);
    char address[64];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", world->servers[2].port - 1000U);
    assert_string_equal(members[2].address, address);
}

static void status_waits_no_longer_than_it_was_told(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    world->servers[1].stopped = true;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_member members[9];
    size_t count = 0;
    uint64_t before = now_ms(world);
    assert_int_equal(kvapp_status(world->client, 150, members, &count), 0);
    assert_in_range(now_ms(world) - before, 150, 400);
    assert_true(members[0].reachable);
    assert_false(members[1].reachable);
}

/* ---- making a client ---- */

static void a_client_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct kvapp_client *client = NULL;
    struct kvapp_client_options options = {.cluster = NULL};
    assert_int_equal(kvapp_client_new(&options, &client), KV_ERR_INVALID);
    options.cluster = "no port";
    assert_int_equal(kvapp_client_new(&options, &client), KV_ERR_INVALID);
    options.cluster = "127.0.0.1:65000";
    assert_int_equal(kvapp_client_new(&options, &client), KV_ERR_ADDRESS);
    options.cluster = "no-such-host.invalid:8080";
    assert_int_equal(kvapp_client_new(&options, &client), KV_ERR_ADDRESS);
    assert_null(client);
    kvapp_client_free(NULL);
}

static void host_names_work(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    char cluster[64];
    (void)snprintf(cluster, sizeof cluster, "localhost:%u", world->servers[0].port - 1000U);
    struct kvapp_client_options options = {.cluster = cluster, .share_loop_with = world->host};
    assert_int_equal(kvapp_client_new(&options, &world->client), 0);
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
}

static void a_client_may_rest_for_long_between_two_calls(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 100});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    /* The program does something else; the loop's clock stands still meanwhile. */
    struct timespec rest = {.tv_nsec = 300 * 1000 * 1000};
    assert_int_equal(nanosleep(&rest, NULL), 0);
    assert_int_equal(get(world, "k", &reply), 0);
}

static void a_long_wait_does_not_outlast_the_deadline(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 100});
    world->fate = ignore_all;
    struct counted request = {.done = 0};
    submit(world->client, &request, KVAPP_GET, 1);
    uint64_t before = now_ms(world);
    while (request.done == 0) {
        assert_int_equal(kvapp_client_run(world->client, 5000), 0);
    }
    assert_in_range(now_ms(world) - before, 90, 1000);
    assert_int_equal(request.status, KV_ERR_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_value_put_is_got_back),
        cmocka_unit_test(conditions_reach_the_server_and_come_back),
        cmocka_unit_test(lists_and_scans_walk_their_pages),
        cmocka_unit_test(a_large_range_is_deleted_in_several_writes),
        cmocka_unit_test(a_page_with_damaged_items_ends_the_walk),
        cmocka_unit_test(a_redirect_is_followed_and_remembered),
        cmocka_unit_test(a_redirect_may_name_a_server_beyond_the_list),
        cmocka_unit_test(a_server_that_has_moved_many_times_is_found_by_one_that_has_not),
        cmocka_unit_test(a_session_is_opened_once_and_numbers_the_writes),
        cmocka_unit_test(without_sessions_none_is_opened),
        cmocka_unit_test(the_end_of_a_client_closes_its_session),
        cmocka_unit_test(the_end_of_a_client_does_not_wait_long_for_a_silent_server),
        cmocka_unit_test(commands_beyond_the_limits_are_answered_without_a_server),
        cmocka_unit_test(the_largest_key_and_value_pass_both_ways),
        cmocka_unit_test(a_thousand_requests_share_one_connection_and_few_sends),
        cmocka_unit_test(more_requests_than_may_be_in_flight_wait_their_turn),
        cmocka_unit_test(the_flight_is_bounded),
        cmocka_unit_test(the_end_of_a_client_ends_its_requests_once),
        cmocka_unit_test(clients_share_a_loop),
        cmocka_unit_test(answers_may_come_byte_by_byte),
        cmocka_unit_test(status_asks_every_member),
        cmocka_unit_test(status_waits_no_longer_than_it_was_told),
        cmocka_unit_test(a_client_that_cannot_be_is_refused),
        cmocka_unit_test(host_names_work),
        cmocka_unit_test(a_client_may_rest_for_long_between_two_calls),
        cmocka_unit_test(a_long_wait_does_not_outlast_the_deadline),
    };
    return run_client_cases("client", cases, sizeof cases / sizeof cases[0]);
}
