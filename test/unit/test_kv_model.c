/*
 * Every operation on the map, at random, against a model (kv_model.h). Two replicas carry out the
 * same log; now and then one of them is replaced by what a snapshot of the other restores, taken
 * some entries before and caught up.
 */
#include "base/limits.h"
#include "kv_model.h"
#include "kv_snapshots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { BATCH_MAX = 9, OPERATIONS = OPERATION_READ_BATCH + 1 };

/* ---- random commands ---- */

static struct expiry random_expiry(struct prng *prng, const struct model *model)
{
    switch (prng_between(prng, 0, 3)) {
    case 0:
        return (struct expiry){EXPIRY_AFTER, (int64_t)prng_between(prng, 0, 9000)};
    case 1: {
        uint64_t from = model->time_ms < 2000 ? 0 : model->time_ms - 2000;
        return (struct expiry){EXPIRY_AT, (int64_t)prng_between(prng, from, from + 12000)};
    }
    default:
        return (struct expiry){EXPIRY_NEVER, 0};
    }
}

static struct slice random_key(struct prng *prng, const struct model *model)
{
    return slice_of(model->entries[prng_between(prng, 0, MODEL_KEYS - 1)].name, 4);
}

static struct slice random_value(struct prng *prng)
{
    static const char *const values[] = {
        "", "0", "-17", "3.5", "9223372036854775000", "1e3", "word", "some words that are longer"};
    return slice_of_string(values[prng_between(prng, 0, 7)]);
}

/* None or several of them, so that some contradict each other. */
static uint32_t random_options(struct prng *prng, uint32_t options)
{
    return prng_chance(prng, 1, 2) ? 0 : options & (uint32_t)prng_next(prng);
}

static uint64_t random_revision(struct prng *prng, struct model *model, struct slice key)
{
    const struct model_entry *entry = model_entry(model, key);
    uint64_t present = model_has(model, entry) ? entry->facts.modify : 0;
    return prng_chance(prng, 2, 3) ? present : prng_between(prng, 0, model->index);
}

static void fill_write(struct prng *prng, struct model *model, struct command *command)
{
    switch (command->operation) {
    case OPERATION_PUT:
        command->value = random_value(prng);
        command->expiry = random_expiry(prng, model);
        if (prng_chance(prng, 1, 4)) {
            command->expiry = (struct expiry){EXPIRY_KEEP, 0};
        }
        command->options = random_options(prng, OPTION_ABSENT | OPTION_PRESENT | OPTION_RETURN);
        break;
    case OPERATION_DELETE:
        command->options = random_options(prng, OPTION_RETURN);
        break;
    case OPERATION_DELETE_RANGE:
        command->prefix = slice_of(command->key.data, 3);
        command->key.size = 0;
        break;
    case OPERATION_ADD:
        command->number = prng_chance(prng, 1, 9) ? INT64_MIN : (int64_t)(prng_next(prng) >> 50);
        break;
    case OPERATION_SET_RANGE:
        command->number = (int64_t)prng_between(prng, 0, 20);
        command->value = random_value(prng);
        break;
    case OPERATION_ADD_FLOAT:
    case OPERATION_APPEND:
        command->value = random_value(prng);
        break;
    case OPERATION_EXPIRE:
        command->expiry = random_expiry(prng, model);
        command->options = random_options(prng, OPTION_UNLIMITED | OPTION_LIMITED | OPTION_LATER |
                                                    OPTION_EARLIER | OPTION_RETURN);
        break;
    case OPERATION_RENAME:
    case OPERATION_COPY:
        command->target = random_key(prng, model);
        command->options = random_options(
            prng, command->operation == OPERATION_COPY ? OPTION_REPLACE : OPTION_ABSENT);
        break;
    default:
        command->key.size = 0;
        break;
    }
}

