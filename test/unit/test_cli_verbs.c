/* The commands: what they do, what they print, word for word, as text and as JSON. */
#include "cli/verbs.h"
#include "cli/words.h"

#include "fake_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct cli cli;
    char *text; /* of the last command: replies and complaints, in order */
    size_t size;
    char *remarks;
    size_t remarks_size;
    struct words words;
    enum exit_status exit_status;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct kvapp_client_options options = {.cluster = "127.0.0.1:8080"};
    assert_int_equal(kvapp_client_new(&options, &fixture->cli.client), 0);
    fixture->cli.timeout_ms = 5000;
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
    free(fixture->remarks);
    free(fixture);
    return 0;
}

/* Carries out a line of the shell and returns what it printed. */
static const char *run(struct fixture *fixture, const char *line)
{
    free(fixture->text);
    free(fixture->remarks);
    fixture->text = NULL;
    fixture->remarks = NULL;
    FILE *out = open_memstream(&fixture->text, &fixture->size);
    FILE *remarks = open_memstream(&fixture->remarks, &fixture->remarks_size);
    assert_non_null(out);
    assert_non_null(remarks);
    fixture->cli.output.out = out;
    fixture->cli.output.complaints = out;
    fixture->cli.remarks = remarks;
    char error[128];
    assert_int_equal(words_split(&fixture->words, slice_of_string(line), error, sizeof error), 0);
    fixture->exit_status = verb_run(&fixture->cli, fixture->words.at, fixture->words.count, NULL);
    (void)fclose(out);
    (void)fclose(remarks);
    return fixture->text;
}

static json_t *run_json(struct fixture *fixture, const char *line)
{
    fixture->cli.output.json = true;
    const char *text = run(fixture, line);
    json_error_t error;
    json_t *object = json_loads(text, JSON_ALLOW_NUL, &error);
    assert_non_null(object);
    assert_true(json_is_object(object));
    assert_int_equal(strcspn(text, "\n") + 1, strlen(text));
    return object;
}

static const char *text_of(json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    assert_non_null(text);
    return text;
}

static void replies_are_those_of_the_original_shell(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "get k"), "Key not found\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_string_equal(run(fixture, "put k  two   words"), "OK\n");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    assert_string_equal(run(fixture, "get k"), "two words\n");
    assert_string_equal(run(fixture, "put \"a b\" ''"), "OK\n");
    assert_string_equal(run(fixture, "get 'a b'"), "\n");
    assert_string_equal(run(fixture, "list"), "a b\nk\n");
    assert_string_equal(run(fixture, "list x"), "No keys found\n");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    assert_string_equal(run(fixture, "delete k"), "OK\n");
    assert_string_equal(run(fixture, "delete k"), "Key not found\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_string_equal(run(fixture, ""), "");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
    assert_string_equal(run(fixture, "quit"), "Goodbye!\n");
    assert_true(fixture->cli.quit);
}

static void empty_value_is_an_empty_line(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "put k ''"), "OK\n");
    assert_string_equal(run(fixture, "get k"), "\n");
    fixture->cli.output.raw = true;
    assert_string_equal(run(fixture, "get k"), "\n");
    json_t *object = run_json(fixture, "get k");
    assert_string_equal(text_of(object, "value"), "");
    json_decref(object);
}

