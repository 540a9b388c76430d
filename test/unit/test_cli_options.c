/* Options: where values come from, which one wins, and every sentence about what is wrong. */
#include "cli/options.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* "NAME=value", as many as are there. */
static const char *fake_environment(void *context, const char *name)
{
    const char *const *settings = context;
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        size_t size = strlen(name);
        if (strncmp(settings[i], name, size) == 0 && settings[i][size] == '=') {
            return settings[i] + size + 1;
        }
    }
    return NULL;
}

/* Splits at spaces, so that a command line can be written as one string. */
static size_t split(char *line, struct slice *words)
{
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        assert_true(count < WORDS_MAX);
        words[count++] = slice_of_string(word);
    }
    return count;
}

struct parsed {
    char line[512];
    struct slice words[WORDS_MAX];
    struct options options;
    char error[OPTIONS_ERROR_SIZE];
};

static int parse(struct parsed *parsed, const char *line, const char *const *settings)
{
    (void)snprintf(parsed->line, sizeof parsed->line, "%s", line);
    size_t count = split(parsed->line, parsed->words);
    parsed->error[0] = '\0';
    return options_parse(parsed->words, count, fake_environment, (void *)(uintptr_t)settings,
                         &parsed->options, parsed->error, sizeof parsed->error);
}

static void parse_well(struct parsed *parsed, const char *line, const char *const *settings)
{
    int err = parse(parsed, line, settings);
    assert_string_equal(parsed->error, "");
    assert_int_equal(err, 0);
}

static void defaults_hold_where_nothing_is_given(void **state)
{
    (void)state;
    struct parsed parsed;
    parse_well(&parsed, "server", NULL);
    assert_string_equal(parsed.options.subcommand->name, "server");
    assert_string_equal(options_string(&parsed.options, OPTION_DATA_DIR), "./data");
    assert_string_equal(options_string(&parsed.options, OPTION_TIMING_MODE), "fast");
    assert_int_equal(options_number(&parsed.options, OPTION_CLIENT_PORT_OFFSET), 1000);
    assert_int_equal(options_number(&parsed.options, OPTION_SEGMENT_SIZE), 16 * 1024 * 1024);
    assert_null(options_string(&parsed.options, OPTION_BIND));
    assert_null(options_string(&parsed.options, OPTION_CLUSTER));
    assert_false(options_given(&parsed.options, OPTION_DATA_DIR));
    options_done(&parsed.options);
}

static void value_may_follow_an_equals_sign_or_a_space(void **state)
{
    (void)state;
    struct parsed parsed;
    parse_well(&parsed, "server --node-id 3 --data-dir=/a=b --bind=[::1]:80", NULL);
    assert_int_equal(options_number(&parsed.options, OPTION_NODE_ID), 3);
    assert_string_equal(options_string(&parsed.options, OPTION_DATA_DIR), "/a=b");
    assert_string_equal(options_string(&parsed.options, OPTION_BIND), "[::1]:80");
    options_done(&parsed.options);
}

static void options_stand_anywhere_even_before_the_subcommand(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "-v --cluster a:1 client get k", "--cluster=a:1 client -v get k",
        "client get -v k --cluster a:1", "client get k --cluster a:1 --verbose"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed parsed;
        parse_well(&parsed, lines[i], NULL);
        assert_string_equal(parsed.options.subcommand->name, "client");
        assert_int_equal(options_number(&parsed.options, OPTION_VERBOSE), 1);
        assert_string_equal(options_string(&parsed.options, OPTION_CLUSTER), "a:1");
        assert_int_equal(parsed.options.word_count, 2);
        assert_string_equal((const char *)parsed.options.words[0].data, "get");
        assert_string_equal((const char *)parsed.options.words[1].data, "k");
        options_done(&parsed.options);
    }
}

static void last_timing_mode_wins_in_any_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *mode;
    } cases[] = {
        {"server --fast-mode --demo-mode", "demo"},
        {"server --demo-mode --timing-mode debug", "debug"},
        {"server --timing-mode=demo --debug-mode --fast-mode", "fast"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed parsed;
        parse_well(&parsed, cases[i].line, NULL);
        assert_string_equal(options_string(&parsed.options, OPTION_TIMING_MODE), cases[i].mode);
        options_done(&parsed.options);
    }
}

