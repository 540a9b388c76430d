/*
 * The clock: requests whose time is up, servers that are silent.
 *
 * What is watched is the request that was sent to a server longest ago, or the connection attempt.
 * A connection that is not made within a quarter of the timeout is given up, and so is a server
 * that is no longer the target and owes an answer for so long. But a leader may be slow for good
 * reasons (a disk, debug mode), and whoever leaves it would come back with the same request: so
 * after a sixteenth of the timeout the other members are asked, again and again, and the leader is
 * left only when another one says that it leads. Asking costs little, so it begins early. A read
 * that any server answers is taken elsewhere after a quarter of the timeout.
 */
#include "client/client.h"

enum {
    WATCHED_CONNECT = 1, /* smaller than any request id */
    PATIENCE_PARTS = 4,  /* of the timeout: until a server is given up */
    SILENCE_PARTS = 16,  /* of the timeout: until the others are asked about the target */
};

STATIC_CHECK((int)WATCHED_CONNECT < (int)IN_FLIGHT_MAX, "no request id is so small");

static uint64_t patience_us(const struct kvapp_client *client)
{
    return client->timeout_us / PATIENCE_PARTS;
}

static uint64_t silence_us(const struct kvapp_client *client)
{
    return client->timeout_us / SILENCE_PARTS;
}

/* ---- requests ---- */

/* Deadlines are given here, where the clock is fresh; see loop.h. */
static void stamp(struct kvapp_client *client, uint64_t now_us)
{
    for (struct list *link = client->pool.all.prev; link != &client->pool.all; link = link->prev) {
        struct pending *pending = CONTAINER_OF(link, struct pending, age);
        if (pending->deadline_us != 0) {
            break;
        }
        pending->deadline_us = now_us + client->timeout_us;
    }
}

static void give_up(struct contact *contact, const char *reason)
{
    contact->gave_up = true;
    connection_close(&contact->connection, reason);
}

/* Where a request waited in vain, if that server has said nothing for the time of two requests. */
static struct contact *silent_contact(const struct kvapp_client *client,
                                      const struct pending *pending, uint64_t now_us)
{
    struct contact *contact = pending->sent_to;
    bool silent = contact != NULL && contact->unheard_since_us != 0 &&
                  now_us - contact->unheard_since_us >= 2 * client->timeout_us;
    return silent ? contact : NULL;
}

static void expire(struct kvapp_client *client, uint64_t now_us)
{
    for (struct pending *oldest = pool_oldest(&client->pool);
         oldest != NULL && oldest->deadline_us != 0 && oldest->deadline_us <= now_us;
         oldest = pool_oldest(&client->pool)) {
        struct contact *contact = silent_contact(client, oldest, now_us);
        contact_explain_timeout(client);
        client_fail(client, oldest, KV_ERR_TIMEOUT);
        if (contact != NULL) {
            /* The server may be well, and the connection dead, or out of step. */
            give_up(contact, "stopped answering");
        }
    }
}

/* ---- servers ---- */

static uint64_t awaited(const struct contact *contact)
{
    if (contact->connection.state == CONNECTION_CONNECTING) {
        return WATCHED_CONNECT;
    }
    if (contact->connection.state != CONNECTION_OPEN || list_empty(&contact->sent)) {
        return 0;
    }
    return CONTAINER_OF(contact->sent.next, struct pending, queue)->request_id;
}

/* Asks the others who leads. */
static void probe(struct kvapp_client *client, uint64_t now_us)
{
    if (now_us < client->probe_us) {
        return;
    }
    client->probe_us = now_us + silence_us(client);
    for (size_t i = 0; i < client->contact_count; i++) {
        if (&client->contacts[i] != client_target(client)) {
            client->contacts[i].status_wanted = true;
        }
    }
}

/* Returns when to look at this contact again, UINT64_MAX: not by the clock. */
static uint64_t watch(struct contact *contact, uint64_t now_us)
{
    struct kvapp_client *client = contact->client;
    uint64_t id = awaited(contact);
    if (id != contact->watched) {
        contact->watched = id;
        contact->watched_since_us = now_us;
    }
    if (id == 0) {
        return UINT64_MAX;
    }
    if (id != WATCHED_CONNECT && contact->unheard_since_us == 0) {
        contact->unheard_since_us = now_us;
    }
    bool is_asked_about = id != WATCHED_CONNECT && contact == client_target(client) &&
                          pool_find(&client->pool, id)->lane == LANE_LEADER;
    uint64_t until_us =
        contact->watched_since_us + (is_asked_about ? silence_us(client) : patience_us(client));
    if (now_us < until_us) {
        return until_us;
    }
    if (is_asked_about) {
        probe(client, now_us);
        return client->probe_us;
    }
    give_up(contact,
            id == WATCHED_CONNECT ? "did not take the connection in time" : "stopped answering");
    return UINT64_MAX;
}

bool client_target_is_silent(struct kvapp_client *client)
{
    const struct contact *target = client_target(client);
    return awaited(target) != 0 && awaited(target) == target->watched &&
           io_now_us(client->loop->io) - target->watched_since_us >= silence_us(client);
}

/* ---- the look ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void client_look(struct loop_user *user)
{
    struct kvapp_client *client = CONTAINER_OF(user, struct kvapp_client, user);
    uint64_t now_us = io_now_us(client->loop->io);
    stamp(client, now_us);
    expire(client, now_us);
    uint64_t next_us = UINT64_MAX;
    for (size_t i = 0; i < client->contact_count; i++) {
        next_us = least(next_us, watch(&client->contacts[i], now_us));
    }
    const struct pending *oldest = pool_oldest(&client->pool);
    if (oldest != NULL && oldest->deadline_us != 0) {
        next_us = least(next_us, oldest->deadline_us);
    }
    for (enum lane lane = LANE_LEADER; lane < LANES; lane++) {
        if (client->resume_us[lane] > now_us && pool_next(&client->pool, lane) != NULL) {
            next_us = least(next_us, client->resume_us[lane]);
        }
    }
    if (next_us == UINT64_MAX) {
        io_timer_cancel(client->loop->io, &client->alarm);
        client->alarm_us = UINT64_MAX;
    } else if (next_us < client->alarm_us || client->alarm_us <= now_us) {
        /* An alarm that comes too early only looks again; so it is seldom moved. */
        io_timer_set(client->loop->io, &client->alarm, next_us);
        client->alarm_us = next_us;
    }
    if (client_can_send(client)) {
        loop_mark(client->loop, &client->user);
    }
}