static void fill_read(struct prng *prng, struct command *command)
{
    static const char *const prefixes[] = {"*", "k-*", "k-1*", "k-23*", "x*"};
    struct slice pattern = slice_of_string(prefixes[prng_between(prng, 0, 4)]);
    switch (command->operation) {
    case OPERATION_GET_RANGE:
        command->number = prng_chance(prng, 1, 2) ? 0 : INT64_MAX;
        command->last = -1;
        break;
    case OPERATION_MATCH:
        command->pattern = pattern;
        command->limit = prng_chance(prng, 1, 2) ? 0 : (uint32_t)prng_between(prng, 1, MODEL_KEYS);
        break;
    case OPERATION_LIST:
    case OPERATION_SCAN:
        command->prefix = slice_of(pattern.data, pattern.size - 1);
        command->limit = (uint32_t)prng_between(prng, 0, MODEL_KEYS);
        break;
    case OPERATION_COUNT:
        command->key.size = 0;
        break;
    case OPERATION_GUARD:
        command->number = (int64_t)prng_between(prng, 1, 4);
        command->has_expected = prng_chance(prng, 1, 2);
        command->options = command->has_expected ? 0 : OPTION_PRESENT;
        break;
    default:
        break;
    }
}

/* One that command_check passes, of those that may be in a batch. */
static struct command random_one(struct prng *prng, struct model *model, bool may_write)
{
    static const enum operation writes[] = {
        OPERATION_PUT,    OPERATION_PUT,    OPERATION_PUT,       OPERATION_DELETE,
        OPERATION_ADD,    OPERATION_APPEND, OPERATION_SET_RANGE, OPERATION_EXPIRE,
        OPERATION_EXPIRE, OPERATION_RENAME, OPERATION_COPY,      OPERATION_ADD_FLOAT};
    static const enum operation reads[] = {OPERATION_GET,       OPERATION_STAT,  OPERATION_LIST,
                                           OPERATION_SCAN,      OPERATION_MATCH, OPERATION_COUNT,
                                           OPERATION_GET_RANGE, OPERATION_GUARD};
    struct command command;
    do {
        command = (struct command){.key = random_key(prng, model)};
        bool is_write = may_write && prng_chance(prng, 4, 5);
        command.operation =
            is_write ? writes[prng_between(prng, 0, 11)] : reads[prng_between(prng, 0, 7)];
        if (is_write && prng_chance(prng, 1, 100)) {
            command.operation = prng_chance(prng, 1, 2) ? OPERATION_CLEAR : OPERATION_DELETE_RANGE;
        }
        if (is_write) {
            fill_write(prng, model, &command);
            bool may_expect =
                command.operation == OPERATION_PUT || command.operation == OPERATION_DELETE;
            command.has_expected = may_expect && prng_chance(prng, 1, 4);
        } else {
            fill_read(prng, &command);
        }
        if (command.has_expected) {
            command.expected_revision = random_revision(prng, model, command.key);
        }
    } while (command.operation != OPERATION_GUARD && command_check(&command) != 0);
    return command;
}

/* ---- both sides ---- */

struct run {
    struct prng prng;
    struct model *model;
    struct driver one;
    struct driver two;
    struct kv_snapshot *snapshot; /* of the first; else NULL */
    struct buf log;               /* entries since: size, bytes, time */
    uint64_t seen[OPERATIONS][2]; /* how often it succeeded, and not */
    uint64_t restored;
    uint64_t session; /* of some of the batches */
    uint64_t sequence;
    uint64_t stamped[3]; /* those: as a whole, in part, not at all */
};

static void assert_reply(struct run *run, enum operation operation, const struct reply *reply,
                         const struct reply *expected)
{
    bool same = reply->status == expected->status && reply->more == expected->more &&
                reply->revision == expected->revision && reply->count == expected->count &&
                slice_equal(reply->data, expected->data);
    if (!same) {
        fail_msg("entry %llu, %s: status %d for %d, revision %d for %d, count %d for %d, %zu bytes "
                 "for %zu",
                 (unsigned long long)run->model->index, operation_name(operation), reply->status,
                 expected->status, (int)reply->revision, (int)expected->revision, (int)reply->count,
                 (int)expected->count, reply->data.size, expected->data.size);
    }
    run->seen[operation][reply->status != 0]++;
}

/* The entry on the first replica, which answers, and on the second, which must not differ. */
static struct reply apply_both(struct run *run, struct slice bytes)
{
    buf_put_sized(&run->log, bytes);
    buf_put_u64(&run->log, run->one.time_ms);
    struct reply reply = apply_bytes(&run->one, bytes);
    struct reply twin = apply_bytes(&run->two, bytes);
    assert_int_equal(reply.status, twin.status);
    assert_true(reply.revision == twin.revision && reply.count == twin.count);
    assert_true(slice_equal(reply.data, twin.data));
    assert_true(kv_digest(run->one.kv) == kv_digest(run->two.kv));
    return reply;
}

