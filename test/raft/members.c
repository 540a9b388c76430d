/*
 * Memberships: which can be one, what leads from one to the next, and which of those that are
 * proposed, received and recovered are refused. Also who is listened to without being a member.
 */
#include "core.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "kvapp/raft.h"
#include "raft/membership.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const struct raft_membership three = {
    .count = 3,
    .members = {{.id = 1, .voter = true}, {.id = 2, .voter = true}, {.id = 3, .voter = true}},
};
static const struct raft_membership three_and_four = {
    .count = 4,
    .members = {{.id = 1, .voter = true, .voter_old = true},
                {.id = 2, .voter = true, .voter_old = true},
                {.id = 3, .voter_old = true},
                {.id = 4, .voter = true}},
    .joint = true,
};
static const struct raft_membership four = {
    .count = 3,
    .members = {{.id = 1, .voter = true}, {.id = 2, .voter = true}, {.id = 4, .voter = true}},
};

static struct raft_config config_of(uint64_t id)
{
    struct raft_config config = core_config(3);
    config.id = id;
    config.uncommitted_max = 8;
    return config;
}

static int new_core(uint64_t id, const struct raft_logged_membership *logged, size_t count,
                    struct raft **ret_raft)
{
    struct raft_config config = config_of(id);
    if (membership_find(&config.membership, id) == NULL) {
        config.membership.count = 0;
    }
    const struct raft_run runs[] = {{.term = 1, .count = 4}};
    const struct raft_restored restored = {
        .term = 1,
        .first_index = 1,
        .runs = runs,
        .run_count = 1,
        .memberships = logged,
        .membership_count = count,
    };
    return raft_new(&config, &restored, 0, ret_raft);
}

static int step(struct raft *raft, struct raft_event event, struct raft_effects *effects)
{
    return core_step(raft, &event, effects);
}

static int receive(struct raft *raft, const struct raft_message *message,
                   const struct raft_logged_membership *logged, size_t count)
{
    struct raft_event event = {
        .type = RAFT_RECEIVED,
        .now_ms = 500,
        .message = message,
        .memberships = logged,
        .membership_count = count,
    };
    return step(raft, event, NULL);
}

/* ---- memberships as such ---- */

static void each_contradiction_of_a_membership_is_found(void **state)
{
    (void)state;
    struct raft_membership bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i] = three_and_four;
    }
    bad[0].count = 0;
    bad[1].count = RAFT_MEMBERS_MAX + 1;
    bad[2].members[0].id = 0;
    bad[3].members[1].id = 1;
    bad[4].members[3].id = 2;
    bad[5].joint = false;
    bad[6].members[3].keep_learner = true; /* but votes */
    bad[7] = three;
    bad[7].joint = true; /* without an old voter */
    for (size_t i = 0; i < 8; i++) {
        assert_false(membership_is_valid(&bad[i]));
    }
    struct raft_membership nobody_votes = {.count = 1, .members = {{.id = 1}}};
    assert_false(membership_is_valid(&nobody_votes));
    assert_true(membership_is_valid(&three_and_four));
    assert_true(membership_is_valid(&three));
}

static void a_change_of_voters_is_joint_and_one_of_learners_is_not(void **state)
{
    (void)state;
    struct raft_membership first;
    struct raft_membership left;
    assert_true(membership_enter(&three, &four, &first));
    assert_true(membership_equal(&first, &three_and_four));
    membership_leave(&first, &left);
    assert_true(membership_equal(&left, &four));

    struct raft_membership learner = three;
    learner.members[learner.count++] = (struct raft_member){.id = 9};
    assert_true(membership_enter(&three, &learner, &first));
    assert_true(membership_equal(&first, &learner));

    /* A voter that becomes a learner is one when the joint membership is left. */
    struct raft_membership demoted = three;
    demoted.members[2] = (struct raft_member){.id = 3, .keep_learner = true};
    assert_true(membership_enter(&three, &demoted, &first));
    assert_true(first.joint && first.members[2].voter_old);
    membership_leave(&first, &left);
    assert_true(membership_equal(&left, &demoted));
}

static void one_that_leaves_is_known_until_it_has_left(void **state)
{
    (void)state;
    struct raft_membership present = three;
    struct raft_membership wanted = three;
    struct raft_membership first;
    present.members[2].incarnation = 77;
    memcpy(present.members[2].address, "h:3", 4);
    wanted.count = 2;
    assert_true(membership_enter(&present, &wanted, &first));
    assert_true(first.members[2].voter_old && !first.members[2].voter);
    assert_int_equal(first.members[2].incarnation, 77);
    assert_string_equal(first.members[2].address, "h:3");
}