static void wrong_usage_is_explained(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *line;
        const char *reply;
    } cases[] = {
        {"get", "Usage: get <key>\n"},
        {"get a b", "Usage: get <key>\n"},
        {"put a", "Usage: put <key> <value> [--ttl MS] [--if-absent]\n"},
        {"put a b --ttl 10s",
         "Error: --ttl: \"10s\" is not a number in 1..9223372036854775807 ms\n"},
        {"put a b --loud", "Error: unknown option --loud; write -- before words that begin with a "
                           "dash\n"},
        {"cas a 1 b --if-absent", "Error: --if-absent is not an option of this command\n"},
        {"incr", "Usage: incr <key> [number]\n"},
        {"incr a 1.5", "Error: the number: \"1.5\" is not a number in "
                       "-9223372036854775808..9223372036854775807\n"},
        {"incr a -9223372036854775809",
         "Error: the number: \"-9223372036854775809\" is not a number in "
         "-9223372036854775808..9223372036854775807\n"},
        {"append a", "Usage: append <key> <value>\n"},
        {"expire a", "Usage: expire <key> <ms>\n"},
        {"expire a soon", "Error: the milliseconds: \"soon\" is not a number in "
                          "0..9223372036854775807\n"},
        {"ttl a b", "Usage: ttl <key>\n"},
        {"delete", "Usage: delete <key>\n"},
        {"cas a 1", "Usage: put-if <key> <revision> <value> [--ttl MS]\n"},
        {"status now", "Usage: status\n"},
        {"list a b", "Usage: list [prefix] [--limit N] [--start KEY] [--end KEY] [--values]\n"},
        {"delete-range", "Usage: delete-range [prefix] [--start KEY] [--end KEY]\n"},
        {"delete-range a --limit 3", "Usage: delete-range [prefix] [--start KEY] [--end KEY]\n"},
        {"frob a", "Unknown command: frob. Type 'help' for available commands.\n"},
        {"\"\\x1b[2J\"", "Unknown command: \\x1b[2J. Type 'help' for available commands.\n"},
        {"list --limit 0", "Error: --limit: \"0\" is not a number in 1..9223372036854775807\n"},
        {"list --cluster a:1", "Error: --cluster is not an option of this command\n"},
        {"cas a one b", "Error: the revision: \"one\" is not a number in "
                        "0..9223372036854775807\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(run(fixture, cases[i].line), cases[i].reply);
        assert_int_equal(fixture->exit_status, EXIT_USAGE);
    }
}

static void failure_says_what_to_do_and_what_the_client_knows(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        int status;
        const char *line;
        const char *reply;
        enum exit_status exit_status;
    } cases[] = {
        {KV_ERR_TIMEOUT, "get k",
         "Error: no answer came in time (a:1: refused); check that most of the servers are "
         "running ('status' shows them)\n",
         EXIT_NO_ANSWER},
        {KV_ERR_OUTCOME_UNKNOWN, "put k v",
         "Error: leadership was lost, outcome unknown: the write may or may not have taken effect "
         "(a:1: refused); read the key to see\n",
         EXIT_NO_ANSWER},
        {KV_ERR_KEY_EMPTY, "put \"\" v", "Error: the key is empty; give a key of 1 to 4096 bytes\n",
         EXIT_USAGE},
        {KV_ERR_BUSY, "delete k", "Error: too much is in flight; try again (a:1: refused)\n",
         EXIT_NO_ANSWER},
        {KV_ERR_CONNECTION, "list",
         "Error: the connection was refused or broke (a:1: refused); check the addresses of "
         "--cluster, and that the servers are running\n",
         EXIT_NO_ANSWER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_client_fail(fixture->cli.client, cases[i].status, "a:1: refused");
        assert_string_equal(run(fixture, cases[i].line), cases[i].reply);
        assert_int_equal(fixture->exit_status, cases[i].exit_status);
    }
}

static void a_write_in_doubt_says_how_to_ask_for_it(void **state)
{
    struct fixture *fixture = *state;
    fake_client_doubt(fixture->cli.client, 7, 12);
    assert_string_equal(
        run(fixture, "put k v"),
        "Error: leadership was lost, outcome unknown: the write may or may not have taken effect; "
        "read the key to see\n"
        "Before this client's next write, 'outcome 7 12' tells what became of it; 'cancel 7 12' "
        "also makes sure that it does not happen later\n");
    fake_client_doubt(fixture->cli.client, 7, 12);
    json_t *object = run_json(fixture, "delete k");
    assert_int_equal(json_integer_value(json_object_get(object, "session")), 7);
    assert_int_equal(json_integer_value(json_object_get(object, "sequence")), 12);
    json_decref(object);
}

