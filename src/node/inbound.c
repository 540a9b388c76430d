/*
 * Connections from other members: a greeting, then Raft's messages into the node's inbox, where
 * they wait for the turn. A stranger, another cluster's server or a broken frame is shown out.
 */
#include "node/node.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    INBOUND_MAX = 64,
    GREETING_US = 10 * 1000 * 1000,
    SNAPSHOT_SILENCE_US = 4 * 1000 * 1000, /* pieces come several times a second */
    SILENT_ELECTIONS = 4,
};

static void close_done(struct io_close *close)
{
    struct inbound *inbound = CONTAINER_OF(close, struct inbound, close);
    install_lost(inbound->node, inbound);
    inbound->node->links_stale = true;
    inbound->node->inbound_count--;
    list_remove(&inbound->link);
    intake_done(&inbound->intake);
    outbox_done(&inbound->outbox);
    free(inbound);
}

static void start_close(struct inbound *inbound)
{
    if (!inbound->closing) {
        inbound->closing = true;
        if (inbound->from != 0 && inbound->purpose == PEER_MESSAGES) {
            forward_lost(inbound->node, inbound->from);
        }
        io_timer_cancel(inbound->node->io, &inbound->deadline);
        io_stream_close(inbound->node->io, inbound->stream, &inbound->close);
    }
}

static void deadline_due(struct io_timer *timer)
{
    struct inbound *inbound = CONTAINER_OF(timer, struct inbound, deadline);
    struct io *io = inbound->node->io;
    if (install_is_busy(inbound->node, inbound)) {
        io_timer_set(io, timer, io_now_us(io) + SNAPSHOT_SILENCE_US);
    } else {
        start_close(inbound);
    }
}

static void sent(struct outbox *outbox, int64_t error)
{
    struct inbound *inbound = CONTAINER_OF(outbox, struct inbound, outbox);
    if (error != 0 || inbound->from == 0) {
        start_close(inbound); /* It broke, or the refusal has been said. */
    }
}

/* One that says it is a member must be the one that is known. */
static int judge_member(const struct kvapp_node *node, const struct peer_hello *hello, char *text,
                        size_t text_size)
{
    if (membership_is_removed(node, hello->from, hello->membership_index)) {
        (void)snprintf(text, text_size,
                       "node %" PRIu64 " was removed from the cluster by entry %" PRIu64,
                       hello->from, raft_membership(node->raft)->index);
        return KV_ERR_REMOVED;
    }
    const struct raft_member *member = node_member(node, hello->from);
    if (member != NULL && member->incarnation != 0 && member->incarnation != hello->incarnation) {
        (void)snprintf(text, text_size,
                       "node %" PRIu64
                       " has another data directory than the cluster knows of it: was its disk "
                       "wiped or replaced? What it acknowledged is lost there; replace it by a "
                       "server with a new id (member replace) that starts with --join",
                       hello->from);
        return KV_ERR_FOREIGN;
    }
    return 0;
}

/*
 * A leader knows what a member has acknowledged to it, and what of that is committed: no member
 * ever goes back behind it, unless it knows of the loss. Other servers know of no promises, and
 * have nothing to compare with.
 */
static int judge_age(const struct kvapp_node *node, const struct peer_hello *hello, char *text,
                     size_t text_size)
{
    uint64_t match = raft_match_index(node->raft, hello->from);
    if (match == 0 || hello->purpose != PEER_MESSAGES || hello->term > raft_term(node->raft)) {
        return 0;
    }
    uint64_t kept = match < node->commit_index ? match : node->commit_index;
    bool is_whole = hello->lost || hello->last_index >= kept;
    if (hello->term == raft_term(node->raft) && is_whole) {
        return 0;
    }
    (void)snprintf(text, text_size,
                   "node %" PRIu64 " comes back in term %" PRIu64 " with a log up to entry %" PRIu64
                   ", but has acknowledged entry %" PRIu64 " in term %" PRIu64
                   ": its data directory is an older copy. Replace it by a server with a new id "
                   "(member replace) that starts with --join",
                   hello->from, hello->term, hello->last_index, match, raft_term(node->raft));
    return KV_ERR_OUTDATED;
}

