/* What a change of the membership would do: a table of clusters, edits and verdicts. */
#include "node/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/*
 * A case in a line. The cluster is a list of members, ids rising: "1+" is a voter, "2-" one that is
 * not reachable, "3~" one that lags; 'l' in front makes a learner, 'k' a kept one. Edits: "a4" adds
 * node 4 at h:4, "k4" adds it as a kept learner, "p4" promotes, "r4" removes, "m4" moves it to
 * h:94.
 */
struct plan_case {
    const char *cluster;
    const char *edits;
    int verdict;
    const char *sentence; /* a part of it */
    bool joint;
    struct admin_voters before;
    struct admin_voters after;
    const char *wanted; /* as in `cluster`, without the signs */
};

static const struct plan_case cases[] = {
    /* Learners count nowhere. */
    {"1+ 2+ 3+", "a4", 0, "", false, {3, 2, 3}, {3, 2, 3}, "1 2 3 l4"},
    {"1+ 2+ 3+", "k4", 0, "", false, {3, 2, 3}, {3, 2, 3}, "1 2 3 k4"},
    {"2+", "a1", 0, "", false, {1, 1, 1}, {1, 1, 1}, "l1 2"},
    {"1+ 2+ 3- l4-", "r4", 0, "", false, {3, 2, 2}, {3, 2, 2}, "1 2 3"},
    /* Voters come and go. */
    {"1+ 2+ 3+ l4+", "p4", 0, "", true, {3, 2, 3}, {4, 3, 4}, "1 2 3 4"},
    {"1+ 2+ 3+", "r3", 0, "", true, {3, 2, 3}, {2, 2, 2}, "1 2"},
    {"1+ 2+ 3- k4+", "p4 r3", 0, "", true, {3, 2, 2}, {3, 2, 3}, "1 2 4"},
    {"1+ k2+", "p2 r1", 0, "", true, {1, 1, 1}, {1, 1, 1}, "2"},
    {"1+ 2+ 3+", "m3", 0, "", false, {3, 2, 3}, {3, 2, 2}, "1 2 3"},
    {"1+ 2+ 3-", "m3", 0, "", false, {3, 2, 2}, {3, 2, 2}, "1 2 3"},
    {"1+ 2+ 3-", "r3", 0, "", true, {3, 2, 2}, {2, 2, 2}, "1 2"},
    /* What would lose the quorum. */
    {"1+ 2+ 3-",
     "r2",
     KV_ERR_REFUSED,
     "after the change 2 of 2 voters must answer, and only 1 would be reachable and caught up: not "
     "node 3",
     true,
     {3, 2, 2},
     {2, 2, 1},
     "1 3"},
    {"1+ 2+ 3~", "r2", KV_ERR_REFUSED, "not node 3", true, {3, 2, 2}, {2, 2, 1}, "1 3"},
    {"1+ 2+ 3-",
     "m2",
     KV_ERR_REFUSED,
     "after the change 2 of 3",
     false,
     {3, 2, 2},
     {3, 2, 1},
     "1 2 3"},
    {"1+ 2- 3- l4+ l5+",
     "p4 p5 r2 r3",
     KV_ERR_REFUSED,
     "during the change 2 of 3",
     true,
     {3, 2, 1},
     {3, 2, 3},
     "1 4 5"},
    {"1+ l2-", "p2", KV_ERR_REFUSED, "node 2 is not reachable", true, {1, 1, 1}, {2, 2, 1}, "1 2"},
    {"1+ 2+ 3+ l4~",
     "p4",
     KV_ERR_REFUSED,
     "node 4 has not caught up",
     true,
     {3, 2, 3},
     {4, 3, 3},
     "1 2 3 4"},
    /* What is impossible. */
    {"1+ 2+", "a2", KV_ERR_INVALID, "node 2 is a member already, at h:2", 0, {0}, {0}, NULL},
    {"1+ 2+", "r3", KV_ERR_INVALID, "node 3 is no member", 0, {0}, {0}, NULL},
    {"1+ 2+", "p3", KV_ERR_INVALID, "node 3 is no member", 0, {0}, {0}, NULL},
    {"1+ 2+", "m3", KV_ERR_INVALID, "node 3 is no member", 0, {0}, {0}, NULL},
    {"1+ 2+", "p2", KV_ERR_INVALID, "node 2 is a voter already", 0, {0}, {0}, NULL},
    {"1+ l2+", "r1", KV_ERR_INVALID, "nobody would be left to vote", 0, {0}, {0}, NULL},
    {"1+ 2+", "m2 m2", KV_ERR_INVALID, "node 2 is at h:92 already", 0, {0}, {0}, NULL},
    {"1+ 2+ 92+", "m2", KV_ERR_INVALID, "h:92 is the address of node 92", 0, {0}, {0}, NULL},
    {"1+ 2+", "a92 m2", KV_ERR_INVALID, "h:92 is the address of node 92", 0, {0}, {0}, NULL},
    {"1+ 2+ 3+", "r3 a3", KV_ERR_INVALID, "node 3 cannot leave and come back", 0, {0}, {0}, NULL},
    {"1+ 2+ 3+", "a65000", KV_ERR_INVALID, "h:65000 cannot be used", 0, {0}, {0}, NULL},
    {"1+ 2+ 3+ 4+ 5+ 6+ 7+ 8+ 9+", "a10", KV_ERR_INVALID, "at most 9 members", 0, {0}, {0}, NULL},
    {"1+ 2+ 3+ 4+ 5+ 6+ 7+ 8+ 9+",
     "r9 a10",
     KV_ERR_INVALID,
     "meanwhile 10 servers",
     0,
     {0},
     {0},
     NULL},
};

