/*
 * Listening sockets of the portable backend: a poll of the socket, so that this side sees every
 * error of accept. After an error the poll pauses; without that a full table of descriptors would
 * keep the loop spinning.
 */
#include "base/memory.h"
#include "io/portable.h"
#include "io/system.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_PAUSE_US = 100 * 1000,
    ACCEPTS_PER_TURN_MAX = 64, /* so that a storm of connections does not stop all else */
};

struct portable_listener {
    struct io_listener base;
    struct portable *portable;
    uv_poll_t poll;
    int fd;
    struct io_accept *accept; /* NULL: closed */
    struct io_timer pause;
};

/* Accepts one connection and tells the callee; false when there is no more for now. */
static bool accept_one(struct portable_listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int64_t error = fd >= 0 ? 0 : -errno;
    if (error == -EAGAIN) {
        return false;
    }
    if (error == -EINTR || error == -ECONNABORTED) {
        return true;
    }
    struct io_stream *stream = NULL;
    if (error == 0) {
        error = portable_stream_adopt(listener->portable, fd, &stream);
    }
    if (error != 0) {
        struct io *io = &listener->portable->io;
        (void)uv_poll_stop(&listener->poll);
        io_timer_set(io, &listener->pause, io_now_us(io) + ACCEPT_PAUSE_US);
    }
    listener->accept->done(listener->accept, stream, error);
    return error == 0;
}

static void on_connections(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct portable_listener *listener = CONTAINER_OF(poll, struct portable_listener, poll);
    portable_turn(listener->portable);
    for (int i = 0; i < ACCEPTS_PER_TURN_MAX && listener->accept != NULL; i++) {
        if (!accept_one(listener)) {
            return;
        }
    }
}

static void on_pause_over(struct io_timer *timer)
{
    struct portable_listener *listener = CONTAINER_OF(timer, struct portable_listener, pause);
    int err = uv_poll_start(&listener->poll, UV_READABLE, on_connections);
    CHECK(err == 0);
}

int portable_listen(struct io *io, const struct io_address *address, struct io_accept *accept,
                    struct io_listener **ret_listener)
{
    struct portable *portable = portable_of(io);
    uint16_t port = 0;
    int fd = socket_listen(address, &port);
    if (fd < 0) {
        return fd;
    }
    struct portable_listener *listener = memory_new(1, sizeof *listener);
    listener->base.port = port;
    listener->portable = portable;
    listener->fd = fd;
    listener->accept = accept;
    io_timer_init(&listener->pause, on_pause_over);
    int err = uv_poll_init(&portable->loop, &listener->poll, fd);
    if (err != 0) {
        (void)close(fd);
        free(listener);
        return err;
    }
    err = uv_poll_start(&listener->poll, UV_READABLE, on_connections);
    CHECK(err == 0);
    *ret_listener = &listener->base;
    return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF(handle, struct portable_listener, poll));
}

void portable_listener_close(struct io *io, struct io_listener *base)
{
    struct portable_listener *listener = CONTAINER_OF(base, struct portable_listener, base);
    io_timer_cancel(io, &listener->pause);
    listener->accept = NULL;
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    (void)close(listener->fd);
}
