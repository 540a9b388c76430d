/*
 * The ways to the other members: one connection each, kept open, on which this server sends.
 *
 *              retry timer              connected             welcomed
 *     DOWN ─────────────────► CONNECTING ─────────► GREETING ─────────► UP
 *      ▲                          │                    │                │
 *      └──────── back-off ◄───────┴──── CLOSING ◄──────┴────────────────┘
 *
 * What is sent to a member that is not UP is dropped: Raft sends again.
 *
 * There is a link to every member, and to whoever else connects here: a server that knows of no
 * membership yet, or of an old one, answers the leader all the same. For the same reason a member
 * is looked for by turns where the membership has it and where it said that it is: it may have
 * moved when that was never committed, or the other way round, and be needed to elect a leader.
 *
 * A snapshot takes the same way to a connection of its own, once: see ship.c.
 */
#include "node/node.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    BACKOFF_MIN_US = 20 * 1000,
    BACKOFF_MAX_US = 1000 * 1000,
    GREETING_US = 5 * 1000 * 1000,
    LINK_OUT_MAX = 32 * 1024 * 1024, /* bytes a member has not taken: above, messages are dropped */
    LEAVING_US = 500 * 1000,         /* time for the last messages to who left */
};

/* The connection is gone, or could not be made: try again later, doubling the wait. */
static void back_off(struct link *link)
{
    struct kvapp_node *node = link->node;
    link->state = LINK_DOWN;
    if (link->purpose == PEER_SNAPSHOT) {
        ship_down(link);
        return;
    }
    if (node->state == NODE_CLOSING || node->state == NODE_ENDED || link->leaving) {
        return;
    }
    io_timer_set(node->io, &link->retry, io_now_us(node->io) + link->backoff_us);
    link->backoff_us *= 2;
    if (link->backoff_us > BACKOFF_MAX_US) {
        link->backoff_us = BACKOFF_MAX_US;
    }
}

static void close_done(struct io_close *close)
{
    struct link *link = CONTAINER_OF(close, struct link, close);
    link->stream = NULL;
    outbox_drop(&link->outbox);
    intake_done(&link->intake);
    back_off(link);
}

static void report_down(struct link *link, const char *why)
{
    if (!link->reported_down) {
        link->reported_down = true;
        TRACE(&link->node->trace, TRACE_INFO, "no way to node %" PRIu64 " at %s: %s", link->id,
              link->address, why);
    }
}

void link_close(struct link *link, const char *why)
{
    if (link->state == LINK_CONNECTING) {
        io_connect_cancel(link->node->io, &link->connect);
    }
    if (link->state == LINK_CLOSING || link->stream == NULL) {
        return;
    }
    report_down(link, why);
    if (link->purpose == PEER_MESSAGES) {
        forward_lost(link->node, link->id);
    }
    io_timer_cancel(link->node->io, &link->retry);
    feed_drop(link);
    outbox_drop(&link->outbox);
    link->outbox.stream = NULL; /* What is still read from the disk for it goes nowhere. */
    link->state = LINK_CLOSING;
    io_stream_close(link->node->io, link->stream, &link->close);
}

