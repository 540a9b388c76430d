/*
 * A core whose log begins after a snapshot: what it refuses, one by one as in refusals.c, and what
 * becomes of an installed snapshot in cases that scripts do not reach.
 */
#include "core.h"

#include "base/memory.h"
#include "kvapp/err.h"
#include "kvapp/raft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>

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

static int receive(struct raft *raft, const struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_RECEIVED, .now_ms = 500, .message = message};
    return core_step(raft, &event, NULL);
}

/* Of a log 1:1 2:1 3:2 4:2 5:3 the first two entries are gone, and a snapshot ends at 3. */
static struct raft_restored good_restored(void)
{
    static const struct raft_run runs[] = {{.term = 2, .count = 2}, {.term = 3, .count = 1}};
    return (struct raft_restored){
        .term = 3,
        .snapshot_index = 3,
        .snapshot_term = 2,
        .first_index = 3,
        .previous_term = 1,
        .runs = runs,
        .run_count = 2,
    };
}

static struct raft *compacted_core(void)
{
    struct raft_config config = good_config();
    struct raft_restored restored = good_restored();
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &restored, 0, &raft), 0);
    assert_int_equal(raft_commit_index(raft), 3);
    assert_int_equal(raft_base_index(raft), 2);
    assert_int_equal(raft_last_index(raft), 5);
    assert_int_equal(raft_durable_index(raft), 5);
    return raft;
}

static void each_gap_between_snapshot_and_log_is_found(void **state)
{
    (void)state;
    struct raft_restored bad[9];
    for (size_t i = 0; i < 9; i++) {
        bad[i] = good_restored();
    }
    bad[0].first_index = 0;
    bad[1].first_index = 5;    /* 4 is in neither */
    bad[2].previous_term = 0;  /* but there is an entry 2 */
    bad[3].first_index = 1;    /* but the entry before has a term */
    bad[4].previous_term = 3;  /* falls */
    bad[5].snapshot_term = 1;  /* the log holds another entry there */
    bad[6].snapshot_index = 6; /* the log ends before */
    bad[7].snapshot_index = UINT64_MAX;
    bad[7].first_index = UINT64_MAX;
    bad[8].snapshot_index = 0; /* but the log's beginning is gone */
    struct raft_config config = good_config();
    for (size_t i = 0; i < 9; i++) {
        struct raft *raft = NULL;
        assert_int_equal(raft_new(&config, &bad[i], 0, &raft), KV_ERR_INVALID);
        assert_null(raft);
    }
    raft_free(compacted_core());
    struct raft_restored only = {
        .snapshot_index = 4, .snapshot_term = 2, .first_index = 5, .previous_term = 2};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &only, 0, &raft), 0);
    assert_int_equal(raft_term(raft), 2); /* of the snapshot's last entry */
    assert_int_equal(raft_last_index(raft), 4);
    assert_int_equal(raft_term_at(raft, 4), 2);
    assert_int_equal(raft_term_at(raft, 3), 0);
    raft_free(raft);
}

static void an_append_that_contradicts_what_left_the_log_is_refused(void **state)
{
    (void)state;
    struct raft *raft = compacted_core();
    struct raft_message good = {
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
    };
    good.append_request = (struct raft_append_request){
        .prev_index = 1,
        .prev_term = 1,
        .entry_count = 4,
        .run_count = 3,
        .runs = {{.term = 1, .count = 1}, {.term = 2, .count = 2}, {.term = 3, .count = 1}},
    };
    struct raft_message bad[4] = {good, good, good, good};
    bad[0].append_request.prev_term = 2;    /* terms never fall, and 2 is of term 1 */
    bad[0].append_request.runs[0].term = 2; /* rises, all the same */
    bad[0].append_request.runs[1].term = 3;
    bad[0].append_request.runs[1].count = 3;
    bad[0].append_request.run_count = 2;
    bad[1].append_request.run_count = 1;
    bad[1].append_request.runs[0] = (struct raft_run){.term = 2, .count = 4}; /* 2 is of term 1 */
    bad[2].append_request.runs[0].count = 2; /* 3 is of term 2, and committed */
    bad[2].append_request.runs[1].count = 1;
    bad[3].append_request = (struct raft_append_request){
        .entry_count = 1, .run_count = 1, .runs = {{.term = 2, .count = 1}}}; /* 1 as well */
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(receive(raft, &bad[i]), KV_ERR_INVALID);
        assert_int_equal(raft_last_index(raft), 5);
        assert_int_equal(raft_leader(raft), 0);
    }
    assert_int_equal(receive(raft, &good), 0);
    assert_int_equal(raft_last_index(raft), 5);
    assert_int_equal(raft_leader(raft), 2);
    raft_free(raft);
}

