/* The parts of the node that need no world: tracker, intake, options, the tags of reads. */
#include "base/memory.h"
#include "base/prng.h"
#include "node/intake.h"
#include "node/node.h"
#include "node/options.h"
#include "node/tracker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- tracker ---- */

static struct waiter waiter_for(struct kvapp_proposal *proposal, uint64_t deadline_ms)
{
    return (struct waiter){.proposal = proposal, .deadline_ms = deadline_ms};
}

static void tracker_gives_each_waiter_once(void **state)
{
    (void)state;
    struct tracker tracker;
    struct kvapp_proposal proposals[3];
    tracker_init(&tracker, 8);
    for (uint64_t i = 0; i < 3; i++) {
        struct waiter waiter = waiter_for(&proposals[i], 100);
        tracker_add(&tracker, 10 + 2 * i, &waiter); /* 11 and 13 are nobody's */
    }
    struct waiter taken;
    assert_true(tracker_take(&tracker, 12, &taken));
    assert_ptr_equal(taken.proposal, &proposals[1]);
    assert_false(tracker_take(&tracker, 12, &taken));
    assert_false(tracker_take(&tracker, 11, &taken));
    assert_false(tracker_take(&tracker, 99, &taken));
    assert_true(tracker_take(&tracker, 10, &taken));
    assert_false(tracker_empty(&tracker));
    assert_true(tracker_take(&tracker, 14, &taken));
    assert_true(tracker_empty(&tracker));
    tracker_done(&tracker);
}

static void tracker_has_room_for_its_capacity_only(void **state)
{
    (void)state;
    struct tracker tracker;
    struct kvapp_proposal proposal;
    struct waiter waiter = waiter_for(&proposal, 100);
    tracker_init(&tracker, 4);
    assert_int_equal(tracker_room(&tracker, 1000), 4);
    for (uint64_t index = 1000; index < 1004; index++) {
        assert_true(tracker_room(&tracker, index) > 0);
        tracker_add(&tracker, index, &waiter);
    }
    assert_int_equal(tracker_room(&tracker, 1004), 0);
    assert_true(tracker_take(&tracker, 1001, &waiter));
    assert_int_equal(tracker_room(&tracker, 1004), 0); /* the oldest still waits */
    assert_true(tracker_take(&tracker, 1000, &waiter));
    assert_int_equal(tracker_room(&tracker, 1004), 2);
    tracker_done(&tracker);
}

static void tracker_takes_the_overdue_in_order_and_starts_again_lower(void **state)
{
    (void)state;
    struct tracker tracker;
    struct kvapp_proposal proposals[2];
    struct waiter waiter;
    tracker_init(&tracker, 4);
    waiter = waiter_for(&proposals[0], 100);
    tracker_add(&tracker, 50, &waiter);
    waiter = waiter_for(&proposals[1], 200);
    tracker_add(&tracker, 51, &waiter);
    assert_false(tracker_take_overdue(&tracker, 99, &waiter));
    assert_true(tracker_take_overdue(&tracker, 100, &waiter));
    assert_ptr_equal(waiter.proposal, &proposals[0]);
    assert_false(tracker_take_overdue(&tracker, 100, &waiter));
    assert_true(tracker_take_overdue(&tracker, UINT64_MAX, &waiter));
    assert_true(tracker_empty(&tracker));
    /* After leadership was lost and won again, indexes may be lower than before. */
    waiter = waiter_for(&proposals[0], 100);
    tracker_add(&tracker, 7, &waiter);
    assert_true(tracker_take(&tracker, 7, &waiter));
    tracker_done(&tracker);
}

/* ---- intake ---- */

struct collected {
    uint64_t sum;
    size_t count;
    int answer;
};

static int collect(void *context, const struct frame *frame)
{
    struct collected *collected = context;
    if (collected->answer == INTAKE_LATER) {
        return INTAKE_LATER;
    }
    uint64_t request_id = 0;
    assert_int_equal(status_request_decode(frame->payload, &request_id), 0);
    collected->sum = collected->sum * 31 + request_id;
    collected->count++;
    return collected->answer;
}

static void intake_is_the_same_under_any_fragmentation(void **state)
{
    (void)state;
    struct buf bytes = {0};
    for (uint64_t id = 1; id <= 50; id++) {
        status_request_encode(id, &bytes);
    }
    struct collected whole = {0};
    struct intake intake = {{0}};
    assert_int_equal(intake_feed(&intake, buf_slice(&bytes), collect, &whole), 0);
    assert_int_equal(whole.count, 50);
    struct prng prng;
    prng_init(&prng, 7);
    for (int round = 0; round < 200; round++) {
        struct collected pieces = {0};
        for (size_t at = 0; at < bytes.size;) {
            size_t size = prng_between(&prng, 1, 60);
            size = size < bytes.size - at ? size : bytes.size - at;
            assert_int_equal(
                intake_feed(&intake, slice_of(bytes.data + at, size), collect, &pieces), 0);
            at += size;
        }
        assert_int_equal(pieces.count, 50);
        assert_int_equal(pieces.sum, whole.sum);
        assert_int_equal(intake.kept.size, 0);
    }
    intake_done(&intake);
    buf_done(&bytes);
}