static void command_line_wins_over_environment_over_default(void **state)
{
    (void)state;
    static const char *const settings[] = {"KVAPP_NODE_ID=7", "KVAPP_DATA_DIR=/env",
                                           "KVAPP_VERBOSE=on", "KVAPP_IO=", NULL};
    struct parsed parsed;
    parse_well(&parsed, "server --data-dir /line", settings);
    assert_int_equal(options_number(&parsed.options, OPTION_NODE_ID), 7);
    assert_int_equal(parsed.options.values[OPTION_NODE_ID].source, OPTION_FROM_ENVIRONMENT);
    assert_string_equal(options_string(&parsed.options, OPTION_DATA_DIR), "/line");
    assert_int_equal(options_number(&parsed.options, OPTION_VERBOSE), 1);
    assert_string_equal(options_string(&parsed.options, OPTION_IO), "auto");
    options_done(&parsed.options);
}

static void environment_of_other_subcommands_is_not_looked_at(void **state)
{
    (void)state;
    static const char *const settings[] = {"KVAPP_NODE_ID=nonsense", NULL};
    struct parsed parsed;
    parse_well(&parsed, "client get k", settings);
    options_done(&parsed.options);
}

static void sizes_take_suffixes(void **state)
{
    (void)state;
    struct parsed parsed;
    parse_well(&parsed, "server --segment-size 64M --cache-size 1g", NULL);
    assert_int_equal(options_number(&parsed.options, OPTION_SEGMENT_SIZE), 64 << 20);
    assert_int_equal(options_number(&parsed.options, OPTION_CACHE_SIZE), 1 << 30);
    options_done(&parsed.options);
    parse_well(&parsed, "bench put --value-size 4k", NULL);
    assert_int_equal(options_number(&parsed.options, OPTION_VALUE_SIZE), 4096);
    options_done(&parsed.options);
}

static void words_may_begin_with_a_dash_when_they_cannot_be_options(void **state)
{
    (void)state;
    struct parsed parsed;
    parse_well(&parsed, "client put k -5 - -0.1", NULL);
    assert_int_equal(parsed.options.word_count, 5);
    options_done(&parsed.options);
    parse_well(&parsed, "client put -- k --json -v", NULL);
    assert_int_equal(parsed.options.word_count, 4);
    assert_string_equal((const char *)parsed.options.words[2].data, "--json");
    assert_int_equal(options_number(&parsed.options, OPTION_JSON), 0);
    assert_int_equal(options_number(&parsed.options, OPTION_VERBOSE), 0);
    options_done(&parsed.options);
}

static void without_a_known_subcommand_there_is_none(void **state)
{
    (void)state;
    static const char *const lines[] = {"", "serve", "-v", "--unknown server", "Server", "--bind"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed parsed;
        parse_well(&parsed, lines[i], NULL);
        assert_null(parsed.options.subcommand);
        assert_int_equal(options_number(&parsed.options, OPTION_HELP), 0);
        options_done(&parsed.options);
    }
    struct parsed parsed;
    parse_well(&parsed, "--version", NULL);
    assert_int_equal(options_number(&parsed.options, OPTION_VERSION), 1);
    options_done(&parsed.options);
    parse_well(&parsed, "-h", NULL);
    assert_int_equal(options_number(&parsed.options, OPTION_HELP), 1);
    options_done(&parsed.options);
}

