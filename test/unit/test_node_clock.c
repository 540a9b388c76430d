/* The cluster's time, without a node: what voters say of their wall clocks, and what comes of it.
 */
#include "node/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND_US = 1000 * 1000, FRESH_US = 2 * SECOND_US, HOUR_MS = 3600 * 1000 };

/* When a test begins: by the wall, and by the monotonic clock. */
static const uint64_t WALL_MS = 1700000000000;
static const uint64_t BEGIN_US = 77 * (uint64_t)SECOND_US;

struct voters {
    struct clock clock;
    struct raft_membership membership;
    uint64_t now_us;
};

static void begin(struct voters *voters, size_t count)
{
    *voters = (struct voters){.now_us = BEGIN_US};
    clock_take(&voters->clock, BEGIN_US, 0);
    voters->membership.count = count;
    for (size_t i = 0; i < count; i++) {
        voters->membership.members[i] = (struct raft_member){.id = i + 1, .voter = true};
    }
}

static uint64_t right_ms(const struct voters *voters)
{
    return WALL_MS + (voters->now_us - BEGIN_US) / 1000;
}

/* What a server's wall clock shows, wrong by so much. */
static void hear(struct voters *voters, uint64_t id, int64_t wrong_ms)
{
    clock_hear(&voters->clock, voters->now_us, id, right_ms(voters) + (uint64_t)wrong_ms);
}

static void correct(struct voters *voters)
{
    clock_correct(&voters->clock, voters->now_us, FRESH_US, &voters->membership);
}

static int64_t ahead_ms(const struct voters *voters)
{
    uint64_t time_us = clock_time_us(&voters->clock, voters->now_us);
    return (int64_t)(time_us / 1000) - (int64_t)right_ms(voters);
}

/* Seconds in which all are heard, with these errors in milliseconds. */
static void pass(struct voters *voters, int seconds, const int64_t *wrong_ms)
{
    for (int i = 0; i < seconds; i++) {
        voters->now_us += SECOND_US;
        for (size_t n = 0; n < voters->membership.count; n++) {
            hear(voters, voters->membership.members[n].id, wrong_ms[n]);
        }
        correct(voters);
    }
}

static void the_first_words_of_a_majority_begin_the_time(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 3);
    hear(&voters, 1, 0);
    correct(&voters);
    assert_int_equal(clock_time_us(&voters.clock, voters.now_us), 0);
    hear(&voters, 3, 0);
    correct(&voters);
    assert_int_equal(ahead_ms(&voters), 0);
}

static void a_minority_that_jumps_moves_nothing(void **state)
{
    (void)state;
    const int64_t jumps_ms[] = {HOUR_MS, -HOUR_MS, 1, -1, INT64_C(-1000000000000)};
    for (size_t i = 0; i < sizeof jumps_ms / sizeof jumps_ms[0]; i++) {
        for (size_t who = 0; who < 3; who++) {
            struct voters voters;
            int64_t wrong_ms[3] = {0};
            begin(&voters, 3);
            pass(&voters, 1, wrong_ms);
            wrong_ms[who] = jumps_ms[i];
            pass(&voters, 1000, wrong_ms);
            assert_int_equal(ahead_ms(&voters), 0);
        }
    }
}

static void two_of_five_that_are_far_apart_move_nothing(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 5);
    pass(&voters, 100, (const int64_t[]){0, HOUR_MS, 0, -HOUR_MS, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 100, (const int64_t[]){0, HOUR_MS, 0, 2 * HOUR_MS, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 100, (const int64_t[]){0, -HOUR_MS, 0, -2 * HOUR_MS, 0});
    assert_int_equal(ahead_ms(&voters), 0);
}

static void two_of_three_that_agree_move_it_up_at_once(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 3);
    pass(&voters, 10, (const int64_t[]){0, 0, 0});
    pass(&voters, 1, (const int64_t[]){0, HOUR_MS, HOUR_MS + 5});
    assert_int_equal(ahead_ms(&voters), HOUR_MS);
}