static void intake_keeps_what_comes_after_a_pause(void **state)
{
    (void)state;
    struct buf bytes = {0};
    for (uint64_t id = 1; id <= 3; id++) {
        status_request_encode(id, &bytes);
    }
    struct collected collected = {.answer = INTAKE_PAUSE};
    struct intake intake = {{0}};
    assert_int_equal(intake_feed(&intake, buf_slice(&bytes), collect, &collected), INTAKE_PAUSE);
    assert_int_equal(collected.count, 1);
    collected.answer = INTAKE_LATER;
    assert_int_equal(intake_feed(&intake, slice_of(NULL, 0), collect, &collected), INTAKE_PAUSE);
    assert_int_equal(collected.count, 1);
    collected.answer = 0;
    assert_int_equal(intake_feed(&intake, slice_of(NULL, 0), collect, &collected), 0);
    assert_int_equal(collected.count, 3);
    intake_done(&intake);
    buf_done(&bytes);
}

static void intake_reports_broken_bytes_once(void **state)
{
    (void)state;
    struct collected collected = {0};
    struct intake intake = {{0}};
    assert_int_equal(intake_feed(&intake, slice_of("GET k", 5), collect, &collected),
                     KV_ERR_MALFORMED);
    assert_int_equal(collected.count, 0);
    intake_done(&intake);
}

/* ---- options ---- */

static struct kvapp_node_options sound_options(void)
{
    struct kvapp_node_options options;
    kvapp_node_options_init(&options);
    options.bind = "127.0.0.1:8081";
    options.cluster = "127.0.0.1:8080,127.0.0.1:8081,127.0.0.1:8082";
    return options;
}

static void expect_refusal(const struct kvapp_node_options *options, int err, const char *part)
{
    char error[512] = "";
    struct node_config config;
    assert_int_equal(node_config_init(options, &config, error, sizeof error), err);
    if (strstr(error, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error, part);
    }
}

static void the_bind_address_says_which_member_it_is(void **state)
{
    (void)state;
    char error[512] = "";
    struct node_config config;
    struct kvapp_node_options options = sound_options();
    assert_int_equal(node_config_init(&options, &config, error, sizeof error), 0);
    assert_int_equal(config.id, 2);
    assert_string_equal(config.client_address, "127.0.0.1:9081");
    options.bind = NULL;
    options.node_id = 3;
    assert_int_equal(node_config_init(&options, &config, error, sizeof error), 0);
    assert_string_equal(config.address, "127.0.0.1:8082");
    kvapp_node_options_init(&options);
    options.bind = "localhost:8080";
    assert_int_equal(node_config_init(&options, &config, error, sizeof error), 0);
    assert_int_equal(config.members.count, 1);
    assert_int_equal(config.id, 1);
}

static void options_that_contradict_get_a_sentence(void **state)
{
    (void)state;
    struct kvapp_node_options options = sound_options();
    options.node_id = 1;
    expect_refusal(&options, KV_ERR_INVALID, "node id 1 is 127.0.0.1:8080");
    options = sound_options();
    options.node_id = 9;
    expect_refusal(&options, KV_ERR_INVALID, "node id 9 is not one of the 3 members");
    options = sound_options();
    options.bind = "127.0.0.1:7000";
    expect_refusal(&options, KV_ERR_INVALID, "127.0.0.1:7000 is not in the list of members");
    options = sound_options();
    options.bind = NULL;
    expect_refusal(&options, KV_ERR_INVALID, "node id or its bind address");
    options = sound_options();
    options.cluster = NULL;
    options.bind = NULL;
    expect_refusal(&options, KV_ERR_INVALID, "bind address is needed");
    options = sound_options();
    options.client_port_offset = 60000;
    expect_refusal(&options, KV_ERR_ADDRESS, "beyond 65535");
    options = sound_options();
    options.timing.election_min_ms = 300;
    expect_refusal(&options, KV_ERR_INVALID, "minimum (300 ms) must be less than its maximum (300");
    options = sound_options();
    options.timing.heartbeat_ms = 150;
    expect_refusal(&options, KV_ERR_INVALID, "heartbeat interval (150 ms) must be less than");
    options = sound_options();
    options.timing.event_loop_ms = 0;
    expect_refusal(&options, KV_ERR_INVALID, "must be above 0");
    options = sound_options();
    options.reads = KVAPP_READS_STALE;
    expect_refusal(&options, KV_ERR_INVALID, "stale reads are for the clients");
}