static void every_mistake_has_its_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"server --node-id x", "--node-id: \"x\" is not a number in 1..92233720368547758"},
        {"server --node-id 0", "--node-id: \"0\" is not a number in 1..92233720368547758"},
        {"server --node-id -1", "--node-id: \"-1\" is not a number in 1..92233720368547758"},
        {"server --node-id=", "--node-id: \"\" is not a number in 1..92233720368547758"},
        {"server --node-id 1x", "--node-id: \"1x\" is not a number in 1..92233720368547758"},
        {"server --node-id 99999999999999999999999",
         "--node-id: \"99999999999999999999999\" is not a number in 1..92233720368547758"},
        {"server --heartbeat-interval 0",
         "--heartbeat-interval: \"0\" is not a number in 1..3600000 ms"},
        {"server --network-delay 3600001",
         "--network-delay: \"3600001\" is not a number in 0..3600000 ms"},
        {"server --segment-size 1M",
         "--segment-size: \"1M\" is not a number in 4194304..4294967296 bytes"},
        {"server --segment-size 20000000000000000G",
         "--segment-size: \"20000000000000000G\" is not a number in 4194304..4294967296 bytes"},
        {"server --io epoll", "--io: \"epoll\" is not one of auto, uring, portable"},
        {"server --timing-mode slow", "--timing-mode: \"slow\" is not one of fast, debug, demo"},
        {"server --bind localhost", "--bind: \"localhost\" is not an address: host:port with a "
                                    "port in 1..65535 is needed"},
        {"server --bind a:0", "--bind: \"a:0\" is not an address: host:port with a port in "
                              "1..65535 is needed"},
        {"server --cluster a:1,,b:2", "--cluster: the list of members \"a:1,,b:2\" has an empty "
                                      "part"},
        {"server --cluster a:1,a:1", "--cluster: address a:1 is given twice"},
        {"server --data-dir=", "--data-dir: an empty text is of no use here"},
        {"server --data-dir", "--data-dir needs a value: --data-dir PATH"},
        {"server --verbose=yes", "--verbose takes no value, but was given \"yes\""},
        {"server --demo-mode=1", "--demo-mode takes no value, but was given \"1\""},
        {"server --heartbeat 5",
         "unknown option --heartbeat; \"kvapp server --help\" lists the options"},
        {"client get -x", "unknown option -x; \"kvapp client --help\" lists the options, and -- "
                          "goes before words that begin with a dash"},
        {"server --json",
         "--json is an option of kvapp client and kvapp bench and kvapp inspect, not of kvapp "
         "server"},
        {"bench --limit 4", "--limit is an option of kvapp client and kvapp inspect, not of kvapp "
                            "bench"},
        {"client --cache-size 4M",
         "--cache-size is an option of kvapp server, not of kvapp client"},
        {"server now", "takes options only, but was given \"now\""},
        {"server --bind a:65000", "--bind: the client port of a:65000 would be beyond 65535: its "
                                  "port plus the --client-port-offset of 1000"},
        {"client --cluster a:1,b:60000 --client-port-offset 5536 get k",
         "--cluster: the client port of b:60000 would be beyond 65535: its port plus the "
         "--client-port-offset of 5536"},
        {"client --client-port-offset 65535",
         "--client-port-offset: \"65535\" is not a number in 1..65534"},
        {"bench --clients 0 put", "--clients: \"0\" is not a number in 1..10000"},
        {"bench --value-size 2M put", "--value-size: \"2M\" is not a number in 0..1048576 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed parsed;
        assert_int_equal(parse(&parsed, cases[i].line, NULL), KV_ERR_INVALID);
        assert_string_equal(parsed.error, cases[i].sentence);
        assert_non_null(options_subcommand(parsed.words, 1 + (cases[i].line[0] == '-')));
    }
}

static void mistake_in_the_environment_names_the_variable(void **state)
{
    (void)state;
    static const char *const settings[] = {"KVAPP_HEARTBEAT_INTERVAL=soon", NULL};
    static const char *const flags[] = {"KVAPP_VERBOSE=perhaps", NULL};
    struct parsed parsed;
    assert_int_equal(parse(&parsed, "server", settings), KV_ERR_INVALID);
    assert_string_equal(parsed.error,
                        "KVAPP_HEARTBEAT_INTERVAL: \"soon\" is not a number in 1..3600000 ms");
    assert_int_equal(parse(&parsed, "server", flags), KV_ERR_INVALID);
    assert_string_equal(parsed.error, "KVAPP_VERBOSE: \"perhaps\" is not one of yes, no");
}

static void sentence_about_a_huge_word_is_cut(void **state)
{
    (void)state;
    struct parsed parsed;
    static char huge[20000];
    memset(huge, 'x', sizeof huge - 1);
    struct slice words[] = {slice_of_string("server"), slice_of_string("--bind"),
                            slice_of_string(huge)};
    assert_int_equal(options_parse(words, 3, fake_environment, NULL, &parsed.options, parsed.error,
                                   sizeof parsed.error),
                     KV_ERR_INVALID);
    assert_true(strlen(parsed.error) < 400);
}

static void any_words_are_either_options_or_a_sentence(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "server",   "client",    "bench",      "put",         "--",
        "-",        "-v",        "-x",         "--bind",      "--bind=",
        "a:1",      "--cluster", "a:1,b:2",    "--json",      "--help",
        "--limit",  "3",         "--node-id=", "--node-id=3", "99999999999999999999",
        "-7",       "--=",       "--io",       "auto",        "--demo-mode",
        "--start=", "",          "k",          "--verbose",   "--segment-size",
        "4M"};
    enum { PIECES = sizeof pieces / sizeof pieces[0] };
    uint64_t seed = 77;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    int accepted = 0;
    int refused = 0;
    for (int round = 0; round < 20000; round++) {
        struct slice words[WORDS_MAX];
        size_t count = prng_between(&prng, 0, 6);
        for (size_t i = 0; i < count; i++) {
            words[i] = slice_of_string(pieces[prng_between(&prng, 0, PIECES - 1)]);
        }
        struct options options;
        char error[OPTIONS_ERROR_SIZE] = "";
        if (options_parse(words, count, fake_environment, NULL, &options, error, sizeof error) ==
            0) {
            accepted++;
            assert_true(options.word_count <= count);
            options_done(&options);
        } else {
            refused++;
            assert_true(strlen(error) > 0 && strlen(error) < 300);
            assert_non_null(options_subcommand(words, count));
        }
    }
    assert_true(accepted > 1000 && refused > 1000);
}