static void outcomes_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        int status;
        const char *reply;
        const char *name;
        enum exit_status exit_status;
    } cases[] = {
        {0, "Applied, at revision 19\n", "applied", EXIT_DONE},
        {KV_ERR_CONDITION, "Had no effect, and will have none\n", "no_effect", EXIT_NOT},
        {KV_ERR_NOT_FOUND, "Had no effect, and will have none\n", "no_effect", EXIT_NOT},
        {KV_ERR_NOT_INTEGER, "Had no effect, and will have none\n", "no_effect", EXIT_NOT},
        {KV_ERR_OVERFLOW, "Had no effect, and will have none\n", "no_effect", EXIT_NOT},
        {KV_ERR_VALUE_TOO_LARGE, "Had no effect, and will have none\n", "no_effect", EXIT_NOT},
        {KV_ERR_OUTCOME_UNKNOWN,
         "Not applied so far; a copy that is on its way may be ('cancel' prevents it)\n",
         "possible", EXIT_NOT},
        {KV_ERR_SEQUENCE_STALE,
         "Not known any more; if it was not applied, it will not be from now on: read the key\n",
         "forgotten", EXIT_NOT},
        {KV_ERR_SESSION_UNKNOWN,
         "Not known any more; if it was not applied, it will not be from now on: read the key\n",
         "forgotten", EXIT_NOT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_client_fail(fixture->cli.client, cases[i].status, "");
        assert_string_equal(run(fixture, "outcome 7 12"), cases[i].reply);
        assert_int_equal(fixture->exit_status, cases[i].exit_status);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_client_fail(fixture->cli.client, cases[i].status, "");
        json_t *object = run_json(fixture, "cancel 7 12");
        assert_string_equal(json_string_value(json_object_get(object, "outcome")), cases[i].name);
        json_decref(object);
    }
}

static void outcomes_that_cannot_be_had_are_failures(void **state)
{
    struct fixture *fixture = *state;
    fake_client_fail(fixture->cli.client, KV_ERR_BUSY, "");
    assert_string_equal(run(fixture, "cancel 7 12"), "Error: too much is in flight; try again\n");
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    assert_string_equal(run(fixture, "outcome 7 x"),
                        "Error: the sequence: \"x\" is not a number in 0..9223372036854775807\n");
    assert_string_equal(run(fixture, "outcome 7"), "Usage: outcome <session> <sequence>\n");
}

static void conditions_are_met_or_say_where_the_key_is(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "put-if k 0 a b"), "OK\n");
    assert_string_equal(run(fixture, "get k"), "a b\n");
    assert_string_equal(run(fixture, "put-if k 0 c"),
                        "Condition not met: the key is at revision 1\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_string_equal(run(fixture, "cas k 1 c"), "OK\n");
    assert_string_equal(run(fixture, "cas other 5 c"), "Condition not met: the key is not there\n");
    assert_string_equal(run(fixture, "delete-if k 1"),
                        "Condition not met: the key is at revision 2\n");
    assert_string_equal(run(fixture, "delete-if k 2"), "OK\n");
    assert_string_equal(run(fixture, "get k"), "Key not found\n");
}

static void keys_can_be_told_when_to_go(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "ttl k"), "Key not found\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_string_equal(run(fixture, "expire k 5"), "Key not found\n");
    assert_string_equal(run(fixture, "put k two words --ttl 2500"), "OK\n");
    assert_string_equal(run(fixture, "get k"), "two words\n");
    assert_string_equal(run(fixture, "ttl k"), "2500\n");
    assert_string_equal(run(fixture, "expire k 300"), "OK\n");
    assert_string_equal(run(fixture, "ttl k"), "300\n");
    assert_string_equal(run(fixture, "expire k 0"), "OK\n");
    assert_string_equal(run(fixture, "ttl k"), "never\n");
    assert_string_equal(run(fixture, "put-if k 3 v --ttl 70"), "OK\n");
    json_t *object = run_json(fixture, "ttl k");
    assert_int_equal(json_integer_value(json_object_get(object, "ttl_ms")), 70);
    assert_int_equal(json_integer_value(json_object_get(object, "revision")), 4);
    assert_int_equal(json_integer_value(json_object_get(object, "created")), 1);
    assert_int_equal(json_integer_value(json_object_get(object, "version")), 2);
    assert_int_equal(json_integer_value(json_object_get(object, "size")), 1);
    json_decref(object);
    json_decref(run_json(fixture, "expire k 0"));
    object = run_json(fixture, "ttl k");
    assert_true(json_is_null(json_object_get(object, "ttl_ms")));
    json_decref(object);
    object = run_json(fixture, "ttl nothing");
    assert_string_equal(text_of(object, "error"), "not_found");
    json_decref(object);
}

static void a_put_if_absent_takes_a_lock_once(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "put lock me --ttl 10000 --if-absent"), "OK\n");
    assert_string_equal(run(fixture, "put lock you --if-absent"),
                        "Condition not met: the key is at revision 1\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    assert_string_equal(run(fixture, "put -- lock --if-absent"), "OK\n");
    assert_string_equal(run(fixture, "get lock"), "--if-absent\n");
}

