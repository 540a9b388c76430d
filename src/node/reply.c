/*
 * Answers. Each ends exactly one waiting request; an answer to a client that has gone is dropped,
 * only its place is released.
 */
#include "node/node.h"

#include <stdio.h>

static struct buf *begin(struct client *client)
{
    return client->stream == NULL || client->closing ? NULL : outbox_begin(&client->outbox);
}

static void end(struct client *client)
{
    outbox_end(&client->outbox);
    client_mark_dirty(client);
}

void reply_send(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                const char *sentence)
{
    if (waiter->client == NULL) {
        CHECK(node->waiting_bytes >= waiter->cost);
        node->waiting_bytes -= waiter->cost;
        if (waiter->from != 0) {
            forward_answer(node, waiter, reply, sentence);
        } else {
            waiter->proposal->done(waiter->proposal, reply->status, reply->revision);
        }
        return;
    }
    if (waiter->client->redis != NULL) {
        redis_answer(waiter->client, reply, sentence);
        client_release(waiter->client, waiter->cost);
        return;
    }
    struct buf *out = begin(waiter->client);
    if (out != NULL) {
        const struct client_response response = {
            .request_id = waiter->request_id,
            .reply = *reply,
            .error = sentence == NULL ? slice_of(NULL, 0) : slice_of_string(sentence),
        };
        client_response_encode(&response, out);
        end(waiter->client);
    }
    client_release(waiter->client, waiter->cost);
}

void reply_stale(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                 uint64_t age_ms)
{
    struct buf *out = begin(waiter->client);
    if (out != NULL) {
        const struct stale_response response = {
            .request_id = waiter->request_id,
            .age_ms = age_ms,
            .applied_index = kv_applied_index(node->kv),
            .reply = *reply,
        };
        stale_response_encode(&response, out);
        end(waiter->client);
    }
    client_release(waiter->client, waiter->cost);
}

void reply_error(struct kvapp_node *node, const struct waiter *waiter, int err)
{
    const struct reply reply = {.status = err};
    reply_send(node, waiter, &reply, kvapp_err_sentence(err));
}

void reply_redirect(struct kvapp_node *node, const struct waiter *waiter)
{
    if (waiter->client == NULL || waiter->client->redis != NULL) {
        reply_error(node, waiter, KV_ERR_NOT_LEADER);
        return;
    }
    struct buf *out = begin(waiter->client);
    if (out != NULL) {
        const struct raft_member *leader = node_member(node, node->leader);
        struct leader_redirect redirect = {.request_id = waiter->request_id};
        char address[ADDRESS_SIZE_MAX];
        char text[ADDRESS_SIZE_MAX + 128];
        if (leader != NULL && leader->id != node->config.id &&
            address_add_port(leader->address, node->config.client_port_offset, address) == 0) {
            redirect.has_leader = true;
            redirect.leader_id = leader->id;
            redirect.address = slice_of_string(address);
            (void)snprintf(text, sizeof text, "this server is not the leader; node %llu at %s is",
                           (unsigned long long)leader->id, address);
        } else {
            (void)snprintf(text, sizeof text, "no leader is known; an election may be under way");
        }
        redirect.text = slice_of_string(text);
        leader_redirect_encode(&redirect, out);
        end(waiter->client);
    }
    client_release(waiter->client, waiter->cost);
}

void reply_admin(const struct waiter *waiter, const struct admin_response *response)
{
    struct buf *out = begin(waiter->client);
    if (out != NULL) {
        admin_response_encode(response, out);
        end(waiter->client);
    }
    client_release(waiter->client, waiter->cost);
}

void reply_lost(struct kvapp_node *node)
{
    struct waiter waiter;
    while (tracker_take_overdue(&node->tracker, UINT64_MAX, &waiter)) {
        reply_error(node, &waiter, KV_ERR_OUTCOME_UNKNOWN);
    }
    /* Entries that may be truncated are none that later reads have to see. */
    node->purge_index = 0;
    for (struct list *at = node->clients.next; at != &node->clients; at = at->next) {
        CONTAINER_OF(at, struct client, link)->write_index = 0;
    }
}

void reply_expire(struct kvapp_node *node)
{
    struct waiter waiter;
    while (tracker_take_overdue(&node->tracker, node_now_ms(node), &waiter)) {
        const struct reply reply = {.status = KV_ERR_OUTCOME_UNKNOWN};
        reply_send(node, &waiter, &reply,
                   "no majority stored the write within 30 s, outcome unknown: it may or may not "
                   "have taken effect");
    }
}

void reply_status(struct client *client, uint64_t request_id)
{
    const struct kvapp_node *node = client->node;
    struct storage_stats stats;
    storage_stats(node->storage, &stats);
    const struct status_response status = {
        .request_id = request_id,
        .cluster_id = node->cluster_id,
        .id = node->config.id,
        .address = slice_of_string(node->config.address),
        .role = (uint8_t)raft_role(node->raft),
        .term = raft_term(node->raft),
        .leader = raft_leader(node->raft),
        .commit_index = node->commit_index,
        .applied_index = kv_applied_index(node->kv),
        .last_index = raft_last_index(node->raft),
        .digest = kv_digest(node->kv),
        .key_count = kv_key_count(node->kv),
        .uptime_ms = (io_now_us(node->io) - node->started_us) / 1000,
        .log_writes = stats.writes,
        .log_syncs = stats.syncs,
        .log_entries = stats.entries,
        .log_bytes = stats.bytes,
        .io_backend = slice_of_string(io_backend_name(node->io)),
        .version = slice_of_string(KVAPP_VERSION),
    };
    status_response_encode(&status, outbox_begin(&client->outbox));
    end(client);
}
