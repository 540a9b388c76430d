/*
 * Events into the consensus core, and its effects out: to the storage (staged, then flushed once a
 * turn), to the links, to the waiting reads.
 */
#include "node/node.h"

#include "wire/membership.h"

#include <inttypes.h>

/* ---- effects ---- */

/* Stages the entries of a received append from `first` on; their checksums are right. */
static void stage_received(struct kvapp_node *node, struct slice entries, uint64_t first,
                           uint64_t count)
{
    size_t at = 0;
    uint64_t time_ms = 0;
    CHECK(count > 0);
    while (count > 0) {
        CHECK(at + ENTRY_HEADER_SIZE <= entries.size);
        const uint8_t *entry = entries.data + at;
        size_t size = entry_size_at(entry);
        CHECK(at + size <= entries.size);
        if (get_u64(entry + 8) >= first) {
            CHECK(get_u64(entry + 8) == storage_last_index(node->storage) + 1);
            storage_append_encoded(node->storage, slice_of(entry, size));
            time_ms = get_u64(entry + ENTRY_TIME_OFFSET);
            count--;
        }
        at += size;
    }
    clock_take(&node->clock, io_now_us(node->io), time_ms);
}

/* Stages the entry that the core wants to be made: a no-op or a membership. */
static void stage_made(struct kvapp_node *node)
{
    const struct raft_store *store = &node->effects.store;
    bool is_membership = (store->flags & RAFT_STORE_MEMBERSHIP) != 0;
    struct buf payload = {0};
    if (is_membership) {
        membership_encode(&store->membership, &payload);
    }
    const struct entry entry = {
        .index = store->append_first,
        .term = store->term,
        .time_ms = clock_now_ms(node),
        .kind = is_membership ? ENTRY_MEMBERSHIP : ENTRY_NOOP,
        .payload = buf_slice(&payload),
    };
    storage_append(node->storage, &entry);
    buf_done(&payload);
}

static void stage(struct kvapp_node *node, const struct raft_event *event, struct slice entries)
{
    const struct raft_store *store = &node->effects.store;
    if (store->flags == 0) {
        return;
    }
    if ((store->flags & RAFT_STORE_RESET) != 0) {
        storage_reset(node->storage, store->reset_index, store->reset_term);
    }
    if ((store->flags & RAFT_STORE_TRUNCATE) != 0) {
        CHECK(store->truncate_from > node->commit_index);
        storage_truncate(node->storage, store->truncate_from);
    }
    if ((store->flags & (RAFT_STORE_NOOP | RAFT_STORE_MEMBERSHIP)) != 0) {
        stage_made(node);
    } else if ((store->flags & RAFT_STORE_ENTRIES) != 0 && event->type == RAFT_RECEIVED) {
        stage_received(node, entries, store->append_first, store->append_count);
    }
    if ((store->flags & RAFT_STORE_VOTE) != 0) {
        storage_vote(node->storage, store->term, store->voted_for);
    }
    CHECK(storage_last_index(node->storage) == raft_last_index(node->raft));
    CHECK(store->ticket > node->staged_ticket);
    node->staged_ticket = store->ticket;
    node->newest_ticket = store->ticket;
}

/* What a change of role, term or leader means for those who wait. */
static void note_role(struct kvapp_node *node)
{
    const struct raft_effects *effects = &node->effects;
    bool was_leader = node->role == RAFT_LEADER;
    node->role = effects->role;
    if (effects->leader != node->leader) {
        node->leader = effects->leader;
        const struct raft_member *leader = node_member(node, effects->leader);
        if (effects->leader == 0) {
            TRACE(&node->trace, TRACE_INFO, "no leader is known in term %" PRIu64, effects->term);
        } else if (leader == NULL) {
            TRACE(&node->trace, TRACE_INFO, "the leader of term %" PRIu64 " is node %" PRIu64,
                  effects->term, effects->leader);
        } else {
            TRACE(&node->trace, TRACE_INFO,
                  "the leader of term %" PRIu64 " is node %" PRIu64 " at %s", effects->term,
                  leader->id, leader->address);
        }
    }
    if (!was_leader && effects->role == RAFT_LEADER) {
        node->led_since_ms = node_now_ms(node);
    }
    if (was_leader && effects->role != RAFT_LEADER) {
        reply_lost(node);
        reads_fail(node);
    }
}

