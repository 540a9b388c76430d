/* The table of Redis's commands: whole, sorted, found, and its errors as redis-server 7.0.15 has
 * them. */
#include "wire/redis_table.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* A request of C strings. */
struct typed {
    struct slice words[WORDS_MAX];
    struct resp_request request;
};

static void type_words(struct typed *typed, const char *const *words)
{
    typed->request = (struct resp_request){.words = typed->words, .count = 0};
    while (words[typed->request.count] != NULL) {
        assert_true(typed->request.count < WORDS_MAX);
        typed->words[typed->request.count] = slice_of_string(words[typed->request.count]);
        typed->request.count++;
    }
}

/* Words that one blank separates. */
static void type_line(struct typed *typed, const char *line)
{
    typed->request = (struct resp_request){.words = typed->words, .count = 0};
    for (const char *at = line; *at != '\0'; at += *at == ' ') {
        assert_true(typed->request.count < WORDS_MAX);
        size_t size = strcspn(at, " ");
        typed->words[typed->request.count++] = slice_of(at, size);
        at += size;
    }
}

static const struct redis_command *find_line(const char *line)
{
    struct typed typed;
    type_line(&typed, line);
    return redis_find(&typed.request);
}

/* ---- the rows ---- */

static bool has_category(const struct redis_command *row, const char *category)
{
    const char *at = strstr(row->categories, category);
    return at != NULL && strchr(" ", at[strlen(category)]) != NULL;
}

static void every_id_has_one_row_at_its_place(void **state)
{
    (void)state;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        assert_int_equal(row->id, id);
        assert_int_equal(row->is_local, id < REDIS_LOCAL_COUNT);
        assert_int_not_equal(row->arity, 0);
        const char *const texts[] = {row->name,       row->group,   row->since,
                                     row->complexity, row->summary, row->categories};
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            assert_non_null(texts[i]);
            assert_true(strlen(texts[i]) > 0);
        }
    }
}

static void both_halves_are_sorted_by_name(void **state)
{
    (void)state;
    for (int id = 1; id < REDIS_ID_COUNT; id++) {
        if (id != REDIS_LOCAL_COUNT) {
            assert_true(strcmp(redis_row((enum redis_id)(id - 1))->name,
                               redis_row((enum redis_id)id)->name) < 0);
        }
    }
}

static void what_a_row_says_in_two_places_agrees(void **state)
{
    (void)state;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        bool fast = (row->flags & REDIS_FAST) != 0;
        assert_int_equal(has_category(row, "@fast"), fast);
        assert_int_equal(has_category(row, "@slow"), !fast);
        assert_int_equal(has_category(row, "@write"), (row->flags & REDIS_WRITES) != 0);
        assert_int_equal(has_category(row, "@read"), (row->flags & REDIS_READS) != 0);
        assert_false((row->flags & REDIS_WRITES) != 0 && (row->flags & REDIS_READS) != 0);
        if (row->flags & REDIS_DENYOOM) {
            assert_true(row->flags & REDIS_WRITES);
        }
        if (row->first_key == 0) {
            assert_int_equal(row->last_key, 0);
            assert_int_equal(row->step, 0);
        } else {
            /* As many words as a request has at least hold the first key and the last. */
            assert_true(row->first_key < abs(row->arity));
            assert_true(row->last_key < abs(row->arity));
            assert_true(row->last_key < 0 || row->last_key >= row->first_key);
            assert_true(row->step >= 1);
        }
        if (redis_is_container(row)) {
            assert_int_equal(row->first_key, 0);
        }
    }
}

/* ---- finding ---- */

static void every_command_is_found_in_any_case(void **state)
{
    (void)state;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        const struct redis_command *row = redis_row((enum redis_id)id);
        for (int round = 0; round < 3; round++) {
            char line[64];
            snprintf(line, sizeof line, "%s", row->name);
            for (size_t i = 0; line[i] != '\0'; i++) {
                bool upper = round == 1 || (round == 2 && i % 2 == 0);
                line[i] = (char)(upper ? toupper((unsigned char)line[i]) : line[i]);
            }
            assert_ptr_equal(redis_find_name(slice_of_string(line)), row);
            char *bar = strchr(line, '|');
            if (bar != NULL) {
                *bar = ' ';
            }
            assert_ptr_equal(find_line(line), row);
        }
    }
}

