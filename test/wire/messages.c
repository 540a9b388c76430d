#include "messages.h"

#include <stdio.h>

STATIC_CHECK((int)MESSAGE_VOTE_REQUEST == (int)RAFT_VOTE_REQUEST, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_CLIENT_REQUEST == (int)FRAME_CLIENT_REQUEST, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_STATUS_RESPONSE == (int)FRAME_STATUS_RESPONSE, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_SNAPSHOT_STATUS == (int)FRAME_SNAPSHOT_STATUS, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_TIMEOUT_NOW == (int)RAFT_TIMEOUT_NOW, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_STATE_DIGEST == (int)FRAME_STATE_DIGEST, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_CLOCK == (int)FRAME_CLOCK, "kinds are frame types");
STATIC_CHECK((int)MESSAGE_FORWARD_RESPONSE == (int)FRAME_FORWARD_RESPONSE, "kinds are frame types");

bool message_kind_is_known(int kind)
{
    return kind >= 0 && kind < MESSAGE_KIND_COUNT &&
           (kind <= MESSAGE_CLOCK || kind >= MESSAGE_ADMIN_REQUEST);
}

/* ---- random contents ---- */

enum { ARENA_SIZE = 64 * 1024 };

/* Small numbers, large ones and everything between are equally likely. */
static uint64_t any_u64(struct prng *prng)
{
    return prng_next(prng) >> prng_between(prng, 0, 63);
}

static uint64_t any_id(struct prng *prng)
{
    return any_u64(prng) | 1;
}

enum message_kind message_kind_random(struct prng *prng)
{
    int kind = 0;
    do {
        kind = (int)prng_between(prng, 0, MESSAGE_KIND_COUNT - 1);
    } while (!message_kind_is_known(kind));
    return (enum message_kind)kind;
}

static bool any_bool(struct prng *prng)
{
    return prng_chance(prng, 1, 2);
}

/* The arena has been reserved, so that earlier slices stay where they are. */
static struct slice any_bytes(struct prng *prng, struct buf *arena, size_t low, size_t high)
{
    size_t size = prng_between(prng, low, high);
    uint8_t *at = buf_extend(arena, size);
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)prng_next(prng);
    }
    return slice_of(at, size);
}

static struct slice any_address(struct prng *prng, struct buf *arena)
{
    struct slice address = any_bytes(prng, arena, 1, ADDRESS_SIZE_MAX - 1);
    uint8_t *at = arena->data + arena->size - address.size;
    for (size_t i = 0; i < address.size; i++) {
        at[i] = (uint8_t)('!' + at[i] % ('~' - '!' + 1));
    }
    return address;
}

static void any_append(struct prng *prng, struct raft_message *raft)
{
    struct raft_append_request *append = &raft->append_request;
    append->prev_index = any_u64(prng) >> 1;
    append->prev_term = any_u64(prng) >> 2;
    append->commit_index = any_u64(prng);
    append->read_round = any_u64(prng);
    append->run_count = prng_between(prng, 0, RAFT_RUNS_MAX);
    uint64_t term = append->prev_term == 0 ? 1 : append->prev_term;
    for (size_t i = 0; i < append->run_count; i++) {
        term += prng_between(prng, 0, 3);
        append->runs[i] = (struct raft_run){.term = term, .count = prng_between(prng, 1, 20)};
        append->entry_count += append->runs[i].count;
    }
    raft->term = term + prng_between(prng, 0, 3);
}

static void any_raft(struct prng *prng, enum message_kind kind, struct raft_message *raft)
{
    *raft = (struct raft_message){.type = (enum raft_message_type)kind};
    raft->from = any_id(prng);
    raft->to = (any_u64(prng) | 2) & ~UINT64_C(1); /* even, unlike `from` */
    raft->term = any_u64(prng);
    switch (raft->type) {
    case RAFT_VOTE_REQUEST:
        raft->vote_request = (struct raft_vote_request){
            .pre = any_bool(prng), .last_index = any_u64(prng), .last_term = any_u64(prng)};
        raft->vote_request.transfer = !raft->vote_request.pre && any_bool(prng);
        break;
    case RAFT_VOTE_RESPONSE:
        raft->vote_response = (struct raft_vote_response){any_bool(prng), any_bool(prng)};
        break;
    case RAFT_APPEND_REQUEST:
        any_append(prng, raft);
        break;
    case RAFT_APPEND_RESPONSE:
        raft->append_response = (struct raft_append_response){
            any_bool(prng), any_bool(prng), any_u64(prng), any_u64(prng),
            any_u64(prng),  any_u64(prng),  any_u64(prng), any_bool(prng)};
        break;
    case RAFT_SNAPSHOT_REQUEST:
        UNREACHABLE();
    case RAFT_TIMEOUT_NOW:
        break;
    }
}

