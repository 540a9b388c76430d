/*
 * The peer protocol's bytes. What is checked here is what the bytes alone can show; whether a
 * message makes sense to this server is for raft_step, and whether its entries are what its runs
 * say is for the caller, who has storage/entry.h.
 *
 * Payloads, little-endian; every Raft message begins with `from u64 │ to u64 │ term u64`:
 *
 *     PeerHello       protocol_min u16 │ protocol_max u16 │ purpose u32 │ cluster_id u64 │ from u64
 *                     │ to u64 │ incarnation u64 │ membership_index u64 │ priority u32
 *                     │ flags u32 (1: unheard, 2: lost) │ term u64 │ last_index u64
 *                     │ address (size u32, bytes)
 *     PeerWelcome     status i32 │ protocol u16 │ zero u16 │ cluster_id u64 │ id u64
 *                     │ text (size u32, bytes)
 *     SnapshotOffer   from u64 │ to u64 │ term u64 │ index u64 │ index_term u64 │ size u64
 *                     │ salt u64 │ time_ms u64
 *     SnapshotBytes   offset u64 │ bytes (size u32, bytes)
 *     SnapshotStatus  state u32 │ zero u32 │ offset u64 │ text (size u32, bytes)
 *     StateDigest     index u64 │ digest u64
 *     Clock           wall_ms u64
 *     ReadIndexRequest   tag u64
 *     ReadIndexResponse  tag u64 │ index u64
 *     VoteRequest     ... │ flags u64 (1: pre, 2: transfer) │ last_index u64 │ last_term u64
 *     TimeoutNow      ... and nothing else
 *     VoteResponse    ... │ flags u64 (1: pre, 2: granted)
 *     AppendRequest   ... │ prev_index u64 │ prev_term u64 │ commit_index u64 │ read_round u64
 *                     │ entry_count u64 │ run_count u64 │ run_count × (term u64, count u64)
 *                     │ entries, each as in storage/entry.h
 *     AppendResponse  ... │ flags u64 (1: success, 2: lost, 4: lease) │ prev_index u64
 *                     │ match_index u64 │ hint_index u64 │ hint_term u64 │ read_round u64
 */
#include "wire/peer.h"

#include "base/assert.h"

#include <string.h>

enum message_flags {
    FLAG_PRE = 1 << 0,
    FLAG_TRANSFER = 1 << 1,
    FLAG_GRANTED = 1 << 1,
    FLAG_SUCCESS = 1 << 0,
    FLAG_LOST = 1 << 1,
    FLAG_UNHEARD = 1 << 0,
    FLAGS_HELLO = FLAG_UNHEARD | FLAG_LOST,
    FLAG_LEASE = 1 << 2,
};

/* ---- handshake ---- */

void peer_hello_encode(const struct peer_hello *hello, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_PEER_HELLO);
    buf_put_u16(out, hello->protocol_min);
    buf_put_u16(out, hello->protocol_max);
    buf_put_u32(out, (uint32_t)hello->purpose);
    buf_put_u64(out, hello->cluster_id);
    buf_put_u64(out, hello->from);
    buf_put_u64(out, hello->to);
    buf_put_u64(out, hello->incarnation);
    buf_put_u64(out, hello->membership_index);
    buf_put_u32(out, hello->priority);
    buf_put_u32(out, (hello->unheard ? FLAG_UNHEARD : 0u) | (hello->lost ? FLAG_LOST : 0u));
    buf_put_u64(out, hello->term);
    buf_put_u64(out, hello->last_index);
    buf_put_sized(out, hello->address);
    frame_end(out, mark);
}