static void only_the_next_of_a_change_may_follow(void **state)
{
    (void)state;
    struct raft_membership learner = three;
    learner.members[learner.count++] = (struct raft_member){.id = 9};
    assert_true(membership_may_follow(&three, &learner));
    assert_true(membership_may_follow(&three, &three_and_four));
    assert_true(membership_may_follow(&three_and_four, &four));
    assert_false(membership_may_follow(&three, &four));
    assert_false(membership_may_follow(&three_and_four, &three));
    assert_false(membership_may_follow(&three_and_four, &three_and_four));
    assert_false(membership_may_follow(&four, &three_and_four));
    struct raft_membership more = three_and_four;
    more.members[3].voter_old = true; /* 4 did not vote before */
    assert_false(membership_may_follow(&three, &more));
}

/* ---- recovered and received ---- */

static void each_contradiction_of_recovered_memberships_is_found(void **state)
{
    (void)state;
    const struct raft_logged_membership bad[][2] = {
        {{.index = 0, .membership = three_and_four}, {.index = 3, .membership = four}},
        {{.index = 3, .membership = three_and_four}, {.index = 3, .membership = four}},
        {{.index = 2, .membership = three_and_four}, {.index = 5, .membership = four}},
        {{.index = 2, .membership = three_and_four}, {.index = 3, .membership = three}},
        {{.index = 2, .membership = three_and_four}, {.index = 3}},
    };
    struct raft *raft = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(new_core(1, bad[i], 2, &raft), KV_ERR_INVALID);
        assert_null(raft);
    }
    const struct raft_logged_membership good[] = {{.index = 2, .membership = three_and_four},
                                                  {.index = 4, .membership = four}};
    assert_int_equal(new_core(1, good, 2, &raft), 0);
    assert_int_equal(raft_membership(raft)->index, 4);
    assert_true(membership_equal(raft_membership_at(raft, 1), &three));
    assert_true(membership_equal(raft_membership_at(raft, 3), &three_and_four));
    assert_true(membership_equal(raft_membership_at(raft, 4), &four));
    raft_free(raft);
}

static void each_contradiction_of_received_memberships_is_refused(void **state)
{
    (void)state;
    const struct raft_message append = {
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 1,
        .term = 1,
        .append_request = {.prev_index = 4,
                           .prev_term = 1,
                           .entry_count = 3,
                           .run_count = 1,
                           .runs = {{.term = 1, .count = 3}}},
    };
    const struct raft_logged_membership before = {.index = 2, .membership = three_and_four};
    struct raft *raft = NULL;
    assert_int_equal(new_core(1, &before, 1, &raft), 0);
    const struct raft_logged_membership bad[] = {
        {.index = 4, .membership = four},            /* before the entries */
        {.index = 8, .membership = four},            /* behind them */
        {.index = 5, .membership = three},           /* does not follow 2 */
        {.index = 5, .membership = {.joint = true}}, /* is none */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(receive(raft, &append, &bad[i], 1), KV_ERR_INVALID);
        assert_int_equal(raft_last_index(raft), 4);
    }
    const struct raft_logged_membership good = {.index = 6, .membership = four};
    struct raft_message vote = {.type = RAFT_VOTE_RESPONSE, .from = 2, .to = 1, .term = 1};
    assert_int_equal(receive(raft, &vote, &good, 1), KV_ERR_INVALID);
    assert_int_equal(receive(raft, &append, &good, 1), 0);
    assert_int_equal(raft_membership(raft)->index, 6);
    raft_free(raft);
}