static void a_container_is_found_by_itself_or_as_its_subcommand(void **state)
{
    (void)state;
    assert_int_equal(find_line("client")->id, REDIS_CLIENT);
    assert_int_equal(find_line("client list more")->id, REDIS_CLIENT_LIST);
    assert_int_equal(find_line("Sentinel Get-Master-Addr-By-Name x")->id, REDIS_SENTINEL_ADDRESS);
    assert_int_equal(find_line("memory usage key")->id, REDIS_MEMORY_USAGE);
    assert_null(find_line("client nosuch"));
    /* Of any other command the second word is only a word. */
    assert_int_equal(find_line("get list")->id, REDIS_GET);
}

static void nothing_else_is_found(void **state)
{
    (void)state;
    const char *const lines[] = {"ge",
                                 "gett",
                                 "nosuch",
                                 "client|list",
                                 "|",
                                 "client|",
                                 "CLIENT list|",
                                 "client x|list",
                                 "kv_fence",
                                 "get|",
                                 "client client|list"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        assert_null(find_line(lines[i]));
    }
    assert_null(redis_find_name(slice_of(NULL, 0)));
    assert_null(redis_find_name(slice_of("get\0", 4)));
    char name[256];
    memset(name, 'g', sizeof name);
    for (size_t size = 0; size < sizeof name; size++) {
        struct slice words[] = {slice_of("client", 6), slice_of(name, size)};
        assert_null(redis_find(&(struct resp_request){.words = words + 1, .count = 1}));
        assert_null(redis_find(&(struct resp_request){.words = words, .count = 2}));
    }
    assert_null(redis_find(&(struct resp_request){.words = NULL, .count = 0}));
}

/* ---- errors ---- */

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static void wrong_requests_have_the_errors_of_redis(void **state)
{
    (void)state;
    static const struct {
        const char *words[WORDS_MAX];
        const char *error;
    } cases[] = {
        {{"foo"}, "ERR unknown command 'foo', with args beginning with: "},
        {{"Foo", "a", "b"}, "ERR unknown command 'Foo', with args beginning with: 'a' 'b' "},
        {{"", ""}, "ERR unknown command '', with args beginning with: '' "},
        {{"a\r\nb", "\n"}, "ERR unknown command 'a  b', with args beginning with: ' ' "},
        {{"%s", "%n"}, "ERR unknown command '%s', with args beginning with: '%n' "},
        {{"client|list"}, "ERR unknown command 'client|list', with args beginning with: "},
        /* The name is cut at 128 bytes; of the words, the last one that is begun is cut so that
         * they have 128 bytes without its own quotes. */
        {{HUNDRED HUNDRED},
         "ERR unknown command '" HUNDRED TEN TEN "01234567', with args beginning with: "},
        {{"foo", HUNDRED HUNDRED, "b"},
         "ERR unknown command 'foo', with args beginning with: '" HUNDRED TEN TEN "01234567' "},
        {{"foo", HUNDRED, HUNDRED, "c"},
         "ERR unknown command 'foo', with args beginning with: '" HUNDRED "' '" TEN TEN "01234' "},
        {{"get"}, "ERR wrong number of arguments for 'get' command"},
        {{"GET", "a", "b"}, "ERR wrong number of arguments for 'get' command"},
        {{"set", "a"}, "ERR wrong number of arguments for 'set' command"},
        {{"client"}, "ERR wrong number of arguments for 'client' command"},
        {{"client", "id", "x"}, "ERR wrong number of arguments for 'client|id' command"},
        {{"Memory", "Usage"}, "ERR wrong number of arguments for 'memory|usage' command"},
        {{"Client", "x"}, "ERR unknown subcommand 'x'. Try CLIENT HELP."},
        {{"config", "\r\n", "y"}, "ERR unknown subcommand '  '. Try CONFIG HELP."},
        {{"cluster", HUNDRED HUNDRED},
         "ERR unknown subcommand '" HUNDRED TEN TEN "01234567'. Try CLUSTER HELP."},
        {{"exec", "x"},
         "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' "
         "command"},
    };
    struct buf out = {0};
    struct resp_writer writer = {.out = &out, .version = 2};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct typed typed;
        type_words(&typed, cases[i].words);
        assert_false(redis_check(redis_find(&typed.request), &typed.request, &writer));
        buf_put_u8(&out, 0);
        char expected[512];
        snprintf(expected, sizeof expected, "-%s\r\n", cases[i].error);
        assert_string_equal((const char *)out.data, expected);
        buf_clear(&out);
    }
    buf_done(&out);
}

