/*
 * Connections of Redis's clients that wait: for a leader that their unit can be sent to, and, with
 * WAIT, for followers that have stored what they wrote.
 */
#include "node/node.h"

void redis_wait_for_leader(struct client *client)
{
    client->redis->state = REDIS_HOMELESS;
    list_push(&client->node->redis_waiting, &client->redis->waiting);
}

/* Followers that have stored what this client has written. */
static uint64_t replicas_of(const struct kvapp_node *node, uint64_t index)
{
    const struct raft_membership *members = &raft_membership(node->raft)->membership;
    uint64_t count = 0;
    uint64_t voters = 0;
    for (size_t i = 0; i < members->count; i++) {
        const struct raft_member *member = &members->members[i];
        voters += member->voter ? 1 : 0;
        if (member->id != node->config.id && raft_match_index(node->raft, member->id) >= index) {
            count++;
        }
    }
    /* What was answered is with a majority, one of which leads. */
    uint64_t certain = voters / 2;
    return raft_role(node->raft) == RAFT_LEADER && count > certain ? count : certain;
}

bool redis_wait(struct client *client, int64_t wanted, uint64_t timeout_ms, uint64_t *ret_count)
{
    struct redis *redis = client->redis;
    *ret_count = replicas_of(client->node, redis->write_index);
    if ((int64_t)*ret_count >= wanted || redis->executing ||
        raft_role(client->node->raft) != RAFT_LEADER) {
        return false;
    }
    redis->state = REDIS_WAITING;
    redis->wanted = (uint64_t)wanted;
    redis->deadline_ms = timeout_ms == 0 ? UINT64_MAX : node_now_ms(client->node) + timeout_ms;
    list_push(&client->node->redis_waiting, &redis->waiting);
    return true;
}

/* WAIT: the followers have it, or the time is up. */
static void look_at_waiting(struct client *client)
{
    struct kvapp_node *node = client->node;
    struct redis *redis = client->redis;
    uint64_t count = replicas_of(node, redis->write_index);
    if (count < redis->wanted && !client->ended && node_now_ms(node) < redis->deadline_ms &&
        raft_role(node->raft) == RAFT_LEADER) {
        return;
    }
    list_remove(&redis->waiting);
    const struct resp_writer writer = {.out = &node->redis_text, .version = redis->version};
    resp_integer(&writer, (int64_t)count);
    unit_add_answer(&redis->unit, redis, &node->redis_text);
    redis_answer_alone(client, 0);
    redis_be_ready(client);
}

static void look_at_homeless(struct client *client)
{
    struct kvapp_node *node = client->node;
    struct redis *redis = client->redis;
    uint64_t now_ms = node_now_ms(node);
    if (now_ms >= redis->deadline_ms) {
        list_remove(&redis->waiting);
        redis_answer_alone(client, KV_ERR_NO_LEADER);
        redis_be_ready(client);
    } else if (now_ms >= redis->retry_ms) {
        list_remove(&redis->waiting);
        redis_send(client);
    }
}

void redis_retry(struct kvapp_node *node)
{
    struct list turn;
    list_init(&turn);
    list_move(&turn, &node->redis_waiting);
    for (struct list *at = list_pop(&turn); at != NULL; at = list_pop(&turn)) {
        struct redis *redis = CONTAINER_OF(at, struct redis, waiting);
        list_push(&node->redis_waiting, at);
        if (redis->state == REDIS_HOMELESS) {
            look_at_homeless(redis->client);
        } else {
            look_at_waiting(redis->client);
        }
    }
}

void redis_stop(struct kvapp_node *node)
{
    for (struct list *at = list_pop(&node->redis_waiting); at != NULL;
         at = list_pop(&node->redis_waiting)) {
        struct redis *redis = CONTAINER_OF(at, struct redis, waiting);
        if (redis->client->stream != NULL && !redis->client->closing) {
            redis_answer_alone(redis->client, KV_ERR_STOPPED);
        }
    }
}
