/*
 * Frames, which both ports share, and the native client protocol. Bytes only; no sockets.
 * docs/PROTOCOL.md is the specification for writing a client.
 *
 * A frame, little-endian:
 *
 *     0       1         2      3      4          8                16                24
 *     ├───────┼─────────┼──────┼──────┼──────────┼────────────────┼─────────────────┼────────────┐
 *     │ 0xCB  │ version │ type │ zero │ size u32 │ payload's hash │ header's hash   │ payload ...│
 *     └───────┴─────────┴──────┴──────┴──────────┴────────────────┴─────────────────┴────────────┘
 *
 * size: bytes of payload, at most FRAME_SIZE_MAX. The hashes are XXH3-64: the payload's is over the
 * payload, with bytes 0...7 read as a number for its seed; the header's is over bytes 0...15. The
 * header has its own so that a damaged size is seen at once: the receiver would else wait for bytes
 * that never come, while everything sent later only fills the frame that does not exist. The first
 * byte is no letter and no RESP type, so a frame is told from Redis's protocol by it.
 */
#ifndef WIRE_NATIVE_H
#define WIRE_NATIVE_H

#include "base/bytes.h"
#include "base/limits.h"
#include "kv/command.h"
#include "kvapp/reads.h"

enum { FRAME_MAGIC = 0xCB, FRAME_VERSION = 1, FRAME_HEADER_SIZE = 24 };

/* 0-3 are Raft's messages (wire/peer.h). */
enum frame_type {
    FRAME_CLIENT_REQUEST = 4,
    FRAME_CLIENT_RESPONSE = 5,
    FRAME_LEADER_REDIRECT = 6,
    FRAME_PEER_HELLO = 7,
    FRAME_PEER_WELCOME = 8,
    FRAME_STATUS_REQUEST = 9,
    FRAME_STATUS_RESPONSE = 10,
    FRAME_SNAPSHOT_OFFER = 11,
    FRAME_SNAPSHOT_BYTES = 12,
    FRAME_SNAPSHOT_STATUS = 13,
    /* 14 is Raft's. */
    FRAME_STATE_DIGEST = 15, /* peers */
    FRAME_READ_INDEX_REQUEST = 16,
    FRAME_READ_INDEX_RESPONSE = 17,
    FRAME_CLOCK = 18,
    FRAME_ADMIN_REQUEST = 20, /* client port */
    FRAME_ADMIN_RESPONSE = 21,
    FRAME_BACKUP_REQUEST = 22,
    FRAME_BACKUP_RESPONSE = 23,
    FRAME_READ_REQUEST = 24,
    FRAME_STALE_RESPONSE = 25,
    FRAME_FORWARD_REQUEST = 26, /* peers */
    FRAME_FORWARD_RESPONSE = 27,
};

struct frame {
    uint8_t type;
    struct slice payload; /* borrowed */
};

/*
 * The frame at the front of `bytes`. Returns 0 with the frame and its whole size;
 * KV_ERR_INCOMPLETE; or, as early as the bytes show it, KV_ERR_MALFORMED (magic, reserved byte,
 * size), KV_ERR_VERSION, KV_ERR_CHECKSUM. After an error the connection is of no more use.
 */
int frame_decode(struct slice bytes, struct frame *ret_frame, size_t *ret_size);

/* Begins a frame in `out`; the payload is appended; frame_end fills in size and checksum. */
size_t frame_begin(struct buf *out, uint8_t type); /* returns the mark for frame_end */
void frame_end(struct buf *out, size_t mark);

/* ---- client messages ---- */

struct client_request {
    uint64_t request_id;  /* chosen by the client, echoed by the response */
    struct slice command; /* bytes of kv/command.h */
};

/* A read that says how it wants to be answered; a ClientRequest leaves that to the server. */
struct read_request {
    uint64_t request_id;
    enum kvapp_reads reads;
    struct slice command;
};

struct client_response {
    uint64_t request_id;
    struct reply reply;
    struct slice error; /* a sentence when the reply's status is not 0 and there is more to say */
};

/* The answer to a stale read that was served. */
struct stale_response {
    uint64_t request_id;
    uint64_t age_ms; /* the state was the newest at most so long ago; UINT64_MAX: not known */
    uint64_t applied_index; /* of the state that was read */
    struct reply reply;
};

struct leader_redirect {
    uint64_t request_id;
    bool has_leader;
    uint64_t leader_id;
    struct slice address; /* the leader's client address, "host:port" */
    struct slice text;
};

/* One member as a server sees it, or sees itself. */
struct status_response {
    uint64_t request_id;
    uint64_t cluster_id;
    uint64_t id;
    struct slice address; /* raft address */
    uint8_t role;         /* enum raft_role's numbers: 0 follower ... 3 leader */
    uint64_t term;
    uint64_t leader; /* 0: unknown */
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t last_index;
    uint64_t digest; /* of the state at applied_index */
    uint64_t key_count;
    uint64_t uptime_ms;
    uint64_t log_writes; /* since the start: to the disk, each synced once */
    uint64_t log_syncs;
    uint64_t log_entries;
    uint64_t log_bytes;
    struct slice io_backend; /* "io_uring" or "portable" */
    struct slice version;
};

/* Encoders append a whole frame. Decoders take a frame's payload; they return 0 or
 * KV_ERR_MALFORMED; slices are borrowed. */
void client_request_encode(const struct client_request *request, struct buf *out);
/* The same without first making the command's bytes elsewhere. */
void client_request_encode_command(uint64_t request_id, const struct command *command,
                                   struct buf *out);
int client_request_decode(struct slice payload, struct client_request *ret_request);
void read_request_encode(const struct read_request *request, struct buf *out);
void read_request_encode_command(uint64_t request_id, enum kvapp_reads reads,
                                 const struct command *command, struct buf *out);
int read_request_decode(struct slice payload, struct read_request *ret_request);
void stale_response_encode(const struct stale_response *response, struct buf *out);
int stale_response_decode(struct slice payload, struct stale_response *ret_response);
void client_response_encode(const struct client_response *response, struct buf *out);
int client_response_decode(struct slice payload, struct client_response *ret_response);
void leader_redirect_encode(const struct leader_redirect *redirect, struct buf *out);
int leader_redirect_decode(struct slice payload, struct leader_redirect *ret_redirect);
void status_request_encode(uint64_t request_id, struct buf *out);
int status_request_decode(struct slice payload, uint64_t *ret_request_id);
void status_response_encode(const struct status_response *status, struct buf *out);
int status_response_decode(struct slice payload, struct status_response *ret_status);

#endif
