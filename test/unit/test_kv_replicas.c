/*
 * Determinism: random logs against a model that is as simple as can be, two replicas of one log,
 * the digest, and entries that are garbage.
 */
#include "base/limits.h"
#include "base/prng.h"
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- the model: arrays that are searched from end to end ---- */

enum {
    KEYS = 40,
    SESSIONS_MAX = 5,
    REPLIES_MAX = 6,
    SEQUENCES = 400, /* of one session; then it is not used any more */
    OPENED_MAX = 4000,
};

struct model_session {
    uint64_t id;
    uint64_t used;
    uint64_t floor;
    bool there;
    struct reply replies[SEQUENCES];
    bool stored[SEQUENCES];
};

struct model {
    uint64_t index;
    uint64_t revisions[KEYS]; /* modify revision; 0: not there */
    uint64_t values[KEYS];
    struct model_session sessions[OPENED_MAX];
    size_t opened;
    uint64_t applied_twice;
    bool applied[OPENED_MAX][SEQUENCES];
};

static uint64_t model_live(const struct model *model)
{
    uint64_t count = 0;
    for (size_t i = 0; i < model->opened; i++) {
        count += model->sessions[i].there;
    }
    return count;
}

static struct reply model_open(struct model *model)
{
    if (model_live(model) == SESSIONS_MAX) {
        struct model_session *oldest = NULL;
        for (size_t i = 0; i < model->opened; i++) {
            struct model_session *session = &model->sessions[i];
            if (session->there && (oldest == NULL || session->used < oldest->used)) {
                oldest = session;
            }
        }
        oldest->there = false;
    }
    model->sessions[model->opened] =
        (struct model_session){.id = model->index, .used = model->index, .there = true};
    model->opened++;
    return (struct reply){.revision = model->index};
}

static struct reply model_write(struct model *model, const struct command *command, size_t key,
                                uint64_t value)
{
    struct reply reply = {.revision = model->index};
    uint64_t present = model->revisions[key];
    if (command->has_expected && command->expected_revision != present) {
        return (struct reply){.status = KV_ERR_CONDITION, .revision = present};
    }
    if (command->operation == OPERATION_PUT) {
        model->revisions[key] = model->index;
        model->values[key] = value;
    } else if (command->operation == OPERATION_DELETE) {
        reply.status = present == 0 ? KV_ERR_NOT_FOUND : 0;
        reply.count = present != 0;
        model->revisions[key] = 0;
    } else {
        for (size_t k = key; k < KEYS; k++) {
            reply.count += model->revisions[k] != 0;
            model->revisions[k] = 0;
        }
    }
    return reply;
}

static void model_forget(struct model_session *session, uint64_t floor)
{
    session->floor = floor > session->floor ? floor : session->floor;
    for (uint64_t sequence = 0; sequence <= session->floor; sequence++) {
        session->stored[sequence] = false;
    }
}

/* Stores the reply; if that makes too many, the lowest goes and everything up to it is stale. */
static void model_store(struct model_session *session, uint64_t sequence, struct reply reply)
{
    session->stored[sequence] = true;
    session->replies[sequence] = reply;
    uint64_t count = 0;
    uint64_t lowest = 0;
    for (uint64_t at = SEQUENCES; at > 0; at--) {
        if (session->stored[at - 1]) {
            count++;
            lowest = at - 1;
        }
    }
    if (count > REPLIES_MAX) {
        model_forget(session, lowest);
    }
}

