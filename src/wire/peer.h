/*
 * The peer protocol: Raft's messages in frames (wire/native.h) on the raft port.
 *
 * Each server opens one connection to every other and sends on it; what comes back on it is only
 * the answer to the handshake. The connecting side sends PeerHello first; the accepting side
 * answers PeerWelcome, and closes when its status is not 0.
 *
 * A snapshot has a connection of its own, so that no heartbeat waits behind it:
 *
 *     leader    hello (PEER_SNAPSHOT) ──► offer ──► bytes ──► bytes ... ──►
 *     follower            ◄── welcome  ◄── status: from this offset on   ◄── status: installed
 */
#ifndef WIRE_PEER_H
#define WIRE_PEER_H

#include "kvapp/raft.h"
#include "wire/native.h"

enum { PEER_PROTOCOL_MIN = 2, PEER_PROTOCOL_MAX = 2 };

enum peer_purpose {
    PEER_MESSAGES = 0,
    PEER_SNAPSHOT = 1, /* one snapshot; here both sides speak */
    PEER_JOIN = 2,     /* a new server asks for the cluster's id, with 0 for it, and no more */
    PEER_PURPOSE_COUNT,
};

#define PEER_NO_MEMBERSHIP UINT64_MAX /* the sender takes part in none that it knows of */

struct peer_hello {
    uint16_t protocol_min;
    uint16_t protocol_max;
    enum peer_purpose purpose;
    uint64_t cluster_id;
    uint64_t from;             /* node ids */
    uint64_t to;               /* 0: whoever answers (PEER_JOIN) */
    uint64_t incarnation;      /* of the sender's data directory; 0: it has none yet */
    uint64_t membership_index; /* of the newest one in the sender's log in which it takes part */
    uint32_t priority;         /* for leading: see kvapp_node_options */
    bool unheard;              /* the sender has no connection from the receiver */
    bool lost;                 /* the sender's disk lost its log, which is not repaired yet */
    uint64_t term;             /* of the sender, */
    uint64_t last_index;       /* and where its log ends */
    struct slice address;      /* the sender's raft address, for who does not know it otherwise */
};

struct peer_welcome {
    int status;        /* 0, KV_ERR_VERSION, KV_ERR_FOREIGN, KV_ERR_REMOVED or KV_ERR_OUTDATED */
    uint16_t protocol; /* chosen: the highest that both speak */
    uint64_t cluster_id;
    uint64_t id;
    struct slice text; /* why not */
};

void peer_hello_encode(const struct peer_hello *hello, struct buf *out);
int peer_hello_decode(struct slice payload, struct peer_hello *ret_hello);
void peer_welcome_encode(const struct peer_welcome *welcome, struct buf *out);
int peer_welcome_decode(struct slice payload, struct peer_welcome *ret_welcome);

/*
 * Appends a frame for `message`. For an append the entries follow: call peer_message_begin, append
 * the encodings of exactly entry_count entries to `out`, then frame_end. peer_message_encode does
 * both for a message without entries.
 */
size_t peer_message_begin(const struct raft_message *message, struct buf *out);
void peer_message_encode(const struct raft_message *message, struct buf *out);

/* The leader of `term` has a snapshot for a follower whose next entries it keeps no more. */
struct snapshot_offer {
    uint64_t from;
    uint64_t to;
    uint64_t term;
    uint64_t index; /* of the last entry that the snapshot covers */
    uint64_t index_term;
    uint64_t size;    /* of the file */
    uint64_t salt;    /* names this very file, so that a broken transfer can go on */
    uint64_t time_ms; /* the cluster's: no entry that the snapshot covers has a later one */
};

/* A piece of a snapshot's file, as it is on the leader's disk. */
struct snapshot_bytes {
    uint64_t offset;
    struct slice bytes; /* not empty */
};

enum snapshot_state {
    SNAPSHOT_WANTED = 0,    /* from `offset` on; below it, it has the bytes of this very file */
    SNAPSHOT_INSTALLED = 1, /* it is durable and applied */
    SNAPSHOT_UNWANTED = 2,  /* it has as much already, or cannot trust it yet */
    SNAPSHOT_FAILED = 3,    /* `text` says why */
    SNAPSHOT_DAMAGED = 4,   /* what came does not verify: the sender's own may be damaged */
    SNAPSHOT_STATE_COUNT,
};

struct snapshot_status {
    enum snapshot_state state;
    uint64_t offset;
    struct slice text;
};

/* Which index must be applied for reads that were asked before this? Of a follower to its leader;
 * the answer comes on the leader's own connection. */
struct read_index_request {
    uint64_t tag; /* of the newest read; never used again, by a later life neither */
};

struct read_index_response {
    uint64_t tag;   /* the request's: for all reads up to it */
    uint64_t index; /* 0: refused, the server does not lead */
};

void read_index_request_encode(const struct read_index_request *request, struct buf *out);
int read_index_request_decode(struct slice payload, struct read_index_request *ret_request);
void read_index_response_encode(const struct read_index_response *response, struct buf *out);
int read_index_response_decode(struct slice payload, struct read_index_response *ret_response);

void snapshot_offer_encode(const struct snapshot_offer *offer, struct buf *out);
int snapshot_offer_decode(struct slice payload, struct snapshot_offer *ret_offer);
void snapshot_bytes_encode(const struct snapshot_bytes *piece, struct buf *out);
int snapshot_bytes_decode(struct slice payload, struct snapshot_bytes *ret_piece);
void snapshot_status_encode(const struct snapshot_status *status, struct buf *out);
int snapshot_status_decode(struct slice payload, struct snapshot_status *ret_status);

/* What the sender, a leader, has for its state's digest (kv.h) once an entry is applied: a
 * committed one. Whoever has another one at that index has another state. */
struct state_digest {
    uint64_t index; /* not 0 */
    uint64_t digest;
};

void state_digest_encode(const struct state_digest *digest, struct buf *out);
int state_digest_decode(struct slice payload, struct state_digest *ret_digest);

/* What the sender's wall clock shows, right or wrong, milliseconds since 1970: of a voter to who
 * leads, or will by its vote. */
void peer_clock_encode(uint64_t wall_ms, struct buf *out);
int peer_clock_decode(struct slice payload, uint64_t *ret_wall_ms);

/*
 * Decodes a frame of type 0...3 or 14. *ret_entries borrows the bytes of an append's entries, which
 * the caller checks one by one against the message's runs (storage/entry.h). Returns 0 or
 * KV_ERR_MALFORMED: also when runs do not add up, are empty, or their terms fall.
 */
int peer_message_decode(const struct frame *frame, struct raft_message *ret_message,
                        struct slice *ret_entries);

#endif