static void numbers_and_texts_grow_in_place(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(run(fixture, "incr n"), "1\n");
    assert_string_equal(run(fixture, "incr n 41"), "42\n");
    assert_string_equal(run(fixture, "incr n -50"), "-8\n");
    assert_string_equal(run(fixture, "append n  and more"), "OK, 10 bytes\n");
    assert_string_equal(run(fixture, "append x y"), "OK, 1 byte\n");
    assert_string_equal(run(fixture, "incr n"),
                        "Error: the value is not an integer or out of range\n");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    json_t *object = run_json(fixture, "incr m -9223372036854775808");
    assert_true(json_integer_value(json_object_get(object, "number")) == INT64_MIN);
    assert_int_equal(json_integer_value(json_object_get(object, "revision")), 6);
    json_decref(object);
    object = run_json(fixture, "append x z");
    assert_int_equal(json_integer_value(json_object_get(object, "size")), 2);
    json_decref(object);
    object = run_json(fixture, "incr x");
    assert_string_equal(text_of(object, "error"), "not_integer");
    json_decref(object);
}

static void ranges_have_limits_on_both_sides(void **state)
{
    struct fixture *fixture = *state;
    static const char *const keys[] = {"a", "b1", "b2", "b3", "c"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char line[32];
        (void)snprintf(line, sizeof line, "put %s v-%s", keys[i], keys[i]);
        (void)run(fixture, line);
    }
    assert_string_equal(run(fixture, "list b"), "b1\nb2\nb3\n");
    assert_string_equal(run(fixture, "list --start b2"), "b2\nb3\nc\n");
    assert_string_equal(run(fixture, "list --end=b2"), "a\nb1\n");
    assert_string_equal(run(fixture, "list b --limit 2"), "b1\nb2\n");
    assert_string_equal(run(fixture, "list b --start b2 --limit 1 --values"), "b2\tv-b2\n");
    assert_string_equal(run(fixture, "scan --end b"), "a\tv-a\n");
    assert_string_equal(run(fixture, "delete-range b --start b2"), "OK, 2 keys deleted\n");
    assert_string_equal(run(fixture, "delete-range a"), "OK, 1 key deleted\n");
    assert_string_equal(run(fixture, "delete-range z"), "OK, 0 keys deleted\n");
    assert_string_equal(run(fixture, "list"), "b1\nc\n");
}

static void long_list_comes_in_bounded_pages(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 2500 };
    for (int i = 0; i < COUNT; i++) {
        char key[32];
        struct kvapp_reply reply;
        (void)snprintf(key, sizeof key, "k%06d", i);
        assert_int_equal(kvapp_put(fixture->cli.client, key, 7, "v", 1, &reply), 0);
    }
    const char *text = run(fixture, "list k");
    for (int i = 0; i < COUNT; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "k%06d\n", i);
        assert_memory_equal(text + (size_t)i * 8, key, 8);
    }
    assert_int_equal(strlen(text), COUNT * 8);
    assert_int_equal(fake_client_pages(fixture->cli.client), 3);
    assert_int_equal(fake_client_limit_max(fixture->cli.client), 1000);
    assert_int_equal(strlen(run(fixture, "list --limit 1001")), 1001 * 8);
    json_t *object = run_json(fixture, "list");
    assert_int_equal(json_array_size(json_object_get(object, "keys")), COUNT);
    assert_int_equal(json_integer_value(json_object_get(object, "count")), COUNT);
    json_decref(object);
}

static void list_that_cannot_be_written_stops_asking(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2500; i++) {
        char key[32];
        struct kvapp_reply reply;
        (void)snprintf(key, sizeof key, "k%06d", i);
        assert_int_equal(kvapp_put(fixture->cli.client, key, 7, "v", 1, &reply), 0);
    }
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    fixture->cli.output.out = full;
    fixture->cli.output.complaints = full;
    struct slice word = slice_of_string("list");
    (void)verb_run(&fixture->cli, &word, 1, NULL);
    assert_int_equal(fake_client_pages(fixture->cli.client), 1);
    (void)fclose(full);
}

static bool always(void)
{
    return true;
}

