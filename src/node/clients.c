/*
 * Clients' connections: bytes in become queued requests, answers leave once a turn.
 *
 *     accept ─► receiving ⇄ paused (back-pressure) ─► ended (peer is done, or was wrong:
 *     what waits is still answered) ─► closing ─► freed once nothing waits for it
 *
 * Back-pressure: when a client has too many requests waiting, does not take its answers, or the
 * whole node holds too much, the node stops reading from that client. No queue grows.
 */
#include "node/node.h"

#include "base/memory.h"

#include <stdlib.h>

static void free_if_unused(struct client *client)
{
    if (client->stream != NULL || client->waiting > 0 || client->closing) {
        return;
    }
    list_remove(&client->link);
    list_remove(&client->dirty);
    list_remove(&client->stuck);
    CHECK(client->held.size == 0);
    buf_done(&client->held);
    intake_done(&client->intake);
    outbox_done(&client->outbox);
    redis_free(client->redis);
    free(client);
}

static void close_done(struct io_close *close)
{
    struct client *client = CONTAINER_OF(close, struct client, close);
    CHECK(!client->outbox.sending);
    client->closing = false;
    client->stream = NULL;
    client->outbox.stream = NULL;
    client->node->client_count--;
    outbox_drop(&client->outbox);
    client->waiting++; /* Serving the held reads must not free the client under our feet. */
    reads_serve_held(client);
    client->waiting--;
    free_if_unused(client);
}

static void start_close(struct client *client)
{
    if (client->closing || client->stream == NULL) {
        return;
    }
    client->closing = true;
    client->ended = true;
    outbox_drop(&client->outbox);
    backup_lost(client);
    list_remove(&client->stuck);
    io_stream_close(client->node->io, client->stream, &client->close);
}

void client_mark_dirty(struct client *client)
{
    if (list_empty(&client->dirty)) {
        list_push(&client->node->dirty, &client->dirty);
    }
}

void client_release(struct client *client, size_t cost)
{
    struct kvapp_node *node = client->node;
    CHECK(client->waiting > 0);
    CHECK(node->waiting_bytes >= cost);
    client->waiting--;
    node->waiting_bytes -= cost;
    if (client->ended) {
        client_mark_dirty(client);
    }
    free_if_unused(client);
}

/* ---- requests ---- */

static bool is_full(const struct client *client)
{
    return client->waiting >= CLIENT_WAITING_MAX || outbox_size(&client->outbox) > CLIENT_OUT_MAX ||
           client->node->waiting_bytes > NODE_WAITING_MAX;
}

static void take_command(struct client *client, const struct read_request *request, bool must_read)
{
    struct kvapp_node *node = client->node;
    const struct waiter waiter = {
        .client = client,
        .request_id = request->request_id,
        .cost = request->command.size + REQUEST_COST,
    };
    client->waiting++;
    node->waiting_bytes += waiter.cost;
    struct command command;
    int err = command_decode(request->command, &command);
    if (err == 0) {
        err = command_check(&command);
    }
    bool writes = err == 0 && operation_is_write(command.operation);
    if (writes && must_read) {
        err = KV_ERR_INVALID;
    }
    if (err != 0) {
        reply_error(node, &waiter, err);
    } else if (writes) {
        propose_queue(node, &waiter, request->command);
    } else {
        reads_queue(node, &waiter, request->reads, request->command);
    }
}

static int take_request(struct client *client, struct slice payload)
{
    struct client_request request;
    int err = client_request_decode(payload, &request);
    if (err == 0) {
        const struct read_request plain = {
            .request_id = request.request_id,
            .reads = KVAPP_READS_DEFAULT,
            .command = request.command,
        };
        take_command(client, &plain, false);
    }
    return err;
}

static int take_read(struct client *client, struct slice payload)
{
    struct read_request request;
    int err = read_request_decode(payload, &request);
    if (err == 0) {
        take_command(client, &request, true);
    }
    return err;
}

static int take_frame(void *context, const struct frame *frame)
{
    struct client *client = context;
    if (is_full(client) || client->node->state != NODE_SERVING) {
        return INTAKE_LATER;
    }
    uint64_t request_id = 0;
    int err = 0;
    switch (frame->type) {
    case FRAME_CLIENT_REQUEST:
        return take_request(client, frame->payload);
    case FRAME_READ_REQUEST:
        return take_read(client, frame->payload);
    case FRAME_STATUS_REQUEST:
        err = status_request_decode(frame->payload, &request_id);
        if (err == 0) {
            reply_status(client, request_id);
        }
        return err;
    case FRAME_ADMIN_REQUEST:
        return admin_take(client, frame->payload);
    case FRAME_BACKUP_REQUEST:
        return backup_take(client, frame->payload);
    default:
        return KV_ERR_MALFORMED;
    }
}

static void pause_receiving(struct client *client)
{
    if (!client->paused) {
        client->paused = true;
        io_receive_pause(client->node->io, client->stream);
    }
}

void client_end(struct client *client)
{
    if (!client->ended) {
        client->ended = true;
        list_remove(&client->stuck);
        pause_receiving(client);
    }
    client_mark_dirty(client);
}

/* The last word to a client that broke the protocol. */
static void reject(struct client *client, int err)
{
    char peer[ADDRESS_SIZE_MAX];
    io_stream_peer(client->stream, peer);
    TRACE(&client->node->trace, TRACE_DEBUG, "client %s: %s", peer, kvapp_err_sentence(err));
    const struct client_response response = {
        .reply = {.status = err},
        .error = slice_of_string(kvapp_err_sentence(err)),
    };
    client_response_encode(&response, outbox_begin(&client->outbox));
    outbox_end(&client->outbox);
    client_end(client);
}

