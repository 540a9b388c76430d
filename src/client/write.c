/*
 * The calls that say how a key is written, what is known of a key, and batches: the struct of the
 * caller becomes a command, of which command_check says whether it makes sense.
 *
 * A batch goes out with its guards in front, each for everything behind it. So the first one that
 * does not hold keeps all the rest from being done.
 */
#include "client/client.h"

#include "base/limits.h"

/* Of the batch's own bytes: operation and flags, session, the size of the commands. */
enum { BATCH_OVERHEAD = 4 + 24 + 4 };

/* ---- commands ---- */

static void set_condition(const struct kvapp_how *how, struct command *command)
{
    switch (how->only_if) {
    case KVAPP_ALWAYS:
        return;
    case KVAPP_IF_ABSENT:
        command->has_expected = true;
        return;
    case KVAPP_IF_PRESENT:
        command->options = OPTION_PRESENT;
        return;
    case KVAPP_IF_REVISION:
        command->has_expected = true;
        command->expected_revision = how->revision;
        return;
    }
    command->options = UINT32_MAX; /* What is none of these is refused, not taken for always. */
}

/* What the operation does not have is set all the same, so that command_check refuses it. */
static struct command command_of(const struct kvapp_command *from)
{
    static const enum operation operations[] = {
        [KVAPP_COMMAND_GUARD] = OPERATION_GUARD,   [KVAPP_COMMAND_PUT] = OPERATION_PUT,
        [KVAPP_COMMAND_DELETE] = OPERATION_DELETE, [KVAPP_COMMAND_ADD] = OPERATION_ADD,
        [KVAPP_COMMAND_APPEND] = OPERATION_APPEND, [KVAPP_COMMAND_EXPIRE] = OPERATION_EXPIRE,
    };
    CHECK((size_t)from->kind < sizeof operations / sizeof operations[0]);
    struct command command = {
        .operation = operations[from->kind],
        .key = slice_of(from->key, from->key_size),
        .value = slice_of(from->value, from->value_size),
        .number = from->delta,
    };
    if (from->how.ttl_ms != 0) {
        /* Beyond an i64 it is negative, and refused. */
        command.expiry = (struct expiry){EXPIRY_AFTER, (int64_t)from->how.ttl_ms};
    }
    if (from->how.keep_ttl) {
        command.expiry.kind = EXPIRY_KEEP;
    }
    set_condition(&from->how, &command);
    return command;
}

static int call(struct kvapp_client *client, const struct kvapp_command *from,
                struct kvapp_reply *ret_reply)
{
    const struct command command = command_of(from);
    return client_call(client, &command, NULL, ret_reply);
}

int kvapp_put_with(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                   size_t value_size, const struct kvapp_how *how, struct kvapp_reply *ret_reply)
{
    const struct kvapp_command put = {
        .kind = KVAPP_COMMAND_PUT,
        .key = key,
        .key_size = key_size,
        .value = value,
        .value_size = value_size,
        .how = *how,
    };
    return call(client, &put, ret_reply);
}

int kvapp_add(struct kvapp_client *client, const void *key, size_t key_size, int64_t delta,
              struct kvapp_reply *ret_reply)
{
    const struct kvapp_command add = {
        .kind = KVAPP_COMMAND_ADD, .key = key, .key_size = key_size, .delta = delta};
    return call(client, &add, ret_reply);
}

int kvapp_append(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                 size_t value_size, struct kvapp_reply *ret_reply)
{
    const struct kvapp_command append = {
        .kind = KVAPP_COMMAND_APPEND,
        .key = key,
        .key_size = key_size,
        .value = value,
        .value_size = value_size,
    };
    return call(client, &append, ret_reply);
}

int kvapp_expire(struct kvapp_client *client, const void *key, size_t key_size, uint64_t ttl_ms,
                 struct kvapp_reply *ret_reply)
{
    const struct kvapp_command expire = {
        .kind = KVAPP_COMMAND_EXPIRE, .key = key, .key_size = key_size, .how = {.ttl_ms = ttl_ms}};
    return call(client, &expire, ret_reply);
}

