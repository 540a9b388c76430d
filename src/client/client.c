/*
 * The public face: life, calls that wait, calls that do not, and the walk through a page. A call
 * that waits is a submission and turns of the loop until its `done` has come.
 */
#include "client/client.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TIMEOUT_MS_DEFAULT = 5000,
    RETRIES_DEFAULT = 3,
    BACKOFF_MS_DEFAULT = 100,
    PORT_OFFSET_DEFAULT = 1000,
    GOODBYE_MS = 200,      /* how long the end waits for the session to be closed */
    TURN_WAIT_MS = 1000,   /* of a call that waits; its alarm comes earlier */
    REPLY_KEPT_MAX = 65536 /* a larger buffer is given back before the next call */
};

static uint32_t or_default(uint32_t value, uint32_t default_value)
{
    return value != 0 ? value : default_value;
}

void client_explain(struct kvapp_client *client, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(client->error, sizeof client->error, format, arguments);
    va_end(arguments);
    /* Part of it may come from a server, and all of it goes to somebody's terminal. */
    for (char *at = client->error; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            *at = '?';
        }
    }
}

/* ---- life ---- */

static void on_alarm(struct io_timer *timer)
{
    struct kvapp_client *client = CONTAINER_OF(timer, struct kvapp_client, alarm);
    client->alarm_us = UINT64_MAX;
    loop_mark(client->loop, &client->user);
}

static int init_contacts(struct kvapp_client *client)
{
    for (size_t i = 0; i < client->members.count; i++) {
        const struct member *member = &client->members.at[i];
        char address[ADDRESS_SIZE_MAX];
        int err = address_add_port(member->address, client->port_offset, address);
        if (err != 0) {
            return err;
        }
        struct io_address resolved;
        err = io_resolve(client->loop->io, address, &resolved);
        if (err != 0) {
            return err;
        }
        contact_init(&client->contacts[i], client, address, &resolved, member->id);
        client->contact_count++;
    }
    return 0;
}

static int make_loop(struct io *io, const struct kvapp_client_options *options,
                     struct loop **ret_loop)
{
    if (options->share_loop_with != NULL) {
        *ret_loop = options->share_loop_with->loop;
        loop_ref(*ret_loop);
        return 0;
    }
    if (io != NULL) {
        loop_new_on(io, ret_loop);
        return 0;
    }
    return loop_new(options->portable_io, ret_loop);
}

int kvapp_client_new(const struct kvapp_client_options *options, struct kvapp_client **ret_client)
{
    return client_new_on(NULL, options, ret_client);
}

int client_new_on(struct io *io, const struct kvapp_client_options *options,
                  struct kvapp_client **ret_client)
{
    struct members members;
    char error[256];
    if (options->cluster == NULL || (size_t)options->reads >= KVAPP_READS_COUNT ||
        members_parse(options->cluster, &members, error, sizeof error) != 0) {
        return KV_ERR_INVALID;
    }
    struct loop *loop = NULL;
    int err = make_loop(io, options, &loop);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = memory_new(1, sizeof *client);
    client->loop = loop;
    client->user = (struct loop_user){.send = client_send, .look = client_look};
    list_init(&client->user.link);
    io_timer_init(&client->alarm, on_alarm);
    client->alarm_us = UINT64_MAX;
    client->timeout_us = (uint64_t)or_default(options->timeout_ms, TIMEOUT_MS_DEFAULT) * 1000;
    client->port_offset = or_default(options->client_port_offset, PORT_OFFSET_DEFAULT);
    client->no_session = options->no_session;
    client->members = members;
    client->reads = options->reads;
    for (enum lane lane = LANE_LEADER; lane < LANES; lane++) {
        leader_init(client_lane(client, lane), members.count,
                    or_default(options->retries, RETRIES_DEFAULT),
                    or_default(options->backoff_ms, BACKOFF_MS_DEFAULT));
    }
    client->reader.target = options->nearest % members.count;
    session_init(&client->session);
    pool_init(&client->pool);
    list_init(&client->refused);
    err = init_contacts(client);
    if (err != 0) {
        kvapp_client_free(client);
        return err;
    }
    *ret_client = client;
    return 0;
}