static struct reply model_apply(struct model *model, const struct command *command, size_t key,
                                uint64_t value)
{
    if (command->operation == OPERATION_OPEN_SESSION) {
        return model_open(model);
    }
    if (command->session == 0) {
        return model_write(model, command, key, value);
    }
    struct model_session *session = NULL;
    for (size_t i = 0; i < model->opened; i++) {
        if (model->sessions[i].id == command->session && model->sessions[i].there) {
            session = &model->sessions[i];
        }
    }
    if (session == NULL) {
        return (struct reply){.status = KV_ERR_SESSION_UNKNOWN};
    }
    if (command->operation == OPERATION_CLOSE_SESSION) {
        session->there = false;
        return (struct reply){0};
    }
    session->used = model->index;
    model_forget(session, command->acknowledged);
    if (command->sequence <= session->floor) {
        return (struct reply){.status = KV_ERR_SEQUENCE_STALE};
    }
    if (session->stored[command->sequence]) {
        return session->replies[command->sequence];
    }
    bool *applied = &model->applied[session - model->sessions][command->sequence];
    model->applied_twice += *applied;
    *applied = true;
    struct reply reply = model_write(model, command, key, value);
    model_store(session, command->sequence, reply);
    return reply;
}

/* ---- random commands ---- */

/* One of the last few opened, so that some are evicted and most are not. */
static void random_stamp(struct prng *prng, const struct model *model, struct command *command)
{
    if (model->opened == 0 || prng_chance(prng, 1, 4)) {
        return;
    }
    uint64_t back = prng_between(prng, 0, SESSIONS_MAX);
    const struct model_session *session =
        &model->sessions[model->opened - 1 - (back < model->opened ? back : 0)];
    /* A window that moves with use: sequences come late, again, and rarely far ahead. */
    uint64_t middle = session->floor + prng_between(prng, 1, 8);
    uint64_t sequence = prng_chance(prng, 1, 6) ? prng_between(prng, 1, middle) : middle;
    sequence += prng_chance(prng, 1, 50) ? 10 : 0;
    if (sequence >= SEQUENCES) {
        return;
    }
    command->session = session->id;
    command->sequence = sequence;
    command->acknowledged = prng_chance(prng, 1, 8) ? prng_between(prng, 0, sequence - 1) : 0;
}

static struct command random_command(struct prng *prng, const struct model *model, size_t key)
{
    struct command command = {.operation = OPERATION_PUT};
    uint64_t dice = prng_between(prng, 0, 99);
    if (dice < 2 && model->opened < OPENED_MAX) {
        command.operation = OPERATION_OPEN_SESSION;
        return command;
    }
    if (dice < 3 && model->opened > 0) {
        command.operation = OPERATION_CLOSE_SESSION;
        command.session = model->sessions[prng_between(prng, 0, model->opened - 1)].id;
        return command;
    }
    random_stamp(prng, model, &command);
    if (dice < 5) {
        command.operation = OPERATION_DELETE_RANGE;
        return command;
    }
    command.operation = dice < 30 ? OPERATION_DELETE : OPERATION_PUT;
    command.has_expected = prng_chance(prng, 1, 3);
    if (command.has_expected) {
        command.expected_revision =
            prng_chance(prng, 1, 2) ? model->revisions[key] : prng_between(prng, 0, model->index);
    }
    return command;
}

static void assert_keys(struct driver *driver, const struct model *model)
{
    uint64_t count = 0;
    for (size_t k = 0; k < KEYS; k++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key-%02zu", k);
        struct reply reply = get(driver, key);
        if (model->revisions[k] == 0) {
            assert_int_equal(reply.status, KV_ERR_NOT_FOUND);
            continue;
        }
        assert_int_equal(reply.status, 0);
        assert_true(reply.revision == model->revisions[k]);
        assert_int_equal(reply.data.size, sizeof model->values[k]);
        assert_memory_equal(reply.data.data, &model->values[k], sizeof model->values[k]);
        count++;
    }
    assert_true(kv_key_count(driver->kv) == count);
    assert_true(kv_session_count(driver->kv) == model_live(model));
}

static void assert_reply_equal(const struct reply *a, const struct reply *b)
{
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->more, b->more);
    assert_true(a->revision == b->revision);
    assert_true(a->count == b->count);
    assert_true(slice_equal(a->data, b->data));
}

