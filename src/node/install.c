/*
 * A leader's snapshot arrives, on a connection of its own: it goes to the disk piece by piece, and
 * when it is durable there Raft hears of it (paper §7, figure 13).
 *
 *     offer ──► inbox ──► raft: wanted? ──► status: wanted from here on ──► bytes ... ──► end
 *           ──► durable ──► RAFT_INSTALLED ──► the log begins anew ──► restore.c
 *
 * What was received of a transfer that breaks stays on the disk, and the next one goes on from it.
 */
#include "node/node.h"

#include "wire/membership.h"

#include <inttypes.h>

static void say(struct inbound *inbound, enum snapshot_state state, uint64_t offset,
                const char *text)
{
    if (inbound->closing) {
        return;
    }
    const struct snapshot_status status = {
        .state = state, .offset = offset, .text = slice_of_string(text)};
    snapshot_status_encode(&status, outbox_begin(&inbound->outbox));
    outbox_end(&inbound->outbox);
    outbox_flush(&inbound->outbox);
}

static void end_with(struct install *install, enum snapshot_state state, const char *text)
{
    struct inbound *inbound = install->inbound;
    install->inbound = NULL;
    install->state = INSTALL_IDLE;
    if (inbound != NULL) {
        say(inbound, state, 0, text);
    }
}

static void answered(struct storage_receive *receive, int err, const char *sentence)
{
    struct install *install = CONTAINER_OF(receive, struct install, receive);
    struct kvapp_node *node = CONTAINER_OF(install, struct kvapp_node, install);
    if (err != 0) {
        end_with(install, err == KV_ERR_DAMAGED ? SNAPSHOT_DAMAGED : SNAPSHOT_FAILED, sentence);
        if (err == KV_ERR_IO) {
            node_fail(node, err, sentence);
        } else if (err != KV_ERR_STOPPED) {
            TRACE(&node->trace, TRACE_WARN, "a snapshot was not received: %s", sentence);
        }
        return;
    }
    if (install->state == INSTALL_ENDING) {
        install->state = INSTALL_DURABLE;
        err = membership_decode(receive->meta.membership, &install->membership);
        if (err != 0) {
            node_fail(node, err, "the membership in a snapshot that was received cannot be read");
        }
        return;
    }
    bool begins = install->state == INSTALL_BEGINNING;
    install->state = INSTALL_RECEIVING;
    if (receive->offset == install->offer.size) {
        install->state = INSTALL_ENDING;
        storage_receive_end(node->storage);
    } else if (begins && install->inbound != NULL) {
        say(install->inbound, SNAPSHOT_WANTED, receive->offset, "");
    }
}

static struct inbound *find_inbound(struct kvapp_node *node, uint64_t from)
{
    for (struct list *at = node->inbound.next; at != &node->inbound; at = at->next) {
        struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        if (inbound->from == from && inbound->purpose == PEER_SNAPSHOT && !inbound->closing) {
            return inbound;
        }
    }
    return NULL;
}

void install_offer(struct kvapp_node *node, const struct snapshot_offer *offer, bool wanted)
{
    struct install *install = &node->install;
    struct inbound *inbound = find_inbound(node, offer->from);
    if (inbound == NULL) {
        return;
    }
    if (!wanted) {
        say(inbound, SNAPSHOT_UNWANTED, 0, "");
        return;
    }
    if (install->state == INSTALL_ENDING || install->state == INSTALL_DURABLE ||
        node->snapshot.state == SNAPSHOT_COMMITTING || node->restore.kv != NULL) {
        say(inbound, SNAPSHOT_FAILED, 0, "another snapshot is just being finished");
        return;
    }
    snapshot_stop(node); /* One of the own, older state is of no use any more. */
    if (install->state != INSTALL_IDLE) {
        storage_receive_abandon(node->storage);
        end_with(install, SNAPSHOT_FAILED, "another leader sends a snapshot");
    }
    *install = (struct install){
        .state = INSTALL_BEGINNING,
        .inbound = inbound,
        .offer = *offer,
        .receive.done = answered,
    };
    TRACE(&node->trace, TRACE_INFO,
          "node %" PRIu64 " sends a snapshot up to entry %" PRIu64 ", %" PRIu64 " bytes",
          offer->from, offer->index, offer->size);
    const struct storage_snapshot_offer wanted_file = {
        .index = offer->index,
        .term = offer->index_term,
        .size = offer->size,
        .salt = offer->salt,
    };
    storage_receive_begin(node->storage, &install->receive, &wanted_file);
}

int install_frame(struct inbound *inbound, const struct frame *frame)
{
    struct kvapp_node *node = inbound->node;
    struct install *install = &node->install;
    if (frame->type != FRAME_SNAPSHOT_BYTES || install->inbound != inbound) {
        return KV_ERR_MALFORMED;
    }
    if (install->state == INSTALL_WRITING) {
        return INTAKE_LATER;
    }
    struct snapshot_bytes piece;
    int err = snapshot_bytes_decode(frame->payload, &piece);
    if (err != 0) {
        return err;
    }
    if (install->state != INSTALL_RECEIVING || piece.offset != install->receive.offset ||
        piece.bytes.size > SNAPSHOT_PIECE_SIZE) {
        return KV_ERR_MALFORMED;
    }
    install->state = INSTALL_WRITING;
    storage_receive_bytes(node->storage, piece.offset, piece.bytes);
    return INTAKE_PAUSE;
}

bool install_is_busy(const struct kvapp_node *node, const struct inbound *inbound)
{
    return node->install.inbound == inbound && node->install.state != INSTALL_RECEIVING;
}

void install_step(struct kvapp_node *node)
{
    struct install *install = &node->install;
    if (install->state == INSTALL_DURABLE) {
        step_installed(node, install);
        end_with(install, SNAPSHOT_INSTALLED, "");
    }
}

void install_lost(struct kvapp_node *node, const struct inbound *inbound)
{
    if (node->install.inbound == inbound) {
        install_stop(node);
    }
}

void install_stop(struct kvapp_node *node)
{
    struct install *install = &node->install;
    install->inbound = NULL;
    if (install->state != INSTALL_IDLE && install->state != INSTALL_ENDING &&
        install->state != INSTALL_DURABLE) {
        storage_receive_abandon(node->storage);
        install->state = INSTALL_IDLE;
    }
}