static void ignore_reply(void *context, const struct kvapp_reply *reply)
{
    (void)reply;
    *(bool *)context = true;
}

/* Tells the server that the session is no longer needed, when that takes no connection. One with a
 * write of unknown outcome is left to expire, so that the server can be asked about it. */
static void close_session(struct kvapp_client *client)
{
    struct contact *target = client_target(client);
    if (client->session.state != SESSION_OPEN || client->session.doubted ||
        target->connection.state != CONNECTION_OPEN) {
        return;
    }
    bool finished = false;
    struct command command = {.operation = OPERATION_CLOSE_SESSION, .session = client->session.id};
    struct pending *pending =
        pool_take(&client->pool, &command, KVAPP_READS_DEFAULT, ignore_reply, &finished);
    client->resume_us[LANE_LEADER] = 0;
    loop_mark(client->loop, &client->user);
    (void)loop_turn(client->loop, 0);
    uint64_t until_us = io_now_us(client->loop->io) + GOODBYE_MS * 1000;
    while (!finished && target->connection.state == CONNECTION_OPEN &&
           io_now_us(client->loop->io) < until_us && loop_turn(client->loop, GOODBYE_MS / 4) == 0) {
    }
    if (!finished) {
        client_fail(client, pending, KV_ERR_STOPPED);
    }
}

static bool all_idle(const struct kvapp_client *client)
{
    for (size_t i = 0; i < client->contact_count; i++) {
        if (client->contacts[i].connection.state != CONNECTION_IDLE) {
            return false;
        }
    }
    return true;
}

void kvapp_client_free(struct kvapp_client *client)
{
    if (client == NULL) {
        return;
    }
    struct loop *loop = client->loop;
    CHECK(!loop->running);
    client->stopping = true;
    client_explain(client, "the client was stopped");
    client_fail_all(client, KV_ERR_STOPPED);
    close_session(client);
    for (size_t i = 0; i < client->contact_count; i++) {
        connection_close(&client->contacts[i].connection, "the client was stopped");
    }
    while (!all_idle(client) && loop_turn(loop, TURN_WAIT_MS) == 0) {
    }
    while (pool_oldest(&client->pool) != NULL) {
        client_fail_all(client, KV_ERR_STOPPED); /* what `done` submitted meanwhile */
    }
    for (size_t i = 0; i < client->contact_count; i++) {
        connection_done(&client->contacts[i].connection);
    }
    io_timer_cancel(loop->io, &client->alarm);
    list_remove(&client->user.link);
    pool_done(&client->pool);
    buf_done(&client->reply);
    free(client);
    loop_unref(loop);
}

const char *kvapp_client_error(const struct kvapp_client *client)
{
    return client->error;
}

uint64_t kvapp_client_leader(const struct kvapp_client *client)
{
    return client->leader.id;
}

/* ---- many requests in flight ---- */

struct pending *client_submit_read(struct kvapp_client *client, const struct command *command,
                                   enum kvapp_reads reads, pending_done_fn done, void *context)
{
    struct pending *pending = pool_take(&client->pool, command, reads, done, context);
    if (client->stopping || command_check(command) != 0) {
        list_remove(&pending->queue);
        list_push(&client->refused, &pending->queue);
    }
    loop_mark(client->loop, &client->user);
    return pending;
}

struct pending *client_submit(struct kvapp_client *client, const struct command *command,
                              pending_done_fn done, void *context)
{
    /* What became of a write is never asked of an old state. */
    bool plain = operation_is_write(command->operation) || command->operation == OPERATION_OUTCOME;
    return client_submit_read(client, command, plain ? KVAPP_READS_DEFAULT : client->reads, done,
                              context);
}

