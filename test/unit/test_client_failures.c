/* The client library when servers die, stall, lie, or do not know who leads. */
#include "client_world.h"

/* ---- leaders that die ---- */

static enum fate apply_first_put_and_die(struct world *world, struct server *server,
                                         const struct command *command)
{
    (void)server;
    if (is_put(command) && puts_seen(world) == 1) {
        world->leader = 2;
        return FATE_APPLY_BREAK;
    }
    return FATE_ANSWER;
}

static void a_write_whose_leader_died_is_repeated_and_applied_once(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->fate = apply_first_put_and_die;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(world->puts_applied, 1);
    assert_true(puts_seen(world) >= 2);
    for (unsigned i = 1; i < puts_seen(world); i++) {
        assert_int_equal(nth_put(world, i)->session, nth_put(world, 0)->session);
        assert_int_equal(nth_put(world, i)->sequence, nth_put(world, 0)->sequence);
    }
    assert_int_equal(kvapp_client_leader(world->client), 2);
    uint64_t revision = reply.revision;
    assert_int_equal(get(world, "k", &reply), 0);
    assert_int_equal(reply.revision, revision);
}

static void a_write_without_a_session_is_not_repeated(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->fate = apply_first_put_and_die;
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(puts_seen(world), 1);
    assert_mentions(kvapp_client_error(world->client), world->servers[0].address);
    assert_int_equal(get(world, "k", &reply), 0); /* a read goes on */
}

static enum fate lose_leadership_over_first_put(struct world *world, struct server *server,
                                                const struct command *command)
{
    (void)server;
    if (is_put(command) && puts_seen(world) == 1) {
        world->leader = 3;
        return FATE_APPLY_UNKNOWN;
    }
    return FATE_ANSWER;
}

static void an_unknown_outcome_is_asked_for_again(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->fate = lose_leadership_over_first_put;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(world->puts_applied, 1);
}

static void an_unknown_outcome_without_a_session_is_told(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->fate = lose_leadership_over_first_put;
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(puts_seen(world), 1);
    /* The server's words, without what would upset a terminal. */
    assert_mentions(kvapp_client_error(world->client), "lost ? leadership");
}

static enum fate refuse_twice(struct world *world, struct server *server,
                              const struct command *command)
{
    (void)server;
    (void)command;
    return world->sighting_count == 1   ? FATE_BUSY
           : world->sighting_count == 2 ? FATE_NOT_LEADER
                                        : FATE_ANSWER;
}

static void what_was_not_taken_is_repeated_even_without_a_session(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->fate = refuse_twice;
    start_client(world, &(struct kvapp_client_options){.no_session = true, .backoff_ms = 10});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(world->puts_applied, 1);
}

static void a_server_that_restarts_is_found_again(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    stop_server(&world->servers[0]);
    turn_for_ms(world, 30);
    restart_server(&world->servers[0]);
    assert_int_equal(put(world, "k", "w", &reply), 0);
    assert_int_equal(world->puts_applied, 2);
}

/* ---- nobody leads ---- */

static enum fate elect_after_six(struct world *world, struct server *server,
                                 const struct command *command)
{
    (void)server;
    (void)command;
    if (world->sighting_count > 6) {
        world->leader = 2;
    }
    return FATE_ANSWER;
}

static void an_election_is_waited_for(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 0;
    start_client(world, &(struct kvapp_client_options){.backoff_ms = 20});
    world->fate = elect_after_six;
    struct kvapp_reply reply;
    uint64_t before = now_ms(world);
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(world->leader, 2);
    uint64_t took = now_ms(world) - before;
    assert_in_range(took, 6 * 20, 2000);
    assert_in_range(world->sighting_count, 7, 10);
}

static void a_cluster_that_never_elects_ends_in_a_timeout(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->leader = 0;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 300, .backoff_ms = 20});
    struct kvapp_reply reply;
    uint64_t before = now_ms(world);
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    assert_in_range(now_ms(world) - before, 280, 600);
    assert_mentions(kvapp_client_error(world->client), "knows of no leader: ask somebody else");
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_TIMEOUT); /* it was never taken */
    assert_in_range(world->sighting_count, 2, 30);
}

