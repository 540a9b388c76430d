/* Commands that are carried out together: their order, guards, room for replies, sessions. */
#include "base/limits.h"
#include "base/memory.h"
#include "kv_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A reply without data in a batch. */
enum { EMPTY_REPLY_SIZE = 32 };

static struct command of(enum operation operation, const char *key)
{
    return (struct command){.operation = operation, .key = text(key)};
}

static struct command put_of(const char *key, const char *value)
{
    return (struct command){.operation = OPERATION_PUT, .key = text(key), .value = text(value)};
}

static struct command guard_of(const char *key, uint64_t revision, int64_t number)
{
    return (struct command){.operation = OPERATION_GUARD,
                            .key = text(key),
                            .has_expected = true,
                            .expected_revision = revision,
                            .number = number};
}

/* A batch being made and answered. */
struct batch {
    struct driver driver;
    struct buf commands;
    struct reply reply;
    struct reader replies;
};

static void add(struct batch *batch, struct command command)
{
    command_encode_into_batch(&command, &batch->commands);
}

static struct command take(struct batch *batch, enum operation operation)
{
    return (struct command){.operation = operation, .commands = buf_slice(&batch->commands)};
}

/* Applies what was added. */
static void run(struct batch *batch)
{
    batch->reply = apply(&batch->driver, take(batch, OPERATION_BATCH));
    batch->replies = reader_of(batch->reply.data);
    buf_clear(&batch->commands);
}

static struct reply next(struct batch *batch)
{
    struct reply reply;
    assert_int_equal(reply_decode(reader_sized(&batch->replies), &reply), 0);
    return reply;
}

static void batch_done(struct batch *batch)
{
    assert_true(reader_finished(&batch->replies));
    driver_done(&batch->driver);
    buf_done(&batch->commands);
}

static struct batch batch_new(void)
{
    return (struct batch){.driver = driver_new(4, 4)};
}

/* ---- order ---- */

static void each_command_sees_what_those_before_it_did(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, put_of("a", "one"));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, put_of("a", "two"));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, (struct command){.operation = OPERATION_LIST});
    add(&batch, of(OPERATION_DELETE, "a"));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, (struct command){.operation = OPERATION_COUNT});
    run(&batch);
    assert_int_equal(batch.reply.status, 0);
    assert_int_equal(batch.reply.count, 9);
    assert_int_equal(batch.reply.revision, 1);
    assert_int_equal(next(&batch).status, KV_ERR_NOT_FOUND);
    assert_int_equal(next(&batch).revision, 1);
    assert_text(next(&batch).data, "one");
    assert_int_equal(next(&batch).status, 0);
    assert_text(next(&batch).data, "two");
    assert_int_equal(next(&batch).count, 1);
    assert_int_equal(next(&batch).count, 1);
    assert_int_equal(next(&batch).status, KV_ERR_NOT_FOUND);
    assert_int_equal(next(&batch).count, 0);
    batch_done(&batch);
}

static void a_command_that_fails_does_not_stop_the_others(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    add(&batch, put_of("a", "word"));
    add(&batch, of(OPERATION_ADD, "a"));
    add(&batch, (struct command){.operation = OPERATION_CLEAR});
    add(&batch, of(OPERATION_ADD, "a"));
    run(&batch);
    assert_int_equal(next(&batch).status, 0);
    assert_int_equal(next(&batch).status, KV_ERR_NOT_INTEGER);
    assert_int_equal(next(&batch).count, 1);
    assert_int_equal(next(&batch).status, 0);
    assert_text(get(&batch.driver, "a").data, "0");
    batch_done(&batch);
}

