/*
 * The peer protocol: Raft's messages in frames (wire/native.h) on the raft port.
 *
 * Each server opens one connection to every other and sends on it; what comes back on it is only
 * the answer to the handshake. The connecting side sends PeerHello first; the accepting side
 * answers PeerWelcome, and closes when its status is not 0.
 */
#ifndef WIRE_PEER_H
#define WIRE_PEER_H

#include "kvapp/raft.h"
#include "wire/native.h"

enum { PEER_PROTOCOL_MIN = 1, PEER_PROTOCOL_MAX = 1 };

struct peer_hello {
    uint16_t protocol_min;
    uint16_t protocol_max;
    uint64_t cluster_id;
    uint64_t from; /* node ids */
    uint64_t to;
};

struct peer_welcome {
    int status;        /* 0, KV_ERR_VERSION or KV_ERR_FOREIGN */
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

/*
 * Decodes a frame of type 0...3. *ret_entries borrows the bytes of an append's entries, which the
 * caller checks one by one against the message's runs (storage/entry.h). Returns 0 or
 * KV_ERR_MALFORMED: also when runs do not add up, are empty, or their terms fall.
 */
int peer_message_decode(const struct frame *frame, struct raft_message *ret_message,
                        struct slice *ret_entries);

#endif