static enum fate point_at_each_other(struct world *world, struct server *server,
                                     const struct command *command)
{
    (void)command;
    world->leader = server->id == 1 ? 2 : 1;
    return FATE_ANSWER;
}

static void redirects_in_a_circle_are_followed_with_pauses(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    world->fate = point_at_each_other;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 400, .backoff_ms = 20});
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    assert_mentions(kvapp_client_error(world->client), "names as leader: 127.0.0.1");
    assert_in_range(world->sighting_count, 4, 60);
}

/* ---- nobody is there ---- */

static void a_dead_cluster_is_told_quickly(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    for (size_t i = 0; i < 3; i++) {
        stop_server(&world->servers[i]);
    }
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    uint64_t before = now_ms(world);
    assert_int_equal(get(world, "k", &reply), KV_ERR_CONNECTION);
    assert_in_range(now_ms(world) - before, 250, 1000); /* two pauses between three rounds */
    for (size_t i = 0; i < 3; i++) {
        assert_mentions(kvapp_client_error(world->client), world->servers[i].address);
    }
    assert_mentions(kvapp_client_error(world->client), "efused");
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_CONNECTION);
    restart_server(&world->servers[1]);
    world->leader = 2;
    assert_int_equal(put(world, "k", "v", &reply), 0);
}

static enum fate apply_and_vanish(struct world *world, struct server *server,
                                  const struct command *command)
{
    if (!is_put(command)) {
        return FATE_ANSWER;
    }
    io_listener_close(world->io, server->listener);
    server->listener = NULL;
    return FATE_APPLY_BREAK;
}

static void a_write_that_died_with_the_cluster_is_in_doubt(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->fate = apply_and_vanish;
    start_client(world, &(struct kvapp_client_options){.backoff_ms = 10});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_mentions(kvapp_client_error(world->client), world->servers[0].address);
    assert_int_equal(world->puts_applied, 1);
}

/* ---- silence ---- */

static void a_stopped_leader_is_left_for_one_that_leads(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 2000});
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    struct server *first = &world->servers[0];
    for (struct list *link = first->visits.next; link != &first->visits; link = link->next) {
        io_receive_pause(world->io, CONTAINER_OF(link, struct visit, link)->stream);
    }
    first->stopped = true;
    world->leader = 3;
    uint64_t before = now_ms(world);
    assert_int_equal(put(world, "k", "w", &reply), 0);
    assert_in_range(now_ms(world) - before, 100,
                    600); /* a sixteenth of the timeout, and a little */
    assert_int_equal(kvapp_client_leader(world->client), 3);
    assert_int_equal(world->puts_applied, 2);
    before = now_ms(world);
    assert_int_equal(put(world, "k", "x", &reply), 0);
    assert_in_range(now_ms(world) - before, 0, 300);
}

static void a_slow_leader_is_not_left(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->servers[0].delay_us = 400 * 1000;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 800});
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(world->sighting_count, 1);
    assert_int_equal(world->servers[0].accepted, 1);
    assert_true(world->servers[1].status_requests >= 1); /* they were asked, and do not lead */
}

static void a_first_member_that_is_stopped_does_not_hold_a_client(void **state)
{
    struct world *world = *state;
    start_servers(world, 3);
    world->servers[0].stopped = true;
    world->leader = 2;
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 1000});
    struct kvapp_reply reply;
    uint64_t before = now_ms(world);
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_in_range(now_ms(world) - before, 50, 400);
}

static enum fate ignore_all(struct world *world, struct server *server,
                            const struct command *command)
{
    (void)world;
    (void)server;
    (void)command;
    return FATE_IGNORE;
}

static enum fate ignore_puts(struct world *world, struct server *server,
                             const struct command *command)
{
    (void)world;
    (void)server;
    return is_put(command) ? FATE_IGNORE : FATE_ANSWER;
}

