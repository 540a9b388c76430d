/*
 * The servers that a client knows: the members of its list, and addresses that a redirect named
 * and the list does not. The latter are few and are replaced in turn.
 */
#include "client/client.h"

#include <stdio.h>

static struct contact *find(struct kvapp_client *client, const char *address)
{
    for (size_t i = 0; i < client->contact_count; i++) {
        if (strcmp(client->contacts[i].connection.address, address) == 0) {
            return &client->contacts[i];
        }
    }
    return NULL;
}

/* The list may say "localhost" where the redirect says "127.0.0.1". */
static struct contact *find_resolved(struct kvapp_client *client, const struct io_address *address)
{
    for (size_t i = 0; i < client->contact_count; i++) {
        const struct io_address *known = &client->contacts[i].connection.resolved;
        if (slice_equal(slice_of(known->bytes, known->size),
                        slice_of(address->bytes, address->size))) {
            return &client->contacts[i];
        }
    }
    return NULL;
}

/* The walk over the servers is over the learned ones too: those of the list may all be gone. */
static struct contact *take_place(struct kvapp_client *client)
{
    client->contact_count++;
    leader_learned(&client->leader, client->contact_count);
    leader_learned(&client->reader, client->contact_count);
    return &client->contacts[client->contact_count - 1];
}

/* A place for a learned address: from the one on whose turn it is, the first that is not in use.
 * The others are, among them the server that named this one. NULL: all are, and a turn was lost. */
static struct contact *place(struct kvapp_client *client)
{
    if (client->contact_count < client->members.count + LEARNED_MAX) {
        return take_place(client);
    }
    struct contact *learned = &client->contacts[client->members.count];
    for (size_t i = 0; i < LEARNED_MAX; i++) {
        struct contact *contact = &learned[client->learned_next];
        client->learned_next = (client->learned_next + 1) % LEARNED_MAX;
        if (contact->connection.state == CONNECTION_IDLE) {
            connection_done(&contact->connection);
            return contact;
        }
    }
    connection_close(&learned[client->learned_next].connection, "another server was named");
    client->learned_next = (client->learned_next + 1) % LEARNED_MAX;
    return NULL;
}

struct contact *contact_at(struct kvapp_client *client, const char *address, uint64_t id)
{
    struct contact *contact = find(client, address);
    if (contact != NULL) {
        return contact;
    }
    struct io_address resolved;
    if (io_resolve(client->loop->io, address, &resolved) != 0) {
        return NULL;
    }
    contact = find_resolved(client, &resolved);
    if (contact != NULL) {
        return contact;
    }
    contact = place(client);
    if (contact != NULL) {
        contact_init(contact, client, address, &resolved, id);
    }
    return contact;
}

/* ---- what to tell the user ---- */

void contact_note(struct contact *contact, const char *what, struct slice text)
{
    size_t size = text.size < 120 ? text.size : 120;
    (void)snprintf(contact->client->obstacle, sizeof contact->client->obstacle, "%s %s%s%.*s",
                   contact->connection.address, what, size > 0 ? ": " : "", (int)size,
                   size > 0 ? (const char *)text.data : "");
}

void contact_explain_unreachable(struct kvapp_client *client)
{
    char text[sizeof client->error];
    size_t size = 0;
    text[0] = '\0';
    for (size_t i = 0; i < client->contact_count && size < sizeof text; i++) {
        const struct connection *connection = &client->contacts[i].connection;
        int more = snprintf(text + size, sizeof text - size, "%s%s (%s)", i == 0 ? "" : ", ",
                            connection->address, connection->trouble);
        size += more > 0 ? (size_t)more : 0;
    }
    client_explain(client, "no server could be reached: %s", text);
}

void contact_explain_timeout(struct kvapp_client *client)
{
    const struct contact *target = client_target(client);
    const struct connection *connection = &target->connection;
    unsigned long long timeout_ms = client->timeout_us / 1000;
    if (connection->state == CONNECTION_OPEN && !list_empty(&target->sent)) {
        client_explain(client, "no answer within %llu ms: %s is connected, but silent", timeout_ms,
                       connection->address);
    } else if (connection->state == CONNECTION_CONNECTING) {
        client_explain(client, "no answer within %llu ms: %s does not take the connection",
                       timeout_ms, connection->address);
    } else if (client->obstacle[0] != '\0') {
        client_explain(client, "no answer within %llu ms: %s", timeout_ms, client->obstacle);
    } else {
        client_explain(client, "no answer within %llu ms; tried last: %s (%s)", timeout_ms,
                       connection->address,
                       connection->trouble[0] != '\0' ? connection->trouble : "not yet connected");
    }
}