static void each_contradiction_of_an_offered_snapshot_is_refused(void **state)
{
    (void)state;
    struct raft *raft = compacted_core();
    const struct raft_message good = {
        .type = RAFT_SNAPSHOT_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
        .snapshot_request = {.index = 4, .term = 2},
    };
    struct raft_message bad[8];
    for (size_t i = 0; i < 8; i++) {
        bad[i] = good;
    }
    bad[0].from = 0;
    bad[1].snapshot_request.index = 0;
    bad[2].snapshot_request.term = 0;
    bad[3].snapshot_request.term = 4; /* of the future */
    bad[4].snapshot_request.index = UINT64_MAX / 4 + 1;
    bad[5].snapshot_request.term = 1;  /* falls: 3 is of term 2 */
    bad[6].snapshot_request.index = 3; /* and not of term 3 */
    bad[6].snapshot_request.term = 3;
    bad[7].snapshot_request.index = 1; /* 2 is of term 1 */
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(receive(raft, &bad[i]), KV_ERR_INVALID);
        assert_int_equal(raft_leader(raft), 0);
    }
    assert_int_equal(receive(raft, &good), 0);
    assert_int_equal(raft_leader(raft), 2);
    struct raft_message other = good;
    other.from = 3;
    assert_int_equal(receive(raft, &other), KV_ERR_INVALID);
    /* The same is checked when it is installed, whoever sent it. */
    struct raft_event event = {.type = RAFT_INSTALLED, .now_ms = 500, .installed = {4, 1, &three}};
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    event.installed.term = 4;
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    assert_int_equal(raft_commit_index(raft), 3);
    event.installed.term = 2;
    assert_int_equal(core_step(raft, &event, NULL), 0);
    assert_int_equal(raft_commit_index(raft), 4);
    raft_free(raft);
}

static void a_snapshot_of_the_future_term_waits_until_the_term_is_stored(void **state)
{
    (void)state;
    struct raft *raft = compacted_core();
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft_message offer = {
        .type = RAFT_SNAPSHOT_REQUEST,
        .from = 2,
        .to = 1,
        .term = 4,
        .snapshot_request = {.index = 9, .term = 4},
    };
    struct raft_event event = {.type = RAFT_RECEIVED, .now_ms = 500, .message = &offer};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_false(effects->snapshot_wanted);
    struct raft_event stored = {
        .type = RAFT_STORED, .now_ms = 500, .ticket = effects->store.ticket};
    assert_int_equal(core_step(raft, &stored, effects), 0);
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_true(effects->snapshot_wanted);
    assert_int_equal(effects->snapshot_index, 9);
    assert_int_equal(effects->snapshot_term, 4);
    /* An offer of a leader whose term is over is answered with the own term. */
    offer.term = 3;
    offer.from = 3;
    offer.snapshot_request.term = 3;
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_false(effects->snapshot_wanted);
    assert_int_equal(effects->message_count, 1);
    assert_int_equal(effects->messages[0].term, 4);
    assert_false(effects->messages[0].append_response.success);
    free(effects);
    raft_free(raft);
}

