/*
 * Do all members hold the same state? A leader tells every member the digest of its own from time
 * to time; who has another one at the same entry stops, before it answers anything from it.
 *
 *     leader     applied ─► digest_send ─► behind the append that says so much is committed
 *     follower   digest_received ─► held until its own state is there ─► digest_agrees
 *
 * What a leader has applied is committed, so a digest is right in whatever term it arrives. It
 * leaves in the same turn as the commit index that it belongs to, or later: so a follower seldom is
 * beyond it by then, and one that is beyond forgets it. In an idle cluster it is repeated, for
 * members that came back and have applied everything already.
 *
 * No majority is asked who is right: whoever differs stops, and is rebuilt from the others when it
 * is started again. Until then it neither votes nor campaigns (raft/repair.c), so a wrong leader
 * whose followers all stop is left without a majority, and the cluster halts.
 */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    DIGEST_ENTRIES = 1024, /* between two digests, */
    DIGEST_MS = 1000,      /* or this long */
};

void digest_send(struct kvapp_node *node)
{
    struct digests *digests = &node->digests;
    const struct state_digest digest = {
        .index = kv_applied_index(node->kv),
        .digest = kv_digest(node->kv),
    };
    const uint64_t now_ms = node_now_ms(node);
    if (node->role != RAFT_LEADER || digest.index == 0 ||
        (digest.index < digests->sent_index + DIGEST_ENTRIES &&
         now_ms < digests->sent_ms + DIGEST_MS)) {
        return;
    }
    digests->sent_index = digest.index;
    digests->sent_ms = now_ms;
    links_send_digest(node, &digest);
}

int digest_received(struct kvapp_node *node, uint64_t from, struct slice payload)
{
    struct state_digest digest;
    int err = state_digest_decode(payload, &digest);
    /* A later one does not take the place of one that is held: a follower that lags would never
     * come to compare. */
    if (err == 0 && node->digests.held.index == 0) {
        node->digests.held = digest;
        node->digests.held_from = from;
    }
    return err;
}

static void fail(struct kvapp_node *node, uint64_t own)
{
    const struct digests *digests = &node->digests;
    char sentence[sizeof node->error];
    (void)snprintf(
        sentence, sizeof sentence,
        "at entry %" PRIu64 " the state of this server has the digest %016" PRIx64
        " and that of the leader, node %" PRIu64 ", has %016" PRIx64
        ": one of the two is wrong, and this server stops. Started again, it sets its log and "
        "snapshots aside and is rebuilt by the others. When more servers than this one stop so, "
        "leave them stopped and compare: 'kvapp client status' shows digests, 'kvapp inspect' "
        "those of snapshots",
        digests->held.index, own, digests->held_from, digests->held.digest);
    node_fail(node, KV_ERR_DIVERGED, sentence);
}

bool digest_agrees(struct kvapp_node *node)
{
    struct state_digest *held = &node->digests.held;
    if (held->index == 0 || kv_applied_index(node->kv) < held->index) {
        return true;
    }
    const uint64_t own = kv_digest(node->kv);
    if (kv_applied_index(node->kv) == held->index && own != held->digest) {
        fail(node, own);
        return false;
    }
    held->index = 0;
    return true;
}
