/* When rounds begin: by steps, and with clients that ask again at once, or as they like. */
#include "base/prng.h"
#include "node/gather.h"
#include "node/read_gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- steps ---- */

enum { CLIENTS = 50 };

/* A gathering, and in which round each client asked last. */
struct steps {
    struct gather gather;
    uint64_t rounds[2 * CLIENTS];
};

static void ask(struct steps *steps, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        gather_ask(&steps->gather, &steps->rounds[i]);
    }
}

/* A round of so many clients that takes a hundred microseconds; its end. */
static uint64_t round_of(struct steps *steps, uint64_t now_us, size_t count)
{
    ask(steps, 0, count);
    gather_begin(&steps->gather, now_us);
    gather_over(&steps->gather, now_us + 100);
    return now_us + 100;
}

static void assert_waits(struct steps *steps, uint64_t now_us, uint64_t until_us)
{
    assert_true(gather_waits(&steps->gather, now_us));
    assert_true(steps->gather.until_us == until_us);
}

static void assert_goes(struct steps *steps, uint64_t now_us)
{
    assert_false(gather_waits(&steps->gather, now_us));
    assert_true(steps->gather.until_us == 0);
}

static void the_first_request_waits_for_nobody(void **state)
{
    (void)state;
    struct steps steps = {0};
    ask(&steps, 0, 1);
    assert_goes(&steps, 5000);
}

static void who_comes_while_a_round_is_under_way_waits_a_millisecond_at_most(void **state)
{
    (void)state;
    struct steps steps = {0};
    ask(&steps, 0, 1);
    gather_begin(&steps.gather, 5000);
    ask(&steps, 1, 1);
    assert_waits(&steps, 5001, 6000);
    assert_waits(&steps, 5999, 6000);
    assert_goes(&steps, 6000);
}

static void after_a_round_those_are_waited_for_whom_it_answered(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = round_of(&steps, 5000, 3);
    ask(&steps, 10, 5); /* others */
    assert_waits(&steps, now_us + 1, now_us + 300);
    ask(&steps, 0, 2);
    ask(&steps, 0, 2); /* the same */
    assert_waits(&steps, now_us + 2, now_us + 300);
    ask(&steps, 2, 1);
    assert_goes(&steps, now_us + 3);
    gather_over(&steps.gather, now_us + 4); /* It was said before. */
    assert_goes(&steps, now_us + 5);
}

static void who_asks_again_before_the_end_of_its_round_is_there(void **state)
{
    (void)state;
    struct steps steps = {0};
    ask(&steps, 0, 2);
    gather_begin(&steps.gather, 5000);
    ask(&steps, 0, 1);
    gather_over(&steps.gather, 5100);
    assert_waits(&steps, 5100, 5400);
    ask(&steps, 0, 1);
    assert_waits(&steps, 5101, 5400);
    ask(&steps, 1, 1);
    assert_goes(&steps, 5102);
}

static void after_a_long_round_a_millisecond_is_enough(void **state)
{
    (void)state;
    struct steps steps = {0};
    ask(&steps, 0, 2);
    gather_begin(&steps.gather, 5000);
    gather_over(&steps.gather, 95000);
    assert_waits(&steps, 95000, 96000);
    assert_goes(&steps, 96000);
}

static void a_round_of_nobody_s_requests_is_followed_at_once(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = round_of(&steps, 5000, 0);
    ask(&steps, 0, 1);
    assert_goes(&steps, now_us);
}

static void rounds_that_overlap_count_together_and_nobody_twice(void **state)
{
    (void)state;
    struct steps steps = {0};
    ask(&steps, 0, 40);
    gather_begin(&steps.gather, 5000);
    ask(&steps, 30, 20); /* ten of them again */
    gather_begin(&steps.gather, 5050);
    gather_over(&steps.gather, 5150);
    ask(&steps, 0, 49);
    assert_waits(&steps, 5150, 5450);
    ask(&steps, 49, 1);
    assert_goes(&steps, 5150);
}

/* How many rounds in a row do not wait. Four clients come back each time. */
static unsigned rounds_that_go_at_once(struct steps *steps, uint64_t *now_us)
{
    for (unsigned count = 0;; count++) {
        gather_begin(&steps->gather, *now_us);
        *now_us += 100;
        gather_over(&steps->gather, *now_us);
        if (gather_waits(&steps->gather, *now_us)) {
            return count;
        }
        ask(steps, 0, 4);
    }
}

/* Three of the four come back in time. */
static void wait_in_vain(struct steps *steps, uint64_t *now_us)
{
    ask(steps, 0, 3);
    *now_us = steps->gather.due_us;
    assert_goes(steps, *now_us);
}

static void waiting_in_vain_makes_it_rare(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = 5000;
    static const unsigned expected[] = {0, 1, 2, 4, 8, 16, 32, 64, 64};
    ask(&steps, 0, 4);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(rounds_that_go_at_once(&steps, &now_us), expected[i]);
        wait_in_vain(&steps, &now_us);
    }
}

static void once_all_come_it_is_worth_it_again(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = 5000;
    ask(&steps, 0, 4);
    for (int i = 0; i < 4; i++) {
        (void)rounds_that_go_at_once(&steps, &now_us);
        wait_in_vain(&steps, &now_us);
    }
    assert_int_equal(rounds_that_go_at_once(&steps, &now_us), 8);
    ask(&steps, 0, 4);
    assert_int_equal(rounds_that_go_at_once(&steps, &now_us), 0);
    wait_in_vain(&steps, &now_us);
    assert_int_equal(rounds_that_go_at_once(&steps, &now_us), 1);
}