/* What a reply points to must not change with the item that it came from. */
static void replies_keep_their_data_when_the_key_changes(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    struct command swap = put_of("a", "222");
    swap.options = OPTION_RETURN;
    add(&batch, put_of("a", "111"));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, swap);
    swap.value = text("333");
    add(&batch, swap);
    add(&batch, (struct command){.operation = OPERATION_SCAN});
    add(&batch, (struct command){.operation = OPERATION_RANDOM});
    add(&batch, of(OPERATION_DELETE, "a"));
    add(&batch, (struct command){.operation = OPERATION_SCAN});
    run(&batch);
    (void)next(&batch);
    assert_text(next(&batch).data, "111");
    assert_text(next(&batch).data, "111");
    assert_text(next(&batch).data, "222");
    struct slice page = next(&batch).data;
    assert_true(slice_has_prefix(page, slice_of("\1\0\0\0a\3\0\0\000333", 12)));
    assert_text(next(&batch).data, "a");
    assert_int_equal(next(&batch).count, 1);
    assert_int_equal(next(&batch).count, 0);
    batch_done(&batch);
}

static void a_key_written_often_in_one_batch_survives_a_restore(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    for (unsigned i = 0; i < BATCH_COUNT_MAX; i++) {
        add(&batch, of(OPERATION_APPEND, "a"));
    }
    run(&batch);
    assert_int_equal(batch.reply.count, BATCH_COUNT_MAX);
    struct kv_snapshot *snapshot = kv_freeze(batch.driver.kv);
    struct kv_restore *restore = kv_restore_begin(&kv_options_default);
    struct buf chunk = {0};
    while (kv_snapshot_next(snapshot, &chunk)) {
        assert_int_equal(kv_restore_chunk(restore, buf_slice(&chunk)), 0);
        buf_clear(&chunk);
    }
    struct kv *kv = NULL;
    assert_int_equal(kv_restore_end(restore, 1, kv_digest(batch.driver.kv), &kv), 0);
    assert_true(kv_snapshot_release(snapshot, SIZE_MAX));
    kv_free(kv);
    buf_done(&chunk);
    batch.replies.left = 0;
    batch_done(&batch);
}

/* ---- guards ---- */

static void a_guard_that_fails_skips_so_many_commands(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    put(&batch.driver, "a", "one");
    add(&batch, guard_of("a", 1, 2));
    add(&batch, put_of("b", "1"));
    add(&batch, guard_of("a", 2, 2));
    add(&batch, put_of("c", "2"));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, put_of("d", "3"));
    run(&batch);
    assert_int_equal(batch.reply.count, 6);
    struct reply reply = next(&batch);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.revision, 1);
    assert_int_equal(next(&batch).status, 0);
    reply = next(&batch);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.revision, 1);
    for (unsigned i = 0; i < 2; i++) {
        reply = next(&batch);
        assert_int_equal(reply.status, KV_ERR_CONDITION);
        assert_true(reply.revision == 0 && reply.data.size == 0);
    }
    assert_int_equal(next(&batch).status, 0);
    assert_int_equal(get(&batch.driver, "c").status, KV_ERR_NOT_FOUND);
    assert_int_equal(get(&batch.driver, "d").status, 0);
    batch_done(&batch);
}

static void a_skipped_guard_skips_nothing_itself(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    add(&batch, guard_of("a", 7, 1));
    add(&batch, guard_of("a", 8, INT64_MAX));
    add(&batch, put_of("a", "1"));
    add(&batch, guard_of("a", 9, INT64_MAX));
    add(&batch, put_of("a", "2"));
    run(&batch);
    static const int statuses[] = {KV_ERR_CONDITION, KV_ERR_CONDITION, 0, KV_ERR_CONDITION,
                                   KV_ERR_CONDITION};
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        assert_int_equal(next(&batch).status, statuses[i]);
    }
    assert_text(get(&batch.driver, "a").data, "1");
    batch_done(&batch);
}

static void guards_see_presence_and_what_the_batch_did(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    struct command present = {
        .operation = OPERATION_GUARD, .key = text("a"), .options = OPTION_PRESENT, .number = 1};
    add(&batch, present);
    add(&batch, put_of("x", "skipped"));
    add(&batch, guard_of("a", 0, 1));
    add(&batch, put_of("a", "made"));
    add(&batch, present);
    add(&batch, put_of("y", "done"));
    add(&batch, guard_of("a", 0, 1));
    add(&batch, put_of("z", "skipped"));
    add(&batch, guard_of("a", 1, 1));
    add(&batch, put_of("w", "done"));
    run(&batch);
    for (size_t i = 0; i < 10; i++) {
        bool fails = i < 2 || i == 6 || i == 7;
        assert_int_equal(next(&batch).status, fails ? KV_ERR_CONDITION : 0);
    }
    assert_int_equal(kv_key_count(batch.driver.kv), 3);
    batch_done(&batch);
}

