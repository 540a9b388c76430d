/* The client library's sessions: the time that opening one takes, sessions that are forgotten, and
 * writes that are applied once whatever happens. */
#include "client_world.h"

#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- time, and the wait for a session ---- */

static enum fate answer_only_sessions(struct world *world, struct server *server,
                                      const struct command *command)
{
    (void)world;
    (void)server;
    return command->operation == OPERATION_OPEN_SESSION ? FATE_ANSWER : FATE_IGNORE;
}

static void a_write_that_waits_for_its_session_does_not_hold_up_the_time_of_others(void **state)
{
    struct world *world = *state;
    static struct tracked requests[3];
    start_servers(world, 1);
    world->servers[0].delay_us = 200 * 1000;
    world->fate = answer_only_sessions;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 400});
    track(world, &requests[0], KVAPP_GET, 0);
    track(world, &requests[1], KVAPP_PUT, 1);
    track(world, &requests[2], KVAPP_GET, 2);
    turn_for_ms(world, 500);
    assert_int_equal(requests[0].status, KV_ERR_TIMEOUT);
    assert_int_equal(requests[1].done, 0); /* its time began when the session was open */
    assert_int_equal(requests[2].status, KV_ERR_TIMEOUT);
    turn_for_ms(world, 250);
    assert_int_equal(requests[1].status, KV_ERR_OUTCOME_UNKNOWN);
}

static void requests_submitted_while_a_session_opens_end_in_time(void **state)
{
    struct world *world = *state;
    enum { PAIRS = 30 };
    static struct tracked requests[2 * PAIRS];
    start_servers(world, 1);
    world->fate = answer_only_sessions;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    for (unsigned i = 0; i < PAIRS; i++) {
        /* The write first in the first pair, so that the session opens; then the read. */
        track(world, &requests[2 * i], i == 0 ? KVAPP_PUT : KVAPP_GET, 2 * i);
        track(world, &requests[2 * i + 1], i == 0 ? KVAPP_GET : KVAPP_PUT, 2 * i + 1);
        assert_int_equal(kvapp_client_run(world->client, 1), 0);
    }
    turn_for_ms(world, 500);
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        assert_int_equal(requests[i].done, 1);
    }
}

/* ---- sessions that are forgotten ---- */

/* As many new sessions as the state machine keeps: all before them are forgotten. */
static void evict_sessions(struct world *world)
{
    struct buf bytes = {0};
    command_encode(&(struct command){.operation = OPERATION_OPEN_SESSION}, &bytes);
    struct reply reply;
    for (int i = 0; i < 100; i++) {
        world->log_index++;
        kv_apply(world->kv, world->log_index, 1, buf_slice(&bytes), &reply);
    }
    buf_done(&bytes);
}

static void a_forgotten_session_is_replaced_for_writes_that_cannot_have_happened(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    evict_sessions(world);
    assert_int_equal(put(world, "k", "w", &reply), 0);
    assert_int_equal(world->puts_applied, 2);
    assert_int_equal(puts_seen(world), 3);
    assert_int_not_equal(nth_put(world, 2)->session, nth_put(world, 0)->session);
    assert_int_equal(nth_put(world, 2)->sequence, 1);
}

static enum fate apply_second_put_and_forget(struct world *world, struct server *server,
                                             const struct command *command)
{
    (void)server;
    if (is_put(command) && puts_seen(world) == 2) {
        return FATE_APPLY_BREAK;
    }
    if (is_put(command) && puts_seen(world) == 3) {
        evict_sessions(world);
    }
    return FATE_ANSWER;
}

