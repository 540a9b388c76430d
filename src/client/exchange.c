/*
 * Requests out, answers in. Every answer that is not the final one puts the request back into the
 * queue; whether that is safe depends on what may have happened to it:
 *
 *     the server ...                      a read     a write with a session   a write without
 *     redirects, is no leader, is busy    again      again                    again
 *     lost leadership, stops, goes away   again      again, in doubt          outcome unknown
 *     does not know the session           -          anew; in doubt:          -
 *                                                    outcome unknown
 *     has no space                        -          final; in doubt:         final
 *                                                    outcome unknown
 *
 * Requests leave in the order in which they were submitted, and come back to it.
 */
#include "client/client.h"

#include <stdio.h>

/* ---- what requests are ---- */

static bool needs_session(const struct kvapp_client *client, const struct pending *pending)
{
    return !client->no_session && pending->admin == NULL && pending_is_user_write(pending) &&
           pending->write.sequence == 0;
}

static bool is_target(const struct contact *contact, enum lane lane)
{
    return contact == client_lane_target(contact->client, lane);
}

static void wake(struct kvapp_client *client)
{
    loop_mark(client->loop, &client->user);
}

/* ---- answers ---- */

void client_follow(struct kvapp_client *client, enum lane lane, struct leader_verdict verdict)
{
    if (verdict.give_up) {
        contact_explain_unreachable(client);
        client_fail_waiting(client, lane, KV_ERR_CONNECTION);
    }
    uint64_t pause_us = (uint64_t)verdict.pause_ms * 1000;
    client->resume_us[lane] = pause_us == 0 ? 0 : io_now_us(client->loop->io) + pause_us;
    wake(client);
}

static void explain_answer(struct contact *contact, const struct client_response *response)
{
    int status = response->reply.status;
    struct slice text = response->error;
    if (text.size == 0) {
        text = slice_of_string(kvapp_err_sentence(status));
    }
    client_explain(contact->client, "%s answered: %.*s", contact->connection.address,
                   (int)(text.size < 400 ? text.size : 400), (const char *)text.data);
}

static struct kvapp_reply reply_of(const struct reply *from)
{
    return (struct kvapp_reply){
        .status = from->status,
        .revision = from->revision,
        .count = from->count,
        .more = from->more,
        .data = from->data.data,
        .size = from->data.size,
    };
}

static void finish_with(struct contact *contact, struct pending *pending,
                        const struct client_response *response)
{
    const struct reply *from = &response->reply;
    if (from->status != 0 && from->status != KV_ERR_NOT_FOUND) {
        explain_answer(contact, response);
    }
    struct kvapp_reply reply = reply_of(from);
    if (is_target(contact, pending->lane)) {
        leader_answered(client_lane(contact->client, pending->lane), contact->id);
    }
    client_finish(contact->client, pending, &reply);
}

/* The server has forgotten the session, or never had it. */
static void session_unknown(struct contact *contact, struct pending *pending)
{
    struct kvapp_client *client = contact->client;
    session_lost(&client->session, pending->write.session);
    if (pending->in_doubt) {
        client_explain(client,
                       "%s has forgotten session %llu, which was closed, has expired or was "
                       "evicted, and with it whether an earlier sending of the write was applied",
                       contact->connection.address, (unsigned long long)pending->write.session);
        session_release(&pending->write);
        client_fail(client, pending, KV_ERR_OUTCOME_UNKNOWN);
        return;
    }
    session_release(&pending->write);
    pool_return(&client->pool, pending);
}

/* An answer that is not the last word. Returns false when it is. */
static bool try_again(struct contact *contact, struct pending *pending,
                      const struct client_response *response)
{
    struct kvapp_client *client = contact->client;
    struct leader *leader = client_lane(client, pending->lane);
    const enum lane lane = pending->lane;
    bool from_target = is_target(contact, lane);
    switch (response->reply.status) {
    case KV_ERR_BUSY:
        pool_return(&client->pool, pending);
        if (from_target) {
            client_follow(client, lane, leader_busy(leader));
        }
        break;
    case KV_ERR_NOT_LEADER:
    case KV_ERR_NO_LEADER:
        pool_return(&client->pool, pending);
        if (from_target) {
            client_follow(client, lane, leader_missing(leader));
        }
        break;
    case KV_ERR_OUTCOME_UNKNOWN:
    case KV_ERR_STOPPED:
    case KV_ERR_TIMEOUT:
        if (client->no_session && pending_is_user_write(pending)) {
            return false; /* the server's own words are the best explanation */
        }
        client_lose(client, pending);
        if (from_target) {
            client_follow(client, lane, leader_missing(leader));
        }
        break;
    case KV_ERR_SEQUENCE_STALE:
    case KV_ERR_FULL:
        if (!pending->in_doubt) {
            return false;
        }
        explain_answer(contact, response); /* an earlier sending was applied, or refused */
        client_fail(client, pending, KV_ERR_OUTCOME_UNKNOWN);
        return true;
    case KV_ERR_SESSION_UNKNOWN:
        if (pending->write.sequence == 0) {
            return false;
        }
        if (from_target) {
            leader_answered(leader, contact->id);
        }
        session_unknown(contact, pending);
        return true;
    default:
        return false;
    }
    struct slice text = response->error;
    contact_note(contact, "answered",
                 text.size > 0 ? text
                               : slice_of_string(kvapp_err_sentence(response->reply.status)));
    return true;
}