static void any_reply(struct prng *prng, struct buf *arena, struct reply *reply)
{
    reply->status = -(int)prng_between(prng, 0, 29);
    reply->more = any_bool(prng);
    reply->revision = any_u64(prng);
    reply->count = any_u64(prng);
    reply->data = any_bytes(prng, arena, 0, 200);
}

static void any_response(struct prng *prng, struct buf *arena, struct client_response *response)
{
    response->request_id = any_u64(prng);
    any_reply(prng, arena, &response->reply);
    if (response->reply.status != 0) {
        response->error = any_bytes(prng, arena, 0, 100);
    }
}

static void any_status(struct prng *prng, struct buf *arena, struct status_response *status)
{
    *status = (struct status_response){
        .request_id = any_u64(prng),
        .cluster_id = any_u64(prng),
        .id = any_id(prng),
        .address = any_address(prng, arena),
        .role = (uint8_t)prng_between(prng, 0, 3),
        .term = any_u64(prng),
        .leader = any_u64(prng),
        .commit_index = any_u64(prng),
        .applied_index = any_u64(prng),
        .last_index = any_u64(prng),
        .digest = any_u64(prng),
        .key_count = any_u64(prng),
        .uptime_ms = any_u64(prng),
        .log_writes = any_u64(prng),
        .log_syncs = any_u64(prng),
        .log_entries = any_u64(prng),
        .log_bytes = any_u64(prng),
        .io_backend = any_bytes(prng, arena, 0, 20),
        .version = any_bytes(prng, arena, 0, 20),
    };
}

static void any_hello(struct prng *prng, struct buf *arena, struct peer_hello *hello)
{
    hello->protocol_min = (uint16_t)prng_between(prng, 1, 9);
    hello->protocol_max = (uint16_t)prng_between(prng, 9, UINT16_MAX);
    hello->purpose = (enum peer_purpose)prng_between(prng, 0, PEER_PURPOSE_COUNT - 1);
    hello->from = any_id(prng);
    if (hello->purpose != PEER_JOIN) {
        hello->cluster_id = any_id(prng);
        hello->to = (any_u64(prng) | 2) & ~UINT64_C(1); /* even, unlike `from` */
    }
    hello->incarnation = any_u64(prng);
    hello->membership_index = any_u64(prng);
    hello->priority = (uint32_t)any_u64(prng);
    hello->unheard = any_bool(prng);
    hello->lost = any_bool(prng);
    hello->term = any_u64(prng);
    hello->last_index = any_u64(prng);
    hello->address = any_address(prng, arena);
}

static void any_offer(struct prng *prng, struct snapshot_offer *offer)
{
    offer->from = any_id(prng);
    offer->to = (any_u64(prng) | 2) & ~UINT64_C(1); /* even, unlike `from` */
    offer->index = any_id(prng);
    offer->index_term = any_id(prng);
    offer->term = offer->index_term + any_u64(prng) % 9;
    offer->term = offer->term < offer->index_term ? offer->index_term : offer->term;
    offer->size = any_id(prng);
    offer->salt = any_u64(prng);
    offer->time_ms = any_u64(prng);
}

static void any_port(struct prng *prng, char ret_address[ADDRESS_SIZE_MAX])
{
    static const char *const hosts[] = {"127.0.0.1", "[::1]", "a", "kvapp.example.org"};
    (void)snprintf(ret_address, ADDRESS_SIZE_MAX, "%s:%u", hosts[prng_between(prng, 0, 3)],
                   (unsigned)prng_between(prng, 1, 65535));
}