static const char *take_word(const char *text, char word[32])
{
    size_t size = strcspn(text, " ");
    assert_true(size < 32);
    memcpy(word, text, size);
    word[size] = '\0';
    return text[size] == ' ' ? text + size + 1 : text + size;
}

static void read_cluster(const char *text, struct raft_membership *ret_membership,
                         struct plan_view views[RAFT_MEMBERS_MAX])
{
    struct raft_membership membership = {.count = 0};
    while (*text != '\0') {
        char word[32];
        text = take_word(text, word);
        bool learns = word[0] == 'l' || word[0] == 'k';
        char *sign = NULL;
        struct raft_member *member = &membership.members[membership.count];
        *member = (struct raft_member){.voter = !learns, .keep_learner = word[0] == 'k'};
        member->id = strtoull(word + learns, &sign, 10);
        (void)snprintf(member->address, sizeof member->address, "h:%llu",
                       (unsigned long long)member->id);
        views[membership.count] =
            (struct plan_view){.reachable = *sign != '-', .caught_up = *sign == '+'};
        membership.count++;
    }
    *ret_membership = membership;
}

static size_t read_edits(const char *text, struct membership_edit edits[ADMIN_EDITS_MAX])
{
    size_t count = 0;
    while (*text != '\0') {
        char word[32];
        text = take_word(text, word);
        struct membership_edit *edit = &edits[count++];
        *edit = (struct membership_edit){.id = strtoull(word + 1, NULL, 10)};
        const char *letters = "akprm";
        const char *letter = strchr(letters, word[0]);
        assert_non_null(letter);
        edit->operation = (enum edit_operation)(letter - letters);
        if (edit->operation != EDIT_PROMOTE && edit->operation != EDIT_REMOVE) {
            (void)snprintf(edit->address, sizeof edit->address, "h:%llu",
                           (unsigned long long)edit->id + (edit->operation == EDIT_MOVE ? 90 : 0));
        }
    }
    return count;
}

static void expect_wanted(const struct raft_membership *wanted, const char *expected)
{
    char text[256] = "";
    size_t size = 0;
    for (size_t i = 0; i < wanted->count; i++) {
        const struct raft_member *member = &wanted->members[i];
        const char *kind = member->voter ? "" : member->keep_learner ? "k" : "l";
        assert_false(member->voter && member->keep_learner);
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%s%llu", i == 0 ? "" : " ",
                                 kind, (unsigned long long)member->id);
    }
    assert_string_equal(text, expected);
}

static void expect_voters(const struct admin_voters *voters, const struct admin_voters *expected)
{
    assert_int_equal(voters->count, expected->count);
    assert_int_equal(voters->quorum, expected->quorum);
    assert_int_equal(voters->ready, expected->ready);
}

static void check_case(const struct plan_case *plan_case, bool force)
{
    struct raft_membership present;
    struct membership_edit edits[ADMIN_EDITS_MAX];
    struct plan_question question = {.client_port_offset = 1000, .force = force};
    read_cluster(plan_case->cluster, &present, question.views);
    question.present = &present;
    question.edits = edits;
    question.edit_count = read_edits(plan_case->edits, edits);
    struct admin_plan plan = {.joint = false};
    char sentence[PLAN_SENTENCE_SIZE] = "";
    bool forced = force && plan_case->verdict == KV_ERR_REFUSED;
    print_message("# %s: %s%s\n", plan_case->cluster, plan_case->edits, force ? ", forced" : "");
    assert_int_equal(plan_make(&question, &plan, sentence), forced ? 0 : plan_case->verdict);
    if (strstr(sentence, forced ? "" : plan_case->sentence) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", sentence, plan_case->sentence);
    }
    if (plan_case->verdict != KV_ERR_INVALID) {
        assert_int_equal(plan.joint, plan_case->joint);
        expect_voters(&plan.before, &plan_case->before);
        expect_voters(&plan.after, &plan_case->after);
        expect_wanted(&plan.wanted, plan_case->wanted);
    }
}

static void each_change_gets_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_case(&cases[i], false);
    }
}

static void force_does_what_is_possible(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_case(&cases[i], true);
    }
}

static void a_member_that_stays_keeps_what_it_has(void **state)
{
    (void)state;
    struct raft_membership present;
    struct plan_question question = {.client_port_offset = 1000};
    read_cluster("1+ 2+ 3+", &present, question.views);
    present.members[1].incarnation = 77;
    const struct membership_edit edits[] = {{.operation = EDIT_MOVE, .id = 2, .address = "x:2"}};
    question.present = &present;
    question.edits = edits;
    question.edit_count = 1;
    struct admin_plan plan;
    char sentence[PLAN_SENTENCE_SIZE];
    assert_int_equal(plan_make(&question, &plan, sentence), 0);
    assert_int_equal(plan.wanted.members[1].incarnation, 77);
    assert_string_equal(plan.wanted.members[1].address, "x:2");
    assert_string_equal(plan.wanted.members[2].address, "h:3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_change_gets_its_verdict),
        cmocka_unit_test(force_does_what_is_possible),
        cmocka_unit_test(a_member_that_stays_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