/* The replies in a batch's data, each against the model's, which carries out the command only now.
 */
static void assert_batch(struct run *run, const struct command *commands, size_t count,
                         const struct reply *reply)
{
    assert_int_equal(reply->status, 0);
    assert_true(reply->count == count);
    assert_true(reply->revision == run->model->index);
    struct reader reader = reader_of(reply->data);
    uint64_t skipped = 0;
    for (size_t i = 0; i < count; i++) {
        struct reply one;
        struct reply expected = {.status = KV_ERR_CONDITION};
        assert_int_equal(reply_decode(reader_sized(&reader), &one), 0);
        if (skipped > 0) {
            skipped--;
        } else {
            expected = model_carry_out(run->model, &commands[i]);
            bool fails = commands[i].operation == OPERATION_GUARD && expected.status != 0;
            skipped = fails ? (uint64_t)commands[i].number : 0;
        }
        assert_reply(run, commands[i].operation, &one, &expected);
    }
    assert_true(reader_finished(&reader));
}

/* The same of a batch with a session, which answers for all of its commands. */
static void assert_stamped(struct run *run, const struct command *commands, size_t count,
                           const struct reply *reply)
{
    struct reply expected = {.revision = run->model->index};
    struct reply refusal = {.status = 0};
    bool acted = false;
    uint64_t skipped = 0;
    for (size_t i = 0; i < count; i++) {
        if (skipped > 0) {
            skipped--;
            continue;
        }
        struct reply one = model_carry_out(run->model, &commands[i]);
        bool is_guard = commands[i].operation == OPERATION_GUARD;
        bool fails = is_guard && one.status != 0;
        skipped = fails ? (uint64_t)commands[i].number : 0;
        if (fails && refusal.status == 0) {
            refusal = (struct reply){.status = KV_ERR_CONDITION, .revision = one.revision};
        }
        acted = acted || !is_guard;
        expected.count += one.status == 0;
    }
    bool refused = !acted && refusal.status != 0;
    assert_reply(run, OPERATION_BATCH, reply, refused ? &refusal : &expected);
    run->stamped[refused ? 2 : expected.count < count]++;
}

/* A batch with a session, and perhaps its repetition, which changes nothing. */
static void apply_stamped(struct run *run, struct command batch, const struct command *commands,
                          size_t count)
{
    struct buf bytes = {0};
    run->sequence++;
    batch.session = run->session;
    batch.sequence = run->sequence;
    batch.acknowledged = run->sequence - 1;
    command_encode(&batch, &bytes);
    struct reply first = apply_both(run, buf_slice(&bytes));
    assert_stamped(run, commands, count, &first);
    if (prng_chance(&run->prng, 1, 4)) {
        run->model->index++;
        (void)model_purge(run->model, 16);
        struct reply again = apply_both(run, buf_slice(&bytes));
        assert_reply(run, OPERATION_BATCH, &again, &first);
    }
    buf_done(&bytes);
}

/* A condition for all that follows. */
static struct command guard_of_all(struct run *run)
{
    struct command guard = {.operation = OPERATION_GUARD,
                            .key = random_key(&run->prng, run->model)};
    fill_read(&run->prng, &guard);
    guard.number = BATCH_MAX;
    guard.expected_revision =
        guard.has_expected ? random_revision(&run->prng, run->model, guard.key) : 0;
    return guard;
}

static size_t random_batch(struct run *run, bool may_write, struct command *commands,
                           struct buf *bytes)
{
    size_t count = prng_between(&run->prng, 1, BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        commands[i] = random_one(&run->prng, run->model, may_write);
        if (i == 0 && prng_chance(&run->prng, 1, 8)) {
            commands[i] = guard_of_all(run);
        }
        command_encode_into_batch(&commands[i], bytes);
    }
    return count;
}