static void any_membership(struct prng *prng, struct raft_membership *membership)
{
    membership->count = prng_between(prng, 0, RAFT_MEMBERS_MAX);
    membership->joint = any_bool(prng);
    uint64_t id = 0;
    for (size_t i = 0; i < membership->count; i++) {
        struct raft_member *member = &membership->members[i];
        id += prng_between(prng, 1, 9);
        *member = (struct raft_member){.id = id, .incarnation = any_u64(prng)};
        member->voter = any_bool(prng);
        member->voter_old = any_bool(prng);
        member->keep_learner = any_bool(prng);
        any_port(prng, member->address);
    }
}

static void any_admin_request(struct prng *prng, struct admin_request *request)
{
    request->request_id = any_u64(prng);
    request->verb = (enum admin_verb)prng_between(prng, 0, ADMIN_VERB_COUNT - 1);
    if (request->verb == ADMIN_TRANSFER) {
        request->target = any_u64(prng);
    } else if (request->verb == ADMIN_CHANGE) {
        request->dry_run = any_bool(prng);
        request->force = any_bool(prng);
        request->edit_count = prng_between(prng, 1, ADMIN_EDITS_MAX);
    }
    for (size_t i = 0; i < request->edit_count; i++) {
        struct membership_edit *edit = &request->edits[i];
        edit->operation = (enum edit_operation)prng_between(prng, 0, EDIT_OPERATION_COUNT - 1);
        edit->id = any_id(prng);
        if (edit->operation != EDIT_PROMOTE && edit->operation != EDIT_REMOVE) {
            any_port(prng, edit->address);
        }
    }
}

static struct admin_voters any_voters(struct prng *prng)
{
    return (struct admin_voters){(uint32_t)any_u64(prng), (uint32_t)any_u64(prng),
                                 (uint32_t)any_u64(prng)};
}

static void any_admin_response(struct prng *prng, struct buf *arena,
                               struct admin_response *response)
{
    response->request_id = any_u64(prng);
    response->id = any_id(prng);
    response->status = -(int)prng_between(prng, 0, 33);
    response->index = any_u64(prng);
    response->leader = any_u64(prng);
    response->text = any_bytes(prng, arena, 0, 100);
    response->has_membership = any_bool(prng);
    response->has_plan = any_bool(prng);
    if (response->has_membership) {
        any_membership(prng, &response->membership);
        for (size_t i = 0; i < response->membership.count; i++) {
            response->members[i] = (struct admin_member){
                .connected = any_bool(prng),
                .priority = (uint32_t)any_u64(prng),
                .match = any_u64(prng),
            };
        }
    }
    if (response->has_plan) {
        response->plan.joint = any_bool(prng);
        response->plan.before = any_voters(prng);
        response->plan.after = any_voters(prng);
        any_membership(prng, &response->plan.wanted);
    }
}

/* Bytes for the entries that an append says it has. */
static struct slice any_entries(struct prng *prng, struct buf *arena, const struct message *message)
{
    size_t count =
        message->kind == MESSAGE_APPEND_REQUEST ? message->raft.append_request.entry_count : 0;
    return count == 0 ? slice_of(NULL, 0) : any_bytes(prng, arena, count, count + 500);
}

static void any_read(struct prng *prng, struct buf *arena, struct message *message)
{
    switch (message->kind) {
    case MESSAGE_READ_INDEX_REQUEST:
        message->question.tag = any_id(prng);
        break;
    case MESSAGE_READ_INDEX_RESPONSE:
        message->index.tag = any_id(prng);
        message->index.index = any_u64(prng);
        break;
    case MESSAGE_READ_REQUEST:
        message->read.request_id = any_u64(prng);
        message->read.reads = (enum kvapp_reads)prng_between(prng, 0, KVAPP_READS_COUNT - 1);
        message->read.command = any_bytes(prng, arena, 1, 300);
        break;
    case MESSAGE_STALE_RESPONSE:
        message->stale.request_id = any_u64(prng);
        message->stale.age_ms = any_u64(prng);
        message->stale.applied_index = any_u64(prng);
        any_reply(prng, arena, &message->stale.reply);
        break;
    case MESSAGE_FORWARD_REQUEST:
        message->forward.tag = any_u64(prng);
        message->forward.command = any_bytes(prng, arena, 0, 300);
        break;
    case MESSAGE_FORWARD_RESPONSE:
        message->forward_answer.tag = any_u64(prng);
        any_reply(prng, arena, &message->forward_answer.reply);
        message->forward_answer.sentence = any_bytes(prng, arena, 0, 100);
        break;
    default:
        UNREACHABLE();
    }
}

