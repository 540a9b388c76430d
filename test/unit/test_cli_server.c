/* The server's options, once its timing is put together, and its log. */
#include "app/log.h"
#include "app/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Two modes, so that this test does not need a node. */
int kvapp_timing_mode(const char *name, struct kvapp_timing *ret_timing)
{
    static const struct kvapp_timing fast = {"fast", 10, 50, 150, 300, 0, 0, false};
    static const struct kvapp_timing demo = {"demo", 1000, 2000, 5000, 10000, 500, 200, true};
    if (strcmp(name, "debug") == 0) {
        return KV_ERR_INVALID;
    }
    *ret_timing = strcmp(name, "demo") == 0 ? demo : fast;
    return 0;
}

static const char *no_environment(void *context, const char *name)
{
    (void)context;
    (void)name;
    return NULL;
}

struct filled {
    char line[256];
    struct slice words[16];
    struct options options;
    struct kvapp_node_options node;
    char error[OPTIONS_ERROR_SIZE];
};

static int fill(struct filled *filled, const char *line)
{
    size_t count = 0;
    (void)snprintf(filled->line, sizeof filled->line, "%s", line);
    char *rest = NULL;
    for (char *word = strtok_r(filled->line, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        filled->words[count++] = slice_of_string(word);
    }
    assert_int_equal(options_parse(filled->words, count, no_environment, NULL, &filled->options,
                                   filled->error, sizeof filled->error),
                     0);
    filled->node = (struct kvapp_node_options){0};
    int err =
        server_options_fill(&filled->options, &filled->node, filled->error, sizeof filled->error);
    options_done(&filled->options);
    return err;
}

static void numbers_override_the_mode_wherever_they_stand(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "server --heartbeat-interval 70 --client-delay 3 --demo-mode --bind a:1",
        "server --demo-mode --heartbeat-interval=70 --bind a:1 --client-delay=3",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct filled filled;
        assert_int_equal(fill(&filled, lines[i]), 0);
        assert_int_equal(filled.node.timing.heartbeat_ms, 70);
        assert_int_equal(filled.node.timing.client_delay_ms, 3);
        assert_int_equal(filled.node.timing.network_delay_ms, 500);
        assert_int_equal(filled.node.timing.event_loop_ms, 1000);
        assert_int_equal(filled.node.timing.election_max_ms, 10000);
        assert_true(filled.node.timing.paced);
    }
}

static void timing_that_cannot_work_is_refused_with_its_numbers(void **state)
{
    (void)state;
    struct filled filled;
    assert_int_equal(fill(&filled, "server --election-timeout-max 150"), KV_ERR_INVALID);
    assert_string_equal(filled.error,
                        "--election-timeout-min (150 ms) must be less than --election-timeout-max "
                        "(150 ms); numbers that are not given come from the fast mode");
    assert_int_equal(fill(&filled, "server --heartbeat-interval 5000 --demo-mode"), KV_ERR_INVALID);
    assert_string_equal(filled.error,
                        "--heartbeat-interval (5000 ms) must be less than --election-timeout-min "
                        "(5000 ms); numbers that are not given come from the demo mode");
    assert_int_equal(fill(&filled, "server --heartbeat-interval 149"), 0);
    assert_int_equal(fill(&filled, "server --debug-mode"), KV_ERR_INVALID);
    assert_string_equal(filled.error, "there is no timing mode \"debug\"");
}

static void node_gets_what_the_flags_say(void **state)
{
    (void)state;
    struct filled filled;
    assert_int_equal(fill(&filled, "server --node-id 2 --cluster a:1,b:2,c:3 --data-dir /d --io "
                                   "portable --client-port-offset 5 --segment-size 8M "
                                   "--cache-size 2M"),
                     0);
    assert_int_equal(filled.node.node_id, 2);
    assert_null(filled.node.bind);
    assert_string_equal(filled.node.cluster, "a:1,b:2,c:3");
    assert_string_equal(filled.node.data_dir, "/d");
    assert_int_equal(filled.node.io, KVAPP_IO_PORTABLE);
    assert_int_equal(filled.node.client_port_offset, 5);
    assert_int_equal(filled.node.segment_size, 8 << 20);
    assert_int_equal(filled.node.cache_size, 2 << 20);
    assert_int_equal(filled.node.log_level, KVAPP_LOG_INFO);
    assert_int_equal(fill(&filled, "server --io uring"), 0);
    assert_int_equal(filled.node.io, KVAPP_IO_URING);
    assert_string_equal(filled.node.bind, "127.0.0.1:8080");
}

static void server_must_know_which_member_it_is(void **state)
{
    (void)state;
    struct filled filled;
    assert_int_equal(fill(&filled, "server --cluster a:1,b:2"), KV_ERR_INVALID);
    assert_string_equal(filled.error,
                        "which member of --cluster is this server? Give --node-id or --bind");
    assert_int_equal(fill(&filled, "server --cluster a:1,b:2 --bind b:2"), 0);
    assert_string_equal(filled.node.bind, "b:2");
}

static void verbose_and_paced_modes_log_the_story(void **state)
{
    (void)state;
    struct filled filled;
    assert_int_equal(fill(&filled, "-v server"), 0);
    assert_int_equal(filled.node.log_level, KVAPP_LOG_DEBUG);
    assert_int_equal(fill(&filled, "server --demo-mode"), 0);
    assert_int_equal(filled.node.log_level, KVAPP_LOG_DEBUG);
}

static void log_line_has_time_level_and_text(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    struct log_style style = {.out = out, .colour = false};
    log_line(&style, KVAPP_LOG_WARN, "the disk is slow");
    int year, month, day, hour, minute, second, millisecond, end = 0;
    assert_int_equal(sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d.%3d WARN  the disk is slow\n%n", &year,
                            &month, &day, &hour, &minute, &second, &millisecond, &end),
                     7);
    assert_int_equal((size_t)end, size);
    style.colour = true;
    log_line(&style, KVAPP_LOG_ERROR, "x");
    assert_non_null(strstr(text + end, " \033[31mERROR\033[0m x\n"));
    (void)fclose(out);
    free(text);
}

static void colour_is_for_terminals_only(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_false(log_wants_colour(fileno(file)));
    (void)fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_override_the_mode_wherever_they_stand),
        cmocka_unit_test(timing_that_cannot_work_is_refused_with_its_numbers),
        cmocka_unit_test(node_gets_what_the_flags_say),
        cmocka_unit_test(server_must_know_which_member_it_is),
        cmocka_unit_test(verbose_and_paced_modes_log_the_story),
        cmocka_unit_test(log_line_has_time_level_and_text),
        cmocka_unit_test(colour_is_for_terminals_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