static int take_frame(void *context, const struct frame *frame)
{
    struct link *link = context;
    struct kvapp_node *node = link->node;
    if (link->state == LINK_UP && link->purpose == PEER_SNAPSHOT) {
        return ship_frame(link, frame);
    }
    if (link->state != LINK_GREETING || frame->type != FRAME_PEER_WELCOME) {
        return KV_ERR_MALFORMED;
    }
    struct peer_welcome welcome;
    int err = peer_welcome_decode(frame->payload, &welcome);
    if (err != 0) {
        return err;
    }
    if (welcome.status != 0) {
        if (!link->reported_down) {
            link->reported_down = true;
            TRACE(&node->trace, TRACE_WARN, "the server at %s refused this one: %.*s",
                  link->address, (int)welcome.text.size, (const char *)welcome.text.data);
        }
        node->removed = node->removed || welcome.status == KV_ERR_REMOVED;
        if (welcome.status == KV_ERR_OUTDATED && node->stopped_err == 0) {
            node->stopped_err = KV_ERR_OUTDATED;
            int text_size = welcome.text.size > 256 ? 256 : (int)welcome.text.size;
            (void)snprintf(node->stopped_by, sizeof node->stopped_by, "%.200s: %.*s",
                           node->config.data_dir, text_size, (const char *)welcome.text.data);
        }
        return welcome.status;
    }
    if (link->purpose == PEER_JOIN) {
        io_timer_cancel(node->io, &link->retry);
        join_welcomed(node, &welcome);
        return 0;
    }
    if (welcome.cluster_id != node->cluster_id || welcome.id != link->id) {
        return KV_ERR_FOREIGN;
    }
    io_timer_cancel(node->io, &link->retry);
    link->state = LINK_UP;
    link->since_us = io_now_us(node->io);
    link->backoff_us = BACKOFF_MIN_US;
    link->reported_down = false;
    if (link->purpose == PEER_SNAPSHOT) {
        ship_up(link);
        return 0;
    }
    TRACE(&node->trace, TRACE_INFO, "connected to node %" PRIu64 " at %s", link->id, link->address);
    struct ship *ship = &node->ships[link - node->links];
    memcpy(ship->link.listed, link->address, sizeof link->address);
    ship_renew(ship);
    return 0;
}

static void received(struct io_receive *receive, struct slice bytes, int64_t result)
{
    struct link *link = CONTAINER_OF(receive, struct link, receive);
    if (link->state == LINK_CLOSING) {
        return;
    }
    if (result < 0) {
        link_close(link, io_error_sentence(result));
    } else if (bytes.size == 0) {
        link_close(link, "it closed the connection");
    } else {
        int err = intake_feed(&link->intake, bytes, take_frame, link);
        if (err < 0) {
            link_close(link, kvapp_err_sentence(err));
        }
    }
}

static void sent(struct outbox *outbox, int64_t error)
{
    struct link *link = CONTAINER_OF(outbox, struct link, outbox);
    if (error != 0) {
        link_close(link, io_error_sentence(error));
    } else if (link->purpose == PEER_SNAPSHOT && link->state == LINK_UP) {
        ship_sent(link);
    }
}

static void greet(struct link *link)
{
    const struct kvapp_node *node = link->node;
    bool joins = link->purpose == PEER_JOIN;
    const struct peer_hello hello = {
        .protocol_min = PEER_PROTOCOL_MIN,
        .protocol_max = PEER_PROTOCOL_MAX,
        .purpose = link->purpose,
        .cluster_id = joins ? 0 : node->cluster_id,
        .from = node->config.id,
        .to = joins ? 0 : link->id,
        .incarnation = node->incarnation,
        .membership_index = node->own_membership_index,
        .priority = node->options.priority,
        .unheard = !inbound_is_connected(node, link->id),
        .lost = !joins && raft_is_repairing(node->raft),
        .term = joins ? 0 : raft_term(node->raft),
        .last_index = joins ? 0 : raft_last_index(node->raft),
        .address = slice_of_string(node->config.address),
    };
    peer_hello_encode(&hello, outbox_begin(&link->outbox));
    outbox_end(&link->outbox);
}

static void connected(struct io_connect *connect, struct io_stream *stream, int64_t result)
{
    struct link *link = CONTAINER_OF(connect, struct link, connect);
    struct kvapp_node *node = link->node;
    io_timer_cancel(node->io, &link->retry);
    if (stream == NULL) {
        report_down(link, io_error_sentence(result));
        back_off(link);
        return;
    }
    link->stream = stream;
    if (node->state == NODE_CLOSING) {
        link_close(link, "this server stops");
        return;
    }
    link->outbox.stream = stream;
    link->state = LINK_GREETING;
    link->since_us = io_now_us(node->io);
    uint64_t paces_us =
        4000 * ((uint64_t)node->config.timing.network_delay_ms + node->config.timing.event_loop_ms);
    io_timer_set(node->io, &link->retry, io_now_us(node->io) + GREETING_US + paces_us);
    io_receive_start(node->io, stream, &link->receive);
    greet(link);
}