static void timing_modes_have_their_numbers(void **state)
{
    (void)state;
    struct kvapp_timing timing;
    assert_int_equal(kvapp_timing_mode("fast", &timing), 0);
    assert_int_equal(timing.election_max_ms, 300);
    assert_int_equal(kvapp_timing_mode("debug", &timing), 0);
    assert_int_equal(timing.network_delay_ms, 50);
    assert_int_equal(kvapp_timing_mode("demo", &timing), 0);
    assert_int_equal(timing.election_min_ms, 5000);
    assert_int_equal(kvapp_timing_mode("slow", &timing), KV_ERR_INVALID);
}

/* ---- tags of reads ---- */

static struct read_batch *wait_here(struct kvapp_node *node)
{
    struct read_batch *batch = memory_new(1, sizeof *batch);
    batch->kind = READ_HERE;
    batch->tag = node->reads.next_tag++;
    list_init(&batch->link);
    list_push(&node->reads.waiting, &batch->link);
    return batch;
}

static void answer_comes(struct kvapp_node *node, uint64_t tag, uint64_t index)
{
    struct buf bytes = {0};
    const struct read_index_response response = {.tag = tag, .index = index};
    read_index_response_encode(&response, &bytes);
    struct frame frame;
    size_t size;
    assert_int_equal(frame_decode(buf_slice(&bytes), &frame, &size), 0);
    assert_int_equal(read_index_frame(node, 2, &frame), 0);
    buf_done(&bytes);
}

static void an_index_is_for_all_reads_that_were_asked_before(void **state)
{
    (void)state;
    struct kvapp_node *node = memory_new(1, sizeof *node);
    reads_init(&node->reads);
    reads_start(&node->reads, 1000);
    const struct read_batch *first = wait_here(node);
    const struct read_batch *second = wait_here(node);
    const struct read_batch *third = wait_here(node);
    answer_comes(node, second->tag, 7);
    assert_int_equal(first->index, 7);
    assert_int_equal(second->index, 7);
    assert_int_equal(third->index, 0);
    answer_comes(node, third->tag, 9);
    assert_int_equal(first->index, 7);
    assert_int_equal(third->index, 9);
    reads_done(&node->reads);
    free(node);
}

/* What was asked before a restart says nothing about reads that came after it. */
static void an_answer_to_an_earlier_life_releases_nothing(void **state)
{
    (void)state;
    struct kvapp_node *node = memory_new(1, sizeof *node);
    reads_init(&node->reads);
    reads_start(&node->reads, 5000);
    uint64_t older_life = node->reads.next_tag - 1;
    const struct read_batch *batch = wait_here(node);
    answer_comes(node, older_life, 7);
    answer_comes(node, node->reads.next_tag, 7);
    answer_comes(node, UINT64_MAX, 7);
    assert_int_equal(batch->index, 0);
    answer_comes(node, batch->tag, 0); /* refused */
    assert_int_equal(batch->index, 0);
    reads_done(&node->reads);
    free(node);
}

static void tags_of_two_lives_do_not_begin_alike(void **state)
{
    (void)state;
    struct reads lives[2];
    for (uint64_t i = 0; i < 2; i++) {
        reads_init(&lives[i]);
        reads_start(&lives[i], (i + 1) << 40);
    }
    assert_true(lives[0].first_tag > 0);
    assert_true(lives[1].first_tag - lives[0].first_tag > UINT32_MAX);
    reads_start(&lives[0], UINT64_MAX);
    assert_true(lives[0].first_tag <= UINT64_MAX / 2 + 1); /* there is room to count */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tracker_gives_each_waiter_once),
        cmocka_unit_test(tracker_has_room_for_its_capacity_only),
        cmocka_unit_test(tracker_takes_the_overdue_in_order_and_starts_again_lower),
        cmocka_unit_test(intake_is_the_same_under_any_fragmentation),
        cmocka_unit_test(intake_keeps_what_comes_after_a_pause),
        cmocka_unit_test(intake_reports_broken_bytes_once),
        cmocka_unit_test(the_bind_address_says_which_member_it_is),
        cmocka_unit_test(options_that_contradict_get_a_sentence),
        cmocka_unit_test(timing_modes_have_their_numbers),
        cmocka_unit_test(an_index_is_for_all_reads_that_were_asked_before),
        cmocka_unit_test(an_answer_to_an_earlier_life_releases_nothing),
        cmocka_unit_test(tags_of_two_lives_do_not_begin_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
