/*
 * A client of Redis may speak to any server, so a server that does not lead hands its writes to the
 * leader (reads it answers itself: reads.c).
 *
 *     follower   forward_send ──request──► leader: queued, logged, applied as its own clients'
 *                the client's answer ◄──response── forward_answer
 *
 * Requests take this server's connection to the leader, responses the leader's own; nothing is sent
 * unless both are there. When either is lost, or no answer comes in time, the outcome is unknown,
 * and the client is told so. A leader that has no connection for an answer closes the other. That
 * the other one does not lead, or takes no more, is an answer: then the command was not logged, and
 * may be sent again. Nothing else is ever sent twice.
 */
#include "node/node.h"

#include "base/memory.h"
#include "base/mutation.h"
#include "wire/forward.h"

#include <stdlib.h>

enum {
    PLACE_BITS = 14,
    PLACES = 1 << PLACE_BITS,
    PLACES_MIN = 64,
    LOOK_MS = 100,
    TIMEOUT_MS = 10 * 1000,
    DEPOSED_MS = 500, /* for the answer of who led */
};

STATIC_CHECK((int)PLACES >= (int)CLIENTS_MAX, "a client has one command on its way at most");

void forwards_start(struct forwards *forwards, uint64_t chance)
{
    forwards->next_count = (chance >> PLACE_BITS) / 2 + 1;
}

void forwards_done(struct forwards *forwards)
{
    free(forwards->places);
    free(forwards->spare);
    *forwards = (struct forwards){0};
}

bool forwards_none(const struct forwards *forwards)
{
    return forwards->spare_count == forwards->capacity;
}

/* ---- the server that was asked by a client ---- */

bool forward_has_way(struct kvapp_node *node)
{
    return node->leader != 0 && node->leader != node->config.id &&
           links_outbox(node, node->leader) != NULL && inbound_is_connected(node, node->leader);
}

/* A free place; false: there are as many on their way as may be. */
static bool take_place(struct forwards *forwards, uint32_t *ret_number)
{
    if (forwards->spare_count == 0 && forwards->capacity < PLACES) {
        size_t capacity = forwards->capacity == 0 ? PLACES_MIN : 2 * forwards->capacity;
        forwards->places = memory_grow(forwards->places, capacity * sizeof *forwards->places);
        forwards->spare = memory_grow(forwards->spare, capacity * sizeof *forwards->spare);
        for (size_t i = capacity; i > forwards->capacity; i--) {
            forwards->places[i - 1] = (struct forwarded){0};
            forwards->spare[forwards->spare_count++] = (uint32_t)i - 1;
        }
        forwards->capacity = capacity;
    }
    if (forwards->spare_count == 0) {
        return false;
    }
    *ret_number = forwards->spare[--forwards->spare_count];
    return true;
}

bool forward_send(struct kvapp_node *node, const struct waiter *waiter, struct slice command)
{
    struct forwards *forwards = &node->forwards;
    uint32_t number = 0;
    if (!forward_has_way(node) || !take_place(forwards, &number)) {
        return false;
    }
    struct outbox *outbox = links_outbox(node, node->leader);
    struct forwarded *place = &forwards->places[number];
    *place = (struct forwarded){
        .tag = forwards->next_count++ << PLACE_BITS | number,
        .client = waiter->client,
        .to = node->leader,
        .deadline_ms = node_now_ms(node) + TIMEOUT_MS,
        .cost = waiter->cost,
    };
    const struct forward_request request = {.tag = place->tag, .command = command};
    forward_request_encode(&request, outbox_begin(outbox));
    outbox_end(outbox);
    return true;
}

static void end(struct kvapp_node *node, struct forwarded *place, const struct reply *reply,
                const char *sentence)
{
    const struct waiter waiter = {.client = place->client, .cost = place->cost};
    *place = (struct forwarded){0};
    node->forwards.spare[node->forwards.spare_count++] = (uint32_t)(place - node->forwards.places);
    reply_send(node, &waiter, reply, sentence);
}

static int take_response(struct kvapp_node *node, uint64_t from, struct slice payload)
{
    struct forward_response response;
    int err = forward_response_decode(payload, &response);
    if (err != 0) {
        return err;
    }
    size_t number = response.tag & (PLACES - 1);
    struct forwarded *place =
        number < node->forwards.capacity ? &node->forwards.places[number] : NULL;
    if (place == NULL || response.tag == 0 || place->tag != response.tag || place->to != from) {
        return 0; /* It was given up, or asked by an earlier life. */
    }
    char sentence[256];
    size_t size =
        response.sentence.size < sizeof sentence - 1 ? response.sentence.size : sizeof sentence - 1;
    memcpy(sentence, response.sentence.data, size);
    sentence[size] = '\0';
    end(node, place, &response.reply, size == 0 ? NULL : sentence);
    return 0;
}