int kvapp_stat(struct kvapp_client *client, const void *key, size_t key_size,
               struct kvapp_reply *ret_reply, struct kvapp_stat *ret_stat)
{
    const struct command command = {.operation = OPERATION_STAT, .key = slice_of(key, key_size)};
    struct kvapp_reply reply;
    struct key_stat stat = {0};
    if (client_call(client, &command, NULL, &reply) == 0) {
        reply.status = key_stat_decode(slice_of(reply.data, reply.size), &stat);
    }
    if (reply.status == 0) {
        uint64_t ttl_ms = stat.expires_ms > stat.now_ms ? stat.expires_ms - stat.now_ms : 0;
        *ret_stat = (struct kvapp_stat){
            .created = stat.create,
            .revision = stat.modify,
            .version = stat.version,
            .size = reply.count,
            .ttl_ms = stat.expires_ms == 0 ? UINT64_MAX : ttl_ms,
        };
    }
    reply.data = NULL;
    reply.size = 0;
    *ret_reply = reply;
    return reply.status;
}

/* ---- batches ---- */

static bool is_guard(const struct kvapp_command *command)
{
    return command->kind == KVAPP_COMMAND_GUARD;
}

/* A guard for so many commands behind it; 0, or KV_ERR_INVALID: it guards nothing, or has what is
 * none of its own. Its key is looked at with the batch. */
static int append_guard(const struct kvapp_command *from, size_t count, struct buf *commands)
{
    struct command guard = command_of(from);
    bool foreign = guard.value.size != 0 || guard.number != 0 ||
                   guard.expiry.kind != EXPIRY_NEVER || guard.expiry.ms != 0;
    if (count == 0 || foreign || from->how.only_if == KVAPP_ALWAYS) {
        return KV_ERR_INVALID;
    }
    guard.number = (int64_t)count;
    command_encode_into_batch(&guard, commands);
    return 0;
}

/* Returns 0, or why it cannot be in a batch. */
static int append_command(const struct kvapp_command *from, struct buf *commands)
{
    const struct command command = command_of(from);
    int err = command_check(&command);
    if (err == 0) {
        command_encode_into_batch(&command, commands);
    }
    return err;
}

/* The guards first, so that nothing is done before all of them were looked at. */
static int encode_batch(struct kvapp_client *client, const struct kvapp_batch *batch,
                        struct buf *commands)
{
    if (batch->count == 0 || batch->count > BATCH_COUNT_MAX) {
        client_explain(client, "a batch has 1 to %d commands", BATCH_COUNT_MAX);
        return KV_ERR_INVALID;
    }
    size_t left = batch->count;
    for (unsigned pass = 0; pass < 2; pass++) {
        bool wants_guards = pass == 0;
        for (size_t i = 0; i < batch->count; i++) {
            const struct kvapp_command *command = &batch->commands[i];
            if (is_guard(command) != wants_guards) {
                continue;
            }
            left--;
            int err = wants_guards ? append_guard(command, left, commands)
                                   : append_command(command, commands);
            if (err != 0) {
                client_explain(client, "the batch was not sent: command %zu: %s", i + 1,
                               kvapp_err_sentence(err));
                return err;
            }
            if (commands->size > COMMAND_SIZE_MAX - BATCH_OVERHEAD) {
                client_explain(client, "the batch was not sent: it has more than %d bytes",
                               COMMAND_SIZE_MAX - BATCH_OVERHEAD);
                return KV_ERR_INVALID;
            }
        }
    }
    return 0;
}

/* Without a session the reply has those of the commands, and nothing that sums them up. */
static void sum_up(const struct kvapp_batch *batch, struct kvapp_reply *reply)
{
    size_t guards = 0;
    for (size_t i = 0; i < batch->count; i++) {
        guards += is_guard(&batch->commands[i]);
    }
    struct reader replies = reader_of(slice_of(reply->data, reply->size));
    struct kvapp_reply sum = {.revision = reply->revision};
    for (size_t i = 0; i < batch->count && sum.status == 0; i++) {
        struct reply one;
        int err = reply_decode(reader_sized(&replies), &one);
        if (err != 0) {
            sum = (struct kvapp_reply){.status = err};
        } else if (i < guards && one.status != 0) {
            sum = (struct kvapp_reply){.status = one.status, .revision = one.revision};
        } else {
            sum.count += one.status == 0;
        }
    }
    *reply = sum;
}

int kvapp_batch(struct kvapp_client *client, const struct kvapp_batch *batch,
                struct kvapp_reply *ret_reply)
{
    struct buf commands = {0};
    struct kvapp_reply reply = {.status = encode_batch(client, batch, &commands)};
    if (reply.status == 0) {
        const struct command command = {.operation = OPERATION_BATCH,
                                        .commands = buf_slice(&commands)};
        (void)client_call(client, &command, NULL, &reply);
        if (reply.status == 0 && client->no_session) {
            sum_up(batch, &reply);
        }
    }
    buf_done(&commands);
    *ret_reply = reply;
    return reply.status;
}