static void interrupt_stops_a_list_after_the_page(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 1500; i++) {
        char key[32];
        struct kvapp_reply reply;
        (void)snprintf(key, sizeof key, "k%06d", i);
        assert_int_equal(kvapp_put(fixture->cli.client, key, 7, "v", 1, &reply), 0);
    }
    fixture->cli.interrupted = always;
    assert_string_equal(run(fixture, "list") + 1000 * 8, "Interrupted\n");
}

static void bytes_are_escaped_unless_asked_for_raw(void **state)
{
    struct fixture *fixture = *state;
    (void)run(fixture, "put \"k\\x00\\xff\" \"a\\n\\\\b\"");
    assert_string_equal(run(fixture, "list"), "k\\x00\\xff\n");
    assert_string_equal(run(fixture, "get \"k\\x00\\xff\""), "a\\x0a\\\\b\n");
    fixture->cli.output.raw = true;
    assert_string_equal(run(fixture, "get \"k\\x00\\xff\""), "a\n\\b\n");
}

static void json_replies_read_back_as_what_was_written(void **state)
{
    struct fixture *fixture = *state;
    json_t *object = run_json(fixture, "put k \"gr\\xc3\\xbc\\xc3\\x9f\\n\"");
    assert_true(json_is_true(json_object_get(object, "ok")));
    assert_string_equal(text_of(object, "key"), "k");
    assert_int_equal(json_integer_value(json_object_get(object, "revision")), 1);
    json_decref(object);
    object = run_json(fixture, "get k");
    assert_string_equal(text_of(object, "value"), "gr\xc3\xbc\xc3\x9f\n");
    json_decref(object);
    object = run_json(fixture, "get nothing");
    assert_true(json_is_false(json_object_get(object, "ok")));
    assert_string_equal(text_of(object, "error"), "not_found");
    assert_string_equal(text_of(object, "message"), "Key not found");
    assert_int_equal(fixture->exit_status, EXIT_NOT);
    json_decref(object);
    object = run_json(fixture, "put-if k 7 x");
    assert_string_equal(text_of(object, "error"), "condition");
    assert_int_equal(json_integer_value(json_object_get(object, "revision")), 1);
    json_decref(object);
    object = run_json(fixture, "delete-range k");
    assert_int_equal(json_integer_value(json_object_get(object, "deleted")), 1);
    json_decref(object);
}

static void json_shows_what_is_no_utf8_in_base64(void **state)
{
    struct fixture *fixture = *state;
    json_t *object = run_json(fixture, "put \"\\xff\" \"\\x00\\xfe\\xff\\xfd\"");
    assert_string_equal(text_of(object, "key_base64"), "/w==");
    assert_null(json_object_get(object, "key"));
    json_decref(object);
    object = run_json(fixture, "get \"\\xff\"");
    assert_string_equal(text_of(object, "value_base64"), "AP7//Q==");
    json_decref(object);
    json_decref(run_json(fixture, "put a \"\\xff\\xff\\xff\""));
    object = run_json(fixture, "list");
    json_t *keys = json_object_get(object, "keys");
    assert_string_equal(json_string_value(json_array_get(keys, 0)), "a");
    assert_string_equal(text_of(json_array_get(keys, 1), "key_base64"), "/w==");
    json_decref(object);
    object = run_json(fixture, "scan a");
    json_t *item = json_array_get(json_object_get(object, "items"), 0);
    assert_string_equal(text_of(item, "value_base64"), "////");
    assert_int_equal(json_integer_value(json_object_get(item, "revision")), 2);
    json_decref(object);
}

static void json_list_stays_an_object_when_a_page_fails(void **state)
{
    struct fixture *fixture = *state;
    fake_client_fail(fixture->cli.client, KV_ERR_TIMEOUT, "a:1: refused");
    json_t *object = run_json(fixture, "list");
    assert_true(json_is_false(json_object_get(object, "ok")));
    assert_string_equal(text_of(object, "error"), "timeout");
    assert_string_equal(text_of(object, "detail"), "a:1: refused");
    assert_int_equal(json_array_size(json_object_get(object, "keys")), 0);
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    json_decref(object);
}

