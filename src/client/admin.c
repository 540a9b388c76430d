/*
 * What operators ask. On its way it is a request like any other (exchange.c): it finds the leader,
 * has a deadline, is sent again. But a change or a transfer of which the answer was lost is not
 * repeated, for what it meant may be done.
 */
#include "client/client.h"

#include <stdio.h>

/* ---- asking ---- */

struct pending *client_submit_admin(struct kvapp_client *client,
                                    const struct admin_request *request, pending_done_fn done,
                                    void *context)
{
    struct command none = {.operation = OPERATION_GET};
    struct pending *pending = pool_take(&client->pool, &none, KVAPP_READS_DEFAULT, done, context);
    pending->admin = request;
    loop_mark(client->loop, &client->user);
    return pending;
}

/* ---- answers ---- */

/* The members that an answer names are servers to turn to later. */
static void learn(struct kvapp_client *client, const struct raft_membership *membership)
{
    for (size_t i = 0; i < membership->count; i++) {
        char address[ADDRESS_SIZE_MAX];
        const struct raft_member *member = &membership->members[i];
        if (address_add_port(member->address, client->port_offset, address) == 0) {
            struct contact *contact = contact_at(client, address, member->id);
            if (contact != NULL) {
                contact->id = member->id;
            }
        }
    }
}

/* Whether the request was not taken and may be sent again. */
static bool try_again(struct contact *contact, struct pending *pending,
                      const struct admin_response *response)
{
    struct kvapp_client *client = contact->client;
    if (response->status != KV_ERR_BUSY && response->status != KV_ERR_STOPPED) {
        return false;
    }
    contact_note(contact, "answered", response->text);
    if (response->status == KV_ERR_STOPPED) {
        client_explain(client, "%s got the request, then: it stops", contact->connection.address);
        client_lose(client, pending);
    } else {
        pool_return(&client->pool, pending);
        if (contact == client_target(client)) {
            client_follow(client, LANE_LEADER, leader_busy(&client->leader));
        }
    }
    return true;
}

int admin_received(struct contact *contact, struct slice payload)
{
    struct kvapp_client *client = contact->client;
    struct admin_response response;
    int err = admin_response_decode(payload, &response);
    if (err != 0) {
        return err;
    }
    contact->id = response.id;
    if (contact == client_target(client) && response.id == response.leader) {
        leader_answered(&client->leader, response.id);
    }
    struct pending *pending = pool_find(&client->pool, response.request_id);
    if (pending == NULL || pending->sent_to != contact || pending->admin == NULL ||
        try_again(contact, pending, &response)) {
        return 0;
    }
    if (response.status != 0) {
        client_explain(client, "%s answered: %.*s", contact->connection.address,
                       (int)(response.text.size < 400 ? response.text.size : 400),
                       response.text.size > 0 ? (const char *)response.text.data : "");
    }
    const struct kvapp_reply reply = {
        .status = response.status,
        .data = payload.data,
        .size = payload.size,
    };
    client_finish(client, pending, &reply);
    if (response.has_membership) {
        learn(client, &response.membership);
    }
    return 0;
}

/* ---- for the caller ---- */

/* Asks, and decodes the answer, if one came; else `ret_response` has no id. */
static int ask(struct kvapp_client *client, const struct admin_request *request,
               struct admin_response *ret_response)
{
    struct kvapp_reply reply;
    int status = client_call(client, NULL, request, &reply);
    if (reply.size == 0 ||
        admin_response_decode(slice_of(reply.data, reply.size), ret_response) != 0) {
        *ret_response = (struct admin_response){.status = status};
    }
    return status;
}

static struct kvapp_peer peer_of(const struct raft_member *member)
{
    struct kvapp_peer peer = {
        .id = member->id,
        .voter = member->voter,
        .voter_old = member->voter_old,
        .keep_learner = member->keep_learner,
        .incarnation = member->incarnation,
    };
    memcpy(peer.address, member->address, sizeof peer.address);
    return peer;
}

static void fill_peers(const struct raft_membership *membership, struct kvapp_peers *peers)
{
    peers->joint = membership->joint;
    peers->count = membership->count;
    for (size_t i = 0; i < membership->count; i++) {
        peers->at[i] = peer_of(&membership->members[i]);
    }
}

static struct kvapp_peers peers_of(const struct admin_response *response)
{
    struct kvapp_peers peers = {
        .answered = response->id,
        .leader = response->leader,
        .index = response->index,
    };
    fill_peers(&response->membership, &peers);
    for (size_t i = 0; i < peers.count; i++) {
        peers.at[i].connected = response->members[i].connected;
        peers.at[i].priority = response->members[i].priority;
        peers.at[i].match = response->members[i].match;
    }
    return peers;
}

static struct kvapp_voters voters_of(const struct admin_voters *voters)
{
    return (struct kvapp_voters){
        .count = voters->count, .quorum = voters->quorum, .ready = voters->ready};
}

/* ---- the calls ---- */