/* Mostly a little; sometimes a lot, so that much expires at once; sometimes back. */
static void pass_time(struct run *run)
{
    uint64_t step = prng_between(&run->prng, 0, prng_chance(&run->prng, 1, 60) ? 20000 : 100);
    bool back = prng_chance(&run->prng, 1, 5) && run->model->time_ms > step;
    run->one.time_ms = run->model->time_ms + (back ? 0 : step) - (back ? step : 0);
    run->two.time_ms = run->one.time_ms;
    run->model->time_ms += back ? 0 : step;
}

static void random_entry(struct run *run)
{
    struct model *model = run->model;
    struct command commands[BATCH_MAX];
    struct buf batch = {0};
    struct buf bytes = {0};
    uint64_t dice = prng_between(&run->prng, 0, 99);
    model->index++;
    pass_time(run);
    struct command command = {.operation = OPERATION_PURGE};
    uint64_t removed = model_purge(model, dice < 2 ? 1000 : 16);
    if (dice < 2) {
        command_encode(&command, &bytes);
        struct reply reply = apply_both(run, buf_slice(&bytes));
        struct reply expected = {.revision = model->index, .count = removed};
        assert_reply(run, OPERATION_PURGE, &reply, &expected);
    } else if (dice < 4) {
        (void)apply_both(run, slice_of(NULL, 0));
    } else if (dice < 35) {
        size_t count = random_batch(run, true, commands, &batch);
        command = (struct command){.operation = OPERATION_BATCH, .commands = buf_slice(&batch)};
        if (dice < 15) {
            apply_stamped(run, command, commands, count);
        } else {
            command_encode(&command, &bytes);
            struct reply reply = apply_both(run, buf_slice(&bytes));
            assert_batch(run, commands, count, &reply);
        }
    } else {
        do {
            command = random_one(&run->prng, model, true);
        } while (!operation_is_write(command.operation));
        command_encode(&command, &bytes);
        struct reply reply = apply_both(run, buf_slice(&bytes));
        struct reply expected = model_carry_out(model, &command);
        assert_reply(run, command.operation, &reply, &expected);
    }
    buf_done(&batch);
    buf_done(&bytes);
}

static void random_reads(struct run *run)
{
    struct command commands[BATCH_MAX];
    struct buf batch = {0};
    size_t count = random_batch(run, false, commands, &batch);
    struct command reads = {.operation = OPERATION_READ_BATCH, .commands = buf_slice(&batch)};
    struct reply reply = query(&run->one, reads);
    assert_batch(run, commands, count, &reply);
    if (commands[0].operation != OPERATION_GUARD) {
        struct reply expected = model_carry_out(run->model, &commands[0]);
        reply = query(&run->one, commands[0]);
        assert_reply(run, commands[0].operation, &reply, &expected);
    }
    buf_done(&batch);
    reply = query(&run->one, (struct command){.operation = OPERATION_RANDOM,
                                              .number = (int64_t)prng_next(&run->prng)});
    uint64_t there = 0;
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        there += model_has(run->model, &run->model->entries[i]);
    }
    assert_int_equal(reply.status, there == 0 ? KV_ERR_NOT_FOUND : 0);
    assert_true(there == 0 || model_has(run->model, model_entry(run->model, reply.data)));
}

/* ---- the state as a whole ---- */

static void assert_state(struct run *run)
{
    struct model *model = run->model;
    kv_check(run->one.kv);
    kv_check(run->two.kv);
    assert_true(kv_digest_recompute(run->one.kv) == kv_digest(run->two.kv));
    assert_true(kv_time_ms(run->one.kv) == model->time_ms);
    assert_true(kv_key_count(run->one.kv) == model_count_stored(model));
    const struct model_entry *first = model_first_to_go(model);
    assert_true(kv_next_expiry(run->one.kv) ==
                (first == NULL ? UINT64_MAX : first->facts.expires_ms));
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        struct slice key = slice_of(model->entries[i].name, 4);
        static const enum operation reads[] = {OPERATION_GET, OPERATION_STAT};
        for (size_t k = 0; k < 2; k++) {
            struct command read = {.operation = reads[k], .key = key};
            struct reply expected = model_carry_out(model, &read);
            struct reply reply = query(&run->two, read);
            assert_reply(run, reads[k], &reply, &expected);
        }
    }
}