/* ---- room ---- */

static void a_write_whose_reply_does_not_fit_has_no_effect(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    struct command large = put_of("a", "");
    large.value = slice_of(bytes, VALUE_SIZE_MAX);
    (void)apply(&batch.driver, large);
    put(&batch.driver, "number", "1");
    struct command delete = of(OPERATION_DELETE, "a");
    delete.options = OPTION_RETURN;
    struct command swap = put_of("a", "small");
    swap.options = OPTION_RETURN;
    struct command drop = of(OPERATION_EXPIRE, "a");
    drop.options = OPTION_RETURN;
    drop.expiry = (struct expiry){EXPIRY_AFTER, 5};
    for (unsigned i = 0; i < 3; i++) {
        add(&batch, of(OPERATION_GET, "a"));
    }
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, delete);
    add(&batch, swap);
    add(&batch, drop);
    add(&batch, of(OPERATION_ADD, "number"));
    add(&batch, of(OPERATION_GET, "number"));
    run(&batch);
    assert_true(batch.reply.data.size <= REPLY_SIZE_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(next(&batch).data.size, VALUE_SIZE_MAX);
    }
    for (unsigned i = 0; i < 4; i++) {
        struct reply reply = next(&batch);
        assert_int_equal(reply.status, KV_ERR_REPLY_TOO_LARGE);
        assert_true(reply.revision == 0 && reply.count == 0 && reply.data.size == 0);
    }
    assert_int_equal(next(&batch).count, 1);
    assert_text(next(&batch).data, "1");
    assert_int_equal(get(&batch.driver, "a").revision, 1);
    free(bytes);
    batch_done(&batch);
}

/* The last byte of room, and one less. */
static void replies_fill_the_room_to_its_last_byte(void **state)
{
    (void)state;
    enum { COUNT = 5 };
    struct batch batch = batch_new();
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    size_t rest = REPLY_SIZE_MAX - COUNT * EMPTY_REPLY_SIZE - 3 * VALUE_SIZE_MAX;
    for (size_t excess = 0; excess < 2; excess++) {
        struct command command = put_of("a", "");
        command.value = slice_of(bytes, VALUE_SIZE_MAX);
        (void)apply(&batch.driver, command);
        command = put_of("b", "");
        command.value = slice_of(bytes, rest + excess);
        (void)apply(&batch.driver, command);
        for (unsigned i = 0; i < 3; i++) {
            add(&batch, of(OPERATION_GET, "a"));
        }
        struct command delete = of(OPERATION_DELETE, "b");
        delete.options = OPTION_RETURN;
        add(&batch, delete);
        add(&batch, put_of("c", "v"));
        run(&batch);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(next(&batch).status, 0);
        }
        assert_int_equal(next(&batch).status, excess == 0 ? 0 : KV_ERR_REPLY_TOO_LARGE);
        assert_int_equal(next(&batch).status, 0);
        assert_int_equal(batch.reply.data.size, REPLY_SIZE_MAX - (excess == 0 ? 0 : rest));
        assert_int_equal(kv_key_count(batch.driver.kv), excess == 0 ? 2 : 3);
    }
    free(bytes);
    batch_done(&batch);
}