static void a_candidate_whose_log_gives_way_to_a_snapshot_follows(void **state)
{
    (void)state;
    struct raft *raft = compacted_core();
    struct raft_effects *effects = memory_new(1, sizeof *effects);
    struct raft_event event = {.type = RAFT_TICKED, .now_ms = 400};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_PRE_CANDIDATE);
    /* Of what the log holds nothing changes the role. */
    event = (struct raft_event){.type = RAFT_INSTALLED, .now_ms = 400, .installed = {4, 2, &three}};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_PRE_CANDIDATE);
    event.installed = (struct raft_installed){7, 3, &three};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_int_equal(raft_role(raft), RAFT_FOLLOWER);
    assert_int_equal(effects->store.flags, RAFT_STORE_RESET);
    assert_int_equal(effects->store.reset_index, 7);
    assert_int_equal(effects->store.reset_term, 3);
    assert_int_equal(effects->message_count, 0);
    assert_int_equal(raft_commit_index(raft), 7);
    assert_int_equal(raft_last_index(raft), 7);
    assert_int_equal(raft_durable_index(raft), 4);
    /* It may be compacted before the reset is stored: the snapshot is durable. */
    event = (struct raft_event){.type = RAFT_COMPACTED, .now_ms = 400, .compacted = {7, 7}};
    assert_int_equal(core_step(raft, &event, effects), 0);
    event = (struct raft_event){.type = RAFT_STORED, .now_ms = 400, .ticket = 1};
    assert_int_equal(core_step(raft, &event, effects), 0);
    assert_int_equal(raft_durable_index(raft), 7);
    free(effects);
    raft_free(raft);
}

static void only_what_is_committed_durable_and_in_the_snapshot_leaves_the_log(void **state)
{
    (void)state;
    struct raft *raft = compacted_core();
    const struct raft_compacted bad[] = {{4, 3}, {3, 4}, {UINT64_MAX, 3}};
    struct raft_event event = {.type = RAFT_COMPACTED, .now_ms = 500};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        event.compacted = bad[i];
        assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
        assert_int_equal(raft_base_index(raft), 2);
    }
    event.compacted = (struct raft_compacted){3, 1}; /* left long ago */
    assert_int_equal(core_step(raft, &event, NULL), 0);
    assert_int_equal(raft_base_index(raft), 2);
    event.compacted = (struct raft_compacted){3, 3};
    assert_int_equal(core_step(raft, &event, NULL), 0);
    assert_int_equal(raft_base_index(raft), 3);
    assert_int_equal(raft_term_at(raft, 3), 2);
    /* Committed, but not on the own disk yet. */
    struct raft_message append = {
        .type = RAFT_APPEND_REQUEST,
        .from = 2,
        .to = 1,
        .term = 3,
    };
    append.append_request = (struct raft_append_request){
        .prev_index = 5,
        .prev_term = 3,
        .commit_index = 6,
        .entry_count = 1,
        .run_count = 1,
        .runs = {{.term = 3, .count = 1}},
    };
    assert_int_equal(receive(raft, &append), 0);
    assert_int_equal(raft_commit_index(raft), 6);
    event.compacted = (struct raft_compacted){6, 6};
    assert_int_equal(core_step(raft, &event, NULL), KV_ERR_INVALID);
    struct raft_event stored = {.type = RAFT_STORED, .now_ms = 500, .ticket = 1};
    assert_int_equal(core_step(raft, &stored, NULL), 0);
    assert_int_equal(core_step(raft, &event, NULL), 0);
    assert_int_equal(raft_base_index(raft), 6);
    assert_int_equal(raft_last_index(raft), 6);
    raft_free(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gap_between_snapshot_and_log_is_found),
        cmocka_unit_test(an_append_that_contradicts_what_left_the_log_is_refused),
        cmocka_unit_test(each_contradiction_of_an_offered_snapshot_is_refused),
        cmocka_unit_test(a_snapshot_of_the_future_term_waits_until_the_term_is_stored),
        cmocka_unit_test(a_candidate_whose_log_gives_way_to_a_snapshot_follows),
        cmocka_unit_test(only_what_is_committed_durable_and_in_the_snapshot_leaves_the_log),
    };
    return cmocka_run_group_tests_name("raft after a snapshot", tests, NULL, NULL);
}
