/* When rounds begin: by steps, and with clients that ask again at once, or as they like. */
#include "base/prng.h"
#include "node/gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- steps ---- */

/* A round of `count` that takes a hundred microseconds; its end. */
static uint64_t round_of(struct gather *gather, uint64_t now_us, size_t count)
{
    gather_begin(gather, now_us, count);
    gather_over(gather, now_us + 100);
    return now_us + 100;
}

static void come(struct gather *gather, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gather_came(gather);
    }
}

static void the_first_request_waits_for_nobody(void **state)
{
    (void)state;
    struct gather gather = {0};
    assert_true(gather_until_us(&gather, 5000) == 0);
}

static void who_comes_while_a_round_is_under_way_waits_a_millisecond_at_most(void **state)
{
    (void)state;
    struct gather gather = {0};
    gather_begin(&gather, 5000, 1);
    assert_true(gather_until_us(&gather, 5001) == 6000);
    assert_true(gather_until_us(&gather, 5999) == 6000);
    assert_true(gather_until_us(&gather, 6000) == 0);
}

static void after_a_round_those_are_waited_for_whom_it_answered(void **state)
{
    (void)state;
    struct gather gather = {0};
    uint64_t now_us = round_of(&gather, 5000, 3);
    assert_true(gather_until_us(&gather, now_us + 1) == now_us + 300);
    come(&gather, 2);
    assert_true(gather_until_us(&gather, now_us + 2) == now_us + 300);
    come(&gather, 1);
    gather_over(&gather, now_us + 3); /* It was said before. */
    assert_true(gather_until_us(&gather, now_us + 4) == 0);
}

static void who_asked_again_before_the_end_of_a_round_is_not_who_it_answered(void **state)
{
    (void)state;
    struct gather gather = {0};
    gather_begin(&gather, 5000, 2);
    come(&gather, 2);
    gather_over(&gather, 5100);
    assert_true(gather_until_us(&gather, 5100) == 5400);
}

static void after_a_long_round_a_millisecond_is_enough(void **state)
{
    (void)state;
    struct gather gather = {0};
    gather_begin(&gather, 5000, 2);
    gather_over(&gather, 95000);
    assert_true(gather_until_us(&gather, 95000) == 96000);
    assert_true(gather_until_us(&gather, 96000) == 0);
}

static void a_round_of_nobody_s_requests_is_followed_at_once(void **state)
{
    (void)state;
    struct gather gather = {0};
    uint64_t now_us = round_of(&gather, 5000, 0);
    assert_true(gather_until_us(&gather, now_us) == 0);
}

static void rounds_that_overlap_count_together(void **state)
{
    (void)state;
    struct gather gather = {0};
    gather_begin(&gather, 5000, 40);
    gather_begin(&gather, 5050, 2);
    gather_over(&gather, 5150);
    come(&gather, 41);
    assert_true(gather_until_us(&gather, 5150) == 5450);
    come(&gather, 1);
    assert_true(gather_until_us(&gather, 5150) == 0);
}

/* How many rounds in a row do not wait. */
static unsigned rounds_that_go_at_once(struct gather *gather, uint64_t *now_us)
{
    for (unsigned count = 0;; count++) {
        *now_us = round_of(gather, *now_us, 4);
        if (gather_until_us(gather, *now_us) != 0) {
            return count;
        }
    }
}

static void waiting_in_vain_makes_it_rare(void **state)
{
    (void)state;
    struct gather gather = {0};
    uint64_t now_us = 5000;
    static const unsigned expected[] = {0, 1, 2, 4, 8, 16, 32, 64, 64};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(rounds_that_go_at_once(&gather, &now_us), expected[i]);
        come(&gather, 3);
        now_us = gather.due_us;
        assert_true(gather_until_us(&gather, now_us) == 0);
    }
    /* Then all come who are waited for, and it is worth it again. */
    assert_int_equal(rounds_that_go_at_once(&gather, &now_us), 64);
    come(&gather, 4);
    assert_int_equal(rounds_that_go_at_once(&gather, &now_us), 0);
}

static void nobody_waited_in_vain_where_nobody_came(void **state)
{
    (void)state;
    struct gather gather = {0};
    uint64_t now_us = 5000;
    for (int i = 0; i < 10; i++) {
        now_us = round_of(&gather, now_us, 9) + 50000;
        assert_true(gather_until_us(&gather, now_us) == 0);
    }
    now_us = round_of(&gather, now_us, 9);
    assert_true(gather_until_us(&gather, now_us) == now_us + 300);
}

static void what_is_enough_for_a_round_was_not_in_vain(void **state)
{
    (void)state;
    struct gather gather = {0};
    uint64_t now_us = round_of(&gather, 5000, 9);
    assert_true(gather_until_us(&gather, now_us) != 0);
    now_us = round_of(&gather, now_us + 1, 100); /* Others came, too many to wait. */
    assert_true(gather_until_us(&gather, now_us) != 0);
}