int peer_hello_decode(struct slice payload, struct peer_hello *ret_hello)
{
    struct reader reader = reader_of(payload);
    struct peer_hello hello = {.protocol_min = reader_u16(&reader)};
    hello.protocol_max = reader_u16(&reader);
    uint32_t purpose = reader_u32(&reader);
    hello.cluster_id = reader_u64(&reader);
    hello.from = reader_u64(&reader);
    hello.to = reader_u64(&reader);
    hello.incarnation = reader_u64(&reader);
    hello.membership_index = reader_u64(&reader);
    hello.priority = reader_u32(&reader);
    uint32_t flags = reader_u32(&reader);
    hello.unheard = (flags & FLAG_UNHEARD) != 0;
    hello.lost = (flags & FLAG_LOST) != 0;
    hello.term = reader_u64(&reader);
    hello.last_index = reader_u64(&reader);
    hello.address = reader_sized(&reader);
    if (!reader_finished(&reader) || purpose >= PEER_PURPOSE_COUNT ||
        (flags & ~(uint32_t)FLAGS_HELLO) != 0) {
        return KV_ERR_MALFORMED;
    }
    hello.purpose = (enum peer_purpose)purpose;
    bool joins = purpose == PEER_JOIN;
    if (hello.protocol_min == 0 || hello.protocol_min > hello.protocol_max || hello.from == 0 ||
        joins != (hello.to == 0) || joins != (hello.cluster_id == 0) || hello.from == hello.to ||
        hello.address.size == 0 || hello.address.size >= ADDRESS_SIZE_MAX ||
        memchr(hello.address.data, '\0', hello.address.size) != NULL) {
        return KV_ERR_MALFORMED;
    }
    *ret_hello = hello;
    return 0;
}

void peer_welcome_encode(const struct peer_welcome *welcome, struct buf *out)
{
    CHECK((welcome->status == 0) == (welcome->protocol != 0));
    CHECK(welcome->id != 0);
    size_t mark = frame_begin(out, FRAME_PEER_WELCOME);
    buf_put_u32(out, (uint32_t)welcome->status);
    buf_put_u16(out, welcome->protocol);
    buf_put_u16(out, 0);
    buf_put_u64(out, welcome->cluster_id);
    buf_put_u64(out, welcome->id);
    buf_put_sized(out, welcome->text);
    frame_end(out, mark);
}

int peer_welcome_decode(struct slice payload, struct peer_welcome *ret_welcome)
{
    struct reader reader = reader_of(payload);
    struct peer_welcome welcome = {.status = (int32_t)reader_u32(&reader)};
    welcome.protocol = reader_u16(&reader);
    uint16_t reserved = reader_u16(&reader);
    welcome.cluster_id = reader_u64(&reader);
    welcome.id = reader_u64(&reader);
    welcome.text = reader_sized(&reader);
    if (!reader_finished(&reader) || reserved != 0 || welcome.id == 0) {
        return KV_ERR_MALFORMED;
    }
    if (welcome.status != 0 && welcome.status != KV_ERR_VERSION &&
        welcome.status != KV_ERR_FOREIGN && welcome.status != KV_ERR_REMOVED &&
        welcome.status != KV_ERR_OUTDATED) {
        return KV_ERR_MALFORMED;
    }
    if ((welcome.status == 0) != (welcome.protocol != 0)) {
        return KV_ERR_MALFORMED;
    }
    *ret_welcome = welcome;
    return 0;
}

/* ---- snapshots ---- */

void snapshot_offer_encode(const struct snapshot_offer *offer, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_SNAPSHOT_OFFER);
    buf_put_u64(out, offer->from);
    buf_put_u64(out, offer->to);
    buf_put_u64(out, offer->term);
    buf_put_u64(out, offer->index);
    buf_put_u64(out, offer->index_term);
    buf_put_u64(out, offer->size);
    buf_put_u64(out, offer->salt);
    buf_put_u64(out, offer->time_ms);
    frame_end(out, mark);
}