/* Bug 9: replicas that apply differently. */
static void random_logs_agree_with_the_model_and_between_replicas(void **state)
{
    (void)state;
    uint64_t seed = 1234;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    struct driver one = driver_new(SESSIONS_MAX, REPLIES_MAX);
    struct driver two = driver_new(SESSIONS_MAX, REPLIES_MAX);
    uint64_t seen[64] = {0};
    for (int i = 0; i < 100000; i++) {
        size_t key = prng_between(&prng, 0, KEYS - 1);
        uint64_t value = prng_next(&prng);
        char name[16];
        (void)snprintf(name, sizeof name, "key-%02zu", key);
        struct command command = random_command(&prng, model, key);
        bool names_key = command.operation != OPERATION_OPEN_SESSION &&
                         command.operation != OPERATION_CLOSE_SESSION;
        command.key = slice_of_string(names_key ? name : "");
        command.value = slice_of(&value, command.operation == OPERATION_PUT ? sizeof value : 0);
        model->index++;
        struct reply expected = model_apply(model, &command, key, value);
        one.time_ms = two.time_ms = prng_between(&prng, 1000, 100000);
        struct reply reply = apply(&one, command);
        assert_reply_equal(&reply, &expected);
        reply = apply(&two, command);
        assert_reply_equal(&reply, &expected);
        assert_true(kv_digest(one.kv) == kv_digest(two.kv));
        seen[-reply.status]++;
        if (i % 1000 == 999) {
            assert_keys(&one, model);
            kv_check(one.kv);
            assert_true(kv_digest_recompute(one.kv) == kv_digest(two.kv));
        }
    }
    /* Each outcome came up often enough to mean something. */
    assert_true(seen[0] > 10000);
    assert_true(seen[-KV_ERR_NOT_FOUND] > 1000);
    assert_true(seen[-KV_ERR_CONDITION] > 1000);
    assert_true(seen[-KV_ERR_SESSION_UNKNOWN] > 1000);
    assert_true(seen[-KV_ERR_SEQUENCE_STALE] > 1000);
    assert_true(model->applied_twice == 0);
    driver_done(&one);
    driver_done(&two);
    free(model);
}

/* ---- what the digest tells apart ---- */

/*
 * A log in words: "a1" puts value 1 to key a, "a-" deletes it, ".." is an entry without a
 * command, "$$" opens a session, "s3" puts to key s with sequence 3 of session 1, "S3" likewise
 * and acknowledges what is below. Each is one entry.
 */
static uint64_t digest_of_log(const char *words)
{
    struct driver driver = driver_new(4, 4);
    for (const char *at = words; *at != '\0'; at += 2) {
        char key[2] = {at[0], '\0'};
        struct command command = {
            .operation = OPERATION_PUT, .key = slice_of_string(key), .value = slice_of(at + 1, 1)};
        if (at[0] == '.') {
            (void)apply_bytes(&driver, slice_of(NULL, 0));
            continue;
        }
        if (at[0] == '$') {
            command = (struct command){.operation = OPERATION_OPEN_SESSION};
        } else if (at[0] == 's' || at[0] == 'S') {
            command.key = slice_of_string("s");
            command.value = slice_of_string("v");
            command.session = 1;
            command.sequence = (uint64_t)(at[1] - '0');
            command.acknowledged = at[0] == 'S' ? command.sequence - 1 : 0;
        } else if (at[1] == '-') {
            command.operation = OPERATION_DELETE;
            command.value.size = 0;
        }
        (void)apply(&driver, command);
    }
    uint64_t digest = kv_digest(driver.kv);
    assert_true(digest == kv_digest_recompute(driver.kv));
    driver_done(&driver);
    return digest;
}

static void equal_states_have_equal_digests(void **state)
{
    (void)state;
    assert_true(digest_of_log("a1b2") == digest_of_log("a1b2"));
    /* What was deleted leaves no trace, its creation and version included. */
    assert_true(digest_of_log("a1a-a2") == digest_of_log("....a2"));
    assert_true(digest_of_log("b1c1b-c-") == digest_of_log("........"));
}