static const struct kvapp_member three[] = {
    {.id = 1, .address = "127.0.0.1:8080", .role = ""},
    {.id = 2,
     .address = "127.0.0.1:8081",
     .reachable = true,
     .role = "follower",
     .term = 6,
     .leader = 1,
     .digest = 0xabc,
     .io_backend = "portable",
     .version = "0.1.0"},
    {.id = 3,
     .address = "127.0.0.1:8082",
     .reachable = true,
     .role = "leader",
     .term = 7,
     .leader = 3,
     .commit_index = 11,
     .applied_index = 10,
     .last_index = 12,
     .digest = 0xfedcba9876543210,
     .key_count = 4,
     .log_syncs = 9,
     .io_backend = "io_uring",
     .version = "0.1.0"},
};

static void status_is_a_table_of_the_members(void **state)
{
    struct fixture *fixture = *state;
    fake_client_set_members(fixture->cli.client, three, 3);
    assert_string_equal(
        run(fixture, "status"),
        "ID  ADDRESS         REACHABLE  ROLE      TERM  LEADER  LAST INDEX  COMMIT  APPLIED  KEYS"
        "  IO        DIGEST\n"
        " 1  127.0.0.1:8080  no         -            -       -           -       -        -     -"
        "  -         -\n"
        " 2  127.0.0.1:8081  yes        follower     6       1           0       0        0     0"
        "  portable  0000000000000abc\n"
        " 3  127.0.0.1:8082  yes        leader       7       3          12      11       10     4"
        "  io_uring  fedcba9876543210\n");
    assert_int_equal(fixture->exit_status, EXIT_DONE);
}

static void status_in_json_believes_the_newest_term(void **state)
{
    struct fixture *fixture = *state;
    fake_client_set_members(fixture->cli.client, three, 3);
    json_t *object = run_json(fixture, "status");
    assert_int_equal(json_integer_value(json_object_get(object, "leader")), 3);
    json_t *members = json_object_get(object, "members");
    assert_int_equal(json_array_size(members), 3);
    json_t *dead = json_array_get(members, 0);
    assert_true(json_is_false(json_object_get(dead, "reachable")));
    assert_true(json_is_null(json_object_get(dead, "role")));
    json_t *leader = json_array_get(members, 2);
    assert_string_equal(text_of(leader, "role"), "leader");
    assert_string_equal(text_of(leader, "digest"), "fedcba9876543210");
    static const struct {
        const char *name;
        int64_t number;
    } numbers[] = {{"id", 3},      {"term", 7},      {"leader", 3},
                   {"commit", 11}, {"applied", 10},  {"last_index", 12},
                   {"keys", 4},    {"log_syncs", 9}, {"log_entries", 0}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_t *number = json_object_get(leader, numbers[i].name);
        assert_true(json_is_integer(number));
        assert_int_equal(json_integer_value(number), numbers[i].number);
    }
    json_decref(object);
}

static void status_of_a_dead_cluster_is_no_answer(void **state)
{
    struct fixture *fixture = *state;
    fake_client_set_members(fixture->cli.client, three, 1);
    json_t *object = run_json(fixture, "status");
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    assert_true(json_is_null(json_object_get(object, "leader")));
    json_decref(object);
}

static void help_names_every_command(void **state)
{
    struct fixture *fixture = *state;
    const char *text = run(fixture, "help");
    for (const struct verb *verb = verb_table; verb->name != NULL; verb++) {
        assert_non_null(strstr(text, verb->name));
        assert_non_null(strstr(text, verb->help));
        assert_ptr_equal(verb_find(slice_of_string(verb->name)), verb);
    }
    assert_ptr_equal(verb_find(slice_of_string("exit")), verb_find(slice_of_string("quit")));
}

static void verbose_remarks_stay_out_of_the_replies(void **state)
{
    struct fixture *fixture = *state;
    fixture->cli.verbose = true;
    assert_string_equal(run(fixture, "put k v"), "OK\n");
    assert_non_null(strstr(fixture->remarks, "(leader 1, "));
}

static void options_of_ranges_are_refused_elsewhere(void **state)
{
    struct fixture *fixture = *state;
    struct slice words[] = {slice_of_string("get"), slice_of_string("k")};
    struct options options = {0};
    options.values[OPTION_LIMIT].source = OPTION_FROM_COMMAND_LINE;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fixture->cli.output.out = out;
    fixture->cli.output.complaints = out;
    assert_int_equal(verb_run(&fixture->cli, words, 2, &options), EXIT_USAGE);
    (void)fclose(out);
    assert_string_equal(text, "Error: get has no option --limit\n");
    free(text);
}

