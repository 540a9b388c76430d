/*
 * What is refused, one by one: each configuration, recovered log and message here differs in a
 * single thing from one that is taken. Also what a look into a core shows in each role.
 */
#include "core.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "kvapp/raft.h"
#include "raft/progress.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const struct raft_membership three = {
    .count = 3,
    .members = {{.id = 1, .voter = true}, {.id = 2, .voter = true}, {.id = 3, .voter = true}},
};

static struct raft_config good_config(void)
{
    struct raft_config config = core_config(3);
    config.uncommitted_max = 4;
    return config;
}

/* A core with entries 1:1 2:1 3:2, in term 2. */
static struct raft *good_core(void)
{
    struct raft_config config = good_config();
    const struct raft_run runs[] = {{.term = 1, .count = 2}, {.term = 2, .count = 1}};
    struct raft_restored restored = {.first_index = 1, .term = 2, .runs = runs, .run_count = 2};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &restored, 0, &raft), 0);
    return raft;
}

static int receive(struct raft *raft, const struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_RECEIVED, .now_ms = 500, .message = message};
    return core_step(raft, &event, NULL);
}

/* ---- configurations ---- */

static void each_number_of_a_configuration_is_checked(void **state)
{
    (void)state;
    struct raft_config bad[14];
    for (size_t i = 0; i < 14; i++) {
        bad[i] = good_config();
    }
    bad[0].id = 0;
    bad[1].membership.joint = true;
    bad[2].membership.members[0].voter_old = true;
    bad[3].membership.count = RAFT_MEMBERS_MAX + 1;
    bad[4].membership.members[1].id = 0;
    bad[5].membership.members[1].id = 3;
    bad[6].heartbeat_ms = 0;
    bad[7].heartbeat_ms = 150;
    bad[8].election_min_ms = 300;
    bad[9].disk_stall_ms = 0;
    bad[10].window_appends = 0;
    bad[11].window_appends = 257;
    bad[12].append_entries_max = 0;
    bad[13].uncommitted_max = 0;
    struct raft_restored empty = {.first_index = 1};
    for (size_t i = 0; i < 14; i++) {
        struct raft *raft = NULL;
        assert_int_equal(raft_new(&bad[i], &empty, 0, &raft), KV_ERR_INVALID);
        assert_null(raft);
    }
    struct raft_config good = good_config();
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&good, &empty, 0, &raft), 0);
    raft_free(raft);
}

static void each_contradiction_of_a_recovered_log_is_found(void **state)
{
    (void)state;
    struct raft_config config = good_config();
    const struct raft_run logs[][2] = {
        {{.term = 1, .count = 0}, {.term = 2, .count = 1}},
        {{.term = 0, .count = 1}, {.term = 2, .count = 1}},
        {{.term = 3, .count = 1}, {.term = 2, .count = 1}},
        {{.term = 1, .count = UINT64_MAX / 2 + 1}, {.term = 2, .count = 1}},
        {{.term = 1, .count = UINT64_MAX / 2}, {.term = 2, .count = 1}},
    };
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        struct raft_restored restored = {
            .first_index = 1, .term = 3, .runs = logs[i], .run_count = 2};
        struct raft *raft = NULL;
        assert_int_equal(raft_new(&config, &restored, 0, &raft), KV_ERR_INVALID);
        assert_null(raft);
    }
    struct raft_restored voted = {.first_index = 1, .voted_for = 2};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &voted, 0, &raft), KV_ERR_INVALID);
}

/* ---- messages ---- */

static struct raft_message good_append(void)
{
    return (struct raft_message){
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
        .append_request = {.prev_index = 3,
                           .prev_term = 2,
                           .commit_index = 1,
                           .entry_count = 3,
                           .run_count = 2,
                           .runs = {{.term = 2, .count = 1}, {.term = 3, .count = 2}}},
    };
}