static void reads_are_answered_together_within_the_caller_s_bound(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    put(&batch.driver, "a", "12345");
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, guard_of("a", 9, 1));
    add(&batch, of(OPERATION_GET, "a"));
    add(&batch, of(OPERATION_GET, "a"));
    struct command reads = take(&batch, OPERATION_READ_BATCH);
    size_t enough = 4 * EMPTY_REPLY_SIZE + 10;
    for (size_t less = 0; less < 2; less++) {
        kv_query(batch.driver.kv, &reads, enough - less, &batch.reply);
        batch.replies = reader_of(batch.reply.data);
        assert_int_equal(batch.reply.count, 4);
        assert_int_equal(batch.reply.revision, 1);
        assert_text(next(&batch).data, "12345");
        assert_int_equal(next(&batch).status, KV_ERR_CONDITION);
        assert_int_equal(next(&batch).status, KV_ERR_CONDITION);
        assert_int_equal(next(&batch).status, less == 0 ? 0 : KV_ERR_REPLY_TOO_LARGE);
        assert_true(reader_finished(&batch.replies));
    }
    kv_query(batch.driver.kv, &reads, 4 * EMPTY_REPLY_SIZE - 1, &batch.reply);
    assert_int_equal(batch.reply.status, KV_ERR_REPLY_TOO_LARGE);
    assert_int_equal(batch.reply.data.size, 0);
    assert_int_equal(apply(&batch.driver, reads).status, KV_ERR_INVALID);
    reads.operation = OPERATION_BATCH;
    assert_int_equal(query(&batch.driver, reads).status, KV_ERR_INVALID);
    batch_done(&batch);
}

/* ---- sessions ---- */

static void a_batch_in_a_session_answers_the_same_again(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    uint64_t session = open_session(&batch.driver);
    struct command increment = of(OPERATION_ADD, "a");
    increment.number = 1;
    add(&batch, increment);
    add(&batch, of(OPERATION_GET, "a"));
    struct command once = take(&batch, OPERATION_BATCH);
    once.session = session;
    once.sequence = 1;
    for (unsigned i = 0; i < 3; i++) {
        struct reply reply = apply(&batch.driver, once);
        assert_int_equal(reply.status, 0);
        assert_int_equal(reply.count, 2);
        assert_int_equal(reply.revision, 2);
        assert_int_equal(reply.data.size, 0);
    }
    assert_text(get(&batch.driver, "a").data, "1");
    batch_done(&batch);
}

/* Applies what was added as the next write of the session, and once more: the same answer. */
static struct reply run_once(struct batch *batch, uint64_t session, uint64_t sequence)
{
    struct command once = take(batch, OPERATION_BATCH);
    once.session = session;
    once.sequence = sequence;
    once.acknowledged = sequence - 1;
    struct reply first = apply(&batch->driver, once);
    struct reply again = apply(&batch->driver, once);
    assert_int_equal(first.data.size, 0);
    assert_int_equal(again.data.size, 0);
    assert_int_equal(again.status, first.status);
    assert_int_equal(again.count, first.count);
    assert_int_equal(again.revision, first.revision);
    buf_clear(&batch->commands);
    return first;
}

static void a_guard_that_keeps_a_batch_in_a_session_from_everything_says_so(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    uint64_t session = open_session(&batch.driver);
    uint64_t revision = put(&batch.driver, "lock", "mine").revision;
    add(&batch, guard_of("data", 0, 3));
    add(&batch, guard_of("lock", revision, 2));
    add(&batch, put_of("data", "1"));
    add(&batch, put_of("more", "1"));
    struct reply reply = run_once(&batch, session, 1);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 4);
    assert_int_equal(reply.revision, get(&batch.driver, "data").revision);

    add(&batch, guard_of("lock", revision + 1, 2));
    add(&batch, guard_of("data", 0, 1));
    add(&batch, put_of("data", "2"));
    reply = run_once(&batch, session, 2);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.revision, revision);

    /* The one that held is no reason to say that anything was done. */
    add(&batch, guard_of("lock", revision, 2));
    add(&batch, guard_of("nothing", revision, 1));
    add(&batch, put_of("data", "3"));
    reply = run_once(&batch, session, 3);
    assert_int_equal(reply.status, KV_ERR_CONDITION);
    assert_int_equal(reply.count, 0);
    assert_int_equal(reply.revision, 0);
    assert_text(get(&batch.driver, "data").data, "1");
    batch_done(&batch);
}