/* What is wrong with a greeting; 0: nothing. */
static int judge(const struct kvapp_node *node, const struct peer_hello *hello, char *text,
                 size_t text_size)
{
    if (hello->protocol_min > PEER_PROTOCOL_MAX || hello->protocol_max < PEER_PROTOCOL_MIN) {
        (void)snprintf(text, text_size, "this server speaks peer protocol %d to %d, not %u to %u",
                       PEER_PROTOCOL_MIN, PEER_PROTOCOL_MAX, hello->protocol_min,
                       hello->protocol_max);
        return KV_ERR_VERSION;
    }
    if (hello->purpose == PEER_JOIN) {
        return 0;
    }
    if (hello->cluster_id != node->cluster_id) {
        (void)snprintf(text, text_size,
                       "this server belongs to cluster %016" PRIx64 ", not %016" PRIx64
                       ": do the lists of members differ?",
                       node->cluster_id, hello->cluster_id);
        return KV_ERR_FOREIGN;
    }
    if (hello->to != node->config.id || hello->from == node->config.id) {
        (void)snprintf(text, text_size,
                       "node %" PRIu64 " greeted node %" PRIu64 ", but this is node %" PRIu64,
                       hello->from, hello->to, node->config.id);
        return KV_ERR_FOREIGN;
    }
    int err = judge_member(node, hello, text, text_size);
    return err != 0 ? err : judge_age(node, hello, text, text_size);
}

/* A member that connects again has lost its old connection, even if we have not noticed. */
static void close_older(struct kvapp_node *node, uint64_t from, enum peer_purpose purpose)
{
    struct list *at = node->inbound.next;
    while (at != &node->inbound) {
        struct inbound *older = CONTAINER_OF(at, struct inbound, link);
        at = at->next;
        if (older->from == from && older->purpose == purpose) {
            start_close(older);
        }
    }
}

/* NULL: the server was not refused, or that was long ago. */
static struct refusal *refusal_of(struct kvapp_node *node, uint64_t from)
{
    for (size_t i = 0; i < MEMBERS_MAX; i++) {
        if (node->refusals[i].from == from) {
            return &node->refusals[i];
        }
    }
    return NULL;
}

/* Once, not as often as it tries. */
static void report_refused(struct kvapp_node *node, uint64_t from, int verdict, const char *text)
{
    struct refusal *refusal = refusal_of(node, from);
    if (refusal != NULL && refusal->verdict == verdict) {
        return;
    }
    if (refusal == NULL) {
        refusal = &node->refusals[node->refusal_next];
        node->refusal_next = (node->refusal_next + 1) % MEMBERS_MAX;
    }
    *refusal = (struct refusal){from, verdict};
    TRACE(&node->trace, TRACE_WARN, "a server was refused: %s", text);
}

static void forget_refused(struct kvapp_node *node, uint64_t from)
{
    struct refusal *refusal = refusal_of(node, from);
    if (refusal != NULL) {
        *refusal = (struct refusal){0};
    }
}

void inbound_judge(struct kvapp_node *node)
{
    for (struct list *at = node->inbound.next; at != &node->inbound; at = at->next) {
        struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        const struct peer_hello said = {
            .from = inbound->from,
            .incarnation = inbound->incarnation,
            .membership_index = inbound->membership_index,
        };
        char text[400];
        if (inbound->from != 0 && !inbound->closing &&
            judge_member(node, &said, text, sizeof text) != 0) {
            TRACE(&node->trace, TRACE_WARN, "a server is not listened to any more: %s", text);
            start_close(inbound);
        }
    }
}

