/*
 * Connected streams for the tests: an end that counts and checks what happens to it, and a
 * listener that keeps what it accepts.
 */
#ifndef TEST_IO_END_H
#define TEST_IO_END_H

#include "io_world.h"

struct end {
    struct world *world;
    struct io *io;
    struct io_stream *stream;
    struct io_connect connect;
    bool connected;
    int64_t connect_result;
    struct io_receive receive;
    struct buf got;
    size_t pieces;
    bool pause_each; /* pause after each piece */
    bool close_in_receive;
    bool ended; /* the end or an error came */
    int64_t end_result;
    struct io_send send;
    bool sent;
    int64_t sent_result;
    struct io_close close;
    bool closed;
};

void end_init(struct end *end, struct world *world, struct io *io);
/* Starts to send the bytes; end->sent tells when they are. */
void end_send(struct end *end, const void *bytes, size_t size);
void end_receive(struct end *end);
/* Closes the stream, if it is open, waits for that, and releases what was got. */
void end_close(struct end *end);
/* Turns until `size` bytes in all were got. */
void receive_bytes(struct end *end, size_t size);

enum { ACCEPTED_MAX = 600 };

struct accepting {
    struct io_accept accept;
    struct io_listener *listener;
    struct io_address address;
    struct io_stream *streams[ACCEPTED_MAX];
    size_t count;
    size_t errors;
    int64_t error;
    bool any;
    bool failed;
};

/* Listens on an address that is free; `address` is then the one to connect to. */
struct accepting *accepting_new(struct io *io, const char *host_port);
/* The same, in place, with the result of io_listen. */
int listen_on(struct io *io, struct accepting *accepting, const char *host_port);
/* Closes the listener and the streams that nobody took. */
void accepting_free(struct io *io, struct accepting *accepting);

/* Two ends that are connected to each other, on one io. */
void connect_pair(struct world *world, const char *host_port, struct end *client,
                  struct end *server);
void local_pair(struct world *world, struct end *client, struct end *server);

/* A plain blocking socket connected to the address, for what io.h cannot do by itself. */
int raw_connect(const struct io_address *address);

/* Bytes that differ from place to place; free() releases them. */
uint8_t *pattern_new(size_t size);

#endif
