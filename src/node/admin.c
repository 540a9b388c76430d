/*
 * What operators ask: who the members are, to change them, to hand over, to take a snapshot.
 *
 *     ASKED ─┬─► answered at once: a list, a dry run, a refusal, a redirect to the leader
 *            ├─► CHANGING ──────► committed, and no longer joint │ leadership was lost
 *            ├─► TRANSFERRING ──► another server leads │ it was given up
 *            └─► SNAPPING ──────► durable │ it failed
 *
 * All end at their deadline, and when the node closes.
 */
#include "node/admin.h"

#include "node/node.h"
#include "node/plan.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- answers ---- */

static void fill_members(const struct kvapp_node *node, struct admin_response *response)
{
    const struct raft_logged_membership *newest = raft_membership(node->raft);
    response->has_membership = true;
    response->index = newest->index;
    response->membership = newest->membership;
    for (size_t i = 0; i < newest->membership.count; i++) {
        uint64_t id = newest->membership.members[i].id;
        response->members[i] = (struct admin_member){
            .connected = peer_is_reachable(node, id),
            .priority = peer_priority(node, id),
            .match = raft_match_index(node->raft, id),
        };
    }
}

static void answer(struct kvapp_node *node, struct admin_wait *wait, int status,
                   const char *sentence, const struct admin_plan *plan)
{
    struct admin_response response = {
        .request_id = wait->waiter.request_id,
        .id = node->config.id,
        .status = status,
        .leader = node->leader,
        .text = slice_of_string(status == 0 ? "" : sentence),
    };
    if (wait->request.verb == ADMIN_SNAPSHOT) {
        response.index = storage_snapshot_newest(node->storage);
    } else if (wait->request.verb != ADMIN_TRANSFER) {
        fill_members(node, &response);
    }
    if (plan != NULL) {
        response.has_plan = true;
        response.plan = *plan;
    }
    wait->state = ADMIN_NONE;
    reply_admin(&wait->waiter, &response);
}

static void redirect(struct kvapp_node *node, struct admin_wait *wait)
{
    wait->state = ADMIN_NONE;
    reply_redirect(node, &wait->waiter);
}

static void begin(const struct kvapp_node *node, struct admin_wait *wait, enum admin_state state,
                  uint64_t index)
{
    wait->state = state;
    wait->term = raft_term(node->raft);
    wait->index = index;
}

/* ---- changes ---- */

static void propose(struct kvapp_node *node, struct admin_wait *wait,
                    const struct raft_membership *wanted)
{
    const struct raft_event event = {
        .type = RAFT_MEMBERSHIP_PROPOSED,
        .now_ms = node_now_ms(node),
        .membership = wanted,
    };
    int err = step_event(node, &event, slice_of(NULL, 0));
    if (err == 0) {
        begin(node, wait, ADMIN_CHANGING, raft_membership(node->raft)->index);
        /* The new voters count at once: without a majority of them it leads no more, and what
         * follows in this turn must know. */
        step_time(node);
    } else if (err == KV_ERR_NOT_LEADER) {
        redirect(node, wait);
    } else if (err == KV_ERR_BUSY) {
        answer(node, wait, err,
               "a change of the members or of the leader is under way: try again when it is done",
               NULL);
    } else {
        answer(node, wait, err,
               err == KV_ERR_INVALID ? "the change changes nothing" : kvapp_err_sentence(err),
               NULL);
    }
}

static void change(struct kvapp_node *node, struct admin_wait *wait)
{
    const struct raft_membership *present = &raft_membership(node->raft)->membership;
    if (present->joint) {
        answer(node, wait, KV_ERR_BUSY,
               "a change of the members is under way: try again when it is done", NULL);
        return;
    }
    struct plan_question question = {
        .present = present,
        .edits = wait->request.edits,
        .edit_count = wait->request.edit_count,
        .client_port_offset = node->config.client_port_offset,
        .force = wait->request.force,
    };
    for (size_t i = 0; i < present->count; i++) {
        question.views[i] = (struct plan_view){
            .reachable = peer_is_reachable(node, present->members[i].id),
            .caught_up = handover_is_caught_up(node, present->members[i].id),
        };
    }
    struct admin_plan plan;
    char sentence[PLAN_SENTENCE_SIZE];
    int err = plan_make(&question, &plan, sentence);
    if (err != 0 || wait->request.dry_run) {
        answer(node, wait, err, sentence, err == KV_ERR_INVALID ? NULL : &plan);
    } else {
        propose(node, wait, &plan.wanted);
    }
}

/*
 * Whether the change is there to stay: its entry, and the one that ends a joint membership. A later
 * joint membership shows that ours was left, for no change begins before the last one is settled.
 */
static bool is_changed(const struct kvapp_node *node, const struct admin_wait *wait)
{
    const struct raft_logged_membership *newest = raft_membership(node->raft);
    if (node->commit_index < wait->index || raft_term_at(node->raft, wait->index) != wait->term) {
        return false;
    }
    if (newest->index == wait->index) {
        return !newest->membership.joint;
    }
    return newest->membership.joint || newest->index <= node->commit_index;
}

static void follow_change(struct kvapp_node *node, struct admin_wait *wait)
{
    if (is_changed(node, wait)) {
        answer(node, wait, 0, "", NULL);
    } else if (node->role != RAFT_LEADER || raft_term(node->raft) != wait->term) {
        answer(node, wait, KV_ERR_OUTCOME_UNKNOWN,
               "leadership was lost, outcome unknown: list the members to see", NULL);
    } else if (node_now_ms(node) >= wait->waiter.deadline_ms) {
        answer(node, wait, KV_ERR_OUTCOME_UNKNOWN,
               "no majority stored the change within 30 s, outcome unknown: list the members to "
               "see",
               NULL);
    }
}