/* One timer, by state: time to connect, or what is expected has not come in time. */
static void timer_due(struct io_timer *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, retry);
    switch (link->state) {
    case LINK_DOWN:
        link_connect(link);
        break;
    case LINK_CONNECTING:
        io_connect_cancel(link->node->io, &link->connect);
        break;
    case LINK_UP:
        link_close(link, link->leaving ? "it is no member any more" : "it is silent");
        break;
    default:
        link_close(link, "it did not answer the greeting");
        break;
    }
}

void link_connect(struct link *link)
{
    struct kvapp_node *node = link->node;
    bool elsewhere = link->told[0] != '\0' && strcmp(link->address, link->listed) == 0;
    memcpy(link->address, elsewhere ? link->told : link->listed, sizeof link->address);
    struct io_address address;
    if (io_resolve(node->io, link->address, &address) != 0) {
        report_down(link, "its host name does not resolve");
        back_off(link);
        return;
    }
    link->state = LINK_CONNECTING;
    link->since_us = io_now_us(node->io);
    io_timer_set(node->io, &link->retry, io_now_us(node->io) + GREETING_US);
    io_connect_start(node->io, &link->connect, &address);
}

void link_expect(struct link *link, uint64_t us)
{
    io_timer_set(link->node->io, &link->retry, io_now_us(link->node->io) + us);
}

void link_init(struct link *link, struct kvapp_node *node, uint64_t id, const char *address,
               enum peer_purpose purpose)
{
    *link = (struct link){
        .node = node,
        .id = id,
        .purpose = purpose,
        .backoff_us = BACKOFF_MIN_US,
        .connect.done = connected,
        .receive.done = received,
        .close.done = close_done,
    };
    (void)snprintf(link->listed, sizeof link->listed, "%s", address);
    memcpy(link->address, link->listed, sizeof link->address);
    io_timer_init(&link->retry, timer_due);
    outbox_init(&link->outbox, node->io, (uint64_t)node->config.timing.network_delay_ms * 1000,
                sent);
}

static void link_done(struct link *link)
{
    io_timer_cancel(link->node->io, &link->retry);
    feed_done(link);
    intake_done(&link->intake);
    outbox_done(&link->outbox);
}

/* ---- one for each member ---- */

static size_t find(const struct kvapp_node *node, uint64_t id)
{
    size_t i = 0;
    while (i < node->link_count && node->links[i].id != id) {
        i++;
    }
    return i;
}

static void add(struct kvapp_node *node, uint64_t id, const char *address)
{
    size_t number = find(node, 0);
    if (number == LINKS_MAX) {
        return; /* Until one of those that are leaving is closed. */
    }
    node->link_count = number == node->link_count ? number + 1 : node->link_count;
    struct link *link = &node->links[number];
    struct ship *ship = &node->ships[number];
    *ship = (struct ship){.state = SHIP_IDLE};
    link_init(link, node, id, address, PEER_MESSAGES);
    feed_init(link);
    link_init(&ship->link, node, id, address, PEER_SNAPSHOT);
    ship_init(ship);
    link_connect(link);
}

static void free_place(struct kvapp_node *node, size_t number)
{
    io_timer_cancel(node->io, &node->ships[number].pace);
    link_done(&node->links[number]);
    link_done(&node->ships[number].link);
    node->links[number].id = 0;
    node->ships[number].link.id = 0;
}

static bool is_closed(const struct kvapp_node *node, size_t number)
{
    const struct link *link = &node->links[number];
    return link->state == LINK_DOWN && !link->reading &&
           node->ships[number].link.state == LINK_DOWN;
}

/* Whoever is a member, or connected, has one; a membership that is not committed removes nobody. */
static bool is_wanted(const struct kvapp_node *node, uint64_t id)
{
    return node_member(node, id) != NULL || inbound_is_connected(node, id) ||
           raft_membership(node->raft)->index > node->commit_index;
}

