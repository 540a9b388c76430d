/* The commands of who takes part: what they ask for, and what they say, word for word. */
#include "cli/verbs.h"
#include "cli/words.h"

#include "fake_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct fixture {
    struct cli cli;
    char *text;
    size_t size;
    struct words words;
    enum exit_status exit_status;
};

static const struct kvapp_peers three = {
    .answered = 1,
    .leader = 1,
    .index = 5,
    .count = 3,
    .at =
        {{.id = 1, .address = "h:1", .voter = true, .connected = true, .priority = 1, .match = 90},
         {.id = 2, .address = "h:2", .voter = true, .connected = true, .priority = 5, .match = 90},
         {.id = 3, .address = "h:3", .voter = true, .match = 7}},
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct kvapp_client_options options = {.cluster = "127.0.0.1:8080"};
    assert_int_equal(kvapp_client_new(&options, &fixture->cli.client), 0);
    fixture->cli.timeout_ms = 300;
    fake_client_set_peers(fixture->cli.client, &three, 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    kvapp_client_free(fixture->cli.client);
    output_done(&fixture->cli.output);
    words_done(&fixture->words);
    free(fixture->text);
    free(fixture);
    return 0;
}

/* Carries out a line of the shell and returns what it printed. */
static const char *run(struct fixture *fixture, const char *line)
{
    free(fixture->text);
    fixture->text = NULL;
    FILE *out = open_memstream(&fixture->text, &fixture->size);
    assert_non_null(out);
    fixture->cli.output.out = out;
    fixture->cli.output.complaints = out;
    char error[128];
    assert_int_equal(words_split(&fixture->words, slice_of_string(line), error, sizeof error), 0);
    fixture->exit_status = verb_run(&fixture->cli, fixture->words.at, fixture->words.count, NULL);
    (void)fclose(out);
    return fixture->text;
}

static void expect_changes(struct fixture *fixture, const char *changes)
{
    assert_string_equal(fake_client_changes(fixture->cli.client), changes);
}

static void list_is_a_table_of_who_takes_part(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "member list"),
                        "ID  ADDRESS  ROLE    CONNECTED  PRIORITY  STORED\n"
                        " 1  h:1      leader  yes               1      90\n"
                        " 2  h:2      voter   yes               5      90\n"
                        " 3  h:3      voter   no                0       7\n");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    fixture->cli.output.json = true;
    assert_string_equal(
        run(fixture, "member list"),
        "{\"ok\":true,\"answered\":1,\"leader\":1,\"index\":5,\"joint\":false,\"members\":["
        "{\"id\":1,\"address\":\"h:1\",\"role\":\"leader\",\"voter\":true,\"connected\":true,"
        "\"priority\":1,\"stored\":90},"
        "{\"id\":2,\"address\":\"h:2\",\"role\":\"voter\",\"voter\":true,\"connected\":true,"
        "\"priority\":5,\"stored\":90},"
        "{\"id\":3,\"address\":\"h:3\",\"role\":\"voter\",\"voter\":true,\"connected\":false,"
        "\"priority\":0,\"stored\":7}]}\n");
}

static void roles_say_what_happens_to_them(void **state)
{
    struct fixture *fixture = *state;
    struct kvapp_peers peers = three;
    peers.leader = 0;
    peers.joint = true;
    peers.count = 4;
    peers.at[0].voter_old = true;
    peers.at[1].voter = false;
    peers.at[1].voter_old = true;
    peers.at[3] = (struct kvapp_peer){.id = 4, .address = "h:4", .keep_learner = true};
    fake_client_set_peers(fixture->cli.client, &peers, 0);
    assert_string_equal(run(fixture, "member list"),
                        "ID  ADDRESS  ROLE           CONNECTED  PRIORITY  STORED\n"
                        " 1  h:1      voter          yes               1       -\n"
                        " 2  h:2      leaving voter  yes               5       -\n"
                        " 3  h:3      joining voter  no                0       -\n"
                        " 4  h:4      kept learner   no                0       -\n"
                        "as node 1 sees it; it knows of no leader that answers\n");
}