static int take_hello(struct inbound *inbound, const struct frame *frame)
{
    struct kvapp_node *node = inbound->node;
    struct peer_hello hello;
    if (frame->type != FRAME_PEER_HELLO) {
        return KV_ERR_MALFORMED;
    }
    int err = peer_hello_decode(frame->payload, &hello);
    if (err != 0) {
        return err;
    }
    if (node->raft == NULL) {
        return INTAKE_LATER; /* Nothing is known yet. */
    }
    char text[400] = "";
    const int verdict = judge(node, &hello, text, sizeof text);
    const struct peer_welcome welcome = {
        .status = verdict,
        .protocol = verdict == 0 ? PEER_PROTOCOL_MAX : 0,
        .cluster_id = node->cluster_id,
        .id = node->config.id,
        .text = slice_of_string(text),
    };
    peer_welcome_encode(&welcome, outbox_begin(&inbound->outbox));
    outbox_end(&inbound->outbox);
    outbox_flush(&inbound->outbox);
    inbound->greeted = true;
    if (verdict == 0) {
        forget_refused(node, hello.from);
    } else if (verdict != KV_ERR_OUTDATED || !inbound_is_connected(node, hello.from)) {
        /* Else it came late: who sent it is here by now, and has more. */
        report_refused(node, hello.from, verdict, text);
    }
    if (verdict != 0) {
        io_receive_pause(node->io, inbound->stream);
        inbound->paused = true;
        return INTAKE_PAUSE;
    }
    if (hello.purpose == PEER_JOIN) {
        return 0; /* That was all, and the greeting's deadline ends it. */
    }
    close_older(node, hello.from, hello.purpose);
    inbound->from = hello.from;
    inbound->incarnation = hello.incarnation;
    inbound->membership_index = hello.membership_index;
    inbound->purpose = hello.purpose;
    inbound->priority = hello.priority;
    if (hello.purpose == PEER_MESSAGES) {
        io_timer_cancel(node->io, &inbound->deadline);
        char address[ADDRESS_SIZE_MAX];
        (void)snprintf(address, sizeof address, "%.*s", (int)hello.address.size,
                       (const char *)hello.address.data);
        links_greeted(node, &hello, address);
    }
    return 0;
}

/* What a member may send on the connection for messages, once it has greeted. */
static bool is_message(uint8_t type)
{
    return type <= RAFT_APPEND_RESPONSE || type == RAFT_TIMEOUT_NOW || type == FRAME_STATE_DIGEST ||
           type == FRAME_READ_INDEX_REQUEST || type == FRAME_READ_INDEX_RESPONSE ||
           type == FRAME_FORWARD_REQUEST || type == FRAME_FORWARD_RESPONSE || type == FRAME_CLOCK;
}

static int take_frame(void *context, const struct frame *frame)
{
    struct inbound *inbound = context;
    struct kvapp_node *node = inbound->node;
    if (inbound->from == 0) {
        return take_hello(inbound, frame);
    }
    if (inbound->purpose == PEER_SNAPSHOT) {
        io_timer_set(node->io, &inbound->deadline, io_now_us(node->io) + SNAPSHOT_SILENCE_US);
        if (frame->type != FRAME_SNAPSHOT_OFFER) {
            return install_frame(inbound, frame);
        }
    } else if (!is_message(frame->type)) {
        return KV_ERR_MALFORMED;
    }
    if (node->inbox.size > INBOX_MAX) {
        return INTAKE_LATER;
    }
    buf_put_u64(&node->inbox, inbound->from);
    buf_put_u8(&node->inbox, frame->type);
    buf_put_sized(&node->inbox, frame->payload);
    return 0;
}

static void take_bytes(struct inbound *inbound, struct slice bytes)
{
    int result = intake_feed(&inbound->intake, bytes, take_frame, inbound);
    if (result < 0) {
        char peer[ADDRESS_SIZE_MAX];
        io_stream_peer(inbound->stream, peer);
        TRACE(&inbound->node->trace, TRACE_WARN,
              "the connection of %s to the raft port is closed: %s", peer,
              kvapp_err_sentence(result));
        start_close(inbound);
    } else if (result == INTAKE_PAUSE && !inbound->paused) {
        inbound->paused = true;
        io_receive_pause(inbound->node->io, inbound->stream);
    }
}

static void received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct inbound *inbound = CONTAINER_OF(receive, struct inbound, receive);
    if (inbound->closing) {
        return;
    }
    if (result < 0 || bytes.size == 0) {
        start_close(inbound);
    } else {
        inbound->heard_us = io_now_us(inbound->node->io);
        take_bytes(inbound, bytes);
    }
}

void inbound_resume(struct kvapp_node *node)
{
    for (struct list *at = node->inbound.next; at != &node->inbound; at = at->next) {
        struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        if (inbound->paused && !inbound->closing && (inbound->from != 0 || !inbound->greeted) &&
            !install_is_busy(node, inbound)) {
            inbound->paused = false;
            take_bytes(inbound, slice_of(NULL, 0));
            node->more_work = true;
            if (!inbound->paused && !inbound->closing) {
                io_receive_start(node->io, inbound->stream, &inbound->receive);
            }
        }
    }
}

