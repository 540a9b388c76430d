/*
 * Who takes part, as this server knows it. The core says who counts; what it keeps for its driver,
 * addresses and incarnations, is used here: to find the others, and to know them again.
 *
 *     --cluster, at a cluster's first start ─► the directory's founders ─┐
 *     memberships in the snapshot and log ───────────────────────────────┴─► raft_restored
 *                                                        ─► the core ─► links follow
 *     a leader knows a member's directory for the first time ─► a membership that records it
 *
 * A server whose disk was wiped or replaced has another incarnation than the one recorded. It is
 * not listened to: it would vote without knowing what it acknowledged.
 */
#include "node/node.h"

#include "base/memory.h"
#include "wire/membership.h"

#include <inttypes.h>
#include <stdio.h>

const struct raft_member *node_member(const struct kvapp_node *node, uint64_t id)
{
    const struct raft_membership *membership = &raft_membership(node->raft)->membership;
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].id == id) {
            return &membership->members[i];
        }
    }
    return NULL;
}

/* ---- at a start ---- */

static int unreadable(struct kvapp_node *node, const char *what, uint64_t index, int err)
{
    char text[256];
    (void)snprintf(text, sizeof text, "the membership in %s %" PRIu64 " cannot be read: %s", what,
                   index, kvapp_err_sentence(err));
    node_fail(node, KV_ERR_DAMAGED, text);
    return KV_ERR_DAMAGED;
}

int membership_restore(struct kvapp_node *node, const struct storage_restored *restored,
                       struct restored_memberships *ret_memberships)
{
    struct restored_memberships *memberships = ret_memberships;
    memset(memberships, 0, sizeof *memberships);
    memberships->count = restored->membership_count;
    memberships->logged = memory_new(memberships->count + 1, sizeof *memberships->logged);
    for (size_t i = 0; i < memberships->count; i++) {
        const struct storage_membership *entry = &restored->memberships[i];
        memberships->logged[i].index = entry->index;
        int err = membership_decode(entry->payload, &memberships->logged[i].membership);
        if (err != 0) {
            return unreadable(node, "log entry", entry->index, err);
        }
    }
    if (restored->snapshot_index > 0) {
        int err = membership_decode(restored->membership, &memberships->snapshot);
        if (err != 0) {
            return unreadable(node, "the snapshot at entry", restored->snapshot_index, err);
        }
    }
    /* Of a log that was lost nobody knows whether it had one. */
    bool known =
        memberships->count > 0 || restored->snapshot_index > 0 || restored->lost_until != 0;
    if (!known && node->config.cluster_id != 0 && node->config.cluster_id != restored->cluster_id) {
        char text[1536];
        (void)snprintf(text, sizeof text,
                       "%s belongs to node %" PRIu64 " of cluster %016" PRIx64
                       ", but was asked to serve node %" PRIu64 " of cluster %016" PRIx64
                       "; name the right directory, or the node and cluster it belongs to",
                       restored->path, node->config.id, restored->cluster_id, node->config.id,
                       node->config.cluster_id);
        node_fail(node, KV_ERR_MISMATCH, text);
        return KV_ERR_MISMATCH;
    }
    if (restored->founders.size > 0) {
        int err = membership_decode(restored->founders, &memberships->initial);
        if (err != 0) {
            return unreadable(node, "IDENTITY", 0, err);
        }
    }
    return 0;
}

void membership_founders(const struct kvapp_node *node, struct buf *out)
{
    if (node->config.join[0] == '\0') {
        struct raft_membership founders;
        membership_of_list(&node->config.members, &founders);
        membership_encode(&founders, out);
    }
}

/* ---- what was received ---- */

int membership_note_received(struct kvapp_node *node, const struct entry *entry)
{
    struct raft_logged_membership logged = {.index = entry->index};
    int err = membership_decode(entry->payload, &logged.membership);
    if (err == 0) {
        buf_append(&node->received_memberships, &logged, sizeof logged);
    }
    return err;
}

/* ---- what changed ---- */

static void note_own(struct kvapp_node *node, uint64_t index,
                     const struct raft_membership *membership)
{
    for (size_t i = 0; i < membership->count; i++) {
        if (membership->members[i].id == node->config.id) {
            node->own_membership_index = index;
        }
    }
}

void membership_start(struct kvapp_node *node, const struct restored_memberships *memberships,
                      uint64_t snapshot_index)
{
    node->own_membership_index = PEER_NO_MEMBERSHIP;
    note_own(node, 0, &memberships->initial);
    note_own(node, snapshot_index, &memberships->snapshot);
    for (size_t i = 0; i < memberships->count; i++) {
        note_own(node, memberships->logged[i].index, &memberships->logged[i].membership);
    }
    node->links_stale = true;
}

void membership_changed(struct kvapp_node *node)
{
    const struct raft_logged_membership *newest = raft_membership(node->raft);
    note_own(node, newest->index, &newest->membership);
    node->links_stale = true;
    node->removed = node->removed || node->effects.removed;
}

void membership_end(struct kvapp_node *node)
{
    node->ended_err = KV_ERR_REMOVED;
    (void)snprintf(node->error, sizeof node->error,
                   "node %" PRIu64
                   " was removed from the cluster and ends; its data directory %.300s "
                   "is of no further use",
                   node->config.id, node->config.data_dir);
    TRACE(&node->trace, TRACE_WARN, "%s", node->error);
    kvapp_node_stop(node);
}

bool membership_is_removed(const struct kvapp_node *node, uint64_t id, uint64_t its_index)
{
    const struct raft_logged_membership *newest = raft_membership(node->raft);
    return its_index != PEER_NO_MEMBERSHIP && newest->index > its_index &&
           newest->index <= node->commit_index && node_member(node, id) == NULL;
}

/* ---- incarnations ---- */

void membership_record(struct kvapp_node *node)
{
    const struct raft_membership *present = &raft_membership(node->raft)->membership;
    if (node->role != RAFT_LEADER || present->joint) {
        return;
    }
    struct raft_membership wanted = *present;
    size_t unknown = 0;
    size_t found = 0;
    for (size_t i = 0; i < wanted.count; i++) {
        struct raft_member *member = &wanted.members[i];
        if (member->incarnation == 0) {
            member->incarnation = member->id == node->config.id
                                      ? node->incarnation
                                      : inbound_incarnation(node, member->id);
            unknown += member->incarnation == 0;
            found += member->incarnation != 0;
        }
    }
    /* All in one entry, if the rest come soon. */
    uint64_t now_ms = node_now_ms(node);
    uint64_t patience_ms = node->config.timing.election_max_ms;
    if (found == 0 || (unknown > 0 && now_ms < node->led_since_ms + patience_ms)) {
        return;
    }
    const struct raft_event event = {
        .type = RAFT_MEMBERSHIP_PROPOSED, .now_ms = now_ms, .membership = &wanted};
    int err = step_event(node, &event, slice_of(NULL, 0));
    CHECK(err == 0 || err == KV_ERR_BUSY || err == KV_ERR_NOT_LEADER || err == KV_ERR_NO_MEMORY);
}