static void ahead_of_a_majority_it_goes_slower_and_never_back(void **state)
{
    (void)state;
    struct voters voters;
    const int64_t right_ms[] = {0, 0, 0};
    begin(&voters, 3);
    pass(&voters, 10, (const int64_t[]){0, 3000, 3000});
    assert_int_equal(ahead_ms(&voters), 3000);
    for (int64_t second = 1; second <= 3000; second++) {
        pass(&voters, 1, right_ms);
        assert_in_range(ahead_ms(&voters), 3000 - second, 3001 - second);
    }
    pass(&voters, 1000, right_ms);
    assert_in_range(ahead_ms(&voters) + 1, 0, 2);
}

static void going_slower_is_the_same_however_often_one_looks(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 1);
    hear(&voters, 1, 10 * 1000);
    correct(&voters);
    for (int i = 0; i < SECOND_US; i += 7) {
        voters.now_us += 7;
        hear(&voters, 1, 0);
        correct(&voters);
    }
    assert_in_range(ahead_ms(&voters), 9998, 9999);
}

static void without_a_majority_nothing_is_corrected(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 5);
    pass(&voters, 1, (const int64_t[]){0, 0, 0, 0, 0});
    voters.now_us += FRESH_US + 1; /* What was said is old. */
    hear(&voters, 1, HOUR_MS);
    hear(&voters, 2, HOUR_MS);
    correct(&voters);
    assert_int_equal(ahead_ms(&voters), 0);
    hear(&voters, 1, -HOUR_MS);
    hear(&voters, 2, -HOUR_MS);
    for (int i = 0; i < 100; i++) {
        voters.now_us += 10 * 1000;
        correct(&voters);
    }
    assert_int_equal(ahead_ms(&voters), 0);
    /* Three are one more than two that are wrong: the least of these is right. */
    hear(&voters, 1, HOUR_MS);
    hear(&voters, 2, HOUR_MS);
    hear(&voters, 3, 20);
    correct(&voters);
    assert_int_equal(ahead_ms(&voters), 20);
}

static void of_four_a_majority_is_three(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 4);
    pass(&voters, 10, (const int64_t[]){0, 0, 0, 0});
    pass(&voters, 100, (const int64_t[]){0, HOUR_MS, HOUR_MS, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 100, (const int64_t[]){0, -HOUR_MS, -HOUR_MS, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1, (const int64_t[]){0, HOUR_MS, HOUR_MS, HOUR_MS});
    assert_int_equal(ahead_ms(&voters), HOUR_MS);
}

static void alone_its_own_clock_is_the_majority(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 1);
    pass(&voters, 1, (const int64_t[]){0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1, (const int64_t[]){HOUR_MS});
    assert_int_equal(ahead_ms(&voters), HOUR_MS);
    pass(&voters, 1, (const int64_t[]){0});
    assert_in_range(ahead_ms(&voters), HOUR_MS - 1, HOUR_MS);
}

static void while_joint_both_sets_must_say_so(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 6);
    voters.membership.joint = true;
    for (size_t i = 0; i < 6; i++) {
        voters.membership.members[i].voter = i >= 3;
        voters.membership.members[i].voter_old = i < 3;
    }
    pass(&voters, 1, (const int64_t[]){0, 0, 0, 0, 0, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1, (const int64_t[]){0, 0, 0, HOUR_MS, HOUR_MS, HOUR_MS});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1, (const int64_t[]){HOUR_MS, HOUR_MS, HOUR_MS, 0, 0, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1000, (const int64_t[]){-HOUR_MS, -HOUR_MS, -HOUR_MS, 0, 0, 0});
    assert_int_equal(ahead_ms(&voters), 0);
    pass(&voters, 1, (const int64_t[]){HOUR_MS, 60, 50, 0, 70, 40});
    assert_int_equal(ahead_ms(&voters), 40);
}

static void learners_and_strangers_do_not_count(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 5);
    voters.membership.members[3].voter = false;
    voters.membership.members[4].voter = false;
    pass(&voters, 10, (const int64_t[]){0, 0, 0, HOUR_MS, HOUR_MS});
    for (uint64_t id = 6; id < 40; id++) {
        hear(&voters, id, HOUR_MS);
        hear(&voters, 1, 0);
        hear(&voters, 2, 0);
        correct(&voters);
    }
    assert_int_equal(ahead_ms(&voters), 0);
}

