/*
 * The newest snapshot to a member that is too far behind for the log: the file's bytes as they are
 * on the disk, on a connection of its own, so that appends and heartbeats never wait behind them.
 *
 *     RAFT_SNAPSHOT_REQUEST ──► open the file ──► connect, greet ──► offer ──► wanted from offset
 *         ──► a piece, and when it has left, the next one, no faster than the rate ──► installed
 *         ──► RAFT_SNAPSHOT_ENDED
 */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    ANSWER_US = 4 * 1000 * 1000,   /* to an offer */
    SILENCE_US = 30 * 1000 * 1000, /* without any progress the transfer is given up */
    PIECE_SIZE_MIN = 512,
    RETRY_US = 1000 * 1000, /* Raft hears of a failure so much later */
};

static struct ship *ship_of(struct link *link)
{
    return CONTAINER_OF(link, struct ship, link);
}

/* It is over; Raft hears of it in a turn (ships_step), once the connection is gone. */
static void end(struct ship *ship, bool ok, const char *why)
{
    struct kvapp_node *node = ship->link.node;
    if (ship->state == SHIP_IDLE || ship->state == SHIP_ENDED) {
        return;
    }
    ship->state = SHIP_ENDED;
    ship->ok = ok;
    ship->report_us = io_now_us(node->io) + (ok ? 0 : RETRY_US);
    io_timer_cancel(node->io, &ship->pace);
    ship->reading = false;
    storage_snapshot_source_close(node->storage, &ship->source);
    TRACE(&node->trace, TRACE_INFO, "snapshot %" PRIu64 " to node %" PRIu64 ": %s", ship->index,
          ship->link.id, why);
    link_close(&ship->link, why);
}

/* What the rate allows in an eighth of a second, within limits. */
static size_t piece_size(const struct kvapp_node *node)
{
    uint64_t size = node->options.snapshot_rate / 8;
    size = size > PIECE_SIZE_MIN ? size : PIECE_SIZE_MIN;
    return size < SNAPSHOT_PIECE_SIZE ? (size_t)size : SNAPSHOT_PIECE_SIZE;
}

static void read_piece(struct ship *ship)
{
    struct kvapp_node *node = ship->link.node;
    uint64_t left = ship->source.offer.size - ship->offset;
    if (left == 0) {
        return; /* Now the follower has to say that it is installed. */
    }
    size_t size = piece_size(node);
    ship->reading = true;
    storage_snapshot_source_read(node->storage, &ship->source, ship->offset,
                                 left < size ? (size_t)left : size);
}

/* The next piece when the rate allows it, else a timer. */
static void go_on(struct ship *ship)
{
    struct kvapp_node *node = ship->link.node;
    uint64_t sent = ship->offset - ship->first_offset;
    uint64_t due_us = ship->began_us + sent * 1000 * 1000 / node->options.snapshot_rate;
    link_expect(&ship->link, SILENCE_US);
    if (due_us <= io_now_us(node->io)) {
        read_piece(ship);
    } else {
        io_timer_set(node->io, &ship->pace, due_us);
    }
}

static void pace_due(struct io_timer *timer)
{
    read_piece(CONTAINER_OF(timer, struct ship, pace));
}

static void opened(struct ship *ship)
{
    const struct storage_snapshot_offer *offer = &ship->source.offer;
    TRACE(&ship->link.node->trace, TRACE_INFO,
          "node %" PRIu64 " is too far behind: the snapshot up to entry %" PRIu64 ", %" PRIu64
          " bytes, goes to it",
          ship->link.id, offer->index, offer->size);
    ship->state = SHIP_CONNECTING;
    link_connect(&ship->link);
}

static void source_answered(struct storage_snapshot_source *source, int err, struct slice bytes,
                            const char *sentence)
{
    struct ship *ship = CONTAINER_OF(source, struct ship, source);
    ship->reading = false;
    if (err != 0) {
        end(ship, false, sentence);
    } else if (ship->state == SHIP_OPENING) {
        opened(ship);
    } else if (ship->state == SHIP_STREAMING) {
        const struct snapshot_bytes piece = {.offset = ship->offset, .bytes = bytes};
        snapshot_bytes_encode(&piece, outbox_begin(&ship->link.outbox));
        outbox_end(&ship->link.outbox);
        outbox_flush(&ship->link.outbox);
        ship->offset += bytes.size;
    }
}