static void nobody_waited_in_vain_where_nobody_came(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = 5000;
    for (int i = 0; i < 10; i++) {
        now_us = round_of(&steps, now_us, 9) + 50000;
        assert_goes(&steps, now_us);
    }
    now_us = round_of(&steps, now_us, 9);
    assert_waits(&steps, now_us, now_us + 300);
}

static void what_is_enough_for_a_round_was_not_in_vain(void **state)
{
    (void)state;
    struct steps steps = {0};
    uint64_t now_us = round_of(&steps, 5000, 9);
    assert_waits(&steps, now_us, now_us + 300);
    ask(&steps, 10, 50); /* Others came, too many to wait. */
    gather_begin(&steps.gather, now_us + 1);
    gather_over(&steps.gather, now_us + 101);
    assert_waits(&steps, now_us + 101, now_us + 401);
}

/* ---- clients ---- */

enum { ROUND_US = 300, RUN_US = 400 * 1000 };

/* Each asks, waits for the end of its round and asks again. */
struct load {
    struct gather gather;
    struct prng prng;
    uint64_t asks_us[CLIENTS];  /* when; 0: it waits */
    uint64_t asked_in[CLIENTS]; /* which round */
    uint64_t think_us;          /* each client asks so long after the one before it, */
    bool at_random;             /* or: each thinks between nothing and so long */
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
        if (load->asks_us[i] != 0 || load->asked_in[i] != load->gather.round) {
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
    gather_begin(&load->gather, now_us);
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
            gather_ask(&load->gather, &load->asked_in[i]);
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
        if (!gather_waits(&load->gather, now_us)) {
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

/* ---- reads ---- */

struct readers {
    struct read_gather gather;
    struct read_asked clients[CLIENTS];
};

/* So many clients are seen in the millisecond up to 5000. */
static void see(struct readers *readers, size_t count)
{
    for (uint64_t now_us = 3000; now_us < 5000; now_us += 500) {
        for (size_t i = 0; i < count; i++) {
            read_gather_ask(&readers->gather, now_us, &readers->clients[i]);
        }
        read_gather_begin(&readers->gather, now_us);
        read_gather_over(&readers->gather, now_us + 50);
    }
}

static void ask_to_read(struct readers *readers, uint64_t now_us, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        read_gather_ask(&readers->gather, now_us, &readers->clients[i]);
    }
}

static void four_readers_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct readers readers = {0};
    see(&readers, 4);
    ask_to_read(&readers, 5000, 1);
    assert_false(read_gather_waits(&readers.gather, 5000));
}

static void of_many_readers_a_quarter_shares_a_round(void **state)
{
    (void)state;
    struct readers readers = {0};
    see(&readers, 40);
    ask_to_read(&readers, 4800, 9);
    ask_to_read(&readers, 4801, 9); /* the same ones again */
    assert_true(read_gather_waits(&readers.gather, 4801));
    ask_to_read(&readers, 4802, 10);
    assert_false(read_gather_waits(&readers.gather, 4802));
}

static void readers_wait_for_others_a_third_of_a_millisecond(void **state)
{
    (void)state;
    struct readers readers = {0};
    see(&readers, 40);
    ask_to_read(&readers, 4600, 2);
    assert_true(read_gather_waits(&readers.gather, 4600));
    assert_true(readers.gather.until_us == 4550 + 333);
    assert_false(read_gather_waits(&readers.gather, 4550 + 333));
}

static void a_read_round_that_is_not_answered_holds_nobody_up(void **state)
{
    (void)state;
    struct readers readers = {0};
    read_gather_begin(&readers.gather, 5000);
    ask_to_read(&readers, 5001, 1);
    assert_true(read_gather_waits(&readers.gather, 5999));
    assert_false(read_gather_waits(&readers.gather, 6000));
}

static void readers_that_are_gone_are_not_waited_for(void **state)
{
    (void)state;
    struct readers readers = {0};
    see(&readers, 40);
    ask_to_read(&readers, 9000, 1);
    assert_false(read_gather_waits(&readers.gather, 9000));
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(the_first_request_waits_for_nobody),
        cmocka_unit_test(who_comes_while_a_round_is_under_way_waits_a_millisecond_at_most),
        cmocka_unit_test(after_a_round_those_are_waited_for_whom_it_answered),
        cmocka_unit_test(who_asks_again_before_the_end_of_its_round_is_there),
        cmocka_unit_test(after_a_long_round_a_millisecond_is_enough),
        cmocka_unit_test(a_round_of_nobody_s_requests_is_followed_at_once),
        cmocka_unit_test(rounds_that_overlap_count_together_and_nobody_twice),
        cmocka_unit_test(waiting_in_vain_makes_it_rare),
        cmocka_unit_test(once_all_come_it_is_worth_it_again),
        cmocka_unit_test(nobody_waited_in_vain_where_nobody_came),
        cmocka_unit_test(what_is_enough_for_a_round_was_not_in_vain),
        cmocka_unit_test(clients_that_ask_again_at_once_share_every_round),
        cmocka_unit_test(clients_that_think_longer_than_a_round_are_rarely_waited_for),
        cmocka_unit_test(four_readers_do_not_wait_for_each_other),
        cmocka_unit_test(of_many_readers_a_quarter_shares_a_round),
        cmocka_unit_test(readers_wait_for_others_a_third_of_a_millisecond),
        cmocka_unit_test(a_read_round_that_is_not_answered_holds_nobody_up),
        cmocka_unit_test(readers_that_are_gone_are_not_waited_for),
    };
    return cmocka_run_group_tests_name("node_gather", cases, NULL, NULL);
}