int step_event(struct kvapp_node *node, const struct raft_event *event, struct slice entries)
{
    int err = raft_step(node->raft, event, &node->effects);
    if (err != 0) {
        return err;
    }
    const struct raft_effects *effects = &node->effects;
    stage(node, event, entries);
    for (size_t i = 0; i < effects->message_count; i++) {
        links_send(node, &effects->messages[i]);
    }
    if (effects->role_changed) {
        note_role(node);
    }
    if (effects->read_tag != 0) {
        reads_release(node, effects->read_tag, effects->read_index);
        backups_release(node, effects->read_tag, effects->read_index);
    }
    if (effects->repaired) {
        storage_repaired(node->storage);
    }
    CHECK(effects->commit_index >= node->commit_index);
    node->commit_index = effects->commit_index;
    node->raft_wake_ms = effects->wake_ms;
    if (effects->membership_changed || effects->removed) {
        membership_changed(node);
    }
    return 0;
}

/* ---- events ---- */

void step_start(struct kvapp_node *node)
{
    node->raft_wake_ms = 0;
    step_time(node);
}

void step_time(struct kvapp_node *node)
{
    uint64_t now_ms = node_now_ms(node);
    if (now_ms >= node->raft_wake_ms) {
        const struct raft_event event = {.type = RAFT_TICKED, .now_ms = now_ms};
        CHECK(step_event(node, &event, slice_of(NULL, 0)) == 0);
        inbound_expire(node);
        membership_record(node);
    }
}

void step_stored(struct kvapp_node *node)
{
    if (node->stored_ticket == 0) {
        return;
    }
    const struct raft_event event = {
        .type = RAFT_STORED,
        .now_ms = node_now_ms(node),
        .ticket = node->stored_ticket,
    };
    node->reported_ticket = node->stored_ticket;
    node->stored_ticket = 0;
    CHECK(step_event(node, &event, slice_of(NULL, 0)) == 0);
}

/* The entries of an append are what its message says, each with a right checksum. Memberships
 * among them are noted. */
static int check_entries(struct kvapp_node *node, const struct raft_append_request *append,
                         struct slice entries)
{
    uint64_t index = append->prev_index;
    size_t at = 0;
    for (size_t i = 0; i < append->run_count; i++) {
        for (uint64_t n = 0; n < append->runs[i].count; n++) {
            struct entry entry;
            size_t size = 0;
            int err = entry_decode(slice_of(entries.data + at, entries.size - at), &entry, &size);
            if (err != 0) {
                return err;
            }
            index++;
            if (entry.index != index || entry.term != append->runs[i].term) {
                return KV_ERR_MALFORMED;
            }
            if (entry.kind == ENTRY_MEMBERSHIP) {
                err = membership_note_received(node, &entry);
                if (err != 0) {
                    return err;
                }
            }
            at += size;
        }
    }
    return at == entries.size ? 0 : KV_ERR_MALFORMED;
}

static int step_offer(struct kvapp_node *node, uint64_t from, struct slice payload)
{
    struct snapshot_offer offer;
    int err = snapshot_offer_decode(payload, &offer);
    if (err != 0) {
        return err;
    }
    if (offer.from != from) {
        return KV_ERR_FOREIGN;
    }
    const struct raft_message message = {
        .type = RAFT_SNAPSHOT_REQUEST,
        .from = from,
        .to = offer.to,
        .term = offer.term,
        .snapshot_request = {.index = offer.index, .term = offer.index_term},
    };
    const struct raft_event event = {
        .type = RAFT_RECEIVED,
        .now_ms = node_now_ms(node),
        .message = &message,
    };
    err = step_event(node, &event, slice_of(NULL, 0));
    if (err == 0) {
        install_offer(node, &offer, node->effects.snapshot_wanted);
    }
    return err;
}