static int on_response(struct contact *contact, struct slice payload)
{
    struct client_response response;
    int err = client_response_decode(payload, &response);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = contact->client;
    struct pending *pending = pool_find(&client->pool, response.request_id);
    if (pending == NULL || pending->sent_to != contact) {
        return 0; /* too late: its request has timed out */
    }
    if (!try_again(contact, pending, &response)) {
        if (response.reply.status == KV_ERR_STOPPED || response.reply.status == KV_ERR_TIMEOUT) {
            response.reply.status = KV_ERR_OUTCOME_UNKNOWN;
        }
        finish_with(contact, pending, &response);
    }
    wake(client);
    return 0;
}

static int on_stale_response(struct contact *contact, struct slice payload)
{
    struct stale_response response;
    int err = stale_response_decode(payload, &response);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = contact->client;
    struct pending *pending = pool_find(&client->pool, response.request_id);
    if (pending == NULL || pending->sent_to != contact) {
        return 0; /* too late: its request has timed out */
    }
    struct kvapp_reply reply = reply_of(&response.reply);
    reply.age_ms = response.age_ms;
    reply.applied_index = response.applied_index;
    if (is_target(contact, pending->lane)) {
        leader_answered(client_lane(client, pending->lane), contact->id);
    }
    client_finish(client, pending, &reply);
    return 0;
}

static struct leader_verdict follow_redirect(struct contact *contact,
                                             const struct leader_redirect *redirect)
{
    struct kvapp_client *client = contact->client;
    char address[ADDRESS_SIZE_MAX];
    (void)snprintf(address, sizeof address, "%.*s", (int)redirect->address.size,
                   (const char *)redirect->address.data);
    struct contact *leader = contact_at(client, address, redirect->leader_id);
    if (leader == NULL) {
        return leader_missing(&client->leader);
    }
    leader->id = redirect->leader_id;
    size_t target = (size_t)(leader - client->contacts);
    return leader_redirected(&client->leader, target, redirect->leader_id);
}

static int on_redirect(struct contact *contact, struct slice payload)
{
    struct leader_redirect redirect;
    int err = leader_redirect_decode(payload, &redirect);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = contact->client;
    struct pending *pending = pool_find(&client->pool, redirect.request_id);
    const enum lane lane = pending == NULL ? LANE_LEADER : pending->lane;
    if (pending != NULL && pending->sent_to == contact) {
        pool_return(&client->pool, pending); /* it was not taken, so it is in no doubt */
    }
    wake(client);
    if (!is_target(contact, lane)) {
        return 0;
    }
    if (redirect.has_leader) {
        contact_note(contact, "names as leader", redirect.address);
    } else {
        contact_note(contact, "knows of no leader", redirect.text);
    }
    if (redirect.has_leader && lane == LANE_LEADER) {
        client_follow(client, lane, follow_redirect(contact, &redirect));
    } else {
        client_follow(client, lane, leader_missing(client_lane(client, lane)));
    }
    return 0;
}

/* ---- events of a connection ---- */

static struct contact *contact_of(struct connection *connection)
{
    return CONTAINER_OF(connection, struct contact, connection);
}

static int on_message(struct contact *contact, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_CLIENT_RESPONSE:
        return on_response(contact, frame->payload);
    case FRAME_STALE_RESPONSE:
        return on_stale_response(contact, frame->payload);
    case FRAME_LEADER_REDIRECT:
        return on_redirect(contact, frame->payload);
    case FRAME_STATUS_RESPONSE:
        return status_received(contact, frame->payload);
    case FRAME_ADMIN_RESPONSE:
        return admin_received(contact, frame->payload);
    case FRAME_BACKUP_RESPONSE:
        return backup_received(contact, frame->payload);
    default:
        return KV_ERR_MALFORMED;
    }
}