static void changes_are_asked_for_and_their_end_is_told(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "member add 4=h:4"),
                        "OK, 3 voters (1, 2, 3 not connected), of which 2 must answer\n"
                        "node 4 is not there yet; start it with an empty directory:\n"
                        "    kvapp server --node-id 4 --bind h:4 --join h:1 --data-dir DIR\n");
    assert_string_equal(
        run(fixture, "member promote 4"),
        "OK, 4 voters (1, 2, 3 not connected, 4 not connected), of which 3 must answer\n");
    assert_string_equal(run(fixture, "member remove 3"),
                        "OK, 3 voters (1, 2, 4 not connected), of which 2 must answer\n");
    (void)run(fixture, "member move 2 x:9");
    (void)run(fixture, "member add 5=h:5 --learner");
    (void)run(fixture, "member remove 2 --force");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    expect_changes(fixture, "a4 p4 r3 m2 k5 !r2");
}

static void a_dry_run_says_what_may_fail_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(
        run(fixture, "member remove 3 --dry-run"),
        "Now:        3 voters (1, 2, 3 not connected), of which 2 must answer; 2 would: 0 of "
        "them may fail\n"
        "Meanwhile:  both of these must have their quorum; 0 may fail\n"
        "Afterwards: 2 voters (1, 2), of which 2 must answer; 2 would: 0 of them "
        "may fail\n");
    assert_string_equal(
        run(fixture, "member add 4=h:4 --dry-run"),
        "Now:        3 voters (1, 2, 3 not connected), of which 2 must answer; 2 would: 0 of "
        "them may fail\n"
        "Meanwhile:  as now; the change is one entry of the log\n"
        "Afterwards: 3 voters (1, 2, 3 not connected), of which 2 must answer; 2 would: 0 of "
        "them may fail\n"
        "Later:      4 voters, of which 3 must answer, once the learners have "
        "caught up\n");
    expect_changes(fixture, "?r3 ?a4");
    fixture->cli.output.json = true;
    const char *text = run(fixture, "member remove 3 --dry-run");
    assert_non_null(strstr(text, "{\"ok\":true,\"joint\":true,"
                                 "\"before\":{\"voters\":3,\"quorum\":2,\"ready\":2},"
                                 "\"after\":{\"voters\":2,\"quorum\":2,\"ready\":2},"));
}

static void a_refusal_shows_why_and_what_to_do(void **state)
{
    struct fixture *fixture = *state;
    fake_client_refuse(fixture->cli.client, KV_ERR_REFUSED, "h:1 answered: not node 3");
    const char *text = run(fixture, "member remove 2");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_non_null(strstr(
        text, "Afterwards: 2 voters (1, 3 not connected), of which 2 must answer; 1 would: 1 "
              "too few\n"));
    assert_non_null(strstr(text, "Error: the change was refused (h:1 answered: not node 3); "
                                 "--force does it all the same\n"));
    fixture->cli.output.json = true;
    assert_string_equal(run(fixture, "member remove 2"),
                        "{\"ok\":false,\"error\":\"refused\",\"message\":\"the change was "
                        "refused\",\"detail\":\"h:1 answered: not node 3\"}\n");
}

static void a_replacement_waits_until_the_new_one_has_caught_up(void **state)
{
    struct fixture *fixture = *state;
    fake_client_set_peers(fixture->cli.client, &three, 20);
    (void)run(fixture, "member replace 3 4=h:4");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    expect_changes(fixture, "k4 p4r3");
    /* Once more: nothing is left to be done. */
    assert_string_equal(run(fixture, "member replace 3 4=h:4"),
                        "OK, 3 voters (1, 2, 4), of which 2 must answer\n");
    expect_changes(fixture, "k4 p4r3");
}

static void a_replacement_goes_on_where_it_was(void **state)
{
    struct fixture *fixture = *state;
    const char *text = run(fixture, "member replace 3 4=h:4");
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    assert_non_null(strstr(text, "--node-id 4 --bind h:4 --join h:1"));
    assert_non_null(strstr(text, "node 4 has not caught up; the same command goes on from here"));
    expect_changes(fixture, "k4");
    struct kvapp_peers peers = three;
    peers.count = 4;
    peers.at[3] = (struct kvapp_peer){.id = 4, .address = "h:4", .keep_learner = true};
    fake_client_set_peers(fixture->cli.client, &peers, 50);
    (void)run(fixture, "member replace 3 4=h:4");
    expect_changes(fixture, "k4 p4r3");
}

