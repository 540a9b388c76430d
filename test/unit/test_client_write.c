/* The client library's calls that say how a key is written, and its batches. */
#include "client_world.h"

#include "base/limits.h"
#include "base/memory.h"
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

/* Moves the log's time on, and lets what has expired go. */
static void pass_ms(struct world *world, uint64_t time_ms)
{
    struct reply unused;
    world->log_index++;
    kv_apply(world->kv, world->log_index, time_ms, slice_of(NULL, 0), &unused);
}

static int put_with(struct world *world, const char *value, struct kvapp_how how,
                    struct kvapp_reply *ret_reply)
{
    return kvapp_put_with(world->client, "k", 1, value, strlen(value), &how, ret_reply);
}

static void assert_value(struct world *world, const char *key, const char *value)
{
    struct kvapp_reply reply;
    assert_int_equal(get(world, key, &reply), 0);
    assert_int_equal(reply.size, strlen(value));
    assert_memory_equal(reply.data, value, reply.size);
}

static void start(struct world *world)
{
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){0});
}

static void a_put_may_depend_on_what_is_there(void **state)
{
    struct world *world = *state;
    start(world);
    struct kvapp_reply reply;
    struct kvapp_how absent = {.only_if = KVAPP_IF_ABSENT};
    struct kvapp_how present = {.only_if = KVAPP_IF_PRESENT};
    assert_int_equal(put_with(world, "a", present, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_int_equal(put_with(world, "b", absent, &reply), 0);
    uint64_t revision = reply.revision;
    assert_int_equal(put_with(world, "c", absent, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, revision);
    assert_value(world, "k", "b");
    assert_int_equal(put_with(world, "d", present, &reply), 0);
    struct kvapp_how at = {.only_if = KVAPP_IF_REVISION, .revision = revision};
    revision = reply.revision;
    assert_int_equal(put_with(world, "e", at, &reply), KV_ERR_CONDITION);
    at.revision = revision;
    assert_int_equal(put_with(world, "f", at, &reply), 0);
    assert_int_equal(put_with(world, "g", (struct kvapp_how){0}, &reply), 0);
    assert_value(world, "k", "g");
}

static uint64_t ttl_ms(struct world *world)
{
    struct kvapp_reply reply;
    struct kvapp_stat stat;
    assert_int_equal(kvapp_stat(world->client, "k", 1, &reply, &stat), 0);
    return stat.ttl_ms;
}

static void a_key_goes_when_its_time_is_over(void **state)
{
    struct world *world = *state;
    start(world);
    struct kvapp_reply reply;
    assert_int_equal(put_with(world, "a", (struct kvapp_how){.ttl_ms = 500}, &reply), 0);
    assert_int_equal(ttl_ms(world), 500);
    pass_ms(world, 401);
    assert_int_equal(ttl_ms(world), 100);
    assert_int_equal(put_with(world, "b", (struct kvapp_how){.keep_ttl = true}, &reply), 0);
    assert_int_equal(ttl_ms(world), 100);
    assert_int_equal(kvapp_expire(world->client, "k", 1, 300, &reply), 0);
    assert_int_equal(reply.count, 1);
    assert_int_equal(ttl_ms(world), 300);
    assert_int_equal(kvapp_expire(world->client, "k", 1, 0, &reply), 0);
    assert_true(ttl_ms(world) == UINT64_MAX);
    assert_int_equal(put_with(world, "c", (struct kvapp_how){.ttl_ms = 100}, &reply), 0);
    pass_ms(world, 501);
    assert_int_equal(get(world, "k", &reply), KV_ERR_NOT_FOUND);
    assert_int_equal(kvapp_expire(world->client, "k", 1, 100, &reply), KV_ERR_NOT_FOUND);
    struct kvapp_stat stat = {.size = 77};
    assert_int_equal(kvapp_stat(world->client, "k", 1, &reply, &stat), KV_ERR_NOT_FOUND);
    assert_int_equal(stat.size, 77);
}

static void numbers_and_texts_grow_in_place(void **state)
{
    struct world *world = *state;
    start(world);
    struct kvapp_reply reply;
    assert_int_equal(kvapp_add(world->client, "n", 1, 5, &reply), 0);
    assert_true((int64_t)reply.count == 5);
    assert_int_equal(kvapp_add(world->client, "n", 1, -12, &reply), 0);
    assert_true((int64_t)reply.count == -7);
    assert_int_equal(kvapp_add(world->client, "n", 1, 0, &reply), 0);
    assert_int_equal(kvapp_add(world->client, "n", 1, INT64_MIN, &reply), KV_ERR_OVERFLOW);
    assert_value(world, "n", "-7");
    assert_int_equal(kvapp_append(world->client, "n", 1, " or so", 6, &reply), 0);
    assert_int_equal(reply.count, 8);
    assert_int_equal(kvapp_append(world->client, "new", 3, "", 0, &reply), 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(kvapp_add(world->client, "n", 1, 1, &reply), KV_ERR_NOT_INTEGER);
    struct kvapp_stat stat;
    assert_int_equal(kvapp_stat(world->client, "n", 1, &reply, &stat), 0);
    assert_int_equal(stat.version, 4);
    assert_int_equal(stat.size, 8);
    assert_true(stat.created < stat.revision && stat.revision == reply.revision);
    assert_null(reply.data);
}

/* ---- batches ---- */

static struct kvapp_command command_for(enum kvapp_command_kind kind, const char *key)
{
    return (struct kvapp_command){.kind = kind, .key = key, .key_size = strlen(key)};
}

static struct kvapp_command guard_for(const char *key, uint64_t revision)
{
    struct kvapp_command guard = command_for(KVAPP_COMMAND_GUARD, key);
    guard.how = (struct kvapp_how){.only_if = KVAPP_IF_REVISION, .revision = revision};
    return guard;
}

static struct kvapp_command put_for(const char *key, const char *value)
{
    struct kvapp_command put = command_for(KVAPP_COMMAND_PUT, key);
    put.value = value;
    put.value_size = strlen(value);
    return put;
}

static int batch_of(struct world *world, const struct kvapp_command *commands, size_t count,
                    struct kvapp_reply *ret_reply)
{
    const struct kvapp_batch batch = {.commands = commands, .count = count};
    return kvapp_batch(world->client, &batch, ret_reply);
}

/* The same with a session and without: the server answers otherwise, the library does not. */
static void check_batches(struct world *world)
{
    struct kvapp_reply reply;
    assert_int_equal(put(world, "lock", "mine", &reply), 0);
    uint64_t token = reply.revision;
    struct kvapp_command commands[] = {
        put_for("a", "1"),
        command_for(KVAPP_COMMAND_ADD, "n"),
        guard_for("lock", token),
        command_for(KVAPP_COMMAND_APPEND, "a"),
        command_for(KVAPP_COMMAND_EXPIRE, "a"),
        command_for(KVAPP_COMMAND_DELETE, "lock"),
        guard_for("a", 0),
    };
    commands[1].delta = 3;
    commands[3].value = "2";
    commands[3].value_size = 1;
    commands[4].how.ttl_ms = 1000;
    assert_int_equal(batch_of(world, commands, 7, &reply), 0);
    assert_int_equal(reply.count, 7);
    assert_int_equal(reply.revision, world->log_index);
    assert_value(world, "a", "12");
    assert_value(world, "n", "3");
    assert_int_equal(get(world, "lock", &reply), KV_ERR_NOT_FOUND);

    /* The guard stands behind, and still keeps everything from being done. */
    assert_int_equal(batch_of(world, commands, 4, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.size, 0);
    assert_value(world, "n", "3");

    struct kvapp_command partly[] = {
        command_for(KVAPP_COMMAND_GUARD, "a"),
        command_for(KVAPP_COMMAND_DELETE, "nothing"),
        put_for("a", "word"),
        command_for(KVAPP_COMMAND_ADD, "a"),
    };
    partly[0].how.only_if = KVAPP_IF_PRESENT;
    assert_int_equal(batch_of(world, partly, 4, &reply), 0);
    assert_int_equal(reply.count, 2);
    partly[0].how.only_if = KVAPP_IF_ABSENT;
    assert_int_equal(batch_of(world, partly, 4, &reply), KV_ERR_CONDITION);
    assert_true(reply.revision > token);
}

static void a_batch_happens_as_a_whole_or_not_at_all(void **state)
{
    struct world *world = *state;
    start(world);
    check_batches(world);
}

static void a_batch_without_a_session_answers_the_same(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    check_batches(world);
    assert_int_equal(kv_session_count(world->kv), 0);
}

static void what_makes_no_sense_is_refused_before_it_is_sent(void **state)
{
    struct world *world = *state;
    start(world);
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    size_t sightings = world->sighting_count;
    static const struct kvapp_how bad[] = {
        {.ttl_ms = 1, .keep_ttl = true},
        {.ttl_ms = UINT64_MAX},
        {.only_if = (enum kvapp_only_if)9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(put_with(world, "v", bad[i], &reply), KV_ERR_INVALID);
    }
    assert_int_equal(kvapp_add(world->client, "", 0, 1, &reply), KV_ERR_KEY_EMPTY);

    struct kvapp_command put_and_guard[] = {put_for("k", "w"), guard_for("k", 1)};
    assert_int_equal(batch_of(world, put_and_guard, 0, &reply), KV_ERR_INVALID);
    assert_int_equal(batch_of(world, put_and_guard + 1, 1, &reply), KV_ERR_INVALID);
    assert_int_equal(batch_of(world, put_and_guard, BATCH_COUNT_MAX + 1, &reply), KV_ERR_INVALID);
    struct kvapp_command pair[2] = {put_and_guard[0], put_and_guard[1]};
    pair[1].how.only_if = KVAPP_ALWAYS;
    assert_int_equal(batch_of(world, pair, 2, &reply), KV_ERR_INVALID);
    pair[1] = put_and_guard[1];
    pair[1].value_size = 1;
    pair[1].value = "x";
    assert_int_equal(batch_of(world, pair, 2, &reply), KV_ERR_INVALID);
    pair[1] = guard_for("", 1);
    assert_int_equal(batch_of(world, pair, 2, &reply), KV_ERR_KEY_EMPTY);
    pair[1] = command_for(KVAPP_COMMAND_APPEND, "k");
    pair[1].how.ttl_ms = 1; /* which it would not look at */
    assert_int_equal(batch_of(world, pair, 2, &reply), KV_ERR_INVALID);
    assert_non_null(strstr(kvapp_client_error(world->client), "command 2: "));
    assert_int_equal(world->sighting_count, sightings);
    assert_value(world, "k", "v");
}

static void values_beyond_the_limits_are_not_sent(void **state)
{
    struct world *world = *state;
    start(world);
    struct kvapp_reply reply;
    assert_int_equal(put(world, "k", "v", &reply), 0);
    size_t sightings = world->sighting_count;
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX + 1);
    assert_int_equal(kvapp_append(world->client, "k", 1, bytes, VALUE_SIZE_MAX + 1, &reply),
                     KV_ERR_VALUE_TOO_LARGE);
    struct kvapp_command commands[] = {put_for("a", ""), put_for("b", "")};
    commands[0].value = bytes;
    commands[0].value_size = VALUE_SIZE_MAX + 1;
    commands[1].value = bytes;
    commands[1].value_size = VALUE_SIZE_MAX;
    assert_int_equal(batch_of(world, commands, 2, &reply), KV_ERR_VALUE_TOO_LARGE);
    commands[0].value_size = VALUE_SIZE_MAX;
    assert_int_equal(batch_of(world, commands, 2, &reply), KV_ERR_INVALID);
    assert_non_null(strstr(kvapp_client_error(world->client), "more than 1310688 bytes"));
    assert_int_equal(world->sighting_count, sightings);
    /* The largest that may be: two puts take 44 bytes besides, with their sizes. */
    commands[0].value_size = COMMAND_SIZE_MAX - 32 - VALUE_SIZE_MAX - 2 * (4 + 4 + 4 + 1 + 4);
    assert_int_equal(batch_of(world, commands, 2, &reply), 0);
    commands[0].value_size++;
    assert_int_equal(batch_of(world, commands, 2, &reply), KV_ERR_INVALID);
    /* Only the server knows that this one becomes too large; it is its last word. */
    assert_int_equal(kvapp_append(world->client, "b", 1, "x", 1, &reply), KV_ERR_VALUE_TOO_LARGE);
    free(bytes);
}

/* ---- exactly once ---- */

static bool is_new_kind(const struct command *command)
{
    switch (command->operation) {
    case OPERATION_ADD:
    case OPERATION_APPEND:
    case OPERATION_EXPIRE:
    case OPERATION_BATCH:
        return true;
    default:
        return false;
    }
}

/* Each is applied, and the connection breaks before its answer, the first time. */
static enum fate break_the_first_time(struct world *world, struct server *server,
                                      const struct command *command)
{
    (void)server;
    unsigned seen = 0;
    for (size_t i = 0; i < world->sighting_count; i++) {
        const struct command *other = &world->sightings[i].command;
        seen += other->operation == command->operation && other->sequence == command->sequence;
    }
    return is_new_kind(command) && seen == 1 ? FATE_APPLY_BREAK : FATE_ANSWER;
}

static void each_is_applied_once_when_its_answer_is_lost(void **state)
{
    struct world *world = *state;
    start(world);
    world->fate = break_the_first_time;
    struct kvapp_reply reply;
    assert_int_equal(kvapp_add(world->client, "n", 1, 2, &reply), 0);
    assert_int_equal(reply.count, 2);
    assert_int_equal(kvapp_append(world->client, "t", 1, "once", 4, &reply), 0);
    assert_int_equal(reply.count, 4);
    assert_int_equal(kvapp_expire(world->client, "t", 1, 1000, &reply), 0);
    assert_int_equal(reply.count, 1);
    uint64_t revision = reply.revision;
    struct kvapp_command commands[] = {guard_for("t", revision),
                                       command_for(KVAPP_COMMAND_ADD, "n"),
                                       command_for(KVAPP_COMMAND_DELETE, "t")};
    commands[1].delta = 1;
    assert_int_equal(batch_of(world, commands, 3, &reply), 0);
    assert_int_equal(reply.count, 3);
    assert_int_equal(batch_of(world, commands, 3, &reply), KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 0);
    assert_value(world, "n", "3");
    assert_int_equal(get(world, "t", &reply), KV_ERR_NOT_FOUND);
    for (size_t i = 0; i < world->sighting_count; i++) {
        const struct command *command = &world->sightings[i].command;
        assert_true(!is_new_kind(command) || command->session != 0);
    }
}

static enum fate apply_in_silence(struct world *world, struct server *server,
                                  const struct command *command)
{
    (void)world;
    (void)server;
    return is_new_kind(command) ? FATE_APPLY_SILENT : FATE_ANSWER;
}

static enum fate ignore_new_kinds(struct world *world, struct server *server,
                                  const struct command *command)
{
    (void)world;
    (void)server;
    return is_new_kind(command) ? FATE_IGNORE : FATE_ANSWER;
}

static void what_became_of_them_can_be_asked_and_settled(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.timeout_ms = 100});
    world->fate = apply_in_silence;
    struct kvapp_reply reply;
    assert_int_equal(kvapp_add(world->client, "n", 1, -2, &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(kvapp_outcome(world->client, reply.session, reply.sequence, &reply), 0);
    assert_true((int64_t)reply.count == -2);

    struct kvapp_command commands[] = {guard_for("n", 1), put_for("a", "1")};
    assert_int_equal(batch_of(world, commands, 2, &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(kvapp_outcome(world->client, reply.session, reply.sequence, &reply),
                     KV_ERR_CONDITION);
    assert_true(reply.revision > 1);

    world->fate = ignore_new_kinds;
    assert_int_equal(batch_of(world, commands, 2, &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_int_equal(kvapp_cancel(world->client, reply.session, reply.sequence, &reply),
                     KV_ERR_CONDITION);
    assert_int_equal(get(world, "a", &reply), KV_ERR_NOT_FOUND);
}

static void without_a_session_a_lost_answer_leaves_them_in_doubt(void **state)
{
    struct world *world = *state;
    start_servers(world, 1);
    start_client(world, &(struct kvapp_client_options){.no_session = true});
    world->fate = break_the_first_time;
    struct kvapp_reply reply;
    assert_int_equal(kvapp_add(world->client, "n", 1, 2, &reply), KV_ERR_OUTCOME_UNKNOWN);
    assert_value(world, "n", "2");
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(a_put_may_depend_on_what_is_there),
        cmocka_unit_test(a_key_goes_when_its_time_is_over),
        cmocka_unit_test(numbers_and_texts_grow_in_place),
        cmocka_unit_test(a_batch_happens_as_a_whole_or_not_at_all),
        cmocka_unit_test(a_batch_without_a_session_answers_the_same),
        cmocka_unit_test(what_makes_no_sense_is_refused_before_it_is_sent),
        cmocka_unit_test(values_beyond_the_limits_are_not_sent),
        cmocka_unit_test(each_is_applied_once_when_its_answer_is_lost),
        cmocka_unit_test(what_became_of_them_can_be_asked_and_settled),
        cmocka_unit_test(without_a_session_a_lost_answer_leaves_them_in_doubt),
    };
    return run_client_cases("client_write", cases, sizeof cases / sizeof cases[0]);
}