/* ---- backup ---- */

static int say_whole(const char *path, char *error, size_t error_size)
{
    (void)path;
    (void)error;
    (void)error_size;
    return 0;
}

static int say_damaged(const char *path, char *error, size_t error_size)
{
    (void)snprintf(error, error_size, "%s: damaged", path);
    return KV_ERR_DAMAGED;
}

static void assert_file(const char *path, const char *content)
{
    char found[64] = "";
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    (void)fread(found, 1, sizeof found - 1, file);
    (void)fclose(file);
    assert_string_equal(found, content);
}

static void backup_gives_a_file_its_name_when_it_is_whole(void **state)
{
    struct fixture *fixture = *state;
    char folder[] = "/tmp/kvapp-verbs-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    fixture->cli.verify_backup = say_whole;
    assert_string_equal(run(fixture, "backup saved"), "OK, 9 bytes, all up to revision 9\n");
    assert_file("saved", "the state");
    assert_int_equal(access("saved.tmp", F_OK), -1);

    FILE *other = fopen("saved", "w");
    assert_non_null(other);
    (void)fputs("older", other);
    (void)fclose(other);
    assert_string_equal(run(fixture, "backup saved"),
                        "Error: saved is there already; --force replaces it\n");
    assert_int_equal(fixture->exit_status, EXIT_USAGE);

    fixture->cli.verify_backup = say_damaged;
    assert_non_null(strstr(run(fixture, "backup saved --force"), "saved.tmp: damaged"));
    assert_int_equal(fixture->exit_status, EXIT_NO_ANSWER);
    assert_file("saved", "older");
    assert_int_equal(access("saved.tmp", F_OK), -1);

    fake_client_fail(fixture->cli.client, KV_ERR_TIMEOUT, "nobody answers");
    assert_non_null(strstr(run(fixture, "backup saved --force"), "nobody answers"));
    assert_file("saved", "older");
    fake_client_fail(fixture->cli.client, 0, "");

    fixture->cli.verify_backup = say_whole;
    assert_string_equal(run(fixture, "backup --force saved"),
                        "OK, 9 bytes, all up to revision 9\n");
    assert_file("saved", "the state");
    assert_int_equal(unlink("saved"), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(folder), 0);
}

#define WITH_CLIENT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLIENT(replies_are_those_of_the_original_shell),
        WITH_CLIENT(empty_value_is_an_empty_line),
        WITH_CLIENT(wrong_usage_is_explained),
        WITH_CLIENT(failure_says_what_to_do_and_what_the_client_knows),
        WITH_CLIENT(a_write_in_doubt_says_how_to_ask_for_it),
        WITH_CLIENT(outcomes_are_told_apart),
        WITH_CLIENT(outcomes_that_cannot_be_had_are_failures),
        WITH_CLIENT(conditions_are_met_or_say_where_the_key_is),
        WITH_CLIENT(keys_can_be_told_when_to_go),
        WITH_CLIENT(a_put_if_absent_takes_a_lock_once),
        WITH_CLIENT(numbers_and_texts_grow_in_place),
        WITH_CLIENT(ranges_have_limits_on_both_sides),
        WITH_CLIENT(long_list_comes_in_bounded_pages),
        WITH_CLIENT(list_that_cannot_be_written_stops_asking),
        WITH_CLIENT(interrupt_stops_a_list_after_the_page),
        WITH_CLIENT(bytes_are_escaped_unless_asked_for_raw),
        WITH_CLIENT(json_replies_read_back_as_what_was_written),
        WITH_CLIENT(json_shows_what_is_no_utf8_in_base64),
        WITH_CLIENT(json_list_stays_an_object_when_a_page_fails),
        WITH_CLIENT(status_is_a_table_of_the_members),
        WITH_CLIENT(status_in_json_believes_the_newest_term),
        WITH_CLIENT(status_of_a_dead_cluster_is_no_answer),
        WITH_CLIENT(help_names_every_command),
        WITH_CLIENT(verbose_remarks_stay_out_of_the_replies),
        WITH_CLIENT(options_of_ranges_are_refused_elsewhere),
        WITH_CLIENT(backup_gives_a_file_its_name_when_it_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
