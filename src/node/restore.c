/*
 * A state machine from the newest snapshot: at a start, and when the log does not reach back to
 * what was applied because a snapshot of the leader has taken its place.
 */
#include "node/node.h"

#include <inttypes.h>

static void fail(struct kvapp_node *node, int err)
{
    node_fail(node, err,
              "the newest snapshot's checksums are right, but it holds no state of this version of "
              "kvapp");
}

static void finish(struct kvapp_node *node)
{
    struct restore *restore = &node->restore;
    const struct storage_snapshot_meta *meta = &restore->read.meta;
    struct kv *kv = NULL;
    int err = kv_restore_end(restore->kv, meta->index, meta->digest, &kv);
    if (err != 0) {
        fail(node, err);
        return;
    }
    restore->kv = NULL;
    if (node->kv != NULL) {
        snapshot_stop(node);
        restore->replaced = node->kv;
    }
    node->kv = kv;
    node->snapshot.log_bytes = 0;
    TRACE(&node->trace, TRACE_INFO,
          "%" PRIu64 " keys restored from the snapshot at entry %" PRIu64 " in %" PRIu64 " ms",
          kv_key_count(kv), meta->index, (io_now_us(node->io) - restore->began_us) / 1000);
    restore->finished(node);
}

static void took(struct storage_snapshot_read *read, int err, struct slice raw,
                 const char *sentence)
{
    struct restore *restore = CONTAINER_OF(read, struct restore, read);
    struct kvapp_node *node = CONTAINER_OF(restore, struct kvapp_node, restore);
    if (node->state >= NODE_CLOSING) {
        return;
    }
    if (err != 0) {
        node_fail(node, err, sentence);
        return;
    }
    if (raw.size == 0) {
        finish(node);
        return;
    }
    err = kv_restore_chunk(restore->kv, raw);
    if (err != 0) {
        fail(node, err);
        return;
    }
    storage_snapshot_read_next(node->storage, read);
}

void restore_begin(struct kvapp_node *node, void (*finished)(struct kvapp_node *node))
{
    struct restore *restore = &node->restore;
    CHECK(restore->kv == NULL);
    restore->kv = kv_restore_begin(&kv_options_default);
    restore->read = (struct storage_snapshot_read){.done = took};
    restore->finished = finished;
    restore->began_us = io_now_us(node->io);
    storage_snapshot_read_next(node->storage, &restore->read);
}

/* A snapshot that is being taken of it lets it go first (snapshot_take). */
void restore_step(struct kvapp_node *node)
{
    struct restore *restore = &node->restore;
    if (restore->replaced == NULL || node->snapshot.releasing != NULL) {
        return;
    }
    if (kv_release(restore->replaced, RELEASE_NODES)) {
        restore->replaced = NULL;
    } else {
        node->more_work = true;
    }
}

void restore_done(struct restore *restore)
{
    kv_restore_free(restore->kv);
    if (restore->replaced != NULL) {
        CHECK(kv_release(restore->replaced, SIZE_MAX));
    }
}