static void right_requests_pass(void **state)
{
    (void)state;
    const char *const lines[] = {"get a",
                                 "set a b",
                                 "set a b ex 5",
                                 "mget a b c",
                                 "ping",
                                 "ping x",
                                 "command",
                                 "client list",
                                 "config get save",
                                 "exec",
                                 "client list type normal"};
    struct buf out = {0};
    struct resp_writer writer = {.out = &out, .version = 2};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct typed typed;
        type_line(&typed, lines[i]);
        assert_true(redis_check(redis_find(&typed.request), &typed.request, &writer));
        assert_int_equal(out.size, 0);
    }
    buf_done(&out);
}

/* ---- keys and slots ---- */

static void keys_are_found_among_the_words(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        size_t places[4];
        size_t count;
    } cases[] = {
        {"get a", {1}, 1},
        {"set a b ex 5", {1}, 1},
        {"mget a b c", {1, 2, 3}, 3},
        {"mset a 1 b 2", {1, 3}, 2},
        {"mset a 1 b", {1, 3}, 2},
        {"copy a b replace", {1, 2}, 2},
        {"memory usage a samples 5", {2}, 1},
        {"watch a", {1}, 1},
        {"kv.fence a 5", {1}, 1},
        {"ping a", {0}, 0},
        {"scan 0", {0}, 0},
        /* The number of words is wrong. */
        {"get", {0}, 0},
        {"copy a", {0}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct typed typed;
        type_line(&typed, cases[i].line);
        size_t places[WORDS_MAX];
        const struct redis_command *row = redis_find(&typed.request);
        assert_int_equal(redis_keys(row, &typed.request, places, WORDS_MAX), cases[i].count);
        for (size_t n = 0; n < cases[i].count; n++) {
            assert_int_equal(places[n], cases[i].places[n]);
        }
        size_t fewer = cases[i].count > 0 ? cases[i].count - 1 : 0;
        assert_int_equal(redis_keys(row, &typed.request, places, fewer), fewer);
    }
}

static void slots_are_those_of_redis_cluster(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        unsigned slot;
    } cases[] = {
        {"", 0},
        {"123456789", 0x31c3},
        {"foo", 12182},
        {"{foo}", 12182},
        {"a{foo}b{bar}", 12182},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"user1000", 3443},
        /* Nothing between the braces, or one of them missing: all of it counts. */
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"{bar", 4015},
        {"}foo{", 8453},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(redis_slot(slice_of_string(cases[i].key)), cases[i].slot);
    }
}

/* ---- COMMAND ---- */

static void describe(struct buf *out, unsigned version, const char *line)
{
    struct typed typed;
    type_line(&typed, line);
    struct resp_writer writer = {.out = out, .version = version};
    const struct redis_command *row = redis_find(&typed.request);
    assert_true(redis_check(row, &typed.request, &writer));
    buf_clear(out);
    redis_describe(row, &typed.request, &writer);
    buf_put_u8(out, 0);
}

static void command_info_looks_as_in_redis(void **state)
{
    (void)state;
    struct buf out = {0};
    describe(&out, 2, "COMMAND INFO get nosuch");
    assert_string_equal(
        (const char *)out.data,
        "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
        "*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n"
        "*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n"
        "$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
        "*2\r\n$5\r\nindex\r\n:1\r\n"
        "$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n"
        "*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
        "*0\r\n$-1\r\n");
    describe(&out, 3, "COMMAND INFO get nosuch");
    assert_string_equal(
        (const char *)out.data,
        "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
        "~3\r\n+@read\r\n+@string\r\n+@fast\r\n~0\r\n"
        "~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n"
        "$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
        "%1\r\n$5\r\nindex\r\n:1\r\n"
        "$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n"
        "%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
        "~0\r\n_\r\n");
    buf_done(&out);
}

/* How many elements the value at the front says it has, and what type it is. */
static long count_of(const struct buf *out, char type)
{
    assert_int_equal(out->data[0], type);
    return strtol((const char *)out->data + 1, NULL, 10);
}