static void accepted(struct io_accept *accept, struct io_stream *stream, int64_t error)
{
    struct kvapp_node *node = CONTAINER_OF(accept, struct kvapp_node, raft_accept);
    if (stream == NULL) {
        TRACE(&node->trace, TRACE_WARN, "a member could not be accepted: %s",
              io_error_sentence(error));
        return;
    }
    if (node->inbound_count >= INBOUND_MAX) {
        io_stream_close(node->io, stream, NULL);
        return;
    }
    struct inbound *inbound = memory_new(1, sizeof *inbound);
    inbound->node = node;
    inbound->stream = stream;
    inbound->heard_us = io_now_us(node->io);
    inbound->receive.done = received;
    inbound->close.done = close_done;
    list_init(&inbound->link);
    outbox_init(&inbound->outbox, node->io, 0, sent);
    inbound->outbox.stream = stream;
    io_timer_init(&inbound->deadline, deadline_due);
    uint64_t delay_us = (uint64_t)node->config.timing.network_delay_ms * 4000;
    io_timer_set(node->io, &inbound->deadline, io_now_us(node->io) + GREETING_US + delay_us);
    list_push(&node->inbound, &inbound->link);
    node->inbound_count++;
    io_receive_start(node->io, stream, &inbound->receive);
}

int inbound_listen(struct kvapp_node *node, const struct io_address *address)
{
    node->raft_accept.done = accepted;
    return io_listen(node->io, address, &node->raft_accept, &node->raft_listener);
}

const struct inbound *inbound_of(const struct kvapp_node *node, uint64_t from)
{
    for (const struct list *at = node->inbound.next; at != &node->inbound; at = at->next) {
        const struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        if (inbound->from == from && inbound->purpose == PEER_MESSAGES && !inbound->closing) {
            return inbound;
        }
    }
    return NULL;
}

bool inbound_is_connected(const struct kvapp_node *node, uint64_t from)
{
    return inbound_of(node, from) != NULL;
}

uint64_t inbound_incarnation(const struct kvapp_node *node, uint64_t from)
{
    const struct inbound *inbound = inbound_of(node, from);
    return inbound == NULL ? 0 : inbound->incarnation;
}

void inbound_renew(struct kvapp_node *node, uint64_t from)
{
    close_older(node, from, PEER_MESSAGES);
}

void inbound_reject(struct kvapp_node *node, uint64_t from, const char *why)
{
    TRACE(&node->trace, TRACE_WARN, "a message of node %" PRIu64 " was refused: %s", from, why);
    close_older(node, from, PEER_MESSAGES);
}

/*
 * A server that leads or campaigns asks everybody and expects answers. A connection on which none
 * came for several elections is closed, so that the member makes a new one: after an outage TCP
 * waits before it sends again, up to as long as the outage was. So does a follower without a leader
 * that may not campaign: others may have closed what it holds for connections, and perhaps it was
 * removed meanwhile, so that nobody will tell it but when it asks.
 */
void inbound_expire(struct kvapp_node *node)
{
    if (node->role == RAFT_FOLLOWER && node->leader != 0) {
        return;
    }
    uint64_t longest_us = SILENT_ELECTIONS * 1000 * (uint64_t)node->config.timing.election_max_ms;
    struct list *at = node->inbound.next;
    while (at != &node->inbound) {
        struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        at = at->next;
        if (inbound->from != 0 && inbound->purpose == PEER_MESSAGES && !inbound->paused &&
            !inbound->closing && io_now_us(node->io) - inbound->heard_us > longest_us) {
            TRACE(&node->trace, TRACE_INFO,
                  "node %" PRIu64
                  " has been silent for %d election timeouts: it shall connect anew",
                  inbound->from, (int)SILENT_ELECTIONS);
            start_close(inbound);
        }
    }
    links_renew(node, longest_us);
}

void inbound_stop(struct kvapp_node *node)
{
    struct list *at = node->inbound.next;
    while (at != &node->inbound) {
        struct inbound *inbound = CONTAINER_OF(at, struct inbound, link);
        at = at->next;
        start_close(inbound);
    }
}
