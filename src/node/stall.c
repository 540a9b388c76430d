/*
 * Does a leader's state machine keep up? All answers come from it. While it stands still, because
 * the disk does not give back what is to be applied or a snapshot is still being restored, the
 * leader's log and heartbeats may go on: then it serves nobody, and keeps the others from serving.
 *
 *     nothing applied for limit_ms ─► hands over ─► still leads an election timeout later ─► steps
 *                                                                                          down
 *
 * It may be elected again, since its log is as good as any, and has as long again. A cluster of one
 * has nobody to hand over to.
 */
#include "node/node.h"

#include <inttypes.h>

static void hand_over(struct kvapp_node *node)
{
    struct stall *stall = &node->stall;
    if (step_transfer(node, 0) == 0) {
        stall->asked_ms = node_now_ms(node);
        TRACE(&node->trace, TRACE_WARN,
              "entry %" PRIu64 " is committed, but nothing was applied for %" PRIu64
              " ms: another server shall lead",
              stall->applied + 1, stall->asked_ms - stall->since_ms);
    }
}

void stall_watch(struct kvapp_node *node)
{
    struct stall *stall = &node->stall;
    const uint64_t applied = kv_applied_index(node->kv);
    const uint64_t now_ms = node_now_ms(node);
    if (node->role != RAFT_LEADER || applied >= node->commit_index || applied != stall->applied) {
        stall->applied = applied;
        stall->since_ms = now_ms;
        stall->asked_ms = 0;
    } else if (stall->asked_ms == 0) {
        if (now_ms - stall->since_ms >= stall->limit_ms) {
            hand_over(node);
        }
    } else if (now_ms - stall->asked_ms > node->config.timing.election_max_ms) {
        const struct raft_event event = {.type = RAFT_STEP_DOWN_ASKED, .now_ms = now_ms};
        /* Refused: it leads no more anyway. */
        (void)step_event(node, &event, slice_of(NULL, 0));
    }
}