/* Those whose deadline is at or before `until_ms`. */
static void give_up(struct kvapp_node *node, uint64_t until_ms, const char *sentence)
{
    for (size_t i = 0; i < node->forwards.capacity && !forwards_none(&node->forwards); i++) {
        struct forwarded *place = &node->forwards.places[i];
        if (place->tag != 0 && place->deadline_ms <= until_ms) {
            const struct reply reply = {
                .status = MUTATION(forward_again) ? KV_ERR_NOT_LEADER : KV_ERR_OUTCOME_UNKNOWN,
            };
            end(node, place, &reply, sentence);
        }
    }
}

void forward_lost(struct kvapp_node *node, uint64_t id)
{
    for (size_t i = 0; i < node->forwards.capacity && !forwards_none(&node->forwards); i++) {
        struct forwarded *place = &node->forwards.places[i];
        if (place->tag != 0 && place->to == id) {
            place->deadline_ms = 0;
            node->forwards.look_ms = 0;
        }
    }
}

/* Another server leads by now: that the one before answers has become unlikely. */
static void hurry(struct kvapp_node *node)
{
    uint64_t deadline_ms = node_now_ms(node) + DEPOSED_MS;
    for (size_t i = 0; i < node->forwards.capacity; i++) {
        struct forwarded *place = &node->forwards.places[i];
        bool is_deposed = place->tag != 0 && node->leader != 0 && place->to != node->leader;
        if (is_deposed && place->deadline_ms > deadline_ms) {
            place->deadline_ms = deadline_ms;
        }
    }
}

void forward_expire(struct kvapp_node *node)
{
    uint64_t now_ms = node_now_ms(node);
    if (!forwards_none(&node->forwards) && now_ms >= node->forwards.look_ms) {
        node->forwards.look_ms = now_ms + LOOK_MS;
        hurry(node);
        give_up(node, now_ms,
                "the leader was lost or did not answer, outcome unknown: the write may or may not "
                "have taken effect");
    }
}

void forward_stop(struct kvapp_node *node)
{
    give_up(node, UINT64_MAX,
            "this server stops, outcome unknown: the write may or may not have taken effect");
}

/* ---- the leader ---- */

void forward_answer(struct kvapp_node *node, const struct waiter *waiter, const struct reply *reply,
                    const char *sentence)
{
    struct outbox *outbox = links_outbox_of_answer(node, waiter->from);
    if (outbox == NULL) {
        /* It may know of a connection from here that is not up yet, or no more: so that it does not
         * wait for what will not come, it loses its own. */
        inbound_renew(node, waiter->from);
        return;
    }
    const struct forward_response response = {
        .tag = waiter->request_id,
        .reply = *reply,
        .sentence = sentence == NULL ? slice_of(NULL, 0) : slice_of_string(sentence),
    };
    forward_response_encode(&response, outbox_begin(outbox));
    outbox_end(outbox);
}

static int take_request(struct kvapp_node *node, uint64_t from, struct slice payload)
{
    struct forward_request request;
    struct command command;
    int err = forward_request_decode(payload, &request);
    if (err == 0) {
        err = command_decode(request.command, &command);
    }
    if (err == 0) {
        err = operation_is_write(command.operation) ? command_check(&command) : KV_ERR_INVALID;
    }
    if (err != 0) {
        return err; /* No server of ours would send it. */
    }
    const struct waiter waiter = {
        .from = from,
        .request_id = request.tag,
        .cost = request.command.size + REQUEST_COST,
    };
    node->waiting_bytes += waiter.cost;
    if (node->state != NODE_SERVING || raft_role(node->raft) != RAFT_LEADER) {
        reply_error(node, &waiter, KV_ERR_NOT_LEADER);
    } else if (node->waiting_bytes > NODE_WAITING_MAX) {
        reply_error(node, &waiter, KV_ERR_BUSY);
    } else {
        propose_queue(node, &waiter, request.command);
    }
    return 0;
}

int forward_frame(struct kvapp_node *node, uint64_t from, const struct frame *frame)
{
    return frame->type == FRAME_FORWARD_REQUEST ? take_request(node, from, frame->payload)
                                                : take_response(node, from, frame->payload);
}