int snapshot_offer_decode(struct slice payload, struct snapshot_offer *ret_offer)
{
    struct reader reader = reader_of(payload);
    struct snapshot_offer offer = {.from = reader_u64(&reader)};
    offer.to = reader_u64(&reader);
    offer.term = reader_u64(&reader);
    offer.index = reader_u64(&reader);
    offer.index_term = reader_u64(&reader);
    offer.size = reader_u64(&reader);
    offer.salt = reader_u64(&reader);
    offer.time_ms = reader_u64(&reader);
    if (!reader_finished(&reader) || offer.from == 0 || offer.to == 0 || offer.from == offer.to ||
        offer.index == 0 || offer.index_term == 0 || offer.index_term > offer.term ||
        offer.size == 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_offer = offer;
    return 0;
}

void snapshot_bytes_encode(const struct snapshot_bytes *piece, struct buf *out)
{
    CHECK(piece->bytes.size > 0);
    size_t mark = frame_begin(out, FRAME_SNAPSHOT_BYTES);
    buf_put_u64(out, piece->offset);
    buf_put_sized(out, piece->bytes);
    frame_end(out, mark);
}

int snapshot_bytes_decode(struct slice payload, struct snapshot_bytes *ret_piece)
{
    struct reader reader = reader_of(payload);
    struct snapshot_bytes piece = {.offset = reader_u64(&reader)};
    piece.bytes = reader_sized(&reader);
    if (!reader_finished(&reader) || piece.bytes.size == 0 ||
        piece.bytes.size > UINT64_MAX - piece.offset) {
        return KV_ERR_MALFORMED;
    }
    *ret_piece = piece;
    return 0;
}

void snapshot_status_encode(const struct snapshot_status *status, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_SNAPSHOT_STATUS);
    buf_put_u32(out, (uint32_t)status->state);
    buf_put_u32(out, 0);
    buf_put_u64(out, status->offset);
    buf_put_sized(out, status->text);
    frame_end(out, mark);
}

int snapshot_status_decode(struct slice payload, struct snapshot_status *ret_status)
{
    struct reader reader = reader_of(payload);
    uint32_t state = reader_u32(&reader);
    uint32_t reserved = reader_u32(&reader);
    struct snapshot_status status = {.offset = reader_u64(&reader)};
    status.text = reader_sized(&reader);
    if (!reader_finished(&reader) || reserved != 0 || state >= SNAPSHOT_STATE_COUNT) {
        return KV_ERR_MALFORMED;
    }
    status.state = (enum snapshot_state)state;
    *ret_status = status;
    return 0;
}

/* ---- digests ---- */

void state_digest_encode(const struct state_digest *digest, struct buf *out)
{
    CHECK(digest->index != 0);
    size_t mark = frame_begin(out, FRAME_STATE_DIGEST);
    buf_put_u64(out, digest->index);
    buf_put_u64(out, digest->digest);
    frame_end(out, mark);
}

int state_digest_decode(struct slice payload, struct state_digest *ret_digest)
{
    struct reader reader = reader_of(payload);
    struct state_digest digest = {.index = reader_u64(&reader)};
    digest.digest = reader_u64(&reader);
    if (!reader_finished(&reader) || digest.index == 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_digest = digest;
    return 0;
}

/* ---- clocks ---- */

void peer_clock_encode(uint64_t wall_ms, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_CLOCK);
    buf_put_u64(out, wall_ms);
    frame_end(out, mark);
}

int peer_clock_decode(struct slice payload, uint64_t *ret_wall_ms)
{
    struct reader reader = reader_of(payload);
    uint64_t wall_ms = reader_u64(&reader);
    if (!reader_finished(&reader)) {
        return KV_ERR_MALFORMED;
    }
    *ret_wall_ms = wall_ms;
    return 0;
}

/* ---- reads of followers ---- */

void read_index_request_encode(const struct read_index_request *request, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_READ_INDEX_REQUEST);
    buf_put_u64(out, request->tag);
    frame_end(out, mark);
}