static void any_welcome(struct prng *prng, struct buf *arena, struct peer_welcome *welcome)
{
    static const int statuses[] = {0, KV_ERR_VERSION, KV_ERR_FOREIGN, KV_ERR_REMOVED};
    welcome->status = statuses[prng_between(prng, 0, 3)];
    welcome->protocol = (uint16_t)(welcome->status == 0 ? prng_between(prng, 1, UINT16_MAX) : 0);
    welcome->cluster_id = any_u64(prng);
    welcome->id = any_id(prng);
    welcome->text = any_bytes(prng, arena, 0, 100);
}

static void any_backup(struct prng *prng, struct backup_request *request)
{
    request->request_id = any_u64(prng);
    request->action = (enum backup_action)prng_between(prng, 0, BACKUP_ACTION_COUNT - 1);
    if (request->action == BACKUP_READ) {
        request->size = (uint32_t)prng_between(prng, 1, BACKUP_PIECE_SIZE_MAX);
        request->offset = any_u64(prng) >> 1;
    }
}

static void any_piece(struct prng *prng, struct buf *arena, struct backup_response *piece)
{
    piece->request_id = any_u64(prng);
    if (any_bool(prng)) {
        piece->index = any_id(prng);
        piece->term = any_id(prng);
        piece->offset = any_u64(prng) >> 2;
        piece->bytes = any_bytes(prng, arena, 0, 500);
        piece->file_size = piece->offset + piece->bytes.size + prng_between(prng, 1, 500);
    }
}

void message_random(struct prng *prng, enum message_kind kind, struct buf *arena,
                    struct message *ret_message)
{
    buf_clear(arena);
    (void)buf_reserve(arena, ARENA_SIZE);
    *ret_message = (struct message){.kind = kind};
    switch (kind) {
    case MESSAGE_CLIENT_REQUEST:
        ret_message->request.request_id = any_u64(prng);
        ret_message->request.command = any_bytes(prng, arena, 1, 300);
        break;
    case MESSAGE_CLIENT_RESPONSE:
        any_response(prng, arena, &ret_message->response);
        break;
    case MESSAGE_LEADER_REDIRECT:
        ret_message->redirect.request_id = any_u64(prng);
        ret_message->redirect.has_leader = any_bool(prng);
        if (ret_message->redirect.has_leader) {
            ret_message->redirect.leader_id = any_id(prng);
            ret_message->redirect.address = any_address(prng, arena);
        }
        ret_message->redirect.text = any_bytes(prng, arena, 0, 100);
        break;
    case MESSAGE_PEER_HELLO:
        any_hello(prng, arena, &ret_message->hello);
        break;
    case MESSAGE_PEER_WELCOME:
        any_welcome(prng, arena, &ret_message->welcome);
        break;
    case MESSAGE_STATUS_REQUEST:
        ret_message->status_request_id = any_u64(prng);
        break;
    case MESSAGE_STATUS_RESPONSE:
        any_status(prng, arena, &ret_message->status);
        break;
    case MESSAGE_SNAPSHOT_OFFER:
        any_offer(prng, &ret_message->offer);
        break;
    case MESSAGE_SNAPSHOT_BYTES:
        ret_message->bytes.offset = any_u64(prng) >> 1;
        ret_message->bytes.bytes = any_bytes(prng, arena, 1, 500);
        break;
    case MESSAGE_SNAPSHOT_STATUS:
        ret_message->snapshot.state =
            (enum snapshot_state)prng_between(prng, 0, SNAPSHOT_STATE_COUNT - 1);
        ret_message->snapshot.offset = any_u64(prng);
        ret_message->snapshot.text = any_bytes(prng, arena, 0, 100);
        break;
    case MESSAGE_STATE_DIGEST:
        ret_message->digest = (struct state_digest){any_id(prng), any_u64(prng)};
        break;
    case MESSAGE_CLOCK:
        ret_message->wall_ms = any_u64(prng);
        break;
    case MESSAGE_ADMIN_REQUEST:
        any_admin_request(prng, &ret_message->admin);
        break;
    case MESSAGE_ADMIN_RESPONSE:
        any_admin_response(prng, arena, &ret_message->admin_answer);
        break;
    case MESSAGE_BACKUP_REQUEST:
        any_backup(prng, &ret_message->backup);
        break;
    case MESSAGE_BACKUP_RESPONSE:
        any_piece(prng, arena, &ret_message->piece);
        break;
    case MESSAGE_READ_INDEX_REQUEST:
    case MESSAGE_READ_INDEX_RESPONSE:
    case MESSAGE_READ_REQUEST:
    case MESSAGE_STALE_RESPONSE:
    case MESSAGE_FORWARD_REQUEST:
    case MESSAGE_FORWARD_RESPONSE:
        any_read(prng, arena, ret_message);
        break;
    default:
        any_raft(prng, kind, &ret_message->raft);
        ret_message->entries = any_entries(prng, arena, ret_message);
        break;
    }
}