static void a_server_that_joins_is_not_removed_by_what_was_before_it(void **state)
{
    (void)state;
    struct raft *raft = NULL;
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    const struct raft_logged_membership before = {.index = 2, .membership = three_and_four};
    assert_int_equal(new_core(5, &before, 1, &raft), 0);
    struct raft_message append = {
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 5,
        .term = 1,
        .append_request = {.prev_index = 4,
                           .prev_term = 1,
                           .commit_index = 5,
                           .entry_count = 1,
                           .run_count = 1,
                           .runs = {{.term = 1, .count = 1}}},
    };
    const struct raft_logged_membership next = {.index = 5, .membership = four};
    const struct raft_event event = {.type = RAFT_RECEIVED,
                                     .now_ms = 500,
                                     .message = &append,
                                     .memberships = &next,
                                     .membership_count = 1};
    assert_int_equal(step(raft, event, effects), 0);
    assert_true(effects->membership_changed);
    assert_false(effects->removed);
    raft_free(raft);
    /* Server 3 was a member, and it is. */
    assert_int_equal(new_core(3, &before, 1, &raft), 0);
    append.to = 3;
    assert_int_equal(step(raft, event, effects), 0);
    assert_true(effects->membership_changed);
    assert_true(effects->removed);
    raft_free(raft);
    /* But not while the leader has committed more: it may have been added again. */
    assert_int_equal(new_core(3, &before, 1, &raft), 0);
    append.append_request.commit_index = 6;
    assert_int_equal(step(raft, event, effects), 0);
    assert_int_equal(raft_commit_index(raft), 5);
    assert_false(effects->removed);
    raft_free(raft);
    free(effects);
}

/* ---- strangers ---- */

static void a_stranger_is_voted_for_and_followed_and_its_answers_are_ignored(void **state)
{
    (void)state;
    struct raft *raft = NULL;
    assert_int_equal(new_core(1, NULL, 0, &raft), 0);
    struct raft_message message = {
        .type = RAFT_VOTE_RESPONSE,
        .from = 9,
        .to = 1,
        .term = 7,
    };
    assert_int_equal(receive(raft, &message, NULL, 0), 0);
    message.type = RAFT_APPEND_RESPONSE;
    message.append_response = (struct raft_append_response){.success = false};
    assert_int_equal(receive(raft, &message, NULL, 0), 0);
    assert_int_equal(raft_term(raft), 1);
    message.type = RAFT_VOTE_REQUEST;
    message.vote_request = (struct raft_vote_request){.last_index = 4, .last_term = 1};
    assert_int_equal(receive(raft, &message, NULL, 0), 0);
    assert_int_equal(raft_voted_for(raft), 9);
    message.type = RAFT_APPEND_REQUEST;
    message.append_request = (struct raft_append_request){.prev_index = 4, .prev_term = 1};
    assert_int_equal(receive(raft, &message, NULL, 0), 0);
    assert_int_equal(raft_leader(raft), 9);
    raft_free(raft);
}

static void only_the_leader_that_is_followed_can_ask_to_campaign(void **state)
{
    (void)state;
    struct raft *raft = NULL;
    assert_int_equal(new_core(1, NULL, 0, &raft), 0);
    struct raft_message heartbeat = {
        .type = RAFT_APPEND_REQUEST, .from = 2, .to = 1, .term = 1, .append_request = {0}};
    assert_int_equal(receive(raft, &heartbeat, NULL, 0), 0);
    struct raft_message now = {.type = RAFT_TIMEOUT_NOW, .from = 3, .to = 1, .term = 1};
    assert_int_equal(receive(raft, &now, NULL, 0), 0);
    assert_int_equal(raft_role(raft), RAFT_FOLLOWER);
    now.from = 2;
    now.term = 2; /* it would know that this server is not in its term */
    assert_int_equal(receive(raft, &now, NULL, 0), KV_ERR_INVALID);
    now.term = 1;
    assert_int_equal(receive(raft, &now, NULL, 0), 0);
    assert_int_equal(raft_role(raft), RAFT_CANDIDATE);
    assert_int_equal(raft_term(raft), 2);
    struct raft_message request = {
        .type = RAFT_VOTE_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
        .vote_request = {.pre = true, .transfer = true, .last_index = 4, .last_term = 1},
    };
    assert_int_equal(receive(raft, &request, NULL, 0), KV_ERR_INVALID);
    raft_free(raft);
}

/* ---- proposals ---- */

static int propose(struct raft *raft, const struct raft_membership *wanted)
{
    struct raft_event event = {
        .type = RAFT_MEMBERSHIP_PROPOSED, .now_ms = 600, .membership = wanted};
    return step(raft, event, NULL);
}