static int on_frame(struct connection *connection, const struct frame *frame)
{
    struct contact *contact = contact_of(connection);
    contact->unheard_since_us = 0;
    int err = on_message(contact, frame);
    if (err == 0) {
        leader_heard(&contact->client->leader);
        leader_heard(&contact->client->reader);
    }
    return err;
}

static void on_ready(struct connection *connection)
{
    wake(contact_of(connection)->client);
}

static void on_closed(struct connection *connection)
{
    struct contact *contact = contact_of(connection);
    struct kvapp_client *client = contact->client;
    status_unreachable(contact);
    while (!list_empty(&contact->sent)) {
        struct pending *pending = CONTAINER_OF(contact->sent.next, struct pending, queue);
        if (client->no_session || pending->admin != NULL) {
            client_explain(client, "%s got the request, then: %s", connection->address,
                           connection->trouble);
        }
        client_lose(client, pending);
    }
    contact->watched = 0;
    contact->unheard_since_us = 0;
    wake(client);
    for (enum lane lane = LANE_LEADER; lane < LANES; lane++) {
        if (is_target(contact, lane) && !client->stopping) {
            /* A lane on which nothing waits asks nobody, so nobody refuses. */
            bool refused =
                !connection->heard && !contact->gave_up && pool_next(&client->pool, lane) != NULL;
            client_follow(client, lane, leader_failed(client_lane(client, lane), refused));
        }
    }
}

void contact_init(struct contact *contact, struct kvapp_client *client, const char *address,
                  const struct io_address *resolved, uint64_t id)
{
    static const struct connection_events events = {
        .opened = on_ready,
        .received = on_frame,
        .sent = on_ready,
        .closed = on_closed,
        .idle = on_ready,
    };
    *contact = (struct contact){.client = client, .id = id};
    connection_init(&contact->connection, client->loop->io, address, resolved, &events);
    list_init(&contact->sent);
}

/* ---- sending ---- */

/*
 * The time of the writes that waited for the session begins now: in a slow cluster, as in demo
 * mode, opening it and writing would else share the time of one write. They go to the end of the
 * list of all, where client_look gives them their new deadline: deadlines never fall along it.
 */
static void restart_time(struct kvapp_client *client)
{
    struct list *all = &client->pool.all;
    struct list waited;
    list_init(&waited);
    struct list *next = NULL;
    for (struct list *link = all->next; link != all; link = next) {
        next = link->next;
        struct pending *pending = CONTAINER_OF(link, struct pending, age);
        if (needs_session(client, pending) && !pending->has_waited) {
            pending->has_waited = true; /* a store that forgets every session is not waited for */
            pending->deadline_us = 0;
            list_remove(link);
            list_push(&waited, link);
        }
    }
    for (struct list *link = list_pop(&waited); link != NULL; link = list_pop(&waited)) {
        list_push(all, link);
    }
}

static void session_done(void *context, const struct kvapp_reply *reply)
{
    struct kvapp_client *client = context;
    client->opening = NULL;
    if (reply->status == 0) {
        session_opened(&client->session, reply->revision);
        restart_time(client);
        return;
    }
    session_lost(&client->session, 0);
    if (reply->status == KV_ERR_TIMEOUT || reply->status == KV_ERR_CONNECTION ||
        reply->status == KV_ERR_STOPPED) {
        return; /* the writes that wait for it meet the same end, each in its time */
    }
    /* The server does not want to: what cannot be made safe is not sent. */
    uint64_t last = client->pool.orders;
    for (struct pending *next = pool_next(&client->pool, LANE_LEADER);
         next != NULL && next->order <= last && needs_session(client, next);
         next = pool_next(&client->pool, LANE_LEADER)) {
        client_fail(client, next, reply->status);
    }
}

/* What is to be sent next, when may_send_requests: the head of the queue, or the request for the
 * session that it needs. */
static struct pending *next_to_send(struct kvapp_client *client, enum lane lane)
{
    struct pending *next = pool_next(&client->pool, lane);
    CHECK(next != NULL);
    if (!needs_session(client, next) || client->session.state == SESSION_OPEN) {
        return next;
    }
    if (client->session.state == SESSION_NONE) {
        session_opening(&client->session);
        struct command command = {.operation = OPERATION_OPEN_SESSION};
        client->opening =
            pool_take(&client->pool, &command, KVAPP_READS_DEFAULT, session_done, client);
    }
    CHECK(client->opening->request_id == 0);
    return client->opening;
}