static void directories_to_recover_from_are_gathered(void **state)
{
    (void)state;
    struct parsed parsed;
    parse_well(&parsed, "recover --data-dir a --yes b --data-dir=c", NULL);
    assert_int_equal(parsed.options.word_count, 3);
    static const char *const expected[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal((const char *)parsed.options.words[i].data, expected[i]);
    }
    assert_int_equal(options_number(&parsed.options, OPTION_YES), 1);
    options_done(&parsed.options);
}

static void shell_words_know_only_the_options_of_ranges(void **state)
{
    (void)state;
    struct options options;
    char error[OPTIONS_ERROR_SIZE];
    struct slice words[] = {slice_of_string("--limit"), slice_of_string("3"),
                            slice_of_string("prefix"), slice_of("--start=a\0b", 11)};
    assert_int_equal(options_parse_words(OWNER_RANGE, words, 4, &options, error, sizeof error), 0);
    assert_int_equal(options_number(&options, OPTION_LIMIT), 3);
    assert_true(slice_equal(options.values[OPTION_START].text, slice_of("a\0b", 3)));
    assert_int_equal(options.word_count, 1);
    options_done(&options);
    struct slice foreign = slice_of_string("--cluster=a:1");
    assert_int_equal(options_parse_words(OWNER_RANGE, &foreign, 1, &options, error, sizeof error),
                     KV_ERR_INVALID);
    assert_string_equal(error, "--cluster is not an option of this command");
    struct slice unknown = slice_of_string("--lim");
    assert_int_equal(options_parse_words(OWNER_RANGE, &unknown, 1, &options, error, sizeof error),
                     KV_ERR_INVALID);
    assert_string_equal(error,
                        "unknown option --lim; write -- before words that begin with a dash");
}

static char *help_of(void (*print)(FILE *out, const struct subcommand *subcommand),
                     const struct subcommand *subcommand)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    print(out, subcommand);
    (void)fclose(out);
    return text;
}

static void table_is_sound_and_help_names_all_of_it(void **state)
{
    (void)state;
    for (const struct subcommand *at = subcommand_table; at->name != NULL; at++) {
        char *help = help_of(options_print_help, at);
        for (size_t i = 0; i < OPTION_COUNT; i++) {
            const struct option *option = &option_table[i];
            assert_non_null(option->name);
            assert_non_null(option->help);
            bool takes_value = option->type != OPTION_FLAG && option->type != OPTION_SHORT_FORM;
            assert_true(takes_value == (option->value_name != NULL));
            char flag[64];
            (void)snprintf(flag, sizeof flag, "--%s", option->name);
            const char *place = strstr(help, flag);
            if ((option->owners & at->owner) != 0) {
                assert_non_null(place);
                assert_true(option->environment == NULL ||
                            strstr(help, option->environment) != NULL);
            }
        }
        for (const char *line = help; *line != '\0'; line += strcspn(line, "\n") + 1) {
            assert_true(strcspn(line, "\n") <= 100);
        }
        free(help);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_where_nothing_is_given),
        cmocka_unit_test(value_may_follow_an_equals_sign_or_a_space),
        cmocka_unit_test(options_stand_anywhere_even_before_the_subcommand),
        cmocka_unit_test(last_timing_mode_wins_in_any_spelling),
        cmocka_unit_test(command_line_wins_over_environment_over_default),
        cmocka_unit_test(environment_of_other_subcommands_is_not_looked_at),
        cmocka_unit_test(sizes_take_suffixes),
        cmocka_unit_test(words_may_begin_with_a_dash_when_they_cannot_be_options),
        cmocka_unit_test(without_a_known_subcommand_there_is_none),
        cmocka_unit_test(every_mistake_has_its_sentence),
        cmocka_unit_test(mistake_in_the_environment_names_the_variable),
        cmocka_unit_test(sentence_about_a_huge_word_is_cut),
        cmocka_unit_test(any_words_are_either_options_or_a_sentence),
        cmocka_unit_test(directories_to_recover_from_are_gathered),
        cmocka_unit_test(shell_words_know_only_the_options_of_ranges),
        cmocka_unit_test(table_is_sound_and_help_names_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