/* ---- another leader ---- */

static void transfer(struct kvapp_node *node, struct admin_wait *wait)
{
    uint64_t target = wait->request.target;
    if (target == node->config.id) {
        answer(node, wait, 0, "", NULL);
        return;
    }
    int err = step_transfer(node, target);
    if (err == 0) {
        begin(node, wait, ADMIN_TRANSFERRING, 0);
    } else if (err == KV_ERR_NOT_LEADER) {
        redirect(node, wait);
    } else if (err == KV_ERR_BUSY) {
        answer(node, wait, err, "leadership is being handed over already", NULL);
    } else {
        char sentence[64] = "there is no other voter";
        if (target != 0) {
            (void)snprintf(sentence, sizeof sentence, "node %" PRIu64 " is no voter", target);
        }
        answer(node, wait, err, sentence, NULL);
    }
}

static void follow_transfer(struct kvapp_node *node, struct admin_wait *wait)
{
    bool leads = node->role == RAFT_LEADER;
    if (!leads && node->leader != 0) {
        answer(node, wait, 0, "", NULL);
    } else if ((leads && raft_transfer_target(node->raft) == 0) ||
               node_now_ms(node) >= wait->waiter.deadline_ms) {
        answer(node, wait, KV_ERR_TIMEOUT,
               leads ? "the other server did not take over in time: this one leads on"
                     : "no leader was elected in time",
               NULL);
    }
}

/* ---- snapshots ---- */

static void snap(struct kvapp_node *node, struct admin_wait *wait)
{
    begin(node, wait, ADMIN_SNAPPING, snapshot_ask(node));
}

static void follow_snapshot(struct kvapp_node *node, struct admin_wait *wait)
{
    if (storage_snapshot_newest(node->storage) >= wait->index) {
        answer(node, wait, 0, "", NULL);
    } else if (node_now_ms(node) >= wait->waiter.deadline_ms) {
        answer(node, wait, KV_ERR_TIMEOUT,
               "the snapshot is not on the disk yet; it goes on: ask again", NULL);
    }
}

void admin_snapshot_failed(struct kvapp_node *node, int err, const char *sentence)
{
    for (size_t i = 0; i < ADMIN_WAITING_MAX; i++) {
        struct admin_wait *wait = &node->admin.waits[i];
        if (wait->state == ADMIN_SNAPPING) {
            answer(node, wait, err, sentence, NULL);
        }
    }
}

/* ---- the way of a request ---- */

int admin_take(struct client *client, struct slice payload)
{
    struct kvapp_node *node = client->node;
    struct admin_wait taken = {.state = ADMIN_ASKED};
    int err = admin_request_decode(payload, &taken.request);
    if (err != 0) {
        return err;
    }
    taken.waiter = (struct waiter){
        .client = client,
        .request_id = taken.request.request_id,
        .deadline_ms = node_now_ms(node) + REQUEST_TIMEOUT_MS,
        .cost = REQUEST_COST,
    };
    client->waiting++;
    node->waiting_bytes += taken.waiter.cost;
    for (size_t i = 0; i < ADMIN_WAITING_MAX; i++) {
        if (node->admin.waits[i].state == ADMIN_NONE) {
            node->admin.waits[i] = taken;
            return 0;
        }
    }
    answer(node, &taken, KV_ERR_BUSY, "too many such requests wait already: try again", NULL);
    return 0;
}

static void carry_out(struct kvapp_node *node, struct admin_wait *wait)
{
    bool is_for_leader = wait->request.verb == ADMIN_CHANGE || wait->request.verb == ADMIN_TRANSFER;
    if (is_for_leader && node->role != RAFT_LEADER) {
        redirect(node, wait);
        return;
    }
    switch (wait->request.verb) {
    case ADMIN_CHANGE:
        change(node, wait);
        break;
    case ADMIN_TRANSFER:
        transfer(node, wait);
        break;
    case ADMIN_SNAPSHOT:
        snap(node, wait);
        break;
    default:
        answer(node, wait, 0, "", NULL);
        break;
    }
}

void admin_step(struct kvapp_node *node)
{
    for (size_t i = 0; i < ADMIN_WAITING_MAX; i++) {
        struct admin_wait *wait = &node->admin.waits[i];
        if (wait->state == ADMIN_ASKED) {
            carry_out(node, wait);
        }
        if (wait->state == ADMIN_CHANGING) {
            follow_change(node, wait);
        } else if (wait->state == ADMIN_TRANSFERRING) {
            follow_transfer(node, wait);
        } else if (wait->state == ADMIN_SNAPPING) {
            follow_snapshot(node, wait);
        }
    }
}

bool admin_none(const struct kvapp_node *node)
{
    for (size_t i = 0; i < ADMIN_WAITING_MAX; i++) {
        if (node->admin.waits[i].state != ADMIN_NONE) {
            return false;
        }
    }
    return true;
}

void admin_stop(struct kvapp_node *node)
{
    for (size_t i = 0; i < ADMIN_WAITING_MAX; i++) {
        struct admin_wait *wait = &node->admin.waits[i];
        if (wait->state != ADMIN_NONE) {
            answer(node, wait, KV_ERR_STOPPED, "this server stops", NULL);
        }
    }
}