static void send_one(struct contact *contact, struct pending *pending)
{
    struct kvapp_client *client = contact->client;
    if (pending->admin != NULL) {
        struct admin_request request = *pending->admin;
        pool_send(&client->pool, pending, contact, &contact->sent);
        request.request_id = pending->request_id;
        admin_request_encode(&request, &contact->connection.out);
        return;
    }
    struct command command = pending->command;
    if (needs_session(client, pending)) {
        session_assign(&client->session, &pending->write);
    }
    if (pending->write.sequence != 0) {
        command.session = pending->write.session;
        command.sequence = pending->write.sequence;
        command.acknowledged = pending->write.session == client->session.id
                                   ? session_acknowledged(&client->session)
                                   : 0;
    }
    pool_send(&client->pool, pending, contact, &contact->sent);
    if (pending->backup != NULL) {
        pending->backup->request.request_id = pending->request_id;
        backup_request_encode(&pending->backup->request, &contact->connection.out);
        return;
    }
    struct buf *out = &contact->connection.out;
    if (pending->reads == KVAPP_READS_DEFAULT) {
        client_request_encode_command(pending->request_id, &command, out);
    } else {
        read_request_encode_command(pending->request_id, pending->reads, &command, out);
    }
}

static bool may_send_requests(const struct kvapp_client *client, enum lane lane)
{
    const struct pending *next = pool_next(&client->pool, lane);
    if (next == NULL || !pool_has_slot(&client->pool)) {
        return false;
    }
    bool waits = false;
    if (needs_session(client, next)) {
        enum session_state state = client->session.state;
        waits = (state == SESSION_OPENING && client->opening->request_id != 0) ||
                (state == SESSION_OPEN && !session_has_room(&client->session));
    }
    return !waits && io_now_us(client->loop->io) >= client->resume_us[lane];
}

static bool lane_wants(const struct contact *contact, enum lane lane)
{
    return is_target(contact, lane) && may_send_requests(contact->client, lane);
}

/* Has this contact something to send, or a reason to be connected? */
static bool is_wanted(const struct contact *contact)
{
    return contact->status_wanted || lane_wants(contact, LANE_LEADER) ||
           lane_wants(contact, LANE_ANY);
}

static bool can_act(const struct contact *contact)
{
    const struct connection *connection = &contact->connection;
    return connection->state == CONNECTION_IDLE ||
           (connection->state == CONNECTION_OPEN && !connection->sending);
}

bool client_can_send(struct kvapp_client *client)
{
    if (!list_empty(&client->refused)) {
        return true;
    }
    for (size_t i = 0; i < client->contact_count; i++) {
        if (is_wanted(&client->contacts[i]) && can_act(&client->contacts[i])) {
            return true;
        }
    }
    return false;
}

static void fill(struct contact *contact)
{
    struct kvapp_client *client = contact->client;
    struct connection *connection = &contact->connection;
    if (contact->status_wanted) {
        status_ask(contact);
    }
    for (enum lane lane = LANE_LEADER; lane < LANES; lane++) {
        while (lane_wants(contact, lane) && connection->out.size < OUT_SIZE_MAX) {
            send_one(contact, next_to_send(client, lane));
        }
    }
    connection_send(connection);
}

/* A refused command never enters the queue, so that it is answered even while nobody is there. */
static void finish_refused(struct kvapp_client *client)
{
    uint64_t last = client->pool.orders;
    while (!list_empty(&client->refused)) {
        struct pending *pending = CONTAINER_OF(client->refused.next, struct pending, queue);
        if (pending->order > last) {
            break;
        }
        int err = client->stopping ? KV_ERR_STOPPED : command_check(&pending->command);
        CHECK(err != 0);
        client_explain(client, "the %s was not sent: %s",
                       operation_name(pending->command.operation), kvapp_err_sentence(err));
        client_fail(client, pending, err);
    }
}

void client_send(struct loop_user *user)
{
    struct kvapp_client *client = CONTAINER_OF(user, struct kvapp_client, user);
    finish_refused(client);
    for (size_t i = 0; i < client->contact_count; i++) {
        struct contact *contact = &client->contacts[i];
        if (!is_wanted(contact) || !can_act(contact)) {
            continue;
        }
        if (contact->connection.state == CONNECTION_OPEN) {
            fill(contact);
        } else {
            contact->gave_up = false;
            connection_open(&contact->connection);
        }
    }
}
