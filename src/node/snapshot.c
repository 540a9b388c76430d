/*
 * Snapshots of the own state, so that the log can be trimmed (paper §7; thesis 5.1): the state
 * machine is frozen in a moment and written chunk by chunk, with pauses, while everything goes on.
 *
 *     due ──► kv_freeze ──► begin ──► chunk ──► chunk ... ──► commit ──► RAFT_COMPACTED, trim
 *
 * Two snapshots are kept. The log reaches back to the older one, so that a newest one that turns
 * out to be damaged costs nothing.
 */
#include "node/node.h"

#include "wire/membership.h"

#include <inttypes.h>

enum {
    RETRY_US = 10 * 1000 * 1000, /* after one that did not fit the disk */
    /* Between two chunks, each of which takes a fraction of it: what is asked meanwhile waits for
     * one chunk seldom, and never for two. */
    PAUSE_US = 300,
};

STATIC_CHECK((int)KV_CHUNK_SIZE_MAX <= (int)SNAPSHOT_CHUNK_SIZE_MAX, "every chunk fits");

/*
 * A snapshot costs as much as the state is large, so the log may grow to that size before the next
 * one: writing snapshots then never costs more than writing the log did (thesis 5.1.2).
 */
static bool is_due(const struct kvapp_node *node)
{
    const struct snapshot *snapshot = &node->snapshot;
    uint64_t applied = kv_applied_index(node->kv);
    uint64_t newest = storage_snapshot_newest(node->storage);
    if (io_now_us(node->io) < snapshot->retry_us) {
        return false;
    }
    if (snapshot->renew) {
        return applied >= newest;
    }
    if (applied <= newest) {
        return false;
    }
    return snapshot->wanted > newest || applied - newest >= node->options.snapshot_entries ||
           (snapshot->log_bytes >= node->options.snapshot_bytes &&
            snapshot->log_bytes >= kv_memory(node->kv));
}

uint64_t snapshot_ask(struct kvapp_node *node)
{
    node->snapshot.wanted = kv_applied_index(node->kv);
    node->more_work = true;
    return node->snapshot.wanted;
}

void snapshot_renew(struct kvapp_node *node)
{
    node->snapshot.renew = true;
    node->snapshot.retry_us = 0; /* Somebody waits for it: the disk may have room again. */
}

/* A snapshot says who took part at its index. A server that joined learns that from the first
 * membership in the log. */
static bool members_are_known(const struct kvapp_node *node)
{
    return raft_membership_at(node->raft, kv_applied_index(node->kv))->count > 0;
}

static void let_go(struct kvapp_node *node, enum snapshot_taking_state state)
{
    struct snapshot *snapshot = &node->snapshot;
    if (snapshot->state == SNAPSHOT_PAUSING) {
        io_timer_cancel(node->io, &snapshot->pause);
    }
    if (snapshot->frozen != NULL) {
        snapshot->releasing = snapshot->frozen;
        snapshot->frozen = NULL;
    }
    snapshot->state = state;
    buf_done(&snapshot->chunk);
}

static void failed(struct kvapp_node *node, int err, const char *sentence)
{
    let_go(node, SNAPSHOT_IDLE);
    node->snapshot.retry_us = io_now_us(node->io) + RETRY_US;
    admin_snapshot_failed(node, err, sentence);
    if (err == KV_ERR_IO) {
        node_fail(node, err, sentence);
    } else if (err != KV_ERR_STOPPED) {
        TRACE(&node->trace, TRACE_WARN, "no snapshot was taken: %s", sentence);
    }
}

static void answered(struct storage_snapshot_taking *taking, int err, const char *sentence)
{
    struct snapshot *snapshot = CONTAINER_OF(taking, struct snapshot, taking);
    struct kvapp_node *node = CONTAINER_OF(snapshot, struct kvapp_node, snapshot);
    if (snapshot->state == SNAPSHOT_ABANDONED) {
        snapshot->state = SNAPSHOT_IDLE;
    } else if (err != 0) {
        failed(node, err, sentence);
    } else if (snapshot->state == SNAPSHOT_COMMITTING) {
        snapshot->state = SNAPSHOT_TAKEN;
    } else {
        snapshot->state = SNAPSHOT_PAUSING;
        io_timer_set(node->io, &snapshot->pause, io_now_us(node->io) + PAUSE_US);
    }
}