int read_index_request_decode(struct slice payload, struct read_index_request *ret_request)
{
    struct reader reader = reader_of(payload);
    struct read_index_request request = {.tag = reader_u64(&reader)};
    if (!reader_finished(&reader) || request.tag == 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_request = request;
    return 0;
}

void read_index_response_encode(const struct read_index_response *response, struct buf *out)
{
    size_t mark = frame_begin(out, FRAME_READ_INDEX_RESPONSE);
    buf_put_u64(out, response->tag);
    buf_put_u64(out, response->index);
    frame_end(out, mark);
}

int read_index_response_decode(struct slice payload, struct read_index_response *ret_response)
{
    struct reader reader = reader_of(payload);
    struct read_index_response response = {.tag = reader_u64(&reader)};
    response.index = reader_u64(&reader);
    if (!reader_finished(&reader) || response.tag == 0) {
        return KV_ERR_MALFORMED;
    }
    *ret_response = response;
    return 0;
}

/* ---- Raft's messages: encoding ---- */

static void append_request_encode(const struct raft_append_request *append, struct buf *out)
{
    CHECK(append->run_count <= RAFT_RUNS_MAX);
    CHECK((append->entry_count == 0) == (append->run_count == 0));
    buf_put_u64(out, append->prev_index);
    buf_put_u64(out, append->prev_term);
    buf_put_u64(out, append->commit_index);
    buf_put_u64(out, append->read_round);
    buf_put_u64(out, append->entry_count);
    buf_put_u64(out, append->run_count);
    uint64_t count = 0;
    for (size_t i = 0; i < append->run_count; i++) {
        count += append->runs[i].count;
        buf_put_u64(out, append->runs[i].term);
        buf_put_u64(out, append->runs[i].count);
    }
    CHECK(count == append->entry_count);
}

static void append_response_encode(const struct raft_append_response *response, struct buf *out)
{
    buf_put_u64(out, (response->success ? FLAG_SUCCESS : 0U) | (response->lost ? FLAG_LOST : 0U) |
                         (response->lease ? FLAG_LEASE : 0U));
    buf_put_u64(out, response->prev_index);
    buf_put_u64(out, response->match_index);
    buf_put_u64(out, response->hint_index);
    buf_put_u64(out, response->hint_term);
    buf_put_u64(out, response->read_round);
}

size_t peer_message_begin(const struct raft_message *message, struct buf *out)
{
    size_t mark = frame_begin(out, (uint8_t)message->type);
    buf_put_u64(out, message->from);
    buf_put_u64(out, message->to);
    buf_put_u64(out, message->term);
    switch (message->type) {
    case RAFT_VOTE_REQUEST:
        buf_put_u64(out, (message->vote_request.pre ? FLAG_PRE : 0U) |
                             (message->vote_request.transfer ? FLAG_TRANSFER : 0U));
        buf_put_u64(out, message->vote_request.last_index);
        buf_put_u64(out, message->vote_request.last_term);
        return mark;
    case RAFT_VOTE_RESPONSE:
        buf_put_u64(out, (message->vote_response.pre ? FLAG_PRE : 0U) |
                             (message->vote_response.granted ? FLAG_GRANTED : 0U));
        return mark;
    case RAFT_APPEND_REQUEST:
        append_request_encode(&message->append_request, out);
        return mark;
    case RAFT_APPEND_RESPONSE:
        append_response_encode(&message->append_response, out);
        return mark;
    case RAFT_SNAPSHOT_REQUEST:
        break; /* It opens the stream of the snapshot. */
    case RAFT_TIMEOUT_NOW:
        return mark;
    }
    UNREACHABLE();
}

void peer_message_encode(const struct raft_message *message, struct buf *out)
{
    CHECK(message->type != RAFT_APPEND_REQUEST || message->append_request.entry_count == 0);
    frame_end(out, peer_message_begin(message, out));
}

/* ---- Raft's messages: decoding ---- */

/* Flags that are not in `known` make the message malformed, which is told by a failed reader. */
static uint64_t read_flags(struct reader *reader, uint64_t known)
{
    uint64_t flags = reader_u64(reader);
    if ((flags & ~known) != 0) {
        reader->failed = true;
    }
    return flags;
}

static void vote_request_decode(struct reader *reader, struct raft_vote_request *request)
{
    uint64_t flags = read_flags(reader, FLAG_PRE | FLAG_TRANSFER);
    request->pre = (flags & FLAG_PRE) != 0;
    request->transfer = (flags & FLAG_TRANSFER) != 0;
    if (request->pre && request->transfer) {
        reader->failed = true; /* Whom the leader asked to campaign does not ask around first. */
    }
    request->last_index = reader_u64(reader);
    request->last_term = reader_u64(reader);
}

static void vote_response_decode(struct reader *reader, struct raft_vote_response *response)
{
    uint64_t flags = read_flags(reader, FLAG_PRE | FLAG_GRANTED);
    response->pre = (flags & FLAG_PRE) != 0;
    response->granted = (flags & FLAG_GRANTED) != 0;
}

/*
 * Reads the runs of an append by a leader of `term`. Their terms never fall, begin at the term
 * before them and end at the leader's; their counts add up, without overflow, to entry_count.
 */
static bool runs_decode(struct reader *reader, uint64_t term, struct raft_append_request *append)
{
    uint64_t last_term = append->prev_term;
    uint64_t left = append->entry_count;
    for (size_t i = 0; i < append->run_count; i++) {
        struct raft_run *run = &append->runs[i];
        run->term = reader_u64(reader);
        run->count = reader_u64(reader);
        if (run->term == 0 || run->term < last_term || run->term > term) {
            return false;
        }
        if (run->count == 0 || run->count > left) {
            return false;
        }
        last_term = run->term;
        left -= run->count;
    }
    return !reader->failed && left == 0;
}

static bool append_request_decode(struct reader *reader, uint64_t term,
                                  struct raft_append_request *append, struct slice *entries)
{
    append->prev_index = reader_u64(reader);
    append->prev_term = reader_u64(reader);
    append->commit_index = reader_u64(reader);
    append->read_round = reader_u64(reader);
    append->entry_count = reader_u64(reader);
    uint64_t run_count = reader_u64(reader);
    if (run_count > RAFT_RUNS_MAX || append->entry_count > UINT64_MAX - append->prev_index) {
        return false;
    }
    append->run_count = (size_t)run_count;
    if (!runs_decode(reader, term, append)) {
        return false;
    }
    *entries = reader_bytes(reader, reader->left);
    /* No entry is shorter than a byte, whatever its encoding. */
    return append->entry_count == 0 ? entries->size == 0 : entries->size >= append->entry_count;
}

static void append_response_decode(struct reader *reader, struct raft_append_response *response)
{
    uint64_t flags = read_flags(reader, FLAG_SUCCESS | FLAG_LOST | FLAG_LEASE);
    response->success = (flags & FLAG_SUCCESS) != 0;
    response->lost = (flags & FLAG_LOST) != 0;
    response->lease = (flags & FLAG_LEASE) != 0;
    response->prev_index = reader_u64(reader);
    response->match_index = reader_u64(reader);
    response->hint_index = reader_u64(reader);
    response->hint_term = reader_u64(reader);
    response->read_round = reader_u64(reader);
}

int peer_message_decode(const struct frame *frame, struct raft_message *ret_message,
                        struct slice *ret_entries)
{
    struct reader reader = reader_of(frame->payload);
    struct raft_message message = {.type = (enum raft_message_type)frame->type};
    struct slice entries = slice_of(NULL, 0);
    message.from = reader_u64(&reader);
    message.to = reader_u64(&reader);
    message.term = reader_u64(&reader);
    switch (frame->type) {
    case RAFT_VOTE_REQUEST:
        vote_request_decode(&reader, &message.vote_request);
        break;
    case RAFT_VOTE_RESPONSE:
        vote_response_decode(&reader, &message.vote_response);
        break;
    case RAFT_APPEND_REQUEST:
        if (!append_request_decode(&reader, message.term, &message.append_request, &entries)) {
            return KV_ERR_MALFORMED;
        }
        break;
    case RAFT_APPEND_RESPONSE:
        append_response_decode(&reader, &message.append_response);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    default:
        return KV_ERR_MALFORMED;
    }
    if (!reader_finished(&reader) || message.from == 0 || message.to == 0 ||
        message.from == message.to) {
        return KV_ERR_MALFORMED;
    }
    *ret_message = message;
    *ret_entries = entries;
    return 0;
}