static void each_contradiction_of_an_append_is_refused(void **state)
{
    (void)state;
    struct raft_message bad[17];
    for (size_t i = 0; i < 17; i++) {
        bad[i] = good_append();
    }
    bad[0].from = 0;
    bad[1].from = 1;
    bad[2].to = 2;
    bad[3].term = 0;
    bad[4].type = (enum raft_message_type)99;
    bad[5].append_request.prev_index = 0; /* but not its term */
    bad[6].append_request.prev_term = 0;  /* but not its index */
    bad[7].append_request.prev_term = 4;  /* of the future */
    bad[8].append_request.run_count = RAFT_RUNS_MAX + 1;
    bad[9].append_request.prev_index = UINT64_MAX / 4 + 1;
    bad[10].append_request.entry_count = UINT64_MAX / 4 + 1;
    bad[11].append_request.entry_count = 4;  /* more than the runs */
    bad[12].append_request.entry_count = 2;  /* fewer */
    bad[13].append_request.runs[0].term = 1; /* falls */
    bad[14].append_request.runs[1].term = 2; /* does not rise */
    bad[15].append_request.runs[1].term = 4; /* of the future */
    bad[16].append_request.runs[1].count = 0;
    struct raft *raft = good_core();
    for (size_t i = 0; i < 17; i++) {
        assert_int_equal(receive(raft, &bad[i]), KV_ERR_INVALID);
        assert_int_equal(raft_last_index(raft), 3);
        assert_int_equal(raft_term(raft), 2);
    }
    struct raft_message no_terms = good_append();
    no_terms.append_request =
        (struct raft_append_request){.entry_count = 1, .run_count = 1, .runs = {{.count = 1}}};
    assert_int_equal(receive(raft, &no_terms), KV_ERR_INVALID);
    struct raft_message good = good_append();
    assert_int_equal(receive(raft, &good), 0);
    assert_int_equal(raft_last_index(raft), 6);
    raft_free(raft);
}

static void a_candidate_whose_log_is_of_its_own_term_is_refused(void **state)
{
    (void)state;
    struct raft *raft = good_core();
    struct raft_message request = {
        .type = RAFT_VOTE_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
        .vote_request = {.last_index = 4, .last_term = 3},
    };
    assert_int_equal(receive(raft, &request), KV_ERR_INVALID);
    request.vote_request.last_term = 2;
    assert_int_equal(receive(raft, &request), 0);
    assert_int_equal(raft_voted_for(raft), 2);
    raft_free(raft);
}

/* Server 1 leads term 3, of which only its no-op 4:3 exists, and has asked for one read. */
static struct raft *good_leader(void)
{
    struct raft *raft = good_core();
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft_event event = {.type = RAFT_TICKED, .now_ms = 400};
    assert_int_equal(core_step(raft, &event, effects), 0);
    struct raft_message vote = {
        .type = RAFT_VOTE_RESPONSE,
        .from = 2,
        .to = 1,
        .term = 3,
        .vote_response = {.pre = true, .granted = true},
    };
    event = (struct raft_event){.type = RAFT_RECEIVED, .now_ms = 410, .message = &vote};
    assert_int_equal(core_step(raft, &event, effects), 0);
    event =
        (struct raft_event){.type = RAFT_STORED, .now_ms = 420, .ticket = effects->store.ticket};
    assert_int_equal(core_step(raft, &event, effects), 0);
    vote.vote_response.pre = false;
    event = (struct raft_event){.type = RAFT_RECEIVED, .now_ms = 430, .message = &vote};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_LEADER);
    free(effects);
    return raft;
}

static void each_contradiction_of_an_answer_is_refused(void **state)
{
    (void)state;
    const struct raft_message good = {
        .type = RAFT_APPEND_RESPONSE,
        .from = 2,
        .to = 1,
        .term = 3,
        .append_response = {.prev_index = 3, .hint_index = 2, .hint_term = 1},
    };
    struct raft_message bad[9];
    for (size_t i = 0; i < 9; i++) {
        bad[i] = good;
    }
    bad[0].append_response.prev_index = 5;
    bad[1].append_response.read_round = 1; /* of which none was begun */
    bad[2].append_response.success = true;
    bad[2].append_response.match_index = 5;
    bad[3].append_response.hint_index = 0;
    bad[4].append_response.hint_term = 0;
    bad[5].append_response.hint_term = 4;
    /* An answer that only says that a term was over says nothing else. */
    bad[6].append_response.prev_index = 0;
    bad[7].append_response = (struct raft_append_response){.hint_term = 1};
    bad[8].append_response = (struct raft_append_response){.hint_index = 1};
    struct raft *raft = good_leader();
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(receive(raft, &bad[i]), KV_ERR_INVALID);
    }
    struct raft_message over = good;
    over.append_response = (struct raft_append_response){.success = false};
    assert_int_equal(receive(raft, &over), 0);
    assert_int_equal(receive(raft, &good), 0);
    raft_free(raft);
}

static void a_leader_refuses_the_appends_of_another_in_its_term(void **state)
{
    (void)state;
    struct raft *raft = good_leader();
    struct raft_message append = good_append();
    assert_int_equal(receive(raft, &append), KV_ERR_INVALID);
    append.term = 4;
    assert_int_equal(receive(raft, &append), 0);
    assert_int_equal(raft_leader(raft), 2);
    raft_free(raft);
}

/* ---- events ---- */

