/*
 * Commands that one server hands to another: what a client of Redis asked of a server that does not
 * lead. The request goes on the asking server's connection, the response on the leader's own.
 *
 *     request    tag u64 │ command (size u32, bytes)
 *     response   tag u64 │ reply (size u32, bytes) │ sentence (size u32, bytes)
 */
#ifndef WIRE_FORWARD_H
#define WIRE_FORWARD_H

#include "wire/native.h"

struct forward_request {
    uint64_t tag; /* of the asking server's; not used again in any of its lives */
    struct slice command;
};

struct forward_response {
    uint64_t tag;
    struct reply reply;
    struct slice sentence; /* when there is more to say than the reply's status does */
};

/* As those of native.h. */
void forward_request_encode(const struct forward_request *request, struct buf *out);
int forward_request_decode(struct slice payload, struct forward_request *ret_request);
void forward_response_encode(const struct forward_response *response, struct buf *out);
int forward_response_decode(struct slice payload, struct forward_response *ret_response);

#endif