/* ---- encoding and decoding by kind ---- */

void message_encode(const struct message *message, struct buf *out)
{
    size_t mark = out->size;
    switch (message->kind) {
    case MESSAGE_CLIENT_REQUEST:
        client_request_encode(&message->request, out);
        return;
    case MESSAGE_CLIENT_RESPONSE:
        client_response_encode(&message->response, out);
        return;
    case MESSAGE_LEADER_REDIRECT:
        leader_redirect_encode(&message->redirect, out);
        return;
    case MESSAGE_PEER_HELLO:
        peer_hello_encode(&message->hello, out);
        return;
    case MESSAGE_PEER_WELCOME:
        peer_welcome_encode(&message->welcome, out);
        return;
    case MESSAGE_STATUS_REQUEST:
        status_request_encode(message->status_request_id, out);
        return;
    case MESSAGE_STATUS_RESPONSE:
        status_response_encode(&message->status, out);
        return;
    case MESSAGE_SNAPSHOT_OFFER:
        snapshot_offer_encode(&message->offer, out);
        return;
    case MESSAGE_SNAPSHOT_BYTES:
        snapshot_bytes_encode(&message->bytes, out);
        return;
    case MESSAGE_SNAPSHOT_STATUS:
        snapshot_status_encode(&message->snapshot, out);
        return;
    case MESSAGE_STATE_DIGEST:
        state_digest_encode(&message->digest, out);
        return;
    case MESSAGE_CLOCK:
        peer_clock_encode(message->wall_ms, out);
        return;
    case MESSAGE_ADMIN_REQUEST:
        admin_request_encode(&message->admin, out);
        return;
    case MESSAGE_ADMIN_RESPONSE:
        admin_response_encode(&message->admin_answer, out);
        return;
    case MESSAGE_BACKUP_REQUEST:
        backup_request_encode(&message->backup, out);
        return;
    case MESSAGE_BACKUP_RESPONSE:
        backup_response_encode(&message->piece, out);
        return;
    case MESSAGE_READ_INDEX_REQUEST:
        read_index_request_encode(&message->question, out);
        return;
    case MESSAGE_READ_INDEX_RESPONSE:
        read_index_response_encode(&message->index, out);
        return;
    case MESSAGE_READ_REQUEST:
        read_request_encode(&message->read, out);
        return;
    case MESSAGE_STALE_RESPONSE:
        stale_response_encode(&message->stale, out);
        return;
    case MESSAGE_FORWARD_REQUEST:
        forward_request_encode(&message->forward, out);
        return;
    case MESSAGE_FORWARD_RESPONSE:
        forward_response_encode(&message->forward_answer, out);
        return;
    case MESSAGE_APPEND_REQUEST:
        mark = peer_message_begin(&message->raft, out);
        buf_append_slice(out, message->entries);
        frame_end(out, mark);
        return;
    default:
        peer_message_encode(&message->raft, out);
        return;
    }
}

