/*
 * Batches: commands carried out one after the other, each seeing what those before it did, with
 * their replies in one:
 *
 *     for each command: size u32 │ the reply as reply_encode makes it
 *
 * All of that is at most kv->room, and nothing may be carried out whose reply then does not fit. So
 * every command is told its room beforehand: what is left without the empty replies of those that
 * are still to come.
 *
 * With a session what the commands answer is not even collected, for a session keeps no data. The
 * batch then answers how many of them succeeded, the first time as whenever it comes again; and
 * that a condition was not met when a guard failed and nothing but guards was carried out.
 */
#include "base/limits.h"
#include "kv/operations.h"

/* A reply without data, with the size before it. */
enum { EMPTY_REPLY_SIZE = 4 + 28 };

STATIC_CHECK(REPLY_SIZE_MAX - BATCH_COUNT_MAX * EMPTY_REPLY_SIZE >= VALUE_SIZE_MAX,
             "the first value of a batch always fits");

static uint64_t count_commands(struct slice commands)
{
    struct reader reader = reader_of(commands);
    uint64_t count = 0;
    while (reader.left > 0) {
        (void)reader_sized(&reader);
        count++;
    }
    return count;
}

static void guard(const struct kv *kv, const struct command *command, struct reply *reply)
{
    const struct item *item = map_find(kv, command->key);
    if (condition_holds(command, item, reply)) {
        reply->revision = item == NULL ? 0 : item->facts.modify;
    }
}

static void carry_out(struct kv *kv, const struct command *command, struct reply *reply)
{
    if (command->operation == OPERATION_GUARD) {
        guard(kv, command, reply);
    } else if (operation_is_write(command->operation)) {
        write_apply(kv, command, reply);
    } else {
        read_answer(kv, command, reply);
    }
    CHECK(reply->data.size <= kv->room);
}

static void collect(struct buf *replies, const struct reply *reply)
{
    buf_put_u32(replies, (uint32_t)(EMPTY_REPLY_SIZE - 4 + reply->data.size));
    size_t before = replies->size;
    reply_encode(reply, replies);
    CHECK(replies->size - before == EMPTY_REPLY_SIZE - 4 + reply->data.size);
}

/* What became of a batch with a session, so far. */
struct tally {
    uint64_t succeeded;
    bool something_done;   /* a command that is no guard was carried out */
    bool guard_failed;     /* at least one did, */
    uint64_t its_revision; /* and this is where the key of the first one is */
};

static void tally_add(struct tally *tally, enum operation operation, const struct reply *reply)
{
    bool is_guard = operation == OPERATION_GUARD;
    tally->succeeded += reply->status == 0;
    tally->something_done = tally->something_done || !is_guard;
    if (is_guard && reply->status != 0 && !tally->guard_failed) {
        tally->guard_failed = true;
        tally->its_revision = reply->revision;
    }
}

static void tally_answer(const struct tally *tally, uint64_t applied, struct reply *reply)
{
    bool refused = tally->guard_failed && !tally->something_done;
    *reply = (struct reply){
        .status = refused ? KV_ERR_CONDITION : 0,
        .revision = refused ? tally->its_revision : applied,
        .count = refused ? 0 : tally->succeeded,
    };
}

void batch_run(struct kv *kv, const struct command *batch, struct reply *reply)
{
    size_t room = kv->room;
    uint64_t left = count_commands(batch->commands);
    if (left * EMPTY_REPLY_SIZE > room) {
        reply->status = KV_ERR_REPLY_TOO_LARGE;
        return;
    }
    buf_clear(&kv->replies);
    buf_shrink(&kv->replies, FRAME_SIZE_MAX);
    struct reader commands = reader_of(batch->commands);
    struct command command;
    struct tally tally = {0};
    uint64_t skipped = 0; /* so many of the next ones are */
    while (command_next(&commands, &command)) {
        struct reply one = {0};
        kv->room = room - kv->replies.size - left * EMPTY_REPLY_SIZE;
        if (skipped > 0) {
            one.status = KV_ERR_CONDITION;
            skipped--;
        } else {
            carry_out(kv, &command, &one);
            tally_add(&tally, command.operation, &one);
            bool fails = command.operation == OPERATION_GUARD && one.status != 0;
            skipped = fails ? (uint64_t)command.number : 0;
        }
        if (batch->session == 0) {
            collect(&kv->replies, &one);
        }
        reply->count++;
        left--;
    }
    CHECK(kv->replies.size <= room);
    if (batch->session != 0) {
        tally_answer(&tally, kv->applied, reply);
        return;
    }
    reply->revision = kv->applied;
    reply->data = buf_slice(&kv->replies);
}