static void a_forgotten_session_leaves_a_repeated_write_in_doubt(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->fate = apply_second_put_and_forget;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(put(world, "k", "w", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(reply.session, 0); /* there is nobody to ask */
    assert_non_null(strstr(kvapp_client_error(world->client), "has forgotten session"));
    assert_int_equal(world->puts_applied, 2);
    assert_int_equal(put(world, "k", "x", &reply), 0); /* in a session of its own */
    assert_int_equal(world->puts_applied, 3);
}

/* ---- what became of a write ---- */

static enum fate apply_puts_in_silence(struct world *world, struct server *server,
                                       const struct command *command)
{
    (void)world;
    (void)server;
    return is_put(command) ? FATE_APPLY_SILENT : FATE_ANSWER;
}

static enum fate ignore_puts(struct world *world, struct server *server,
                             const struct command *command)
{
    (void)world;
    (void)server;
    return is_put(command) ? FATE_IGNORE : FATE_ANSWER;
}

/* A put that waits in vain for its answer, if it is put at all; only if the key is at `expected`,
 * should that not be 0. */
static void put_in_vain(struct world *world, bool applied, uint64_t expected,
                        struct kvapp_reply *ret_reply)
{
    world->fate = applied ? apply_puts_in_silence : ignore_puts;
    int status = expected == 0 ? put(world, "k", "v", ret_reply)
                               : kvapp_put_if(world->client, "k", 1, "v", 1, expected, ret_reply);
    world->fate = NULL;
    assert_int_equal(status, KV_ERR_OUTCOME_UNKNOWN);
    assert_int_not_equal(ret_reply->session, 0);
    assert_int_not_equal(ret_reply->sequence, 0);
}

static int ask(struct world *world, const struct kvapp_reply *unknown,
               struct kvapp_reply *ret_reply)
{
    return kvapp_outcome(world->client, unknown->session, unknown->sequence, ret_reply);
}

static int cancel(struct world *world, const struct kvapp_reply *unknown,
                  struct kvapp_reply *ret_reply)
{
    return kvapp_cancel(world->client, unknown->session, unknown->sequence, ret_reply);
}

/* A copy of the put reaches the log after all. */
static void apply_late(struct world *world, const struct kvapp_reply *unknown)
{
    struct buf bytes = {0};
    command_encode(&(struct command){.operation = OPERATION_PUT,
                                     .session = unknown->session,
                                     .sequence = unknown->sequence,
                                     .key = slice_of("k", 1),
                                     .value = slice_of("v", 1)},
                   &bytes);
    struct reply reply;
    world->log_index++;
    kv_apply(world->kv, world->log_index, 1, buf_slice(&bytes), &reply);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    buf_done(&bytes);
}

static void a_write_without_an_answer_has_the_outcome_that_it_had(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    struct kvapp_reply unknown;
    struct kvapp_reply reply;
    put_in_vain(world, true, 0, &unknown);
    const uint64_t revision = world->log_index;
    assert_int_equal(ask(world, &unknown, &reply), 0);
    assert_int_equal(reply.revision, revision);
    put_in_vain(world, true, 9999, &unknown);
    assert_int_equal(ask(world, &unknown, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, revision);
    put_in_vain(world, false, 0, &unknown);
    assert_int_equal(ask(world, &unknown, &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(put(world, "other", "v", &reply), 0);
    assert_int_equal(reply.session, 0);
    assert_int_equal(ask(world, &unknown, &reply), KV_ERR_SEQUENCE_STALE);
}

static void a_write_that_was_cancelled_has_been_applied_or_never_will_be(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    struct kvapp_reply unknown;
    struct kvapp_reply reply;
    put_in_vain(world, true, 0, &unknown);
    assert_int_equal(cancel(world, &unknown, &reply), 0);
    assert_int_equal(reply.revision, world->log_index - 1); /* not the cancelling entry's */
    put_in_vain(world, false, 0, &unknown);
    assert_int_equal(cancel(world, &unknown, &reply), KV_ERR_CONDITION);
    apply_late(world, &unknown);
    assert_int_equal(ask(world, &unknown, &reply), KV_ERR_CONDITION);
    assert_int_equal(put(world, "other", "v", &reply), 0);
    assert_int_equal(cancel(world, &unknown, &reply), KV_ERR_SEQUENCE_STALE);
    assert_int_equal(kvapp_cancel(world->client, 0, 1, &reply), KV_ERR_INVALID);
}

static enum fate answer_the_third_delete(struct world *world, struct server *server,
                                         const struct command *command)
{
    (void)server;
    unsigned deletes = 0;
    for (size_t i = 0; i < world->sighting_count; i++) {
        deletes += world->sightings[i].command.operation == OPERATION_DELETE;
    }
    static const enum fate fates[] = {FATE_APPLY_BREAK, FATE_APPLY_UNKNOWN, FATE_ANSWER};
    return command->operation == OPERATION_DELETE ? fates[deletes - 1] : FATE_ANSWER;
}

static void a_cancellation_is_repeated_until_it_is_answered(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 500});
    struct kvapp_reply unknown;
    struct kvapp_reply reply;
    put_in_vain(world, false, 0, &unknown);
    kvapp_client_free(world->client);
    world->client = NULL;
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    world->fate = answer_the_third_delete;
    assert_int_equal(cancel(world, &unknown, &reply), KV_ERR_CONDITION);
}

static void another_client_can_ask_for_the_outcome(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    struct kvapp_reply unknown;
    struct kvapp_reply reply;
    put_in_vain(world, true, 0, &unknown);
    kvapp_client_free(world->client); /* without closing the session */
    world->client = NULL;
    start_client(world, &(struct kvapp_client_options){0});
    assert_int_equal(ask(world, &unknown, &reply), 0);
    evict_sessions(world);
    assert_int_equal(ask(world, &unknown, &reply), KV_ERR_SESSION_UNKNOWN);
    assert_int_equal(kvapp_outcome(world->client, 0, 1, &reply), KV_ERR_INVALID);
}

/* ---- servers without space ---- */

static enum fate refuse_puts(struct world *world, struct server *server,
                             const struct command *command)
{
    (void)world;
    (void)server;
    return is_put(command) ? FATE_FULL : FATE_ANSWER;
}

static enum fate apply_first_put_then_refuse(struct world *world, struct server *server,
                                             const struct command *command)
{
    (void)server;
    if (is_put(command)) {
        return puts_seen(world) == 1 ? FATE_APPLY_BREAK : FATE_FULL;
    }
    return FATE_ANSWER;
}

static void a_write_refused_for_want_of_space_has_failed_unless_it_was_sent_before(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    world->fate = apply_first_put_then_refuse;
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(puts_seen(world), 2);
    world->fate = refuse_puts;
    assert_int_equal(put(world, "k", "w", &reply), KV_ERR_FULL);
    assert_int_equal(puts_seen(world), 3);
    world->fate = NULL;
    assert_int_equal(put(world, "k", "x", &reply), 0);
    assert_int_equal(world->puts_applied, 2);
}

/* ---- everything at once ---- */

/* Misfortune of any kind, for a while; which server leads changes all the time. */
static enum fate misfortune(struct world *world, struct server *server,
                            const struct command *command)
{
    (void)command;
    struct prng *prng = &world->prng;
    if (prng_chance(prng, 4, 5)) {
        return FATE_ANSWER;
    }
    if (prng_chance(prng, 1, 3)) {
        world->leader = prng_between(prng, 0, world->server_count);
    }
    static const enum fate fates[] = {FATE_ANSWER,    FATE_APPLY_BREAK,  FATE_BREAK,
                                      FATE_NO_LEADER, FATE_BUSY,         FATE_NOT_LEADER,
                                      FATE_UNKNOWN,   FATE_APPLY_UNKNOWN};
    enum fate fate = fates[prng_between(prng, 0, sizeof fates / sizeof fates[0] - 1)];
    bool applies = fate == FATE_APPLY_BREAK || fate == FATE_APPLY_UNKNOWN;
    return applies && server->id != world->leader ? FATE_BREAK : fate;
}

static void writes_are_applied_once_whatever_happens(void **state)
{
    struct world *world = *state;
    enum { COUNT = 400 };
    static struct tracked puts[COUNT];
    const char *text = getenv("KVAPP_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 20260102;
    print_message("# seed %llu\n", (unsigned long long)seed);
    prng_init(&world->prng, seed);
    start_servers(world, 3);
    world->servers[1].piecemeal = true;
    start_client(world, &(struct kvapp_client_options){
                            .timeout_ms = 8000, .backoff_ms = 1, .retries = 1000});
    world->fate = misfortune;
    for (unsigned i = 0; i < COUNT; i++) {
        track(world, &puts[i], KVAPP_PUT, i);
        if (i % 16 == 15) {
            assert_int_equal(kvapp_client_run(world->client, 1), 0);
        }
    }
    uint64_t started = now_ms(world);
    unsigned done = 0;
    while (done < COUNT) {
        assert_int_equal(kvapp_client_run(world->client, 20), 0);
        if (io_now_us(world->io) / 1000 > started + 1500) {
            world->fate = NULL; /* luck returns */
            world->leader = world->leader == 0 ? 1 : world->leader;
        }
        done = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            done += puts[i].done;
        }
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(puts[i].done, 1);
        assert_int_equal(puts[i].status, 0);
        struct reply reply;
        struct command command = {.operation = OPERATION_GET, .key = slice_of_string(puts[i].key)};
        kv_query(world->kv, &command, REPLY_SIZE_MAX, &reply);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.revision, puts[i].revision);
    }
    assert_int_equal(world->puts_applied, COUNT);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_write_that_waits_for_its_session_does_not_hold_up_the_time_of_others),
        cmocka_unit_test(requests_submitted_while_a_session_opens_end_in_time),
        cmocka_unit_test(a_forgotten_session_is_replaced_for_writes_that_cannot_have_happened),
        cmocka_unit_test(a_forgotten_session_leaves_a_repeated_write_in_doubt),
        cmocka_unit_test(a_write_without_an_answer_has_the_outcome_that_it_had),
        cmocka_unit_test(a_write_that_was_cancelled_has_been_applied_or_never_will_be),
        cmocka_unit_test(a_cancellation_is_repeated_until_it_is_answered),
        cmocka_unit_test(another_client_can_ask_for_the_outcome),
        cmocka_unit_test(a_write_refused_for_want_of_space_has_failed_unless_it_was_sent_before),
        cmocka_unit_test(writes_are_applied_once_whatever_happens),
    };
    return run_client_cases("client_sessions", cases, sizeof cases / sizeof cases[0]);
}