static void leave(struct kvapp_node *node, size_t number)
{
    struct link *link = &node->links[number];
    if (!link->leaving) {
        link->leaving = true;
        link->reported_down = true;
        TRACE(&node->trace, TRACE_INFO, "no link to node %" PRIu64 " any more", link->id);
        ship_leave(&node->ships[number]);
        if (link->state == LINK_UP) {
            link_expect(link, LEAVING_US);
        } else {
            io_timer_cancel(node->io, &link->retry);
            link_close(link, "it is no member any more");
        }
    }
    if (is_closed(node, number) && node->ships[number].state == SHIP_IDLE) {
        free_place(node, number);
    } else {
        node->links_stale = true; /* It is looked at again. */
    }
}

/* It has moved: the next connection goes to its new address. */
static void readdress(struct link *link, const char *address)
{
    if (strcmp(link->listed, address) == 0) {
        return;
    }
    TRACE(&link->node->trace, TRACE_INFO, "node %" PRIu64 " moves from %s to %s", link->id,
          link->listed, address);
    (void)snprintf(link->listed, sizeof link->listed, "%s", address);
    link->told[0] = '\0';
    if (strcmp(link->address, address) == 0) {
        return; /* It was found there. */
    }
    link->backoff_us = BACKOFF_MIN_US;
    link->reported_down = false;
    if (link->state == LINK_DOWN && io_timer_is_set(&link->retry)) {
        io_timer_set(link->node->io, &link->retry, io_now_us(link->node->io));
    }
    link_close(link, "it has moved");
}

void links_follow(struct kvapp_node *node)
{
    if (!node->links_stale || node->state == NODE_CLOSING) {
        return;
    }
    node->links_stale = false;
    inbound_judge(node);
    for (size_t i = 0; i < node->link_count; i++) {
        const struct link *link = &node->links[i];
        if (link->id != 0 && (link->leaving || !is_wanted(node, link->id))) {
            leave(node, i);
        }
    }
    const struct raft_membership *membership = &raft_membership(node->raft)->membership;
    for (size_t i = 0; i < membership->count; i++) {
        const struct raft_member *member = &membership->members[i];
        size_t number = find(node, member->id);
        if (member->id == node->config.id) {
            continue;
        }
        if (number == node->link_count) {
            add(node, member->id, member->address);
        } else if (!node->links[number].leaving) {
            readdress(&node->links[number], member->address);
        }
    }
}

/* It has had time to be heard there: that it is not means that something was lost. */
static bool is_overdue(const struct link *link, uint64_t us)
{
    bool tries = link->state == LINK_CONNECTING || link->state == LINK_GREETING;
    return (tries || link->state == LINK_UP) && io_now_us(link->node->io) - link->since_us > us;
}

void links_greeted(struct kvapp_node *node, const struct peer_hello *hello, const char *address)
{
    if (find(node, hello->from) == node->link_count) {
        const struct raft_member *member = node_member(node, hello->from);
        add(node, hello->from, member == NULL ? address : member->address);
    }
    size_t number = find(node, hello->from);
    if (number == node->link_count) {
        return; /* There was no place for it. */
    }
    struct link *link = &node->links[number];
    bool elsewhere = strcmp(link->listed, address) != 0;
    (void)snprintf(link->told, sizeof link->told, "%s", elsewhere ? address : "");
    uint64_t now_us = io_now_us(node->io);
    uint64_t crossing_us = 1000 * (uint64_t)node->config.timing.election_min_ms;
    if (link->state == LINK_DOWN && io_timer_is_set(&link->retry)) {
        link->backoff_us = BACKOFF_MIN_US;
        io_timer_set(node->io, &link->retry, now_us);
    } else if (hello->unheard && is_overdue(link, crossing_us)) {
        link_close(link, "it knows of no connection from here");
    }
    /* It lost its connections: perhaps that of a snapshot too, and its word that it has it all. The
     * next one goes on where this one was. */
    struct ship *ship = &node->ships[number];
    if (ship->link.state == LINK_UP && is_overdue(&ship->link, crossing_us)) {
        ship_renew(ship);
    }
}