/* Lets the next request go to the leader that an answer names; false: it came from it. */
static bool turn_to_leader(struct kvapp_client *client, const struct admin_response *response)
{
    char address[ADDRESS_SIZE_MAX];
    for (size_t i = 0; i < response->membership.count && response->leader != response->id; i++) {
        const struct raft_member *member = &response->membership.members[i];
        if (member->id != response->leader ||
            address_add_port(member->address, client->port_offset, address) != 0) {
            continue;
        }
        const struct contact *contact = contact_at(client, address, member->id);
        if (contact != NULL) {
            size_t target = (size_t)(contact - client->contacts);
            client_follow(client, LANE_LEADER,
                          leader_redirected(&client->leader, target, member->id));
            return true;
        }
    }
    return false;
}

int kvapp_members(struct kvapp_client *client, struct kvapp_peers *ret_peers)
{
    const struct admin_request request = {.verb = ADMIN_LIST};
    struct admin_response response;
    int status = ask(client, &request, &response);
    if (status != 0) {
        return status;
    }
    struct kvapp_peers peers = peers_of(&response);
    if (turn_to_leader(client, &response) && ask(client, &request, &response) == 0) {
        peers = peers_of(&response);
    }
    *ret_peers = peers;
    return 0;
}

/* What must not be repeated is not given to a server that may be silent: who leads is asked for
 * before, which may be. */
static void find_leader(struct kvapp_client *client)
{
    struct kvapp_peers peers;
    if (client->leader.id == 0) {
        (void)kvapp_members(client, &peers);
    }
}

/* What is known of those who are members already. */
static void note_state(struct kvapp_peers *wanted, const struct kvapp_peers *present)
{
    wanted->leader = present->leader;
    for (size_t i = 0; i < wanted->count; i++) {
        struct kvapp_peer *peer = &wanted->at[i];
        for (size_t j = 0; j < present->count; j++) {
            if (present->at[j].id == peer->id) {
                peer->connected = present->at[j].connected;
                peer->priority = present->at[j].priority;
                peer->match = present->at[j].match;
            }
        }
    }
}

static int make_request(struct kvapp_client *client, const struct kvapp_change *change,
                        struct admin_request *ret_request)
{
    struct admin_request request = {
        .verb = ADMIN_CHANGE,
        .dry_run = change->dry_run,
        .force = change->force,
        .edit_count = change->edit_count,
    };
    if (change->edit_count == 0 || change->edit_count > ADMIN_EDITS_MAX) {
        client_explain(client, "a change has 1 to %d edits", ADMIN_EDITS_MAX);
        return KV_ERR_INVALID;
    }
    for (size_t i = 0; i < change->edit_count; i++) {
        const struct kvapp_edit *edit = &change->edits[i];
        request.edits[i].operation = (enum edit_operation)edit->kind;
        request.edits[i].id = edit->id;
        char *address = request.edits[i].address;
        bool needs_address = edit->kind != KVAPP_PROMOTE && edit->kind != KVAPP_REMOVE;
        if (edit->id == 0 || needs_address != (edit->address != NULL)) {
            client_explain(client,
                           "an edit has an id, and an address unless it promotes or removes");
            return KV_ERR_INVALID;
        }
        if (edit->address != NULL && (strlen(edit->address) >= ADDRESS_SIZE_MAX ||
                                      address_add_port(edit->address, 0, address) != 0)) {
            client_explain(client, "the address is no host:port");
            return KV_ERR_INVALID;
        }
    }
    *ret_request = request;
    return 0;
}

int kvapp_change(struct kvapp_client *client, const struct kvapp_change *change,
                 struct kvapp_change_result *ret_result)
{
    struct admin_request request;
    struct admin_response response;
    *ret_result = (struct kvapp_change_result){.has_plan = false};
    int status = make_request(client, change, &request);
    if (status != 0) {
        return status;
    }
    if (!change->dry_run) {
        find_leader(client);
    }
    status = ask(client, &request, &response);
    ret_result->peers = peers_of(&response);
    if (response.has_plan) {
        ret_result->has_plan = true;
        ret_result->plan.joint = response.plan.joint;
        ret_result->plan.before = voters_of(&response.plan.before);
        ret_result->plan.after = voters_of(&response.plan.after);
        fill_peers(&response.plan.wanted, &ret_result->plan.wanted);
        note_state(&ret_result->plan.wanted, &ret_result->peers);
    }
    return status;
}

int kvapp_transfer(struct kvapp_client *client, uint64_t to, uint64_t *ret_leader)
{
    const struct admin_request request = {.verb = ADMIN_TRANSFER, .target = to};
    struct admin_response response;
    find_leader(client);
    int status = ask(client, &request, &response);
    if (status == 0) {
        *ret_leader = response.leader;
    }
    return status;
}

int kvapp_snapshot(struct kvapp_client *client, const char *address, uint64_t *ret_index)
{
    const struct admin_request request = {.verb = ADMIN_SNAPSHOT};
    const struct kvapp_client_options options = {
        .cluster = address,
        .timeout_ms = (uint32_t)(client->timeout_us / 1000),
        .client_port_offset = client->port_offset,
        .share_loop_with = client,
    };
    struct kvapp_client *only = NULL; /* that server's, so that nobody else is asked */
    int status = kvapp_client_new(&options, &only);
    if (status != 0) {
        client_explain(client, "%s: %s", address, kvapp_err_sentence(status));
        return status;
    }
    struct admin_response response;
    status = ask(only, &request, &response);
    if (status == 0) {
        *ret_index = response.index;
    } else {
        client_explain(client, "%s", kvapp_client_error(only));
    }
    kvapp_client_free(only);
    return status;
}