int kvapp_client_run(struct kvapp_client *client, uint32_t wait_ms)
{
    int err = loop_turn(client->loop, wait_ms);
    if (err != 0) {
        client_explain(client, "the event loop failed");
        client_fail_all(client, err);
    }
    return err;
}

static void request_done(void *context, const struct kvapp_reply *reply)
{
    struct kvapp_request *request = context;
    request->state = NULL;
    request->done(request, reply);
}

void kvapp_submit(struct kvapp_client *client, struct kvapp_request *request)
{
    static const enum operation operations[] = {
        [KVAPP_GET] = OPERATION_GET,
        [KVAPP_PUT] = OPERATION_PUT,
        [KVAPP_DELETE] = OPERATION_DELETE,
    };
    CHECK((size_t)request->kind < sizeof operations / sizeof operations[0]);
    struct command command = {
        .operation = operations[request->kind],
        .key = slice_of(request->key, request->key_size),
    };
    if (request->kind == KVAPP_PUT) {
        command.value = slice_of(request->value, request->value_size);
    }
    if (request->kind == KVAPP_GET && request->reads != KVAPP_READS_DEFAULT) {
        request->state =
            client_submit_read(client, &command, request->reads, request_done, request);
    } else {
        request->state = client_submit(client, &command, request_done, request);
    }
}

/* ---- calls that wait ---- */

struct call {
    struct kvapp_client *client;
    struct kvapp_reply reply;
    bool finished;
};

static void call_done(void *context, const struct kvapp_reply *reply)
{
    struct call *call = context;
    struct buf *kept = &call->client->reply;
    call->reply = *reply;
    buf_clear(kept);
    buf_append(kept, reply->data, reply->size);
    call->reply.data = kept->data;
    call->finished = true;
}

int client_call(struct kvapp_client *client, const struct command *command,
                const struct admin_request *admin, struct kvapp_reply *ret_reply)
{
    CHECK(!client->loop->running);
    if (client->reply.capacity > REPLY_KEPT_MAX) {
        buf_done(&client->reply);
    }
    struct call call = {.client = client};
    if (admin != NULL) {
        (void)client_submit_admin(client, admin, call_done, &call);
    } else {
        (void)client_submit(client, command, call_done, &call);
    }
    while (!call.finished) {
        (void)kvapp_client_run(client, TURN_WAIT_MS); /* a failure ends the call too */
    }
    *ret_reply = call.reply;
    return call.reply.status;
}

static int wait_for(struct kvapp_client *client, const struct command *command,
                    struct kvapp_reply *ret_reply)
{
    return client_call(client, command, NULL, ret_reply);
}

int kvapp_get(struct kvapp_client *client, const void *key, size_t key_size,
              struct kvapp_reply *ret_reply)
{
    struct command command = {.operation = OPERATION_GET, .key = slice_of(key, key_size)};
    return wait_for(client, &command, ret_reply);
}

int kvapp_put(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
              size_t value_size, struct kvapp_reply *ret_reply)
{
    struct command command = {
        .operation = OPERATION_PUT,
        .key = slice_of(key, key_size),
        .value = slice_of(value, value_size),
    };
    return wait_for(client, &command, ret_reply);
}

int kvapp_put_if(struct kvapp_client *client, const void *key, size_t key_size, const void *value,
                 size_t value_size, uint64_t expected, struct kvapp_reply *ret_reply)
{
    struct command command = {
        .operation = OPERATION_PUT,
        .has_expected = true,
        .expected_revision = expected,
        .key = slice_of(key, key_size),
        .value = slice_of(value, value_size),
    };
    return wait_for(client, &command, ret_reply);
}

int kvapp_delete(struct kvapp_client *client, const void *key, size_t key_size,
                 struct kvapp_reply *ret_reply)
{
    struct command command = {.operation = OPERATION_DELETE, .key = slice_of(key, key_size)};
    return wait_for(client, &command, ret_reply);
}