static void take_bytes(struct client *client, struct slice bytes)
{
    int result = 0;
    if (client->redis != NULL) {
        redis_take(client, bytes);
        bool is_soon = !client->ended && redis_takes_more(client->redis) && !is_full(client);
        result = is_soon ? 0 : INTAKE_PAUSE;
    } else {
        result = intake_feed(&client->intake, bytes, take_frame, client);
    }
    if (result < 0) {
        reject(client, result);
    } else if (result == INTAKE_PAUSE) {
        pause_receiving(client);
    }
    if (client->paused && !client->ended && list_empty(&client->stuck)) {
        list_push(&client->node->stuck, &client->stuck);
    }
}

static void received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct client *client = CONTAINER_OF(receive, struct client, receive);
    if (client->closing || (client->ended && result >= 0)) {
        return;
    }
    if (result < 0) {
        start_close(client);
    } else if (bytes.size == 0) {
        client->paused = true; /* The io calls no more; nothing is left to be stopped. */
        client_end(client);
    } else {
        bool is_first = client->redis == NULL && !client->native;
        client->native = client->native || (is_first && bytes.data[0] == FRAME_MAGIC);
        if (is_first && !client->native) {
            client->redis = redis_new(client);
        }
        take_bytes(client, bytes);
    }
}

/* ---- sending ---- */

static void sent(struct outbox *outbox, int64_t error)
{
    struct client *client = CONTAINER_OF(outbox, struct client, outbox);
    if (error != 0) {
        start_close(client);
        return;
    }
    client_mark_dirty(client);
}

static void flush(struct client *client)
{
    if (client->closing || client->stream == NULL) {
        return;
    }
    if (client->held.size > 0) {
        reads_serve_held(client);
    }
    outbox_flush(&client->outbox);
    if (outbox_due_us(&client->outbox) != UINT64_MAX) {
        client_mark_dirty(client);
    }
    bool is_done = client->redis == NULL || redis_is_done(client->redis);
    if (client->ended && is_done && client->waiting == 0 && outbox_size(&client->outbox) == 0) {
        start_close(client);
    }
}

void clients_flush(struct kvapp_node *node)
{
    struct list turn;
    list_init(&turn);
    list_move(&turn, &node->dirty);
    for (struct list *at = list_pop(&turn); at != NULL; at = list_pop(&turn)) {
        flush(CONTAINER_OF(at, struct client, dirty));
    }
}

static void resume(struct client *client)
{
    list_remove(&client->stuck);
    client->paused = false;
    take_bytes(client, slice_of(NULL, 0));
    if (!client->paused && !client->ended) {
        io_receive_start(client->node->io, client->stream, &client->receive);
    }
}

void clients_resume(struct kvapp_node *node)
{
    if (node->state != NODE_SERVING || node->waiting_bytes > NODE_WAITING_MAX / 2) {
        return;
    }
    struct list turn;
    list_init(&turn);
    list_move(&turn, &node->stuck);
    for (struct list *at = list_pop(&turn); at != NULL; at = list_pop(&turn)) {
        struct client *client = CONTAINER_OF(at, struct client, stuck);
        list_push(&node->stuck, at);
        if (node->waiting_bytes > NODE_WAITING_MAX) {
            continue;
        }
        bool takes_more = client->redis == NULL || redis_takes_more(client->redis);
        if (takes_more && client->waiting <= CLIENT_WAITING_MAX / 2 &&
            outbox_size(&client->outbox) <= CLIENT_OUT_MAX / 2) {
            resume(client);
            node->more_work = true;
        }
    }
}

/* ---- life ---- */

static void accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct kvapp_node *node = CONTAINER_OF(accept, struct kvapp_node, client_accept);
    if (stream == NULL) {
        TRACE(&node->trace, TRACE_WARN, "a client could not be accepted: %s",
              io_error_sentence(error));
        return;
    }
    if (node->client_count >= CLIENTS_MAX) {
        TRACE(&node->trace, TRACE_WARN, "a client was turned away: %d are connected", CLIENTS_MAX);
        io_stream_close(node->io, stream, NULL);
        return;
    }
    struct client *client = memory_new(1, sizeof *client);
    client->node = node;
    client->stream = stream;
    client->receive.done = received;
    client->close.done = close_done;
    list_init(&client->link);
    list_init(&client->dirty);
    list_init(&client->stuck);
    outbox_init(&client->outbox, node->io, (uint64_t)node->config.timing.client_delay_ms * 1000,
                sent);
    client->outbox.stream = stream;
    list_push(&node->clients, &client->link);
    node->client_count++;
    if (node->state == NODE_SERVING) {
        io_receive_start(node->io, stream, &client->receive);
    } else {
        client->paused = true;
    }
}

int clients_listen(struct kvapp_node *node, const struct io_address *address)
{
    node->client_accept.done = accepted;
    return io_listen(node->io, address, &node->client_accept, &node->client_listener);
}

void clients_start(struct kvapp_node *node)
{
    for (struct list *at = node->clients.next; at != &node->clients; at = at->next) {
        struct client *client = CONTAINER_OF(at, struct client, link);
        client->paused = false;
        io_receive_start(node->io, client->stream, &client->receive);
    }
}

void clients_stop(struct kvapp_node *node)
{
    struct list *at = node->clients.next;
    while (at != &node->clients) {
        struct client *client = CONTAINER_OF(at, struct client, link);
        at = at->next;
        start_close(client);
    }
}