int message_decode(const struct frame *frame, struct message *ret_message)
{
    *ret_message = (struct message){.kind = (enum message_kind)frame->type};
    switch (ret_message->kind) {
    case MESSAGE_CLIENT_REQUEST:
        return client_request_decode(frame->payload, &ret_message->request);
    case MESSAGE_CLIENT_RESPONSE:
        return client_response_decode(frame->payload, &ret_message->response);
    case MESSAGE_LEADER_REDIRECT:
        return leader_redirect_decode(frame->payload, &ret_message->redirect);
    case MESSAGE_PEER_HELLO:
        return peer_hello_decode(frame->payload, &ret_message->hello);
    case MESSAGE_PEER_WELCOME:
        return peer_welcome_decode(frame->payload, &ret_message->welcome);
    case MESSAGE_STATUS_REQUEST:
        return status_request_decode(frame->payload, &ret_message->status_request_id);
    case MESSAGE_STATUS_RESPONSE:
        return status_response_decode(frame->payload, &ret_message->status);
    case MESSAGE_SNAPSHOT_OFFER:
        return snapshot_offer_decode(frame->payload, &ret_message->offer);
    case MESSAGE_SNAPSHOT_BYTES:
        return snapshot_bytes_decode(frame->payload, &ret_message->bytes);
    case MESSAGE_SNAPSHOT_STATUS:
        return snapshot_status_decode(frame->payload, &ret_message->snapshot);
    case MESSAGE_STATE_DIGEST:
        return state_digest_decode(frame->payload, &ret_message->digest);
    case MESSAGE_CLOCK:
        return peer_clock_decode(frame->payload, &ret_message->wall_ms);
    case MESSAGE_ADMIN_REQUEST:
        return admin_request_decode(frame->payload, &ret_message->admin);
    case MESSAGE_ADMIN_RESPONSE:
        return admin_response_decode(frame->payload, &ret_message->admin_answer);
    case MESSAGE_BACKUP_REQUEST:
        return backup_request_decode(frame->payload, &ret_message->backup);
    case MESSAGE_BACKUP_RESPONSE:
        return backup_response_decode(frame->payload, &ret_message->piece);
    case MESSAGE_READ_INDEX_REQUEST:
        return read_index_request_decode(frame->payload, &ret_message->question);
    case MESSAGE_READ_INDEX_RESPONSE:
        return read_index_response_decode(frame->payload, &ret_message->index);
    case MESSAGE_READ_REQUEST:
        return read_request_decode(frame->payload, &ret_message->read);
    case MESSAGE_STALE_RESPONSE:
        return stale_response_decode(frame->payload, &ret_message->stale);
    case MESSAGE_FORWARD_REQUEST:
        return forward_request_decode(frame->payload, &ret_message->forward);
    case MESSAGE_FORWARD_RESPONSE:
        return forward_response_decode(frame->payload, &ret_message->forward_answer);
    default:
        return peer_message_decode(frame, &ret_message->raft, &ret_message->entries);
    }
}

/* ---- comparing ---- */

static bool append_equal(const struct raft_append_request *a, const struct raft_append_request *b)
{
    bool equal = a->prev_index == b->prev_index && a->prev_term == b->prev_term &&
                 a->commit_index == b->commit_index && a->read_round == b->read_round &&
                 a->entry_count == b->entry_count && a->run_count == b->run_count;
    for (size_t i = 0; equal && i < a->run_count; i++) {
        equal = a->runs[i].term == b->runs[i].term && a->runs[i].count == b->runs[i].count;
    }
    return equal;
}

static bool raft_equal(const struct raft_message *a, const struct raft_message *b)
{
    if (a->type != b->type || a->from != b->from || a->to != b->to || a->term != b->term) {
        return false;
    }
    switch (a->type) {
    case RAFT_VOTE_REQUEST:
        return a->vote_request.pre == b->vote_request.pre &&
               a->vote_request.transfer == b->vote_request.transfer &&
               a->vote_request.last_index == b->vote_request.last_index &&
               a->vote_request.last_term == b->vote_request.last_term;
    case RAFT_VOTE_RESPONSE:
        return a->vote_response.pre == b->vote_response.pre &&
               a->vote_response.granted == b->vote_response.granted;
    case RAFT_APPEND_REQUEST:
        return append_equal(&a->append_request, &b->append_request);
    case RAFT_APPEND_RESPONSE:
        return a->append_response.success == b->append_response.success &&
               a->append_response.lost == b->append_response.lost &&
               a->append_response.prev_index == b->append_response.prev_index &&
               a->append_response.match_index == b->append_response.match_index &&
               a->append_response.hint_index == b->append_response.hint_index &&
               a->append_response.hint_term == b->append_response.hint_term &&
               a->append_response.read_round == b->append_response.read_round &&
               a->append_response.lease == b->append_response.lease;
    case RAFT_TIMEOUT_NOW:
        return true;
    case RAFT_SNAPSHOT_REQUEST:
        break;
    }
    return false;
}

