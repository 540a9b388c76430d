/* The decisions of the client library, each alone: whom to ask, what is acknowledged, in which
 * order requests leave. */
#include "client/leader.h"
#include "client/pending.h"
#include "client/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- leader ---- */

static void members_that_fail_are_tried_in_turn_at_once(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 3, 3, 100);
    leader_answered(&leader, 1);
    assert_int_equal(leader.id, 1);
    assert_int_equal(leader_failed(&leader, false).pause_ms, 0);
    assert_int_equal(leader.target, 1);
    assert_int_equal(leader.id, 0);
    assert_int_equal(leader_failed(&leader, false).pause_ms, 0);
    assert_int_equal(leader_failed(&leader, false).pause_ms, 0);
    assert_int_equal(leader.target, 0);
    assert_int_equal(leader_failed(&leader, false).pause_ms, 200);
}

static void rounds_of_refusals_end_in_giving_up(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 2, 3, 100);
    assert_int_equal(leader_failed(&leader, true).pause_ms, 0);
    assert_int_equal(leader_failed(&leader, true).pause_ms, 100);
    assert_int_equal(leader_failed(&leader, true).pause_ms, 0);
    assert_int_equal(leader_failed(&leader, true).pause_ms, 200);
    assert_false(leader_failed(&leader, true).give_up);
    assert_true(leader_failed(&leader, true).give_up);
    /* And it begins anew. */
    assert_false(leader_failed(&leader, true).give_up);
    assert_int_equal(leader_failed(&leader, true).pause_ms, 100);
}

static void an_answer_of_anybody_is_no_refusal(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 2, 1, 100);
    for (int i = 0; i < 20; i++) {
        assert_false(leader_failed(&leader, true).give_up);
        assert_false(leader_missing(&leader).give_up);
        assert_false(leader_redirected(&leader, 0, 1).give_up);
    }
}

static void pauses_double_up_to_a_second_and_start_anew_with_an_answer(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 3, 3, 100);
    uint32_t last = 0;
    for (int i = 0; i < 60; i++) {
        uint32_t pause = leader_missing(&leader).pause_ms;
        assert_true(pause >= last);
        last = pause;
    }
    assert_int_equal(last, 1000);
    leader_answered(&leader, 2);
    assert_int_equal(leader_missing(&leader).pause_ms, 100);
}

static void a_redirect_goes_where_it_points_until_it_goes_in_circles(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 2, 3, 100);
    assert_int_equal(leader_redirected(&leader, 5, 9).pause_ms, 0);
    assert_int_equal(leader.target, 5);
    assert_int_equal(leader.id, 9);
    assert_int_equal(leader_redirected(&leader, 0, 1).pause_ms, 0);
    assert_true(leader_redirected(&leader, 5, 9).pause_ms > 0);
    /* Behind a learned address the turn goes on. */
    (void)leader_failed(&leader, true);
    assert_int_equal(leader.target, 1);
}

static void a_member_that_names_who_is_gone_keeps_nobody_from_being_asked(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 4, 3, 100);
    unsigned asked = 0;
    for (int i = 0; i < 8; i++) {
        asked |= 1u << leader.target;
        if (leader.target == 2) {
            (void)leader_redirected(&leader, 1, 9);
        } else {
            (void)leader_failed(&leader, true);
        }
    }
    assert_int_equal(asked, 15);
}

static void a_busy_leader_stays_the_target(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 3, 3, 50);
    leader_answered(&leader, 1);
    assert_int_equal(leader_busy(&leader).pause_ms, 50);
    assert_int_equal(leader.target, 0);
    assert_int_equal(leader.id, 1);
}

/* ---- session ---- */

static void what_is_acknowledged_waits_for_the_oldest(void **state)
{
    (void)state;
    struct session session;
    struct session_write writes[3];
    session_init(&session);
    session_opening(&session);
    session_opened(&session, 77);
    assert_int_equal(session_acknowledged(&session), 0);
    for (unsigned i = 0; i < 3; i++) {
        session_write_init(&writes[i]);
        session_assign(&session, &writes[i]);
        assert_int_equal(writes[i].sequence, i + 1);
        assert_int_equal(writes[i].session, 77);
    }
    session_release(&writes[1]);
    assert_int_equal(session_acknowledged(&session), 0);
    session_release(&writes[0]);
    assert_int_equal(session_acknowledged(&session), 2);
    session_release(&writes[2]);
    assert_int_equal(session_acknowledged(&session), 3);
}

static void a_session_gives_no_more_places_than_servers_keep_replies(void **state)
{
    (void)state;
    static struct session_write writes[SESSION_WINDOW_MAX];
    struct session session;
    session_init(&session);
    session_opening(&session);
    session_opened(&session, 1);
    for (size_t i = 0; i < SESSION_WINDOW_MAX; i++) {
        assert_true(session_has_room(&session));
        session_write_init(&writes[i]);
        session_assign(&session, &writes[i]);
    }
    assert_false(session_has_room(&session));
    session_release(&writes[1]); /* the oldest still holds the window */
    assert_false(session_has_room(&session));
    session_release(&writes[0]);
    assert_true(session_has_room(&session));
}

