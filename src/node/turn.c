/*
 * The loop: completions queue work, a turn drains it, stage by stage, in the order of node.h.
 *
 *     STARTING ──opened──► SERVING ──stop──► DRAINING ──drained──► CLOSING ──all closed──► ENDED
 *         └───────────────────┴──── failure ────┴──────────────────►┘
 */
#include "node/node.h"

#include <stdio.h>

uint64_t node_now_ms(const struct kvapp_node *node)
{
    return io_now_us(node->io) / 1000;
}

/* ---- ending ---- */

/* What is still asked is answered: it was not done, or nobody knows. */
static void end_requests(struct kvapp_node *node)
{
    reply_lost(node);
    propose_stop(node);
    reads_stop(node);
    forward_stop(node);
    redis_stop(node);
}

static void start_closing(struct kvapp_node *node)
{
    node->state = NODE_CLOSING;
    io_listener_close(node->io, node->raft_listener);
    io_listener_close(node->io, node->client_listener);
    node->raft_listener = NULL;
    node->client_listener = NULL;
    if (node->raft != NULL) {
        end_requests(node);
        admin_stop(node);
    }
    snapshot_stop(node);
    install_stop(node);
    clients_stop(node);
    links_stop(node);
    inbound_stop(node);
    if (node->ended_err == KV_ERR_DIVERGED) {
        storage_mark_diverged(node->storage);
    } else if (node->ended_err == KV_ERR_OUTDATED && node->raft != NULL) {
        storage_mark_outdated(node->storage);
    }
    if (node->storage != NULL && !node->joining) {
        storage_close(node->storage);
    }
}

void node_fail(struct kvapp_node *node, int err, const char *sentence)
{
    if (node->ended_err != 0 || node->state >= NODE_CLOSING) {
        return;
    }
    node->ended_err = err;
    (void)snprintf(node->error, sizeof node->error, "%s", sentence);
    TRACE(&node->trace, TRACE_ERROR, "%s", sentence);
    start_closing(node);
}

/* The time is up; but for what there is to say to those who still wait. */
static bool is_late(struct kvapp_node *node)
{
    if (io_now_us(node->io) < node->drain_until_us) {
        return false;
    }
    if (node->drained_late || node->raft == NULL) {
        return true;
    }
    node->drained_late = true;
    node->drain_until_us = io_now_us(node->io) + LAST_WORDS_MS * 1000;
    node->more_work = true;
    end_requests(node);
    clients_flush(node);
    return false;
}

static bool is_drained(struct kvapp_node *node)
{
    if (is_late(node)) {
        return true;
    }
    if (!handover_is_over(node) || !admin_none(node)) {
        return false;
    }
    if (!tracker_empty(&node->tracker) || !reads_none(node) || !forwards_none(&node->forwards) ||
        node->writes.size > node->writes_first) {
        return false;
    }
    for (const struct list *at = node->clients.next; at != &node->clients; at = at->next) {
        const struct client *client = CONTAINER_OF(at, struct client, link);
        if (client->stream != NULL && outbox_size(&client->outbox) > 0) {
            return false;
        }
    }
    return true;
}

static bool is_closed(const struct kvapp_node *node)
{
    return node->storage == NULL && list_empty(&node->clients) && list_empty(&node->inbound) &&
           links_closed(node);
}

void kvapp_node_stop(struct kvapp_node *node)
{
    if (node->state == NODE_STARTING) {
        node->state = NODE_DRAINING;
    } else if (node->state == NODE_SERVING) {
        TRACE(&node->trace, TRACE_INFO, "stopping");
        node->state = NODE_DRAINING;
        node->drain_until_us = io_now_us(node->io) + DRAIN_MS * 1000;
    }
    node->next_turn_us = 0;
    node->more_work = true;
}

/* ---- the turn ---- */

static void run_stages(struct kvapp_node *node)
{
    step_stored(node);
    step_inbox(node);
    install_step(node);
    snapshot_compact(node);
    ships_step(node);
    step_time(node);
    clock_step(node);
    stall_watch(node);
    admin_step(node);
    handover_step(node);
    full_step(node);
    redis_retry(node);
    propose_all(node);
    reads_ask(node);
    backups_ask(node);
    step_flush(node);
    links_flush(node);
    io_submit(node->io); /* The disks, here and elsewhere, work while this server goes on. */
    apply_committed(node);
    if (node->state == NODE_CLOSING) {
        return; /* Its state is wrong: nothing is answered from it any more. */
    }
    digest_send(node);
    backups_step(node);
    snapshot_take(node);
    restore_step(node);
    if (node->restore.kv == NULL) {
        node->more_work = !kv_tidy(node->kv, RELEASE_NODES) || node->more_work;
    }
    reads_serve(node);
    reply_expire(node);
    reads_expire(node);
    forward_expire(node);
    redis_go_on(node);
    clients_resume(node);
    inbound_resume(node);
    links_follow(node);
}