static bool status_equal(const struct status_response *a, const struct status_response *b)
{
    return a->request_id == b->request_id && a->cluster_id == b->cluster_id && a->id == b->id &&
           a->role == b->role && a->term == b->term && a->leader == b->leader &&
           a->commit_index == b->commit_index && a->applied_index == b->applied_index &&
           a->last_index == b->last_index && a->digest == b->digest &&
           a->key_count == b->key_count && a->uptime_ms == b->uptime_ms &&
           a->log_writes == b->log_writes && a->log_syncs == b->log_syncs &&
           a->log_entries == b->log_entries && a->log_bytes == b->log_bytes &&
           slice_equal(a->address, b->address) && slice_equal(a->io_backend, b->io_backend) &&
           slice_equal(a->version, b->version);
}

static bool offer_equal(const struct snapshot_offer *a, const struct snapshot_offer *b)
{
    return a->from == b->from && a->to == b->to && a->term == b->term && a->index == b->index &&
           a->index_term == b->index_term && a->size == b->size && a->salt == b->salt &&
           a->time_ms == b->time_ms;
}

static bool reply_equal(const struct reply *a, const struct reply *b)
{
    return a->status == b->status && a->more == b->more && a->revision == b->revision &&
           a->count == b->count && slice_equal(a->data, b->data);
}

static bool response_equal(const struct client_response *a, const struct client_response *b)
{
    return a->request_id == b->request_id && reply_equal(&a->reply, &b->reply) &&
           slice_equal(a->error, b->error);
}

static bool admin_request_equal(const struct admin_request *a, const struct admin_request *b)
{
    bool equal = a->request_id == b->request_id && a->verb == b->verb && a->dry_run == b->dry_run &&
                 a->force == b->force && a->target == b->target && a->edit_count == b->edit_count;
    for (size_t i = 0; equal && i < a->edit_count; i++) {
        equal = a->edits[i].operation == b->edits[i].operation &&
                a->edits[i].id == b->edits[i].id &&
                strcmp(a->edits[i].address, b->edits[i].address) == 0;
    }
    return equal;
}

static bool membership_same(const struct raft_membership *a, const struct raft_membership *b)
{
    bool same = a->count == b->count && a->joint == b->joint;
    for (size_t i = 0; same && i < a->count; i++) {
        const struct raft_member *x = &a->members[i];
        const struct raft_member *y = &b->members[i];
        same = x->id == y->id && x->voter == y->voter && x->voter_old == y->voter_old &&
               x->keep_learner == y->keep_learner && x->incarnation == y->incarnation &&
               strcmp(x->address, y->address) == 0;
    }
    return same;
}

static bool voters_equal(const struct admin_voters *a, const struct admin_voters *b)
{
    return a->count == b->count && a->quorum == b->quorum && a->ready == b->ready;
}

static bool admin_response_equal(const struct admin_response *a, const struct admin_response *b)
{
    bool equal = a->request_id == b->request_id && a->id == b->id && a->status == b->status &&
                 a->index == b->index && a->leader == b->leader && slice_equal(a->text, b->text) &&
                 a->has_membership == b->has_membership && a->has_plan == b->has_plan;
    if (equal && a->has_membership) {
        equal = membership_same(&a->membership, &b->membership);
        for (size_t i = 0; equal && i < a->membership.count; i++) {
            equal = a->members[i].connected == b->members[i].connected &&
                    a->members[i].priority == b->members[i].priority &&
                    a->members[i].match == b->members[i].match;
        }
    }
    if (equal && a->has_plan) {
        equal = a->plan.joint == b->plan.joint && voters_equal(&a->plan.before, &b->plan.before) &&
                voters_equal(&a->plan.after, &b->plan.after) &&
                membership_same(&a->plan.wanted, &b->plan.wanted);
    }
    return equal;
}

static bool backup_equal(const struct backup_request *a, const struct backup_request *b)
{
    return a->request_id == b->request_id && a->action == b->action && a->size == b->size &&
           a->offset == b->offset;
}

static bool piece_equal(const struct backup_response *a, const struct backup_response *b)
{
    return a->request_id == b->request_id && a->index == b->index && a->term == b->term &&
           a->file_size == b->file_size && a->offset == b->offset &&
           slice_equal(a->bytes, b->bytes);
}