static void a_lost_session_keeps_its_writes_numbers_and_holds_nothing_back(void **state)
{
    (void)state;
    struct session session;
    struct session_write old;
    struct session_write new;
    session_init(&session);
    session_opening(&session);
    session_opened(&session, 1);
    session_write_init(&old);
    session_assign(&session, &old);
    session_lost(&session, 5); /* another one */
    assert_int_equal(session.state, SESSION_OPEN);
    session_lost(&session, 1);
    assert_int_equal(session.state, SESSION_NONE);
    assert_int_equal(old.sequence, 1);
    session_opening(&session);
    session_opened(&session, 2);
    session_write_init(&new);
    session_assign(&session, &new);
    session_release(&new);
    assert_int_equal(session_acknowledged(&session), 1);
    session_release(&old);
    assert_int_equal(old.sequence, 0);
}

/* ---- pending ---- */

static struct pending *take(struct pool *pool)
{
    struct command command = {.operation = OPERATION_GET};
    return pool_take(pool, &command, KVAPP_READS_DEFAULT, NULL, NULL);
}

static void requests_come_back_to_their_place(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct pool pool;
    pool_init(&pool);
    struct pending *all[COUNT];
    struct list sent;
    list_init(&sent);
    for (size_t i = 0; i < COUNT; i++) {
        all[i] = take(&pool);
    }
    for (size_t i = 0; i < COUNT - 1; i++) {
        assert_ptr_equal(pool_next(&pool, LANE_LEADER), all[i]);
        pool_send(&pool, all[i], NULL, &sent);
    }
    /* 7 is prime to 199, so this visits each of them, in disorder. */
    for (size_t i = 0; i < COUNT - 1; i++) {
        pool_return(&pool, all[i * 7 % (COUNT - 1)]);
    }
    assert_true(list_empty(&sent));
    for (size_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(pool_next(&pool, LANE_LEADER), all[i]);
        assert_ptr_equal(pool_oldest(&pool), all[i]);
        pool_give(&pool, all[i]);
    }
    assert_null(pool_next(&pool, LANE_LEADER));
    pool_done(&pool);
}

static void reads_that_any_server_answers_do_not_wait_behind_others(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool);
    struct command command = {.operation = OPERATION_GET};
    struct pending *pending[KVAPP_READS_COUNT];
    for (int reads = 0; reads < KVAPP_READS_COUNT; reads++) {
        pending[reads] = pool_take(&pool, &command, (enum kvapp_reads)reads, NULL, NULL);
    }
    assert_ptr_equal(pool_next(&pool, LANE_LEADER), pending[KVAPP_READS_DEFAULT]);
    assert_ptr_equal(pool_next(&pool, LANE_ANY), pending[KVAPP_READS_LINEARIZABLE]);
    pool_give(&pool, pending[KVAPP_READS_LINEARIZABLE]);
    assert_ptr_equal(pool_next(&pool, LANE_ANY), pending[KVAPP_READS_STALE]);
    struct list sent;
    list_init(&sent);
    pool_send(&pool, pending[KVAPP_READS_STALE], NULL, &sent);
    assert_null(pool_next(&pool, LANE_ANY));
    pool_return(&pool, pending[KVAPP_READS_STALE]);
    assert_ptr_equal(pool_next(&pool, LANE_ANY), pending[KVAPP_READS_STALE]);
    pool_give(&pool, pending[KVAPP_READS_STALE]);
    pool_give(&pool, pending[KVAPP_READS_DEFAULT]);
    pool_give(&pool, pending[KVAPP_READS_LEADER]);
    pool_give(&pool, pending[KVAPP_READS_LEASE]);
    pool_done(&pool);
}

static void an_answer_finds_only_the_sending_it_belongs_to(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool);
    struct list sent;
    list_init(&sent);
    struct pending *pending = take(&pool);
    pool_send(&pool, pending, NULL, &sent);
    uint64_t first = pending->request_id;
    assert_ptr_equal(pool_find(&pool, first), pending);
    pool_return(&pool, pending);
    assert_null(pool_find(&pool, first));
    pool_send(&pool, pending, NULL, &sent);
    assert_int_not_equal(pending->request_id, first);
    assert_null(pool_find(&pool, first));
    assert_ptr_equal(pool_find(&pool, pending->request_id), pending);
    pool_give(&pool, pending);
    assert_null(pool_find(&pool, 0));
    pool_done(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_that_fail_are_tried_in_turn_at_once),
        cmocka_unit_test(rounds_of_refusals_end_in_giving_up),
        cmocka_unit_test(an_answer_of_anybody_is_no_refusal),
        cmocka_unit_test(pauses_double_up_to_a_second_and_start_anew_with_an_answer),
        cmocka_unit_test(a_redirect_goes_where_it_points_until_it_goes_in_circles),
        cmocka_unit_test(a_member_that_names_who_is_gone_keeps_nobody_from_being_asked),
        cmocka_unit_test(a_busy_leader_stays_the_target),
        cmocka_unit_test(what_is_acknowledged_waits_for_the_oldest),
        cmocka_unit_test(a_session_gives_no_more_places_than_servers_keep_replies),
        cmocka_unit_test(a_lost_session_keeps_its_writes_numbers_and_holds_nothing_back),
        cmocka_unit_test(requests_come_back_to_their_place),
        cmocka_unit_test(reads_that_any_server_answers_do_not_wait_behind_others),
        cmocka_unit_test(an_answer_finds_only_the_sending_it_belongs_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