static void a_batch_in_a_session_counts_what_succeeded(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    uint64_t session = open_session(&batch.driver);
    add(&batch, put_of("a", "word"));
    add(&batch, guard_of("a", 7, 1));
    add(&batch, put_of("b", "skipped"));
    add(&batch, of(OPERATION_ADD, "a"));
    add(&batch, of(OPERATION_DELETE, "nothing"));
    add(&batch, of(OPERATION_DELETE, "a"));
    struct reply reply = run_once(&batch, session, 1);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 2);

    /* Behind a guard that failed, but not covered by it, something was carried out. */
    add(&batch, guard_of("a", 7, 1));
    add(&batch, put_of("b", "skipped"));
    add(&batch, of(OPERATION_DELETE, "nothing"));
    reply = run_once(&batch, session, 2);
    assert_int_equal(reply.status, 0);
    assert_int_equal(reply.count, 0);
    batch_done(&batch);
}

/* Nobody gets the replies, so they are no reason to refuse anything. */
static void a_batch_in_a_session_has_room_for_everything(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    uint64_t session = open_session(&batch.driver);
    uint8_t *bytes = memory_new(1, VALUE_SIZE_MAX);
    struct command large = put_of("a", "");
    large.value = slice_of(bytes, VALUE_SIZE_MAX);
    (void)apply(&batch.driver, large);
    for (unsigned i = 0; i < 10; i++) {
        add(&batch, of(OPERATION_GET, "a"));
    }
    struct command delete = of(OPERATION_DELETE, "a");
    delete.options = OPTION_RETURN;
    add(&batch, delete);
    struct command once = take(&batch, OPERATION_BATCH);
    once.session = session;
    once.sequence = 1;
    assert_int_equal(apply(&batch.driver, once).status, 0);
    assert_int_equal(kv_key_count(batch.driver.kv), 0);
    free(bytes);
    batch_done(&batch);
}

/* ---- what is no batch ---- */

static int check_bytes(struct slice commands)
{
    struct command batch = {.operation = OPERATION_BATCH, .commands = commands};
    return command_check(&batch);
}

static int check_one(enum operation kind, struct command command)
{
    struct buf commands = {0};
    command_encode_into_batch(&command, &commands);
    struct command batch = {.operation = kind, .commands = buf_slice(&commands)};
    int err = command_check(&batch);
    buf_done(&commands);
    return err;
}

/* Sixty-four keys are looked up, be they one to a command or many in a batch. */
static void so_many_commands_are_looked_ahead_as_have_sixty_four_keys(void **state)
{
    (void)state;
    struct batch batch = batch_new();
    for (int i = 0; i < 60; i++) {
        add(&batch, put_of("a", "1"));
    }
    struct command together = {.operation = OPERATION_BATCH,
                               .commands = buf_slice(&batch.commands)};
    struct buf one = {0};
    struct buf sixty = {0};
    const struct command put = put_of("a", "1");
    command_encode(&put, &one);
    command_encode(&together, &sixty);
    struct slice commands[70];
    for (int i = 0; i < 70; i++) {
        commands[i] = buf_slice(&one);
    }
    const struct kv *kv = batch.driver.kv;
    assert_int_equal(kv_prefetch(kv, commands, 10), 10);
    assert_int_equal(kv_prefetch(kv, commands, 70), 64);
    commands[0] = slice_of("no command", 10);
    assert_int_equal(kv_prefetch(kv, commands, 70), 65);
    commands[1] = buf_slice(&sixty);
    assert_int_equal(kv_prefetch(kv, commands, 70), 6);
    commands[1].size--; /* malformed */
    assert_int_equal(kv_prefetch(kv, commands, 70), 66);
    assert_int_equal(kv_prefetch(kv, commands, 0), 0);
    buf_done(&one);
    buf_done(&sixty);
    batch_done(&batch);
}