/* ---- clients ---- */

enum { CLIENTS = 50, ROUND_US = 300, RUN_US = 400 * 1000 };

/* Each asks, waits for the end of its round and asks again. */
struct load {
    struct gather gather;
    struct prng prng;
    uint64_t asks_us[CLIENTS]; /* when; 0: it waits */
    uint64_t round[CLIENTS];   /* its last one's number */
    uint64_t round_number;
    uint64_t think_us; /* each client asks so long after the one before it, */
    bool at_random;    /* or: each thinks between nothing and so long */
    size_t queued;
    uint64_t round_end_us; /* 0: none is under way */
    uint64_t rounds;
    uint64_t answered;
    uint64_t waits; /* rounds that had to wait though none was under way */
};

static void load_answer(struct load *load, uint64_t now_us)
{
    uint64_t turn_us = now_us;
    for (size_t i = 0; i < CLIENTS; i++) {
        if (load->asks_us[i] != 0 || load->round[i] != load->round_number) {
            continue;
        }
        load->answered++;
        turn_us += load->think_us;
        load->asks_us[i] =
            load->at_random ? now_us + prng_between(&load->prng, 1, load->think_us) : turn_us;
    }
    load->round_end_us = 0;
}

static void load_begin(struct load *load, uint64_t now_us)
{
    gather_begin(&load->gather, now_us, load->queued);
    load->round_number++;
    for (size_t i = 0; i < CLIENTS; i++) {
        load->round[i] = load->asks_us[i] == 0 ? load->round_number : load->round[i];
    }
    load->queued = 0;
    load->rounds++;
    load->round_end_us = now_us + ROUND_US;
}

static void load_ask(struct load *load, uint64_t now_us)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        if (load->asks_us[i] != 0 && load->asks_us[i] <= now_us) {
            load->asks_us[i] = 0;
            load->queued++;
            if (load->round[i] == load->round_number) {
                gather_came(&load->gather);
            }
        }
    }
}

/* Runs for RUN_US; the first quarter is not counted. */
static void load_run(struct load *load)
{
    prng_init(&load->prng, 4711);
    for (size_t i = 0; i < CLIENTS; i++) {
        load->asks_us[i] = 1 + i * load->think_us / 7;
    }
    bool waiting = false;
    for (uint64_t now_us = 1; now_us < RUN_US; now_us++) {
        if (now_us == RUN_US / 4) {
            load->rounds = load->answered = load->waits = 0;
        }
        load_ask(load, now_us);
        if (load->round_end_us != 0 && now_us >= load->round_end_us) {
            load_answer(load, now_us);
            gather_over(&load->gather, now_us);
        }
        if (load->queued == 0) {
            continue;
        }
        if (gather_until_us(&load->gather, now_us) == 0) {
            load_begin(load, now_us);
            waiting = false;
        } else if (load->round_end_us == 0 && !waiting) {
            load->waits++;
            waiting = true;
        }
    }
}

static void clients_that_ask_again_at_once_share_every_round(void **state)
{
    (void)state;
    struct load load = {.think_us = 8};
    load_run(&load);
    assert_true(load.rounds > 100);
    assert_true(load.answered >= load.rounds * (CLIENTS - 1));
}

static void clients_that_think_longer_than_a_round_are_rarely_waited_for(void **state)
{
    (void)state;
    struct load load = {.think_us = 20 * 1000, .at_random = true};
    load_run(&load);
    print_message("# %u rounds, %u waits\n", (unsigned)load.rounds, (unsigned)load.waits);
    assert_true(load.rounds > 500);
    assert_true(load.waits * 20 < load.rounds);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(the_first_request_waits_for_nobody),
        cmocka_unit_test(who_comes_while_a_round_is_under_way_waits_a_millisecond_at_most),
        cmocka_unit_test(after_a_round_those_are_waited_for_whom_it_answered),
        cmocka_unit_test(who_asked_again_before_the_end_of_a_round_is_not_who_it_answered),
        cmocka_unit_test(after_a_long_round_a_millisecond_is_enough),
        cmocka_unit_test(a_round_of_nobody_s_requests_is_followed_at_once),
        cmocka_unit_test(rounds_that_overlap_count_together),
        cmocka_unit_test(waiting_in_vain_makes_it_rare),
        cmocka_unit_test(nobody_waited_in_vain_where_nobody_came),
        cmocka_unit_test(what_is_enough_for_a_round_was_not_in_vain),
        cmocka_unit_test(clients_that_ask_again_at_once_share_every_round),
        cmocka_unit_test(clients_that_think_longer_than_a_round_are_rarely_waited_for),
    };
    return cmocka_run_group_tests_name("node_gather", cases, NULL, NULL);
}