static void a_replacement_can_be_tried_before(void **state)
{
    struct fixture *fixture = *state;
    const char *text = run(fixture, "member replace 3 4=h:4 --dry-run");
    assert_non_null(strstr(
        text, "Afterwards: 3 voters (1, 2, 4 not connected), of which 2 must answer; 2 would"));
    expect_changes(fixture, "?!k4p4r3");
    assert_string_equal(run(fixture, "member replace 3 2=h:9"),
                        "Error: node 2 is a member already, at h:2\n");
    assert_string_equal(run(fixture, "member replace 3 3=h:9"),
                        "Error: the new member needs an id of its own\n");
}

static void what_was_lost_on_the_way_is_told(void **state)
{
    struct fixture *fixture = *state;
    fake_client_fail(fixture->cli.client, KV_ERR_OUTCOME_UNKNOWN, "list the members to see");
    const char *text = run(fixture, "member remove 3");
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    assert_non_null(strstr(text, "outcome unknown"));
    assert_non_null(strstr(text, "list the members to see"));
    assert_null(strstr(text, "read the key"));
}

static void wrong_words_are_explained(void **state)
{
    struct fixture *fixture = *state;
    static const char *const lines[] = {
        "member add 4",
        "member add h:4",
        "member remove x",
        "member remove 0",
        "member list --force",
        "member sing 3",
        "member remove",
        "member replace 3",
        "member remove 3 4",
        "member add 4=h:4,5=h:5",
        "leader sing",
        "leader transfer x",
        "member remove 3 --learner",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const char *text = run(fixture, lines[i]);
        print_message("# %s: %s", lines[i], text);
        assert_int_equal(fixture->exit_status, EXIT_USAGE);
        assert_true(strncmp(text, "Error: ", 7) == 0 || strncmp(text, "Usage: ", 7) == 0);
    }
    expect_changes(fixture, "");
}

static void leader_and_snapshots_are_asked_for(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "leader transfer 3"), "OK, node 3 leads\n");
    assert_string_equal(run(fixture, "leader transfer"), "OK, node 2 leads\n");
    assert_string_equal(run(fixture, "snapshot"),
                        "node 1: a snapshot up to entry 90 is on the disk\n"
                        "node 2: a snapshot up to entry 90 is on the disk\n"
                        "Error: node 3 took none: h:3 does not answer\n");
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    fixture->cli.output.json = true;
    assert_string_equal(run(fixture, "leader transfer 3"), "{\"ok\":true,\"leader\":3}\n");
    assert_string_equal(run(fixture, "snapshot"),
                        "{\"ok\":false,\"snapshots\":[{\"id\":1,\"index\":90},"
                        "{\"id\":2,\"index\":90},{\"id\":3,\"error\":\"h:3 does not answer\"}]}\n");
}

static void a_server_that_applied_nothing_has_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    struct kvapp_peers one = {
        .answered = 1,
        .count = 1,
        .at = {{.id = 1, .address = "h:1", .voter = true, .connected = true}},
    };
    fake_client_set_peers(fixture->cli.client, &one, 0);
    assert_string_equal(run(fixture, "snapshot"),
                        "node 1: no snapshot, for it has just started and applied nothing yet\n");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
}

#define WITH_CLIENT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLIENT(list_is_a_table_of_who_takes_part),
        WITH_CLIENT(roles_say_what_happens_to_them),
        WITH_CLIENT(changes_are_asked_for_and_their_end_is_told),
        WITH_CLIENT(a_dry_run_says_what_may_fail_meanwhile),
        WITH_CLIENT(a_refusal_shows_why_and_what_to_do),
        WITH_CLIENT(a_replacement_waits_until_the_new_one_has_caught_up),
        WITH_CLIENT(a_replacement_goes_on_where_it_was),
        WITH_CLIENT(a_replacement_can_be_tried_before),
        WITH_CLIENT(what_was_lost_on_the_way_is_told),
        WITH_CLIENT(wrong_words_are_explained),
        WITH_CLIENT(leader_and_snapshots_are_asked_for),
        WITH_CLIENT(a_server_that_applied_nothing_has_no_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
