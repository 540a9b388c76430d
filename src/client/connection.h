/*
 * One TCP connection of a client to a server: opened when asked, gives whole frames, sends one
 * buffer at a time, and can be opened again after it closed. It knows frames and no messages.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "io/io.h"
#include "wire/native.h"

enum connection_state {
    CONNECTION_IDLE,
    CONNECTION_CONNECTING,
    CONNECTION_OPEN,
    CONNECTION_CLOSING, /* no event comes but `idle` */
};

struct connection;

/* All are called from io_run, `closed` also from connection_close. */
struct connection_events {
    void (*opened)(struct connection *connection);
    /* Returns 0, or the error for which the connection is closed. The frame is borrowed. */
    int (*received)(struct connection *connection, const struct frame *frame);
    void (*sent)(struct connection *connection);   /* `out` is empty and may be filled again */
    void (*closed)(struct connection *connection); /* or could not be opened; see `trouble` */
    void (*idle)(struct connection *connection);   /* may be opened again */
};

struct connection {
    struct io *io;
    const struct connection_events *events;
    enum connection_state state;
    bool sending;
    bool heard; /* a whole frame came since it was opened */
    char address[ADDRESS_SIZE_MAX];
    struct io_address resolved;
    struct io_stream *stream;
    struct io_connect connect;
    struct io_receive receive;
    struct io_send send;
    struct io_close close;
    struct buf in;     /* the front of a frame that has not arrived whole */
    struct buf out;    /* filled in by the owner while OPEN and not sending */
    char trouble[128]; /* why it closed last; empty: never did */
};

/* `address` as text, and what it resolved to. */
void connection_init(struct connection *connection, struct io *io, const char *address,
                     const struct io_address *resolved, const struct connection_events *events);
/* It is IDLE. */
void connection_done(struct connection *connection);

/* From IDLE; `opened` or `closed` follows. */
void connection_open(struct connection *connection);

/* Sends what is in `out`, while OPEN and not sending. Nothing in it: does nothing. */
void connection_send(struct connection *connection);

/* Gives up for `reason`, which becomes its trouble. IDLE or CLOSING: does nothing. */
void connection_close(struct connection *connection, const char *reason);

#endif