static void silence_ends_a_read_in_a_timeout_and_a_write_in_doubt(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    struct kvapp_reply reply;
    world->fate = ignore_all;
    uint64_t before = now_ms(world);
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    assert_in_range(now_ms(world) - before, 190, 400);
    assert_mentions(kvapp_client_error(world->client), "is connected, but silent");
    assert_mentions(kvapp_client_error(world->client), world->servers[0].address);
    world->fate = ignore_puts;
    before = now_ms(world);
    assert_int_equal(put(world, "k", "v", &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_in_range(now_ms(world) - before, 190, 400);
    /* What timed out is acknowledged, since it is not asked for again. */
    world->fate = NULL;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    assert_int_equal(nth_put(world, 1)->sequence, 2);
    assert_int_equal(nth_put(world, 1)->acknowledged, 1);
}

static void an_answer_that_comes_too_late_is_ignored(void **state)
{
    struct world *world = *state;
    static struct tracked gets[2];
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 800});
    /* The first answer comes in time, and shows shortly before the second is overdue that the
     * server is not silent; so the connection lasts until the second comes. */
    world->servers[0].delay_us = 700 * 1000;
    track(world, &gets[0], KVAPP_GET, 0);
    turn_for_ms(world, 30);
    world->servers[0].delay_us = 1000 * 1000;
    track(world, &gets[1], KVAPP_GET, 1);
    turn_for_ms(world, 900);
    assert_int_equal(gets[0].status, KV_ERR_NOT_FOUND);
    assert_int_equal(gets[1].status, KV_ERR_TIMEOUT);
    world->servers[0].delay_us = 0;
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "new", &reply), 0);
    turn_for_ms(world, 200);
    assert_int_equal(gets[1].done, 1);
    assert_int_equal(get(world, "k", &reply), 0);
    assert_memory_equal(reply.data, "new", 3);
    assert_int_equal(world->servers[0].accepted, 1);
}

static void a_connection_that_is_silent_for_two_timeouts_is_made_anew(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 200});
    world->fate = ignore_all;
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    assert_int_equal(get(world, "k", &reply), KV_ERR_TIMEOUT);
    world->fate = NULL;
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(world->servers[0].accepted, 2);
}

/* ---- nonsense ---- */

static enum fate garbage_from_the_first(struct world *world, struct server *server,
                                        const struct command *command)
{
    (void)world;
    (void)command;
    return server->id == 1 ? FATE_GARBAGE : FATE_ANSWER;
}

static void a_server_that_talks_nonsense_is_left(void **state)
{
    struct world *world = *state;
    start_servers(world, 2);
    world->leader = 2;
    world->fate = garbage_from_the_first;
    start_client(world, &(struct kvapp_client_options){0});
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(world->servers[0].accepted, 1);
}

static void nonsense_alone_is_told(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    world->fate = garbage_from_the_first;
    start_client(world, &(struct kvapp_client_options){.backoff_ms = 10});
    struct kvapp_reply reply;
    assert_int_equal(get(world, "k", &reply), KV_ERR_CONNECTION);
    assert_mentions(kvapp_client_error(world->client), "sent what is no answer");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_write_whose_leader_died_is_repeated_and_applied_once),
        cmocka_unit_test(a_write_without_a_session_is_not_repeated),
        cmocka_unit_test(an_unknown_outcome_is_asked_for_again),
        cmocka_unit_test(an_unknown_outcome_without_a_session_is_told),
        cmocka_unit_test(what_was_not_taken_is_repeated_even_without_a_session),
        cmocka_unit_test(a_server_that_restarts_is_found_again),
        cmocka_unit_test(an_election_is_waited_for),
        cmocka_unit_test(a_cluster_that_never_elects_ends_in_a_timeout),
        cmocka_unit_test(redirects_in_a_circle_are_followed_with_pauses),
        cmocka_unit_test(a_dead_cluster_is_told_quickly),
        cmocka_unit_test(a_write_that_died_with_the_cluster_is_in_doubt),
        cmocka_unit_test(a_stopped_leader_is_left_for_one_that_leads),
        cmocka_unit_test(a_slow_leader_is_not_left),
        cmocka_unit_test(a_first_member_that_is_stopped_does_not_hold_a_client),
        cmocka_unit_test(silence_ends_a_read_in_a_timeout_and_a_write_in_doubt),
        cmocka_unit_test(an_answer_that_comes_too_late_is_ignored),
        cmocka_unit_test(a_connection_that_is_silent_for_two_timeouts_is_made_anew),
        cmocka_unit_test(a_server_that_talks_nonsense_is_left),
        cmocka_unit_test(nonsense_alone_is_told),
    };
    return run_client_cases("client_failures", cases, sizeof cases / sizeof cases[0]);
}