static void commands_that_belong_in_no_batch_are_refused(void **state)
{
    (void)state;
    struct command stamped = put_of("a", "v");
    stamped.session = 1;
    stamped.sequence = 1;
    struct command inner = {.operation = OPERATION_BATCH, .commands = slice_of("\1\0\0\0x", 5)};
    struct command inner_reads = inner;
    inner_reads.operation = OPERATION_READ_BATCH;
    struct command bad[] = {
        stamped,
        inner,
        inner_reads,
        {.operation = OPERATION_OPEN_SESSION},
        {.operation = OPERATION_CLOSE_SESSION, .session = 1},
        {.operation = OPERATION_OUTCOME, .session = 1, .sequence = 1},
        {.operation = OPERATION_PURGE},
        {.operation = OPERATION_GUARD, .key = text("a"), .number = 1},
        {.operation = OPERATION_GUARD, .key = text("a"), .options = OPTION_PRESENT},
        {.operation = OPERATION_DELETE_RANGE},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(check_one(OPERATION_BATCH, bad[i]), KV_ERR_INVALID);
        assert_int_equal(check_one(OPERATION_READ_BATCH, bad[i]), KV_ERR_INVALID);
    }
    assert_int_equal(check_one(OPERATION_BATCH, of(OPERATION_GET, "")), KV_ERR_KEY_EMPTY);
    assert_int_equal(check_one(OPERATION_BATCH, put_of("a", "v")), 0);
    assert_int_equal(check_one(OPERATION_READ_BATCH, put_of("a", "v")), KV_ERR_INVALID);
    assert_int_equal(check_one(OPERATION_READ_BATCH, of(OPERATION_GET, "a")), 0);
}

static void batches_that_are_damaged_are_malformed(void **state)
{
    (void)state;
    struct buf commands = {0};
    struct command one = put_of("key", "value");
    command_encode_into_batch(&one, &commands);
    size_t first = commands.size;
    command_encode_into_batch(&one, &commands);
    assert_int_equal(check_bytes(buf_slice(&commands)), 0);
    for (size_t size = 1; size < commands.size; size++) {
        uint8_t *cut = memory_new(1, size);
        memcpy(cut, commands.data, size);
        assert_int_equal(check_bytes(slice_of(cut, size)), size == first ? 0 : KV_ERR_MALFORMED);
        free(cut);
    }
    assert_int_equal(check_bytes(slice_of("\0\0\0\0", 4)), KV_ERR_MALFORMED);
    assert_int_equal(check_bytes(slice_of("\4\0\0\0\xff\0\0\0", 8)), KV_ERR_COMMAND_UNKNOWN);
    put_u32(commands.data, UINT32_MAX);
    assert_int_equal(check_bytes(buf_slice(&commands)), KV_ERR_MALFORMED);
    buf_done(&commands);
}

static void a_batch_has_at_most_so_many_commands(void **state)
{
    (void)state;
    struct buf commands = {0};
    struct command count = {.operation = OPERATION_COUNT};
    for (unsigned i = 0; i < BATCH_COUNT_MAX; i++) {
        command_encode_into_batch(&count, &commands);
    }
    assert_int_equal(check_bytes(buf_slice(&commands)), 0);
    command_encode_into_batch(&count, &commands);
    assert_int_equal(check_bytes(buf_slice(&commands)), KV_ERR_INVALID);
    buf_done(&commands);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_command_sees_what_those_before_it_did),
        cmocka_unit_test(a_command_that_fails_does_not_stop_the_others),
        cmocka_unit_test(replies_keep_their_data_when_the_key_changes),
        cmocka_unit_test(a_key_written_often_in_one_batch_survives_a_restore),
        cmocka_unit_test(a_guard_that_fails_skips_so_many_commands),
        cmocka_unit_test(a_skipped_guard_skips_nothing_itself),
        cmocka_unit_test(guards_see_presence_and_what_the_batch_did),
        cmocka_unit_test(a_write_whose_reply_does_not_fit_has_no_effect),
        cmocka_unit_test(replies_fill_the_room_to_its_last_byte),
        cmocka_unit_test(reads_are_answered_together_within_the_caller_s_bound),
        cmocka_unit_test(a_batch_in_a_session_answers_the_same_again),
        cmocka_unit_test(a_guard_that_keeps_a_batch_in_a_session_from_everything_says_so),
        cmocka_unit_test(a_batch_in_a_session_counts_what_succeeded),
        cmocka_unit_test(a_batch_in_a_session_has_room_for_everything),
        cmocka_unit_test(so_many_commands_are_looked_ahead_as_have_sixty_four_keys),
        cmocka_unit_test(commands_that_belong_in_no_batch_are_refused),
        cmocka_unit_test(batches_that_are_damaged_are_malformed),
        cmocka_unit_test(a_batch_has_at_most_so_many_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
