/*
 * The parts of the portable backend to each other.
 */
#ifndef IO_PORTABLE_H
#define IO_PORTABLE_H

#include "io/backend.h"

#include <uv.h>

struct portable_work;

struct portable {
    struct io io;
    uv_loop_t loop;
    uv_timer_t deadline; /* ends the wait of one io_run */
    bool turned;         /* now_us was set in this turn */
    uint8_t *receive_buffer;
    struct portable_work *idle_works; /* records of file operations, for the next ones */
};

enum { PORTABLE_RECEIVE_SIZE = 64 * 1024 };

static inline struct portable *portable_of(struct io *io)
{
    return CONTAINER_OF(io, struct portable, io);
}

/* Every callback of libuv begins with this: the first one of a turn sets the time. */
void portable_turn(struct portable *portable);

/* portable_stream.c and portable_listen.c */
int portable_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
                    struct io_listener **ret_listener);
void portable_listener_close(struct io *io, struct io_listener *listener);
void portable_connect_start(struct io *io, struct io_connect *connect,
                            const struct io_address *address);
void portable_connect_cancel(struct io *io, struct io_connect *connect);
void portable_receive_start(struct io *io, struct io_stream *stream, struct io_receive *receive);
void portable_receive_pause(struct io *io, struct io_stream *stream);
void portable_send_start(struct io *io, struct io_stream *stream, struct io_send *send);
void portable_stream_close(struct io *io, struct io_stream *stream, struct io_close *close);

/* Makes a stream of a connected socket, which goes with it, even when that fails. */
int portable_stream_adopt(struct portable *portable, int fd, struct io_stream **ret_stream);

#endif