bool message_equal(const struct message *a, const struct message *b)
{
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case MESSAGE_CLIENT_REQUEST:
        return a->request.request_id == b->request.request_id &&
               slice_equal(a->request.command, b->request.command);
    case MESSAGE_CLIENT_RESPONSE:
        return response_equal(&a->response, &b->response);
    case MESSAGE_LEADER_REDIRECT:
        return a->redirect.request_id == b->redirect.request_id &&
               a->redirect.has_leader == b->redirect.has_leader &&
               a->redirect.leader_id == b->redirect.leader_id &&
               slice_equal(a->redirect.address, b->redirect.address) &&
               slice_equal(a->redirect.text, b->redirect.text);
    case MESSAGE_PEER_HELLO:
        return a->hello.protocol_min == b->hello.protocol_min &&
               a->hello.protocol_max == b->hello.protocol_max &&
               a->hello.purpose == b->hello.purpose && a->hello.cluster_id == b->hello.cluster_id &&
               a->hello.from == b->hello.from && a->hello.to == b->hello.to &&
               a->hello.incarnation == b->hello.incarnation &&
               a->hello.membership_index == b->hello.membership_index &&
               a->hello.priority == b->hello.priority && a->hello.unheard == b->hello.unheard &&
               a->hello.lost == b->hello.lost && a->hello.term == b->hello.term &&
               a->hello.last_index == b->hello.last_index &&
               slice_equal(a->hello.address, b->hello.address);
    case MESSAGE_PEER_WELCOME:
        return a->welcome.status == b->welcome.status &&
               a->welcome.protocol == b->welcome.protocol &&
               a->welcome.cluster_id == b->welcome.cluster_id && a->welcome.id == b->welcome.id &&
               slice_equal(a->welcome.text, b->welcome.text);
    case MESSAGE_STATUS_REQUEST:
        return a->status_request_id == b->status_request_id;
    case MESSAGE_STATUS_RESPONSE:
        return status_equal(&a->status, &b->status);
    case MESSAGE_SNAPSHOT_OFFER:
        return offer_equal(&a->offer, &b->offer);
    case MESSAGE_SNAPSHOT_BYTES:
        return a->bytes.offset == b->bytes.offset && slice_equal(a->bytes.bytes, b->bytes.bytes);
    case MESSAGE_SNAPSHOT_STATUS:
        return a->snapshot.state == b->snapshot.state && a->snapshot.offset == b->snapshot.offset &&
               slice_equal(a->snapshot.text, b->snapshot.text);
    case MESSAGE_STATE_DIGEST:
        return a->digest.index == b->digest.index && a->digest.digest == b->digest.digest;
    case MESSAGE_CLOCK:
        return a->wall_ms == b->wall_ms;
    case MESSAGE_ADMIN_REQUEST:
        return admin_request_equal(&a->admin, &b->admin);
    case MESSAGE_ADMIN_RESPONSE:
        return admin_response_equal(&a->admin_answer, &b->admin_answer);
    case MESSAGE_BACKUP_REQUEST:
        return backup_equal(&a->backup, &b->backup);
    case MESSAGE_BACKUP_RESPONSE:
        return piece_equal(&a->piece, &b->piece);
    case MESSAGE_READ_INDEX_REQUEST:
        return a->question.tag == b->question.tag;
    case MESSAGE_READ_INDEX_RESPONSE:
        return a->index.tag == b->index.tag && a->index.index == b->index.index;
    case MESSAGE_READ_REQUEST:
        return a->read.request_id == b->read.request_id && a->read.reads == b->read.reads &&
               slice_equal(a->read.command, b->read.command);
    case MESSAGE_STALE_RESPONSE:
        return a->stale.request_id == b->stale.request_id && a->stale.age_ms == b->stale.age_ms &&
               a->stale.applied_index == b->stale.applied_index &&
               reply_equal(&a->stale.reply, &b->stale.reply);
    case MESSAGE_FORWARD_REQUEST:
        return a->forward.tag == b->forward.tag &&
               slice_equal(a->forward.command, b->forward.command);
    case MESSAGE_FORWARD_RESPONSE:
        return a->forward_answer.tag == b->forward_answer.tag &&
               reply_equal(&a->forward_answer.reply, &b->forward_answer.reply) &&
               slice_equal(a->forward_answer.sentence, b->forward_answer.sentence);
    default:
        return raft_equal(&a->raft, &b->raft) && slice_equal(a->entries, b->entries);
    }
}