/*
 * A member that was restarted, or has closed a connection, says so once. When that is lost, the
 * other end sends into the void until TCP tries again, which may take as long as the outage took;
 * or it waits for the answer to its greeting, which was lost.
 */
void links_renew(struct kvapp_node *node, uint64_t longest_us)
{
    for (size_t i = 0; i < node->link_count; i++) {
        struct link *link = &node->links[i];
        if (!link->leaving && is_overdue(link, longest_us) &&
            !inbound_is_connected(node, link->id)) {
            link_close(link, "it has not connected to this server: it is greeted anew");
        }
    }
}

static bool takes_messages(const struct link *link)
{
    return link->state == LINK_UP && outbox_size(&link->outbox) <= LINK_OUT_MAX;
}

void links_send_digest(struct kvapp_node *node, const struct state_digest *digest)
{
    for (size_t i = 0; i < node->link_count; i++) {
        if (takes_messages(&node->links[i])) {
            state_digest_encode(digest, outbox_begin(&node->links[i].outbox));
            outbox_end(&node->links[i].outbox);
        }
    }
}

static struct link *link_to(struct kvapp_node *node, uint64_t to)
{
    size_t number = find(node, to);
    return number == node->link_count ? NULL : &node->links[number];
}

struct outbox *links_outbox(struct kvapp_node *node, uint64_t to)
{
    struct link *link = link_to(node, to);
    return link != NULL && takes_messages(link) ? &link->outbox : NULL;
}

struct outbox *links_outbox_of_answer(struct kvapp_node *node, uint64_t to)
{
    struct link *link = link_to(node, to);
    return link != NULL && link->state == LINK_UP ? &link->outbox : NULL;
}

void links_send(struct kvapp_node *node, const struct raft_message *message)
{
    for (size_t i = 0; i < node->link_count; i++) {
        struct link *link = &node->links[i];
        if (link->id != message->to) {
            continue;
        }
        if (message->type == RAFT_SNAPSHOT_REQUEST) {
            ship_start(&node->ships[i], message, link->state == LINK_UP);
            return;
        }
        if (!takes_messages(link)) {
            return;
        }
        if (message->type == RAFT_APPEND_REQUEST) {
            feed_append(link, message);
        } else {
            clock_tell(link, message);
            peer_message_encode(message, outbox_begin(&link->outbox));
            outbox_end(&link->outbox);
        }
    }
}

void links_flush(struct kvapp_node *node)
{
    if (node->join.state == LINK_GREETING) {
        outbox_flush(&node->join.outbox);
    }
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].id == 0) {
            continue;
        }
        if (node->links[i].state != LINK_CLOSING) {
            outbox_flush(&node->links[i].outbox);
        }
        if (node->ships[i].link.state != LINK_CLOSING) {
            outbox_flush(&node->ships[i].link.outbox);
        }
    }
}

static void stop(struct link *link)
{
    link->reported_down = true; /* What follows is this server's own doing. */
    io_timer_cancel(link->node->io, &link->retry);
    link_close(link, "this server stops");
}

void links_stop(struct kvapp_node *node)
{
    ships_stop(node);
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].id != 0) {
            stop(&node->links[i]);
            stop(&node->ships[i].link);
        }
    }
    if (node->join.node != NULL) {
        stop(&node->join);
    }
}

bool links_closed(const struct kvapp_node *node)
{
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].id != 0 && !is_closed(node, i)) {
            return false;
        }
    }
    return node->join.state == LINK_DOWN;
}

void links_done(struct kvapp_node *node)
{
    for (size_t i = 0; i < node->link_count; i++) {
        if (node->links[i].id != 0) {
            free_place(node, i);
        }
    }
    if (node->join.node != NULL) {
        link_done(&node->join);
    }
}