int kvapp_delete_if(struct kvapp_client *client, const void *key, size_t key_size,
                    uint64_t expected, struct kvapp_reply *ret_reply)
{
    struct command command = {
        .operation = OPERATION_DELETE,
        .has_expected = true,
        .expected_revision = expected,
        .key = slice_of(key, key_size),
    };
    return wait_for(client, &command, ret_reply);
}

int kvapp_outcome(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                  struct kvapp_reply *ret_reply)
{
    struct command command = {
        .operation = OPERATION_OUTCOME,
        .session = session,
        .sequence = sequence,
    };
    struct kvapp_reply asked;
    if (wait_for(client, &command, &asked) != 0) {
        *ret_reply = asked;
        return asked.status;
    }
    struct reply write = {.status = KV_ERR_OUTCOME_UNKNOWN};
    if (asked.count != 0 && reply_decode(slice_of(asked.data, asked.size), &write) != 0) {
        write.status = KV_ERR_MALFORMED;
    }
    *ret_reply = (struct kvapp_reply){
        .status = write.status,
        .revision = write.revision,
        .count = write.count,
        .more = write.more,
    };
    return ret_reply->status;
}

int kvapp_cancel(struct kvapp_client *client, uint64_t session, uint64_t sequence,
                 struct kvapp_reply *ret_reply)
{
    /* In the place of the write, a write that cannot have an effect: no key is ever at that
     * revision. If the place is taken, the answer is what was answered there. */
    struct command command = {
        .operation = OPERATION_DELETE,
        .session = session,
        .sequence = sequence,
        .has_expected = true,
        .expected_revision = UINT64_MAX,
        .key = slice_of("cancelled", 9),
    };
    if (session == 0) {
        client_explain(client, "a write without a session has no place that could be taken");
        *ret_reply = (struct kvapp_reply){.status = KV_ERR_INVALID};
        return KV_ERR_INVALID;
    }
    return wait_for(client, &command, ret_reply);
}

static struct command command_of_range(enum operation operation, const struct kvapp_range *range)
{
    return (struct command){
        .operation = operation,
        .key = slice_of(range->start, range->start_size),
        .end = slice_of(range->end, range->end_size),
        .prefix = slice_of(range->prefix, range->prefix_size),
    };
}

int kvapp_list(struct kvapp_client *client, const struct kvapp_range *range,
               struct kvapp_reply *ret_reply)
{
    struct command command =
        command_of_range(range->values ? OPERATION_SCAN : OPERATION_LIST, range);
    command.limit = range->limit;
    return wait_for(client, &command, ret_reply);
}

int kvapp_delete_range(struct kvapp_client *client, const struct kvapp_range *range,
                       struct kvapp_reply *ret_reply)
{
    struct command command = command_of_range(OPERATION_DELETE_RANGE, range);
    struct kvapp_reply reply;
    uint64_t count = 0;
    do {
        (void)wait_for(client, &command, &reply);
        count += reply.count;
    } while (reply.status == 0 && reply.more);
    reply.count = count;
    *ret_reply = reply;
    return reply.status;
}

/* ---- pages ---- */

bool kvapp_reply_next(const struct kvapp_reply *reply, bool is_scan, size_t *cursor,
                      struct kvapp_item *ret_item)
{
    if (*cursor >= reply->size) {
        return false;
    }
    struct reader reader =
        reader_of(slice_of((const uint8_t *)reply->data + *cursor, reply->size - *cursor));
    struct slice key = reader_sized(&reader);
    struct slice value = slice_of(NULL, 0);
    uint64_t revision = 0;
    if (is_scan) {
        value = reader_sized(&reader);
        revision = reader_u64(&reader);
    }
    if (reader.failed) {
        return false;
    }
    *cursor = reply->size - reader.left;
    *ret_item = (struct kvapp_item){
        .key = key.data,
        .key_size = key.size,
        .value = value.data,
        .value_size = value.size,
        .revision = revision,
    };
    return true;
}