static void any_difference_changes_the_digest(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ".."},           /* the index */
        {"a1", "a2"},         /* a value */
        {"a1", "b1"},         /* a key */
        {"a1", ".."},         /* a key more */
        {"a1..", "..a1"},     /* a modify revision */
        {"a1b1", "b1a1"},     /* which key has which revision */
        {"a1..a3", "a1a2a3"}, /* a version */
        {"a1..a3", "..a1a3"}, /* a create revision */
        {"a1a-a3", "a1..a3"}, /* a key made anew */
        {"$$..", "...."},     /* a session */
        {"$$..", "..$$"},     /* its id */
        {"$$s1", "$$s2"},     /* the sequence of a stored reply */
        {"$$s2", "$$S2"},     /* what is acknowledged */
        {"$$s1s1", "$$s1.."}, /* when a session was last used */
        {"$$..s1", "$$s1.."}, /* the stored reply's revision */
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_true(digest_of_log(pairs[i][0]) != digest_of_log(pairs[i][1]));
    }
}

static void the_digest_follows_the_largest_time_seen(void **state)
{
    (void)state;
    static const uint64_t times[][3] = {{10, 20, 30}, {10, 30, 20}, {30, 1, 1}, {10, 20, 31}};
    uint64_t digests[4];
    for (size_t i = 0; i < 4; i++) {
        struct driver driver = driver_new(1, 1);
        for (size_t k = 0; k < 3; k++) {
            driver.time_ms = times[i][k];
            put(&driver, "a", "v");
        }
        digests[i] = kv_digest(driver.kv);
        driver_done(&driver);
    }
    assert_true(digests[0] == digests[1]);
    assert_true(digests[0] == digests[2]);
    assert_true(digests[0] != digests[3]);
}

/* ---- garbage ---- */

static void garbage_is_answered_alike_on_every_replica(void **state)
{
    (void)state;
    uint64_t seed = 99;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_init(&prng, seed);
    struct driver one = driver_new(3, 3);
    struct driver two = driver_new(3, 3);
    uint64_t refused = 0;
    for (int i = 0; i < 50000; i++) {
        uint8_t bytes[64];
        size_t size = prng_between(&prng, 1, sizeof bytes);
        for (size_t k = 0; k < size; k++) {
            bytes[k] = prng_chance(&prng, 2, 3) ? 0 : (uint8_t)prng_next(&prng);
        }
        bytes[0] = (uint8_t)prng_between(&prng, 0, 9);
        struct reply a = apply_bytes(&one, slice_of(bytes, size));
        struct reply b = apply_bytes(&two, slice_of(bytes, size));
        assert_reply_equal(&a, &b);
        refused += a.status == KV_ERR_MALFORMED || a.status == KV_ERR_COMMAND_UNKNOWN;
    }
    assert_true(refused > 1000);
    assert_int_equal(kv_applied_index(one.kv), 50000);
    assert_true(kv_digest(one.kv) == kv_digest(two.kv));
    driver_done(&one);
    driver_done(&two);
}

static void a_refused_entry_changes_nothing_but_the_index(void **state)
{
    (void)state;
    struct driver one = driver_new(3, 3);
    struct driver two = driver_new(3, 3);
    put(&one, "a", "v");
    put(&two, "a", "v");
    struct reply reply = apply_bytes(&one, slice_of("\xff garbage", 9));
    (void)apply_bytes(&two, slice_of(NULL, 0));
    assert_int_equal(reply.status, KV_ERR_COMMAND_UNKNOWN);
    assert_true(kv_digest(one.kv) == kv_digest(two.kv));
    reply = apply_bytes(&one, slice_of("\x01", 1));
    (void)apply_bytes(&two, slice_of(NULL, 0));
    assert_int_equal(reply.status, KV_ERR_MALFORMED);
    assert_int_equal(reply.revision, 0);
    assert_true(kv_digest(one.kv) == kv_digest(two.kv));
    driver_done(&one);
    driver_done(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_logs_agree_with_the_model_and_between_replicas),
        cmocka_unit_test(equal_states_have_equal_digests),
        cmocka_unit_test(any_difference_changes_the_digest),
        cmocka_unit_test(the_digest_follows_the_largest_time_seen),
        cmocka_unit_test(garbage_is_answered_alike_on_every_replica),
        cmocka_unit_test(a_refused_entry_changes_nothing_but_the_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