/* When a leader has to tell of the next key that expires. */
static uint64_t expiry_wake_us(struct kvapp_node *node)
{
    if (node->raft == NULL || raft_role(node->raft) != RAFT_LEADER ||
        node->purge_index > kv_applied_index(node->kv)) {
        return UINT64_MAX;
    }
    uint64_t expires_ms = kv_next_expiry(node->kv);
    uint64_t time_ms = clock_now_ms(node);
    uint64_t left_ms = expires_ms > time_ms ? expires_ms - time_ms : 1;
    return left_ms > 1000 * 1000 ? UINT64_MAX : io_now_us(node->io) + 1000 * left_ms;
}

static void set_wake(struct kvapp_node *node)
{
    const bool paced = node->config.timing.paced && node->state == NODE_SERVING;
    const uint64_t pace_us = (uint64_t)node->config.timing.event_loop_ms * 1000;
    uint64_t wake_us = paced ? node->next_turn_us : node->raft_wake_ms * 1000;
    if (node->state == NODE_DRAINING && node->drain_until_us < wake_us) {
        wake_us = node->drain_until_us;
    }
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].id == 0) {
            continue;
        }
        uint64_t due_us = outbox_due_us(&node->links[i].outbox);
        wake_us = due_us < wake_us ? due_us : wake_us;
    }
    for (const struct list *at = node->dirty.next; at != &node->dirty; at = at->next) {
        const struct client *client = CONTAINER_OF(at, struct client, dirty);
        uint64_t due_us = outbox_due_us(&client->outbox);
        wake_us = due_us < wake_us ? due_us : wake_us;
    }
    uint64_t expiry_us = paced ? UINT64_MAX : expiry_wake_us(node);
    wake_us = expiry_us < wake_us ? expiry_us : wake_us;
    if (!paced) {
        /* The resolution of the timers: what is due within one period is done in one turn. */
        wake_us += pace_us - 1;
        wake_us -= wake_us % pace_us;
        const uint64_t until_us[] = {node->write_gather.until_us, node->reads.gather.until_us};
        for (size_t i = 0; i < 2; i++) {
            wake_us = until_us[i] != 0 && until_us[i] < wake_us ? until_us[i] : wake_us;
        }
    }
    io_timer_set(node->io, &node->wake, wake_us);
}

/*
 * The modes for people do one batch of events a period. What is no event of theirs does not wait
 * for it: that the own disk has stored something, and that a delayed message is due.
 */
static void between_turns(struct kvapp_node *node)
{
    step_stored(node);
    step_flush(node);
    clients_flush(node);
    links_flush(node);
    set_wake(node);
}

void node_turn(struct kvapp_node *node)
{
    node->more_work = false;
    if (node->stopped_err != 0) {
        node_fail(node, node->stopped_err, node->stopped_by);
    }
    if (node->state == NODE_DRAINING && node->raft == NULL) {
        start_closing(node); /* It was stopped before it served. */
    }
    if (node->state == NODE_SERVING || node->state == NODE_DRAINING) {
        run_stages(node);
    }
    links_flush(node);
    clients_flush(node);
    if (node->removed && node->state == NODE_SERVING) {
        membership_end(node);
    }
    if (node->state == NODE_DRAINING && is_drained(node)) {
        start_closing(node);
    }
    if (node->state == NODE_SERVING || node->state == NODE_DRAINING) {
        set_wake(node);
    }
    if (node->state == NODE_CLOSING && is_closed(node)) {
        io_timer_cancel(node->io, &node->wake);
        node->state = NODE_ENDED;
        if (node->ended_err == 0) {
            TRACE(&node->trace, TRACE_INFO, "stopped; everything acknowledged is on the disk");
        }
    }
}

int kvapp_node_step(struct kvapp_node *node, uint32_t wait_ms)
{
    if (node->state == NODE_ENDED) {
        return node->ended_err != 0 ? node->ended_err : KV_ERR_STOPPED;
    }
    const bool paced = node->config.timing.paced && node->state == NODE_SERVING;
    uint64_t deadline_us = UINT64_MAX;
    if (node->more_work && !paced) {
        deadline_us = 0;
    } else if (wait_ms != UINT32_MAX) {
        deadline_us = io_now_us(node->io) + (uint64_t)wait_ms * 1000;
    }
    int err = io_run(node->io, deadline_us);
    CHECK(err == 0);
    if (paced && io_now_us(node->io) < node->next_turn_us && node->state == NODE_SERVING &&
        node->stopped_err == 0) {
        between_turns(node);
        return 0;
    }
    node->next_turn_us = io_now_us(node->io) + (uint64_t)node->config.timing.event_loop_ms * 1000;
    node_turn(node);
    return 0;
}

int kvapp_node_run(struct kvapp_node *node)
{
    int err = 0;
    while (err == 0) {
        err = kvapp_node_step(node, UINT32_MAX);
    }
    return err == KV_ERR_STOPPED ? 0 : err;
}
