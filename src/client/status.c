/*
 * Asking servers how they are: for the user's table, and for a client whose leader is silent.
 */
#include "client/client.h"

#include <stdio.h>

/* ---- what an answer says ---- */

static const char *role_name(uint8_t role)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    CHECK(role < sizeof names / sizeof names[0]);
    return names[role];
}

enum { ROLE_LEADER = 3 };

static void copy_text(char *to, size_t size, struct slice text)
{
    (void)snprintf(to, size, "%.*s", (int)(text.size < size ? text.size : size),
                   text.size > 0 ? (const char *)text.data : "");
}

static void fill_member(struct kvapp_member *member, const struct status_response *status)
{
    member->id = status->id;
    member->reachable = true;
    member->role = role_name(status->role);
    member->cluster_id = status->cluster_id;
    member->term = status->term;
    member->leader = status->leader;
    member->commit_index = status->commit_index;
    member->applied_index = status->applied_index;
    member->last_index = status->last_index;
    member->digest = status->digest;
    member->key_count = status->key_count;
    member->uptime_ms = status->uptime_ms;
    member->log_writes = status->log_writes;
    member->log_syncs = status->log_syncs;
    member->log_entries = status->log_entries;
    member->log_bytes = status->log_bytes;
    copy_text(member->io_backend, sizeof member->io_backend, status->io_backend);
    copy_text(member->version, sizeof member->version, status->version);
}

/* Another member leads while the target is silent: go there, and take along what waits. */
static void leave_silent_target(struct contact *contact)
{
    struct kvapp_client *client = contact->client;
    struct contact *target = client_target(client);
    if (contact == target || !client_target_is_silent(client)) {
        return;
    }
    target->gave_up = true;
    connection_close(&target->connection, "stopped answering, and another server leads");
    size_t index = (size_t)(contact - client->contacts);
    client_follow(client, LANE_LEADER, leader_redirected(&client->leader, index, contact->id));
}

int status_received(struct contact *contact, struct slice payload)
{
    struct status_response status;
    int err = status_response_decode(payload, &status);
    if (err != 0) {
        return err;
    }
    struct kvapp_client *client = contact->client;
    contact->id = status.id;
    size_t index = (size_t)(contact - client->contacts);
    struct status_call *call = client->status_call;
    if (call != NULL && index < client->members.count && status.request_id == contact->status_id) {
        fill_member(&call->members[index], &status);
        call->waiting[index] = false;
    }
    if (status.request_id == contact->status_id) {
        contact->status_id = 0;
    }
    if (status.role == ROLE_LEADER) {
        leave_silent_target(contact);
    }
    return 0;
}

void status_ask(struct contact *contact)
{
    struct kvapp_client *client = contact->client;
    client->status_ids++;
    contact->status_id = client->status_ids;
    contact->status_wanted = false;
    status_request_encode(contact->status_id, &contact->connection.out);
}

void status_unreachable(struct contact *contact)
{
    struct kvapp_client *client = contact->client;
    size_t index = (size_t)(contact - client->contacts);
    contact->status_wanted = false;
    contact->status_id = 0;
    if (client->status_call != NULL && index < client->members.count) {
        client->status_call->waiting[index] = false;
    }
}

/* ---- the call ---- */

static bool is_waiting(const struct status_call *call, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (call->waiting[i]) {
            return true;
        }
    }
    return false;
}

int kvapp_status(struct kvapp_client *client, uint32_t wait_ms, struct kvapp_member *members,
                 size_t *ret_count)
{
    CHECK(!client->loop->running);
    struct status_call call = {.members = members};
    size_t count = client->members.count;
    for (size_t i = 0; i < count; i++) {
        members[i] = (struct kvapp_member){.id = client->contacts[i].id, .role = "unknown"};
        (void)snprintf(members[i].address, sizeof members[i].address, "%s",
                       client->members.at[i].address);
        call.waiting[i] = true;
        client->contacts[i].status_wanted = true;
    }
    client->status_call = &call;
    loop_mark(client->loop, &client->user);
    /* The first turn makes the clock fresh. */
    int err = loop_turn(client->loop, 0);
    uint64_t until_us = io_now_us(client->loop->io) + (uint64_t)wait_ms * 1000;
    while (err == 0 && is_waiting(&call, count) && io_now_us(client->loop->io) < until_us) {
        uint64_t left_us = until_us - io_now_us(client->loop->io);
        err = loop_turn(client->loop, (uint32_t)(left_us / 1000) + 1);
    }
    client->status_call = NULL;
    for (size_t i = 0; i < count; i++) {
        client->contacts[i].status_wanted = false;
    }
    if (err != 0) {
        client_explain(client, "the event loop failed");
        return err;
    }
    *ret_count = count;
    return 0;
}