static void pause_over(struct io_timer *timer)
{
    CONTAINER_OF(timer, struct snapshot, pause)->state = SNAPSHOT_WRITING;
}

void snapshot_init(struct kvapp_node *node)
{
    io_timer_init(&node->snapshot.pause, pause_over);
}

static void begin(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    snapshot->frozen = kv_freeze(node->kv);
    snapshot->ticket = node->newest_ticket;
    snapshot->log_bytes = 0;
    snapshot->renew = false;
    snapshot->began_us = io_now_us(node->io);
    snapshot->taking.done = answered;
    snapshot->state = SNAPSHOT_WAITING;
    snapshot->index = kv_snapshot_index(snapshot->frozen);
    struct buf membership = {0};
    membership_encode(raft_membership_at(node->raft, snapshot->index), &membership);
    const struct storage_snapshot_meta meta = {
        .index = snapshot->index,
        .term = raft_term_at(node->raft, snapshot->index),
        .digest = kv_snapshot_digest(snapshot->frozen),
        .membership = buf_slice(&membership),
    };
    TRACE(&node->trace, TRACE_DEBUG, "takes a snapshot of %" PRIu64 " keys at entry %" PRIu64,
          kv_key_count(node->kv), snapshot->index);
    storage_snapshot_begin(node->storage, &snapshot->taking, &meta);
    buf_done(&membership);
}

static void write_chunk(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    buf_clear(&snapshot->chunk);
    if (kv_snapshot_next(snapshot->frozen, &snapshot->chunk)) {
        snapshot->state = SNAPSHOT_WAITING;
        storage_snapshot_chunk(node->storage, buf_slice(&snapshot->chunk));
    } else if (node->reported_ticket >= snapshot->ticket) {
        /* What it holds may have been committed by others' disks before this one's (raft.h). */
        snapshot->state = SNAPSHOT_COMMITTING;
        storage_snapshot_commit(node->storage);
    }
}

void snapshot_take(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    if (snapshot->releasing != NULL) {
        if (kv_snapshot_release(snapshot->releasing, RELEASE_NODES)) {
            snapshot->releasing = NULL;
        } else {
            node->more_work = true;
        }
    } else if (snapshot->state == SNAPSHOT_WRITING) {
        write_chunk(node);
    } else if (snapshot->state == SNAPSHOT_IDLE && node->install.state == INSTALL_IDLE &&
               node->restore.kv == NULL && is_due(node) && members_are_known(node)) {
        begin(node);
    }
}

void snapshot_compact(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    if (snapshot->state != SNAPSHOT_TAKEN) {
        return;
    }
    TRACE(&node->trace, TRACE_INFO,
          "snapshot at entry %" PRIu64 " taken in %" PRIu64 " ms; the log is kept from %" PRIu64
          " on",
          snapshot->index, (io_now_us(node->io) - snapshot->began_us) / 1000,
          storage_snapshot_oldest(node->storage) + 1);
    let_go(node, SNAPSHOT_IDLE);
    step_compacted(node);
}

void snapshot_stop(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    if (snapshot->state == SNAPSHOT_TAKEN || snapshot->state == SNAPSHOT_COMMITTING) {
        let_go(node, snapshot->state); /* It is written; only its name is missing. */
    } else if (snapshot->state != SNAPSHOT_IDLE && snapshot->state != SNAPSHOT_ABANDONED) {
        let_go(node, SNAPSHOT_ABANDONED);
        storage_snapshot_abandon(node->storage);
    }
}

void snapshot_done(struct kvapp_node *node)
{
    struct snapshot *snapshot = &node->snapshot;
    let_go(node, SNAPSHOT_IDLE);
    if (snapshot->releasing != NULL) {
        CHECK(kv_snapshot_release(snapshot->releasing, SIZE_MAX));
    }
}