void ship_start(struct ship *ship, const struct raft_message *message, bool reachable)
{
    struct kvapp_node *node = ship->link.node;
    if (ship->state != SHIP_IDLE) {
        /* One of an earlier leadership has not ended yet: this request fails with it. */
        end(ship, false, "another one is asked for");
        ship->index = message->snapshot_request.index;
        ship->ok = false;
        return;
    }
    ship->term = message->term;
    ship->index = message->snapshot_request.index;
    if (!reachable) {
        ship->state = SHIP_ENDED;
        ship->ok = false;
        ship->report_us = io_now_us(node->io) + RETRY_US;
        return;
    }
    ship->state = SHIP_OPENING;
    ship->source = (struct storage_snapshot_source){.done = source_answered};
    storage_snapshot_source_open(node->storage, &ship->source);
}

void ship_up(struct link *link)
{
    struct ship *ship = ship_of(link);
    if (ship->state != SHIP_CONNECTING) {
        link_close(link, "it is not needed any more");
        return;
    }
    const struct snapshot_offer offer = {
        .from = link->node->config.id,
        .to = link->id,
        .term = ship->term,
        .index = ship->source.offer.index,
        .index_term = ship->source.offer.term,
        .size = ship->source.offer.size,
        .salt = ship->source.offer.salt,
        .time_ms = clock_now_ms(link->node),
    };
    ship->state = SHIP_OFFERED;
    snapshot_offer_encode(&offer, outbox_begin(&link->outbox));
    outbox_end(&link->outbox);
    outbox_flush(&link->outbox);
    link_expect(link, ANSWER_US);
}

static void begin_stream(struct ship *ship, uint64_t offset)
{
    if (offset > 0) {
        TRACE(&ship->link.node->trace, TRACE_INFO,
              "node %" PRIu64 " has the first %" PRIu64 " bytes of it already", ship->link.id,
              offset);
    }
    ship->state = SHIP_STREAMING;
    ship->first_offset = offset;
    ship->offset = offset;
    ship->began_us = io_now_us(ship->link.node->io);
    go_on(ship);
}

int ship_frame(struct link *link, const struct frame *frame)
{
    struct ship *ship = ship_of(link);
    struct snapshot_status status;
    if (frame->type != FRAME_SNAPSHOT_STATUS ||
        snapshot_status_decode(frame->payload, &status) != 0) {
        return KV_ERR_MALFORMED;
    }
    char text[300];
    switch (status.state) {
    case SNAPSHOT_WANTED:
        if (ship->state != SHIP_OFFERED || status.offset >= ship->source.offer.size) {
            return KV_ERR_MALFORMED;
        }
        begin_stream(ship, status.offset);
        break;
    case SNAPSHOT_INSTALLED:
        end(ship, true, "installed");
        break;
    case SNAPSHOT_UNWANTED:
        end(ship, false, "it is not wanted now");
        break;
    case SNAPSHOT_DAMAGED:
        snapshot_renew(link->node);
        end(ship, false, "it came damaged: a new one is taken");
        break;
    case SNAPSHOT_FAILED:
    case SNAPSHOT_STATE_COUNT:
        (void)snprintf(text, sizeof text, "%.*s", (int)status.text.size,
                       (const char *)status.text.data);
        end(ship, false, text);
        break;
    }
    return 0;
}

void ship_sent(struct link *link)
{
    struct ship *ship = ship_of(link);
    if (ship->state == SHIP_STREAMING && !ship->reading && outbox_size(&link->outbox) == 0) {
        go_on(ship);
    }
}

void ship_down(struct link *link)
{
    struct ship *ship = ship_of(link);
    end(ship, false, "the connection broke");
}

void ship_renew(struct ship *ship)
{
    end(ship, false, "the member connected anew");
}

void ship_leave(struct ship *ship)
{
    end(ship, false, "it is no member any more");
}

void ships_step(struct kvapp_node *node)
{
    for (size_t i = 0; i < node->link_count; i++) {
        struct ship *ship = &node->ships[i];
        if (ship->state != SHIP_IDLE && ship->state != SHIP_ENDED &&
            (node->role != RAFT_LEADER || raft_term(node->raft) != ship->term)) {
            end(ship, false, "this server leads no more");
        }
        if (ship->state == SHIP_ENDED && ship->link.state == LINK_DOWN &&
            ship->report_us <= io_now_us(node->io)) {
            ship->state = SHIP_IDLE;
            step_shipped(node, ship->link.id, ship->index, ship->ok);
        }
    }
}

void ship_init(struct ship *ship)
{
    io_timer_init(&ship->pace, pace_due);
}

void ships_stop(struct kvapp_node *node)
{
    for (size_t i = 0; i < node->link_count; i++) {
        end(&node->ships[i], false, "this server stops");
    }
}