/* Server 1 alone leads term 2; its no-op, entry 5, is being stored. */
static struct raft *leader_of_one(uint64_t *ret_ticket)
{
    struct raft_config config = config_of(1);
    config.membership.count = 1;
    const struct raft_run runs[] = {{.term = 1, .count = 4}};
    const struct raft_restored restored = {
        .term = 1, .first_index = 1, .runs = runs, .run_count = 1};
    struct raft *raft = NULL;
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    assert_int_equal(raft_new(&config, &restored, 0, &raft), 0);
    assert_int_equal(step(raft, (struct raft_event){.type = RAFT_TICKED, .now_ms = 500}, effects),
                     0);
    struct raft_event stored = {
        .type = RAFT_STORED, .now_ms = 500, .ticket = effects->store.ticket};
    assert_int_equal(step(raft, stored, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_LEADER);
    *ret_ticket = effects->store.ticket;
    free(effects);
    return raft;
}

static void each_membership_that_cannot_be_is_refused(void **state)
{
    (void)state;
    uint64_t ticket = 0;
    struct raft *raft = leader_of_one(&ticket);
    assert_int_equal(propose(raft, &three), KV_ERR_BUSY); /* the no-op is not committed */
    struct raft_event stored = {.type = RAFT_STORED, .now_ms = 600, .ticket = ticket};
    assert_int_equal(step(raft, stored, NULL), 0);
    struct raft_membership bad[9];
    for (size_t i = 0; i < 9; i++) {
        bad[i] = three;
    }
    bad[0].count = 0;
    bad[1].count = RAFT_MEMBERS_MAX + 1;
    bad[2].members[1].id = 0;
    bad[3].members[1].id = 1;
    bad[4].joint = true;
    bad[5] = three_and_four;
    bad[6].count = 1;                /* as it is */
    bad[7].members[0].voter = false; /* a voter cannot become a learner that is promoted */
    bad[8].count = RAFT_MEMBERS_MAX;
    for (uint64_t i = 0; i < RAFT_MEMBERS_MAX; i++) { /* and 1, which votes till then */
        bad[8].members[i] = (struct raft_member){.id = i + 2, .voter = true};
    }
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(propose(raft, &bad[i]), KV_ERR_INVALID);
        assert_int_equal(raft_last_index(raft), 5);
    }
    struct raft_membership any_order = {.count = 2,
                                        .members = {{.id = 2}, {.id = 1, .voter = true}}};
    assert_int_equal(propose(raft, &any_order), 0);
    assert_int_equal(raft_membership(raft)->index, 6);
    assert_int_equal(raft_membership(raft)->membership.members[0].id, 1);
    assert_int_equal(propose(raft, &three), KV_ERR_BUSY); /* that one is not committed */
    raft_free(raft);
    assert_int_equal(new_core(1, NULL, 0, &raft), 0);
    assert_int_equal(propose(raft, &four), KV_ERR_NOT_LEADER);
    struct raft_event transfer = {.type = RAFT_TRANSFER_ASKED, .now_ms = 600};
    assert_int_equal(step(raft, transfer, NULL), KV_ERR_NOT_LEADER);
    struct raft_event step_down = {.type = RAFT_STEP_DOWN_ASKED, .now_ms = 600};
    assert_int_equal(step(raft, step_down, NULL), KV_ERR_NOT_LEADER);
    raft_free(raft);
}

static void a_cluster_of_one_can_hand_over_to_nobody(void **state)
{
    (void)state;
    uint64_t ticket = 0;
    struct raft *raft = leader_of_one(&ticket);
    struct raft_event transfer = {.type = RAFT_TRANSFER_ASKED, .now_ms = 600};
    assert_int_equal(step(raft, transfer, NULL), KV_ERR_INVALID);
    assert_int_equal(raft_transfer_target(raft), 0);
    raft_free(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_contradiction_of_a_membership_is_found),
        cmocka_unit_test(a_change_of_voters_is_joint_and_one_of_learners_is_not),
        cmocka_unit_test(one_that_leaves_is_known_until_it_has_left),
        cmocka_unit_test(only_the_next_of_a_change_may_follow),
        cmocka_unit_test(each_contradiction_of_recovered_memberships_is_found),
        cmocka_unit_test(each_contradiction_of_received_memberships_is_refused),
        cmocka_unit_test(a_server_that_joins_is_not_removed_by_what_was_before_it),
        cmocka_unit_test(a_stranger_is_voted_for_and_followed_and_its_answers_are_ignored),
        cmocka_unit_test(only_the_leader_that_is_followed_can_ask_to_campaign),
        cmocka_unit_test(each_membership_that_cannot_be_is_refused),
        cmocka_unit_test(a_cluster_of_one_can_hand_over_to_nobody),
    };
    return cmocka_run_group_tests_name("memberships of raft", tests, NULL, NULL);
}
