/*
 * When does a leader hand over by itself (thesis 3.10)? When it is stopped, so that nobody waits
 * for an election timeout; and when a member with a higher priority could lead.
 *
 * Who has caught up is seen by the commit index of a heartbeat ago: what is newer may be on its
 * way.
 */
#include "node/node.h"

#include <inttypes.h>

enum {
    LED_MS = 2000,        /* a leader that is newer does not look for a better one */
    LED_ELECTIONS = 4,    /* and so many election timeouts */
    RETRY_MS = 10 * 1000, /* after a transfer for a priority */
};

/* ---- what is known of a member ---- */

bool peer_is_reachable(const struct kvapp_node *node, uint64_t id)
{
    if (id == node->config.id) {
        return true;
    }
    bool is_up = false;
    for (size_t i = 0; i < node->link_count; i++) {
        is_up = is_up || (node->links[i].id == id && node->links[i].state == LINK_UP);
    }
    if (node->role != RAFT_LEADER) {
        return is_up; /* Followers say nothing to one another. */
    }
    const uint64_t patience_us = 1000 * (uint64_t)node->config.timing.election_max_ms;
    const struct inbound *inbound = inbound_of(node, id);
    return is_up && inbound != NULL && io_now_us(node->io) - inbound->heard_us <= patience_us;
}

uint32_t peer_priority(const struct kvapp_node *node, uint64_t id)
{
    if (id == node->config.id) {
        return node->options.priority;
    }
    const struct inbound *inbound = inbound_of(node, id);
    return inbound == NULL ? 0 : inbound->priority;
}

bool handover_is_caught_up(const struct kvapp_node *node, uint64_t id)
{
    return id == node->config.id ||
           raft_match_index(node->raft, id) >= node->handover.caught_up_index;
}

/* ---- who shall lead ---- */

static bool is_better(const struct kvapp_node *node, uint64_t id, uint64_t than)
{
    uint32_t priority = peer_priority(node, id);
    uint32_t other = peer_priority(node, than);
    return priority > other || (priority == other && raft_match_index(node->raft, id) >
                                                         raft_match_index(node->raft, than));
}

/* Of the other voters that could lead at once: the highest priority, then the longest log. 0: none
 * could. */
static uint64_t successor(const struct kvapp_node *node)
{
    const struct raft_membership *membership = &raft_membership(node->raft)->membership;
    uint64_t best = 0;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        if (member->voter && member->id != node->config.id && peer_is_reachable(node, member->id) &&
            handover_is_caught_up(node, member->id) &&
            (best == 0 || is_better(node, member->id, best))) {
            best = member->id;
        }
    }
    return best;
}

/* A leader that nobody hears any more may find so only now; then there is nothing to be done. */
static void hand_over(struct kvapp_node *node, uint64_t to)
{
    int err = step_transfer(node, to);
    CHECK(err == 0 || err == KV_ERR_NOT_LEADER || err == KV_ERR_NO_MEMORY);
}

static void prefer(struct kvapp_node *node)
{
    struct handover *handover = &node->handover;
    const struct kvapp_timing *timing = &node->config.timing;
    uint64_t now_ms = node_now_ms(node);
    uint64_t led_ms = LED_MS + LED_ELECTIONS * (uint64_t)timing->election_max_ms;
    if (now_ms - node->led_since_ms < led_ms || now_ms < handover->retry_ms) {
        return;
    }
    uint64_t to = successor(node);
    if (to != 0 && peer_priority(node, to) > node->options.priority) {
        TRACE(&node->trace, TRACE_INFO,
              "hands over to node %" PRIu64 ", whose priority is %" PRIu32 ", not %" PRIu32, to,
              peer_priority(node, to), node->options.priority);
        handover->retry_ms = now_ms + RETRY_MS;
        hand_over(node, to);
    }
}

/* ---- the stage ---- */

static void note_progress(struct kvapp_node *node)
{
    struct handover *handover = &node->handover;
    uint64_t now_ms = node_now_ms(node);
    if (handover->term != raft_term(node->raft)) {
        handover->term = raft_term(node->raft);
        handover->marked_ms = now_ms;
        handover->caught_up_index = node->commit_index;
        handover->mark_index = node->commit_index;
    }
    if (now_ms - handover->marked_ms >= node->config.timing.heartbeat_ms) {
        handover->marked_ms = now_ms;
        handover->caught_up_index = handover->mark_index;
        handover->mark_index = node->commit_index;
    }
}

void handover_step(struct kvapp_node *node)
{
    if (node->role != RAFT_LEADER) {
        return;
    }
    note_progress(node);
    if (raft_transfer_target(node->raft) != 0) {
        return;
    }
    if (node->state == NODE_SERVING) {
        prefer(node);
        return;
    }
    uint64_t to = successor(node);
    if (to != 0) {
        node->handover.begun = true;
        hand_over(node, to);
    }
}

bool handover_is_over(const struct kvapp_node *node)
{
    if (node->role == RAFT_LEADER) {
        return raft_transfer_target(node->raft) == 0 && successor(node) == 0;
    }
    return !node->handover.begun || node->leader != 0;
}