static void a_follower_takes_the_leaders_time_and_lags(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 3);
    clock_take(&voters.clock, voters.now_us, right_ms(&voters));
    assert_int_equal(ahead_ms(&voters), 0);
    voters.now_us += 1000 * (uint64_t)SECOND_US;
    clock_follow(&voters.clock, voters.now_us);
    assert_int_equal(ahead_ms(&voters), -1000);
    clock_take(&voters.clock, voters.now_us, right_ms(&voters) - 5000);
    assert_int_equal(ahead_ms(&voters), -5000);
    /* Elected, it goes on from there, and the others know better. */
    hear(&voters, 1, 0);
    correct(&voters);
    assert_int_equal(ahead_ms(&voters), -5000);
    hear(&voters, 2, 0);
    correct(&voters);
    assert_int_equal(ahead_ms(&voters), 0);
    /* Deposed, it lags again. */
    clock_follow(&voters.clock, voters.now_us);
    voters.now_us += 1000 * (uint64_t)SECOND_US;
    assert_int_equal(ahead_ms(&voters), -1000);
}

static void after_a_start_it_goes_on_from_the_newest_entry(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 3);
    clock_reach(&voters.clock, voters.now_us, WALL_MS - HOUR_MS);
    assert_int_equal(ahead_ms(&voters), -HOUR_MS);
    clock_reach(&voters.clock, voters.now_us, WALL_MS - 2 * HOUR_MS);
    assert_int_equal(ahead_ms(&voters), -HOUR_MS);
    pass(&voters, 1, (const int64_t[]){HOUR_MS, 0, 0});
    assert_int_equal(ahead_ms(&voters), 0);
}

static void no_time_is_too_large(void **state)
{
    (void)state;
    struct voters voters;
    begin(&voters, 3);
    clock_hear(&voters.clock, voters.now_us, 1, UINT64_MAX);
    clock_hear(&voters.clock, voters.now_us, 2, UINT64_MAX);
    correct(&voters);
    voters.now_us += SECOND_US;
    correct(&voters);
    const uint64_t time_us = clock_time_us(&voters.clock, voters.now_us);
    clock_take(&voters.clock, voters.now_us, UINT64_MAX);
    assert_true(clock_time_us(&voters.clock, voters.now_us) <= time_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_words_of_a_majority_begin_the_time),
        cmocka_unit_test(a_minority_that_jumps_moves_nothing),
        cmocka_unit_test(two_of_five_that_are_far_apart_move_nothing),
        cmocka_unit_test(two_of_three_that_agree_move_it_up_at_once),
        cmocka_unit_test(ahead_of_a_majority_it_goes_slower_and_never_back),
        cmocka_unit_test(going_slower_is_the_same_however_often_one_looks),
        cmocka_unit_test(without_a_majority_nothing_is_corrected),
        cmocka_unit_test(of_four_a_majority_is_three),
        cmocka_unit_test(alone_its_own_clock_is_the_majority),
        cmocka_unit_test(while_joint_both_sets_must_say_so),
        cmocka_unit_test(learners_and_strangers_do_not_count),
        cmocka_unit_test(a_follower_takes_the_leaders_time_and_lags),
        cmocka_unit_test(after_a_start_it_goes_on_from_the_newest_entry),
        cmocka_unit_test(no_time_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