static void command_tells_of_every_command(void **state)
{
    (void)state;
    struct buf out = {0};
    int commands = 0;
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        commands += strchr(redis_row((enum redis_id)id)->name, '|') == NULL;
    }
    describe(&out, 2, "command count");
    assert_int_equal(count_of(&out, ':'), commands);
    describe(&out, 2, "command");
    assert_int_equal(count_of(&out, '*'), commands);
    describe(&out, 2, "command info");
    assert_int_equal(count_of(&out, '*'), commands);
    describe(&out, 2, "command docs");
    assert_int_equal(count_of(&out, '*'), 2 * commands);
    describe(&out, 3, "command docs");
    assert_int_equal(count_of(&out, '%'), commands);
    for (int id = 0; id < REDIS_ID_COUNT; id++) {
        char name[64];
        const struct redis_command *row = redis_row((enum redis_id)id);
        snprintf(name, sizeof name, "$%zu\r\n%s\r\n", strlen(row->name), row->name);
        assert_non_null(strstr((const char *)out.data, name));
        assert_non_null(strstr((const char *)out.data, row->summary));
    }
    describe(&out, 3, "command list");
    assert_int_equal(count_of(&out, '*'), REDIS_ID_COUNT);
    buf_done(&out);
}

static void command_docs_leave_out_what_there_is_not(void **state)
{
    (void)state;
    struct buf out = {0};
    describe(&out, 3, "command docs nosuch KV.Revision nosuch");
    assert_string_equal((const char *)out.data,
                        "%1\r\n$11\r\nkv.revision\r\n%4\r\n"
                        "$7\r\nsummary\r\n$39\r\nThe revision of the last write to a key\r\n"
                        "$5\r\nsince\r\n$3\r\n0.1\r\n$5\r\ngroup\r\n$7\r\ngeneric\r\n"
                        "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n");
    buf_done(&out);
}

static void command_list_and_getkeys_answer_as_redis(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *reply;
    } cases[] = {
        {"command list x", "-ERR syntax error\r\n"},
        {"command list filterby aclcat", "-ERR syntax error\r\n"},
        {"command list filterby x y", "-ERR syntax error\r\n"},
        {"command list filterby module x", "*0\r\n"},
        {"command list filterby aclcat nosuch", "*0\r\n"},
        {"command list filterby aclcat @read", "*0\r\n"},
        {"command list filterby aclcat rea", "*0\r\n"},
        {"Command List FilterBy AclCat Transaction",
         "*6\r\n$7\r\ndiscard\r\n$4\r\nexec\r\n$8\r\nkv.fence\r\n$5\r\nmulti\r\n"
         "$7\r\nunwatch\r\n$5\r\nwatch\r\n"},
        {"command list filterby pattern GET", "*1\r\n$3\r\nget\r\n"},
        {"command list filterby pattern ge", "*0\r\n"},
        {"command list filterby pattern M*",
         "*6\r\n$6\r\nmemory\r\n$5\r\nmulti\r\n$12\r\nmemory|usage\r\n$4\r\nmget\r\n"
         "$4\r\nmset\r\n$6\r\nmsetnx\r\n"},
        {"command getkeys mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
        {"command getkeys memory usage a", "*1\r\n$1\r\na\r\n"},
        {"command getkeys nosuch a", "-ERR Invalid command specified\r\n"},
        {"command getkeys client nosuch", "-ERR Invalid command specified\r\n"},
        {"command getkeys ping a", "-ERR The command has no key arguments\r\n"},
        {"command getkeys get a b", "-ERR Invalid number of arguments specified for command\r\n"},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        describe(&out, 2, cases[i].line);
        assert_string_equal((const char *)out.data, cases[i].reply);
    }
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_id_has_one_row_at_its_place),
        cmocka_unit_test(both_halves_are_sorted_by_name),
        cmocka_unit_test(what_a_row_says_in_two_places_agrees),
        cmocka_unit_test(every_command_is_found_in_any_case),
        cmocka_unit_test(a_container_is_found_by_itself_or_as_its_subcommand),
        cmocka_unit_test(nothing_else_is_found),
        cmocka_unit_test(wrong_requests_have_the_errors_of_redis),
        cmocka_unit_test(right_requests_pass),
        cmocka_unit_test(keys_are_found_among_the_words),
        cmocka_unit_test(slots_are_those_of_redis_cluster),
        cmocka_unit_test(command_info_looks_as_in_redis),
        cmocka_unit_test(command_tells_of_every_command),
        cmocka_unit_test(command_docs_leave_out_what_there_is_not),
        cmocka_unit_test(command_list_and_getkeys_answer_as_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
