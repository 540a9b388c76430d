/*
 * Every message of both ports under one struct, for tests that treat them alike: made at random,
 * encoded, decoded, compared field by field.
 */
#ifndef TEST_WIRE_MESSAGES_H
#define TEST_WIRE_MESSAGES_H

#include "base/prng.h"
#include "wire/admin.h"
#include "wire/backup.h"
#include "wire/forward.h"
#include "wire/native.h"
#include "wire/peer.h"

enum message_kind {
    MESSAGE_VOTE_REQUEST,
    MESSAGE_VOTE_RESPONSE,
    MESSAGE_APPEND_REQUEST,
    MESSAGE_APPEND_RESPONSE,
    MESSAGE_CLIENT_REQUEST,
    MESSAGE_CLIENT_RESPONSE,
    MESSAGE_LEADER_REDIRECT,
    MESSAGE_PEER_HELLO,
    MESSAGE_PEER_WELCOME,
    MESSAGE_STATUS_REQUEST,
    MESSAGE_STATUS_RESPONSE,
    MESSAGE_SNAPSHOT_OFFER,
    MESSAGE_SNAPSHOT_BYTES,
    MESSAGE_SNAPSHOT_STATUS,
    MESSAGE_TIMEOUT_NOW,
    MESSAGE_STATE_DIGEST,
    MESSAGE_READ_INDEX_REQUEST,
    MESSAGE_READ_INDEX_RESPONSE,
    MESSAGE_CLOCK,
    MESSAGE_ADMIN_REQUEST = FRAME_ADMIN_REQUEST,
    MESSAGE_ADMIN_RESPONSE,
    MESSAGE_BACKUP_REQUEST,
    MESSAGE_BACKUP_RESPONSE,
    MESSAGE_READ_REQUEST,
    MESSAGE_STALE_RESPONSE,
    MESSAGE_FORWARD_REQUEST,
    MESSAGE_FORWARD_RESPONSE,
    MESSAGE_KIND_COUNT,
};

struct message {
    enum message_kind kind; /* the same numbers as the frame types */
    union {
        struct raft_message raft;
        struct client_request request;
        struct client_response response;
        struct leader_redirect redirect;
        struct peer_hello hello;
        struct peer_welcome welcome;
        uint64_t status_request_id;
        struct status_response status;
        struct snapshot_offer offer;
        struct snapshot_bytes bytes;
        struct snapshot_status snapshot;
        struct state_digest digest;
        struct admin_request admin;
        struct admin_response admin_answer;
        struct backup_request backup;
        struct backup_response piece;
        struct read_index_request question;
        struct read_index_response index;
        uint64_t wall_ms;
        struct read_request read;
        struct stale_response stale;
        struct forward_request forward;
        struct forward_response forward_answer;
    };
    struct slice entries; /* of an append */
};

/* Some numbers below MESSAGE_KIND_COUNT are no kind. */
bool message_kind_is_known(int kind);

/* Any kind. */
enum message_kind message_kind_random(struct prng *prng);

/* Variable parts live in `arena`, which is cleared first and must stay until the message is no
 * longer used. */
void message_random(struct prng *prng, enum message_kind kind, struct buf *arena,
                    struct message *ret_message);

/* Appends the whole frame. */
void message_encode(const struct message *message, struct buf *out);

/* 0 or KV_ERR_MALFORMED; slices borrow from the frame. The frame's type must be known. */
int message_decode(const struct frame *frame, struct message *ret_message);

bool message_equal(const struct message *a, const struct message *b);

#endif