static int step_message(struct kvapp_node *node, uint64_t from, const struct frame *frame)
{
    if (frame->type == FRAME_SNAPSHOT_OFFER) {
        return step_offer(node, from, frame->payload);
    }
    if (frame->type == FRAME_STATE_DIGEST) {
        return digest_received(node, from, frame->payload);
    }
    if (frame->type == FRAME_CLOCK) {
        return clock_received(node, from, frame->payload);
    }
    if (frame->type == FRAME_READ_INDEX_REQUEST || frame->type == FRAME_READ_INDEX_RESPONSE) {
        return read_index_frame(node, from, frame);
    }
    if (frame->type == FRAME_FORWARD_REQUEST || frame->type == FRAME_FORWARD_RESPONSE) {
        return forward_frame(node, from, frame);
    }
    struct raft_message message;
    struct slice entries = {0};
    int err = peer_message_decode(frame, &message, &entries);
    if (err != 0) {
        return err;
    }
    if (message.from != from) {
        return KV_ERR_FOREIGN;
    }
    if (message.type == RAFT_APPEND_REQUEST) {
        buf_clear(&node->received_memberships);
        err = check_entries(node, &message.append_request, entries);
        if (err != 0) {
            return err;
        }
    }
    struct raft_event event = {
        .type = RAFT_RECEIVED,
        .now_ms = node_now_ms(node),
        .message = &message,
    };
    if (message.type == RAFT_APPEND_REQUEST) {
        const struct buf *noted = &node->received_memberships;
        event.memberships = (const void *)noted->data;
        event.membership_count = noted->size / sizeof *event.memberships;
    }
    return step_event(node, &event, entries);
}

void step_inbox(struct kvapp_node *node)
{
    struct reader reader = reader_of(buf_slice(&node->inbox));
    while (reader.left > 0) {
        uint64_t from = reader_u64(&reader);
        struct frame frame = {.type = reader_u8(&reader)};
        frame.payload = reader_sized(&reader);
        CHECK(!reader.failed);
        int err = step_message(node, from, &frame);
        if (err != 0) {
            inbound_reject(node, from, kvapp_err_sentence(err));
        }
    }
    buf_clear(&node->inbox);
    buf_shrink(&node->inbox, 1024 * 1024);
}

void step_compacted(struct kvapp_node *node)
{
    /* After an install the log begins behind the older one. */
    uint64_t base = raft_base_index(node->raft);
    uint64_t oldest = storage_snapshot_oldest(node->storage);
    const struct raft_event event = {
        .type = RAFT_COMPACTED,
        .now_ms = node_now_ms(node),
        .compacted = {.snapshot_index = storage_snapshot_newest(node->storage),
                      .compacted_index = oldest > base ? oldest : base},
    };
    CHECK(step_event(node, &event, slice_of(NULL, 0)) == 0);
    storage_trim(node->storage, event.compacted.compacted_index + 1);
}

void step_installed(struct kvapp_node *node, const struct install *install)
{
    const struct storage_snapshot_meta *meta = &install->receive.meta;
    const struct raft_event event = {
        .type = RAFT_INSTALLED,
        .now_ms = node_now_ms(node),
        .installed = {.index = meta->index, .term = meta->term, .membership = &install->membership},
    };
    /* Its own time is known when the state is restored: this server may lead before. */
    clock_reach(&node->clock, io_now_us(node->io), install->offer.time_ms);
    if (step_event(node, &event, slice_of(NULL, 0)) != 0) {
        node_fail(node, KV_ERR_DAMAGED,
                  "the snapshot that was received contradicts what is known "
                  "to be committed: one of the two servers is damaged");
    }
}

void step_shipped(struct kvapp_node *node, uint64_t id, uint64_t index, bool ok)
{
    const struct raft_event event = {
        .type = RAFT_SNAPSHOT_ENDED,
        .now_ms = node_now_ms(node),
        .snapshot_ended = {.id = id, .index = index, .ok = ok},
    };
    CHECK(step_event(node, &event, slice_of(NULL, 0)) == 0);
}

int step_transfer(struct kvapp_node *node, uint64_t to)
{
    const struct raft_event event = {
        .type = RAFT_TRANSFER_ASKED,
        .now_ms = node_now_ms(node),
        .transfer_to = to,
    };
    return step_event(node, &event, slice_of(NULL, 0));
}

void step_flush(struct kvapp_node *node)
{
    if (node->staged_ticket != 0) {
        storage_flush(node->storage, node->staged_ticket);
        node->staged_ticket = 0;
    }
}