/* Replaces the second replica by what the snapshot restores and the log since then makes of it. */
static void replace_second(struct run *run)
{
    struct buf bytes = {0};
    uint64_t index = kv_snapshot_index(run->snapshot);
    uint64_t digest = kv_snapshot_digest(run->snapshot);
    read_snapshot(run->snapshot, &bytes);
    assert_true(kv_snapshot_release(run->snapshot, SIZE_MAX));
    run->snapshot = NULL;
    int err;
    kv_free(run->two.kv);
    run->two.kv = restore_bytes(&kv_options_default, buf_slice(&bytes), index, digest, &err);
    assert_int_equal(err, 0);
    kv_check(run->two.kv);
    struct reader log = reader_of(buf_slice(&run->log));
    while (log.left > 0) {
        struct slice entry = reader_sized(&log);
        run->two.time_ms = reader_u64(&log);
        (void)apply_bytes(&run->two, entry);
    }
    assert_true(kv_digest(run->two.kv) == kv_digest(run->one.kv));
    run->restored++;
    buf_done(&bytes);
}

static void random_step(struct run *run)
{
    random_entry(run);
    if (prng_chance(&run->prng, 1, 3)) {
        random_reads(run);
    }
    if (prng_chance(&run->prng, 1, 4)) {
        (void)kv_tidy(run->one.kv, 1);
    }
    if (prng_chance(&run->prng, 1, 200)) {
        assert_state(run);
    }
    if (run->snapshot != NULL && prng_chance(&run->prng, 1, 50)) {
        replace_second(run);
    } else if (run->snapshot == NULL && prng_chance(&run->prng, 1, 300)) {
        run->snapshot = kv_freeze(run->one.kv);
        buf_clear(&run->log);
    }
    if (run->snapshot == NULL) {
        buf_clear(&run->log);
    }
}

static void run_done(struct run *run)
{
    if (run->snapshot != NULL) {
        replace_second(run);
    }
    assert_state(run);
    driver_done(&run->one);
    driver_done(&run->two);
    buf_done(&run->log);
    model_free(run->model);
}

static void random_operations_agree_with_the_model_and_between_replicas(void **state)
{
    (void)state;
    uint64_t seed = 77;
    print_message("# seed %llu\n", (unsigned long long)seed);
    struct run run = {.one = driver_new(4, 4), .two = driver_new(4, 4)};
    prng_init(&run.prng, seed);
    run.model = model_new();
    run.session = open_session(&run.one);
    assert_true(open_session(&run.two) == run.session);
    run.model->index = run.session;
    run.model->time_ms = run.one.time_ms;
    for (int i = 0; i < 40000; i++) {
        random_step(&run);
    }
    /* Each operation came up, and failed if it can, often enough to mean something. */
    assert_true(run.restored > 50);
    for (unsigned operation = 0; operation < OPERATIONS; operation++) {
        uint64_t done = run.seen[operation][0];
        uint64_t refused = run.seen[operation][1];
        print_message("# %s: %llu, refused %llu\n", operation_name((enum operation)operation),
                      (unsigned long long)done, (unsigned long long)refused);
    }
    for (size_t i = 0; i < sizeof run.stamped / sizeof run.stamped[0]; i++) {
        print_message("# batches with a session: %llu\n", (unsigned long long)run.stamped[i]);
        assert_true(run.stamped[i] > 100);
    }
    static const enum operation refusable[] = {
        OPERATION_GET,    OPERATION_PUT,  OPERATION_DELETE,    OPERATION_ADD,   OPERATION_EXPIRE,
        OPERATION_RENAME, OPERATION_COPY, OPERATION_ADD_FLOAT, OPERATION_GUARD, OPERATION_STAT};
    for (size_t i = 0; i < sizeof refusable / sizeof refusable[0]; i++) {
        assert_true(run.seen[refusable[i]][0] > 500);
        assert_true(run.seen[refusable[i]][1] > 500);
    }
    static const enum operation others[] = {
        OPERATION_LIST,  OPERATION_SCAN,        OPERATION_APPEND,    OPERATION_SET_RANGE,
        OPERATION_MATCH, OPERATION_COUNT,       OPERATION_GET_RANGE, OPERATION_PURGE,
        OPERATION_CLEAR, OPERATION_DELETE_RANGE};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_true(run.seen[others[i]][0] > 100);
    }
    run_done(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_the_model_and_between_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