static void a_leader_has_no_use_for_a_snapshot(void **state)
{
    (void)state;
    struct raft *raft = good_leader();
    struct raft_event event = {.type = RAFT_INSTALLED, .now_ms = 430, .installed = {3, 2, &three}};
    assert_int_equal(core_step(raft, &event, NULL), 0);
    assert_int_equal(raft_commit_index(raft), 0);
    event.installed.index = 9; /* it would have to have that */
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    /* The end of a sending that nobody asked for changes nothing, either. */
    event = (struct raft_event){
        .type = RAFT_SNAPSHOT_ENDED, .now_ms = 430, .snapshot_ended = {.id = 2, .index = 3}};
    assert_int_equal(core_step(raft, &event, NULL), 0);
    event.snapshot_ended.id = 9;
    assert_int_equal(core_step(raft, &event, NULL), 0);
    raft_free(raft);
}

static void proposals_are_counted_against_what_is_not_committed(void **state)
{
    (void)state;
    struct raft *raft = good_leader();
    struct raft_event event = {.type = RAFT_PROPOSED, .now_ms = 430, .propose_count = 0};
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    /* Entries 1 to 4 are not committed as far as this leader knows. */
    assert_int_equal(raft_room(raft), 0);
    event.propose_count = 1;
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_BUSY);
    struct raft_message stored = {
        .type = RAFT_APPEND_RESPONSE,
        .from = 2,
        .to = 1,
        .term = 3,
        .append_response = {.success = true, .prev_index = 3, .match_index = 4},
    };
    struct raft_event event_stored = {.type = RAFT_STORED, .now_ms = 440, .ticket = 2};
    assert_int_equal(core_step(raft, &event_stored, NULL), 0);
    assert_int_equal(receive(raft, &stored), 0);
    assert_int_equal(raft_commit_index(raft), 4);
    assert_int_equal(raft_room(raft), 4);
    raft_free(raft);
}

static void an_unknown_event_is_refused(void **state)
{
    (void)state;
    struct raft *raft = good_core();
    struct raft_event event = {.type = (enum raft_event_type)99};
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    raft_free(raft);
}

/* ---- looking in ---- */

static void only_a_leader_knows_what_others_have_stored(void **state)
{
    (void)state;
    struct raft *raft = good_core();
    assert_int_equal(raft_match_index(raft, 1), 0);
    assert_int_equal(raft_match_index(raft, 2), 0);
    assert_int_equal(raft_room(raft), 0);
    raft_free(raft);
    raft = good_leader();
    assert_int_equal(raft_match_index(raft, 1), 3);
    assert_int_equal(raft_match_index(raft, 3), 0);
    assert_int_equal(raft_match_index(raft, 9), 0);
    struct raft_message stored = {
        .type = RAFT_APPEND_RESPONSE,
        .from = 3,
        .to = 1,
        .term = 3,
        .append_response = {.success = true, .prev_index = 3, .match_index = 4},
    };
    assert_int_equal(receive(raft, &stored), 0);
    assert_int_equal(raft_match_index(raft, 3), 4);
    raft_free(raft);
}

static void roles_and_states_have_names(void **state)
{
    (void)state;
    assert_string_equal(raft_role_name(RAFT_FOLLOWER), "follower");
    assert_string_equal(raft_role_name(RAFT_PRE_CANDIDATE), "pre-candidate");
    assert_string_equal(raft_role_name(RAFT_CANDIDATE), "candidate");
    assert_string_equal(raft_role_name(RAFT_LEADER), "leader");
    assert_string_equal(raft_role_name((enum raft_role)9), "unknown");
    assert_string_equal(progress_state_name(PROGRESS_PROBE), "probe");
    assert_string_equal(progress_state_name(PROGRESS_STREAM), "stream");
    assert_string_equal(progress_state_name(PROGRESS_SNAPSHOT), "snapshot");
    assert_string_equal(progress_state_name((enum progress_state)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_number_of_a_configuration_is_checked),
        cmocka_unit_test(each_contradiction_of_a_recovered_log_is_found),
        cmocka_unit_test(each_contradiction_of_an_append_is_refused),
        cmocka_unit_test(a_candidate_whose_log_is_of_its_own_term_is_refused),
        cmocka_unit_test(each_contradiction_of_an_answer_is_refused),
        cmocka_unit_test(a_leader_refuses_the_appends_of_another_in_its_term),
        cmocka_unit_test(a_leader_has_no_use_for_a_snapshot),
        cmocka_unit_test(proposals_are_counted_against_what_is_not_committed),
        cmocka_unit_test(an_unknown_event_is_refused),
        cmocka_unit_test(only_a_leader_knows_what_others_have_stored),
        cmocka_unit_test(roles_and_states_have_names),
    };
    return cmocka_run_group_tests_name("what raft refuses", tests, NULL, NULL);
}
