/*
 * Which index must be applied? Reads by servers that do not lead (thesis 6.4): the follower asks
 * its leader, which confirms by the round of its turn that it leads, and tells its commit index;
 * the follower serves what it has applied up to there.
 *
 *     follower   reads of a turn ──request: tag──►  leader  ──round──► a majority
 *                applied? ──► answers  ◄──response: tag, index──
 *
 * Each direction takes the sender's own connection. A request is for all reads up to its tag, which
 * were all asked before it left; so any answer to it, however late and by whatever leader, is right
 * for them, and asking again with the same tag is harmless. That is why no tag may ever come again,
 * in a later life neither: an answer from before would release reads that were asked after it.
 *
 * A question is a record: the asking member u64, its tag u64.
 */
#include "node/node.h"

enum { QUESTIONS_SIZE_MAX = 64 * 1024 }; /* of one turn; what is beyond is asked again */

static void take_question(struct kvapp_node *node, uint64_t from, uint64_t tag)
{
    struct buf *questions = &node->reads.asked[READ_REMOTE];
    if (questions->size < QUESTIONS_SIZE_MAX) {
        buf_put_u64(questions, from);
        buf_put_u64(questions, tag);
    }
}

static void take_answer(struct kvapp_node *node, const struct read_index_response *response)
{
    struct reads *reads = &node->reads;
    if (response->tag < reads->first_tag || response->tag >= reads->next_tag) {
        return; /* To an earlier life. */
    }
    if (response->index != 0) {
        reads_release_here(node, response->tag, response->index);
    } else if (response->tag == reads->sent_tag) {
        /* It leads no more, or not yet. */
        reads->retry_ms = node_now_ms(node) + node->config.timing.heartbeat_ms;
    }
}

int read_index_frame(struct kvapp_node *node, uint64_t from, const struct frame *frame)
{
    int err;
    if (frame->type == FRAME_READ_INDEX_REQUEST) {
        struct read_index_request request;
        err = read_index_request_decode(frame->payload, &request);
        if (err == 0) {
            take_question(node, from, request.tag);
        }
        return err;
    }
    struct read_index_response response;
    err = read_index_response_decode(frame->payload, &response);
    if (err == 0) {
        take_answer(node, &response);
    }
    return err;
}

void read_index_ask(struct kvapp_node *node, uint64_t tag)
{
    struct reads *reads = &node->reads;
    uint64_t now_ms = node_now_ms(node);
    bool asked = reads->sent_tag == tag && reads->sent_to == node->leader;
    if (node->leader == 0 || (asked && now_ms < reads->retry_ms)) {
        return;
    }
    struct outbox *outbox = links_outbox(node, node->leader);
    if (outbox == NULL) {
        return;
    }
    const struct read_index_request request = {.tag = tag};
    read_index_request_encode(&request, outbox_begin(outbox));
    outbox_end(outbox);
    reads->sent_tag = tag;
    reads->sent_to = node->leader;
    reads->retry_ms = now_ms + node->config.timing.election_min_ms;
}

void read_index_answer(struct kvapp_node *node, const struct buf *questions, uint64_t index)
{
    struct reader reader = reader_of(buf_slice(questions));
    while (reader.left > 0) {
        uint64_t from = reader_u64(&reader);
        const struct read_index_response response = {.tag = reader_u64(&reader), .index = index};
        CHECK(!reader.failed);
        struct outbox *outbox = links_outbox(node, from);
        if (outbox != NULL) {
            read_index_response_encode(&response, outbox_begin(outbox));
            outbox_end(outbox);
        }
    }
}
